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
import os
import shutil
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from io import RawIOBase
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from zslab.errors import InputError, readable
from zslab.utils.files import atomic_path, locked, make_folder, plain_disk_errors

FileKey = tuple[str, int, int]  # name, size in bytes, time of the last change in nanoseconds


def file_key(path: Path, name: str) -> FileKey:
    """Return the key of a file that goes by `name`; a file that changes gets another key.

    Raises:
        OSError: there is no such file.
    """
    status = path.stat()
    return name, status.st_size, status.st_mtime_ns


class Shards:
    """The batches of an extraction, a .npy file each, complete or absent; made by `shards`.

    A file is named by what its rows were made of, so that a batch with another image, other settings or of another size is
    missing, and is computed again.

    Attributes:
        folder: of the files.
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
    """Yield the batches of an extraction that one process at a time works on.

    Args:
        folder: for the files; it can be deleted at any time to start again.
        keys: what each row is made of, as JSON can say it; see `file_key`.
        batch: rows of a batch.
        settings: what the rows depend on besides their keys, as JSON can say it.

    Raises:
        InputError: another process works in the folder, or the disk refuses.
    """
    make_folder(folder)
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(folder / ".lock", timeout=0))
        except Timeout:
            fix = "Wait until the other process has ended, or stop it."
            raise InputError("one process at a time may extract", where=folder, got="a locked folder", fix=fix) from None
        yield Shards(folder, keys, batch, settings)
    if not any(folder.glob("*.npy")):
        shutil.rmtree(folder)


class ResumableRows:
    """A growing file of rows beside a record of what each row belongs to.

    `<name>.rows` holds the rows one after the other, to be memory-mapped. `<name>.jsonl` holds the settings in its first line,
    then one line for each row, its key and its CRC-32. A row is flushed to disk before its line is written, so that a row with
    a line is whole whatever stopped the process.

    Attributes:
        positions: key -> position of its row in the file. Of a key that was added twice the later row counts.
    """

    def __init__(self, path: Path, row_type: np.dtype, settings: Mapping[str, object]):
        """Begin a record, or continue the one that is there.

        Args:
            path: the record, `<name>.jsonl`.
            row_type: NumPy type of one row, with a field for each array.
            settings: what the rows depend on besides their keys, as JSON can say it.

        Raises:
            InputError: the record is damaged, belongs to other settings or is in use, or the disk is full.
        """
        self.path, self.row_type = Path(path), row_type
        self.rows_path = self.path.with_suffix(".rows")
        self.positions: dict[FileKey, int] = {}
        self._checksums: list[int] = []  # of the rows
        fields = {name: str(row_type[name]) for name in row_type.names or ()}
        self._settings = json.loads(json.dumps({**settings, "fields": fields}))
        self._lock = FileLock(f"{self.path}.lock")
        with plain_disk_errors(self.path):
            make_folder(self.path.parent)
            try:
                self._lock.acquire(timeout=0)
            except Timeout:
                raise InputError(
                    "another process is writing this extraction",
                    where=self.path,
                    found=f"the lock {Path(self._lock.lock_file).name}",
                    expected="one process at a time",
                    fix="Wait until that process has ended, or stop it.",
                ) from None
            try:
                self._open()
            except BaseException:
                self._unlock()
                raise

    def _open(self) -> None:
        length = self._read_record() if self.path.exists() else 0
        self.rows_path.touch()
        self._rows_file = open(self.rows_path, "r+b", buffering=0)  # noqa: SIM115 - closed by close()
        self._record = open(self.path, "ab", buffering=0)  # noqa: SIM115 - closed by close()
        self._record.truncate(length)
        if not length:
            self._write_record(self._settings)

    def _read_record(self) -> int:
        """Read the keys of the rows that are whole, and return the length of their part of the record in bytes."""
        n_stored = os.path.getsize(self.rows_path) // self.row_type.itemsize if self.rows_path.exists() else 0
        lines = self.path.read_bytes().split(b"\n")[:-1]  # what follows the last newline was cut off
        if not lines:
            return 0
        try:
            settings = json.loads(lines[0])
            rows = [json.loads(line) for line in lines[1 : 1 + n_stored]]
            keys = [(str(name), int(size), int(time)) for name, size, time, _ in rows]
            self._checksums = [int(checksum) for *_, checksum in rows]
        except (ValueError, TypeError, OverflowError) as error:
            raise InputError(
                "the record of an unfinished extraction is damaged",
                where=self.path,
                found=error,
                expected="JSON lines as they were written",
                fix="Pass --overwrite to start again.",
            ) from None
        if settings != self._settings:
            raise InputError(
                "the unfinished extraction has other settings",
                where=self.path,
                found=settings,
                expected=self._settings,
                fix="Repeat the command it was made with, or pass --overwrite to start again.",
            )
        self.positions = {key: position for position, key in enumerate(keys)}
        return sum(len(line) + 1 for line in lines[: 1 + len(keys)])

    def _write_record(self, *values: object) -> None:
        _write(self._record, "".join(json.dumps(value) + "\n" for value in values).encode())

    def add(self, keys: Sequence[FileKey], rows: np.ndarray) -> None:
        """Write some rows and make sure that they are on disk.

        Args:
            keys: b keys.
            rows: (b,) of `row_type`.

        Raises:
            InputError: the disk is full; rows written before stay.
        """
        with plain_disk_errors(self.path):
            n_rows = len(self._checksums)
            self._rows_file.seek(n_rows * self.row_type.itemsize)
            rows = rows.astype(self.row_type, copy=False)
            checksums = [zlib.crc32(row.tobytes()) for row in rows]
            _write(self._rows_file, rows.tobytes())
            os.fsync(self._rows_file.fileno())
            self._write_record(*([*key, checksum] for key, checksum in zip(keys, checksums)))
        self.positions |= {key: n_rows + number for number, key in enumerate(keys)}
        self._checksums += checksums

    def rows(self) -> np.ndarray:
        """Return all rows, memory-mapped, in the order in which they were added.

        Raises:
            InputError: a row has changed since it was written.
        """
        if not self._checksums:  # an empty file cannot be mapped
            return np.empty(0, self.row_type)
        rows = np.memmap(self.rows_path, self.row_type, "r", shape=(len(self._checksums),))
        for position, checksum in enumerate(self._checksums):
            if zlib.crc32(rows[position].tobytes()) != checksum:
                raise InputError(
                    "a row has changed since it was written",
                    where=self.rows_path,
                    found=f"another checksum of row {position}",
                    expected=f"CRC-32 {checksum}, as in {self.path.name}",
                    fix="Delete this file and repeat the command, which then extracts its rows again.",
                )
        return rows

    def close(self) -> None:
        """Leave the files for a later call; a second time does nothing."""
        self._rows_file.close()
        self._record.close()
        self._unlock()

    def remove(self) -> None:
        """Delete the files: the results have been written elsewhere."""
        self._rows_file.close()
        self._record.close()
        remove_rows(self.path)
        self._unlock()

    def _unlock(self) -> None:
        if self._lock.is_locked:
            Path(self._lock.lock_file).unlink(missing_ok=True)
            self._lock.release()

    def __enter__(self) -> ResumableRows:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _write(file: RawIOBase, content: bytes) -> None:
    """Write all of it, unbuffered: what a full disk refuses must not come up again when the file is closed."""
    left = memoryview(content)
    while left:
        left = left[file.write(left) or 0 :]


def remove_rows(path: Path) -> None:
    """Delete an unfinished extraction, if there is one."""
    path.unlink(missing_ok=True)  # first the record, without which rows mean nothing
    path.with_suffix(".rows").unlink(missing_ok=True)
