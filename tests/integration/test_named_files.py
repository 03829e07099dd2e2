"""Every kind of file that docs/own-data.md and the pages about data name is read to the content that was written."""

import gzip
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
from PIL import Image

from zslab.app.attribute_table import read_attribute_table
from zslab.data.deepfashion import read_annotation
from zslab.data.formats.arrays import read_matrix, read_pickled_matrix
from zslab.data.formats.matfile import read_mat
from zslab.data.formats.table import listed_names, read_names
from zslab.data.region_dataset import read_region_maps
from zslab.data.splits import read_class_vectors
from zslab.data.xlsa17 import read_xlsa17
from zslab.features.images import open_image
from zslab.features.sources import read_image_list
from zslab.features.word_vectors import read_word_vectors

from helpers.action_features import write_features
from helpers.project import PROJECT
from helpers.region_examples import DEEPFASHION, write_deepfashion, write_ours, write_release
from helpers.tiny import tiny_arrays, write_tiny

OWN, IMAGES, ACTIONS = "docs/own-data.md", "zero-shot-images/data/README.md", "zero-shot-actions/data/README.md"
VECTORS, WORDS = np.arange(6.0).reshape(2, 3) + 1, {"red": [1.0, 2.0], "bill": [3.0, 4.0]}


def text(path: Path, content: str, encoding: str = "utf-8") -> Path:
    path.write_text(content, encoding=encoding)
    return path


def table(separator: str, encoding: str = "utf-8") -> Callable[[Path], object]:
    rows = ["class,red crown,hooked bill", "Mallard,70%,yes", "Gull,0.5,no"]
    content = "\n".join(row.replace(",", separator) for row in rows)
    return lambda folder: read_attribute_table(text(folder / "birds.csv", content, encoding)).values.tolist()


def workbook(folder: Path) -> object:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for row in (["class", "red crown", "hooked bill"], ["Mallard", 70, True], ["Gull", 0.5, False]):
        book.active.append(row)
    book.save(folder / "birds.xlsx")
    return read_attribute_table(folder / "birds.xlsx").values.tolist()


def image(suffix: str) -> Callable[[Path], object]:
    def read(folder: Path) -> object:
        if suffix == "heic":
            pytest.importorskip("pillow_heif").register_heif_opener()
        Image.new("RGB", (32, 16), (0, 255, 0)).save(folder / f"a.{suffix}")
        photo = open_image(folder / f"a.{suffix}")
        return photo.size, bool((np.abs(np.asarray(photo).astype(int) - [0, 255, 0]) <= 6).all())

    return read


def set_of_features(kind: str) -> Callable[[Path], object]:
    def read(folder: Path) -> object:
        arrays, place = tiny_arrays(), write_tiny(folder)
        if kind == "v7.3":
            with h5py.File(place / "res101.mat", "w") as file:
                file["features"], file["labels"] = arrays["features"].T, arrays["labels"].T
        if kind == "npy":
            (place / "res101.mat").unlink()
            np.save(place / "res101_features.npy", arrays["features"].T)
            np.save(place / "res101_labels.npy", arrays["labels"].ravel())
        data = read_xlsa17(folder, "TINY", "res101", "att")
        return np.array_equal(data.features, arrays["features"].T) and len(data.class_names)

    return read


def word_file(suffix: str) -> Callable[[Path], object]:
    def read(folder: Path) -> object:
        lines = "".join(f"{word} {x} {y}\n" for word, (x, y) in WORDS.items())
        binary = b"".join(f"{word} ".encode() + struct.pack("<2f", *vector) + b"\n" for word, vector in WORDS.items())
        contents = {".bin": b"2 2\n" + binary, ".w2v": f"2 2\n{lines}".encode(), ".txt": lines.encode()}
        path = folder / f"words{suffix}"
        path.write_bytes(contents.get(suffix) or gzip.compress(contents[Path(path.stem).suffix]))
        return {word: vector.tolist() for word, vector in read_word_vectors(path, list(WORDS)).items()} == WORDS

    return read


def regions(write: Callable[[Path], object]) -> Callable[[Path], object]:
    def read(folder: Path) -> object:
        write(folder / "maps.hdf5")
        data = read_region_maps(folder / "maps.hdf5", drop_absent_classes=True)
        return data.regions.read(np.arange(data.regions.n)).shape[0] == len(data.labels)

    return read


def save(name: str, value: np.ndarray) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        if name.endswith(".npy"):
            np.save(folder / name, value)
        elif name.endswith(".pkl"):
            (folder / name).write_bytes(pickle.dumps(value))
        else:
            scipy.io.savemat(folder / name, {"att": value.T, "attributes": np.array([["red"], ["long bill"]], dtype=object)})
        return folder / name

    return write


