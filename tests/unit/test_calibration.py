"""Offset, temperature and calibration error against their definitions, and the choice among candidates."""

import numpy as np
import pytest
import torch

from zslab.app.calibration import HeldOutScores, best_offset, calibrate, fit_familiarity, fit_temperature, likeness, reliability
from zslab.app.candidates import Candidate, best_candidate, choose_settings, measure_baseline
from zslab.baselines.comparison import BASELINES, Measured
from zslab.data.xlsa17 import read_xlsa17
from zslab.metrics import harmonic_mean, seen_unseen_curve
from zslab.protocol.held_out import held_out_draws


@pytest.fixture
def draws(tiny):
    return [draw.stage("test") for draw in held_out_draws(read_xlsa17(tiny, "TINY", "res101", "att"))]


def curve(seed: int):
    scores = torch.randn(30, 6, generator=torch.Generator().manual_seed(seed)) + torch.tensor([1.0, 1, 1, 1, 0, 0])
    return seen_unseen_curve(scores, torch.arange(30) % 6, torch.arange(4), torch.tensor([4, 5]))


def test_the_offset_has_the_highest_mean_h() -> None:
    curves = [curve(seed) for seed in range(3)]

    def mean_h(offset: float) -> float:
        return float(np.mean([harmonic_mean(*each.at(offset)) for each in curves]))

    assert mean_h(best_offset(curves)) == pytest.approx(max(mean_h(offset) for offset in np.linspace(-6, 6, 5001)))


def drawn(temperature: float, seed: int = 0, n: int = 4000) -> HeldOutScores:
    """Scores whose softmax at a temperature is exactly how probable the labels are."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(n, 5, generator=generator)
    labels = torch.multinomial(logits.softmax(dim=1), 1, generator=generator).flatten()
    scores = logits * temperature
    scores[:, :3] += 0.7
    return HeldOutScores(scores, labels, torch.arange(5) < 3, 0.7)


@pytest.mark.parametrize("temperature", [0.01, 1.0, 30.0])
def test_the_temperature_of_the_labels_is_found(temperature: float) -> None:
    assert fit_temperature([drawn(temperature)]) == pytest.approx(temperature, rel=0.05)


def test_calibration_repairs_probabilities() -> None:
    calibration = calibrate([drawn(0.05, seed) for seed in range(3)], 0.7)
    assert calibration.offset == 0.7 and calibration.temperature == pytest.approx(0.05, rel=0.05)
    assert calibration.before.error > 0.2 and calibration.after.error < 0.02


def test_reliability_by_hand() -> None:
    probabilities = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.65, 0.35], [0.25, 0.75]])
    measured = reliability(probabilities, torch.tensor([0, 1, 0, 1]), n_bins=10)
    assert [(round(c, 4), a, n) for c, a, n in measured.bins] == [(0.65, 1.0, 1), (0.75, 1.0, 1), (0.9, 0.5, 2)]
    assert measured.error == pytest.approx((0.35 + 0.25 + 2 * 0.4) / 4)


def test_a_draw_is_measured_with_what_the_others_choose(draws) -> None:
    generator = torch.Generator().manual_seed(0)
    scores = [
        [torch.randn(len(data.test_labels), len(data.attributes), generator=generator) for _ in range(3)] for data in draws
    ]
    tried = [
        [Measured(0.0, seen_unseen_curve(x, data.test_labels, data.seen_classes, data.unseen_classes)) for x in per_setting]
        for data, per_setting in zip(draws, scores)
    ]
    grid = [{"number": number} for number in range(3)]
    whole = choose_settings("c", draws, tried, lambda draw, setting: scores[draw][setting], grid)
    for left_out in range(len(draws)):
        others = [draw for draw in range(len(draws)) if draw != left_out]
        rest = [[values[draw] for draw in others] for values in (draws, tried, scores)]
        fewer = choose_settings("c", rest[0], rest[1], lambda draw, setting, kept=rest[2]: kept[draw][setting], grid)
        s, u = tried[left_out][fewer.settings["number"]].curve.at(fewer.offset)
        number, part = whole.settings["number"], whole.parts[left_out]
        assert torch.equal(part.scores, scores[left_out][number])
        assert part.offset == best_offset([tried[draw][number].curve for draw in others])
        assert whole.accuracy[left_out] == u and whole.h[left_out] == pytest.approx(harmonic_mean(s, u))


def test_a_baseline_is_measured_on_every_draw(draws) -> None:
    candidate = measure_baseline("prototype regression", BASELINES["prototype regression"], draws)
    assert len(candidate.h) == len(candidate.accuracy) == len(candidate.parts) == len(draws)
    model = BASELINES["prototype regression"]
    fitted = [m for m in model.path(draws[0].train.features, draws[0].train.labels, draws[0].attributes, model.grid)]
    features = torch.cat([draws[0].test_seen.features, draws[0].test_unseen.features])
    assert any(torch.allclose(candidate.parts[0].scores, each.scores(features), atol=1e-6) for each in fitted)


@pytest.mark.parametrize(
    "h, chosen",
    [
        ({"a": [0.2, 0.4, 0.3, 0.3], "b": [0.6, 0.7, 0.7, 0.6]}, "b"),
        # Gaps of 0.3, 0.1 and 0.2: the mean is 3.5 standard errors, and Student's t of two degrees of freedom 4.3.
        ({"prototype regression": [0.6, 0.5, 0.4], "ESZSL, centered": [0.3, 0.4, 0.2]}, "ESZSL, centered"),
        ({"prototype regression": [0.6, 0.5, 0.2], "ESZSL, centered": [0.3, 0.6, 0.35]}, "ESZSL, centered"),  # gap 0.017
        ({"prototype regression": [0.6, 0.7, 0.5], "ESZSL, centered": [0.3, 0.35, 0.25]}, "prototype regression"),
        ({"tfvaegan": [0.5, 0.5], "ESZSL": [0.5, 0.5]}, "ESZSL"),
    ],
)
def test_of_candidates_that_draws_cannot_tell_apart_the_first_of_the_order_is_chosen(h, chosen: str) -> None:
    best, reason = best_candidate([Candidate(name, values, values, 1.0, {}, 0.0, []) for name, values in h.items()])
    assert best.name == chosen and chosen in reason


def test_held_out_samples_are_like_the_training_samples_and_noise_is_not(tiny) -> None:
    (draw, *_) = draws = held_out_draws(read_xlsa17(tiny, "TINY", "res101", "att"))
    familiarity, train = fit_familiarity(draws), draw.features[draw.locations["trainval"]]
    held_out = likeness(draw.features[draw.locations["test_unseen"]], train, familiarity.neighbors)
    noise = likeness(np.random.default_rng(0).normal(size=(50, train.shape[1])), train, familiarity.neighbors)
    assert (held_out >= familiarity.threshold).mean() > 0.8 and (noise < familiarity.threshold).mean() > 0.8
    a, b = train[:1] / np.linalg.norm(train[:1]), train / np.linalg.norm(train, axis=1, keepdims=True)
    np.testing.assert_allclose(likeness(train[:1], train, 3), np.sort(a @ b.T)[:, -3:].mean(), rtol=1e-5)
