"""NumPy's .npy files: nothing pickled is ever loaded, and a matrix of numbers is checked as it is read."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from zslab.data.checks import array
from zslab.errors import InputError, readable


def read_matrix(path: Path, what: str, fix: str, n_rows: int | None = None) -> np.ndarray:
    """Return a matrix of finite numbers, in the precision of the file.

    Args:
        path: a .npy file.
        what: what the matrix holds, in the plural, as messages call it: "word vectors".
        fix: what to do about any other file.
        n_rows: how many rows there must be; None for any number but 0.
    """
    matrix = read_array(path, what, fix)
    if matrix.ndim == 2 and n_rows is not None and len(matrix) != n_rows == matrix.shape[1]:
        raise InputError(f"{what} must have {n_rows} rows", where=path, got=matrix.shape, fix="Save the transpose.")
    return array(matrix, path, what, (n_rows, None), fix=fix)


def read_array(path: Path, what: str, fix: str, mapped: bool = False) -> np.ndarray:
    """Return the array of a .npy file, its content unchecked.

    Args:
        path: a .npy file.
        what: as for `read_matrix`.
        fix: as for `read_matrix`.
        mapped: leave it on disk and read it where it is accessed.
    """
    # Not numpy.load, which advises to unpickle any other file. Mapped, a size that lies costs nothing.
    with readable(path, f"{what} must be a complete array that numpy.save wrote (.npy)", fix):
        stored = np.lib.format.open_memmap(path, "r")
        return stored if mapped else np.array(stored)