def action_set(folder: Path) -> object:
    labels = write_features(folder / "x_i3d")
    np.save(folder / "x_i3d" / "x_manual_att.npy", np.random.default_rng(0).random((8, 7)))
    (folder / "x_i3d" / "split_3").mkdir()
    lists = {"trainval_loc": labels < 5, "test_seen_loc": labels < 0, "test_unseen_loc": labels >= 5}
    first = np.array([np.flatnonzero(labels == label)[0] for label in range(1, 5)])
    lists["test_seen_loc"] = np.isin(np.arange(len(labels)), first)
    lists["trainval_loc"] &= ~lists["test_seen_loc"]
    scipy.io.savemat(
        folder / "x_i3d" / "split_3" / "att_splits.mat", {key: np.flatnonzero(m)[:, None] + 1 for key, m in lists.items()}
    )
    data = read_xlsa17(folder, "x_i3d", "i3d", "att", split=3, manual_att=True, cache=folder / "cache")
    return data.attributes.shape, data.counts["test_seen"]


def deepfashion(folder: Path) -> object:
    for name, content in DEEPFASHION.items():
        text(folder / f"{name}.txt", content)
    return read_annotation(folder).class_means.tolist()


def listed_images(folder: Path) -> object:
    Image.new("RGB", (4, 4)).save(folder / "a.png")
    images = read_image_list(text(folder / "list.txt", "a.png\t2\n"), folder)
    return images.files, images.labels.tolist()


TABLE, NAMES = [[70, 1], [0.5, 0]], "allclasses_names"
KINDS: list[tuple[str, str, Callable[[Path], object], object]] = [
    (OWN, "`.csv` with `,` `;` or tabs", table(","), [[0.7, 1], [0.5, 0]]),
    (OWN, "`.csv` with `,` `;` or tabs", table(";"), [[0.7, 1], [0.5, 0]]),
    (OWN, '"Unicode text"', table("\t", "utf-16"), [[0.7, 1], [0.5, 0]]),
    (OWN, "`.xlsx`", workbook, TABLE),
    (OWN, "a list in a text file or table", lambda folder: listed_names([str(text(folder / "u.txt", "Gull\n"))]), ["Gull"]),
    *((OWN, kind, image(suffix), ((32, 16), True)) for kind, suffix in {
        "JPEG": "jpg", "PNG": "png", "HEIC": "heic", "AVIF": "avif", "JPEG 2000": "jp2", "WebP": "webp", "TIFF": "tif",
        "GIF": "gif", "BMP": "bmp",
    }.items()),
    (IMAGES, "MATLAB v5", set_of_features("v5"), 9),
    (IMAGES, "v7.3", set_of_features("v7.3"), 9),
    (IMAGES, "`<name>_features.npy`", set_of_features("npy"), 9),
    (IMAGES, "`attribute_w2v.npy`", lambda folder: read_matrix(save("a.npy", VECTORS)(folder), "vectors", "Save."), VECTORS),
    (IMAGES, "pickles", lambda folder: read_pickled_matrix(save("a.pkl", VECTORS)(folder)), VECTORS),
    (IMAGES, "word2vec's .bin", word_file(".bin"), True),
    (IMAGES, "text format", word_file(".w2v"), True),
    (IMAGES, "GloVe's", word_file(".txt"), True),
    (IMAGES, "also .gz", word_file(".txt.gz"), True),
    (IMAGES, "both numbered", lambda folder: read_names(text(folder / "a.txt", "1 red\n2 long bill\n")), ["red", "long bill"]),
    (IMAGES, "SUN's `attributes.mat`", lambda folder: read_names(save("a.mat", VECTORS)(folder)), ["red", "long bill"]),
    (IMAGES, "`list_attr_img.txt`", deepfashion, [[0, 1], [-1, 1]]),
    (IMAGES, "a path and a label a line", listed_images, (["a.png"], [2])),
    (IMAGES, "made by", regions(write_ours), True),
    (IMAGES, "feature_map_ResNet_101_<SET>.hdf5", regions(write_release), True),
    (IMAGES, "sep_seen_samples.hdf5", regions(write_deepfashion), True),
    (ACTIONS, "`<name>_manual_att.npy`", action_set, ((8, 7), 4)),
    (ACTIONS, "`att` of a `.mat` file", lambda folder: read_class_vectors(save("a.mat", VECTORS)(folder))[0], VECTORS),
    (ACTIONS, "allclasses_names", lambda folder: read_mat(write_tiny(folder) / "att_splits.mat", [NAMES])[NAMES][3], "bird 3"),
]  # fmt: skip


@pytest.mark.parametrize(("page", "phrase", "read", "expected"), KINDS, ids=[f"{kind[0]}: {kind[1]}" for kind in KINDS])
def test_a_named_file_is_read(tmp_path: Path, page: str, phrase: str, read: Callable[[Path], object], expected: object) -> None:
    assert phrase in (PROJECT / page).read_text(encoding="utf-8")
    assert np.array_equal(np.asarray(read(tmp_path), dtype=object), np.asarray(expected, dtype=object))
