"""The training iteration of TF-VAEGAN, fast: the mathematics of `steps.iteration` with less work, equal to rounding.

`steps.py` is the plain version and the one to read first; `tests/test_fast.py` holds the two together. What differs:

1. Encoder and generator rest during the critic steps, so the features of all K steps are generated in one pass; with
   feedback only the decoder's hidden layer is read step by step, since only the decoder moves (`decode_and_generate`).
2. Real, generated and interpolated features share one product in the critic, and the gradient penalty of a critic with
   one hidden layer has a closed form: no graph, no second backward pass (`critic_step`).
3. The features that the generator step needs for the VAE, the critic and D2 go through the networks stacked
   (`generator_step`).
4. Linear layers are differentiated by hand, straight into `.grad` buffers that are made once. What acts on single numbers
   or rows (losses, norms, sampling a latent) is left to autograd, on the very loss functions that `steps.py` uses.

Shapes are static, nothing is read back to the host, and parameters, gradients and λ1 change in place. Products are taken in
the precision of a layer's `operand`: float32, or bfloat16 where the state is `rounded`. All else is float32.

Symbols in the shape comments: B batch, D feature_dim, A attribute_dim, Z latent_dim, H hidden_dim, K critic_iter, n rows.
`d_p` is the gradient of the loss in p; slope(p) is LeakyReLU's, 1 where p > 0 and 0.2 elsewhere.
"""

from __future__ import annotations

import torch
from torch import Tensor

from zsl.data.xlsa17 import Samples, StageData
from zsl.products import linear, through, write_product
from zsl.tfvaegan.losses import adapt_penalty_weight, kl_divergence, reconstruction_loss, wasserstein_distance
from zsl.tfvaegan.networks import SLOPE, Critic, Encoder, Linear, Networks, leaky
from zsl.tfvaegan.steps import Batch, Draws, Losses, TrainingState, encode, generate, sample_latent


@torch.no_grad()
def iteration(state: TrainingState, data: StageData, targets: Tensor, draws: Draws, feedback_active: bool) -> Losses:
    """One iteration: `critic_iter` critic steps, the λ1 rule, one generator step; arguments as in `steps.iteration`."""
    s, networks = state.settings, state.networks
    make_gradient_buffers(networks)
    feedback = s.feedback_train if feedback_active else None

    seen = gather(data.train, draws.rows, data.train.labels[draws.rows], data.attributes, targets)
    x_hat, steps = decode_and_generate(state, seen, draws.noise, feedback)
    for k in range(s.critic_iter):
        losses = critic_step(state, "critic", s.critic_weight, seen.x[k], x_hat[k], draws.alpha[k], seen.a[k])
        steps[k] |= losses
    last, last_unseen = pick(seen, -1), None
    if draws.unseen is not None:
        u = draws.unseen
        unseen = gather(data.test_unseen, u.rows, u.classes, data.attributes, targets)
        x_hat = generate(networks, u.noise.flatten(0, 1), unseen.a.flatten(0, 1), feedback).view_as(unseen.x)
        for k in range(s.critic_iter):
            losses = critic_step(state, "critic_unseen", s.critic_unseen_weight, unseen.x[k], x_hat[k], u.alpha[k])
            steps[k] |= {f"{name}_unseen": loss for name, loss in losses.items()}
        last_unseen = pick(unseen, -1)

    means = {name: torch.stack([step[name] for step in steps]).mean() for name in steps[0]}
    penalty = means["penalty"] if last_unseen is None else (means["penalty"] + means["penalty_unseen"]) / 2
    state.penalty_weight.copy_(adapt_penalty_weight(state.penalty_weight, penalty))
    return means | generator_step(state, last, draws, last_unseen, feedback)


def gather(samples: Samples, rows: Tensor, classes: Tensor, attributes: Tensor, targets: Tensor) -> Batch:
    """All batches of an iteration at once: rows and classes (K, B) -> x (K, B, D), a and target (K, B, A)."""
    return Batch(samples.features[rows], attributes[classes], targets[classes])


def pick(batches: Batch, k: int) -> Batch:
    """The k-th of K batches."""
    return Batch(batches.x[k], batches.a[k], batches.target[k])


