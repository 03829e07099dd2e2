"""The trainer: epochs of iterations over one stage's data, evaluation, and a state that can be saved and resumed."""

from __future__ import annotations

from collections.abc import Callable, Container
from functools import partial
from typing import Literal

import torch

from zsl.classifiers import SoftmaxHead
from zsl.data.xlsa17 import StageData
from zsl.errors import InputError
from zsl.gate import GatedClassifier
from zsl.graphs import Work, can_record, record_cuda, replayed
from zsl.products import Precision, set_precision
from zsl.rows import CHUNK, Rows
from zsl.runs.loop import mean_losses
from zsl.tfvaegan import fast, steps
from zsl.tfvaegan.classification import Evaluation, evaluate
from zsl.tfvaegan.networks import Networks
from zsl.tfvaegan.steps import Losses, Settings, TrainingState, draw

Engine = Literal["fast", "eager"]
ITERATIONS = {"fast": fast.iteration, "eager": steps.iteration}


class TfvaeganTrainer:
    """Trains TF-VAEGAN on one stage of a data set.

    Attributes:
        epoch: epochs completed; within an epoch, `position` iterations of it are done.
        iterations_per_epoch: feedback_loop passes of ⌈n_train / batch_size⌉ iterations each.
    """

    def __init__(
        self,
        networks: Networks,
        data: StageData,
        settings: Settings,
        zsl_head: SoftmaxHead,
        gzsl: SoftmaxHead | GatedClassifier | None,
        device: torch.device,
        seed: int,
        engine: Engine = "fast",
        precision: Precision = "fp32",
        cuda_graphs: bool = True,
    ):
        """Args: data is moved to `device` once; `seed` starts every random stream of the training; `engine` is how an
        iteration is computed, which changes its result by no more than rounding; `precision` is that of its products,
        while synthesis, transformation and scores are float32 (TF32 with "tf32"); with `cuda_graphs` the fast engine's
        iterations are recorded and replayed on CUDA.

        Raises:
            InputError: a batch is larger than the data, features lie outside [0, 1], or device or engine lack the
                precision.
        """
        set_precision(precision, device)
        if precision == "bf16" and engine == "eager":
            raise InputError(
                "a precision that this engine lacks", where="--precision", found="bf16 with --engine eager",
                expected="fp32 or tf32; the eager engine is the plain reference",
                cure="Pass --engine fast or --precision fp32.",
            )
        _check(data, settings, networks.critic_unseen is not None)
        self.data, self.settings, self.seed = data.to(device), settings, seed
        self.zsl_head, self.gzsl = zsl_head, gzsl
        self.state = TrainingState(networks, settings, device, rounded=precision == "bf16")
        self.iteration = ITERATIONS[engine]
        # Features on disk are read by the host, which a graph cannot.
        resident = not isinstance(data.train.features, Rows) and not isinstance(data.test_unseen.features, Rows)
        records = can_record(device) and engine == "fast" and cuda_graphs and resident
        self.record = record_cuda if records else None
        self.works: dict[bool, Work] = {}
        self.targets = self._decoder_targets()
        self.generator = torch.Generator(device).manual_seed(seed)
        self.loop_length = -(-len(data.train) // settings.batch_size)
        self.iterations_per_epoch = settings.feedback_loop * self.loop_length
        self.epoch = self.position = 0
        self.sums: dict[str, torch.Tensor] = {}

    def _decoder_targets(self) -> torch.Tensor:
        """(C, A): the attributes themselves, or scaled to [0, 1] per dimension where the decoder ends in a sigmoid."""
        a = self.data.attributes
        if self.settings.attribute_loss == "cycle":
            return a
        low, high = a.min(dim=0).values, a.max(dim=0).values
        return (a - low) / torch.where(high > low, high - low, 1.0)

    def train_epoch(self, keep_going: Callable[[], bool]) -> dict[str, float] | None:
        """Runs what is left of the current epoch: for each loop, for each batch, one iteration.

        Args:
            keep_going: called after every iteration; False ends the call early, to be continued by another.

        Returns:
            Losses averaged over the epoch's iterations, or None when ended early.
        """
        while self.position < self.iterations_per_epoch:
            loop = self.position // self.loop_length  # feedback is active in loop 1 only, as in the release
            losses = self.work(feedback_active=loop == 1)()
            for name, loss in losses.items():
                # Feedback's loop sees terms of the same names, so sums over the epoch are comparable between epochs.
                self.sums[name] = self.sums.get(name, 0.0) + loss.double()
            self.position += 1
            if not keep_going():
                return None
        means = self.mean_losses()
        self.epoch, self.position, self.sums = self.epoch + 1, 0, {}
        return means

    def work(self, feedback_active: bool) -> Work:
        """One iteration as it is to be run, recorded when first asked for where that is possible."""
        if feedback_active not in self.works:
            work = partial(self._iterate, feedback_active)
            if self.record is not None:
                name = f"iteration {'with' if feedback_active else 'without'} feedback"
                work = replayed(work, self.state.tensors, self.generator, name, self.record)
            self.works[feedback_active] = work
        return self.works[feedback_active]

    def _iterate(self, feedback_active: bool) -> Losses:
        draws = draw(self.data, self.settings, self.state.latent_dim, self.generator, self.state.transductive)
        return self.iteration(self.state, self.data, self.targets, draws, feedback_active=feedback_active)

    def mean_losses(self) -> dict[str, float]:
        """Losses averaged over the current epoch so far.

        Raises:
            FloatingPointError: one of them is not finite; it is named.
        """
        advice = "a lower --lr or lower --gammaD and --gammaG usually help"
        means = mean_losses(self.sums, self.epoch, self.position, advice)
        return means | ({"vae": means["reconstruction"] + means["kl"]} if means else {})

    @property
    def head_epochs(self) -> int:
        """How many head epochs `evaluate` measures."""
        return self.zsl_head.epochs

    @property
    def status(self) -> dict[str, float]:
        """Training state worth logging beside the losses."""
        return {"lambda1": self.state.penalty_weight.item()}

    def evaluate(self, keep: Container[int] = (), constant: float | None = None) -> Evaluation:
        """Measures the networks as they are; see `zsl.tfvaegan.classification.evaluate`.

        Draws from a stream of its own, fixed by seed and epoch, so that evaluating never changes the training.
        """
        generator = torch.Generator(self.data.attributes.device).manual_seed((self.seed << 20) + self.epoch)
        with self.state.full_precision():
            return evaluate(
                self.state.networks, self.data, self.settings, self.zsl_head, self.gzsl, generator, keep, constant
            )

    def weights(self) -> dict[str, torch.Tensor]:
        """All network parameters, by name."""
        return self.state.networks.state_dict()

    def state_dict(self) -> dict:
        """Everything that `load_state_dict` needs to continue bit for bit."""
        return {
            "networks": self.weights(),
            "optimisers": {name: optimiser.state_dict() for name, optimiser in self.state.optimisers.items()},
            "lambda1": self.state.penalty_weight,
            "generator": self.generator.get_state(),
            "epoch": self.epoch,
            "position": self.position,
            "sums": self.sums,
        }

    def load_state_dict(self, state: dict) -> None:
        device = self.data.attributes.device
        self.state.networks.load_state_dict(state["networks"])
        for name, optimiser in self.state.optimisers.items():
            optimiser.load_state_dict(state["optimisers"][name])
        self.state.penalty_weight.copy_(state["lambda1"])
        self.state.renew()
        self.works = {}  # a recorded iteration works on the optimisers' tensors, which are other ones now
        self.generator.set_state(state["generator"].cpu())
        self.epoch, self.position = state["epoch"], state["position"]
        self.sums = {name: total.to(device) for name, total in state["sums"].items()}


def _check(data: StageData, settings: Settings, transductive: bool) -> None:
    pools = {"training": data.train} | ({"unlabelled": data.test_unseen} if transductive else {})
    for name, samples in pools.items():
        if settings.batch_size > len(samples):
            raise InputError(
                "a batch larger than the data", where="--batch_size", found=settings.batch_size,
                expected=f"at most the {len(samples)} {name} samples of the {data.stage} stage",
                cure=f"Pass --batch_size {len(samples)} or less.",
            )
    features = data.train.features
    if isinstance(features, Rows):  # a look at some of them finds the wrong kind of scaling; a pass over all takes minutes
        features = features[:CHUNK]
    low, high = features.min().item(), features.max().item()
    if low < 0 or high > 1:
        raise InputError(
            "features outside [0, 1]", where="the training features after scaling", found=f"{low:.4g}..{high:.4g}",
            expected="0..1, which is all that a generator ending in a sigmoid, trained by cross-entropy, can produce",
            cure="Use --preprocessing (min-max scaling, the default) and not --standardization.",
        )
