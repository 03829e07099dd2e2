"""MATLAB files, v5 and v7.3 (HDF5), read alike, with arrays in MATLAB's own orientation; and other HDF5 files.

v5 files are read by SciPy, whose reader trusts the structure of a file: of 1,500 files with a few changed bytes, 12 ended
Python itself. So `_checked` compares types and sizes before, and SciPy gets the wanted variables alone, unpacked.

Format: MathWorks, "MAT-File Level 5 File Format". A file is a header of 128 bytes and a sequence of elements, each with a
type, a number of bytes, and its bytes, padded to 8. An array is an element whose bytes are elements again: flags,
dimensions, name, and content. A compressed element holds one array.
"""

import errno
import io
import math
import mmap
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.io
import scipy.sparse

from zslab.errors import InputError, examples, readable
from zslab.utils.files import NO_SERVICE, optional_service

# Types of elements, classes of arrays, and a flag.
NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
TEXTS, ARRAY, COMPRESSED = (1, 2, 4, 16, 17, 18), 14, 15
CELL, TEXT, SPARSE, OPAQUE, NUMERIC, COMPLEX = 1, 4, 5, 17, range(6, 16), 0x800
OTHERS = {2: "a struct", 3: "an object", 16: "a function handle", 17: "a string array or an object"}


