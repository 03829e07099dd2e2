"""The baselines against their formulas written out, and the choice of everything on validation."""

import math
from copy import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from zslab.baselines import comparison
from zslab.baselines.base import Baseline
from zslab.baselines.class_normalization import ClassNormalizedMlp, attribute_network
from zslab.baselines.comparison import BASELINES, measure, run_baseline, run_baselines
from zslab.baselines.eszsl import Eszsl
from zslab.baselines.prototypes import PrototypeRegression
from zslab.data.dataset import Samples, StageData
from zslab.data.xlsa17 import read_xlsa17
from zslab.errors import InputError
from zslab.metrics import generalized_accuracies, harmonic_mean, mean_class_accuracy

UNTRAINED = {"class-normalized MLP": ClassNormalizedMlp(hidden_dim=8, batch_size=8)}


@pytest.fixture
def dataset(tiny):
    return read_xlsa17(tiny, "TINY", "res101", "att")


def widened(data: StageData, more: int) -> StageData:
    """The stage with `more` random dimensions, so that there are fewer samples than dimensions."""

    def wide(samples: Samples) -> Samples:
        padding = torch.rand(len(samples), more, generator=torch.Generator().manual_seed(len(samples)))
        return Samples(torch.cat([samples.features, padding], dim=1), samples.labels)

    return replace(data, train=wide(data.train), test_seen=wide(data.test_seen), test_unseen=wide(data.test_unseen))


def centered(data: StageData) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Training features minus the mean of the class means, that mean, and attributes minus the seen classes' mean."""
    x, labels, seen = data.train.features.double().numpy(), data.train.labels.numpy(), data.seen_classes.numpy()
    mean = np.mean([x[labels == k].mean(axis=0) for k in seen], axis=0)
    attributes = data.attributes.double().numpy()
    return x - mean, mean, attributes - attributes[seen].mean(axis=0)


def fitted(baseline: Baseline, data: StageData) -> Baseline:
    return baseline.fit(data.train.features, data.train.labels, data.attributes)


@pytest.mark.parametrize("center", [False, True], ids=["as published", "centered"])
@pytest.mark.parametrize("more", [0, 60], ids=["more samples than dimensions", "fewer"])
def test_eszsl_against_its_formula(dataset, more: int, center: bool) -> None:
    data = widened(dataset.stage("test"), more)
    x, mean, attributes = centered(data)
    if not center:
        x, mean, attributes = data.train.features.double().numpy(), 0.0, data.attributes.double().numpy()
    s = attributes[data.seen_classes]
    y = np.where(data.train.labels.numpy()[:, None] == data.seen_classes.numpy(), 1.0, -1.0)
    gamma, lambda_ = 0.3, 0.7
    left = np.linalg.inv(x.T @ x + gamma * np.eye(x.shape[1]))
    v = left @ x.T @ y @ s @ np.linalg.inv(s.T @ s + lambda_ * np.eye(s.shape[1]))
    model = fitted(Eszsl(gamma=gamma, lambda_=lambda_, center=center), data)
    expected = (data.test_unseen.features.double().numpy() - mean) @ v @ attributes.T
    assert np.allclose(model.scores(data.test_unseen.features).numpy(), expected, atol=1e-5)
    classes = data.unseen_classes
    assert (
        model.predict(data.test_unseen.features, classes).tolist() == classes.numpy()[expected[:, classes].argmax(1)].tolist()
    )


def test_prototype_regression_is_ridge_and_cosine(dataset) -> None:
    data = dataset.stage("test")
    x, mean, attributes = centered(data)
    labels, seen = data.train.labels.numpy(), data.seen_classes.numpy()
    means, s = np.stack([x[labels == k].mean(axis=0) for k in seen]), attributes[seen]
    prototypes = attributes @ np.linalg.inv(s.T @ s + 0.2 * np.eye(s.shape[1])) @ s.T @ means
    tests = data.test_seen.features.double().numpy() - mean
    cosines = (tests @ prototypes.T) / np.linalg.norm(tests, axis=1)[:, None] / np.linalg.norm(prototypes, axis=1)
    model = fitted(PrototypeRegression(lambda_=0.2), data)
    assert np.allclose(model.scores(data.test_seen.features).numpy(), cosines, atol=1e-5)


