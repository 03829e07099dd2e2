"""Leave-classes-out validation: some seen classes stand in for unseen ones, in several draws.

With few seen classes one validation split says little. Each draw trains on the other classes alone and measures on the classes
left out and on a fifth of the others' samples; mean and standard deviation over the draws tell how far to believe a number.
"""

from __future__ import annotations

from dataclasses import replace
from math import comb

import numpy as np

from zslab.data.dataset import HOLD_OUT, Dataset
from zslab.data.splits import VALIDATION_CLASSES, draw_hold_out, equal_rows

N_DRAWS = 5
FEWEST_CLASSES = 3  # one to leave out, and two between which a model can tell a difference


def held_out_draws(dataset: Dataset, n: int = N_DRAWS, share: float = VALIDATION_CLASSES) -> list[Dataset]:
    """Return at most `n` data sets of `hold_out_classes`; none if too few seen classes or samples are there to measure on."""
    classes = np.unique(dataset.labels[dataset.locations["trainval"]])
    if len(classes) < FEWEST_CLASSES:
        return []
    n = min(n, comb(len(classes), _n_out(len(classes), share)))
    draws = [hold_out_classes(dataset, draw, share) for draw in range(n)]
    return [draw for draw in draws if len(draw.locations["test_seen"])]


def hold_out_classes(dataset: Dataset, draw: int, share: float = VALIDATION_CLASSES) -> Dataset:
    """Return a data set of the training samples alone, whose test_unseen are those of some seen classes.

    Consecutive draws leave out different classes until each was left out. The data set's own unseen classes stay candidates
    of a prediction, as they are when the model is used; their samples take no part. Copies of a sample go where it goes.

    Args:
        dataset: has at least three seen classes.
        draw: its number, from 0.
        share: of the seen classes, to leave out; at least one is, and at least two remain.
    """
    used = np.sort(dataset.locations["trainval"])
    labels = dataset.labels[used]
    classes = np.unique(labels)
    n_out = _n_out(len(classes), share)
    # A permutation is cut into pieces of n_out classes; when they are used up, the next one is drawn.
    permutation, piece = divmod(draw, len(classes) // n_out)
    out = np.random.default_rng(permutation).permutation(classes)[piece * n_out :][:n_out]
    is_out = np.isin(labels, out)
    copy_of = equal_rows(dataset.features[used])
    originals = np.flatnonzero(~is_out & (copy_of == np.arange(len(used))))
    is_test = np.zeros(len(used), dtype=bool)
    is_test[draw_hold_out(originals, labels, HOLD_OUT, np.random.default_rng(draw))] = True
    is_test = is_test[copy_of] & ~is_out
    unseen = [dataset.unseen_classes, dataset.labels[dataset.locations["test_unseen"]], out]
    return replace(
        dataset,
        locations={"trainval": used[~is_test & ~is_out], "test_seen": used[is_test], "test_unseen": used[is_out]},
        split_version="none",
        unseen_classes=np.unique(np.concatenate(unseen)),
    )


def _n_out(n_classes: int, share: float) -> int:
    return max(1, min(round(share * n_classes), n_classes - 2))
