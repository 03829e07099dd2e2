"""Splits of samples and classes: the rules that draw them, their published versions, and the files that hold them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io

from zslab.data.formats.arrays import read_matrix
from zslab.data.formats.matfile import read_mat
from zslab.data.formats.table import is_table, read_table
from zslab.errors import InputError, readable
from zslab.utils.files import atomic_path

LOCATIONS = ("trainval_loc", "test_seen_loc", "test_unseen_loc", "train_loc", "val_loc")
VALIDATION_CLASSES = 0.25  # share of the seen classes that validation treats as unseen where a file has no val_loc

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


def draw_hold_out(samples: np.ndarray, labels: np.ndarray, share: float, generator: np.random.Generator) -> np.ndarray:
    """Draw a share of the samples (n,), indices of `labels` (N,), of each class to test on, ascending; one at least is left."""
    drawn = [np.array([], dtype=np.int64)]
    for label in np.unique(labels[samples]):
        members = generator.permutation(samples[labels[samples] == label])
        drawn.append(members[: min(max(1, round(share * len(members))), len(members) - 1)])
    return np.sort(np.concatenate(drawn))


def random_class_split(
    labels: np.ndarray, generator: np.random.Generator, *, seen: float, unseen_classes: Sequence[int] = (), **how: Any
) -> dict[str, np.ndarray]:
    """Draw which classes are seen, a share `seen` or all but the `unseen_classes`, and return a split by `split_of_classes`.

    With half of the classes seen and a fifth held out, this is how the 30 splits of HMDB51 and UCF101 were made that
    zero-shot action recognition is measured on.
    """
    classes = generator.permutation(np.unique(labels))
    n_seen = int(np.ceil(seen * len(classes)))
    seen_classes = classes[~np.isin(classes, unseen_classes)] if len(unseen_classes) else classes[:n_seen]
    if not 2 <= len(seen_classes) < len(classes):
        got, fix = f"{len(seen_classes)} seen classes of {len(classes)}", "Make fewer of them unseen, or use more."
        raise InputError("a split must have at least 2 seen classes and 1 unseen class", where="labels", got=got, fix=fix)
    return split_of_classes(labels, seen_classes, generator, **how)


def split_of_classes(
    labels: np.ndarray,
    seen_classes: np.ndarray,
    generator: np.random.Generator,
    *,
    hold_out: float,
    validation: float,
    copy_of: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Split the samples of known seen and unseen classes into the five lists, ascending 1-based sample numbers.

    train and val are parts of trainval (as in version 2 of the Proposed Split), so validation sees no test sample.

    Args:
        labels: (N,) class numbers.
        seen_classes: (s,) at least two, in random order: validation takes the first ones. All others are unseen.
        hold_out: share of every seen class's samples that becomes test_seen.
        validation: share of the seen classes that val_loc takes; train_loc takes the others'. At least one class each.
        copy_of: (N,) index of the first sample with the same content; copies go where that sample goes.
    """
    is_seen = np.isin(labels, seen_classes)
    values, counts = np.unique(labels[is_seen], return_counts=True)
    if (counts < 2).any():
        got, fix = f"1 sample of class {values[counts < 2][0]}", "Leave that class out, or add samples."
        raise InputError("every seen class must have at least 2 samples, to hold one out", where="labels", got=got, fix=fix)
    n_validation = min(max(1, round(validation * len(seen_classes))), len(seen_classes) - 1)
    is_held_out = np.zeros(len(labels), dtype=bool)
    copy_of = np.arange(len(labels)) if copy_of is None else copy_of
    originals = np.flatnonzero(is_seen & (copy_of == np.arange(len(labels))))
    is_held_out[draw_hold_out(originals, labels, hold_out, generator)] = True
    is_held_out = is_held_out[copy_of] & is_seen
    is_validation, is_trainval = np.isin(labels, seen_classes[:n_validation]), is_seen & ~is_held_out
    masks = {
        "trainval_loc": is_trainval,
        "test_seen_loc": is_held_out,
        "test_unseen_loc": ~is_seen,
        "train_loc": is_trainval & ~is_validation,
        "val_loc": is_trainval & is_validation,
    }
    return {name: np.flatnonzero(mask) + 1 for name, mask in masks.items()}


def equal_rows(features: np.ndarray) -> np.ndarray:
    """Return for each of (N, D) features the index of the first equal ones, (N,): those of copies of one file."""
    if not features.shape[1]:
        return np.arange(len(features))
    first: dict[bytes, int] = {}
    return np.array([first.setdefault(row.tobytes(), index) for index, row in enumerate(features)])


