"""TF-VAEGAN's loop written down straight from the paper, without any care for speed: what `benchmarks/speed.py` times as
"plain", and a second witness beside `zslab.tfvaegan.steps`.

Autograd throughout, PyTorch's default Adam, gradients thrown away and made anew, batches gathered on the host and sent to
the device one by one, every loss read back as it arises. The losses are the project's own; what is plain is the loop.
Settings as in the release: encoded noise, decoder learning, inductive.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zslab.data.dataset import StageData
from zslab.tfvaegan.losses import cycle_loss, gradient_penalty, kl_divergence, reconstruction_loss
from zslab.tfvaegan.networks import Networks
from zslab.tfvaegan.settings import TfvaeganSettings
from zslab.tfvaegan.steps import Draws


class PlainTraining:
    """Networks on a device, data on the host."""

    def __init__(self, networks: Networks, settings: TfvaeganSettings, data: StageData, device: torch.device):
        self.networks, self.settings, self.data, self.device = networks.to(device), settings, data, device
        self.penalty_weight = settings.penalty_weight
        s = settings
        rates = {
            "encoder": (s.lr, 0.9),
            "generator": (s.lr, s.beta1),
            "critic": (s.lr, s.beta1),
            "feedback": (s.feedback_lr, s.beta1),
            "decoder": (s.decoder_lr, s.beta1),
        }
        self.adam = {
            name: torch.optim.Adam(getattr(networks, name).parameters(), lr=lr, betas=(beta1, 0.999))
            for name, (lr, beta1) in rates.items()
        }

    def batch(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, D) and a (B, A) of samples (B,), from the host to the device."""
        x, labels = self.data.train.features[rows], self.data.train.labels[rows]
        return x.to(self.device), self.data.attributes[labels].to(self.device)

    def generate(self, z: Tensor, a: Tensor, feedback: bool) -> Tensor:
        networks = self.networks
        if not feedback:
            return networks.generator(z, a)
        _, hidden = networks.decoder(networks.generator(z, a))
        return networks.generator(z, a, self.settings.feedback_train * networks.feedback(hidden.detach()))

    def iteration(self, draws: Draws, feedback: bool) -> dict[str, float]:
        networks, s, penalties = self.networks, self.settings, []
        for k in range(s.critic_iter):
            x, a = self.batch(draws.indices[k])
            networks.decoder.zero_grad()
            decoder_loss = s.cycle_weight * cycle_loss(networks.decoder(x)[0], a)
            decoder_loss.backward()
            self.adam["decoder"].step()

            networks.critic.zero_grad()
            with torch.no_grad():
                mean, log_variance = networks.encoder(x, a)
                z = mean + (0.5 * log_variance).exp() * draws.noise[k].to(self.device)
                x_hat = self.generate(z, a, feedback)
            distance = networks.critic(x, a).mean() - networks.critic(x_hat, a).mean()
            penalty = gradient_penalty(lambda x, a=a: networks.critic(x, a), x, x_hat, draws.alpha[k].to(self.device))
            critic_loss = s.critic_weight * (self.penalty_weight * penalty - distance)
            critic_loss.backward()
            self.adam["critic"].step()
            penalties.append(penalty.item())
        mean_penalty = sum(penalties) / len(penalties)
        if mean_penalty > 1.05:
            self.penalty_weight *= 1.1
        elif mean_penalty < 1.001:
            self.penalty_weight /= 1.1

        for network in (networks.encoder, networks.generator, networks.decoder, networks.feedback):
            network.zero_grad()
        for parameter in networks.critic.parameters():
            parameter.requires_grad_(False)
        mean, log_variance = networks.encoder(x, a)
        z = mean + (0.5 * log_variance).exp() * draws.vae_noise.to(self.device)
        x_hat = self.generate(z, a, feedback)
        losses = {
            "reconstruction": reconstruction_loss(x_hat, x),
            "kl": kl_divergence(mean, log_variance),
            "adversarial": -networks.critic(x_hat, a).mean(),
            "cycle_generator": cycle_loss(networks.decoder(x_hat)[0], a),
        }
        weights = {"adversarial": s.adversarial_weight, "cycle_generator": s.cycle_weight}
        sum(weights.get(name, 1.0) * loss for name, loss in losses.items()).backward()
        for name in ["encoder", "generator", "decoder"] + (["feedback"] if feedback else []):
            self.adam[name].step()
        for parameter in networks.critic.parameters():
            parameter.requires_grad_(True)
        return {name: loss.item() for name, loss in losses.items()} | {
            "critic": critic_loss.item(),
            "wasserstein": distance.item(),
            "cycle_decoder": decoder_loss.item(),
            "penalty": mean_penalty,
        }


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
