"""Vectors of attribute names, the tables that clean them, and pickles read without running them."""

from __future__ import annotations

import csv
import gzip
import pickle
import struct
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from zslab.data.formats.names import read_names
from zslab.errors import InputError
from zslab.features.word_vectors import attribute_vectors, attribute_words, read_word_vectors

from helpers.project import SHARED_DATA, tree_modules

VECTORS = {
    "bill": [1.0, 0.0],
    "gray": [0.0, 2.0],
    "Eiffel": [5.0, 5.0],
    "eiffel": [7.0, 7.0],
    "OF": [9.0, 9.0],
    "tower": [0.5, 0.25],
}


@pytest.fixture
def words():
    with tree_modules("zero-shot-images") as load:
        yield load("attribute_words")


def write_vectors(path: Path) -> Path:
    text = "".join(f"{word} {' '.join(map(str, vector))}\n" for word, vector in VECTORS.items()).encode()
    binary = b"".join(f"{word} ".encode() + struct.pack("<2f", *vector) + b"\n" for word, vector in VECTORS.items())
    content = f"{len(VECTORS)} 2\n".encode() + binary if ".bin" in path.name else text
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def test_tables_of_the_data_sets(words) -> None:
    table = words.ATTRIBUTE_WORDS
    for dataset, name, expected in [
        ("CUB", "has_bill_shape::curved_(up_or_down)", "bill shape curved"),
        ("CUB", "has_wing_color::grey", "wing color gray"),
        ("CUB", "has_bill_shape::all-purpose", "bill shape all purpose"),
        ("CUB", "has_upperparts_color::blue", "upper parts color blue"),
        ("CUB", "has_bill_shape::spatulate", "bill shape broad"),
        ("AWA2", "newworld", "new world"),
        ("AWA2", "quadrapedal", "quadrupedal"),
        ("SUN", "rock/stone", "rock stone"),
        ("SUN", "far-away horizon", "faraway horizon"),
        ("SUN", "man-made", "man-made"),
        ("SUN", "electric/indoor lighting", "electric indoor lighting"),
        ("DeepFashion", "a-line eiffel", "a line Eiffel"),
    ]:
        assert attribute_words(name, table[dataset]) == expected.split()


@pytest.mark.parametrize("name", ["w.bin", "w.bin.gz", "glove.txt", "glove.txt.gz"])
def test_an_attribute_is_the_sum_of_its_words(tmp_path, words, name) -> None:
    path = write_vectors(tmp_path / name)
    names = ["has_bill_color::grey", "has_bill_shape::bill"]
    with pytest.raises(InputError, match=r"'color' of 'has_bill_color::grey'; 'shape' of 'has_bill_shape::bill'"):
        attribute_vectors(names, path, words.ATTRIBUTE_WORDS["CUB"])
    vectors, notes = attribute_vectors(names, path, words.ATTRIBUTE_WORDS["CUB"], allow_missing=True)
    assert vectors.dtype == np.float32 and vectors.tolist() == [[1.0, 2.0], [2.0, 0.0]]
    assert notes == ["has_bill_color::grey: no vector for color", "has_bill_shape::bill: no vector for shape"]


def test_spelling_decides_then_lower_case(tmp_path, words) -> None:
    path, table = write_vectors(tmp_path / "w.txt"), words.ATTRIBUTE_WORDS["DeepFashion"]
    assert attribute_vectors(["eiffel-tower", "Gray"], path, table)[0].tolist() == [[5.5, 5.25], [0.0, 2.0]]
    with pytest.raises(InputError, match="'of' of 'of'"):  # OF is no vector for it
        attribute_vectors(["of", "tower"], path, table)
    vectors, notes = attribute_vectors(["of", "tower"], path, table, allow_missing=True)
    assert vectors.tolist() == [[0.0, 0.0], [0.5, 0.25]] and notes == ["of: no vector for of (a row of zeros)"]
    with pytest.raises(InputError, match="have no word vector"):  # nothing known at all is no matrix
        attribute_vectors(["of"], path, table, allow_missing=True)
    assert read_word_vectors(path, ["of", "TOWER"])["of"].tolist() == [9.0, 9.0]


def test_gensim_is_asked_by_name_only(monkeypatch) -> None:
    class Vectors(dict):
        key_to_index = property(lambda self: {word: index for index, word in enumerate(self)})

    def load(name: str) -> Vectors:
        if name != "glove-wiki-gigaword-50":
            raise ValueError(f"Incorrect model/corpus name {name}")
        return Vectors({word: np.array(vector) for word, vector in VECTORS.items()})

    downloader = SimpleNamespace(load=load)
    monkeypatch.setitem(sys.modules, "gensim", SimpleNamespace(downloader=downloader))
    monkeypatch.setitem(sys.modules, "gensim.downloader", downloader)
    assert attribute_vectors(["gray bill"], "gensim:glove-wiki-gigaword-50", [])[0].tolist() == [[1.0, 2.0]]
    with pytest.raises(InputError, match="gensim:nonsense: gensim cannot load"):
        attribute_vectors(["gray"], "gensim:nonsense", [])
    monkeypatch.setitem(sys.modules, "gensim", None)
    monkeypatch.delitem(sys.modules, "gensim.downloader")
    with pytest.raises(InputError, match="gensim is missing"):
        attribute_vectors(["gray"], "gensim:glove-wiki-gigaword-50", [])


