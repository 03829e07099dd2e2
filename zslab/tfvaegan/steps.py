"""The training steps of TF-VAEGAN.

Source: Narayan et al., ECCV 2020, and the authors' release. Every random number of an iteration is drawn beforehand into
`Draws`, so a step is a function of weights and draws. Autograd differentiates every loss, so a term that is added to a step
trains. The networks that a loss trains are the names passed to `TrainingState.update`.

Two things make an iteration fast. Encoder and generator do not change during the critic steps, so the features for all of
them are generated in one pass (`decode_and_generate`). And a critic compares real and generated features in one product, with
its gradient between them in closed form (`zslab.shared.wgan.Comparison`). Shapes are static, nothing is read back to the
host, and parameters and λ1 change in place, so that a GPU can capture an iteration as a CUDA graph.

Symbols in the shape comments: B batch, D feature_dim, A attribute_dim, Z latent_dim, K critic_iter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from zslab.config import ImageConfig, TfvaeganConfig
from zslab.data.dataset import Samples, StageData
from zslab.shared.trainer import update
from zslab.shared.wgan import gradient_penalty, wasserstein_distance
from zslab.tfvaegan.losses import adapt_penalty_weight, attribute_cross_entropy, cycle_loss, kl_divergence, reconstruction_loss
from zslab.tfvaegan.networks import Networks
from zslab.utils.cuda_graphs import moments

Losses = dict[str, Tensor]
ExtraLoss = Callable[[Tensor, Tensor, Tensor], Tensor]

NEGLIGIBLE = 1e-16  # below this λ1 vanishes in rounding, even in double precision


@dataclass(frozen=True)
class Draws:
    """The random numbers of one iteration."""

    indices: Tensor  #: (K, B) of training samples, without replacement within a batch
    noise: Tensor  #: (K, B, Z) standard normal, for the critic steps' generated features
    alpha: Tensor  #: (K, B, 1) uniform, the interpolation of the gradient penalty
    vae_noise: Tensor  #: (B, Z) standard normal, for the reconstruction
    generator_noise: Tensor  #: (B, Z) standard normal, for the generator step's features without encoded noise
    unseen: UnseenDraws | None = None  #: the random numbers for D2, in the transductive variant


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
    """A batch of samples, or K of them with one more dimension in front."""

    x: Tensor  #: (B, D) real features. Those of D2 are unlabeled: they belong to other classes than `labels`
    labels: Tensor  #: (B,) the classes to generate features of
    a: Tensor  #: (B, A) attributes of these classes
    target: Tensor  #: (B, A) what the decoder is trained to find in features of these classes

    def __getitem__(self, k: int) -> Batch:
        """Return the k-th of K batches."""
        return Batch(self.x[k], self.labels[k], self.a[k], self.target[k])


class TrainingState:
    """Networks, their optimizers and λ1: everything that an iteration changes.

    Args:
        networks: are moved to `device`.
        extra_loss: a term of the generator's loss: a function of generated features (B, D), their labels (B,) and attributes
            (B, A) to a 0-d tensor; `config.extra_weight` is its weight.
    """

    def __init__(self, networks: Networks, config: TfvaeganConfig, device: torch.device, extra_loss: ExtraLoss | None = None):
        self.networks, self.extra_loss = networks.to(device), extra_loss
        self.config = config
        # In double precision λ1 can shrink in every iteration of a whole run without reaching zero.
        self.penalty_weight = torch.tensor(config.lambda1, dtype=torch.float64, device=device)
        rates = {"feedback": config.feed_lr, "decoder": config.dec_lr}
        self.optimizers = {
            name: torch.optim.Adam(
                network.parameters(),
                lr=rates.get(name, config.lr),
                betas=(0.9 if name == "encoder" else config.beta1, 0.999),
                fused=True,
                capturable=device.type == "cuda",
            )
            for name, network in networks.named_children()
        }

    def tensors(self) -> dict[str, Tensor]:
        """Return everything that an iteration changes, by name; an optimizer's moments exist after its first step."""
        tensors = {"lambda1": self.penalty_weight, **dict(self.networks.named_parameters())}
        for name, optimizer in self.optimizers.items():
            tensors |= {f"{name}, Adam's {key}": value for key, value in moments(optimizer).items()}
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
        update(loss, *(self.optimizers[name] for name in names))

    def attribute_loss(self, x: Tensor, target: Tensor) -> Tensor:
        """Return the decoder's loss, 0-d, for features x (B, D) and `target` (B, A)."""
        loss = attribute_cross_entropy if self.config.bce_att else cycle_loss
        return loss(self.networks.decoder(x)[0], target)


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
    g, feedback = networks.generator.hidden_features(z, a), None
    if feedback_weight is not None:
        with torch.no_grad():
            h = networks.decoder.hidden_features(networks.generator.output_from_hidden(g) if source is None else source)
        feedback = feedback_weight * networks.feedback(h)
    return networks.generator.output_from_hidden(g, feedback)


