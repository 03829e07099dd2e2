"""DeepFashion's annotation lists as att_splits.mat, image_list.txt and attributes.txt.

    zslab deepfashion-lists --lists DIR

DIR holds the five lists, or the archive's Anno (Anno_coarse) and Eval. About a minute for the full 289,222 images.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


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
    from zslab.data.deepfashion import read_annotation, write_xlsa17
    from zslab.utils.environment import dataset_folder, shown
    from zslab.utils.int_ranges import parse_numbers

    unseen = parse_numbers(config.unseen, "--unseen")
    folder = dataset_folder(config.dataset, config.dataroot)
    annotation = read_annotation(config.lists)
    counts = write_xlsa17(annotation, folder, unseen)
    print(f"Unseen: {', '.join(annotation.class_names[number - 1] for number in unseen)}")
    print(f"{shown(folder)}: {', '.join(f'{name} {count}' for name, count in counts.items())}")
