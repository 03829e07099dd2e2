"""A data set as the methods see it: samples with labels, class attributes, and their split into stages.

`Dataset.stage` gives the tensors of the final experiment (train on trainval, test on test_seen and test_unseen) or of the
validation experiment (train on the train classes, "test" on a hold-out of them and on the val classes), each scaled with
the statistics of its own training samples.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from zslab.data.lazy import CHUNK, LazyFeatures, StoredFeatures, fits
from zslab.data.splits import VALIDATION_CLASSES, draw_hold_out, draw_partition, equal_rows, recognize_split
from zslab.errors import InputError

if TYPE_CHECKING:
    from typing_extensions import Self

Stage = Literal["test", "validation"]
Scaling = Literal["minmax", "standard", "none"]

HOLD_OUT = 0.2  # share of each train class's samples that stands in for test_seen in the validation stage


@dataclass(frozen=True)
class Samples:
    """Samples: features (n, feature_dim) float32, in memory or read on demand, and labels (n,), rows of `attributes`."""

    features: Tensor | LazyFeatures
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def classes(self) -> Tensor:
        """(k,) classes that have samples here, ascending."""
        classes: Tensor = torch.unique(self.labels)
        return classes

    def to(self, device: torch.device) -> Samples:
        """Return the same samples on another device."""
        return Samples(self.features.to(device), self.labels.to(device))


@dataclass(frozen=True)
class StageData:
    """The training and test samples of one experiment."""

    stage: Stage
    attributes: Tensor  #: (C, attribute_dim) float32, rows of unit L2 norm
    seen_classes: Tensor  #: (s,) rows of `attributes` that have training samples
    unseen_classes: Tensor  #: (u,) rows of `attributes` without any
    train: Samples  #: of seen classes only
    test_seen: Samples  #: other samples of the seen classes
    test_unseen: Samples  #: samples of the unseen classes, of which the test stage may have some without any

    @property
    def feature_dim(self) -> int:
        """Width of the features."""
        return self.train.features.shape[1]

    @property
    def attribute_dim(self) -> int:
        """Width of the attribute vectors."""
        return self.attributes.shape[1]

    @property
    def classes(self) -> Tensor:
        """(s + u,) seen and unseen classes, ascending."""
        return torch.cat([self.seen_classes, self.unseen_classes]).sort().values

    @property
    def test_labels(self) -> Tensor:
        """(n,) labels of test_seen followed by test_unseen."""
        return torch.cat([self.test_seen.labels, self.test_unseen.labels])

    def to(self, device: torch.device) -> StageData:
        """Return the same experiment on another device."""
        names = ("attributes", "seen_classes", "unseen_classes", "train", "test_seen", "test_unseen")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})


@dataclass(frozen=True)
class Dataset:
    """A feature file and a split file, read and checked, not scaled."""

    name: str  #: folder of the data set
    image_embedding: str  #: name of the feature file, without its suffix
    class_embedding: str  #: name of the split file, without "_splits.mat"
    features: np.ndarray  #: (N, feature_dim) float32; or float16 or float32, mapped from disk
    labels: np.ndarray  #: (N,) int64, 0-based rows of `attributes`
    attributes: np.ndarray  #: (C, attribute_dim) float32, rows of unit L2 norm
    class_names: list[str]  #: "class 1", ... where the file has none
    locations: dict[str, np.ndarray]  #: name without "_loc" -> 0-based sample indices, for the lists that the file has
    split_version: str  #: "v1", "v2", "custom" or "none" (no train/val lists), see `splits.recognize_split`; or "partition 3"
    notes: list[str] = field(default_factory=list)  #: sentences that belong beside every result on this data
    #: rows of `attributes` that the split file declares unseen, with or without samples; need not list those of test_unseen
    unseen_classes: np.ndarray = field(default_factory=lambda: np.array([], dtype=np.int64))

    def with_partition(self, number: int | None) -> Self:
        """Return the data set with a random split of the same shape, see `splits.draw_partition`; unchanged for None."""
        if number is None:
            return self
        _, of_file = recognize_split(self.name, self.locations, self.labels)
        locations = draw_partition(self.labels, self.locations, number, equal_rows(self.features))
        drawn = self.labels[np.concatenate(list(locations.values()))]
        note = f"Partition {number} draws seen and unseen classes at random: features may have been trained on unseen classes "
        note += "(those of ImageNet, or those of a fine-tuning)."
        return replace(
            self,
            locations=locations,
            split_version=f"partition {number}",
            notes=[*(text for text in self.notes if text not in of_file), note],
            unseen_classes=np.setdiff1d(self.unseen_classes, drawn),  # those without samples stay unseen
        )

    def stage(self, stage: Stage, scaling: Scaling = "minmax", seed: int = 0) -> StageData:
        """Return the tensors of one experiment, scaled with the statistics of its own training samples; see `fit_scaling`.

        "test" trains on trainval; "validation" never touches test_seen nor test_unseen. `seed` is that of the validation
        stage's hold-out, and of its classes where the file has no train/val lists.
        """
        train, seen, unseen = self.stage_locations(stage, seed)
        scale = fit_scaling(self.features, train, scaling)
        streamed = isinstance(self.features, np.memmap) and not fits(*self.features.shape)

        def samples(indices: np.ndarray) -> Samples:
            rows = StoredFeatures(self.features, indices, scale)
            return Samples(rows if streamed else rows[:], torch.from_numpy(self.labels[indices]))

        parts = samples(train), samples(seen), samples(unseen)
        unseen_classes = parts[2].classes
        if stage == "test":
            unseen_classes = torch.cat([unseen_classes, torch.from_numpy(self.unseen_classes)]).unique()
        return StageData(stage, torch.from_numpy(self.attributes), parts[0].classes, unseen_classes, *parts)

    def stage_locations(self, stage: Stage, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the sample indices (train, test_seen, test_unseen) of a stage; for `seed` see `stage`.

        Those of the validation stage are drawn from trainval alone. Whatever train_loc and val_loc contain beyond it is
        dropped: in version 1 of the Proposed Split that is all of test_seen.
        """
        trainval = self.locations["trainval"]
        if stage == "test":
            return trainval, self.locations["test_seen"], self.locations["test_unseen"]
        generator = np.random.default_rng(seed)
        if self.split_version == "none":
            seen = generator.permutation(np.unique(self.labels[trainval]))
            is_val = np.isin(self.labels[trainval], seen[: max(1, round(VALIDATION_CLASSES * len(seen)))])
            train, val = trainval[~is_val], trainval[is_val]
        else:
            train, val = (np.intersect1d(self.locations[key], trainval) for key in ("train", "val"))
        hold_out = draw_hold_out(train, self.labels, HOLD_OUT, generator)
        shared = np.intersect1d(self.labels[train], self.labels[val])
        if len(shared) or not (len(hold_out) and len(val)):
            where, got = f"{self.name}, {self.class_embedding}", f"{len(hold_out)} held out and {len(val)} of val classes"
            got = f"class {shared[0] + 1} in both" if len(shared) else got
            fix = "Correct the lists, leave both out so that validation draws classes, or leave out --select val."
            raise InputError("train_loc and val_loc must have samples, and no class in common", where=where, got=got, fix=fix)
        return np.setdiff1d(train, hold_out), hold_out, val

    @property
    def counts(self) -> dict[str, int]:
        """Number of samples in each list."""
        return {name: len(indices) for name, indices in self.locations.items()}


