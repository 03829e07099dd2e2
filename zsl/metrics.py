"""Measures of (generalised) zero-shot classification, as pure functions of labels and predictions.

Top-1 accuracy averaged per class, the harmonic mean of seen and unseen accuracy, and the seen/unseen curve that
results when a constant is subtracted from every seen class's score (Chao et al., ECCV 2016). Xian et al., "Zero-Shot
Learning - A Comprehensive Evaluation", TPAMI 2018, define the first two. All accuracies are fractions in [0, 1].
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

ONE = 2.0**52  # an accuracy of 1 in the integers that a curve is summed in; a million of them are right to 1e-10


def per_class_accuracy(labels: Tensor, predictions: Tensor, classes: Tensor) -> Tensor:
    """Fraction of each class's samples that were given their own label.

    Args:
        labels: (n,) true class indices.
        predictions: (n,) predicted class indices.
        classes: (k,) the classes to report; each must occur in `labels`.

    Returns:
        (k,) float64 accuracies, in the order of `classes`.

    Raises:
        ValueError: a class of `classes` has no sample, so its accuracy is undefined.
    """
    size = int(torch.cat([labels, classes]).max()) + 1
    n_samples = torch.bincount(labels, minlength=size)[classes]
    n_correct = torch.bincount(labels[labels == predictions], minlength=size)[classes]
    if (n_samples == 0).any():
        empty = classes[n_samples == 0].tolist()
        raise ValueError(f"accuracy of classes {empty} is undefined: none of {len(labels)} samples belongs to them")
    return n_correct.double() / n_samples


def mean_class_accuracy(labels: Tensor, predictions: Tensor, classes: Tensor) -> float:
    """Per-class accuracy, averaged with equal weight for every class of `classes` (k,)."""
    return per_class_accuracy(labels, predictions, classes).mean().item()


def harmonic_mean(acc_seen: float, acc_unseen: float) -> float:
    """H = 2us / (u + s), and 0 when both accuracies are 0."""
    total = acc_seen + acc_unseen
    return 2 * acc_seen * acc_unseen / total if total > 0 else 0.0


def generalised_accuracies(
    labels: Tensor, predictions: Tensor, seen_classes: Tensor, unseen_classes: Tensor
) -> dict[str, float]:
    """acc_seen, acc_unseen and H when every class may be predicted; a class of the other side is as wrong as any other.

    Args:
        labels, predictions: (n,) true and predicted class indices of samples of both sides.
        seen_classes, unseen_classes: (s,) and (u,) the classes to average over; each must occur in `labels`.
    """
    acc_seen, acc_unseen = (mean_class_accuracy(labels, predictions, c) for c in (seen_classes, unseen_classes))
    return {"acc_seen": acc_seen, "acc_unseen": acc_unseen, "H": harmonic_mean(acc_seen, acc_unseen)}


def confusion_matrix(labels: Tensor, predictions: Tensor, classes: Tensor) -> Tensor:
    """Counts of (true, predicted) pairs.

    Args:
        labels: (n,) true class indices, all in `classes`.
        predictions: (n,) predicted class indices, all in `classes`.
        classes: (k,) sorted class indices.

    Returns:
        (k, k) int64; row: true class, column: predicted class, both in the order of `classes`.
    """
    k = len(classes)
    rows, columns = torch.searchsorted(classes, labels), torch.searchsorted(classes, predictions)
    return torch.bincount(rows * k + columns, minlength=k * k).view(k, k)


@dataclass(frozen=True)
class SeenUnseenCurve:
    """What happens to seen and unseen accuracy as a constant is subtracted from the seen scores.

    Attributes:
        constants: (p,) float64, ascending; point i holds for constants in [constants[i-1], constants[i]).
        acc_seen: (p,) seen accuracy, falling with the constant.
        acc_unseen: (p,) unseen accuracy, rising with the constant.
    """

    constants: Tensor
    acc_seen: Tensor
    acc_unseen: Tensor

    @property
    def points(self) -> Tensor:
        """(p, 2): seen and unseen accuracy, side by side."""
        return torch.stack([self.acc_seen, self.acc_unseen], dim=1)

    @property
    def area(self) -> float:
        """Area under the curve (AUSUC): unseen accuracy integrated over seen accuracy by the trapezoid rule."""
        return torch.trapezoid(self.acc_unseen.flip(0), self.acc_seen.flip(0)).item()

    def best_constant(self) -> float:
        """The constant with the highest harmonic mean; the middle of its interval, so that it carries over best."""
        total = (self.acc_seen + self.acc_unseen).clamp_min(1e-12)
        best = int((2 * self.acc_seen * self.acc_unseen / total).argmax())
        upper = self.constants[best].item()
        lower = self.constants[best - 1].item() if best > 0 else upper
        if upper == float("inf"):  # beyond the last sample every constant is as good as the last finite one
            upper = lower
        return (lower + upper) / 2


def seen_unseen_curve(scores: Tensor, labels: Tensor, seen_classes: Tensor, unseen_classes: Tensor) -> SeenUnseenCurve:
    """The exact curve: one point for every constant at which some sample changes sides.

    A sample is given its best unseen class as soon as the constant reaches its margin, the best seen score minus the
    best unseen score; until then it is given its best seen class.

    Args:
        scores: (n, C) a score for every class; only the columns of the two class lists are read.
        labels: (n,) true class indices. Classes without samples do not count.
        seen_classes: (s,) class indices.
        unseen_classes: (u,) class indices.

    Returns:
        The curve, from "everything seen" (constant below the smallest margin) to "everything unseen" (infinity).
    """
    def best(classes: Tensor) -> tuple[Tensor, Tensor]:
        """The highest score (n,) among some classes, and its class; in parts, for a copy of all columns may be large."""
        parts = [part[:, classes].max(dim=1) for part in scores.split(8192)]
        return torch.cat([part.values for part in parts]), classes[torch.cat([part.indices for part in parts])]

    (best_seen, if_seen), (best_unseen, if_unseen) = best(seen_classes), best(unseen_classes)
    margins = best_seen.double() - best_unseen.double()
    return margin_curve(margins, if_seen, if_unseen, labels, seen_classes, unseen_classes)


def margin_curve(
    margins: Tensor, if_seen: Tensor, if_unseen: Tensor, labels: Tensor, seen_classes: Tensor, unseen_classes: Tensor
) -> SeenUnseenCurve:
    """`seen_unseen_curve` of any classifier that first decides between the sides.

    Args:
        margins: (n,) the constant at which each sample goes over to the unseen side.
        if_seen, if_unseen: (n,) the class each sample is given on either side.
        labels: (n,) true class indices. Classes without samples do not count.
        seen_classes, unseen_classes: (s,) and (u,) class indices.
    """
    right_if_seen, right_if_unseen = if_seen == labels, if_unseen == labels
    margins, order = margins.double().sort()

    constants, n_at_point = margins.unique_consecutive(return_counts=True)
    last_at_point = n_at_point.cumsum(0) - 1
    _, inverse, n_of_label = labels.unique(return_inverse=True, return_counts=True)

    def accuracy(classes: Tensor, right: Tensor) -> Tensor:
        """What the samples up to each point add to the accuracy averaged over `classes`, (p,).

        Summed as integers: CUDA has no running sum of floats that gives the same digits every time.
        """
        member = torch.isin(labels, classes)
        n_classes = max(labels[member].unique().numel(), 1)
        parts = (member & right) * (ONE / n_of_label.double() / n_classes).round().long()[inverse]
        return parts[order].cumsum(0)[last_at_point].double() / ONE

    lost, won = accuracy(seen_classes, right_if_seen), accuracy(unseen_classes, right_if_unseen)
    zero = torch.zeros(1, dtype=torch.float64, device=margins.device)
    total = lost[-1].clone()
    return SeenUnseenCurve(
        # Below the smallest margin nobody has changed sides yet, hence the zero in front.
        constants=torch.cat([constants, zero + float("inf")]),
        acc_seen=total - torch.cat([zero, lost]),
        acc_unseen=torch.cat([zero, won]),
    )


def roc_curve(positive: Tensor, negative: Tensor) -> Tensor:
    """The receiver operating characteristic of "the score is above a threshold", at every threshold that matters.

    Args:
        positive, negative: (p,) and (n,) scores of the samples that should and should not be above.

    Returns:
        (k, 2) float64, ascending from (0, 0) to (1, 1): the share of negative, then of positive samples above.
    """
    scores, point = torch.cat([positive, negative]).neg().unique(return_inverse=True)
    is_positive = torch.arange(len(point), device=point.device) < len(positive)
    columns = [
        torch.bincount(point[of_kind], minlength=len(scores)).cumsum(0).double() / of_kind.sum()
        for of_kind in (~is_positive, is_positive)
    ]
    curve = torch.stack(columns, dim=1)
    return torch.cat([curve.new_zeros(1, 2), curve])


def roc_area(positive: Tensor, negative: Tensor) -> float:
    """Area under `roc_curve`: the chance that a positive sample scores above a negative one, ties counting half."""
    curve = roc_curve(positive, negative)
    return torch.trapezoid(curve[:, 1], curve[:, 0]).item()
