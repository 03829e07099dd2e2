"""What every method's evaluation leaves, and how class scores become it: accuracies, curve, confusion matrices."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field

import torch
from torch import Tensor

from zsl.data.xlsa17 import Samples, StageData
from zsl.metrics import confusion_matrix, generalised_accuracies, mean_class_accuracy, seen_unseen_curve


@dataclass
class Evaluation:
    """What one evaluation found.

    Attributes:
        record: lists over head epochs (of length 1 for a method that trains no heads), as they go into metrics.jsonl:
            "zsl": {"acc"}, "gzsl": {"acc_seen", "acc_unseen", "H", "AUSUC"}; on a validation stage also "constant", the
            best one to subtract from seen scores; where a constant was given, "calibrated": {"acc_seen", "acc_unseen",
            "H"} with it subtracted. A method may add groups of its own.
        synthetic: features of unseen classes that the method synthesised, where it does.
        kept: (kind, head epoch) -> tensor, for the head epochs asked for; kinds are "zsl_confusion" (u, u) and
            "gzsl_confusion" (s + u, s + u) counts, "curve" (p, 2), the seen/unseen curve's points, "zsl_predictions" (of
            test_unseen) and "gzsl_predictions" (of test_seen followed by test_unseen) (n,); a method may add kinds of
            its own, and under names with a dot the weights of heads that belong into a saved model.
    """

    record: dict = field(default_factory=dict)
    synthetic: Samples | None = None
    kept: dict[tuple[str, int], Tensor] = field(default_factory=dict)

    def note(self, group: str, values: dict[str, float]) -> None:
        """Adds one head epoch's values to a group of the record."""
        for name, value in values.items():
            self.record.setdefault(group, {}).setdefault(name, []).append(value)

    def measure_unseen(self, data: StageData, predictions: Tensor, epoch: int = 0, keep: Container[int] = ()) -> None:
        """Zero-shot classification, from predictions (n,) for test_unseen among the unseen classes."""
        labels, unseen = data.test_unseen.labels, data.unseen_classes
        self.note("zsl", {"acc": mean_class_accuracy(labels, predictions, unseen)})
        if epoch in keep:
            self.kept["zsl_confusion", epoch] = confusion_matrix(labels, predictions, unseen)
            self.kept["zsl_predictions", epoch] = predictions

    def measure_all(
        self, data: StageData, scores: Tensor, epoch: int = 0, keep: Container[int] = (), constant: float | None = None
    ) -> None:
        """Generalised zero-shot classification, from scores of all classes.

        Args:
            scores: (n, s + u) for test_seen followed by test_unseen, columns as `data.classes`.
            epoch: the head epoch, and
            keep: those whose confusion matrix and curve are wanted.
            constant: to subtract from all seen scores for the "calibrated" measures.
        """
        seen_columns, unseen_columns = (
            torch.searchsorted(data.classes, classes) for classes in (data.seen_classes, data.unseen_classes)
        )
        # The curve reads columns, so classes become columns.
        positions = torch.searchsorted(data.classes, data.test_labels)
        predictions = data.classes[scores.argmax(dim=1)]
        curve = seen_unseen_curve(scores, positions, seen_columns, unseen_columns)
        self.note("gzsl", accuracies(data, predictions) | {"AUSUC": curve.area})
        if data.stage == "validation":
            self.note("gzsl", {"constant": curve.best_constant()})
        if constant is not None:
            shifted = scores.clone()
            shifted[:, seen_columns] -= constant
            self.note("calibrated", accuracies(data, data.classes[shifted.argmax(dim=1)]))
        if epoch in keep:
            self.kept["gzsl_confusion", epoch] = confusion_matrix(data.test_labels, predictions, data.classes)
            self.kept["curve", epoch] = curve.points
            self.kept["gzsl_predictions", epoch] = predictions


def accuracies(data: StageData, predictions: Tensor) -> dict[str, float]:
    """acc_seen, acc_unseen and H of predictions (n,) for test_seen followed by test_unseen."""
    return generalised_accuracies(data.test_labels, predictions, data.test_seen.classes, data.unseen_classes)
