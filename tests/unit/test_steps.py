"""Who learns from what: stopped gradients, untouched networks, exact weights of every term, draws."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from zslab.data.xlsa17 import read_xlsa17
from zslab.tfvaegan import losses
from zslab.tfvaegan.networks import Critic, Encoder, Feedback, Generator, Networks, SemanticDecoder
from zslab.tfvaegan.settings import TfvaeganSettings
from zslab.tfvaegan.steps import (
    Batch,
    TrainingState,
    critic_step,
    decoder_step,
    draw,
    encode,
    generate,
    generator_step,
    iteration,
)

CPU = torch.device("cpu")
SETTINGS = TfvaeganSettings(batch_size=6, critic_iter=2, n_synthetic=4, cycle_weight=0.3, lr=1e-3, feedback_lr=1e-3)


def build(data, settings: TfvaeganSettings = SETTINGS, transductive: bool = False, seed: int = 0) -> TrainingState:
    torch.manual_seed(seed)
    d, a, h = data.feature_dim, data.attribute_dim, 8
    networks = Networks(
        Encoder(d, a, a, h),
        Generator(a, a, d, h),
        Critic(d, a, h),
        Feedback(h),
        SemanticDecoder(d, a, h, "unit_norm"),
        Critic(d, 0, h) if transductive else None,
    )
    for _, network in networks.items():  # large weights, so that no gradient is lost in the noise
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.5)
    return TrainingState(networks, settings, CPU)


@pytest.fixture
def data(tiny):
    return read_xlsa17(tiny, "TINY", "res101", "att").stage("test")


@pytest.fixture
def batch(data) -> Batch:
    a = data.attributes[data.train.labels[:6]]
    return Batch(data.train.features[:6], a, a)


def changed(state: TrainingState, before: dict[str, torch.Tensor]) -> set[str]:
    """Names of the networks any of whose parameters differ from `before`."""
    return {key.split(".")[0] for key, value in state.networks.state_dict().items() if not torch.equal(value, before[key])}


def snapshot(state: TrainingState) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in state.networks.state_dict().items()}


def test_no_gradient_reaches_decoder_or_first_pass_through_feedback(data) -> None:
    networks = build(data).networks
    z, a = torch.randn(6, 5), data.attributes[:6]
    generate(networks, z, a, 0.7).sum().backward()
    assert all(p.grad is None for p in networks.decoder.parameters())
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in networks.feedback.parameters())
    with torch.no_grad():
        feedback = networks.feedback(networks.decoder(networks.generator(z, a))[1])
    through_second_pass_only = copy.deepcopy(networks.generator)
    through_second_pass_only.zero_grad()
    through_second_pass_only(z, a, 0.7 * feedback).sum().backward()
    for parameter, expected in zip(networks.generator.parameters(), through_second_pass_only.parameters()):
        assert torch.allclose(parameter.grad, expected.grad)


def test_feedback_of_weight_zero_changes_nothing(data) -> None:
    networks = build(data).networks
    z, a = torch.randn(6, 5), data.attributes[:6]
    assert torch.equal(generate(networks, z, a, 0.0), generate(networks, z, a, None))
    assert not torch.allclose(generate(networks, z, a, 1.0), generate(networks, z, a, None))


@pytest.mark.parametrize("feedback", [None, 0.5])
@pytest.mark.parametrize("encoded_noise", [True, False])
def test_every_parameter_of_a_learner_gets_a_gradient_and_no_other_moves(data, batch, feedback, encoded_noise) -> None:
    state = build(data, replace(SETTINGS, encoded_noise=encoded_noise))
    before = snapshot(state)
    decoder_step(state, batch)
    assert changed(state, before) == {"decoder"}
    before = snapshot(state)
    critic_step(state, batch, torch.randn(6, 5), torch.rand(6, 1), feedback)
    assert changed(state, before) == {"critic"}
    before = snapshot(state)
    draws = draw(data, state.settings, 5, torch.Generator().manual_seed(1), False)
    generator_step(state, batch, draws, None, feedback)
    learners = {"encoder", "generator", "decoder"} | ({"feedback"} if feedback else set())
    assert changed(state, before) == learners
    for name in learners:
        for key, parameter in dict(state.networks.items())[name].named_parameters():
            assert parameter.grad.abs().sum() > 0, f"no gradient for {name}.{key}"


def test_a_frozen_decoder_learns_from_real_features_only(data, batch) -> None:
    state = build(data, replace(SETTINGS, freeze_decoder=True))
    draws = draw(data, state.settings, 5, torch.Generator().manual_seed(1), False)
    before = snapshot(state)
    generator_step(state, batch, draws, None, 1.0)
    assert changed(state, before) == {"encoder", "generator", "feedback"}
    decoder_step(state, batch)
    assert "decoder" in changed(state, before)


def test_without_cycle_loss_there_is_no_decoder(data) -> None:
    state = build(data, replace(SETTINGS, cycle_weight=0.0, feedback_loop=1))
    before = snapshot(state)
    draws = draw(data, state.settings, 5, torch.Generator().manual_seed(1), False)
    found = iteration(state, data, data.attributes, draws, feedback_active=False)
    assert changed(state, before) == {"encoder", "generator", "critic"}
    assert not any("cycle" in name for name in found)


@pytest.mark.parametrize("encoded_noise", [True, False])
def test_one_critic_step_against_its_definition(data, batch, encoded_noise) -> None:
    """Real, fake and penalty terms are one update; its gradient is summed up here term by term."""
    state = build(data, replace(SETTINGS, encoded_noise=encoded_noise))
    state.penalty_weight.fill_(0.8)
    noise, alpha = torch.randn(6, 5), torch.rand(6, 1)
    networks, critic = state.networks, copy.deepcopy(state.networks.critic)
    mean, log_variance = networks.encoder(batch.x, batch.a)
    z = mean + log_variance.div(2).exp() * noise if encoded_noise else noise
    hidden = networks.decoder(networks.generator(z, batch.a))[1]
    x_hat = networks.generator(z, batch.a, 0.5 * networks.feedback(hidden)).detach()
    (10.0 * critic(x_hat, batch.a).mean()).backward()
    (-10.0 * critic(batch.x, batch.a).mean()).backward()
    (10.0 * 0.8 * losses.gradient_penalty(lambda x: critic(x, batch.a), batch.x, x_hat, alpha)).backward()
    critic_step(state, batch, noise, alpha, 0.5)
    for parameter, expected in zip(networks.critic.parameters(), critic.parameters()):
        assert torch.allclose(parameter.grad, expected.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("stale", [False, True])
def test_one_generator_step_against_its_definition(data, batch, stale) -> None:
    """FLO's variant: VAE terms on z from the encoder, adversarial and cycle terms on features from pure noise."""
    state = build(data, replace(SETTINGS, encoded_noise=False, stale_feedback=stale))
    draws = draw(data, state.settings, 5, torch.Generator().manual_seed(1), False)
    reference = copy.deepcopy(state.networks)
    z, mean, log_variance = encode(reference, batch.x, batch.a, draws.vae_noise)
    hidden = reference.decoder(reference.generator(z, batch.a))[1].detach()
    vae_x = reference.generator(z, batch.a, 0.5 * reference.feedback(hidden))
    first = vae_x if stale else reference.generator(draws.generator_noise, batch.a)
    hidden = reference.decoder(first)[1].detach()
    x_hat = reference.generator(draws.generator_noise, batch.a, 0.5 * reference.feedback(hidden))
    total = (
        losses.reconstruction_loss(vae_x, batch.x)
        + losses.kl_divergence(mean, log_variance)
        - 10.0 * reference.critic(x_hat, batch.a).mean()
        + 0.3 * losses.cycle_loss(reference.decoder(x_hat)[0], batch.a)
    )
    total.backward()
    found = generator_step(state, batch, draws, None, 0.5)
    assert found["generator"].item() == pytest.approx(total.item(), rel=1e-6)
    for name in ("encoder", "generator", "feedback", "decoder"):
        for (key, p), q in zip(getattr(state.networks, name).named_parameters(), getattr(reference, name).parameters()):
            assert torch.allclose(p.grad, q.grad, rtol=1e-4, atol=1e-5), f"{name}.{key}"