@dataclass(frozen=True)
class FeatureScaling:
    """The scaling of features before training, (x * factor + shift) / divisor: factor and shift are (D,) float64."""

    factor: np.ndarray
    shift: np.ndarray
    divisor: float

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Scale features (n, D) in float64; return (n, D) float32."""
        scaled = np.asarray(features, dtype=np.float64) * self.factor
        scaled += self.shift
        scaled /= self.divisor
        return np.ascontiguousarray(scaled, dtype=np.float32)

    def inverse(self, scaled: np.ndarray) -> np.ndarray:
        """Return the features (n, D) float32 that scaling turned into these."""
        return np.asarray((np.asarray(scaled, dtype=np.float64) * self.divisor - self.shift) / self.factor, dtype=np.float32)


def fit_scaling(features: np.ndarray, train: np.ndarray, scaling: Scaling) -> FeatureScaling:
    """Fit the scaling of a stage to the training rows (n,) of its features (N, D), in float64, reading them in parts.

    "minmax" maps each dimension to [0, 1], then divides by the largest training value: rounding can leave it slightly above 1,
    which binary cross-entropy does not accept. "standard" gives mean 0 and standard deviation 1.
    """
    ones = np.ones(features.shape[1])
    if scaling == "none":
        return FeatureScaling(ones, np.zeros_like(ones), 1.0)
    rows = np.sort(train)
    parts = (features[rows[start : start + CHUNK]].astype(np.float64) for start in range(0, len(rows), CHUNK))
    if scaling == "standard":
        from sklearn.preprocessing import StandardScaler  # as slow to import as PyTorch, and rarely needed

        scaler = StandardScaler()
        for part in parts:
            scaler.partial_fit(part)
        factor = 1 / scaler.scale_
        return FeatureScaling(factor, -scaler.mean_ * factor, 1.0)
    low, high = ones * np.inf, ones * -np.inf
    for part in parts:
        low, high = np.minimum(low, part.min(axis=0)), np.maximum(high, part.max(axis=0))
    spread = high - low
    factor = 1 / np.where(spread < 10 * np.finfo(np.float64).eps, 1.0, spread)  # a constant dimension becomes 0
    fitted = FeatureScaling(factor, 0 - low * factor, 1.0)
    largest = float(fitted(high).max())  # rounding keeps order, so no other sample comes out larger
    return replace(fitted, divisor=largest) if largest > 0 else fitted
