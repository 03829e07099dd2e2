"""Baselines: their settings and the constant of calibration are chosen on validation, then they are measured on test.

T1, H and H after calibration have settings of their own: those with the highest value on the validation stage. The
seen/unseen curve and its area belong to the settings chosen for H after calibration.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from msgspec.structs import replace

from zslab.baselines.base import Baseline, Settings
from zslab.baselines.class_normalization import ClassNormalizedMlp
from zslab.baselines.eszsl import Eszsl
from zslab.baselines.prototypes import PrototypeRegression
from zslab.baselines.text_similarity import TextSimilarity
from zslab.data.dataset import Stage, StageData
from zslab.data.lazy import CHUNK, LazyFeatures
from zslab.errors import InputError
from zslab.metrics import SeenUnseenCurve, harmonic_mean, margin_curve, mean_class_accuracy
from zslab.results.names import Rule
from zslab.results.result import Row

# Row of the result table -> the baseline, in the order of the rows.
BASELINES: dict[str, Baseline] = {
    "ESZSL": Eszsl(center=False),
    "ESZSL, centered": Eszsl(),
    "prototype regression": PrototypeRegression(),
    "class-normalized MLP": ClassNormalizedMlp(),
}
TEXT_SIMILARITY = TextSimilarity.name  # where images and texts share a space, see `zslab.app.methods.baseline`
SERVED = BASELINES | {TEXT_SIMILARITY: TextSimilarity()}  # all that a model file can hold


@dataclass(frozen=True)
class Generalized:
    """Accuracies over all classes, per class and averaged: of seen classes, of unseen ones, and their harmonic mean."""

    acc_seen: float
    acc_unseen: float

    @property
    def h(self) -> float:
        """Harmonic mean of the two."""
        return harmonic_mean(self.acc_seen, self.acc_unseen)


@dataclass(frozen=True)
class Measured:
    """One fitted baseline on one stage: T1, and the curve that has every calibration's accuracies."""

    t1: float
    curve: SeenUnseenCurve

    def generalized(self, constant: float = 0.0) -> Generalized:
        """Return the accuracies with `constant` subtracted from all seen scores."""
        return Generalized(*self.curve.at(constant))


@dataclass(frozen=True)
class BaselineResult:
    """A baseline with everything chosen on validation."""

    name: str  #: its row in the result table
    t1: float  #: accuracy on unseen classes alone
    plain: Generalized  #: accuracies over all classes
    calibrated: Generalized  #: the same with `constant` subtracted from all seen scores
    curve: SeenUnseenCurve  #: the seen/unseen curve; its area is AUSUC
    constant: float  #: the best one on validation
    settings: dict[str, Settings]  #: "T1", "H", "calibrated H" -> the settings chosen for it
    stage: Stage = "test"  #: on which it was measured

    @property
    def rows(self) -> list[Row]:
        """The rows of a result: plain, which also has the area under the curve, and calibrated."""
        on_validation = self.stage == "validation"
        about = f"baseline, chosen {'and measured ' * on_validation}on validation: {self.choices}"

        def row(rule: Rule, accuracies: Generalized, area: float | None) -> Row:
            u, s, h = accuracies.acc_unseen, accuracies.acc_seen, accuracies.h
            made = Row(rule, self.name, self.t1, u, s, h, area, about=about)
            return replace(made, rule="validation", baseline=made.title) if on_validation else made

        return [row("val", self.plain, self.curve.area), row("val + calibration", self.calibrated, None)]

    @property
    def choices(self) -> str:
        """The chosen settings and the constant, as text."""
        listed = (
            f"{measure}: " + ", ".join(f"{name.rstrip('_')} {value:g}" for name, value in settings.items())
            for measure, settings in self.settings.items()
        )
        return "; ".join([*listed, f"constant {self.constant:.4g}"])


