"""Class vectors from the words of class names, by a file of pretrained word vectors.

Reads word2vec's binary format (.bin), and its text format, which GloVe and fastText share but for the header line.
Only the words asked for are kept, so a file of any size passes through little memory.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from zsl.errors import InputError


def clean_name(name: str) -> list[str]:
    """The words of a class name in lower case: "ApplyEyeMakeup", "apply_eye-makeup (1)" -> apply, eye, makeup."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    return re.findall(r"[^\W\d_]+", spaced.lower())


def class_vectors(names: Sequence[str], path: Path, combine: Literal["mean", "sum"]) -> tuple[np.ndarray, list[str]]:
    """A vector for each class: the mean or sum of its words' vectors.

    Args:
        names: C class names.
        path: a file of word vectors.

    Returns:
        (C, dimension) float32, and sentences about words that were left out because the file lacks them.

    Raises:
        InputError: the file is damaged, or has no word of a class.
    """
    words = [clean_name(name) for name in names]
    found = read_word_vectors(path, {word for of_class in words for word in of_class})
    known = [[word for word in of_class if word in found] for of_class in words]
    bare = [name for name, of_class in zip(names, known) if not of_class]
    if bare:
        raise InputError(
            "classes without a word vector", where=path, found=f"no word of {', '.join(map(repr, bare))}",
            expected="at least one known word in every class name",
            cure="Write those names differently in --class_names, or use a larger file of word vectors.",
        )
    notes = [
        f"{name}: no vector for {', '.join(sorted(set(of_class) - set(kept)))}"
        for name, of_class, kept in zip(names, words, known) if len(kept) < len(of_class)
    ]
    reduce = np.mean if combine == "mean" else np.sum
    return np.stack([reduce([found[word] for word in of_class], axis=0) for of_class in known]), notes


def read_word_vectors(path: Path, wanted: Iterable[str]) -> dict[str, np.ndarray]:
    """word -> (dimension,) float32, for the words of `wanted` that the file has.

    A word that is there in lower case is taken so; failing that, any other spelling of it.

    Raises:
        InputError: the file is missing or damaged.
    """
    wanted, found = set(wanted), {}
    try:
        for word, vector in (_binary_entries if path.suffix == ".bin" else _text_entries)(path):
            if word in wanted or (word.lower() in wanted and word.lower() not in found):
                found[word.lower()] = vector()
        if len({vector.shape for vector in found.values()}) > 1:
            raise ValueError("vectors of different lengths")
    except FileNotFoundError:
        found_there, cure = "nothing", "Check the path."
    except (ValueError, OSError) as error:  # includes undecodable text
        found_there, cure = error, "Use the binary (.bin) or text format of word2vec, or GloVe's; download it again."
    else:
        return found
    raise InputError("unreadable word vectors", where=path, found=found_there, expected="words with vectors", cure=cure)


def _text_entries(path: Path) -> Iterator[tuple[str, object]]:
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file):
            word, _, rest = line.rstrip().partition(" ")
            if number == 0 and len(rest.split()) == 1:  # a header: how many words, which dimension
                continue
            yield word, lambda rest=rest: np.array(rest.split(), dtype=np.float32)


def _binary_entries(path: Path) -> Iterator[tuple[str, object]]:
    with open(path, "rb") as file:
        n_words, dimension = map(int, file.readline().split())
        for _ in range(n_words):
            word = bytearray()
            while (letter := file.read(1)) != b" ":
                if not letter:
                    raise ValueError(f"the file ends before its {n_words} words do")
                word += letter
            block = file.read(4 * dimension)
            if len(block) < 4 * dimension:
                raise ValueError(f"the file ends before its {n_words} words do")
            yield word.decode(errors="replace").lstrip("\n"), lambda block=block: np.frombuffer(block, dtype="<f4")
