"""Checks that every reader of a data set makes: labels, class attributes, class names and index lists, as 0-based arrays."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from zslab.errors import InputError, examples
from zslab.utils.names import clean_names

LARGEST_LABEL = 10_000_000  # far above any number of classes, far below where casts to int64 overflow


def whole_numbers(values: np.ndarray, first: int, last: int) -> bool:
    """Tell whether all values are whole numbers in first..last, of whatever numeric type; NaN is none."""
    inside = (values >= first) & (values <= last)  # before any cast: 2**63 and NaN become negative numbers as int64
    return bool(inside.all() and (values == np.floor(values)).all())


def array(
    value: object,
    where: object,
    what: str,
    shape: tuple[int | None, ...] | None = None,
    *,
    low: float | None = None,
    high: float | None = None,
    whole: bool = False,
    once: bool = False,
    fix: str = "Correct the values.",
) -> np.ndarray:
    """Return a value as an array of numbers of its own type, after checking it.

    Args:
        value: an array, or what NumPy makes one of.
        where: the file or argument that it comes from, for messages.
        what: what it is, in the plural, such as "labels".
        shape: its sizes; None fits any size of at least 1.
        low: the smallest number allowed.
        high: the largest number allowed.
        whole: whether the numbers must be whole.
        once: whether every number may occur once only.
        fix: what to do.

    Raises:
        InputError: it has no such numbers; NaN and infinity are always refused.
    """

    def refuse(must: str, got: object) -> InputError:
        return InputError(f"{what} must {must}", where=where, got=got, fix=fix)

    values = np.asarray(value)
    if values.dtype.kind not in "fiub" or not values.size:
        raise refuse("be numbers", f"{values.dtype} {values.shape}")
    if shape is not None and (len(shape) != values.ndim or any(n not in (None, m) for n, m in zip(shape, values.shape))):
        sizes = ", ".join("any" if n is None else str(n) for n in shape)
        raise refuse(f"have the shape ({sizes})", values.shape)
    finite = np.isfinite(values)
    if not finite.all():
        raise refuse("be finite", f"{np.count_nonzero(~finite)} values that are NaN or infinite")
    least, most = values.min(), values.max()
    if (low is not None and least < low) or (high is not None and most > high):
        limits = f"at least {low}" if high is None else f"at most {high}" if low is None else f"between {low} and {high}"
        raise refuse(f"be {limits}", f"{least:.6g} to {most:.6g}")
    if whole and (values != np.floor(values)).any():
        raise refuse("be whole numbers", values[values != np.floor(values)].flat[0])
    if once:
        numbers, counts = np.unique(values, return_counts=True)
        if counts.max() > 1:
            raise refuse("occur once each", f"{numbers[counts > 1][0]} more than once")
    return values


def check_labels(labels: np.ndarray, path: Path, first: int = 1) -> np.ndarray:
    """Return labels (N,) as int64, counted as they are.

    Args:
        labels: (N,) numbers of any type.
        path: where they come from, for messages.
        first: number of the first class: 1 in MATLAB files, 0 in HDF5 files written from Python.

    Raises:
        InputError: there are none, or they are not whole numbers from `first` on.
    """
    expected = f"whole numbers from {first} on, which count {'columns' if first else 'rows'} of att"
    if labels.dtype.kind not in "fiu" or not len(labels):
        raise InputError(
            "labels are not numbers" if len(labels) else "there are no labels",
            where=path,
            found=f"{labels.dtype} {labels.shape}",
            expected=expected,
            fix="Save one number for every sample.",
        )
    if not whole_numbers(labels, first, LARGEST_LABEL):
        raise InputError(
            "labels are out of range",
            where=path,
            found=f"{labels.min()}..{labels.max()} ({labels.dtype})",
            expected=expected,
            fix="Add 1 if the labels are 0-based." if first else "Store 0-based class numbers.",
        )
    return labels.astype(np.int64)


def check_attributes(att: np.ndarray, path: Path) -> np.ndarray:
    """Return att (A, C) as (C, A) float32 with rows of unit L2 norm.

    Args:
        att: one column a class.
        path: where it comes from, for messages.

    Raises:
        InputError: it is no matrix of numbers, or a class has no finite non-zero vector.
    """
    if att.dtype.kind not in "fiub" or att.ndim != 2 or not att.size:
        raise InputError(
            "att is not a matrix of numbers",
            where=path,
            found=f"{att.dtype} {att.shape}",
            expected="(attribute_dim, n_classes) numbers",
            fix="Save att as a numeric MATLAB matrix.",
        )
    attributes = att.T.astype(np.float64)
    with np.errstate(over="ignore"):
        norms = np.linalg.norm(attributes, axis=1)
    bad = np.flatnonzero(~np.isfinite(norms) | (norms == 0))
    if len(bad):
        raise InputError(
            "a class lacks attributes",
            where=path,
            found=f"{len(bad)} columns of att that are all zero or not finite, the first is {bad[0] + 1}",
            expected="a finite, non-zero attribute vector for every class",
            fix="Fill in or remove those classes.",
        )
    unit: np.ndarray = attributes / norms[:, None]
    return unit.astype(np.float32)


def missing_value_note(att: np.ndarray) -> list[str]:
    """Return a note where att (A, C) marks missing values by −1, as AwA's matrix of percentages does."""
    negative = att < 0
    if not ((att[negative] == -1).all() and negative.any() and att.max() > 1):
        return []
    return [
        f"att has {int(negative.sum())} entries of -1 beside values up to {att.max():g}: AwA marks missing values so. They are "
        "used as the number -1, as in the published split files."
    ]


