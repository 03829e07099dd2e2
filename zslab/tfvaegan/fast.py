"""A faster training iteration of TF-VAEGAN: the mathematics of `steps.iteration`, equal to rounding.

Read `steps.py` first, which is the plain version; `tests/unit/test_fast.py` compares the two. The differences:

1. Encoder and generator do not change during the critic steps, so the features of all K steps are generated in one pass.
   With feedback, only the decoder's hidden layer is computed step by step, because the decoder is trained meanwhile
   (`decode_and_generate`).
2. Real, generated and interpolated features share one product in the critic, and the gradient penalty of a critic with
   one hidden layer has a closed form: no graph, no second backward pass (`critic_step`).
3. The features that the generator step needs for the VAE, the critic and D2 go through the networks stacked
   (`generator_step`).
4. Gradients of linear layers are written by hand into `.grad` buffers that are allocated once. Elementwise parts (losses,
   norms, sampling a latent) are left to autograd, with the loss functions that `steps.py` uses.

Shapes are static, nothing is read back to the host, and parameters, gradients and λ1 change in place, so that an iteration
can be captured as a CUDA graph. Products have the precision of a layer's `operand`, float32 or bfloat16; all else is float32.

Symbols in the shape comments: B batch, D feature_dim, A attribute_dim, Z latent_dim, H hidden_dim, K critic_iter, n rows.
`d_p` is the gradient of the loss in p; slope(p) is LeakyReLU's, 1 where p > 0 and 0.2 elsewhere.
"""

from __future__ import annotations

import torch
from torch import Tensor

from zslab.data.dataset import Samples, StageData
from zslab.tfvaegan.losses import adapt_penalty_weight, kl_divergence, reconstruction_loss, wasserstein_distance
from zslab.tfvaegan.networks import SLOPE, Critic, Encoder, Linear, Networks, leaky_relu
from zslab.tfvaegan.steps import Batch, Draws, Losses, TrainingState, encode, generate, sample_latent, weighted_sum
from zslab.utils.precision import linear, linear_backward_input, matmul_into


@torch.no_grad()
def iteration(state: TrainingState, data: StageData, targets: Tensor, draws: Draws, feedback_active: bool) -> Losses:
    """Make one iteration; arguments and result as in `steps.iteration`."""
    s, networks = state.config, state.networks
    make_gradient_buffers(networks)
    feedback = s.a1 if feedback_active else None

    seen = gather(data.train, draws.indices, data.train.labels[draws.indices], data.attributes, targets)
    x_hat, steps = decode_and_generate(state, seen, draws.noise, feedback)
    for k in range(s.critic_iter):
        losses = critic_step(state, "critic", s.gammaD, seen.x[k], x_hat[k], draws.alpha[k], seen.a[k])
        steps[k] |= losses
    last, last_unseen = pick(seen, -1), None
    if draws.unseen is not None:
        u = draws.unseen
        unseen = gather(data.test_unseen, u.indices, u.classes, data.attributes, targets)
        x_hat = generate(networks, u.noise.flatten(0, 1), unseen.a.flatten(0, 1), feedback).view_as(unseen.x)
        for k in range(s.critic_iter):
            losses = critic_step(state, "critic_unseen", s.gammaD2, unseen.x[k], x_hat[k], u.alpha[k])  # type: ignore[attr-defined]
            steps[k] |= {f"{name}_unseen": loss for name, loss in losses.items()}
        last_unseen = pick(unseen, -1)

    means = {name: torch.stack([step[name] for step in steps]).mean() for name in steps[0]}
    penalty = means["penalty"] if last_unseen is None else (means["penalty"] + means["penalty_unseen"]) / 2
    state.penalty_weight.copy_(adapt_penalty_weight(state.penalty_weight, penalty))
    return means | generator_step(state, last, draws, last_unseen, feedback)


def gather(samples: Samples, indices: Tensor, classes: Tensor, attributes: Tensor, targets: Tensor) -> Batch:
    """Return the K batches of an iteration, x (K, B, D), a and target (K, B, A), for indices and classes (K, B)."""
    return Batch(samples.features[indices], attributes[classes], targets[classes])


def pick(batches: Batch, k: int) -> Batch:
    """Return the k-th of K batches."""
    return Batch(batches.x[k], batches.a[k], batches.target[k])


def make_gradient_buffers(networks: Networks) -> None:
    """Allocate every parameter's gradient, unless it exists already."""
    for _, network in networks.items():
        for parameter in network.parameters():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)


