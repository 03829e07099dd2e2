"""Annotation of the parts of the objects in images, such as the toy set has.

    <folder>/parts.csv              image,part,x0,y0,x1,y1 in pixels, x1 and y1 exclusive; a part may be missing
    <folder>/attribute_parts.csv    attribute,part
    <folder>/image_attributes.csv   image,<attribute names>; 1 where the image shows the attribute

Images are named as in the feature file, relative to the folder.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from zslab.errors import InputError

FILES = ("parts.csv", "attribute_parts.csv", "image_attributes.csv")


@dataclass(frozen=True)
class PartAnnotation:
    """Parts of n images.

    Attributes:
        parts: P names.
        part_of: (A,) int64, the part on which an attribute is seen; -1 for none.
        shown: (n, A) bool, whether the image itself shows the attribute.
        boxes: (n, P, 4) float64: x0, y0, x1, y1 as shares of the visible width and height, 0 ... 1; NaN where a part is
            missing or lies outside.
    """

    parts: list[str]
    part_of: np.ndarray
    shown: np.ndarray
    boxes: np.ndarray


def read_parts(
    folder: Path, image_files: Sequence[str], attribute_names: Sequence[str], crop: float = 0
) -> PartAnnotation | None:
    """Return the annotation of images, or None where the folder lacks one of the files.

    Args:
        image_files: n paths relative to it.
        attribute_names: A names.
        crop: visible part of an image: 0 for all of it, otherwise the square in its middle whose side is this share of the
            shorter side.

    Raises:
        InputError: a file is malformed, or does not describe these images and attributes.
    """
    folder = Path(folder)
    if not all((folder / name).is_file() for name in FILES):
        return None
    position_of = {image: position for position, image in enumerate(image_files)}
    part_rows = [row for row in _rows(folder / "parts.csv") if row.get("image") in position_of]
    try:
        parts = list(dict.fromkeys(row["part"] for row in part_rows))
        part_of_attribute = {row["attribute"]: row["part"] for row in _rows(folder / "attribute_parts.csv")}
        part_names = [part_of_attribute.get(name) for name in attribute_names]
        part_of = np.array([parts.index(name) if name in parts else -1 for name in part_names])
        shown = np.zeros((len(position_of), len(attribute_names)), dtype=bool)
        boxes = np.full((len(position_of), len(parts), 4), np.nan)
        described = set()
        for row in _rows(folder / "image_attributes.csv"):
            if row["image"] in position_of:
                shown[position_of[row["image"]]] = [row[name] == "1" for name in attribute_names]
                described.add(row["image"])
        for row in part_rows:
            box = [float(row[side]) for side in ("x0", "y0", "x1", "y1")]
            boxes[position_of[row["image"]], parts.index(row["part"])] = box
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(
            "the part annotation is malformed",
            where=folder,
            found=error,
            expected=f"{', '.join(FILES)} of this data set",
            fix="Remove the three files, or make the data set again.",
        ) from None
    undescribed = set(position_of) - described
    if undescribed or (part_of < 0).all():
        raise InputError(
            "the part annotation belongs to other images",
            where=folder,
            found=f"nothing about {len(undescribed)} of {len(position_of)} images; parts of {(part_of >= 0).sum()} attributes",
            expected="the images and attributes of the feature file",
            fix="Make the features again from this data set.",
        )
    for image, position in position_of.items():
        boxes[position] = _visible_shares(boxes[position], _image_size(folder / image), crop)
    return PartAnnotation(parts, part_of, shown, boxes)


def _visible_shares(boxes: np.ndarray, size: np.ndarray, crop: float) -> np.ndarray:
    """Return boxes (P, 4), given in pixels of an image of `size` (2,), as shares of its visible part; NaN if outside it."""
    visible = np.full(2, crop * size.min()) if crop else size
    shares: np.ndarray = (boxes - np.tile((size - visible) / 2, 2)) / np.tile(visible, 2)
    with np.errstate(invalid="ignore"):
        hidden: np.ndarray = np.asarray((shares[:, 2:] <= 0).any(axis=-1) | (shares[:, :2] >= 1).any(axis=-1))
    return np.where(hidden[:, None], np.nan, shares)


def _image_size(path: Path) -> np.ndarray:
    """Return width and height (2,) of an image in pixels."""
    try:
        with Image.open(path) as opened:
            return np.array(opened.size, dtype=np.float64)
    except OSError as error:
        raise InputError(
            "the image cannot be read",
            where=path,
            found=error,
            expected="the image that parts.csv describes",
            fix="Make the data set again.",
        ) from None


def _rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file by the names of its header."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            "the part annotation cannot be read", where=path, found=error, expected="a CSV file", fix="Make the data set again."
        ) from None
