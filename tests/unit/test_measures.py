"""Measures of anybody's scores, against loops over samples; arrays and tensors alike; the run that `zslab table` reads."""

from pathlib import Path

import numpy as np
import pytest
import torch

from zslab import cli, metrics
from zslab.errors import InputError
from zslab.measures import evaluate
from zslab.results.finished import read_run

NAMES = [f"bird {k}" for k in range(6)]
UNSEEN = [4, 1]


def made(seed: int, n: int = 90) -> tuple[np.ndarray, np.ndarray]:
    """Scores that favor the right class, and seen classes."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % 6)
    scores = rng.normal(size=(n, 6))
    scores[np.arange(n), labels] += 1.5
    scores[:, [0, 2, 3, 5]] += 0.8
    return scores, labels


def accuracy(scores: np.ndarray, labels: np.ndarray, classes: list[int], among: list[int]) -> float:
    """Mean over classes of the share of samples whose best class among some is the right one, sample by sample."""
    shares = []
    for k in classes:
        hits = [max(among, key=lambda c: row[c]) == k for row in scores[labels == k]]
        shares.append(sum(hits) / len(hits))
    return sum(shares) / len(shares)


def test_the_measures_are_those_of_loops_over_samples() -> None:
    (scores, labels), (val_scores, val_labels) = made(0), made(1)
    val_unseen = np.isin(np.arange(6), [0, 3])
    found = evaluate(scores, labels, UNSEEN, class_names=NAMES, validation=(val_scores, val_labels, val_unseen))
    seen, every = [0, 2, 3, 5], list(range(6))
    u, s = accuracy(scores, labels, UNSEEN, every), accuracy(scores, labels, seen, every)
    assert pytest.approx(accuracy(scores, labels, UNSEEN, UNSEEN)) == found.T1
    assert (found.acc_unseen, found.acc_seen, found.H) == pytest.approx((u, s, 2 * u * s / (u + s)))

    def shifted(given: np.ndarray, columns: list[int], offset: float) -> np.ndarray:
        given = given.copy()
        given[:, columns] -= offset
        return given

    def h(given: np.ndarray, labels: np.ndarray, seen: list[int], unseen: list[int], offset: float) -> float:
        given = shifted(given, seen, offset)
        u, s = accuracy(given, labels, unseen, every), accuracy(given, labels, seen, every)
        return 2 * u * s / (u + s) if u + s else 0.0

    val_seen = [1, 2, 4, 5]
    best = max(h(val_scores, val_labels, val_seen, [0, 3], offset) for offset in np.linspace(-4, 4, 801))
    assert h(val_scores, val_labels, val_seen, [0, 3], found.offset) == pytest.approx(best, abs=1e-9)
    assert found.calibrated["H"] == pytest.approx(h(scores, labels, seen, UNSEEN, found.offset))
    points = [(accuracy(x, labels, seen, every), accuracy(x, labels, UNSEEN, every)) for offset in np.linspace(-9, 9, 6000)
              for x in [shifted(scores, seen, offset)]][::10]  # fmt: skip
    area = sum((a[0] - b[0]) * (a[1] + b[1]) / 2 for a, b in zip(points, points[1:]))
    assert pytest.approx(area, abs=0.01) == found.AUSUC
    assert found.per_class["bird 4"]["T1"] == pytest.approx(accuracy(scores, labels, [4], UNSEEN))
    assert found.per_class["bird 2"] == {"samples": 15, "accuracy": pytest.approx(accuracy(scores, labels, [2], every))}
    same = evaluate(torch.tensor(scores), torch.tensor(labels), torch.tensor(UNSEEN), class_names=NAMES)
    named = evaluate(scores, [NAMES[k] for k in labels], [NAMES[k] for k in UNSEEN], class_names=NAMES)
    assert same == named and same.AUSUC == found.AUSUC and same.offset is None and same.calibrated == {}


def test_scores_of_seen_classes_alone_have_no_measures_of_unseen_ones() -> None:
    scores, labels = made(0)
    kept = ~np.isin(labels, UNSEEN)
    found = evaluate(scores[kept], labels[kept], UNSEEN)
    assert (found.T1, found.H, found.AUSUC) == (None, None, None) and found.acc_seen > 0.5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scores": np.ones(3)}, "the test scores: scores must have the shape"),
        ({"scores": np.full((90, 6), np.nan)}, "finite"),
        ({"labels": np.arange(90)}, "labels must be between 0 and 5"),
        ({"labels": ["crow"] * 90}, "crow"),
        ({"unseen": range(6)}, "not all"),
        ({"class_names": NAMES[:5]}, "6 class names"),
    ],
)
def test_scores_that_do_not_fit_are_refused(change: dict, message: str) -> None:
    scores, labels = made(0)
    with pytest.raises(InputError, match=message):
        evaluate(**{"scores": scores, "labels": labels, "unseen": UNSEEN, "class_names": NAMES} | change)


def test_the_command_leaves_a_run_that_the_table_shows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (scores, labels), (val_scores, val_labels) = made(0), made(1)
    arrays = dict(scores=scores, labels=labels, unseen=UNSEEN, class_names=NAMES)
    archive, folder = tmp_path / "scores.npz", tmp_path / "runs" / "mine"
    np.savez(archive, **arrays, val_scores=val_scores, val_labels=val_labels, val_unseen=[0, 3])
    command = ["evaluate", str(archive), "--name", "mine", "--dataset", "CUB", "--output", str(folder), "--seed", "3"]
    assert cli.main(command) == 0
    expected = evaluate(scores, labels, UNSEEN, class_names=NAMES, validation=(val_scores, val_labels, [0, 3]))
    run = read_run(folder)
    last, calibrated = run.result.rows
    assert (expected.T1, expected.H, expected.AUSUC, expected.calibrated["H"]) == (last.T1, last.H, last.AUSUC, calibrated.H)
    assert run.arrays["last_gzsl_confusion"].sum() == 90 and (folder / "report.html").exists()
    capsys.readouterr()
    assert cli.main(["table", str(tmp_path / "runs"), "--rules", "last"]) == 0
    shown = capsys.readouterr().out
    assert f"{100 * expected.H:.1f}" in shown and "| mine" in shown and "seed 3" in shown
    assert cli.main(command) == 1 and cli.main(["evaluate", str(tmp_path / "none.npz")]) == 1
    np.savez(archive, scores=scores)
    assert cli.main(["evaluate", str(archive)]) == 1
    assert "no labels, unseen" in capsys.readouterr().err


def test_every_measure_takes_arrays() -> None:
    scores, labels = made(0)
    predictions, seen, unseen = scores.argmax(axis=1), np.array([0, 2, 3, 5]), np.array([1, 4], dtype=np.int32)
    found = metrics.per_class_accuracy(labels, predictions, unseen)
    expected = metrics.per_class_accuracy(*map(torch.tensor, (labels, predictions, [1, 4])))
    assert isinstance(found, np.ndarray) and found.tolist() == expected.tolist()
    assert metrics.mean_class_accuracy(labels, predictions, unseen) == pytest.approx(found.mean())
    assert metrics.generalized_accuracies(labels, predictions, seen, unseen)["acc_unseen"] == pytest.approx(found.mean())
    matrix = metrics.confusion_matrix(labels, predictions, np.arange(6))
    assert isinstance(matrix, np.ndarray) and matrix.sum() == 90 and matrix[4, 4] == ((labels == 4) & (predictions == 4)).sum()
    curve = metrics.seen_unseen_curve(scores, labels, seen, unseen)
    again = metrics.seen_unseen_curve(*map(torch.tensor, (scores, labels, seen, [1, 4])))
    assert curve.area == again.area == evaluate(scores, labels, unseen).AUSUC
    margins = scores[:, seen].max(axis=1) - scores[:, unseen].max(axis=1)
    best = [columns[scores[:, columns].argmax(axis=1)] for columns in (seen, unseen)]
    assert metrics.margin_curve(margins, *best, labels, seen, unseen).area == curve.area
    assert metrics.roc_area(np.array([0.9, 0.5]), np.array([0.5, 0.1])) == 0.875
