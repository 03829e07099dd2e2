"""NumPy arrays out of a pickle that somebody else made, without running anything that is in it.

Reads what `pickle.dump(array)` wrote under Python 2 or 3, protocols 0 to 5: arrays of numbers, booleans, strings or
plain objects, alone or inside lists, tuples, dicts and sets. Every other name in the file is refused before it is looked
up, and array headers are checked here, not by NumPy, which trusts them.
"""

from __future__ import annotations

import io
import pickle
import re
from pathlib import Path

import numpy as np

from zsl.errors import InputError

_CURE = "Use the file's original, or save the array as .npy, which can hold no code."


def read_pickle(path: Path) -> object:
    """The arrays and plain containers in a pickle file.

    Raises:
        InputError: the file is missing or damaged, or names anything but arrays and plain values; nothing of it has run.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise InputError(
            "unreadable pickle", where=path, found=error.strerror, expected="a file", cure="Check the path.",
        ) from None
    try:
        # latin1 is how arrays of Python 2 come through: their bytes were text there.
        return _plain(_Unpickler(io.BytesIO(content), encoding="latin1").load())
    except _Refused as error:
        raise InputError(
            "a pickle that asks for code", where=path, found=error, expected="arrays and plain values only", cure=_CURE,
        ) from None
    except Exception as error:  # damaged pickles raise almost anything
        raise InputError(
            "unreadable pickle", where=path, found=f"{type(error).__name__}: {error}", expected="a whole pickle of arrays",
            cure=_CURE,
        ) from None


def read_pickled_matrix(path: Path) -> np.ndarray:
    """(n, d) float32 of a pickle that holds one matrix of numbers, as the DAZLE release's `*_attribute.pkl` do.

    Raises:
        InputError: as `read_pickle`, or the file holds something else.
    """
    matrix = read_pickle(path)
    if not isinstance(matrix, np.ndarray) or matrix.ndim != 2 or matrix.dtype.kind not in "fiu":
        found = f"{matrix.dtype} {matrix.shape}" if isinstance(matrix, np.ndarray) else type(matrix).__name__
        raise InputError("a pickle without a matrix", where=path, found=found, expected="one matrix of numbers", cure=_CURE)
    if not np.isfinite(matrix).all():
        raise InputError(
            "not a number", where=path, found=f"{(~np.isfinite(matrix)).sum()} entries", expected="finite numbers", cure=_CURE,
        )
    return matrix.astype(np.float32)


class _Refused(Exception):
    pass


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> object:
        module = {"__builtin__": "builtins"}.get(module, module).replace("numpy._core", "numpy.core")
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise _Refused(f"{module}.{name}") from None


class _Array(np.ndarray):
    """An array being unpickled, whose header is checked before NumPy gets to see it."""

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, fortran, content = state
        dtype = _checked(dtype)
        if isinstance(content, str):
            content = content.encode("latin1")
        if (dtype.kind == "O") != isinstance(content, list):
            raise _Refused("an array whose content does not fit its type")
        super().__setstate__((1, shape, dtype, fortran, content))


class _Type:
    """A dtype being unpickled: numbers, booleans, strings or objects, no records and no metadata."""

    def __init__(self, code: str, *_: object):
        if not (isinstance(code, str) and re.fullmatch(r"[<>=|]?(?:[biufcSU]\d{1,9}|O8?|\?)", code)):
            raise _Refused(f"dtype {code!r}")
        self.dtype = np.dtype(code.removesuffix("8") if "O" in code else code)

    def __setstate__(self, state: tuple) -> None:
        _, order, subtype, names, fields, *_ = state
        if subtype is not None or names is not None or fields is not None or order not in ("<", ">", "|", "="):
            raise _Refused("a structured dtype")
        if self.dtype.kind != "O":
            self.dtype = self.dtype.newbyteorder(order)


class _Marker:
    """Stands for `numpy.ndarray`, which a pickle names but has no need to call."""


def _checked(dtype: object) -> np.dtype:
    if not isinstance(dtype, _Type):
        raise _Refused("an array without a dtype")
    return dtype.dtype


def _reconstruct(kind: object, *_: object) -> _Array:
    if kind is not _Marker:
        raise _Refused("an array that is none")
    return np.ndarray.__new__(_Array, (0,), np.int8)


def _from_buffer(content: bytes, dtype: object, shape: tuple, order: str) -> np.ndarray:
    return np.frombuffer(content, _checked(dtype)).reshape(shape, order=order).copy(order)


def _scalar(dtype: object, content: bytes | str) -> object:
    if _checked(dtype).kind == "O":
        raise _Refused("an object scalar")
    content = content.encode("latin1") if isinstance(content, str) else content
    return np.frombuffer(content, _checked(dtype), count=1)[0]


def _encode(text: str, encoding: str) -> bytes:  # how Python 3 writes bytes under protocols 0 to 2
    if encoding != "latin1":
        raise _Refused(f"encoding {encoding!r}")
    return text.encode("latin1")


_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct, ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy.core.numeric", "_frombuffer"): _from_buffer, ("numpy", "ndarray"): _Marker, ("numpy", "dtype"): _Type,
    ("_codecs", "encode"): _encode, ("builtins", "bytes"): bytes, ("builtins", "set"): set,
    ("builtins", "frozenset"): frozenset,
}


def _plain(value: object) -> object:
    """The value with plain arrays in place of `_Array`s, whatever they are nested in."""
    if isinstance(value, np.ndarray):
        value = value.view(np.ndarray)
        if value.dtype.kind == "O":
            value = value.copy()
            value[...] = np.fromiter(map(_plain, value.flat), dtype=object, count=value.size).reshape(value.shape)
        return value
    if isinstance(value, dict):
        return {_plain(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return type(value)(map(_plain, value))
    if isinstance(value, (bool, int, float, complex, str, bytes, bytearray, np.generic)) or value is None:
        return value
    raise _Refused(f"a value of type {type(value).__name__.lstrip('_')}")
