"""The trainer of TF-VAEGAN: epochs of iterations over one stage's data, evaluation, and a state that can be resumed."""

from collections.abc import Container, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch

from zslab.config import TfvaeganConfig
from zslab.data.dataset import StageData
from zslab.data.lazy import CHUNK, LazyFeatures
from zslab.errors import InputError
from zslab.protocol.evaluation import Evaluation, Progress, unwatched
from zslab.shared.gate import GatedClassifier
from zslab.shared.heads import SoftmaxHead
from zslab.shared.trainer import EpochTrainer
from zslab.tfvaegan.evaluate import evaluate
from zslab.tfvaegan.networks import Networks
from zslab.tfvaegan.steps import Losses, TrainingState, draw, iteration
from zslab.utils.cuda_graphs import Step, can_capture, capture_cuda, capture_verified
from zslab.utils.environment import reuse_freed_memory
from zslab.utils.flags import check_batch_size
from zslab.utils.plugins import load_object
from zslab.utils.precision import autocast


class TfvaeganTrainer(EpochTrainer):
    """Trains TF-VAEGAN on one stage of a data set.

    Args:
        networks: see `EpochTrainer`, as for data and config. Synthesis, transformation and scores use float32 whatever the
            precision of training (TF32 with "tf32").
        zsl_head: the head over unseen classes.
        gzsl: classifies over all classes, see `zslab.shared.classification.classify`.

    Raises:
        InputError: a batch is larger than the data, features lie outside [0, 1], or the device lacks the precision.

    Attributes:
        iterations_per_epoch: feedback_loop passes of ⌈n_train / batch_size⌉ iterations each.
    """

    advice = "a lower --lr or lower --gammaD and --gammaG usually help"
    config: TfvaeganConfig
    networks: Networks

    def __init__(
        self,
        networks: Networks,
        data: StageData,
        config: TfvaeganConfig,
        zsl_head: SoftmaxHead,
        gzsl: SoftmaxHead | GatedClassifier | None,
        device: torch.device,
    ):
        super().__init__(networks, data, config, device)
        config = self.config
        _check(data, config, networks.critic_unseen is not None)
        self.zsl_head, self.gzsl, self.head_epochs = zsl_head, gzsl, zsl_head.epochs
        extra_loss = load_object(config.extra_loss, "--extra_loss")(self.data) if config.extra_loss else None
        self.state = TrainingState(networks, config, device, extra_loss)
        self.optimizers = self.state.optimizers
        if device.type == "cpu":
            reuse_freed_memory(max(parameter.nbytes for parameter in networks.parameters()))
        # The host reads features from disk, and a CUDA graph cannot contain that.
        resident = not isinstance(data.train.features, LazyFeatures) and not isinstance(data.test_unseen.features, LazyFeatures)
        captures = can_capture(device) and config.cuda_graphs and resident
        self.capture = capture_cuda if captures else None
        self.steps: dict[bool, Step] = {}
        self.targets = self._decoder_targets()
        self.loop_length = self.iterations_per_epoch
        self.iterations_per_epoch *= config.feedback_loop

    def _decoder_targets(self) -> torch.Tensor:
        """Return the attributes (C, A), scaled to [0, 1] per dimension where the decoder ends in a sigmoid."""
        a = self.data.attributes
        if not self.config.bce_att:
            return a
        low, high = a.min(dim=0).values, a.max(dim=0).values
        return (a - low) / torch.where(high > low, high - low, 1.0)

    def iterate(self) -> Losses:
        """Make one iteration; feedback is active in the second loop only, as in the release."""
        return self.step(feedback_active=self.position // self.loop_length == 1)()

    def step(self, feedback_active: bool) -> Step:
        """Return a function that makes one iteration; where possible it is captured at the first request."""
        if feedback_active not in self.steps:
            step: Step = partial(self._iteration, feedback_active)
            if self.capture is not None:
                name = f"iteration {'with' if feedback_active else 'without'} feedback"
                step = capture_verified(step, self.state.tensors, self.generator, name, self.capture)
            self.steps[feedback_active] = step
        return self.steps[feedback_active]

    def _iteration(self, feedback_active: bool) -> Losses:
        draws = draw(self.data, self.config, self.state.latent_dim, self.generator, self.state.transductive)
        with autocast(self.generator.device, self.config.precision == "bf16"):
            return iteration(self.state, self.data, self.targets, draws, feedback_active)

    @contextmanager
    def epoch_context(self) -> Iterator[None]:
        """Raise a FloatingPointError where PyTorch's cross-entropy was given NaN, which it refuses before a loss becomes NaN.

        On CUDA that is an assertion on the device, which any later operation reports.
        """
        try:
            yield
        except RuntimeError as error:
            if "between 0 and 1" not in str(error) and "device-side assert" not in str(error):
                raise
            loss = "reconstruction or cycle" if self.config.bce_att else "reconstruction"
            raise FloatingPointError(
                f"the {loss} loss became nan in epoch {self.epoch}, before iteration {self.position}; {self.advice}"
            ) from None

    def mean_losses(self) -> dict[str, float]:
        """Return the losses averaged over the current epoch so far; "vae" is the sum of reconstruction and KL.

        Raises:
            FloatingPointError: one of them is not finite; it is named.
        """
        means = super().mean_losses()
        return means | ({"vae": means["reconstruction"] + means["kl"]} if means else {})

    @property
    def status(self) -> dict[str, float]:
        """Training state to log beside the losses."""
        return {"lambda1": self.state.penalty_weight.item()}

    def evaluate(self, keep: Container[int] = (), constant: float | None = None, progress: Progress = unwatched) -> Evaluation:
        """Evaluate the networks; see `zslab.tfvaegan.evaluate.evaluate`."""
        generator = self.evaluation_stream()
        return evaluate(self.networks, self.data, self.config, self.zsl_head, self.gzsl, generator, keep, constant, progress)

    def state_dict(self) -> dict[str, Any]:
        """Return everything that `load_state_dict` needs to continue bit for bit."""
        return super().state_dict() | {"lambda1": self.state.penalty_weight}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        super().load_state_dict(state)
        self.state.penalty_weight.copy_(state["lambda1"])
        self.steps = {}  # a captured iteration uses the optimizers' former tensors


def _check(data: StageData, config: TfvaeganConfig, transductive: bool) -> None:
    if transductive:
        check_batch_size(config.batch_size, len(data.test_unseen), f"unlabeled samples of the {data.stage} stage")
    features = data.train.features
    if isinstance(features, LazyFeatures):
        features = features[:CHUNK]  # some samples reveal a wrong scaling; reading all takes minutes
    low, high = features.min().item(), features.max().item()
    if low < 0 or high > 1:
        must, fix = "the values must lie in [0, 1], where the generator's sigmoid ends", "Scale them by minimum and maximum."
        raise InputError(must, where="the training features after scaling", got=f"{low:.4g}..{high:.4g}", fix=fix)
