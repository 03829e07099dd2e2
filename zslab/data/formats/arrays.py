"""NumPy's .npy files, and the one array in a pickle that somebody else made. No code in either is ever run.

Of pickles, what `pickle.dump(array)` writes under Python 2 or 3, protocols 0 to 5, is read, as the DAZLE release's
`*_attribute.pkl` hold it: whatever it names is replaced by something inert. Every other pickle is refused.
"""

import errno
import math
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np

from zslab.data.checks import array
from zslab.errors import InputError, readable
from zslab.utils.files import optional_service

FIX = "Use the original of the file, or save the array as .npy, which cannot hold code."

# What the pickle of an array names; "numpy._core" is NumPy 2's "numpy.core".
RECONSTRUCT, FROM_BUFFER = ("numpy.core.multiarray", "_reconstruct"), ("numpy.core.numeric", "_frombuffer")
ENCODE = ("_codecs", "encode")
NAMES = (RECONSTRUCT, FROM_BUFFER, ENCODE, ("numpy", "ndarray"), ("numpy", "dtype"))


def read_matrix(path: Path, what: str, fix: str, n_rows: int | None = None) -> np.ndarray:
    """Return the matrix of finite numbers in a .npy file, in the precision of the file.

    `what` it holds, in the plural, and what to do about any other file (`fix`) are for messages; `n_rows` may be any for None.
    """
    matrix = read_array(path, what, fix)
    if matrix.ndim == 2 and n_rows is not None and len(matrix) != n_rows == matrix.shape[1]:
        raise InputError(f"{what} must have {n_rows} rows", where=path, got=matrix.shape, fix="Save the transpose.")
    return array(matrix, path, what, (n_rows, None), fix=fix)


def read_array(path: Path, what: str, fix: str, mapped: bool = False) -> np.ndarray:
    """Return the array of a .npy file, its content unchecked; `mapped` leaves it on disk and reads it where it is accessed."""
    # Not numpy.load, which advises to unpickle any other file. Mapped, a size that lies costs nothing.
    with readable(path, f"{what} must be a complete array that numpy.save wrote (.npy)", fix):
        with optional_service(errno.ENODEV):
            stored: np.ndarray = np.lib.format.open_memmap(path, "r")
            return stored if mapped else np.array(stored)
        return np.load(path, allow_pickle=False)  # where files cannot be mapped


def read_pickled_matrix(path: Path) -> np.ndarray:
    """Return the matrix of numbers in a pickle as (n, d) float32."""
    with readable(path, "the file must be the pickle of one array of numbers", FIX), open(path, "rb") as file:
        matrix = _array(_Unpickler(file, encoding="latin1").load())
    with np.errstate(over="ignore"):
        return array(matrix.astype(np.float32), path, "pickled numbers", (None, None), fix=FIX)


class _Inert:
    """What the pickle names, or would have called with these arguments, and the state that it would have set afterwards."""

    state: Any = None

    def __init__(self, name: tuple[str, str], arguments: tuple[Any, ...] = ()):
        self.name, self.arguments = name, arguments

    def __setstate__(self, state: object) -> None:
        self.state = state

    def __call__(self, *arguments: Any) -> object:
        if self.name != ENCODE:
            return _Inert(self.name, arguments)
        text, encoding = arguments  # bytes, which protocols 0 to 2 spell as a call
        if not isinstance(text, str) or encoding != "latin1":
            raise ValueError("bytes in another spelling than Python's")
        return text.encode("latin1")


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> _Inert:
        full = (module.replace("numpy._core", "numpy.core"), name)
        if full not in NAMES:
            raise ValueError(f"{module}.{name}, code to be run")
        return _Inert(full)


def _array(value: object) -> np.ndarray:
    """Return the array that an `_Inert` describes, after comparing its shape with the bytes that are there."""
    if not isinstance(value, _Inert) or value.name not in (RECONSTRUCT, FROM_BUFFER):
        raise ValueError(f"a {type(value).__name__} where an array must be")
    if value.name == RECONSTRUCT:
        _, shape, dtype, fortran, content = value.state
        order = "F" if fortran else "C"
    else:
        content, dtype, shape, order = value.arguments
    content = content.encode("latin1") if isinstance(content, str) else content  # Python 2's bytes
    code, (_, byte_order, *records) = dtype.arguments[0], dtype.state
    if not re.fullmatch("[<>=|]?(f[248]|[iu][1248])", str(code)) or records[:3] != [None, None, None]:
        raise ValueError(f"an array of type {str(code)[:20]!r}")
    kind = np.dtype(("=" if byte_order == "|" else str(byte_order)) + str(code).lstrip("<>=|"))
    if not isinstance(content, bytes | bytearray) or min(shape, default=0) < 0:
        raise ValueError(f"an array of shape {shape} whose content is not plain bytes")
    if math.prod(shape) * kind.itemsize != len(content):
        raise ValueError(f"{len(content)} bytes in an array of shape {shape} of {kind}")
    matrix: np.ndarray = np.frombuffer(content, kind).reshape(shape, order="F" if order == "F" else "C")
    return matrix
