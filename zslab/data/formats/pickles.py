"""The matrix in a pickle that somebody else made, without unpickling: its opcodes are read, and no object is built.

Reads what `pickle.dump(array)` writes for a NumPy array of numbers under Python 2 or 3, protocols 0 to 5, as the DAZLE
release's `*_attribute.pkl` hold it. Every other pickle is refused.
"""

from __future__ import annotations

import math
import pickletools
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zslab.errors import InputError

LARGEST_FILE = 1 << 30  # bytes
MOST_OPCODES = 500  # an array takes about 50
FIX = "Use the original of the file, or save the array as .npy, which cannot hold code."

# What the pickle of an array names; "numpy._core" is NumPy 2's "numpy.core".
RECONSTRUCT, FROM_BUFFER = ("numpy.core.multiarray", "_reconstruct"), ("numpy.core.numeric", "_frombuffer")
NDARRAY, DTYPE, ENCODE = ("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")
NAMES = (RECONSTRUCT, FROM_BUFFER, NDARRAY, DTYPE, ENCODE)

LITERALS = [
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "STRING", "SHORT_BINSTRING", "BINSTRING", "UNICODE"),
    *("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8"),
]
CONSTANTS: dict[str, object] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}


def read_pickled_matrix(path: Path) -> np.ndarray:
    """Return the matrix of numbers in a pickle as (n, d) float32.

    Raises:
        InputError: the file is missing or damaged, or holds anything but one matrix of finite numbers.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(LARGEST_FILE + 1)
        if len(content) > LARGEST_FILE:
            raise ValueError(f"more than {LARGEST_FILE} bytes")
        matrix = _array(_evaluate(content))
    except _ForeignName as error:
        raise InputError(
            "the pickle asks for code to be run", where=path, found=error, expected="one array of numbers", fix=FIX
        ) from None
    except (OSError, ValueError, IndexError, KeyError, RecursionError) as error:  # what damaged opcodes raise
        raise InputError(
            "the pickle is not that of an array", where=path, found=error, expected="one array of numbers", fix=FIX
        ) from None
    if matrix.ndim != 2 or not matrix.size or not np.isfinite(matrix).all():
        raise InputError(
            "the pickled array is not a matrix of finite numbers",
            where=path,
            found=f"shape {matrix.shape}"
            if matrix.ndim != 2 or not matrix.size
            else f"{(~np.isfinite(matrix)).sum()} entries that are not finite",
            expected="a matrix (n, d) of finite numbers",
            fix=FIX,
        )
    with np.errstate(over="ignore"):
        return matrix.astype(np.float32)


class _ForeignName(Exception):
    """A name in the pickle that no array needs."""


@dataclass
class _Call:
    """What the pickle would have called, and the state it would have set afterwards."""

    name: tuple[str, str]
    arguments: tuple[object, ...]
    state: object = None


@dataclass(frozen=True)
class _Name:
    """A name that the pickle would have imported."""

    name: tuple[str, str]


_MARK = object()


def _evaluate(content: bytes) -> object:
    """Return what a pickle describes, as literals, tuples and `_Call`s.

    Raises:
        ValueError: it contains something that no array of numbers needs.
    """
    stack: list[object] = []
    memo: dict[object, object] = {}
    for count, (opcode, argument, _) in enumerate(pickletools.genops(content)):
        name = opcode.name
        if count == MOST_OPCODES:
            raise ValueError(f"more than {MOST_OPCODES} opcodes")
        if name in LITERALS:
            stack.append(argument)
        elif name in CONSTANTS:
            stack.append(CONSTANTS[name])
        elif name == "MARK":
            stack.append(_MARK)
        elif name == "TUPLE":
            mark = max(i for i, value in enumerate(stack) if value is _MARK)
            stack[mark:] = [tuple(stack[mark + 1 :])]
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            n = int(name[-1])
            if len(stack) < n:
                raise ValueError("a tuple of what is not there")
            stack[-n:] = [tuple(stack[-n:])]
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name == "GLOBAL":
            stack.append(_known(*str(argument).split(" ", 1)))
        elif name == "STACK_GLOBAL":
            stack[-2:] = [_known(stack[-2], stack[-1])]
        elif name == "REDUCE":
            stack[-2:] = [_called(stack[-2], stack[-1])]
        elif name == "BUILD":
            state, call = stack.pop(), stack[-1]
            if not isinstance(call, _Call):
                raise ValueError("a state of something that is no array")
            call.state = state
        elif name == "STOP":
            return stack.pop()
        elif name not in ("PROTO", "FRAME"):
            raise ValueError(f"opcode {name}")
    raise ValueError("no end")


def _known(module: object, name: object) -> _Name:
    """Return a name that an array may need."""
    full = (str(module).replace("numpy._core", "numpy.core"), str(name))
    if full not in NAMES:
        raise _ForeignName(f"{module}.{name}")
    return _Name(full)


def _called(function: object, arguments: object) -> object:
    """Return a call as a description; bytes, which protocols 0 to 2 spell as a call, as themselves."""
    if not (isinstance(function, _Name) and isinstance(arguments, tuple)):
        raise ValueError("a call of something that is no function")
    if function.name == ENCODE:
        if len(arguments) != 2 or not isinstance(arguments[0], str) or arguments[1] != "latin1":
            raise ValueError("bytes in another spelling than Python's")
        return arguments[0].encode("latin1")
    return _Call(function.name, arguments)


def _array(value: object) -> np.ndarray:
    """Return the array that a `_Call` describes, after comparing its shape with the bytes that are there."""
    if not isinstance(value, _Call):
        raise ValueError(f"a {type(value).__name__} where an array must be")
    if value.name == RECONSTRUCT and value.arguments[:1] == (_Name(NDARRAY),):
        _, shape, dtype, fortran, content = _fields(value.state, 5)
        order: object = "F" if fortran in (True, 1) else "C"
    elif value.name == FROM_BUFFER:
        content, dtype, shape, order = _fields(value.arguments, 4)
    else:
        raise ValueError("no array of NumPy's")
    if isinstance(content, str):  # Python 2's bytes
        content = content.encode("latin1")
    if not isinstance(content, (bytes, bytearray)) or order not in ("C", "F"):
        raise ValueError("an array whose content is not plain bytes")
    if not (isinstance(shape, tuple) and len(shape) <= 32 and all(isinstance(n, int) and n >= 0 for n in shape)):
        raise ValueError("an array without a shape")
    kind = _dtype(dtype)
    if math.prod(shape) * kind.itemsize != len(content):
        raise ValueError(f"{len(content)} bytes in an array of shape {shape} of {kind}")
    return np.frombuffer(content, kind).reshape(shape, order="F" if order == "F" else "C")


def _dtype(value: object) -> np.dtype[np.number]:
    """Return the numeric type that a `_Call` describes."""
    if not (isinstance(value, _Call) and value.name == DTYPE and value.arguments):
        raise ValueError("an array without a type")
    code, (_, order, *records) = value.arguments[0], _fields(value.state, 8)
    if not (isinstance(code, str) and re.fullmatch("[<>=|]?(f[248]|[iu][1248])", code)):
        raise ValueError(f"an array of type {str(code)[:20]!r}")
    if records[:3] != [None, None, None] or order not in ("<", ">", "=", "|"):
        raise ValueError("an array of records")
    return np.dtype(("=" if order == "|" else str(order)) + code.lstrip("<>=|"))


def _fields(value: object, length: int) -> tuple[object, ...]:
    """Return a tuple that must have so many entries."""
    if not (isinstance(value, tuple) and len(value) == length):
        raise ValueError(f"something else where {length} values must be")
    return value
