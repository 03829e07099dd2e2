r"""Make class vectors from text: a split file like an existing one, with `att` from names, sentences or attribute phrases.

    zslab class-vectors --dataset CUB --encoder sentence-transformers:all-MiniLM-L6-v2 --output_embedding names \
        --template "a photo of a {}, a kind of bird"
    zslab class-vectors --dataset CUB --encoder open_clip:ViT-B-32,laion2b_s34b_b79k --output_embedding clip \
        --sentences sentences.csv
    zslab class-vectors --dataset CUB --encoder words:glove.6B.300d.txt --output_embedding phrases --phrases attributes.txt
    zslab class-vectors --dataset my_clips --splits 1-30 --encoder words:gensim:NAME --output_embedding words

Train with `--class_embedding NAME` of --output_embedding. Kinds of encoders: sentence-transformers, huggingface, open_clip
(pip install -e '.[text]') and words, a file of word vectors. sentences.csv has a row for each class: its name, one sentence.
With --phrases, one text an attribute, a class is the sum of its attributes' vectors times its values; with names or
sentences, a class can be added to the exported model by a name and a sentence.
"""

import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from zslab.data.formats.matfile import read_mat
from zslab.data.formats.table import read_names
from zslab.data.splits import LOCATIONS, write_split
from zslab.errors import InputError, examples
from zslab.features.splits_command import in_order
from zslab.features.text import TextRecord, class_texts, read_descriptions, text_vectors
from zslab.utils.environment import dataset_folder, shown
from zslab.utils.files import refuse_existing
from zslab.utils.flags import check_file_names, parse_numbers
from zslab.utils.names import match_names


@dataclass(frozen=True)
class VectorsConfig:
    """Flags of `zslab class-vectors`."""

    encoder: str = "sentence-transformers:all-MiniLM-L6-v2"  #: KIND:NAME, KIND:FOLDER or words:FILE
    output_embedding: str = "text"  #: name of the split files to write, without _splits.mat
    dataset: str = "CUB"  #: folder of the data set under --dataroot
    #: folder of the data sets; by default data/ of the tree of this clone that has the data set, without a clone ./data
    dataroot: Path | None = None
    class_embedding: str = "att"  #: the split file whose classes and lists are taken over, without _splits.mat
    splits: str = ""  #: numbers of the splits, of a data set with folders split_1, split_2, ...
    #: text file with a class name a line, in any order if the split file has names, otherwise in the order of the labels
    class_names: Path | None = None
    template: str = "{}"  #: the text of a class without a sentence; {} is its name
    sentences: Path | None = None  #: table (.csv or .xlsx) of class names and sentences
    phrases: Path | None = None  #: text file with a phrase or name for each attribute of the split file, in its order
    long: Literal["cut", "chunks"] = "cut"  #: texts longer than the encoder's limit: cut them, or average over their parts
    overwrite: bool = False  #: replace split files that are there


def write_vectors(config: VectorsConfig) -> None:
    """Encode once and write all split files."""
    check_file_names(config, "output_embedding", "class_embedding")
    if config.sentences is not None and config.phrases is not None:
        must, fix = "class vectors must come from one kind of text", "Leave out one of them."
        raise InputError(must, where="--sentences / --phrases", got="both", fix=fix)
    class_texts([], config.template)
    folder = dataset_folder(config.dataset, config.dataroot)
    numbers = parse_numbers(config.splits, "--splits") if config.splits else []
    folders = [folder / f"split_{number}" for number in numbers] or [folder]
    outputs = [place / f"{config.output_embedding}_splits.mat" for place in folders]
    refuse_existing(*outputs, overwrite=config.overwrite and config.output_embedding != config.class_embedding)
    encoded: dict[tuple[str, ...], tuple[np.ndarray, TextRecord | None]] = {}
    for place, output in zip(folders, outputs):
        path = place / f"{config.class_embedding}_splits.mat"
        optional = [*LOCATIONS, "unseen_classes", "allclasses_names", "all_classes", "original_att"]
        split = read_mat(path, ["att"], optional)
        names = class_names(config, split, path)
        if tuple(names) not in encoded:
            with warnings.catch_warnings(record=True) as notes:
                warnings.simplefilter("ignore")
                warnings.simplefilter("always", UserWarning)
                encoded[tuple(names)] = class_vectors(config, names, split)
            print(*(f"Note: {note.message}\n" for note in notes), sep="", end="")
        vectors, record = encoded[tuple(names)]
        if (same := len(vectors) - len(np.unique(vectors.round(6), axis=0))) > 0:
            print(f"Note: {same} classes have the vector of another class, so that nothing tells them apart")
        locations = {name: split[name].ravel() for name in (*LOCATIONS, "unseen_classes") if name in split}
        write_split(output, vectors, names, locations, **(record.variable() if record else {}))
        size = f"{len(vectors)} classes, {vectors.shape[1]}-d"
        print(f"{shown(output)}: {size}. Train with --class_embedding {config.output_embedding}")


def class_vectors(
    config: VectorsConfig, names: list[str], split: dict[str, np.ndarray]
) -> tuple[np.ndarray, TextRecord | None]:
    """Return (C, dimension) float32 with unit rows, and the record that later classes need; none with phrases."""
    if config.phrases is None:
        texts = read_sentences(config.sentences, names) if config.sentences else class_texts(names, config.template)
        return text_vectors(texts, config.encoder, config.template, long=config.long, names=names)
    table = split.get("original_att", split["att"])
    # "has_bill_shape::curved_(up_or_down)" -> "bill shape curved (up or down)"
    phrases = [" ".join(re.sub(r"^has_|::|_", " ", name).split()) for name in read_names(config.phrases, len(table))]
    vectors = np.maximum(table.T, 0) @ text_vectors(phrases, config.encoder, long=config.long)[0]
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), None


def read_sentences(path: Path, names: list[str]) -> list[str]:
    """Return the sentence of every class; rows of other classes are named in a warning."""
    sentences = read_descriptions(path)
    places = match_names(list(sentences), names, path)
    if unused := [name for name, place in zip(sentences, places) if place is None]:
        warnings.warn(f"{path}: no class of the data set has the name {examples(unused)}", stacklevel=2)
    found = dict(zip(places, sentences.values()))
    if missing := [name for place, name in enumerate(names) if not found.get(place)]:
        must = "every class must have one row of two cells, its name and a sentence"
        raise InputError(must, where=path, got=f"no sentence of {examples(missing)}", fix="Add a row for each of them.")
    return [found[place] for place in range(len(names))]


def class_names(config: VectorsConfig, split: dict[str, np.ndarray], path: Path) -> list[str]:
    """Return the names in a text file, in the order of the split file's own if it has some, or those of the split file."""
    names = [str(name) for name in split.get("allclasses_names", split.get("all_classes", ()))]
    if config.class_names is not None:
        listed = read_names(config.class_names, split["att"].shape[1])
        return in_order(names, listed, listed, config.class_names)
    if len(names) != split["att"].shape[1]:
        fix = "Pass a text file with a name a line in the order of the labels: --class_names FILE."
        must = f"the split file must name its {split['att'].shape[1]} classes"
        raise InputError(must, where=path, got=f"{len(names)} names", fix=fix)
    return names
