"""The losses of TF-VAEGAN as pure functions; each returns a 0-d tensor (Narayan et al., ECCV 2020, section 3)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

# Keeps log(x̂) and log(1 − x̂) finite where a sigmoid has saturated; the next float32 below 1 is 1 − 6e-8.
PROBABILITY_MARGIN = 1e-7


def reconstruction_loss(x_hat: Tensor, x: Tensor) -> Tensor:
    """Binary cross-entropy of the VAE.

    Args:
        x_hat: (B, D) in [0, 1], generated.
        x: (B, D) in [0, 1], real.

    Returns:
        Summed over dims, mean over the batch.
    """
    inside = x_hat.clamp(PROBABILITY_MARGIN, 1 - PROBABILITY_MARGIN)
    return F.binary_cross_entropy(inside, x, reduction="sum") / len(x)


def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, exp(log_variance)) ‖ N(0, 1)) of (B, Z) each: summed over dims, mean over the batch."""
    return -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum(dim=1).mean()


def cycle_loss(a_hat: Tensor, a: Tensor) -> Tensor:
    """The release's "weighted L1" between decoded and true attributes.

    Every dimension's error is weighted by its share of the whole, Δ_j² / ‖Δ‖, and gradients flow through the weights:
    Σ_j |Δ_j|³ / ‖Δ‖₂ with Δ = â − a.

    Args:
        a_hat: (B, A) decoded attributes.
        a: (B, A) true attributes.

    Returns:
        Mean over the batch; a sample with Δ = 0 adds 0 and gets gradient 0.
    """
    difference = a_hat - a
    squares = difference.square().sum(dim=1)
    # The inner `where` keeps the root's infinite slope at 0 out of the graph, the outer one 0/0 out of the value.
    norm = torch.where(squares > 0, squares, 1.0).sqrt()
    return (difference.abs().pow(3).sum(dim=1) / norm).mean()


def attribute_cross_entropy(a_hat: Tensor, a: Tensor) -> Tensor:
    """Binary cross-entropy between a sigmoid decoder's â and attributes in [0, 1], both (B, A).

    Takes the place of `cycle_loss` for actions. Summed over dims, mean over the batch.
    """
    return reconstruction_loss(a_hat, a)


def wasserstein_distance(score_real: Tensor, score_fake: Tensor) -> Tensor:
    """What the critic maximises: mean score (B,) of the real features minus that of the generated ones."""
    return score_real.mean() - score_fake.mean()


def gradient_penalty(critic: Callable[[Tensor], Tensor], x: Tensor, x_hat: Tensor, alpha: Tensor) -> Tensor:
    """mean((‖∇D(x̄)‖₂ − 1)²) at x̄ = αx + (1 − α)x̂ (WGAN-GP, Gulrajani et al., NeurIPS 2017, eq. 3).

    Args:
        critic: maps features (B, D) to scores (B,); attributes, if any, are bound to it and not interpolated.
        x, x_hat: (B, D) real and generated features; no gradient flows into them.
        alpha: (B, 1) in [0, 1], one number a sample.

    Returns:
        The penalty without its weight; differentiable in the critic's parameters.
    """
    between = (alpha * x + (1 - alpha) * x_hat).detach().requires_grad_()
    (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    return (slope.norm(dim=1) - 1).square().mean()


def adapt_penalty_weight(penalty_weight: Tensor, penalty: Tensor) -> Tensor:
    """The rule for λ1: one tenth up where the mean penalty is above 1.05, one tenth down below 1.001.

    Args:
        penalty_weight: 0-d, λ1.
        penalty: 0-d, mean((‖∇‖ − 1)²) averaged over an iteration's critic steps. It is computed from the norms; the
            release divides γ_D·λ1·penalty by γ_D·λ1 instead, which is stuck once λ1·penalty underflows.

    Returns:
        0-d, the next λ1.
    """
    raised = torch.where(penalty > 1.05, penalty_weight * 1.1, penalty_weight)
    return torch.where(penalty < 1.001, penalty_weight / 1.1, raised)
