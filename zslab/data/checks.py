"""Checks that every reader of a data set makes: labels, class attributes, class names and index lists, as 0-based arrays."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from zslab.errors import InputError, examples
from zslab.utils.names import clean_names


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
    """Return a value as an array of finite numbers of its own type, or refuse it.

    Args:
        where: the file or argument that it comes from, for messages.
        what: what it is, in the plural, such as "labels".
        shape: its sizes; None fits any size of at least 1.
        low, high: the smallest and the largest number allowed.
        whole: whether the numbers must be whole.
        once: whether every number may occur once only.
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
        first = tuple((np.argwhere(~finite)[0] + 1).tolist())
        raise refuse("be finite", f"{np.count_nonzero(~finite)} values that are not, the first at {first} from 1 on")
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


def in_precision(values: np.ndarray, dtype: np.dtype | str, where: object, names: Sequence[object]) -> np.ndarray:
    """Return features (n, ...) of n samples, whose names are for messages, in a precision in which they must be finite."""
    with np.errstate(over="ignore"):
        stored: np.ndarray = values.astype(dtype, copy=False)
    bad = np.flatnonzero(~np.isfinite(stored).reshape(len(stored), -1).all(axis=1))
    if len(bad):
        must, got = f"features must be finite {stored.dtype} numbers", f"others in {names[bad[0]]}"
        fix = "Look at that sample and at the flags of the network; float32 holds larger numbers."
        raise InputError(must, where=where, got=got, fix=fix)
    return stored


def check_labels(labels: np.ndarray, path: Path, first: int = 1) -> np.ndarray:
    """Return labels (N,), which count from `first` (1 in MATLAB files, 0 in HDF5 files written from Python), as int64."""
    fix = "Add 1 if the labels are 0-based." if first else "Store 0-based class numbers."
    return array(labels, path, "labels", (None,), low=first, high=2**31, whole=True, fix=fix).astype(np.int64)


def check_attributes(att: np.ndarray, path: Path) -> np.ndarray:
    """Return att (A, C), a column a class, as (C, A) float32 with rows of unit L2 norm."""
    if att.dtype.kind not in "fiub" or att.ndim != 2 or not att.size:
        must, got = "att must be a matrix (attribute_dim, n_classes) of numbers", f"{att.dtype} {att.shape}"
        raise InputError(must, where=path, got=got, fix="Save it as one.")
    attributes = att.T.astype(np.float64)
    with np.errstate(over="ignore"):
        norms = np.linalg.norm(attributes, axis=1, keepdims=True)
    if len(bad := np.flatnonzero(~np.isfinite(norms) | (norms == 0))):
        must, got = "every class must have a finite, non-zero attribute vector", f"{len(bad)} without, first class {bad[0] + 1}"
        raise InputError(must, where=path, got=got, fix="Fill in or remove those classes.")
    return np.asarray(attributes / norms, dtype=np.float32)


def missing_value_note(att: np.ndarray) -> list[str]:
    """Return a note where att (A, C) marks missing values by −1, as AwA's matrix of percentages does."""
    negative = att < 0
    if not ((att[negative] == -1).all() and negative.any() and att.max() > 1):
        return []
    note = f"att has {int(negative.sum())} entries of -1 beside values up to {att.max():g}: AwA marks missing values so. "
    return [note + "They are used as the number -1, as in the published split files."]


def check_class_names(names: np.ndarray | None, n_classes: int, path: Path) -> tuple[list[str], list[str]]:
    """Return C class names and notes; without names, classes are called "class 1", "class 2" and so on."""
    if names is None:
        note = f"{path.name} has no allclasses_names: classes are called class 1 ... class {n_classes}."
        return [f"class {number}" for number in range(1, n_classes + 1)], [note]
    is_text = names.dtype.kind == "U" and names.shape == (n_classes,)
    cleaned, notes = clean_names(names, path.name) if is_text else ([], [])
    twice = [name for name, count in Counter(cleaned).items() if count > 1]
    if not is_text or twice:
        must = f"allclasses_names must be {n_classes} different texts, one for each column of att"
        got = f"{examples(twice)} twice" if twice else f"{names.size} names of type {names.dtype}"
        fix = "Give one name for each column of att, in their order, or leave out allclasses_names."
        raise InputError(must, where=path, got=got, fix=fix)
    return cleaned, notes


def check_location(location: np.ndarray, key: str, path: Path, n_samples: int, first: int = 1) -> np.ndarray:
    """Return a list of sample numbers, counted from `first`, or a mask, as unique 0-based indices in the order given."""
    flat = np.ravel(location)
    if len(flat) == n_samples > 1 and np.isin(flat, (0, 1)).all():  # a list of that length would repeat 0 or 1
        flat = np.flatnonzero(flat) + first
    fix = f"Features and split do not belong together, or the list is {1 - first}-based or repeats a sample."
    numbers = array(flat, path, key, low=first, high=n_samples - 1 + first, whole=True, once=True, fix=fix)
    return numbers.astype(np.int64) - first


def check_locations(
    stored: Mapping[str, np.ndarray], path: Path, n_samples: int, first: int = 1, *, untested: bool, standard: bool = False
) -> dict[str, np.ndarray]:
    """Return the lists of a file, which counts from `first`, as name without "_loc" -> 0-based indices.

    A standard split, zero-shot learning alone, has no test_seen; `untested` unseen classes have no images: empty lists.
    """
    left_out = ["test_loc"] + ["test_seen_loc"] * standard + ["test_unseen_loc"] * untested
    lists = {key: indices for key, indices in stored.items() if key not in left_out}
    if standard and not untested and "test_loc" in stored:
        lists.setdefault("test_unseen_loc", stored["test_loc"])
    missing = [key for key in ("trainval_loc", "test_seen_loc", "test_unseen_loc") if key not in lists and key not in left_out]
    if missing:
        must, got = f"the file must hold {', '.join(missing)}", examples(sorted(lists)) or "no list"
        fix = "Pass a file with these lists; a standard split needs --standard_split."
        raise InputError(must, where=path, got=got, fix=fix)
    locations = {key.removesuffix("_loc"): check_location(value, key, path, n_samples, first) for key, value in lists.items()}
    return {"test_seen": np.zeros(0, np.int64), "test_unseen": np.zeros(0, np.int64)} | locations


def check_disjoint(locations: dict[str, np.ndarray], labels: np.ndarray, path: Path) -> None:
    """Refuse lists (name without "_loc" -> 0-based indices) that share samples, or classes between seen and unseen."""

    def refuse_any(numbers: np.ndarray, must: str) -> None:
        if len(numbers):
            fix = "The split file is damaged or belongs to other features; use the published one."
            raise InputError(must, where=path, got=f"{len(numbers)}, the first is {numbers[0] + 1}", fix=fix)

    parts = ("trainval", "test_seen"), ("trainval", "test_unseen"), ("test_seen", "test_unseen")
    for first, second in (*parts, ("train", "val"), ("train", "test_unseen"), ("val", "test_unseen")):
        if first in locations and second in locations:
            common = np.intersect1d(locations[first], locations[second])
            refuse_any(common, f"{first}_loc and {second}_loc must have no sample in common")
    seen, unseen = np.unique(labels[locations["trainval"]]), np.unique(labels[locations["test_unseen"]])
    refuse_any(np.intersect1d(seen, unseen), "trainval_loc and test_unseen_loc must have no class in common")
    untrained = np.setdiff1d(labels[locations["test_seen"]], seen)
    refuse_any(untrained, "the classes of test_seen_loc must have samples in trainval_loc")
