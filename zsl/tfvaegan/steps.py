"""The training steps of TF-VAEGAN, plain and eager: the reference that anything faster must agree with.

Every random number of an iteration is drawn beforehand into `Draws`, so a step is a function of weights and draws. Who
learns from a loss is said in one place: the names given to `TrainingState.update`.

Symbols in the shape comments: B batch, D feature_dim, A attribute_dim, Z latent_dim, K critic_iter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from zsl.data.xlsa17 import StageData
from zsl.tfvaegan.losses import (
    adapt_penalty_weight,
    attribute_cross_entropy,
    cycle_loss,
    gradient_penalty,
    kl_divergence,
    reconstruction_loss,
    wasserstein_distance,
)
from zsl.tfvaegan.networks import Linear, Networks

Losses = dict[str, Tensor]

NEGLIGIBLE = 1e-16  # a λ1 below this is lost in rounding, even in double precision


@dataclass(frozen=True)
class Settings:
    """Everything the method can be told; a tree's `config.py` maps the release's flag names onto these words."""

    batch_size: int = 64
    critic_iter: int = 5
    feedback_loop: int = 2
    encoded_noise: bool = True
    freeze_decoder: bool = False
    stale_feedback: bool = False
    attribute_loss: Literal["cycle", "cross_entropy"] = "cycle"
    critic_weight: float = 10.0
    adversarial_weight: float = 10.0
    cycle_weight: float = 0.01
    penalty_weight: float = 10.0
    feedback_train: float = 1.0
    feedback_synthesis: float = 1.0
    lr: float = 1e-4
    beta1: float = 0.5
    feedback_lr: float = 1e-5
    decoder_lr: float = 1e-4
    n_synthetic: int = 300
    transform: bool = True
    # Transductive variant only.
    critic_unseen_weight: float = 10.0
    adversarial_unseen_weight: float = 10.0
    unseen_prior: Literal["uniform", "labels"] = "uniform"

    @property
    def uses_feedback(self) -> bool:
        return self.feedback_loop > 1

    @property
    def attribute_loss_function(self) -> Callable[[Tensor, Tensor], Tensor]:
        """(â, target) -> 0-d loss of the decoder."""
        return cycle_loss if self.attribute_loss == "cycle" else attribute_cross_entropy


@dataclass(frozen=True)
class Draws:
    """The random numbers of one iteration.

    Attributes:
        rows: (K, B) training samples, without replacement within a batch.
        noise: (K, B, Z) standard normal, for the critic steps' generated features.
        alpha: (K, B, 1) uniform, where the penalties are taken.
        vae_noise: (B, Z) standard normal, for the reconstruction.
        generator_noise: (B, Z) standard normal, for the generator step's features without encoded noise.
        unseen: the same for D2, in the transductive variant.
    """

    rows: Tensor
    noise: Tensor
    alpha: Tensor
    vae_noise: Tensor
    generator_noise: Tensor
    unseen: UnseenDraws | None = None


@dataclass(frozen=True)
class UnseenDraws:
    """Random numbers for D2: as in `Draws`, `rows` being unlabelled samples and `classes` (K, B) those to generate."""

    rows: Tensor
    classes: Tensor
    noise: Tensor
    alpha: Tensor
    generator_noise: Tensor


def draw(data: StageData, settings: Settings, latent_dim: int, generator: torch.Generator, transductive: bool) -> Draws:
    """Draws what one iteration needs, on the data's device."""
    k, b, device = settings.critic_iter, settings.batch_size, data.attributes.device

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, latent_dim, generator=generator, device=device)

    def uniform() -> Tensor:
        return torch.rand(k, b, 1, generator=generator, device=device)

    def batches(n: int) -> Tensor:
        return torch.stack([torch.randperm(n, generator=generator, device=device)[:b] for _ in range(k)])

    unseen = None
    if transductive:
        rows = batches(len(data.test_unseen))
        if settings.unseen_prior == "labels":
            classes = data.test_unseen.labels[rows]
        else:
            choice = torch.randint(len(data.unseen_classes), (k, b), generator=generator, device=device)
            classes = data.unseen_classes[choice]
        unseen = UnseenDraws(rows, classes, normal(k, b), uniform(), normal(b))
    return Draws(batches(len(data.train)), normal(k, b), uniform(), normal(b), normal(b), unseen)


