"""Make class splits for labeled features: split_<k>/att_splits.mat beside the feature file, k = 1 ... 30.

    python zero-shot-actions/make_splits.py --dataset ucf101_i3d --dataroot DIR --class_vectors class_w2v.npy \
--class_names classes.txt
    python zero-shot-actions/make_splits.py --dataset ucf101_i3d --dataroot DIR --class_vectors class_w2v.npy \
--class_names classes.txt --exclude_pretrained kinetics400 --seen 0.7 --class_embedding clean
    python zero-shot-actions/make_splits.py --dataset my_clips --image_embedding r3d_18 --dataroot DIR \
--class_names classes.txt --word_vectors glove.6B.300d.txt --unseen "ride bike" swim --splits 1

The unseen classes are drawn, or named by --unseen. The class vectors come from a matrix with a row for each label (a .npy
file, or att of a .mat file), or from the words of the class names. The 30 splits of the published numbers came with the
authors' data; these are others.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np

from zslab.data.checks import check_attributes
from zslab.data.formats.matfile import read_mat
from zslab.data.formats.names import listed_names, read_names
from zslab.data.splits import random_class_split, read_class_vectors, write_split
from zslab.data.xlsa17 import read_features
from zslab.errors import InputError, examples, exit_status
from zslab.features.pretraining import find_matches, pretraining_classes
from zslab.features.text import TextRecord, word_record
from zslab.features.word_vectors import class_vectors
from zslab.results.config import parse_config
from zslab.utils.environment import resolve_folder
from zslab.utils.flags import check_at_least, check_file_names
from zslab.utils.int_ranges import parse_numbers
from zslab.utils.names import match_names, places_by_name, repeated

TREE = Path(__file__).resolve().parent

Value = TypeVar("Value")


@dataclass(frozen=True)
class SplitsConfig:
    """Flags of the command."""

    dataset: str = "hmdb_i3d"
    """folder of the data set under --dataroot"""
    dataroot: Path = TREE / "data"
    """where the data sets lie; relative to the working directory, else to the project's root"""
    image_embedding: str = "i3d"
    """feature file, without .mat; its labels are split"""
    class_embedding: str = "att"
    """name of the files to write, without _splits.mat"""
    class_vectors: Path | None = None
    """matrix of class vectors, a row a label (.npy), or a .mat file with att, and with names where they are in another order"""
    word_vectors: Path | None = None
    """word vectors to make class vectors of: word2vec's .bin or text format, or GloVe's"""
    combine: Literal["mean", "sum"] = "mean"
    """how the vectors of a name's words become one"""
    class_names: Path | None = None
    """text file or table of class names, in any order if the feature file has names, otherwise in the order of the labels"""
    splits: str = "1-30"
    """numbers of the splits to make"""
    seed: int = 0
    """split k is drawn from this seed and k alone"""
    seen: float = 0.5
    """share of the classes that is seen"""
    unseen: tuple[str, ...] = ()
    """names, or numbers from 1 on, of the unseen classes, or a text file or table of names, instead of a drawn share of them"""
    exclude_pretrained: str | None = None
    """draw the unseen classes from those that this pretraining lacks, as TruZe does: kinetics400, imagenet1k, or a file"""
    hold_out: float = 0.2
    """share of every seen class's samples to test on"""
    validation: float = 0.25
    """share of the seen classes that validation treats as unseen"""
    overwrite: bool = False
    """replace split files that are there"""


def vectors_and_names(
    config: SplitsConfig, n_classes: int, feature_file: Path
) -> tuple[np.ndarray, list[str], TextRecord | None]:
    """Return (C, A) class vectors and C names in the order of the labels, and the record of the word vectors they came from.

    Names are matched to those in the feature file, and named vectors to the names; without names, positions decide.

    Args:
        config: where they come from.
        n_classes: how many classes the labels have.
        feature_file: file of the features, which may hold the names.
    """
    if (config.class_vectors is None) == (config.word_vectors is None):
        got = "both" if config.class_vectors else "neither"
        fix = "Pass exactly one."
        raise InputError("class vectors must have one source", where="--class_vectors / --word_vectors", got=got, fix=fix)
    own = read_mat(feature_file, [], ["allclasses_names"]).get("allclasses_names")
    names = None if own is None else [str(name) for name in own]
    if config.class_names is not None:
        listed = read_names(config.class_names)
        names = _in_order(names, listed, listed, config.class_names)
    record = None
    if config.class_vectors is not None:
        vectors, stored_names = read_class_vectors(config.class_vectors)
        check_attributes(vectors.T, config.class_vectors)
        vectors = np.array(_in_order(names, stored_names, list(vectors), config.class_vectors))
        names = names or stored_names or [f"class {number}" for number in range(1, len(vectors) + 1)]
    elif config.word_vectors is not None and names is not None:
        vectors, notes = class_vectors(names, config.word_vectors, config.combine)
        record = word_record(config.word_vectors, names[0], vectors[0])
        print(*(f"Note: {note}" for note in notes), sep="\n", end="\n" if notes else "")
    else:
        fix = "Pass --class_names, a text file with one name per line, with --word_vectors."
        raise InputError("there must be class names to look up", where="--class_names", got="nothing", fix=fix)
    for what, count in (("class vectors", len(vectors)), ("class names", len(names))):
        if count != n_classes:
            where = config.class_vectors or config.class_names
            fix = "Give one row or line for each label."
            raise InputError(f"there must be {n_classes} {what}, one for each label", where=where, got=count, fix=fix)
    return vectors, names, record


