r"""Make a data set of your own images, in one command.

    zslab prepare --images my_birds --attributes my_birds.csv --name MYBIRDS
    zslab prepare --images my_birds --describe names --unseen Kingfisher Hoopoe --name MYBIRDS
    zslab prepare --images my_birds --attributes my_birds.csv --name MYBIRDS --dataroot DIR \
        --backbone mobilenet_v2 --unseen Kingfisher Hoopoe --write_regions

`--images` holds a folder of images for each class. `--attributes` is a table, CSV or .xlsx, with the class names in its
first column and an attribute in each other one: 0/1, yes/no, percentages or any numbers. A class with a row and no images is
unseen and is recognized by its attributes alone. Images and table are checked before anything is computed, and the commands
that follow are printed. Without a table, `--describe` makes the class vectors from the classes' names or sentences, as
`zslab class-vectors` does. If it is interrupted, repeat it to continue. Exit status: 0 done, 1 an error, 3 done but images left
out, 130 stopped.
"""

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from zslab.app.attribute_table import AttributeScale, AttributeTable, read_attribute_table, write_attribute_table
from zslab.data.formats.table import listed_names
from zslab.data.splits import split_of_classes, write_split
from zslab.errors import InputError, examples
from zslab.features.backbones import DESCRIPTOR, Backbone, BackboneSpec, load_backbone
from zslab.features.extract_command import NetworkFlags
from zslab.features.extraction import check_readable, extract
from zslab.features.images import SUFFIXES
from zslab.features.networks import CLIP
from zslab.features.sources import (
    Images,
    Split,
    describe_copies,
    find_copies,
    leave_out,
    read_attribute_vectors,
    read_class_folders,
)
from zslab.features.text import ENCODER, TextRecord, TextWarning, class_texts, complete_source, read_descriptions, text_vectors
from zslab.utils.environment import PROJECT_ROOT, as_typed, resolve_device, resolve_folder
from zslab.utils.flags import check_at_least, is_plain_name
from zslab.utils.names import find_names, match_names

Scale = Literal["auto", "rows", "columns"]

SPLIT_FILE = "att_splits.mat"
FEWEST = 2  # images of a seen class: one to train on, one to test on
VALIDATION_CLASSES = 0.25  # share of the seen classes that a validation run takes for unseen
MIXED = 0.2  # share of the attributes that stay below 1 among larger ones, from which on they are no percentages
LEFT_OUT = 3  # exit status


