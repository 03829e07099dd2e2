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

from zslab.config import ImageConfig, TfvaeganConfig
from zslab.utils.precision import linear

SLOPE = 0.2
AttributeOutput = Literal["unit_norm", "sigmoid"]


def initialize(module: nn.Module) -> None:
    """Draw a linear layer's weights from N(0, 0.02) and set its biases to 0; used as `network.apply(initialize)`."""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)


def leaky_relu(x: Tensor) -> Tensor:
    """Return LeakyReLU with slope 0.2 of a tensor of any shape."""
    return F.leaky_relu(x, SLOPE)


class Linear(nn.Linear):
    """A linear layer whose matrix products can be computed in bfloat16.

    Attributes:
        bf16_weight: a bfloat16 copy of the weight, or None to compute with the weight itself. It is not part of the saved
            state, and must be updated whenever the weight changes (`zslab.tfvaegan.steps.TrainingState.update_bf16`).
    """

    bf16_weight: Tensor | None = None

    @property
    def operand(self) -> Tensor:
        """The weight (out, in) that products use."""
        return self.weight if self.bf16_weight is None else self.bf16_weight

    def forward(self, x: Tensor) -> Tensor:
        """Map x (n, in) to (n, out)."""
        return linear(x, self.operand, self.bias)


class Encoder(nn.Module):
    """The encoder E(x, a) of the conditional VAE: mean and log-variance of a feature's latent (eq. 1)."""

    def __init__(self, feature_dim: int, attribute_dim: int, latent_dim: int, hidden_dim: int):
        super().__init__()
        self.hidden = Linear(feature_dim + attribute_dim, hidden_dim)
        self.bottleneck = Linear(hidden_dim, 2 * latent_dim)
        self.mean = Linear(2 * latent_dim, latent_dim)
        self.log_variance = Linear(2 * latent_dim, latent_dim)
        self.apply(initialize)

    def forward(self, x: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
        """Map features x (B, D) and attributes a (B, A) to mean and log-variance, both (B, Z)."""
        h = leaky_relu(self.hidden(torch.cat([x, a], dim=1)))
        h = leaky_relu(self.bottleneck(h))
        return self.mean(h), self.log_variance(h)


class Generator(nn.Module):
    """The generator G(z, a; f): a feature in (0, 1) from noise and attributes (section 3.1).

    Feedback f is added to the hidden layer (section 3.2).
    """

    def __init__(self, latent_dim: int, attribute_dim: int, feature_dim: int, hidden_dim: int):
        super().__init__()
        self.hidden = Linear(latent_dim + attribute_dim, hidden_dim)
        self.output = Linear(hidden_dim, feature_dim)
        self.apply(initialize)

    def forward(self, z: Tensor, a: Tensor, feedback: Tensor | None = None) -> Tensor:
        """Map latents z (B, Z), attributes a (B, A) and feedback (B, H), already weighted by δ, to features (B, D)."""
        return self.output_from_hidden(self.hidden_features(z, a), feedback)

    def hidden_features(self, z: Tensor, a: Tensor) -> Tensor:
        """Map latents z (B, Z) and attributes a (B, A) to the hidden layer g (B, H), before any feedback."""
        return leaky_relu(self.hidden(torch.cat([z, a], dim=1)))

    def output_from_hidden(self, g: Tensor, feedback: Tensor | None = None) -> Tensor:
        """Map the hidden layer g (B, H) and feedback (B, H) to features (B, D)."""
        return torch.sigmoid(self.output(g if feedback is None else g + feedback))


class Critic(nn.Module):
    """The WGAN critic D(x, a) (eq. 2); with attribute_dim 0 it is D2(x), the critic of unlabeled features."""

    def __init__(self, feature_dim: int, attribute_dim: int, hidden_dim: int):
        super().__init__()
        self.hidden = Linear(feature_dim + attribute_dim, hidden_dim)
        self.output = Linear(hidden_dim, 1)
        self.apply(initialize)

    def forward(self, x: Tensor, a: Tensor | None = None) -> Tensor:
        """Map features x (B, D) and attributes a (B, A), or None, to unbounded scores (B,), higher for real features."""
        joint = x if a is None else torch.cat([x, a], dim=1)
        scores: Tensor = self.output(leaky_relu(self.hidden(joint)))
        return scores.squeeze(1)


class Feedback(nn.Module):
    """The feedback module F(h): maps the decoder's hidden layer to an offset of the generator's (section 3.2)."""

    def __init__(self, hidden_dim: int):
        super().__init__()
        self.first = Linear(hidden_dim, hidden_dim)
        self.second = Linear(hidden_dim, hidden_dim)
        self.apply(initialize)

    def forward(self, h: Tensor) -> Tensor:
        """Map the decoder's hidden layer h (B, H) to feedback (B, H)."""
        return leaky_relu(self.second(leaky_relu(self.first(h))))


class SemanticDecoder(nn.Module):
    """The semantic decoder Dec(x): attributes of a feature, and the hidden layer that feedback uses (section 3.1).

    Args:
        feature_dim: D.
        attribute_dim: A.
        hidden_dim: H.
        output: "unit_norm" divides â by its L2 norm (images), "sigmoid" maps it into (0, 1) (actions).
    """

    def __init__(self, feature_dim: int, attribute_dim: int, hidden_dim: int, output: AttributeOutput):
        super().__init__()
        self.hidden = Linear(feature_dim, hidden_dim)
        self.attributes = Linear(hidden_dim, attribute_dim)
        self.output = output
        self.apply(initialize)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map features x (B, D) to attributes â (B, A) and the hidden layer h (B, H)."""
        h = leaky_relu(self.hidden(x))
        return self.activate(self.attributes(h)), h

    def activate(self, a: Tensor) -> Tensor:
        """Apply the output function to the last layer's sums (B, A); returns â (B, A)."""
        return torch.sigmoid(a) if self.output == "sigmoid" else F.normalize(a, dim=1)


@dataclass
class Networks:
    """The networks of one model; `critic_unseen`, D2, exists in the transductive variant only."""

    encoder: Encoder
    generator: Generator
    critic: Critic
    feedback: Feedback
    decoder: SemanticDecoder
    critic_unseen: Critic | None = None

    @classmethod
    def build(cls, config: TfvaeganConfig, feature_dim: int, attribute_dim: int) -> Networks:
        """Return new networks of the sizes in the config, drawn from PyTorch's global random numbers."""
        latent_dim, h = config.nz or attribute_dim, config.ngh
        return cls(
            Encoder(feature_dim, attribute_dim, latent_dim, h),
            Generator(latent_dim, attribute_dim, feature_dim, h),
            Critic(feature_dim, attribute_dim, config.ndh),
            Feedback(h),
            SemanticDecoder(feature_dim, attribute_dim, h, "sigmoid" if config.bce_att else "unit_norm"),
            Critic(feature_dim, 0, config.ndh) if isinstance(config, ImageConfig) and config.transductive else None,
        )

    def items(self) -> list[tuple[str, nn.Module]]:
        """Return (name, network) for the networks that exist."""
        return [(f.name, getattr(self, f.name)) for f in fields(self) if getattr(self, f.name) is not None]

    def to(self, device: torch.device) -> Networks:
        """Move all networks to a device, in place."""
        for _, network in self.items():
            network.to(device)
        return self

    def state_dict(self) -> dict[str, Tensor]:
        """Return all parameters under names such as "generator.hidden.weight"."""
        return {f"{name}.{key}": value for name, net in self.items() for key, value in net.state_dict().items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Copy the parameters in from what `state_dict` returned."""
        for name, network in self.items():
            prefix = f"{name}."
            network.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
