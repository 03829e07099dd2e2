"""Who learns from what: stopped gradients, untouched networks, exact weights of every term, draws."""

import copy
from dataclasses import replace

import pytest
import torch

from zslab.config import ImageConfig
from zslab.data.xlsa17 import read_xlsa17
from zslab.errors import InputError
from zslab.shared.wgan import Generator
from zslab.tfvaegan import losses
from zslab.tfvaegan.networks import Networks
from zslab.tfvaegan.steps import (
    Batch,
    TrainingState,
    critic_step,
    decode_and_generate,
    decoder_step,
    draw,
    encode,
    generate,
    generator_step,
    iteration,
)

from helpers.configs import tfvaegan
from helpers.tfvaegan_trainer import CONFIG as TRAINER_CONFIG
from helpers.tfvaegan_trainer import build as build_trainer

CPU = torch.device("cpu")
CONFIG = tfvaegan(batch_size=6, critic_iter=2, ngh=8, ndh=8, recons_weight=0.3, lr=1e-3, feed_lr=1e-3)


def build(data, config: ImageConfig = CONFIG) -> TrainingState:
    torch.manual_seed(0)
    networks = Networks.build(config, data.feature_dim, data.attribute_dim)
    for parameter in networks.parameters():  # large weights, so that no gradient is lost in the noise
        torch.nn.init.normal_(parameter, std=0.5)
    return TrainingState(networks, config, CPU)


@pytest.fixture
def data(tiny):
    return read_xlsa17(tiny, "TINY", "res101", "att").stage("test")


@pytest.fixture
def batch(data) -> Batch:
    labels = data.train.labels[:6]
    return Batch(data.train.features[:6], labels, data.attributes[labels], data.attributes[labels])


def gradients(state: TrainingState, name: str) -> list[torch.Tensor]:
    """The gradients of a network's first step of Adam, whose first moment is (1 − β1) times the gradient."""
    (group,) = state.optimizers[name].param_groups
    return [state.optimizers[name].state[p]["exp_avg"] / (1 - group["betas"][0]) for p in group["params"]]


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
    state = build(data, replace(CONFIG, encoded_noise=encoded_noise))
    before = snapshot(state)
    decoder_step(state, batch)
    assert changed(state, before) == {"decoder"}
    before = snapshot(state)
    critic_step(state, "critic", 10.0, batch.x, torch.rand(6, 7), torch.rand(6, 1), batch.a)
    assert changed(state, before) == {"critic"}
    before = snapshot(state)
    draws = draw(data, state.config, 5, torch.Generator().manual_seed(1), False)
    generator_step(state, batch, draws, None, feedback)
    learners = {"encoder", "generator", "decoder"} | ({"feedback"} if feedback else set())
    assert changed(state, before) == learners
    for name in learners:
        assert all(gradient.abs().sum() > 0 for gradient in gradients(state, name)), name


def test_a_frozen_decoder_learns_from_real_features_only(data, batch) -> None:
    state = build(data, replace(CONFIG, freeze_dec=True))
    draws = draw(data, state.config, 5, torch.Generator().manual_seed(1), False)
    before = snapshot(state)
    generator_step(state, batch, draws, None, 1.0)
    assert changed(state, before) == {"encoder", "generator", "feedback"}
    decoder_step(state, batch)
    assert "decoder" in changed(state, before)


def test_without_cycle_loss_there_is_no_decoder(data) -> None:
    state = build(data, replace(CONFIG, recons_weight=0.0, feedback_loop=1))
    before = snapshot(state)
    draws = draw(data, state.config, 5, torch.Generator().manual_seed(1), False)
    found = iteration(state, data, data.attributes, draws, feedback_active=False)
    assert changed(state, before) == {"encoder", "generator", "critic"}
    assert not any("cycle" in name for name in found)


@pytest.mark.parametrize("encoded_noise", [True, False])
def test_features_for_the_critic_steps_come_from_the_decoder_of_their_own_step(data, encoded_noise) -> None:
    """Generated in one pass, they are those that step after step would have generated."""
    config = replace(CONFIG, encoded_noise=encoded_noise)
    state, reference = build(data, config), build(data, config)
    labels, noise = data.train.labels[:12].view(2, 6), torch.randn(2, 6, 5)
    batches = Batch(data.train.features[:12].view(2, 6, -1), labels, data.attributes[labels], data.attributes[labels])
    x_hat, _ = decode_and_generate(state, batches, noise, 0.5)
    assert not x_hat.requires_grad
    for k in range(2):
        decoder_step(reference, batches[k])
        z = encode(reference.networks, batches.x[k], batches.a[k], noise[k])[0] if encoded_noise else noise[k]
        torch.testing.assert_close(x_hat[k], generate(reference.networks, z, batches.a[k], 0.5))
    assert changed(state, snapshot(reference)) == set()


