"""Measures of (generalized) zero-shot classification, as pure functions of labels and predictions.

Top-1 accuracy averaged per class and the harmonic mean of seen and unseen accuracy are defined by Xian et al.,
"Zero-Shot Learning - A Comprehensive Evaluation", TPAMI 2018. The seen/unseen curve, which results when a constant is
subtracted from every seen class's score, is due to Chao et al., ECCV 2016. All accuracies are fractions in [0, 1].

Every function takes tensors or NumPy arrays; given arrays, it returns arrays where it would return tensors.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

ONE = 2.0**52  # the integer that stands for an accuracy of 1 where a curve is summed; a million terms err by 1e-10


F = TypeVar("F", bound=Callable[..., Any])


def takes_arrays(function: F) -> F:
    """Let a function of tensors take NumPy arrays too, and return arrays where it was given some."""

    @wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        given = [isinstance(value, np.ndarray) for value in (*arguments, *named.values())]
        if not any(given):
            return function(*arguments, **named)
        result = function(*map(as_tensor, arguments), **{name: as_tensor(value) for name, value in named.items()})
        return result.numpy() if isinstance(result, Tensor) else result

    return call  # type: ignore[return-value]


def as_tensor(value: Any) -> Any:
    """Return an array as a tensor, whole numbers as int64; anything else as it is."""
    if not isinstance(value, np.ndarray):
        return value
    return torch.from_numpy(np.ascontiguousarray(value.astype(np.int64) if value.dtype.kind in "iu" else value))


@takes_arrays
def per_class_accuracy(labels: Tensor, predictions: Tensor, classes: Tensor) -> Tensor:
    """Return the fraction of each class's samples that were predicted correctly.

    Args:
        labels: (n,) true class indices.
        predictions: (n,) predicted class indices.
        classes: (k,) the classes to report; each must occur in `labels`.

    Returns:
        (k,) float64 accuracies, in the order of `classes`.

    Raises:
        ValueError: a class of `classes` has no sample, so its accuracy is undefined.

    Examples:
        >>> labels, predictions = torch.tensor([0, 0, 0, 5]), torch.tensor([0, 0, 5, 5])
        >>> per_class_accuracy(labels, predictions, torch.tensor([0, 5])).tolist()
        [0.6666666666666666, 1.0]
    """
    size = int(torch.cat([labels, classes]).max()) + 1
    n_samples = torch.bincount(labels, minlength=size)[classes]
    n_correct = torch.bincount(labels[labels == predictions], minlength=size)[classes]
    if (n_samples == 0).any():
        empty = classes[n_samples == 0].tolist()
        raise ValueError(f"accuracy of classes {empty} is undefined: none of {len(labels)} samples belongs to them")
    return n_correct.double() / n_samples


@takes_arrays
def mean_class_accuracy(labels: Tensor, predictions: Tensor, classes: Tensor) -> float:
    """Return the mean of `per_class_accuracy` over `classes` (k,), every class with the same weight.

    Examples:
        >>> mean_class_accuracy(torch.tensor([3, 3, 3, 5]), torch.tensor([3, 3, 3, 3]), torch.tensor([3, 5]))
        0.5
    """
    return per_class_accuracy(labels, predictions, classes).mean().item()


def harmonic_mean(acc_seen: float, acc_unseen: float) -> float:
    """Return H = 2us / (u + s), or 0 when both accuracies are 0.

    Examples:
        >>> harmonic_mean(0.75, 0.25)
        0.375
    """
    total = acc_seen + acc_unseen
    return 2 * acc_seen * acc_unseen / total if total > 0 else 0.0


@takes_arrays
def generalized_accuracies(
    labels: Tensor, predictions: Tensor, seen_classes: Tensor, unseen_classes: Tensor
) -> dict[str, float]:
    """Return the accuracies of generalized zero-shot classification, where every class may be predicted.

    Args:
        labels: (n,) true class indices, of seen and unseen classes.
        predictions: (n,) predicted class indices.
        seen_classes: (s,) the classes to average over; each must occur in `labels`.
        unseen_classes: (u,) likewise.

    Returns:
        "acc_seen", "acc_unseen" and "H".

    Examples:
        >>> labels, predictions = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 0, 1, 0])
        >>> generalized_accuracies(labels, predictions, torch.tensor([0]), torch.tensor([1]))
        {'acc_seen': 1.0, 'acc_unseen': 0.5, 'H': 0.6666666666666666}
    """
    acc_seen, acc_unseen = (mean_class_accuracy(labels, predictions, c) for c in (seen_classes, unseen_classes))
    return {"acc_seen": acc_seen, "acc_unseen": acc_unseen, "H": harmonic_mean(acc_seen, acc_unseen)}


@takes_arrays
def confusion_matrix(labels: Tensor, predictions: Tensor, classes: Tensor) -> Tensor:
    """Count the pairs of true and predicted class.

    Args:
        labels: (n,) true class indices, all in `classes`.
        predictions: (n,) predicted class indices, all in `classes`.
        classes: (k,) sorted class indices.

    Returns:
        (k, k) int64; rows are true classes, columns predicted ones, both in the order of `classes`.

    Examples:
        >>> confusion_matrix(torch.tensor([2, 2, 7]), torch.tensor([2, 7, 7]), torch.tensor([2, 7])).tolist()
        [[1, 1], [0, 1]]
    """
    k = len(classes)
    rows, columns = torch.searchsorted(classes, labels), torch.searchsorted(classes, predictions)
    return torch.bincount(rows * k + columns, minlength=k * k).view(k, k)


@dataclass(frozen=True)
class SeenUnseenCurve:
    """Seen and unseen accuracy as functions of the constant that is subtracted from the seen scores."""

    constants: Tensor  #: (p,) float64, ascending; point i holds for constants in [constants[i-1], constants[i])
    acc_seen: Tensor  #: (p,) seen accuracy, falling with the constant
    acc_unseen: Tensor  #: (p,) unseen accuracy, rising with the constant

    @property
    def points(self) -> Tensor:
        """The curve's points (p, 2): seen and unseen accuracy."""
        return torch.stack([self.acc_seen, self.acc_unseen], dim=1)

    @property
    def area(self) -> float:
        """Area under the curve (AUSUC): unseen accuracy integrated over seen accuracy by the trapezoid rule."""
        return torch.trapezoid(self.acc_unseen.flip(0), self.acc_seen.flip(0)).item()

    @property
    def h(self) -> Tensor:
        """The harmonic mean of seen and unseen accuracy at each point, (p,)."""
        return 2 * self.acc_seen * self.acc_unseen / (self.acc_seen + self.acc_unseen).clamp_min(1e-12)

    def places(self, constants: Tensor) -> Tensor:
        """Return the point (n,) that holds where each of `constants` (n,) is subtracted from all seen scores."""
        return torch.searchsorted(self.constants, constants, right=True).clamp_max(len(self.constants) - 1)

    def at(self, constant: float) -> tuple[float, float]:
        """Return seen and unseen accuracy with `constant` subtracted from all seen scores."""
        place = int(self.places(torch.tensor([constant], dtype=self.constants.dtype, device=self.constants.device)))
        return self.acc_seen[place].item(), self.acc_unseen[place].item()

    def best_constant(self) -> float:
        """Return the constant with the highest harmonic mean.

        Every constant of an interval is equally good; its middle is returned, since it transfers best to other data.
        """
        best = int(self.h.argmax())
        upper = self.constants[best].item()
        lower = self.constants[best - 1].item() if best > 0 else upper
        if upper == float("inf"):  # above the largest margin every constant is as good as the last finite one
            upper = lower
        return (lower + upper) / 2


