"""The softmax head and ESZSL against direct computations; synthesis, transformation and evaluation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from zsl import eszsl as eszsl_module
from zsl.classifiers import SoftmaxHead
from zsl.data.xlsa17 import read_xlsa17
from zsl.eszsl import EszslPath, eszsl, evaluate_scores
from zsl.metrics import harmonic_mean, mean_class_accuracy
from zsl.tfvaegan.classification import evaluate, synthesise, transform
from zsl.tfvaegan.networks import Critic, Encoder, Feedback, Generator, Networks, SemanticDecoder
from zsl.tfvaegan.steps import Settings, generate


@pytest.fixture
def dataset(tiny):
    return read_xlsa17(tiny, "TINY", "res101", "att")


def networks(feature_dim: int = 7, attribute_dim: int = 5, hidden: int = 8) -> Networks:
    torch.manual_seed(0)
    d, a, h = feature_dim, attribute_dim, hidden
    return Networks(
        Encoder(d, a, a, h), Generator(a, a, d, h), Critic(d, a, h), Feedback(h), SemanticDecoder(d, a, h, "unit_norm")
    )


def test_the_head_against_softmax_regression_written_out() -> None:
    """Two epochs of Adam on softmax cross-entropy, in NumPy, from the same start and in the same order."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((10, 4)).astype(np.float32), np.array([7, 2, 5, 2, 7, 5, 5, 2, 7, 7])
    head = SoftmaxHead(lr=0.05, epochs=2, batch_size=4).fit(
        torch.from_numpy(x), torch.from_numpy(y), torch.Generator().manual_seed(3)
    )
    generator = torch.Generator().manual_seed(3)
    w = (torch.randn(3, 4, generator=generator) * 0.02).numpy().astype(np.float64)
    b, classes = np.zeros(3), np.array([2, 5, 7])
    assert head.classes_.tolist() == classes.tolist()
    moments, step = {"w": [0, 0], "b": [0, 0]}, 0
    for _ in range(2):
        order = torch.randperm(10, generator=generator).numpy()
        for start in range(0, 10, 4):
            rows = order[start : start + 4]
            logits = x[rows] @ w.T + b
            p = np.exp(logits - logits.max(1, keepdims=True))
            p /= p.sum(1, keepdims=True)
            error = (p - (y[rows][:, None] == classes)) / len(rows)
            step += 1
            for name, gradient in (("w", error.T @ x[rows]), ("b", error.sum(0))):
                m, v = moments[name]
                moments[name] = m, v = [0.5 * m + 0.5 * gradient, 0.999 * v + 0.001 * gradient**2]
                change = 0.05 * (m / (1 - 0.5**step)) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8)
                if name == "w":
                    w = w - change
                else:
                    b = b - change
    assert np.allclose(head.weight_.numpy(), w, atol=1e-5)
    assert np.allclose(head.bias_.numpy(), b, atol=1e-5)
    scores = head.scores(torch.from_numpy(x)).numpy()
    assert np.allclose(scores, x @ w.T + b, atol=1e-4)
    assert head.predict(torch.from_numpy(x)).tolist() == classes[scores.argmax(1)].tolist()


@pytest.mark.parametrize("samples", ["more than dims", "fewer than dims"])
def test_eszsl_against_its_formula(dataset, samples: str) -> None:
    data = dataset.stage("test")
    if samples == "fewer than dims":
        padding = torch.rand(len(data.train), 60)
        wide = torch.cat([data.train.features, padding], dim=1)
        tests = torch.cat([data.test_seen.features, torch.rand(len(data.test_seen), 60)], dim=1)
        unseen = torch.cat([data.test_unseen.features, torch.rand(len(data.test_unseen), 60)], dim=1)
        replaced = {"train": wide, "test_seen": tests, "test_unseen": unseen}
        data = type(data)(**{
            name: type(value)(replaced[name], value.labels) if name in replaced else value
            for name, value in vars(data).items()
        })
    x, s = data.train.features.double(), data.attributes[data.seen_classes].double()
    y = torch.where(data.train.labels[:, None] == data.seen_classes, 1.0, -1.0).double()
    gamma, lambda_ = 0.3, 0.7
    eye = torch.eye
    expected = (
        torch.linalg.inv(x.T @ x + gamma * eye(x.shape[1])) @ x.T @ y @ s @ torch.linalg.inv(s.T @ s + lambda_ * eye(5))
    )
    path = EszslPath(data)
    assert torch.allclose(path.weights(gamma, lambda_), expected, atol=1e-8)
    features = torch.cat([data.test_seen.features, data.test_unseen.features]).double()
    assert torch.allclose(path.scores(gamma, lambda_), features @ expected @ data.attributes.double().T, atol=1e-8)


