"""HDF5 files of strangers: only what is stored in the file itself is read, and no more than can have been stored."""

from __future__ import annotations

import math
from typing import TypeAlias

import h5py
import numpy as np

from zslab.data.formats.expansion import check_expansion

LARGEST_CHUNK = 2**28  # bytes that HDF5 unpacks at a time
TEXTS_AT_ONCE = 100

Item: TypeAlias = h5py.Dataset | h5py.Group


class ForeignStorage(ValueError):
    """The content of an item lies in another file, or is reached by a link: HDF5 can point anywhere."""


def local_item(group: h5py.Group, path: str) -> Item | None:
    """Return the item at "a/b/c" below a group, or None where there is none.

    Raises:
        ForeignStorage: its content is not stored in the file.
        ValueError: it claims to hold more than can have been stored.
    """
    item: Item = group
    for name in path.split("/"):
        link = item.get(name, getlink=True) if isinstance(item, h5py.Group) else None
        if link is None:
            return None
        if not isinstance(link, h5py.HardLink):
            raise ForeignStorage("a link to another file or variable")
        item = checked(item[name])
    return item


def checked(item: Item) -> Item:
    """Return an item; raises as `local_item`."""
    if isinstance(item, h5py.Dataset):
        if item.external or item.is_virtual:
            raise ForeignStorage("a view of another file")
        check_expansion((item.size or 0) * item.dtype.itemsize, item.id.get_storage_size())
        if item.chunks and math.prod(item.chunks) * item.dtype.itemsize > LARGEST_CHUNK:
            raise ValueError(f"a chunk of shape {item.chunks}")
    elif not isinstance(item, h5py.Group):
        raise ValueError(f"a {type(item).__name__}")
    return item


def array(item: Item | None) -> np.ndarray:
    """Return the content of a data set that `local_item` gave.

    Raises:
        ValueError: it is a group, or nothing.
    """
    if not isinstance(item, h5py.Dataset) or item.shape is None:
        raise ValueError("no array")
    return np.asarray(item[()])


def texts(item: h5py.Dataset) -> np.ndarray:
    """Return a data set of text, of any shape, as an array of str.

    Raises:
        ValueError: it is no text, or longer than the file: a file can name one long text any number of times.
    """
    kind = h5py.check_string_dtype(item.dtype)
    if kind is None or item.shape is None:
        raise ValueError("no text")
    if kind.length is not None:  # several times as fast as asstr for hundreds of thousands
        flat = [content.decode() for content in np.asarray(item[()]).ravel().tolist()]
        fixed: np.ndarray = np.array(flat, dtype=object).reshape(item.shape)
        return fixed
    if not item.ndim:
        return np.array(item.asstr()[()], dtype=object)
    blocks, left = [], int(item.file.id.get_filesize())
    for start in range(0, len(item), TEXTS_AT_ONCE):
        blocks.append(item.asstr()[start : start + TEXTS_AT_ONCE])
        left -= sum(map(len, blocks[-1].ravel()))
        if left < 0:
            raise ValueError("more text than the file can hold")
    found: np.ndarray = np.concatenate(blocks) if blocks else np.empty(item.shape, dtype=object)
    return found
