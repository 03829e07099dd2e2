"""The matrix in a pickle: read as saved under every protocol, and nothing else is, nor is anything run."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from zslab.data.formats.arrays import read_pickled_matrix
from zslab.errors import InputError

MATRIX = np.arange(6.0).reshape(2, 3)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "array",
    [
        MATRIX,
        np.asfortranarray(MATRIX.astype(np.float32)),
        MATRIX.astype(">i2"),
        MATRIX.astype(np.float16),
        MATRIX.astype(np.uint8),
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
@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: (x, MATRIX), lambda x: (MATRIX, x)])
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
        spelled(b"I1\nI1\n", b"O8", b"(lp0\nI1\na"),  # an object array whose list is shorter than its shape
        spelled(b"I9\nI9\n", b"O8", b"(lp0\nI1\na"),
        spelled(b"I2\nI1\n", b"f8"),
        spelled(b"I-1\nI1\n", b"f8"),
        spelled(b"I-1\nI-1\n", b"f8"),
        spelled(b"I1\nI1\n", b"V8"),
        spelled(b"I1\nI1\n", b"f8,O"),
        spelled(b"I1\nI1\n", b"f8", state=b"I3\nS'<'\nN(S'a'\nt(dI-1\nI-1\nI0\n"),
        spelled(b"I1\nI1\n", b"f8", b"(lp0\nI1\na"),
        spelled(b"I1\nI1\n", b"f8", b"N"),
        HEAD + b".",
        b"cnumpy\nndarray\n(I9\ntR.",
        b"cnumpy.core.numeric\n_frombuffer\n(I9\nI9\nI9\nI9\ntR.",
        b"",
        b"garbage",
        b"(" * 1000,
        b"t.",
        b"0.",
        b"h\x05.",
        b"I1\n" + b"\x86" * 100 + b".",
        b"()" + b"2\x86" * 200 + b".",  # tuples that double
        b"\x8b\xff\xff\xff\x7f1",  # a number that claims 2 GiB
        pickle.dumps(MATRIX)[:-9],
        pickle.dumps([MATRIX]),
        pickle.dumps({1: MATRIX}),
        pickle.dumps(np.float64(1)),
        b"cnumpy\ndtype\n(S'f8'\nI0\nI1\ntR.",
        b"cnumpy\ndtype\n.",
    ):
        path.write_bytes(content)
        with pytest.raises(InputError):
            read_pickled_matrix(path)


def test_a_pickle_of_something_else_is_no_matrix(tmp_path: Path) -> None:
    for value, words in (
        ([1, 2], "a list where"),
        (3, "a int where"),
        (np.zeros(3), r"\(3,\)"),
        (np.zeros((0, 3)), r"\(0, 3\)"),
        (np.array([["a"]]), "type 'U1'"),
        (np.array([[None]]), "type 'O8'"),
        (np.array([[True]]), "type 'b1'"),
        (np.array([[1j]]), "type 'c16'"),
        (np.array([[np.nan, 1]]), "1 values"),
    ):
        (tmp_path / "a.pkl").write_bytes(pickle.dumps(value))
        with pytest.raises(InputError, match=words):
            read_pickled_matrix(tmp_path / "a.pkl")
    with pytest.raises(InputError, match="No such file"):
        read_pickled_matrix(tmp_path / "absent.pkl")
