"""ESZSL, a closed-form zero-shot classifier, as published and on centered features and attributes.

Romera-Paredes and Torr, "An Embarrassingly Simple Approach to Zero-Shot Learning", ICML 2015:

    V = (XᵀX + γI)⁻¹ XᵀYS (SᵀS + λI)⁻¹,    score of class k = xᵀ V a_k

with X (n, d) features, Y (n, s) targets in {−1, 1} and S (s, a) the attributes of the seen classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import ClassVar

import torch
from torch import Tensor

from zslab.baselines.base import Baseline, Settings, TrainingSet, attribute_side, ridge_solver
from zslab.data.lazy import CHUNK

GAMMAS = (1e-2, 1e-1, 1.0, 1e1, 1e2, 1e3, 1e4, 1e5)
LAMBDAS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 1e1, 1e2)


@dataclass
class Eszsl(Baseline):
    """ESZSL with regularizers γ of the features and λ of the attributes."""

    name: ClassVar[str] = "ESZSL"
    grid: ClassVar[tuple[Settings, ...]] = tuple({"gamma": g, "lambda_": r} for g, r in product(GAMMAS, LAMBDAS))

    gamma: float = 1.0
    lambda_: float = 1.0

    def _solver(self, data: TrainingSet) -> Callable[[Eszsl], dict[str, Tensor]]:
        """Return the solver: either regularizer is solved for once per value, and their product is V (d, a)."""
        features, attributes = feature_side(data), attribute_side(data)
        return lambda model: {"matrix": features(model.gamma) @ attributes(model.lambda_)}

    def _embed(self, attributes: Tensor) -> Tensor:
        return attributes @ self.weights_["matrix"].T


def feature_side(data: TrainingSet) -> Callable[[float], Tensor]:
    """Return γ -> (XᵀX + γI)⁻¹XᵀY; with fewer samples than dimensions it is computed as Xᵀ(XXᵀ + γI)⁻¹Y."""
    n, dim = data.features.shape
    if n < dim:
        x = data.features[:].double() - data.feature_mean
        ranks = torch.arange(len(data.seen), device=x.device)
        targets = torch.where(data.targets[:, None] == ranks, 1.0, -1.0).double()
        dual = ridge_solver(x @ x.T, targets)
        return lambda gamma: x.T @ dual(gamma)
    gram = data.feature_mean.new_zeros(dim, dim)
    for part in data.features.split(CHUNK):
        x = part.double() - data.feature_mean
        gram.addmm_(x.T, x)
    sums = data.class_sums()
    return ridge_solver(gram, (2 * sums - sums.sum(dim=0)).T)  # a target is 1 for the own class and −1 for the others
