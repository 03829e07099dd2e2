"""Rows of a long extraction, kept on disk while it runs, so that a later call continues where a kill stopped the first.

with shards(folder, keys, 32, settings) as finished:
    for number in finished.missing():
        finished.write(number, compute(finished.batches[number]))
    write_result(finished.read(number) for number in range(len(finished.batches)))
    finished.remove()
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
from filelock import Timeout

from zslab.errors import InputError, readable
from zslab.utils.files import atomic_path, locked, make_folder


def file_key(path: Path, name: str) -> tuple[str, int, int]:
    """Return the key of a file that goes by `name`, with its size and time; a file that changes gets another key."""
    status = path.stat()
    return name, status.st_size, status.st_mtime_ns


class Shards:
    """The batches of an extraction, a .npy file each, complete or absent; made by `shards`.

    A file is named by what its rows were made of, so that a batch with another image, other settings or of another size is
    missing, and is computed again.

    Attributes:
        batches: row numbers of each batch.
    """

    def __init__(self, folder: Path, keys: Sequence[object], batch: int, settings: object):
        self.folder = folder
        self.batches = [range(start, min(start + batch, len(keys))) for start in range(0, len(keys), batch)]
        made_of = (json.dumps([settings, [keys[row] for row in rows]], sort_keys=True).encode() for rows in self.batches)
        digests = (hashlib.sha256(text).hexdigest()[:16] for text in made_of)
        self._paths = [folder / f"{rows.start:08}-{digest}.npy" for rows, digest in zip(self.batches, digests)]

    def missing(self) -> list[int]:
        """Return the numbers of the batches that are not finished."""
        return [number for number, path in enumerate(self._paths) if not path.is_file()]

    def write(self, number: int, rows: np.ndarray) -> None:
        """Keep the rows of a batch, an array of any type, with fields or without."""
        with atomic_path(self._paths[number]) as temporary:
            np.save(temporary, rows, allow_pickle=False)

    def read(self, number: int) -> np.ndarray:
        """Return the rows of a finished batch."""
        fix = "Delete this file and repeat the command, which then computes its rows again."
        with readable(self._paths[number], "the file must be as it was written", fix, (OSError, ValueError, EOFError)):
            rows: np.ndarray = np.load(self._paths[number], allow_pickle=False)
        return rows

    def remove(self) -> None:
        """Delete the files: the results have been written elsewhere."""
        for path in self.folder.glob("*.npy"):
            path.unlink()


@contextmanager
def shards(folder: Path, keys: Sequence[object], batch: int, settings: object) -> Iterator[Shards]:
    """Yield the batches of an extraction, which one process at a time works on.

    Args:
        folder: for the files; it can be deleted at any time to start again.
        keys: what each row is made of, and
        settings: what the rows depend on besides, both as JSON can say it; see `file_key`.
        batch: rows of a batch.
    """
    make_folder(folder)
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(folder / ".lock", timeout=0))
        except Timeout:
            fix = "Wait until the other process has ended, or stop it."
            raise InputError("one process at a time may extract", where=folder, got="a locked folder", fix=fix) from None
        try:
            yield Shards(folder, keys, batch, settings)
        finally:
            if not any(folder.glob("*.npy")):
                shutil.rmtree(folder)
