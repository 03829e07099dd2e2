"""The training steps of TF-VAEGAN in plain PyTorch: the reference that a faster engine must agree with.

Source: Narayan et al., ECCV 2020, and the authors' release. Every random number of an iteration is drawn beforehand into
`Draws`, so a step is a function of weights and draws. The networks that a loss trains are the names passed to
`TrainingState.update`.

Symbols in the shape comments: B batch, D feature_dim, A attribute_dim, Z latent_dim, K critic_iter.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from zslab.config import ImageConfig, TfvaeganConfig
from zslab.data.dataset import StageData
from zslab.tfvaegan.losses import (
    adapt_penalty_weight,
    attribute_cross_entropy,
    cycle_loss,
    gradient_penalty,
    kl_divergence,
    reconstruction_loss,
    wasserstein_distance,
)
from zslab.tfvaegan.networks import Linear, Networks
from zslab.utils.cuda_graphs import moments

Losses = dict[str, Tensor]

NEGLIGIBLE = 1e-16  # below this λ1 vanishes in rounding, even in double precision


@dataclass(frozen=True)
class Draws:
    """The random numbers of one iteration.

    Attributes:
        indices: (K, B) of training samples, without replacement within a batch.
        noise: (K, B, Z) standard normal, for the critic steps' generated features.
        alpha: (K, B, 1) uniform, the interpolation of the gradient penalty.
        vae_noise: (B, Z) standard normal, for the reconstruction.
        generator_noise: (B, Z) standard normal, for the generator step's features without encoded noise.
        unseen: the random numbers for D2, in the transductive variant.
    """

    indices: Tensor
    noise: Tensor
    alpha: Tensor
    vae_noise: Tensor
    generator_noise: Tensor
    unseen: UnseenDraws | None = None


@dataclass(frozen=True)
class UnseenDraws:
    """Random numbers for D2, as in `Draws`: `indices` are of unlabeled samples, `classes` (K, B) are to be generated."""

    indices: Tensor
    classes: Tensor
    noise: Tensor
    alpha: Tensor
    generator_noise: Tensor


def draw(data: StageData, config: TfvaeganConfig, latent_dim: int, generator: torch.Generator, transductive: bool) -> Draws:
    """Draw the random numbers of one iteration, on the data's device."""
    k, b, device = config.critic_iter, config.batch_size, data.attributes.device

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, latent_dim, generator=generator, device=device)

    def uniform() -> Tensor:
        return torch.rand(k, b, 1, generator=generator, device=device)

    def batches(n: int) -> Tensor:
        return torch.stack([torch.randperm(n, generator=generator, device=device)[:b] for _ in range(k)])

    unseen = None
    if transductive:
        indices = batches(len(data.test_unseen))
        assert isinstance(config, ImageConfig)
        if config.unseen_prior == "labels":
            classes = data.test_unseen.labels[indices]
        else:
            choice = torch.randint(len(data.unseen_classes), (k, b), generator=generator, device=device)
            classes = data.unseen_classes[choice]
        unseen = UnseenDraws(indices, classes, normal(k, b), uniform(), normal(b))
    return Draws(batches(len(data.train)), normal(k, b), uniform(), normal(b), normal(b), unseen)


@dataclass(frozen=True)
class Batch:
    """Features x (B, D), their attributes a (B, A), and the decoder's target (B, A)."""

    x: Tensor
    a: Tensor
    target: Tensor


