"""A trained model in one file: tensors and a JSON text in a safetensors container, which can hold no code.

    model = read_model(Path("birds.zsl"))
    write_model(Path("copy.zsl"), model)

What lies in it: everything that prediction needs (weights of networks and heads, scaling, class names, attributes, the
backbone's description and, if it was at hand, its weights), everything that new classes need (training features of the
seen classes in half precision), and where it comes from (config, rows of the run's result, notes, version). Whatever is
read is checked, and a file that is not such a model, or lies about itself, is refused with one InputError.

The JSON text is the container's metadata entry "zsl_model". Tensors are named "attributes", "table", "table_low",
"table_high", "scaling_factor", "scaling_shift", "train_features", "train_labels", "weights.<name>", "backbone.<name>".
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch
from safetensors.torch import save
from torch import Tensor

import zsl
from zsl.app.tables import AttributeScale
from zsl.data.xlsa17 import FeatureScaling, Samples
from zsl.errors import InputError
from zsl.runs.files import atomic_path

KEY, FORMAT, FORMAT_VERSION = "zsl_model", "zsl model", 1
METHODS = ("tfvaegan", "dazle")
LARGEST_HEADER = 32 * 2**20  # bytes; 10,000 classes and 10,000 attributes need a tenth of it
LARGEST_NAME = 1000  # characters
LARGEST_NUMBER = 1_000_000  # of classes, attributes, units of a layer
FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
CURE = "Export the model again with `python -m zsl.app.export RUN`, or copy the file again."


@dataclass(frozen=True)
class Model:
    """What a model file holds.

    Attributes:
        method: "tfvaegan" or "dazle".
        title: the method's variant and the data set, in words.
        class_names, attribute_names: C and A names.
        seen: (C,) bool; which classes had training samples.
        attributes: (C, A) float32, unit rows, as the method sees them.
        table: (C, A) float64, the same on the author's own scale.
        attribute_scale: from `table` to `attributes`.
        scaling: of the features; None where the method takes them as they are.
        settings: what the method needs beside its weights; plain JSON values, checked by the method.
        weights: the method's tensors by name.
        backbone: {"spec", "weights", "digest"}, the spec of a medium of `zsl.features.media`; None where it is not known.
        backbone_weights: its tensors, where embedded.
        train: features of the seen classes to refit heads on, scaled, at most so many a class; None without.
        train_share: share of the training samples that `train` is.
        config, rows, notes, origin: of the run: flags, rows of its result, notes, where it comes from.
        version: of zsl, when it was made.
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
    settings: dict[str, Any]
    weights: dict[str, Tensor]
    backbone: dict | None = None
    backbone_weights: dict[str, Tensor] = field(default_factory=dict)
    train: Samples | None = None
    train_share: float = 1.0
    config: dict = field(default_factory=dict)
    rows: list[dict] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    origin: dict = field(default_factory=dict)
    version: str = zsl.__version__


def write_model(path: Path, model: Model) -> None:
    """Writes a model file, whole or not at all.

    Raises:
        InputError: the disk is full or the folder cannot be written to.
    """
    text = json.dumps({
        "format": FORMAT, "format_version": FORMAT_VERSION, "version": model.version, "method": model.method,
        "title": model.title, "class_names": model.class_names, "attribute_names": model.attribute_names,
        "seen": np.flatnonzero(model.seen).tolist(), "settings": model.settings, "backbone": model.backbone,
        "scaling_divisor": model.scaling and model.scaling.divisor, "train_share": model.train_share,
        "config": model.config, "rows": model.rows, "notes": model.notes, "origin": model.origin,
    }, allow_nan=False)
    tensors = {
        "attributes": model.attributes, "table": torch.from_numpy(np.asarray(model.table, dtype=np.float64)),
        "table_low": torch.from_numpy(np.asarray(model.attribute_scale.low, dtype=np.float64)),
        "table_high": torch.from_numpy(np.asarray(model.attribute_scale.high, dtype=np.float64)),
    }
    if model.scaling is not None:
        tensors |= {"scaling_factor": torch.from_numpy(model.scaling.factor),
                    "scaling_shift": torch.from_numpy(model.scaling.shift)}
    if model.train is not None:
        tensors |= {"train_features": model.train.features.half(), "train_labels": model.train.labels}
    for prefix, group in (("weights.", model.weights), ("backbone.", model.backbone_weights)):
        tensors |= {f"{prefix}{name}": value for name, value in group.items()}
    # A copy of each: safetensors refuses tensors that share memory.
    tensors = {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}
    with atomic_path(Path(path)) as temporary:
        temporary.write_bytes(save(tensors, {KEY: text}))


