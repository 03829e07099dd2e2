"""The stages of an experiment: train on the validation split to choose an epoch, train on trainval, measure on test."""

import logging
from collections.abc import Callable, Container, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
from torch import Tensor

from zslab.config import RunConfig
from zslab.data.dataset import Dataset, Samples, Stage, StageData
from zslab.errors import InputError
from zslab.protocol.evaluation import ZSL_ARRAYS, Evaluation, Progress, unwatched
from zslab.protocol.held_out import FEWEST_CLASSES
from zslab.protocol.loop import Trainer, fit
from zslab.protocol.selection import Selection, result_rows, select
from zslab.results.folder import RunFolder
from zslab.results.record import EpochRecord, Metrics
from zslab.results.result import Choice, Data, Outcome, Row
from zslab.utils.environment import set_seed

log = logging.getLogger("zslab")

PROJECTED = 2000  # the most real, and the most synthesized, features that are kept for the report's 2-D projection


class EvaluatingTrainer(Trainer, Protocol):
    """A trainer that can also measure."""

    @property
    def head_epochs(self) -> int:
        """How many head epochs `evaluate` measures; 1 for a method without heads."""

    def evaluate(self, keep: Container[int] = (), constant: float | None = None, progress: Progress = unwatched) -> Evaluation:
        """Measure the current networks without changing the training.

        Args:
            keep: head epochs to take a snapshot of.
            constant: chosen on validation, see `Selection`.
            progress: is told now and then the share of the work that is done.
        """

    def weights(self) -> dict[str, Tensor]:
        """Return all network parameters by name."""


class Comparison(Protocol):
    """What a baseline leaves in a result."""

    @property
    def name(self) -> str:
        """Of the baseline."""

    @property
    def points(self) -> Sequence[tuple[float, float]]:
        """The seen/unseen curve: seen and unseen accuracy."""

    @property
    def rows(self) -> list[Row]:
        """Its rows."""


def run_protocol(
    dataset: Dataset,
    build_trainer: Callable[[StageData], EvaluatingTrainer],
    folder: RunFolder,
    config: RunConfig,
    run_baselines: Callable[[StageData, StageData], Sequence[Comparison]] | None = None,
) -> Outcome:
    """Train and measure all stages in an open run folder.

    Args:
        build_trainer: makes a new trainer for a stage's data; called right after random numbers are seeded.
        folder: receives checkpoints, metrics, arrays and weights.
        config: how long to train, how to choose an epoch, and the seed, which also draws the validation split where the data
            have none.
        run_baselines: measures the baselines, given the validation stage to choose on and the stage to measure on; None leaves
            them out.
    """

    def stage(name: Stage) -> StageData:
        return dataset.stage(name, "minmax", config.manualSeed)

    for note in dataset.notes:
        log.info("Note: %s", note)
    records: list[EpochRecord] = []
    notes, selection = list(dataset.notes), None
    if _is_validated(dataset, config, notes):
        log.info("Training on the validation split to choose epochs.")
        inner = folder.validation()
        inner.path.mkdir(exist_ok=True)
        records = _train_stage(stage("validation"), build_trainer, inner, config, None)
        selection = select(records)
        if not len(dataset.locations.get("test_seen", ())):  # ZSL alone: validation has an H, the test has none
            selection = replace(selection, h=None, constant=None)
        log.info("Chosen on validation: T1 at %s; H at %s.", selection.t1, selection.h)
    test_records, baselines = list[EpochRecord](), list[Comparison]()
    if config.validation_only:
        measured = stage("validation")
        notes.append("Nothing was trained on trainval, and no score of the test split was computed.")
    else:
        measured = stage("test")
        test_records = _train_stage(measured, build_trainer, folder, config, selection)
        try:
            if run_baselines:
                # Where no unseen class has test samples, the validation stage measures baselines as it does the method.
                validation = stage("validation")
                baselines = list(run_baselines(validation, measured if len(measured.test_unseen) else validation))
            if len(measured.test_unseen):
                curves = {f"{baseline.name.lower()}_curve": np.array(baseline.points) for baseline in baselines}
                folder.update_arrays(curves)
        except InputError as error:
            notes.append(f"The baselines are left out: {error}")
    return Outcome(
        seconds=sum(record.seconds for record in [*records, *test_records]),
        data=Data(
            dataset=dataset.name,
            image_embedding=dataset.image_embedding,
            class_embedding=dataset.class_embedding,
            split_version=dataset.split_version,
            class_names=dataset.class_names,
            seen_classes=measured.seen_classes.tolist(),
            unseen_classes=measured.unseen_classes.tolist(),
            feature_dim=measured.feature_dim,
            attribute_dim=measured.attribute_dim,
            counts=dataset.counts,
        ),
        rows=result_rows(test_records, selection, records) + [row for baseline in baselines for row in baseline.rows],
        notes=notes,
    )


