"""Word vectors of attribute names, which DAZLE starts from: one row an attribute, the sum of its words' vectors.

    zslab attribute-words --dataset CUB --attribute_names attributes.txt --vectors GoogleNews-vectors-negative300.bin
    zslab attribute-words --dataset AWA2 --attribute_names predicates.txt --vectors gensim:word2vec-google-news-300
    zslab attribute-words --pickle CUB_attribute.pkl --output attribute_w2v.npy

The published vectors are word2vec-google-news-300. The last command reads the release's pickles without running them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zslab.data.formats.arrays import read_pickled_matrix
from zslab.data.formats.table import read_names
from zslab.errors import InputError
from zslab.features.word_vectors import attribute_vectors
from zslab.utils.environment import shown
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
    """Flags of `zslab attribute-words`."""

    dataset: str = "CUB"
    """whose table of replacements to use; an unknown one takes CUB's"""
    attribute_names: Path | None = None
    """the names in the order of att: text, a name a line, numbered or not; .csv; or SUN's attributes.mat"""
    vectors: str | None = None
    """word vectors: word2vec's .bin or text format, GloVe's, fastText's .vec ... (.gz and .zip as well), or gensim:NAME"""
    pickle: Path | None = None
    """convert this pickled matrix, such as the DAZLE release's, instead"""
    output: Path = Path("attribute_w2v.npy")
    """file to write: (attributes, dimension) float32"""
    allow_missing: bool = False
    """leave out words without a vector; a name of such words alone gets zeros"""


def write_vectors(config: WordsConfig) -> None:
    """Write the matrix and print what it lacks."""
    if config.pickle is not None:
        matrix = read_pickled_matrix(config.pickle)
        zero = len(matrix) - np.count_nonzero(matrix.any(axis=1))
        notes = [f"{zero} rows are all zero"] if zero else []
    elif config.attribute_names is None or config.vectors is None:
        must, fix = "both flags must be given, or --pickle", "Pass the names' file and the word vectors."
        raise InputError(must, where="--attribute_names / --vectors", got="one or none", fix=fix)
    else:
        table = ATTRIBUTE_WORDS.get(config.dataset, ATTRIBUTE_WORDS["CUB"])
        matrix, notes = attribute_vectors(read_names(config.attribute_names), config.vectors, table, config.allow_missing)
    with atomic_path(config.output) as temporary:
        np.save(temporary, matrix)
    print(*(f"Note: {note}" for note in notes), f"{shown(config.output)}: {len(matrix)} x {matrix.shape[1]}", sep="\n")
