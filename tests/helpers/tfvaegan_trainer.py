"""A TF-VAEGAN trainer on the tiny data set, and what "the same" means for two of them."""

from __future__ import annotations

import torch

from zslab.data.xlsa17 import read_xlsa17
from zslab.shared.heads import SoftmaxHead
from zslab.tfvaegan.networks import Critic, Encoder, Feedback, Generator, Networks, SemanticDecoder
from zslab.tfvaegan.settings import TfvaeganSettings
from zslab.tfvaegan.trainer import TfvaeganTrainer

CPU = torch.device("cpu")
SETTINGS = TfvaeganSettings(batch_size=10, critic_iter=2, n_synthetic=5, lr=1e-3)  # 36 samples: 4 iterations a loop, 8 an epoch


def build(
    root,
    transductive: bool = False,
    settings: TfvaeganSettings = SETTINGS,
    seed: int = 4,
    device: torch.device = CPU,
    **options,
) -> TfvaeganTrainer:
    data = read_xlsa17(root, "TINY", "res101", "att").stage("test")
    torch.manual_seed(seed)
    d, a, h = data.feature_dim, data.attribute_dim, 8
    output = "unit_norm" if settings.attribute_loss == "cycle" else "sigmoid"
    networks = Networks(
        Encoder(d, a, a, h),
        Generator(a, a, d, h),
        Critic(d, a, h),
        Feedback(h),
        SemanticDecoder(d, a, h, output),
        Critic(d, 0, h) if transductive else None,
    )
    heads = (SoftmaxHead(epochs=2, batch_size=5) for _ in range(2))
    return TfvaeganTrainer(networks, data, settings, *heads, device, seed, **options)


def assert_same(first: TfvaeganTrainer, second: TfvaeganTrainer) -> None:
    for (key, p), (_, q) in zip(first.weights().items(), second.weights().items()):
        assert torch.equal(p, q), key
    for name, optimizer in first.state.optimizers.items():
        other = second.state.optimizers[name].state_dict()["state"]
        for index, moments in optimizer.state_dict()["state"].items():
            for key, value in moments.items():
                assert torch.equal(value, other[index][key]), f"{name} {key}"
    assert torch.equal(first.state.penalty_weight, second.state.penalty_weight)
    assert torch.equal(first.generator.get_state(), second.generator.get_state())
