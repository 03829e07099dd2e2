"""Mean, spread and paired comparison of repeated runs."""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
import numpy as np
from scipy import stats

Repeat = tuple[tuple[str, int], ...]  # (("manualSeed", 1), ("split", 3)): which repetition of its variant a run is

FEWEST_PAIRS = 6  # with 5, the smallest two-sided p of a permutation test is 2 / 2^5 = 0.0625
CONFIDENCE = 0.95
RESAMPLES = 9999
EXACT = 13  # up to 2^13 sign patterns are enumerated, more are drawn


class Summary(msgspec.Struct, frozen=True, omit_defaults=True):
    """Mean and sample standard deviation (None for a single value) of `n` values."""

    mean: float
    sd: float | None = None
    n: int = 1

    @property
    def half_interval(self) -> float:
        """Half the width of Student's t interval of 95 % for the mean; 0 for a single value."""
        return 0.0 if self.sd is None else float(stats.t.ppf((1 + CONFIDENCE) / 2, self.n - 1) * self.sd / self.n**0.5)


@dataclass(frozen=True)
class Comparison:
    """Paired comparison of two variants: `first` minus `second`, over n pairs (with several class splits, over these).

    The interval is that of the mean difference by Student's t; the percentiles of a bootstrap over six pairs cover the true
    mean in 85 % of the cases. p is two-sided, of the paired permutation test (random signs).
    """

    n: int
    difference: float
    interval: tuple[float, float] | None  #: for two pairs or more
    p: float | None  #: for six pairs or more; of fewer no test can decide


def half_interval(values: np.ndarray) -> float:
    """Return half the width of Student's t interval of 95 % for the mean of two or more values (n,)."""
    return Summary(float(np.mean(values)), float(np.std(values, ddof=1)), len(values)).half_interval


def summarize(values: list[float]) -> Summary | None:
    """Return mean and sample standard deviation, None for no values.

    >>> summarize([0.25, 0.75])
    Summary(mean=0.5, sd=0.3535533905932738, n=2)
    """
    if not values:
        return None
    return Summary(float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None, len(values))


def compare(first: Mapping[Repeat, float], second: Mapping[Repeat, float]) -> Comparison | None:
    """Compare two variants over the repetitions that both have; None where they share none.

    Where repetitions have several class splits or partitions, a pair is the mean over the seeds of one of them: seeds of the
    same split are not independent.

    The permutation test flips the sign of each pair's difference: all 2^n patterns for up to 13 pairs, else 9,999 drawn
    ones. Its two-sided p is the share of patterns whose absolute mean is at least as large as the one measured (with the
    measured one counted among drawn ones).
    """
    pairs = sorted(first.keys() & second.keys())
    if not pairs:
        return None
    groups: dict[Repeat, list[float]] = {}  # class split or partition -> differences
    for pair in pairs:
        groups.setdefault(tuple(item for item in pair if item[0] != "manualSeed"), []).append(first[pair] - second[pair])
    differences = np.array([np.mean(values) for values in groups.values()] if len(groups) > 1 else next(iter(groups.values())))
    mean = float(differences.mean())
    interval = p = None
    if len(differences) > 1:
        half = half_interval(differences)
        interval = mean - half, mean + half
    if len(differences) >= FEWEST_PAIRS:
        p = float(
            stats.permutation_test(
                (differences,),
                lambda values, axis=-1: np.abs(np.mean(values, axis=axis)),
                permutation_type="samples",
                alternative="greater",
                n_resamples=2**EXACT if len(differences) <= EXACT else RESAMPLES,
                rng=0,
            ).pvalue
        )
    return Comparison(len(differences), mean, interval, p)
