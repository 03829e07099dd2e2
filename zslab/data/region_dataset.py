"""Data sets of region maps: the content of a region file (`zslab.data.region_file`), checked and staged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from zslab.data.checks import check_attributes, check_disjoint, check_location
from zslab.data.dataset import Dataset, Scaling, Stage, StageData
from zslab.data.formats.matfile import read_mat
from zslab.data.formats.npyfile import check_matrix, read_matrix
from zslab.data.region_file import RegionFile
from zslab.data.region_samples import RegionSamples, check_locations, missing_variable, read_samples
from zslab.data.splits import LOCATIONS, describe_untested, recognize_split
from zslab.errors import InputError
from zslab.utils.names import logged_names

AttributeChange = Literal["none", "negative_to_zero", "to_unit_interval"]

MAKE_VECTORS = "Make word vectors for the attributes of this region file."


@dataclass(frozen=True)
class RegionStageData(StageData):
    """One experiment on region maps.

    Attributes:
        regions: the file with the maps.
        rows: "train", "test_seen", "test_unseen" -> (n,) image numbers of the file, in the order of the samples of that
            name; always on the CPU.
        word_vectors: (A, v) float32, None where there are none.
    """

    regions: RegionFile
    rows: dict[str, Tensor]
    word_vectors: Tensor | None

    @property
    def feature_dim(self) -> int:
        """D, the number of channels of a region."""
        return int(self.regions.feature_dim)

    def to(self, device: torch.device) -> RegionStageData:
        """Return a copy whose tensors are on `device`; the maps stay in their file."""
        moved = super().to(device)
        assert isinstance(moved, RegionStageData)
        return replace(moved, word_vectors=None if self.word_vectors is None else self.word_vectors.to(device))


@dataclass(frozen=True)
class RegionDataset(Dataset):
    """A data set whose images are region maps; `features` are the file's pooled vectors, (N, 0) where it has none.

    Attributes:
        regions: the maps; map i is that of sample i.
        word_vectors: (A, v) float32 or None.
        attribute_names: A names, "attribute 1", ... where the file has none.
        image_files: N paths relative to the image folder, or None.
        backbone: JSON text that describes what made the maps, or None.
    """

    _: KW_ONLY
    regions: RegionFile
    word_vectors: np.ndarray | None
    attribute_names: list[str]
    image_files: list[str] | None
    backbone: str | None

    def stage(self, stage: Stage, scaling: Scaling = "minmax", seed: int = 0) -> RegionStageData:
        """Return one experiment, as `Dataset.stage` does; `scaling` concerns the pooled features alone."""
        base = super().stage(stage, scaling if self.features.shape[1] else "none", seed)
        for samples in (base.train, base.test_seen, base.test_unseen):
            if isinstance(samples.features, Tensor) and not torch.isfinite(samples.features.sum()):
                raise InputError(
                    "the pooled features contain NaN or infinity",
                    where=self.regions.path,
                    found="pooled",
                    expected="finite numbers",
                    fix="Extract the features again.",
                )
        rows = dict(zip(("train", "test_seen", "test_unseen"), map(torch.from_numpy, self.stage_locations(stage, seed))))
        vectors = None if self.word_vectors is None else torch.from_numpy(self.word_vectors)
        return RegionStageData(**vars(base), regions=self.regions, rows=rows, word_vectors=vectors)


def read_region_maps(
    path: Path,
    *,
    dataset: str | None = None,
    attributes: Literal["att", "original_att"] = "att",
    attribute_change: AttributeChange = "none",
    split_file: Path | None = None,
    word_vector_file: Path | None = None,
    drop_absent_classes: bool = False,
    standard_split: bool = False,
    allow_missing_vectors: bool = False,
) -> RegionDataset:
    """Open and check a region file; no map is read.

    Args:
        dataset: name of the data set, by default that of the folder.
        attributes: which class attributes of the file to use.
        attribute_change: what to do with them before their rows are normalized: "negative_to_zero", or
            "to_unit_interval", (a + 1) / 2.
        split_file: a MATLAB split file (1-based lists) whose lists, att and class names replace those of the file.
        word_vector_file: a .npy file (A, v) to read instead of w2v_att.
        drop_absent_classes: leave out classes without images and renumber the others in order.
        standard_split: zero-shot learning alone: the lists are trainval_loc and test_unseen_loc or test_loc;
            test_seen is empty.
        allow_missing_vectors: accept attributes whose word vector is a row of zeros.

    Raises:
        InputError: a file is missing or damaged, or its content cannot be right.
    """
    path = Path(path)
    with ExitStack() as on_error:
        regions = RegionFile(path)
        on_error.callback(regions.close)
        samples = read_samples(regions)
        split, source, locations = _read_split(regions, samples, split_file, standard_split)
        word_vectors = _read_word_vectors(regions, word_vector_file)
        classes = _read_classes(regions, attributes, split, source, samples.labels, word_vectors)
        vector_notes = _check_word_vectors(word_vectors, classes, word_vector_file or f"{path}, w2v_att", allow_missing_vectors)
        notes = describe_untested(classes.unseen, samples.labels[locations["test_unseen"]])
        labels, classes, absent_notes = _without_absent(samples.labels, classes, drop_absent_classes, path)
        check_disjoint(locations, labels, source)
        # The published counts are those of the Proposed Split.
        dataset = dataset or path.resolve().parent.name
        version, split_notes = recognize_split("" if standard_split else dataset, locations, labels)
        features, feature_notes = _pooled_features(regions)
        notes += absent_notes + split_notes + feature_notes + vector_notes
        if standard_split:
            notes.append("Standard split: zero-shot learning alone, there are no test samples of seen classes.")
        result = RegionDataset(
            dataset,
            path.stem,
            attributes if split_file is None else source.stem.removesuffix("_splits"),
            features,
            labels,
            check_attributes(_changed(classes.attributes, attribute_change).T, classes.source),
            classes.names,
            locations,
            version,
            notes,
            regions=regions,
            word_vectors=None if word_vectors is None else np.ascontiguousarray(word_vectors, dtype=np.float32),
            attribute_names=classes.attribute_names,
            image_files=samples.image_files,
            backbone=regions.json_attribute("backbone"),
            unseen_classes=classes.unseen,
        )
        on_error.pop_all()
    return result


def _read_split(
    regions: RegionFile, samples: RegionSamples, path: Path | None, standard_split: bool
) -> tuple[Mapping[str, np.ndarray], Path, dict[str, np.ndarray]]:
    """Return the content of a split file (empty without one), the file that has the lists, and the lists, 0-based."""
    if path is None:
        return {}, regions.path, check_locations(samples.locations, regions.path, regions.n, 0, standard_split, False)
    lists = (*LOCATIONS, "test_loc")
    split = read_mat(path, [], ["att", "original_att", *lists, "allclasses_names", "unseen_classes"])
    stored = {key: split[key] for key in lists if key in split}
    # Classes that are declared unseen need no images (see zslab.data.xlsa17), so this list may be empty.
    untested = "unseen_classes" in split and not np.size(stored.get("test_unseen_loc", ()))
    return split, Path(path), check_locations(stored, path, regions.n, 1, standard_split, untested)


@dataclass(frozen=True)
class _Classes:
    """The classes in the order of the labels.

    Attributes:
        attributes: (C, A).
        source: the file that they are from.
        names: C names.
        attribute_names: A names.
        unseen: (u,) the classes that the split file declares unseen, with or without images.
    """

    attributes: np.ndarray
    source: Path
    names: list[str]
    attribute_names: list[str]
    unseen: np.ndarray


def _read_classes(
    regions: RegionFile,
    attributes: str,
    split: Mapping[str, np.ndarray],
    split_source: Path,
    labels: np.ndarray,
    word_vectors: np.ndarray | None,
) -> _Classes:
    class_names = list(split["allclasses_names"]) if "allclasses_names" in split else regions.texts("class_names")
    attribute_names = regions.texts("attribute_names")
    if attributes in split:
        att, source = split[attributes].T, split_source
    else:
        att = _oriented_attributes(regions, attributes, labels, class_names, attribute_names, word_vectors)
        source = regions.path
    if labels.max() >= len(att):
        raise InputError(
            "a label has no row in att",
            where=regions.path,
            found=f"label {labels.max()}",
            expected=f"labels in 0..{len(att) - 1}, the rows of att",
            fix="Subtract 1 if the labels are 1-based.",
        )
    unseen = np.zeros(0, dtype=np.int64)
    if "unseen_classes" in split:
        unseen = check_location(split["unseen_classes"], "unseen_classes", split_source, len(att))
    names = _names(class_names, len(att), "class"), _names(attribute_names, att.shape[1], "attribute")
    return _Classes(att, source, *names, unseen)


def _without_absent(labels: np.ndarray, classes: _Classes, drop: bool, path: Path) -> tuple[np.ndarray, _Classes, list[str]]:
    """Return labels and classes without those that have no image and are not declared unseen, and notes about them."""
    n_classes, kept = len(classes.names), np.union1d(labels, classes.unseen)
    absent = np.setdiff1d(np.arange(n_classes), kept)
    if not len(absent):
        return labels, classes, []
    if not drop:
        raise InputError(
            "a class has no images",
            where=path,
            found=f"no image of {len(absent)} of {n_classes} classes, e.g. {classes.names[absent[0]]}",
            expected="at least one image for every row of att",
            fix="Pass --drop_absent_classes to leave such classes out, or correct the file.",
        )
    names, unseen = [classes.names[label] for label in kept], np.searchsorted(kept, classes.unseen)
    remaining = replace(classes, attributes=classes.attributes[kept], names=names, unseen=unseen)
    note = f"{len(absent)} of {n_classes} classes have no sample and are left out."
    return np.searchsorted(kept, labels), remaining, [note]


def _names(stored: Sequence[str] | None, n: int, kind: str) -> list[str]:
    """Return the names that the file has, or "class 1", ... where it does not have n of them."""
    if stored is not None and len(stored) == n:
        return logged_names(stored, "the region file", kind)
    return [f"{kind} {number}" for number in range(1, n + 1)]


def _read_word_vectors(regions: RegionFile, path: Path | None) -> np.ndarray | None:
    if path is None:
        return regions.variable("w2v_att")
    return read_matrix(path, "word vectors", expected="a NumPy file (A, v), one row for each attribute", fix=MAKE_VECTORS)


def _changed(att: np.ndarray, change: AttributeChange) -> np.ndarray:
    if change == "negative_to_zero":
        return np.asarray(np.maximum(att, 0))
    return (np.asarray(att, dtype=np.float64) + 1) / 2 if change == "to_unit_interval" else att


def _pooled_features(regions: RegionFile) -> tuple[np.ndarray, list[str]]:
    """Return (N, P) pooled features, (N, 0) where the file has none, and notes about the file."""
    features, n = regions.pooled(), regions.n
    notes = []
    if features is None:
        features = np.zeros((n, 0), dtype=np.float32)
        notes.append("The region file has no pooled features.")
    elif features.ndim != 2 or len(features) != n or features.dtype.kind not in "fiu":
        raise InputError(
            "the pooled features have the wrong shape",
            where=regions.path,
            found=f"{features.dtype} {features.shape}",
            expected=f"({n}, P) numbers",
            fix="Extract the features again.",
        )
    if not regions.streams:
        notes.append(
            f"{regions.path.name} keeps many images in one compressed chunk, so that random batches are slow. Repack it once: "
            "zslab repack SOURCE TARGET"
        )
    return features, notes


def _oriented_attributes(
    regions: RegionFile,
    name: str,
    labels: np.ndarray,
    class_names: Sequence[str] | None,
    attribute_names: Sequence[str] | None,
    word_vectors: np.ndarray | None,
) -> np.ndarray:
    """Return the file's att as (C, A), whichever way it is stored; the sizes of the other variables tell."""
    att = regions.variable(name)
    if att is None:
        raise missing_variable(regions, name)
    sizes = {len(values) for values in (attribute_names, word_vectors) if values is not None}

    def fits(n_classes: int, n_attributes: int) -> bool:
        return labels.max() < n_classes and (class_names is None or len(class_names) == n_classes) and sizes <= {n_attributes}

    fitting = [matrix for matrix in (att, att.T) if att.ndim == 2 and att.dtype.kind in "fiub" and fits(*matrix.shape)]
    if not fitting:
        w2v = "none" if word_vectors is None else word_vectors.shape
        raise InputError(
            "the class attributes do not fit",
            where=regions.path,
            found=f"att {att.shape} {att.dtype}, labels up to {labels.max()}, word vectors {w2v}",
            expected="att (C, A) with a row for every label and a column for every word vector",
            fix="The labels of a region file are 0-based; or the word vectors belong to other attributes.",
        )
    if len(fitting) == 2 and regions.attribute("format_version") is None:  # not our file: the number of classes decides
        n_present = len(np.unique(labels))
        fitting = [matrix for matrix in fitting if len(matrix) == n_present]
        if len(fitting) != 1:
            raise InputError(
                "the orientation of the class attributes is unclear",
                where=regions.path,
                found=f"att {att.shape}",
                expected="classes and attributes that w2v_att and labels tell apart",
                fix="Pass a split file whose att is attributes × classes, or store class_names and attribute_names.",
            )
    return fitting[0]


def _check_word_vectors(vectors: np.ndarray | None, classes: _Classes, where: object, allow_missing: bool) -> list[str]:
    """Check the vectors (A, v), and return a note where the rows of some attributes are all zero."""
    if vectors is None:
        return []
    n = len(classes.attribute_names)
    expected = f"({n}, v) numbers, one row for each attribute"
    check_matrix(vectors, "word vectors", where=where, n_rows=n, expected=expected, fix=MAKE_VECTORS)
    missing = [classes.attribute_names[row] for row in np.flatnonzero((vectors == 0).all(1))]
    if not missing:
        return []
    if not allow_missing:
        raise InputError(
            "attributes have no word vector",
            where=where,
            found=f"{len(missing)} rows of zeros, the first for {missing[0]}",
            expected="a non-zero vector for every attribute",
            fix="Make the word vectors again, or pass --allow_missing_w2v to accept rows of zeros; the release's SUN has one.",
        )
    return [f"{len(missing)} attributes have no word vector and start from zero, the first is {missing[0]}."]
