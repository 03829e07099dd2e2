"""Leave-classes-out validation: every seen class stands in for an unseen one once.

With few seen classes one validation split says little. Each draw trains on the other classes alone and measures on the classes
left out and on a fifth of the others' samples; mean and standard deviation over the draws tell how far to believe a number.
Few classes are left out at a time, so that a draw learns from nearly as many as the model does.
"""

from dataclasses import replace

import numpy as np

from zslab.data.dataset import HOLD_OUT, Dataset
from zslab.data.splits import draw_hold_out, equal_rows

N_DRAWS = 6  # at least, where there are as many classes
FEWEST_CLASSES = 3  # one to leave out, and two between which a model can tell a difference


def held_out_draws(dataset: Dataset) -> list[Dataset]:
    """Return data sets of `hold_out_classes`, one class at a time below 12 classes and a sixth of them from there on.

    There are none if too few seen classes or samples are there to measure on.
    """
    n_classes = len(np.unique(dataset.labels[dataset.locations["trainval"]]))
    if n_classes < FEWEST_CLASSES:
        return []
    n_out = max(1, n_classes // N_DRAWS)
    draws = [hold_out_classes(dataset, draw, n_out) for draw in range(n_classes // n_out)]
    return [draw for draw in draws if len(draw.locations["test_seen"])]


def hold_out_classes(dataset: Dataset, draw: int, n_out: int) -> Dataset:
    """Return a data set of the training samples alone, whose test_unseen are those of some seen classes.

    Consecutive draws leave out different classes until each was left out. The data set's own unseen classes stay candidates
    of a prediction, as they are when the model is used; their samples take no part. Copies of a sample go where it goes.

    Args:
        dataset: has at least three seen classes.
        draw: its number, from 0.
        n_out: number of classes to leave out; at least two must remain.
    """
    used = np.sort(dataset.locations["trainval"])
    labels = dataset.labels[used]
    classes = np.unique(labels)
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


def validation_dataset(dataset: Dataset, seed: int) -> Dataset:
    """Return the validation stage of a data set as a data set of its own, with the classes that take part in it alone."""
    parts = dict(zip(("trainval", "test_seen", "test_unseen"), dataset.stage_locations("validation", seed)))
    classes = np.unique(dataset.labels[np.concatenate(list(parts.values()))])
    return replace(
        dataset,
        labels=np.where(np.isin(dataset.labels, classes), np.searchsorted(classes, dataset.labels), -1),
        attributes=dataset.attributes[classes],
        class_names=[dataset.class_names[k] for k in classes],
        locations=parts,
        split_version="none",
        unseen_classes=classes[:0],
    )
