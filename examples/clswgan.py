"""f-CLSWGAN: a Wasserstein GAN generates features of unseen classes from their attributes, and softmax heads learn from them.

    zslab train --method examples/clswgan.py:METHOD --dataset TOY
    python examples/run_clswgan.py --seeds 1 2 3

Xian, Lorenz, Schiele and Akata, "Feature Generating Networks for Zero-Shot Learning", CVPR 2018. Generated features must also
be classified as their class (equation 4), by a softmax layer that was trained on the real features of the seen classes and
stays as it is. The generator ends in a sigmoid, since features are scaled to [0, 1].
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zslab.config import RunConfig, flag
from zslab.data.dataset import StageData
from zslab.method import RUN, Method
from zslab.protocol.evaluation import Evaluation, Progress, unwatched
from zslab.shared.classification import classify
from zslab.shared.heads import SoftmaxHead
from zslab.shared.synthesis import synthesize
from zslab.shared.trainer import EpochTrainer
from zslab.shared.wgan import Critic, Generator, gradient_penalty, wasserstein_distance


@dataclass(frozen=True, kw_only=True)
class ClswganConfig(RunConfig):
    """The flags of f-CLSWGAN, named as those of TF-VAEGAN."""

    variant = "f-CLSWGAN"

    ngh: int = flag(low=1)  #: hidden units of the generator
    ndh: int = flag(low=1)  #: hidden units of the critic
    critic_iter: int = flag(low=1)  #: critic steps an iteration
    beta1: float  #: Adam's beta1
    lambda1: float  #: weight of the gradient penalty
    cls_weight: float  #: weight of the classification loss in the generator's loss
    syn_num: int = flag(low=1)  #: features synthesized for each unseen class; also the heads' batch size
    classifier_lr: float  #: learning rate of the softmax heads
    classifier_epochs: int = flag(low=1)  #: epochs of the softmax heads


class Networks(nn.Module):
    """Generator G(z, a) and critic D(x, a); the latent z has the dimension of the attributes a."""

    def __init__(self, feature_dim: int, attribute_dim: int, config: ClswganConfig):
        super().__init__()
        self.generator = Generator(attribute_dim, attribute_dim, feature_dim, config.ngh)
        self.critic = Critic(feature_dim, attribute_dim, config.ndh)


class ClswganTrainer(EpochTrainer):
    """Trains generator and critic; an evaluation trains two heads."""

    config: ClswganConfig
    networks: Networks

    def __init__(self, config: ClswganConfig, data: StageData, device: torch.device):
        super().__init__(Networks(data.feature_dim, data.attribute_dim, config), data, config, device)
        self.optimizers = {
            name: torch.optim.Adam(network.parameters(), config.lr, betas=(config.beta1, 0.999))
            for name, network in self.networks.named_children()
        }
        train, stream = self.data.train, torch.Generator(device).manual_seed(config.manualSeed)
        self.classifier = SoftmaxHead(batch_size=config.batch_size).fit(train.features, train.labels, stream)
        self.zsl_head, self.gzsl_head = (
            SoftmaxHead(config.classifier_lr, config.classifier_epochs, config.syn_num) for _ in range(2)
        )
        self.head_epochs = config.classifier_epochs

    def generate(self, a: Tensor) -> Tensor:
        """Return features (B, D) for attributes a (B, A) and fresh noise."""
        x_hat: Tensor = self.networks.generator(torch.randn(a.shape, generator=self.generator, device=a.device), a)
        return x_hat

    def iterate(self) -> dict[str, Tensor]:
        """Make `critic_iter` steps of the critic, each on a batch of its own, and one of the generator on the last of them."""
        config, critic = self.config, self.networks.critic
        for _ in range(config.critic_iter):
            x, labels = self.batch()
            a = self.data.attributes[labels]
            with torch.no_grad():
                x_hat = self.generate(a)
            alpha = torch.rand(len(x), 1, generator=self.generator, device=x.device)
            real, generated, slope = critic.compare(x, x_hat, alpha, a)
            distance, penalty = wasserstein_distance(real, generated), gradient_penalty(slope)
            self.update(config.lambda1 * penalty - distance, "critic")
        x_hat = self.generate(a)
        adversarial = -critic(x_hat, a).mean()
        targets = torch.searchsorted(self.classifier.classes_, labels)
        classification = F.cross_entropy(self.classifier.scores(x_hat), targets)
        loss = adversarial + config.cls_weight * classification
        self.update(loss, "generator")
        return {"wasserstein": distance, "penalty": penalty, "classification": classification, "generator": loss}

    def evaluate(self, keep: Container[int] = (), constant: float | None = None, progress: Progress = unwatched) -> Evaluation:
        """Synthesize features of the unseen classes, and train and measure the heads."""
        data, stream = self.data, self.evaluation_stream()
        synthetic = synthesize(
            self.networks.generator,
            data.attributes,
            data.unseen_classes,
            self.config.syn_num,
            data.attribute_dim,
            data.feature_dim,
            stream,
        )
        return classify(synthetic, data, self.zsl_head, self.gzsl_head, stream, keep, constant, progress)


CONFIG = ClswganConfig(
    **RUN,
    ngh=512,
    ndh=512,
    critic_iter=5,
    beta1=0.5,
    lambda1=10,
    cls_weight=0.01,
    syn_num=300,
    classifier_lr=1e-3,
    classifier_epochs=25,
)
METHOD = Method("clswgan", CONFIG, ClswganTrainer)
