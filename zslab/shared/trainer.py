"""What the trainers of most methods have in common: epochs of iterations, mean losses, and a state that resumes bit for bit.

class AleTrainer(EpochTrainer):
    def iterate(self): ...                                # one update -> the losses by name
    def evaluate(self, keep, constant, progress): ...     # -> Evaluation
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Container, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from zslab.config import RunConfig
from zslab.data.dataset import Samples, StageData
from zslab.protocol.evaluation import Evaluation, Progress, unwatched
from zslab.protocol.loop import mean_losses
from zslab.utils.flags import check_batch_size
from zslab.utils.precision import set_precision
from zslab.utils.seeds import EVALUATION, TRAINING, stream


class EpochTrainer(ABC):
    """Trains networks on batches of one stage of a data set.

    Args:
        networks: are moved to `device`.
        data: is moved to `device` once.
        config: the flags; `zslab.utils.seeds` derives the streams of training and evaluation from its seed.

    Raises:
        InputError: a batch is larger than the data, or the device lacks the precision.

    Attributes:
        optimizers: name -> optimizer; set by the subclass.
        generator: draws every random number of the training, on the device.
        epoch: epochs completed; within an epoch, `position` iterations of it are done.
        iterations_per_epoch: ⌈n_train / batch_size⌉ unless the subclass changes it.

    Examples:
        >>> import tempfile
        >>> from zslab import load_dataset
        >>> from zslab.method import load_method
        >>> from zslab.testing import write_small_dataset
        >>> data, method = (
        ...     load_dataset(write_small_dataset(tempfile.mkdtemp()), "features"),
        ...     load_method("examples/ale.py:METHOD"),
        ... )
        >>> trainer = method.build_trainer(method.config, data.stage("test"), torch.device("cpu"))
        >>> losses = [trainer.train_epoch(lambda: True)["ranking"] for _ in range(20)]
        >>> losses[-1] < losses[0], sorted(trainer.evaluate().metrics)
        (True, ['gzsl', 'zsl'])
    """

    head_epochs = 1  # how many head epochs `evaluate` measures; more for a method that trains heads
    advice = "a lower --lr usually helps"  # where a loss is no longer finite
    optimizers: Mapping[str, torch.optim.Optimizer]

    def __init__(self, networks: nn.Module, data: StageData, config: RunConfig, device: torch.device):
        set_precision(config.precision, device)
        config = config.fitted(len(data.train), data.stage)
        check_batch_size(config.batch_size, len(data.train), f"training samples of the {data.stage} stage")
        self.networks, self.data, self.config, self.seed = networks.to(device), data.to(device), config, config.manualSeed
        self.generator = stream(config.manualSeed, TRAINING, device=device)
        self.iterations_per_epoch = -(-len(data.train) // config.batch_size)
        self.epoch = self.position = 0
        self.sums: dict[str, Tensor] = {}

    @abstractmethod
    def iterate(self) -> Mapping[str, Tensor]:
        """Make one iteration, drawing from `generator` alone, and return its losses, 0-d, by name."""

    def scores(self, x: Tensor) -> Tensor:
        """Return scores (b, s + u) of features x (b, D), columns as `data.classes`; for a method without heads."""
        raise NotImplementedError("a trainer without heads defines scores, one with heads evaluate")

    def evaluate(self, keep: Container[int] = (), constant: float | None = None, progress: Progress = unwatched) -> Evaluation:
        """Measure `scores`, see `zslab.protocol.stages.EvaluatingTrainer`; a method with heads has an evaluation of its own."""
        evaluation = Evaluation(keep)
        evaluation.measure_scores(self.data, self.scores, constant)
        return evaluation

    def epoch_context(self) -> AbstractContextManager[None]:
        """Return what the iterations of an epoch run in; nothing here."""
        return nullcontext()

    def update(self, loss: Tensor, *names: str) -> None:
        """Make one step of the named optimizers, and of no others, on the gradient of a 0-d `loss`."""
        update(loss, *(self.optimizers[name] for name in names))

    def batch(self) -> tuple[Tensor, Tensor]:
        """Draw a batch without replacement: features (B, D) and labels (B,)."""
        train: Samples = self.data.train
        index = torch.randperm(len(train), generator=self.generator, device=train.labels.device)[: self.config.batch_size]
        return train.features[index], train.labels[index]

    def evaluation_stream(self) -> torch.Generator:
        """Return the generator of an evaluation, fixed by seed and epoch, so that evaluating does not change the training."""
        return stream(self.seed, EVALUATION, self.epoch, self.data.attributes.device)

    def train_epoch(self, keep_going: Callable[[], bool]) -> dict[str, float] | None:
        """Run the rest of the current epoch.

        Args:
            keep_going: called after every iteration; False ends the call early, to be continued by another.

        Returns:
            Losses averaged over the epoch's iterations, or None when ended early.
        """
        with self.epoch_context():
            while self.position < self.iterations_per_epoch:
                for name, loss in self.iterate().items():
                    self.sums[name] = self.sums.get(name, 0.0) + loss.detach().double()
                self.position += 1
                if not keep_going():
                    return None
            means = self.mean_losses()
        self.epoch, self.position, self.sums = self.epoch + 1, 0, {}
        return means

    def mean_losses(self) -> dict[str, float]:
        """Return the losses averaged over the current epoch so far.

        Raises:
            FloatingPointError: one of them is not finite; it is named.
        """
        return mean_losses(self.sums, self.epoch, self.position, self.advice)

    @property
    def status(self) -> dict[str, float]:
        """Training state to log beside the losses."""
        return {}

    def weights(self) -> dict[str, Tensor]:
        """Return all network parameters, by name."""
        return self.networks.state_dict()

    def state_dict(self) -> dict[str, Any]:
        """Return everything that `load_state_dict` needs to continue bit for bit."""
        return {
            "networks": self.weights(),
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "generator": self.generator.get_state(),
            "epoch": self.epoch,
            "position": self.position,
            "sums": self.sums,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.networks.load_state_dict(state["networks"])
        for name, optimizer in self.optimizers.items():
            load_optimizer(optimizer, state["optimizers"][name])
        self.generator.set_state(state["generator"].cpu())
        self.epoch, self.position = state["epoch"], state["position"]
        self.sums = {name: total.to(self.data.attributes.device) for name, total in state["sums"].items()}


def load_optimizer(optimizer: torch.optim.Optimizer, stored: dict[str, Any]) -> None:
    """Load an optimizer's moments; its settings stay those of the config."""
    optimizer.load_state_dict({"state": stored["state"], "param_groups": optimizer.state_dict()["param_groups"]})


def update(loss: Tensor, *optimizers: torch.optim.Optimizer) -> None:
    """Make one step of some optimizers on the gradient of a 0-d `loss`; parameters of others keep none."""
    parameters = [p for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]]
    for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters)):
        parameter.grad = gradient
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad()  # frees the memory before the next gradients come