def test_eszsl_chooses_on_validation_and_never_looks_at_the_test_set(dataset, monkeypatch) -> None:
    validation, test = dataset.stage("validation"), dataset.stage("test")
    looked_at = []
    original = eszsl_module.evaluate_scores

    def spy(scores, data, constant=0.0):
        looked_at.append(data.stage)
        return original(scores, data, constant)

    monkeypatch.setattr(eszsl_module, "evaluate_scores", spy)
    result = eszsl(validation, test)
    assert looked_at.count("test") == 3  # T1, the plain and the calibrated row: once each
    assert looked_at[-3:] == ["test"] * 3
    assert 0 <= result.plain["H"] <= 1


def test_evaluate_scores_by_hand(dataset) -> None:
    data = dataset.stage("test")
    labels = torch.cat([data.test_seen.labels, data.test_unseen.labels])
    scores = torch.zeros(len(labels), 9)
    scores[torch.arange(len(labels)), labels] = 1.0
    scores[len(data.test_seen) :, 0] = 2.0  # every unseen sample is drawn to seen class 0
    found = evaluate_scores(scores, data)
    assert (found["T1"], found["acc_seen"], found["acc_unseen"], found["H"]) == (1.0, 1.0, 0.0, 0.0)
    found = evaluate_scores(scores, data, constant=1.5)
    assert (found["acc_seen"], found["acc_unseen"]) == (0.0, 1.0)  # 1 − 1.5 < 0 and 2 − 1.5 < 1


def test_synthesis_makes_n_of_every_class_with_the_feedback_of_synthesis() -> None:
    nets, attributes = networks(), torch.rand(9, 5)
    settings = Settings(n_synthetic=3, feedback_synthesis=0.4)
    made = synthesise(nets, attributes, torch.tensor([2, 7]), settings, torch.Generator().manual_seed(5))
    assert made.labels.tolist() == [2, 2, 2, 7, 7, 7]
    z = torch.randn(6, 5, generator=torch.Generator().manual_seed(5))
    assert torch.equal(made.features, generate(nets, z, attributes[made.labels], 0.4))
    without = synthesise(nets, attributes, torch.tensor([2, 7]), Settings(n_synthetic=3, feedback_loop=1),
                         torch.Generator().manual_seed(5))
    assert torch.equal(without.features, generate(nets, z, attributes[made.labels], None))


def test_transformation_is_feature_attributes_hidden_layer() -> None:
    nets, x = networks(), torch.rand(10000, 7)
    a_hat, hidden = nets.decoder(x)
    found = transform(nets.decoder, x)
    assert found.shape == (10000, 7 + 5 + 8)
    assert torch.allclose(found, torch.cat([x, a_hat, hidden], dim=1), atol=1e-6)


@pytest.mark.parametrize("stage", ["test", "validation"])
def test_evaluation_records_what_its_heads_predict(dataset, stage) -> None:
    data, settings = dataset.stage(stage), Settings(n_synthetic=6)
    heads = [SoftmaxHead(lr=0.01, epochs=3, batch_size=8) for _ in range(2)]
    nets = networks()
    found = evaluate(nets, data, settings, *heads, torch.Generator().manual_seed(0), keep=(2,), constant=0.05)
    record = found.record
    assert {len(values) for group in record.values() for values in group.values()} == {3}
    assert ("constant" in record["gzsl"]) == (stage == "validation")
    # The heads still are as their last epoch left them.
    x_unseen, x_seen = (transform(nets.decoder, s.features) for s in (data.test_unseen, data.test_seen))
    t1 = mean_class_accuracy(data.test_unseen.labels, heads[0].predict(x_unseen), data.unseen_classes)
    assert record["zsl"]["acc"][-1] == t1
    s = mean_class_accuracy(data.test_seen.labels, heads[1].predict(x_seen), data.test_seen.classes)
    u = mean_class_accuracy(data.test_unseen.labels, heads[1].predict(x_unseen), data.unseen_classes)
    assert (record["gzsl"]["acc_seen"][-1], record["gzsl"]["acc_unseen"][-1]) == (s, u)
    assert record["gzsl"]["H"][-1] == harmonic_mean(s, u)
    assert record["calibrated"]["acc_unseen"][-1] >= u
    assert found.kept["zsl_confusion", 2].sum() == len(data.test_unseen)
    assert found.kept["gzsl_confusion", 2].sum() == len(data.test_unseen) + len(data.test_seen)
    assert torch.equal(found.kept["zsl_predictions", 2], heads[0].predict(x_unseen))
    assert torch.equal(found.kept["gzsl_predictions", 2], heads[1].predict(torch.cat([x_seen, x_unseen])))
    assert torch.equal(found.kept["gzsl_head.weight", 2], heads[1].weight_)
    assert {epoch for _, epoch in found.kept} == {2}
    assert heads[1].classes_.tolist() == data.classes.tolist()
