"""Vectors of class or attribute names from pretrained vectors of their words.

Reads word2vec's binary format (.bin), and texts of a word and its numbers a line, separated by spaces, tabs or commas: those
of word2vec, GloVe, fastText (.vec) and ConceptNet Numberbatch, whose prefix "/c/en/" is left off; also as .gz or in a .zip.
Only the words asked for are kept, so a file of any size passes through little memory. "gensim:NAME" instead of a file stands
for a set of gensim's downloader, which is loaded whole.

DAZLE starts from word vectors of the attributes, one row an attribute; the published ones are word2vec-google-news-300:

    zslab attribute-words --dataset CUB --attribute_names attributes.txt --vectors GoogleNews-vectors-negative300.bin
    zslab attribute-words --dataset AWA2 --attribute_names predicates.txt --vectors gensim:word2vec-google-news-300
    zslab attribute-words --pickle CUB_attribute.pkl --output attribute_w2v.npy      (the release's; no code is run)
"""

import gzip
import io
import re
import unicodedata
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np

from zslab.data.checks import array
from zslab.data.formats.arrays import read_pickled_matrix
from zslab.data.formats.table import read_names
from zslab.errors import InputError, examples, readable
from zslab.features.networks import import_extra
from zslab.utils.environment import shown
from zslab.utils.files import atomic_path, user_path
from zslab.utils.names import RUNNING_NUMBER

PREFIX = "/c/en/"  # of ConceptNet's English words
DAMAGE = (ValueError, OSError, EOFError, zlib.error, zipfile.BadZipFile)  # ValueError: also undecodable text

# (pattern, replacement), applied to a name one after the other; what is left is split at spaces. Mostly words that
# word2vec-google-news-300 does not know. A data set that is not here is treated as CUB.
ATTRIBUTE_WORDS = {
    "CUB": [(r"^has_", ""), (r"\(.*", ""), (r"::|_|-", " "), ("spatulate", "broad")]
    + [("upperparts", "upper parts"), ("grey", "gray")],
    "AWA2": [(words.replace(" ", ""), words) for words in ("new world", "old world", "nest spot", "tough skin", "long leg")]
    + [(words.replace(" ", ""), words) for words in ("chew teeth", "meat teeth", "strain teeth")]
    + [("quadrapedal", "quadrupedal")],
    "SUN": [("/", ""), ("semi-enclosed", "semi enclosed"), ("far-away", "faraway")]
    + [(words.replace(" ", ""), words) for words in ("rock stone", "dirt soil", "sun sunny", "electric indoor")],
    "DeepFashion": [("-", " "), ("eiffel", "Eiffel")],
}

Entries = Iterator[tuple[str, Callable[[], np.ndarray]]]  # words, each with a function that returns its vector


def clean_name(name: str) -> list[str]:
    """Return the words and numbers of a class name in lower case: "ApplyEyeMakeup", "apply_eye-makeup" -> apply, eye, makeup.

    Marks stay with their letters, as Hindi and Thai need; a running number before the name is left out.
    """
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", RUNNING_NUMBER.sub("", name, count=1)).lower()
    parts = "".join(c if c.isalnum() or unicodedata.category(c)[0] == "M" else " " for c in spaced)
    return re.findall(r"\d+|[^\d\s]+", parts)


def class_vectors(names: Sequence[str], path: str | Path, combine: Literal["mean", "sum"]) -> tuple[np.ndarray, list[str]]:
    """Return (C, dimension) float32, the mean or sum of the vectors of each name's words, and notes on what is missing."""
    words = [clean_name(name) for name in names]
    found = read_word_vectors(path, {word for of_class in words for word in of_class})
    known = [[word for word in of_class if word in found] for of_class in words]
    bare = [repr(name) for name, of_class in zip(names, known) if not of_class]
    if bare:
        fix = "Write those names differently in --class_names, or use a larger file of word vectors."
        raise InputError("every class name must have a known word", where=path, got=examples(bare), fix=fix)
    notes = [
        f"{name}: no vector for {', '.join(sorted(set(of_class) - set(kept)))}"
        for name, of_class, kept in zip(names, words, known)
        if len(kept) < len(of_class)
    ]
    combined = np.mean if combine == "mean" else np.sum
    with np.errstate(over="ignore"):
        vectors = np.stack([combined([found[word] for word in of_class], axis=0) for of_class in known])
    same: dict[bytes, list[str]] = defaultdict(list)
    for name, vector in zip(names, array(vectors, path, "word vectors")):
        same[vector.tobytes()].append(name)
    twins = [" = ".join(group) for group in same.values() if len(group) > 1]
    return vectors, notes + [f"classes with the same vector cannot be told apart: {examples(twins)}"] * bool(twins)


