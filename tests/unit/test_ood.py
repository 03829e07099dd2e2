"""The out-of-distribution gate: its numbers by hand, its thresholds, its routing, and how evaluation measures it."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from zslab.data.dataset import Samples, StageData
from zslab.metrics import margin_curve, roc_area
from zslab.protocol.evaluation import accuracies
from zslab.shared.gate import EntropyDetector, GatedClassifier, detector_loss, softmax_entropy
from zslab.shared.heads import SoftmaxHead
from zslab.tfvaegan.evaluate import evaluate
from zslab.tfvaegan.networks import Networks

from helpers.configs import actions


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def softmax(row) -> list[float]:
    exponentials = [math.exp(value) for value in row]
    return [value / sum(exponentials) for value in exponentials]


def naive_entropy(row) -> float:
    return -sum(p * math.log(p) for p in softmax(row))


def test_losses_against_naive_loops() -> None:
    seen, unseen = torch.randn(5, 4, generator=generator()), torch.randn(3, 4, generator=generator(1))
    targets = [0, 3, 1, 1, 2]
    entropies = [naive_entropy(row) for row in seen.tolist()]
    assert torch.allclose(softmax_entropy(seen), torch.tensor(entropies))
    cross_entropy = sum(-math.log(softmax(row)[target]) for row, target in zip(seen.tolist(), targets)) / 5
    expected = cross_entropy + sum(entropies) / 5 - sum(naive_entropy(row) for row in unseen.tolist()) / 3
    assert detector_loss(seen, torch.tensor(targets), unseen).item() == pytest.approx(expected, abs=1e-6)


def test_entropy_of_extreme_logits_is_finite() -> None:
    assert softmax_entropy(torch.tensor([[0.0, 1e4], [-1e4, 1e4], [3.0, 3.0]])).tolist() == pytest.approx(
        [0, 0, math.log(2)], abs=1e-6
    )


def test_thresholds_against_a_hand_computation() -> None:
    """With a learning rate of 0 the network stays as drawn, so the last epoch's entropies can be recomputed."""
    seen, unseen = torch.randn(256, 6, generator=generator(2)), torch.randn(40, 6, generator=generator(3))
    labels = torch.arange(256) % 3 + 4
    detector = EntropyDetector(lr=0.0, epochs=2, batch_size=64, hidden_dim=5).fit(seen, labels, unseen, generator(4))
    again, layers = generator(4), []
    for shape in ((5, 6), (5, 5), (3, 5)):
        layers.append(torch.empty(shape).normal_(std=0.02, generator=again).numpy().astype(np.float64))
    for _ in range(2):  # ⌈256 / 128⌉ = 2 batches of 64 an epoch: the first 128 of each permutation
        visited = torch.randperm(256, generator=again)[:128]
        torch.randperm(40, generator=again)
    h = np.maximum(seen[visited].numpy() @ layers[0].T, 0)
    logits = np.maximum(h @ layers[1].T, 0) @ layers[2].T
    total = sum(naive_entropy(row) for row in logits)
    assert detector.classes_.tolist() == [4, 5, 6]
    assert detector.training_threshold("mean") == pytest.approx(total / 128, rel=1e-6)
    assert detector.training_threshold("release") == pytest.approx(total / 256, rel=1e-6)
    assert detector.largest_entropy == pytest.approx(math.log(3))


@pytest.mark.parametrize("n", [2, 63, 64, 128, 129, 500])
def test_the_release_threshold_is_about_half_the_mean(n: int) -> None:
    x = torch.randn(n, 4, generator=generator())
    detector = EntropyDetector(epochs=1, batch_size=64, hidden_dim=3).fit(x, torch.arange(n) % 2, x[:1], generator())
    share = min(n, 64 * math.ceil(n / 128)) / n  # of the seen samples that an epoch visits; one half but for rounding up
    assert detector.training_threshold("release") == pytest.approx(share * detector.training_threshold("mean"))
    assert share == 0.5 or n % 128


def blobs(seed: int = 0):
    """Three seen and two unseen classes, far apart, 2-d: train, test and synthesized features with labels 0..4."""
    centers = torch.tensor([[0.0, 0], [6, 0], [0, 6], [6, 6], [3, -6]])
    g, parts = generator(seed), []
    for n in (60, 20):
        labels = torch.arange(5).repeat_interleave(n)
        parts.append((centers[labels] + torch.randn(len(labels), 2, generator=g) * 0.5, labels))
    return parts


