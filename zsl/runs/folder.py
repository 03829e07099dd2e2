"""A run's folder: everything a run leaves behind, each file whole at any moment.

    config.json          flag -> value
    log.txt              what was printed, with times
    metrics.jsonl        one JSON object an epoch; grows by whole lines
    checkpoint.pt        to continue from, with digests of the config and data it belongs to; gone once the run has finished
    tensorboard/         the same values as metrics.jsonl, as events
    evaluation.npz       confusion matrices, curves, features to project, each model's predictions on the test samples
    model_last.safetensors, model_val.safetensors      weights of networks and heads, once the run has finished
    result.json          the rows of the protocol; its presence means the run has finished
    report.html, plots/  drawn from the files above
    validation/          the same for the first stage of --select val
"""

from __future__ import annotations

import json
import logging
import pickle
import shutil
from pathlib import Path

import filelock
import numpy as np
import torch
from safetensors.torch import save
from torch.utils.tensorboard import SummaryWriter

from zsl.errors import InputError
from zsl.runs.files import atomic_path, plain_disk_errors, read_json, read_metrics, write_json, write_text

log = logging.getLogger("zsl")


class RunFolder:
    """Paths and files of one run."""

    def __init__(self, path: Path, digest: str):
        """`digest` identifies the config (`zsl.runs.config.config_digest`); checkpoints of another are refused."""
        self.path, self.digest = Path(path), digest
        self.config, self.metrics = self.path / "config.json", self.path / "metrics.jsonl"
        self.checkpoint, self.result = self.path / "checkpoint.pt", self.path / "result.json"
        self.arrays = self.path / "evaluation.npz"
        self.data: dict[str, str] | None = None  # fingerprint of what is trained on, for those who know it
        self._events: SummaryWriter | None = None
        self._lock = filelock.FileLock(self.path / ".lock")
        self._log: logging.Handler | None = None

    @property
    def _checkpoints(self) -> tuple[Path, Path]:
        """Those of the test run and of the validation run before it."""
        return self.checkpoint, self.validation().checkpoint

    @property
    def finished(self) -> bool:
        return self.result.exists()

    def validation(self) -> RunFolder:
        """The folder of the validation stage; its checkpoints carry the same config and data."""
        inner = RunFolder(self.path / "validation", f"{self.digest}-validation")
        inner.data = self.data
        return inner

    def open(self, config: dict, resume: bool, overwrite: bool, data: dict[str, str] | None = None) -> None:
        """Makes the folder ready for training, and locks it until `close`.

        Args:
            config: flag -> value.
            resume, overwrite: what to do about an unfinished run.
            data: what `zsl.data.fingerprint` says of the data; checkpoints of others are refused.

        Raises:
            InputError: it holds an unfinished run and neither flag says what to do with it, or another process uses it.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(timeout=0)
        except filelock.Timeout:
            raise InputError(
                "run folder in use", where=self.path, found="a lock held by another process", expected="no one else",
                cure="Wait for that run or stop it.",
            ) from None
        if overwrite:
            self._clear()
        elif any(path.exists() for path in self._checkpoints) and not resume:
            self._lock.release()
            raise InputError(
                "an unfinished run", where=self.path, found=f"a checkpoint and {len(self.read_metrics())} recorded epochs",
                expected="a new folder, or a word on what to do",
                cure="Pass --resume to continue it or --overwrite to start again.",
            )
        self.data = data
        write_json(self.config, config)
        self._log = logging.FileHandler(self.path / "log.txt")
        self._log.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
        log.addHandler(self._log)

    def close(self) -> None:
        if self._events is not None:
            self._events.close()
            self._events = None
        if self._log is not None:
            log.removeHandler(self._log)
            self._log.close()
            self._log = None
        self._lock.release()

    def _clear(self) -> None:
        for entry in self.path.iterdir():
            if entry.name != ".lock":
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()

    def save_checkpoint(self, state: dict) -> None:
        with atomic_path(self.checkpoint) as temporary, open(temporary, "wb") as file:
            try:
                torch.save({"digest": self.digest, "data": self.data, "state": state}, file)
            except RuntimeError as error:  # PyTorch hides a full disk behind a complaint of its own
                if isinstance(error.__context__, OSError):
                    raise error.__context__ from None
                raise

    def load_checkpoint(self) -> dict | None:
        """The state last saved, or None where there is none. Nothing but tensors and plain values is unpickled.

        Raises:
            InputError: the file is damaged, holds more than data, or belongs to another config or other data.
        """
        if not self.checkpoint.exists():
            return None
        cure = "Pass --overwrite to start again."
        try:
            content = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
            digest, state, data = content["digest"], content["state"], content.get("data")
        except (RuntimeError, EOFError, OSError, ValueError, KeyError, TypeError, pickle.UnpicklingError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise InputError(
                "unreadable checkpoint", where=self.checkpoint, found=reason,
                expected="a whole file written by this program, holding tensors and plain values only", cure=cure,
            ) from None
        if digest != self.digest:
            raise InputError(
                "a checkpoint of another config", where=self.checkpoint, found=f"config {digest}",
                expected=f"config {self.digest}, the one asked for", cure=cure,
            )
        if data and self.data and data != self.data:  # earlier versions did not keep it
            raise InputError(
                "a checkpoint of other data", where=self.checkpoint, found=f"data now: {_words(self.data)}",
                expected=f"{_words(data)}, as when training began",
                cure=f"Put back the old files, or {cure[0].lower()}{cure[1:]}",
            )
        return state

    def append_metrics(self, record: dict) -> None:
        """Adds one epoch's record to metrics.jsonl and to the TensorBoard events."""
        with plain_disk_errors(self.metrics), open(self.metrics, "a", encoding="utf-8") as file:
            file.write(json.dumps(record, allow_nan=False) + "\n")
        if self._events is None:
            # Events of epochs that are repeated after a resume are hidden by TensorBoard.
            self._events = SummaryWriter(self.path / "tensorboard", purge_step=record["epoch"])
        for tag, value in scalars(record).items():
            self._events.add_scalar(tag, value, record["epoch"])
        self._events.flush()

    def read_metrics(self) -> list[dict]:
        """All records, none where no epoch has been recorded."""
        return read_metrics(self.metrics) if self.metrics.exists() else []

    def truncate_metrics(self, epoch: int) -> None:
        """Drops the records of `epoch` and later, which are about to be trained again."""
        if self.metrics.exists():
            kept = [record for record in self.read_metrics() if record["epoch"] < epoch]
            write_text(self.metrics, "".join(json.dumps(record) + "\n" for record in kept))

    def update_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        """Adds arrays to evaluation.npz, replacing those of the same name."""
        if self.arrays.exists():
            with np.load(self.arrays, allow_pickle=False) as earlier:
                arrays = dict(earlier) | arrays
        with atomic_path(self.arrays) as temporary:
            np.savez_compressed(temporary, **arrays)

    def save_weights(self, name: str, weights: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
        """Writes `<name>.safetensors`, a file that can hold no code."""
        with atomic_path(self.path / f"{name}.safetensors") as temporary:
            # Through memory, since safetensors' own writer does not tell a full disk apart.
            temporary.write_bytes(save({key: value.contiguous() for key, value in weights.items()}, metadata))

    def finish(self, result: dict) -> None:
        """Writes result.json and removes what was only needed to resume."""
        write_json(self.result, result)
        for path in self._checkpoints:
            path.unlink(missing_ok=True)

    def read_result(self) -> dict:
        return read_json(self.result)


def _words(fingerprint: dict[str, str]) -> str:
    return ", ".join(f"{part} {digest}" for part, digest in fingerprint.items())


def scalars(record: dict, prefix: str = "") -> dict[str, float]:
    """A metrics record as flat "group/name" -> number; of a list over head epochs the last value counts."""
    flat = {}
    for key, value in record.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            flat |= scalars(value, f"{name}/")
        elif isinstance(value, list):
            flat[name] = value[-1]
        elif name != "epoch":
            flat[name] = value
    return flat
