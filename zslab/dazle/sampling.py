"""Which training samples go into a batch: endless streams of sample indices."""

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

Sampling = Literal["random", "class_balanced"]


def random_batches(n: int, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield batches (batch_size,) of n samples, each drawn afresh without replacement.

    Over an epoch some samples come twice and some not at all, as in the release.
    """
    while True:
        yield torch.randperm(n, generator=generator)[:batch_size]


def class_balanced_batches(labels: Tensor, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield batches in which every drawn class has equally many samples.

    A batch has min(k, batch_size) of the k classes, drawn without replacement, and max(batch_size // k, 1) samples of each,
    also drawn without replacement; a class with fewer gives all. With 40 classes and batch_size 50, a batch has 40 samples.

    Args:
        labels: (n,) of the samples.
    """
    order = labels.argsort(stable=True)
    members = order.split(labels.bincount()[labels.unique()].tolist())
    k = len(members)
    per_class = max(batch_size // k, 1)
    while True:
        yield torch.cat(
            [
                members[label][torch.randperm(len(members[label]), generator=generator)[:per_class]]
                for label in torch.randperm(k, generator=generator)[:batch_size].tolist()
            ]
        )
