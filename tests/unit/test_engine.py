"""The engine against the plain loop of `helpers/plain_port.py`: same weights and draws, many iterations, every option."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from zslab.config import ImageConfig
from zslab.shared.wgan import Comparison, Critic, gradient_penalty, wasserstein_distance
from zslab.tfvaegan import steps
from zslab.tfvaegan.steps import TrainingState

from helpers.plain_port import PlainTraining
from helpers.tfvaegan_state import CONFIG, CPU, A, B, D, Z, build_networks, build_state, toy_data

ITERATIONS = 24

OPTIONS = {
    "release": {},
    "noise": {"encoded_noise": False},
    "stale": {"encoded_noise": False, "stale_feedback": True},
    "frozen": {"freeze_dec": True},
    "frozen noise": {"freeze_dec": True, "encoded_noise": False},
    "no decoder": {"recons_weight": 0.0},
    "no decoder, noise": {"recons_weight": 0.0, "encoded_noise": False},
    "cross-entropy": {"bce_att": True},
    "cross-entropy, noise": {"bce_att": True, "encoded_noise": False},
    "weak feedback": {"a1": 0.1},
    "negligible penalty": {"lambda1": 1e-20},
}


@pytest.fixture
def double() -> Iterator[None]:
    """Float64 everywhere: what rounding cannot explain stands out."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def distance(found: Tensor, expected: Tensor) -> float:
    """Largest difference, relative to the largest entry; for losses, which are means of numbers near 1, to at least 1."""
    scale = expected.abs().max().clamp_min(1.0 if expected.dim() == 0 else 1e-12)
    return ((found - expected).abs().max() / scale).item()


def largest_distance(config: ImageConfig, feedback_loop: int, adam_eps: float = 1e-8) -> float:
    """Run engine and plain loop side by side, with feedback in every other iteration where `feedback_loop` is 2.

    Returns:
        The largest relative distance met in any loss, in λ1, and in the final parameters and Adam states.
    """
    torch.manual_seed(5)
    engine, data = build_state(config), toy_data()
    networks = build_networks(config)
    networks.load_state_dict(engine.networks.state_dict())
    targets = (data.attributes - data.attributes.min()) / (data.attributes.max() - data.attributes.min())
    plain = PlainTraining(networks, config, data, CPU, targets)
    for optimizer in (*engine.optimizers.values(), *plain.adam.values()):
        optimizer.param_groups[0]["eps"] = adam_eps
    generator, distances = torch.Generator().manual_seed(1), []
    for i in range(ITERATIONS):
        draws = steps.draw(data, config, Z, generator, config.transductive)
        feedback = i % feedback_loop == 1
        expected = plain.iteration(draws, feedback) | {"lambda1": plain.penalty_weight}
        found = steps.iteration(engine, data, targets, draws, feedback) | {"lambda1": engine.penalty_weight}
        assert found.keys() == expected.keys()
        assert not any(loss.requires_grad for loss in found.values())
        distances += [distance(found[name], torch.tensor(expected[name], dtype=torch.float64)) for name in expected]
    expected = networks.state_dict()
    distances += [distance(value, expected[name]) for name, value in engine.networks.state_dict().items()]
    for name in engine.optimizers:
        found, expected = (x.state_dict()["state"] for x in (engine.optimizers[name], plain.adam[name]))
        assert found.keys() == expected.keys(), f"only one of the two trains the {name}"
        distances += [distance(found[i][key], expected[i][key]) for i in expected for key in expected[i]]
    return max(distances)


FEEDBACK_LOOPS = pytest.mark.parametrize("feedback_loop", [1, 2])
PRIORS = pytest.mark.parametrize("prior", [None, "uniform", "labels"], ids=["inductive", "uniform", "labels"])


def variant(options: str, prior: str | None) -> ImageConfig:
    return replace(CONFIG, **OPTIONS[options], transductive=prior is not None, unseen_prior=prior or "uniform")


@pytest.mark.slow
@FEEDBACK_LOOPS
@PRIORS
@pytest.mark.parametrize("options", OPTIONS)
def test_the_engine_is_the_plain_loop_in_double_precision(options, prior, feedback_loop, double) -> None:
    """Adam turns a gradient g near 0 into a step lr·g/ε: rounding, 1e-17 of a sum that cancels, into 1e-17·lr/1e-8."""
    assert largest_distance(variant(options, prior), feedback_loop) < 1e-8


