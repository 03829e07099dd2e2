"""A finished run as its folder holds it; whatever cannot be drawn is refused here."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypedDict

import numpy as np

from zslab.data.formats.npyfile import read_archive
from zslab.errors import InputError
from zslab.report.shape import check_shape
from zslab.results.config import is_validation_only
from zslab.utils.files import read_json, read_metrics

SCHEMA = 1
FIX_ARRAYS = "Delete the file to draw the report without its plots, or train again with --overwrite."
Measure = Literal["T1", "acc_unseen", "acc_seen", "H"]
MEASURES: tuple[Measure, ...] = ("T1", "acc_unseen", "acc_seen", "H")


class _RowName(TypedDict):
    row: str


class Row(_RowName, total=False):
    """A row of the result table: a selection rule or a baseline, with accuracies in [0, 1] or null."""

    rule: str | None
    T1: float | None
    acc_unseen: float | None
    acc_seen: float | None
    H: float | None
    T1_at: str | None  # "epoch 3, head epoch 7"
    H_at: str | None


class _DataFacts(TypedDict):
    dataset: str
    image_embedding: str
    class_embedding: str
    split_version: str
    class_names: list[str]
    seen_classes: list[int]
    unseen_classes: list[int]
    feature_dim: int
    attribute_dim: int
    counts: dict[str, int]


class DataFacts(_DataFacts, total=False):
    """What a run was trained on; classes are indices into `class_names`."""

    fingerprint: dict[str, str]
    source: dict[str, object]


class _Result(TypedDict):
    schema: int
    method: str
    version: str
    title: str
    command: str
    device: str
    machine: str
    torch: str
    seed: int
    seconds: float
    config: dict[str, object]
    data: DataFacts
    rows: list[Row]
    AUSUC: dict[str, float | None]
    notes: list[str]


class Result(_Result, total=False):
    """The content of result.json."""

    settings: dict[str, object]


Values = dict[str, list[float | None]]


class _RecordEpoch(TypedDict):
    epoch: int


class Record(_RecordEpoch, total=False):
    """What the report reads of one line of metrics.jsonl; lists run over head epochs."""

    losses: dict[str, float | None] | None
    lambda1: float | None
    zsl: Values | None
    gzsl: Values | None


@dataclass(frozen=True)
class FinishedRun:
    """What a run left behind.

    Attributes:
        path: The run folder.
        result: The content of result.json.
        epochs: The records of metrics.jsonl, in order of epoch; empty for `--select only_val`.
        validation_epochs: The records of the validation run; empty when there was none.
        arrays: The content of evaluation.npz; empty when the method writes none.
    """

    path: Path
    result: Result
    epochs: list[Record]
    validation_epochs: list[Record] = field(default_factory=list)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)


def read_run(run_dir: Path) -> FinishedRun:
    """Read result.json, metrics.jsonl and, where they exist, validation/metrics.jsonl and evaluation.npz.

    Raises:
        InputError: A required file is missing, of another schema, or damaged.
    """
    run_dir = Path(run_dir)
    result = read_result(run_dir / "result.json")
    metrics, validation = run_dir / "metrics.jsonl", run_dir / "validation" / "metrics.jsonl"
    return FinishedRun(
        path=run_dir,
        result=result,
        epochs=[] if is_validation_only(result["config"]) else _read_records(metrics),
        validation_epochs=_read_records(validation) if validation.exists() else [],
        arrays=_read_arrays(run_dir / "evaluation.npz", result["data"]),
    )


def read_result(path: Path) -> Result:
    """Read a result.json.

    Raises:
        InputError: The file is missing, of another schema, or damaged.
    """
    value = read_json(path)
    schema = value.get("schema") if isinstance(value, dict) else None
    if isinstance(schema, int) and schema != SCHEMA:
        raise InputError(
            "the schema of the result is unknown",
            where=path,
            found=schema,
            expected=SCHEMA,
            fix="Use the version of zslab that made the run.",
        )
    check_shape(value, Result, path)
    result: Result = value  # type: ignore[assignment]  # checked just now
    classes = range(len(result["data"]["class_names"]))
    for key, indices in (("seen", result["data"]["seen_classes"]), ("unseen", result["data"]["unseen_classes"])):
        for index in indices:
            if index not in classes:
                _refuse(f"{path}, data.{key}_classes", index, f"indices into the {len(classes)} class_names")
    return result


def number(value: object) -> float:
    """Return a JSON value as a float; NaN for null, infinities, and anything that is not a number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return math.nan
    return float(value)


def class_recall(confusion: np.ndarray) -> np.ndarray:
    """Return the share of each class's samples that is predicted correctly, (C,), from counts (C, C); NaN without samples."""
    total = confusion.sum(axis=1)
    return np.where(total > 0, np.diag(confusion) / np.maximum(total, 1), np.nan)


def epoch_number(record: Record) -> int:
    """Return a record's epoch counted from 1; metrics.jsonl counts from 0."""
    return record["epoch"] + 1


def chosen_epoch(row: Row, measure: str) -> int | None:
    """Return the epoch that a row's value comes from, counted from 1, out of "epoch 3, head epoch 7"."""
    match = re.search(r"(?<!head )\bepoch (\d+)", (row.get("T1_at") if measure == "T1" else row.get("H_at")) or "")
    return int(match.group(1)) if match else None


def _read_records(path: Path) -> list[Record]:
    records = read_metrics(path)
    for record in records:
        check_shape(record, Record, f"{path}, epoch {record['epoch']}")
    return records  # type: ignore[return-value]  # checked just now


def _read_arrays(path: Path, data: DataFacts) -> dict[str, np.ndarray]:
    if not path.exists():
        return {}
    arrays = read_archive(path, "the arrays", fix=FIX_ARRAYS)
    for key, array in arrays.items():
        expected = _expected_shape(key, arrays, data)
        if expected and not (array.ndim == len(expected) and all(n in (None, m) for n, m in zip(expected, array.shape))):
            _refuse(f"{path}, {key}", f"shape {array.shape}", f"shape ({', '.join(str(n or 'any') for n in expected)})")
        if array.dtype.kind not in "biuf" or (expected is not None and not np.isfinite(array).all()):
            _refuse(f"{path}, {key}", f"{array.dtype} values that are not finite numbers", "finite numbers")
        if key.endswith("_labels") and not np.isin(array, np.arange(len(data["class_names"]))).all():
            _refuse(f"{path}, {key}", "other values", f"indices into the {len(data['class_names'])} class_names")
    return arrays


def _expected_shape(key: str, arrays: dict[str, np.ndarray], data: DataFacts) -> tuple[int | None, ...] | None:
    """Return the shape that an array must have, None for any length; None for an array that no plot reads."""
    classes, unseen = len(data["class_names"]), len(data["unseen_classes"])
    if key.startswith("projection_"):
        labels = arrays.get(f"{key.removesuffix('_labels')}_labels")
        return (None,) if key.endswith("_labels") else (None if labels is None else len(labels), None)
    ends: dict[str, tuple[int | None, ...]] = {
        "_gzsl_confusion": (classes, classes),
        "_zsl_confusion": (unseen, unseen),
        "_curve": (None, 2),
        "_gate_entropy_seen": (None,),
        "_gate_entropy_unseen": (None,),
        "_gate_threshold": (),
    }
    return next((shape for end, shape in ends.items() if key.endswith(end)), None)


def _refuse(where: object, found: object, expected: object) -> None:
    raise InputError(
        "the run folder contradicts itself",
        where=where,
        found=found,
        expected=expected,
        fix="A file was changed outside this program. Restore it, or train again with --overwrite.",
    )
