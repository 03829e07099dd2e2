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

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from zslab.data.splits import write_split
from zslab.errors import InputError, examples, readable
from zslab.utils.environment import dataset_folder, shown
from zslab.utils.files import write_text
from zslab.utils.flags import parse_numbers

LISTS = ("list_category_cloth", "list_attr_cloth", "list_category_img", "list_attr_img", "list_eval_partition")
FIX = "Take the list from the archive again."


@dataclass(frozen=True)
class ListsConfig:
    """Flags of `zslab deepfashion-lists`."""

    lists: Path  #: folder with the five lists, or with Anno (Anno_coarse) and Eval
    #: folder of the data sets; by default data/ of the clone's tree for images, without a clone ./data
    dataroot: Path | None = None
    dataset: str = "DeepFashion"  #: folder to write, under --dataroot
    unseen: str = "2,12,15,19,26,29,30,42,44,48"  #: numbers of the unseen categories, counted from 1 in list_category_cloth.txt


def convert_lists(config: ListsConfig) -> None:
    """Read the lists, write the data set's files and print what they hold."""
    unseen = parse_numbers(config.unseen, "--unseen")
    folder = dataset_folder(config.dataset, config.dataroot)
    annotation = read_annotation(config.lists)
    counts = write_xlsa17(annotation, folder, unseen)
    print(f"Unseen: {', '.join(annotation.class_names[number - 1] for number in unseen)}")
    print(f"{shown(folder)}: {', '.join(f'{name} {count}' for name, count in counts.items())}")


class Annotation(NamedTuple):
    """The content of the five lists: C classes, A attributes, and N images in the order of list_attr_img.txt."""

    class_names: list[str]
    attribute_names: list[str]
    image_files: list[str]  #: N paths relative to the folder that holds img/
    labels: np.ndarray  #: (N,) int64, category numbers, 1-based
    statuses: np.ndarray  #: (N,) of train, val, test
    class_means: np.ndarray  #: (C, A) float64, mean annotation of the class's images, -1 ... 1; zeros where it has none


def read_annotation(folder: Path) -> Annotation:
    """Read the lists in `folder`, or in its Anno, Anno_coarse and Eval, as the archive has them."""
    places = [Path(folder) / place for place in ("", "Anno", "Anno_coarse", "Eval")]
    cloth, attributes, categories, values, partition = (
        next((place / f"{name}.txt" for place in places if (place / f"{name}.txt").is_file()), places[0] / f"{name}.txt")
        for name in LISTS
    )
    class_names = [name for (name,) in _entries(cloth, r"(.*\S)\s+\d{1,9}", "category_name")]
    attribute_names = [name for (name,) in _entries(attributes, r"(.*\S)\s+\d{1,9}", "attribute_name")]
    numbers = "|".join(str(number) for number in range(1, len(class_names) + 1))
    category = {image: label for image, label in _entries(categories, rf"(\S+)\s+({numbers})", "image_name")}
    status = {image: part for image, part in _entries(partition, r"(\S+)\s+(train|val|test)", "image_name")}
    sums, counts = np.zeros((len(class_names), len(attribute_names)), np.int64), np.zeros(len(class_names), np.int64)
    image_files = []
    entries = _entries(values, rf"(\S+)((?:\s+(?:-1|0|1)){{{len(attribute_names)}}})", "image_name")
    for image, numbers in tqdm(entries, desc="annotations", unit="image", mininterval=1, disable=None):
        if image in category:
            sums[int(category[image]) - 1] += np.fromstring(numbers, dtype=np.int8, sep=" ")
            counts[int(category[image]) - 1] += 1
        image_files.append(image)
    if different := category.keys() ^ status.keys() | category.keys() ^ set(image_files):
        raise InputError("every list must have the same images", where=folder, got=examples(sorted(different)), fix=FIX)
    labels = np.array([int(category[image]) for image in image_files])
    statuses = np.array([status[image] for image in image_files])
    return Annotation(class_names, attribute_names, image_files, labels, statuses, sums / np.maximum(counts, 1)[:, None])


def write_xlsa17(annotation: Annotation, folder: Path, unseen: Collection[int]) -> dict[str, int]:
    """Write att_splits.mat, image_list.txt (path, tab, 1-based column of att) and attributes.txt; return what they count.

    Classes without images are left out, and the others are numbered anew in their order. att is the mean annotation, as in
    the release's feature file; training maps it to [0, 1]. test_unseen has all images of the `unseen` category numbers,
    test_seen those of the others with status test, trainval the rest.
    """
    labels, names = annotation.labels, annotation.class_names
    present = np.unique(labels)
    is_unseen, is_test = np.isin(labels, list(unseen)), annotation.statuses == "test"
    masks = {"trainval": ~is_unseen & ~is_test, "test_seen": ~is_unseen & is_test, "test_unseen": is_unseen}
    bare = sorted(set(unseen) - set(present.tolist()))
    bare += [names[number - 1] for number in np.setdiff1d(labels[masks["test_seen"]], labels[masks["trainval"]])]
    if bare:
        must = "unseen classes must have images, and seen ones images of status train or val"
        fix = "Correct the category numbers, counted from 1."
        raise InputError(must, where="unseen classes", got=f"none of {examples(bare)}", fix=fix)
    lists = {f"{name}_loc": np.flatnonzero(mask) + 1 for name, mask in masks.items()}
    write_split(folder / "att_splits.mat", annotation.class_means[present - 1], [names[n - 1] for n in present], lists)
    columns = np.searchsorted(present, labels) + 1
    images = (f"{image}\t{column}\n" for image, column in zip(annotation.image_files, columns))
    write_text(folder / "image_list.txt", "".join(images))
    attributes = (f"{number} {name}\n" for number, name in enumerate(annotation.attribute_names, start=1))
    write_text(folder / "attributes.txt", "".join(attributes))
    n_unseen = len(set(unseen))
    classes = {"seen classes": len(present) - n_unseen, "unseen classes": n_unseen, "left out": len(names) - len(present)}
    return {name: int(mask.sum()) for name, mask in masks.items()} | classes


def _entries(path: Path, pattern: str, column: str) -> Iterator[tuple[str, ...]]:
    """Yield the groups that a pattern finds in the entries of a list; no image may have two."""
    entry, seen, count = re.compile(pattern), set[str](), 0
    with readable(path, "the list must be text", FIX, (OSError, UnicodeDecodeError)), open(path, encoding="utf-8") as file:
        announced, header = file.readline().strip(), file.readline()
        for number, line in enumerate(file, start=3):
            if line.strip():
                match = entry.fullmatch(line.strip())
                if match is None or (column == "image_name" and match[1] in seen):
                    must = "an entry must have the values that are allowed, and an image one entry"
                    raise InputError(must, where=f"{path}, line {number}", got=line.strip(), fix=FIX)
                seen.add(match[1])
                count += 1
                yield match.groups()
    if announced != str(count) or not header.startswith(column):
        must = f"the list must begin with the number of its {count} entries and a line with {column}"
        raise InputError(must, where=path, got=f"{announced!r}, {header.strip()!r}", fix=FIX)