@pytest.mark.slow
@FEEDBACK_LOOPS
@PRIORS
@pytest.mark.parametrize("options", ["release", "noise", "frozen"])
def test_the_engine_is_the_plain_loop_in_single_precision(options, prior, feedback_loop) -> None:
    """With Adam's own ε of 1e-8, below float32's rounding of the gradients, this would compare noise with noise.

    A critic's unit that is on for as many real as generated samples has a bias gradient of 0 but for rounding, and Adam
    makes of it a full step in either direction. With a larger ε the mathematics can be compared.
    """
    assert largest_distance(variant(options, prior), feedback_loop, adam_eps=1e-2) < 1e-5


# ---- the critic's comparison -----------------------------------------------------------------------------------------


def critic_and_batch(attribute_dim: int) -> tuple[Critic, tuple[Tensor, Tensor, Tensor, Tensor]]:
    torch.manual_seed(2)
    critic = Critic(D, attribute_dim, 19)
    for parameter in critic.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return critic, (torch.rand(B, D), torch.rand(B, D), torch.rand(B, 1), torch.rand(B, attribute_dim))


@pytest.mark.parametrize("attribute_dim", [A, 0])
def test_the_comparison_is_what_the_critics_forward_pass_gives(attribute_dim: int, double: None) -> None:
    critic, (x, x_hat, alpha, a) = critic_and_batch(attribute_dim)
    between = (alpha * x + (1 - alpha) * x_hat).requires_grad_()
    (slope,) = torch.autograd.grad(critic(between, a).sum(), between)
    found = critic.compare(x, x_hat, alpha, a if attribute_dim else None)
    for value, expected in zip(found, (critic(x, a), critic(x_hat, a), slope), strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("attribute_dim", [A, 0])
def test_the_comparisons_gradients_are_those_of_finite_differences(attribute_dim: int, double: None) -> None:
    critic, batch = critic_and_batch(attribute_dim)
    assert torch.autograd.gradcheck(lambda *parameters: Comparison.apply(*batch, *parameters), tuple(critic.parameters()))


def test_a_critic_without_slope_gets_a_finite_gradient() -> None:
    critic, (x, x_hat, alpha, a) = critic_and_batch(A)
    torch.nn.init.zeros_(critic.output.weight)
    real, generated, slope = critic.compare(x, x_hat, alpha, a)
    penalty = gradient_penalty(slope)
    assert penalty == 1
    for gradient in torch.autograd.grad(30 * penalty - wasserstein_distance(real, generated), list(critic.parameters())):
        assert gradient.isfinite().all()


# ---- what a researcher and a CUDA graph rely on ----------------------------------------------------------------------


def test_a_term_added_to_the_generators_loss_trains(monkeypatch) -> None:
    """Also if it replaces one: whatever the loss functions in `steps` give is what is differentiated."""
    changed = build_state()
    plain = build_state()
    plain.networks.load_state_dict(changed.networks.state_dict())
    data, draws = toy_data(), None
    draws = steps.draw(data, CONFIG, Z, torch.Generator().manual_seed(3), False)
    steps.iteration(plain, data, data.attributes, draws, True)
    original = steps.reconstruction_loss
    monkeypatch.setattr(steps, "reconstruction_loss", lambda x_hat, x: original(x_hat, x) + x_hat.square().sum())
    steps.iteration(changed, data, data.attributes, draws, True)
    for name in ("encoder", "generator", "feedback"):
        assert not weights(changed, name).equal(weights(plain, name))
    assert weights(changed, "critic").equal(weights(plain, "critic"))


def weights(state: TrainingState, name: str) -> Tensor:
    return torch.cat([parameter.flatten() for parameter in getattr(state.networks, name).parameters()])


def test_what_lasts_stays_where_it_is() -> None:
    """A captured graph reads and writes the same memory in every replay."""
    config = replace(CONFIG, transductive=True)
    state, data, generator = build_state(config), toy_data(), torch.Generator().manual_seed(3)

    def places() -> list[int]:
        return [tensor.data_ptr() for tensor in state.tensors().values()]

    def iterate() -> None:
        steps.iteration(state, data, data.attributes, steps.draw(data, config, Z, generator, True), True)

    iterate()
    before = places()
    iterate()
    assert places() == before
