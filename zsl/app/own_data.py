"""One's own pictures as a data set: a folder of pictures for each class, a CSV of class attributes, nothing else.

    images/<class>/*.jpg        pictures of the seen classes, and test pictures of unseen ones if there are any
    attributes.csv              class,<attribute>,...: a row for every class, on any scale

become <dataroot>/<name>/ in the layout that all training scripts read: <backbone>.mat, att_splits.mat and, if wanted, region
maps. A class with a row and no pictures is unseen; a class with pictures is seen unless it is named as unseen, and then its
pictures are test pictures. Everything random comes from one seed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from zsl.app.tables import AttributeScale, AttributeTable, read_attribute_table, write_attribute_table
from zsl.data.splits import split_of_classes, write_split
from zsl.errors import InputError
from zsl.features.backbones import PictureBackbone
from zsl.features.extraction import (
    Images,
    Split,
    extract,
    find_unreadable,
    plain_name,
    read_image_folder,
    write_unreadable,
)
from zsl.features.pictures import MAX_PIXELS
from zsl.runs.files import atomic_path

Scale = Literal["auto", "rows", "columns"]

SPLIT_FILE = "att_splits.mat"
FEWEST = 2  # pictures of a seen class: one to train on, one to test on
VALIDATION_CLASSES = 0.25  # share of the seen classes that a validation run takes for unseen
MIXED = 0.2  # share of the attributes that stay below 1 among larger ones, from which on they are no per cent
SHOWN = 5  # names in a message, of many


@dataclass(frozen=True)
class OwnData:
    """What was made.

    Attributes:
        folder: the data set's.
        features: name of the feature file, without .mat.
        regions: name of the region file, without .hdf5; None without.
        n_pictures: of each kind: "train", "test seen", "test unseen".
        seen, unseen, untested: names of classes; untested are the unseen ones without pictures.
        warnings: sentences.
        left_out: pictures that cannot be read.
    """

    folder: Path
    features: str
    regions: str | None
    n_pictures: dict[str, int]
    seen: list[str]
    unseen: list[str]
    untested: list[str]
    warnings: list[str] = field(default_factory=list)
    left_out: int = 0


def choose_scale(values: np.ndarray, scale: Scale = "auto") -> tuple[AttributeScale, str]:
    """How attributes (C, A) become what methods see, before their rows are normalised, with a word on it.

    Args:
        scale: "rows": values stay as they are; "columns": every attribute to 0 ... 1 by its own smallest and largest
            value; "auto": rows where all are shares in 0 ... 1 or all per cent, else columns, for a length in millimetres
            would drown everything else.
    """
    low, high = values.min(axis=0), values.max(axis=0)
    shares = (high > 0) & (high <= 1)
    mixed = high.max() > 1 and shares.mean() > MIXED
    if scale == "rows" or (scale == "auto" and low.min() >= 0 and high.max() <= 100 and not mixed):
        unit = "0 ... 1" if low.min() >= 0 and high.max() <= 1 else "per cent" if low.min() >= 0 else "their own scale"
        return AttributeScale.unit(values.shape[1]), f"attributes are taken as they are ({unit})"
    return AttributeScale(low, high), "attributes are signed or differ in scale: each is brought to 0 ... 1 by its own range"


def prepare(
    images_folder: Path,
    attributes: Path,
    folder: Path,
    backbone: PictureBackbone,
    *,
    unseen: Sequence[str] = (),
    regions: bool = False,
    word_vectors: np.ndarray | None = None,
    scale: Scale = "auto",
    seed: int = 0,
    test_fraction: float = 0.2,
    skip_unreadable: bool = False,
    batch_size: int = 32,
    workers: int = 2,
    max_pixels: int = MAX_PIXELS,
) -> OwnData:
    """Makes the data set `folder` out of pictures and a CSV; an interrupted call is continued by repeating it.

    Args:
        images_folder: with a folder of pictures for each class, named as the class (case, a leading number and what separates
            words do not matter).
        attributes: the CSV.
        unseen: names of classes whose pictures are for testing only.
        regions: write region maps, too, for DAZLE.
        word_vectors: (A, v) of the attributes, for DAZLE; None without.
        test_fraction: share of the pictures of every seen class that is held out for testing.
        skip_unreadable: leave out pictures that cannot be read instead of refusing.

    Raises:
        InputError: pictures and table do not fit together or cannot be used; what to do is said.
    """
    if not 0 < test_fraction < 1:
        raise InputError("a share out of range", where="--test_fraction", found=test_fraction,
                         expected="more than 0 and less than 1", cure="Pass 0.2 or so.")
    table = read_attribute_table(attributes)
    way, word = choose_scale(table.values, scale)
    scaled = way.apply(table.values, table.class_names, table.source)
    warnings = [word, *_suspicious(table, scaled)]
    images = _labelled(read_image_folder(images_folder), table)
    _seen_classes(images, table, unseen)  # names and numbers that do not fit are said at once, pictures take their time
    listing = folder / "unreadable.txt"
    left_out = find_unreadable(images, workers=workers, max_pixels=max_pixels)
    if left_out and not skip_unreadable:
        write_unreadable(listing, images, left_out)
        raise _unreadable(images, left_out, listing)
    kept = images.part(np.setdiff1d(np.arange(len(images)), list(left_out)))
    is_seen = _seen_classes(kept, table, unseen)
    generator = np.random.default_rng(seed)
    seen_labels = generator.permutation(np.flatnonzero(is_seen) + 1)
    locations = split_of_classes(kept.labels, seen_labels, generator, hold_out=test_fraction, validation=VALIDATION_CLASSES)
    short = re.sub(r"[^\w.-]", "_", backbone.spec.name)
    region_file = folder / f"feature_map_{short}.hdf5" if regions else None
    split = Split(scaled, table.values, table.class_names, {k.removesuffix("_loc"): v - 1 for k, v in locations.items()})
    unreadable = extract(
        kept, backbone, partial=folder / f"{short}-partial.jsonl", pooled=folder / f"{short}.mat", regions=region_file,
        split=split, attribute_names=table.attribute_names, word_vectors=word_vectors, batch_size=batch_size, workers=workers,
        max_pixels=max_pixels,
    )
    if unreadable:  # since they were looked at
        raise _unreadable(kept, unreadable, listing)
    write_unreadable(listing, images, left_out)
    unseen_labels = np.flatnonzero(~is_seen) + 1
    write_split(
        folder / SPLIT_FILE, scaled, table.class_names, locations, original_att=table.values.T, attribute_low=way.low[:, None],
        attribute_high=way.high[:, None], unseen_classes=unseen_labels[:, None].astype(np.float64),
        attribute_names=np.array([[name] for name in table.attribute_names], dtype=object),
    )
    with (
        atomic_path(folder / "class_attributes.csv") as temporary,
        open(temporary, "w", encoding="utf-8", newline="") as stream,
    ):
        write_attribute_table(stream, table)
    names = np.array(table.class_names, dtype=object)
    tested = np.isin(unseen_labels, kept.labels)
    return OwnData(
        folder, short, region_file and region_file.stem,
        {word: len(locations[f"{key}_loc"])
         for word, key in (("train", "trainval"), ("test seen", "test_seen"), ("test unseen", "test_unseen"))},
        names[is_seen].tolist(), names[~is_seen].tolist(), names[unseen_labels[~tested] - 1].tolist(), warnings, len(left_out),
    )


def _unreadable(images: Images, reasons: dict[int, str], listing: Path) -> InputError:
    first = min(reasons)
    return InputError(
        "pictures that cannot be read", where=images.root,
        found=f"{len(reasons)}, such as {images.files[first]} ({reasons[first].split(' in ')[0]})", expected="whole pictures",
        cure=f"Replace or remove them and repeat the command ({listing} lists them), or pass --skip_unreadable.",
    )


def _labelled(images: Images, table: AttributeTable) -> Images:
    """The pictures with labels that are rows of the table, counted from 1.

    Raises:
        InputError: a folder has no row, or two folders have the same.
    """
    rows = {plain_name(name): row for row, name in enumerate(table.class_names, start=1)}
    rows |= {name: row for row, name in enumerate(table.class_names, start=1)}  # the very name counts first
    numbers = [rows.get(name, rows.get(plain_name(name))) for name in images.classes]
    strangers = [name for name, number in zip(images.classes, numbers) if number is None]
    if strangers:
        raise InputError(
            "a folder of pictures without a row of attributes", where=images.root, found=_some(strangers),
            expected=f"one of the {len(table.class_names)} classes of {table.source}: {_some(table.class_names)}",
            cure="Add a row under the folder's name, rename the folder, or remove it.",
        )
    twice = [name for name, number in zip(images.classes, numbers) if numbers.count(number) > 1]
    if twice:
        raise InputError("several folders of one class", where=images.root, found=_some(twice), expected="one a class",
                         cure="Put their pictures into one folder.")
    return Images(images.root, images.files, np.array(numbers)[images.labels - 1], table.class_names, images.source)


def _seen_classes(images: Images, table: AttributeTable, unseen: Sequence[str]) -> np.ndarray:
    """(C,) bool.

    Raises:
        InputError: an unseen class is unknown, there are too few classes of a kind, or a seen class has too few pictures.
    """
    rows = {plain_name(name): row for row, name in enumerate(table.class_names)}
    unknown = [name for name in unseen if plain_name(name) not in rows]
    if unknown:
        raise InputError("an unknown class", where="--unseen", found=_some(unknown), expected=f"rows of {table.source}",
                         cure="Check the spelling.")
    n_pictures = np.bincount(images.labels, minlength=len(table.class_names) + 1)[1:]
    is_seen = n_pictures > 0
    is_seen[[rows[plain_name(name)] for name in unseen]] = False
    if is_seen.sum() < 2 or is_seen.all():
        raise InputError(
            "too few classes", where=f"{images.root} and {table.source}",
            found=f"{is_seen.sum()} seen and {(~is_seen).sum()} unseen", expected="at least 2 seen and 1 unseen",
            cure="Add pictures of more classes." if is_seen.sum() < 2 else
            "Add rows for classes without pictures, or keep classes for testing with --unseen NAME ...",
        )
    few = np.flatnonzero(is_seen & (n_pictures < FEWEST))
    if len(few):
        raise InputError(
            "a class with too few pictures", where=images.root,
            found=_some([f"{table.class_names[k]} ({n_pictures[k]})" for k in few]),
            expected=f"at least {FEWEST} pictures of a seen class, some for training and one for testing",
            cure="Add pictures, or remove the folder, which makes the class an unseen one.",
        )
    return is_seen


def _suspicious(table: AttributeTable, scaled: np.ndarray) -> list[str]:
    """Warnings on what can be right, but seldom is."""
    warnings = []
    constant = [name for name, column in zip(table.attribute_names, table.values.T) if np.ptp(column) == 0]
    if constant:
        warnings.append(f"{len(constant)} attributes have the same value for all classes and tell nothing apart: "
                        f"{_some(constant)}. They are kept.")
    same = {}
    for name, row in zip(table.class_names, np.round(scaled, 6)):
        same.setdefault(row.tobytes(), []).append(name)
    twins = [" = ".join(names) for names in same.values() if len(names) > 1]
    if twins:
        warnings.append(f"classes with the same attributes cannot be told apart by them: {_some(twins)}.")
    return warnings


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