def read_model(path: Path) -> Model:
    """Reads and checks a model file.

    Raises:
        InputError: it is missing, cut short, no model file, of an unknown version, or its parts contradict each other.
    """
    path = Path(path)
    _check_container(path)
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(KEY)
            if text is None:
                raise _refused("not a model file of ours", path, "a safetensors file without our description",
                               f"the metadata entry {KEY!r}")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no dict
    except InputError:
        raise
    # The container's own parser: cut short, overlapping or out of bounds; a dtype that PyTorch lacks.
    except (safetensors.SafetensorError, OSError, RuntimeError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise _refused("a damaged model file", path, str(error).splitlines()[0] if str(error) else type(error).__name__,
                       "a whole safetensors file") from None
    try:
        content = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise _refused("a damaged model file", path, f"a description that is no JSON: {error}", "JSON") from None
    return _model(_Reader(path, content), tensors)


def _check_container(path: Path) -> None:
    """Size and first bytes, before anything else looks at the file."""
    expected = "a model file written by `python -m zsl.app.export`"
    try:
        size = os.path.getsize(path) if path.is_file() else -1
        with open(path, "rb") as file:
            start = file.read(16)
    except OSError as error:
        raise InputError("missing model", where=path, found=error.strerror, expected=expected, cure="Check the path.") from None
    header = int.from_bytes(start[:8], "little")
    if size < 10 or start[8:9] != b"{" or header > size - 8:
        whole = start[8:9] == b"{" and len(start) == 16
        found = f"{size} bytes of a file that announces more" if whole else _kind(start)
        raise _refused("a damaged model file" if whole else "not a model file", path, found, expected)
    if header > LARGEST_HEADER:
        raise _refused("not a model file", path, f"a header of {header:,} bytes", f"at most {LARGEST_HEADER:,}")


def _kind(start: bytes) -> str:
    if not start:
        return "an empty file"
    known = {b"PK": "a zip archive, as torch.save writes", b"\x80": "a pickle, which could run code and is not opened",
             b"\x89PNG": "a PNG picture", b"\xff\xd8": "a JPEG picture", b"\x89HDF": "an HDF5 file"}
    return next((kind for magic, kind in known.items() if start.startswith(magic)), "a file of another kind")


def _refused(what: str, path: object, found: object, expected: object) -> InputError:
    return InputError(what, where=path, found=found, expected=expected, cure=CURE)


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number")


class _Reader:
    """Takes fields out of a JSON object and refuses what is not as it must be."""

    def __init__(self, path: Path, content: object):
        self.path, self.content = path, content
        if not isinstance(content, dict):
            raise self.refused("the description", type(content).__name__, "a JSON object")

    def refused(self, name: str, found: object, expected: object) -> InputError:
        return _refused("a model file that contradicts itself", f"{self.path}, {name}", str(found)[:200], expected)

    def get(self, name: str, kind: type | tuple[type, ...], expected: str, check: Callable[[Any], bool] = bool) -> Any:
        value = self.content.get(name)
        fits = isinstance(value, kind) and not (isinstance(value, bool) and kind is not bool)
        if not fits or not check(value):
            raise self.refused(name, "nothing" if name not in self.content else repr(value), expected)
        return value

    def names(self, name: str) -> list[str]:
        values = self.get(name, list, "a list of names", lambda v: 0 < len(v) <= LARGEST_NUMBER)
        for value in values:
            if not isinstance(value, str) or not value.strip() or len(value) > LARGEST_NAME or not value.isprintable():
                raise self.refused(name, repr(value), f"printable names of at most {LARGEST_NAME} characters")
        if len(set(values)) < len(values):
            raise self.refused(name, "a name twice", "every name once")
        return values


def _model(reader: _Reader, tensors: dict[str, Tensor]) -> Model:
    reader.get("format", str, repr(FORMAT), lambda v: v == FORMAT)
    version = reader.content.get("format_version")
    if version != FORMAT_VERSION or isinstance(version, bool):
        raise InputError(
            "a model file of an unknown version", where=reader.path, found=f"format version {str(version)[:20]}",
            expected=FORMAT_VERSION, cure="Install the version of zsl that wrote it, or export the model again.",
        )
    for name, value in tensors.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise reader.refused(name, "NaN or infinity", "finite numbers")
        if value.dtype not in (*FLOATS, torch.int64, torch.int32, torch.uint8, torch.bool):
            raise reader.refused(name, value.dtype, "float or integer numbers")
    shared = {name: value for name, value in tensors.items() if "." not in name}
    groups = {
        prefix: {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
        for prefix in ("weights.", "backbone.")
    }
    if len(shared) + sum(map(len, groups.values())) < len(tensors):
        strangers = [n for n in tensors if "." in n and not n.startswith(("weights.", "backbone."))]
        raise reader.refused("tensors", strangers[0], "known names")
    classes, attributes = reader.names("class_names"), reader.names("attribute_names")
    c, a = len(classes), len(attributes)
    seen_list = reader.get("seen", list, "class numbers", lambda v: all(type(i) is int and 0 <= i < c for i in v) and v)
    seen = np.zeros(c, dtype=bool)
    seen[seen_list] = True

    def tensor(name: str, shape: tuple[int, ...], *dtypes: torch.dtype) -> Tensor:
        value = shared.get(name)
        found = "nothing" if value is None else f"{value.dtype} {tuple(value.shape)}"
        if value is None or value.dtype not in dtypes or tuple(value.shape) != shape:
            raise reader.refused(name, found, f"{dtypes[0]} {shape}")
        return value

    f64 = torch.float64
    scale = AttributeScale(*(tensor(f"table_{end}", (a,), f64).numpy() for end in ("low", "high")))
    scaling = None
    if "scaling_factor" in shared:
        shape = tuple(shared["scaling_factor"].shape[:1])
        factor, shift = (tensor(f"scaling_{part}", shape, torch.float32).numpy() for part in ("factor", "shift"))
        divisor = reader.get("scaling_divisor", (int, float), "a positive number", lambda v: 0 < v < math.inf)
        scaling = FeatureScaling(factor, shift, float(divisor))
    train = None
    if "train_features" in shared:
        features = shared["train_features"]
        n, d = features.shape if features.ndim == 2 else (-1, -1)
        features = tensor("train_features", (n, d), torch.float16).float()
        labels = tensor("train_labels", (n,), torch.int64)
        if n < 1 or (scaling is not None and d != len(scaling.factor)):
            raise reader.refused("train_features", (n, d), "a row a sample, as wide as the features")
        if not set(labels.unique().tolist()) <= set(seen_list):
            raise reader.refused("train_labels", "classes that are not seen", "seen classes")
        train = Samples(features, labels)
    backbone = reader.content.get("backbone")
    if backbone is not None:
        reader.get("backbone", dict, "an object with spec, weights and digest", _is_backbone)
    if groups["backbone."] and backbone is None:
        raise reader.refused("backbone", "weights without a description", "both or none")
    share = reader.get("train_share", (int, float), "a share", lambda v: 0 < v <= 1)
    notes = reader.get("notes", list, "sentences", lambda v: all(isinstance(s, str) for s in v))
    return Model(
        method=reader.get("method", str, " or ".join(METHODS), lambda v: v in METHODS),
        title=reader.get("title", str, "a short text", lambda v: len(v) <= LARGEST_NAME),
        class_names=classes, attribute_names=attributes, seen=seen,
        attributes=tensor("attributes", (c, a), torch.float32), table=tensor("table", (c, a), f64).numpy(),
        attribute_scale=scale, scaling=scaling,
        settings=reader.get("settings", dict, "an object", lambda v: True),
        weights=groups["weights."], backbone=backbone, backbone_weights=groups["backbone."],
        train=train, train_share=float(share),
        config=reader.get("config", dict, "an object", lambda v: True),
        rows=reader.get("rows", list, "a list of objects", lambda v: all(isinstance(row, dict) for row in v)),
        notes=notes,
        origin=reader.get("origin", dict, "an object", lambda v: True),
        version=reader.get("version", str, "a short text", lambda v: len(v) < 100),
    )


def _is_backbone(value: Mapping) -> bool:
    return isinstance(value.get("spec"), dict) and all(
        isinstance(value.get(key), str) and len(value[key]) <= LARGEST_NAME for key in ("weights", "digest")
    )
