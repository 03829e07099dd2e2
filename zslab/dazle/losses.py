"""The losses of DAZLE as pure functions; each returns a 0-d tensor (Huynh and Elhamifar, CVPR 2020, section 3.4).

B batch, k classes; labels are columns of the scores.
"""

import math

from torch import Tensor
from torch.nn import functional as F


def cross_entropy(scores: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy of scores (B, k), WITHOUT the margin, and labels (B,); mean over the batch."""
    return F.cross_entropy(scores, labels)


def rank(scores: Tensor, labels: Tensor) -> Tensor:
    """Return the rank loss, the mean hinge max(0, 1 − (s_label − s_k)) over all classes (release).

    Args:
        scores: (B, k), WITH the margin, as the release has it: against an unseen class the labeled one needs a lead of
            1 and twice the margin.
        labels: (B,).

    Returns:
        Mean over the batch and all k classes. The labeled class itself is one of them and adds a constant 1 / k.
    """
    return (1 - (scores.gather(1, labels[:, None]) - scores)).relu().mean()


def self_calibration(scores: Tensor, unseen: Tensor) -> Tensor:
    """Return the self-calibration loss, which keeps probability for unseen classes in training (section 3.4).

    Args:
        scores: (B, k), WITH the margin.
        unseen: (u,) columns of the unseen classes, as indices: a mask would make the host wait for a GPU.

    Returns:
        Minus the logarithm of the mean, over the batch, of the probability that the softmax gives to all unseen classes
        together. Computed in logarithms, because the probability soon is too small for float32.
    """
    of_unseen = scores.log_softmax(dim=1)[:, unseen].logsumexp(dim=1)
    return math.log(len(scores)) - of_unseen.logsumexp(dim=0)