def _in_order(names: list[str] | None, given: list[str] | None, values: list[Value], where: Path) -> list[Value]:
    """Return values in the order of `names` by their own names, `given`; as they are, with a note, where one side has none."""
    if twice := repeated(given or []):
        got = examples([" = ".join(group) for group in twice])
        must = "every name must differ from the others by more than case, spaces and underscores"
        raise InputError(must, where=where, got=got, fix="Rename one of them.")
    places = places_by_name(names, given, where) if names and given else None
    if places is None and names:
        reason = "other names than the features" if given else "no names"
        print(f"Note: {where.name} has {reason}: it is taken in the order of the labels.")
    return values if places is None else [values[place] for place in places]


def unseen_labels(chosen: Sequence[str], names: Sequence[str]) -> list[int]:
    """Return the 1-based labels of classes given by name or by number.

    Args:
        chosen: names, or numbers from 1 on.
        names: the names of all classes, in the order of the labels.

    Raises:
        InputError: a name or number belongs to no class.
    """
    numbers = {str(label): label - 1 for label in range(1, len(names) + 1) if str(label) not in names}
    by_name = match_names(chosen, names, "--unseen")
    places = [numbers.get(name, place) for name, place in zip(chosen, by_name)]
    unknown = [name for name, place in zip(chosen, places) if place is None]
    if unknown:
        raise InputError(
            "some classes do not exist",
            where="--unseen",
            found=examples(unknown),
            expected=f"some of {examples(names)}, or numbers in 1..{len(names)}",
            fix="Spell the names as the class names do.",
        )
    return sorted({place + 1 for place in places if place is not None})


def clean_unseen_labels(config: SplitsConfig, names: Sequence[str], generator: np.random.Generator) -> list[int]:
    """Draw the 1-based labels of unseen classes from those that the pretraining neither contains nor is related to.

    Raises:
        InputError: there are too few of them.
    """
    matches = find_matches(names, pretraining_classes(str(config.exclude_pretrained)))
    clean = [label for label, name in enumerate(names, start=1) if name not in matches]
    n_unseen = len(names) - int(np.ceil(config.seen * len(names)))
    if config.unseen or len(clean) < n_unseen:
        raise InputError(
            "--unseen names the classes already" if config.unseen else "too few classes are outside the pretraining",
            where="--exclude_pretrained",
            found=f"--unseen {' '.join(config.unseen)}" if config.unseen else f"{len(clean)} of {len(names)} classes",
            expected="one of the two flags" if config.unseen else f"at least {n_unseen} for --seen {config.seen}",
            fix="Leave out one of them." if config.unseen else "Raise --seen.",
        )
    return sorted(generator.permutation(clean)[:n_unseen].tolist())


def make_splits(config: SplitsConfig) -> None:
    """Write all split files.

    Args:
        config: which files, of which data set.

    Raises:
        InputError: the input cannot be used, or a split file exists already.
    """
    check_at_least(1e-9, config, "seen", "hold_out", "validation", below=1)
    check_at_least(0, config, "seed")
    check_file_names(config, "image_embedding", "class_embedding")
    folder = resolve_folder(config.dataroot) / config.dataset
    numbers = parse_numbers(config.splits, "--splits")
    files = {number: folder / f"split_{number}" / f"{config.class_embedding}_splits.mat" for number in numbers}
    existing = [path for path in files.values() if path.exists()]
    if existing and not config.overwrite:
        raise InputError(
            "the split file exists already",
            where=existing[0],
            found=f"{len(existing)} of {len(files)} files",
            expected="none of them",
            fix="Pass --overwrite to replace them, or choose other --splits or another --class_embedding.",
        )
    feature_file = folder / f"{config.image_embedding}.mat"
    _, labels = read_features(feature_file)
    vectors, names, record = vectors_and_names(config, int(labels.max()), feature_file)
    copy_of = read_mat(feature_file, [], ["copy_of"]).get("copy_of")
    for number, path in files.items():
        generator = np.random.default_rng((config.seed, number))
        unseen_classes = unseen_labels(listed_names(config.unseen), names)
        if config.exclude_pretrained is not None:
            unseen_classes = clean_unseen_labels(config, names, generator)
        locations = random_class_split(
            labels,
            generator,
            seen=config.seen,
            hold_out=config.hold_out,
            validation=config.validation,
            unseen_classes=unseen_classes,
            copy_of=None if copy_of is None else copy_of.ravel().astype(np.int64) - 1,
        )
        write_split(path, vectors, names, locations, **(record.variable() if record else {}))
        seen, unseen = (len(np.unique(labels[locations[key] - 1])) for key in ("trainval_loc", "test_unseen_loc"))
        sizes = " / ".join(str(len(locations[key])) for key in ("trainval_loc", "test_seen_loc", "test_unseen_loc"))
        print(f"{path}: {seen} seen and {unseen} unseen classes, trainval / test_seen / test_unseen {sizes}")


def main() -> int:
    """Run the command and return its exit status."""
    config = parse_config(SplitsConfig(), None, __file__, __doc__)
    return exit_status(lambda: make_splits(config))


if __name__ == "__main__":
    sys.exit(main())
