"""The softmax head against direct computations; synthesis, transformation and evaluation."""

import numpy as np
import pytest
import torch

from zslab.data.xlsa17 import read_xlsa17
from zslab.metrics import harmonic_mean, mean_class_accuracy
from zslab.shared.heads import SoftmaxHead
from zslab.tfvaegan.evaluate import evaluate
from zslab.tfvaegan.networks import Networks
from zslab.tfvaegan.steps import generate
from zslab.tfvaegan.synthesis import synthesize, transform

from helpers.configs import tfvaegan


@pytest.fixture
def dataset(tiny):
    return read_xlsa17(tiny, "TINY", "res101", "att")


def networks() -> Networks:
    torch.manual_seed(0)
    return Networks.build(tfvaegan(ngh=8, ndh=8), 7, 5)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-11), (torch.float32, 1e-5)])
@pytest.mark.parametrize("n", [10, 3])  # a smaller batch at the end; fewer samples than a batch
def test_the_head_against_softmax_regression_written_out(n: int, dtype: torch.dtype, tolerance: float) -> None:
    """Two epochs of Adam on softmax cross-entropy, in NumPy, from the same start and in the same order."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((n, 4)), np.array([7, 2, 5, 2, 7, 5, 5, 2, 7, 7])[:n]
    head = SoftmaxHead(lr=0.05, epochs=2, batch_size=4).fit(
        torch.from_numpy(x).to(dtype), torch.from_numpy(y), torch.Generator().manual_seed(3)
    )
    generator = torch.Generator().manual_seed(3)
    w = (torch.randn(3, 4, generator=generator, dtype=dtype) * 0.02).double().numpy()
    b, classes = np.zeros(3), np.array([2, 5, 7])
    assert head.classes_.tolist() == classes.tolist()
    moments, step = {"w": [0, 0], "b": [0, 0]}, 0
    for _ in range(2):
        order = torch.randperm(n, generator=generator).numpy()
        for start in range(0, n, 4):
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
    assert np.allclose(head.weight_.numpy(), w, rtol=tolerance, atol=tolerance)
    assert np.allclose(head.bias_.numpy(), b, rtol=tolerance, atol=tolerance)
    scores = head.scores(torch.from_numpy(x).to(dtype)).numpy()
    assert np.allclose(scores, x @ w.T + b, rtol=10 * tolerance, atol=10 * tolerance)
    assert head.predict(torch.from_numpy(x).to(dtype)).tolist() == classes[scores.argmax(1)].tolist()


def test_synthesis_makes_n_of_every_class_with_the_feedback_of_synthesis() -> None:
    nets, attributes = networks(), torch.rand(9, 5)
    classes = torch.tensor([2, 7])
    made = synthesize(nets, attributes, classes, 3, 0.4, torch.Generator().manual_seed(5))
    assert made.labels.tolist() == [2, 2, 2, 7, 7, 7]
    z = torch.randn(6, 5, generator=torch.Generator().manual_seed(5))
    assert torch.equal(made.features, generate(nets, z, attributes[made.labels], 0.4))
    without = synthesize(nets, attributes, classes, 3, None, torch.Generator().manual_seed(5))
    assert torch.equal(without.features, generate(nets, z, attributes[made.labels], None))


def test_transformation_is_feature_attributes_hidden_layer() -> None:
    nets, x = networks(), torch.rand(10000, 7)
    a_hat, hidden = nets.decoder(x)
    found = transform(nets.decoder, x)
    assert found.shape == (10000, 7 + 5 + 8)
    assert torch.allclose(found, torch.cat([x, a_hat, hidden], dim=1), atol=1e-6)


@pytest.mark.parametrize("stage", ["test", "validation"])
def test_evaluation_records_what_its_heads_predict(dataset, stage) -> None:
    data = dataset.stage(stage)
    heads = [SoftmaxHead(lr=0.01, epochs=3, batch_size=8) for _ in range(2)]
    nets = networks()
    found = evaluate(nets, data, tfvaegan(syn_num=6), *heads, torch.Generator().manual_seed(0), keep=(2,), constant=0.05)
    record = found.metrics
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
    assert found.snapshots[2].arrays["zsl_confusion"].sum() == len(data.test_unseen)
    assert found.snapshots[2].arrays["gzsl_confusion"].sum() == len(data.test_unseen) + len(data.test_seen)
    assert torch.equal(found.snapshots[2].predictions["zsl"], heads[0].predict(x_unseen))
    assert torch.equal(found.snapshots[2].predictions["gzsl"], heads[1].predict(torch.cat([x_seen, x_unseen])))
    assert torch.equal(found.snapshots[2].heads["gzsl_head"]["weight"], heads[1].weight_)
    assert found.snapshots.keys() == {2}
    assert heads[1].classes_.tolist() == data.classes.tolist()