def encode(networks: Networks, x: Tensor, a: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Encode features x (B, D) with attributes a (B, A) and noise (B, Z).

    Returns:
        Latents z = μ + σ·noise, μ and log σ², all (B, Z).
    """
    mean, log_variance = networks.encoder(x, a)
    return mean + (0.5 * log_variance).exp() * noise, mean, log_variance


def decoder_step(state: TrainingState, batch: Batch) -> Losses:
    """Train the semantic decoder on the attributes of real features."""
    loss = state.attribute_loss(batch.x, batch.target)
    state.update(state.config.recons_weight * loss, "decoder")
    return {"cycle_decoder": loss.detach()}


def decode_and_generate(
    state: TrainingState, batches: Batch, noise: Tensor, feedback: float | None
) -> tuple[Tensor, list[Losses]]:
    """Make the K decoder steps, and generate the features for the K critic steps.

    The decoder does not depend on the critic, so all its steps can come first. With feedback, the features for critic step k
    use the decoder after its step k; everything but the decoder's hidden layer is computed for all steps at once.

    Args:
        state: its decoder changes in place.
        batches: K batches.
        noise: (K, B, Z).
        feedback: δ, or None where feedback is not active.

    Returns:
        x̂ (K, B, D), without gradients, and the losses of every step.
    """
    networks, s = state.networks, state.config
    a, z = batches.a.flatten(0, 1), noise.flatten(0, 1)
    with torch.no_grad():
        if s.encoded_noise:
            z = encode(networks, batches.x.flatten(0, 1), a, z)[0]
        g = networks.generator.hidden_features(z, a)
        x_hat = networks.generator.output_from_hidden(g).view_as(batches.x)
    losses, h = list[Losses](), list[Tensor]()
    for k in range(s.critic_iter):
        losses.append(decoder_step(state, batches[k]) if s.recons_weight > 0 else {})
        if feedback is not None:
            with torch.no_grad():
                h.append(networks.decoder.hidden_features(x_hat[k]))
    if feedback is not None:
        with torch.no_grad():
            x_hat = networks.generator.output_from_hidden(g, feedback * networks.feedback(torch.cat(h))).view_as(batches.x)
    return x_hat, losses


def critic_step(
    state: TrainingState, name: str, weight: float, x: Tensor, x_hat: Tensor, alpha: Tensor, a: Tensor | None = None
) -> Losses:
    """Train a critic on real against generated features (eq. 2).

    Args:
        state: the critic changes in place.
        name: "critic", or "critic_unseen" for D2.
        weight: of the loss.
        x: (B, D) real features.
        x_hat: (B, D) generated features.
        alpha: (B, 1) in [0, 1], the interpolation of the gradient penalty.
        a: (B, A) attributes; none for D2.
    """
    real, generated, slope = getattr(state.networks, name).compare(x, x_hat, alpha, a)
    distance, penalty = wasserstein_distance(real, generated), gradient_penalty(slope)
    loss = weight * (state.penalty_factor * penalty - distance)
    state.update(loss, name)
    suffix = name.removeprefix("critic")
    losses = {"critic": loss, "wasserstein": distance, "penalty": penalty}
    return {f"{key}{suffix}": value.detach() for key, value in losses.items()}


def generator_step(state: TrainingState, batch: Batch, draws: Draws, unseen: Batch | None, feedback: float | None) -> Losses:
    """Train encoder and generator (the feedback module where active, the decoder unless frozen), but not the critics.

    Args:
        state: changed in place.
        batch: the last of the critic steps' batches.
        draws: the iteration's random numbers.
        unseen: what to generate unseen features for; its x is not read. Transductive variant only.
        feedback: δ, or None where feedback is not active.

    Returns:
        name -> 0-d loss, without its weight; "generator" is the weighted sum.
    """
    networks, s = state.networks, state.config
    z, mean, log_variance = encode(networks, batch.x, batch.a, draws.vae_noise)
    x_hat = reconstruction = generate(networks, z, batch.a, feedback)
    if not s.encoded_noise:
        source = reconstruction if s.stale_feedback else None
        x_hat = generate(networks, draws.generator_noise, batch.a, feedback, source)
    terms = {  # name -> weight, loss
        "reconstruction": (1.0, reconstruction_loss(reconstruction, batch.x)),
        "kl": (1.0, kl_divergence(mean, log_variance)),
        "adversarial": (s.gammaG, -networks.critic(x_hat, batch.a).mean()),
    }
    if s.recons_weight > 0:
        terms["cycle_generator"] = s.recons_weight, state.attribute_loss(x_hat, batch.target)
    if state.extra_loss is not None:
        terms["extra"] = s.extra_weight, state.extra_loss(x_hat, batch.labels, batch.a)
    if unseen is not None:
        assert draws.unseen is not None and networks.critic_unseen is not None and isinstance(s, ImageConfig)
        x_hat = generate(networks, draws.unseen.generator_noise, unseen.a, feedback)
        terms["adversarial_unseen"] = s.gammaG_D2, -networks.critic_unseen(x_hat).mean()
        if s.recons_weight > 0:
            terms["cycle_unseen"] = s.recons_weight, state.attribute_loss(x_hat, unseen.target)
    total = torch.stack([weight * loss for weight, loss in terms.values()]).sum()
    learners = ["encoder", "generator"]
    if feedback is not None:
        learners.append("feedback")
    if s.recons_weight > 0 and not s.freeze_dec:
        learners.append("decoder")
    state.update(total, *learners)
    return {name: loss.detach() for name, (_, loss) in terms.items()} | {"generator": total.detach()}


def iteration(state: TrainingState, data: StageData, targets: Tensor, draws: Draws, feedback_active: bool) -> Losses:
    """Make one iteration: `critic_iter` decoder and critic steps, the λ1 rule, one generator step.

    Args:
        state: changed in place.
        targets: (C, A) the decoder's target for each class.
        draws: this iteration's random numbers.
        feedback_active: whether features are generated with the feedback pass.

    Returns:
        name -> 0-d loss; those of the critic steps are averages over the steps.
    """

    def batches(samples: Samples, indices: Tensor, labels: Tensor) -> Batch:
        return Batch(samples.features[indices], labels, data.attributes[labels], targets[labels])

    s, feedback = state.config, state.config.a1 if feedback_active else None
    seen = batches(data.train, draws.indices, data.train.labels[draws.indices])
    x_hat, steps = decode_and_generate(state, seen, draws.noise, feedback)
    for k in range(s.critic_iter):
        steps[k] |= critic_step(state, "critic", s.gammaD, seen.x[k], x_hat[k], draws.alpha[k], seen.a[k])
    last_unseen = None
    if draws.unseen is not None:
        assert isinstance(s, ImageConfig)
        unseen = batches(data.test_unseen, draws.unseen.indices, draws.unseen.classes)
        with torch.no_grad():
            x_hat = generate(state.networks, draws.unseen.noise.flatten(0, 1), unseen.a.flatten(0, 1), feedback).view_as(
                unseen.x
            )
        for k in range(s.critic_iter):
            steps[k] |= critic_step(state, "critic_unseen", s.gammaD2, unseen.x[k], x_hat[k], draws.unseen.alpha[k])
        last_unseen = unseen[-1]
    means = {name: torch.stack([step[name] for step in steps]).mean() for name in steps[0]}
    penalty = means["penalty"] if last_unseen is None else (means["penalty"] + means["penalty_unseen"]) / 2
    state.penalty_weight.copy_(adapt_penalty_weight(state.penalty_weight, penalty))
    return means | generator_step(state, seen[-1], draws, last_unseen, feedback)
