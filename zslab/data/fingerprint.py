"""A fingerprint of a data set, a few digits of a hash, which tells whether two runs were trained on the same data."""

import hashlib
from collections.abc import Sequence

import numpy as np

from zslab.data.dataset import Dataset
from zslab.data.lazy import read_rows
from zslab.data.region_dataset import RegionDataset

ROWS = 1000  # feature vectors that are read
MAPS = 32  # region maps that are read
PACKED_MAPS = 2  # region maps that are read from a file in which one image costs unpacking many
DIGITS = 12


def fingerprint(dataset: Dataset) -> dict[str, str]:
    """Return digests of a data set's values, wherever its files lie, 12 hexadecimal digits each.

    "content" is that of labels, attributes, class names, features, region maps and word vectors, which the class splits of an
    action set share; "split" tells which samples are for training and testing, and which classes are declared unseen. Of
    features and region maps, 1,000 vectors and 32 maps (2 of a file that is slow to read) are looked at, evenly spaced, the
    first and last among them: a change elsewhere that keeps shape and precision goes unnoticed.
    """
    features = dataset.features
    rows = read_rows(features, _evenly(len(features), ROWS))
    content: list[np.ndarray | str] = [dataset.labels, dataset.attributes, str(features.shape), rows]
    if isinstance(dataset, RegionDataset):
        regions, vectors = dataset.regions, dataset.word_vectors
        maps = regions.read(_evenly(regions.n, MAPS if regions.streams else PACKED_MAPS))
        content += [str(regions.n), maps] + ([] if vectors is None else [vectors])
    lists = [part for named in sorted(dataset.locations.items()) for part in named]
    return {"content": _digest([*content, *dataset.class_names]), "split": _digest([dataset.unseen_classes, *lists])}


def _evenly(n: int, count: int) -> np.ndarray:
    """Return the numbers of at most `count` of n rows, ascending and evenly spaced."""
    return np.arange(n) if n <= count else np.arange(count) * (n - 1) // (count - 1)


def _digest(parts: Sequence[np.ndarray | str]) -> str:
    """Return the digest of arrays and texts in their order; kind and length of each count, so that none can pass for two."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            kind, content = "text", part.encode()
        else:
            array = np.ascontiguousarray(part, part.dtype.newbyteorder("<"))  # as most machines have it, whatever this one
            kind, content = f"{array.dtype.str} {array.shape}", array.tobytes()
        digest.update(f"{kind} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:DIGITS]
