"""Prototype regression: the mean feature of a class as a linear function of its attributes.

Ridge regression of the seen classes' mean features M (s, d) on their attributes S (s, a) gives every class the prototype
a_k (SᵀS + λI)⁻¹ SᵀM; a feature belongs to the class whose prototype has the largest cosine with it. The linear case of
Changpinyo et al., "Predicting Visual Exemplars of Unseen Classes for Zero-Shot Learning", ICCV 2017.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from zslab.baselines.base import Baseline, Settings, TrainingSet, attribute_side


@dataclass
class PrototypeRegression(Baseline):
    """Nearest prototype by cosine, with regularizer λ of the regression from attributes to mean features."""

    name: ClassVar[str] = "prototype regression"
    grid: ClassVar[tuple[Settings, ...]] = tuple({"lambda_": 10.0**power} for power in range(-4, 4))

    lambda_: float = 1.0

    def _solver(self, data: TrainingSet) -> Callable[[PrototypeRegression], dict[str, Tensor]]:
        means, attributes = data.class_sums() / data.counts[:, None], attribute_side(data)
        return lambda model: {"matrix": means.T @ attributes(model.lambda_)}

    def _embed(self, attributes: Tensor) -> Tensor:
        return F.normalize(attributes @ self.weights_["matrix"].T, dim=1)

    def transform(self, features: Tensor) -> Tensor:
        """Return centered features (n, d) of unit norm."""
        return F.normalize(super().transform(features), dim=1)
