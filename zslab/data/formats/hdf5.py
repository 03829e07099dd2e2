"""HDF5 files, opened without a lock where the file system has none."""

from __future__ import annotations

import errno
import math
from pathlib import Path

import h5py
import numpy as np

from zslab.errors import InputError
from zslab.utils.files import NO_SERVICE


def open_hdf5(path: Path, mode: str = "r") -> h5py.File:
    """Open an HDF5 file; an OSError says that it is missing or no HDF5 file."""
    try:
        return h5py.File(path, mode)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES) and "lock" in str(error):
            must = "the file must not be open for writing elsewhere"
            raise InputError(must, where=path, got="a locked file", fix="Wait for the other program, or stop it.") from None
        if error.errno not in NO_SERVICE or "lock" not in str(error):
            raise
        return h5py.File(path, mode, locking=False)


def all_written(item: h5py.Dataset) -> bool:
    """Return whether all of an array is in the file; HDF5 reads zeros for what is not."""
    n_chunks = math.prod(-(-n // of_chunk) for n, of_chunk in zip(item.shape, item.chunks)) if item.chunks else 0
    return bool(item.id.get_num_chunks() >= n_chunks if item.chunks else item.id.get_storage_size() or not item.size)


def content(item: h5py.Dataset) -> np.ndarray:
    """Return what an HDF5 array holds, texts as str; a ValueError says that it is none, or was never written."""
    if not isinstance(item, h5py.Dataset) or item.shape is None:
        raise ValueError("no array")
    if not item.is_virtual and not item.external and not all_written(item):
        raise ValueError(f"{item.name} was never written")
    if h5py.check_string_dtype(item.dtype) is None:
        return np.asarray(item[()])
    if item.dtype.kind == "S":  # several times as fast as through h5py
        texts = np.array([text.decode() for text in np.asarray(item[()]).ravel()], dtype=object)
        return np.reshape(texts, item.shape)
    return np.array(item.asstr()[()], dtype=object)
