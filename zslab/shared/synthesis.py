"""Features of classes from any conditional generator, as samples to train a classifier on."""

from collections.abc import Callable

import torch
from torch import Tensor

from zslab.data.dataset import Samples
from zslab.data.lazy import CHUNK, LazyFeatures, fits

Generate = Callable[[Tensor, Tensor], Tensor]  # noise (b, Z) and attributes (b, A) -> features (b, D)

NOISE_ROWS = 2**15  # of streamed features; classes share them, the features of a class do not while there are fewer


class SynthesizedFeatures(LazyFeatures):
    """Features that are synthesized whenever they are accessed, the same each time, for label sets too large to hold them.

    Args:
        generate: the generator.
        attributes: (C, A) of all classes.
        labels: (n,) the class of every feature.
        noise: (m, Z); feature i has row i modulo m.
        feature_dim: D.
    """

    def __init__(self, generate: Generate, attributes: Tensor, labels: Tensor, noise: Tensor, feature_dim: int):
        self.generate, self.attributes, self.labels, self.noise = generate, attributes, labels, noise
        self.shape, self.device = (len(labels), feature_dim), attributes.device

    @torch.no_grad()
    def take(self, index: Tensor) -> Tensor:
        """Return features (b, D) for their indices (b,)."""
        index = index.to(self.device)
        return self.generate(self.noise[index % len(self.noise)], self.attributes[self.labels[index]])


@torch.no_grad()
def synthesize(
    generate: Generate,
    attributes: Tensor,
    classes: Tensor,
    n: int,
    latent_dim: int,
    feature_dim: int,
    generator: torch.Generator,
) -> Samples:
    """Synthesize n features for each class.

    Args:
        generate: the generator; it is called without gradients.
        attributes: (C, A) of all classes.
        classes: (u,) the classes to synthesize.
        n: features of each.
        latent_dim: Z, the width of the noise.
        feature_dim: D.
        generator: draws the noise; on the attributes' device.

    Returns:
        Samples sorted by class, features (u * n, D); those that do not fit in memory are synthesized on demand.
    """
    labels = classes.repeat_interleave(n)
    if not fits(len(labels), feature_dim):
        noise = torch.randn(min(len(labels), NOISE_ROWS), latent_dim, generator=generator, device=labels.device)
        return Samples(SynthesizedFeatures(generate, attributes, labels, noise, feature_dim), labels)
    features = []
    for part in labels.split(CHUNK):
        noise = torch.randn(len(part), latent_dim, generator=generator, device=part.device)
        features.append(generate(noise, attributes[part]))
    return Samples(torch.cat(features), labels)
