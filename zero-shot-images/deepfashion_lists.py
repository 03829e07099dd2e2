"""DeepFashion's annotation lists as att_splits.mat, image_list.txt and attributes.txt.

    python zero-shot-images/deepfashion_lists.py --lists DIR --dataroot zero-shot-images/data

DIR holds the five lists, or the archive's Anno (Anno_coarse) and Eval. About a minute for the full 289,222 images.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from zslab.data.deepfashion import read_annotation, write_xlsa17
from zslab.errors import exit_status
from zslab.results.config import parse_config
from zslab.utils.environment import resolve_folder
from zslab.utils.int_ranges import parse_numbers

TREE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class ListsConfig:
    """Flags of the command."""

    lists: Path = TREE / "data" / "DeepFashion"
    """folder with the five lists, or with Anno (Anno_coarse) and Eval"""
    dataroot: Path = TREE / "data"
    """where the data sets lie; relative to the working directory, else to the project's root"""
    dataset: str = "DeepFashion"
    """folder to write, under --dataroot"""
    unseen: str = "2,12,15,19,26,29,30,42,44,48"
    """numbers of the unseen categories, counted from 1 in list_category_cloth.txt"""


def convert(config: ListsConfig) -> None:
    """Read the lists, write the data set's files and print what they hold."""
    unseen = parse_numbers(config.unseen, "--unseen")
    folder = resolve_folder(config.dataroot) / config.dataset
    annotation = read_annotation(config.lists)
    counts = write_xlsa17(annotation, folder, unseen)
    print(f"Unseen: {', '.join(annotation.class_names[number - 1] for number in unseen)}")
    print(f"{folder}: {', '.join(f'{name} {count}' for name, count in counts.items())}")


def main() -> int:
    """Run the command and return its exit status."""
    config = parse_config(ListsConfig(), None, __file__, __doc__)
    return exit_status(lambda: convert(config))


if __name__ == "__main__":
    sys.exit(main())