@dataclass(frozen=True)
class Batch:
    """Features x (B, D), attributes a (B, A), and what the decoder should say of x, `target` (B, A)."""

    x: Tensor
    a: Tensor
    target: Tensor


class TrainingState:
    """Networks, their optimisers and λ1: all that an iteration changes."""

    def __init__(self, networks: Networks, settings: Settings, device: torch.device, rounded: bool = False):
        """Args: with `rounded` the layers' products read copies of the weights in bfloat16, renewed after every step of
        an optimiser; weights, their gradients, Adam's moments, losses and λ1 are never rounded.
        """
        self.networks = networks.to(device)
        self.rounded = rounded
        self.settings = settings
        # In double precision λ1 may fall by a tenth every iteration for a whole run without reaching zero.
        self.penalty_weight = torch.tensor(settings.penalty_weight, dtype=torch.float64, device=device)
        s = settings
        hyper = {
            "encoder": (s.lr, 0.9), "generator": (s.lr, s.beta1), "critic": (s.lr, s.beta1),
            "feedback": (s.feedback_lr, s.beta1), "decoder": (s.decoder_lr, s.beta1), "critic_unseen": (s.lr, s.beta1),
        }
        self.optimisers = {
            name: torch.optim.Adam(network.parameters(), lr=hyper[name][0], betas=(hyper[name][1], 0.999), fused=True,
                                   capturable=device.type == "cuda")
            for name, network in networks.items()
        }
        if rounded:
            for layer in self._rounded_layers():
                layer.rounded = layer.weight.detach().bfloat16()

    def _rounded_layers(self, *names: str) -> list[Linear]:
        """The layers of the named networks, or of all, that have rounded copies.

        Not a critic's output layer: its product is small, and its scores are what losses average.
        """
        networks = [network for name, network in self.networks.items() if not names or name in names]
        layers = [layer for network in networks for layer in network.modules() if isinstance(layer, Linear)]
        return [layer for layer in layers if layer.out_features > 1]

    def step(self, name: str) -> None:
        """One Adam step of a network down its gradients."""
        self.optimisers[name].step()
        self.renew(name)

    @torch.no_grad()
    def renew(self, *names: str) -> None:
        """Rounds the weights of the named networks, or of all, anew; to be called whenever they have changed."""
        if self.rounded:
            layers = self._rounded_layers(*names)
            torch._foreach_copy_([layer.rounded for layer in layers], [layer.weight for layer in layers])

    @contextmanager
    def full_precision(self) -> Iterator[None]:
        """Inside, the networks compute with their weights as they are."""
        layers = self._rounded_layers()
        copies = [layer.rounded for layer in layers]
        for layer in layers:
            layer.rounded = None
        try:
            yield
        finally:
            for layer, copy in zip(layers, copies):
                layer.rounded = copy

    def tensors(self) -> dict[str, Tensor]:
        """Everything that an iteration changes, by name; the moments of an optimiser exist after its first step."""
        found = {"lambda1": self.penalty_weight}
        for name, network in self.networks.items():
            found |= {f"{name}.{key}": value for key, value in network.named_parameters()}
            for i, moments in enumerate(self.optimisers[name].state.values()):
                found |= {f"{name}, Adam's {key} {i}": value for key, value in moments.items()}
        for i, layer in enumerate(self._rounded_layers() if self.rounded else []):
            found[f"rounded weight {i}"] = layer.rounded
        return found

    @property
    def transductive(self) -> bool:
        return self.networks.critic_unseen is not None

    @property
    def penalty_factor(self) -> Tensor:
        """λ1 as it enters a loss, 0-d: zero where it is too small to change a float32 sum.

        Otherwise the penalty's gradients would be denormal numbers, which make a CPU some ten times slower.
        """
        dtype = self.networks.critic.output.weight.dtype
        return torch.where(self.penalty_weight < NEGLIGIBLE, 0.0, self.penalty_weight).to(dtype)

    @property
    def latent_dim(self) -> int:
        return self.networks.encoder.mean.out_features

    def update(self, loss: Tensor, *names: str) -> None:
        """One Adam step of the named networks, and of no others, down the gradient of `loss`."""
        networks = dict(self.networks.items())
        parameters = [p for name in names for p in networks[name].parameters()]
        for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters)):
            parameter.grad = gradient
        for name in names:
            self.step(name)

    def attribute_loss(self, x: Tensor, target: Tensor) -> Tensor:
        """How far the decoder's reading of features x (B, D) is from `target` (B, A)."""
        return self.settings.attribute_loss_function(self.networks.decoder(x)[0], target)