def test_the_transductive_step_adds_its_two_terms(data, batch) -> None:
    settings = replace(SETTINGS, adversarial_unseen_weight=3.0)
    draws = draw(data, settings, 5, torch.Generator().manual_seed(1), True)
    labels = draws.unseen.classes[-1]
    unseen = Batch(batch.x, data.attributes[labels], data.attributes[labels])
    state, plain = build(data, settings, True), build(data, settings, True)
    x_hat = generate(state.networks, draws.unseen.generator_noise, unseen.a, 0.5)
    extra = (
        -3.0 * state.networks.critic_unseen(x_hat).mean() + 0.3 * losses.cycle_loss(state.networks.decoder(x_hat)[0], unseen.a)
    ).item()
    with_unseen, without = (generator_step(s, batch, draws, u, 0.5) for s, u in ((state, unseen), (plain, None)))
    assert with_unseen["generator"].item() - without["generator"].item() == pytest.approx(extra, rel=1e-4)


def test_both_critics_penalties_are_averaged_for_the_rule(data) -> None:
    state = build(data, SETTINGS, True)
    draws = draw(data, SETTINGS, 5, torch.Generator().manual_seed(1), True)
    found = iteration(state, data, data.attributes, draws, feedback_active=True)
    mean = (found["penalty"] + found["penalty_unseen"]) / 2
    expected = losses.adapt_penalty_weight(torch.tensor(10.0, dtype=torch.float64), mean)
    assert state.penalty_weight.item() == expected.item()
    assert found["penalty"] != found["penalty_unseen"]


