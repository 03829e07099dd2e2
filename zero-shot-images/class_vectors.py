"""Make class vectors from text: a split file like an existing one, with `att` from names, sentences or attribute phrases.

    python zero-shot-images/class_vectors.py --dataset CUB --dataroot DIR --encoder sentence-transformers:all-MiniLM-L6-v2 \
--output_embedding names --template "a photo of a {}, a kind of bird"
    python zero-shot-images/class_vectors.py --dataset CUB --dataroot DIR --encoder open_clip:ViT-B-32,laion2b_s34b_b79k \
--output_embedding clip --sentences sentences.csv
    python zero-shot-images/class_vectors.py --dataset CUB --dataroot DIR --encoder words:glove.6B.300d.txt \
--output_embedding phrases --phrases attributes.txt
    python zero-shot-images/class_vectors.py --dataset my_clips --dataroot DIR --splits 1-30 --encoder words:gensim:NAME \
--output_embedding words

Train with `--class_embedding NAME` of --output_embedding. Kinds of encoders: sentence-transformers, huggingface, open_clip
(pip install -e '.[text]') and words, a file of word vectors. sentences.csv has a row for each class: its name, one sentence.
With --phrases, one text an attribute, a class is the sum of its attributes' vectors times its values; with names or
sentences, a class can be added to the exported model by a name and a sentence.
"""

from __future__ import annotations

import re
import sys
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zslab.data.formats.matfile import read_mat
from zslab.data.formats.names import read_names
from zslab.data.formats.table import read_table
from zslab.data.splits import LOCATIONS, write_split
from zslab.errors import InputError, examples, exit_status
from zslab.features.text import TextRecord, class_texts, text_vectors
from zslab.results.config import parse_config
from zslab.utils.environment import resolve_folder
from zslab.utils.flags import check_file_names
from zslab.utils.int_ranges import parse_numbers
from zslab.utils.names import match_names


@dataclass(frozen=True)
class VectorsConfig:
    """All flags of this script."""

    encoder: str = "sentence-transformers:all-MiniLM-L6-v2"
    """KIND:NAME, KIND:FOLDER or words:FILE"""
    output_embedding: str = "text"
    """name of the split files to write, without _splits.mat"""
    dataset: str = "CUB"
    """folder of the data set under --dataroot"""
    dataroot: Path = Path(__file__).resolve().parent / "data"
    """where the data sets lie; relative to the working directory, else to the project's root"""
    class_embedding: str = "att"
    """the split file whose classes and lists are taken over, without _splits.mat"""
    splits: str = ""
    """numbers of the splits, of a data set with folders split_1, split_2, ..."""
    class_names: Path | None = None
    """text file with a class name a line, where the split file has none"""
    template: str = "{}"
    """the text of a class without a sentence; {} is its name"""
    sentences: Path | None = None
    """table (.csv or .xlsx) of class names and sentences"""
    phrases: Path | None = None
    """text file with a phrase or name for each attribute of the split file, in its order"""
    overwrite: bool = False
    """replace split files that are there"""


def read_sentences(path: Path, names: list[str]) -> list[str]:
    """Return the sentence of every class.

    Raises:
        InputError: the file is no table of names and sentences, or lacks a class.
    """
    rows = [cells for _, cells in read_table(path).rows]

    def refusal(problem: str, found: list[str], fix: str) -> InputError:
        expected = "a row for each class: its name, and one sentence"
        return InputError(problem, where=path, found=examples(found), expected=expected, fix=fix)

    if wrong := [cells[0] for cells in rows if len(cells) != 2]:
        raise refusal("some rows do not hold two cells", wrong, "Quote sentences that contain commas.")
    places = match_names([row[0] for row in rows], names, path)
    if twice := [names[place] for place, n in Counter(places).items() if place is not None and n > 1]:
        raise refusal("some classes have several rows", twice, "Keep one row for each of them.")
    found = {place: row[1] for place, row in zip(places, rows)}
    if missing := [name for place, name in enumerate(names) if not found.get(place)]:
        raise refusal("some classes have no sentence", missing, "Add a row for each of them.")
    return [found[place] for place in range(len(names))]


def attribute_phrase(name: str) -> str:
    """Return an attribute's name as a phrase: "has_bill_shape::curved_(up_or_down)" -> "bill shape curved (up or down)"."""
    return " ".join(re.sub(r"^has_|::|_", " ", name).split())