def test_a_trained_gate_tells_the_sides_apart_and_classifies() -> None:
    (x, y), (x_test, y_test) = blobs()
    seen, seen_test = y < 3, y_test < 3
    detector = EntropyDetector(epochs=60, batch_size=32, hidden_dim=64).fit(x[seen], y[seen], x[~seen], generator())
    heads = [SoftmaxHead(lr=0.05, epochs=25, batch_size=30).fit(x[side], y[side], generator()) for side in (seen, ~seen)]
    gate = GatedClassifier(detector, *heads, rule="mean")
    gate.threshold_ = 0.5 * detector.largest_entropy
    entropy = detector.entropy(x_test)
    assert roc_area(entropy[~seen_test], entropy[seen_test]) > 0.95
    assert (gate.predict(x_test) == y_test).float().mean() > 0.9
    assert (gate.predict(x_test) == gate.predict(x_test, entropy)).all()


class Fixed:
    """A detector or head that reads its answer off a column of the features."""

    def __init__(self, column: int):
        self.column = column

    def entropy(self, x):
        return x[:, self.column]

    def predict(self, x):
        return x[:, self.column].long()


def routed_data() -> tuple[StageData, torch.Tensor, GatedClassifier]:
    """Two seen classes (0, 1), two unseen (2, 3); heads that are always right on their own side, and two of eight clips
    on the wrong side of the threshold 1: the second of class 0 and the first of class 3."""
    labels = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])
    entropy = torch.tensor([0.2, 1.5, 0.1, 0.9, 1.1, 2.0, 0.5, 1.0])
    seen_answer = torch.where(labels < 2, labels, 0)
    unseen_answer = torch.where(labels >= 2, labels, 2)
    x = torch.stack([entropy, seen_answer.float(), unseen_answer.float()], dim=1)
    data = StageData(
        "test",
        torch.eye(4),
        torch.tensor([0, 1]),
        torch.tensor([2, 3]),
        Samples(x[:4], labels[:4]),
        Samples(x[:4], labels[:4]),
        Samples(x[4:], labels[4:]),
    )
    gate = GatedClassifier(Fixed(0), Fixed(1), Fixed(2))
    gate.threshold_ = 1.0
    return data, x, gate


def test_a_misrouted_clip_is_wrong_on_both_sides() -> None:
    data, x, gate = routed_data()
    predictions = gate.predict(x)
    assert predictions.tolist() == [0, 2, 1, 1, 2, 2, 0, 3]  # an entropy of exactly the threshold is unseen
    found = accuracies(data, predictions)
    assert found["acc_seen"] == pytest.approx((1 / 2 + 1) / 2)
    assert found["acc_unseen"] == pytest.approx((1 + 1 / 2) / 2)
    assert found["H"] == pytest.approx(0.75)


def test_the_curve_holds_what_every_threshold_would_give() -> None:
    data, x, gate = routed_data()
    curve = margin_curve(-x[:, 0], x[:, 1].long(), x[:, 2].long(), data.test_labels, data.seen_classes, data.unseen_classes)
    points = {tuple(round(v, 6) for v in point) for point in curve.points.tolist()}
    for threshold in [*x[:, 0].tolist(), 0.0, 9.0]:
        gate.threshold_ = threshold
        found = accuracies(data, gate.predict(x))
        assert (round(found["acc_seen"], 6), round(found["acc_unseen"], 6)) in points
    gate.threshold_ = -curve.best_constant()
    best = max(2 * s * u / max(s + u, 1e-12) for s, u in curve.points.tolist())
    assert accuracies(data, gate.predict(x))["H"] == pytest.approx(best)


def test_the_roc_area_is_the_share_of_pairs_in_the_right_order() -> None:
    positive = torch.randint(0, 8, (40,), generator=generator()).float()  # with ties
    negative = torch.randint(0, 6, (30,), generator=generator(1)).float()
    pairs = [(p > n) + 0.5 * (p == n) for p in positive.tolist() for n in negative.tolist()]
    assert roc_area(positive, negative) == pytest.approx(sum(pairs) / len(pairs))
    assert roc_area(torch.ones(3), torch.zeros(2)) == 1 and roc_area(torch.ones(2), torch.ones(3)) == 0.5


