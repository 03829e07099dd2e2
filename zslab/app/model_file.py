"""A trained model in one file: tensors and a JSON text in a safetensors container, which can hold no code.

    model = read_model(Path("birds.zsl"))
    write_model(Path("copy.zsl"), model)

The JSON text is the container's metadata entry "zslab_model": the fields of `Model` that are no arrays, and "digest", a
SHA-256 over the rest of the text and all tensors. Tensors are named as the other fields are, "scaling.<part>",
"weights.<name>", "backbone_weights.<name>" and so on.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import safetensors
import torch
from msgspec import Meta, Struct
from safetensors.torch import save
from torch import Tensor

import zslab
from zslab.app.attribute_table import AttributeScale, AttributeTable
from zslab.data.dataset import FeatureScaling, Samples
from zslab.errors import InputError, examples, readable
from zslab.features.backbones import Backbone
from zslab.features.sources import modality_of
from zslab.features.text import TextRecord
from zslab.results.folder import content_digest
from zslab.results.result import Calibration
from zslab.utils.files import atomic_path, converted, kind_of_file
from zslab.utils.names import clean_name, find_names, match_names

KEY, FORMAT_VERSION = "zslab_model", 2
MUST = "the file must be a complete model that `zslab export` wrote"
EXPORT_AGAIN = "Export the model again with `zslab export RUN`, or copy the file again."
ARRAYS = {  # tensor of the file -> its type; what stands before the point is the field
    "seen": torch.bool,
    "attributes": torch.float32,
    "table": torch.float64,
    **dict.fromkeys(("attribute_scale.low", "attribute_scale.high"), torch.float64),
    **dict.fromkeys(("scaling.factor", "scaling.shift", "scaling.divisor"), torch.float64),
    "train.features": torch.float16,
    "train.labels": torch.int64,
}
GROUPS = ("weights", "backbone_weights")  # of tensors by name

Names = Annotated[list[str], Meta(min_length=1)]
Positive = Annotated[int, Meta(ge=1, le=1_000_000)]


class BackboneRecord(Struct, frozen=True):
    """What made the features: the spec of a modality of `zslab.features.sources`, and its weights' source and digest."""

    spec: dict[str, Any]
    weights: str
    digest: str

    def load(self, weights: object, where: object, **options: Any) -> Backbone:
        """Return the network with weights: a file, "default", a name or tensors; options as for `Modality.load_backbone`."""
        modality = modality_of(self.spec)
        backbone = modality.load_backbone(modality.spec.from_json(self.spec), weights, **options)
        if self.digest and backbone.digest != self.digest:
            must, got = f"the weights must be those of training, {self.digest} ({self.weights})", f"digest {backbone.digest}"
            raise InputError(must, where=where, got=got, fix="Pass the very weights that made the features.")
        return backbone


class Familiarity(Struct, frozen=True):
    """The mean cosine with so many nearest training samples below which a sample is not like them."""

    threshold: Annotated[float, Meta(ge=-1, le=1)]
    neighbors: Annotated[int, Meta(ge=1, le=1000)]


