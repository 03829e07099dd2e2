"""A perceptron from attributes to class prototypes, with class normalization.

In the manner of Skorokhodov and Elhoseiny, "Class Normalization for (Continual?) Generalized Zero-Shot Learning", ICLR
2021: hidden units are standardized over the classes, the last layer starts so small that prototypes have unit variance,
and logits are scaled cosines,

    p_k = W₃ CN(relu(CN(W₂ relu(W₁ a_k)))),    logit of class k = s² cos(x, p_k),

trained by softmax cross-entropy over the seen classes. Unlike there, features and attributes are centered, and the
prototypes are not rectified, because centered features have negative numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice, product
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zslab.baselines.base import Baseline, Settings, TrainingSet

EPOCHS = (2, 5, 10)
SCALES = (3.0, 5.0)


def attribute_network(attribute_dim: int, hidden_dim: int, feature_dim: int) -> nn.Sequential:
    """Return the network from attributes (k, a) to prototypes (k, d)."""

    def class_normalization() -> nn.BatchNorm1d:
        """Standardize over the classes: the seen ones in train mode, with their last statistics in eval mode."""
        return nn.BatchNorm1d(hidden_dim, affine=False, momentum=1.0)

    last = nn.Linear(hidden_dim, feature_dim)
    nn.init.normal_(last.weight, std=1 / math.sqrt(hidden_dim))  # its inputs have unit variance
    return nn.Sequential(
        nn.Linear(attribute_dim, hidden_dim),
        nn.ReLU(),
        nn.Linear(hidden_dim, hidden_dim, bias=False),  # the normalization would remove it
        class_normalization(),
        nn.ReLU(),
        class_normalization(),
        last,
    )


@dataclass
class ClassNormalizedMlp(Baseline):
    """Class-normalized perceptron trained with Adam.

    Attributes:
        scale: s, whose square multiplies the cosines.
        epochs: passes over the training samples.
        hidden_dim, lr, weight_decay, batch_size: of the network and its training.
        seed: of the initial weights and of the order of the samples.
    """

    name: ClassVar[str] = "class-normalized MLP"
    grid: ClassVar[tuple[Settings, ...]] = tuple({"scale": s, "epochs": e} for s, e in product(SCALES, EPOCHS))

    scale: float = 5.0
    epochs: int = 5
    hidden_dim: int = 256
    lr: float = 2e-3
    weight_decay: float = 1e-4
    batch_size: int = 512
    seed: int = 0

    def _solver(self, data: TrainingSet) -> Callable[[ClassNormalizedMlp], dict[str, Tensor]]:
        """Return the solver: every scale is trained once, as far as the most epochs that are asked for."""
        running: dict[
            float, tuple[Iterator[dict[str, Tensor]], list[dict[str, Tensor]]]
        ] = {}  # scale -> training, epochs so far

        def solve(model: ClassNormalizedMlp) -> dict[str, Tensor]:
            training, weights = running.setdefault(model.scale, (model._train(data), []))
            weights += islice(training, max(0, model.epochs - len(weights)))
            return weights[model.epochs - 1]

        return solve

    def _train(self, data: TrainingSet) -> Iterator[dict[str, Tensor]]:
        """Train, and yield after every epoch the network's state and the "spread" () that attributes are divided by."""
        device, mean, scale = data.targets.device, data.feature_mean.float(), self.scale**2
        attributes = data.attributes[data.seen].float()
        spread = attributes.square().mean().sqrt().clamp_min(1e-12)
        attributes = attributes / spread
        with torch.random.fork_rng(devices=[]):  # the initial weights draw from PyTorch's own generator
            torch.manual_seed(self.seed)
            network = attribute_network(attributes.shape[1], self.hidden_dim, len(mean)).to(device)
        optimizer = torch.optim.Adam(network.parameters(), lr=self.lr, weight_decay=self.weight_decay)
        generator = torch.Generator().manual_seed(self.seed)
        while True:
            network.train()
            for batch in torch.randperm(len(data.targets), generator=generator).to(device).split(self.batch_size):
                x = F.normalize(data.features[batch] - mean, dim=1)
                logits = scale * x @ F.normalize(network(attributes), dim=1).T
                optimizer.zero_grad()
                F.cross_entropy(logits, data.targets[batch]).backward()
                optimizer.step()
            with torch.no_grad():
                network(attributes)  # the statistics of the weights as they are now
            yield {name: value.clone() for name, value in network.state_dict().items()} | {"spread": spread}

    @torch.no_grad()
    def _embed(self, attributes: Tensor) -> Tensor:
        state = dict(self.weights_)
        spread, last = state.pop("spread"), list(state.values())[-1]
        with torch.device("meta"):  # so that no random numbers are drawn
            network = attribute_network(attributes.shape[1], self.hidden_dim, len(last)).eval()
        network.load_state_dict(state, assign=True)
        prototypes: Tensor = self.scale**2 * F.normalize(network(attributes.float() / spread), dim=1)
        return prototypes

    def empty_weights(self, attribute_dim: int, feature_dim: int) -> dict[str, Tensor]:
        """Return tensors on the "meta" device with the shapes and types of `weights_`."""
        with torch.device("meta"):
            state = attribute_network(attribute_dim, self.hidden_dim, feature_dim).state_dict()
            return {**state, "spread": torch.empty(())}

    def transform(self, features: Tensor) -> Tensor:
        """Return centered features (n, d) of unit norm."""
        return F.normalize(super().transform(features), dim=1)