def make_gradient_buffers(networks: Networks) -> None:
    """Gives every parameter a gradient to write into; does nothing from the second iteration on."""
    for _, network in networks.items():
        for parameter in network.parameters():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)


# ---- differentiation by hand ----------------------------------------------------------------------------------------

def write_gradient(layer: Linear, d_out: Tensor, x: Tensor) -> None:
    """y = x Wᵀ + b with x (n, in), d_out = d_y (n, out): d_W = d_yᵀ x and d_b = Σ_n d_y, into the layer's `.grad`."""
    write_product(layer.weight.grad, d_out, x, layer.operand.dtype)
    torch.sum(d_out, dim=0, out=layer.bias.grad)


def leaky_backward(d_out: Tensor, p: Tensor) -> Tensor:
    """d_out ⊙ slope(p); p may be LeakyReLU's argument or its result, which have the same sign."""
    return torch.ops.aten.leaky_relu_backward(d_out, p, SLOPE, False)


def leaf(x: Tensor) -> Tensor:
    """The same numbers as the start of an autograd graph."""
    return x.detach().requires_grad_()


# ---- critic steps ---------------------------------------------------------------------------------------------------

def decode_and_generate(
    state: TrainingState, seen: Batch, noise: Tensor, feedback: float | None
) -> tuple[Tensor, list[Losses]]:
    """The K decoder steps, and the features that the K critic steps will judge.

    Encoder, generator and feedback module do not change meanwhile and the decoder does not see the critic, so all
    decoder steps may come first and everything but the decoder's hidden layer is computed for all steps at once.

    Args:
        seen: x (K, B, D), a and target (K, B, A).
        noise: (K, B, Z).

    Returns:
        x̂ (K, B, D) and the losses of every step.
    """
    networks, s = state.networks, state.settings
    z, a = noise.flatten(0, 1), seen.a.flatten(0, 1)
    if s.encoded_noise:
        z = encode(networks, seen.x.flatten(0, 1), a, z)[0]
    g = networks.generator.begin(z, a)
    x_hat = networks.generator.finish(g).view_as(seen.x)
    steps, hidden = [], []
    for k in range(s.critic_iter):
        steps.append(decoder_step(state, seen.x[k], seen.target[k]) if s.cycle_weight > 0 else {})
        if feedback is not None:
            hidden.append(leaky(networks.decoder.hidden(x_hat[k])))
    if feedback is not None:
        x_hat = networks.generator.finish(g, feedback * networks.feedback(torch.cat(hidden))).view_as(seen.x)
    return x_hat, steps


def decoder_step(state: TrainingState, x: Tensor, target: Tensor) -> Losses:
    """The semantic decoder learns to read attributes (B, A) off real features (B, D)."""
    losses, _ = attribute_losses(state, x, target, learn=True)
    state.step("decoder")
    return {"cycle_decoder": losses[0]}


def attribute_losses(state: TrainingState, x: Tensor, target: Tensor, learn: bool) -> tuple[list[Tensor], Tensor]:
    """The decoder's loss on every B of n rows, and the way back to its hidden layer.

    With h = leaky(p), p = x W₁ᵀ + b₁, and the sums r = h W₂ᵀ + b₂ before the decoder's output function, autograd gives
    d_r; then d_p = (d_r W₂) ⊙ slope(p).

    Args:
        x, target: (n, D) features and (n, A) what the decoder should say of them.
        learn: whether to write the decoder's gradients.

    Returns:
        One 0-d loss for every B rows, without weight; d_p (n, H) of their weighted sum.
    """
    s, decoder = state.settings, state.networks.decoder
    h = leaky(decoder.hidden(x))
    sums = leaf(decoder.attributes(h))
    with torch.enable_grad():
        blocks = zip(sums.split(s.batch_size), target.split(s.batch_size))
        losses = [s.attribute_loss_function(decoder.finish(block), wanted) for block, wanted in blocks]
        (d_sums,) = torch.autograd.grad(s.cycle_weight * sum(losses), sums)
    d_p = leaky_backward(through(d_sums, decoder.attributes.operand), h)
    if learn:
        write_gradient(decoder.attributes, d_sums, h)
        write_gradient(decoder.hidden, d_p, x)
    return [loss.detach() for loss in losses], d_p


