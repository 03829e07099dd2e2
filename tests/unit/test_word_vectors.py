"""Vectors of attribute names, the tables that clean them, and pickles read without running them."""

import csv
import gzip
import pickle
import struct
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from zslab import cli
from zslab.data.formats.table import read_names
from zslab.errors import InputError
from zslab.features.text import text_vectors
from zslab.features.word_vectors import ATTRIBUTE_WORDS, attribute_vectors, attribute_words, class_vectors, read_word_vectors

from helpers.project import SHARED_DATA

VECTORS = {"bill": [1.0, 0.0], "gray": [0.0, 2.0], "Eiffel": [5.0, 5.0], "eiffel": [7.0, 7.0], "OF": [9.0, 9.0]}
VECTORS["tower"] = [0.5, 0.25]


def write_vectors(path: Path) -> Path:
    text = "".join(f"{word} {' '.join(map(str, vector))}\n" for word, vector in VECTORS.items()).encode()
    binary = b"".join(f"{word} ".encode() + struct.pack("<2f", *vector) + b"\n" for word, vector in VECTORS.items())
    content = f"{len(VECTORS)} 2\n".encode() + binary if ".bin" in path.name else text
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def test_tables_of_the_data_sets() -> None:
    table = ATTRIBUTE_WORDS
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
def test_an_attribute_is_the_sum_of_its_words(tmp_path, name) -> None:
    path = write_vectors(tmp_path / name)
    names = ["has_bill_color::grey", "has_bill_shape::bill"]
    with pytest.raises(InputError, match=r"'color' of 'has_bill_color::grey', 'shape' of 'has_bill_shape::bill'"):
        attribute_vectors(names, path, ATTRIBUTE_WORDS["CUB"])
    vectors, notes = attribute_vectors(names, path, ATTRIBUTE_WORDS["CUB"], allow_missing=True)
    assert vectors.dtype == np.float32 and vectors.tolist() == [[1.0, 2.0], [2.0, 0.0]]
    assert notes == ["has_bill_color::grey: no vector for color", "has_bill_shape::bill: no vector for shape"]


def test_spelling_decides_then_lower_case(tmp_path) -> None:
    path, table = write_vectors(tmp_path / "w.txt"), ATTRIBUTE_WORDS["DeepFashion"]
    assert attribute_vectors(["eiffel-tower", "Gray"], path, table)[0].tolist() == [[5.5, 5.25], [0.0, 2.0]]
    with pytest.raises(InputError, match="'of' of 'of'"):  # OF is no vector for it
        attribute_vectors(["of", "tower"], path, table)
    vectors, notes = attribute_vectors(["of", "tower"], path, table, allow_missing=True)
    assert vectors.tolist() == [[0.0, 0.0], [0.5, 0.25]] and notes == ["of: no vector for of (a row of zeros)"]
    with pytest.raises(InputError, match="words such as of"):  # nothing known at all is no matrix
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
    with pytest.raises(InputError, match="gensim:nonsense: gensim must load"):
        attribute_vectors(["gray"], "gensim:nonsense", [])
    monkeypatch.setitem(sys.modules, "gensim", None)
    monkeypatch.delitem(sys.modules, "gensim.downloader")
    with pytest.raises(InputError, match=r"gensim.downloader: .*words"):
        attribute_vectors(["gray"], "gensim:glove-wiki-gigaword-50", [])


def test_the_command_writes_a_matrix(tmp_path, capsys) -> None:
    (tmp_path / "names.txt").write_text("1 has_bill::grey\n2 has_tower::bill\n")
    vectors, output = write_vectors(tmp_path / "w.txt"), tmp_path / "new" / "attribute_w2v.npy"
    command = ["attribute-words", "--output", str(output)]
    flags = ["--attribute_names", str(tmp_path / "names.txt"), "--vectors", str(vectors)]
    assert cli.main([*command, *flags]) == 0 and np.load(output, allow_pickle=False).tolist() == [[1.0, 2.0], [1.5, 0.25]]
    (tmp_path / "names.txt").write_text("1 has_beak::grey\n")
    assert cli.main([*command, *flags]) == 1 and "'beak' of 'has_beak::grey'" in capsys.readouterr().err
    (tmp_path / "w.pkl").write_bytes(pickle.dumps(np.arange(6.0).reshape(2, 3)))
    assert cli.main([*command, "--pickle", str(tmp_path / "w.pkl")]) == 0
    assert np.load(output).tolist() == [[0, 1, 2], [3, 4, 5]] and np.load(output).dtype == np.float32
    assert cli.main(command) == 1 and "--attribute_names / --vectors" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("tabs.txt", b"red\t1\t2\nblue\t3\t4\n"),
        ("tab_then_spaces.txt", b"red\t1 2\nblue\t3 4\n"),
        ("commas.csv", b'word,x,y\n"red",1,2\n"blue",3,4\n'),
        ("a_comma_first.txt", b", 9 9\nred 1 2\nblue 3 4\n"),
        ("capitals.txt", b"RED 1 2\nBLUE 3 4\n"),
        ("mark.txt", b"\xef\xbb\xbfred 1 2\r\nblue 3 4\r\n"),
        ("numberbatch.txt", b"2 2\n/c/en/red 1 2\n/c/de/blue 9 9\n/c/en/blue 3 4\n"),
        ("numbers.bin", b"2 2\n/c/en/red " + struct.pack("<2f", 1, 2) + b"blue " + struct.pack("<2f", 3, 4)),
    ],
)
@pytest.mark.parametrize("packed", ["", ".gz", ".zip"])
def test_vectors_as_people_share_them(tmp_path, name, content, packed) -> None:
    path = tmp_path / f"{name}{packed}"
    if packed == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(name, content)
    else:
        path.write_bytes(gzip.compress(content) if packed else content)
    for any_spelling in (True, False):
        found = read_word_vectors(path, ["red", "blue"], any_spelling)
        assert {word: vector.tolist() for word, vector in found.items()} == {"red": [1, 2], "blue": [3, 4]}


