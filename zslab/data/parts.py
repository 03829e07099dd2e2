"""Annotation of the parts of the objects in images, such as the toy set has.

    <folder>/parts.csv              image,part,x0,y0,x1,y1 in pixels, x1 and y1 exclusive; a part may be missing
    <folder>/attribute_parts.csv    attribute,part
    <folder>/image_attributes.csv   image,<attribute names>; 1 where the image shows the attribute

Images are named as in the feature file, relative to the folder.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from zslab.errors import readable

FILES = ("parts.csv", "attribute_parts.csv", "image_attributes.csv")


@dataclass(frozen=True)
class PartAnnotation:
    """Parts of n images."""

    parts: list[str]  #: P names
    part_of: np.ndarray  #: (A,) int64, the part on which an attribute is seen; -1 for none
    shown: np.ndarray  #: (n, A) bool, whether the image itself shows the attribute
    #: (n, P, 4) float64: x0, y0, x1, y1 as shares of the visible width and height; NaN where a part is missing or lies outside
    boxes: np.ndarray


def read_parts(
    folder: Path, image_files: Sequence[str], attribute_names: Sequence[str], crop: float = 0
) -> PartAnnotation | None:
    """Return the annotation of n images, or None where the folder lacks one of the files.

    `crop` tells the visible part of an image: 0 for all of it, otherwise the square in its middle whose side is this share of
    the shorter side.
    """
    folder = Path(folder)
    if not all((folder / name).is_file() for name in FILES):
        return None
    with readable(folder, f"{', '.join(FILES)} must describe these images and attributes", "Make the data set again."):
        part_rows, attribute_rows, image_rows = (
            [*csv.DictReader((folder / name).read_text(encoding="utf-8").splitlines())] for name in FILES
        )
        part_rows = [row for row in part_rows if row["image"] in set(image_files)]
        parts = list(dict.fromkeys(row["part"] for row in part_rows))
        part_of_attribute = {row["attribute"]: row["part"] for row in attribute_rows}
        part_of = np.array([parts.index(part) if (part := part_of_attribute.get(a)) in parts else -1 for a in attribute_names])
        shown_by = {row["image"]: [row[name] == "1" for name in attribute_names] for row in image_rows}
        shown = np.array([shown_by[image] for image in image_files])
        position_of = {image: position for position, image in enumerate(image_files)}
        boxes = np.full((len(image_files), len(parts), 4), np.nan)
        for row in part_rows:
            box = [float(row[side]) for side in ("x0", "y0", "x1", "y1")]
            boxes[position_of[row["image"]], parts.index(row["part"])] = box
        if (part_of < 0).all():
            raise ValueError("no attribute with a part")
        for image, position in position_of.items():
            with Image.open(folder / image) as opened:
                size = np.array(opened.size, dtype=np.float64)
            visible = np.full(2, crop * size.min()) if crop else size
            shares = (boxes[position] - np.tile((size - visible) / 2, 2)) / np.tile(visible, 2)
            with np.errstate(invalid="ignore"):
                hidden = (shares[:, 2:] <= 0).any(axis=-1) | (shares[:, :2] >= 1).any(axis=-1)
            boxes[position] = np.where(hidden[:, None], np.nan, shares)
    return PartAnnotation(parts, part_of, shown, boxes)
