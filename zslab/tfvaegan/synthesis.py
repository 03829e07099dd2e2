"""Features of unseen classes from a trained TF-VAEGAN, and the discriminative transformation of features.

Source: Narayan et al., ECCV 2020, section 3.3: every feature x, real or synthesized, becomes [x, Dec(x), h(x)].
"""

import torch
from torch import Tensor

from zslab.data.dataset import Samples
from zslab.shared import synthesis
from zslab.tfvaegan.networks import Networks, SemanticDecoder
from zslab.tfvaegan.steps import generate


def synthesize(
    networks: Networks, attributes: Tensor, classes: Tensor, n: int, feedback_weight: float | None, generator: torch.Generator
) -> Samples:
    """Synthesize n features for each class, see `zslab.shared.synthesis.synthesize`.

    Args:
        networks: trained; generator, and where feedback is used feedback module and decoder.
        attributes: (C, A) of all classes.
        classes: (u,) the classes to synthesize.
        n: features of each.
        feedback_weight: δ in synthesis; None without feedback.
        generator: draws the noise; on the attributes' device.
    """

    def make(z: Tensor, a: Tensor) -> Tensor:
        return generate(networks, z, a, feedback_weight)

    latent_dim = networks.generator.hidden.in_features - attributes.shape[1]
    return synthesis.synthesize(make, attributes, classes, n, latent_dim, networks.decoder.hidden.in_features, generator)


@torch.no_grad()
def transform(decoder: SemanticDecoder, x: Tensor) -> Tensor:
    """Return the discriminative transformation [x, Dec(x), h(x)] (n, D + A + H) of features x (n, D)."""
    return torch.cat([x, *decoder(x)], dim=1)
