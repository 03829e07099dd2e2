"""Every reader on mutated files: `make test` runs some 20 cases of each, `make fuzz` 10,000 (ZSLAB_FUZZ_CASES)."""

from __future__ import annotations

import os
import pickle
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
import torch
from fuzz.campaign import violations
from PIL import Image

from zslab.app.attribute_table import read_attribute_table
from zslab.data.deepfashion import read_annotation
from zslab.data.formats.matfile import mat_shapes
from zslab.data.formats.npyfile import read_matrix
from zslab.data.formats.pickles import read_pickled_matrix
from zslab.data.region_dataset import read_region_maps
from zslab.data.xlsa17 import read_xlsa17
from zslab.features.images import open_image
from zslab.features.weights import read_state_dict
from zslab.features.word_vectors import read_word_vectors
from zslab.fileio import read_json, read_metrics

from helpers.region_examples import write_ours, write_release
from helpers.tiny import tiny_arrays, write_tiny

CASES = int(os.environ.get("ZSLAB_FUZZ_CASES", "20"))
Prepared = tuple[Callable[[], object], Path]  # reader, and the file that is mutated

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the campaign forks and bounds memory as Linux does")


def matlab5(folder: Path, compressed: bool, file: str) -> Prepared:
    write_tiny(folder)
    arrays = tiny_arrays()
    names = ("features", "labels") if file == "res101.mat" else tuple(arrays.keys() - {"features", "labels"})
    path = folder / "TINY" / file
    scipy.io.savemat(path, {name: arrays[name] for name in names}, do_compression=compressed)
    return lambda: (mat_shapes(path, path), read_xlsa17(folder, "TINY", "res101", "att").stage("validation")), path


def matlab73(folder: Path) -> Prepared:
    path = write_tiny(folder) / "att_splits.mat"
    arrays = tiny_arrays()
    with h5py.File(path, "w") as file:
        for name in arrays.keys() - {"features", "labels", "allclasses_names"}:
            file[name] = arrays[name].T
        cells = file.create_dataset("allclasses_names", (1, 9), dtype=h5py.ref_dtype)
        for i in range(9):
            codes = np.array([[ord(letter)] for letter in f"bird {i}"], dtype=np.uint16)
            cells[0, i] = file.create_dataset(f"#refs#/{i}", data=codes).ref
    return lambda: (mat_shapes(path, path), read_xlsa17(folder, "TINY", "res101", "att").stage("test")), path


def npy(folder: Path) -> Prepared:
    np.save(folder / "a.npy", np.arange(12.0).reshape(4, 3))
    return lambda: read_matrix(folder / "a.npy", "numbers", expected="numbers", fix="Save again."), folder / "a.npy"


def pickled(folder: Path, protocol: int) -> Prepared:
    (folder / "a.pkl").write_bytes(pickle.dumps(np.arange(12.0).reshape(4, 3), protocol))
    return lambda: read_pickled_matrix(folder / "a.pkl"), folder / "a.pkl"


def regions(folder: Path, write: Callable[..., Path]) -> Prepared:
    path = write(folder / "maps.hdf5")
    return lambda: read_region_maps(path).stage("test"), path


def table(folder: Path) -> Prepared:
    path = folder / "table.csv"
    path.write_text('class,wing color::red,"size, cm"\nmallard,0.5,30\n"heron, grey",70%,90\nrobin,0%,12\n', encoding="utf-8")
    return lambda: read_attribute_table(path), path


def image(folder: Path, suffix: str) -> Prepared:
    path = folder / f"a.{suffix}"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 30, 3), dtype=np.uint8)).save(path)
    return lambda: open_image(path), path


def words(folder: Path, name: str) -> Prepared:
    path = folder / name
    vectors = {"bill": [1.0, 0.0], "grey": [0.0, 2.0], "wing": [5.0, 5.0]}
    if name.endswith(".bin"):
        lines = b"".join(f"{word} ".encode() + struct.pack("<2f", *vector) + b"\n" for word, vector in vectors.items())
        path.write_bytes(b"3 2\n" + lines)
    else:
        path.write_text("".join(f"{word} {vector[0]} {vector[1]}\n" for word, vector in vectors.items()))
    return lambda: read_word_vectors(path, ["bill", "grey"]), path


def lists(folder: Path, name: str) -> Prepared:
    texts = {
        "list_category_cloth": "2\ncategory_name  category_type\nAnorak  1\nCape  3\n",
        "list_attr_cloth": "2\nattribute_name  attribute_type\na-line  3\nzip  5\n",
        "list_category_img": "2\nimage_name  category_label\nimg/A/1.jpg  1\nimg/B/1.jpg  2\n",
        "list_attr_img": "2\nimage_name  attribute_labels\nimg/A/1.jpg  0  1\nimg/B/1.jpg  -1  1\n",
        "list_eval_partition": "2\nimage_name  evaluation_status\nimg/A/1.jpg  train\nimg/B/1.jpg  test\n",
    }
    for each, text in texts.items():
        (folder / f"{each}.txt").write_text(text)
    return lambda: read_annotation(folder), folder / f"{name}.txt"


def text_of_run(folder: Path, name: str) -> Prepared:
    path = folder / name
    path.write_text('{"epoch": 0, "gzsl": {"constant": [0.1, 0.2]}, "seconds": 1.5}\n' * (3 if name.endswith("l") else 1))
    return lambda: (read_metrics if name.endswith("l") else read_json)(path), path


def weights(folder: Path) -> Prepared:
    path = folder / "weights.pth"
    torch.save({"weight": torch.ones(3, 2), "bias": torch.zeros(3)}, path)
    return lambda: read_state_dict(path, ["weight", "bias"]), path


READERS: dict[str, Callable[[Path], Prepared]] = {
    "MATLAB v5 features": lambda folder: matlab5(folder, False, "res101.mat"),
    "MATLAB v5 split": lambda folder: matlab5(folder, False, "att_splits.mat"),
    "MATLAB v5 split, compressed": lambda folder: matlab5(folder, True, "att_splits.mat"),
    "MATLAB v7.3 split": matlab73,
    "npy": npy,
    "pickle, protocol 0": lambda folder: pickled(folder, 0),
    "pickle, protocol 2": lambda folder: pickled(folder, 2),
    "pickle, protocol 4": lambda folder: pickled(folder, 4),
    "region maps": lambda folder: regions(folder, write_ours),
    "region maps of the release": lambda folder: regions(folder, write_release),
    "attribute table": table,
    "PNG": lambda folder: image(folder, "png"),
    "JPEG": lambda folder: image(folder, "jpg"),
    "word2vec": lambda folder: words(folder, "words.bin"),
    "GloVe": lambda folder: words(folder, "words.txt"),
    "DeepFashion categories": lambda folder: lists(folder, "list_category_img"),
    "DeepFashion annotations": lambda folder: lists(folder, "list_attr_img"),
    "JSON of a run": lambda folder: text_of_run(folder, "result.json"),
    "metrics of a run": lambda folder: text_of_run(folder, "metrics.jsonl"),
    "weights": weights,
}


@pytest.mark.parametrize("name", READERS)
def test_mutated_files_end_in_input_errors(tmp_path: Path, name: str) -> None:
    read, path = READERS[name](tmp_path)
    read()  # the file as it should be is read
    assert violations(read, path, path.read_bytes(), CASES) == []