# ---- hand-written gradients -----------------------------------------------------------------------------------------


def gradient(parameter: Tensor) -> Tensor:
    """Return the gradient buffer of a parameter, which `make_gradient_buffers` has allocated."""
    assert parameter.grad is not None
    return parameter.grad


def write_gradient(layer: Linear, d_out: Tensor, x: Tensor) -> None:
    """Write the gradients of y = x Wᵀ + b into the layer's buffers: d_W = d_yᵀ x and d_b = Σ_n d_y.

    Args:
        layer: W (out, in) and b (out,).
        d_out: d_y (n, out).
        x: (n, in).
    """
    matmul_into(gradient(layer.weight), d_out, x, layer.operand.dtype)
    torch.sum(d_out, dim=0, out=gradient(layer.bias))


def leaky_backward(d_out: Tensor, p: Tensor) -> Tensor:
    """Return d_out ⊙ slope(p), where p is LeakyReLU's argument or its result, which have the same sign."""
    d_p: Tensor = torch.ops.aten.leaky_relu_backward(d_out, p, SLOPE, False)
    return d_p


def detached_leaf(x: Tensor) -> Tensor:
    """Return a view of x that starts a new autograd graph."""
    return x.detach().requires_grad_()


# ---- critic steps ---------------------------------------------------------------------------------------------------


def decode_and_generate(
    state: TrainingState, seen: Batch, noise: Tensor, feedback: float | None
) -> tuple[Tensor, list[Losses]]:
    """Make the K decoder steps, and generate the features for the K critic steps.

    Encoder, generator and feedback module do not change meanwhile, and the decoder does not depend on the critic. So all
    decoder steps can come first, and everything but the decoder's hidden layer is computed for all steps at once.

    Args:
        state: its decoder changes in place.
        seen: x (K, B, D), a and target (K, B, A).
        noise: (K, B, Z).
        feedback: δ, or None where feedback is not active.

    Returns:
        x̂ (K, B, D) and the losses of every step.
    """
    networks, s = state.networks, state.config
    z, a = noise.flatten(0, 1), seen.a.flatten(0, 1)
    if s.encoded_noise:
        z = encode(networks, seen.x.flatten(0, 1), a, z)[0]
    g = networks.generator.hidden_features(z, a)
    x_hat = networks.generator.output_from_hidden(g).view_as(seen.x)
    steps, hidden = [], []
    for k in range(s.critic_iter):
        steps.append(decoder_step(state, seen.x[k], seen.target[k]) if s.recons_weight > 0 else {})
        if feedback is not None:
            hidden.append(leaky_relu(networks.decoder.hidden(x_hat[k])))
    if feedback is not None:
        x_hat = networks.generator.output_from_hidden(g, feedback * networks.feedback(torch.cat(hidden))).view_as(seen.x)
    return x_hat, steps


def decoder_step(state: TrainingState, x: Tensor, target: Tensor) -> Losses:
    """Train the semantic decoder on real features x (B, D) with their target (B, A)."""
    losses, _ = attribute_losses(state, x, target, learn=True)
    state.step("decoder")
    return {"cycle_decoder": losses[0]}


def attribute_losses(state: TrainingState, x: Tensor, target: Tensor, learn: bool) -> tuple[list[Tensor], Tensor]:
    """Return the decoder's loss for every B of n features, and the gradient of their sum in its hidden layer.

    With h = leaky_relu(p), p = x W₁ᵀ + b₁, and the sums r = h W₂ᵀ + b₂ before the decoder's output function, autograd gives
    d_r; then d_p = (d_r W₂) ⊙ slope(p).

    Args:
        state: its decoder is used.
        x: (n, D) features.
        target: (n, A) the decoder's target.
        learn: whether to write the decoder's gradients.

    Returns:
        A 0-d loss for every B features, without weight; d_p (n, H) of their weighted sum.
    """
    s, decoder = state.config, state.networks.decoder
    h = leaky_relu(decoder.hidden(x))
    sums = detached_leaf(decoder.attributes(h))
    with torch.enable_grad():
        blocks = zip(sums.split(s.batch_size), target.split(s.batch_size))
        losses = [state.attribute_loss_function(decoder.activate(block), block_target) for block, block_target in blocks]
        (d_sums,) = torch.autograd.grad(s.recons_weight * torch.stack(losses).sum(), sums)
    d_p = leaky_backward(linear_backward_input(d_sums, decoder.attributes.operand), h)
    if learn:
        write_gradient(decoder.attributes, d_sums, h)
        write_gradient(decoder.hidden, d_p, x)
    return [loss.detach() for loss in losses], d_p


