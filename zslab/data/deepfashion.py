"""DeepFashion's annotation lists as a split file in the xlsa17 layout.

Liu et al., "DeepFashion: Powering Robust Clothes Recognition and Retrieval with Rich Annotations", CVPR 2016, category
and attribute prediction benchmark. A class's attributes are the mean of its images' annotations, -1 (absent), 0
(unknown) or 1 (present), as in DAZLE (Huynh and Elhamifar, CVPR 2020).

The lists begin with the number of entries and a line of column names, then hold an entry a line, columns aligned by
spaces. Categories are numbered from 1 in the order of list_category_cloth.txt. list_attr_img.txt is large (289,222
images of 1,000 attributes, 0.8 GB); it is read line by line, and only a sum for each class stays in memory.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, TypeVar

import numpy as np
from tqdm import tqdm

from zslab.data.splits import write_split
from zslab.errors import InputError, examples, shortened
from zslab.utils.files import write_text

LISTS = ("list_category_cloth", "list_attr_cloth", "list_category_img", "list_attr_img", "list_eval_partition")
STATUSES = ("train", "val", "test")

T = TypeVar("T")


@dataclass(frozen=True)
class Annotation:
    """The content of the five lists.

    Attributes:
        class_names: C category names; category number c is class_names[c - 1].
        attribute_names: A names.
        image_files: N paths relative to the folder that holds img/, in the order of list_attr_img.txt.
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
    """Read the lists in `folder`, or in its Anno, Anno_coarse and Eval, as the archive has them.

    Raises:
        InputError: a list is missing, cut short or malformed, or two lists name different images.
    """
    files = {name: _find(Path(folder), f"{name}.txt") for name in LISTS}
    class_names = _names(files["list_category_cloth"], "category")
    attribute_names = _names(files["list_attr_cloth"], "attribute")
    number_of = _per_image(
        files["list_category_img"],
        {str(number): number for number in range(1, len(class_names) + 1)},
        f"a category number, 1 ... {len(class_names)}",
    )
    status_of = _per_image(files["list_eval_partition"], {status: status for status in STATUSES}, " or ".join(STATUSES))

    image_files = []
    sums = np.zeros((len(class_names), len(attribute_names)), dtype=np.int64)
    counts = np.zeros(len(class_names), dtype=np.int64)
    for image, values in _annotations(files["list_attr_img"], len(attribute_names)):
        for known, name in ((number_of, "list_category_img"), (status_of, "list_eval_partition")):
            if image not in known:
                _refuse("the list lacks an image", files[name], f"no {image}", "all of list_attr_img's images")
        sums[number_of[image] - 1] += values
        counts[number_of[image] - 1] += 1
        image_files.append(image)
    if not len(set(image_files)) == len(image_files) == len(number_of) == len(status_of):
        _refuse(
            "the lists name different images",
            files["list_attr_img"],
            f"{len(set(image_files))} different images in {len(image_files)} lines, {len(number_of)} with a category, "
            f"{len(status_of)} with a status",
            "every image once in each",
        )
    return Annotation(
        class_names,
        attribute_names,
        image_files,
        np.array([number_of[image] for image in image_files]),
        np.array([status_of[image] for image in image_files]),
        sums / np.maximum(counts, 1)[:, None],
    )


def write_xlsa17(annotation: Annotation, folder: Path, unseen: Collection[int]) -> dict[str, int]:
    """Write att_splits.mat, image_list.txt (path, tab, 1-based column of att) and attributes.txt to `folder`.

    Classes without images are left out, and the others are numbered anew in their order. att is the mean annotation, as in
    the release's feature file; training maps it to [0, 1]. test_unseen has all images of the unseen classes, test_seen those
    of the others with status test, trainval the rest.

    Args:
        annotation: the lists' content.
        unseen: category numbers.

    Returns:
        Number of images in each list, and of seen, unseen and left out classes.

    Raises:
        InputError: an unseen class has no images, or a seen class none to train on.
    """
    labels, names = annotation.labels, annotation.class_names
    present = np.unique(labels)
    empty = sorted(set(unseen) - set(present.tolist()))
    if empty:
        raise InputError(
            "an unseen class has no images",
            where="unseen classes",
            found=examples(empty),
            expected="numbers of categories that have images, counted from 1",
            fix="Correct the numbers.",
        )
    is_unseen = np.isin(labels, list(unseen))
    is_test = annotation.statuses == "test"
    untrained = np.setdiff1d(labels[~is_unseen & is_test], labels[~is_unseen & ~is_test])
    if len(untrained):
        raise InputError(
            "a seen class has no training images",
            where="list_eval_partition",
            found=f"{len(untrained)}, e.g. {names[untrained[0] - 1]}",
            expected="images of status train or val",
            fix="Make it unseen, or correct the list.",
        )
    masks = {"trainval_loc": ~is_unseen & ~is_test, "test_seen_loc": ~is_unseen & is_test, "test_unseen_loc": is_unseen}
    write_split(
        folder / "att_splits.mat",
        annotation.class_means[present - 1],
        [names[number - 1] for number in present],
        {name: np.flatnonzero(mask) + 1 for name, mask in masks.items()},
    )
    columns = np.searchsorted(present, labels) + 1
    write_text(
        folder / "image_list.txt", "".join(f"{image}\t{column}\n" for image, column in zip(annotation.image_files, columns))
    )
    write_text(
        folder / "attributes.txt",
        "".join(f"{number} {name}\n" for number, name in enumerate(annotation.attribute_names, start=1)),
    )
    sizes = {name.removesuffix("_loc"): int(mask.sum()) for name, mask in masks.items()}
    n_unseen = len(set(unseen))
    return sizes | {"seen classes": len(present) - n_unseen, "unseen classes": n_unseen, "left out": len(names) - len(present)}


