"""NumPy's .npy files: nothing pickled is ever loaded, and a matrix of numbers is checked as it is read."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from zsl.errors import InputError


def read_matrix(path: Path, what: str, *, expected: str, cure: str, n_rows: int | None = None) -> np.ndarray:
    """A matrix of finite numbers, in the precision of the file.

    Args:
        path: a .npy file.
        what: what the matrix holds, in the plural, as messages call it: "word vectors".
        expected: the right file in words, with its shape.
        cure: what to do about a file that is not that; messages add it to what a refusal calls for by itself.
        n_rows: how many rows there must be; None for any number but 0.

    Raises:
        InputError: the file is missing or damaged, or `check_matrix` refuses its content.
    """
    matrix = read_array(path, what, expected=expected, cure=cure)
    check_matrix(matrix, what, where=path, expected=expected, cure=cure, n_rows=n_rows)
    return matrix


def read_array(path: Path, what: str, *, expected: str, cure: str, mapped: bool = False) -> np.ndarray:
    """The array of a .npy file, its content unchecked.

    Args:
        what, expected, cure: as for `read_matrix`.
        mapped: leave it on disk, to be read where it is looked at.

    Raises:
        InputError: the file is missing, cut short or otherwise damaged, pickled, or no .npy file.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(
            f"missing {what}", where=path, found="nothing", expected=expected,
            cure=f"Put the file there, or check the path. {cure}",
        )
    # Not numpy.load: it takes archives of arrays as well, and advises those who have any other file to unpickle it.
    try:
        if mapped:
            return np.lib.format.open_memmap(path, "r")
        with open(path, "rb") as file:
            return np.lib.format.read_array(file, allow_pickle=False)
    # A damaged header makes NumPy raise almost anything: ValueError, TokenError, OverflowError, MemoryError...
    except Exception as error:
        raise InputError(
            f"unreadable {what}", where=path, found=f"{type(error).__name__}: {error}", expected=expected,
            cure=f"Copy the file, or save it with numpy.save, again. {cure}",
        ) from error


def check_matrix(
    matrix: np.ndarray, what: str, *, where: object, expected: str, cure: str, n_rows: int | None = None
) -> None:
    """Makes sure that an array is a matrix of finite numbers with as many rows as there must be.

    Args:
        where: the file, and the variable in it.
        what, expected, cure, n_rows: as for `read_matrix`.

    Raises:
        InputError: it is not.
    """
    found = f"{matrix.dtype} {matrix.shape}"
    if matrix.ndim != 2 or matrix.dtype.kind not in "fiub" or not matrix.size:
        raise InputError(f"{what} that are no matrix of numbers", where=where, found=found, expected=expected, cure=cure)
    if n_rows is not None and len(matrix) != n_rows:
        transposed = matrix.shape[1] == n_rows
        raise InputError(
            f"{what} that are transposed" if transposed else f"{what} that do not fit", where=where, found=found,
            expected=expected, cure="Save the transpose." if transposed else cure,
        )
    bad = np.flatnonzero(~np.isfinite(matrix).all(axis=1))
    if len(bad):
        raise InputError(
            f"{what} contain NaN or infinity", where=where,
            found=f"{len(bad)} of {len(matrix)} rows, the first is row {bad[0] + 1}, counted from 1",
            expected="finite numbers", cure=f"Mend those rows. {cure}",
        )
