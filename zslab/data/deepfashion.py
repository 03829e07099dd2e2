"""DeepFashion's annotation lists as a data set in the xlsa17 layout: att_splits.mat, image_list.txt and attributes.txt.

    zslab deepfashion-lists --lists DIR

DIR holds the five lists, or the archive's Anno (Anno_coarse) and Eval. About a minute for the full 289,222 images, of which
only a sum for each class stays in memory.

Liu et al., "DeepFashion: Powering Robust Clothes Recognition and Retrieval with Rich Annotations", CVPR 2016, category
and attribute prediction benchmark. A class's attributes are the mean of its images' annotations, -1 (absent), 0
(unknown) or 1 (present), as in DAZLE (Huynh and Elhamifar, CVPR 2020).

The lists begin with the number of entries and a line of column names, then hold an entry a line, columns aligned by
spaces. Categories are numbered from 1 in the order of list_category_cloth.txt.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from tqdm import tqdm

from zslab.data.splits import write_split
from zslab.errors import InputError, examples, readable
from zslab.utils.environment import dataset_folder, shown
from zslab.utils.files import write_text
from zslab.utils.flags import parse_numbers

LISTS = ("list_category_cloth", "list_attr_cloth", "list_category_img", "list_attr_img", "list_eval_partition")
STATUSES = ("train", "val", "test")
FIX = "Take the list from the archive again."

T = TypeVar("T")


@dataclass(frozen=True)
class ListsConfig:
    """Flags of `zslab deepfashion-lists`."""

    lists: Path
    """folder with the five lists, or with Anno (Anno_coarse) and Eval"""
    dataroot: Path | None = None
    """folder of the data sets; by default data/ of the clone's tree for images, without a clone ./data"""
    dataset: str = "DeepFashion"
    """folder to write, under --dataroot"""
    unseen: str = "2,12,15,19,26,29,30,42,44,48"
    """numbers of the unseen categories, counted from 1 in list_category_cloth.txt"""


def convert_lists(config: ListsConfig) -> None:
    """Read the lists, write the data set's files and print what they hold."""
    unseen = parse_numbers(config.unseen, "--unseen")
    folder = dataset_folder(config.dataset, config.dataroot)
    annotation = read_annotation(config.lists)
    counts = write_xlsa17(annotation, folder, unseen)
    print(f"Unseen: {', '.join(annotation.class_names[number - 1] for number in unseen)}")
    print(f"{shown(folder)}: {', '.join(f'{name} {count}' for name, count in counts.items())}")


@dataclass(frozen=True)
class Annotation:
    """The content of the five lists: C classes, A attributes, and N images in the order of list_attr_img.txt.

    Attributes:
        image_files: N paths relative to the folder that holds img/.
        labels: (N,) int64, category numbers, 1-based.
        statuses: (N,) of STATUSES.
        class_means: (C, A) float64, mean annotation of the class's images, -1 ... 1; zeros where it has no image.
    """

    class_names: list[str]
    attribute_names: list[str]
    image_files: list[str]
    labels: np.ndarray
    statuses: np.ndarray
    class_means: np.ndarray


def read_annotation(folder: Path) -> Annotation:
    """Read the lists in `folder`, or in its Anno, Anno_coarse and Eval, as the archive has them."""
    files = {name: _find(Path(folder), f"{name}.txt") for name in LISTS}
    class_names, attribute_names = (
        [line.rsplit(maxsplit=1)[0] for _, line in _lines(files[name], r".*\S\s+\d{1,9}", "a name and the number of its type")]
        for name in LISTS[:2]
    )
    number_of = _per_image(files["list_category_img"], {str(n): n for n in range(1, len(class_names) + 1)})
    status_of = _per_image(files["list_eval_partition"], {status: status for status in STATUSES})
    image_files = []
    sums = np.zeros((len(class_names), len(attribute_names)), dtype=np.int64)
    counts = np.zeros(len(class_names), dtype=np.int64)
    values_of_image = rf"\S+(\s+(-1|0|1)){{{len(attribute_names)}}}"
    lines = _lines(files["list_attr_img"], values_of_image, f"an image and {len(attribute_names)} of -1, 0 and 1")
    for _, line in tqdm(lines, desc="annotations", unit="image", mininterval=1, disable=None):
        image, values = line.split(maxsplit=1)
        if image not in number_of or image not in status_of:
            raise InputError("every list must have the same images", where=files["list_attr_img"], got=image, fix=FIX)
        sums[number_of[image] - 1] += np.fromstring(values, dtype=np.int8, sep=" ")
        counts[number_of[image] - 1] += 1
        image_files.append(image)
    if not len(set(image_files)) == len(image_files) == len(number_of) == len(status_of):
        got = f"{len(set(image_files))} different images in {len(image_files)} lines, and {len(number_of)} and {len(status_of)}"
        raise InputError("every list must have every image once", where=files["list_attr_img"], got=got, fix=FIX)
    return Annotation(
        class_names,
        attribute_names,
        image_files,
        np.array([number_of[image] for image in image_files]),
        np.array([status_of[image] for image in image_files]),
        sums / np.maximum(counts, 1)[:, None],
    )


