"""Data sets of region maps: the content of a region file (`zslab.data.region_file`), checked and staged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from zslab.data.checks import array, check_attributes, check_disjoint, check_location, check_locations
from zslab.data.dataset import Dataset, Scaling, Stage, StageData
from zslab.data.formats.arrays import read_matrix
from zslab.data.formats.matfile import read_mat
from zslab.data.region_file import RegionFile, read_samples
from zslab.data.splits import LOCATIONS, describe_untested, recognize_split
from zslab.errors import InputError
from zslab.utils.names import logged_names, places_by_name

AttributeChange = Literal["none", "negative_to_zero", "to_unit_interval"]


@dataclass(frozen=True)
class RegionStageData(StageData):
    """One experiment on region maps."""

    regions: RegionFile
    rows: dict[str, Tensor]  #: "train", "test_seen", "test_unseen" -> (n,) image numbers of their samples; always on the CPU
    word_vectors: Tensor | None  #: (A, v) float32

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
    """A data set whose images are region maps; `features` are the file's pooled vectors, (N, 0) where it has none."""

    _: KW_ONLY
    regions: RegionFile  #: map i is that of sample i
    word_vectors: np.ndarray | None  #: (A, v) float32
    attribute_names: list[str]  #: "attribute 1", ... where the file has none
    image_files: list[str] | None  #: N paths relative to the image folder
    backbone: str | None  #: JSON text that describes what made the maps

    def stage(self, stage: Stage, scaling: Scaling = "minmax", seed: int = 0) -> RegionStageData:
        """Return one experiment, as `Dataset.stage` does; `scaling` concerns the pooled features alone."""
        base = super().stage(stage, scaling if self.features.shape[1] else "none", seed)
        for samples in (base.train, base.test_seen, base.test_unseen):
            if isinstance(samples.features, Tensor) and not torch.isfinite(samples.features.sum()):
                fix = "Extract the features again."
                raise InputError("pooled must be finite numbers", where=self.regions.path, got="NaN or infinity", fix=fix)
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
        attribute_change: what to do with attributes before their rows are normalized: "negative_to_zero", or
            "to_unit_interval", (a + 1) / 2.
        split_file: a MATLAB split file (1-based lists) whose lists, att and class names replace those of the file.
        word_vector_file: a .npy file (A, v) to read instead of w2v_att.
        drop_absent_classes: leave out classes without images and renumber the others in order.
        standard_split: zero-shot learning alone: the lists are trainval_loc and test_unseen_loc or test_loc.
        allow_missing_vectors: accept attributes whose word vector is a row of zeros.
    """
    path = Path(path)
    regions = RegionFile(path)
    try:
        (labels, image_files, stored), source = read_samples(regions), split_file or path
        split, locations = _read_split(regions, stored, split_file, standard_split)
        notes: list[str] = []
        att, class_names, attribute_names, order = _read_classes(regions, attributes, split, source, notes)
        word_vectors = _read_word_vectors(regions, word_vector_file, attribute_names, allow_missing_vectors, notes)
        unseen = np.zeros(0, dtype=np.int64)
        if labels.max() >= len(att):
            got, fix = f"label {labels.max()}", "Subtract 1 if the labels are 1-based."
            raise InputError(f"labels must be in 0..{len(att) - 1}, the rows of att", where=path, got=got, fix=fix)
        if "unseen_classes" in split:
            unseen = order[check_location(split["unseen_classes"], "unseen_classes", source, len(order))]
        notes += describe_untested(unseen, labels[locations["test_unseen"]])
        kept = np.union1d(labels, unseen)
        if len(kept) < len(att):
            absent = np.setdiff1d(np.arange(len(att)), kept)
            if not drop_absent_classes:
                got = f"none of {len(absent)} of {len(att)} classes, e.g. {class_names[int(absent[0])]}"
                fix = "Pass --drop_absent_classes to leave such classes out, or correct the file."
                raise InputError("every row of att must have an image", where=path, got=got, fix=fix)
            notes.append(f"{len(absent)} of {len(att)} classes have no sample and are left out.")
            labels, unseen = np.searchsorted(kept, labels), np.searchsorted(kept, unseen)
            att, class_names = att[kept], [class_names[label] for label in kept]
        check_disjoint(locations, labels, source)
        # The published counts are those of the Proposed Split.
        dataset = dataset or path.resolve().parent.name
        version, split_notes = recognize_split("" if standard_split else dataset, locations, labels)
        features, feature_notes = _pooled_features(regions)
        notes += split_notes + feature_notes
        notes += ["Standard split: zero-shot learning alone, there are no test samples of seen classes."] * standard_split
        if attribute_change == "negative_to_zero":
            att = np.maximum(att, 0)
        elif attribute_change == "to_unit_interval":
            att = (att.astype(np.float64) + 1) / 2
        names = (dataset, path.stem, attributes if split_file is None else source.stem.removesuffix("_splits"))
        unit = check_attributes(att.T, source if attributes in split else path)
        return RegionDataset(
            *(*names, features, labels, unit, class_names, locations, version, notes, unseen),
            regions=regions,
            word_vectors=word_vectors,
            attribute_names=attribute_names,
            image_files=image_files,
            backbone=regions.json_attribute("backbone"),
        )
    except BaseException:
        regions.close()
        raise


def _read_split(
    regions: RegionFile, stored: dict[str, np.ndarray], path: Path | None, standard_split: bool
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return the content of a split file, empty without one, and the lists that count, 0-based; `stored` are the maps' own."""
    if path is None:
        return {}, check_locations(stored, regions.path, regions.n, 0, untested=False, standard=standard_split)
    lists = (*LOCATIONS, "test_loc")
    split = read_mat(path, [], ["att", "original_att", *lists, "allclasses_names", "unseen_classes"])
    stored = {key: split[key] for key in lists if key in split}
    # Classes that are declared unseen need no images (see zslab.data.xlsa17), so this list may be empty.
    untested = "unseen_classes" in split and not np.size(stored.get("test_unseen_loc", ()))
    return split, check_locations(stored, path, regions.n, untested=untested, standard=standard_split)


