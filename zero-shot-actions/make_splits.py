"""Makes random class splits for labelled features: split_<k>/att_splits.mat beside the feature file, k = 1 ... 30.

    python zero-shot-actions/make_splits.py --dataset ucf101_i3d --dataroot DIR --class_vectors class_w2v.npy \
--class_names classes.txt
    python zero-shot-actions/make_splits.py --dataset my_clips --image_embedding r3d_18 --dataroot DIR \
--class_names classes.txt --word_vectors glove.6B.300d.txt

The class vectors come from a matrix with a row for each label (a .npy file, or att of a .mat file), or from the words of
the class names. The 30 splits that published numbers are on came with the authors' data; these are others.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from zsl.data.matfile import read_mat
from zsl.data.splits import random_class_split, read_class_vectors, write_split
from zsl.data.xlsa17 import read_features
from zsl.errors import InputError, exit_status
from zsl.features.word_vectors import class_vectors
from zsl.numbers import parse_numbers
from zsl.runs.config import parse_config
from zsl.runs.environment import resolve_folder

TREE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class SplitsConfig:
    dataset: str = "hmdb_i3d"
    """folder of the data set under --dataroot"""
    dataroot: Path = TREE / "data"
    """where the data sets lie; relative to the working directory, else to the project's root"""
    image_embedding: str = "i3d"
    """feature file, without .mat; its labels are split"""
    class_embedding: str = "att"
    """name of the files to write, without _splits.mat"""
    class_vectors: Path | None = None
    """matrix of class vectors, a row a label (.npy), or a .mat file with att"""
    word_vectors: Path | None = None
    """word vectors to make class vectors of: word2vec's .bin or text format, or GloVe's"""
    combine: Literal["mean", "sum"] = "mean"
    """how the vectors of a name's words become one"""
    class_names: Path | None = None
    """text file with a class name a line, in the order of the labels; those in the feature file where not given"""
    splits: str = "1-30"
    """numbers of the splits to make"""
    seed: int = 0
    """split k is drawn from this seed and k alone"""
    seen: float = 0.5
    """share of the classes that is seen"""
    hold_out: float = 0.2
    """share of every seen class's samples to test on"""
    validation: float = 0.25
    """share of the seen classes that validation treats as unseen"""
    overwrite: bool = False
    """replace split files that are there"""


def vectors_and_names(config: SplitsConfig, n_classes: int, feature_file: Path) -> tuple[np.ndarray, list[str]]:
    """(C, A) class vectors and C names.

    Raises:
        InputError: a file is missing or does not fit the labels.
    """
    names = read_mat(feature_file, [], ["allclasses_names"]).get("allclasses_names")  # extract_features.py writes them
    names = None if names is None else [str(name) for name in names]
    if config.class_names is not None:
        try:
            names = config.class_names.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(
                "unreadable class names", where=config.class_names, found=error, expected="a text file", cure="Check it.",
            ) from None
    if (config.class_vectors is None) == (config.word_vectors is None):
        raise InputError(
            "no single source of class vectors", where="--class_vectors / --word_vectors",
            found="both" if config.class_vectors else "neither", expected="one of them", cure="Pass exactly one.",
        )
    if config.word_vectors is not None:
        if names is None:
            raise InputError(
                "no class names to look up", where="--class_names", found="nothing",
                expected="a text file with a name a line", cure="Pass --class_names with --word_vectors.",
            )
        vectors, notes = class_vectors(names, config.word_vectors, config.combine)
        print(*(f"Note: {note}" for note in notes), sep="\n", end="\n" if notes else "")
    else:
        vectors, names_there = read_class_vectors(config.class_vectors)
        names = names or names_there or [f"class {number}" for number in range(1, len(vectors) + 1)]
    for where, found in (("class vectors", len(vectors)), ("class names", len(names))):
        if found != n_classes:
            raise InputError(
                f"{where} that do not fit the labels", where=config.class_vectors or config.class_names, found=found,
                expected=f"{n_classes}, one for each label", cure="Give one row or line for each label, in their order.",
            )
    return vectors, names


def make_splits(config: SplitsConfig) -> None:
    """Writes all split files.

    Raises:
        InputError: the input cannot be used, or a split file is there already.
    """
    folder = resolve_folder(config.dataroot) / config.dataset
    try:
        numbers = parse_numbers(config.splits)
    except ValueError as error:
        raise InputError("unreadable numbers", where="--splits", found=error, expected="1-30", cure="Correct it.") from None
    files = {number: folder / f"split_{number}" / f"{config.class_embedding}_splits.mat" for number in numbers}
    there = [path for path in files.values() if path.exists()]
    if there and not config.overwrite:
        raise InputError(
            "a split file that is there already", where=there[0], found=f"{len(there)} of {len(files)} files",
            expected="none, or leave to replace them", cure="Pass --overwrite, other --splits or another name.",
        )
    feature_file = folder / f"{config.image_embedding}.mat"
    _, labels = read_features(feature_file)
    vectors, names = vectors_and_names(config, int(labels.max()), feature_file)
    for number, path in files.items():
        locations = random_class_split(
            labels, np.random.default_rng((config.seed, number)), seen=config.seen, hold_out=config.hold_out,
            validation=config.validation,
        )
        write_split(path, vectors, names, locations)
        seen, unseen = (len(np.unique(labels[locations[key] - 1])) for key in ("trainval_loc", "test_unseen_loc"))
        sizes = " / ".join(str(len(locations[key])) for key in ("trainval_loc", "test_seen_loc", "test_unseen_loc"))
        print(f"{path}: {seen} seen and {unseen} unseen classes, trainval / test_seen / test_unseen {sizes}")


def main() -> int:
    config = parse_config(SplitsConfig(), None, __file__, __doc__)
    return exit_status(lambda: make_splits(config))


if __name__ == "__main__":
    sys.exit(main())
