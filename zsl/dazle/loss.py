"""The losses of DAZLE as pure functions; each returns a 0-d tensor (Huynh and Elhamifar, CVPR 2020, section 3.4).

B batch, k classes; labels are columns of the scores.
"""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional as F


def cross_entropy(scores: Tensor, labels: Tensor) -> Tensor:
    """Of scores (B, k) without the margin and labels (B,); mean over the batch."""
    return F.cross_entropy(scores, labels)


def rank(scores: Tensor, labels: Tensor) -> Tensor:
    """How far every class is from lagging the labelled one by 1: max(0, 1 − (s_label − s_k)).

    Args:
        scores: (B, k), WITH the margin, as the release has it: against an unseen class the labelled one needs a lead of
            1 and twice the margin.
        labels: (B,).

    Returns:
        Mean over the batch and all k classes. The labelled class itself is one of them and adds a constant 1 / k.
    """
    return (1 - (scores.gather(1, labels[:, None]) - scores)).relu().mean()


def self_calibration(scores: Tensor, unseen: Tensor) -> Tensor:
    """Makes sure that unseen classes keep some probability while only seen ones are trained.

    Args:
        scores: (B, k), WITH the margin.
        unseen: (u,) columns of the unseen classes; numbers, for with a mask a GPU would have to be waited for.

    Returns:
        Minus the logarithm of the mean, over the batch, of the probability that the softmax gives to all unseen classes
        together. In logarithms throughout, for the probability soon is too small for float32.
    """
    of_unseen = scores.log_softmax(dim=1)[:, unseen].logsumexp(dim=1)
    return math.log(len(scores)) - of_unseen.logsumexp(dim=0)
