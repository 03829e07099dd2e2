"""What the baselines have in common: centering, and scores that are products of features and class prototypes.

A baseline follows scikit-learn: settings are constructor arguments, `fit` learns, learned arrays end in an underscore. `path`
fits many settings in little more time than one, because they share the preparation of the training samples.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import copy
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from zslab.data.dataset import Scaling
from zslab.data.lazy import CHUNK, LazyFeatures

if TYPE_CHECKING:
    from typing_extensions import Self

Settings = Mapping[str, float]


def class_sums(features: Tensor | LazyFeatures, targets: Tensor, n_classes: int, mean: Tensor) -> Tensor:
    """Return sums per class, (n_classes, d) float64, of features (n, d) minus `mean` (d,); `targets` (n,) are columns."""
    sums = mean.new_zeros(n_classes, len(mean), dtype=torch.float64)
    for part, columns in zip(features.split(CHUNK), targets.split(CHUNK)):
        sums.index_add_(0, columns, part.double() - mean)
    return sums


def mean_of_class_means(features: Tensor | LazyFeatures, targets: Tensor) -> Tensor:
    """Return the mean (d,) float64 of the class means of `features` (n, d); `targets` (n,) are 0..s − 1."""
    counts = torch.bincount(targets)
    zero = torch.zeros(features.shape[1], dtype=torch.float64, device=targets.device)
    return (class_sums(features, targets, len(counts), zero) / counts[:, None]).mean(dim=0)


@dataclass(frozen=True)
class TrainingSet:
    """The training samples of a baseline, with what centering subtracts."""

    features: Tensor | LazyFeatures  #: (n, d), not centered
    targets: Tensor  #: (n,) the rank of every sample's class among the seen classes
    feature_mean: Tensor  #: (d,) float64, the mean of the class means; zeros without centering
    attributes: Tensor  #: (C, a) float64 of all classes, minus `attribute_mean`
    attribute_mean: Tensor  #: (a,) float64, the mean over the seen classes; zeros without centering
    seen: Tensor  #: (s,) rows of `attributes` that have training samples, ascending

    @property
    def counts(self) -> Tensor:
        """Number of samples of every seen class, (s,)."""
        return torch.bincount(self.targets)

    def class_sums(self) -> Tensor:
        """Return the sums of the centered features of every seen class, (s, d) float64."""
        return class_sums(self.features, self.targets, len(self.seen), self.feature_mean)


@dataclass
class Baseline(ABC):
    """A classifier that scores class k by the inner product of a transformed feature and the class's prototype."""

    name: ClassVar[str]
    grid: ClassVar[tuple[Settings, ...]]  #: what is tried on validation
    scaling: ClassVar[Scaling] = "minmax"  #: of the features

    #: subtract from features the mean of the class means, and from attributes their mean over the seen classes
    center: bool = True
    feature_mean_: Tensor = field(init=False, repr=False)  #: (d,) float32 that `transform` subtracts
    attribute_mean_: Tensor = field(init=False, repr=False)  #: (a,) float64 that `prototypes` subtracts
    weights_: dict[str, Tensor] = field(init=False, repr=False)  #: what `prototypes` computes with, by name
    prototypes_: Tensor = field(init=False, repr=False)  #: (C, d) float32, one row for every row of the attribute matrix

    @abstractmethod
    def _solver(self, data: TrainingSet) -> Callable[[Self], dict[str, Tensor]]:
        """Return a function from a baseline to its weights, after the work that all settings share."""

    @abstractmethod
    def _embed(self, attributes: Tensor) -> Tensor:
        """Return prototypes (k, d) for centered attributes (k, a), both float64, by `weights_`."""

    def prototypes(self, attributes: Tensor) -> Tensor:
        """Return the prototypes (k, d) float32 of classes with attributes (k, a), which training need not have known."""
        return self._embed(attributes.double() - self.attribute_mean_).float()

    def fit(self, features: Tensor | LazyFeatures, labels: Tensor, attributes: Tensor) -> Self:
        """Learn from the samples of the seen classes.

        Args:
            features: (n, d) training features.
            labels: (n,) rows of `attributes`; the classes that occur are the seen ones.
            attributes: (C, a) of all classes.
        """
        (fitted,) = self.path(features, labels, attributes, [{}])
        vars(self).update(vars(fitted))
        return self

    def with_settings(self, settings: Settings) -> Self:
        """Return a copy, not fitted, with other settings."""
        changed = copy(self)
        for name, value in settings.items():
            setattr(changed, name, value)
        return changed

    def path(
        self, features: Tensor | LazyFeatures, labels: Tensor, attributes: Tensor, grid: Iterable[Settings]
    ) -> Iterator[Self]:
        """Yield one fitted copy for every element of `grid`, which names the settings that differ from this object's."""
        prepared: dict[bool, tuple[TrainingSet, Callable[[Self], dict[str, Tensor]]]] = {}
        for settings in grid:
            fitted = self.with_settings(settings)
            if fitted.center not in prepared:
                data = training_set(features, labels, attributes, fitted.center)
                prepared[fitted.center] = data, self._solver(data)
            data, solve = prepared[fitted.center]
            fitted.feature_mean_, fitted.attribute_mean_ = data.feature_mean.float(), data.attribute_mean
            fitted.weights_ = solve(fitted)
            fitted.prototypes_ = fitted.prototypes(attributes)
            yield fitted

    def empty_weights(self, attribute_dim: int, feature_dim: int) -> dict[str, Tensor]:
        """Return tensors on the "meta" device with the shapes and types of `weights_`; a linear baseline has one matrix."""
        return {"matrix": torch.empty(feature_dim, attribute_dim, dtype=torch.float64, device="meta")}

    def transform(self, features: Tensor) -> Tensor:
        """Return what prototypes are multiplied with, (n, d), for features (n, d)."""
        return features - self.feature_mean_

    def scores(self, features: Tensor) -> Tensor:
        """Return the score of every class, (n, C), for features (n, d)."""
        return self.transform(features) @ self.prototypes_.T

    def predict(self, features: Tensor, classes: Tensor) -> Tensor:
        """Return the best of some classes (k,) for features (n, d), as rows of the attribute matrix (n,)."""
        return classes[self.scores(features)[:, classes].argmax(dim=1)]