def class_vectors(
    config: VectorsConfig, names: list[str], split: dict[str, np.ndarray]
) -> tuple[np.ndarray, TextRecord | None]:
    """Return (C, dimension) float32 with unit rows, and the record that later classes need; none with phrases."""
    if config.phrases is None:
        texts = read_sentences(config.sentences, names) if config.sentences else class_texts(names, config.template)
        return text_vectors(texts, config.encoder, config.template)
    table = split.get("original_att", split["att"])
    phrases = [attribute_phrase(name) for name in read_names(config.phrases, len(table))]
    vectors = np.maximum(table.T, 0) @ text_vectors(phrases, config.encoder)[0]
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), None


def class_names(config: VectorsConfig, split: dict[str, np.ndarray], path: Path) -> list[str]:
    """Return the names in a text file, or those of the split file.

    Raises:
        InputError: nothing names the classes, or there is another number of names.
    """
    if config.class_names is not None:
        names = read_names(config.class_names)
    else:
        names = [str(name) for name in split.get("allclasses_names", split.get("all_classes", ()))]
    if len(names) != split["att"].shape[1]:
        raise InputError(
            "the classes have no names" if not names else "the number of names is wrong",
            where=config.class_names or path,
            found=f"{len(names)} names",
            expected=f"{split['att'].shape[1]}, one for each class",
            fix="Pass a text file with a name a line in the order of the labels: --class_names FILE.",
        )
    return names


def write_vectors(config: VectorsConfig) -> None:
    """Encode once and write all split files.

    Raises:
        InputError: a file cannot be used, or one to write exists.
    """
    check_file_names(config, "output_embedding", "class_embedding")
    if config.sentences is not None and config.phrases is not None:
        raise InputError(
            "class vectors need a single kind of text",
            where="--sentences / --phrases",
            found="both",
            expected="at most one of them",
            fix="Leave out one of them.",
        )
    if "{}" not in config.template:
        raise InputError(
            "the template has no place for the name",
            where="--template",
            found=repr(config.template),
            expected="a text with {}, as in 'a photo of a {}'",
            fix="Put {} where the name belongs.",
        )
    folder = resolve_folder(config.dataroot) / config.dataset
    numbers = parse_numbers(config.splits, "--splits") if config.splits else []
    folders = [folder / f"split_{number}" for number in numbers] or [folder]
    outputs = [place / f"{config.output_embedding}_splits.mat" for place in folders]
    existing = [path for path in outputs if path.exists()]
    if existing and (not config.overwrite or config.output_embedding == config.class_embedding):
        raise InputError(
            "the split file exists already",
            where=existing[0],
            found=f"--output_embedding {config.output_embedding}",
            expected="a new name",
            fix="Choose another name, or pass --overwrite to replace a file other than the one of --class_embedding.",
        )
    encoded: dict[tuple[str, ...], tuple[np.ndarray, TextRecord | None]] = {}
    for place, output in zip(folders, outputs):
        path = place / f"{config.class_embedding}_splits.mat"
        optional = [*LOCATIONS, "unseen_classes", "allclasses_names", "all_classes", "original_att"]
        split = read_mat(path, ["att"], optional)
        names = class_names(config, split, path)
        if tuple(names) not in encoded:
            with warnings.catch_warnings(record=True) as notes:
                warnings.simplefilter("always")
                encoded[tuple(names)] = class_vectors(config, names, split)
            print(*(f"Note: {note.message}\n" for note in notes), sep="", end="")
        vectors, record = encoded[tuple(names)]
        if (same := len(vectors) - len(np.unique(vectors.round(6), axis=0))) > 0:
            print(f"Note: {same} classes have the vector of another class, so that nothing tells them apart")
        locations = {name: split[name].ravel() for name in (*LOCATIONS, "unseen_classes") if name in split}
        write_split(output, vectors, names, locations, **(record.variable() if record else {}))
        print(f"{output}: {len(vectors)} classes, {vectors.shape[1]}-d. Train with --class_embedding {config.output_embedding}")


def main() -> int:
    """Run the command and return its exit status."""
    config = parse_config(VectorsConfig(), None, __file__, __doc__)
    return exit_status(lambda: write_vectors(config))


if __name__ == "__main__":
    sys.exit(main())