def read_mat(path: Path, required: Sequence[str], optional: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """Read variables of a .mat file, whose version is recognized from its content.

    Returns:
        name -> array as MATLAB shows it, at least 2-D, of the `required` variables and the `optional` ones that are there; text
        and a cell array of text become a 1-D array of str, a sparse matrix a dense one.
    """
    path = Path(path)
    if not path.is_file():
        got = f"only {examples(sorted(file.name for file in path.parent.glob('*.mat'))) or 'other files'}"
        fix = "Check --dataroot, --dataset, --image_embedding and --class_embedding; "
        fix += "data/README.md of the tree says where each file comes from."
        raise InputError("the file must exist", where=path, got=got, fix=fix)
    fix = "It is probably cut short or no MATLAB file; download or copy it again."
    with readable(path, "the file must be a complete MATLAB file (v5 or v7.3)", fix):
        if h5py.is_hdf5(path):
            with open_hdf5(path) as file:
                variables = {name: _value(f"{path}, {name}", file[name]) for name in (*required, *optional) if name in file}
        else:
            variables = _read_v5(path, [*required, *optional])
    if missing := [name for name in required if name not in variables]:
        got = examples(sorted(variables)) or "none of the known variables"
        fix = "Feature files hold features and labels, split files att and the *_loc lists; are the two swapped?"
        raise InputError(f"the file must hold {', '.join(missing)}", where=path, got=got, fix=fix)
    return variables


def _unsupported(name: str, kind: str) -> InputError:
    fix = "Convert it in MATLAB, for example by cellstr(names), double(x) or struct2cell(s), and save the file again."
    return InputError("a variable must be a real matrix of numbers, or a cell array of text", where=name, got=kind, fix=fix)


def _read_v5(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    with open(path, "rb") as opened:
        with optional_service(errno.ENODEV):
            return _read_arrays(memoryview(mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)), path, names)
        return _read_arrays(memoryview(opened.read()), path, names)  # where files cannot be mapped


def _read_arrays(file: memoryview, path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    order = {b"IM": "<", b"MI": ">"}.get(bytes(file[126:128]))
    if order is None:
        raise ValueError("no header of a MATLAB file of version 5")
    found: dict[str, np.ndarray] = {}
    others: dict[str, list[bytes | memoryview]] = {}
    for kind, data in _elements(file[128:], order):
        if kind not in (ARRAY, COMPRESSED):
            raise ValueError(f"an element of type {kind} where an array must begin")
        name = _name(zlib.decompressobj().decompress(data, 1024)[8:] if kind == COMPRESSED else data, order)
        if name in names:
            if kind == COMPRESSED:
                ((kind, data),) = _elements(memoryview(zlib.decompress(data)), order)
            numbers = _checked(f"{path}, {name}", data, order)
            if numbers is None:
                others[name] = [struct.pack(order + "II", ARRAY, len(data)), data]
            else:  # several times as fast as through SciPy
                found[name] = numbers
    if others:
        read = scipy.io.loadmat(io.BytesIO(b"".join([file[:128], *sum(others.values(), [])])))
        found |= {name: _as_shown(read[name]) for name in others}
    return found


def _elements(data: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """Yield type and bytes of the elements in a run of bytes."""
    while data:
        kind, size = struct.unpack_from(order + "II", data)
        start, end = 8, 8 + size if kind == COMPRESSED else 8 + size + -size % 8
        if kind >> 16:  # up to four bytes stand within the tag
            kind, size, start, end = kind & 0xFFFF, kind >> 16, 4, 8
        if start + size > min(end, len(data)):
            raise ValueError(f"an element of {size} bytes where {len(data) - start} are left")
        yield kind, data[start : start + size]
        data = data[end:]


def _name(array: memoryview | bytes, order: str) -> str:
    """Return the name of an array of which the first bytes are there."""
    elements = _elements(memoryview(array), order)
    flags = next(elements)[1]
    if flags[0 if order == "<" else 3] != OPAQUE:
        next(elements)  # the dimensions
    return str(next(elements)[1], "latin-1")


def _checked(name: str, array: memoryview, order: str, in_cell: bool = False) -> np.ndarray | None:
    """Refuse an array whose parts are not those of its class, in types and sizes; return it if it is a matrix of numbers."""
    (first, flags), *parts = _elements(array, order)
    if first != 6 or len(flags) != 8:
        raise ValueError(f"array flags of {len(flags)} bytes")
    (flag,) = struct.unpack_from(order + "I", flags)
    kind = flag & 0xFF
    if kind in OTHERS or flag & COMPLEX:
        raise _unsupported(name, OTHERS.get(kind, "a complex array"))
    (second, dims), (third, _), *parts = parts
    shape = struct.unpack(f"{order}{len(dims) // 4}i", dims)
    if (second, third) != (5, 1) or not 2 <= len(shape) <= 32 or min(shape) < 0:
        raise ValueError(f"an array of shape {shape}")
    n, types = math.prod(shape), [kind for kind, _ in parts]
    dtype = np.dtype(order + NUMBERS.get(types[-1], "u1")) if types else np.dtype("u1")
    n_bytes = len(parts[-1][1]) if parts else 0
    if in_cell and kind != TEXT and n:
        raise _unsupported(name, "a cell array of something else than text")
    if kind == CELL:
        fits = types == [ARRAY] * n
        for _, cell in parts:
            if cell:
                _checked(name, cell, order, in_cell=True)
    elif kind == TEXT:
        fits = len(types) == 1 and types[0] in TEXTS or not n
    elif kind == SPARSE:
        fits = len(types) == 3 and types[:2] == [5, 5] and types[2] in NUMBERS and n_bytes % dtype.itemsize == 0
    else:
        fits = kind in NUMERIC and len(types) == 1 and types[0] in NUMBERS and n_bytes == n * dtype.itemsize
    if not fits:
        raise ValueError(f"parts of types {types[:5]} in an array of class {kind} and shape {shape}")
    if kind not in NUMERIC:
        return None
    return np.frombuffer(parts[0][1], dtype).reshape(shape, order="F").astype(dtype.newbyteorder("="))


def _as_shown(value: Any) -> np.ndarray:
    """Return an array of SciPy's as `read_mat` does."""
    if scipy.sparse.issparse(value):
        value.check_format(full_check=True)  # SciPy itself would write where the file says
        if (np.diff(value.indptr) < 0).any():  # which the line above overlooks where the last one is 0
            raise ValueError("a sparse matrix whose columns end before they start")
        return np.asarray(value.toarray())
    if value.dtype == object:
        return np.array(["".join(cell.ravel()).rstrip(" \0") if cell.size else "" for cell in value.ravel("F")], dtype=str)
    return np.char.rstrip(value.ravel("F"), " \0") if value.dtype.kind == "U" else np.atleast_2d(value)


def _value(name: str, item: h5py.Dataset | h5py.Group) -> np.ndarray:
    """Return a variable as MATLAB shows it; HDF5 has its dimensions reversed."""
    kind = item.attrs.get("MATLAB_class", b"")
    if isinstance(item, h5py.Group) and "MATLAB_sparse" in item.attrs:
        row, start, values = (content(item[key]).ravel() for key in ("ir", "jc", "data"))
        return _as_shown(scipy.sparse.csc_matrix((values, row, start), (int(item.attrs["MATLAB_sparse"]), len(start) - 1)))
    if not isinstance(item, h5py.Dataset) or kind == b"string":
        raise _unsupported(name, "a string array" if kind == b"string" else "a struct")
    if item.attrs.get("MATLAB_empty", 0):  # the data set holds the dimensions
        shape = tuple(content(item).ravel().astype(int))
        if math.prod(shape):
            raise ValueError(f"an empty array of shape {shape}")
        return np.array([], dtype=str) if kind in (b"cell", b"char") else np.zeros(shape)
    value = content(item)
    if h5py.check_string_dtype(item.dtype):  # written from Python
        return value.ravel().astype(str)
    if h5py.check_ref_dtype(item.dtype):
        return np.array([_text(name, item.file[cell]) for cell in value.T.ravel()], dtype=str)
    if value.dtype.kind not in "fiub":
        raise _unsupported(name, f"an array of {value.dtype.name}")
    value = np.atleast_2d(value)
    return np.array(["".join(map(chr, row)).rstrip(" \0") for row in value.T]) if kind == b"char" else np.asarray(value.T)


def _text(name: str, cell: h5py.Dataset) -> str:
    """Return the text in a cell: UTF-16 codes."""
    if cell.dtype.kind not in "iu" or cell.attrs.get("MATLAB_class", b"char") != b"char":
        raise _unsupported(name, "a cell array of something else than text")
    return "" if cell.attrs.get("MATLAB_empty", 0) else content(cell).astype("<u2").tobytes().decode("utf-16-le")


def open_hdf5(path: Path, mode: str = "r") -> h5py.File:
    """Open an HDF5 file, without a lock where the file system has none; an OSError says that it is missing or no HDF5 file."""
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
