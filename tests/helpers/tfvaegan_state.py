"""TF-VAEGAN training states on random features, with weights as a trained model has them."""

import torch
from torch import Tensor

from zslab.config import ImageConfig
from zslab.data.dataset import Samples, StageData
from zslab.tfvaegan.networks import Networks
from zslab.tfvaegan.steps import TrainingState

from helpers.configs import tfvaegan

D, A, Z, B, K = 23, 7, 5, 8, 3
N_SEEN, N_UNSEEN = 6, 4
CPU = torch.device("cpu")
CONFIG = tfvaegan(nz=Z, ngh=19, ndh=21, batch_size=B, critic_iter=K, recons_weight=0.3, lr=1e-3, feed_lr=1e-3, dec_lr=1e-3)


def toy_data() -> StageData:
    """Random features of N_SEEN seen and N_UNSEEN unseen classes, in the default dtype."""

    def samples(classes: Tensor, n: int) -> Samples:
        return Samples(torch.rand(n, D), classes[torch.arange(n) % len(classes)])

    seen, unseen = torch.arange(N_SEEN), torch.arange(N_SEEN, N_SEEN + N_UNSEEN)
    attributes = torch.nn.functional.normalize(torch.rand(N_SEEN + N_UNSEEN, A), dim=1)
    return StageData("test", attributes, seen, unseen, samples(seen, 40), samples(seen, 12), samples(unseen, 20))


def build_networks(config: ImageConfig) -> Networks:
    networks = Networks.build(config, D, A)
    for name, network in networks.named_children():  # N(0, 0.02), as a training starts, would leave all activations near 0
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.3 if name != "critic" else 0.6)
    return networks


def build_state(config: ImageConfig = CONFIG) -> TrainingState:
    return TrainingState(build_networks(config), config, CPU)
