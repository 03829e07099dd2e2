"""The linear softmax head that TF-VAEGAN trains on real and synthesised features.

In scikit-learn's manner: settings in the constructor, work in `fit`, learned arrays end in an underscore.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from zsl.graphs import can_record, replayed
from zsl.products import linear, write_product
from zsl.rows import CHUNK, Rows


@dataclass
class SoftmaxHead:
    """One linear layer with softmax cross-entropy, trained by Adam on fixed features (TF-VAEGAN, release).

    Attributes:
        lr: Adam's learning rate; its betas are (0.5, 0.999) as in the release.
        epochs: passes over the samples.
        batch_size: samples an update; the last batch of an epoch may be smaller.
        rounded: take the products of training in bfloat16; weights, gradients, Adam's moments and scores are float32.
        cuda_graphs: on CUDA, replay a recorded step for every whole batch.
        classes_: (k,) class index of every output, ascending. Set by `fit`, as are
        weight_: (k, d) and bias_: (k,).
    """

    lr: float = 1e-3
    epochs: int = 25
    batch_size: int = 300
    rounded: bool = False
    cuda_graphs: bool = True

    def fit(self, features: Tensor | Rows, labels: Tensor, generator: torch.Generator) -> SoftmaxHead:
        """Trains for all epochs; see `fit_epochs`."""
        for _ in self.fit_epochs(features, labels, generator):
            pass
        return self

    def fit_epochs(self, features: Tensor | Rows, labels: Tensor, generator: torch.Generator) -> Iterator[int]:
        """Trains, and hands control back after each epoch so that the caller may measure.

        Args:
            features: (n, d).
            labels: (n,) class indices; the head gets one output for each that occurs.
            generator: on the features' device; draws the initial weights and the order of the samples.

        Yields:
            The 0-based number of the epoch that just ended.
        """
        self.classes_, targets = labels.unique(return_inverse=True)
        n, dim, device, whole = len(features), features.shape[1], features.device, isinstance(features, Tensor)
        dtype = features.dtype if whole else torch.float32
        weight = torch.empty(len(self.classes_), dim, dtype=dtype, device=device).normal_(std=0.02, generator=generator)
        bias = weight.new_zeros(len(self.classes_))
        weight.grad, bias.grad = torch.empty_like(weight), torch.empty_like(bias)
        adam = torch.optim.Adam(
            [weight, bias], lr=self.lr, betas=(0.5, 0.999), fused=True, capturable=device.type == "cuda"
        )
        self.weight_, self.bias_ = weight, bias
        size, precision = min(self.batch_size, n), torch.bfloat16 if self.rounded else dtype
        order, offsets = torch.arange(n, device=device), torch.arange(size, device=device)
        at, x = torch.zeros((), dtype=torch.int64, device=device), weight.new_empty(size, dim)

        def step(batch: Tensor) -> None:
            rows = torch.index_select(features, 0, batch, out=x[: len(batch)]) if whole else features[batch]
            write_softmax_gradient(weight, bias, rows, targets[batch], precision)
            adam.step()

        def next_step() -> dict[str, Tensor]:
            """The next whole batch in `order`, with nothing that a graph could not follow."""
            step(order[(at + offsets) % n])  # recording takes more batches than a small set has
            at.add_(size)
            return {}

        def changed() -> dict[str, Tensor]:
            moments = {f"{key} {i}": moment for i, kept in enumerate(adam.state.values()) for key, moment in kept.items()}
            return {"weight": weight, "bias": bias, "position": at} | moments

        if can_record(device) and self.cuda_graphs and whole:
            next_step = replayed(next_step, changed, generator, "softmax head")
        for epoch in range(self.epochs):
            order.copy_(torch.randperm(n, generator=generator, device=device))
            at.zero_()
            for _ in range(n // size):
                next_step()
            if n % size:
                step(order[n - n % size :])
            yield epoch

    def scores(self, features: Tensor | Rows) -> Tensor:
        """Logits (n, k) for features (n, d), columns in the order of `classes_`."""
        if isinstance(features, Rows):
            scores = self.weight_.new_empty(len(features), len(self.classes_))
            for part, out in zip(features.split(CHUNK), scores.split(CHUNK)):
                out.copy_(self.scores(part))
            return scores
        return F.linear(features, self.weight_, self.bias_)

    def predict(self, features: Tensor | Rows) -> Tensor:
        """Class indices (n,) for features (n, d)."""
        if isinstance(features, Rows):
            return torch.cat([self.predict(part) for part in features.split(CHUNK)])
        return self.classes_[self.scores(features).argmax(dim=1)]

    def state_dict(self) -> dict[str, Tensor]:
        """A copy of what `fit` learned: "weight", "bias" and "classes"."""
        return {name: getattr(self, f"{name}_").clone() for name in ("weight", "bias", "classes")}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.weight_, self.bias_, self.classes_ = (state[name] for name in ("weight", "bias", "classes"))


def write_softmax_gradient(weight: Tensor, bias: Tensor, x: Tensor, targets: Tensor, precision: torch.dtype) -> None:
    """Puts the gradient of the mean cross-entropy into weight.grad (k, d) and bias.grad (k,).

    With scores s = x Wᵀ + b, d_s = (softmax(s) − one_hot(target)) / n, so d_W = d_sᵀ x and d_b = Σ_n d_s.

    Args:
        x: (n, d) features.
        targets: (n,) columns of the scores.
        precision: of the two products.
    """
    d_scores = linear(x, weight.to(precision), bias).softmax(dim=1)
    d_scores[torch.arange(len(x), device=x.device), targets] -= 1
    d_scores /= len(x)
    write_product(weight.grad, d_scores, x, precision)
    torch.sum(d_scores, dim=0, out=bias.grad)
