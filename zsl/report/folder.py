"""Reads a finished run folder back from disk and refuses what cannot be drawn from it."""

from __future__ import annotations

import math
import re
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from zsl.errors import InputError
from zsl.runs.files import read_json, read_metrics

SCHEMA = 1
MEASURES = ("T1", "acc_unseen", "acc_seen", "H")
_RESULT_KEYS = {
    "method": str, "version": str, "title": str, "command": str, "device": str, "machine": str, "torch": str,
    "seed": int, "seconds": (int, float), "config": dict, "data": dict, "rows": list, "AUSUC": dict, "notes": list,
}
_DATA_KEYS = {
    "dataset": str, "image_embedding": str, "class_embedding": str, "split_version": str, "class_names": list,
    "seen_classes": list, "unseen_classes": list, "feature_dim": int, "attribute_dim": int, "counts": dict,
}


@dataclass(frozen=True)
class FinishedRun:
    """What a run left behind.

    Attributes:
        result: result.json.
        epochs: the records of metrics.jsonl, in order of epoch.
        validation_epochs: the same of the stage-1 run of `--select val`; empty when there was none.
        arrays: evaluation.npz; empty when the method writes none.
    """

    path: Path
    result: dict
    epochs: list[dict]
    validation_epochs: list[dict] = field(default_factory=list)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)


def read_run(run_dir: Path) -> FinishedRun:
    """Reads result.json, metrics.jsonl and, where they exist, validation/metrics.jsonl and evaluation.npz.

    Raises:
        InputError: a required file is missing, of another schema, or damaged.
    """
    run_dir = Path(run_dir)
    result = _checked_result(run_dir / "result.json")
    validation = run_dir / "validation" / "metrics.jsonl"
    return FinishedRun(
        path=run_dir,
        result=result,
        epochs=read_metrics(run_dir / "metrics.jsonl"),
        validation_epochs=read_metrics(validation) if validation.exists() else [],
        arrays=_read_arrays(run_dir / "evaluation.npz", result["data"]),
    )


def number(value: object) -> float:
    """A JSON value as a float; NaN for null, for anything that is not a number and for infinities."""
    usable = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if usable else math.nan


def epoch_number(record: dict) -> int:
    """A record's epoch as people count, from 1; metrics.jsonl counts from 0."""
    return record["epoch"] + 1


def chosen_epoch(row: dict, measure: str) -> int | None:
    """The epoch a row's value was taken at, counted from 1, out of "epoch 3, head epoch 7"."""
    match = re.search(r"(?<!head )\bepoch (\d+)", row.get(f"{measure}_at") or "")
    return int(match.group(1)) if match else None


def _checked_result(path: Path) -> dict:
    result = read_json(path)
    found = result.get("schema") if isinstance(result, dict) else type(result).__name__
    if found != SCHEMA:
        raise InputError(
            "unknown schema", where=path, found=found, expected=f'an object with "schema": {SCHEMA}',
            cure="Draw the report with the version of zsl that made the run.",
        )
    _require(result, _RESULT_KEYS, path)
    since = {"fingerprint": dict} if "fingerprint" in result["data"] else {}  # which older runs do not have
    _require(result["data"], _DATA_KEYS | since, f"{path}, data")
    for position, row in enumerate(result["rows"]):
        if not isinstance(row, dict) or not isinstance(row.get("row"), str):
            _refuse(f"{path}, rows[{position}]", repr(row)[:80], 'an object with a "row" name')
    classes = range(len(result["data"]["class_names"]))
    for key in ("seen_classes", "unseen_classes"):
        strangers = [index for index in result["data"][key] if not isinstance(index, int) or index not in classes]
        if strangers:
            _refuse(f"{path}, data.{key}", strangers[0], f"indices into the {len(classes)} class_names")
    return result


def _require(value: dict, keys: dict[str, type | tuple[type, ...]], where: object) -> None:
    for key, kind in keys.items():
        if not isinstance(value.get(key), kind):
            expected = getattr(kind, "__name__", "number")
            _refuse(where, f"{key!r} = {value[key]!r}" if key in value else f"no {key!r}", f"{key!r}: {expected}")


def _refuse(where: object, found: object, expected: object) -> None:
    raise InputError(
        "not a result of a run", where=where, found=found, expected=expected,
        cure="The file was changed outside this program; restore it or run again.",
    )


def _read_arrays(path: Path, data: dict) -> dict[str, np.ndarray]:
    if not path.exists():
        return {}
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            "unreadable arrays", where=path, found=error, expected="a NumPy .npz archive without pickles",
            cure="Delete the file to draw the report without its plots, or run again.",
        ) from error
    classes, unseen = len(data["class_names"]), len(data["unseen_classes"])
    expected = {"zsl_confusion": (unseen, unseen), "gzsl_confusion": (classes, classes)}
    for key, array in arrays.items():
        shape = expected.get(key.partition("_")[2])
        if shape and array.shape != shape:
            _refuse(f"{path}, {key}", f"shape {array.shape}", f"shape {shape}, as result.json lists the classes")
        if "_gate_" in key and array.ndim != (0 if key.endswith("threshold") else 1):
            _refuse(f"{path}, {key}", f"shape {array.shape}", "one entropy a clip, and one threshold")
        if key.endswith("_curve") and (array.ndim != 2 or array.shape[1] != 2):
            _refuse(f"{path}, {key}", f"shape {array.shape}", "shape (points, 2)")
    return arrays
