"""What an extraction leaves on disk: the rows it has finished, while it runs, and the feature file at the end."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import scipy.io

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
            InputError: the file is damaged or belongs to other settings, or the disk is full.
        """
        self.path = Path(path)
        self.done: dict[tuple[str, int, int], np.ndarray] = {}
        identity = json.loads(json.dumps(identity))
        with plain_disk_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if self.path.exists():
                self._read(identity)
            self._file = open(self.path, "a", encoding="utf-8")  # noqa: SIM115 - closed by close()
            if self._file.tell() == 0:
                self._file.write(json.dumps(identity) + "\n")

    def _read(self, identity: object) -> None:
        content = self.path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.truncate(self.path, whole)
        try:
            lines = [json.loads(line) for line in content[:whole].splitlines()]
            for name, size, time, text in lines[1:]:
                self.done[name, size, time] = np.frombuffer(base64.b64decode(text), "<f4")
        except (ValueError, TypeError) as error:
            raise InputError(
                "a damaged unfinished extraction", where=self.path, found=error, expected="JSON lines as they were written",
                cure="Pass --overwrite to throw it away.",
            ) from None
        if lines and lines[0] != identity:
            raise InputError(
                "an extraction with other settings", where=self.path, found=lines[0], expected=identity,
                cure="Repeat its flags, or pass --overwrite to throw it away.",
            )

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
        self._file.close()

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
