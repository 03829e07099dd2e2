"""ESZSL, a closed-form zero-shot classifier: the sanity floor beside every result.

Romera-Paredes and Torr, "An Embarrassingly Simple Approach to Zero-Shot Learning", ICML 2015:

    V = (XᵀX + γI)⁻¹ XᵀYS (SᵀS + λI)⁻¹,    score of class k = xᵀ V a_k

with X (n, d) features, Y (n, s) targets in {−1, 1} and S (s, a) the attributes of the seen classes. A generative model
well below it is a sign of a fault. The regularisers, and a constant to subtract from the seen scores, are chosen on the
validation stage.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from zsl.data.xlsa17 import StageData
from zsl.errors import InputError
from zsl.metrics import SeenUnseenCurve, generalised_accuracies, mean_class_accuracy, seen_unseen_curve
from zsl.rows import CHUNK, fits

GRID = tuple(product((1e-3, 1e-2, 1e-1, 1.0, 1e1, 1e2, 1e3), repeat=2))


class EszslPath:
    """ESZSL on one stage for any (γ, λ) at the price of one decomposition.

    In the eigenvectors of XᵀX and SᵀS both inverses are diagonal, so that a pair of regularisers costs a rescaling. Where
    there are fewer samples than dimensions XXᵀ takes the place of XᵀX, which gives the same V.
    """

    def __init__(self, data: StageData):
        features, s = data.train.features, data.attributes[data.seen_classes].double()
        n, dim = len(features), features.shape[1]
        if n >= dim:
            gram, middle = s.new_zeros(dim, dim), s.new_zeros(dim, s.shape[1])
            for x, labels in zip(features.split(CHUNK), data.train.labels.split(CHUNK)):
                x = x.double()
                gram += x.T @ x
                middle += x.T @ (_targets(labels, data.seen_classes) @ s)
            self.eigenvalues_x, basis_x = torch.linalg.eigh(gram)
            middle = basis_x.T @ middle
        else:
            x = features[:].double()
            self.eigenvalues_x, u = torch.linalg.eigh(x @ x.T)
            basis_x, middle = x.T @ u, u.T @ (_targets(data.train.labels, data.seen_classes) @ s)
        self.eigenvalues_s, basis_s = torch.linalg.eigh(s.T @ s)
        self.middle = middle @ basis_s
        self.basis_x, self.basis_s = basis_x, basis_s
        n_tests = len(data.test_seen) + len(data.test_unseen)
        if not fits(n_tests, 2 * (dim + len(data.attributes))):  # float64
            raise InputError(
                "too many test samples for ESZSL", where=f"the {data.stage} stage", found=f"{n_tests} samples",
                expected="test features and scores that fit in memory together", cure="Nothing else needs this row.",
            )
        tests = [part for samples in (data.test_seen, data.test_unseen) for part in samples.features.split(CHUNK)]
        self.tests = torch.cat([part.double() @ basis_x for part in tests])
        self.classes = basis_s.T @ data.attributes.double().T

    def _rescaled(self, gamma: float, lambda_: float) -> Tensor:
        return self.middle / (self.eigenvalues_x[:, None] + gamma) / (self.eigenvalues_s[None, :] + lambda_)

    def weights(self, gamma: float, lambda_: float) -> Tensor:
        """V (d, a)."""
        return self.basis_x @ self._rescaled(gamma, lambda_) @ self.basis_s.T

    def scores(self, gamma: float, lambda_: float) -> Tensor:
        """(n, C): every class's score for test_seen followed by test_unseen."""
        return self.tests @ self._rescaled(gamma, lambda_) @ self.classes


def _targets(labels: Tensor, classes: Tensor) -> Tensor:
    """Y: (n,) labels -> (n, s) float64, 1 in the column of the label's class and −1 elsewhere."""
    return torch.where(labels[:, None] == classes[None, :], 1.0, -1.0).double()


def evaluate_scores(scores: Tensor, data: StageData, constant: float = 0.0) -> dict[str, float]:
    """T1, acc_seen, acc_unseen and H of scores (n, C) for test_seen followed by test_unseen.

    Args:
        constant: is subtracted from all seen scores before the generalised decision.
    """
    n_seen, unseen, tested = len(data.test_seen), data.unseen_classes, data.test_unseen.classes
    t1 = mean_class_accuracy(data.test_unseen.labels, unseen[scores[n_seen:, unseen].argmax(1)], tested)
    shifted = scores.clone()
    shifted[:, data.seen_classes] -= constant
    predictions = data.classes[shifted[:, data.classes].argmax(1)]
    return {"T1": t1} | generalised_accuracies(data.test_labels, predictions, data.test_seen.classes, tested)


@dataclass(frozen=True)
class EszslResult:
    """ESZSL with everything chosen on validation: the plain and the calibrated row, the curve, and the choices made."""

    plain: dict[str, float]
    calibrated: dict[str, float]
    curve: SeenUnseenCurve
    choices: str


def eszsl(validation: StageData, test: StageData) -> EszslResult:
    """Chooses (γ, λ) for T1, for H and for H after calibration on `validation`; fits and measures on `test`.

    Raises:
        InputError: the stage has no features of whole images, or no test_seen to be generalised over.
    """
    if test.train.features.shape[1] == 0:
        raise InputError(
            "no features of whole images", where="the data set", found="region maps alone", expected="pooled features",
            cure="Files written by extract_features.py and by `python -m zsl.data.repack` have them.",
        )
    if len(test.test_seen) == 0:
        raise InputError(
            "no test samples of seen classes", where="the split", found="a split for zero-shot learning alone",
            expected="test_seen samples", cure="ESZSL's row needs a generalised split, such as the Proposed Split.",
        )
    if len(test.test_unseen) == 0:
        raise InputError(
            "no test samples of unseen classes", where="the split", found="classes without samples", expected="test_unseen",
            cure="ESZSL's row needs something to be measured on.",
        )
    path = EszslPath(validation)
    best = {"T1": (-1.0, GRID[0]), "H": (-1.0, GRID[0]), "calibrated H": (-1.0, GRID[0])}
    constants = {}
    for pair in GRID:
        scores = path.scores(*pair)
        constants[pair] = seen_unseen_curve(
            scores, validation.test_labels, validation.seen_classes, validation.unseen_classes
        ).best_constant()
        plain = evaluate_scores(scores, validation)
        calibrated = evaluate_scores(scores, validation, constants[pair])
        for name, value in (("T1", plain["T1"]), ("H", plain["H"]), ("calibrated H", calibrated["H"])):
            best[name] = max(best[name], (value, pair))
    pairs = {name: pair for name, (_, pair) in best.items()}

    path = EszslPath(test)
    t1 = evaluate_scores(path.scores(*pairs["T1"]), test)["T1"]
    final = path.scores(*pairs["calibrated H"])
    constant = constants[pairs["calibrated H"]]
    chosen = "; ".join(f"{name}: γ {gamma:g}, λ {lambda_:g}" for name, (gamma, lambda_) in pairs.items())
    return EszslResult(
        plain=evaluate_scores(path.scores(*pairs["H"]), test) | {"T1": t1},
        calibrated=evaluate_scores(final, test, constant) | {"T1": t1},
        curve=seen_unseen_curve(final, test.test_labels, test.seen_classes, test.unseen_classes),
        choices=f"{chosen}; constant {constant:.4g}",
    )
