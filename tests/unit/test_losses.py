"""Every loss against a naive loop, the gradient penalty against finite differences, the λ1 rule at its borders."""

import math

import pytest
import torch
from torch import nn

from zslab.shared.wgan import Critic, gradient_penalty, wasserstein_distance
from zslab.tfvaegan.losses import adapt_penalty_weight, attribute_cross_entropy, cycle_loss, kl_divergence, reconstruction_loss

torch.manual_seed(0)
X, X_HAT = torch.rand(4, 3, dtype=torch.float64), torch.rand(4, 3, dtype=torch.float64)


@pytest.mark.parametrize("loss", [reconstruction_loss, attribute_cross_entropy])
def test_cross_entropy_is_summed_over_dims_and_averaged_over_the_batch(loss) -> None:
    expected = 0.0
    for real, made in zip(X.tolist(), X_HAT.tolist()):
        for x, p in zip(real, made):
            expected -= x * math.log(p) + (1 - x) * math.log(1 - p)
    assert loss(X_HAT, X).item() == pytest.approx(expected / 4)


def test_a_saturated_sigmoid_neither_raises_nor_gives_infinity() -> None:
    x_hat = torch.tensor([[0.0, 1.0, 1.0]], requires_grad=True)
    loss = reconstruction_loss(x_hat, torch.tensor([[1.0, 0.0, 1.0]]))
    loss.backward()
    assert loss.item() == 200  # PyTorch stops each logarithm at -100
    assert torch.isfinite(x_hat.grad).all()


@pytest.mark.parametrize("logit", [-25.0, -18.0, -5.0, 5.0, 16.5])
@pytest.mark.parametrize("target", [0.0, 0.3, 1.0])
def test_a_nearly_saturated_sigmoid_keeps_its_gradient(logit: float, target: float) -> None:
    """The gradient of a logit is x̂ − x, however certain the sigmoid is."""
    logits = torch.full((1, 1), logit, requires_grad=True)
    reconstruction_loss(logits.sigmoid(), torch.full((1, 1), target)).backward()
    assert logits.grad.item() == pytest.approx(torch.sigmoid(logits.double()).item() - target, rel=0.1, abs=1e-7)


def test_kl_against_a_loop() -> None:
    mean, log_variance = torch.randn(4, 3, dtype=torch.float64), torch.randn(4, 3, dtype=torch.float64)
    expected = 0.0
    for row_m, row_v in zip(mean.tolist(), log_variance.tolist()):
        for m, v in zip(row_m, row_v):
            expected += -0.5 * (1 + v - m * m - math.exp(v))
    assert kl_divergence(mean, log_variance).item() == pytest.approx(expected / 4)
    assert kl_divergence(torch.zeros(2, 3), torch.zeros(2, 3)).item() == 0.0


def test_cycle_loss_against_a_loop() -> None:
    expected = 0.0
    for made, true in zip(X_HAT.tolist(), X.tolist()):
        delta = [p - q for p, q in zip(made, true)]
        norm = math.sqrt(sum(d * d for d in delta))
        expected += sum(abs(d) * d * d / norm for d in delta)  # |Δ_j|, weighted by Δ_j² / ‖Δ‖
    assert cycle_loss(X_HAT, X).item() == pytest.approx(expected / 4)


def test_gradients_of_the_cycle_loss_flow_through_its_weights() -> None:
    a_hat = X_HAT.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda a: cycle_loss(a, X), (a_hat,))


def test_a_perfect_decoder_has_cycle_loss_and_gradient_zero() -> None:
    a_hat = X.clone().requires_grad_()
    loss = cycle_loss(a_hat, X)
    loss.backward()
    assert loss.item() == 0.0
    assert torch.equal(a_hat.grad, torch.zeros_like(X))


def test_wasserstein_distance_by_hand() -> None:
    assert wasserstein_distance(torch.tensor([1.0, 3.0]), torch.tensor([0.5, 0.5])).item() == 1.5


def test_gradient_penalty_against_finite_differences() -> None:
    critic = Critic(3, 2, 6).double()
    for parameter in critic.parameters():
        nn.init.normal_(parameter)
    a, alpha = torch.rand(4, 2, dtype=torch.float64), torch.rand(4, 1, dtype=torch.float64)
    expected, step = 0.0, 1e-6
    for i in range(4):
        between = alpha[i] * X[i] + (1 - alpha[i]) * X_HAT[i]
        slopes = []
        for j in range(3):
            nudge = torch.zeros(3, dtype=torch.float64)
            nudge[j] = step
            up, down = (critic((between + sign * nudge)[None], a[i][None]).item() for sign in (1, -1))
            slopes.append((up - down) / (2 * step))
        expected += (math.sqrt(sum(s * s for s in slopes)) - 1) ** 2
    penalty = gradient_penalty(critic.compare(X, X_HAT, alpha, a)[2])
    assert penalty.item() == pytest.approx(expected / 4, rel=1e-6)


def test_the_penalty_of_a_linear_critic_is_known_and_differentiable() -> None:
    # D(x) = w·x has the gradient w everywhere: penalty (‖w‖ − 1)², derivative 2(‖w‖ − 1)·w/‖w‖.
    w = torch.tensor([3.0, 4.0], requires_grad=True)
    penalty = gradient_penalty(w.expand(5, 2))
    assert penalty.item() == pytest.approx(16.0)
    (gradient,) = torch.autograd.grad(penalty, w)
    assert gradient.tolist() == pytest.approx([2 * 4 * 0.6, 2 * 4 * 0.8])


@pytest.mark.parametrize(
    ("penalty", "expected"), [(1.051, 11.0), (1.05, 10.0), (1.02, 10.0), (1.001, 10.0), (1.0009, 10 / 1.1), (0.0, 10 / 1.1)]
)
def test_the_rule_for_the_penalty_weight(penalty: float, expected: float) -> None:
    weight = adapt_penalty_weight(torch.tensor(10.0, dtype=torch.float64), torch.tensor(penalty, dtype=torch.float64))
    assert weight.item() == pytest.approx(expected)


def test_the_penalty_weight_comes_back_after_falling_very_low() -> None:
    weight = torch.tensor(10.0, dtype=torch.float64)
    for _ in range(3000):
        weight = adapt_penalty_weight(weight, torch.tensor(0.5))
    assert 0 < weight.item() < 1e-100
    for _ in range(3000):
        weight = adapt_penalty_weight(weight, torch.tensor(2.0))
    assert weight.item() == pytest.approx(10.0)
