"""Candidates for a model of one's own data, measured on the same draws of held-out classes, and the choice among them.

Settings and offset of a baseline are chosen on all draws together. What is reported of a draw comes from the settings and the
offset that the other draws choose, so that a mean over the draws is an honest estimate.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from zslab.app.calibration import HeldOutScores, best_offset
from zslab.baselines.base import Baseline, Settings
from zslab.baselines.comparison import Measured, measure, usable_baselines
from zslab.data.dataset import StageData
from zslab.data.lazy import CHUNK
from zslab.metrics import harmonic_mean
from zslab.results.statistics import half_interval

NO_DRAWS = "prototype regression"  # where nothing can be measured: the fewest settings, and none of them matters much
# Of candidates that draws cannot tell apart the first is taken: what few classes cannot mislead, since it learns nothing; then
# by H in trials on other data (docs/own-data.md); what takes longer to train comes last.
ORDER = ("text similarity", "ESZSL, centered", "ESZSL", "class-normalized MLP", "prototype regression")


@dataclass(frozen=True)
class Candidate:
    """A method measured on draws of held-out classes."""

    name: str  #: of the method in a model file
    accuracy: list[float]  #: per draw, on the held-out classes when predicting among all classes
    h: list[float]  #: per draw, the harmonic mean of it and the accuracy on seen classes
    seconds: float  #: of choosing and measuring
    settings: Settings  #: chosen on all draws, as is the offset
    offset: float
    parts: list[HeldOutScores]  #: of every draw's test samples with these settings, and the offset that other draws chose

    @property
    def cells(self) -> list[str]:
        """The row of a table: name, accuracy, H, seconds."""
        return [self.name, spread(self.accuracy), spread(self.h), f"{self.seconds:.1f}"]


HEAD = ["candidate", "held-out classes, %", "H, %", "seconds"]


def spread(shares: Sequence[float]) -> str:
    """Return mean and standard deviation in percent; the mean alone of a single value."""
    mean = f"{100 * np.mean(shares):.1f}"
    return mean if len(shares) < 2 else f"{mean} ± {100 * np.std(shares, ddof=1):.1f}"


def measure_baselines(draws: Sequence[StageData], seed: int = 0) -> list[Candidate]:
    """Measure every baseline that can be trained on the draws, in the order of `BASELINES`."""
    return [measure_baseline(name, baseline, draws) for name, baseline in usable_baselines(*draws, seed=seed).items()]


def measure_baseline(name: str, baseline: Baseline, draws: Sequence[StageData]) -> Candidate:
    """Measure one baseline with all settings of its grid."""
    start = time.perf_counter()

    def fitted(data: StageData) -> Iterator[Baseline]:
        for model in baseline.path(data.train.features, data.train.labels, data.attributes, baseline.grid):
            model.weights_ = {}  # scores need its prototypes alone
            yield model

    models = [list(fitted(data)) for data in draws]

    def scores(draw: int, setting: int) -> Tensor:
        samples = (draws[draw].test_seen, draws[draw].test_unseen)
        return torch.cat([models[draw][setting].scores(part) for each in samples for part in each.features.split(CHUNK)])

    tried = [list(measure(of_draw, data)) for of_draw, data in zip(models, draws)]
    return choose_settings(name, draws, tried, scores, baseline.grid, start)


def choose_settings(
    name: str,
    draws: Sequence[StageData],
    tried: Sequence[Sequence[Measured]],
    scores: Callable[[int, int], Tensor],
    grid: Sequence[Settings] = ({},),
    start: float | None = None,
) -> Candidate:
    """Choose settings and offset of a candidate on all draws, and measure each draw with what the others choose.

    Args:
        name: of the candidate.
        draws: the data.
        tried: per draw, what was measured with each setting.
        scores: (draw, setting) -> scores (n, C) of the draw's test samples, seen ones first.
        grid: the settings.
        start: when work on the candidate began, by `time.perf_counter`.
    """

    def chosen(among: Sequence[int]) -> tuple[int, float]:
        ranked = []
        for number in range(len(grid)):
            curves = [tried[draw][number].curve for draw in among]
            offset = best_offset(curves)
            h = np.mean([harmonic_mean(*curve.at(offset)) for curve in curves])
            ranked.append((round(float(h), 9), float(np.mean([curve.area for curve in curves])), -number, offset))
        _, _, number, offset = max(ranked)  # of equals the one with the larger area, then the first
        return -number, offset

    everything = range(len(draws))
    rest = [[other for other in everything if other != draw] or list(everything) for draw in everything]
    accuracy, h, parts = [], [], []
    for draw in everything:
        number, offset = chosen(rest[draw])
        s, u = tried[draw][number].curve.at(offset)
        accuracy.append(u)
        h.append(harmonic_mean(s, u))
    number, offset = chosen(everything)
    for draw, data in enumerate(draws):
        seen = torch.zeros(len(data.attributes), dtype=torch.bool)
        seen[data.seen_classes] = True
        out = ~torch.isin(torch.arange(len(seen)), data.classes)
        without = best_offset([tried[other][number].curve for other in rest[draw]])
        parts.append(HeldOutScores(scores(draw, number).masked_fill(out, -torch.inf), data.test_labels, seen, without))
    seconds = time.perf_counter() - start if start is not None else 0.0
    return Candidate(name, accuracy, h, seconds, grid[number], offset, parts)


def best_candidate(candidates: Sequence[Candidate]) -> tuple[Candidate, str]:
    """Return the first candidate of `ORDER` that draws cannot tell from the one with the highest mean H, and why.

    A paired difference can be told from zero where Student's t interval of 95 % leaves it out.
    """
    best = max(candidates, key=lambda each: float(np.mean(each.h)))
    gaps = {each.name: np.subtract(best.h, each.h) for each in candidates}

    def is_close(name: str) -> bool:
        gap = gaps[name]
        return name == best.name or len(gap) > 1 and gap.mean() <= half_interval(gap)

    ranks = {name: rank for rank, name in enumerate(ORDER)}
    ranked = sorted(candidates, key=lambda each: ranks.get(each.name, len(ORDER)))
    chosen = next(each for each in ranked if is_close(each.name))
    if chosen is best:
        return best, f"{best.name} is chosen: its H on held-out classes is the highest."
    return chosen, (
        f"{chosen.name} is chosen: its H on held-out classes is {100 * gaps[chosen.name].mean():.1f} points below that of "
        f"{best.name}, which {len(best.h)} draws cannot tell from chance (95 %), and of such candidates the first of a fixed "
        "order is taken."
    )
