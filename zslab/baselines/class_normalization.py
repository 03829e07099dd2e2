"""A perceptron from attributes to class prototypes, with class normalization.

In the manner of Skorokhodov and Elhoseiny, "Class Normalization for (Continual?) Generalized Zero-Shot Learning", ICLR
2021: hidden units are standardized over the classes, the last layer starts so small that prototypes have unit variance,
and logits are scaled cosines,

    p_k = W₃ CN(relu(CN(W₂ relu(W₁ a_k)))),    logit of class k = s² cos(x, p_k),

trained by softmax cross-entropy over the seen classes. There, prototypes are rectified, as features are; here, validation
chooses between that and centered features and attributes, whose prototypes may be negative.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from itertools import product
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zslab.baselines.base import Baseline, Settings, TrainingSet

STEPS = (25, 50, 100, 200, 400)
MOST_PASSES = 50  # over the training samples, whatever the number of steps
AVERAGED = 0.95  # weight of the earlier steps in the moving average


def attribute_network(attribute_dim: int, hidden_dim: int, feature_dim: int, rectify: bool = False) -> nn.Sequential:
    """Return the network from attributes (k, a) to prototypes (k, d), which are not negative if `rectify`."""

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
        nn.ReLU() if rectify else nn.Identity(),
    )


@dataclass
class ClassNormalizedMlp(Baseline):
    """Class-normalized perceptron trained with Adam; its weights are the moving average of those of the last steps."""

    name: ClassVar[str] = "class-normalized MLP"
    grid: ClassVar[tuple[Settings, ...]] = tuple(
        {"center": center, "rectify": not center, "steps": n} for center, n in product((True, False), STEPS)
    )

    rectify: bool = False  #: whether prototypes are not negative
    scale: float = 5.0  #: s, whose square multiplies the cosines
    steps: int = 200  #: batches that it is trained on, as far as they are no more than MOST_PASSES over the samples
    hidden_dim: int = 512
    lr: float = 2e-3
    weight_decay: float = 1e-4
    batch_size: int = 256
    seed: int = 0  #: of the initial weights and of the order of the samples

    def _solver(self, data: TrainingSet) -> Callable[[ClassNormalizedMlp], dict[str, Tensor]]:
        """Return the solver: settings that differ in the number of steps alone share a training, if the fewest come first."""
        running: dict[bool, Training] = {}

        def solve(model: ClassNormalizedMlp) -> dict[str, Tensor]:
            training = running.get(model.rectify)
            if training is None or training.steps > model.steps:
                training = running[model.rectify] = Training(model, data)
            return training.after(model.steps)

        return solve

    @torch.no_grad()
    def _embed(self, attributes: Tensor) -> Tensor:
        state = dict(self.weights_)
        spread, feature_dim = state.pop("spread"), len(self.feature_mean_)
        with torch.device("meta"):  # so that no random numbers are drawn
            network = attribute_network(attributes.shape[1], self.hidden_dim, feature_dim, self.rectify).eval()
        network.load_state_dict(state, assign=True)
        prototypes: Tensor = self.scale**2 * F.normalize(network(attributes.float() / spread), dim=1)
        return prototypes

    def empty_weights(self, attribute_dim: int, feature_dim: int) -> dict[str, Tensor]:
        """Return tensors on the "meta" device with the shapes and types of `weights_`."""
        with torch.device("meta"):
            state = attribute_network(attribute_dim, self.hidden_dim, feature_dim).state_dict()
            return {**state, "spread": torch.empty(())}

    def transform(self, features: Tensor) -> Tensor:
        """Return features (n, d) of unit norm, centered where the baseline is."""
        return F.normalize(super().transform(features), dim=1)


class Training:
    """A training that can be continued; `steps` tells how far it is."""

    def __init__(self, model: ClassNormalizedMlp, data: TrainingSet):
        self.model, self.data, self.steps = model, data, 0
        attributes, device = data.attributes[data.seen].float(), data.targets.device
        self.spread = attributes.square().mean().sqrt().clamp_min(1e-12)
        self.attributes, self.mean = attributes / self.spread, data.feature_mean.float()
        with torch.random.fork_rng(devices=[]):  # the initial weights draw from PyTorch's own generator
            torch.manual_seed(model.seed)
            sizes = attributes.shape[1], model.hidden_dim, len(self.mean)
            self.network = attribute_network(*sizes, model.rectify).to(device)
        self.average = deepcopy(self.network)
        parameters = self.network.parameters()
        self.optimizer = torch.optim.Adam(parameters, lr=model.lr, weight_decay=model.weight_decay, fused=True)
        self.batches = self._batches(torch.Generator().manual_seed(model.seed))

    def _batches(self, generator: torch.Generator) -> Iterator[Tensor]:
        while True:
            order = torch.randperm(len(self.data.targets), generator=generator)
            yield from order.to(self.data.targets.device).split(self.model.batch_size)

    def after(self, steps: int) -> dict[str, Tensor]:
        """Go on to a number of steps; return the averaged network's state and the "spread" () that divides attributes."""
        a_pass = -(-len(self.data.targets) // self.model.batch_size)
        while self.steps < min(steps, MOST_PASSES * a_pass):
            batch = next(self.batches)
            x = F.normalize(self.data.features[batch] - self.mean, dim=1)
            logits = self.model.scale**2 * x @ F.normalize(self.network(self.attributes), dim=1).T
            self.optimizer.zero_grad()
            F.cross_entropy(logits, self.data.targets[batch]).backward()
            self.optimizer.step()
            self.steps += 1
            with torch.no_grad():
                for mean, value in zip(self.average.parameters(), self.network.parameters()):
                    mean.lerp_(value, max(1 - AVERAGED, 9 / (self.steps + 9)))
        with torch.no_grad():
            self.average(self.attributes)  # measures the statistics of the averaged weights
        return {name: value.clone() for name, value in self.average.state_dict().items()} | {"spread": self.spread}
