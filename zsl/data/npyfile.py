"""NumPy's .npy files, of which nothing pickled is ever loaded, and the matrices of numbers that people put into them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from zsl.errors import InputError


def read_matrix(path: Path, what: str, *, expected: str, cure: str, n_rows: int | None = None) -> np.ndarray:
    """A matrix of finite numbers, in the precision of the file.

    Args:
        path: a .npy file.
        what: what the matrix is, in the plural, as messages call it: "word vectors".
        expected: the right file in words, with its shape.
        cure: what to do about a file that does not hold that, added to what each refusal calls for by itself.
        n_rows: how many rows there must be; None for any number.

    Raises:
        InputError: the file is missing or damaged, or `check_matrix` refuses its content.
    """
    array = read_array(path, what, expected=expected, cure=cure)
    check_matrix(array, what, where=path, expected=expected, cure=cure, n_rows=n_rows)
    return array


def read_array(path: Path, what: str, *, expected: str, cure: str, mapped: bool = False) -> np.ndarray:
    """The array of a .npy file, unchecked.

    Args:
        what, expected, cure: as for `read_matrix`.
        mapped: leave it on disk, to be read where it is looked at.

    Raises:
        InputError: the file is missing, damaged, pickled or an archive of several arrays.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"missing {what}", where=path, found="nothing", expected=expected, cure=f"Check the path. {cure}")
    try:
        # Not np.load, which takes archives and pickles for arrays, too.
        with open(path, "rb") as file:
            array = np.lib.format.open_memmap(path, "r") if mapped else np.lib.format.read_array(file, allow_pickle=False)
    # A damaged header makes NumPy raise almost anything: ValueError, SyntaxError, TokenError, OverflowError, MemoryError...
    except Exception as error:
        raise InputError(
            f"unreadable {what}", where=path, found=f"{type(error).__name__}: {error}", expected=expected,
            cure=f"Copy it or save it with numpy.save again. {cure}",
        ) from error
    return array
