"""What tells whether two runs were trained on the same data: a few digits of a hash, however large the files."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from zsl.data.region_maps import RegionDataset
from zsl.data.xlsa17 import Dataset
from zsl.rows import read_rows

ROWS = 1000  # feature rows that are looked at
MAPS = 32  # region maps that are looked at
PACKED_MAPS = 2  # the same of a file of which an image costs unpacking many
DIGITS = 12


def fingerprint(dataset: Dataset) -> dict[str, str]:
    """Digests of a data set's content, 12 hexadecimal digits each.

    They depend on the values alone: not on where the files lie, on what made them, nor on whether features were loaded or are
    mapped from disk.

    Of features and region maps only a sample counts, evenly spaced over all rows and the first and last among them: 1,000
    feature rows, 32 maps (2 of a file that is slow to read). A change that leaves shape and precision alone and touches none
    of these rows goes unnoticed, as do attribute names and pictures, from which no number follows.

    Returns:
        "content": labels, attributes, class names, features, region maps and word vectors, which the class splits of an action
        set share; "split": which samples are for training and testing, and which classes are declared unseen.
    """
    features = dataset.features
    content = [dataset.labels, dataset.attributes, str(features.shape), read_rows(features, _evenly(len(features), ROWS))]
    if isinstance(dataset, RegionDataset):
        regions, vectors = dataset.regions, dataset.word_vectors
        maps = regions.read(_evenly(regions.n, MAPS if regions.streams else PACKED_MAPS))
        content += [str(regions.n), maps] + ([] if vectors is None else [vectors])
    split = [dataset.unseen_classes]
    for name, rows in sorted(dataset.locations.items()):
        split += [name, rows]
    return {"content": _digest([*content, *dataset.class_names]), "split": _digest(split)}


def _evenly(n: int, count: int) -> np.ndarray:
    """Row numbers of at most `count` of n rows, ascending: all of them where they are few."""
    return np.arange(n) if n <= count else np.arange(count) * (n - 1) // (count - 1)


def _digest(parts: Sequence[np.ndarray | str]) -> str:
    """Of arrays and texts in their order; each goes in with its kind and length, so that none can pass for two."""
    found = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            kind, content = "text", part.encode()
        else:
            array = np.ascontiguousarray(part, part.dtype.newbyteorder("<"))  # as most machines have it, whatever this one
            kind, content = f"{array.dtype.str} {array.shape}", array.tobytes()
        found.update(f"{kind} {len(content)}\n".encode() + content)
    return found.hexdigest()[:DIGITS]
