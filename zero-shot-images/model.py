"""The networks of the image experiments. B batch, D feature, A attribute, Z latent dimension, H = ngh, N = ndh.

| network           | input                 | layers                                              | output            |
|-------------------|-----------------------|-----------------------------------------------------|-------------------|
| Encoder           | x (B, D), a (B, A)    | D+A → H → 2Z, LeakyReLU after both; two heads 2Z → Z | mean, log σ² (B, Z) |
| Generator         | z (B, Z), a (B, A), f | Z+A → H LeakyReLU, + δ·f; H → D sigmoid             | x̂ (B, D) in (0, 1) |
| Critic            | x (B, D), a (B, A)    | D+A → N LeakyReLU → 1                               | score (B,)        |
| Feedback          | h (B, H)              | H → H → H, LeakyReLU after both                     | f (B, H)          |
| SemanticDecoder   | x (B, D)              | D → H LeakyReLU =: h; H → A, divided by its L2 norm | â (B, A), h (B, H) |

The transductive variant has a second Critic, without attributes. `zslab/tfvaegan/networks.py` defines the networks and names
their sources; this module chooses their sizes, and a decoder whose output has unit norm, as the attributes do.

DAZLE computes class scores (B, k) and an attention map for every attribute (B, A, r) from region maps (B, r, D) and class
attributes (k, A); `zslab/dazle/model.py` has its table.
"""

from zslab.config import DazleConfig, ImageConfig
from zslab.data.dataset import StageData
from zslab.data.region_dataset import RegionStageData
from zslab.dazle.model import Dazle
from zslab.shared.wgan import Critic, Generator
from zslab.tfvaegan.networks import Encoder, Feedback, Networks, SemanticDecoder
from zslab.utils.seeds import WEIGHTS, stream

__all__ = [
    "Critic",
    "Dazle",
    "Encoder",
    "Feedback",
    "Generator",
    "Networks",
    "SemanticDecoder",
    "build_dazle",
    "build_networks",
]


def build_networks(config: ImageConfig, data: StageData) -> Networks:
    """Return new networks of the sizes in config and data, drawn from PyTorch's global random numbers."""
    return Networks.build(config, data.feature_dim, data.attribute_dim)


def build_dazle(config: DazleConfig, data: RegionStageData) -> Dazle:
    """Return a fresh model of the data's sizes, drawn from the config's seed."""
    return Dazle(
        data.word_vectors if config.w2v else None,
        data.attribute_dim,
        data.feature_dim,
        config.dim_v,
        config,
        stream(config.manualSeed, WEIGHTS),
        data.regions.grid,
    )
