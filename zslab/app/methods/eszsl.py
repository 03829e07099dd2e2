"""An exported ESZSL on centered features and attributes: a bilinear score, to which a new class is a new row of attributes.

The score of class k for a feature x is (x − μ)ᵀ V (a_k − α), with μ and α the means of training; see `zslab.baselines.eszsl`.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from zslab.app.json_reader import JsonReader, contradiction
from zslab.app.methods.base import take_tensors
from zslab.app.model_file import Model


@dataclass(frozen=True)
class EszslPass:
    """(x − μ)ᵀV (n, A) of n samples; see `zslab.app.methods.base.ForwardPass`."""

    method: EszslMethod
    read: Tensor

    def scores(self, unseen_only: bool, calibration: float) -> Tensor:
        """Return (n, C) scores."""
        scores, is_seen = self.read @ self.method.attributes.T, self.method.is_seen
        return scores.masked_fill(is_seen, -torch.inf) if unseen_only else scores - calibration * is_seen

    def contributions(self, classes: Tensor) -> tuple[Tensor, Tensor]:
        """Return what each attribute adds to the class's score, and what was read off the sample, (n, A) each."""
        return self.read * self.method.attributes[classes], self.read

    def attention(self) -> None:
        """Return None: the method sees no regions."""


class EszslMethod:
    """The bilinear map with the attributes of the model's classes; see `zslab.app.methods.base.Method`.

    Raises:
        InputError: settings or weights are not ESZSL's.
    """

    uses_regions, generalized, chunk = False, True, 8192
    feature_shape: tuple[int, ...]

    def __init__(self, model: Model, where: str, device: torch.device):
        d, a = JsonReader(model.settings, f"{where}, settings.").integer("feature_dim"), len(model.attribute_names)
        if model.scaling is None or len(model.scaling.factor) != d:
            raise contradiction(f"{where}, scaling_factor", "another number of dimensions", d)
        shapes: dict[str, tuple[int, ...]] = {"compatibility": (d, a), "feature_mean": (d,), "attribute_mean": (a,)}
        self.weights, self.device, self.feature_shape = take_tensors("", shapes, model.weights, where), device, (d,)
        self.compatibility, self.feature_mean, self.attribute_mean = (self.weights[name].to(device) for name in shapes)
        self.set_classes(model)

    def check_classes(self, model: Model) -> None:
        """Accept all classes."""

    def set_classes(self, model: Model) -> None:
        """Take over classes and attributes."""
        self.attributes = model.attributes.to(self.device) - self.attribute_mean
        self.is_seen = torch.from_numpy(model.seen).to(self.device)

    def copy(self) -> EszslMethod:
        """Return a method with classes of its own."""
        return copy.copy(self)

    def as_stored(self, features: Tensor) -> Tensor:
        """Return the features: they are stored as they are."""
        return features

    def forward(self, features: Tensor) -> EszslPass:
        """Look at scaled features (n, D)."""
        return EszslPass(self, (features - self.feature_mean) @ self.compatibility)