def test_what_no_word_is_found_in_is_described(tmp_path) -> None:
    (tmp_path / "w.txt").write_text("/c/fr/rouge 1 2\n/c/fr/bleu 3 4\n")
    with pytest.raises(InputError, match="w.txt: .*words such as blue, red .*'/c/fr/rouge', '/c/fr/bleu'"):
        read_word_vectors(tmp_path / "w.txt", ["red", "blue"])


def released(dataset: str) -> tuple[Path, list[str]]:
    """The folder and the cleaned names of the release."""
    folder = SHARED_DATA / dataset
    if not (folder / "attribute_new_des.csv").exists():
        pytest.skip(f"no released attribute names of {dataset} here")
    with open(folder / "attribute_new_des.csv", newline="") as file:
        return folder, [row["new_des"] for row in csv.DictReader(file)]


NAMES = {"CUB": "attributes.txt", "AWA2": "predicates.txt", "SUN": "attributes.mat"}


@pytest.mark.parametrize("dataset", NAMES)
def test_names_are_cleaned_as_in_the_release(dataset) -> None:
    folder, expected = released(dataset)
    names = read_names(folder / NAMES[dataset])
    found = [attribute_words(name, ATTRIBUTE_WORDS[dataset]) for name in names]
    different = [b for a, b in zip(found, expected, strict=True) if a != b.split()]
    # AWA2's list was saved before its replacements; that they were made, the next test shows.
    old = "toughskin longleg chewteeth meatteeth strainteeth quadrapedal newworld oldworld nestspot"
    assert different == (old.split() if dataset == "AWA2" else [])


def test_released_vectors_are_sums_of_our_words() -> None:
    """One vector a word explains every row of three matrices, among them words that occur in several names."""
    rows, targets = [], []
    for dataset, file in NAMES.items():
        folder, _ = released(dataset)
        names = read_names(folder / file)
        rows += [attribute_words(name, ATTRIBUTE_WORDS[dataset]) for name in names]
        targets.append(np.load(folder / "attribute_w2v.npy"))
    targets = np.concatenate(targets).astype(np.float64)
    vocabulary = sorted({word for row in rows for word in row})
    counts = np.array([[row.count(word) for word in vocabulary] for row in rows], dtype=np.float64)
    vectors = np.linalg.lstsq(counts, targets, rcond=None)[0]
    assert np.linalg.matrix_rank(counts) < 0.8 * len(rows)  # so that there was something to fail
    residual = np.abs(counts @ vectors - targets).max(axis=1)
    assert residual.max() < 1e-5, [rows[i] for i in np.flatnonzero(residual > 1e-5)]


@pytest.mark.parametrize("numbers", ["nan 1", "inf 1", "", "1e300 1"])
def test_vectors_that_are_no_finite_numbers_are_refused(tmp_path, numbers: str) -> None:
    (tmp_path / "w.txt").write_text(f"blue 1 2\nred {numbers}\n")
    with pytest.raises(InputError, match="w.txt: .*red"):
        read_word_vectors(tmp_path / "w.txt", ["red"])


def test_sums_beyond_single_precision_are_refused(tmp_path) -> None:
    (tmp_path / "w.txt").write_text("red 3e38 1\nblue 3e38 1\n")
    with pytest.raises(InputError, match="w.txt: .*finite"):
        attribute_vectors(["red blue"], tmp_path / "w.txt", [])
    with pytest.raises(InputError, match="w.txt: .*finite"):
        class_vectors(["RedBlue"], tmp_path / "w.txt", "sum")


def test_files_in_the_home_folder(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "w.txt").write_text("red 1 2\nbill 3 4\n")
    assert read_word_vectors("~/w.txt", ["red"])["red"].tolist() == [1, 2]
    assert text_vectors(["red"], "words:~/w.txt")[1].source == f"words:{tmp_path / 'w.txt'}"
    with pytest.raises(InputError, match=r"\$HOME/w\.txt: a path must be written out"):
        read_word_vectors("$HOME/w.txt", ["red"])
