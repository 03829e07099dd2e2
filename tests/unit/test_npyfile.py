"""Matrices from .npy files: read as saved, and one clear refusal for each way in which a file can be wrong."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from zslab.data.formats.npyfile import check_matrix, read_array, read_matrix
from zslab.data.splits import read_class_vectors
from zslab.errors import InputError
from zslab.features.sources import read_attribute_vectors

MATRIX = np.arange(12.0).reshape(4, 3)
TEXT = {"expected": "(4, v) numbers, one row a color", "fix": "Paint them again."}


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
        found = read_matrix(tmp_path / "colors.npy", "colors", n_rows=n_rows, **TEXT)
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
    with pytest.raises(InputError) as caught:
        read_array(path, "colors", mapped=mapped, **TEXT)
    error = caught.value
    assert (error.problem, error.where, error.expected) == ("colors cannot be read", str(path), TEXT["expected"])
    assert error.fix == "Copy the file, or save it with numpy.save, again. Paint them again."
    assert "Error: " in error.found and "unsafe" not in error.found  # NumPy's words, but not its advice to unpickle


def test_missing_files_are_refused_as_missing(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "colors.npy"
    with pytest.raises(
        InputError, match=r"colors\.npy: the file of colors is missing \(got nothing, expected \(4, v\).*again\.$"
    ):
        read_matrix(path, "colors", **TEXT)
    with pytest.raises(InputError, match="the file of colors is missing .got a folder"):
        read_matrix(tmp_path, "colors", **TEXT)


REFUSED = {
    "a list": (MATRIX.ravel(), "colors are not a matrix of numbers", "float64 (12,)", "Paint them again."),
    "a cube": (MATRIX[None], "colors are not a matrix of numbers", "float64 (1, 4, 3)", "Paint them again."),
    "one number": (np.array(4.0), "colors are not a matrix of numbers", "float64 ()", "Paint them again."),
    "no rows": (MATRIX[:0], "colors are not a matrix of numbers", "float64 (0, 3)", "Paint them again."),
    "no columns": (MATRIX[:, :0], "colors are not a matrix of numbers", "float64 (4, 0)", "Paint them again."),
    "words": (MATRIX.astype("U4"), "colors are not a matrix of numbers", "<U4 (4, 3)", "Paint them again."),
    "complex": (MATRIX * 1j, "colors are not a matrix of numbers", "complex128 (4, 3)", "Paint them again."),
    "too few rows": (MATRIX[:2], "colors have the wrong number of rows", "float64 (2, 3)", "Paint them again."),
    "transposed": (MATRIX.T, "colors are transposed", "float64 (3, 4)", "Save the transpose."),
    "NaN": (
        with_value(2, 1, np.nan),
        "colors contain NaN or infinity",
        "1 of 4 rows, the first is row 3, counted from 1",
        "Correct those rows. Paint them again.",
    ),
    "infinity": (
        with_value(0, 0, -np.inf),
        "colors contain NaN or infinity",
        "1 of 4 rows, the first is row 1, counted from 1",
        "Correct those rows. Paint them again.",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_finite_matrix_with_its_rows_is_refused(tmp_path: Path, case: str) -> None:
    array, what, found, fix = REFUSED[case]
    np.save(tmp_path / "colors.npy", array)
    with pytest.raises(InputError) as of_file:
        read_matrix(tmp_path / "colors.npy", "colors", n_rows=4, **TEXT)
    with pytest.raises(InputError) as of_array:
        check_matrix(array, "colors", where=tmp_path / "colors.npy", n_rows=4, **TEXT)
    for error in (of_file.value, of_array.value):
        assert (error.problem, error.where, error.found, error.fix) == (what, str(tmp_path / "colors.npy"), found, fix)
        assert error.expected == ("finite numbers" if "NaN" in what else TEXT["expected"])


@pytest.mark.parametrize(
    "read,what", [(read_class_vectors, "class vectors"), (lambda path: read_attribute_vectors(path, 4), "word vectors")]
)
def test_class_and_word_vectors_are_such_matrices(tmp_path: Path, read, what: str) -> None:
    path = tmp_path / "vectors.npy"
    for array, words in ((MATRIX[0], "are not a matrix"), (with_value(3, 0, np.inf), "contain NaN or infinity.*row 4,")):
        np.save(path, array)
        with pytest.raises(InputError, match=f": {what} {words}"):
            read(path)
    path.write_bytes(DAMAGED["rows cut short"])
    with pytest.raises(InputError, match=f": {what} cannot be read"):
        read(path)