def stage_data(stage: str) -> StageData:
    (x, y), (x_test, y_test) = blobs()
    low, high = x.min(), x.max()
    x, x_test = ((part - low) / (high - low) for part in (x, x_test))
    seen, seen_test = y < 3, y_test < 3
    attributes = torch.nn.functional.normalize(torch.randn(5, 3, generator=generator(7)), dim=1)
    return StageData(
        stage,
        attributes,
        torch.arange(3),
        torch.arange(3, 5),
        Samples(x[seen], y[seen]),
        Samples(x_test[seen_test], y_test[seen_test]),
        Samples(x_test[~seen_test], y_test[~seen_test]),
    )


def measure(data: StageData, gated: bool, rule: str = "release", constant: float | None = None):
    torch.manual_seed(0)
    config = actions(ngh=8, ndh=8, nz=None, syn_num=10)
    networks = Networks.build(config, 2, 3)
    zsl = SoftmaxHead(epochs=3, batch_size=20)
    other = SoftmaxHead(epochs=3, batch_size=20)
    gzsl = GatedClassifier(EntropyDetector(epochs=2, hidden_dim=6), other, zsl, rule) if gated else other
    return SimpleNamespace(
        gzsl=gzsl, found=evaluate(networks, data, config, zsl, gzsl, generator(5), keep={2}, constant=constant)
    )


def test_evaluation_with_a_gate_measures_what_its_prediction_says() -> None:
    data = stage_data("test")
    run = measure(data, gated=True)
    record, arrays = run.found.metrics, run.found.snapshots[2].arrays
    assert set(record) == {"zsl", "gzsl", "gate"}
    assert set(record["gzsl"]) == {"acc_seen", "acc_unseen", "H", "AUSUC"}
    assert all(len(values) == 3 for group in record.values() for values in group.values())
    entropies = arrays["gate_entropy_seen"], arrays["gate_entropy_unseen"]
    threshold = run.gzsl.detector.training_threshold("release")
    assert record["gate"]["threshold"] == [threshold] * 3
    assert arrays["gate_threshold"].item() == pytest.approx(threshold)
    assert record["gate"]["auroc"][-1] == pytest.approx(roc_area(entropies[1], entropies[0]))
    assert record["gate"]["seen_passed"][-1] == pytest.approx((entropies[0] < threshold).double().mean().item())
    assert record["gate"]["unseen_stopped"][-1] == pytest.approx((entropies[1] >= threshold).double().mean().item())
    confusion = arrays["gzsl_confusion"].double()
    recall = confusion.diag() / confusion.sum(1)
    assert record["gzsl"]["acc_seen"][-1] == pytest.approx(recall[:3].mean().item())
    assert record["gzsl"]["acc_unseen"][-1] == pytest.approx(recall[3:].mean().item())


def test_the_gate_leaves_t1_as_it_is_without() -> None:
    data = stage_data("test")
    assert measure(data, gated=True).found.metrics["zsl"] == measure(data, gated=False).found.metrics["zsl"]


def test_the_validated_threshold_goes_from_one_stage_to_the_other_as_a_share() -> None:
    validation = measure(stage_data("validation"), gated=True, rule="val")
    share = validation.found.metrics["gzsl"]["constant"][-1]
    largest = validation.gzsl.detector.largest_entropy
    assert validation.found.metrics["gate"]["threshold"][-1] == pytest.approx(share * largest)
    points = validation.found.snapshots[2].arrays["curve"]
    best = (2 * points.prod(1) / points.sum(1).clamp_min(1e-12)).max().item()
    assert validation.found.metrics["gzsl"]["H"][-1] == pytest.approx(best)
    test = measure(stage_data("test"), gated=True, rule="val", constant=0.25)
    assert test.gzsl.threshold_ == pytest.approx(0.25 * math.log(3))
    assert "constant" not in test.found.metrics["gzsl"]
    assert "constant" not in measure(stage_data("validation"), gated=True, rule="mean").found.metrics["gzsl"]
