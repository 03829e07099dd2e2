"""Random class splits in the files that `zsl.data.actions` reads, for any labelled features.

Half of the classes are seen, half unseen, and a fifth of each seen class's samples is held out for testing, as in the 30
splits of HMDB51 and UCF101 that zero-shot action recognition is measured on.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import scipy.io

from zsl.data.matfile import read_mat
from zsl.data.npyfile import read_matrix
from zsl.errors import InputError
from zsl.runs.files import atomic_path


def random_class_split(
    labels: np.ndarray, generator: np.random.Generator, *, seen: float, hold_out: float, validation: float
) -> dict[str, np.ndarray]:
    """Draws which classes are seen, and one split.

    Args:
        labels: (N,) class numbers; every class that occurs takes part.
        seen: share of the classes that is seen, rounded up.
        hold_out, validation: as for `split_of_classes`.

    Returns:
        As `split_of_classes`.

    Raises:
        InputError: there are too few classes, or a class with too few samples to hold one out.
    """
    classes = generator.permutation(np.unique(labels))
    n_seen = int(np.ceil(seen * len(classes)))
    if not 2 <= n_seen < len(classes):
        raise InputError(
            "too few classes to split", where="labels", found=f"{len(classes)} classes, of which {n_seen} would be seen",
            expected="at least 2 seen and 1 unseen", cure="Use a data set with more classes.",
        )
    return split_of_classes(labels, classes[:n_seen], generator, hold_out=hold_out, validation=validation)


def split_of_classes(
    labels: np.ndarray, seen_classes: np.ndarray, generator: np.random.Generator, *, hold_out: float, validation: float
) -> dict[str, np.ndarray]:
    """Splits samples of known seen and unseen classes.

    Args:
        labels: (N,) class numbers.
        seen_classes: (s,) at least two, in random order: validation takes the first ones. All others are unseen.
        hold_out: share of every seen class's samples that becomes test_seen.
        validation: share of the seen classes that val_loc takes; train_loc takes the others'. At least one class each.

    Returns:
        trainval_loc, test_seen_loc, test_unseen_loc, train_loc, val_loc: ascending 1-based sample numbers. train and val
        are parts of trainval (as in version 2 of the Proposed Split), so validation does not see test samples.

    Raises:
        InputError: a class has too few samples to hold one out.
    """
    n_seen = len(seen_classes)
    n_validation = min(max(1, round(validation * n_seen)), n_seen - 1)
    held_out = []
    for label in np.sort(seen_classes):
        members = generator.permutation(np.flatnonzero(labels == label))
        if len(members) < 2:
            raise InputError(
                "a class too small to hold a sample out", where="labels", found=f"1 sample of class {label}",
                expected="at least 2 of every class", cure="Leave that class out, or add samples.",
            )
        held_out.append(members[: min(max(1, round(hold_out * len(members))), len(members) - 1)])
    is_seen, is_held_out = np.isin(labels, seen_classes), np.zeros(len(labels), dtype=bool)
    is_held_out[np.concatenate(held_out)] = True
    is_validation, is_trainval = np.isin(labels, seen_classes[:n_validation]), is_seen & ~is_held_out
    chosen = {
        "trainval_loc": is_trainval, "test_seen_loc": is_held_out, "test_unseen_loc": ~is_seen,
        "train_loc": is_trainval & ~is_validation, "val_loc": is_trainval & is_validation,
    }
    return {name: np.flatnonzero(mask) + 1 for name, mask in chosen.items()}


def write_split(
    path: Path, attributes: np.ndarray, names: Sequence[str], locations: dict[str, np.ndarray], **more: np.ndarray
) -> None:
    """Writes a split file, whole or not at all: attributes (C, A) as att (A, C), C names, 1-based location lists, and
    whatever else belongs into it."""
    content = {
        "att": np.asarray(attributes, dtype=np.float64).T,
        "allclasses_names": np.array([[name] for name in names], dtype=object),
        **{name: location[:, None].astype(np.float64) for name, location in locations.items()},
        **more,
    }
    with atomic_path(path) as temporary:
        scipy.io.savemat(temporary, content, do_compression=True)


def read_class_vectors(path: Path) -> tuple[np.ndarray, list[str] | None]:
    """(C, A) class vectors from a .npy file (C, A) or from `att` (A, C) of a split file, with the names of the latter.

    Raises:
        InputError: the file is missing, damaged or holds no matrix of finite numbers.
    """
    if path.suffix == ".mat":
        content = read_mat(path, ["att"], ["allclasses_names", "all_classes"])
        names = content.get("allclasses_names", content.get("all_classes"))
        return content["att"].T, None if names is None else [str(name) for name in names]
    vectors = read_matrix(
        path, "class vectors", expected="a .npy file of a matrix (n_classes, dimension), or a .mat file with att",
        cure="Save one row of numbers for each class.",
    )
    return vectors, None