def write_xlsa17(annotation: Annotation, folder: Path, unseen: Collection[int]) -> dict[str, int]:
    """Write att_splits.mat, image_list.txt (path, tab, 1-based column of att) and attributes.txt; return what they count.

    Classes without images are left out, and the others are numbered anew in their order. att is the mean annotation, as in
    the release's feature file; training maps it to [0, 1]. test_unseen has all images of the `unseen` category numbers,
    test_seen those of the others with status test, trainval the rest.
    """
    labels, names = annotation.labels, annotation.class_names
    present = np.unique(labels)
    is_unseen, is_test = np.isin(labels, list(unseen)), annotation.statuses == "test"
    empty = sorted(set(unseen) - set(present.tolist()))
    untrained = np.setdiff1d(labels[~is_unseen & is_test], labels[~is_unseen & ~is_test])
    if empty or len(untrained):
        must = "every unseen class must have images" if empty else "every seen class must have images of status train or val"
        got = f"none of {examples(empty or [names[number - 1] for number in untrained])}"
        raise InputError(must, where="unseen classes", got=got, fix="Correct the category numbers, counted from 1.")
    masks = {"trainval_loc": ~is_unseen & ~is_test, "test_seen_loc": ~is_unseen & is_test, "test_unseen_loc": is_unseen}
    kept, lists = [names[number - 1] for number in present], {name: np.flatnonzero(mask) + 1 for name, mask in masks.items()}
    write_split(folder / "att_splits.mat", annotation.class_means[present - 1], kept, lists)
    columns = np.searchsorted(present, labels) + 1
    images = (f"{image}\t{column}\n" for image, column in zip(annotation.image_files, columns))
    write_text(folder / "image_list.txt", "".join(images))
    attributes = (f"{number} {name}\n" for number, name in enumerate(annotation.attribute_names, start=1))
    write_text(folder / "attributes.txt", "".join(attributes))
    sizes = {name.removesuffix("_loc"): int(mask.sum()) for name, mask in masks.items()}
    n_unseen = len(set(unseen))
    return sizes | {"seen classes": len(present) - n_unseen, "unseen classes": n_unseen, "left out": len(names) - len(present)}


def _per_image(path: Path, allowed: Mapping[str, T]) -> dict[str, T]:
    """Return image -> value of a list with one value an image; `allowed` maps the texts of values to values."""
    values: dict[str, T] = {}
    for number, line in _lines(path, r"\S+\s+\S+", "an image and its value"):
        image, value = line.split()
        if image in values or value not in allowed:
            must = f"an image must stand there once, with one of {examples(list(allowed))}"
            raise InputError(must, where=f"{path}, line {number}", got=line, fix=FIX)
        values[image] = allowed[value]
    return values


def _lines(path: Path, pattern: str, what: str) -> Iterator[tuple[int, str]]:
    """Yield line numbers and entries of a list, which begins with their number and a line of column names."""
    count, entry = 0, re.compile(pattern)
    with readable(path, "the list must be text", FIX, (OSError, UnicodeDecodeError)), open(path, encoding="utf-8") as file:
        announced, header = file.readline().strip(), file.readline()
        for number, line in enumerate(file, start=3):
            if line.strip():
                count += 1
                if not entry.fullmatch(line.strip()):
                    raise InputError(f"an entry must be {what}", where=f"{path}, line {number}", got=line.strip(), fix=FIX)
                yield number, line.strip()
    column = {"list_category_cloth": "category_name", "list_attr_cloth": "attribute_name"}.get(path.stem, "image_name")
    if announced != str(count) or header.split()[:1] != [column]:
        must = f"the list must begin with the number of its {count} entries and a line with {column}"
        raise InputError(must, where=path, got=f"{announced!r}, {header.strip()!r}", fix=FIX)


def _find(folder: Path, name: str) -> Path:
    """Return the path of a list in one of the archive's folders."""
    for place in ("", "Anno", "Anno_coarse", "Eval"):
        if (folder / place / name).is_file():
            return folder / place / name
    fix = "Unpack the annotation of DeepFashion's category and attribute prediction benchmark there."
    raise InputError(f"{name} must be in the folder, or in its Anno, Anno_coarse or Eval", where=folder, got="no file", fix=fix)