def test_draws_are_without_replacement_and_independent(data) -> None:
    draws = draw(data, replace(SETTINGS, critic_iter=4), 5, torch.Generator().manual_seed(0), True)
    assert draws.indices.shape == (4, 6)
    for row in draws.indices:
        assert row.unique().numel() == 6
    assert len({tuple(row.tolist()) for row in draws.indices}) == 4
    assert set(draws.unseen.classes.unique().tolist()) <= set(data.unseen_classes.tolist())


def test_the_unseen_prior_is_uniform_unless_the_labels_are_asked_for(data) -> None:
    """Class 8 makes up all unlabeled samples here, which only `labels` may know."""
    lopsided = replace(data, test_unseen=replace(data.test_unseen, labels=torch.full_like(data.test_unseen.labels, 8)))
    uniform, leaked = (
        draw(lopsided, replace(SETTINGS, critic_iter=9, unseen_prior=prior), 5, torch.Generator().manual_seed(0), True)
        for prior in ("uniform", "labels")
    )
    assert uniform.unseen.classes.unique().tolist() == [6, 7, 8]
    assert leaked.unseen.classes.unique().tolist() == [8]


def test_networks_follow_the_description(data) -> None:
    state = build(data)
    n, d, a, h = state.networks, 7, 5, 8
    shapes = {key: tuple(value.shape) for key, value in n.state_dict().items() if key.endswith("weight")}
    assert shapes == {
        "encoder.hidden.weight": (h, d + a),
        "encoder.bottleneck.weight": (2 * a, h),
        "encoder.mean.weight": (a, 2 * a),
        "encoder.log_variance.weight": (a, 2 * a),
        "generator.hidden.weight": (h, 2 * a),
        "generator.output.weight": (d, h),
        "critic.hidden.weight": (h, d + a),
        "critic.output.weight": (1, h),
        "feedback.first.weight": (h, h),
        "feedback.second.weight": (h, h),
        "decoder.hidden.weight": (h, d),
        "decoder.attributes.weight": (a, h),
    }
    fresh = Generator(400, 100, 50, 600)
    assert fresh.hidden.weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert fresh.hidden.bias.abs().max().item() == 0.0
    x, at = torch.rand(6, d), data.attributes[:6]
    assert ((n.generator(torch.randn(6, a), at) > 0) & (n.generator(torch.randn(6, a), at) < 1)).all()
    assert torch.allclose(n.decoder(x)[0].norm(dim=1), torch.ones(6))
    # LeakyReLU of slope 0.2 in the decoder's hidden layer, by hand.
    pre = x @ n.decoder.hidden.weight.T + n.decoder.hidden.bias
    assert torch.allclose(n.decoder(x)[1], torch.where(pre > 0, pre, 0.2 * pre))


def test_adam_is_set_up_as_the_release_has_it(data) -> None:
    state = build(data, replace(SETTINGS, lr=1e-4, feedback_lr=2e-5, decoder_lr=3e-4, beta1=0.5), True)
    groups = {name: optimizer.param_groups[0] for name, optimizer in state.optimizers.items()}
    assert {name: (g["lr"], g["betas"]) for name, g in groups.items()} == {
        "encoder": (1e-4, (0.9, 0.999)),
        "generator": (1e-4, (0.5, 0.999)),
        "critic": (1e-4, (0.5, 0.999)),
        "critic_unseen": (1e-4, (0.5, 0.999)),
        "feedback": (2e-5, (0.5, 0.999)),
        "decoder": (3e-4, (0.5, 0.999)),
    }