@takes_arrays
def seen_unseen_curve(scores: Tensor, labels: Tensor, seen_classes: Tensor, unseen_classes: Tensor) -> SeenUnseenCurve:
    """Return the exact seen/unseen curve, with one point for every constant at which some prediction changes sides.

    A sample's margin is its best seen score minus its best unseen score. The prediction is the best seen class while the
    constant is below the margin, and the best unseen class from there on.

    Args:
        scores: (n, C) a score for every class; only the columns of the two class lists are read.
        labels: (n,) true class indices. Classes without samples do not count.
        seen_classes: (s,) class indices.
        unseen_classes: (u,) class indices.

    Returns:
        The curve, from "all predictions seen" (constant below the smallest margin) to "all unseen" (infinity).

    Examples:
        >>> scores = torch.tensor([[0.9, 0.1], [0.6, 0.5]])  # columns: a seen and an unseen class
        >>> curve = seen_unseen_curve(scores, torch.tensor([0, 1]), torch.tensor([0]), torch.tensor([1]))
        >>> curve.points.tolist()
        [[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]
        >>> curve.area
        1.0
    """

    def best(classes: Tensor) -> tuple[Tensor, Tensor]:
        """Return the highest score (n,) among some classes, and its class; in parts, to limit the copied columns."""
        parts = [part[:, classes].max(dim=1) for part in scores.split(8192)]
        return torch.cat([part.values for part in parts]), classes[torch.cat([part.indices for part in parts])]

    (best_seen, if_seen), (best_unseen, if_unseen) = best(seen_classes), best(unseen_classes)
    margins = best_seen.double() - best_unseen.double()
    return margin_curve(margins, if_seen, if_unseen, labels, seen_classes, unseen_classes)


