"""TF-VAEGAN training states on random features, with weights as a trained model has them."""

from __future__ import annotations

import torch
from torch import Tensor

from zslab.data.dataset import Samples, StageData
from zslab.tfvaegan.networks import AttributeOutput, Critic, Encoder, Feedback, Generator, Networks, SemanticDecoder
from zslab.tfvaegan.settings import TfvaeganSettings
from zslab.tfvaegan.steps import TrainingState

D, A, Z, H, B, K = 23, 7, 5, 19, 8, 3
N_SEEN, N_UNSEEN = 6, 4
CPU = torch.device("cpu")
PLAIN = TfvaeganSettings(batch_size=B, critic_iter=K, cycle_weight=0.3, lr=1e-3, feedback_lr=1e-3, decoder_lr=1e-3)


def toy_data() -> StageData:
    """Random features of N_SEEN seen and N_UNSEEN unseen classes, in the default dtype."""

    def samples(classes: Tensor, n: int) -> Samples:
        return Samples(torch.rand(n, D), classes[torch.arange(n) % len(classes)])

    seen, unseen = torch.arange(N_SEEN), torch.arange(N_SEEN, N_SEEN + N_UNSEEN)
    attributes = torch.nn.functional.normalize(torch.rand(N_SEEN + N_UNSEEN, A), dim=1)
    return StageData("test", attributes, seen, unseen, samples(seen, 40), samples(seen, 12), samples(unseen, 20))


def build_state(settings: TfvaeganSettings, transductive: bool) -> TrainingState:
    output: AttributeOutput = "unit_norm" if settings.attribute_loss == "cycle" else "sigmoid"
    networks = Networks(
        Encoder(D, A, Z, H),
        Generator(Z, A, D, H),
        Critic(D, A, H + 2),
        Feedback(H),
        SemanticDecoder(D, A, H, output),
        Critic(D, 0, H + 1) if transductive else None,
    )
    with torch.no_grad():  # weights as a trained model has them: N(0, 0.02) would leave all activations near 0
        for name, network in networks.items():
            for parameter in network.parameters():
                parameter.normal_(std=0.3 if name != "critic" else 0.6)
    return TrainingState(networks, settings, CPU)