@dataclass(frozen=True)
class PrepareConfig(NetworkFlags):
    """Flags of `zslab prepare`."""

    images: Path  #: folder with a folder of images for each class
    #: CSV or .xlsx: class names in the first column, an attribute in every other, a row for every class, seen and unseen
    attributes: Path | None = None
    name: str = "OWN"  #: name of the data set: its folder under --dataroot
    #: where the data sets lie; relative to the working directory, else to the project's root
    dataroot: Path = Path("zero-shot-images/data")
    #: classes whose images are for testing only: names, or a text file or table of names; with --describe names also classes
    #: without images
    unseen: tuple[str, ...] = ()
    scale: Scale = "auto"  #: attributes as they are (rows), each to 0 ... 1 by its own range (columns), or as fits (auto)
    #: a classification network of torchvision, timm:NAME, open_clip:ARCHITECTURE,WEIGHTS, or descriptor (colors and edges,
    #: needs no weights)
    backbone: str = "resnet101"
    write_regions: bool = False  #: write region maps, too, which DAZLE needs
    #: word vectors of the attributes for DAZLE: .npy, one row an attribute; it starts from random ones without
    word_vectors: Path | None = None
    seed: int = 0  #: of the split into training and test images and of the validation classes
    test_fraction: float = 0.2  #: share of each seen class's images that is held out for testing
    batch_size: int = 32  #: images in the network at a time
    overwrite: bool = False  #: throw away an earlier data set of that name, once all inputs are known to be usable
    #: instead of --attributes: names, or a table or list with a class in each line: its name, and a sentence if you like
    describe: str | None = None
    #: text encoder of --describe, as for `zslab class-vectors`; None: that of an open_clip backbone, otherwise MiniLM
    encoder: str | None = None
    template: str = "a photo of a {}"  #: text of a class without a sentence; {} is its name

    @property
    def spec(self) -> BackboneSpec:
        """The backbone."""
        name = complete_source(self.backbone) if self.backbone.startswith(CLIP) else self.backbone
        return BackboneSpec(name, self.padding, self.normalization, self.resize, self.crop)

    @property
    def folder(self) -> Path:
        """The data set."""
        return resolve_folder(self.dataroot) / self.name

    def check(self) -> None:
        """Refuse flags that are out of range, and a name that cannot be used."""
        check_at_least(1, self, "batch_size", "max_pixels", "workers")
        check_at_least(0, self, "seed")
        if not 0 < self.test_fraction < 1:
            fix = "Pass 0.2 or so."
            raise InputError("it must be more than 0 and less than 1", where="--test_fraction", got=self.test_fraction, fix=fix)
        if not is_plain_name(self.name) or self.name == "TOY":
            must, fix = "it must be the name of a folder other than TOY", "Choose another one."
            raise InputError(must, where="--name", got=repr(self.name), fix=fix)
        if (self.folder / SPLIT_FILE).exists() and not self.overwrite:
            fix = "Pass another --name, or --overwrite to make it again."
            raise InputError("the data set must not exist yet", where=self.folder, got=SPLIT_FILE, fix=fix)
        self.check_sources()

    def check_sources(self) -> None:
        """Refuse class vectors from nowhere or from two places, and text for DAZLE."""
        if (self.attributes is None) == (self.describe is None):
            got, must = "neither" if self.describe is None else "both", "class vectors must come from one place"
            fix = "Pass --attributes TABLE, --describe names, or --describe FILE with a name and a sentence in each line."
            raise InputError(must, where="--attributes / --describe", got=got, fix=fix)
        if self.describe is not None and self.write_regions:
            must, fix = "DAZLE must have attributes to look for", "Leave out --write_regions, or pass --attributes TABLE."
            raise InputError(must, where="--write_regions", got="class vectors of text", fix=fix)


@dataclass(frozen=True)
class OwnData:
    """A data set that was made."""

    folder: Path  #: where it lies
    features: str  #: names of its files, without suffix; None for no regions
    regions: str | None
    n_images: dict[str, int]  #: number of images by use: "train", "test seen", "test unseen"
    seen: list[str]  #: names of classes; untested are the unseen ones without images
    unseen: list[str]
    untested: list[str]
    warnings: list[str] = field(default_factory=list)  #: sentences
    left_out: int = 0  #: number of images that cannot be read


def prepare(config: PrepareConfig) -> int:
    """Make a data set as the command line asks, and print how to go on; return the exit status."""
    made = make_data_set(config)
    print(summary(made, config))
    return LEFT_OUT if made.left_out else 0


