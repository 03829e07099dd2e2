"""TF-VAEGAN's training written down straight from the paper, without any care for speed: what the engine is held to, and what
`benchmarks/speed.py` times as "plain".

Autograd throughout, with a second backward pass for the gradient penalty; PyTorch's default Adam; batches gathered on the
host and sent to the device one by one; every loss read back as it arises. The loss functions and the networks' forward
passes are the project's own; what is plain is the loop.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zslab.config import ImageConfig
from zslab.data.dataset import Samples, StageData
from zslab.shared.wgan import Critic
from zslab.tfvaegan.losses import attribute_cross_entropy, cycle_loss, kl_divergence, reconstruction_loss
from zslab.tfvaegan.networks import Networks
from zslab.tfvaegan.steps import Draws


class PlainTraining:
    """Networks on a device, data on the host.

    Args:
        targets: (C, A) the decoder's target for each class; the attributes where not given.
    """

    def __init__(
        self, networks: Networks, config: ImageConfig, data: StageData, device: torch.device, targets: Tensor | None = None
    ):
        self.networks, self.config, self.data, self.device = networks.to(device), config, data, device
        self.targets = data.attributes if targets is None else targets
        self.penalty_weight = config.lambda1
        rates = {"feedback": config.feed_lr, "decoder": config.dec_lr}
        self.adam = {
            name: torch.optim.Adam(
                network.parameters(), rates.get(name, config.lr), (0.9 if name == "encoder" else config.beta1, 0.999)
            )
            for name, network in networks.named_children()
        }

    def batch(self, samples: Samples, rows: Tensor, classes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x (B, D) of samples, attributes (B, A) and targets (B, A) of classes, from the host to the device."""
        return tuple(t.to(self.device) for t in (samples.features[rows], self.data.attributes[classes], self.targets[classes]))

    def generate(self, z: Tensor, a: Tensor, feedback: bool, source: Tensor | None = None) -> Tensor:
        """x̂ (B, D); with feedback in two passes, or from the decoder's hidden layer at `source`."""
        networks = self.networks
        if not feedback:
            return networks.generator(z, a)
        _, hidden = networks.decoder(networks.generator(z, a) if source is None else source)
        return networks.generator(z, a, self.config.a1 * networks.feedback(hidden.detach()))

    def encode(self, x: Tensor, a: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, log_variance = self.networks.encoder(x, a)
        return mean + (0.5 * log_variance).exp() * noise, mean, log_variance

    def attribute_loss(self, x: Tensor, target: Tensor) -> Tensor:
        loss = attribute_cross_entropy if self.config.bce_att else cycle_loss
        return loss(self.networks.decoder(x)[0], target)

    def train(self, loss: Tensor, *names: str) -> float:
        """One step of Adam for each named network; gradients that reach others are thrown away."""
        self.networks.zero_grad()
        loss.backward()
        for name in names:
            self.adam[name].step()
        return loss.item()

    def critic_losses(self, critic: Critic, x: Tensor, x_hat: Tensor, alpha: Tensor, a: Tensor | None) -> tuple[Tensor, Tensor]:
        """Wasserstein distance and gradient penalty."""
        distance = critic(x, a).mean() - critic(x_hat, a).mean()
        between = (alpha * x + (1 - alpha) * x_hat).requires_grad_()
        (gradient,) = torch.autograd.grad(critic(between, a).sum(), between, create_graph=True)
        return distance, ((gradient.norm(dim=1) - 1) ** 2).mean()

    def iteration(self, draws: Draws, feedback: bool) -> dict[str, float]:
        config, data, networks, steps = self.config, self.data, self.networks, []
        for k in range(config.critic_iter):
            x, a, target = self.batch(data.train, draws.indices[k], data.train.labels[draws.indices[k]])
            step = {}
            if config.recons_weight > 0:
                loss = self.attribute_loss(x, target)
                self.train(config.recons_weight * loss, "decoder")
                step["cycle_decoder"] = loss.item()
            noise = draws.noise[k].to(self.device)
            with torch.no_grad():
                x_hat = self.generate(self.encode(x, a, noise)[0] if config.encoded_noise else noise, a, feedback)
            distance, penalty = self.critic_losses(networks.critic, x, x_hat, draws.alpha[k].to(self.device), a)
            step["critic"] = self.train(config.gammaD * (self.penalty_weight * penalty - distance), "critic")
            steps.append(step | {"wasserstein": distance.item(), "penalty": penalty.item()})
        for k in range(config.critic_iter if draws.unseen else 0):
            u = draws.unseen
            x2, a2, target2 = self.batch(data.test_unseen, u.indices[k], u.classes[k])
            with torch.no_grad():
                x_hat = self.generate(u.noise[k].to(self.device), a2, feedback)
            distance, penalty = self.critic_losses(networks.critic_unseen, x2, x_hat, u.alpha[k].to(self.device), None)
            loss = self.train(config.gammaD2 * (self.penalty_weight * penalty - distance), "critic_unseen")
            steps[k] |= {"critic_unseen": loss, "wasserstein_unseen": distance.item(), "penalty_unseen": penalty.item()}
        means = {name: sum(step[name] for step in steps) / len(steps) for name in steps[0]}
        penalty = (means["penalty"] + means["penalty_unseen"]) / 2 if draws.unseen else means["penalty"]
        if penalty > 1.05:
            self.penalty_weight *= 1.1
        elif penalty < 1.001:
            self.penalty_weight /= 1.1

        z, mean, log_variance = self.encode(x, a, draws.vae_noise.to(self.device))
        vae = self.generate(z, a, feedback)
        x_hat = vae
        if not config.encoded_noise:
            x_hat = self.generate(draws.generator_noise.to(self.device), a, feedback, vae if config.stale_feedback else None)
        losses = {"reconstruction": reconstruction_loss(vae, x), "kl": kl_divergence(mean, log_variance)}
        losses["adversarial"] = -networks.critic(x_hat, a).mean()
        total = losses["reconstruction"] + losses["kl"] + config.gammaG * losses["adversarial"]
        if config.recons_weight > 0:
            losses["cycle_generator"] = self.attribute_loss(x_hat, target)
            total = total + config.recons_weight * losses["cycle_generator"]
        if draws.unseen:
            x_hat = self.generate(draws.unseen.generator_noise.to(self.device), a2, feedback)
            losses["adversarial_unseen"] = -networks.critic_unseen(x_hat).mean()
            total = total + config.gammaG_D2 * losses["adversarial_unseen"]
            if config.recons_weight > 0:
                losses["cycle_unseen"] = self.attribute_loss(x_hat, target2)
                total = total + config.recons_weight * losses["cycle_unseen"]
        learners = ["encoder", "generator"] + (["feedback"] if feedback else [])
        learners += ["decoder"] if config.recons_weight > 0 and not config.freeze_dec else []
        means["generator"] = self.train(total, *learners)
        return means | {name: loss.item() for name, loss in losses.items()}


def fit_plain_head(
    features: Tensor, labels: Tensor, n_classes: int, epochs: int, batch_size: int, lr: float, device: torch.device
) -> nn.Linear:
    """A softmax head on features (n, d) that lie on the host: LogSoftmax, NLLLoss, default Adam, batch by batch."""
    head = nn.Sequential(nn.Linear(features.shape[1], n_classes), nn.LogSoftmax(dim=1)).to(device)
    nn.init.normal_(head[0].weight, std=0.02)
    nn.init.zeros_(head[0].bias)
    adam, total = torch.optim.Adam(head.parameters(), lr=lr, betas=(0.5, 0.999)), 0.0
    for _ in range(epochs):
        order = torch.randperm(len(features))
        for rows in order.split(batch_size):
            x, y = features[rows].to(device), labels[rows].to(device)
            head.zero_grad()
            loss = F.nll_loss(head(x), y)
            loss.backward()
            adam.step()
            total += loss.item()
    return head[0]
