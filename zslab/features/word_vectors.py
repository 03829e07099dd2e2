"""Vectors of class or attribute names from pretrained vectors of their words.

Reads word2vec's binary format (.bin), and its text format, which GloVe and fastText share but for the header line,
either of them also as .gz. Only the words asked for are kept, so a file of any size passes through little memory.
"gensim:NAME" instead of a file stands for a set of gensim's downloader, which is loaded whole.
"""

from __future__ import annotations

import gzip
import io
import re
import unicodedata
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Literal, cast

import numpy as np

from zslab.errors import InputError, examples
from zslab.utils.names import RUNNING_NUMBER

LARGEST_DIMENSION, LONGEST_WORD, LONGEST_LINE = 100_000, 10_000, 4_000_000  # numbers, bytes, characters


def clean_name(name: str) -> list[str]:
    """Return the words and numbers of a class name in lower case: "ApplyEyeMakeup", "apply_eye-makeup" -> apply, eye, makeup.

    Marks stay with their letters, as Hindi and Thai need; a running number before the name is left out.
    """
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", RUNNING_NUMBER.sub("", name, count=1)).lower()
    parts = "".join(c if c.isalnum() or unicodedata.category(c)[0] == "M" else " " for c in spaced)
    return re.findall(r"\d+|[^\d\s]+", parts)


def class_vectors(names: Sequence[str], path: str | Path, combine: Literal["mean", "sum"]) -> tuple[np.ndarray, list[str]]:
    """Return a vector for each class, the mean or sum of its words' vectors.

    Args:
        names: C class names.
        path: a file of word vectors, or "gensim:NAME".
        combine: "mean" or "sum".

    Returns:
        (C, dimension) float32, and sentences about words that the file lacks and about classes with the same vector.

    Raises:
        InputError: the file is damaged, or has no word of a class.
    """
    words = [clean_name(name) for name in names]
    found = read_word_vectors(path, {word for of_class in words for word in of_class})
    known = [[word for word in of_class if word in found] for of_class in words]
    bare = [name for name, of_class in zip(names, known) if not of_class]
    if bare:
        raise InputError(
            "some classes have no word vector",
            where=path,
            found=f"no word of {', '.join(map(repr, bare))}",
            expected="at least one known word in every class name",
            fix="Write those names differently in --class_names, or use a larger file of word vectors.",
        )
    notes = [
        f"{name}: no vector for {', '.join(sorted(set(of_class) - set(kept)))}"
        for name, of_class, kept in zip(names, words, known)
        if len(kept) < len(of_class)
    ]
    reduce = np.mean if combine == "mean" else np.sum
    vectors = np.stack([reduce([found[word] for word in of_class], axis=0) for of_class in known])
    same: dict[bytes, list[str]] = defaultdict(list)
    for name, vector in zip(names, vectors):
        same[vector.tobytes()].append(name)
    twins = [" = ".join(group) for group in same.values() if len(group) > 1]
    if twins:
        notes.append(f"classes with the same vector cannot be told apart: {examples(twins)}")
    return vectors, notes


def attribute_words(name: str, replacements: Sequence[tuple[str, str]]) -> list[str]:
    """Return the words of an attribute name, in its own spelling, after the replacements (pattern, text)."""
    for pattern, replacement in replacements:
        name = re.sub(pattern, replacement, name)
    return name.split()


def attribute_vectors(
    names: Sequence[str], source: str | Path, replacements: Sequence[tuple[str, str]], allow_missing: bool = False
) -> tuple[np.ndarray, list[str]]:
    """Return a vector for each attribute, the sum of its words' vectors.

    Args:
        names: A attribute names.
        source: a file of word vectors, or "gensim:NAME".
        replacements: what turns a name into words, see `attribute_words`.
        allow_missing: leave out words without a vector, so that a name of such words alone gets zeros.

    Returns:
        (A, dimension) float32, and sentences about words that were left out.

    Raises:
        InputError: the vectors cannot be read, or lack a word (none at all, with `allow_missing`).
    """
    words = [attribute_words(name, replacements) for name in names]
    # Of a cased vocabulary that has left out "of" and "a" one would not want OF and A for them.
    found = read_word_vectors(source, {word for of_name in words for word in of_name}, any_spelling=False)
    missing = {
        name: [word for word in of_name if word not in found]
        for name, of_name in zip(names, words)
        if not of_name or any(word not in found for word in of_name)
    }
    if missing and not (allow_missing and found):
        listed = [f"{', '.join(map(repr, absent)) or 'no word'} of {name!r}" for name, absent in missing.items()]
        raise InputError(
            "some attributes have no word vector",
            where=source,
            found="; ".join(listed[:12]) + (f"; and {len(listed) - 12} more" if len(listed) > 12 else ""),
            expected="a vector for every word",
            fix="Add a replacement for those words, use a larger set of word vectors, or leave them out (--allow_missing).",
        )
    notes = []
    for name, of_name in zip(names, words):
        if name in missing:
            row = " (a row of zeros)" if not any(word in found for word in of_name) else ""
            notes.append(f"{name}: no vector for {', '.join(missing[name]) or 'a name without words'}{row}")
    zero = np.zeros_like(next(iter(found.values())))
    sums = [sum((found[word] for word in of_name if word in found), start=zero) for of_name in words]
    return np.stack(sums).astype(np.float32), notes


