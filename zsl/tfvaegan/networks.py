"""The networks of TF-VAEGAN (Narayan et al., ECCV 2020, arXiv:2003.07833, section 3), all small perceptrons.

Symbols in the shape comments: B batch, D feature_dim, A attribute_dim, Z latent_dim, H hidden_dim. Every weight starts
as N(0, 0.02), every bias as 0, every LeakyReLU has slope 0.2. Networks hold no state but their parameters.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zsl.products import linear

SLOPE = 0.2
AttributeOutput = Literal["unit_norm", "sigmoid"]


def initialise(module: nn.Module) -> None:
    """Weights N(0, 0.02), biases 0; used as `network.apply(initialise)`."""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)


def leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, SLOPE)


class Linear(nn.Linear):
    """A linear layer that can take its products in a lower precision than it answers and learns in.

    Attributes:
        rounded: a copy of the weight in that precision, None for the weight itself. No part of the saved state; whoever
            changes the weight renews it (`zsl.tfvaegan.steps.TrainingState`).
    """

    rounded: Tensor | None = None

    @property
    def operand(self) -> Tensor:
        """(out, in): the weight as products read it."""
        return self.weight if self.rounded is None else self.rounded

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.operand, self.bias)


class Encoder(nn.Module):
    """E(x, a): mean and log-variance of the latent code of a feature (conditional VAE, eq. 1)."""

    def __init__(self, feature_dim: int, attribute_dim: int, latent_dim: int, hidden_dim: int):
        super().__init__()
        self.hidden = Linear(feature_dim + attribute_dim, hidden_dim)
        self.bottleneck = Linear(hidden_dim, 2 * latent_dim)
        self.mean = Linear(2 * latent_dim, latent_dim)
        self.log_variance = Linear(2 * latent_dim, latent_dim)
        self.apply(initialise)

    def forward(self, x: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, D), a (B, A) -> mean (B, Z), log-variance (B, Z)."""
        h = leaky(self.hidden(torch.cat([x, a], dim=1)))
        h = leaky(self.bottleneck(h))
        return self.mean(h), self.log_variance(h)


class Generator(nn.Module):
    """G(z, a; f): a visual feature in (0, 1) from noise and attributes; feedback f is added to its hidden layer."""

    def __init__(self, latent_dim: int, attribute_dim: int, feature_dim: int, hidden_dim: int):
        super().__init__()
        self.hidden = Linear(latent_dim + attribute_dim, hidden_dim)
        self.output = Linear(hidden_dim, feature_dim)
        self.apply(initialise)

    def forward(self, z: Tensor, a: Tensor, feedback: Tensor | None = None) -> Tensor:
        """z (B, Z), a (B, A), feedback (B, H), already weighted by δ -> (B, D)."""
        return self.finish(self.begin(z, a), feedback)

    def begin(self, z: Tensor, a: Tensor) -> Tensor:
        """z (B, Z), a (B, A) -> the hidden layer g (B, H), before any feedback."""
        return leaky(self.hidden(torch.cat([z, a], dim=1)))

    def finish(self, g: Tensor, feedback: Tensor | None = None) -> Tensor:
        """g and feedback (B, H) -> (B, D)."""
        return torch.sigmoid(self.output(g if feedback is None else g + feedback))


class Critic(nn.Module):
    """D(x, a): the WGAN critic; with attribute_dim 0 it is D2(x), which sees unlabelled features (section 3.4)."""

    def __init__(self, feature_dim: int, attribute_dim: int, hidden_dim: int):
        super().__init__()
        self.hidden = Linear(feature_dim + attribute_dim, hidden_dim)
        self.output = Linear(hidden_dim, 1)
        self.apply(initialise)

    def forward(self, x: Tensor, a: Tensor | None = None) -> Tensor:
        """x (B, D), a (B, A) or None -> (B,) unbounded scores, higher for features held to be real."""
        joint = x if a is None else torch.cat([x, a], dim=1)
        return self.output(leaky(self.hidden(joint))).squeeze(1)


class Feedback(nn.Module):
    """F(h): turns the decoder's hidden layer into what is added to the generator's (section 3.2)."""

    def __init__(self, hidden_dim: int):
        super().__init__()
        self.first = Linear(hidden_dim, hidden_dim)
        self.second = Linear(hidden_dim, hidden_dim)
        self.apply(initialise)

    def forward(self, h: Tensor) -> Tensor:
        """h (B, H) -> (B, H)."""
        return leaky(self.second(leaky(self.first(h))))


class SemanticDecoder(nn.Module):
    """Dec(x): attributes from a feature, and the hidden layer that feedback and transformation use (section 3.1)."""

    def __init__(self, feature_dim: int, attribute_dim: int, hidden_dim: int, output: AttributeOutput):
        """`output`: "unit_norm" divides â by its L2 norm (images), "sigmoid" maps it into (0, 1) (actions)."""
        super().__init__()
        self.hidden = Linear(feature_dim, hidden_dim)
        self.attributes = Linear(hidden_dim, attribute_dim)
        self.output = output
        self.apply(initialise)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, D) -> â (B, A), h (B, H)."""
        h = leaky(self.hidden(x))
        return self.finish(self.attributes(h)), h

    def finish(self, a: Tensor) -> Tensor:
        """The last layer's sums (B, A) -> â (B, A)."""
        return torch.sigmoid(a) if self.output == "sigmoid" else F.normalize(a, dim=1)


@dataclass
class Networks:
    """The networks of one model. `critic_unseen` is D2 and exists in the transductive variant only."""

    encoder: Encoder
    generator: Generator
    critic: Critic
    feedback: Feedback
    decoder: SemanticDecoder
    critic_unseen: Critic | None = None

    def items(self) -> list[tuple[str, nn.Module]]:
        """(name, network) for the networks that exist."""
        return [(f.name, getattr(self, f.name)) for f in fields(self) if getattr(self, f.name) is not None]

    def to(self, device: torch.device) -> Networks:
        for _, network in self.items():
            network.to(device)
        return self

    def state_dict(self) -> dict[str, Tensor]:
        """"network.layer.weight" -> tensor."""
        return {f"{name}.{key}": value for name, net in self.items() for key, value in net.state_dict().items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        for name, network in self.items():
            prefix = f"{name}."
            network.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
