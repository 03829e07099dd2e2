"""The trainer of TF-VAEGAN: epochs of iterations over one stage's data, evaluation, and a state that can be resumed."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch

from zslab.config import TfvaeganConfig
from zslab.data.dataset import StageData
from zslab.data.lazy import CHUNK, LazyFeatures
from zslab.errors import InputError
from zslab.protocol.evaluation import Evaluation, Progress, unwatched
from zslab.protocol.loop import mean_losses
from zslab.results.checkpoint import check_tensors, checked_sums, load_optimizer
from zslab.shared.gate import GatedClassifier
from zslab.shared.heads import SoftmaxHead
from zslab.tfvaegan.evaluate import evaluate
from zslab.tfvaegan.networks import Networks
from zslab.tfvaegan.steps import Losses, TrainingState, draw, iteration
from zslab.utils.allocator import reuse_freed_memory
from zslab.utils.cuda_graphs import Step, can_capture, capture_cuda, capture_verified
from zslab.utils.flags import check_batch_size
from zslab.utils.plugins import load_object
from zslab.utils.precision import autocast, set_precision
from zslab.utils.seeds import EVALUATION, TRAINING, stream

ADVICE = "a lower --lr or lower --gammaD and --gammaG usually help"


class TfvaeganTrainer:
    """Trains TF-VAEGAN on one stage of a data set.

    Args:
        networks: are moved to `device`.
        data: is moved to `device` once.
        config: the flags; `zslab.utils.seeds` derives the streams of training and evaluation from its seed. Synthesis,
            transformation and scores use float32 whatever the precision of training (TF32 with "tf32").
        zsl_head: the head over unseen classes.
        gzsl: classifies over all classes, see `zslab.tfvaegan.evaluate.evaluate`.

    Raises:
        InputError: a batch is larger than the data, features lie outside [0, 1], or the device lacks the precision.

    Attributes:
        epoch: epochs completed; within an epoch, `position` iterations of it are done.
        iterations_per_epoch: feedback_loop passes of ⌈n_train / batch_size⌉ iterations each.
    """

    def __init__(
        self,
        networks: Networks,
        data: StageData,
        config: TfvaeganConfig,
        zsl_head: SoftmaxHead,
        gzsl: SoftmaxHead | GatedClassifier | None,
        device: torch.device,
    ):
        set_precision(config.precision, device)
        config = config.fitted(len(data.train), data.stage)
        _check(data, config, networks.critic_unseen is not None)
        self.data, self.config, self.seed = data.to(device), config, config.manualSeed
        self.zsl_head, self.gzsl = zsl_head, gzsl
        extra_loss = load_object(config.extra_loss, "--extra_loss")(self.data) if config.extra_loss else None
        self.state = TrainingState(networks, config, device, extra_loss)
        if device.type == "cpu":
            reuse_freed_memory(max(parameter.nbytes for parameter in networks.parameters()))
        # The host reads features from disk, and a CUDA graph cannot contain that.
        resident = not isinstance(data.train.features, LazyFeatures) and not isinstance(data.test_unseen.features, LazyFeatures)
        captures = can_capture(device) and config.cuda_graphs and resident
        self.capture = capture_cuda if captures else None
        self.steps: dict[bool, Step] = {}
        self.targets = self._decoder_targets()
        self.generator = stream(config.manualSeed, TRAINING, device=device)
        self.loop_length = -(-len(data.train) // config.batch_size)
        self.iterations_per_epoch = config.feedback_loop * self.loop_length
        self.epoch = self.position = 0
        self.sums: dict[str, torch.Tensor] = {}

    def _decoder_targets(self) -> torch.Tensor:
        """Return the attributes (C, A), scaled to [0, 1] per dimension where the decoder ends in a sigmoid."""
        a = self.data.attributes
        if not self.config.bce_att:
            return a
        low, high = a.min(dim=0).values, a.max(dim=0).values
        return (a - low) / torch.where(high > low, high - low, 1.0)

    def train_epoch(self, keep_going: Callable[[], bool]) -> dict[str, float] | None:
        """Run the rest of the current epoch: for each loop, for each batch, one iteration.

        Args:
            keep_going: called after every iteration; False ends the call early, to be continued by another.

        Returns:
            Losses averaged over the epoch's iterations, or None when ended early.
        """
        with self._refused_nan_explained():
            while self.position < self.iterations_per_epoch:
                loop = self.position // self.loop_length  # feedback is active in loop 1 only, as in the release
                for name, loss in self.step(feedback_active=loop == 1)().items():
                    self.sums[name] = self.sums.get(name, 0.0) + loss.double()
                self.position += 1
                if not keep_going():
                    return None
            means = self.mean_losses()
        self.epoch, self.position, self.sums = self.epoch + 1, 0, {}
        return means

    def step(self, feedback_active: bool) -> Step:
        """Return a function that makes one iteration; where possible it is captured at the first request."""
        if feedback_active not in self.steps:
            step: Step = partial(self._iterate, feedback_active)
            if self.capture is not None:
                name = f"iteration {'with' if feedback_active else 'without'} feedback"
                step = capture_verified(step, self.state.tensors, self.generator, name, self.capture)
            self.steps[feedback_active] = step
        return self.steps[feedback_active]

    def _iterate(self, feedback_active: bool) -> Losses:
        draws = draw(self.data, self.config, self.state.latent_dim, self.generator, self.state.transductive)
        with autocast(self.generator.device, self.config.precision == "bf16"):
            return iteration(self.state, self.data, self.targets, draws, feedback_active)

    @contextmanager
    def _refused_nan_explained(self) -> Iterator[None]:
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
                f"the {loss} loss became nan in epoch {self.epoch}, before iteration {self.position}; {ADVICE}"
            ) from None

    def mean_losses(self) -> dict[str, float]:
        """Return the losses averaged over the current epoch so far; "vae" is the sum of reconstruction and KL.

        Raises:
            FloatingPointError: one of them is not finite; it is named.
        """
        means = mean_losses(self.sums, self.epoch, self.position, ADVICE)
        return means | ({"vae": means["reconstruction"] + means["kl"]} if means else {})

    @property
    def head_epochs(self) -> int:
        """Number of head epochs that `evaluate` measures."""
        return self.zsl_head.epochs

    @property
    def status(self) -> dict[str, float]:
        """Training state to log beside the losses."""
        return {"lambda1": self.state.penalty_weight.item()}

    def evaluate(self, keep: Container[int] = (), constant: float | None = None, progress: Progress = unwatched) -> Evaluation:
        """Evaluate the networks; see `zslab.tfvaegan.evaluate.evaluate`.

        It draws from a stream of its own, fixed by seed and epoch, so that evaluating does not change the training.
        """
        generator = stream(self.seed, EVALUATION, self.epoch, self.data.attributes.device)
        return evaluate(
            self.state.networks, self.data, self.config, self.zsl_head, self.gzsl, generator, keep, constant, progress
        )

    def weights(self) -> dict[str, torch.Tensor]:
        """Return all network parameters, by name."""
        return self.state.networks.state_dict()

    def state_dict(self) -> dict[str, Any]:
        """Return everything that `load_state_dict` needs to continue bit for bit."""
        return {
            "networks": self.weights(),
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.state.optimizers.items()},
            "lambda1": self.state.penalty_weight,
            "generator": self.generator.get_state(),
            "epoch": self.epoch,
            "position": self.position,
            "sums": self.sums,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        epoch, position = state["epoch"], state["position"]
        check_tensors(state["networks"], self.weights())
        check_tensors({"lambda1": state["lambda1"]}, {"lambda1": self.state.penalty_weight})
        if state["lambda1"] < 0:
            raise ValueError("lambda1 is negative")
        self.state.networks.load_state_dict(state["networks"])
        n = epoch * self.iterations_per_epoch + position
        n_steps = {"generator": n, "critic": n * self.config.critic_iter}  # those of the others depend on the config
        for name, optimizer in self.state.optimizers.items():
            load_optimizer(optimizer, state["optimizers"][name], n_steps.get(name))
        self.state.penalty_weight.copy_(state["lambda1"])
        self.steps = {}  # a captured iteration uses the optimizers' former tensors
        self.generator.set_state(state["generator"].cpu())
        self.epoch, self.position = epoch, position
        self.sums = checked_sums(state["sums"], position, self.data.attributes.device, ("reconstruction", "kl"))


def _check(data: StageData, config: TfvaeganConfig, transductive: bool) -> None:
    pools = {"training": data.train} | ({"unlabeled": data.test_unseen} if transductive else {})
    for name, samples in pools.items():
        check_batch_size(config.batch_size, len(samples), f"{name} samples of the {data.stage} stage")
    features = data.train.features
    if isinstance(features, LazyFeatures):
        features = features[:CHUNK]  # some samples reveal a wrong scaling; reading all takes minutes
    low, high = features.min().item(), features.max().item()
    if low < 0 or high > 1:
        raise InputError(
            "the values must lie in [0, 1], where the generator's sigmoid ends",
            where="the training features after scaling",
            got=f"{low:.4g}..{high:.4g}",
            fix="Scale them by their minimum and maximum.",
        )