def _read_classes(
    regions: RegionFile, attributes: str, split: dict[str, np.ndarray], split_file: Path, notes: list[str]
) -> tuple[np.ndarray, list[str], list[str], np.ndarray]:
    """Return att (C, A), class names, attribute names, and the place of each of the split file's classes in that order.

    A split file's classes are brought into the order of the region file's by their names, where both have some.
    """
    att = split[attributes].T if attributes in split else regions.required(attributes)
    if att.ndim != 2 or att.dtype.kind not in "fiub":
        got, fix = f"{att.dtype} {att.shape}", "Store it with a row for each class, in a .mat file with a column."
        raise InputError(f"{attributes} must be a matrix of numbers", where=regions.path, got=got, fix=fix)
    names, attribute_names = regions.texts("class_names"), regions.texts("attribute_names")
    given = [str(name) for name in split.get("allclasses_names", ())] or None
    places = places_by_name(names, given, split_file, of_all=False) if names and given else None
    order = np.arange(len(given or att))
    if places is not None:  # what the region file lacks, such as unseen classes without images, comes last
        order = np.array([*places, *sorted(set(range(len(order))) - set(places))])
        names = given = [given[place] for place in order.tolist()] if given else None
    elif names and given:
        notes.append(f"{split_file.name} and the region file call their classes by other names: labels are columns of att.")
    if attributes in split and len(order) == len(att):
        att = att[order]
    return att, _names(given or names, len(att), "class"), _names(attribute_names, att.shape[1], "attribute"), np.argsort(order)


def _names(stored: Sequence[str] | None, n: int, kind: str) -> list[str]:
    """Return the names that the file has, or "class 1", ... where it does not have n of them."""
    has_names = stored is not None and len(stored) == n
    return logged_names(stored or (), "the region file", kind) if has_names else [f"{kind} {k}" for k in range(1, n + 1)]


def _pooled_features(regions: RegionFile) -> tuple[np.ndarray, list[str]]:
    """Return (N, P) pooled features, (N, 0) where the file has none, and notes about the file."""
    features, notes = regions.pooled(), []
    if features is None:
        features = np.zeros((regions.n, 0), dtype=np.float32)
        notes.append("The region file has no pooled features.")
    elif features.ndim != 2 or len(features) != regions.n or features.dtype.kind not in "fiu":
        got, fix = f"{features.dtype} {features.shape}", "Extract the features again."
        raise InputError(f"pooled must be ({regions.n}, P) numbers", where=regions.path, got=got, fix=fix)
    if not regions.streams:
        advice = "shares chunks between images, which is slow. Repack it once: zslab repack SOURCE TARGET"
        notes.append(f"{regions.path.name} {advice}")
    return features, notes


def _read_word_vectors(
    regions: RegionFile, path: Path | None, names: Sequence[str], allow_missing: bool, notes: list[str]
) -> np.ndarray | None:
    """Return word vectors (A, v) float32 of the file at `path` or of the region file, and note rows of zeros."""
    fix = "Make word vectors for the attributes of this region file."
    vectors = read_matrix(path, "word vectors", fix) if path else regions.variable("w2v_att")
    if vectors is None:
        return None
    where = path or f"{regions.path}, w2v_att"
    array(vectors, where, "word vectors", (len(names), None), fix=fix)
    missing = [names[row] for row in np.flatnonzero((vectors == 0).all(1)).tolist()]
    if missing and not allow_missing:
        got = f"{len(missing)} rows of zeros, the first for {missing[0]}"
        fix = "Make the word vectors again, or pass --allow_missing_w2v to accept rows of zeros; the release's SUN has one."
        raise InputError("every attribute must have a word vector that is not zero", where=where, got=got, fix=fix)
    if missing:
        notes.append(f"{len(missing)} attributes have no word vector and start from zero, the first is {missing[0]}.")
    return np.ascontiguousarray(vectors, dtype=np.float32)