@takes_arrays
def margin_curve(
    margins: Tensor, if_seen: Tensor, if_unseen: Tensor, labels: Tensor, seen_classes: Tensor, unseen_classes: Tensor
) -> SeenUnseenCurve:
    """Return the `seen_unseen_curve` of any classifier that first decides between seen and unseen.

    Args:
        margins: (n,) the constant from which each sample counts as unseen.
        if_seen: (n,) the class predicted for each sample while it counts as seen.
        if_unseen: (n,) the class predicted for it when it counts as unseen.
        labels: (n,) true class indices. Classes without samples do not count.
        seen_classes: (s,) class indices.
        unseen_classes: (u,) class indices.
    """
    correct_if_seen, correct_if_unseen = if_seen == labels, if_unseen == labels
    margins, order = margins.double().sort()

    constants, n_at_point = margins.unique_consecutive(return_counts=True)
    last_at_point = n_at_point.cumsum(0) - 1
    _, inverse, n_of_label = labels.unique(return_inverse=True, return_counts=True)

    def accuracy(classes: Tensor, correct: Tensor) -> Tensor:
        """Return what the samples up to each point add to the accuracy averaged over `classes`, (p,).

        The sum is one of integers, because CUDA's running sum of floats is not deterministic.
        """
        member = torch.isin(labels, classes)
        n_classes = max(labels[member].unique().numel(), 1)
        parts = (member & correct) * (ONE / n_of_label.double() / n_classes).round().long()[inverse]
        total: Tensor = parts[order].cumsum(0)[last_at_point].double() / ONE
        return total

    lost, won = accuracy(seen_classes, correct_if_seen), accuracy(unseen_classes, correct_if_unseen)
    zero = torch.zeros(1, dtype=torch.float64, device=margins.device)
    total = lost[-1].clone()
    return SeenUnseenCurve(
        # Below the smallest margin no sample counts as unseen yet, hence the leading zero.
        constants=torch.cat([constants, zero + float("inf")]),
        acc_seen=total - torch.cat([zero, lost]),
        acc_unseen=torch.cat([zero, won]),
    )


@takes_arrays
def roc_area(positive: Tensor, negative: Tensor) -> float:
    """Return the area under the ROC curve: the chance that a positive sample scores above a negative one.

    Args:
        positive: (p,) scores of the samples that should score high.
        negative: (n,) scores of the others.

    Returns:
        The area in [0, 1]; ties count half.

    Examples:
        >>> roc_area(torch.tensor([0.9, 0.5]), torch.tensor([0.5, 0.1]))
        0.875
    """
    from sklearn.metrics import roc_auc_score  # slow to import, and only the gate needs it

    scores, is_positive = torch.cat([positive, negative]), torch.arange(len(positive) + len(negative)) < len(positive)
    return float(roc_auc_score(is_positive.numpy(), scores.cpu().numpy()))