def test_the_class_normalized_network_standardizes_over_classes_and_keeps_the_variance() -> None:
    torch.manual_seed(0)
    network, attributes = attribute_network(20, 64, 400), torch.randn(30, 20)
    hidden = network[2](network[1](network[0](attributes)))
    standardized = (hidden - hidden.mean(0)) / hidden.var(0, unbiased=False).add(1e-5).sqrt()
    rectified = standardized.relu()
    again = (rectified - rectified.mean(0)) / rectified.var(0, unbiased=False).add(1e-5).sqrt()
    torch.testing.assert_close(network(attributes), network[6](again), atol=1e-5, rtol=1e-4)
    assert network(attributes).var().item() == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("center", [True, False])
def test_the_training_of_the_mlp_written_out(dataset, center: bool) -> None:
    """Adam on cross-entropy of scaled cosines, averaged weights, and prototypes with the seen classes' statistics."""
    data, settings = dataset.stage("test"), {"scale": 3.0, "steps": 5, "hidden_dim": 8, "lr": 0.01, "batch_size": 20, "seed": 3}
    model = fitted(ClassNormalizedMlp(**settings, center=center, rectify=not center), data)
    x, _, attributes = centered(data)
    if not center:
        x, attributes = data.train.features.numpy(), data.attributes.numpy()
    attributes = attributes / math.sqrt((attributes[data.seen_classes] ** 2).mean())
    x, attributes = torch.tensor(x, dtype=torch.float32), torch.tensor(attributes, dtype=torch.float32)
    torch.manual_seed(3)
    network = attribute_network(5, 8, 7, rectify=not center)
    mean = {name: value.clone() for name, value in network.named_parameters()}
    adam = torch.optim.Adam(network.parameters(), lr=0.01, weight_decay=1e-4)
    generator = torch.Generator().manual_seed(3)
    batches = [batch for _ in range(3) for batch in torch.randperm(len(x), generator=generator).split(20)][:5]
    for step, batch in enumerate(batches, start=1):
        cosines = torch.cosine_similarity(x[batch][:, None], network(attributes[data.seen_classes])[None], dim=2)
        chosen = torch.searchsorted(data.seen_classes, data.train.labels[batch])
        loss = -torch.log_softmax(9 * cosines, dim=1)[torch.arange(len(batch)), chosen].mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        kept = step / (step + 9)
        mean = {name: kept * mean[name] + (1 - kept) * value.detach() for name, value in network.named_parameters()}
    network.load_state_dict(mean, strict=False)
    network(attributes[data.seen_classes])
    prototypes = network.eval()(attributes)
    expected = 9 * prototypes / prototypes.norm(dim=1, keepdim=True).clamp_min(1e-12)
    torch.testing.assert_close(model.prototypes_, expected.detach(), atol=1e-3, rtol=1e-3)


def test_the_mlp_draws_nothing_from_the_global_generator(dataset) -> None:
    before = torch.get_rng_state()
    data = dataset.stage("test")
    first = fitted(UNTRAINED["class-normalized MLP"], data).prototypes_
    assert torch.get_rng_state().equal(before)
    assert fitted(UNTRAINED["class-normalized MLP"], data).prototypes_.equal(first)


