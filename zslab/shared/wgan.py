"""The conditional Wasserstein GAN with gradient penalty that feature-generating methods share: generator, critic, losses.

Sources: Gulrajani et al., "Improved Training of Wasserstein GANs", NeurIPS 2017; Xian et al., "Feature Generating Networks for
Zero-Shot Learning", CVPR 2018; sizes and initial weights as in the release of TF-VAEGAN (Narayan et al., ECCV 2020).

Symbols in the shape comments: B batch, D feature_dim, A attribute_dim, Z latent_dim, H hidden_dim. Every weight starts as
N(0, 0.02), every bias as 0, every LeakyReLU has slope 0.2. Networks hold no state but their parameters.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zslab.utils.precision import linear

SLOPE = 0.2


def initialize(module: nn.Module) -> None:
    """Draw a linear layer's weights from N(0, 0.02) and set its biases to 0; used as `network.apply(initialize)`."""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)


def leaky_relu(x: Tensor) -> Tensor:
    """Return LeakyReLU with slope 0.2 of a tensor of any shape."""
    return F.leaky_relu(x, SLOPE)


class Linear(nn.Linear):
    """A linear layer whose result has its input's precision, also where autocast computes the product in bfloat16."""

    def forward(self, x: Tensor) -> Tensor:
        """Map x (n, in) to (n, out)."""
        return linear(x, self.weight, self.bias)


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
        return score(leaky_relu(self.hidden(joint)), self.output.weight, self.output.bias)

    def compare(self, x: Tensor, x_hat: Tensor, alpha: Tensor, a: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Score real and generated features, and differentiate D between them; no gradient flows into the arguments.

        Args:
            x: (B, D) real features.
            x_hat: (B, D) generated features.
            alpha: (B, 1) in [0, 1].
            a: (B, A) attributes, or None for D2.

        Returns:
            Scores of real and of generated features, both (B,), and ∇D (B, D) at αx + (1 − α)x̂, for the gradient penalty.
        """
        a = x[:, :0] if a is None else a
        scores, slope = Comparison.apply(x, x_hat, alpha, a, *self.hidden.parameters(), *self.output.parameters())
        return scores[0], scores[1], slope


def score(h: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return w · h + b (...) for h (..., H), weight (1, H) and bias (1,); no matrix product, so always in full precision."""
    return (h * weight).sum(dim=-1) + bias


def times_slope(x: Tensor, p: Tensor) -> Tensor:
    """Return x ⊙ slope(p), where the slope is LeakyReLU's: 1 for p > 0 and 0.2 elsewhere."""
    product: Tensor = torch.ops.aten.leaky_relu_backward(x, p, SLOPE, False)
    return product


class Comparison(torch.autograd.Function):
    """`Critic.compare` with gradients in closed form.

    With p = W₁ₓ x + W₁ₐ a + b₁, the critic is D(x, a) = w₂ · leaky_relu(p) + b₂. Let s = w₂ ⊙ slope(p).

    - p is linear in x. At x̄ = αx + (1 − α)x̂ it is p̄ = αp + (1 − α)p̂, which needs no matrix product.
    - ∇D(x̄) = W₁ₓᵀ s̄. The slope is constant almost everywhere, so no second derivative is needed.
    - For a loss with gradients d_score and d_∇: d_p = d_score · s, d_W₁ₓ = Σ d_p xᵀ + Σ s̄ d_∇ᵀ, d_W₁ₐ = Σ d_p aᵀ,
      d_w₂ = Σ d_score · leaky_relu(p) + Σ slope(p̄) ⊙ (W₁ₓ d_∇).

    Autograd would find the same by itself, but fill, copy and add three gradients as large as W₁ (38 MB for CUB), which takes a
    sixth of the time on a CPU. Here one product of [d_p; d_p̂; s̄] and [x; x̂; d_∇] makes the sum.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, x_hat: Tensor, alpha: Tensor, a: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return scores (2, B) of x and x̂, and ∇D (B, D)."""
        w_features, w_attributes = w1.split([x.shape[1], a.shape[1]], dim=1)
        features = torch.cat([x, x_hat])
        p = linear(features, w_features).view(2, len(x), -1) + linear(a, w_attributes, b1)
        p = torch.cat([p, torch.lerp(p[1], p[0], alpha)[None]])
        h, s = leaky_relu(p[:2]), times_slope(w2.expand_as(p), p)
        ctx.save_for_backward(features, a, w_features, p, h, s)
        return score(h, w2, b2), linear(s[2], w_features.T)

    @staticmethod
    def backward(ctx: Any, d_scores: Tensor, d_slope: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of w1, b1, w2 and b2, for d_scores (2, B) and d_slope (B, D)."""
        features, a, w_features, p, h, s = ctx.saved_tensors
        d_score = d_scores.unsqueeze(2)
        d_p = d_score * s[:2]
        left, right = torch.cat([*d_p, s[2]]), torch.cat([features, d_slope])
        d_w1 = torch.cat([linear(left.T, right.T), linear(d_p.sum(dim=0).T, a.T)], dim=1)
        d_w2 = (d_score * h).sum(dim=(0, 1)) + times_slope(linear(d_slope, w_features), p[2]).sum(dim=0)
        return None, None, None, None, d_w1, d_p.sum(dim=(0, 1)), d_w2[None], d_scores.sum()[None]


def wasserstein_distance(score_real: Tensor, score_fake: Tensor) -> Tensor:
    """Return what the critic maximizes: the mean score of real minus that of generated features (eq. 2).

    Args:
        score_real: (B,) scores of real features.
        score_fake: (B,) scores of generated features.

    Returns:
        0-d.
    """
    return score_real.mean() - score_fake.mean()


def gradient_penalty(slope: Tensor) -> Tensor:
    """Return the gradient penalty mean((‖∇D‖₂ − 1)²), 0-d, for ∇D (B, D) between real and generated features.

    Source: WGAN-GP, Gulrajani et al., NeurIPS 2017, eq. 3; eq. 2 of TF-VAEGAN.
    """
    penalty: Tensor = (slope.norm(dim=1) - 1).square().mean()
    return penalty