def _names(path: Path, column: str) -> list[str]:
    """Return the names in list_category_cloth.txt (`column` "category") or list_attr_cloth.txt ("attribute").

    A name may be several words: it is all but the last field of its line.
    """
    names = []
    for number, line in _lines(path, f"{column}_name", f"{column}_type"):
        *words, kind = line.split()
        if not words or not re.fullmatch("[0-9]{1,9}", kind):
            _refuse(
                f"the {column} is malformed", f"{path}, line {number}", repr(line[:60]), "a name and the number of its type"
            )
        names.append(" ".join(words))
    return names


def _per_image(path: Path, allowed: Mapping[str, T], expected: str) -> dict[str, T]:
    """Return image -> value of a list with one value an image; `allowed` maps the texts of values to values."""
    values: dict[str, T] = {}
    for number, line in _lines(path, "image_name", ""):
        fields = line.split()
        if len(fields) != 2 or fields[1] not in allowed:
            _refuse("the entry is malformed", f"{path}, line {number}", repr(line[:80]), f"an image and {expected}")
        if fields[0] in values:
            _refuse("the list names an image twice", f"{path}, line {number}", fields[0], "every image once")
        values[fields[0]] = allowed[fields[1]]
    return values


def _annotations(path: Path, n_attributes: int) -> Iterator[tuple[str, np.ndarray]]:
    """Yield each image with its (A,) int8 annotation."""
    for number, line in tqdm(_lines(path, "image_name", ""), desc="annotations", unit="image", mininterval=1, disable=None):
        image, *rest = line.split(maxsplit=1)
        fields = rest[0].split() if rest else []
        try:
            values = np.array(fields, dtype=np.int8)
        except (ValueError, OverflowError):
            values = np.array([2], dtype=np.int8)
        if len(values) != n_attributes or np.abs(values).max(initial=0) > 1:
            _refuse(
                "the annotation is malformed",
                f"{path}, line {number}",
                f"{len(fields)} values, {shortened(' '.join(fields[:12]), 60)} ...",
                f"{n_attributes} of -1, 0 and 1",
            )
        yield image, values


def _lines(path: Path, first: str, second: str) -> Iterator[tuple[int, str]]:
    """Yield line numbers and entries of a list whose header names the columns `first` and `second`; count them."""
    try:
        with open(path, encoding="utf-8") as file:
            announced, header = file.readline().strip(), file.readline().split()
            if (
                not re.fullmatch("[0-9]{1,12}", announced)
                or header[:1] != [first]
                or not header[1:2]
                or second not in ("", header[1])
            ):
                _refuse(
                    "this is not a DeepFashion list",
                    path,
                    f"{announced[:40]!r}, {' '.join(header)[:60]!r}",
                    f"the number of entries, then a line of column names, the first of them {first}",
                )
            count = 0
            for number, line in enumerate(file, start=3):
                if line.strip():
                    count += 1
                    yield number, line.strip()
    except (OSError, UnicodeDecodeError) as error:
        _refuse("the list cannot be read", path, error, "a text file")
    if count != int(announced):
        _refuse("the list is cut short or too long", path, f"{count} entries", f"{announced}, as its first line says")


def _find(folder: Path, name: str) -> Path:
    """Return the path of a list in one of the archive's folders."""
    for place in ("", "Anno", "Anno_coarse", "Eval"):
        if (folder / place / name).is_file():
            return folder / place / name
    raise InputError(
        "a list is missing",
        where=folder,
        found=f"no {name}",
        expected="it in this folder, or in its Anno, Anno_coarse or Eval",
        fix="Unpack the annotation of DeepFashion's category and attribute prediction benchmark there.",
    )


def _refuse(problem: str, where: object, found: object, expected: str) -> NoReturn:
    raise InputError(problem, where=where, found=found, expected=expected, fix="Take the list from the archive again.")