def generate(
    networks: Networks, z: Tensor, a: Tensor, feedback_weight: float | None, source: Tensor | None = None
) -> Tensor:
    """Features x̂ (B, D) from latents z (B, Z) and attributes a (B, A).

    With a feedback weight δ this is the feedback pass: x̂₀ = G(z, a), h the decoder's hidden layer at x̂₀, then
    x̂ = G(z, a; δ·F(h)) with the same z. No gradient flows into the decoder through h nor into the first pass.

    Args:
        feedback_weight: δ, or None for a single pass.
        source: (B, D) features to take h from instead of x̂₀ (`stale_feedback`).
    """
    if feedback_weight is None:
        return networks.generator(z, a)
    with torch.no_grad():
        first = networks.generator(z, a) if source is None else source
        _, hidden = networks.decoder(first)
    return networks.generator(z, a, feedback_weight * networks.feedback(hidden))


def encode(networks: Networks, x: Tensor, a: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Latents z = μ + σ·noise (B, Z) of features, with μ and log σ²."""
    mean, log_variance = networks.encoder(x, a)
    return sample_latent(mean, log_variance, noise), mean, log_variance


def sample_latent(mean: Tensor, log_variance: Tensor, noise: Tensor) -> Tensor:
    """z = μ + σ·noise, all (B, Z)."""
    return mean + (0.5 * log_variance).exp() * noise


def decoder_step(state: TrainingState, batch: Batch) -> Losses:
    """The semantic decoder learns to read attributes off real features."""
    loss = state.attribute_loss(batch.x, batch.target)
    state.update(state.settings.cycle_weight * loss, "decoder")
    return {"cycle_decoder": loss.detach()}


def critic_step(state: TrainingState, batch: Batch, noise: Tensor, alpha: Tensor, feedback: float | None) -> Losses:
    """D learns to tell real from generated features of the same classes; noise (B, Z), alpha (B, 1)."""
    networks, s = state.networks, state.settings
    with torch.no_grad():
        z = encode(networks, batch.x, batch.a, noise)[0] if s.encoded_noise else noise
        x_hat = generate(networks, z, batch.a, feedback)
    distance = wasserstein_distance(networks.critic(batch.x, batch.a), networks.critic(x_hat, batch.a))
    penalty = gradient_penalty(lambda x: networks.critic(x, batch.a), batch.x, x_hat, alpha)
    loss = s.critic_weight * (state.penalty_factor * penalty - distance)
    state.update(loss, "critic")
    return {"critic": loss.detach(), "wasserstein": distance.detach(), "penalty": penalty.detach()}


def critic_unseen_step(
    state: TrainingState, x: Tensor, a: Tensor, noise: Tensor, alpha: Tensor, feedback: float | None
) -> Losses:
    """D2 learns to tell unlabelled real features x (B, D) from those generated for unseen attributes a (B, A)."""
    networks, s = state.networks, state.settings
    with torch.no_grad():
        x_hat = generate(networks, noise, a, feedback)
    critic = networks.critic_unseen
    distance = wasserstein_distance(critic(x), critic(x_hat))
    penalty = gradient_penalty(critic, x, x_hat, alpha)
    loss = s.critic_unseen_weight * (state.penalty_factor * penalty - distance)
    state.update(loss, "critic_unseen")
    return {
        "critic_unseen": loss.detach(), "wasserstein_unseen": distance.detach(), "penalty_unseen": penalty.detach()
    }


def generator_step(
    state: TrainingState, batch: Batch, draws: Draws, unseen: Batch | None, feedback: float | None
) -> Losses:
    """Encoder and generator (feedback where active, decoder unless frozen) learn; the critics do not.

    Args:
        batch: the last of the critic steps' batches.
        unseen: attributes and targets to generate unseen features for; its x is not read. Transductive variant only.
        feedback: δ, or None where feedback is not active.
    """
    networks, s = state.networks, state.settings
    z, mean, log_variance = encode(networks, batch.x, batch.a, draws.vae_noise)
    reconstruction = generate(networks, z, batch.a, feedback)
    losses = {
        "reconstruction": reconstruction_loss(reconstruction, batch.x),
        "kl": kl_divergence(mean, log_variance),
    }
    if s.encoded_noise:
        x_hat = reconstruction
    else:
        source = reconstruction if s.stale_feedback else None
        x_hat = generate(networks, draws.generator_noise, batch.a, feedback, source)
    losses["adversarial"] = -networks.critic(x_hat, batch.a).mean()
    weights = {"reconstruction": 1.0, "kl": 1.0, "adversarial": s.adversarial_weight}
    if s.cycle_weight > 0:
        losses["cycle_generator"] = state.attribute_loss(x_hat, batch.target)
        weights["cycle_generator"] = s.cycle_weight
    if unseen is not None:
        x_hat = generate(networks, draws.unseen.generator_noise, unseen.a, feedback)
        losses["adversarial_unseen"] = -networks.critic_unseen(x_hat).mean()
        weights["adversarial_unseen"] = s.adversarial_unseen_weight
        if s.cycle_weight > 0:
            losses["cycle_unseen"] = state.attribute_loss(x_hat, unseen.target)
            weights["cycle_unseen"] = s.cycle_weight
    total = sum(weights[name] * losses[name] for name in weights)
    learners = ["encoder", "generator"]
    if feedback is not None:
        learners.append("feedback")
    if s.cycle_weight > 0 and not s.freeze_decoder:
        learners.append("decoder")
    state.update(total, *learners)
    return {name: loss.detach() for name, loss in losses.items()} | {"generator": total.detach()}


def iteration(state: TrainingState, data: StageData, targets: Tensor, draws: Draws, feedback_active: bool) -> Losses:
    """One iteration: `critic_iter` critic steps, the λ1 rule, one generator step.

    Args:
        targets: (C, A) what the decoder should say of each class.
        draws: this iteration's random numbers.
        feedback_active: whether features are generated with the feedback pass.

    Returns:
        name -> 0-d loss; those of the critic steps are averaged over the steps.
    """
    s = state.settings
    feedback = s.feedback_train if feedback_active else None
    steps: list[Losses] = []
    for k in range(s.critic_iter):
        labels = data.train.labels[draws.rows[k]]
        batch = Batch(data.train.features[draws.rows[k]], data.attributes[labels], targets[labels])
        losses = decoder_step(state, batch) if s.cycle_weight > 0 else {}
        steps.append(losses | critic_step(state, batch, draws.noise[k], draws.alpha[k], feedback))
    unseen = None
    if draws.unseen is not None:
        u = draws.unseen
        for k in range(s.critic_iter):
            unseen = Batch(data.test_unseen.features[u.rows[k]], data.attributes[u.classes[k]], targets[u.classes[k]])
            steps[k] |= critic_unseen_step(state, unseen.x, unseen.a, u.noise[k], u.alpha[k], feedback)
    means = {name: torch.stack([step[name] for step in steps]).mean() for name in steps[0]}
    penalty = means["penalty"] if unseen is None else (means["penalty"] + means["penalty_unseen"]) / 2
    state.penalty_weight = adapt_penalty_weight(state.penalty_weight, penalty)
    return means | generator_step(state, batch, draws, unseen, feedback)