def draw_partition(
    labels: np.ndarray, locations: dict[str, np.ndarray], number: int, copy_of: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Draw another split of a data set, of the same shape as the one that it has.

    It has as many unseen classes and, within rounding, the same shares of held-out samples and of validation classes (a
    quarter of the seen classes where the data set has no train/val lists). Samples in none of the lists take no part.
    `locations` are 0-based sample indices, `number` is the seed of the draw, `copy_of` as for `split_of_classes`.
    """
    if number < 1:
        raise InputError("the number must be at least 1", where="--partition", got=number, fix="Partitions count from 1.")
    trainval, test_seen, test_unseen = (locations[key] for key in ("trainval", "test_seen", "test_unseen"))
    if not (len(test_seen) and len(test_unseen)):
        must = "the data set's own split, whose shape a partition takes over, must have test samples of seen and unseen classes"
        got, fix = f"{len(test_seen)} of seen and {len(test_unseen)} of unseen classes", "Leave out --partition."
        raise InputError(must, where="--partition", got=got, fix=fix)
    used = np.sort(np.concatenate([trainval, test_seen, test_unseen]))
    seen_classes = np.unique(labels[trainval])
    n_seen, validation = len(seen_classes), VALIDATION_CLASSES
    if "val" in locations:
        validation = len(np.unique(labels[np.intersect1d(locations["val"], trainval)])) / n_seen
    if copy_of is not None:
        _, firsts, copy_of = np.unique(copy_of[used], return_index=True, return_inverse=True)
        copy_of = firsts[copy_of]  # among the samples that are used
    generator = np.random.default_rng(number)
    drawn = split_of_classes(
        labels[used],
        generator.permutation(np.unique(labels[used]))[:n_seen],
        generator,
        hold_out=len(test_seen) / (len(test_seen) + len(trainval)),
        validation=validation,
        copy_of=copy_of,
    )
    return {name.removesuffix("_loc"): used[location - 1] for name, location in drawn.items()}


def recognize_split(dataset: str, locations: dict[str, np.ndarray], labels: np.ndarray) -> tuple[str, list[str]]:
    """Tell which release of the Proposed Split the lists are: "v1", "v2", "custom" or "none" (no train/val lists), with notes.

    In version 1 train and val together are trainval and test_seen (so a validation on them leaks), in version 2 (August
    2020) they are trainval alone.
    """
    notes = []
    samples = (len(locations[key]) for key in ("trainval", "test_seen", "test_unseen"))
    classes = (len(np.unique(labels[locations[key]])) for key in ("trainval", "test_unseen"))
    counts = (*samples, *classes)
    if counts != PROPOSED_SPLIT.get(dataset, counts):
        note = f"This is not the published Proposed Split of {dataset}: (trainval, test_seen, test_unseen, seen classes, "
        notes.append(f"{note}unseen classes) are {counts}, published {PROPOSED_SPLIT[dataset]}.")
    if not {"train", "val"} <= locations.keys():
        how = f"a seeded draw of {VALIDATION_CLASSES:.0%} of the seen classes"
        return "none", [*notes, f"The split file has no train_loc and val_loc: validation uses {how}."]
    both = np.union1d(locations["train"], locations["val"])
    if np.array_equal(both, np.sort(locations["trainval"])):
        return "v2", notes
    if np.array_equal(both, np.union1d(locations["trainval"], locations["test_seen"])):
        notes.append("Split version 1: its train_loc and val_loc contain test_seen, which is removed for validation.")
        return "v1", notes
    notes.append("train_loc and val_loc are those of neither version 1 nor version 2; only samples of trainval are used.")
    return "custom", notes


def describe_untested(unseen_classes: np.ndarray, test_labels: np.ndarray) -> list[str]:
    """Return a note where classes that a split file declares unseen are not among the labels of test_unseen."""
    untested, n = len(np.setdiff1d(unseen_classes, test_labels)), len(np.union1d(unseen_classes, test_labels))
    how = "cannot be measured on them; where possible, validation classes stand in for them."
    how = "are over the others." if untested < n else how
    return [f"{untested} of {n} unseen classes have no test samples: T1, u and H {how}"] if untested else []


def write_split(
    path: Path, attributes: np.ndarray, names: Sequence[str], locations: dict[str, np.ndarray], **more: np.ndarray
) -> None:
    """Write a split file of class attributes (C, A), C names, lists of 1-based sample numbers, and further variables."""
    content = {
        "att": np.asarray(attributes, dtype=np.float64).T,
        "allclasses_names": np.array([[name] for name in names], dtype=object),
        **{name: location[:, None].astype(np.float64) for name, location in locations.items()},
        **more,
    }
    with atomic_path(path) as temporary:
        scipy.io.savemat(temporary, content, do_compression=True)


def read_class_vectors(path: Path) -> tuple[np.ndarray, list[str] | None]:
    """Return (C, A) class vectors of a .npy file, a table with a name first, or a split file, and their names, if any."""
    if path.suffix == ".mat":
        content = read_mat(path, ["att"], ["allclasses_names", "all_classes"])
        names = content.get("allclasses_names", content.get("all_classes"))
        return content["att"].T, None if names is None else [str(name) for name in names]
    if is_table(path):
        rows = [cells for _, cells in read_table(path).rows[1:]]
        with readable(path, "each row must be a class name and numbers", "Correct the table."):
            return np.array([[float(cell) for cell in cells[1:]] for cells in rows]), [cells[0] for cells in rows]
    fix = "Save one row of numbers for each class (n_classes, dimension) as .npy or .csv, or pass a .mat file with att."
    return read_matrix(path, "class vectors", fix), None
