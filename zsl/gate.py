"""Generalised classification behind an out-of-distribution gate, as TF-VAEGAN does it for actions.

A detector tells seen from unseen classes by the entropy of its softmax over the seen ones (Mandal et al.,
"Out-of-Distribution Detection for Generalized Zero-Shot Action Recognition", CVPR 2019); what it lets pass as seen goes
to a softmax head over the seen classes, everything else to one over the unseen classes.

In scikit-learn's manner: settings in the constructor, work in `fit`, learned values end in an underscore.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zsl.classifiers import SoftmaxHead
from zsl.rows import CHUNK, Rows

ThresholdRule = Literal["release", "mean", "val"]


def softmax_entropy(logits: Tensor) -> Tensor:
    """(n, k) -> (n,): entropy in nats of each row's softmax."""
    log_p = F.log_softmax(logits, dim=1)
    return -(log_p.exp() * log_p).sum(dim=1)


def detector_loss(seen_logits: Tensor, seen_targets: Tensor, unseen_logits: Tensor) -> Tensor:
    """What the detector minimises: certain and right on seen classes, uncertain elsewhere (Mandal et al., eq. 6-8).

    Args:
        seen_logits: (B, k) of real features of seen classes.
        seen_targets: (B,) their columns.
        unseen_logits: (B', k) of synthesised features of unseen classes.

    Returns:
        Cross-entropy plus entropy on seen, minus entropy on unseen, each a mean over its batch.
    """
    return (
        F.cross_entropy(seen_logits, seen_targets)
        + softmax_entropy(seen_logits).mean()
        - softmax_entropy(unseen_logits).mean()
    )


@dataclass
class EntropyDetector:
    """A perceptron d → hidden → hidden → number of seen classes, ReLU between, whose entropy is low on seen classes.

    Attributes:
        lr: Adam's learning rate; its betas are (0.5, 0.999) as in the release.
        epochs: passes of ⌈n_seen_samples / (2 batch_size)⌉ batches, as in the release: half of the seen samples each.
        batch_size: real seen samples a batch, and as many synthesised unseen ones.
        hidden_dim: units of both hidden layers.
        classes_: (k,) the seen classes, ascending. Set by `fit`, as are
        network_: the perceptron, and
        entropy_sum_, n_visited_, n_samples_: over the last epoch, the sum of the seen samples' entropies as they were
            met in training, how many that were, and how many there are.
    """

    lr: float = 1e-3
    epochs: int = 50
    batch_size: int = 64
    hidden_dim: int = 512

    def fit(
        self, seen: Tensor | Rows, labels: Tensor, unseen: Tensor | Rows, generator: torch.Generator
    ) -> EntropyDetector:
        """Trains on real features of seen classes and synthesised ones of unseen classes.

        Args:
            seen: (n, d) with labels (n,).
            unseen: (m, d).
            generator: on the features' device; draws the initial weights and the batches.
        """
        self.classes_, targets = labels.unique(return_inverse=True)
        sizes = (seen.shape[1], self.hidden_dim, self.hidden_dim, len(self.classes_))
        layers = [nn.Linear(a, b, device=seen.device) for a, b in zip(sizes, sizes[1:])]
        for layer in layers:
            nn.init.normal_(layer.weight, std=0.02, generator=generator)
            nn.init.zeros_(layer.bias)
        self.network_ = _perceptron(layers)
        adam = torch.optim.Adam(self.network_.parameters(), lr=self.lr, betas=(0.5, 0.999), fused=True)
        self.n_samples_ = len(seen)
        n_batches = -(-self.n_samples_ // (2 * self.batch_size))

        def batches(n: int) -> tuple[Tensor, ...]:
            return torch.randperm(n, generator=generator, device=seen.device).split(self.batch_size)

        for _ in range(self.epochs):
            self.entropy_sum_, self.n_visited_ = 0.0, 0
            seen_batches, unseen_batches = batches(len(seen)), batches(len(unseen))
            for i in range(n_batches):
                real, synthetic = seen_batches[i], unseen_batches[i % len(unseen_batches)]
                logits = self.network_(torch.cat([seen[real], unseen[synthetic]]))
                seen_logits, unseen_logits = logits[: len(real)], logits[len(real):]
                loss = detector_loss(seen_logits, targets[real], unseen_logits)
                adam.zero_grad()
                loss.backward()
                adam.step()
                self.entropy_sum_ += softmax_entropy(seen_logits.detach()).double().sum()
                self.n_visited_ += len(real)
        self.entropy_sum_ = float(self.entropy_sum_)
        return self

    def state_dict(self) -> dict[str, Tensor]:
        """A copy of what `entropy` needs: "classes" and the network's "0.weight" ... "4.bias"."""
        return {"classes": self.classes_.clone()} | {k: v.clone() for k, v in self.network_.state_dict().items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.classes_ = state["classes"]
        weights = {name: value for name, value in state.items() if name != "classes"}
        self.network_ = _perceptron(
            [nn.Linear(*reversed(weights[f"{i}.weight"].shape), device=self.classes_.device) for i in (0, 2, 4)]
        )
        self.network_.load_state_dict(weights)

    @property
    def largest_entropy(self) -> float:
        """Of a uniform softmax: log k."""
        return math.log(len(self.classes_))

    def training_threshold(self, rule: Literal["release", "mean"]) -> float:
        """A threshold from the last epoch's entropies: their mean, or, as the release has it, their sum divided by the
        number of ALL seen samples. Half of those are visited, so the latter is about half the mean."""
        return self.entropy_sum_ / (self.n_samples_ if rule == "release" else self.n_visited_)

    @torch.no_grad()
    def entropy(self, features: Tensor | Rows) -> Tensor:
        """(n, d) -> (n,): low for clips of seen classes, high for others; in [0, log k]."""
        if isinstance(features, Rows):
            return torch.cat([self.entropy(part) for part in features.split(CHUNK)])
        return softmax_entropy(self.network_(features))


def _perceptron(layers: list[nn.Linear]) -> nn.Sequential:
    return nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])


@dataclass
class GatedClassifier:
    """Routes any clip by the detector's entropy to the head of its side, and is given that head's class.

    Attributes:
        detector: tells the sides apart.
        seen_head, unseen_head: one head for each side.
        rule: where the threshold comes from: "release" and "mean" from the detector's training, "val" from a validation
            run, as a share of the largest possible entropy because the two runs differ in their number of seen classes.
        threshold_: a clip is seen when its entropy is below. Set by whoever fits the parts.
    """

    detector: EntropyDetector
    seen_head: SoftmaxHead
    unseen_head: SoftmaxHead
    rule: ThresholdRule = "release"

    def is_seen(self, entropy: Tensor) -> Tensor:
        """(n,) entropies -> (n,) bool."""
        return entropy < self.threshold_

    def predict(self, features: Tensor | Rows, entropy: Tensor | None = None) -> Tensor:
        """Class indices (n,) for features (n, d); measures and demo both come here.

        Args:
            entropy: (n,) the detector's on these features, where it is known already.
        """
        entropy = self.detector.entropy(features) if entropy is None else entropy
        seen, unseen = self.seen_head.predict(features), self.unseen_head.predict(features)
        return torch.where(self.is_seen(entropy), seen, unseen)