def test_a_damaged_archive_of_vectors_is_named(tmp_path) -> None:
    path = write_vectors(tmp_path / "w.bin.gz")
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(InputError, match="word vectors cannot be read"):
        attribute_vectors(["tower"], path, [])


def test_the_command_writes_a_matrix(tmp_path, words, monkeypatch, capsys) -> None:
    (tmp_path / "names.txt").write_text("1 has_bill::grey\n2 has_tower::bill\n")
    vectors = write_vectors(tmp_path / "w.txt")
    output = tmp_path / "new" / "attribute_w2v.npy"
    flags = ["--attribute_names", str(tmp_path / "names.txt"), "--vectors", str(vectors), "--output", str(output)]
    monkeypatch.setattr(sys, "argv", ["attribute_words.py", *flags])
    assert words.main() == 0 and np.load(output, allow_pickle=False).tolist() == [[1.0, 2.0], [1.5, 0.25]]
    (tmp_path / "names.txt").write_text("1 has_beak::grey\n")
    assert words.main() == 1 and "'beak' of 'has_beak::grey'" in capsys.readouterr().err
    (tmp_path / "w.pkl").write_bytes(pickle.dumps(np.arange(6.0).reshape(2, 3)))
    monkeypatch.setattr(sys, "argv", ["x", "--pickle", str(tmp_path / "w.pkl"), "--output", str(output)])
    assert words.main() == 0 and np.load(output).tolist() == [[0, 1, 2], [3, 4, 5]] and np.load(output).dtype == np.float32
    monkeypatch.setattr(sys, "argv", ["x", "--output", str(output)])
    assert words.main() == 1 and "the vectors have no source" in capsys.readouterr().err


# Against the release ---------------------------------------------------------------------------------------------------


def released(dataset: str) -> tuple[Path, list[str]]:
    """The folder and the cleaned names of the release."""
    folder = SHARED_DATA / dataset
    if not (folder / "attribute_new_des.csv").exists():
        pytest.skip(f"no released attribute names of {dataset} here")
    with open(folder / "attribute_new_des.csv", newline="") as file:
        return folder, [row["new_des"] for row in csv.DictReader(file)]


NAMES = {"CUB": "attributes.txt", "AWA2": "predicates.txt", "SUN": "attributes.mat"}


@pytest.mark.parametrize("dataset", NAMES)
def test_names_are_cleaned_as_in_the_release(words, dataset) -> None:
    folder, expected = released(dataset)
    names = read_names(folder / NAMES[dataset])
    found = [attribute_words(name, words.ATTRIBUTE_WORDS[dataset]) for name in names]
    different = [position for position, (a, b) in enumerate(zip(found, expected, strict=True)) if a != b.split()]
    # AWA2's list was saved before its replacements; that they were made, the next test shows.
    assert [expected[position] for position in different] == (
        []
        if dataset != "AWA2"
        else [
            "toughskin",
            "longleg",
            "chewteeth",
            "meatteeth",
            "strainteeth",
            "quadrapedal",
            "newworld",
            "oldworld",
            "nestspot",
        ]
    )


def test_released_vectors_are_sums_of_our_words(words) -> None:
    """One vector a word explains every row of three matrices, among them words that occur in several names."""
    rows, targets = [], []
    for dataset, file in NAMES.items():
        folder, _ = released(dataset)
        names = read_names(folder / file)
        rows += [attribute_words(name, words.ATTRIBUTE_WORDS[dataset]) for name in names]
        targets.append(np.load(folder / "attribute_w2v.npy"))
    targets = np.concatenate(targets).astype(np.float64)
    vocabulary = sorted({word for row in rows for word in row})
    counts = np.array([[row.count(word) for word in vocabulary] for row in rows], dtype=np.float64)
    vectors = np.linalg.lstsq(counts, targets, rcond=None)[0]
    assert np.linalg.matrix_rank(counts) < 0.8 * len(rows)  # so that there was something to fail
    residual = np.abs(counts @ vectors - targets).max(axis=1)
    assert residual.max() < 1e-5, [rows[i] for i in np.flatnonzero(residual > 1e-5)]


@pytest.mark.parametrize("numbers", ["nan 1", "inf 1", ""])
def test_vectors_that_are_no_finite_numbers_are_refused(tmp_path, numbers: str) -> None:
    (tmp_path / "w.txt").write_text(f"red {numbers}\nblue {numbers}\n")
    with pytest.raises(InputError, match="word vectors cannot be read.*red"):
        read_word_vectors(tmp_path / "w.txt", ["red"])
