"""ALE: an image and a class fit together as far as a bilinear function of feature and attributes says.

    zslab train --method examples/ale.py:METHOD --dataset TOY
    python examples/run_ale.py --seeds 1 2 3

Akata, Perronnin, Harchaoui and Schmid, "Label-Embedding for Image Classification", TPAMI 2016. The score of class k is
F(x, k) = (W x + b)ᵀ a_k. It is trained on seen classes by a ranking loss and then applied to all.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from zslab.config import RunConfig
from zslab.data.dataset import StageData
from zslab.method import RUN, Method
from zslab.shared.trainer import EpochTrainer


@dataclass(frozen=True, kw_only=True)
class AleConfig(RunConfig):
    """The flags of ALE."""

    variant = "ALE"

    margin: float  #: by how much the right class should lead
    weight_decay: float  #: weight decay of Adam


def ranking_loss(scores: Tensor, targets: Tensor, margin: float) -> Tensor:
    """Return the weighted approximate ranking loss, 0-d: Σ_k max(0, margin + F(x, k) − F(x, y)) · β(r) / r, averaged.

    Args:
        scores: (B, s) of all seen classes.
        targets: (B,) column of the right class y.
        margin: by how much it should lead.

    r is the number of classes that violate the margin, and β(r) = 1 + 1/2 + … + 1/r.
    """
    violations = (margin + scores - scores.gather(1, targets[:, None])).clamp_min(0)
    violations = violations.scatter(1, targets[:, None], 0.0)
    rank = (violations > 0).sum(dim=1)
    beta = torch.arange(1, scores.shape[1] + 1, device=scores.device).reciprocal().cumsum(0)
    return (violations.sum(dim=1) * beta[(rank - 1).clamp_min(0)] / rank.clamp_min(1)).mean()


class AleTrainer(EpochTrainer):
    """Trains W and b with Adam."""

    config: AleConfig

    def __init__(self, config: AleConfig, data: StageData, device: torch.device):
        super().__init__(nn.Linear(data.feature_dim, data.attribute_dim), data, config, device)
        adam = torch.optim.Adam(self.networks.parameters(), config.lr, weight_decay=config.weight_decay)
        self.optimizers = {"embedding": adam}

    def iterate(self) -> dict[str, Tensor]:
        """Make one step on a batch."""
        (x, labels), seen = self.batch(), self.data.seen_classes
        scores = self.networks(x) @ self.data.attributes[seen].T
        loss = ranking_loss(scores, torch.searchsorted(seen, labels), self.config.margin)
        self.update(loss, "embedding")
        return {"ranking": loss}

    def scores(self, x: Tensor) -> Tensor:
        """Return F (b, s + u) of features x (b, D)."""
        scores: Tensor = self.networks(x) @ self.data.attributes[self.data.classes].T
        return scores


METHOD = Method("ale", AleConfig(**RUN, margin=1.0, weight_decay=1e-4), AleTrainer)
