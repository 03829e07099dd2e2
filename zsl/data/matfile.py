"""MATLAB files, v5 (scipy) and v7.3 (HDF5), read alike: arrays come in MATLAB's own orientation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import scipy.io

from zsl.errors import InputError


def read_mat(path: Path, required: Sequence[str], optional: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """Reads variables of a .mat file.

    Args:
        path: the file; its version is recognised from its content.
        required: variables that must be there.
        optional: variables that are returned if they are there.

    Returns:
        name -> array as MATLAB shows it, at least 2-D; a cell array of strings becomes a 1-D array of str.

    Raises:
        InputError: the file is missing, damaged or lacks a required variable.
    """
    path = Path(path)
    if not path.is_file():
        there = sorted(p.name for p in path.parent.glob("*.mat")) if path.parent.is_dir() else []
        raise InputError(
            "missing file", where=path,
            found=f"only {', '.join(there)}" if there else "no .mat file in that folder",
            expected="a MATLAB file (v5 or v7.3)",
            cure="Check --dataroot, --dataset, --image_embedding and --class_embedding; "
            "data/README.md of the tree says where each file comes from.",
        )
    wanted = [*required, *optional]
    try:
        variables = _read_hdf5(path, wanted) if h5py.is_hdf5(path) else _read_v5(path, wanted)
    # A damaged file makes scipy raise almost anything: ValueError, TypeError, zlib.error, struct.error, MemoryError...
    except Exception as error:
        raise InputError(
            "unreadable MATLAB file", where=path, found=f"{type(error).__name__}: {error}",
            expected="a complete .mat file",
            cure="It is probably cut short or not a MATLAB file; download or copy it again.",
        ) from error
    missing = [name for name in required if name not in variables]
    if missing:
        raise InputError(
            f"missing variable {', '.join(missing)}", where=path, found=f"{sorted(variables) or 'none of the known ones'}",
            expected=f"{sorted(required)}",
            cure="Feature files hold features and labels, split files att and the *_loc lists; are the two swapped?",
        )
    return variables


def _read_v5(path: Path, wanted: list[str]) -> dict[str, np.ndarray]:
    content = scipy.io.loadmat(path, variable_names=wanted)
    return {name: _strings(value) for name, value in content.items() if name in wanted}


def _strings(value: np.ndarray) -> np.ndarray:
    """A cell array of strings, which scipy gives as nested object arrays, as a flat array of str; others unchanged."""
    if value.dtype == object:
        return np.array(["".join(np.asarray(cell).ravel().astype(str)) for cell in value.ravel()])
    if value.dtype.kind == "U":
        return np.char.rstrip(value.ravel())
    return value


def _read_hdf5(path: Path, wanted: list[str]) -> dict[str, np.ndarray]:
    with h5py.File(path, "r") as file:
        return {name: _hdf5_value(file, file[name]) for name in wanted if name in file}


def _hdf5_value(file: h5py.File, dataset: h5py.Dataset) -> np.ndarray:
    value = dataset[()]
    if value.dtype == object:  # a cell array: references to UTF-16 character codes
        return np.array(["".join(map(chr, np.asarray(file[cell]).ravel())) for cell in value.T.ravel()])
    # MATLAB stores column by column, HDF5 shows row by row: the same memory, transposed.
    return value.T
