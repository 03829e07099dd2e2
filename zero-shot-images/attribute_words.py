"""Word vectors of attribute names, which DAZLE starts from: one row an attribute, the sum of its words' vectors.

    python zero-shot-images/attribute_words.py --dataset CUB --attribute_names attributes.txt \
--vectors GoogleNews-vectors-negative300.bin --output attribute_w2v.npy
    python zero-shot-images/attribute_words.py --dataset AWA2 --attribute_names predicates.txt \
--vectors gensim:word2vec-google-news-300 --output attribute_w2v.npy
    python zero-shot-images/attribute_words.py --pickle CUB_attribute.pkl --output attribute_w2v.npy

The published vectors are word2vec-google-news-300. The last command reads the release's pickles without running them.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zslab.data.formats.names import read_names
from zslab.data.formats.pickles import read_pickled_matrix
from zslab.errors import InputError, exit_status
from zslab.features.word_vectors import attribute_vectors
from zslab.results.config import parse_config
from zslab.utils.files import atomic_path

# (pattern, replacement), applied to a name one after the other; what is left is split at spaces. Mostly words that
# word2vec-google-news-300 does not know. A data set that is not here is treated as CUB.
ATTRIBUTE_WORDS = {
    "CUB": [
        (r"^has_", ""),
        (r"\(.*", ""),
        (r"::|_|-", " "),
        ("spatulate", "broad"),
        ("upperparts", "upper parts"),
        ("grey", "gray"),
    ],
    "AWA2": [
        ("newworld", "new world"),
        ("oldworld", "old world"),
        ("nestspot", "nest spot"),
        ("toughskin", "tough skin"),
        ("longleg", "long leg"),
        ("chewteeth", "chew teeth"),
        ("meatteeth", "meat teeth"),
        ("strainteeth", "strain teeth"),
        ("quadrapedal", "quadrupedal"),
    ],
    "SUN": [
        ("/", ""),
        ("rockstone", "rock stone"),
        ("dirtsoil", "dirt soil"),
        ("sunsunny", "sun sunny"),
        ("electricindoor", "electric indoor"),
        ("semi-enclosed", "semi enclosed"),
        ("far-away", "faraway"),
    ],
    "DeepFashion": [("-", " "), ("eiffel", "Eiffel")],
}


@dataclass(frozen=True)
class WordsConfig:
    """All flags of this script."""

    dataset: str = "CUB"
    """whose table of replacements to use; an unknown one takes CUB's"""
    attribute_names: Path | None = None
    """the names in the order of att: text, a name a line, numbered or not; .csv; or SUN's attributes.mat"""
    vectors: str | None = None
    """word vectors: word2vec's .bin or text format or GloVe's (.gz as well), or gensim:NAME"""
    pickle: Path | None = None
    """convert this pickled matrix, such as the DAZLE release's, instead"""
    output: Path = Path("attribute_w2v.npy")
    """file to write: (attributes, dimension) float32"""
    allow_missing: bool = False
    """leave out words without a vector; a name of such words alone gets zeros"""


def make_vectors(config: WordsConfig) -> tuple[np.ndarray, list[str]]:
    """Return (A, dimension) float32, and notes to print.

    Raises:
        InputError: a flag is missing, or a file cannot be used.
    """
    if config.pickle is not None:
        matrix = read_pickled_matrix(config.pickle)
        zero = len(matrix) - np.count_nonzero(matrix.any(axis=1))
        return matrix, [f"{zero} rows are all zero"] if zero else []
    if config.attribute_names is None or config.vectors is None:
        raise InputError(
            "the vectors have no source",
            where="--attribute_names / --vectors",
            found="nothing for one of them",
            expected="both, or --pickle",
            fix="Pass the names' file and the word vectors.",
        )
    names = read_names(config.attribute_names)
    table = ATTRIBUTE_WORDS.get(config.dataset, ATTRIBUTE_WORDS["CUB"])
    return attribute_vectors(names, config.vectors, table, config.allow_missing)


def write_vectors(config: WordsConfig) -> None:
    """Write the matrix and says what it lacks."""
    matrix, notes = make_vectors(config)
    with atomic_path(config.output) as temporary:
        np.save(temporary, matrix)
    print(*(f"Note: {note}" for note in notes), f"{config.output}: {len(matrix)} x {matrix.shape[1]}", sep="\n")


def main() -> int:
    """Run the command and return its exit status."""
    config = parse_config(WordsConfig(), None, __file__, __doc__)
    return exit_status(lambda: write_vectors(config))


if __name__ == "__main__":
    sys.exit(main())
