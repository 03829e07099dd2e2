"""Writing region files: image by image, through kills and full disks, into the layout that `zsl.data.region_file` reads in
one piece an image."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import filelock
import h5py
import numpy as np

from zsl.data.region_file import part_path
from zsl.errors import InputError
from zsl.runs.files import atomic_path, plain_disk_errors


class RegionWriter:
    """Writes a region file image by image, in any order, and survives being killed.

    All room is laid out before the first row, so that rows go straight to their place and HDF5's own structures do not
    change while the extraction runs: a kill leaves <name>.part readable, with every row whole that `done` names. The final
    name appears by renaming.

    Attributes:
        done: (n,) bool, the rows that are on disk.
    """

    def __init__(
        self,
        path: Path,
        n: int,
        feature_dim: int,
        grid: tuple[int, int],
        dtype: str = "float16",
        identity: Mapping[str, object] | None = None,
    ):
        """Begins a file, or continues one.

        Args:
            identity: what the maps depend on (images, backbone, ...), as JSON can say it; a half-written file of another
                identity is not continued.

        Raises:
            InputError: a half-written file is there that is not this one's, or cannot be read; or another process is
                writing it.
        """
        self.path, self.part, self.head = Path(path), part_path(Path(path)), Path(f"{path}.part.head")
        self.shape, self.dtype = (n, feature_dim, *grid), np.dtype(dtype)
        self.identity = json.dumps({"shape": self.shape, "dtype": self.dtype.name, **(identity or {})}, sort_keys=True)
        self.done = np.zeros(n, dtype=bool)
        self._descriptor = None
        self.pooled_dim = None
        self._lock = filelock.FileLock(f"{self.part}.lock")
        try:
            with plain_disk_errors(self.part):
                self.part.parent.mkdir(parents=True, exist_ok=True)
                self._lock.acquire(timeout=0)
        except filelock.Timeout:
            raise InputError(
                "a region file in the making", where=self.part, found="another process that writes it",
                expected="one at a time", cure="Wait for that one to end, or choose another file.",
            ) from None
        try:
            if self.part.exists():
                self._reopen()
        except BaseException:
            self.close()
            raise

    def _reopen(self) -> None:
        if self.head.exists():
            self._undo_finish()
        cure = f"Delete {self.part.name} to start again."
        try:
            with h5py.File(self.part, "r") as file:
                found = str(file.attrs["identity"])
                if found == self.identity:
                    self._note_places(file)
                    self.done = file["done"][()].astype(bool)
        except (OSError, KeyError, RuntimeError, ValueError) as error:
            raise InputError(
                "unreadable half-written file", where=self.part, found=error, expected="an extraction to continue", cure=cure
            ) from error
        if found != self.identity:
            raise InputError(
                "a half-written file of another extraction", where=self.part, found=found, expected=self.identity,
                cure=f"Repeat the command it was made with, or choose another file. {cure}",
            )
        self._descriptor = os.open(self.part, os.O_WRONLY)

    def _create(self, pooled_dim: int) -> None:
        n = len(self.done)
        # Version 1.10 of the format needs no index of chunks that are laid out in advance.
        with atomic_path(self.part) as temporary, h5py.File(temporary, "w", libver=("v110", "v110")) as file:
            _lay_out(file, "done", (n,), np.uint8, fill=True)
            _lay_out(file, "feature_map", self.shape, self.dtype, chunk=(1, *self.shape[1:]))
            if pooled_dim:
                _lay_out(file, "pooled", (n, pooled_dim), np.float32)
            file.attrs["identity"] = self.identity
            file.attrs["complete"] = False
        with h5py.File(self.part, "r") as file:
            self._note_places(file)
        self._descriptor = os.open(self.part, os.O_WRONLY)

    def _note_places(self, file: h5py.File) -> None:
        maps = file["feature_map"].id
        self._maps_at, last = (maps.get_chunk_info_by_coord((row, 0, 0, 0)).byte_offset for row in (0, len(self.done) - 1))
        self._row_bytes = int(np.prod(self.shape[1:])) * self.dtype.itemsize
        assert last == self._maps_at + (len(self.done) - 1) * self._row_bytes
        self._done_at = file["done"].id.get_offset()
        self.pooled_dim = file["pooled"].shape[1] if "pooled" in file else 0
        self._pooled_at = file["pooled"].id.get_offset() if self.pooled_dim else None

    def write(self, rows: np.ndarray, maps: np.ndarray, pooled: np.ndarray | None = None) -> None:
        """Writes some rows and makes sure that they are on disk.

        Args:
            rows: (b,) row numbers.
            maps: (b, D, gh, gw).
            pooled: (b, P), or None at every call.

        Raises:
            InputError: a value is not finite in the file's precision, or the disk is full.
        """
        rows = np.asarray(rows, dtype=np.int64)
        with np.errstate(over="ignore"):
            stored = np.ascontiguousarray(maps, dtype=self.dtype)
        pooled = np.ascontiguousarray(np.empty((len(rows), 0)) if pooled is None else pooled, dtype=np.float32)
        if stored.shape != (len(rows), *self.shape[1:]) or pooled.ndim != 2 or len(pooled) != len(rows):
            raise ValueError(f"maps {stored.shape} and pooled {pooled.shape} for {len(rows)} rows of {self.shape}")
        for number, row in enumerate(rows):
            if not (np.isfinite(stored[number]).all() and np.isfinite(pooled[number]).all()):
                raise InputError(
                    "region maps contain NaN or infinity", where=self.path, found=f"row {row}",
                    expected=f"numbers that {self.dtype.name} can hold", cure="Look at that image, or store float32.",
                )
        with plain_disk_errors(self.part):
            if self._descriptor is None:
                self._create(pooled.shape[1])
            if pooled.shape[1] != self.pooled_dim:
                raise ValueError(f"pooled has {pooled.shape[1]} columns, the file {self.pooled_dim}")
            for number, row in enumerate(rows):
                self._put(stored[number], self._maps_at + int(row) * self._row_bytes)
                if self.pooled_dim:
                    self._put(pooled[number], self._pooled_at + int(row) * pooled[number].nbytes)
            os.fsync(self._descriptor)
            for row in rows:
                self._put(np.ones(1, dtype=np.uint8), self._done_at + int(row))
        self.done[rows] = True

    def _put(self, values: np.ndarray, place: int) -> None:
        content = memoryview(values).cast("B")
        while content:
            n = os.pwrite(self._descriptor, content, place)
            content, place = content[n:], place + n

    def finish(
        self,
        *,
        labels: np.ndarray,
        locations: Mapping[str, np.ndarray],
        att: np.ndarray,
        original_att: np.ndarray | None = None,
        w2v_att: np.ndarray | None = None,
        class_names: Sequence[str] | None = None,
        attribute_names: Sequence[str] | None = None,
        image_files: Sequence[str] | None = None,
        backbone: str | None = None,
    ) -> None:
        """Adds what belongs beside the maps and gives the file its final name.

        Args:
            labels: (n,) 0-based.
            locations: name without "_loc" -> 0-based rows.
            att, original_att: (C, A).
            w2v_att: (A, v).
            backbone: JSON text that describes what made the maps.

        Raises:
            InputError: rows are missing, or the disk is full.
        """
        if not self.done.all():
            missing = np.flatnonzero(~self.done)
            raise InputError(
                "an incomplete extraction", where=self.part,
                found=f"{len(missing)} rows not written, the first is {missing[0]}",
                expected=f"all {len(self.done)} rows", cure="Repeat the extraction; it continues where it stopped.",
            )
        if len(labels) != len(self.done) or (image_files is not None and len(image_files) != len(self.done)):
            raise ValueError(f"{len(labels)} labels or image files for {len(self.done)} rows")
        small = {f"{name}_loc": np.asarray(rows, dtype=np.int64) for name, rows in locations.items()}
        small |= {"labels": np.asarray(labels, dtype=np.int64), "att": att, "original_att": original_att, "w2v_att": w2v_att}
        texts = {"class_names": class_names, "attribute_names": attribute_names, "image_files": image_files}
        with plain_disk_errors(self.part):
            self._save_head()
            os.close(self._descriptor)
            self._descriptor = None
            with h5py.File(self.part, "r+") as file:
                for name, value in small.items():
                    if value is not None:
                        file[name] = np.asarray(value)
                for name, value in texts.items():
                    if value is not None:
                        encoded = np.array([str(text).encode() for text in value])
                        file[name] = encoded.astype(h5py.string_dtype(length=encoded.itemsize))
                if backbone is not None:
                    file.attrs["backbone"] = backbone
                del file["done"]
                file.attrs["complete"] = True
            with open(self.part, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(self.part, self.path)
            self.head.unlink()
        self.close()

    def _save_head(self) -> None:
        """HDF5 changes its structures when variables are added: keeps those that it may overwrite."""
        with atomic_path(self.head) as temporary, open(self.part, "rb") as file:
            length = os.fstat(file.fileno()).st_size
            temporary.write_bytes(length.to_bytes(8, "little") + file.read(self._maps_at))

    def _undo_finish(self) -> None:
        content = self.head.read_bytes()
        with open(self.part, "rb+") as file:
            file.write(content[8:])
            file.truncate(int.from_bytes(content[:8], "little"))
            os.fsync(file.fileno())
        self.head.unlink()

    def close(self) -> None:
        """Leaves what is written for a later call; a second time does nothing."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        if self._lock.is_locked:
            Path(self._lock.lock_file).unlink(missing_ok=True)
            self._lock.release()


def _lay_out(
    file: h5py.File, name: str, shape: tuple[int, ...], dtype: type, chunk: tuple[int, ...] | None = None, fill: bool = False
) -> None:
    """An array that has its place in the file at once; its content stays undefined unless `fill` asks for zeros."""
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    properties.set_fill_time(h5py.h5d.FILL_TIME_ALLOC if fill else h5py.h5d.FILL_TIME_NEVER)
    if chunk is not None:
        properties.set_chunk(chunk)
    space = h5py.h5s.create_simple(shape)
    h5py.h5d.create(file.id, name.encode(), h5py.h5t.py_create(np.dtype(dtype)), space, properties)
