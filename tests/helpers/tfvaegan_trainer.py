"""A TF-VAEGAN trainer on the tiny data set, and what "the same" means for two of them."""

from dataclasses import replace

import torch

from zslab.config import ImageConfig
from zslab.data.xlsa17 import read_xlsa17
from zslab.shared.heads import SoftmaxHead
from zslab.tfvaegan.networks import Networks
from zslab.tfvaegan.trainer import TfvaeganTrainer

from helpers.configs import tfvaegan

CPU = torch.device("cpu")
# 36 training samples: 4 iterations a loop, 8 an epoch.
CONFIG = tfvaegan(batch_size=10, critic_iter=2, syn_num=5, lr=1e-3, ngh=8, ndh=8, manualSeed=4)


def build(root, transductive: bool = False, config: ImageConfig = CONFIG, device: torch.device = CPU) -> TfvaeganTrainer:
    config = replace(config, transductive=transductive)
    data = read_xlsa17(root, "TINY", "res101", "att").stage("test")
    torch.manual_seed(config.manualSeed)
    networks = Networks.build(config, data.feature_dim, data.attribute_dim)
    heads = (SoftmaxHead(epochs=2, batch_size=5) for _ in range(2))
    return TfvaeganTrainer(networks, data, config, *heads, device)


def assert_same(first: TfvaeganTrainer, second: TfvaeganTrainer) -> None:
    others = second.state.tensors()
    for name, value in first.state.tensors().items():
        assert torch.equal(value, others[name]), name
    assert torch.equal(first.generator.get_state(), second.generator.get_state())
