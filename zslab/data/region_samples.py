"""What a region file says about its images: labels, image files and lists, read from either layout and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zslab.data.checks import check_labels, check_location
from zslab.data.region_file import FIX_DAMAGED, RegionFile
from zslab.data.splits import LOCATIONS
from zslab.errors import InputError, examples


@dataclass(frozen=True)
class RegionSamples:
    """What a region file says about its images.

    Attributes:
        labels: (N,) int64, 0-based.
        image_files: N paths, or None.
        locations: the stored lists, 0-based and unchecked.
    """

    labels: np.ndarray
    image_files: list[str] | None
    locations: dict[str, np.ndarray]


def read_samples(regions: RegionFile) -> RegionSamples:
    """Return labels, image files and lists of a region file of either layout.

    Raises:
        InputError: labels or image files are missing or do not fit the maps.
    """
    if regions.groups is None:
        labels = regions.variable("labels")
        if labels is None:
            raise missing_variable(regions, "labels")
        stored = {key: regions.variable(key) for key in (*LOCATIONS, "test_loc")}
        locations = {key: value for key, value in stored.items() if value is not None}
        image_files = regions.texts("image_files")
    else:
        labels, image_files, locations = _read_groups(regions, regions.groups)
    flat = labels.ravel()
    if flat.dtype.kind not in "fiu" or len(flat) != regions.n:
        raise InputError(
            "labels and maps do not match",
            where=regions.path,
            found=f"labels {labels.shape} {labels.dtype}",
            expected=f"{regions.n} numbers, one for each image",
            fix=FIX_DAMAGED,
        )
    checked = check_labels(flat, regions.path, first=0)
    if image_files is not None and len(image_files) != regions.n:
        raise InputError(
            "image files and maps do not match",
            where=regions.path,
            found=f"{len(image_files)} image files",
            expected=f"{regions.n}, one for each image",
            fix=FIX_DAMAGED,
        )
    return RegionSamples(checked, image_files, locations)


def _read_groups(regions: RegionFile, groups: Sequence[str]) -> tuple[np.ndarray, list[str] | None, dict[str, np.ndarray]]:
    """Return labels, image files and lists of DeepFashion's layout."""
    labels: list[np.ndarray] = []
    image_files: list[str] | None = []
    locations: dict[str, list[np.ndarray]] = {}
    ends = np.cumsum(regions.sizes)
    for group, size, end in zip(groups, regions.sizes, ends):
        key, _, label = group.partition("/")
        stored = regions.variable(f"label_{group}")
        if stored is None:
            raise missing_variable(regions, f"label_{group}")
        if stored.size != size or stored.dtype.kind not in "iuf" or (label and (stored != int(label)).any()):
            raise InputError(
                "labels and maps do not match",
                where=f"{regions.path}, label_{group}",
                found=f"{stored.size} labels of type {stored.dtype}",
                expected=f"{size} labels that fit the maps",
                fix=FIX_DAMAGED,
            )
        labels.append(stored.ravel())
        files = regions.texts(f"img_{group}")
        image_files = None if files is None or image_files is None else image_files + files
        name = "trainval_loc" if key == "train" else f"{key}_loc"
        locations.setdefault(name, []).append(np.arange(end - size, end))
    return np.concatenate(labels), image_files, {key: np.concatenate(value) for key, value in locations.items()}


def check_locations(
    stored: Mapping[str, np.ndarray], path: Path, n_samples: int, first: int, standard_split: bool, untested: bool
) -> dict[str, np.ndarray]:
    """Return the lists of a file as 0-based indices, name without "_loc" -> indices; absent test lists are empty.

    Args:
        stored: name with "_loc" -> indices as they are in the file.
        path: the file, for messages.
        n_samples: how many images there are.
        first: the number of the first image, 0 or 1.
        standard_split: zero-shot learning alone, without test_seen_loc.
        untested: the unseen classes have no images.

    Raises:
        InputError: a list is missing or out of range.
    """
    lists = dict(stored)
    test = lists.pop("test_loc", None)
    if standard_split:
        lists.pop("test_seen_loc", None)
        if test is not None:
            lists.setdefault("test_unseen_loc", test)
    if untested:
        lists.pop("test_unseen_loc", None)
    optional = {"test_seen_loc": standard_split, "test_unseen_loc": untested}
    required = [key for key in LOCATIONS[:3] if not optional.get(key)]
    missing = [key for key in required if key not in lists]
    if missing:
        raise InputError(
            f"the file has no {', '.join(missing)}",
            where=path,
            found=examples(sorted(lists)) or "no list",
            expected=", ".join(required),
            fix="Pass a file with these lists; a standard split needs --standard_split.",
        )
    locations = {key.removesuffix("_loc"): check_location(value, key, path, n_samples, first) for key, value in lists.items()}
    for name in ("test_seen", "test_unseen"):
        locations.setdefault(name, np.zeros(0, dtype=np.int64))
    return locations


def missing_variable(regions: RegionFile, name: str) -> InputError:
    """Return the error for a variable that a region file lacks."""
    return InputError(
        f"the file has no {name}",
        where=regions.path,
        found=examples(regions.variables),
        expected=name,
        fix="Use a file written by extract_features.py or by the DAZLE release.",
    )
