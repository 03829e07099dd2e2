"""A loss term of one's own for TF-VAEGAN: generated features must be classified as their class, as in f-CLSWGAN.

    python zero-shot-images/image-scripts/run_toy_tfvaegan.py --extra_loss examples/classification_loss.py:Classification \
--extra_weight 0.01

Xian et al., "Feature Generating Networks for Zero-Shot Learning", CVPR 2018, equation 4. The classifier is a softmax layer
that is trained on the real features of the seen classes first and stays as it is.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from zslab.data.dataset import StageData
from zslab.shared.heads import SoftmaxHead


class Classification:
    """Cross-entropy of generated features under a classifier of the seen classes."""

    def __init__(self, data: StageData):
        generator = torch.Generator(data.attributes.device).manual_seed(0)
        self.head = SoftmaxHead(batch_size=64).fit(data.train.features, data.train.labels, generator)

    def __call__(self, x_hat: Tensor, labels: Tensor, a: Tensor) -> Tensor:
        """Return the loss, 0-d, of features x̂ (B, D) of the classes `labels` (B,)."""
        return F.cross_entropy(self.head.scores(x_hat), torch.searchsorted(self.head.classes_, labels))
