"""The epoch loop of every method: train, evaluate, record, checkpoint; stop on request, resume bit for bit."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from zslab.protocol.evaluation import Progress
from zslab.results.folder import RunFolder, usable_checkpoint
from zslab.results.record import EpochRecord, Metrics
from zslab.utils.signals import stop_requests

log = logging.getLogger("zslab")

REFRESH = 25  # iterations between two looks at the losses; each look waits for the device


class Trainer(Protocol):
    """What the loop needs of a method's trainer."""

    epoch: int  #: epochs completed
    position: int  #: iterations completed of the current epoch
    iterations_per_epoch: int  #: how many there are

    def train_epoch(self, keep_going: Callable[[], bool]) -> dict[str, float] | None:
        """Run what is left of the current epoch.

        Args:
            keep_going: is called after every iteration; False ends the call early, to be continued by another.

        Returns:
            Losses averaged over the epoch's iterations, or None if ended early.
        """

    def mean_losses(self) -> dict[str, float]:
        """Return the losses averaged over the current epoch so far; raise FloatingPointError if one is not finite."""

    @property
    def status(self) -> dict[str, float]:
        """Training state worth recording beside the losses."""

    def state_dict(self) -> dict[str, Any]:
        """Return everything that `load_state_dict` needs to continue bit for bit."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state."""


class Interrupted(KeyboardInterrupt):
    """The user asked to stop; everything up to now is saved."""

    def __init__(self, when: str):
        super().__init__(f"Stopped {when}, saved. To continue, repeat the command with --resume.")


def fit(
    trainer: Trainer,
    folder: RunFolder,
    n_epochs: int,
    eval_every: int,
    checkpoint_every: int,
    evaluate: Callable[[int, Progress], Metrics],
) -> list[EpochRecord]:
    """Train up to `n_epochs`, from the folder's checkpoint if it has one.

    Args:
        folder: receives checkpoints and metrics.
        eval_every: epochs between two evaluations; the last epoch is always evaluated.
        checkpoint_every: epochs between two checkpoints; a kill loses at most these.
        evaluate: measures after the epoch of the given 0-based number, and reports the share of that which is done.

    Returns:
        The records of all epochs.

    Raises:
        Interrupted: on Ctrl-C or SIGTERM, after saving a checkpoint in the middle of the epoch.
        FloatingPointError: a loss is not finite.
        InputError: the checkpoint is damaged or does not fit the trainer.
    """
    resume(trainer, folder, n_epochs)
    folder.truncate_metrics(trainer.epoch)
    per_epoch, accuracies = trainer.iterations_per_epoch, ""

    def is_evaluated(epoch: int) -> bool:
        return (epoch + 1) % eval_every == 0 or epoch + 1 == n_epochs

    evaluations = [epoch for epoch in range(n_epochs) if is_evaluated(epoch)]
    iterations = _Work(n_epochs * per_epoch, (n_epochs - trainer.epoch) * per_epoch - trainer.position)
    with (
        stop_requests(lambda: log.info("Stopping after this step; press Ctrl-C again to stop at once.")) as stop,
        logging_redirect_tqdm(),
        _Bar(iterations, _Work(len(evaluations), sum(epoch >= trainer.epoch for epoch in evaluations))) as bar,
    ):

        def keep_going() -> bool:
            if trainer.position % REFRESH == 0:
                bar.losses = f"{_short(trainer.mean_losses())} {accuracies}"
            bar.advance(bar.iterations, 1)
            return not stop()

        while trainer.epoch < n_epochs:
            started, epoch = time.perf_counter(), trainer.epoch
            bar.begin(f"epoch {epoch + 1}/{n_epochs}")
            losses = trainer.train_epoch(keep_going)
            if losses is None:
                folder.save_checkpoint(trainer.state_dict())
                raise Interrupted(f"in epoch {epoch + 1} of {n_epochs}")
            status, metrics = trainer.status, {}
            if is_evaluated(epoch):
                bar.begin(f"epoch {epoch + 1}/{n_epochs}, evaluating")
                metrics = evaluate(epoch, bar.evaluated)
                bar.evaluated(1.0)
                accuracies = _accuracies(metrics)
            record = EpochRecord(epoch, losses, time.perf_counter() - started, status, metrics)
            folder.append_metrics(record)
            log.info("%s", status_line(record, n_epochs))
            if (epoch + 1) % checkpoint_every == 0 or epoch + 1 == n_epochs or stop():
                folder.save_checkpoint(trainer.state_dict())
            if stop() and trainer.epoch < n_epochs:
                raise Interrupted(f"after epoch {epoch + 1} of {n_epochs}")
    return folder.read_metrics()


