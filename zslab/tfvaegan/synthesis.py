"""Features of unseen classes from a trained generator, and the discriminative transformation of features.

Source: Narayan et al., ECCV 2020, section 3.3: every feature x, real or synthesized, becomes [x, Dec(x), h(x)].
"""

from __future__ import annotations

import torch
from torch import Tensor

from zslab.data.dataset import Samples
from zslab.data.lazy import CHUNK, LazyFeatures, fits
from zslab.tfvaegan.networks import Networks, SemanticDecoder
from zslab.tfvaegan.steps import generate

NOISE_ROWS = 2**15  # of streamed features; classes share them, the features of a class do not while there are fewer


class SynthesizedFeatures(LazyFeatures):
    """Features that are synthesized whenever they are accessed, the same each time, for label sets too large to hold them.

    Args:
        attributes: (C, A) of all classes.
        labels: (n,) the class of every feature.
        noise: (m, Z); feature i has row i modulo m.
        weight: δ in synthesis, None without feedback.
    """

    def __init__(self, networks: Networks, attributes: Tensor, labels: Tensor, noise: Tensor, weight: float | None):
        self.networks, self.attributes, self.labels, self.noise, self.weight = networks, attributes, labels, noise, weight
        self.shape, self.device = (len(labels), networks.decoder.hidden.in_features), attributes.device

    @torch.no_grad()
    def take(self, index: Tensor) -> Tensor:
        """Return features (b, D) for their indices (b,)."""
        index = index.to(self.device)
        return generate(self.networks, self.noise[index % len(self.noise)], self.attributes[self.labels[index]], self.weight)


@torch.no_grad()
def synthesize(
    networks: Networks, attributes: Tensor, classes: Tensor, n: int, feedback_weight: float | None, generator: torch.Generator
) -> Samples:
    """Synthesize n features for each class.

    Args:
        networks: trained; generator, and where feedback is used feedback module and decoder.
        attributes: (C, A) of all classes.
        classes: (u,) the classes to synthesize.
        n: features of each.
        feedback_weight: δ in synthesis; None without feedback.
        generator: draws the noise; on the attributes' device.

    Returns:
        Samples sorted by class, features (u * n, D); those that do not fit in memory are synthesized on demand.
    """
    labels = classes.repeat_interleave(n)
    latent_dim = networks.generator.hidden.in_features - attributes.shape[1]
    if not fits(len(labels), networks.decoder.hidden.in_features):
        noise = torch.randn(min(len(labels), NOISE_ROWS), latent_dim, generator=generator, device=labels.device)
        return Samples(SynthesizedFeatures(networks, attributes, labels, noise, feedback_weight), labels)
    features = []
    for part in labels.split(CHUNK):
        noise = torch.randn(len(part), latent_dim, generator=generator, device=part.device)
        features.append(generate(networks, noise, attributes[part], feedback_weight))
    return Samples(torch.cat(features), labels)


@torch.no_grad()
def transform(decoder: SemanticDecoder, x: Tensor) -> Tensor:
    """Return the discriminative transformation [x, Dec(x), h(x)] (n, D + A + H) of features x (n, D)."""
    return torch.cat([x, *decoder(x)], dim=1)
