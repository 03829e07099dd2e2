"""A trained model in one file: tensors and a JSON text in a safetensors container, which can hold no code.

    model = read_model(Path("birds.zsl"))
    write_model(Path("copy.zsl"), model)

The file holds everything that prediction needs (weights of networks and heads, scaling, class names, attributes, the
backbone's description and, if it was given, its weights), everything that new classes need (training features of the seen
classes in half precision), and where it comes from (config, rows of the run's result, notes, version). Everything is checked
when it is read. A file that is not such a model, was damaged, or contradicts itself is refused with one InputError.

The JSON text is the container's metadata entry "zslab_model"; its member "digest" is a SHA-256 over the rest of the text
and all tensors. Tensors are named "attributes", "table", "table_low", "table_high", "scaling_factor", "scaling_shift",
"train_features", "train_labels", "weights.<name>", "backbone.<name>".
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import numpy as np
import safetensors
import torch
from safetensors.torch import save
from torch import Tensor

import zslab
from zslab.app.attribute_table import AttributeScale
from zslab.app.json_reader import EXPORT_AGAIN, LARGEST_NAME, JsonReader
from zslab.data.dataset import FeatureScaling, Samples
from zslab.errors import InputError, first_line
from zslab.features.modality import modality_of
from zslab.features.text import TextRecord
from zslab.results.checkpoint import content_digest
from zslab.utils.file_kinds import kind_of_file
from zslab.utils.files import atomic_path

KEY, FORMAT, FORMAT_VERSION = "zslab_model", "zslab model", 1
METHODS = ("tfvaegan", "dazle", "eszsl")
LARGEST_HEADER = 32 * 2**20  # bytes; 10,000 classes and 10,000 attributes need a tenth of it
DIVISORS = (1e-30, 1e30)  # what features are divided by
DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.int32, torch.uint8, torch.bool)
EXPECTED = "a model file written by `zslab export`"


@dataclass(frozen=True)
class Model:
    """What a model file holds.

    Attributes:
        method: one of METHODS.
        title: the method's variant and the data set.
        class_names, attribute_names: C and A names.
        seen: (C,) bool; which classes had training samples.
        attributes: (C, A) float32, unit rows, as the method sees them.
        table: (C, A) float64, the same on the author's own scale.
        attribute_scale: from `table` to `attributes`.
        scaling: of the features; None where the method takes them as they are.
        settings: what the method needs beside its weights; plain JSON values, checked by the method.
        weights: the method's tensors by name.
        backbone: {"spec", "weights", "digest"}, the spec of a modality of `zslab.features.modality`; None where it is unknown.
        backbone_weights: its tensors, where embedded.
        train: scaled features of the seen classes, at most so many of each class, to learn new classes against; None without.
        train_share: share of the training samples that `train` is.
        text: how the class vectors came from text; None where they did not.
        config, rows, notes, origin: of the run: flags, rows of its result, notes, where it comes from.
        version: of zslab, when it was made.
    """

    method: str
    title: str
    class_names: list[str]
    attribute_names: list[str]
    seen: np.ndarray
    attributes: Tensor
    table: np.ndarray
    attribute_scale: AttributeScale
    scaling: FeatureScaling | None
    settings: dict[str, object]
    weights: dict[str, Tensor]
    backbone: dict[str, object] | None = None
    backbone_weights: dict[str, Tensor] = field(default_factory=dict)
    train: Samples | None = None
    train_share: float = 1.0
    text: TextRecord | None = None
    config: dict[str, object] = field(default_factory=dict)
    rows: list[dict[str, object]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    origin: dict[str, object] = field(default_factory=dict)
    version: str = zslab.__version__


def write_model(path: Path, model: Model) -> None:
    """Write a model file, whole or not at all.

    Raises:
        InputError: the disk is full or the folder cannot be written to.
    """
    description: dict[str, object] = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "version": model.version,
        "method": model.method,
        "title": model.title,
        "class_names": model.class_names,
        "attribute_names": model.attribute_names,
        "seen": np.flatnonzero(model.seen).tolist(),
        "settings": model.settings,
        "backbone": model.backbone,
        "scaling_divisor": model.scaling and model.scaling.divisor,
        "train_share": model.train_share,
        "text": model.text and model.text.to_json(),
        "config": model.config,
        "rows": model.rows,
        "notes": model.notes,
        "origin": model.origin,
    }
    tensors = {
        "attributes": model.attributes,
        "table": torch.from_numpy(np.asarray(model.table, dtype=np.float64)),
        "table_low": torch.from_numpy(np.asarray(model.attribute_scale.low, dtype=np.float64)),
        "table_high": torch.from_numpy(np.asarray(model.attribute_scale.high, dtype=np.float64)),
    }
    if model.scaling is not None:
        tensors["scaling_factor"] = torch.from_numpy(model.scaling.factor)
        tensors["scaling_shift"] = torch.from_numpy(model.scaling.shift)
    if model.train is not None:
        tensors |= {"train_features": model.train.features[:].half(), "train_labels": model.train.labels}
    for prefix, group in (("weights.", model.weights), ("backbone.", model.backbone_weights)):
        tensors |= {f"{prefix}{name}": value for name, value in group.items()}
    # A copy of each: safetensors refuses tensors that share memory.
    tensors = {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}
    description = json.loads(json.dumps(description, allow_nan=False))  # as it will be read
    text = json.dumps(description | {"digest": content_digest(description, tensors)})
    with atomic_path(Path(path)) as temporary:
        temporary.write_bytes(save(tensors, {KEY: text}))
        read_model(temporary)  # nothing is written that could not be opened again


def read_model(path: Path) -> Model:
    """Read and check a model file.

    Raises:
        InputError: it is missing, cut short, damaged, no model file, of an unknown version, or its parts contradict each
            other.
    """
    path = Path(path)
    _check_container(path)
    text, tensors = _read_container(path)
    try:
        content = json.loads(text, parse_constant=_no_constant)
        json.dumps(content, ensure_ascii=False).encode()  # half a surrogate pair could not be printed
    except (ValueError, RecursionError) as error:
        _damaged(path, f"a description that is no JSON: {error}", "JSON")
    reader = JsonReader(content, f"{path}, ")
    reader.choice("format", [FORMAT])
    version = reader.content.get("format_version")
    if version != FORMAT_VERSION or isinstance(version, bool):
        raise InputError(
            "the model file has an unknown format version",
            where=path,
            found=str(version)[:20],
            expected=FORMAT_VERSION,
            fix="Install the version of zslab that wrote it, or export the model again.",
        )
    if reader.content.get("digest") != content_digest(reader.content, tensors):
        _damaged(path, "content with another digest", "the content that was written")
    return _model(reader, tensors)


def _read_container(path: Path) -> tuple[str, dict[str, Tensor]]:
    """Return the description and all tensors of a safetensors file."""
    text, tensors = None, {}
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(KEY)
            if text is not None:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no dict
    # The container's own parser: cut short, overlapping or out of bounds; a dtype that PyTorch lacks.
    except (safetensors.SafetensorError, OSError, RuntimeError, ValueError, KeyError, AttributeError, TypeError) as error:
        _damaged(path, first_line(error), "a whole safetensors file")
    if text is None:
        raise InputError(
            "the file is not a model",
            where=path,
            found="a safetensors file without our description",
            expected=f"the metadata entry {KEY!r}",
            fix=EXPORT_AGAIN,
        )
    for name, value in tensors.items():
        if value.dtype not in DTYPES:
            _damaged(f"{path}, {name}", value.dtype, "float or integer numbers")
        if value.is_floating_point() and not torch.isfinite(value).all():
            _damaged(f"{path}, {name}", "NaN or infinity", "finite numbers")
    return text, tensors


def _check_container(path: Path) -> None:
    """Check size and first bytes, before anything else reads the file."""
    try:
        size = os.path.getsize(path) if path.is_file() else -1
        with open(path, "rb") as file:
            start = file.read(16)
    except OSError as error:
        raise InputError(
            "the model file cannot be opened", where=path, found=error.strerror, expected=EXPECTED, fix="Check the path."
        ) from None
    header = int.from_bytes(start[:8], "little")
    if start[8:9] != b"{" or size < 10:
        raise InputError("the file is not a model", where=path, found=kind_of_file(path), expected=EXPECTED, fix=EXPORT_AGAIN)
    if header > min(size - 8, LARGEST_HEADER):
        announced = f"{size:,} bytes of a file that announces more, a header of {header:,} bytes"
        _damaged(path, announced, f"a header of at most {LARGEST_HEADER:,} bytes")


def _damaged(where: object, found: object, expected: object) -> NoReturn:
    raise InputError("the model file is damaged", where=where, found=found, expected=expected, fix=EXPORT_AGAIN) from None


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number")


# ---- from JSON and tensors to a model -------------------------------------------------------------------------------------


def _model(reader: JsonReader, tensors: dict[str, Tensor]) -> Model:
    """Check all members against each other."""
    shared = {name: value for name, value in tensors.items() if "." not in name}
    groups = {
        prefix: {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
        for prefix in ("weights.", "backbone.")
    }
    strangers = [n for n in tensors if "." in n and not n.startswith(("weights.", "backbone."))]
    if strangers:
        raise reader.refused(strangers[0], "known names of tensors", "an unknown one")
    classes, attributes = reader.names("class_names"), reader.names("attribute_names")
    c, a = len(classes), len(attributes)
    seen = _seen(reader, c)
    scaling = _scaling(reader, shared)
    backbone = None if reader.content.get("backbone") is None else reader.member("backbone")
    if backbone is not None:
        _check_backbone(reader, backbone)
    if groups["backbone."] and backbone is None:
        raise reader.refused("backbone", "a description beside the weights")
    low, high = (_tensor(reader, shared, f"table_{end}", (a,), torch.float64).numpy() for end in ("low", "high"))
    return Model(
        method=reader.choice("method", METHODS),
        title=reader.text("title"),
        class_names=classes,
        attribute_names=attributes,
        seen=seen,
        attributes=_tensor(reader, shared, "attributes", (c, a), torch.float32),
        table=_tensor(reader, shared, "table", (c, a), torch.float64).numpy(),
        attribute_scale=AttributeScale(low, high),
        scaling=scaling,
        settings=reader.member("settings"),
        weights=groups["weights."],
        backbone=backbone,
        backbone_weights=groups["backbone."],
        train=_train(reader, shared, seen, scaling),
        train_share=reader.number("train_share", 1e-9, 1),
        text=_text(reader, a),
        config=reader.member("config"),
        rows=[row for row in reader.items("rows") if isinstance(row, dict) or _raise(reader.refused("rows", "objects"))],
        notes=[note for note in reader.items("notes") if isinstance(note, str) or _raise(reader.refused("notes", "sentences"))],
        origin=reader.member("origin"),
        version=reader.text("version", 100),
    )


def _raise(error: InputError) -> NoReturn:
    raise error


def _tensor(reader: JsonReader, tensors: Mapping[str, Tensor], name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    value = tensors.get(name)
    if value is None or value.dtype != dtype or tuple(value.shape) != shape:
        found = "nothing" if value is None else f"{value.dtype} {tuple(value.shape)}"
        raise reader.refused(name, f"{dtype} {shape}", found)
    return value


def _seen(reader: JsonReader, n_classes: int) -> np.ndarray:
    """Return which classes (C,) are seen."""
    numbers = reader.items("seen")
    seen = np.zeros(n_classes, dtype=bool)
    for number in numbers:
        if type(number) is not int or not 0 <= number < n_classes:
            raise reader.refused("seen", f"numbers of the {n_classes} classes")
        seen[number] = True
    if not seen.any():
        raise reader.refused("seen", "at least one class")
    return seen


def _scaling(reader: JsonReader, tensors: Mapping[str, Tensor]) -> FeatureScaling | None:
    if "scaling_factor" not in tensors:
        return None
    shape = tuple(tensors["scaling_factor"].shape[:1])
    factor, shift = (_tensor(reader, tensors, f"scaling_{part}", shape, torch.float64) for part in ("factor", "shift"))
    return FeatureScaling(factor.numpy(), shift.numpy(), reader.number("scaling_divisor", *DIVISORS))


def _train(
    reader: JsonReader, tensors: Mapping[str, Tensor], seen: np.ndarray, scaling: FeatureScaling | None
) -> Samples | None:
    if "train_features" not in tensors:
        return None
    features = tensors["train_features"]
    n, d = features.shape if features.ndim == 2 else (-1, -1)
    if n < 1 or (scaling is not None and d != len(scaling.factor)):
        raise reader.refused("train_features", "one row for each sample, as wide as the features", tuple(features.shape))
    features = _tensor(reader, tensors, "train_features", (n, d), torch.float16).float()
    labels = _tensor(reader, tensors, "train_labels", (n,), torch.int64)
    if labels.min() < 0 or labels.max() >= len(seen) or not seen[labels.numpy()].all():
        raise reader.refused("train_labels", "seen classes", "classes that are not seen")
    return Samples(features, labels)


def _text(reader: JsonReader, n_attributes: int) -> TextRecord | None:
    """Return how the class vectors came from text."""
    if reader.content.get("text") is None:
        return None
    try:
        record = TextRecord.from_json(reader.content["text"])
    except ValueError:
        raise reader.refused("text", "a text encoder, a template, and a text with its vector") from None
    if len(record.check_vector) != n_attributes:
        raise reader.refused("text", f"a vector of {n_attributes} numbers", f"{len(record.check_vector)} numbers")
    return record


def _check_backbone(reader: JsonReader, backbone: Mapping[str, object]) -> None:
    texts = [backbone.get("weights"), backbone.get("digest")]
    if not all(isinstance(text, str) and len(text) <= LARGEST_NAME for text in texts):
        raise reader.refused("backbone", "an object with spec, weights and digest")
    spec = backbone.get("spec")
    try:
        modality_of(spec).spec.from_json(spec)
    except InputError as error:
        where = f"{reader.where}backbone"
        raise InputError(error.problem, where=where, found=error.found, expected=error.expected, fix=error.fix) from None
