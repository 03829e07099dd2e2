"""A data set from one's own images: a folder of images for each class and a table of class attributes.

    images/<class>/*.jpg        images of the seen classes, and test images of unseen ones if there are any
    attributes.csv              class,<attribute>,...: a row for every class, on any scale

become <dataroot>/<name>/ in the layout that all training scripts read: <backbone>.mat, att_splits.mat and, if wanted, region
maps. A class with a row and no images is unseen. A class with images is seen unless it is named as unseen; then its images
are test images. Everything random comes from one seed.

    inputs = read_inputs(Path("images"), Path("attributes.csv"))
    prepare(inputs, Path("data/BIRDS"), load_backbone(BackboneSpec("resnet101")))
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from zslab.app.attribute_table import AttributeScale, AttributeTable, read_attribute_table, write_attribute_table
from zslab.data.splits import split_of_classes, write_split
from zslab.errors import InputError, examples
from zslab.features.backbones import ImageBackbone
from zslab.features.copies import describe_copies, find_copies
from zslab.features.extraction import extract, write_unreadable
from zslab.features.images import MAX_PIXELS, SUFFIXES
from zslab.features.sources import Images, Split, leave_out, read_class_folders
from zslab.utils.files import atomic_path
from zslab.utils.names import match_names

Scale = Literal["auto", "rows", "columns"]

SPLIT_FILE = "att_splits.mat"
FEWEST = 2  # images of a seen class: one to train on, one to test on
VALIDATION_CLASSES = 0.25  # share of the seen classes that a validation run takes for unseen
MIXED = 0.2  # share of the attributes that stay below 1 among larger ones, from which on they are no percentages


@dataclass(frozen=True)
class PrepareOptions:
    """How a data set is made.

    Attributes:
        regions: write region maps for DAZLE as well.
        word_vectors: (A, v) of the attributes, for DAZLE; None without.
        scale: see `choose_scale`.
        seed: of the split into training and test images and of the validation classes.
        test_fraction: share of the images of every seen class that is held out for testing.
        skip_unreadable: leave out images that cannot be read instead of refusing.
        batch_size: images in the network at a time.
        workers: threads that open images.
        max_pixels: size of an image that is still decoded.
        overwrite: once all inputs are known to be usable, remove an earlier data set and an unfinished one.
    """

    regions: bool = False
    word_vectors: np.ndarray | None = None
    scale: Scale = "auto"
    seed: int = 0
    test_fraction: float = 0.2
    skip_unreadable: bool = False
    batch_size: int = 32
    workers: int = 2
    max_pixels: int = MAX_PIXELS
    overwrite: bool = False


@dataclass(frozen=True)
class Inputs:
    """Images and attributes that fit together.

    Attributes:
        images: labels are rows of the table, counted from 1.
        table: a row for every class.
        unseen: names of the table's classes whose images are for testing only.
    """

    images: Images
    table: AttributeTable
    unseen: list[str]


@dataclass(frozen=True)
class OwnData:
    """A data set that was made.

    Attributes:
        folder: where it lies.
        features: name of the feature file, without .mat.
        regions: name of the region file, without .hdf5; None without.
        n_images: number of images by use: "train", "test seen", "test unseen".
        seen, unseen, untested: names of classes; untested are the unseen ones without images.
        warnings: sentences.
        left_out: number of images that cannot be read.
    """

    folder: Path
    features: str
    regions: str | None
    n_images: dict[str, int]
    seen: list[str]
    unseen: list[str]
    untested: list[str]
    warnings: list[str] = field(default_factory=list)
    left_out: int = 0


def read_inputs(images_folder: Path, attributes: Path, unseen: Sequence[str] = ()) -> Inputs:
    """Read the list of images and the table, and check that they fit together; no image is opened.

    Args:
        images_folder: has a folder of images for each class, named as the class; see `zslab.utils.names` for what counts as
            the same name.
        attributes: the table, CSV or .xlsx.
        unseen: names of classes whose images are for testing only.

    Raises:
        InputError: a folder has no row, a name is unknown or ambiguous, or there are too few classes or images.
    """
    images = read_class_folders(images_folder, SUFFIXES, "image")
    table = read_attribute_table(attributes, classes=images.classes or ())
    fix = f"Add a row of that name to {table.source}, or rename or remove the folder."
    images = images.labeled(table.class_names, fix)
    places = match_names(unseen, table.class_names, "--unseen")
    unknown = [name for name, place in zip(unseen, places) if place is None]
    if unknown:
        raise InputError(
            "the class is unknown",
            where="--unseen",
            found=examples(unknown),
            expected=f"one of the rows of {table.source}: {examples(table.class_names)}",
            fix="Check the spelling.",
        )
    inputs = Inputs(images, table, [table.class_names[place] for place in places if place is not None])
    _seen_classes(inputs, images)
    return inputs


def choose_scale(values: np.ndarray, scale: Scale = "auto") -> tuple[AttributeScale, str]:
    """Choose how attributes become what methods see, before their rows are normalized, and describe the choice.

    Args:
        values: (C, A) on the author's scale.
        scale: "rows": values stay as they are; "columns": every attribute to 0 ... 1 by its own smallest and largest
            value; "auto": rows where all are shares in 0 ... 1 or all percentages, else columns, because a length in
            millimeters would outweigh everything else.
    """
    low, high = values.min(axis=0), values.max(axis=0)
    shares = (high > 0) & (high <= 1)
    mixed = high.max() > 1 and shares.mean() > MIXED
    if scale == "rows" or (scale == "auto" and low.min() >= 0 and high.max() <= 100 and not mixed):
        unit = "0 ... 1" if low.min() >= 0 and high.max() <= 1 else "per cent" if low.min() >= 0 else "their own scale"
        return AttributeScale.unit(values.shape[1]), f"attribute values are used as they are ({unit})"
    return AttributeScale(low, high), "attributes are signed or differ in scale: each is brought to 0 ... 1 by its own range"


def prepare(inputs: Inputs, folder: Path, backbone: ImageBackbone, options: PrepareOptions | None = None) -> OwnData:
    """Make the data set `folder` out of images and a table; an interrupted call is continued by repeating it.

    Raises:
        InputError: images cannot be read, too few are left, or an option is out of range.
    """
    options = options or PrepareOptions()
    if not 0 < options.test_fraction < 1:
        raise InputError(
            "the share is out of range",
            where="--test_fraction",
            found=options.test_fraction,
            expected="more than 0 and less than 1",
            fix="Pass 0.2 or so.",
        )
    table = inputs.table
    scale, words = choose_scale(table.values, options.scale)
    scaled = scale.apply(table.values, table.class_names, table.source)
    short, listing = re.sub(r"[^\w.-]", "_", backbone.spec.name), folder / "unreadable.txt"
    regions = f"feature_map_{short}" if options.regions else None
    with extract(
        inputs.images,
        backbone,
        folder / f"{short}-partial",
        maps="float16" if regions else None,
        batch_size=options.batch_size,
        workers=options.workers,
        max_pixels=options.max_pixels,
        skip_unreadable=options.skip_unreadable,
    ) as extraction:
        left_out = extraction.unreadable
        if left_out and not options.skip_unreadable:
            write_unreadable(listing, inputs.images, left_out)
            raise _unreadable(inputs.images, left_out, listing)
        images, _ = leave_out(inputs.images, None, left_out)
        is_seen = _seen_classes(inputs, images)
        copy_of = find_copies(images)
        locations = _locations(images, is_seen, copy_of, options)
        if options.overwrite:
            for path in [*folder.glob("*.mat"), *folder.glob("*.hdf5*")]:
                path.unlink()
        extraction.write_features(folder / f"{short}.mat", images, table.class_names)
        if regions:
            rows = {name.removesuffix("_loc"): location - 1 for name, location in locations.items()}
            extraction.write_regions(
                folder / f"{regions}.hdf5",
                images,
                Split(scaled, table.values, table.class_names, rows),
                attribute_names=table.attribute_names,
                word_vectors=options.word_vectors,
            )
        extraction.remove()
    write_unreadable(listing, inputs.images, left_out)
    _write_classes(folder, table, scale, scaled, is_seen, locations)
    names, untested = np.array(table.class_names, dtype=object), ~is_seen
    untested[images.labels - 1] = False
    uses = {"train": "trainval_loc", "test seen": "test_seen_loc", "test unseen": "test_unseen_loc"}
    return OwnData(
        folder,
        short,
        regions,
        n_images={use: len(locations[key]) for use, key in uses.items()},
        seen=names[is_seen].tolist(),
        unseen=names[~is_seen].tolist(),
        untested=names[untested].tolist(),
        warnings=[*table.notes, words, *_suspicious(table, scaled), *describe_copies(images, copy_of, is_seen)],
        left_out=len(left_out),
    )


def _locations(images: Images, is_seen: np.ndarray, copy_of: np.ndarray, options: PrepareOptions) -> dict[str, np.ndarray]:
    """Return the 1-based location lists of a split with these seen classes (C,), copies on one side."""
    generator = np.random.default_rng(options.seed)
    seen_labels = generator.permutation(np.flatnonzero(is_seen) + 1)
    shares = {"hold_out": options.test_fraction, "validation": VALIDATION_CLASSES}
    return split_of_classes(images.labels, seen_labels, generator, **shares, copy_of=copy_of)


def _write_classes(
    folder: Path,
    table: AttributeTable,
    scale: AttributeScale,
    scaled: np.ndarray,
    is_seen: np.ndarray,
    locations: dict[str, np.ndarray],
) -> None:
    """Write the table as CSV, and the split file with the attributes."""
    with (
        atomic_path(folder / "class_attributes.csv") as temporary,
        open(temporary, "w", encoding="utf-8", newline="") as stream,
    ):
        write_attribute_table(stream, table)
    write_split(  # last, for with it the data set is there
        folder / SPLIT_FILE,
        scaled,
        table.class_names,
        locations,
        original_att=table.values.T,
        attribute_low=scale.low[:, None],
        attribute_high=scale.high[:, None],
        unseen_classes=np.flatnonzero(~is_seen)[:, None] + 1.0,
        attribute_names=np.array([[name] for name in table.attribute_names], dtype=object),
    )


def _unreadable(images: Images, reasons: dict[int, str], listing: Path) -> InputError:
    first = min(reasons)
    return InputError(
        "some images cannot be read",
        where=images.root,
        found=f"{len(reasons)}, such as {images.files[first]}",
        expected="whole images",
        fix=f"Replace or remove them and repeat the command ({listing} lists them), or pass --skip_unreadable.",
    )


def _seen_classes(inputs: Inputs, images: Images) -> np.ndarray:
    """Return which classes (C,) have training images, if `images` are what is there.

    Raises:
        InputError: there are too few classes of a kind, or a seen class has too few images.
    """
    names, source = inputs.table.class_names, inputs.table.source
    n_images = np.bincount(images.labels, minlength=len(names) + 1)[1:]
    is_seen = (n_images > 0) & ~np.isin(names, inputs.unseen)
    if is_seen.sum() < 2 or is_seen.all():
        raise InputError(
            "there are too few classes",
            where=f"{images.root} and {source}",
            found=f"{is_seen.sum()} seen and {(~is_seen).sum()} unseen",
            expected="at least 2 seen and 1 unseen",
            fix="Add images of more classes."
            if is_seen.sum() < 2
            else "Add rows for classes without images, or keep classes for testing with --unseen NAME ...",
        )
    few = np.flatnonzero(is_seen & (n_images < FEWEST))
    if len(few):
        raise InputError(
            "a class has too few images",
            where=images.root,
            found=examples([f"{names[k]} ({n_images[k]})" for k in few]),
            expected=f"at least {FEWEST} images of a seen class, some for training and one for testing",
            fix="Add images, or remove the folder, which makes the class an unseen one.",
        )
    return is_seen


def _suspicious(table: AttributeTable, scaled: np.ndarray) -> list[str]:
    """Return warnings on what can be right, but seldom is."""
    warnings = []
    constant = [name for name, column in zip(table.attribute_names, table.values.T) if np.ptp(column) == 0]
    if constant:
        warnings.append(f"{len(constant)} attributes have the same value for all classes: {examples(constant)}.")
    negative = table.values[table.values < 0]
    if len(negative) and (negative == -1).all() and table.values.max() > 1:
        warnings.append(
            f"{len(negative)} values are -1, the only negative ones. If they mean that a value is missing, fill them in."
        )
    same: dict[bytes, list[str]] = defaultdict(list)
    for name, row in zip(table.class_names, np.round(scaled, 6)):
        same[row.tobytes()].append(name)
    twins = [" = ".join(names) for names in same.values() if len(names) > 1]
    if twins:
        warnings.append(f"classes with the same attributes cannot be told apart by them: {examples(twins)}.")
    return warnings
