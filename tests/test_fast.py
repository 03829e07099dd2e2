"""The fast engine against the plain one: same weights, same random draws, many iterations, every option."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from zsl.data.xlsa17 import Samples, StageData
from zsl.tfvaegan import fast, steps
from zsl.tfvaegan.losses import gradient_penalty, wasserstein_distance
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


def distance(a: Tensor, b: Tensor) -> float:
    """Largest difference, relative to the largest entry."""
    return ((a - b).abs().max() / b.abs().max().clamp_min(1e-12)).item()


def run_both(settings: Settings, transductive: bool, loops: tuple[bool, ...]) -> tuple[float, float]:
    """ITERATIONS iterations of both engines side by side, feedback as `loops` says in turn.

    Returns:
        The largest relative distances met in any loss (λ1 included) and in any final parameter or Adam state.
    """
    eager, quick = twins(settings, transductive)
    data = toy_data()
    targets = (data.attributes - data.attributes.min()) / (data.attributes.max() - data.attributes.min())
    generator, worst = torch.Generator().manual_seed(1), 0.0
    for i in range(ITERATIONS):
        draws = steps.draw(data, settings, Z, generator, transductive)
        active = loops[i % len(loops)]
        expected = steps.iteration(eager, data, targets, draws, active)
        found = fast.iteration(quick, data, targets, draws, active)
        assert found.keys() == expected.keys()
        expected, found = expected | {"lambda1": eager.penalty_weight}, found | {"lambda1": quick.penalty_weight}
        assert all(not loss.requires_grad for loss in found.values())
        worst = max(worst, *(distance(found[name], expected[name]) for name in expected))
    state = [distance(q, e) for e, q in zip(eager.networks.state_dict().values(), quick.networks.state_dict().values())]
    for name, optimiser in eager.optimisers.items():
        expected, found = optimiser.state_dict()["state"], quick.optimisers[name].state_dict()["state"]
        assert found.keys() == expected.keys(), f"the {name} was updated by one engine only"
        state += [distance(found[i][key], expected[i][key]) for i in expected for key in expected[i]]
    return worst, max(state)


@pytest.mark.parametrize("loops", [(False,), (True,), (False, True)], ids=["plain", "feedback", "alternating"])
@pytest.mark.parametrize("transductive", [False, "uniform", "labels"], ids=["inductive", "uniform", "labels"])
@pytest.mark.parametrize("options", OPTIONS)
def test_engines_agree_in_double_precision(options: str, transductive: bool | str, loops: tuple[bool, ...], double) -> None:
    settings = replace(PLAIN, **OPTIONS[options])
    if transductive:
        settings = replace(settings, unseen_prior=transductive)
    losses, state = run_both(settings, bool(transductive), loops)
    print("FIG", losses, state)
    assert losses < 1e-9
    assert state < 1e-9
