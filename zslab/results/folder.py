"""A run's folder: everything that a run leaves behind, each file whole at any moment.

config.json          flag -> value
log.txt              what was printed, with times
metrics.jsonl        one JSON object per epoch; grows by whole lines
checkpoint.pt        to continue from, with digests of the config and data it belongs to; removed once the run has finished
tensorboard/         the same values as metrics.jsonl, as events
evaluation.npz       confusion matrices, curves, features to project, each model's predictions on the test samples
model_last.safetensors, model_val.safetensors      weights of networks and heads, once the run has finished
result.json          the rows of the protocol; a run with this file has finished
calibration.json     how reliable the exported model's probabilities are, once it was exported with a validation run
report.html, plots/  drawn from the files above
validation/          the same for the first stage of --select val
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import pickle
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import filelock
import msgspec
import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save
from torch.utils.tensorboard import SummaryWriter

from zslab.errors import InputError, examples, first_line
from zslab.results.finished import read_arrays
from zslab.results.record import EpochRecord, read_records
from zslab.results.result import Result, read_result
from zslab.utils.files import atomic_path, flush_to_disk, locked, make_folder, plain_disk_errors, write_json, write_text

log = logging.getLogger("zslab")

LOOK_SECONDS = 0.5  # longer than a sweep holds the lock to see whether a run is going on
PUT_BACK = "Put the old files back, or pass --overwrite to start again."
START_AGAIN = "Pass --overwrite to start again."
# What is raised over a checkpoint that is cut short, of another kind, or has a wrong value in it.
UNUSABLE = (
    *(RuntimeError, ValueError, LookupError, TypeError, AttributeError, OverflowError),
    *(EOFError, OSError, pickle.UnpicklingError, zipfile.BadZipFile),
)


class _LogFile(logging.FileHandler):
    """A log whose errors are raised, not printed beside it."""

    def emit(self, record: logging.LogRecord) -> None:
        with plain_disk_errors(Path(self.baseFilename)):
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        raise


class RunFolder:
    """Paths and files of one run. Checkpoints of another config, by its digest, or of other data are refused."""

    def __init__(self, path: Path, digest: str):
        self.path, self.digest = Path(path), digest
        self.config, self.metrics = self.path / "config.json", self.path / "metrics.jsonl"
        self.checkpoint, self.result = self.path / "checkpoint.pt", self.path / "result.json"
        self.arrays, self.report = self.path / "evaluation.npz", self.path / "report.html"
        self.data: dict[str, str] | None = None
        self._events: SummaryWriter | None = None  # starts with the first record
        self._open = contextlib.ExitStack()

    @property
    def _checkpoints(self) -> tuple[Path, Path]:
        """Those of the test run and of the validation run before it."""
        return self.checkpoint, self.validation().checkpoint

    @property
    def finished(self) -> bool:
        """Whether the run has a result."""
        return self.result.exists()

    def validation(self) -> RunFolder:
        """Return the folder of the validation stage; its checkpoints carry the same config and data."""
        inner = RunFolder(self.path / "validation", f"{self.digest}-validation")
        inner.data = self.data
        return inner

    def open(self, config: Mapping[str, Any], resume: bool, overwrite: bool, data: dict[str, str] | None = None) -> None:
        """Prepare the folder for training, and lock it until `close`."""
        make_folder(self.path)
        with contextlib.ExitStack() as opened:
            try:
                with plain_disk_errors(self.path):
                    opened.enter_context(locked(self.path / ".lock", LOOK_SECONDS))
            except filelock.Timeout:
                must, fix = "one process at a time must use this run folder", "Wait for that run or stop it."
                raise InputError(must, where=self.path, got="another process", fix=fix) from None
            if overwrite:
                with plain_disk_errors(self.path):
                    self._clear()
            elif any(path.exists() for path in self._checkpoints) and not resume:
                fix = "Pass --resume to continue the run or --overwrite to start again."
                got = f"a checkpoint and {len(self.read_metrics())} recorded epochs"
                raise InputError("the folder must not hold an unfinished run", where=self.path, got=got, fix=fix)
            self.data = data
            write_json(self.config, config)
            with plain_disk_errors(self.path):
                handler = _LogFile(self.path / "log.txt", encoding="utf-8")
            handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
            log.addHandler(handler)
            opened.callback(_close_log, handler)
            self._open = opened.pop_all()

    def close(self) -> None:
        """Close the log and release the lock."""
        self._open.close()
        if self._events is not None:
            self._events.close()
        self._events = None

    def _clear(self) -> None:
        for path in (self.result, *self._checkpoints):  # first, so that a kill leaves neither a result nor a continuation
            path.unlink(missing_ok=True)
        for entry in self.path.iterdir():
            if entry.name != ".lock":
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()

    def _written(self) -> list[str]:
        """Return the names of the arrays and weights written so far."""
        return sorted(path.name for path in self.path.glob("[!.]*") if path.suffix in (".npz", ".safetensors"))

    def save_checkpoint(self, state: dict[str, Any]) -> None:
        """Write a checkpoint in place of the one before."""
        with atomic_path(self.checkpoint) as temporary, open(temporary, "wb") as file:
            try:
                torch.save({"digest": self.digest, "data": self.data, "files": self._written(), "state": state}, file)
            except RuntimeError as error:  # PyTorch hides a full disk behind a message of its own
                if isinstance(error.__context__, OSError):
                    raise error.__context__ from None
                raise

    def load_checkpoint(self) -> dict[str, Any] | None:
        """Return the state last saved, or None if there is none. Only tensors and plain values are unpickled."""
        if not self.checkpoint.exists():
            return None
        with usable_checkpoint(self.checkpoint):
            with zipfile.ZipFile(self.checkpoint) as archive:  # whose checksums PyTorch writes and does not read
                if (name := archive.testzip()) is not None:
                    raise ValueError(f"another checksum of {name}")
            content = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
            digest, state, data = content["digest"], content["state"], content["data"]
            missing = {str(name) for name in content["files"]}.difference(self._written())
            if not isinstance(state, dict) or not isinstance(data, dict | None):
                raise TypeError("the state or the fingerprint of the data is no dictionary")
        if digest != self.digest:
            must = f"the checkpoint must belong to config {self.digest}"
            raise InputError(must, where=self.checkpoint, got=f"config {digest}", fix=START_AGAIN)
        if data != self.data:
            raise changed_data(self.checkpoint, data, self.data)
        if missing:
            must = "the folder must hold what was written before the checkpoint"
            raise InputError(must, where=self.path, got=f"no {examples(sorted(missing))}", fix=PUT_BACK)
        return state

    def append_metrics(self, record: EpochRecord) -> None:
        """Add one epoch's record to metrics.jsonl and to the TensorBoard events."""
        with plain_disk_errors(self.metrics), open(self.metrics, "a", encoding="utf-8") as file:
            file.write(record.to_line())
            flush_to_disk(file)  # before a checkpoint that counts on it
        with plain_disk_errors(self.path / "tensorboard"):
            if self._events is None:  # earlier events of this epoch and later do not count
                self._events = SummaryWriter(str(self.path / "tensorboard"), purge_step=record.epoch)
            for tag, value in record.scalars().items():
                self._events.add_scalar(tag, value, record.epoch)
            self._events.flush()

    def read_metrics(self) -> list[EpochRecord]:
        """Return all records; none if no epoch has been recorded."""
        return read_records(self.metrics) if self.metrics.exists() else []

    def truncate_metrics(self, epoch: int) -> None:
        """Drop the records of `epoch` and later, which are about to be trained again."""
        records = [record for record in self.read_metrics() if record.epoch < epoch]
        if [record.epoch for record in records] != list(range(epoch)):
            must = f"there must be a record of each of the {epoch} epochs before the checkpoint"
            raise InputError(must, where=self.metrics, got=f"{len(records)} records", fix=PUT_BACK)
        if self.metrics.exists():
            write_text(self.metrics, "".join(record.to_line() for record in records))

    def update_arrays(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Add arrays to evaluation.npz, replacing those of the same name."""
        earlier = read_arrays(self.arrays, START_AGAIN) if self.arrays.exists() else {}
        with atomic_path(self.arrays) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(file, allow_pickle=False, **earlier | dict(arrays))

    def save_weights(self, name: str, weights: Mapping[str, torch.Tensor], metadata: Mapping[str, object]) -> None:
        """Write `<name>.safetensors`, which can hold no code, with `metadata` and a digest as the JSON of its entry "run"."""
        # One entry: the library orders several differently in each process.
        about = {"run": json.dumps({**metadata, "digest": content_digest(metadata, weights)})}
        with atomic_path(self.path / f"{name}.safetensors") as temporary:
            # In memory first, because safetensors' own writer does not report a full disk as such.
            temporary.write_bytes(save({key: value.contiguous() for key, value in weights.items()}, about))

    def finish(self, result: Result) -> None:
        """Write result.json and remove what was only needed to resume."""
        write_json(self.result, msgspec.to_builtins(result))
        self.remove_checkpoints()

    def remove_checkpoints(self) -> None:
        """Remove the checkpoints of a finished run, where a kill has left them."""
        with contextlib.suppress(OSError):  # of a read-only disk; they only take space
            for path in self._checkpoints:
                path.unlink(missing_ok=True)

    def read_result(self) -> Result:
        """Return the content of result.json; raises as `zslab.results.result.read_result`."""
        return read_result(self.result)


def _close_log(handler: logging.Handler) -> None:
    log.removeHandler(handler)
    with contextlib.suppress(OSError):  # of a full disk, of which the line before was told
        handler.close()


@contextlib.contextmanager
def usable_checkpoint(path: Path) -> Iterator[None]:
    """Turn what is raised over a checkpoint that is damaged or does not fit the trainer into an InputError."""
    try:
        yield
    except UNUSABLE as error:
        must = "the checkpoint must be a complete file of this run, with tensors and plain values only"
        raise InputError(must, where=path, got=first_line(error), fix=START_AGAIN) from None


def changed_data(where: Path, then: Mapping[str, str] | None, now: Mapping[str, str] | None) -> InputError:
    """Return the error of a run whose data have changed, naming the parts that differ between two fingerprints."""
    then, now = then or {}, now or {}
    parts = [part for part in {**then, **now} if then.get(part) != now.get(part)]
    before, after = (", ".join(f"{part} {digests.get(part)}" for part in parts) for digests in (then, now))
    must = f"the data must be those with which the run started: {before}"
    return InputError(must, where=where, got=after, fix=PUT_BACK)


def content_digest(description: Mapping[str, object], tensors: Mapping[str, torch.Tensor]) -> str:
    """Return the SHA-256 of a description without its digest and of all tensors, as hexadecimal digits."""
    digest = hashlib.sha256(json.dumps({k: v for k, v in description.items() if k != "digest"}, sort_keys=True).encode())
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        if value.numel():
            digest.update(value.cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
