"""The fast engine against the plain one: same weights, same random draws, many iterations, every option."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from zsl.data.xlsa17 import Samples, StageData
from zsl.tfvaegan import fast, steps
from zsl.tfvaegan.networks import AttributeOutput, Critic, Encoder, Feedback, Generator, Networks, SemanticDecoder
from zsl.tfvaegan.steps import Settings, TrainingState

D, A, Z, H, B, K = 23, 7, 5, 19, 8, 3
N_SEEN, N_UNSEEN = 6, 4
ITERATIONS = 24
CPU = torch.device("cpu")

PLAIN = Settings(batch_size=B, critic_iter=K, cycle_weight=0.3, lr=1e-3, feedback_lr=1e-3, decoder_lr=1e-3)
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
}


@pytest.fixture
def double() -> Iterator[None]:
    """Float64 everywhere: what rounding cannot explain stands out."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def toy_data() -> StageData:
    """Random features of N_SEEN seen and N_UNSEEN unseen classes, in the default dtype."""
    def samples(classes: Tensor, n: int) -> Samples:
        return Samples(torch.rand(n, D), classes[torch.arange(n) % len(classes)])

    seen, unseen = torch.arange(N_SEEN), torch.arange(N_SEEN, N_SEEN + N_UNSEEN)
    attributes = torch.nn.functional.normalize(torch.rand(N_SEEN + N_UNSEEN, A), dim=1)
    return StageData("test", attributes, seen, unseen, samples(seen, 40), samples(seen, 12), samples(unseen, 20))


def build_state(settings: Settings, transductive: bool) -> TrainingState:
    output: AttributeOutput = "unit_norm" if settings.attribute_loss == "cycle" else "sigmoid"
    networks = Networks(
        Encoder(D, A, Z, H), Generator(Z, A, D, H), Critic(D, A, H + 2), Feedback(H), SemanticDecoder(D, A, H, output),
        Critic(D, 0, H + 1) if transductive else None,
    )
    with torch.no_grad():  # weights as a trained model has them: N(0, 0.02) would leave all activations near 0
        for name, network in networks.items():
            for parameter in network.parameters():
                parameter.normal_(std=0.3 if name != "critic" else 0.6)
    return TrainingState(networks, settings, CPU)


def twins(settings: Settings, transductive: bool) -> tuple[TrainingState, TrainingState]:
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
    settings: Settings, transductive: bool, loops: tuple[bool, ...], adam_eps: float = 1e-8, n: int = ITERATIONS
) -> float:
    """Runs both engines side by side for n iterations, feedback as `loops` says in turn.

    Returns:
        The largest relative distance met in any loss, in λ1, and in the final parameters and Adam states.
    """
    eager, quick = twins(settings, transductive)
    for state in (eager, quick):
        for optimiser in state.optimisers.values():
            optimiser.param_groups[0]["eps"] = adam_eps
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
    for name in eager.optimisers:
        found, expected = (state.optimisers[name].state_dict()["state"] for state in (quick, eager))
        assert found.keys() == expected.keys(), f"only one engine updated the {name}"
        distances += [distance(found[i][key], expected[i][key]) for i in expected for key in expected[i]]
    return max(distances)


LOOPS = pytest.mark.parametrize("loops", [(False,), (False, True)], ids=["plain", "feedback"])
PRIORS = pytest.mark.parametrize("prior", [None, "uniform", "labels"], ids=["inductive", "uniform", "labels"])


@LOOPS
@PRIORS
@pytest.mark.parametrize("options", OPTIONS)
def test_engines_agree_in_double_precision(options: str, prior: str | None, loops: tuple[bool, ...], double: None) -> None:
    """Adam turns a gradient g near 0 into a step lr·g/ε: rounding, 1e-17 of a sum that cancels, into 1e-17·lr/1e-8."""
    settings = replace(PLAIN, **OPTIONS[options], unseen_prior=prior or "uniform")
    d = largest_distance(settings, prior is not None, loops)
    print("FIG", d)
    assert d < 1e-9


@LOOPS
@PRIORS
@pytest.mark.parametrize("options", ["release", "noise", "frozen"])
def test_engines_agree_in_single_precision(options: str, prior: str | None, loops: tuple[bool, ...]) -> None:
    """With Adam's own ε of 1e-8, below float32's rounding of the gradients, this would compare noise with noise.

    A critic's unit that is on for as many real as generated samples has a bias gradient of 0 but for rounding, and Adam
    makes of it a full step in either direction, in both engines. With a larger ε the mathematics can be compared.
    """
    settings = replace(PLAIN, **OPTIONS[options], unseen_prior=prior or "uniform")
    d = largest_distance(settings, prior is not None, loops, adam_eps=1e-2)
    print("FIG", d, largest_distance(settings, prior is not None, loops))
    assert d < 1e-5