@pytest.mark.parametrize("name", BASELINES)
def test_a_path_is_every_setting_fitted_alone(dataset, name: str) -> None:
    data, baseline = dataset.stage("test"), UNTRAINED.get(name, BASELINES[name])
    grid = [baseline.grid[i] for i in (-1, 0, len(baseline.grid) // 2)]
    for model, settings in zip(baseline.path(data.train.features, data.train.labels, data.attributes, grid), grid):
        alone = fitted(replace(baseline, **settings), data)
        torch.testing.assert_close(model.prototypes_, alone.prototypes_)


def test_measures_are_those_of_the_scores(dataset) -> None:
    """T1, the plain and the calibrated accuracies of two models, from all their scores at once."""
    data = dataset.stage("test")
    grid = [{"lambda_": 0.01}, {"lambda_": 10.0}]
    models = list(PrototypeRegression().path(data.train.features, data.train.labels, data.attributes, grid))
    features = torch.cat([data.test_seen.features, data.test_unseen.features])
    for model, measured in zip(models, measure(models, data)):
        scores = model.scores(features)
        predictions = model.predict(data.test_unseen.features, data.unseen_classes)
        assert measured.t1 == mean_class_accuracy(data.test_unseen.labels, predictions, data.unseen_classes)
        for constant in (0.0, 0.03):
            shifted = scores.clone()
            shifted[:, data.seen_classes] -= constant
            expected = generalized_accuracies(data.test_labels, shifted.argmax(1), data.seen_classes, data.unseen_classes)
            found = measured.generalized(constant)
            assert (found.acc_seen, found.acc_unseen) == pytest.approx((expected["acc_seen"], expected["acc_unseen"]))
            assert found.h == pytest.approx(harmonic_mean(expected["acc_seen"], expected["acc_unseen"]))


def test_everything_is_chosen_on_validation(dataset, monkeypatch) -> None:
    """The test set is measured once, with the settings that validation says; its labels change none of them."""
    validation, test = dataset.stage("validation"), dataset.stage("test")
    stages = []
    original = comparison.measure
    monkeypatch.setattr(
        comparison, "measure", lambda models, data: stages.append((data.stage, len(models))) or original(models, data)
    )
    result = run_baseline("ESZSL", Eszsl(), validation, test)
    assert stages == [("validation", len(Eszsl.grid)), ("test", 3)]
    unseen = test.test_unseen
    shuffled = replace(test, test_unseen=Samples(unseen.features, unseen.labels.flip(0)))
    other = run_baseline("ESZSL", Eszsl(), validation, shuffled)
    assert (other.settings, other.constant) == (result.settings, result.constant)

    best = {}
    for settings in Eszsl.grid:
        model = fitted(Eszsl(**settings), validation)
        predictions = model.predict(validation.test_unseen.features, validation.unseen_classes)
        t1 = mean_class_accuracy(validation.test_unseen.labels, predictions, validation.unseen_classes)
        best.setdefault(t1, settings)
    assert result.settings["T1"] == best[max(best)]
    final = fitted(Eszsl(**result.settings["T1"]), test)
    predictions = final.predict(unseen.features, test.unseen_classes)
    assert result.t1 == mean_class_accuracy(unseen.labels, predictions, test.unseen_classes)


def test_every_baseline_learns_the_tiny_set(dataset) -> None:
    results = run_baselines(dataset.stage("validation"), dataset.stage("test"))
    assert [result.name for result in results] == list(BASELINES)
    for result in results:
        assert result.t1 > 0.6, result.name  # chance is a third
        assert 0 <= result.calibrated.h <= 1 and 0 < result.curve.area <= 1
        assert set(result.settings) == {"T1", "H", "calibrated H"}
        assert "constant" in result.choices


def test_stages_without_what_is_measured_are_refused(dataset) -> None:
    validation, test = dataset.stage("validation"), dataset.stage("test")
    nothing = Samples(test.train.features[:0], test.train.labels[:0])
    for side in ("seen", "unseen"):
        with pytest.raises(InputError, match=f"must have test samples of {side} classes"):
            run_baseline("ESZSL", Eszsl(), validation, replace(test, **{f"test_{side}": nothing}))
    bare = replace(test, train=Samples(test.train.features[:, :0], test.train.labels))
    with pytest.raises(InputError, match="must have pooled features"):
        run_baseline("ESZSL", Eszsl(), validation, bare)


def test_a_stage_with_a_single_training_class_has_the_other_baselines(dataset) -> None:
    validation, test = dataset.stage("validation"), dataset.stage("test")
    kept = validation.train.labels == validation.seen_classes[0]
    train = Samples(validation.train.features[kept], validation.train.labels[kept])
    single = replace(validation, train=train, test_seen=train, seen_classes=validation.seen_classes[:1])
    names = [result.name for result in run_baselines(single, test)]
    assert names == [name for name in BASELINES if name != "class-normalized MLP"] and len(names) == 3


@pytest.mark.parametrize("name", BASELINES)
def test_a_class_that_training_did_not_know_gets_the_prototype_it_would_have_had(name: str) -> None:
    rng = torch.Generator().manual_seed(3)
    features, labels = torch.rand(60, 7, generator=rng), torch.arange(60) % 5
    attributes = torch.nn.functional.normalize(torch.rand(8, 4, generator=rng), dim=1)
    everything = copy(BASELINES[name]).fit(features, labels, attributes)
    without = copy(BASELINES[name]).fit(features, labels, attributes[:6])
    torch.testing.assert_close(without.prototypes(attributes[6:]), everything.prototypes_[6:], rtol=1e-6, atol=1e-6)
    assert torch.equal(without.prototypes(attributes[:6]), without.prototypes_)
