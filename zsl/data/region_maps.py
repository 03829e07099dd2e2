"""A data set whose images are region maps: what a region file (`zsl.data.region_file`) holds, opened, checked and staged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from zsl.data.matfile import read_mat
from zsl.data.npyfile import check_matrix, read_matrix
from zsl.data.region_file import DAMAGED, RegionFile
from zsl.data.xlsa17 import (
    LOCATIONS,
    Dataset,
    Scaling,
    Stage,
    StageData,
    check_attributes,
    check_disjoint,
    check_location,
    describe_untested,
    recognise_split,
)
from zsl.errors import InputError

AttributeChange = Literal["none", "negative_to_zero", "to_unit_interval"]

MAKE_VECTORS = "Make word vectors for the attributes of this region file."


@dataclass(frozen=True)
class RegionStageData(StageData):
    """One experiment on region maps.

    Attributes:
        regions: the file that the maps are read from.
        rows: "train", "test_seen", "test_unseen" -> (n,) rows of the file, in the order of the samples of that name;
            always on the CPU.
        word_vectors: (A, v) float32, None where there are none.
    """

    regions: RegionFile
    rows: dict[str, Tensor]
    word_vectors: Tensor | None

    @property
    def feature_dim(self) -> int:
        return self.regions.feature_dim

    def to(self, device: torch.device) -> RegionStageData:
        moved = super().to(device)
        if self.word_vectors is not None:
            object.__setattr__(moved, "word_vectors", self.word_vectors.to(device))
        return moved


@dataclass(frozen=True)
class RegionDataset(Dataset):
    """A data set whose images are region maps; `features` are the file's pooled vectors, (N, 0) where it has none.

    Attributes:
        regions: the maps; row i is sample i.
        word_vectors: (A, v) float32 or None.
        attribute_names: A names ("attribute 1", ... where the file has none).
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
        """As `Dataset.stage`; `scaling` concerns the pooled features alone."""
        base = super().stage(stage, scaling if self.features.shape[1] else "none", seed)
        for samples in (base.train, base.test_seen, base.test_unseen):
            if not torch.isfinite(samples.features.sum()):
                raise InputError(
                    "pooled features contain NaN or infinity", where=self.regions.path, found="pooled",
                    expected="finite numbers", cure="Extract the features again.",
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
    """Opens and checks a region file; no map is read.

    Args:
        dataset: name, by default that of the folder.
        attributes: which class attributes of the file to take.
        attribute_change: done to them before their rows are normalised: "negative_to_zero", or "to_unit_interval",
            (a + 1) / 2.
        split_file: a MATLAB split file (1-based lists) to take lists, att and class names from instead of the file's.
        word_vector_file: a .npy file (A, v) to read instead of w2v_att.
        drop_absent_classes: leave out classes without samples, renumbering the others in order.
        standard_split: zero-shot learning alone: the lists are trainval_loc and test_unseen_loc or test_loc, and test_seen
            is empty.
        allow_missing_vectors: accept attributes whose word vector is a row of zeros, and note them.

    Raises:
        InputError: a file is missing or damaged, or its content cannot be right; the message tells what to do.
    """
    path = Path(path)
    regions = RegionFile(path)
    try:
        return _describe(
            regions, dataset or path.resolve().parent.name, attributes, attribute_change, split_file, word_vector_file,
            drop_absent_classes, standard_split, allow_missing_vectors,
        )
    except BaseException:
        regions.close()
        raise


def _describe(
    regions: RegionFile,
    dataset: str,
    attributes: str,
    change: AttributeChange,
    split_file: Path | None,
    word_vector_file: Path | None,
    drop_absent: bool,
    standard_split: bool,
    allow_missing: bool,
) -> RegionDataset:
    labels, image_files, locations = read_samples(regions)
    if split_file is not None:
        split = read_mat(split_file, [], ["att", "original_att", *LOCATIONS, "test_loc", "allclasses_names", "unseen_classes"])
        first, source = 1, Path(split_file)
        locations = {key: split[key] for key in (*LOCATIONS, "test_loc") if key in split}
    else:
        split, first, source = {}, 0, regions.path
    # Classes that are unseen by declaration need no samples (see zsl.data.xlsa17), so that this list may be empty.
    untested = "unseen_classes" in split and not np.size(locations.get("test_unseen_loc", ()))
    locations = _check_locations(locations, source, len(labels), first, standard_split, untested)

    word_vectors = regions.variable("w2v_att")
    if word_vector_file is not None:
        word_vectors = read_matrix(
            word_vector_file, "word vectors", expected="a NumPy file (A, v), one row an attribute", cure=MAKE_VECTORS
        )
    class_names = split.get("allclasses_names", regions.variable("class_names"))
    attribute_names = regions.variable("attribute_names")
    if attributes in split:
        att, where = split[attributes].T, source
    else:
        att, where = regions.variable(attributes), regions.path
        if att is None:
            raise _missing(regions, attributes)
        att = _orient(att, regions, labels, class_names, attribute_names, word_vectors)
    n_classes, n_attributes = att.shape
    if len(labels) and labels.max() >= n_classes:
        raise InputError(
            "labels out of range", where=regions.path, found=f"label {labels.max()}",
            expected=f"labels in 0..{n_classes - 1}, the rows of att", cure="Subtract 1 if the labels are 1-based.",
        )
    if class_names is None or len(class_names) != n_classes:
        class_names = [f"class {number}" for number in range(1, n_classes + 1)]
    if attribute_names is None or len(attribute_names) != n_attributes:
        attribute_names = [f"attribute {number}" for number in range(1, n_attributes + 1)]
    missing = []
    if word_vectors is not None:
        stored_in = word_vector_file or f"{regions.path}, w2v_att"
        missing = _without_word_vector(word_vectors, attribute_names, stored_in, allow_missing)

    unseen_classes = np.zeros(0, dtype=np.int64)
    if "unseen_classes" in split:
        unseen_classes = check_location(split["unseen_classes"], "unseen_classes", source, n_classes)
    present = np.unique(labels)
    absent = np.setdiff1d(np.arange(n_classes), np.concatenate([present, unseen_classes]))
    notes = describe_untested(unseen_classes, labels[locations["test_unseen"]])
    if len(absent) and drop_absent:
        labels = np.searchsorted(present, labels)
        att, class_names = att[present], [class_names[label] for label in present]
        notes.append(f"{len(absent)} of {n_classes} classes have no sample and are left out.")
    elif len(absent):
        raise InputError(
            "a class without samples", where=regions.path,
            found=f"no sample of {len(absent)} of {n_classes} classes, e.g. {class_names[absent[0]]}",
            expected="at least one sample of every row of att", cure="Ask for such classes to be left out, or mend the file.",
        )
    if change == "negative_to_zero":
        att = np.maximum(att, 0)
    elif change == "to_unit_interval":
        att = (np.asarray(att, dtype=np.float64) + 1) / 2
    att = check_attributes(np.asarray(att).T, where)
    check_disjoint(locations, labels, source)
    # The published counts are those of the Proposed Split.
    version, split_notes = recognise_split("" if standard_split else dataset, locations, labels)
    notes += split_notes
    features = regions.pooled()
    if features is None:
        features = np.zeros((len(labels), 0), dtype=np.float32)
        notes.append("The region file has no pooled features.")
    elif features.ndim != 2 or len(features) != len(labels):
        raise InputError(
            "pooled features of the wrong shape", where=regions.path, found=features.shape,
            expected=f"({len(labels)}, P)", cure="Extract the features again.",
        )
    if not regions.streams:
        notes.append(
            f"{regions.path.name} keeps many images in one compressed chunk, so that random batches are slow. Repack it once: "
            "python -m zsl.data.repack SOURCE TARGET"
        )
    if missing:
        notes.append(f"{len(missing)} attributes have no word vector and start from zero, the first is {missing[0]}.")
    if standard_split:
        notes.append("Standard split: zero-shot learning alone, there are no test samples of seen classes.")
    return RegionDataset(
        dataset, regions.path.stem, source.stem.removesuffix("_splits") if split_file is not None else attributes,
        features, labels, att, [str(name) for name in class_names], locations, version, notes,
        regions=regions, word_vectors=None if word_vectors is None else np.ascontiguousarray(word_vectors, dtype=np.float32),
        attribute_names=[str(name) for name in attribute_names],
        image_files=None if image_files is None else [str(name) for name in image_files],
        backbone=regions.attribute("backbone"), unseen_classes=unseen_classes,
    )


def read_samples(regions: RegionFile) -> tuple[np.ndarray, np.ndarray | None, dict[str, np.ndarray]]:
    """labels (N,) int64, image files or None, and the stored lists (0-based, unchecked) of a region file of either layout.

    Raises:
        InputError: labels or image files are missing or do not fit the maps.
    """
    if regions.groups is None:
        labels, image_files = regions.variable("labels"), regions.variable("image_files")
        if labels is None:
            raise _missing(regions, "labels")
        found = {key: regions.variable(key) for key in (*LOCATIONS, "test_loc")}
        locations = {key: value for key, value in found.items() if value is not None}
    else:
        labels, image_files, rows = [], [], {}
        ends = np.cumsum(regions.sizes)
        for group, size, end in zip(regions.groups, regions.sizes, ends):
            key, _, label = group.partition("/")
            stored = regions.variable(f"label_{group}")
            if stored is None:
                raise _missing(regions, f"label_{group}")
            if stored.size != size or (label and (stored != int(label)).any()):
                raise InputError(
                    "labels and maps do not match", where=f"{regions.path}, label_{group}",
                    found=f"{stored.size} labels {np.unique(stored)[:5]}", expected=f"{size} labels that fit the maps",
                    cure=DAMAGED,
                )
            images = regions.variable(f"img_{group}")
            labels.append(stored.ravel())
            image_files = None if images is None or image_files is None else [*image_files, *images.ravel()]
            rows.setdefault("trainval_loc" if key == "train" else f"{key}_loc", []).append(np.arange(end - size, end))
        labels = np.concatenate(labels)
        locations = {key: np.concatenate(value) for key, value in rows.items()}
    flat = labels.ravel()
    if flat.dtype.kind not in "fiu" or len(flat) != regions.n:
        raise InputError(
            "labels and maps do not match", where=regions.path, found=f"labels {labels.shape} {labels.dtype}",
            expected=f"{regions.n} numbers, one an image", cure=DAMAGED,
        )
    if len(flat) == 0 or not (np.isfinite(flat).all() and (flat == np.floor(flat)).all() and flat.min() >= 0):
        raise InputError(
            "labels out of range", where=regions.path, found=f"{flat.min()}..{flat.max()}" if len(flat) else "no label",
            expected="whole numbers from 0 on: rows of att", cure="Store 0-based class numbers.",
        )
    if image_files is not None and len(image_files) != regions.n:
        raise InputError(
            "image files and maps do not match", where=regions.path, found=f"{len(image_files)} image files",
            expected=f"{regions.n}, one a row", cure=DAMAGED,
        )
    return flat.astype(np.int64), image_files, locations


def _check_locations(
    found: dict[str, np.ndarray], path: Path, n_samples: int, first: int, standard_split: bool, untested: bool
) -> dict[str, np.ndarray]:
    found = dict(found)
    if standard_split:
        found.setdefault("test_unseen_loc", found.get("test_loc"))
        found.pop("test_seen_loc", None)
    if untested:
        found.pop("test_unseen_loc", None)
    found = {key: value for key, value in found.items() if key != "test_loc" and value is not None}
    optional = {"test_seen_loc": standard_split, "test_unseen_loc": untested}
    required = [key for key in LOCATIONS[:3] if not optional.get(key)]
    missing = [key for key in required if key not in found]
    if missing:
        raise InputError(
            f"missing variable {', '.join(missing)}", where=path, found=f"{sorted(found) or 'no list'}",
            expected=", ".join(required), cure="Give a file with these lists; a standard split needs --standard_split.",
        )
    locations = {key.removesuffix("_loc"): check_location(value, key, path, n_samples, first) for key, value in found.items()}
    for name in ("test_seen", "test_unseen"):
        locations.setdefault(name, np.zeros(0, dtype=np.int64))
    return locations


def _orient(
    att: np.ndarray,
    regions: RegionFile,
    labels: np.ndarray,
    class_names: np.ndarray | None,
    attribute_names: np.ndarray | None,
    word_vectors: np.ndarray | None,
) -> np.ndarray:
    """att as (C, A), whichever way the file has it, by the other variables' sizes."""
    sizes = {len(values) for values in (attribute_names, word_vectors) if values is not None}

    def fits(n_classes: int, n_attributes: int) -> bool:
        return labels.max() < n_classes and (class_names is None or len(class_names) == n_classes) and sizes <= {n_attributes}

    found = [matrix for matrix in (att, att.T) if att.ndim == 2 and att.dtype.kind in "fiub" and fits(*matrix.shape)]
    if len(found) == 2 and regions.attribute("complete") is None:  # without our mark the number of classes decides
        n_present = len(np.unique(labels))
        exact = [matrix for matrix in found if len(matrix) == n_present]
        if len(exact) != 1:
            raise InputError(
                "class attributes of an unclear orientation", where=regions.path, found=f"att {att.shape}",
                expected="classes and attributes that w2v_att and labels tell apart",
                cure="Give a split file whose att is attributes × classes, or store class_names and attribute_names.",
            )
        return exact[0]
    if not found:
        w2v = "none" if word_vectors is None else word_vectors.shape
        raise InputError(
            "class attributes that do not fit", where=regions.path,
            found=f"att {att.shape} {att.dtype}, labels up to {labels.max()}, word vectors {w2v}",
            expected="att (C, A) with a row for every label and a column for every word vector",
            cure="The labels are 0-based here; or the word vectors belong to other attributes.",
        )
    return found[0]


def _without_word_vector(vectors: np.ndarray, attribute_names: Sequence[str], where: object, allow_missing: bool) -> list[str]:
    """Names of the attributes whose vector, a row of (A, v), is all zero."""
    n = len(attribute_names)
    check_matrix(
        vectors, "word vectors", where=where, n_rows=n, expected=f"({n}, v) numbers, one row an attribute", cure=MAKE_VECTORS
    )
    missing = [attribute_names[row] for row in np.flatnonzero((vectors == 0).all(1))]
    if missing and not allow_missing:
        raise InputError(
            "attributes without a word vector", where=where, found=f"{len(missing)} rows of zeros, the first for {missing[0]}",
            expected="a non-zero vector for every attribute",
            cure="Make the word vectors again; --allow_missing_w2v lets rows of zeros stand, as the release's SUN has one.",
        )
    return missing


def _missing(regions: RegionFile, name: str) -> InputError:
    return InputError(
        f"missing variable {name}", where=regions.path, found=regions.variables, expected=name,
        cure="Use a file written by extract_features.py or by the DAZLE release.",
    )