class TrainingState:
    """Networks, their optimizers and λ1: everything that an iteration changes.

    Args:
        networks: are moved to `device`.
        bf16: whether the layers compute their products with bfloat16 copies of the weights, updated after every step of an
            optimizer. Weights, gradients, Adam's moments, losses and λ1 keep their precision.
    """

    def __init__(self, networks: Networks, config: TfvaeganConfig, device: torch.device, bf16: bool = False):
        self.networks = networks.to(device)
        self.config = config
        # In double precision λ1 can shrink in every iteration of a whole run without reaching zero.
        self.penalty_weight = torch.tensor(config.lambda1, dtype=torch.float64, device=device)
        self.attribute_loss_function = attribute_cross_entropy if config.bce_att else cycle_loss
        s = config
        hyper = {
            "encoder": (s.lr, 0.9),
            "generator": (s.lr, s.beta1),
            "critic": (s.lr, s.beta1),
            "feedback": (s.feed_lr, s.beta1),
            "decoder": (s.dec_lr, s.beta1),
            "critic_unseen": (s.lr, s.beta1),
        }
        self.optimizers = {
            name: torch.optim.Adam(
                network.parameters(),
                lr=hyper[name][0],
                betas=(hyper[name][1], 0.999),
                fused=True,
                capturable=device.type == "cuda",
            )
            for name, network in networks.items()
        }
        # A critic's output layer stays float32: its product is small, and the losses average its scores.
        self.bf16_layers = {
            name: [layer for layer in network.modules() if isinstance(layer, Linear) and layer.out_features > 1]
            for name, network in networks.items()
            if bf16
        }
        for layer in itertools.chain(*self.bf16_layers.values()):
            layer.bf16_weight = layer.weight.detach().bfloat16()

    def step(self, name: str) -> None:
        """Make one Adam step of a network, with the gradients that its parameters hold."""
        self.optimizers[name].step()
        self.update_bf16(name)

    @torch.no_grad()
    def update_bf16(self, *names: str) -> None:
        """Update the bfloat16 weights of the named networks, or of all; to be called whenever weights have changed."""
        for name in names or self.bf16_layers:
            for layer in self.bf16_layers.get(name, ()):
                assert layer.bf16_weight is not None
                layer.bf16_weight.copy_(layer.weight)

    @contextmanager
    def full_precision(self) -> Iterator[None]:
        """Let the networks compute with their float32 weights inside the context."""
        layers = list(itertools.chain(*self.bf16_layers.values()))
        copies = [layer.bf16_weight for layer in layers]
        for layer in layers:
            layer.bf16_weight = None
        try:
            yield
        finally:
            for layer, copy in zip(layers, copies):
                layer.bf16_weight = copy

    def tensors(self) -> dict[str, Tensor]:
        """Return everything that an iteration changes, by name; an optimizer's moments exist after its first step."""
        tensors = {"lambda1": self.penalty_weight}
        for name, network in self.networks.items():
            tensors |= {f"{name}.{key}": value for key, value in network.named_parameters()}
            tensors |= {f"{name}, Adam's {key}": value for key, value in moments(self.optimizers[name]).items()}
            for i, layer in enumerate(self.bf16_layers.get(name, ())):
                if layer.bf16_weight is not None:
                    tensors[f"{name}, bf16 weight {i}"] = layer.bf16_weight
        return tensors

    @property
    def transductive(self) -> bool:
        """Whether there is a critic of unlabeled features."""
        return self.networks.critic_unseen is not None

    @property
    def penalty_factor(self) -> Tensor:
        """λ1 as it enters a loss, 0-d: zero where it is too small to change a float32 sum.

        A tiny λ1 would make the penalty's gradients denormal numbers, which slow a CPU down about ten times.
        """
        dtype = self.networks.critic.output.weight.dtype
        return torch.where(self.penalty_weight < NEGLIGIBLE, 0.0, self.penalty_weight).to(dtype)

    @property
    def latent_dim(self) -> int:
        """Z."""
        return self.networks.encoder.mean.out_features

    def update(self, loss: Tensor, *names: str) -> None:
        """Make one Adam step of the named networks, and of no others, on the gradient of a 0-d `loss`."""
        networks = dict(self.networks.items())
        parameters = [p for name in names for p in networks[name].parameters()]
        for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters)):
            parameter.grad = gradient
        for name in names:
            self.step(name)

    def attribute_loss(self, x: Tensor, target: Tensor) -> Tensor:
        """Return the decoder's loss, 0-d, for features x (B, D) and `target` (B, A)."""
        return self.attribute_loss_function(self.networks.decoder(x)[0], target)