def critic_step(
    state: TrainingState, name: str, weight: float, x: Tensor, x_hat: Tensor, alpha: Tensor, a: Tensor | None = None
) -> Losses:
    """One step of D, or without attributes of D2, on weight · (λ1 · penalty − distance); see `critic_gradients`."""
    critic = getattr(state.networks, name)
    distance, penalty = critic_gradients(critic, weight, weight * state.penalty_factor, x, x_hat, alpha, a)
    state.step(name)
    loss = weight * (state.penalty_factor * penalty - distance)
    return {"critic": loss, "wasserstein": distance, "penalty": penalty}


def critic_gradients(
    critic: Critic, weight: float, penalty_weight: Tensor, x: Tensor, x_hat: Tensor, alpha: Tensor, a: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Wasserstein distance and gradient penalty, and the critic's gradients of penalty_weight·penalty − weight·distance.

    The critic is D(x, a) = w₂ · leaky(p) + b₂ with p = W₁ₓ x + W₁ₐ a + b₁, H hidden units. So:

    - p is linear in x: at x̄ = αx + (1 − α)x̂ it is p̄ = αp + (1 − α)p̂, and costs no product.
    - ∇D(x̄) = W₁ₓᵀ s̄ with s̄ = w₂ ⊙ slope(p̄). The slope is constant almost everywhere, so this is differentiated as a
      product of weights: with penalty = mean((‖∇‖ − 1)²), d_∇ = 2·penalty_weight/B · (1 − 1/‖∇‖)·∇, it gives
      d_W₁ₓ = Σ s̄ d_∇ᵀ and d_w₂ = Σ slope(p̄) ⊙ (W₁ₓ d_∇), and nothing for W₁ₐ and the biases. Where ∇ = 0, d_∇ = 0.
    - The scores give d_p = ∓weight/B · w₂ ⊙ slope(p), minus for real and plus for generated features. It meets x and x̂
      in d_W₁ₓ just as s̄ meets d_∇: one product over [x; x̂; d_∇] does all three.

    Args:
        penalty_weight: 0-d, `weight`·λ1.
        x, x_hat: (B, D) real and generated features.
        alpha: (B, 1) in [0, 1].
        a: (B, A), or None for D2.

    Returns:
        distance and penalty, both 0-d and without weight; gradients are left in the parameters' `.grad`.
    """
    (n, dim), hidden, output = x.shape, critic.hidden, critic.output
    w_features, w_attributes = hidden.operand[:, :dim], hidden.operand[:, dim:]
    w_out = output.weight[0]  # (H,)

    p = hidden.weight.new_empty(3, n, len(w_out))  # of real, generated and interpolated features
    rest = hidden.bias if a is None else linear(a, w_attributes, hidden.bias)
    torch.add(linear(torch.cat([x, x_hat]), w_features).view(2, n, -1), rest, out=p[:2])
    torch.lerp(p[1], p[0], alpha, out=p[2])
    h = leaky(p[:2])
    distance = wasserstein_distance(*output(h).squeeze(2))

    s = leaky_backward(w_out.expand_as(p), p)  # w₂ ⊙ slope(p)
    gradient = through(s[2], w_features)  # ∇D(x̄), (B, D)
    norm = gradient.norm(dim=1, keepdim=True)
    penalty = (norm - 1).square().mean()
    d_gradient = torch.where(norm > 0, 1 - 1 / norm, 0) * (2 / n * penalty_weight) * gradient

    d_p = s  # scaled in place; the third part meets d_∇ as it is
    d_p[0] *= -weight / n
    d_p[1] *= weight / n
    precision, d_weight = hidden.operand.dtype, hidden.weight.grad
    write_product(d_weight[:, :dim], d_p.flatten(0, 1), torch.cat([x, x_hat, d_gradient]), precision)
    d_rest = d_p[0] + d_p[1]
    torch.sum(d_rest, dim=0, out=hidden.bias.grad)
    if a is not None:
        write_product(d_weight[:, dim:], d_rest, a, precision)
    from_penalty = leaky_backward(linear(d_gradient, w_features), p[2])
    torch.sum(weight / n * (h[1] - h[0]) + from_penalty, dim=0, out=output.weight.grad[0])
    output.bias.grad.zero_()  # raises real and generated scores alike
    return distance, penalty


# ---- generator step -------------------------------------------------------------------------------------------------

def generator_step(
    state: TrainingState, seen: Batch, draws: Draws, unseen: Batch | None, feedback: float | None
) -> Losses:
    """Encoder and generator (feedback where active, decoder unless frozen) learn; arguments as in `steps.generator_step`.

    The features to generate are stacked, B rows each: from the encoder's latents for the VAE; from noise for the critic,
    unless `encoded_noise` lets it judge the VAE's; for D2 where there is one.
    """
    networks, s, b = state.networks, state.settings, state.settings.batch_size
    code = Code(networks.encoder, seen.x, seen.a)
    with torch.enable_grad():
        encoded = sample_latent(code.mean, code.log_variance, draws.vae_noise)
        kl = kl_divergence(code.mean, code.log_variance)

    z, a = [encoded.detach()], [seen.a]
    if not s.encoded_noise:
        z, a = [*z, draws.generator_noise], [*a, seen.a]
    judged = len(z) - 1  # place of the features for the critic
    if unseen is not None:
        z, a = [*z, draws.unseen.generator_noise], [*a, unseen.a]
    z, a = torch.cat(z), torch.cat(a)
    stale = s.stale_feedback and not s.encoded_noise and feedback is not None
    generation = Generation(networks, z, a, feedback, stale_source(networks, z, a, feedback, b) if stale else None)
    d_x = torch.zeros_like(generation.x_hat)
    x_hat, d_blocks = generation.x_hat.split(b), d_x.split(b)

    vae = leaf(x_hat[0])
    with torch.enable_grad():
        reconstruction = reconstruction_loss(vae, seen.x)
        d_blocks[0].add_(torch.autograd.grad(reconstruction, vae)[0])
    losses = {"reconstruction": reconstruction.detach(), "kl": kl.detach()}
    weights = {"reconstruction": 1.0, "kl": 1.0}

    score, slope = judge(networks.critic, x_hat[judged], seen.a)
    d_blocks[judged].add_(slope, alpha=-s.adversarial_weight / b)
    losses["adversarial"], weights["adversarial"] = -score.mean(), s.adversarial_weight
    if unseen is not None:
        score, slope = judge(networks.critic_unseen, x_hat[-1], None)
        d_blocks[-1].add_(slope, alpha=-s.adversarial_unseen_weight / b)
        losses["adversarial_unseen"], weights["adversarial_unseen"] = -score.mean(), s.adversarial_unseen_weight

    learners = ["encoder", "generator"] + (["feedback"] if feedback is not None else [])
    if s.cycle_weight > 0:
        rows = slice(judged * b, None)  # the critic's features, and D2's where there are any
        target = seen.target if unseen is None else torch.cat([seen.target, unseen.target])
        cycles, d_p = attribute_losses(state, generation.x_hat[rows], target, learn=not s.freeze_decoder)
        d_x[rows].add_(through(d_p, networks.decoder.hidden.operand))
        names = ["cycle_generator", "cycle_unseen"][: len(cycles)]
        losses |= dict(zip(names, cycles))
        weights |= dict.fromkeys(names, s.cycle_weight)
        learners += [] if s.freeze_decoder else ["decoder"]

    d_z = generation.backward(d_x)[:b]
    code.backward(*torch.autograd.grad((encoded, kl), (code.mean, code.log_variance), (d_z, None)))
    for name in learners:
        state.step(name)
    return losses | {"generator": sum(weights[name] * losses[name] for name in weights)}


def judge(critic: Critic, x: Tensor, a: Tensor | None) -> tuple[Tensor, Tensor]:
    """Scores (B,) of features x (B, D), and their gradients ∇_x D = W₁ₓᵀ (w₂ ⊙ slope(p)), (B, D)."""
    h = leaky(critic.hidden(x if a is None else torch.cat([x, a], dim=1)))
    slope = leaky_backward(critic.output.weight.expand_as(h), h)
    return critic.output(h).squeeze(1), through(slope, critic.hidden.operand[:, : x.shape[1]])


class Code:
    """The encoder's pass over B samples, kept for the way back.

    Attributes:
        mean, log_variance: (B, Z), leaves of an autograd graph.
    """

    def __init__(self, encoder: Encoder, x: Tensor, a: Tensor):
        """x (B, D), a (B, A)."""
        self.encoder, self.joint = encoder, torch.cat([x, a], dim=1)
        self.wide = leaky(encoder.hidden(self.joint))
        self.narrow = leaky(encoder.bottleneck(self.wide))
        self.mean, self.log_variance = leaf(encoder.mean(self.narrow)), leaf(encoder.log_variance(self.narrow))

    def backward(self, d_mean: Tensor, d_log_variance: Tensor) -> None:
        """Writes the encoder's gradients; both arguments (B, Z)."""
        encoder = self.encoder
        d_narrow = through(d_mean, encoder.mean.operand) + through(d_log_variance, encoder.log_variance.operand)
        d_narrow = leaky_backward(d_narrow, self.narrow)
        d_wide = leaky_backward(through(d_narrow, encoder.bottleneck.operand), self.wide)
        write_gradient(encoder.mean, d_mean, self.narrow)
        write_gradient(encoder.log_variance, d_log_variance, self.narrow)
        write_gradient(encoder.bottleneck, d_narrow, self.wide)
        write_gradient(encoder.hidden, d_wide, self.joint)


class Generation:
    """A generator pass over n rows, with feedback or without, kept for the way back.

    With J = [z, a], g = leaky(J W₁ᵀ + b₁), f = F(h) and h the decoder's hidden layer, x̂ = sigmoid((g + δf) W₂ᵀ + b₂).
    The gradient ends at h, at a, and before the first pass that h was taken from.

    Attributes:
        x_hat: (n, D) generated features.
    """

    def __init__(self, networks: Networks, z: Tensor, a: Tensor, feedback_weight: float | None, source: Tensor | None):
        """z (n, Z), a (n, A), δ or None; source (n, D): what to take h from, None for the first pass's x̂₀."""
        generator, feedback = networks.generator, networks.feedback
        self.generator, self.feedback, self.feedback_weight = generator, feedback, feedback_weight
        self.joint, self.latent_dim = torch.cat([z, a], dim=1), z.shape[1]
        self.plain = self.mixed = leaky(generator.hidden(self.joint))  # g, and g + δf
        if feedback_weight is not None:
            if source is None:
                source = generator.finish(self.plain)
            self.h = leaky(networks.decoder.hidden(source))
            self.first = leaky(feedback.first(self.h))
            self.second = leaky(feedback.second(self.first))
            self.mixed = torch.add(self.plain, self.second, alpha=feedback_weight)
        self.x_hat = generator.finish(self.mixed)

    def backward(self, d_x_hat: Tensor) -> Tensor:
        """Writes the gradients of generator and, where it took part, feedback module; d_x̂ (n, D) -> d_z (n, Z)."""
        d_sums = d_x_hat * self.x_hat * (1 - self.x_hat)
        d_mixed = through(d_sums, self.generator.output.operand)
        write_gradient(self.generator.output, d_sums, self.mixed)
        if self.feedback_weight is not None:
            d_second = leaky_backward(self.feedback_weight * d_mixed, self.second)
            d_first = leaky_backward(through(d_second, self.feedback.second.operand), self.first)
            write_gradient(self.feedback.second, d_second, self.first)
            write_gradient(self.feedback.first, d_first, self.h)
        d_plain = leaky_backward(d_mixed, self.plain)
        write_gradient(self.generator.hidden, d_plain, self.joint)
        return through(d_plain, self.generator.hidden.operand[:, : self.latent_dim])


def stale_source(networks: Networks, z: Tensor, a: Tensor, feedback_weight: float, b: int) -> Tensor:
    """`stale_feedback`: x̂₀ (n, D) of n rows, but the second b rows, the critic's, have the first's x̂, the VAE's."""
    source = networks.generator(z, a)
    source[b : 2 * b] = generate(networks, z[:b], a[:b], feedback_weight)
    return source
