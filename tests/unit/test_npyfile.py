"""Matrices from .npy files: read as saved, and one clear refusal for each way in which a file can be wrong."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from zslab.data.formats.arrays import read_array, read_matrix
from zslab.data.splits import read_class_vectors
from zslab.errors import InputError
from zslab.features.sources import read_attribute_vectors

MATRIX = np.arange(12.0).reshape(4, 3)
FIX = "Paint them again."


def saved(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def archive() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, colors=MATRIX)
    return buffer.getvalue()


def with_value(row: int, column: int, value: float) -> np.ndarray:
    array = MATRIX.copy()
    array[row, column] = value
    return array


@pytest.mark.parametrize("dtype", ["float16", ">f8", "int32", "uint8", "bool"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_matrix_of_any_numbers_is_read_as_it_was_saved(tmp_path: Path, dtype: str, order: str) -> None:
    matrix = np.asarray(MATRIX % 2 if dtype == "bool" else MATRIX, dtype=dtype, order=order)
    np.save(tmp_path / "colors.npy", matrix)
    for n_rows in (None, 4):
        found = read_matrix(tmp_path / "colors.npy", "colors", FIX, n_rows)
        assert found.dtype == matrix.dtype and np.array_equal(found, matrix)


DAMAGED = {
    "empty": b"",
    "text": b"red green blue",
    "magic alone": saved(MATRIX)[:6],
    "header cut short": saved(MATRIX)[:40],
    "rows cut short": saved(MATRIX)[:-1],
    "header scrambled": saved(MATRIX).replace(b"{'descr'", b"((((((((", 1),
    "more rows than there are": saved(MATRIX).replace(b"(4, 3), }    ", b"(4000, 3), } ", 1),
    "pickled": saved(np.array([{"red": 1}], dtype=object)),
    "archive": archive(),
    "archive cut short": archive()[:50],
}


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_files_are_refused(tmp_path: Path, case: str, mapped: bool) -> None:
    path = tmp_path / "colors.npy"
    path.write_bytes(DAMAGED[case])
    with pytest.raises(InputError, match=r"colors\.npy.*Paint them again") as caught:
        read_array(path, "colors", FIX, mapped=mapped)
    assert "unsafe" not in str(caught.value)  # NumPy advises to unpickle


def test_missing_files_are_refused_as_missing(tmp_path: Path) -> None:
    for path, words in ((tmp_path / "colors.npy", "No such file"), (tmp_path, "directory")):
        with pytest.raises(InputError, match=f"{path}: colors.*{words}"):
            read_matrix(path, "colors", FIX)


@pytest.mark.parametrize(
    ("array", "found"),
    [
        (MATRIX.ravel(), r"\(12,\)"),
        (MATRIX[None], r"\(1, 4, 3\)"),
        (np.array(4.0), r"\(\)"),
        (MATRIX[:0], r"\(0, 3\)"),
        (MATRIX[:, :0], r"\(0?4?, 0\)"),
        (MATRIX.astype("U4"), "<U4"),
        (MATRIX * 1j, "complex128"),
        (MATRIX[:2], r"\(2, 3\)"),
        (MATRIX.T, r"\(3, 4\).*transpose"),
        (with_value(2, 1, np.nan), r"1 values.*\(3, 2\)"),
        (with_value(0, 0, -np.inf), r"1 values.*\(1, 1\)"),
    ],
)
def test_what_is_no_finite_matrix_with_its_rows_is_refused(tmp_path: Path, array: np.ndarray, found: str) -> None:
    np.save(tmp_path / "colors.npy", array)
    with pytest.raises(InputError, match=rf"colors\.npy: colors.*{found}"):
        read_matrix(tmp_path / "colors.npy", "colors", FIX, 4)


@pytest.mark.parametrize(
    "read,what", [(read_class_vectors, "class vectors"), (lambda path: read_attribute_vectors(path, 4), "word vectors")]
)
def test_class_and_word_vectors_are_such_matrices(tmp_path: Path, read, what: str) -> None:
    path = tmp_path / "vectors.npy"
    for content in (saved(MATRIX[0]), saved(with_value(3, 0, np.inf)), DAMAGED["rows cut short"]):
        path.write_bytes(content)
        with pytest.raises(InputError, match=f"vectors.npy: {what}"):
            read(path)