def critic_step(
    state: TrainingState, name: str, weight: float, x: Tensor, x_hat: Tensor, alpha: Tensor, a: Tensor | None = None
) -> Losses:
    """Train D, or without attributes D2, on weight · (λ1 · penalty − distance); see `critic_gradients`."""
    critic, penalty_weight = getattr(state.networks, name), weight * state.penalty_factor
    distance, penalty = critic_gradients(critic, weight, penalty_weight, x, x_hat, alpha, a)
    state.step(name)
    loss = penalty_weight * penalty - weight * distance
    return {"critic": loss, "wasserstein": distance, "penalty": penalty}


def critic_gradients(
    critic: Critic, weight: float, penalty_weight: Tensor, x: Tensor, x_hat: Tensor, alpha: Tensor, a: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Write the critic's gradients of penalty_weight·penalty − weight·distance; return distance and penalty.

    The critic is D(x, a) = w₂ · leaky_relu(p) + b₂ with p = W₁ₓ x + W₁ₐ a + b₁, H hidden units. So:

    - p is linear in x. At x̄ = αx + (1 − α)x̂ it is p̄ = αp + (1 − α)p̂, which needs no matrix product.
    - ∇D(x̄) = W₁ₓᵀ s̄ with s̄ = w₂ ⊙ slope(p̄). The slope is constant almost everywhere, so ∇D is a product of weights. With
      penalty = mean((‖∇‖ − 1)²) and d_∇ = 2·penalty_weight/B · (1 − 1/‖∇‖)·∇, its gradients are
      d_W₁ₓ = Σ s̄ d_∇ᵀ and d_w₂ = Σ slope(p̄) ⊙ (W₁ₓ d_∇), and zero for W₁ₐ and the biases. Where ∇ = 0, d_∇ = 0.
    - The scores contribute d_p = ∓weight/B · w₂ ⊙ slope(p), minus for real and plus for generated features, hence
      d_W₁ₓ = Σ d_p xᵀ. One product of [d_p; d_p̂; s̄] and [x; x̂; d_∇] sums all three contributions to d_W₁ₓ.

    Args:
        critic: D, or D2; its gradients are overwritten.
        weight: γ of the critic.
        penalty_weight: 0-d, `weight`·λ1.
        x: (B, D) real features.
        x_hat: (B, D) generated features.
        alpha: (B, 1) in [0, 1].
        a: (B, A), or None for D2.

    Returns:
        distance and penalty, both 0-d and without weight.
    """
    (n, dim), hidden, output = x.shape, critic.hidden, critic.output
    w_features, w_attributes = hidden.operand[:, :dim], hidden.operand[:, dim:]
    w_out = output.weight[0]  # (H,)

    p = hidden.weight.new_empty(3, n, len(w_out))  # of real, generated and interpolated features
    rest = hidden.bias if a is None else linear(a, w_attributes, hidden.bias)
    torch.add(linear(torch.cat([x, x_hat]), w_features).view(2, n, -1), rest, out=p[:2])
    torch.lerp(p[1], p[0], alpha, out=p[2])
    h = leaky_relu(p[:2])
    distance = wasserstein_distance(*output(h).squeeze(2))

    s = leaky_backward(w_out.expand_as(p), p)  # w₂ ⊙ slope(p)
    slope = linear_backward_input(s[2], w_features)  # ∇D(x̄), (B, D)
    norm = slope.norm(dim=1, keepdim=True)
    penalty = (norm - 1).square().mean()
    d_slope = torch.where(norm > 0, 1 - 1 / norm, 0) * (2 / n * penalty_weight) * slope

    d_p = s  # scaled in place; the third part stays s̄
    d_p[0] *= -weight / n
    d_p[1] *= weight / n
    precision, d_weight = hidden.operand.dtype, gradient(hidden.weight)
    matmul_into(d_weight[:, :dim], d_p.flatten(0, 1), torch.cat([x, x_hat, d_slope]), precision)
    d_rest = d_p[0] + d_p[1]
    torch.sum(d_rest, dim=0, out=gradient(hidden.bias))
    if a is not None:
        matmul_into(d_weight[:, dim:], d_rest, a, precision)
    from_penalty = leaky_backward(linear(d_slope, w_features), p[2])
    torch.sum(weight / n * (h[1] - h[0]) + from_penalty, dim=0, out=gradient(output.weight)[0])
    gradient(output.bias).zero_()  # it raises the scores of real and generated features alike
    return distance, penalty


# ---- generator step -------------------------------------------------------------------------------------------------


def generator_step(state: TrainingState, seen: Batch, draws: Draws, unseen: Batch | None, feedback: float | None) -> Losses:
    """Train encoder, generator and the others; arguments and result as in `steps.generator_step`.

    The features to generate are stacked, B each: from the encoder's latents for the VAE; from noise for the critic, unless
    `encoded_noise` makes the VAE's features serve for both; for D2 where there is one.
    """
    networks, s, b = state.networks, state.config, state.config.batch_size
    encoder_pass = EncoderPass(networks.encoder, seen.x, seen.a)
    with torch.enable_grad():
        encoded = sample_latent(encoder_pass.mean, encoder_pass.log_variance, draws.vae_noise)
        kl = kl_divergence(encoder_pass.mean, encoder_pass.log_variance)

    latents, attributes = [encoded.detach()], [seen.a]
    if not s.encoded_noise:
        latents, attributes = [*latents, draws.generator_noise], [*attributes, seen.a]
    for_critic = len(latents) - 1  # the block of features that the critic scores
    if unseen is not None:
        assert draws.unseen is not None
        latents, attributes = [*latents, draws.unseen.generator_noise], [*attributes, unseen.a]
    z, a, source = torch.cat(latents), torch.cat(attributes), None
    if s.stale_feedback and not s.encoded_noise and feedback is not None:
        source = stale_source(networks, z, a, feedback, b)
    generator_pass = GeneratorPass(networks, z, a, feedback, source)
    d_x = torch.zeros_like(generator_pass.x_hat)
    x_hat, d_blocks = generator_pass.x_hat.split(b), d_x.split(b)

    vae = detached_leaf(x_hat[0])
    with torch.enable_grad():
        reconstruction = reconstruction_loss(vae, seen.x)
        d_blocks[0].add_(torch.autograd.grad(reconstruction, vae)[0])
    losses = {"reconstruction": reconstruction.detach(), "kl": kl.detach()}
    weights = {"reconstruction": 1.0, "kl": 1.0}

    score, slope = score_and_input_grad(networks.critic, x_hat[for_critic], seen.a)
    d_blocks[for_critic].add_(slope, alpha=-s.gammaG / b)
    losses["adversarial"], weights["adversarial"] = -score.mean(), s.gammaG
    if unseen is not None:
        assert networks.critic_unseen is not None
        score, slope = score_and_input_grad(networks.critic_unseen, x_hat[-1], None)
        d_blocks[-1].add_(slope, alpha=-s.gammaG_D2 / b)  # type: ignore[attr-defined]
        losses["adversarial_unseen"], weights["adversarial_unseen"] = -score.mean(), s.gammaG_D2  # type: ignore[attr-defined]

    learners = ["encoder", "generator"] + (["feedback"] if feedback is not None else [])
    if s.recons_weight > 0:
        scored = slice(for_critic * b, None)  # the critic's features, and D2's where there are any
        target = seen.target if unseen is None else torch.cat([seen.target, unseen.target])
        cycles, d_p = attribute_losses(state, generator_pass.x_hat[scored], target, learn=not s.freeze_dec)
        d_x[scored].add_(linear_backward_input(d_p, networks.decoder.hidden.operand))
        names = ["cycle_generator", "cycle_unseen"][: len(cycles)]
        losses |= dict(zip(names, cycles))
        weights |= dict.fromkeys(names, s.recons_weight)
        learners += [] if s.freeze_dec else ["decoder"]

    d_z = generator_pass.backward(d_x)[:b]
    encoder_pass.backward(*torch.autograd.grad((encoded, kl), (encoder_pass.mean, encoder_pass.log_variance), (d_z, None)))
    for name in learners:
        state.step(name)
    return losses | {"generator": weighted_sum(losses, weights)}


def score_and_input_grad(critic: Critic, x: Tensor, a: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the scores (B,) of features x (B, D), and their gradients ∇_x D = W₁ₓᵀ (w₂ ⊙ slope(p)), (B, D)."""
    h = leaky_relu(critic.hidden(x if a is None else torch.cat([x, a], dim=1)))
    slope = leaky_backward(critic.output.weight.expand_as(h), h)
    return critic.output(h).squeeze(1), linear_backward_input(slope, critic.hidden.operand[:, : x.shape[1]])


class EncoderPass:
    """A forward pass of the encoder that keeps what its backward pass needs.

    Args:
        encoder: E.
        x: (B, D) features.
        a: (B, A) attributes.

    Attributes:
        mean: (B, Z), a leaf of an autograd graph.
        log_variance: (B, Z), a leaf of an autograd graph.
    """

    def __init__(self, encoder: Encoder, x: Tensor, a: Tensor):
        self.encoder, self.joint = encoder, torch.cat([x, a], dim=1)
        self.wide = leaky_relu(encoder.hidden(self.joint))
        self.narrow = leaky_relu(encoder.bottleneck(self.wide))
        self.mean = detached_leaf(encoder.mean(self.narrow))
        self.log_variance = detached_leaf(encoder.log_variance(self.narrow))

    def backward(self, d_mean: Tensor, d_log_variance: Tensor) -> None:
        """Write the encoder's gradients, given those of mean and log-variance, both (B, Z)."""
        encoder = self.encoder
        d_narrow = linear_backward_input(d_mean, encoder.mean.operand)
        d_narrow += linear_backward_input(d_log_variance, encoder.log_variance.operand)
        d_narrow = leaky_backward(d_narrow, self.narrow)
        d_wide = leaky_backward(linear_backward_input(d_narrow, encoder.bottleneck.operand), self.wide)
        write_gradient(encoder.mean, d_mean, self.narrow)
        write_gradient(encoder.log_variance, d_log_variance, self.narrow)
        write_gradient(encoder.bottleneck, d_narrow, self.wide)
        write_gradient(encoder.hidden, d_wide, self.joint)


class GeneratorPass:
    """A forward pass of the generator, with feedback or without, that keeps what its backward pass needs.

    With J = [z, a], g = leaky_relu(J W₁ᵀ + b₁), f = F(h) and h the decoder's hidden layer, x̂ = sigmoid((g + δf) W₂ᵀ + b₂).
    No gradient flows into h, a, or the first pass that h comes from.

    Args:
        networks: generator, feedback module and decoder are used.
        z: (n, Z) latents.
        a: (n, A) attributes.
        feedback_weight: δ, or None for a pass without feedback.
        source: (n, D) features to compute h from; None for the x̂₀ of a first pass.

    Attributes:
        x_hat: (n, D) generated features.
    """

    def __init__(self, networks: Networks, z: Tensor, a: Tensor, feedback_weight: float | None, source: Tensor | None):
        generator, feedback = networks.generator, networks.feedback
        self.generator, self.feedback, self.feedback_weight = generator, feedback, feedback_weight
        self.joint, self.latent_dim = torch.cat([z, a], dim=1), z.shape[1]
        self.plain = self.mixed = leaky_relu(generator.hidden(self.joint))  # g, and g + δf
        if feedback_weight is not None:
            if source is None:
                source = generator.output_from_hidden(self.plain)
            self.h = leaky_relu(networks.decoder.hidden(source))
            self.first = leaky_relu(feedback.first(self.h))
            self.second = leaky_relu(feedback.second(self.first))
            self.mixed = torch.add(self.plain, self.second, alpha=feedback_weight)
        self.x_hat = generator.output_from_hidden(self.mixed)

    def backward(self, d_x_hat: Tensor) -> Tensor:
        """Write the gradients of generator and, where active, feedback module; return d_z (n, Z), given d_x̂ (n, D)."""
        d_sums = d_x_hat * self.x_hat * (1 - self.x_hat)
        d_mixed = linear_backward_input(d_sums, self.generator.output.operand)
        write_gradient(self.generator.output, d_sums, self.mixed)
        if self.feedback_weight is not None:
            d_second = leaky_backward(self.feedback_weight * d_mixed, self.second)
            d_first = leaky_backward(linear_backward_input(d_second, self.feedback.second.operand), self.first)
            write_gradient(self.feedback.second, d_second, self.first)
            write_gradient(self.feedback.first, d_first, self.h)
        d_plain = leaky_backward(d_mixed, self.plain)
        write_gradient(self.generator.hidden, d_plain, self.joint)
        return linear_backward_input(d_plain, self.generator.hidden.operand[:, : self.latent_dim])


def stale_source(networks: Networks, z: Tensor, a: Tensor, feedback_weight: float, b: int) -> Tensor:
    """Return the source of h for `stale_feedback`, (n, D).

    It is x̂₀, except that the second b features, the critic's, take h from x̂ of the first b, the VAE's.
    """
    source: Tensor = networks.generator(z, a)
    source[b : 2 * b] = generate(networks, z[:b], a[:b], feedback_weight)
    return source
