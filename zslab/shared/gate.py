"""Generalized classification behind an out-of-distribution gate, as TF-VAEGAN does it for actions.

A detector separates seen from unseen classes by the entropy of its softmax over the seen ones (Mandal et al.,
"Out-of-Distribution Detection for Generalized Zero-Shot Action Recognition", CVPR 2019). Samples that it accepts as seen
go to a softmax head over the seen classes, all others to a head over the unseen classes.

The interface follows scikit-learn: settings in the constructor, training in `fit`, learned values end in an underscore.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zslab.data.lazy import CHUNK, LazyFeatures
from zslab.shared.heads import SoftmaxHead

ThresholdRule = Literal["release", "mean", "val"]


def softmax_entropy(logits: Tensor) -> Tensor:
    """Return the entropy in nats (n,) of each row's softmax, for logits (n, k).

    Examples:
        >>> softmax_entropy(torch.zeros(1, 2)).tolist()  # log 2
        [0.6931471824645996]
    """
    log_p = F.log_softmax(logits, dim=1)
    return -(log_p.exp() * log_p).sum(dim=1)


def detector_loss(seen_logits: Tensor, seen_targets: Tensor, unseen_logits: Tensor) -> Tensor:
    """Return the detector's loss: low where it is certain on seen and uncertain on unseen classes.

    Source: Mandal et al., CVPR 2019, eq. 6-8.

    Args:
        seen_logits: (B, k) of real features of seen classes.
        seen_targets: (B,) the correct columns.
        unseen_logits: (B', k) of synthesized features of unseen classes.

    Returns:
        0-d: cross-entropy plus entropy on seen, minus entropy on unseen, each a mean over its batch.
    """
    seen_entropy, unseen_entropy = softmax_entropy(seen_logits).mean(), softmax_entropy(unseen_logits).mean()
    return F.cross_entropy(seen_logits, seen_targets) + seen_entropy - unseen_entropy


@dataclass
class EntropyDetector:
    """A perceptron d → hidden → hidden → number of seen classes, ReLU between, whose entropy is low on seen classes."""

    lr: float = 1e-3  #: Adam's learning rate; its betas are (0.5, 0.999) as in the release
    #: passes of ⌈n_seen_samples / (2 batch_size)⌉ batches, which visit half of the seen samples, as in the release
    epochs: int = 50
    batch_size: int = 64  #: real seen samples per batch, and as many synthesized unseen ones
    hidden_dim: int = 512  #: units of both hidden layers
    classes_: Tensor = field(init=False, repr=False, compare=False)  #: (k,) the seen classes, ascending; set by `fit`
    network_: nn.Sequential = field(init=False, repr=False, compare=False)  #: the perceptron; set by `fit`
    #: sum of the entropies of the seen samples that the last epoch visited, each taken before the update on its batch; set
    #: by `fit`
    entropy_sum_: float = field(init=False, repr=False, compare=False)
    n_visited_: int = field(init=False, repr=False, compare=False)  #: how many samples those are; set by `fit`
    n_samples_: int = field(init=False, repr=False, compare=False)  #: how many seen samples there are; set by `fit`

    def fit(
        self, seen: Tensor | LazyFeatures, labels: Tensor, unseen: Tensor | LazyFeatures, generator: torch.Generator
    ) -> EntropyDetector:
        """Train on real features of seen classes and synthesized ones of unseen classes.

        Args:
            seen: (n, d) features of seen classes.
            labels: (n,) their class indices.
            unseen: (m, d) features of unseen classes.
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

        def batches(n: int) -> Sequence[Tensor]:
            order: Sequence[Tensor] = torch.randperm(n, generator=generator, device=seen.device).split(self.batch_size)
            return order

        for _ in range(self.epochs):
            entropy_sum = torch.zeros((), dtype=torch.float64, device=seen.device)
            self.n_visited_ = 0
            seen_batches, unseen_batches = batches(len(seen)), batches(len(unseen))
            for i in range(n_batches):
                real, synthetic = seen_batches[i], unseen_batches[i % len(unseen_batches)]
                logits = self.network_(torch.cat([seen[real], unseen[synthetic]]))
                seen_logits, unseen_logits = logits[: len(real)], logits[len(real) :]
                loss = detector_loss(seen_logits, targets[real], unseen_logits)
                adam.zero_grad()
                loss.backward()
                adam.step()
                entropy_sum += softmax_entropy(seen_logits.detach()).double().sum()
                self.n_visited_ += len(real)
            self.entropy_sum_ = entropy_sum.item()
        return self

    def state_dict(self) -> dict[str, Tensor]:
        """Return a copy of what `entropy` needs: "classes" and the network's "0.weight" ... "4.bias"."""
        return {"classes": self.classes_.clone()} | {k: v.clone() for k, v in self.network_.state_dict().items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore what `state_dict` returned."""
        self.classes_ = state["classes"]
        weights = {name: value for name, value in state.items() if name != "classes"}
        shapes = [weights[f"{i}.weight"].shape for i in (0, 2, 4)]
        self.network_ = _perceptron([nn.Linear(width, units, device=self.classes_.device) for units, width in shapes])
        self.network_.load_state_dict(weights)

    @property
    def largest_entropy(self) -> float:
        """The entropy of a uniform softmax, log k."""
        return math.log(len(self.classes_))

    def training_threshold(self, rule: Literal["release", "mean"]) -> float:
        """Return a threshold in nats from the entropies of the last training epoch.

        Args:
            rule: "mean" is their mean. "release" is their sum divided by the number of ALL seen samples, as in the release;
                an epoch visits half of those, so this is about half the mean.
        """
        return self.entropy_sum_ / (self.n_samples_ if rule == "release" else self.n_visited_)

    @torch.no_grad()
    def entropy(self, features: Tensor | LazyFeatures) -> Tensor:
        """Return the entropy (n,) in [0, log k] for features (n, d): low for seen classes, high for others."""
        if isinstance(features, LazyFeatures):
            return torch.cat([self.entropy(part) for part in features.split(CHUNK)])
        return softmax_entropy(self.network_(features))


def _perceptron(layers: list[nn.Linear]) -> nn.Sequential:
    return nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])


@dataclass
class GatedClassifier:
    """A classifier over all classes that sends each sample to one of two heads by the detector's entropy."""

    detector: EntropyDetector  #: separates seen from unseen classes
    seen_head: SoftmaxHead  #: classifies samples that count as seen
    unseen_head: SoftmaxHead  #: classifies all others
    #: where the threshold comes from. "release" and "mean" take it from the detector's training; "val" takes it from a
    #: validation run, as a share of the largest possible entropy, since the two runs differ in their number of seen
    #: classes
    rule: ThresholdRule = "release"
    #: in nats; a sample with a lower entropy counts as seen. Set by the code that trains the parts
    threshold_: float = field(init=False, repr=False, compare=False)

    def is_seen(self, entropy: Tensor) -> Tensor:
        """Return which samples count as seen, (n,) bool, for entropies (n,)."""
        return entropy < self.threshold_

    def predict(self, features: Tensor | LazyFeatures, entropy: Tensor | None = None) -> Tensor:
        """Return the class indices (n,) predicted for features (n, d).

        Args:
            features: (n, d).
            entropy: (n,) of the detector for these features, where it is known already.
        """
        entropy = self.detector.entropy(features) if entropy is None else entropy
        seen, unseen = self.seen_head.predict(features), self.unseen_head.predict(features)
        return torch.where(self.is_seen(entropy), seen, unseen)
