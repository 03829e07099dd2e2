"""The "xlsa17" layout of Xian et al. (TPAMI 2018): a feature file and a split file per data set.

    <dataroot>/<dataset>/<image_embedding>.mat          features (D, N), labels (N, 1) 1-based, image_files
    <dataroot>/<dataset>/<class_embedding>_splits.mat   att (A, C), allclasses_names, and 1-based index lists
                                                        trainval_loc, train_loc, val_loc, test_seen_loc, test_unseen_loc

A split file may also name unseen_classes (1-based columns of att): unseen classes that need no samples, so that
test_unseen_loc may lack some of them or be empty. They are trained for like the others; measured are those with samples.

`read_xlsa17` reads and checks both files once; `Dataset.stage` then gives the tensors of the final experiment (train on
trainval, test on test_seen and test_unseen) or of the validation experiment (train on the train classes, "test" on a
hold-out of them and on the val classes), each scaled with what its own training samples tell.

A set too large for memory has two NumPy files in place of the feature file,

    <image_embedding>_features.npy (N, D) float16 or float32, <image_embedding>_labels.npy (N,) 1-based

of which features are read batch by batch, and scaled as they are read, where all of them would not fit (`zsl.rows`).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from torch import Tensor

from zsl.data.matfile import read_mat
from zsl.data.npyfile import read_array, read_matrix
from zsl.errors import InputError
from zsl.rows import CHUNK, StoredRows, fits

Stage = Literal["test", "validation"]
Scaling = Literal["minmax", "standard", "none"]

LOCATIONS = ("trainval_loc", "test_seen_loc", "test_unseen_loc", "train_loc", "val_loc")

# Samples (trainval, test_seen, test_unseen) and classes (seen, unseen) of the Proposed Split, Xian et al., TPAMI 2018;
# FLO as used by f-CLSWGAN (CVPR 2018).
PROPOSED_SPLIT = {
    "CUB": (7057, 1764, 2967, 150, 50),
    "AWA2": (23527, 5882, 7913, 40, 10),
    "AWA1": (19832, 4958, 5685, 40, 10),
    "SUN": (10320, 2580, 1440, 645, 72),
    "FLO": (5631, 1403, 1155, 82, 20),
    "APY": (5932, 1483, 7924, 20, 12),
}

HOLD_OUT = 0.2  # share of each train class's samples that plays the part of test_seen in the validation stage
VALIDATION_CLASSES = 0.25  # share of the seen classes that plays the part of the unseen ones where a file does not say


@dataclass(frozen=True)
class Samples:
    """Features (n, feature_dim) float32, in memory or read when asked for, with their labels (n,) int64, which are rows of
    the attribute matrix."""

    features: Tensor | StoredRows
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def classes(self) -> Tensor:
        """(k,) the classes that have samples here, ascending."""
        return self.labels.unique()

    def to(self, device: torch.device) -> Samples:
        return Samples(self.features.to(device), self.labels.to(device))


@dataclass(frozen=True)
class StageData:
    """One experiment: what to train on and what to be judged by.

    Attributes:
        stage: "test" or "validation".
        attributes: (C, attribute_dim) float32, rows of unit L2 norm.
        seen_classes: (s,) rows of `attributes` that have training samples.
        unseen_classes: (u,) rows of `attributes` without any.
        train: the training samples, seen classes only.
        test_seen: other samples of the seen classes.
        test_unseen: the samples of the unseen classes, of which the test stage may have some without any.
    """

    stage: Stage
    attributes: Tensor
    seen_classes: Tensor
    unseen_classes: Tensor
    train: Samples
    test_seen: Samples
    test_unseen: Samples

    @property
    def feature_dim(self) -> int:
        return self.train.features.shape[1]

    @property
    def attribute_dim(self) -> int:
        return self.attributes.shape[1]

    @property
    def classes(self) -> Tensor:
        """(s + u,) all classes that take part, ascending."""
        return torch.cat([self.seen_classes, self.unseen_classes]).sort().values

    @property
    def test_labels(self) -> Tensor:
        """(n,) labels of test_seen followed by test_unseen."""
        return torch.cat([self.test_seen.labels, self.test_unseen.labels])

    def to(self, device: torch.device) -> StageData:
        moved = {
            name: getattr(self, name).to(device)
            for name in ("attributes", "seen_classes", "unseen_classes", "train", "test_seen", "test_unseen")
        }
        return replace(self, **moved)


@dataclass(frozen=True)
class Dataset:
    """A feature file and a split file, read and checked, not scaled.

    Attributes:
        name, image_embedding, class_embedding: what was read.
        features: (N, feature_dim) float32; or float16 or float32, mapped from disk.
        labels: (N,) int64, 0-based rows of `attributes`.
        attributes: (C, attribute_dim) float32, rows of unit L2 norm.
        class_names: C names ("class 1", ... where the file has none).
        locations: name without "_loc" -> 0-based sample indices, for the lists that the file has.
        split_version: "v1", "v2", "custom" or "none" (no train/val lists); see `recognise_split`.
        notes: sentences that belong beside every result on this data.
        unseen_classes: rows of `attributes` that are unseen, whether they have samples or not; those that do need not be
            listed.
    """

    name: str
    image_embedding: str
    class_embedding: str
    features: np.ndarray
    labels: np.ndarray
    attributes: np.ndarray
    class_names: list[str]
    locations: dict[str, np.ndarray]
    split_version: str
    notes: list[str] = field(default_factory=list)
    unseen_classes: np.ndarray = field(default_factory=lambda: np.array([], dtype=np.int64))

    def stage(self, stage: Stage, scaling: Scaling = "minmax", seed: int = 0) -> StageData:
        """The tensors of one experiment, scaled by its own training samples.

        Args:
            stage: "test" trains on trainval; "validation" never touches test_seen nor test_unseen.
            scaling: "minmax" (each dimension to [0, 1], then divided by the largest training value), "standard" or "none".
            seed: of the validation stage's hold-out, and of its class split where the file has no train/val lists.
        """
        train, seen, unseen = self.stage_locations(stage, seed)
        scale = fit_scaling(self.features, train, scaling)
        streamed = isinstance(self.features, np.memmap) and not fits(*self.features.shape)

        def samples(indices: np.ndarray) -> Samples:
            rows = StoredRows(self.features, indices, scale)
            return Samples(rows if streamed else rows[:], torch.from_numpy(self.labels[indices]))

        parts = samples(train), samples(seen), samples(unseen)
        unseen_classes = parts[2].classes
        if stage == "test":
            unseen_classes = torch.cat([unseen_classes, torch.from_numpy(self.unseen_classes)]).unique()
        return StageData(
            stage, torch.from_numpy(self.attributes), parts[0].classes, unseen_classes,
            train=parts[0], test_seen=parts[1], test_unseen=parts[2],
        )

    def stage_locations(self, stage: Stage, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Sample indices (train, test_seen, test_unseen) of a stage."""
        if stage == "validation":
            return self.validation_locations(seed)
        return self.locations["trainval"], self.locations["test_seen"], self.locations["test_unseen"]

    def validation_locations(self, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Sample indices (train, hold-out of the train classes, val classes), drawn from trainval alone.

        Whatever train_loc and val_loc contain beyond trainval is dropped: in version 1 of the Proposed Split that is all
        of test_seen.
        """
        generator = np.random.default_rng(seed)
        trainval = self.locations["trainval"]
        if self.split_version == "none":
            seen = generator.permutation(np.unique(self.labels[trainval]))
            val_classes = seen[: max(1, round(VALIDATION_CLASSES * len(seen)))]
            is_val = np.isin(self.labels[trainval], val_classes)
            train, val = trainval[~is_val], trainval[is_val]
        else:
            train, val = (np.intersect1d(self.locations[k], trainval) for k in ("train", "val"))
        where = f"train_loc and val_loc of {self.name} ({self.class_embedding}_splits.mat)"
        shared = np.intersect1d(self.labels[train], self.labels[val])
        if len(shared):
            raise InputError(
                "overlapping splits", where=where, found=f"{len(shared)} classes on both sides, e.g. {shared[0] + 1}",
                expected="train classes and val classes without a common class",
                cure="Use a split file whose train_loc and val_loc differ by class, or leave out --select val.",
            )
        held_out = []
        for label in np.unique(self.labels[train]):
            members = generator.permutation(train[self.labels[train] == label])
            # A class with a single sample keeps it for training.
            held_out.append(members[: min(max(1, round(HOLD_OUT * len(members))), len(members) - 1)])
        hold_out = np.sort(np.concatenate(held_out)) if held_out else np.array([], dtype=np.int64)
        if not (len(hold_out) and len(val)):
            raise InputError(
                "no validation split", where=where, found=f"{len(hold_out)} hold-out and {len(val)} val samples",
                expected="samples in both", cure="Leave out --select val, or give the file train_loc and val_loc.",
            )
        return np.setdiff1d(train, hold_out), hold_out, val

    @property
    def counts(self) -> dict[str, int]:
        """Samples in each list."""
        return {name: len(indices) for name, indices in self.locations.items()}


def read_xlsa17(dataroot: Path, dataset: str, image_embedding: str, class_embedding: str) -> Dataset:
    """Reads and checks a feature file and a split file.

    Raises:
        InputError: a file is missing or damaged, or its content cannot be right; the message tells what to do.
    """
    folder = Path(dataroot) / dataset
    if not folder.is_dir():
        raise InputError(
            "missing data set", where=folder, found="no such folder",
            expected=f"a folder with {image_embedding}.mat and {class_embedding}_splits.mat",
            cure=(f"Download it: `python -m zsl.data.download {dataset} --dataroot DIR`. " if dataset in PROPOSED_SPLIT else "")
            + "data/README.md of the tree says how sets are made or come there; --dataroot names the folder that holds it.",
        )
    feature_file, split_file = folder / f"{image_embedding}.mat", folder / f"{class_embedding}_splits.mat"
    mapped = folder / f"{image_embedding}_features.npy"
    if mapped.is_file() and not feature_file.is_file():
        feature_file = mapped
        features, labels = map_features(mapped, folder / f"{image_embedding}_labels.npy")
    else:
        features, labels = read_features(feature_file)
    return assemble(dataset, image_embedding, class_embedding, features, labels, feature_file, split_file)


def assemble(
    dataset: str,
    image_embedding: str,
    class_embedding: str,
    features: np.ndarray,
    labels: np.ndarray,
    feature_file: Path,
    split_file: Path,
    attribute_file: Path | None = None,
) -> Dataset:
    """Joins features that have been read with a split file, checking that they fit.

    Args:
        features: (N, feature_dim) float32, or mapped from disk and float16 or float32.
        labels: (N,) int64, 1-based.
        feature_file: where they come from, for messages.
        attribute_file: a .npy file (C, attribute_dim) to read instead of the split file's att.
    """
    optional = ["train_loc", "val_loc", "allclasses_names", "all_classes", "unseen_classes"]
    if attribute_file is None:
        split = read_mat(split_file, ["att", *LOCATIONS[:3]], optional)
        attributes = check_attributes(split["att"], split_file)
    else:
        split = read_mat(split_file, LOCATIONS[:3], [*optional, "att"])
        n = split["att"].shape[1] if "att" in split else labels.max()
        stored = read_matrix(
            attribute_file, "class attributes", n_rows=n,
            expected=f"a NumPy file of shape ({n}, attribute_dim), one row a class in the order of the labels",
            cure="data/README.md of the tree says what the file is; --no_manual_att takes att of the split file instead.",
        )
        attributes = check_attributes(stored.T, attribute_file)
    n_classes = len(attributes)
    names = split.get("allclasses_names", split.get("all_classes"))
    if names is None or len(names) != n_classes:
        names = [f"class {number}" for number in range(1, n_classes + 1)]
    if labels.max() > n_classes:
        raise InputError(
            "a class without attributes", where=feature_file, found=f"label {labels.max()}",
            expected=f"labels in 1..{n_classes}, the columns of att in {split_file.name}",
            cure="Feature file and split file do not belong together, or the labels are not 1-based columns of att.",
        )
    labels = labels - 1
    unseen_classes = np.array([], dtype=np.int64)
    if "unseen_classes" in split:
        unseen_classes = check_location(split["unseen_classes"], "unseen_classes", split_file, n_classes)
    locations = {
        key.removesuffix("_loc"): check_location(split[key], key, split_file, len(labels))
        for key in LOCATIONS if key in split and not (key == "test_unseen_loc" and len(unseen_classes) and not split[key].size)
    }
    locations.setdefault("test_unseen", np.array([], dtype=np.int64))
    check_disjoint(locations, labels, split_file)
    taught = np.intersect1d(unseen_classes, labels[locations["trainval"]])
    if len(taught):
        raise InputError(
            "overlapping splits", where=split_file,
            found=f"{len(taught)} unseen_classes, e.g. {taught[0] + 1}, in trainval_loc",
            expected="unseen classes without training samples", cure="Remove them from either list.",
        )
    absent = np.setdiff1d(np.arange(n_classes), np.concatenate([labels, unseen_classes]))
    if len(absent):
        raise InputError(
            "a class without samples", where=feature_file,
            found=f"no sample of {len(absent)} of {n_classes} classes, e.g. {absent[0] + 1} ({names[absent[0]]})",
            expected=f"at least one sample for every column of att in {split_file.name}",
            cure="Remove those columns of att, or use the feature file that the split was made for.",
        )
    version, notes = recognise_split(dataset, locations, labels)
    notes += describe_untested(unseen_classes, labels[locations["test_unseen"]])
    return Dataset(
        dataset, image_embedding, class_embedding, features, labels, attributes,
        [str(name) for name in names], locations, version, notes, unseen_classes,
    )


def describe_untested(unseen_classes: np.ndarray, test_labels: np.ndarray) -> list[str]:
    """A note on unseen classes without test samples, where there are any."""
    untested = len(np.setdiff1d(unseen_classes, test_labels))
    if not untested:
        return []
    n = len(np.union1d(unseen_classes, test_labels))
    measured = "T1, u and H are over the others" if untested < n else "T1, u and H cannot be measured; --select val " \
        "measures them on validation classes"
    return [f"{untested} of {n} unseen classes have no test samples: {measured}."]


def recognise_split(dataset: str, locations: dict[str, np.ndarray], labels: np.ndarray) -> tuple[str, list[str]]:
    """Tells which release of the Proposed Split the lists are.

    In version 1 train and val together are trainval and test_seen (so a validation on them leaks), in version 2 (August
    2020) they are trainval alone.

    Returns:
        "v1", "v2", "custom" (something else) or "none" (no train/val lists), and notes to print with every result.
    """
    notes = []
    if dataset in PROPOSED_SPLIT:
        classes = (len(np.unique(labels[locations[key]])) for key in ("trainval", "test_unseen"))
        found = (*(len(locations[key]) for key in ("trainval", "test_seen", "test_unseen")), *classes)
        if found != PROPOSED_SPLIT[dataset]:
            notes.append(
                f"This is not the published Proposed Split of {dataset}: (trainval, test_seen, test_unseen, seen classes, "
                f"unseen classes) are {found}, published {PROPOSED_SPLIT[dataset]}."
            )
    if not {"train", "val"} <= locations.keys():
        notes.append(
            f"The split file has no train_loc and val_loc: validation uses a seeded draw of {VALIDATION_CLASSES:.0%} of "
            "the seen classes."
        )
        return "none", notes
    both = np.union1d(locations["train"], locations["val"])
    if np.array_equal(both, np.sort(locations["trainval"])):
        return "v2", notes
    if np.array_equal(both, np.union1d(locations["trainval"], locations["test_seen"])):
        notes.append("Split version 1: its train_loc and val_loc contain test_seen, which is removed for validation.")
        return "v1", notes
    notes.append("train_loc and val_loc are neither those of version 1 nor of version 2; only what trainval has is used.")
    return "custom", notes


def read_features(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """features (N, D) float32 and 1-based labels (N,) int64 of a feature file.

    Raises:
        InputError: the file is missing or damaged, or its content cannot be right.
    """
    content = read_mat(path, ["features", "labels"])
    features, labels = content["features"], content["labels"].ravel()
    if features.dtype.kind not in "fiu" or labels.dtype.kind not in "fiu":
        raise InputError(
            "features or labels are not numbers", where=path, found=f"{features.dtype} and {labels.dtype}",
            expected="numeric arrays", cure="Save features (D, N) and labels (N, 1) as numeric MATLAB arrays.",
        )
    n = len(labels)
    if features.ndim != 2 or features.shape[1] != n:
        transposed = features.ndim == 2 and features.shape[0] == n
        raise InputError(
            "features are transposed" if transposed else "features and labels do not match", where=path,
            found=f"features {features.shape}, labels {content['labels'].shape}",
            expected=f"features (D, {n}): one column a sample", cure="Store features.T." if transposed else
            "Every sample needs one column of features and one label.",
        )
    features = np.ascontiguousarray(features.T, dtype=np.float32)
    finite = np.isfinite(features).all(axis=1)
    if not finite.all():
        row = int(np.flatnonzero(~finite)[0])
        raise InputError(
            "features contain NaN or infinity", where=path,
            found=f"{int((~finite).sum())} of {n} samples, the first is column {row + 1}", expected="finite numbers",
            cure="Extract those samples again; an unreadable image often is the reason.",
        )
    return features, _check_labels(labels, path)


def map_features(features_path: Path, labels_path: Path) -> tuple[np.ndarray, np.ndarray]:
    """features (N, D) float16 or float32, mapped from disk, and 1-based labels (N,) int64 of two .npy files.

    Raises:
        InputError: a file is missing or damaged, or its content cannot be right.
    """
    expected = "features (N, D) and, in a second file, labels (N,), as numpy.save writes them"
    cure = f"{features_path.name} and {labels_path.name} belong together: write both again."
    features = read_array(features_path, "features", expected=expected, cure=cure, mapped=True)
    labels = read_array(labels_path, "labels", expected=expected, cure=cure)
    if features.dtype not in (np.float16, np.float32) or features.ndim != 2 or labels.shape != features.shape[:1]:
        raise InputError(
            "features and labels do not match", where=features_path,
            found=f"features {features.dtype} {features.shape}, labels {labels.dtype} {labels.shape}",
            expected="features (N, D) float16 or float32, one row a sample, and labels (N,)", cure="Write them again.",
        )
    for start in range(0, len(features), CHUNK):
        finite = np.isfinite(features[start : start + CHUNK]).all(axis=1)
        if not finite.all():
            raise InputError(
                "features contain NaN or infinity", where=features_path,
                found=f"the first in row {start + int(np.flatnonzero(~finite)[0]) + 1}", expected="finite numbers",
                cure="Extract those samples again; float16 ends at 65,504.",
            )
    return features, _check_labels(labels, labels_path)


def _check_labels(labels: np.ndarray, path: Path) -> np.ndarray:
    """1-based labels (N,) as int64."""
    if labels.dtype.kind not in "fiu" or not len(labels):
        raise InputError(
            "labels are not numbers", where=path, found=f"{labels.dtype} {labels.shape}", expected="whole numbers from 1 on",
            cure="Save one number for every sample.",
        )
    if not (np.isfinite(labels).all() and (labels == np.floor(labels)).all() and labels.min() >= 1):
        raise InputError(
            "labels out of range", where=path, found=f"{labels.min()}..{labels.max()} ({labels.dtype})",
            expected="whole numbers from 1 on: columns of att, counted as MATLAB does",
            cure="Add 1 if the labels are 0-based.",
        )
    return labels.astype(np.int64)


def check_attributes(att: np.ndarray, path: Path) -> np.ndarray:
    """att (A, C) as (C, A) float32 with rows of unit L2 norm."""
    if att.dtype.kind not in "fiub" or att.ndim != 2:
        raise InputError(
            "att is not a matrix of numbers", where=path, found=f"{att.dtype} {att.shape}",
            expected="(attribute_dim, n_classes) numbers", cure="Save att as a numeric MATLAB matrix.",
        )
    attributes = att.T.astype(np.float64)
    norms = np.linalg.norm(attributes, axis=1)
    bad = np.flatnonzero(~np.isfinite(norms) | (norms == 0))
    if len(bad):
        raise InputError(
            "a class without attributes", where=path,
            found=f"{len(bad)} columns of att that are all zero or not finite, the first is {bad[0] + 1}",
            expected="a finite, non-zero attribute vector for every class", cure="Fill in or remove those classes.",
        )
    return (attributes / norms[:, None]).astype(np.float32)


def check_location(location: np.ndarray, key: str, path: Path, n_samples: int, first: int = 1) -> np.ndarray:
    """An index list as unique, sorted-as-given 0-based indices.

    Args:
        first: the number of the first sample: 1 in MATLAB files, 0 in HDF5 files written from Python.
    """
    if location.dtype.kind not in "fiu":
        raise InputError(
            f"{key} is not a list of numbers", where=path, found=location.dtype, expected=f"{first}-based sample numbers",
            cure="Save it as a numeric column vector.",
        )
    flat = location.ravel()
    if len(flat) == 0:
        raise InputError(
            f"empty split {key}", where=path, found="no sample", expected="at least one sample number",
            cure="Give the list its samples; train_loc and val_loc may be left out altogether.",
        )
    indices = flat.astype(np.int64)
    last = n_samples - 1 + first
    if not (indices == flat).all() or indices.min() < first or indices.max() > last:
        raise InputError(
            f"{key} out of range", where=path, found=f"{flat.min()}..{flat.max()}",
            expected=f"whole numbers in {first}..{last}, the samples of the features",
            cure=f"Features and split do not belong together, or the list is {1 - first}-based.",
        )
    if len(np.unique(indices)) != len(indices):
        raise InputError(
            f"{key} names a sample twice", where=path, found=f"{len(indices) - len(np.unique(indices))} repetitions",
            expected="every sample at most once", cure="Remove the repetitions.",
        )
    return indices - first


def check_disjoint(locations: dict[str, np.ndarray], labels: np.ndarray, path: Path) -> None:
    cure = "The split file is damaged or belongs to other features; use the published one."
    pairs = [("trainval", "test_seen"), ("trainval", "test_unseen"), ("test_seen", "test_unseen"), ("train", "val"),
             ("train", "test_unseen"), ("val", "test_unseen")]
    for first, second in pairs:
        if first in locations and second in locations:
            common = np.intersect1d(locations[first], locations[second])
            if len(common):
                raise InputError(
                    "overlapping splits", where=path,
                    found=f"{len(common)} samples both in {first}_loc and {second}_loc, e.g. {common[0] + 1}",
                    expected="no common sample", cure=cure,
                )
    seen, unseen = np.unique(labels[locations["trainval"]]), np.unique(labels[locations["test_unseen"]])
    common = np.intersect1d(seen, unseen)
    if len(common):
        raise InputError(
            "overlapping splits", where=path,
            found=f"{len(common)} classes both in trainval_loc and test_unseen_loc, e.g. {common[0] + 1}",
            expected="unseen classes without training samples", cure=cure,
        )
    strangers = np.setdiff1d(labels[locations["test_seen"]], seen)
    if len(strangers):
        raise InputError(
            "a seen test class without training samples", where=path,
            found=f"{len(strangers)} classes of test_seen_loc, e.g. {strangers[0] + 1}, that trainval_loc lacks",
            expected="test_seen from classes of trainval", cure=cure,
        )


@dataclass(frozen=True)
class FeatureScaling:
    """What is done to a feature before anything learns from it: (x * factor + shift) / divisor, a dimension at a time.

    Attributes:
        factor, shift: (D,), in the precision that they are applied in.
        divisor: one number for all dimensions.
    """

    factor: np.ndarray
    shift: np.ndarray
    divisor: float

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """(n, D) -> (n, D) float32."""
        scaled = np.asarray(features, dtype=np.float32) * self.factor
        scaled += self.shift
        scaled /= self.divisor
        return np.ascontiguousarray(scaled, dtype=np.float32)


def fit_scaling(features: np.ndarray, train: np.ndarray, scaling: Scaling) -> FeatureScaling:
    """The scaling of a stage from its training features, the rows `train` (n,) of features (N, D); reads them in parts.

    Returns:
        For "minmax": each dimension to [0, 1], then divided by the largest training value, which rounding can leave a hair
        above 1, and binary cross-entropy would refuse that. For "standard": mean 0, standard deviation 1.
    """
    ones = np.ones(features.shape[1], dtype=np.float32)
    if scaling == "none":
        return FeatureScaling(ones, np.zeros_like(ones), 1.0)
    scaler, rows = StandardScaler() if scaling == "standard" else MinMaxScaler(), np.sort(train)
    for start in range(0, len(rows), CHUNK):
        scaler.partial_fit(features[rows[start : start + CHUNK]].astype(np.float32, copy=False))
    if scaling == "standard":
        factor = 1 / scaler.scale_
        return FeatureScaling(factor.astype(np.float32), (-scaler.mean_ * factor).astype(np.float32), 1.0)
    fitted = FeatureScaling(scaler.scale_.astype(np.float32), scaler.min_.astype(np.float32), 1.0)
    largest = float(fitted(scaler.data_max_).max())  # rounding keeps order, so no other sample comes out larger
    return replace(fitted, divisor=largest) if largest > 0 else fitted
