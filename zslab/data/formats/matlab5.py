"""MATLAB v5 files (MATLAB's -v6 and -v7) without compiled code: a damaged file ends in a ValueError and nothing else.

Reads what data sets hold: numeric, logical, text and sparse arrays, and cells of text. Every type and size is checked
against the bytes that are there before anything is made of them.

Format: MathWorks, "MAT-File Level 5 File Format". A file is a header of 128 bytes and a sequence of elements, each with a
type, a number of bytes, and its bytes, padded to 8. An array is an element whose bytes are elements again: flags,
dimensions, name, and content. A compressed element holds one array.
"""

from __future__ import annotations

import math
import os
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from zslab.data.formats.expansion import check_expansion, text_array

# Types of elements.
ARRAY, COMPRESSED = 14, 15
NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
TEXTS = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
# Classes of arrays.
CELL, TEXT, SPARSE, OPAQUE = 1, 4, 5, 17
NUMERIC = range(6, 16)
OTHER_CLASSES = {2: "a struct", 3: "an object", 16: "a function handle", OPAQUE: "an object"}

COMPLEX = 0x800  # flag of an array
MOST_DIMENSIONS = 32
LONGEST_HEADER = 1024  # bytes before an array's content: flags, dimensions and name
MOST_CELLS = 10_000_000


class UnsupportedVariable(ValueError):
    """A variable of a kind that is not read.

    Attributes:
        name: the variable.
        kind: what it is: "a struct".
    """

    def __init__(self, name: str, kind: str):
        super().__init__(f"{name} is {kind}")
        self.name, self.kind = name, kind


@dataclass(frozen=True)
class Header:
    """What precedes the content of an array.

    Attributes:
        name: the variable.
        kind: its class, a number of the format.
        is_complex: whether it has an imaginary part.
        shape: its dimensions.
    """

    name: str
    kind: int
    is_complex: bool
    shape: tuple[int, ...]


def read_variables(path: Path, wanted: Collection[str]) -> dict[str, np.ndarray]:
    """Read variables of a MATLAB v5 file.

    Args:
        path: the file.
        wanted: names of the variables; those that the file lacks are left out.

    Returns:
        name -> array as MATLAB shows it, at least 2-D; text and cell arrays of text as a 1-D array of str.

    Raises:
        UnsupportedVariable: a wanted variable is a struct or an object, complex, or a cell of something else than text.
        ValueError: the file is damaged or is no such file.
        OSError: the file cannot be read.
    """
    variables = {}
    with open(path, "rb") as file:
        for header, elements in _arrays(file, wanted):
            if header.name in wanted:
                variables[header.name] = _content(header, elements)
    return variables


