"""What the predictor needs of a method, and how a method takes its tensors out of a model file.

A method turns features into one table of class scores, explains a class by its attributes, and takes new classes in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from zslab.app.json_reader import contradiction
from zslab.app.model_file import Model
from zslab.errors import InputError

INTEGERS = ("classes", "num_batches_tracked")
LARGEST_SCORE = 1e6  # of margins and calibration constants; class scores are a few units


class ForwardPass(Protocol):
    """What a method computes for n samples. Columns of classes are in the model's order."""

    def scores(self, unseen_only: bool, calibration: float) -> Tensor:
        """Return (n, C) class scores, -inf for classes that are out of the question.

        Args:
            unseen_only: choose among the unseen classes only.
            calibration: is subtracted from the scores of the seen classes.
        """

    def contributions(self, classes: Tensor) -> tuple[Tensor, Tensor] | None:
        """Return what each attribute adds to the score of a class, and what was read off the sample, (n, A) each.

        Args:
            classes: (n,) the class to explain for each sample.
        """

    def attention(self) -> Tensor | None:
        """Return where the method looks for each attribute: (n, A, rows, columns), each map summing to 1."""


class Method(Protocol):
    """A trained method.

    Attributes:
        uses_regions: whether it takes region features (D, rows, columns) instead of pooled ones (D,).
        feature_shape: of one sample.
        chunk: samples that go through it at a time.
    """

    uses_regions: bool
    feature_shape: tuple[int, ...]
    chunk: int

    @property
    def generalized(self) -> bool:
        """Whether it can choose among seen and unseen classes together."""

    @property
    def weights(self) -> dict[str, Tensor]:
        """All tensors under the names of the model file."""

    def as_stored(self, features: Tensor) -> Tensor:
        """Return fresh features in the precision in which training features were stored."""

    def forward(self, features: Tensor) -> ForwardPass:
        """Look at scaled features (n, *feature_shape)."""

    def check_classes(self, model: Model) -> None:
        """Check that `set_classes` will have what it needs.

        Raises:
            InputError: it will not.
        """

    def set_classes(self, model: Model) -> None:
        """Take over the classes and attributes of a model that differs in nothing else."""

    def copy(self) -> Method:
        """Return a method whose classes may be changed without changing this one's; the networks are shared."""


def take_tensors(
    name: str, shapes: Mapping[str, tuple[int, ...]], weights: Mapping[str, Tensor], where: str
) -> dict[str, Tensor]:
    """Return the tensors "<name>.<key>" ("<key>" without a name) of a model file by key.

    Args:
        name: prefix of the tensors' names; "" for none.
        shapes: key -> shape; those named in `INTEGERS` are int64, others float32.
        weights: all tensors of the model.
        where: names the model in messages.

    Raises:
        InputError: one is missing or has another shape or type.
    """
    taken = {}
    for key, shape in shapes.items():
        entry = f"{name}.{key}" if name else key
        value, dtype = weights.get(entry), torch.int64 if key.rpartition(".")[2] in INTEGERS else torch.float32
        if value is None or tuple(value.shape) != shape or value.dtype != dtype:
            found = "nothing" if value is None else f"{value.dtype} {tuple(value.shape)}"
            raise contradiction(f"{where}, weights.{entry}", found, f"{dtype} {shape}")
        taken[key] = value
    return taken


def check_same_classes(name: str, found: Tensor, expected: Tensor, where: str) -> None:
    """Refuse a head whose classes are not those that the model says."""
    if not torch.equal(found, expected):
        raise contradiction(f"{where}, weights.{name}.classes", found[:10].tolist(), f"{expected[:10].tolist()} ...")


def check_features(features: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return features as float32.

    Args:
        features: (n, *shape) as a user gives them.
        shape: of one sample.

    Raises:
        InputError: they have another shape or are not finite numbers.
    """
    features = np.asarray(features)
    if features.ndim != 1 + len(shape) or features.shape[1:] != shape or features.dtype.kind not in "fiu":
        raise InputError(
            "the features have another shape",
            where="the features",
            found=f"{features.dtype} {features.shape}",
            expected=f"numbers (n, {', '.join(map(str, shape))})",
            fix="Use features of the backbone of training.",
        )
    if not np.isfinite(features).all():
        raise InputError(
            "the features contain NaN or infinity",
            where="the features",
            found=f"{(~np.isfinite(features)).sum()} such values",
            expected="finite numbers",
            fix="Extract them again.",
        )
    return np.ascontiguousarray(features, dtype=np.float32)


def checked_scores(forward: ForwardPass, unseen_only: bool, calibration: float) -> Tensor:
    """Return `ForwardPass.scores`.

    Raises:
        InputError: some are NaN: the model holds finite numbers whose products are not.
    """
    scores = forward.scores(unseen_only, calibration)
    if scores.isnan().any():
        raise InputError(
            "the model gives scores that are no numbers",
            where="the model",
            found=f"{int(scores.isnan().sum())} of {scores.numel()} scores",
            expected="finite scores",
            fix="Its weights or scaling are too large: export the model again, or train it again.",
        )
    return scores
