"""What an extraction leaves on disk: the rows it has finished, while it runs, and the feature file at the end."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import scipy.io
from filelock import FileLock, Timeout

from zsl.errors import InputError
from zsl.runs.files import atomic_path, plain_disk_errors


class PartialFeatures:
    """Feature vectors written down one by one, from where a later extraction goes on, whatever stopped the first.

    The file is JSON lines: what the features are of, then a vector a line under a key: the picture or video, its size and
    the time of its last change, so that one that has changed since is read anew.

    Attributes:
        done: key -> (D,) float32.
    """

    def __init__(self, path: Path, identity: Mapping[str, object]):
        """Begins a file or reads one; a last line that a kill cut off is removed from it.

        Args:
            identity: what the features depend on besides the files, as JSON can say it.

        Raises:
            InputError: the file is damaged, belongs to other settings or is being written, or the disk is full.
        """
        self.path = Path(path)
        self.done: dict[tuple[str, int, int], np.ndarray] = {}
        identity = json.loads(json.dumps(identity))
        self._lock = FileLock(f"{self.path}.lock")
        with plain_disk_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._lock.acquire(timeout=0)
            except Timeout:
                raise InputError(
                    "an extraction that is running", where=self.path, found="another process that writes it",
                    expected="one at a time", cure="Wait until it has ended, or stop it.",
                ) from None
            try:
                if self.path.exists():
                    self._read(identity)
                self._file = open(self.path, "a", encoding="utf-8")  # noqa: SIM115 - closed by close()
            except BaseException:
                self._unlock()
                raise
            if self._file.tell() == 0:
                self._file.write(json.dumps(identity) + "\n")

    def _read(self, identity: object) -> None:
        whole, first = 0, None
        try:
            with open(self.path, "rb") as file:
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    if first is None:
                        first = json.loads(line)
                    else:
                        name, size, time, text = json.loads(line)
                        self.done[name, size, time] = np.frombuffer(base64.b64decode(text), "<f4")
                    whole += len(line)
        except (ValueError, TypeError) as error:
            raise InputError(
                "a damaged unfinished extraction", where=self.path, found=error, expected="JSON lines as they were written",
                cure="Pass --overwrite to throw it away.",
            ) from None
        if first is not None and first != identity:
            raise InputError(
                "an extraction with other settings", where=self.path, found=first, expected=identity,
                cure="Repeat its flags, or pass --overwrite to throw it away.",
            )
        os.truncate(self.path, whole)

    @staticmethod
    def key(path: Path, name: str) -> tuple[str, int, int]:
        """The key of a file that goes by `name`."""
        status = path.stat()
        return name, status.st_size, status.st_mtime_ns

    def add(self, key: tuple[str, int, int], features: np.ndarray) -> None:
        """Writes one vector down."""
        numbers = base64.b64encode(features.astype("<f4").tobytes()).decode()
        with plain_disk_errors(self.path):
            self._file.write(json.dumps([*key, numbers]) + "\n")
            self._file.flush()
        self.done[key] = features

    def close(self) -> None:
        """Leaves the file for a later call."""
        self._file.close()
        self._unlock()

    def _unlock(self) -> None:
        Path(self._lock.lock_file).unlink(missing_ok=True)
        self._lock.release()

    def __enter__(self) -> PartialFeatures:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def write_features(
    path: Path, features: np.ndarray, labels: np.ndarray, files: Sequence[str], classes: Sequence[str] | None, **words: str
) -> None:
    """Writes a feature file in the layout of the published ones, whole or not at all.

    Args:
        features: (N, D), written as float32 (D, N).
        labels: (N,) 1-based.
        files: N names.
        classes: C names, in the order of the labels, where they are known.
        words: further variables of text, such as what the features are of.
    """
    content = {
        "features": features.T.astype(np.float32), "labels": labels[:, None].astype(np.float64),
        "image_files": np.array([[name] for name in files], dtype=object), **words,
    }
    if classes is not None:
        content["allclasses_names"] = np.array([[name] for name in classes], dtype=object)
    with atomic_path(path) as temporary:
        scipy.io.savemat(temporary, content)
