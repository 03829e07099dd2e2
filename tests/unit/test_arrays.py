"""Matrices from .npy files and pickles: read as saved, nothing of them is run, and one clear refusal for any other file."""

import io
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from zslab.data.formats.arrays import read_array, read_matrix, read_pickled_matrix
from zslab.errors import InputError

MATRIX = np.arange(12.0).reshape(4, 3)
SMALL = np.arange(6.0).reshape(2, 3)
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
    "header cut short": saved(MATRIX)[:40],
    "rows cut short": saved(MATRIX)[:-1],
    "header scrambled": saved(MATRIX).replace(b"{'descr'", b"((((((((", 1),
    "more rows than there are": saved(MATRIX).replace(b"(4, 3), }    ", b"(4000, 3), } ", 1),
    "pickled": saved(np.array([{"red": 1}], dtype=object)),
    "archive": archive(),
}


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_files_are_refused(tmp_path: Path, case: str, mapped: bool) -> None:
    path = tmp_path / "colors.npy"
    path.write_bytes(DAMAGED[case])
    with pytest.raises(InputError, match=r"colors\.npy.*Paint them again") as caught:
        read_array(path, "colors", FIX, mapped=mapped)
    assert "unsafe" not in str(caught.value)  # NumPy advises to unpickle


@pytest.mark.parametrize(
    ("array", "found"),
    [
        (MATRIX.ravel(), r"\(12,\)"),
        (MATRIX[:0], r"\(0, 3\)"),
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


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "array",
    [
        SMALL,
        np.asfortranarray(SMALL.astype(np.float32)),
        SMALL.astype(">i2"),
        SMALL.astype(np.float16),
        SMALL.astype(np.uint8),
        np.ascontiguousarray(np.arange(400_000.0).reshape(-1, 400)),
    ],
    ids=["float64", "Fortran order", "big-endian", "float16", "uint8", "large"],
)
def test_a_matrix_comes_out_of_a_pickle(tmp_path: Path, protocol: int, array: np.ndarray) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(array, protocol))
    matrix = read_pickled_matrix(path)
    assert matrix.dtype == np.float32 and type(matrix) is np.ndarray and np.array_equal(matrix, array.astype(np.float32))


def test_an_array_pickled_by_python_2(tmp_path: Path) -> None:
    # What Python 2 writes under protocol 2: the bytes of the array are an old string.
    content = np.array([[1.5, -2.0]]).tobytes()
    parts = [
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02K\x00\x85U\x01b\x87Rq\x03(K\x01K\x01K\x02\x86",
        b"cnumpy\ndtype\nq\x04U\x02f8K\x00K\x01\x87Rq\x05(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89",
        b"U" + bytes([len(content)]) + content + b"tb.",
    ]
    (tmp_path / "a.pkl").write_bytes(b"".join(parts))
    assert read_pickled_matrix(tmp_path / "a.pkl").tolist() == [[1.5, -2.0]]


class Attack:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: (x, SMALL), lambda x: (SMALL, x)])
def test_a_pickle_runs_nothing(tmp_path: Path, protocol: int, wrap) -> None:
    marker = tmp_path / "was_here"
    for attack in (
        Attack(os.system, f"touch {marker}"),
        Attack(eval, f"open({str(marker)!r}, 'w')"),
        Attack(os.mkdir, str(marker)),
        Attack(np.save, str(marker), np.zeros(1)),
    ):
        (tmp_path / "a.pkl").write_bytes(pickle.dumps(wrap(attack), protocol))
        with pytest.raises(InputError, match="code to be run"):
            read_pickled_matrix(tmp_path / "a.pkl")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pkl"]


HEAD = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
STATE = b"I3\nS'<'\nNNNI-1\nI-1\nI0\n"


def spelled(shape: bytes, code: bytes, content: bytes = b"S'01234567'\n", state: bytes = STATE) -> bytes:
    """A pickle of an array, with whatever header is given."""
    dtype = b"cnumpy\ndtype\n(S'" + code + b"'\nI0\nI1\ntR(" + state + b"tb"
    return HEAD + b"(I1\n(" + shape + b"t" + dtype + b"I00\n" + content + b"tb."


def test_array_headers_are_not_trusted(tmp_path: Path) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(spelled(b"I1\nI1\n", b"f8"))
    assert read_pickled_matrix(path).shape == (1, 1)  # the recipe itself is right
    for content in (
        spelled(b"I1\nI1\n", b"O8"),  # bytes in the place of pointers
        spelled(b"I2\nI1\n", b"f8"),
        spelled(b"I-1\nI1\n", b"f8"),
        spelled(b"I1\nI1\n", b"V8"),
        spelled(b"I1\nI1\n", b"f8", state=b"I3\nS'<'\nN(S'a'\nt(dI-1\nI-1\nI0\n"),
        spelled(b"I1\nI1\n", b"f8", b"(lp0\nI1\na"),
        b"cnumpy\nndarray\n(I9\ntR.",
        b"cnumpy.core.numeric\n_frombuffer\n(I9\nI9\nI9\nI9\ntR.",
        b"",
        b"()" + b"2\x86" * 200 + b".",  # tuples that double
        b"\x8b\xff\xff\xff\x7f1",  # a number that claims 2 GiB
        pickle.dumps(SMALL)[:-9],
    ):
        path.write_bytes(content)
        with pytest.raises(InputError):
            read_pickled_matrix(path)


def test_a_pickle_of_something_else_is_no_matrix(tmp_path: Path) -> None:
    for value, words in (
        ([SMALL], "a list where"),
        (np.zeros(3), r"\(3,\)"),
        (np.zeros((0, 3)), r"\(0, 3\)"),
        (np.array([["a"]]), "type 'U1'"),
        (np.array([[True]]), "type 'b1'"),
        (np.array([[np.nan, 1]]), "1 values"),
    ):
        (tmp_path / "a.pkl").write_bytes(pickle.dumps(value))
        with pytest.raises(InputError, match=words):
            read_pickled_matrix(tmp_path / "a.pkl")
    for read in (read_pickled_matrix, lambda path: read_matrix(path, "colors", FIX)):
        with pytest.raises(InputError, match="absent: .*No such file"):
            read(tmp_path / "absent")
