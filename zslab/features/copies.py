"""Byte-identical copies of images or videos, which must not lie both in training and in test."""

from __future__ import annotations

from collections import Counter

import numpy as np

from zslab.errors import examples
from zslab.features.sources import Images
from zslab.utils.files import file_sha256


def find_copies(files: Images) -> np.ndarray:
    """Return for each file the index of the first one with the same content, (N,); its own index if it is the first.

    Only files of equal size are read.
    """
    sizes = [files.path(index).stat().st_size for index in range(len(files))]
    n_of_size = Counter(sizes)
    first: dict[tuple[int, str], int] = {}
    copy_of = np.arange(len(files))
    for index, size in enumerate(sizes):
        if n_of_size[size] > 1:
            copy_of[index] = first.setdefault((size, file_sha256(files.path(index))), index)
    return copy_of


def describe_copies(files: Images, copy_of: np.ndarray, is_seen: np.ndarray | None = None) -> list[str]:
    """Return sentences about copies, none without copies.

    Args:
        files: N files.
        copy_of: (N,) as `find_copies` gives it.
        is_seen: (C,) whether a class is seen, where that is known.
    """
    copies = np.flatnonzero(copy_of != np.arange(len(files)))
    originals, labels = copy_of[copies], files.labels

    def pairs(chosen: np.ndarray) -> str:
        return examples([f"{files.files[copy]} = {files.files[copy_of[copy]]}" for copy in chosen])

    notes = []
    if len(copies):
        notes.append(
            f"{len(copies)} files are byte-identical copies of others, kept on one side of the split: {pairs(copies)}."
        )
    mixed = copies[labels[copies] != labels[originals]]
    if len(mixed):
        notes.append(
            f"{len(mixed)} of these copies lie in another class than the original: {pairs(mixed)}. Remove the wrong ones."
        )
    if is_seen is not None:
        leaking = copies[is_seen[labels[copies] - 1] != is_seen[labels[originals] - 1]]
        if len(leaking):
            notes.append(
                f"{len(leaking)} of these copies lie in a seen and in an unseen class, so test images are trained on: "
                f"{pairs(leaking)}."
            )
    return notes