class Model(Struct, frozen=True, kw_only=True, eq=False):
    """What a model file holds."""

    method: str  #: the name of a method that `zslab.app.methods` registers
    title: str  #: the method's variant and the data set
    class_names: Names  #: C names
    attribute_names: Names  #: A names
    seen: np.ndarray  #: (C,) bool; which classes had training samples
    attributes: Tensor  #: (C, A) float32, unit rows, as the method sees them
    table: np.ndarray  #: (C, A) float64, the same on the author's own scale
    attribute_scale: AttributeScale  #: from `table` to `attributes`
    scaling: FeatureScaling | None = None  #: of the features; None where the method takes them as they are
    settings: dict[str, Any]  #: what the method needs beside its weights; the method's own struct
    weights: dict[str, Tensor]  #: the method's tensors by name
    backbone: BackboneRecord | None = None  #: None where it is unknown
    backbone_weights: dict[str, Tensor] = {}  #: its tensors, where embedded
    train: Any = None  #: `Samples` of the seen classes with scaled features, to learn new classes against; None without
    train_share: Annotated[float, Meta(gt=0, le=1)] = 1.0  #: share of the training samples that `train` is
    text: TextRecord | None = None  #: how the class vectors came from text; None where they did not
    calibration: Calibration = Calibration()  #: of the class scores
    familiarity: Familiarity | None = None  #: what counts as like the training samples; None where it was not measured
    config: dict[str, Any] = {}  #: flags of the run
    rows: list[dict[str, Any]] = []  #: of its result
    notes: list[str] = []  #: on it
    origin: dict[str, Any] = {}  #: where the model comes from
    version: str = zslab.__version__  #: of zslab, when it was made

    def __post_init__(self) -> None:
        """Check the parts against each other; msgspec reports a ValueError with its place."""
        c, a = len(self.class_names), len(self.attribute_names)
        for kind, names in (("class_names", self.class_names), ("attribute_names", self.attribute_names)):
            wrong = next((name for name in names if not name or name != clean_name(name)), None)
            if wrong is not None or len(set(names)) < len(names):
                raise ValueError(f"{kind} must be printable and different" + f", not {wrong!r}" * (wrong is not None))
        if self.seen.shape != (c,) or not self.seen.any():
            raise ValueError("seen must be a mark for each class, of which at least one is seen")
        if self.table.shape != (c, a) or tuple(self.attributes.shape) != (c, a):
            raise ValueError(f"table and attributes must have the shape ({c}, {a})")
        expected = self.attribute_scale.apply(self.table, self.class_names, "table")
        if not np.abs(expected - self.attributes.numpy()).max() <= 1e-3:
            raise ValueError("attributes must be those of table on attribute_scale")
        scaling = self.scaling
        if scaling and (scaling.shift.shape != scaling.factor.shape or not 1e-30 <= scaling.divisor <= 1e30):
            raise ValueError("scaling must have a factor and a shift for each dimension, and a positive divisor")
        if self.train is not None:
            features, labels = self.train.features, self.train.labels
            if features.ndim != 2 or labels.shape != features.shape[:1] or not len(labels):
                raise ValueError(f"train.features must have a row for each label, not {tuple(features.shape)}")
            if labels.min() < 0 or labels.max() >= c or not self.seen[labels.numpy()].all():
                raise ValueError("train.labels must be seen classes")
        if self.text is not None and len(self.text.check_vector) != a:
            raise ValueError(f"text must have a vector of {a} numbers, not {len(self.text.check_vector)}")
        if self.backbone is not None:
            modality_of(self.backbone.spec).spec.from_json(self.backbone.spec)

    def with_classes(self, table: AttributeTable) -> Model:
        """Return the model with an unseen class for every row of a table, behind its own classes."""
        found = match_names(table.class_names, self.class_names, table.source)
        if same := [self.class_names[place] for place in found if place is not None]:
            fix = "Change that class's attributes, or rename one."
            raise InputError("a new class must have a new name", where=table.source, got=examples(same), fix=fix)
        values = table.columns(self.attribute_names)
        return msgspec.structs.replace(
            self,
            class_names=[*self.class_names, *table.class_names],
            seen=np.concatenate([self.seen, np.zeros(len(values), dtype=bool)]),
            table=np.concatenate([self.table, values]),
            attributes=torch.cat([self.attributes, self._unit(values, table)]),
        )

    def with_attributes(self, table: AttributeTable) -> Model:
        """Return the model with other attributes for the classes of a table."""
        places = find_names(table.class_names, self.class_names, table.source, fix="Add it as a new class.")
        values, attributes = self.table.copy(), self.attributes.clone()
        values[places] = table.columns(self.attribute_names)
        attributes[places] = self._unit(values[places], table)
        return msgspec.structs.replace(self, table=values, attributes=attributes)

    def without_class(self, name: str) -> Model:
        """Return the model without an unseen class."""
        (removed,) = find_names([name], self.class_names, "the class to remove")
        if self.seen[removed] or (~self.seen).sum() < 2:
            must = "the class to remove must be one of at least two unseen classes"
            raise InputError(must, where="the classes", got=repr(name), fix="Name another class.")
        keep, train = np.arange(len(self.seen)) != removed, self.train
        if train is not None:
            train = Samples(train.features, train.labels - (train.labels > removed).long())
        return msgspec.structs.replace(
            self,
            class_names=[each for each, kept in zip(self.class_names, keep) if kept],
            seen=self.seen[keep],
            table=self.table[keep],
            attributes=self.attributes[torch.from_numpy(keep)],
            train=train,
        )

    def unusual_values(self, table: AttributeTable) -> list[str]:
        """Return a sentence for each class of a table with values far outside the range of the model's classes.

        A value is far outside if it leaves the range that the model's classes have in its attribute by more than the width of
        that range, as percentages beside shares of 1 do, or millimeters beside centimeters. Vectors of text have no unit.
        """
        if self.text is not None:
            return []
        values = table.columns(self.attribute_names)
        low, high = self.table.min(axis=0), self.table.max(axis=0)
        width = high - low
        width[width == 0] = np.median(width[width > 0]) if width.any() else 1.0
        excess = np.maximum(low - values, values - high) / width
        return [
            f"{(row > 1).sum()} of {len(row)} attributes of {name!r} lie far outside the model's range, such as "
            f"{self.attribute_names[i]!r} = {values[k, i]:g} (the model's classes have {low[i]:g} to {high[i]:g}). "
            "Check the unit of the values."
            for k, (name, row) in enumerate(zip(table.class_names, excess))
            if row[i := int(row.argmax())] > 1
        ]

    def _unit(self, values: np.ndarray, table: AttributeTable) -> Tensor:
        return torch.from_numpy(self.attribute_scale.apply(values, table.class_names, table.source))


