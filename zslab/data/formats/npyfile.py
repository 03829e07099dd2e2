"""NumPy's .npy and .npz files: nothing pickled is ever loaded, and a matrix of numbers is checked as it is read."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import IO

import numpy as np

from zslab.data.formats.expansion import check_expansion
from zslab.errors import InputError


def read_matrix(path: Path, what: str, *, expected: str, fix: str, n_rows: int | None = None) -> np.ndarray:
    """Return a matrix of finite numbers, in the precision of the file.

    Args:
        path: a .npy file.
        what: what the matrix holds, in the plural, as messages call it: "word vectors".
        expected: description of the right file, with its shape.
        fix: what to do about any other file; messages add it to their own advice.
        n_rows: how many rows there must be; None for any number but 0.

    Raises:
        InputError: the file is missing or damaged, or `check_matrix` refuses its content.
    """
    matrix = read_array(path, what, expected=expected, fix=fix)
    check_matrix(matrix, what, where=path, expected=expected, fix=fix, n_rows=n_rows)
    return matrix


def read_array(path: Path, what: str, *, expected: str, fix: str, mapped: bool = False) -> np.ndarray:
    """Return the array of a .npy file, its content unchecked.

    Args:
        path: a .npy file.
        what: as for `read_matrix`.
        expected: as for `read_matrix`.
        fix: as for `read_matrix`.
        mapped: leave it on disk and read it where it is accessed.

    Raises:
        InputError: the file is missing, cut short or otherwise damaged, pickled, or no .npy file.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(
            f"the file of {what} is missing",
            where=path,
            found="a folder" if path.is_dir() else "nothing",
            expected=expected,
            fix=f"Put the file there, or check the path. {fix}",
        )
    # Not numpy.load: it takes archives of arrays as well, and advises to unpickle any other file.
    try:
        with open(path, "rb") as file:
            _check_size(file, path.stat().st_size)
            if mapped:
                return np.lib.format.open_memmap(path, "r")
            file.seek(0)
            array: np.ndarray = np.lib.format.read_array(file, allow_pickle=False)
            return array
    # A damaged header makes NumPy raise almost anything: ValueError, TokenError, OverflowError, MemoryError...
    except Exception as error:
        raise InputError(
            f"{what} cannot be read",
            where=path,
            found=f"{type(error).__name__}: {error}",
            expected=expected,
            fix=f"Copy the file, or save it with numpy.save, again. {fix}",
        ) from error


def read_archive(path: Path, what: str, *, fix: str) -> dict[str, np.ndarray]:
    """Return the arrays of a .npz file by name.

    Args:
        path: a .npz file.
        what: as for `read_matrix`.
        fix: what to do about any other file.

    Raises:
        InputError: the file is missing or damaged, holds pickles, or would unpack to far more than it is.
    """
    arrays = {}
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            check_expansion(sum(member.file_size for member in members), path.stat().st_size)
            for member in members:
                with archive.open(member) as file:
                    _check_size(file, member.file_size)
                with archive.open(member) as file:
                    arrays[member.filename.removesuffix(".npy")] = np.lib.format.read_array(file, allow_pickle=False)
    except Exception as error:  # as in read_array, almost anything
        raise InputError(
            f"{what} cannot be read",
            where=path,
            found=f"{type(error).__name__}: {error}",
            expected="a NumPy .npz archive without pickles",
            fix=fix,
        ) from error
    return arrays


def _check_size(file: IO[bytes], size: int) -> None:
    """Raise ValueError unless a .npy file has as many bytes as its header says: NumPy makes the array before it reads."""
    version = np.lib.format.read_magic(file)
    read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if read_header is None:
        raise ValueError(f"version {version} of the .npy format")
    shape, _, dtype = read_header(file)
    if min(shape, default=0) < 0:
        raise ValueError(f"an array of shape {shape}")
    needed, left = math.prod(shape) * dtype.itemsize, size - file.tell()
    if needed > left:
        raise ValueError(f"an array of {needed} bytes where {left} are left")


def check_matrix(matrix: np.ndarray, what: str, *, where: object, expected: str, fix: str, n_rows: int | None = None) -> None:
    """Check that an array is a matrix of finite numbers with as many rows as there must be.

    Args:
        matrix: the array.
        what: as for `read_matrix`.
        where: the file, and the variable in it.
        expected: as for `read_matrix`.
        fix: as for `read_matrix`.
        n_rows: as for `read_matrix`.

    Raises:
        InputError: it is not.
    """
    found = f"{matrix.dtype} {matrix.shape}"
    if matrix.ndim != 2 or matrix.dtype.kind not in "fiub" or not matrix.size:
        raise InputError(f"{what} are not a matrix of numbers", where=where, found=found, expected=expected, fix=fix)
    if n_rows is not None and len(matrix) != n_rows:
        transposed = matrix.shape[1] == n_rows
        raise InputError(
            f"{what} are transposed" if transposed else f"{what} have the wrong number of rows",
            where=where,
            found=found,
            expected=expected,
            fix="Save the transpose." if transposed else fix,
        )
    bad = np.flatnonzero(~np.isfinite(matrix).all(axis=1))
    if len(bad):
        raise InputError(
            f"{what} contain NaN or infinity",
            where=where,
            found=f"{len(bad)} of {len(matrix)} rows, the first is row {bad[0] + 1}, counted from 1",
            expected="finite numbers",
            fix=f"Correct those rows. {fix}",
        )
