r"""Make class splits for labeled features: split_<k>/att_splits.mat beside the feature file, k = 1 ... 30.

    zslab splits --dataset ucf101_i3d --class_vectors class_w2v.npy --class_names classes.txt
    zslab splits --dataset ucf101_i3d --class_vectors class_w2v.npy --class_names classes.txt \
        --exclude_pretrained kinetics400 --seen 0.7 --class_embedding clean
    zslab splits --dataset my_clips --image_embedding r3d_18 --word_vectors glove.6B.300d.txt --splits 1 \
        --unseen "ride bike" swim

The unseen classes are drawn, or named by --unseen. The class vectors come from a matrix with a row for each label (a .npy
file, or att of a .mat file), or from the words of the class names. Where two files name the classes, they are matched by
name. The 30 splits of the published numbers came with the authors' data; these are others.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np

from zslab.data.checks import check_attributes
from zslab.data.formats.matfile import read_mat
from zslab.data.formats.table import listed_names, read_names
from zslab.data.splits import random_class_split, read_class_vectors, write_split
from zslab.data.xlsa17 import class_names_of, read_features
from zslab.errors import InputError, examples
from zslab.features.pretraining import find_matches, pretraining_classes
from zslab.features.text import TextRecord
from zslab.features.word_vectors import class_vectors
from zslab.utils.environment import dataset_folder, shown
from zslab.utils.files import refuse_existing
from zslab.utils.flags import check_at_least, check_file_names, parse_numbers
from zslab.utils.names import find_names, places_by_name, repeated

Value = TypeVar("Value")


@dataclass(frozen=True)
class SplitsConfig:
    """Flags of `zslab splits`."""

    dataset: str = "hmdb_i3d"  #: folder of the data set under --dataroot
    #: folder of the data sets; by default data/ of the tree of this clone that has the data set, without a clone ./data
    dataroot: Path | None = None
    image_embedding: str = "i3d"  #: feature file, without .mat; its labels are split
    class_embedding: str = "att"  #: name of the files to write, without _splits.mat
    #: class vectors: .npy with a row a label, a .csv table of class names and numbers, or a .mat file with att
    class_vectors: Path | None = None
    #: word vectors to make class vectors of: word2vec's .bin or text format, GloVe's, fastText's .vec ...
    word_vectors: Path | None = None
    combine: Literal["mean", "sum"] = "mean"  #: how the vectors of a name's words become one
    #: text file or table of class names: those of the rows of a .npy file, or of the labels where the features have none
    class_names: Path | None = None
    splits: str = "1-30"  #: numbers of the splits to make; "" makes one, beside the features, as images have it
    seed: int = 0  #: split k is drawn from this seed and k alone
    seen: float = 0.5  #: share of the classes that is seen
    #: names, or numbers from 1 on, of the unseen classes, or a text file or table of names, instead of a drawn share of them
    unseen: tuple[str, ...] = ()
    #: draw the unseen classes from those that this pretraining lacks, as TruZe does: kinetics400, imagenet1k, or a file
    exclude_pretrained: str | None = None
    hold_out: float = 0.2  #: share of every seen class's samples to test on
    validation: float = 0.25  #: share of the seen classes that validation treats as unseen
    overwrite: bool = False  #: replace split files that are there


def make_splits(config: SplitsConfig) -> None:
    """Write all split files."""
    check_at_least(1e-9, config, "seen", "hold_out", "validation", below=1)
    check_at_least(0, config, "seed")
    check_file_names(config, "image_embedding", "class_embedding")
    folder = dataset_folder(config.dataset, config.dataroot, "zero-shot-actions")
    numbers = parse_numbers(config.splits, "--splits") if config.splits else [0]
    folders = {number: folder / f"split_{number}" if number else folder for number in numbers}
    files = {number: each / f"{config.class_embedding}_splits.mat" for number, each in folders.items()}
    refuse_existing(*files.values(), overwrite=config.overwrite)
    feature_file = folder / f"{config.image_embedding}.mat"
    _, labels = read_features(feature_file)
    vectors, names, record = vectors_and_names(config, int(labels.max()), feature_file)
    copy_of = read_mat(feature_file, [], ["copy_of"]).get("copy_of")
    for number, path in files.items():
        generator = np.random.default_rng((config.seed, number))
        locations = random_class_split(
            labels,
            generator,
            seen=config.seen,
            hold_out=config.hold_out,
            validation=config.validation,
            unseen_classes=unseen_labels(config, names, generator),
            copy_of=None if copy_of is None else copy_of.ravel().astype(np.int64) - 1,
        )
        write_split(path, vectors, names, locations, **(record.variable() if record else {}))
        seen, unseen = (len(np.unique(labels[locations[key] - 1])) for key in ("trainval_loc", "test_unseen_loc"))
        sizes = " / ".join(str(len(locations[key])) for key in ("trainval_loc", "test_seen_loc", "test_unseen_loc"))
        print(f"{shown(path)}: {seen} seen and {unseen} unseen classes, trainval / test_seen / test_unseen {sizes}")


def vectors_and_names(
    config: SplitsConfig, n_classes: int, feature_file: Path
) -> tuple[np.ndarray, list[str], TextRecord | None]:
    """Return (C, A) class vectors and C names in the order of the labels, and the record of the word vectors they came from."""
    if (config.class_vectors is None) == (config.word_vectors is None):
        got, flags = "both" if config.class_vectors else "neither", "--class_vectors / --word_vectors"
        raise InputError("class vectors must have one source", where=flags, got=got, fix="Pass exactly one.")
    names, listed, record = class_names_of(feature_file), None, None
    if config.class_names is not None:
        listed = read_names(config.class_names)
        names = in_order(names, listed, listed, config.class_names)
    if config.class_vectors is not None:
        vectors, stored_names = read_class_vectors(config.class_vectors)
        if stored_names is None and config.class_names and listed and len(listed) == len(vectors):
            stored_names = listed
            print(f"Note: {config.class_vectors.name} has no names: its rows are those of {config.class_names.name}.")
        check_attributes(vectors.T, config.class_vectors)
        vectors = np.array(in_order(names, stored_names, list(vectors), config.class_vectors))
        names = names or stored_names or [f"class {number}" for number in range(1, len(vectors) + 1)]
    elif config.word_vectors is not None and names is not None:
        vectors, notes = class_vectors(names, config.word_vectors, config.combine)
        unit = vectors[0] / np.linalg.norm(vectors[0].astype(np.float64))
        record = TextRecord(f"words:{config.word_vectors.resolve()}", "{}", names[0], tuple(unit.tolist()))
        print(*(f"Note: {note}\n" for note in notes), sep="", end="")
    else:
        fix = "Pass --class_names, a text file with one name per line, with --word_vectors."
        raise InputError("there must be class names to look up", where="--class_names", got="nothing", fix=fix)
    if not len(vectors) == len(names) == n_classes:
        must, got = f"there must be {n_classes} class vectors and names, one for each label", f"{len(vectors)} and {len(names)}"
        where, fix = config.class_vectors or config.class_names or feature_file, "Give one row or line for each label."
        raise InputError(must, where=where, got=got, fix=fix)
    return vectors, names, record


def in_order(names: list[str] | None, given: list[str] | None, values: list[Value], where: Path) -> list[Value]:
    """Return values in the order of `names` by their own names, `given`; as they are, with a note, where one side has none."""
    if twice := repeated(given or []):
        must, got = "every name must differ from the others by more than case, spaces and underscores", examples(twice)
        raise InputError(must, where=where, got=got, fix="Rename one of them.")
    places = places_by_name(names, given, where) if names and given else None
    if places is None and names:
        reason = "other names" if given else "no names"
        print(f"Note: {where.name} has {reason}: it is taken in the order of the labels.")
    return values if places is None else [values[place] for place in places]


def unseen_labels(config: SplitsConfig, names: Sequence[str], generator: np.random.Generator) -> list[int]:
    """Return the 1-based labels of the classes that are named, or drawn outside the pretraining; else none."""
    numbers = {str(label): name for label, name in enumerate(names, start=1) if str(label) not in names}
    chosen = [numbers.get(name, name) for name in listed_names(config.unseen)]
    places = find_names(chosen, names, "--unseen", fix="Pass names, or numbers from 1 on.")
    if config.exclude_pretrained is None:
        return sorted(place + 1 for place in places)
    if chosen:
        got, fix = f"--unseen {' '.join(config.unseen)}", "Leave out one of them."
        raise InputError("--unseen must not name the classes", where="--exclude_pretrained", got=got, fix=fix)
    matches = find_matches(names, pretraining_classes(config.exclude_pretrained))
    clean = [label for label, name in enumerate(names, start=1) if name not in matches]
    n_unseen = len(names) - int(np.ceil(config.seen * len(names)))
    if len(clean) < n_unseen:
        must, got = f"{n_unseen} classes must be outside the pretraining", f"{len(clean)} of {len(names)}"
        raise InputError(must, where="--exclude_pretrained", got=got, fix=f"Raise --seen, now {config.seen:g}.")
    return sorted(generator.permutation(clean)[:n_unseen].tolist())
