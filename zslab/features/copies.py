"""Byte-identical copies of images or videos, which must not lie both in training and in test."""

from __future__ import annotations

from collections import Counter

import numpy as np

from zslab.errors import examples
from zslab.features.sources import Images
from zslab.utils.files import file_sha256


def find_copies(files: Images) -> np.ndarray:
    """Return for each file the index of the first one with the same content, (N,); only files of equal size are read."""
    sizes = [files.path(index).stat().st_size for index in range(len(files))]
    n_of_size, copy_of = Counter(sizes), np.arange(len(files))
    first: dict[tuple[int, str], int] = {}
    for index, size in enumerate(sizes):
        if n_of_size[size] > 1:
            copy_of[index] = first.setdefault((size, file_sha256(files.path(index))), index)
    return copy_of


def describe_copies(files: Images, copy_of: np.ndarray, is_seen: np.ndarray | None = None) -> list[str]:
    """Return sentences about copies among N files, none without copies.

    Args:
        files: the files.
        copy_of: (N,) as `find_copies` gives it.
        is_seen: (C,) whether a class is seen, where that is known.
    """
    copies = np.flatnonzero(copy_of != np.arange(len(files)))
    labels, first_labels = files.labels[copies], files.labels[copy_of[copies]]
    leak = np.zeros(len(copies), bool) if is_seen is None else is_seen[labels - 1] != is_seen[first_labels - 1]
    kinds = (
        (copies, "files are byte-identical copies of others, kept on one side of the split: {}."),
        (copies[labels != first_labels], "of these copies lie in another class than the original: {}. Remove the wrong ones."),
        (copies[leak], "of these copies lie in a seen and in an unseen class, so test images are trained on: {}."),
    )
    return [
        f"{len(some)} {words.format(examples([f'{files.files[copy]} = {files.files[copy_of[copy]]}' for copy in some]))}"
        for some, words in kinds
        if len(some)
    ]