def write_model(path: Path, model: Model) -> None:
    """Write a model file, whole or not at all, after opening what was written."""
    fields, tensors = msgspec.structs.asdict(model), {}
    for name, dtype in ARRAYS.items():
        field, _, part = name.partition(".")
        if (value := fields[field]) is not None:
            tensors[name] = torch.as_tensor(getattr(value, part) if part else value, dtype=dtype)
    tensors |= {f"{group}.{name}": value for group in GROUPS for name, value in fields[group].items()}
    # A copy of each: safetensors refuses tensors that share memory.
    tensors = {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}
    apart = {*GROUPS, *(name.partition(".")[0] for name in ARRAYS)}
    texts = msgspec.to_builtins({name: value for name, value in fields.items() if name not in apart})
    header = json.loads(json.dumps({"format_version": FORMAT_VERSION} | texts, allow_nan=False))
    text = json.dumps(header | {"digest": content_digest(header, tensors)})
    with atomic_path(Path(path)) as temporary:
        temporary.write_bytes(save(tensors, {KEY: text}))
        read_model(temporary)


def read_model(path: Path) -> Model:
    """Read and check a model file."""
    path = Path(path)
    with readable(path, MUST, EXPORT_AGAIN), safetensors.safe_open(path, framework="pt") as file:
        text = (file.metadata() or {}).get(KEY)
        tensors = {name: file.get_tensor(name) for name in file.keys()} if text else {}  # noqa: SIM118, it is no dict
        header = json.loads(text) if text else None
        digest = header and content_digest(header, tensors)
        matches, version = header and header.pop("digest") == digest, header and header.pop("format_version")
    if header is None or not matches:
        got = kind_of_file(path) if header is None else "content with another digest"
        raise InputError(MUST, where=path, got=got, fix=EXPORT_AGAIN)
    if version != FORMAT_VERSION:
        fix = "Install the version of zslab that wrote it, or export the model again."
        raise InputError(f"the format version must be {FORMAT_VERSION}", where=path, got=str(version)[:20], fix=fix)
    infinite = [name for name, value in tensors.items() if value.is_floating_point() and not torch.isfinite(value).all()]
    if infinite:
        raise InputError("numbers must be finite", where=f"{path}, {infinite[0]}", got="NaN or infinity", fix=EXPORT_AGAIN)
    with readable(path, MUST, EXPORT_AGAIN, (KeyError, TypeError, ValueError)):
        arrays = _arrays(tensors)
    return converted(header | arrays, Model, path, EXPORT_AGAIN)


def _arrays(tensors: dict[str, Tensor]) -> dict[str, object]:
    """Return the fields of a model that are arrays, out of the tensors of a file."""
    fields: dict[str, Any] = {group: {} for group in GROUPS}
    for name, value in tensors.items():
        field, _, part = name.partition(".")
        if field not in GROUPS and value.dtype != ARRAYS.get(name):
            raise ValueError(f"{name} must be {ARRAYS.get(name, 'no part of a model')}")
        is_array = field in ("seen", "table", "attribute_scale", "scaling")
        (fields.setdefault(field, {}) if part else fields)[part or field] = value.numpy() if is_array else value
    fields["attribute_scale"] = AttributeScale(**fields["attribute_scale"])
    if "scaling" in fields:
        fields["scaling"] = FeatureScaling(**fields["scaling"] | {"divisor": float(fields["scaling"]["divisor"])})
    if "train" in fields:
        fields["train"] = Samples(fields["train"]["features"].float(), fields["train"]["labels"])
    return fields
