"""Text similarity: the cosine of an image's vector and a class's text, for a backbone whose images and texts share a space.

CLIP classifies so without any training: Radford et al., "Learning Transferable Visual Models From Natural Language
Supervision", ICML 2021. Nothing is learned from the training samples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from zslab.baselines.base import Baseline, Settings, TrainingSet
from zslab.data.dataset import Scaling

LOGIT_SCALE = 100.0  # at which CLIP's own training ends


@dataclass
class TextSimilarity(Baseline):
    """Nearest class vector by cosine; features are as the backbone gives them."""

    name: ClassVar[str] = "text similarity"
    grid: ClassVar[tuple[Settings, ...]] = ({},)
    scaling: ClassVar[Scaling] = "none"

    center: bool = False

    def _solver(self, data: TrainingSet) -> Callable[[TextSimilarity], dict[str, Tensor]]:
        return lambda model: {}

    def _embed(self, attributes: Tensor) -> Tensor:
        return LOGIT_SCALE * F.normalize(attributes, dim=1)

    def empty_weights(self, attribute_dim: int, feature_dim: int) -> dict[str, Tensor]:
        """Return nothing: there are no weights."""
        return {}

    def transform(self, features: Tensor) -> Tensor:
        """Return features (n, d) of unit norm."""
        return F.normalize(features, dim=1)
