"""The linear softmax head that generative methods train on real and synthesized features.

The interface follows scikit-learn: settings in the constructor, training in `fit`, learned arrays end in an underscore.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from zslab.data.lazy import CHUNK, LazyFeatures
from zslab.utils.cuda_graphs import can_capture, capture_verified, moments
from zslab.utils.precision import autocast, linear


@dataclass
class SoftmaxHead:
    """One linear layer with softmax cross-entropy, trained by Adam on fixed features (TF-VAEGAN, release).

    Examples:
        >>> import torch
        >>> features = torch.tensor([[0.0, 1.0], [0.1, 0.9], [1.0, 0.0], [0.9, 0.2]])
        >>> labels = torch.tensor([3, 3, 8, 8])
        >>> head = SoftmaxHead(lr=0.1, batch_size=4).fit(features, labels, torch.Generator().manual_seed(0))
        >>> head.predict(features).tolist()
        [3, 3, 8, 8]
        >>> head.scores(features).shape
        torch.Size([4, 2])
    """

    lr: float = 1e-3  #: Adam's learning rate; its betas are (0.5, 0.999) as in the release
    epochs: int = 25  #: passes over the samples
    batch_size: int = 300  #: samples per update; the last batch of an epoch may be smaller
    bf16: bool = False  #: whether training computes its matrix products in bfloat16; scores are float32 all the same
    cuda_graphs: bool = True  #: whether training on CUDA replays a captured step for every full batch
    classes_: Tensor = field(init=False, repr=False, compare=False)  #: (k,) class of every output, ascending; set by `fit`
    weight_: Tensor = field(init=False, repr=False, compare=False)  #: (k, d); set by `fit`
    bias_: Tensor = field(init=False, repr=False, compare=False)  #: (k,); set by `fit`

    def fit(self, features: Tensor | LazyFeatures, labels: Tensor, generator: torch.Generator) -> SoftmaxHead:
        """Train for all epochs; see `fit_epochs` for the arguments."""
        for _ in self.fit_epochs(features, labels, generator):
            pass
        return self

    def fit_epochs(self, features: Tensor | LazyFeatures, labels: Tensor, generator: torch.Generator) -> Iterator[int]:
        """Train, and return control after each epoch so that the caller can evaluate the head.

        Args:
            features: (n, d).
            labels: (n,) class indices; the head gets one output for each that occurs.
            generator: on the features' device; draws the initial weights and the order of the samples.

        Yields:
            The 0-based number of the epoch that just ended.
        """
        self.classes_, targets = labels.unique(return_inverse=True)
        n, device = len(features), features.device
        dtype = features.dtype if isinstance(features, Tensor) else torch.float32
        weight = torch.empty(len(self.classes_), features.shape[1], dtype=dtype, device=device)
        weight = weight.normal_(std=0.02, generator=generator).requires_grad_()
        bias = torch.zeros(len(self.classes_), dtype=dtype, device=device, requires_grad=True)
        self.weight_, self.bias_ = weight.detach(), bias.detach()  # share the parameters' memory
        adam = torch.optim.Adam([weight, bias], lr=self.lr, betas=(0.5, 0.999), fused=True, capturable=device.type == "cuda")

        def update(batch: Tensor) -> None:
            weight.grad = bias.grad = None  # before the next ones exist: of 21,000 classes they take half a gigabyte
            with torch.enable_grad(), autocast(device, self.bf16):
                loss = F.cross_entropy(linear(features[batch], weight, bias), targets[batch])
            weight.grad, bias.grad = torch.autograd.grad(loss, (weight, bias))
            adam.step()

        size = max(1, min(self.batch_size, n))
        order, offsets = torch.arange(n, device=device), torch.arange(size, device=device)
        position = torch.zeros((), dtype=torch.int64, device=device)

        def next_full_batch() -> dict[str, Tensor]:
            """Update on the next full batch of `order`; free of host reads, so that a CUDA graph can capture it."""
            update(order[(position + offsets) % n])  # the capture takes more batches than a small set has
            position.add_(size)
            return {}

        def changed() -> dict[str, Tensor]:
            return {"weight": self.weight_, "bias": self.bias_, "position": position} | moments(adam)

        step = next_full_batch
        if n and can_capture(device) and self.cuda_graphs and isinstance(features, Tensor):
            step = capture_verified(step, changed, generator, "softmax head")
        for epoch in range(self.epochs):
            order.copy_(torch.randperm(n, generator=generator, device=device))
            position.zero_()
            for _ in range(n // size):
                step()
            if n % size:
                update(order[n - n % size :])
            yield epoch

    def extended(self, x: Tensor, labels: Tensor, new: Tensor, generator: torch.Generator) -> SoftmaxHead:
        """Return a head with rows for new classes, trained by cross-entropy over all classes; the rows of old ones stay.

        Args:
            x: (n, d) samples of old and new classes.
            labels: (n,) their classes.
            new: (m,) the new classes, ascending.
            generator: on the features' device; draws the initial weights and the order of the samples.
        """
        old, device = self.classes_, x.device
        old_logits = x @ self.weight_.T + self.bias_
        old_total = torch.cat([old_logits, x.new_full((len(x), 1), -torch.inf)], dim=1).logsumexp(dim=1)
        is_new = torch.isin(labels, new)
        target = torch.zeros(len(x), device=device)
        target[~is_new] = old_logits[~is_new, torch.searchsorted(old, labels[~is_new])]
        column = torch.searchsorted(new, labels).clamp(max=len(new) - 1)
        weight = torch.randn(len(new), x.shape[1], generator=generator, device=device).mul_(0.02).requires_grad_()
        bias = torch.zeros(len(new), device=device, requires_grad=True)
        adam = torch.optim.Adam([weight, bias], lr=self.lr, betas=(0.5, 0.999))
        for _ in range(self.epochs):
            for batch in torch.randperm(len(x), generator=generator, device=device).split(self.batch_size):
                logits = x[batch] @ weight.T + bias
                total = torch.cat([old_total[batch, None], logits], dim=1).logsumexp(dim=1)
                own = torch.where(is_new[batch], logits.gather(1, column[batch, None]).squeeze(1), target[batch])
                loss = (total - own).mean()
                adam.zero_grad()
                loss.backward()
                adam.step()
        order, head = torch.cat([old, new]).argsort(), replace(self)
        head.classes_ = torch.cat([old, new])[order]
        head.weight_ = torch.cat([self.weight_, weight.detach()])[order]
        head.bias_ = torch.cat([self.bias_, bias.detach()])[order]
        return head

    def scores(self, features: Tensor | LazyFeatures) -> Tensor:
        """Return the logits (n, k) of features (n, d), columns in the order of `classes_`."""
        if isinstance(features, LazyFeatures):
            scores = self.weight_.new_empty(len(features), len(self.classes_))
            for part, out in zip(features.split(CHUNK), scores.split(CHUNK)):
                out.copy_(self.scores(part))
            return scores
        return F.linear(features, self.weight_, self.bias_)

    def predict(self, features: Tensor | LazyFeatures) -> Tensor:
        """Return the class indices (n,) predicted for features (n, d)."""
        if isinstance(features, LazyFeatures):
            return torch.cat([self.predict(part) for part in features.split(CHUNK)])
        return self.classes_[self.scores(features).argmax(dim=1)]

    def state_dict(self) -> dict[str, Tensor]:
        """Return a copy of what `fit` learned: "weight", "bias" and "classes"."""
        return {name: getattr(self, f"{name}_").clone() for name in ("weight", "bias", "classes")}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore what `state_dict` returned."""
        self.weight_, self.bias_, self.classes_ = (state[name].clone() for name in ("weight", "bias", "classes"))