@pytest.mark.parametrize("name", ["critic", "critic_unseen"])
def test_one_critic_step_against_its_definition(data, batch, name) -> None:
    """Real, fake and penalty terms are one update; its gradient is summed up here term by term."""
    state = build(data, replace(CONFIG, transductive=True))
    state.penalty_weight.fill_(0.8)
    critic, a = copy.deepcopy(getattr(state.networks, name)), batch.a if name == "critic" else None
    x_hat, alpha = torch.rand_like(batch.x), torch.rand(6, 1)
    (10.0 * critic(x_hat, a).mean()).backward()
    (-10.0 * critic(batch.x, a).mean()).backward()
    between = (alpha * batch.x + (1 - alpha) * x_hat).requires_grad_()
    (slope,) = torch.autograd.grad(critic(between, a).sum(), between, create_graph=True)
    (10.0 * 0.8 * (slope.norm(dim=1) - 1).square().mean()).backward()
    critic_step(state, name, 10.0, batch.x, x_hat, alpha, a)
    for gradient, expected in zip(gradients(state, name), critic.parameters(), strict=True):
        assert torch.allclose(gradient, expected.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("stale", [False, True])
def test_one_generator_step_against_its_definition(data, batch, stale) -> None:
    """FLO's variant: VAE terms on z from the encoder, adversarial and cycle terms on features from pure noise."""
    state = build(data, replace(CONFIG, encoded_noise=False, stale_feedback=stale))
    draws = draw(data, state.config, 5, torch.Generator().manual_seed(1), False)
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
        for gradient, expected in zip(gradients(state, name), getattr(reference, name).parameters(), strict=True):
            assert torch.allclose(gradient, expected.grad, rtol=1e-4, atol=1e-5), name


def test_the_transductive_step_adds_its_two_terms(data, batch) -> None:
    config = replace(CONFIG, gammaG_D2=3.0, transductive=True)
    draws = draw(data, config, 5, torch.Generator().manual_seed(1), True)
    labels = draws.unseen.classes[-1]
    unseen = Batch(batch.x, labels, data.attributes[labels], data.attributes[labels])
    state, plain = build(data, config), build(data, config)
    x_hat = generate(state.networks, draws.unseen.generator_noise, unseen.a, 0.5)
    extra = (
        -3.0 * state.networks.critic_unseen(x_hat).mean() + 0.3 * losses.cycle_loss(state.networks.decoder(x_hat)[0], unseen.a)
    ).item()
    with_unseen, without = (generator_step(s, batch, draws, u, 0.5) for s, u in ((state, unseen), (plain, None)))
    assert with_unseen["generator"].item() - without["generator"].item() == pytest.approx(extra, rel=1e-4)


def test_both_critics_penalties_are_averaged_for_the_rule(data) -> None:
    state = build(data, replace(CONFIG, transductive=True))
    draws = draw(data, CONFIG, 5, torch.Generator().manual_seed(1), True)
    found = iteration(state, data, data.attributes, draws, feedback_active=True)
    mean = (found["penalty"] + found["penalty_unseen"]) / 2
    expected = losses.adapt_penalty_weight(torch.tensor(10.0, dtype=torch.float64), mean)
    assert state.penalty_weight.item() == expected.item()
    assert found["penalty"] != found["penalty_unseen"]


def test_draws_are_without_replacement_and_independent(data) -> None:
    draws = draw(data, replace(CONFIG, critic_iter=4), 5, torch.Generator().manual_seed(0), True)
    assert draws.indices.shape == (4, 6)
    for row in draws.indices:
        assert row.unique().numel() == 6
    assert len({tuple(row.tolist()) for row in draws.indices}) == 4
    assert set(draws.unseen.classes.unique().tolist()) <= set(data.unseen_classes.tolist())


def test_the_unseen_prior_is_uniform_unless_the_labels_are_asked_for(data) -> None:
    """Class 8 makes up all unlabeled samples here, which only `labels` may know."""
    lopsided = replace(data, test_unseen=replace(data.test_unseen, labels=torch.full_like(data.test_unseen.labels, 8)))
    uniform, leaked = (
        draw(lopsided, replace(CONFIG, critic_iter=9, unseen_prior=prior), 5, torch.Generator().manual_seed(0), True)
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
    state = build(data, replace(CONFIG, lr=1e-4, feed_lr=2e-5, dec_lr=3e-4, beta1=0.5, transductive=True))
    groups = {name: optimizer.param_groups[0] for name, optimizer in state.optimizers.items()}
    assert {name: (g["lr"], g["betas"]) for name, g in groups.items()} == {
        "encoder": (1e-4, (0.9, 0.999)),
        "generator": (1e-4, (0.5, 0.999)),
        "critic": (1e-4, (0.5, 0.999)),
        "critic_unseen": (1e-4, (0.5, 0.999)),
        "feedback": (2e-5, (0.5, 0.999)),
        "decoder": (3e-4, (0.5, 0.999)),
    }


def test_a_term_of_the_users_own_trains_the_generator(tmp_path, tiny) -> None:
    """With weight w, the generator's gradient is that of the other terms plus w times that of the mean square of x̂."""
    (tmp_path / "terms.py").write_text(
        "class Squares:\n"
        "    def __init__(self, data):\n"
        "        self.classes = data.seen_classes\n"
        "    def __call__(self, x_hat, labels, a):\n"
        "        assert len(x_hat) == len(labels) == len(a) and set(labels.tolist()) <= set(self.classes.tolist())\n"
        "        return x_hat.square().mean()\n"
    )
    own = {"extra_loss": f"{tmp_path / 'terms.py'}:Squares", "extra_weight": 0.7}
    plain, extended = (build_trainer(tiny, config=replace(TRAINER_CONFIG, **flags)) for flags in ({}, own))
    assert plain.state.extra_loss is None
    losses = [trainer.step(feedback_active=False)() for trainer in (plain, extended)]
    assert losses[1].keys() - losses[0].keys() == {"extra"}
    assert losses[1]["generator"] == pytest.approx((losses[0]["generator"] + 0.7 * losses[1]["extra"]).item(), rel=1e-5)
    assert not torch.equal(plain.state.networks.generator.output.weight, extended.state.networks.generator.output.weight)
    assert torch.equal(plain.state.networks.critic.hidden.weight, extended.state.networks.critic.hidden.weight)
    for wrong in ("nothing.py:Squares", f"{tmp_path / 'terms.py'}:Cubes", "no_such_module:Squares", "Squares"):
        with pytest.raises(InputError, match="--extra_loss"):
            build_trainer(tiny, config=replace(TRAINER_CONFIG, extra_loss=wrong))
