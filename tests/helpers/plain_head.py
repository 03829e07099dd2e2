"""The softmax head as one would write it down, with autograd: what `SoftmaxHead` is held to, in tests and benchmarks."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zslab.shared.heads import SoftmaxHead


class PlainSoftmaxHead(SoftmaxHead):
    """Draws the same random numbers in the same order as its parent."""

    def fit_epochs(self, features: Tensor, labels: Tensor, generator: torch.Generator) -> Iterator[int]:
        self.classes_, targets = labels.unique(return_inverse=True)
        head = nn.Linear(features.shape[1], len(self.classes_), device=features.device, dtype=features.dtype)
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
