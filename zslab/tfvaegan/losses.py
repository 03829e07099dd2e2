"""The losses of TF-VAEGAN as pure functions; each returns a 0-d tensor.

Source: Narayan et al., ECCV 2020, section 3, and the authors' release. Symbols in the shape comments: B batch,
D feature_dim, A attribute_dim, Z latent_dim.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from zslab.utils.precision import autocast


def reconstruction_loss(x_hat: Tensor, x: Tensor) -> Tensor:
    """Return the binary cross-entropy of the VAE's reconstruction (section 3.1, eq. 1).

    PyTorch stops the logarithms at −100, so the value is finite where a sigmoid has saturated. Through the sigmoid the
    gradient stays x̂ − x until float32 rounds x̂ to 1.

    Args:
        x_hat: (B, D) in [0, 1], generated features.
        x: (B, D) in [0, 1], real features.

    Returns:
        0-d: summed over dimensions, averaged over the batch.
    """
    with autocast(
        x.device, False
    ):  # PyTorch refuses this loss otherwise on CUDA, where x_hat could be bfloat16; here it is not
        return F.binary_cross_entropy(x_hat, x, reduction="sum") / len(x)


def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return KL(N(μ, σ²) ‖ N(0, 1)) of the encoder's output (eq. 1).

    Args:
        mean: μ (B, Z).
        log_variance: log σ² (B, Z).

    Returns:
        0-d: summed over dimensions, averaged over the batch.
    """
    return -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum(dim=1).mean()


def cycle_loss(a_hat: Tensor, a: Tensor) -> Tensor:
    """Return the cycle loss between decoded and true attributes, the release's "weighted L1" (section 3.1, eq. 4).

    With Δ = â − a this is Σ_j |Δ_j|³ / ‖Δ‖₂: the L1 error of every dimension, weighted by Δ_j² / ‖Δ‖₂. Gradients flow
    through the weights too.

    Args:
        a_hat: (B, A) decoded attributes.
        a: (B, A) true attributes.

    Returns:
        0-d: averaged over the batch; a sample with Δ = 0 contributes 0 and gets gradient 0.
    """
    difference = a_hat - a
    squares = difference.square().sum(dim=1)
    # At 0 the square root has an infinite slope, which would turn the gradient into NaN.
    norm = torch.where(squares > 0, squares, 1.0).sqrt()
    return (difference.abs().pow(3).sum(dim=1) / norm).mean()


def attribute_cross_entropy(a_hat: Tensor, a: Tensor) -> Tensor:
    """Return the binary cross-entropy of a sigmoid decoder, which replaces `cycle_loss` for actions (release).

    Args:
        a_hat: (B, A) in [0, 1], decoded attributes.
        a: (B, A) in [0, 1], true attributes.

    Returns:
        0-d: summed over dimensions, averaged over the batch.
    """
    return reconstruction_loss(a_hat, a)


def adapt_penalty_weight(penalty_weight: Tensor, penalty: Tensor) -> Tensor:
    """Return the next λ1: multiplied by 1.1 where the mean penalty exceeds 1.05, divided by 1.1 where it is below 1.001.

    Source: the release, after every group of critic steps. The release computes the penalty as γ_D·λ1·penalty / (γ_D·λ1),
    which cannot recover once λ1·penalty underflows; here it comes from the gradients' norms.

    Args:
        penalty_weight: 0-d, λ1.
        penalty: 0-d, mean((‖∇‖ − 1)²) averaged over an iteration's critic steps.

    Returns:
        0-d.
    """
    raised = torch.where(penalty > 1.05, penalty_weight * 1.1, penalty_weight)
    return torch.where(penalty < 1.001, penalty_weight / 1.1, raised)
