"""MATLAB files, v5 and v7.3 (HDF5), read alike: arrays come in MATLAB's own orientation."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import h5py
import numpy as np

from zslab.data.formats.expansion import text_array
from zslab.data.formats.hdf5 import ForeignStorage, Item, array, checked, local_item, texts
from zslab.data.formats.matlab5 import UnsupportedVariable, dense, read_variables, variable_shapes
from zslab.errors import InputError, examples

T = TypeVar("T")


def read_mat(path: Path, required: Sequence[str], optional: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """Read variables of a .mat file.

    Args:
        path: the file; its version is recognized from its content.
        required: variables that must be there.
        optional: variables that are returned if they are there.

    Returns:
        name -> array as MATLAB shows it, at least 2-D; text and a cell array of text become a 1-D array of str, a sparse
        matrix a dense one.

    Raises:
        InputError: the file is missing or damaged, lacks a required variable, or has one of a kind that is not read.
    """
    path = Path(path)
    if not path.is_file():
        files = sorted(file.name for file in path.parent.glob("*.mat")) if path.parent.is_dir() else []
        raise InputError(
            "the file is missing",
            where=path,
            found=f"only {examples(files)}" if files else "no .mat file in that folder",
            expected="a MATLAB file (v5 or v7.3)",
            fix="Check --dataroot, --dataset, --image_embedding and --class_embedding; "
            "data/README.md of the tree says where each file comes from.",
        )
    names = [*required, *optional]
    variables = _refusing(path, lambda: _read_hdf5(path, names) if h5py.is_hdf5(path) else read_variables(path, names))
    missing = [name for name in required if name not in variables]
    if missing:
        raise InputError(
            f"variable {', '.join(missing)} is missing",
            where=path,
            found=examples(sorted(variables)) or "none of the known variables",
            expected=", ".join(sorted(required)),
            fix="Feature files hold features and labels, split files att and the *_loc lists; are the two swapped?",
        )
    return variables


def mat_shapes(path: Path, where: object) -> dict[str, tuple[int, ...]]:
    """Return the shape of every array in a MATLAB file, as MATLAB shows it, without reading the arrays.

    Args:
        path: the file.
        where: what messages call it.

    Raises:
        InputError: it is no MATLAB file, or it is cut short.
    """

    def shapes() -> dict[str, tuple[int, ...]]:
        if not h5py.is_hdf5(path):
            return variable_shapes(path)
        with h5py.File(path, "r") as file:
            items = ((name, _local(file, name)) for name in file)
            return {name: item.shape[::-1] for name, item in items if isinstance(item, h5py.Dataset)}

    return _refusing(where, shapes)


def _refusing(where: object, read: Callable[[], T]) -> T:
    """Return what `read` returns, with an InputError in place of whatever it raises."""
    try:
        return read()
    except UnsupportedVariable as error:
        raise InputError(
            f"variable {error.name} is {error.kind}",
            where=where,
            found=error.kind,
            expected="a real matrix of numbers, or a cell array of text",
            fix="Convert it in MATLAB, for example by cellstr(names), double(x) or struct2cell(s), and save the file again.",
        ) from None
    except Exception as error:  # HDF5 answers damage with OSError, RuntimeError, KeyError, ValueError, TypeError...
        raise InputError(
            "the file cannot be read as a MATLAB file",
            where=where,
            found=f"{type(error).__name__}: {error}",
            expected="a complete .mat file of version 5 (-v6, -v7) or 7.3",
            fix="It is probably cut short or not a MATLAB file; download or copy it again.",
        ) from error


def _read_hdf5(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    with h5py.File(path, "r") as file:
        items = {name: _local(file, name) for name in names}
        return {name: _value(name, item) for name, item in items.items() if item is not None}


def _local(file: h5py.File, name: str) -> Item | None:
    try:
        return local_item(file, name)
    except ForeignStorage as error:
        raise UnsupportedVariable(name, str(error)) from None


def _value(name: str, item: Item) -> np.ndarray:
    """Return a variable as MATLAB shows it; HDF5 has its dimensions reversed."""
    kind = item.attrs.get("MATLAB_class", b"")
    if isinstance(item, h5py.Group) and "MATLAB_sparse" in item.attrs:
        row, start, values = (array(local_item(item, key)).ravel() for key in ("ir", "jc", "data"))
        return dense(row, start, values, (int(item.attrs["MATLAB_sparse"]), len(start) - 1))
    if not isinstance(item, h5py.Dataset):
        raise UnsupportedVariable(name, "a struct")
    if kind == b"string":
        raise UnsupportedVariable(name, "a string array")
    if item.attrs.get("MATLAB_empty", 0):  # the data set holds the dimensions
        shape = tuple(int(n) for n in array(item).ravel())
        if math.prod(shape):
            raise ValueError(f"an empty array of shape {shape}")
        return np.array([], dtype=str) if kind in (b"cell", b"char") else np.zeros(shape)
    if h5py.check_string_dtype(item.dtype):  # written from Python
        return text_array(texts(item).ravel().tolist())
    if h5py.check_ref_dtype(item.dtype):
        return _cells(name, item)
    if item.dtype.kind not in "fiub":
        raise UnsupportedVariable(name, f"an array of {item.dtype.name}")
    value = np.atleast_2d(array(item))
    if kind == b"char":
        return text_array(["".join(map(chr, row)).rstrip(" \0") for row in value.T])
    transposed: np.ndarray = value.T
    return transposed


def _cells(name: str, item: h5py.Dataset) -> np.ndarray:
    """Return the texts that a cell array refers to."""
    found, left = [], int(item.file.id.get_filesize())
    for cell in array(item).T.ravel():
        found.append(_text(name, checked(item.file[cell])))
        left -= len(found[-1])
        if left < 0:
            raise ValueError("more text than the file can hold")  # a file can refer to one long text any number of times
    return text_array(found)


def _text(name: str, cell: Item) -> str:
    """Return the text in a cell: UTF-16 codes."""
    if not isinstance(cell, h5py.Dataset) or cell.dtype.kind not in "iu" or cell.attrs.get("MATLAB_class", b"char") != b"char":
        raise UnsupportedVariable(name, "a cell array of something else than text")
    if cell.attrs.get("MATLAB_empty", 0):
        return ""
    return array(cell).astype("<u2").tobytes("C").decode("utf-16-le")
