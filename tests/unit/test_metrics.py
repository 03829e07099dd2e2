"""Metrics against counts made by hand and by naive loops."""

import numpy as np
import pytest
import torch

from zslab.metrics import (
    confusion_matrix,
    generalized_accuracies,
    harmonic_mean,
    mean_class_accuracy,
    per_class_accuracy,
    seen_unseen_curve,
)


def test_every_class_counts_the_same_whatever_its_size() -> None:
    labels = torch.tensor([3, 3, 3, 3, 5])
    predictions = torch.tensor([3, 3, 3, 5, 3])
    classes = torch.tensor([3, 5])
    assert per_class_accuracy(labels, predictions, classes).tolist() == [0.75, 0.0]
    assert mean_class_accuracy(labels, predictions, classes) == 0.375  # by samples it would be 0.6


def test_a_class_without_samples_has_no_accuracy() -> None:
    with pytest.raises(ValueError, match=r"\[7\] is undefined"):
        per_class_accuracy(torch.tensor([3]), torch.tensor([3]), torch.tensor([3, 7]))


def test_harmonic_mean_by_hand() -> None:
    assert harmonic_mean(0.6, 0.3) == pytest.approx(0.4)
    assert harmonic_mean(0.0, 0.9) == 0.0
    assert harmonic_mean(0.0, 0.0) == 0.0


def test_generalized_accuracies_by_hand() -> None:
    # Seen 0 (one of two right), seen 1 (right), unseen 5 (one of four right: two went to the seen side).
    labels = torch.tensor([0, 0, 1, 5, 5, 5, 5])
    predictions = torch.tensor([0, 5, 1, 5, 0, 1, 6])
    found = generalized_accuracies(labels, predictions, torch.tensor([0, 1]), torch.tensor([5]))
    assert found == {"acc_seen": 0.75, "acc_unseen": 0.25, "H": pytest.approx(0.375)}


def test_confusion_matrix_by_hand() -> None:
    labels, predictions = torch.tensor([2, 2, 4, 9, 9, 9]), torch.tensor([2, 4, 4, 9, 2, 9])
    assert confusion_matrix(labels, predictions, torch.tensor([2, 4, 9])).tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 2]]


def test_the_curve_by_hand() -> None:
    # Classes 0, 1 seen and 2 unseen. Margins (best seen - unseen): 3, 1, 2, and sample 1 is the wrong seen class.
    scores = torch.tensor([[5.0, 0, 2], [1, 3, 2], [4, 0, 2]])
    labels = torch.tensor([0, 0, 2])
    curve = seen_unseen_curve(scores, labels, torch.tensor([0, 1]), torch.tensor([2]))
    assert curve.constants.tolist() == [1, 2, 3, float("inf")]
    assert curve.acc_seen.tolist() == [0.5, 0.5, 0.5, 0.0]
    assert curve.acc_unseen.tolist() == [0.0, 0.0, 1.0, 1.0]
    assert curve.best_constant() == 2.5  # anything in (2, 3] is best
    assert curve.area == 0.5


@pytest.mark.parametrize("seed", range(3))
def test_the_curve_equals_trying_every_constant(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = torch.from_numpy(rng.integers(0, 6, (40, 7)).astype(np.float32))  # whole numbers: many ties
    seen, unseen = torch.tensor([0, 2, 3, 6]), torch.tensor([1, 4, 5])
    labels = torch.from_numpy(rng.integers(0, 7, 40))
    curve = seen_unseen_curve(scores, labels, seen, unseen)
    upper = curve.constants[:-1]
    for i, constant in enumerate([*(upper - 0.25).tolist(), 100.0]):  # a constant inside each point's interval
        expected = {}
        for name, classes in (("seen", seen), ("unseen", unseen)):
            accuracies = []
            for label in classes.tolist():
                right = [_decide(row, seen, unseen, constant) == label for row in scores[labels == label]]
                if right:
                    accuracies.append(np.mean(right))
            expected[name] = np.mean(accuracies)
        assert curve.acc_seen[i].item() == pytest.approx(expected["seen"], rel=0, abs=1e-14)
        assert curve.acc_unseen[i].item() == pytest.approx(expected["unseen"], rel=0, abs=1e-14)
    h = [harmonic_mean(s, u) for s, u in zip(curve.acc_seen.tolist(), curve.acc_unseen.tolist())]
    at_best = [_decide(row, seen, unseen, curve.best_constant()) for row in scores]
    achieved = harmonic_mean(
        *(
            np.mean(
                [
                    np.mean([p == c for p, y in zip(at_best, labels.tolist()) if y == c])
                    for c in classes.tolist()
                    if c in labels.tolist()
                ]
            )
            for classes in (seen, unseen)
        )
    )
    assert achieved == pytest.approx(max(h))


def _decide(row: torch.Tensor, seen: torch.Tensor, unseen: torch.Tensor, constant: float) -> int:
    """The generalized decision with the first best class on either side."""
    s, u = seen[row[seen].argmax()], unseen[row[unseen].argmax()]
    return int(s if row[s] - constant > row[u] else u)
