"""The trainer of DAZLE: epochs of iterations over one stage's region maps, evaluation, a state that can be resumed.

Source: Huynh and Elhamifar, CVPR 2020, section 3.4, and the authors' release.

Nothing in training shows the model an unseen class, so its scores of unseen classes stay low. Two numbers work against
that, and both buy unseen accuracy with seen accuracy: the margin lifts all unseen scores over all seen ones by a constant
when a class is named, after training is done; self-calibration makes the training itself keep some probability for unseen
classes. The seen/unseen curve of the report shows every such trade for the trained model, whatever the margin.
"""

from collections import deque
from collections.abc import Container, Generator, Iterator
from contextlib import closing, contextmanager
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
from zslab.shared.trainer import EpochTrainer
from zslab.utils.cuda_graphs import Step, Tensors, can_capture, capture_verified, moments
from zslab.utils.seeds import BATCHES, stream

LOSSES = {"CE": ("cross_entropy", loss.cross_entropy), "rank": ("rank", loss.rank)}  # --loss_type -> name, function
EVALUATED = 64  # images at a time in an evaluation


class DazleTrainer(EpochTrainer):
    """Trains DAZLE on one stage of a data set.

    Args:
        networks: is moved to `device` and put into train mode.
        data: see `EpochTrainer`, as for config and device. Scores that are measured are float32 whatever the precision of
            training (TF32 with "tf32").
        maps: where region maps come from; None streams them from the data's file.

    Attributes:
        iterations_per_epoch: ⌈n_train / batch_size⌉ where --iterations_per_epoch does not say.
    """

    config: DazleConfig
    networks: Dazle
    data: RegionStageData

    def __init__(
        self,
        networks: Dazle,
        data: RegionStageData,
        config: DazleConfig,
        device: torch.device,
        maps: Streamed | Cached | None = None,
    ):
        super().__init__(networks.train(), data, config, device)
        config = self.config
        networks.bf16 = config.precision == "bf16"
        self.data, self.device = data, device  # batches are drawn, and scores measured, on the CPU
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
            [parameter for parameter in networks.parameters() if parameter.requires_grad],
            lr=config.lr,
            weight_decay=config.weight_decay,
            momentum=config.momentum,
            capturable=can_capture(device),
        )
        self.optimizers = {"model": self.optimizer}
        self.full_batch: tuple[Tensor, Tensor] | None = None  # what the captured step reads
        self.captured: Step | None = None
        self.iterations_per_epoch = config.iterations_per_epoch or self.iterations_per_epoch
        self.generator = stream(config.manualSeed, BATCHES)

    @contextmanager
    def epoch_context(self) -> Iterator[None]:
        """Draw batches ahead of their use; where the epoch ends early, the generator goes back to its beginning."""
        start = self.generator.get_state()
        with closing(self._batches(self.generator)) as self._left:
            yield
        if self.position < self.iterations_per_epoch:
            self.generator.set_state(start)

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

    def iterate(self) -> Tensors:
        """Make one step of RMSprop on the next batch, and return the losses, without their weights."""
        regions, targets = next(self._left)
        captured = can_capture(self.device) and len(regions) == self.config.batch_size
        return self._replay(regions, targets) if captured else self._update(regions, targets)

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
        """Make one step on regions (b, r, f) and targets (b,), places among the candidates, and return the losses."""
        name, function = LOSSES[self.config.loss_type]
        scores = self.networks(regions, self.attributes).scores
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

    @torch.no_grad()
    def scores(self, rows: Tensor, progress: Progress = unwatched) -> Tensor:
        """Return scores (n, s + u) without the margin of the file's rows (n,), columns as `data.classes`, on the CPU.

        In eval mode, so that an image's scores depend on no other's; the model's mode is put back.
        """
        chunks = (chunk.numpy() for chunk in rows.split(EVALUATED))
        training = self.networks.training
        self.networks.eval()
        try:
            scores = list[Tensor]()
            for regions in self.maps.batches(chunks):
                scores.append(self.networks(regions, self.attributes).scores.cpu())
                progress(min(1.0, len(scores) * EVALUATED / len(rows)))
            return torch.cat(scores)
        finally:
            self.networks.train(training)

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

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        super().load_state_dict(state)
        self.captured = None  # a captured step uses the optimizer's former tensors
