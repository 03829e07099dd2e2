"""The networks of TF-VAEGAN (Narayan et al., ECCV 2020, arXiv:2003.07833, section 3), all small perceptrons.

Symbols in the shape comments: B batch, D feature_dim, A attribute_dim, Z latent_dim, H hidden_dim. Every weight starts
as N(0, 0.02), every bias as 0, every LeakyReLU has slope 0.2. Networks hold no state but their parameters.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zslab.config import ImageConfig, TfvaeganConfig
from zslab.shared.wgan import Critic, Generator, Linear, initialize, leaky_relu

AttributeOutput = Literal["unit_norm", "sigmoid"]


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
        h = self.hidden_features(x)
        a = self.attributes(h)
        return torch.sigmoid(a) if self.output == "sigmoid" else F.normalize(a, dim=1), h

    def hidden_features(self, x: Tensor) -> Tensor:
        """Map features x (B, D) to the hidden layer h (B, H)."""
        return leaky_relu(self.hidden(x))


class Networks(nn.Module):
    """The networks of one model; `critic_unseen`, D2, exists in the transductive variant only."""

    def __init__(
        self,
        encoder: Encoder,
        generator: Generator,
        critic: Critic,
        feedback: Feedback,
        decoder: SemanticDecoder,
        critic_unseen: Critic | None = None,
    ):
        super().__init__()
        self.encoder, self.generator, self.critic, self.feedback, self.decoder = encoder, generator, critic, feedback, decoder
        self.critic_unseen = critic_unseen

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