def generate(networks: Networks, z: Tensor, a: Tensor, feedback_weight: float | None, source: Tensor | None = None) -> Tensor:
    """Generate features, with or without the feedback pass (section 3.2).

    The feedback pass is x̂₀ = G(z, a), h the decoder's hidden layer at x̂₀, then x̂ = G(z, a; δ·F(h)) with the same z. No
    gradient flows through h, neither into the decoder nor into the first pass.

    Args:
        networks: generator, feedback module and decoder are used.
        z: (B, Z) latents.
        a: (B, A) attributes.
        feedback_weight: δ, or None for a single pass.
        source: (B, D) features to compute h from instead of x̂₀ (`stale_feedback`).

    Returns:
        x̂ (B, D) in (0, 1).
    """
    feedback = None
    if feedback_weight is not None:
        with torch.no_grad():
            _, hidden = networks.decoder(networks.generator(z, a) if source is None else source)
        feedback = feedback_weight * networks.feedback(hidden)
    x_hat: Tensor = networks.generator(z, a, feedback)
    return x_hat


def encode(networks: Networks, x: Tensor, a: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Encode features x (B, D) with attributes a (B, A) and noise (B, Z).

    Returns:
        Latents z = μ + σ·noise, μ and log σ², all (B, Z).
    """
    mean, log_variance = networks.encoder(x, a)
    return sample_latent(mean, log_variance, noise), mean, log_variance


def sample_latent(mean: Tensor, log_variance: Tensor, noise: Tensor) -> Tensor:
    """Return z = μ + σ·noise for μ, log σ² and noise, all (B, Z)."""
    return mean + (0.5 * log_variance).exp() * noise


def decoder_step(state: TrainingState, batch: Batch) -> Losses:
    """Train the semantic decoder on the attributes of real features."""
    loss = state.attribute_loss(batch.x, batch.target)
    state.update(state.config.recons_weight * loss, "decoder")
    return {"cycle_decoder": loss.detach()}


def critic_step(state: TrainingState, batch: Batch, noise: Tensor, alpha: Tensor, feedback: float | None) -> Losses:
    """Train D on real against generated features of the same classes (eq. 2), with noise (B, Z) and alpha (B, 1)."""
    networks, s = state.networks, state.config
    with torch.no_grad():
        z = encode(networks, batch.x, batch.a, noise)[0] if s.encoded_noise else noise
        x_hat = generate(networks, z, batch.a, feedback)
    distance = wasserstein_distance(networks.critic(batch.x, batch.a), networks.critic(x_hat, batch.a))
    penalty = gradient_penalty(lambda x: networks.critic(x, batch.a), batch.x, x_hat, alpha)
    loss = s.gammaD * (state.penalty_factor * penalty - distance)
    state.update(loss, "critic")
    return {"critic": loss.detach(), "wasserstein": distance.detach(), "penalty": penalty.detach()}


def critic_unseen_step(
    state: TrainingState, x: Tensor, a: Tensor, noise: Tensor, alpha: Tensor, feedback: float | None
) -> Losses:
    """Train D2 on unlabeled real features x (B, D) against those generated for unseen attributes a (B, A)."""
    networks, s = state.networks, state.config
    with torch.no_grad():
        x_hat = generate(networks, noise, a, feedback)
    critic = networks.critic_unseen
    assert critic is not None and isinstance(s, ImageConfig)
    distance = wasserstein_distance(critic(x), critic(x_hat))
    penalty = gradient_penalty(critic, x, x_hat, alpha)
    loss = s.gammaD2 * (state.penalty_factor * penalty - distance)
    state.update(loss, "critic_unseen")
    return {"critic_unseen": loss.detach(), "wasserstein_unseen": distance.detach(), "penalty_unseen": penalty.detach()}


def generator_step(state: TrainingState, batch: Batch, draws: Draws, unseen: Batch | None, feedback: float | None) -> Losses:
    """Train encoder and generator (the feedback module where active, the decoder unless frozen), but not the critics.

    Args:
        state: changed in place.
        batch: the last of the critic steps' batches.
        draws: the iteration's random numbers.
        unseen: attributes and targets to generate unseen features for; its x is not read. Transductive variant only.
        feedback: δ, or None where feedback is not active.

    Returns:
        name -> 0-d loss, without its weight; "generator" is the weighted sum.
    """
    networks, s = state.networks, state.config
    z, mean, log_variance = encode(networks, batch.x, batch.a, draws.vae_noise)
    reconstruction = generate(networks, z, batch.a, feedback)
    losses = {"reconstruction": reconstruction_loss(reconstruction, batch.x), "kl": kl_divergence(mean, log_variance)}
    if s.encoded_noise:
        x_hat = reconstruction
    else:
        source = reconstruction if s.stale_feedback else None
        x_hat = generate(networks, draws.generator_noise, batch.a, feedback, source)
    losses["adversarial"] = -networks.critic(x_hat, batch.a).mean()
    weights = {"reconstruction": 1.0, "kl": 1.0, "adversarial": s.gammaG}
    if s.recons_weight > 0:
        losses["cycle_generator"] = state.attribute_loss(x_hat, batch.target)
        weights["cycle_generator"] = s.recons_weight
    if unseen is not None:
        assert draws.unseen is not None and networks.critic_unseen is not None and isinstance(s, ImageConfig)
        x_hat = generate(networks, draws.unseen.generator_noise, unseen.a, feedback)
        losses["adversarial_unseen"] = -networks.critic_unseen(x_hat).mean()
        weights["adversarial_unseen"] = s.gammaG_D2
        if s.recons_weight > 0:
            losses["cycle_unseen"] = state.attribute_loss(x_hat, unseen.target)
            weights["cycle_unseen"] = s.recons_weight
    total = weighted_sum(losses, weights)
    learners = ["encoder", "generator"]
    if feedback is not None:
        learners.append("feedback")
    if s.recons_weight > 0 and not s.freeze_dec:
        learners.append("decoder")
    state.update(total, *learners)
    return {name: loss.detach() for name, loss in losses.items()} | {"generator": total.detach()}


def weighted_sum(losses: Losses, weights: dict[str, float]) -> Tensor:
    """Return Σ weight · loss, 0-d, over the names in `weights`."""
    return torch.stack([weight * losses[name] for name, weight in weights.items()]).sum()


def iteration(state: TrainingState, data: StageData, targets: Tensor, draws: Draws, feedback_active: bool) -> Losses:
    """Make one iteration: `critic_iter` critic steps, the λ1 rule, one generator step.

    Args:
        state: changed in place.
        targets: (C, A) the decoder's target for each class.
        draws: this iteration's random numbers.
        feedback_active: whether features are generated with the feedback pass.

    Returns:
        name -> 0-d loss; those of the critic steps are averages over the steps.
    """
    s = state.config
    feedback = s.a1 if feedback_active else None
    steps: list[Losses] = []
    for k in range(s.critic_iter):
        labels = data.train.labels[draws.indices[k]]
        batch = Batch(data.train.features[draws.indices[k]], data.attributes[labels], targets[labels])
        losses = decoder_step(state, batch) if s.recons_weight > 0 else {}
        steps.append(losses | critic_step(state, batch, draws.noise[k], draws.alpha[k], feedback))
    unseen = None
    if draws.unseen is not None:
        u = draws.unseen
        for k in range(s.critic_iter):
            unseen = Batch(data.test_unseen.features[u.indices[k]], data.attributes[u.classes[k]], targets[u.classes[k]])
            steps[k] |= critic_unseen_step(state, unseen.x, unseen.a, u.noise[k], u.alpha[k], feedback)
    means = {name: torch.stack([step[name] for step in steps]).mean() for name in steps[0]}
    penalty = means["penalty"] if unseen is None else (means["penalty"] + means["penalty_unseen"]) / 2
    state.penalty_weight = adapt_penalty_weight(state.penalty_weight, penalty)
    return means | generator_step(state, batch, draws, unseen, feedback)
