"""Features of unseen classes from a trained generator, and the discriminative transformation of features.

Source: Narayan et al., ECCV 2020, section 3.3: every feature x, real or synthesized, becomes [x, Dec(x), h(x)].
"""

from __future__ import annotations

import torch
from torch import Tensor

from zslab.data.dataset import Samples
from zslab.data.lazy import CHUNK
from zslab.tfvaegan.networks import Networks, SemanticDecoder
from zslab.tfvaegan.steps import TfvaeganSettings, generate


@torch.no_grad()
def synthesize(
    networks: Networks, attributes: Tensor, classes: Tensor, settings: TfvaeganSettings, generator: torch.Generator
) -> Samples:
    """Synthesize `settings.n_synthetic` features for each class.

    Args:
        networks: trained; generator, and where feedback is used feedback module and decoder.
        attributes: (C, A) of all classes.
        classes: (u,) the classes to synthesize.
        settings: of the method.
        generator: draws the noise; on the attributes' device.

    Returns:
        Samples sorted by class, features (u * n_synthetic, D).
    """
    labels = classes.repeat_interleave(settings.n_synthetic)
    latent_dim = networks.generator.hidden.in_features - attributes.shape[1]
    weight = settings.feedback_synthesis if settings.uses_feedback else None
    features = []
    for part in labels.split(CHUNK):
        noise = torch.randn(len(part), latent_dim, generator=generator, device=part.device)
        features.append(generate(networks, noise, attributes[part], weight))
    return Samples(torch.cat(features), labels)


@torch.no_grad()
def transform(decoder: SemanticDecoder, x: Tensor) -> Tensor:
    """Return the discriminative transformation [x, Dec(x), h(x)] (n, D + A + H) of features x (n, D)."""
    return torch.cat([x, *decoder(x)], dim=1)
