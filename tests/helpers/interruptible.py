"""Training in a folder as the epoch loop does it, interrupted where a test wants it to be."""

import os
import signal
from pathlib import Path

import msgspec

from zslab.protocol.loop import fit
from zslab.protocol.stages import EvaluatingTrainer as Trainer
from zslab.results.folder import RunFolder
from zslab.results.record import EpochRecord


def run(trainer: Trainer, path: Path, n_epochs: int = 3, stop_after: int | None = None) -> list[EpochRecord]:
    """Trains in a folder; a SIGINT arrives after `stop_after` iterations."""
    folder = RunFolder(path, "digest")
    folder.open({}, resume=True, overwrite=False)
    original, count = trainer.train_epoch, 0

    def counting(keep_going):
        def counted() -> bool:
            nonlocal count
            count += 1
            if count == stop_after:
                os.kill(os.getpid(), signal.SIGINT)
            return keep_going()

        return original(counted)

    trainer.train_epoch = counting
    try:
        return fit(trainer, folder, n_epochs, 1, 1, lambda epoch, progress: trainer.evaluate(progress=progress).metrics)
    finally:
        folder.close()


def without_times(records: list[EpochRecord]) -> list[EpochRecord]:
    return [msgspec.structs.replace(record, seconds=0.0) for record in records]