def read_word_vectors(source: str | Path, wanted: Iterable[str], any_spelling: bool = True) -> dict[str, np.ndarray]:
    """Return word of `wanted` -> (dimension,) float32, for those that the source has.

    A word that is there as it is spelt is taken so; failing that, in lower case; failing that, with `any_spelling`, in
    any other mixture of cases.

    Raises:
        InputError: the file is missing or damaged, or gensim cannot load the set.
    """
    spellings: dict[str, list[str]] = {}
    for word in set(wanted):
        spellings.setdefault(word.lower(), []).append(word)
    found: dict[str, tuple[int, np.ndarray]] = {}  # with how far the spelling is from the one asked for
    try:
        for there, vector in _entries(source):
            for word in spellings.get(there.lower(), ()):
                distance = 0 if there == word else 1 if there == there.lower() else 2
                if distance < (found[word][0] if word in found else 3 if any_spelling else 2):
                    found[word] = distance, vector()
        if len({vector.shape for _, vector in found.values()}) > 1:
            raise ValueError("vectors of different lengths")
        bad = [word for word, (_, vector) in found.items() if not vector.size or not np.isfinite(vector).all()]
        if bad:
            raise ValueError(f"the vector of {bad[0]!r} is empty or contains NaN or infinity")
    except FileNotFoundError:
        found_there, cure = "nothing", "Check the path."
    except InputError:
        raise
    except (ValueError, OSError, EOFError, zlib.error) as error:  # includes undecodable text
        found_there, cure = str(error), "Use the binary (.bin) or text format of word2vec, or GloVe's; download it again."
    else:
        return {word: vector for word, (_, vector) in found.items()}
    raise InputError(
        "the word vectors cannot be read", where=source, found=found_there, expected="words with vectors", fix=cure
    )


def _entries(source: str | Path) -> Iterator[tuple[str, Callable[[], np.ndarray]]]:
    """Yield each word with a function that returns its vector."""
    if str(source).startswith("gensim:"):
        return _gensim_entries(str(source).removeprefix("gensim:"))
    path = Path(source)
    is_binary = path.with_suffix("").suffix == ".bin" if path.suffix == ".gz" else path.suffix == ".bin"
    return (_binary_entries if is_binary else _text_entries)(path)


def _gensim_entries(name: str) -> Iterator[tuple[str, Callable[[], np.ndarray]]]:
    try:
        import gensim.downloader
    except ImportError:
        raise InputError(
            "the package gensim is missing",
            where=f"gensim:{name}",
            found="no module gensim",
            expected="gensim 4.3 or later",
            fix="In the project's folder: pip install -e '.[words]'. Or pass the path of a file of word vectors.",
        ) from None
    try:
        vectors = gensim.downloader.load(name)
    except (OSError, ValueError) as error:  # no network, a broken download, an unknown name
        raise InputError(
            "gensim cannot load the word vectors",
            where=f"gensim:{name}",
            found=error,
            expected="a set that `python -m gensim.downloader --info` lists, and a network for the first use",
            fix="Correct the name, or give the path of a file of word vectors.",
        ) from None
    for word in vectors.key_to_index:
        yield word, partial(_looked_up, vectors, word)


def _open(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path) if path.suffix == ".gz" else open(path, "rb"))


def _looked_up(vectors: Mapping[str, np.ndarray], word: str) -> np.ndarray:
    return np.asarray(vectors[word], dtype=np.float32)


def _parsed(numbers: str) -> np.ndarray:
    return np.array(numbers.split(), dtype=np.float32)


def _text_entries(path: Path) -> Iterator[tuple[str, Callable[[], np.ndarray]]]:
    with _open(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8")
        for number, line in enumerate(iter(partial(text.readline, LONGEST_LINE), "")):
            if len(line) == LONGEST_LINE:
                raise ValueError(f"a line of {LONGEST_LINE} characters or more")
            word, _, rest = line.rstrip().partition(" ")
            if number == 0 and len(rest.split()) == 1:  # a header: how many words, which dimension
                continue
            yield word, partial(_parsed, rest)


def _binary_entries(path: Path) -> Iterator[tuple[str, Callable[[], np.ndarray]]]:
    with _open(path) as file:
        n_words, dimension = map(int, file.readline(100).split())
        if not 0 < dimension <= LARGEST_DIMENSION:
            raise ValueError(f"vectors of {dimension} numbers")
        for _ in range(n_words):
            word = bytearray()
            while (letter := file.read(1)) != b" ":
                if not letter:
                    raise ValueError(f"the file ends before its {n_words} words do")
                word += letter
                if len(word) > LONGEST_WORD:
                    raise ValueError(f"a word of more than {LONGEST_WORD} bytes")
            block = file.read(4 * dimension)
            if len(block) < 4 * dimension:
                raise ValueError(f"the file ends before its {n_words} words do")
            yield word.decode(errors="replace").lstrip("\n"), partial(np.frombuffer, block, "<f4")