def attribute_words(name: str, replacements: Sequence[tuple[str, str]]) -> list[str]:
    """Return the words of an attribute name, in its own spelling, after the replacements."""
    for pattern, replacement in replacements:
        name = re.sub(pattern, replacement, name)
    return name.split()


def attribute_vectors(
    names: Sequence[str], source: str | Path, replacements: Sequence[tuple[str, str]], allow_missing: bool = False
) -> tuple[np.ndarray, list[str]]:
    """Return (A, dimension) float32, the sum of the vectors of each attribute's words, and sentences about what was left out.

    `replacements` (pattern, text) turn a name into words; `allow_missing` leaves out words without a vector, so that a name of
    such words alone gets zeros.
    """
    words = [attribute_words(name, replacements) for name in names]
    # Of a cased vocabulary that has left out "of" and "a" one would not want OF and A for them.
    found = read_word_vectors(source, {word for of_name in words for word in of_name}, any_spelling=False)
    missing, notes = [], []
    for name, of_name in zip(names, words):
        absent = [word for word in of_name if word not in found]
        if absent or not of_name:
            missing.append(f"{', '.join(map(repr, absent)) or 'no word'} of {name!r}")
            row = " (a row of zeros)" if len(absent) == len(of_name) else ""
            notes.append(f"{name}: no vector for {', '.join(absent) or 'a name without words'}{row}")
    if missing and not allow_missing:
        fix = "Add a replacement for those words, use a larger set of word vectors, or leave them out (--allow_missing)."
        got = f"none for {examples(missing)}"
        raise InputError("every word of an attribute must have a vector", where=source, got=got, fix=fix)
    zero = np.zeros_like(next(iter(found.values())))
    with np.errstate(over="ignore"):
        sums = np.stack([sum((found[word] for word in of_name if word in found), start=zero) for of_name in words])
    return array(sums.astype(np.float32), source, "word vectors"), notes


@dataclass(frozen=True)
class WordsConfig:
    """Flags of `zslab attribute-words`."""

    dataset: str = "CUB"  #: whose table of replacements to use; an unknown one takes CUB's
    #: the names in the order of att: text, a name a line, numbered or not; .csv; or SUN's attributes.mat
    attribute_names: Path | None = None
    #: word vectors: word2vec's .bin or text format, GloVe's, fastText's .vec ... (.gz and .zip as well), or gensim:NAME
    vectors: str | None = None
    pickle: Path | None = None  #: convert this pickled matrix, such as the DAZLE release's, instead
    output: Path = Path("attribute_w2v.npy")  #: file to write: (attributes, dimension) float32
    allow_missing: bool = False  #: leave out words without a vector; a name of such words alone gets zeros


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


def read_word_vectors(source: str | Path, wanted: Iterable[str], any_spelling: bool = True) -> dict[str, np.ndarray]:
    """Return word of `wanted` -> (dimension,) float32, for those that a file or "gensim:NAME" has; at least one.

    A word that is there as it is spelled is taken so; failing that, in lower case; failing that, with `any_spelling` or where
    the source has no lower-case words, in any other mixture of cases.
    """
    spellings: dict[str, list[str]] = {}
    for word in set(wanted):
        spellings.setdefault(word.lower(), []).append(word)
    found: dict[str, tuple[int, np.ndarray]] = {}  # with how far the spelling is from the one asked for
    first: list[str] = []
    has_lower = False
    must = "the file must have a word and its numbers a line, or be word2vec's .bin"
    with readable(source, must, "Download it again, or use another file.", DAMAGE), ExitStack() as files:
        for there, vector in _entries(source, files):
            has_lower = has_lower or there.islower()
            if len(first) < 3:
                first.append(there)
            for word in spellings.get(there.lower(), ()):
                distance = 0 if there == word else 1 if there == there.lower() else 2
                if distance < (found[word][0] if word in found else 3):
                    found[word] = distance, vector()
        if not any_spelling and has_lower:
            found = {word: (distance, vector) for word, (distance, vector) in found.items() if distance < 2}
        if len({vector.shape for _, vector in found.values()}) > 1:
            raise ValueError("vectors of different lengths")
        for word, (_, numbers) in found.items():
            array(numbers, source, f"the vector of {word!r}")
    if not found and spellings:
        must = f"the file must have words such as {examples(sorted(spellings), 3)}"
        got, fix = f"words such as {examples(list(map(repr, first)), 3)}", "Use vectors of words of the same language and kind."
        raise InputError(must, where=source, got=got, fix=fix)
    return {word: vector for word, (_, vector) in found.items()}


