"""The settings of TF-VAEGAN; a tree's `config.py` maps the release's flags to these names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from zslab.tfvaegan.losses import attribute_cross_entropy, cycle_loss


@dataclass(frozen=True)
class TfvaeganSettings:
    """The settings of the method.

    Attributes:
        batch_size: B.
        critic_iter: K, critic steps per generator step.
        feedback_loop: passes over the data per epoch; feedback is active in the second only.
        encoded_noise: whether generated features come from the encoder's latents rather than from pure noise.
        freeze_decoder: whether the generator step leaves the decoder unchanged.
        stale_feedback: without encoded noise, whether the generator step's features take their feedback from the VAE's
            features instead of their own first pass.
        attribute_loss: the decoder's loss; "cross_entropy" needs a sigmoid decoder.
        critic_weight: γ_D.
        adversarial_weight: γ_G.
        cycle_weight: weight of the decoder's loss; with 0 there is no decoder.
        penalty_weight: λ1 at the start.
        feedback_train: δ in training.
        feedback_synthesis: δ in synthesis.
        lr: Adam's learning rate for encoder, generator and critics.
        beta1: Adam's first beta, except the encoder's.
        feedback_lr: Adam's learning rate for the feedback module.
        decoder_lr: Adam's learning rate for the decoder.
        n_synthetic: features to synthesize per class.
        transform: whether classification uses [x, Dec(x), h(x)] rather than x.
        critic_unseen_weight: γ_D2; transductive variant only.
        adversarial_unseen_weight: γ_G of D2; transductive variant only.
        unseen_prior: how classes of generated unseen features are drawn; "labels" uses the test set's true labels.
    """

    batch_size: int = 64
    critic_iter: int = 5
    feedback_loop: int = 2
    encoded_noise: bool = True
    freeze_decoder: bool = False
    stale_feedback: bool = False
    attribute_loss: Literal["cycle", "cross_entropy"] = "cycle"
    critic_weight: float = 10.0
    adversarial_weight: float = 10.0
    cycle_weight: float = 0.01
    penalty_weight: float = 10.0
    feedback_train: float = 1.0
    feedback_synthesis: float = 1.0
    lr: float = 1e-4
    beta1: float = 0.5
    feedback_lr: float = 1e-5
    decoder_lr: float = 1e-4
    n_synthetic: int = 300
    transform: bool = True
    critic_unseen_weight: float = 10.0
    adversarial_unseen_weight: float = 10.0
    unseen_prior: Literal["uniform", "labels"] = "uniform"

    @property
    def uses_feedback(self) -> bool:
        """Whether the feedback module is trained, and hence used in synthesis."""
        return self.feedback_loop > 1

    @property
    def attribute_loss_function(self) -> Callable[[Tensor, Tensor], Tensor]:
        """The decoder's loss: a function of â and target, both (B, A), to a 0-d tensor."""
        return cycle_loss if self.attribute_loss == "cycle" else attribute_cross_entropy