def ridge_solver(gram: Tensor, right: Tensor) -> Callable[[float], Tensor]:
    """Return λ -> (G + λI)⁻¹R for a positive semidefinite G (k, k) and R (k, m); every λ is solved for once."""

    @cache
    def solve(weight: float) -> Tensor:
        factor = torch.linalg.cholesky(gram + weight * torch.eye(len(gram), dtype=gram.dtype, device=gram.device))
        return torch.cholesky_solve(right, factor)

    return solve


def attribute_side(data: TrainingSet) -> Callable[[float], Tensor]:
    """Return λ -> (SSᵀ + λI)⁻¹S (s, a) = S(SᵀS + λI)⁻¹ for the attributes S (s, a) of the seen classes.

    Its product with the attributes of any class tells how ridge regression composes that class of the seen ones.
    """
    seen = data.attributes[data.seen]
    return ridge_solver(seen @ seen.T, seen)


def training_set(features: Tensor | LazyFeatures, labels: Tensor, attributes: Tensor, center: bool) -> TrainingSet:
    """Gather a baseline's training samples and measure what centering subtracts."""
    (seen, targets), attributes = labels.unique(return_inverse=True), attributes.double()
    feature_mean = torch.zeros(features.shape[1], dtype=torch.float64, device=labels.device)
    attribute_mean = torch.zeros_like(attributes[0])
    if center:
        feature_mean, attribute_mean = mean_of_class_means(features, targets), attributes[seen].mean(dim=0)
    return TrainingSet(features, targets, feature_mean, attributes - attribute_mean, attribute_mean, seen)
