"""The fast engine against the plain one: same weights, same random draws, many iterations, every option."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from zslab.shared.heads import SoftmaxHead
from zslab.tfvaegan import fast, steps
from zslab.tfvaegan.losses import gradient_penalty, wasserstein_distance
from zslab.tfvaegan.networks import Critic
from zslab.tfvaegan.settings import TfvaeganSettings
from zslab.tfvaegan.steps import TrainingState

from helpers.plain_head import PlainSoftmaxHead
from helpers.tfvaegan_state import PLAIN, A, B, D, H, Z, build_state, toy_data

ITERATIONS = 24

OPTIONS = {
    "release": {},
    "noise": {"encoded_noise": False},
    "stale": {"encoded_noise": False, "stale_feedback": True},
    "frozen": {"freeze_decoder": True},
    "frozen noise": {"freeze_decoder": True, "encoded_noise": False},
    "no decoder": {"cycle_weight": 0.0},
    "no decoder, noise": {"cycle_weight": 0.0, "encoded_noise": False},
    "cross-entropy": {"attribute_loss": "cross_entropy"},
    "cross-entropy, noise": {"attribute_loss": "cross_entropy", "encoded_noise": False},
    "weak feedback": {"feedback_train": 0.1},
    "negligible penalty": {"penalty_weight": 1e-20},
}


@pytest.fixture
def double() -> Iterator[None]:
    """Float64 everywhere: what rounding cannot explain stands out."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def twins(settings: TfvaeganSettings, transductive: bool) -> tuple[TrainingState, TrainingState]:
    """Two states with the same weights."""
    torch.manual_seed(5)
    first = build_state(settings, transductive)
    second = build_state(settings, transductive)
    second.networks.load_state_dict(first.networks.state_dict())
    return first, second


def distance(found: Tensor, expected: Tensor) -> float:
    """Largest difference, relative to the largest entry; for losses, which are means of numbers near 1, to at least 1."""
    scale = expected.abs().max().clamp_min(1.0 if expected.dim() == 0 else 1e-12)
    return ((found - expected).abs().max() / scale).item()


def largest_distance(
    settings: TfvaeganSettings, transductive: bool, loops: tuple[bool, ...], adam_eps: float = 1e-8, n: int = ITERATIONS
) -> float:
    """Runs both engines side by side for n iterations, feedback as `loops` says in turn.

    Returns:
        The largest relative distance met in any loss, in λ1, and in the final parameters and Adam states.
    """
    eager, quick = twins(settings, transductive)
    for state in (eager, quick):
        for optimizer in state.optimizers.values():
            optimizer.param_groups[0]["eps"] = adam_eps
    data = toy_data()
    targets = (data.attributes - data.attributes.min()) / (data.attributes.max() - data.attributes.min())
    generator, distances = torch.Generator().manual_seed(1), []
    for i in range(n):
        draws = steps.draw(data, settings, Z, generator, transductive)
        active = loops[i % len(loops)]
        expected = steps.iteration(eager, data, targets, draws, active) | {"lambda1": eager.penalty_weight}
        found = fast.iteration(quick, data, targets, draws, active) | {"lambda1": quick.penalty_weight}
        assert found.keys() == expected.keys()
        assert not any(loss.requires_grad for loss in found.values())
        distances += [distance(found[name], expected[name]) for name in expected]
    found, expected = quick.networks.state_dict(), eager.networks.state_dict()
    distances += [distance(found[name], expected[name]) for name in expected]
    for name in eager.optimizers:
        found, expected = (state.optimizers[name].state_dict()["state"] for state in (quick, eager))
        assert found.keys() == expected.keys(), f"only one engine updated the {name}"
        distances += [distance(found[i][key], expected[i][key]) for i in expected for key in expected[i]]
    return max(distances)


LOOPS = pytest.mark.parametrize("loops", [(False,), (False, True)], ids=["plain", "feedback"])
PRIORS = pytest.mark.parametrize("prior", [None, "uniform", "labels"], ids=["inductive", "uniform", "labels"])


@pytest.mark.slow
@LOOPS
@PRIORS
@pytest.mark.parametrize("options", OPTIONS)
def test_engines_agree_in_double_precision(options: str, prior: str | None, loops: tuple[bool, ...], double: None) -> None:
    """Adam turns a gradient g near 0 into a step lr·g/ε: rounding, 1e-17 of a sum that cancels, into 1e-17·lr/1e-8."""
    settings = replace(PLAIN, **OPTIONS[options], unseen_prior=prior or "uniform")
    assert largest_distance(settings, prior is not None, loops) < 1e-8


@LOOPS
@PRIORS
@pytest.mark.parametrize("options", ["release", "noise", "frozen"])
def test_engines_agree_in_single_precision(options: str, prior: str | None, loops: tuple[bool, ...]) -> None:
    """With Adam's own ε of 1e-8, below float32's rounding of the gradients, this would compare noise with noise.

    A critic's unit that is on for as many real as generated samples has a bias gradient of 0 but for rounding, and Adam
    makes of it a full step in either direction, in both engines. With a larger ε the mathematics can be compared.
    """
    settings = replace(PLAIN, **OPTIONS[options], unseen_prior=prior or "uniform")
    assert largest_distance(settings, prior is not None, loops, adam_eps=1e-2) < 1e-5