def _is_validated(dataset: Dataset, config: RunConfig, notes: list[str]) -> bool:
    """Return whether to train on the validation split first: where asked for, and where nothing else measures unseen classes.

    Args:
        dataset: the data.
        config: of the run.
        notes: receives a sentence if nothing can be measured on unseen classes.
    """
    if config.select != "none" or len(dataset.locations.get("test_unseen", ())):
        return config.select != "none"
    n_seen = len(np.unique(dataset.labels[dataset.locations["trainval"]]))
    if n_seen < FEWEST_CLASSES:
        notes.append(
            f"No accuracy on unseen classes can be measured: they have no test samples, and of {n_seen} seen classes none can "
            f"be held out in their place. That takes {FEWEST_CLASSES} seen classes."
        )
        log.info("Note: %s", notes[-1])
        return False
    log.info("Unseen classes have no test samples: a validation run measures instead, as with --select val.")
    return True


def _train_stage(
    data: StageData,
    build_trainer: Callable[[StageData], EvaluatingTrainer],
    folder: RunFolder,
    config: RunConfig,
    selection: Selection | None,
) -> list[EpochRecord]:
    """Train one stage, store the models and arrays of the last and the selected epoch, and return the records."""
    set_seed(config.manualSeed, config.deterministic)
    trainer = build_trainer(data)
    n, last = config.nepoch, trainer.head_epochs - 1
    # A stored model is of one epoch and one head epoch: the last, and the one chosen for H (for T1 where there is no H).
    models = {"last": Choice(n - 1, last)}
    if selection:
        models["val"] = selection.h or selection.t1
    # Rule -> where its arrays of zero-shot and of generalized classification come from.
    arrays_of: dict[str, tuple[Choice, Choice | None]] = {"last": (models["last"], models["last"])}
    if selection:
        arrays_of["val"] = (selection.t1, selection.h)
    constant = selection.constant if selection else None

    def evaluate(epoch: int, progress: Progress) -> Metrics:
        choices = [*models.values(), *(choice for pair in arrays_of.values() for choice in pair if choice)]
        evaluation = trainer.evaluate({choice.head_epoch for choice in choices if choice.epoch == epoch}, constant, progress)
        arrays: dict[str, Tensor] = {}
        for rule, choice in models.items():
            if choice.epoch == epoch:
                snapshot = evaluation.snapshots[choice.head_epoch]
                arrays |= {f"model_{rule}_{task}_predictions": labels for task, labels in snapshot.predictions.items()}
                heads = {f"{head}.{key}": value for head, state in snapshot.heads.items() for key, value in state.items()}
                about: dict[str, float] = {"epoch": epoch, "head_epoch": choice.head_epoch}
                about |= {} if constant is None else {"constant": constant}
                folder.save_weights(f"model_{rule}", trainer.weights() | heads, about)
        for rule, (zsl, gzsl) in arrays_of.items():
            for chosen, is_zsl in ((zsl, True), (gzsl, False)):
                if chosen and chosen.epoch == epoch:
                    stored = evaluation.snapshots[chosen.head_epoch].arrays
                    arrays |= {f"{rule}_{name}": x for name, x in stored.items() if (name in ZSL_ARRAYS) == is_zsl}
        if epoch + 1 == n and evaluation.synthetic is not None:
            arrays |= _projection(data.test_unseen, "real") | _projection(evaluation.synthetic, "synthetic")
        if arrays:
            folder.update_arrays({name: array.cpu().numpy() for name, array in arrays.items()})
        return evaluation.metrics

    return fit(trainer, folder, n, config.eval_every, config.checkpoint_every, evaluate)


def _projection(samples: Samples, name: str) -> dict[str, Tensor]:
    """Return evenly spaced features and their labels, for the report's 2-D projection."""
    step = max(1, -(-len(samples) // PROJECTED))
    return {f"projection_{name}": samples.features[::step], f"projection_{name}_labels": samples.labels[::step]}