@dataclass
class _Work:
    """All iterations or all evaluations of a stage: how many are left, and the seconds that this process spent on others."""

    total: float
    left: float
    done: float = 0.0
    seconds: float = 0.0

    @property
    def each(self) -> float:
        """Seconds for one; 0 while none is known."""
        return self.seconds / self.done if self.done else 0.0


class _Bar:
    """One line of a terminal: what is going on, the share done, the time left and the losses. Nothing is written elsewhere.

    Args:
        iterations: of the stage.
        evaluations: of the stage.
    """

    def __init__(self, iterations: _Work, evaluations: _Work):
        self.iterations, self.evaluations = iterations, evaluations
        self.losses = ""
        self._action, self._share, self._last = "", 0.0, time.perf_counter()
        style = "{percentage:3.0f}%|{bar:20}| {desc}"
        self._bar = tqdm(total=1.0, bar_format=style, miniters=0, disable=None, dynamic_ncols=True)

    def begin(self, action: str) -> None:
        """Say what is going on from now on."""
        self._action, self._share = action, 0.0
        self._show()

    def evaluated(self, share: float) -> None:
        """Note which share of an evaluation is done."""
        self.advance(self.evaluations, share - self._share)
        self._share = share

    def advance(self, work: _Work, amount: float) -> None:
        """Count what was done since the last call."""
        now = time.perf_counter()
        work.seconds += now - self._last
        work.done, work.left, self._last = work.done + amount, max(0.0, work.left - amount), now
        self._show()

    def _show(self) -> None:
        left, total = (
            self.iterations.each * n + self.evaluations.each * m
            for n, m in ((self.iterations.left, self.evaluations.left), (self.iterations.total, self.evaluations.total))
        )
        at_least = "" if self.evaluations.done else "more than "
        self._bar.set_description_str(
            f"{self._action}, {at_least}{tqdm.format_interval(left)} left {self.losses}", refresh=False
        )
        self._bar.update((1 - left / total if total else 0.0) - self._bar.n)

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()


def resume(trainer: Trainer, folder: RunFolder, n_epochs: int) -> None:
    """Put a trainer where the folder's checkpoint was saved; without a checkpoint it stays at the beginning.

    Args:
        trainer: of any method.
        folder: of the run.
        n_epochs: epochs in all.
    """
    state = folder.load_checkpoint()
    if state is None:
        return
    with usable_checkpoint(folder.checkpoint):
        for name, largest in (("epoch", n_epochs), ("position", trainer.iterations_per_epoch)):
            if type(state[name]) is not int or not 0 <= state[name] <= largest:
                raise ValueError(f"{name} {state[name]!r} lies outside 0 to {largest}")
        trainer.load_state_dict(state)
    where = f"in epoch {trainer.epoch + 1}" if trainer.epoch < n_epochs else "after the last"
    log.info("Resuming %s of %d epochs.", where, n_epochs)


def mean_losses(sums: Mapping[str, Tensor], epoch: int, position: int, advice: str) -> dict[str, float]:
    """Return losses averaged over the iterations of an epoch so far.

    Args:
        sums: loss -> its sum over the iterations.
        epoch: 0-based.
        position: how many iterations of it are done.
        advice: what usually helps where a loss explodes.

    Raises:
        FloatingPointError: one of them is not finite; it is named.
    """
    means = {name: (total / max(position, 1)).item() for name, total in sums.items()}
    for name, value in means.items():
        if not abs(value) < float("inf"):
            raise FloatingPointError(f"the {name} loss became {value} in epoch {epoch}, before iteration {position}; {advice}")
    return means


def status_line(record: EpochRecord, n_epochs: int) -> str:
    """Return one epoch in one line: losses, λ1, accuracies after the last head epoch in percent, seconds."""
    words = [f"epoch {record.epoch + 1}/{n_epochs}", _short(record.losses)]
    words += [f"λ1 {record.status['lambda1']:.2g}"] if "lambda1" in record.status else []
    words += [accuracies] if (accuracies := _accuracies(record.metrics)) else []
    return " | ".join([*words, f"{record.seconds:.1f} s"])


def _accuracies(metrics: Metrics) -> str:
    named = (("T1", "zsl", "acc"), ("u", "gzsl", "acc_unseen"), ("s", "gzsl", "acc_seen"), ("H", "gzsl", "H"))
    return " ".join(
        f"{word} {100 * metrics[group][measure][-1]:.1f}" for word, group, measure in named if measure in metrics.get(group, {})
    )


def _short(losses: dict[str, float]) -> str:
    names = ("loss", "vae", "wasserstein", "generator", "cross_entropy", "rank", "self_calibration")
    shown = [name for name in names if name in losses] or list(losses)[:4]
    return " ".join(f"{name} {losses[name]:.4g}" for name in shown)
