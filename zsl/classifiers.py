"""The linear softmax head that TF-VAEGAN trains on real and synthesised features.

In scikit-learn's manner: settings in the constructor, work in `fit`, learned arrays end in an underscore.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
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
        weight = features.new_empty(len(self.classes_), features.shape[1]).normal_(std=0.02, generator=generator)
        bias = features.new_zeros(len(self.classes_))
        weight.grad, bias.grad = torch.empty_like(weight), torch.empty_like(bias)
        adam = torch.optim.Adam([weight, bias], lr=self.lr, betas=(0.5, 0.999), fused=True)
        self.weight_, self.bias_ = weight, bias
        rows = features.new_empty(min(self.batch_size, len(features)), features.shape[1])
        for epoch in range(self.epochs):
            order = torch.randperm(len(features), generator=generator, device=features.device)
            for batch in order.split(self.batch_size):
                x = torch.index_select(features, 0, batch, out=rows[: len(batch)])
                write_softmax_gradient(weight, bias, x, targets[batch])
                adam.step()
            yield epoch

    def scores(self, features: Tensor) -> Tensor:
        """Logits (n, k) for features (n, d), columns in the order of `classes_`."""
        return F.linear(features, self.weight_, self.bias_)

    def predict(self, features: Tensor) -> Tensor:
        """Class indices (n,) for features (n, d)."""
        return self.classes_[self.scores(features).argmax(dim=1)]

    def state_dict(self) -> dict[str, Tensor]:
        """A copy of what `fit` learned: "weight", "bias" and "classes"."""
        return {name: getattr(self, f"{name}_").clone() for name in ("weight", "bias", "classes")}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.weight_, self.bias_, self.classes_ = (state[name] for name in ("weight", "bias", "classes"))


def write_softmax_gradient(weight: Tensor, bias: Tensor, x: Tensor, targets: Tensor) -> None:
    """Puts the gradient of the mean cross-entropy into weight.grad (k, d) and bias.grad (k,).

    With scores s = x Wᵀ + b, d_s = (softmax(s) − one_hot(target)) / n, so d_W = d_sᵀ x and d_b = Σ_n d_s.

    Args:
        x: (n, d) features.
        targets: (n,) columns of the scores.
    """
    d_scores = F.linear(x, weight, bias).softmax(dim=1)
    d_scores[torch.arange(len(x), device=x.device), targets] -= 1
    d_scores /= len(x)
    torch.mm(d_scores.T, x, out=weight.grad)
    torch.sum(d_scores, dim=0, out=bias.grad)
