"""The trainer of DAZLE: epochs of iterations over one stage's region maps, evaluation, a state that can be resumed.

Source: Huynh and Elhamifar, CVPR 2020, section 3.4, and the authors' release.

Nothing in training shows the model an unseen class, so its scores of unseen classes stay low. Two numbers work against
that, and both buy unseen accuracy with seen accuracy: the margin lifts all unseen scores over all seen ones by a constant
when a class is named, after training is done; self-calibration makes the training itself keep some probability for unseen
classes. The seen/unseen curve of the report shows every such trade for the trained model, whatever the margin.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container, Generator, Iterator
from contextlib import closing
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zslab.config import DazleConfig
from zslab.data.region_dataset import RegionStageData
from zslab.dazle import losses as loss
from zslab.dazle.model import Dazle
from zslab.dazle.region_loader import Cached, Streamed
from zslab.dazle.sampling import class_balanced_batches, random_batches
from zslab.protocol.evaluation import Evaluation, Progress, unwatched
from zslab.protocol.loop import mean_losses
from zslab.shared.trainer import load_optimizer
from zslab.utils.cuda_graphs import Step, Tensors, can_capture, capture_verified, moments
from zslab.utils.flags import check_batch_size
from zslab.utils.precision import set_precision
from zslab.utils.seeds import BATCHES, stream

LOSSES = {"CE": ("cross_entropy", loss.cross_entropy), "rank": ("rank", loss.rank)}  # --loss_type -> name, function
EVALUATED = 64  # images at a time in an evaluation


class DazleTrainer:
    """Trains DAZLE on one stage of a data set.

    Attributes:
        epoch: epochs completed; within an epoch, `position` iterations of it are done.
        iterations_per_epoch: ⌈n_train / batch_size⌉ where --iterations_per_epoch does not say.
        head_epochs: 1; there are no heads, the model classifies by itself.
    """

    head_epochs = 1

    def __init__(
        self,
        model: Dazle,
        data: RegionStageData,
        config: DazleConfig,
        device: torch.device,
        maps: Streamed | Cached | None = None,
    ):
        """Prepare training.

        Args:
            model: is moved to `device` and put into train mode.
            config: the flags; `zslab.utils.seeds` derives the stream of the batches from its seed. Scores that are measured are
                float32 whatever the precision of training (TF32 with "tf32").
            maps: where region maps come from; None streams them from the data's file.

        Raises:
            InputError: a batch is larger than the data, or the device lacks the precision.
        """
        set_precision(config.precision, device)
        config = config.fitted(len(data.train), data.stage)
        if config.sampling == "random":
            check_batch_size(config.batch_size, len(data.train), f"training samples of the {data.stage} stage")
        self.model, self.data, self.config, self.device = model.to(device).train(), data, config, device
        model.bf16 = config.precision == "bf16"
        self.maps = maps or Streamed(data.regions, device)
        # The model knows the classes of this stage by their places in `data.classes`.
        self.attributes = data.attributes[data.classes].to(device)
        is_unseen = torch.isin(data.classes, data.unseen_classes)
        self.margins = torch.where(is_unseen, config.margin, -config.margin).to(device)
        self.unseen = is_unseen.nonzero().flatten().to(device)
        candidates = data.classes if config.is_conservative else data.seen_classes
        self.candidates = torch.searchsorted(data.classes, candidates).to(device)
        self.targets = torch.searchsorted(candidates, data.train.labels)
        self.optimizer = torch.optim.RMSprop(
            [parameter for parameter in model.parameters() if parameter.requires_grad],
            lr=config.lr,
            weight_decay=config.weight_decay,
            momentum=config.momentum,
            capturable=can_capture(device),
        )
        self.full_batch: tuple[Tensor, Tensor] | None = None  # what the captured step reads
        self.captured: Step | None = None
        self.iterations_per_epoch = config.iterations_per_epoch or -(-len(data.train) // config.batch_size)
        # Batches are drawn ahead of their use, so what is kept is the generator as it was before the epoch's first.
        self.epoch_start = stream(config.manualSeed, BATCHES).get_state()
        self.epoch = self.position = 0
        self.sums: dict[str, Tensor] = {}

    def train_epoch(self, keep_going: Callable[[], bool]) -> dict[str, float] | None:
        """Run the rest of the current epoch.

        Args:
            keep_going: called after every iteration; False ends the call early, to be continued by another.

        Returns:
            Losses averaged over the epoch's iterations, or None when ended early.
        """
        generator = torch.Generator()
        generator.set_state(self.epoch_start)
        with closing(self._batches(generator)) as batches:
            for regions, targets in batches:
                self._step(regions, targets)
                self.position += 1
                if not keep_going():
                    return None
        means = self.mean_losses()
        self.epoch_start = generator.get_state()
        self.epoch, self.position, self.sums = self.epoch + 1, 0, {}
        return means

    def _batches(self, generator: torch.Generator) -> Generator[tuple[Tensor, Tensor], None, None]:
        """Yield regions (b, r, f) and targets (b,) of the epoch's batches from `position` on, on the device."""
        config, rows = self.config, self.data.rows["train"]
        drawn: deque[Tensor] = deque()
        if config.sampling == "random":
            samples = random_batches(len(rows), config.batch_size, generator)
        else:
            samples = class_balanced_batches(self.targets, config.batch_size, generator)

        def rows_of_batches() -> Iterator[np.ndarray]:
            for batch in islice(samples, self.position, self.iterations_per_epoch):
                drawn.append(batch)
                yield rows[batch].numpy()

        for regions in self.maps.batches(rows_of_batches()):
            yield regions, self.targets[drawn.popleft()].to(self.device, non_blocking=True)

    def _step(self, regions: Tensor, targets: Tensor) -> None:
        """Make one step of RMSprop on regions (b, r, f) and targets (b,), places among the candidates."""
        captured = can_capture(self.device) and len(regions) == self.config.batch_size
        losses = self._replay(regions, targets) if captured else self._update(regions, targets)
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + value.double()

    def _replay(self, regions: Tensor, targets: Tensor) -> Tensors:
        """Make a step that was captured as a CUDA graph when the first batch came; a graph reads its input at one place."""
        if self.full_batch is None:
            self.full_batch = torch.empty_like(regions), torch.empty_like(targets)
        for place, value in zip(self.full_batch, (regions, targets)):
            place.copy_(value)
        if self.captured is None:
            step, generator = partial(self._update, *self.full_batch), torch.Generator(self.device)
            self.captured = capture_verified(step, self._changed, generator, "step of DAZLE")
        return self.captured()

    def _changed(self) -> Tensors:
        """Return everything that a step changes, by name."""
        return self.weights() | moments(self.optimizer)

    def _update(self, regions: Tensor, targets: Tensor) -> Tensors:
        """Make one step, and return the losses, without their weights."""
        name, function = LOSSES[self.config.loss_type]
        scores = self.model(regions, self.attributes).scores
        with_margin = scores + self.margins
        compared = with_margin if name == "rank" else scores
        losses = {
            name: function(compared[:, self.candidates], targets),
            "self_calibration": loss.self_calibration(with_margin, self.unseen),
        }
        self.optimizer.zero_grad()
        (losses[name] + self.config.lambda_ * losses["self_calibration"]).backward()
        self.optimizer.step()
        return {name: value.detach() for name, value in losses.items()}

    def mean_losses(self) -> dict[str, float]:
        """Return the losses averaged over the current epoch so far, self-calibration without its weight.

        Raises:
            FloatingPointError: one of them is not finite; it is named.
        """
        return mean_losses(self.sums, self.epoch, self.position, "a lower --lr usually helps")

    @property
    def status(self) -> dict[str, float]:
        """Training state worth logging beside the losses: none."""
        return {}

    @torch.no_grad()
    def scores(self, rows: Tensor, progress: Progress = unwatched) -> Tensor:
        """Return scores (n, s + u) without the margin of the file's rows (n,), columns as `data.classes`, on the CPU.

        In eval mode, so that an image's scores depend on no other's; the model's mode is put back.
        """
        chunks = (chunk.numpy() for chunk in rows.split(EVALUATED))
        training = self.model.training
        self.model.eval()
        try:
            scores = list[Tensor]()
            for regions in self.maps.batches(chunks):
                scores.append(self.model(regions, self.attributes).scores.cpu())
                progress(min(1.0, len(scores) * EVALUATED / len(rows)))
            return torch.cat(scores)
        finally:
            self.model.train(training)

    def evaluate(self, keep: Container[int] = (), constant: float | None = None, progress: Progress = unwatched) -> Evaluation:
        """Evaluate the model, reading every test image once; see `zslab.protocol.evaluation`.

        The margin is part of generalized predictions, so the curve starts from it and `constant` comes on top. Where the
        split has no test samples of seen classes there is nothing generalized to measure.
        """
        data, n_seen = self.data, len(self.data.test_seen)
        scores = self.scores(torch.cat([data.rows["test_seen"], data.rows["test_unseen"]]), progress)
        unseen_columns = torch.searchsorted(data.classes, data.unseen_classes)
        result = Evaluation(keep)
        result.measure_unseen(data, data.unseen_classes[scores[n_seen:, unseen_columns].argmax(dim=1)])
        if n_seen:
            result.measure_all(data, scores + self.margins.cpu(), constant=constant)
        return result

    def weights(self) -> dict[str, Tensor]:
        """Return all parameters, and running statistics of batch normalization, by name."""
        return self.model.state_dict()

    def state_dict(self) -> dict[str, Any]:
        """Return everything that `load_state_dict` needs to continue bit for bit."""
        return {
            "model": self.weights(),
            "optimizer": self.optimizer.state_dict(),
            "epoch_start": self.epoch_start,
            "epoch": self.epoch,
            "position": self.position,
            "sums": self.sums,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        epoch, position = state["epoch"], state["position"]
        self.model.load_state_dict(state["model"])
        load_optimizer(self.optimizer, state["optimizer"])
        self.captured = None  # a captured step uses the optimizer's former tensors
        torch.Generator().set_state(state["epoch_start"].cpu())  # refuses what is no state
        self.epoch_start = state["epoch_start"].cpu()
        self.epoch, self.position = epoch, position
        self.sums = {name: total.to(self.device) for name, total in state["sums"].items()}