def variable_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of every variable of a MATLAB v5 file from the headers alone; raises as `read_variables`."""
    with open(path, "rb") as file:
        return {header.name: header.shape for header, _ in _arrays(file, ())}


class _Elements:
    """The elements in a run of bytes, one after another."""

    def __init__(self, data: bytes | memoryview, order: str):
        self.data, self.order, self.at = memoryview(data), order, 0

    def next(self) -> tuple[int, memoryview]:
        """Return type and bytes of the next element."""
        kind, size, start = _tag(self.data[self.at : self.at + 8], self.order)
        first = self.at + start
        if first + size > len(self.data):
            raise ValueError(f"an element of {size} bytes where {max(0, len(self.data) - first)} are left")
        self.at = first + size + -(start + size) % 8
        return kind, self.data[first : first + size]

    def numbers(self) -> np.ndarray:
        """Return the next element as a 1-D array of numbers, in the precision in which they are stored."""
        kind, data = self.next()
        if kind not in NUMBERS:
            raise ValueError(f"an element of type {kind} where numbers must be")
        dtype = np.dtype(self.order + NUMBERS[kind])
        if len(data) % dtype.itemsize:
            raise ValueError(f"{len(data)} bytes of {dtype.itemsize}-byte numbers")
        return np.frombuffer(data, dtype).astype(dtype.newbyteorder("="), copy=False)

    def text(self) -> str:
        """Return the next element as text."""
        kind, data = self.next()
        if kind not in TEXTS:
            raise ValueError(f"an element of type {kind} where text must be")
        encoding = TEXTS[kind]
        if encoding in ("utf-16", "utf-32"):
            encoding += "-le" if self.order == "<" else "-be"
        return str(data, encoding)

    def header(self) -> Header:
        """Return the header with which an array begins."""
        flags = self.numbers()
        if len(flags) != 2:
            raise ValueError(f"{len(flags)} array flags")
        kind = int(flags[0]) & 0xFF
        if kind == OPAQUE:  # newer than the published format: no dimensions
            return Header(self.text(), kind, False, ())
        shape: tuple[int, ...] = tuple(self.numbers().tolist())
        if not 2 <= len(shape) <= MOST_DIMENSIONS or not all(isinstance(n, int) and n >= 0 for n in shape):
            raise ValueError(f"dimensions {shape[:MOST_DIMENSIONS]}")
        return Header(self.text(), kind, bool(int(flags[0]) & COMPLEX), shape)


def _tag(tag: memoryview | bytes, order: str) -> tuple[int, int, int]:
    """Return type, number of bytes, and where the bytes begin: an element of up to 4 bytes stands within its tag."""
    if len(tag) < 8:
        raise ValueError(f"{len(tag)} bytes where an element must begin")
    first, size = (int(number) for number in np.frombuffer(tag, order + "u4"))
    if first >> 16:
        if first >> 16 > 4:
            raise ValueError(f"a short element of {first >> 16} bytes")
        return first & 0xFFFF, first >> 16, 4
    return first, size, 8


def _arrays(file: BinaryIO, wanted: Collection[str]) -> Iterator[tuple[Header, _Elements]]:
    """Yield header and content of every variable in a file; the content only of those that are wanted."""
    size = os.fstat(file.fileno()).st_size
    order = {b"IM": "<", b"MI": ">"}.get(file.read(128)[126:])
    if order is None:
        raise ValueError("no header of a MATLAB file of version 5")
    position = 128
    while position < size:
        file.seek(position)
        tag = file.read(8)
        kind, n, start = _tag(tag, order)
        if start == 4 or kind not in (ARRAY, COMPRESSED):
            raise ValueError(f"an element of type {kind} where an array must begin")
        if position + 8 + n > size:
            raise ValueError(f"an array of {n} bytes where {size - position - 8} are left")
        read = _decompressed if kind == COMPRESSED else _plain
        elements = _Elements(read(file, n, order, LONGEST_HEADER), order)
        header = elements.header()
        if header.name in wanted:
            file.seek(position + 8)
            elements = _Elements(read(file, n, order, None), order)
            elements.header()
        yield header, elements
        position += 8 + n


def _plain(file: BinaryIO, n: int, order: str, most: int | None) -> bytes:
    """Return the `n` bytes of an array that begin here, or the first of them."""
    return file.read(n if most is None else min(n, most))


def _decompressed(file: BinaryIO, n: int, order: str, most: int | None) -> memoryview:
    """Return the bytes of the array that is compressed in the next `n` bytes, or the first of them."""
    compressed = file.read(n if most is None else min(n, most))
    stream = zlib.decompressobj()
    try:
        tag = stream.decompress(compressed, 8)
        kind, size, start = _tag(tag, order)
        if kind != ARRAY or start == 4:
            raise ValueError(f"a compressed element of type {kind}")
        check_expansion(size, n)
        content = stream.decompress(stream.unconsumed_tail, max(1, size if most is None else min(size, most)))
        if most is None:
            stream.decompress(stream.unconsumed_tail, 1)  # reaches the checksum
    except zlib.error as error:
        raise ValueError(f"damaged compressed data: {error}") from None
    if most is None and not (len(content) == size and stream.eof):
        raise ValueError(f"{len(content)} of {size} compressed bytes")
    return memoryview(content)


def _content(header: Header, elements: _Elements) -> np.ndarray:
    """Return the content of an array whose header has been read."""
    if header.kind == OPAQUE:
        elements.text()
        raise UnsupportedVariable(header.name, "a string array" if elements.text() == "string" else "an object")
    if header.kind in OTHER_CLASSES:
        raise UnsupportedVariable(header.name, OTHER_CLASSES[header.kind])
    if header.is_complex:
        raise UnsupportedVariable(header.name, "a complex array")
    if header.kind == TEXT:
        return text_array(_lines(header, elements))
    if header.kind == CELL:
        return text_array(_cells(header, elements))
    if header.kind == SPARSE:
        row, start, values = elements.numbers(), elements.numbers(), elements.numbers()
        return dense(row, start, values, header.shape)
    if header.kind not in NUMERIC:
        raise ValueError(f"an array of class {header.kind}")
    values = elements.numbers()
    if len(values) != math.prod(header.shape):
        raise ValueError(f"{len(values)} numbers in an array of shape {header.shape}")
    return values.reshape(header.shape, order="F")


def _lines(header: Header, elements: _Elements) -> list[str]:
    """Return the rows of a text array, without the blanks that make them equally long."""
    text, n_rows = elements.text() if math.prod(header.shape) else "", header.shape[0]
    if n_rows <= 1:  # not counted: MATLAB counts UTF-16 codes, other writers characters
        return [text.rstrip(" \0")] if text else []
    if len(text) != math.prod(header.shape) or n_rows > MOST_CELLS:
        raise ValueError(f"{len(text)} characters in a text of shape {header.shape}")
    return [text[row::n_rows].rstrip(" \0") for row in range(n_rows)]


def _cells(header: Header, elements: _Elements) -> list[str]:
    """Return the texts in a cell array."""
    n, texts = math.prod(header.shape), []
    if n > min(MOST_CELLS, len(elements.data) // 8):
        raise ValueError(f"{n} cells in {len(elements.data)} bytes")
    for _ in range(n):
        kind, data = elements.next()
        if kind != ARRAY:
            raise ValueError(f"an element of type {kind} where a cell must be")
        if not data:  # a cell that nothing was ever put into
            texts.append("")
            continue
        inner = _Elements(data, elements.order)
        head = inner.header()
        if head.kind != TEXT and all(head.shape):
            raise UnsupportedVariable(header.name, "a cell array of something else than text")
        texts.append("".join(_lines(head, inner)) if head.kind == TEXT else "")
    return texts


def dense(row: np.ndarray, start: np.ndarray, values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return a sparse matrix, stored column by column, as a dense one.

    Args:
        row: (n,) row of each value, from 0 on.
        start: (columns + 1,) where each column's values begin.
        values: (n,) numbers.
        shape: (rows, columns).

    Raises:
        ValueError: they do not fit together.
    """
    if len(shape) != 2 or len(start) != shape[1] + 1 or row.dtype.kind not in "iu" or start.dtype.kind not in "iu":
        raise ValueError(f"{len(start)} column starts in a sparse matrix of shape {shape}")
    counts: np.ndarray = np.diff(start.astype(np.int64))
    n = int(start[-1])
    if start[0] != 0 or (counts < 0).any() or n > min(len(row), len(values)):
        raise ValueError(f"a sparse matrix whose columns do not fit its {len(values)} values")
    row, values = row[:n], values[:n]
    if n and not 0 <= row.min() <= row.max() < shape[0]:
        raise ValueError(f"a sparse matrix with row {row.max()} of {shape[0]}")
    check_expansion(shape[0] * shape[1] * values.dtype.itemsize, values.nbytes + row.nbytes + start.nbytes)
    matrix = np.zeros(shape, dtype=values.dtype)
    matrix[row, np.repeat(np.arange(shape[1]), counts)] = values
    return matrix
