"""The networks of the action experiments. B batch, D feature, A attribute, Z latent dimension, H = ngh, N = ndh.

| network           | input                 | layers                                               | output              |
|-------------------|-----------------------|------------------------------------------------------|---------------------|
| Encoder           | x (B, D), a (B, A)    | D+A → H → 2Z, LeakyReLU after both; two heads 2Z → Z | mean, log σ² (B, Z) |
| Generator         | z (B, Z), a (B, A), f | Z+A → H LeakyReLU, + δ·f; H → D sigmoid              | x̂ (B, D) in (0, 1)  |
| Critic            | x (B, D), a (B, A)    | D+A → N LeakyReLU → 1                                | score (B,)          |
| Feedback          | h (B, H)              | H → H → H, LeakyReLU after both                      | f (B, H)            |
| SemanticDecoder   | x (B, D)              | D → H LeakyReLU =: h; H → A, sigmoid                 | â (B, A), h (B, H)  |

`zslab/tfvaegan/networks.py` defines the networks and names their sources; this module chooses their sizes and the decoder's
output: a sigmoid, because its loss is a cross-entropy (`--no_bce_att`: unit norm, as for images). `classifier_entropy.py` has
the gate's detector.
"""

from zslab.config import ActionConfig
from zslab.data.dataset import StageData
from zslab.shared.wgan import Critic, Generator
from zslab.tfvaegan.networks import Encoder, Feedback, Networks, SemanticDecoder

__all__ = ["Critic", "Encoder", "Feedback", "Generator", "Networks", "SemanticDecoder", "build_networks"]


def build_networks(config: ActionConfig, data: StageData) -> Networks:
    """Return new networks of the sizes in config and data, drawn from PyTorch's global random numbers."""
    return Networks.build(config, data.feature_dim, data.attribute_dim)