def measure(models: Sequence[Baseline], data: StageData) -> Iterator[Measured]:
    """Measure fitted baselines of one kind, reading the test features once and in parts."""
    sides = (data.seen_classes, data.unseen_classes)
    margins, best = [], []
    for samples in (data.test_seen, data.test_unseen):
        for part in samples.features.split(CHUNK):
            x = {model.center: model.transform(part) for model in {each.center: each for each in models}.values()}
            per_model = [[(x[each.center] @ each.prototypes_[side].T).max(dim=1) for side in sides] for each in models]
            margins.append(torch.stack([seen.values - unseen.values for seen, unseen in per_model]))
            best.append(torch.stack([torch.stack([side[m.indices] for side, m in zip(sides, pair)]) for pair in per_model]))
    labels, unseen = data.test_labels, data.test_unseen
    for margin, (if_seen, if_unseen) in zip(torch.cat(margins, dim=1), torch.cat(best, dim=2)):
        t1 = mean_class_accuracy(unseen.labels, if_unseen[len(data.test_seen) :], unseen.classes)
        yield Measured(t1, margin_curve(margin, if_seen, if_unseen, labels, *sides))


def choose(baseline: Baseline, validation: StageData) -> tuple[dict[str, Settings], float]:
    """Return the settings with the best "T1", "H" and "calibrated H" on validation, and the constant for the last of them."""
    tried = _measured(baseline, validation, baseline.grid)
    constants = [m.curve.best_constant() for m in tried]
    criteria = {
        "T1": [m.t1 for m in tried],
        "H": [m.generalized().h for m in tried],
        "calibrated H": [m.generalized(constant).h for m, constant in zip(tried, constants)],
    }
    chosen = {name: values.index(max(values)) for name, values in criteria.items()}
    return {name: baseline.grid[index] for name, index in chosen.items()}, constants[chosen["calibrated H"]]


def validation_h(baseline: Baseline, validation: StageData) -> float:
    """Return the best calibrated H on validation over the settings of a baseline."""
    return max(m.generalized(m.curve.best_constant()).h for m in _measured(baseline, validation, baseline.grid))


def _measured(baseline: Baseline, data: StageData, grid: Sequence[Settings]) -> list[Measured]:
    return list(measure(list(baseline.path(data.train.features, data.train.labels, data.attributes, grid)), data))


def run_baseline(name: str, baseline: Baseline, validation: StageData, test: StageData) -> BaselineResult:
    """Choose settings and constant on `validation`, then fit and measure on `test`; `name` is the row of the result table.

    Where nothing else has samples of unseen classes, `test` is the validation stage, too.
    """
    check_stage(test)
    settings, constant = choose(baseline, validation)
    for_t1, for_h, for_calibrated = _measured(baseline, test, list(settings.values()))
    return BaselineResult(
        name=name,
        t1=for_t1.t1,
        plain=for_h.generalized(),
        calibrated=for_calibrated.generalized(constant),
        curve=for_calibrated.curve,
        constant=constant,
        settings=settings,
        stage=test.stage,
    )


def run_baselines(validation: StageData, test: StageData, seed: int = 0) -> list[BaselineResult]:
    """Run every baseline that the stages allow, see `usable_baselines` and `run_baseline`."""
    usable = usable_baselines(validation, test, seed=seed)
    return [run_baseline(name, baseline, validation, test) for name, baseline in usable.items()]


def seeded(baseline: Baseline, seed: int) -> Baseline:
    """Return the baseline with a seed, if it draws random numbers."""
    return baseline.with_settings({"seed": seed} if isinstance(baseline, ClassNormalizedMlp) else {})


def usable_baselines(*stages: StageData, seed: int = 0) -> dict[str, Baseline]:
    """Return those of `BASELINES` that can be trained on the stages, with a seed.

    The perceptron is left out where the samples, which it reads in random order and many times, are not in memory, and where a
    stage trains on a single class, which its batch normalization cannot normalize.
    """
    unfit = any(isinstance(each.train.features, LazyFeatures) or len(each.seen_classes) < 2 for each in stages)
    usable = {name: each for name, each in BASELINES.items() if not (unfit and isinstance(each, ClassNormalizedMlp))}
    return {name: seeded(each, seed) for name, each in usable.items()}


def check_stage(test: StageData) -> None:
    """Refuse a test stage without pooled features, or without test samples of seen or of unseen classes."""
    if test.train.features.shape[1] == 0:
        must, fix = "the data set must have pooled features", "Files written by `zslab extract` and `zslab repack` have them."
        raise InputError(must, where="the baselines", got="region maps alone", fix=fix)
    for side, samples in (("seen", test.test_seen), ("unseen", test.test_unseen)):
        if len(samples) == 0:
            must, fix = f"the split must have test samples of {side} classes", "Use another split, such as the Proposed Split."
            raise InputError(must, where="the baselines", got=f"an empty test_{side}", fix=fix)