def _entries(source: str | Path, files: ExitStack) -> Entries:
    """Return an iterator over the words of a source; `files` closes what it reads."""
    if str(source).startswith("gensim:"):
        return _gensim_entries(str(source).removeprefix("gensim:"))
    path = user_path(source)
    name = path.with_suffix("") if path.suffix == ".gz" else path
    if path.suffix == ".zip" or path.parent.suffix == ".zip":
        name, file = _open_member(path, files)
    else:
        opener: Any = gzip.open if path.suffix == ".gz" else open
        file = files.enter_context(opener(path, "rb"))
    return (_binary_entries if name.suffix == ".bin" else _text_entries)(file)


def _open_member(path: Path, files: ExitStack) -> tuple[Path, IO[bytes]]:
    """Open the file in an archive: the only one, or the one named after the archive, glove.6B.zip/glove.6B.50d.txt."""
    archive_path, name = (path, None) if path.is_file() else (path.parent, path.name)
    archive = files.enter_context(zipfile.ZipFile(archive_path))
    members = [member for member in archive.namelist() if not member.endswith("/") and not member.startswith("__MACOSX")]
    chosen = [member for member in members if name is None or member == name]
    if len(chosen) != 1:
        fix = f"Name one of them, as in {archive_path}/{members[0] if members else 'FILE'}."
        raise InputError("the archive must hold one file", where=path, got=examples(members) or "none", fix=fix)
    return Path(chosen[0]), files.enter_context(archive.open(chosen[0]))


def _gensim_entries(name: str) -> Entries:
    fix = "Correct the name (`python -m gensim.downloader --info` lists them), or give the path of a file of word vectors."
    with readable(f"gensim:{name}", "gensim must load the set of word vectors", fix, (OSError, ValueError)):
        vectors = import_extra("gensim.downloader", "words").load(name)
    for word in vectors.key_to_index:
        yield word, partial(np.asarray, vectors[word], np.float32)


def _parsed(numbers: str) -> np.ndarray:
    with np.errstate(over="ignore"):
        return np.array(numbers.replace(",", " ").split(), dtype=np.float64).astype(np.float32)


def _separator(line: str) -> str | None:
    """Return what separates the word from its numbers in a line; None in a header."""
    for separator in ("\t", ",", " "):
        word, _, rest = line.rstrip().partition(separator)
        try:
            n_numbers = len(_parsed(rest))
        except ValueError:
            continue
        if word and n_numbers > 1 and (separator != "," or n_numbers == 1 + rest.count(",")):
            return separator
    return None


def _text_entries(file: IO[bytes]) -> Entries:
    separator = None
    with io.TextIOWrapper(file, encoding="utf-8-sig") as text:
        for line in text:
            separator = separator or _separator(line)
            if separator is not None:
                word, _, rest = line.rstrip().partition(separator)
                yield word.strip('"').removeprefix(PREFIX), partial(_parsed, rest)
    if separator is None:
        raise ValueError("no line of a word and numbers")


def _binary_entries(file: IO[bytes]) -> Entries:
    n_words, dimension = map(int, file.readline(100).split())
    for _ in range(n_words):
        word = bytearray()
        while (letter := file.read(1)) not in (b" ", b""):
            word += letter
        block = file.read(4 * dimension)
        if dimension < 1 or len(block) < 4 * dimension:
            raise ValueError(f"the file ends before its {n_words} words do")
        yield word.decode(errors="replace").lstrip("\n").removeprefix(PREFIX), partial(np.frombuffer, block, "<f4")