def check_class_names(names: np.ndarray | None, n_classes: int, path: Path) -> tuple[list[str], list[str]]:
    """Return C class names and notes.

    Args:
        names: the file's names; None where it has none: classes are then called "class 1", "class 2" and so on.
        n_classes: how many there must be.
        path: where they come from, for messages.

    Raises:
        InputError: they are not text, not one for each class, or not all different.
    """
    if names is None:
        note = f"{path.name} has no allclasses_names: classes are called class 1 ... class {n_classes}."
        return [f"class {number}" for number in range(1, n_classes + 1)], [note]
    if names.dtype.kind != "U" or names.ndim != 1 or len(names) != n_classes:
        raise InputError(
            "class names do not fit the columns of att",
            where=path,
            found=f"{len(names)} names" if names.dtype.kind == "U" and names.ndim == 1 else f"{names.dtype} {names.shape}",
            expected=f"a cell array of {n_classes} names, or no allclasses_names at all",
            fix="Give one name for each column of att, in their order.",
        )
    cleaned, notes = clean_names(names, path.name)
    twice = [name for name, count in Counter(cleaned).items() if count > 1]
    if twice:
        raise InputError(
            "two classes have the same name",
            where=path,
            found=examples(twice),
            expected="every name once",
            fix="Rename one of them in allclasses_names.",
        )
    return cleaned, notes


def check_location(location: np.ndarray, key: str, path: Path, n_samples: int, first: int = 1) -> np.ndarray:
    """Return an index list as unique 0-based indices, in the order given.

    Args:
        location: sample numbers, or a mask of n_samples zeros and ones.
        key: name of the list, for messages.
        path: where it comes from, for messages.
        n_samples: how many samples there are.
        first: number of the first sample: 1 in MATLAB files, 0 in HDF5 files written from Python.

    Raises:
        InputError: the list is empty, names a sample twice or one that does not exist.
    """
    if location.dtype.kind not in "fiub":
        raise InputError(
            f"{key} is not a list of numbers",
            where=path,
            found=location.dtype,
            expected=f"{first}-based sample numbers",
            fix="Save it as a numeric column vector.",
        )
    flat = location.ravel()
    if len(flat) == n_samples > 1 and np.isin(flat, (0, 1)).all():  # a list of that length would repeat 0 or 1
        flat = np.flatnonzero(flat) + first
    if len(flat) == 0:
        raise InputError(
            f"{key} is empty",
            where=path,
            found="no sample",
            expected="at least one sample number",
            fix="Give the list its samples; train_loc and val_loc may be left out altogether.",
        )
    last = n_samples - 1 + first
    if not whole_numbers(flat, first, last):
        raise InputError(
            f"{key} is out of range",
            where=path,
            found=f"{flat.min()}..{flat.max()}",
            expected=f"whole numbers in {first}..{last}, the samples of the features",
            fix=f"Features and split do not belong together, or the list is {1 - first}-based.",
        )
    values, counts = np.unique(flat, return_counts=True)
    if len(values) != len(flat):
        raise InputError(
            f"{key} names a sample twice",
            where=path,
            found=f"{len(flat) - len(values)} repetitions, e.g. of {values[counts > 1][0]}",
            expected="every sample at most once",
            fix="Remove the repetitions.",
        )
    return flat.astype(np.int64) - first


def check_disjoint(locations: dict[str, np.ndarray], labels: np.ndarray, path: Path) -> None:
    """Refuse lists that share samples, or classes between seen and unseen.

    Args:
        locations: name without "_loc" -> 0-based sample indices.
        labels: (N,) class numbers.
        path: where the lists come from, for messages.

    Raises:
        InputError: two lists overlap, or test_seen has a class that trainval lacks.
    """

    def refuse(problem: str, found: str, expected: str) -> InputError:
        fix = "The split file is damaged or belongs to other features; use the published one."
        return InputError(problem, where=path, found=found, expected=expected, fix=fix)

    pairs = [
        ("trainval", "test_seen"),
        ("trainval", "test_unseen"),
        ("test_seen", "test_unseen"),
        ("train", "val"),
        ("train", "test_unseen"),
        ("val", "test_unseen"),
    ]
    for first, second in pairs:
        if first in locations and second in locations:
            common = np.intersect1d(locations[first], locations[second])
            if len(common):
                found = f"{len(common)} samples both in {first}_loc and {second}_loc, e.g. {common[0] + 1}"
                raise refuse("the splits overlap", found, "no common sample")
    seen, unseen = np.unique(labels[locations["trainval"]]), np.unique(labels[locations["test_unseen"]])
    common = np.intersect1d(seen, unseen)
    if len(common):
        found = f"{len(common)} classes both in trainval_loc and test_unseen_loc, e.g. {common[0] + 1}"
        raise refuse("the splits overlap", found, "unseen classes without training samples")
    untrained = np.setdiff1d(labels[locations["test_seen"]], seen)
    if len(untrained):
        found = f"{len(untrained)} classes of test_seen_loc, e.g. {untrained[0] + 1}, that trainval_loc lacks"
        raise refuse("a seen test class has no training samples", found, "test_seen from classes of trainval")