def make_data_set(config: PrepareConfig, backbone: Backbone | None = None, found: Images | None = None) -> OwnData:
    """Make a data set out of a folder of images and a table of attributes."""
    config.check()
    found = found or read_class_folders(resolve_folder(config.images), SUFFIXES, "image")
    table, text = class_table(config, found.classes or [])
    fix = f"Add a row of that name to {table.source}, or rename or remove the folder."
    found = found.labeled(table.class_names, fix)
    unseen = find_names(listed_names(config.unseen), table.class_names, "--unseen", f"class of {table.source}")
    _seen_classes(found, table, unseen)
    n_attributes = len(table.attribute_names)
    vectors = read_attribute_vectors(config.word_vectors, n_attributes) if config.word_vectors else None
    scale, words = choose_scale(table.values, "rows" if text else config.scale)
    words = f"class vectors are {n_attributes}-d, from text by {text.source}" if text else words
    scaled = scale.apply(table.values, table.class_names, table.source)
    if backbone is None:  # wrong inputs were refused before weights are downloaded
        backbone = load_backbone(config.spec, config.weights, device=resolve_device(config.device))
    short, folder = re.sub(r"[^\w.-]", "_", backbone.spec.name.partition(",")[0]), config.folder
    regions, listing = f"feature_map_{short}" if config.write_regions else None, folder / "unreadable.txt"
    with extract(
        found,
        backbone,
        folder / f"{short}-partial",
        maps="float16" if regions else None,
        batch_size=config.batch_size,
        workers=config.workers,
        max_pixels=config.max_pixels,
    ) as extraction:
        left_out = extraction.unreadable
        check_readable(listing, found, left_out, config.skip_unreadable)
        images, _ = leave_out(found, None, left_out)
        is_seen, copy_of = _seen_classes(images, table, unseen), find_copies(images)
        generator = np.random.default_rng(config.seed)
        locations = split_of_classes(
            images.labels,
            generator.permutation(np.flatnonzero(is_seen) + 1),
            generator,
            hold_out=config.test_fraction,
            validation=VALIDATION_CLASSES,
            copy_of=copy_of,
        )
        if config.overwrite:
            for path in [*folder.glob("*.mat"), *folder.glob("*.hdf5*")]:
                path.unlink()
        extraction.write_features(folder / f"{short}.mat", images, table.class_names)
        if regions:
            rows = {name.removesuffix("_loc"): location - 1 for name, location in locations.items()}
            split, maps = Split(scaled, table.values, table.class_names, rows), folder / f"{regions}.hdf5"
            extraction.write_regions(maps, images, split, attribute_names=table.attribute_names, word_vectors=vectors)
        extraction.remove()
    named = {"attribute_names": np.array([[name] for name in table.attribute_names], dtype=object)}
    if text is None:
        write_attribute_table(folder / "class_attributes.csv", table)
    write_split(  # last, for with it the data set is there
        folder / SPLIT_FILE,
        scaled,
        table.class_names,
        locations,
        original_att=table.values.T,
        attribute_low=scale.low[:, None],
        attribute_high=scale.high[:, None],
        unseen_classes=np.flatnonzero(~is_seen)[:, None] + 1.0,
        **(text.variable() if text else named),
    )
    names, has_images = np.array(table.class_names, dtype=object), np.isin(np.arange(len(is_seen)), images.labels - 1)
    uses = {"train": "trainval_loc", "test seen": "test_seen_loc", "test unseen": "test_unseen_loc"}
    return OwnData(
        folder,
        short,
        regions,
        n_images={use: len(locations[key]) for use, key in uses.items()},
        seen=names[is_seen].tolist(),
        unseen=names[~is_seen].tolist(),
        untested=names[~is_seen & ~has_images].tolist(),
        warnings=[*table.notes, words, *_suspicious(table, scaled), *describe_copies(images, copy_of, is_seen)],
        left_out=len(left_out),
    )


def class_table(config: PrepareConfig, folders: Sequence[str]) -> tuple[AttributeTable, TextRecord | None]:
    """Return the attributes of all classes, or their vectors of text and the record of the encoder.

    Args:
        config: says where they come from.
        folders: names of the classes that have images.
    """
    if config.describe is None:
        assert config.attributes is not None
        return read_attribute_table(config.attributes, classes=folders), None
    if config.describe == "names":
        source, unseen = "--unseen", listed_names(config.unseen)
        known = match_names(unseen, folders, source)
        sentences = dict.fromkeys([*folders, *(name for name, place in zip(unseen, known) if place is None)], "")
    else:
        source = config.describe
        sentences = read_descriptions(Path(source))
    names = list(sentences)
    texts = [sentence or text for sentence, text in zip(sentences.values(), class_texts(names, config.template))]
    encoder = config.encoder or (config.spec.name if config.backbone.startswith(CLIP) else ENCODER)
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always", TextWarning)
        vectors, record = text_vectors(texts, encoder, config.template, names=names)
    columns = [f"dimension {number}" for number in range(1, vectors.shape[1] + 1)]
    return AttributeTable(names, columns, vectors.astype(np.float64), source, [str(note.message) for note in notes]), record


