"""From a trainer to a table one can trust: which epoch a reported number comes from, and how it was chosen.

Three rows stand side by side in every result:

* `paper`: the best epoch and the best head epoch on the TEST set, T1 and H each for itself. This is how the published
  tables came about; it is optimistic.
* `val`: epoch and head epoch with the best score of a validation run, looked up in the test run. `--select val` makes
  both runs; without it the row is empty.
* `last`: the last epoch, the last head epoch.

The `calibrated` rows subtract from all seen scores a constant chosen on validation; ESZSL stands below as sanity floor.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Container
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

import zsl
from zsl.data.xlsa17 import Dataset, Samples, Scaling, Stage, StageData
from zsl.errors import InputError
from zsl.eszsl import EszslResult, eszsl
from zsl.evaluation import Evaluation
from zsl.runs import environment
from zsl.runs.folder import RunFolder
from zsl.runs.loop import Trainer, fit

log = logging.getLogger("zsl")

# What an evaluation may keep of generalised classification; a trainer that lacks one of them just does not offer it.
GENERALISED = ("gzsl_confusion", "curve", "gate_entropy_seen", "gate_entropy_unseen", "gate_threshold")
PREDICTIONS = ("zsl_predictions", "gzsl_predictions")  # what a model that is kept is held to
PROJECTED = 2000  # at most so many features of either kind are kept for the 2-D projection


@dataclass(frozen=True)
class Choice:
    """An epoch and one of its head epochs, both 0-based; `only` where there is just one, which then goes without saying."""

    epoch: int
    head_epoch: int
    only: bool = field(default=False, compare=False)

    def __str__(self) -> str:
        return f"epoch {self.epoch + 1}" + ("" if self.only else f", head epoch {self.head_epoch + 1}")


@dataclass(frozen=True)
class Selection:
    """What a validation run chose: for T1, for H, and at the latter the constant that goes into the test run's evaluation
    (to subtract from seen scores, or a gate's threshold), where the method has one."""

    t1: Choice
    h: Choice | None
    constant: float | None


@dataclass(frozen=True)
class Schedule:
    """How long to train, when to look, and how to choose."""

    n_epochs: int
    eval_every: int = 1
    checkpoint_every: int = 1
    select_on_validation: bool = False
    scaling: Scaling = "minmax"


class EvaluatingTrainer(Trainer, Protocol):
    """A trainer that also measures; `zsl.tfvaegan.trainer.TfvaeganTrainer` documents the members."""

    head_epochs: int

    def evaluate(self, keep: Container[int], constant: float | None) -> Evaluation: ...
    def weights(self) -> dict[str, Tensor]: ...


def best(records: list[dict], group: str, measure: str) -> Choice | None:
    """Where a measure is highest over all evaluated epochs and head epochs; the earliest of equals."""
    found = [
        (value, -record["epoch"], -head_epoch, len(record[group][measure]) == 1)
        for record in records
        for head_epoch, value in enumerate(record.get(group, {}).get(measure, ()))
    ]
    if not found:
        return None
    _, epoch, head_epoch, only = max(found)
    return Choice(-epoch, -head_epoch, only)


def select(records: list[dict]) -> Selection:
    """Reads the choices off a validation run's records."""
    t1, h = best(records, "zsl", "acc"), best(records, "gzsl", "H")
    has_constant = any("constant" in record.get("gzsl", {}) for record in records)
    return Selection(t1, h, value_at(records, "gzsl", "constant", h) if has_constant else None)


def value_at(records: list[dict], group: str, measure: str, choice: Choice) -> float | None:
    """None where that is not measured: of unseen classes without test samples."""
    (record,) = (record for record in records if record["epoch"] == choice.epoch)
    values = record.get(group, {}).get(measure)
    return None if values is None else values[choice.head_epoch]


def _end(records: list[dict], group: str, measure: str) -> Choice | None:
    """The last evaluated epoch and its last head epoch."""
    last = [record for record in records if measure in record.get(group, {})][-1:]
    if not last:
        return None
    n = len(last[0][group][measure])
    return Choice(last[0]["epoch"], n - 1, only=n == 1)


def _areas(records: list[dict], selection: Selection | None, floor: EszslResult | None) -> dict[str, float]:
    """Area under the seen/unseen curve for the rows that have one."""
    choices = {"last": _end(records, "gzsl", "H"), "val": selection and selection.h}
    areas = {name: value_at(records, "gzsl", "AUSUC", choice) for name, choice in choices.items() if choice}
    areas = {name: area for name, area in areas.items() if area is not None}
    return areas | ({"ESZSL": floor.curve.area} if floor else {})


def result_rows(records: list[dict], selection: Selection | None, floor: EszslResult | None) -> list[dict]:
    """The rows of the result table, from the test run's records, the validation run's choice and ESZSL."""

    def row(name: str, rule: str, t1: Choice | None, h: Choice | None, group: str = "gzsl") -> dict:
        values = {"T1": t1 and value_at(records, "zsl", "acc", t1)}
        for measure in ("acc_unseen", "acc_seen", "H"):
            values[measure] = h and value_at(records, group, measure, h)
        return {"row": name, **values, "T1_at": t1 and str(t1), "H_at": h and str(h), "rule": rule}

    last = _end(records, "zsl", "acc")
    last_of_all = _end(records, "gzsl", "acc_seen")
    heads = not (last or last_of_all or Choice(0, 0, only=True)).only
    epoch = "epoch and head epoch" if heads else "epoch"
    chosen = f"{epoch} chosen by a validation run on train/val classes, test looked up there"
    rows = [
        row("paper", f"best {epoch} on the TEST set, T1 and H each for itself: as published, optimistic",
            best(records, "zsl", "acc"), best(records, "gzsl", "H")),
        row("val", chosen, selection.t1, selection.h) if selection else
        row("val", "needs a validation run: pass --select val", None, None),
    ]
    if selection and selection.h and any("calibrated" in record for record in records):
        rows.append(row("val + calibration", f"as val, seen scores lowered by {selection.constant:.4g}, chosen on "
                        "validation", selection.t1, selection.h, "calibrated"))
    rows.append(row("last", "last epoch, last head epoch" if heads else "last epoch", last, last_of_all))
    if floor is not None:
        rule = f"closed-form floor, chosen on validation: {floor.choices}"
        blank = {"T1_at": None, "H_at": None}
        rows.append({"row": "ESZSL", **floor.plain, **blank, "rule": rule})
        rows.append({"row": "ESZSL + calibration", **floor.calibrated, **blank, "rule": rule})
    return rows


def run_experiment(
    dataset: Dataset,
    build_trainer: Callable[[StageData], EvaluatingTrainer],
    folder: RunFolder,
    config: dict,
    schedule: Schedule,
    *,
    method: str,
    title: str,
    seed: int,
    device: torch.device,
) -> dict:
    """Runs the stages of the protocol in an open run folder and writes result.json.

    Args:
        build_trainer: makes a fresh trainer for a stage's data; seeding is its business.
        config: flag -> value, for the result.

    Returns:
        The result, as in result.json.
    """
    def stage(name: Stage) -> StageData:
        return dataset.stage(name, schedule.scaling, seed)

    for note in dataset.notes:
        log.info("Note: %s", note)
    selection = None
    if schedule.select_on_validation:
        log.info("Stage 1 of 2: training on the validation split to choose epochs.")
        inner = folder.validation()
        inner.path.mkdir(exist_ok=True)
        selection = select(_train(stage("validation"), build_trainer, inner, schedule, None))
        if not len(dataset.locations.get("test_seen", ())):  # ZSL alone: validation knows an H, the test does not
            selection = replace(selection, h=None, constant=None)
        log.info("Stage 2 of 2: training on trainval. Chosen on validation: T1 at %s; H at %s.", selection.t1, selection.h)
    test = stage("test")
    records = _train(test, build_trainer, folder, schedule, selection)

    floor, notes = None, list(dataset.notes)
    try:
        floor = eszsl(stage("validation"), test)
        folder.update_arrays({"eszsl_curve": floor.curve.points.cpu().numpy()})
    except InputError as error:
        notes.append(f"No ESZSL row, for it chooses its regularisers on validation: {error}")
    result = {
        "schema": 1,
        "method": method,
        "version": zsl.__version__,
        "title": title,
        "command": environment.command_line(),
        "device": str(device),
        "machine": environment.machine(device),
        "torch": torch.__version__,
        "seed": seed,
        "seconds": sum(r["seconds"] for r in [*records, *(folder.validation().read_metrics() if selection else [])]),
        "config": config,
        "data": {
            "dataset": dataset.name,
            "image_embedding": dataset.image_embedding,
            "class_embedding": dataset.class_embedding,
            "split_version": dataset.split_version,
            "class_names": dataset.class_names,
            "seen_classes": test.seen_classes.tolist(),
            "unseen_classes": test.unseen_classes.tolist(),
            "feature_dim": test.feature_dim,
            "attribute_dim": test.attribute_dim,
            "counts": dataset.counts,
            **({"fingerprint": folder.data} if folder.data else {}),
        },
        "rows": result_rows(records, selection, floor),
        "AUSUC": _areas(records, selection, floor),
        "notes": notes,
    }
    folder.finish(result)
    return result


def _train(
    data: StageData,
    build_trainer: Callable[[StageData], EvaluatingTrainer],
    folder: RunFolder,
    schedule: Schedule,
    selection: Selection | None,
) -> list[dict]:
    """Trains one stage, keeping what the last and the selected epochs leave to draw; returns its records."""
    trainer = build_trainer(data)
    n, last = schedule.n_epochs, trainer.head_epochs - 1
    # A model to keep has one epoch and one head epoch: the last, and the one chosen for H (for T1 where there is no H).
    models = {"model_last": Choice(n - 1, last)}
    if selection:
        models["model_val"] = selection.h or selection.t1

    def save_model(name: str, choice: Choice, found: Evaluation) -> None:
        heads = {kind: value for (kind, at), value in found.kept.items() if at == choice.head_epoch and "." in kind}
        about = {"epoch": choice.epoch, "head_epoch": choice.head_epoch, "digest": folder.digest}
        if selection and selection.constant is not None:
            about["constant"] = selection.constant
        folder.save_weights(name, trainer.weights() | heads, {key: str(value) for key, value in about.items()})

    def evaluate(epoch: int) -> dict:
        wanted = {}  # name of an array -> what the trainer calls it: (kind, head epoch)
        if epoch + 1 == n:
            wanted |= {f"last_{kind}": (kind, last) for kind in ("zsl_confusion", *GENERALISED)}
        if selection and epoch == selection.t1.epoch:
            wanted["val_zsl_confusion"] = ("zsl_confusion", selection.t1.head_epoch)
        if selection and selection.h and epoch == selection.h.epoch:
            wanted |= {f"val_{kind}": (kind, selection.h.head_epoch) for kind in GENERALISED}
        here = {name: choice for name, choice in models.items() if choice.epoch == epoch}
        for name, choice in here.items():
            wanted |= {f"{name}_{kind}": (kind, choice.head_epoch) for kind in PREDICTIONS}
        found = trainer.evaluate({head_epoch for _, head_epoch in wanted.values()}, selection and selection.constant)
        for name, choice in here.items():
            save_model(name, choice, found)
        arrays = {name: found.kept[key].cpu().numpy() for name, key in wanted.items() if key in found.kept}
        if epoch + 1 == n:
            arrays |= _projection(data, found.synthetic) if found.synthetic is not None else {}
        if arrays:
            folder.update_arrays(arrays)
        return found.record

    return fit(trainer, folder, n, schedule.eval_every, schedule.checkpoint_every, evaluate)


def _projection(data: StageData, synthetic: Samples) -> dict[str, np.ndarray]:
    """Evenly spaced real and synthesised unseen features, for the report's 2-D projection."""
    arrays = {}
    for name, samples in (("real", data.test_unseen), ("synthetic", synthetic)):
        step = max(1, -(-len(samples) // PROJECTED))
        arrays[f"projection_{name}"] = samples.features[::step].cpu().numpy()
        arrays[f"projection_{name}_labels"] = samples.labels[::step].cpu().numpy()
    return arrays
