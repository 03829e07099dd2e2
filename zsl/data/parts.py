"""Where the parts of the pictured things are, for data sets whose folder says so, as the toy set's does.

    <folder>/parts.csv              image,part,x0,y0,x1,y1 in pixels, x1 and y1 exclusive; a part may be missing
    <folder>/attribute_parts.csv    attribute,part
    <folder>/image_attributes.csv   image,<attribute names>; 1 where the picture shows the attribute

Images are named as in the feature file, relative to the folder.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from zsl.errors import InputError

FILES = ("parts.csv", "attribute_parts.csv", "image_attributes.csv")


@dataclass(frozen=True)
class PartAnnotation:
    """Parts of n images.

    Attributes:
        parts: P names.
        part_of: (A,) int64, the part on which an attribute is seen; -1 for none.
        shown: (n, A) bool, whether the picture itself shows the attribute.
        boxes: (n, P, 4) float64: x0, y0, x1, y1 in shares of what is seen of the picture, which is 0 ... 1 across and down;
            NaN where a part is missing or out of sight.
    """

    parts: list[str]
    part_of: np.ndarray
    shown: np.ndarray
    boxes: np.ndarray


def read_parts(
    folder: Path, image_files: Sequence[str], attribute_names: Sequence[str], crop: float = 0
) -> PartAnnotation | None:
    """The annotation of some images in the order given, or None where the folder lacks one of the files.

    Args:
        crop: what is seen of a picture: 0 for all of it, otherwise the square in its middle whose side is this share of the
            shorter side.

    Raises:
        InputError: a file is malformed, or does not speak of these images and attributes.
    """
    folder = Path(folder)
    if not all((folder / name).is_file() for name in FILES):
        return None
    wanted = {image: position for position, image in enumerate(image_files)}
    part_rows = [row for row in _rows(folder / "parts.csv") if row["image"] in wanted]
    parts = list(dict.fromkeys(row["part"] for row in part_rows))
    of_attribute = {row["attribute"]: row["part"] for row in _rows(folder / "attribute_parts.csv")}
    part_of = np.array([
        parts.index(of_attribute[name]) if of_attribute.get(name) in parts else -1 for name in attribute_names
    ])
    shown = np.zeros((len(wanted), len(attribute_names)), dtype=bool)
    boxes = np.full((len(wanted), len(parts), 4), np.nan)
    described = set()
    try:
        for row in _rows(folder / "image_attributes.csv"):
            if row["image"] in wanted:
                shown[wanted[row["image"]]] = [row[name] == "1" for name in attribute_names]
                described.add(row["image"])
        for row in part_rows:
            box = [float(row[side]) for side in ("x0", "y0", "x1", "y1")]
            boxes[wanted[row["image"]], parts.index(row["part"])] = box
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(
            "a malformed part annotation", where=folder, found=error, expected=f"{', '.join(FILES)} of this data set",
            cure="Remove the three files, or make the data set again.",
        ) from None
    strangers = set(wanted) - described
    if strangers or (part_of < 0).all():
        raise InputError(
            "a part annotation of other images", where=folder,
            found=f"nothing about {len(strangers)} of {len(wanted)} images; parts of {(part_of >= 0).sum()} attributes",
            expected="the images and attributes of the feature file", cure="Make the features again from this data set.",
        )
    for image, position in wanted.items():
        try:
            with Image.open(folder / image) as picture:
                size = np.array(picture.size, dtype=np.float64)
        except OSError as error:
            raise InputError(
                "an unreadable image", where=folder / image, found=error, expected="the image that parts.csv speaks of",
                cure="Make the data set again.",
            ) from None
        seen = np.full(2, crop * size.min()) if crop else size
        boxes[position] = (boxes[position] - np.tile((size - seen) / 2, 2)) / np.tile(seen, 2)
    with np.errstate(invalid="ignore"):
        hidden = (boxes[..., 2:] <= 0).any(axis=-1) | (boxes[..., :2] >= 1).any(axis=-1)
    boxes[hidden] = np.nan
    return PartAnnotation(parts, part_of, shown, boxes)


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with open(path, newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            "unreadable part annotation", where=path, found=error, expected="a CSV file", cure="Make the data set again.",
        ) from None