def choose_scale(values: np.ndarray, scale: Scale = "auto") -> tuple[AttributeScale, str]:
    """Choose how attributes (C, A) become what methods see, before their rows are normalized, and describe the choice.

    "rows": values stay as they are; "columns": every attribute to 0 ... 1 by its own smallest and largest value; "auto": rows
    where all are shares in 0 ... 1 or all percentages, else columns, because a length in millimeters would outweigh the rest.
    """
    low, high = values.min(axis=0), values.max(axis=0)
    shares = (high > 0) & (high <= 1)
    mixed = high.max() > 1 and shares.mean() > MIXED
    if scale == "rows" or (scale == "auto" and low.min() >= 0 and high.max() <= 100 and not mixed):
        unit = "0 ... 1" if low.min() >= 0 and high.max() <= 1 else "percent" if low.min() >= 0 else "their own scale"
        return AttributeScale.unit(values.shape[1]), f"attribute values are used as they are ({unit})"
    return AttributeScale(low, high), "attributes are signed or differ in scale: each is brought to 0 ... 1 by its own range"


def summary(made: OwnData, config: PrepareConfig) -> str:
    """Return what was made and the commands that follow."""
    images = ", ".join(f"{n} {use}" for use, n in made.n_images.items())
    lines = [f"{made.folder}: {len(made.seen)} seen and {len(made.unseen)} unseen classes; images: {images}."]
    if made.untested:
        lines.append(f"Unseen classes without images, whose accuracy cannot be measured: {examples(made.untested)}.")
    lines += [f"Note: {warning}" for warning in made.warnings]
    if made.left_out:
        lines.append(f"Left out {made.left_out} images that cannot be read: {made.folder / 'unreadable.txt'}")
    data = ["--dataset", made.folder.name, "--dataroot", str(made.folder.parent)]
    scripts = PROJECT_ROOT / "zero-shot-images" / "image-scripts"
    for title, embedding in (("TF-VAEGAN", made.features), ("DAZLE", made.regions)):
        if embedding:
            launcher = scripts / f"run_own_{title.lower().replace('-', '')}.py"
            command = ["python", str(launcher), *data, "--image_embedding", embedding]
            lines += ["", f"Train {title}:", f"  {as_typed(command)}"]
    weights = [] if config.backbone == DESCRIPTOR else ["--weights", config.weights]
    lines += [
        "",
        "Then export the run, whose folder is printed at the end of training, and classify images:",
        f"  {as_typed(['zslab', 'export', 'RUN_FOLDER', '--output', 'my_model.zsl', *weights])}",
        "  zslab predict --model my_model.zsl photo.jpg",
    ]
    return "\n".join(lines)


def _seen_classes(images: Images, table: AttributeTable, unseen: Sequence[int]) -> np.ndarray:
    """Return which classes (C,) have training images, if `images` are what is there and those of `unseen` are for testing."""
    n_images = np.bincount(images.labels, minlength=len(table.class_names) + 1)[1:]
    is_seen = (n_images > 0) & ~np.isin(np.arange(len(n_images)), unseen)
    if is_seen.sum() < 2 or is_seen.all():
        must, got = "there must be at least 2 seen classes and 1 unseen class", f"{is_seen.sum()} and {(~is_seen).sum()}"
        fix = "Add images of more classes, or rows of classes without images, or keep classes for testing with --unseen NAME."
        raise InputError(must, where=f"{images.root} and {table.source}", got=got, fix=fix)
    few = [f"{table.class_names[k]} ({n_images[k]})" for k in np.flatnonzero(is_seen & (n_images < FEWEST))]
    if few:
        must = f"a seen class must have at least {FEWEST} images, some for training and one for testing"
        fix = "Add images, or remove the folder, which makes the class an unseen one."
        raise InputError(must, where=images.root, got=examples(few), fix=fix)
    return is_seen


def _suspicious(table: AttributeTable, scaled: np.ndarray) -> list[str]:
    """Return warnings on what can be right, but seldom is."""
    warnings, negative = [], table.values[table.values < 0]
    if len(negative) and (negative == -1).all() and table.values.max() > 1:
        warnings.append(f"{len(negative)} values are -1, the only negative ones. If a value is missing there, fill it in.")
    same: dict[bytes, list[str]] = {}
    for name, row in zip(table.class_names, np.round(scaled, 6)):
        same.setdefault(row.tobytes(), []).append(name)
    if twins := [" = ".join(names) for names in same.values() if len(names) > 1]:
        warnings.append(f"classes with the same attributes cannot be told apart by them: {examples(twins)}.")
    return warnings
