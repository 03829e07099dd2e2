"""The outcome of evaluating a method, and how scores of classes become accuracies, curves and confusion matrices."""

from collections.abc import Callable, Container
from dataclasses import dataclass, field

import torch
from torch import Tensor

from zslab.data.dataset import Samples, StageData
from zslab.data.lazy import CHUNK
from zslab.metrics import confusion_matrix, generalized_accuracies, harmonic_mean, mean_class_accuracy, seen_unseen_curve
from zslab.results.record import Metrics

MOST_CONFUSED = 2000  # classes of a confusion matrix; that of 21,000 would take 3.5 GB
ZSL_ARRAYS = ("zsl_confusion",)  # the arrays of a snapshot about zero-shot classification; others are about generalized

Progress = Callable[[float], object]  # is told the share of an evaluation that is done


def unwatched(share: float) -> None:
    """Ignore the progress of an evaluation."""


@dataclass
class Snapshot:
    """What is stored of one head epoch beside its metrics."""

    #: name of a classification head -> its state dict; empty for a method that trains no heads
    heads: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    #: name -> tensor for the report: "zsl_confusion" (u, u) and "gzsl_confusion" (s + u, s + u), counts of at most
    #: MOST_CONFUSED classes; "curve" (p, 2), the points of the seen/unseen curve. A method may add others
    arrays: dict[str, Tensor] = field(default_factory=dict)
    #: task -> (n,) predicted classes: "zsl" of test_unseen, "gzsl" of test_seen followed by test_unseen
    predictions: dict[str, Tensor] = field(default_factory=dict)

    def add_confusion(self, task: str, labels: Tensor, predictions: Tensor, classes: Tensor) -> None:
        """Add the confusion matrix of "zsl" or "gzsl", unless there are too many classes to draw."""
        if len(classes) <= MOST_CONFUSED:
            self.arrays[f"{task}_confusion"] = confusion_matrix(labels, predictions, classes)


@dataclass
class Evaluation:
    """The outcome of one evaluation."""

    keep: Container[int] = ()  #: head epochs to take a snapshot of
    #: lists over head epochs (of length 1 for a method that trains no heads), as they go into metrics.jsonl: "zsl":
    #: {"acc"}, "gzsl": {"acc_seen", "acc_unseen", "H", "AUSUC"}; on a validation stage also "constant", the best one to
    #: subtract from seen scores, and "H_at_constant"; where a constant was given, "calibrated": {"acc_seen", "acc_unseen",
    #: "H"} with it subtracted. A method may add groups of its own
    metrics: Metrics = field(default_factory=dict)
    synthetic: Samples | None = None  #: features of unseen classes, for a method that synthesizes them
    snapshots: dict[int, Snapshot] = field(default_factory=dict)  #: head epoch -> snapshot

    def add(self, group: str, values: dict[str, float]) -> None:
        """Append one head epoch's values to a group of the metrics."""
        for name, value in values.items():
            self.metrics.setdefault(group, {}).setdefault(name, []).append(value)

    def snapshot(self, epoch: int) -> Snapshot | None:
        """Return the snapshot of a head epoch, to be filled; None if it is not one of `keep`."""
        return self.snapshots.setdefault(epoch, Snapshot()) if epoch in self.keep else None

    @torch.no_grad()
    def measure_scores(self, data: StageData, scores: Callable[[Tensor], Tensor], constant: float | None = None) -> None:
        """Measure both tasks of a method that scores classes; features are read in parts.

        Args:
            scores: returns scores (b, s + u) of features (b, D), columns as `data.classes`.
            constant: see `measure_all`.
        """
        parts = [part for samples in (data.test_seen, data.test_unseen) for part in samples.features.split(CHUNK)]
        every, n_seen = torch.cat([scores(part) for part in parts]), len(data.test_seen)
        columns = torch.searchsorted(data.classes, data.unseen_classes)
        self.measure_unseen(data, data.unseen_classes[every[n_seen:, columns].argmax(dim=1)])
        if n_seen:
            self.measure_all(data, every, constant=constant)

    def measure_unseen(self, data: StageData, predictions: Tensor, epoch: int = 0) -> None:
        """Measure zero-shot classification; without test samples of unseen classes nothing is measured.

        Args:
            predictions: (n,) for test_unseen, among the unseen classes.
        """
        labels, unseen = data.test_unseen.labels, data.unseen_classes
        if not len(labels):
            return
        self.add("zsl", {"acc": mean_class_accuracy(labels, predictions, data.test_unseen.classes)})
        if snapshot := self.snapshot(epoch):
            snapshot.add_confusion("zsl", labels, predictions, unseen)
            snapshot.predictions["zsl"] = predictions

    def measure_all(self, data: StageData, scores: Tensor, epoch: int = 0, constant: float | None = None) -> None:
        """Measure generalized zero-shot classification, from scores of all classes; without test samples nothing is measured.

        Args:
            scores: (n, s + u) for test_seen followed by test_unseen, columns as `data.classes`.
            constant: is subtracted from all seen scores for the "calibrated" measures.
        """
        if not len(data.test_labels):
            return
        seen_columns, unseen_columns = (
            torch.searchsorted(data.classes, classes) for classes in (data.seen_classes, data.unseen_classes)
        )
        # The curve reads columns, so classes become columns.
        positions = torch.searchsorted(data.classes, data.test_labels)
        predictions = data.classes[scores.argmax(dim=1)]
        curve = seen_unseen_curve(scores, positions, seen_columns, unseen_columns)
        self.add("gzsl", accuracies(data, predictions) | ({"AUSUC": curve.area} if len(data.test_unseen) else {}))
        if data.stage == "validation":
            best = curve.best_constant()
            self.add("gzsl", {"constant": best, "H_at_constant": harmonic_mean(*curve.at(best))})
        if constant is not None:
            shifted = scores.clone()
            shifted[:, seen_columns] -= constant
            self.add("calibrated", accuracies(data, data.classes[shifted.argmax(dim=1)]))
        if snapshot := self.snapshot(epoch):
            snapshot.add_confusion("gzsl", data.test_labels, predictions, data.classes)
            if len(data.test_unseen):
                snapshot.arrays["curve"] = curve.points
            snapshot.predictions["gzsl"] = predictions


def accuracies(data: StageData, predictions: Tensor) -> dict[str, float]:
    """Return acc_seen, acc_unseen and H over the classes that have test samples.

    Args:
        predictions: (n,) for test_seen followed by test_unseen.

    Returns:
        acc_seen alone where no unseen class has a test sample.
    """
    seen = data.test_seen.classes
    if not len(data.test_unseen):
        return {"acc_seen": mean_class_accuracy(data.test_labels, predictions, seen)}
    return generalized_accuracies(data.test_labels, predictions, seen, data.test_unseen.classes)
