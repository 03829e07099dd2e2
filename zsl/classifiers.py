"""The linear softmax head that TF-VAEGAN trains on real and synthesised features.

In scikit-learn's manner: settings in the constructor, work in `fit`, learned arrays end in an underscore.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass
class SoftmaxHead:
    """One linear layer with softmax cross-entropy, trained by Adam on fixed features (TF-VAEGAN, release).

    Attributes:
        lr: Adam's learning rate; its betas are (0.5, 0.999) as in the release.
        epochs: passes over the samples.
        batch_size: samples an update; the last batch of an epoch may be smaller.
        classes_: (k,) class index of every output, ascending. Set by `fit`, as are
        weight_: (k, d) and bias_: (k,).
    """

    lr: float = 1e-3
    epochs: int = 25
    batch_size: int = 300

    def fit(self, features: Tensor, labels: Tensor, generator: torch.Generator) -> SoftmaxHead:
        """Trains for all epochs; see `fit_epochs`."""
        for _ in self.fit_epochs(features, labels, generator):
            pass
        return self

    def fit_epochs(self, features: Tensor, labels: Tensor, generator: torch.Generator) -> Iterator[int]:
        """Trains, and hands control back after each epoch so that the caller may measure.

        Args:
            features: (n, d).
            labels: (n,) class indices; the head gets one output for each that occurs.
            generator: on the features' device; draws the initial weights and the order of the samples.

        Yields:
            The 0-based number of the epoch that just ended.
        """
        self.classes_, targets = labels.unique(return_inverse=True)
        head = nn.Linear(features.shape[1], len(self.classes_), device=features.device)
        nn.init.normal_(head.weight, std=0.02, generator=generator)
        nn.init.zeros_(head.bias)
        self.weight_, self.bias_ = head.weight.data, head.bias.data
        adam = torch.optim.Adam(head.parameters(), lr=self.lr, betas=(0.5, 0.999), fused=True)
        for epoch in range(self.epochs):
            order = torch.randperm(len(features), generator=generator, device=features.device)
            for batch in order.split(self.batch_size):
                adam.zero_grad()
                F.cross_entropy(head(features[batch]), targets[batch]).backward()
                adam.step()
            yield epoch

    def scores(self, features: Tensor) -> Tensor:
        """Logits (n, k) for features (n, d), columns in the order of `classes_`."""
        return F.linear(features, self.weight_, self.bias_)

    def predict(self, features: Tensor) -> Tensor:
        """Class indices (n,) for features (n, d)."""
        return self.classes_[self.scores(features).argmax(dim=1)]