def critic_gradients(critic: Critic, a: Tensor | None, x: Tensor, x_hat: Tensor, alpha: Tensor) -> dict[str, Tensor]:
    """What `fast.critic_gradients` leaves behind."""
    for parameter in critic.parameters():
        parameter.grad = torch.full_like(parameter, torch.nan)  # whatever is not written shows
    with torch.no_grad():
        fast.critic_gradients(critic, 10.0, torch.tensor(30.0), x, x_hat, alpha, a)
    return {name: parameter.grad for name, parameter in critic.named_parameters()}


@pytest.mark.parametrize("attribute_dim", [A, 0])
def test_closed_form_of_the_critics_gradients_is_autograds(attribute_dim: int, double: None) -> None:
    torch.manual_seed(2)
    critic = Critic(D, attribute_dim, H)
    for parameter in critic.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    x, x_hat, alpha, a = torch.rand(B, D), torch.rand(B, D), torch.rand(B, 1), torch.rand(B, A)
    a = a if attribute_dim else None
    distance = wasserstein_distance(critic(x, a), critic(x_hat, a))
    penalty = gradient_penalty(lambda between: critic(between, a), x, x_hat, alpha)
    parameters = dict(critic.named_parameters())
    expected = torch.autograd.grad(30 * penalty - 10 * distance, list(parameters.values()))
    found = critic_gradients(critic, a, x, x_hat, alpha)
    for name, gradient in zip(parameters, expected):
        torch.testing.assert_close(found[name], gradient, rtol=1e-11, atol=1e-11)


def test_a_critic_without_slope_gets_the_gradient_autograd_gives_and_no_nan() -> None:
    critic = Critic(D, 0, H)
    torch.nn.init.zeros_(critic.output.weight)
    x, x_hat, alpha = torch.rand(B, D), torch.rand(B, D), torch.rand(B, 1)
    penalty = gradient_penalty(critic, x, x_hat, alpha)
    distance = wasserstein_distance(critic(x), critic(x_hat))
    expected = torch.autograd.grad(30 * penalty - 10 * distance, list(critic.parameters()))
    assert penalty == 1
    for found, gradient in zip(critic_gradients(critic, None, x, x_hat, alpha).values(), expected):
        torch.testing.assert_close(found, gradient)


def test_gradients_and_penalty_weight_stay_where_they_are() -> None:
    """Allocating them anew costs page faults, and a captured graph could not follow."""
    _, state = twins(PLAIN, transductive=True)
    data, generator = toy_data(), torch.Generator().manual_seed(3)

    def places() -> list[int]:
        tensors = [p.grad for _, network in state.networks.items() for p in network.parameters()]
        return [tensor.data_ptr() for tensor in [*tensors, state.penalty_weight]]

    def iterate() -> None:
        fast.iteration(state, data, data.attributes, steps.draw(data, PLAIN, Z, generator, True), True)

    iterate()
    before = places()
    iterate()
    assert places() == before


def test_an_iteration_builds_no_graph_and_leaves_resting_networks_alone() -> None:
    settings = replace(PLAIN, freeze_decoder=True, cycle_weight=0.0)
    _, state = twins(settings, transductive=False)
    data, before = toy_data(), {name: value.clone() for name, value in state.networks.state_dict().items()}
    draws = steps.draw(data, settings, Z, torch.Generator().manual_seed(3), False)
    fast.iteration(state, data, data.attributes, draws, feedback_active=False)
    changed = {name.split(".")[0] for name, value in state.networks.state_dict().items() if not value.equal(before[name])}
    assert changed == {"encoder", "generator", "critic"}


@pytest.mark.parametrize("n", [50, 4], ids=["batches", "fewer samples than a batch"])
def test_softmax_head_is_the_plain_one(n: int, double: None) -> None:
    torch.manual_seed(4)
    features, labels = torch.rand(n, D), torch.arange(n) % 4 + 3  # the last batch of an epoch is smaller
    settings = {"lr": 1e-2, "epochs": 6, "batch_size": 12}
    plain = PlainSoftmaxHead(**settings).fit(features, labels, torch.Generator().manual_seed(6))
    head = SoftmaxHead(**settings).fit(features, labels, torch.Generator().manual_seed(6))
    torch.testing.assert_close(head.weight_, plain.weight_, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(head.bias_, plain.bias_, rtol=1e-11, atol=1e-11)
    assert head.predict(features).equal(plain.predict(features))


def test_softmax_head_is_the_plain_one_in_single_precision() -> None:
    torch.manual_seed(4)
    features, labels = torch.rand(50, D), torch.arange(50) % 4
    plain, head = (
        kind(lr=1e-2, epochs=6, batch_size=12).fit(features, labels, torch.Generator().manual_seed(6))
        for kind in (PlainSoftmaxHead, SoftmaxHead)
    )
    assert distance(head.weight_, plain.weight_) < 1e-5
