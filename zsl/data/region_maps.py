"""Region maps: a grid of feature vectors for every image, in an HDF5 file that is never read as a whole.

    python -m zsl.data.region_maps SOURCE.hdf5 TARGET.hdf5        repacks a file of the DAZLE release for training

The layout is that of the DAZLE release (Huynh and Elhamifar, CVPR 2020), indices counted from 0:

    feature_map (N, D, gh, gw), labels (N,), trainval_loc, test_seen_loc, test_unseen_loc,
    att and original_att (C, A), w2v_att (A, v)

to which ours add train_loc, val_loc, class_names, attribute_names, image_files, pooled (N, P), and the attributes
`backbone` and `complete`. The release's DeepFashion file keeps feature_map_train/<label>, label_train/<label>,
img_train/<label> and *_test_seen, *_test_unseen instead of one feature_map; it is presented as one list of rows in
that order.

Ours are stored uncompressed in half precision, one chunk an image, so that a random image costs one read at a known place
of the file. The release's files are gzip'd in chunks that span hundreds of images: they are read as they are, but a
random batch unpacks most of the file, so that `RegionFile.streams` is false for them and training wants them repacked
once.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Literal

import filelock
import h5py
import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from zsl.data.matfile import read_mat
from zsl.data.xlsa17 import (
    Dataset,
    Scaling,
    Stage,
    StageData,
    check_attributes,
    check_disjoint,
    check_location,
    describe_untested,
    recognise_split,
)
from zsl.errors import InputError, exit_status
from zsl.runs.files import atomic_path, plain_disk_errors

AttributeChange = Literal["none", "negative_to_zero", "to_unit_interval"]

LOCATIONS = ("trainval_loc", "test_seen_loc", "test_unseen_loc", "train_loc", "val_loc")
DAMAGED = "It is probably cut short; copy, download or extract it again."


# --- reading ----------------------------------------------------------------------------------------------------------


class _Part:
    """One HDF5 array of maps; a file has one, or one a class.

    Rows of arrays with one plain chunk an image (or no chunks at all) are read from their place in the file, without
    HDF5, whose lock and selections would cost more than the reading.
    """

    def __init__(self, maps: h5py.Dataset, path: Path, descriptor: int | None):
        self.maps, self.path, self.descriptor = maps, path, descriptor
        properties = maps.id.get_create_plist()
        plain = properties.get_nfilters() == 0 and maps.dtype.isnative and descriptor is not None
        self.in_one_piece = plain and (
            maps.chunks == (1, *maps.shape[1:]) or (maps.chunks is None and maps.id.get_offset() is not None)
        )
        self._places = None

    def read(self, rows: np.ndarray, out: np.ndarray, where: np.ndarray) -> None:
        """Puts row rows[i] into out[where[i]]."""
        order = np.argsort(rows, kind="stable")
        if self.in_one_piece:
            for i in order:
                self._read_piece(rows[i], out[where[i]])
        else:
            self._read_chunks(rows[order], out, where[order])

    def _read_piece(self, row: int, out: np.ndarray) -> None:
        place, buffer, got = int(self.places[row]), memoryview(out).cast("B"), 0
        if place < 0:
            raise _damaged(self.path, f"row {row} of {self.maps.name} was never written")
        while got < len(buffer):
            n = os.preadv(self.descriptor, [buffer[got:]], place + got)
            if n == 0:
                raise _damaged(self.path, f"the file ends within row {row} of {self.maps.name}")
            got += n

    @property
    def places(self) -> np.ndarray:
        """(n,) where each row begins in the file, -1 for a row that does not; found at the first reading."""
        if self._places is None:
            # All at once: asked for a single chunk, HDF5 may look through all of them.
            places = np.full(len(self.maps), -1, dtype=np.int64)
            if self.maps.chunks is None:
                row_bytes = int(np.prod(self.maps.shape[1:])) * self.maps.dtype.itemsize
                places = self.maps.id.get_offset() + row_bytes * np.arange(len(self.maps))
            else:
                self.maps.id.chunk_iter(lambda chunk: places.__setitem__(chunk.chunk_offset[0], chunk.byte_offset))
            self._places = places
        return self._places

    def _read_chunks(self, rows: np.ndarray, out: np.ndarray, where: np.ndarray) -> None:
        """Ascending rows; every chunk is unpacked once, and one chunk's rows and channels are in memory at a time."""
        n_rows, n_channels = (self.maps.chunks or (1, self.maps.shape[1]))[:2]
        blocks = rows // n_rows
        for block in np.unique(blocks):
            members = np.flatnonzero(blocks == block)
            first, last = rows[members[0]], rows[members[-1]]
            for channel in range(0, self.maps.shape[1], n_channels):
                channels = slice(channel, channel + n_channels)
                slab = self.maps[first : last + 1, channels]
                out[where[members], channels] = slab[rows[members] - first]


class RegionFile:
    """The maps of a region file; opening reads no map, whatever the size.

    Threads may read at the same time.

    Attributes:
        path: the file.
        n: number of images (rows).
        feature_dim: D, channels of a region.
        grid: (gh, gw) regions.
        dtype: of the stored numbers.
        groups: None, or for DeepFashion's layout the groups ("train/3", "test_seen") in the order of their rows.
        sizes: rows of each group, or [n].
    """

    def __init__(self, path: Path):
        """Opens `path`.

        Raises:
            InputError: the file is missing, damaged, half written or has no maps.
        """
        self.path = Path(path)
        self._file = _open(self.path)
        self._descriptor = None
        try:
            self._find_parts()
        except InputError:
            self.close()
            raise
        # A damaged file can make h5py raise any of these.
        except (OSError, KeyError, RuntimeError, ValueError, AttributeError) as error:
            self.close()
            raise _damaged(self.path, f"{type(error).__name__}: {error}") from error

    def _find_parts(self) -> None:
        file = self._file
        if not file.attrs.get("complete", True):
            raise InputError(
                "half-written region file", where=self.path, found="an extraction that has not finished",
                expected="a complete file", cure="Repeat the command that writes it; it continues where it stopped.",
            )
        if "feature_map" in file:
            self.groups = None
            maps = [file["feature_map"]]
        elif isinstance(file.get("feature_map_train"), h5py.Group):
            self.groups = [f"train/{label}" for label in sorted(file["feature_map_train"], key=int)]
            self.groups += [name for name in ("test_seen", "test_unseen") if f"feature_map_{name}" in file]
            maps = [file[f"feature_map_{group}"] for group in self.groups]
        else:
            raise InputError(
                "no region maps", where=self.path, found=f"{sorted(file) or 'nothing'}",
                expected="feature_map (N, D, gh, gw), or DeepFashion's feature_map_train/<label>",
                cure="Use a file written by extract_features.py or by the DAZLE release.",
            )
        for array in maps:
            if array.ndim != 4 or array.dtype.kind != "f" or array.shape[1:] != maps[0].shape[1:]:
                raise InputError(
                    "region maps of the wrong shape", where=f"{self.path}, {array.name}",
                    found=f"{array.shape} {array.dtype}", expected="(N, D, gh, gw) floating-point numbers, alike in all parts",
                    cure="Save the maps before any pooling or flattening.",
                )
        self.feature_dim, *grid = maps[0].shape[1:]
        self.grid = tuple(grid)
        self.dtype = maps[0].dtype.newbyteorder("=")
        if hasattr(os, "preadv") and file.userblock_size == 0:
            self._descriptor = os.open(self.path, os.O_RDONLY)
        self._parts = [_Part(array, self.path, self._descriptor) for array in maps]
        self.sizes = [len(array) for array in maps]
        self._starts = np.cumsum([0, *self.sizes[:-1]])
        self.n = sum(self.sizes)

    @property
    def streams(self) -> bool:
        """Whether an image costs one read, rather than unpacking chunks that it shares with others."""
        return all(part.maps.chunks is None or part.maps.chunks[0] == 1 for part in self._parts)

    def read(self, rows: np.ndarray) -> np.ndarray:
        """The maps of some images.

        Args:
            rows: (b,) row numbers in any order, repetitions allowed.

        Returns:
            (b, D, gh, gw) in the file's precision.

        Raises:
            InputError: the file is damaged there.
        """
        rows = np.asarray(rows, dtype=np.int64)
        if len(rows) and (rows.min() < 0 or rows.max() >= self.n):
            raise IndexError(f"rows {rows.min()}..{rows.max()} of {self.n}")
        out = np.empty((len(rows), self.feature_dim, *self.grid), dtype=self.dtype)
        part_of_row = np.searchsorted(self._starts, rows, side="right") - 1
        try:
            for number in np.unique(part_of_row):
                where = np.flatnonzero(part_of_row == number)
                self._parts[number].read(rows[where] - self._starts[number], out, where)
        except (OSError, RuntimeError) as error:
            raise _damaged(self.path, f"{type(error).__name__}: {error}") from error
        return out

    def variable(self, name: str) -> np.ndarray | None:
        """A small variable of the file, whole; texts as str. None if it is not there.

        Raises:
            InputError: it cannot be read.
        """
        try:
            stored = self._file.get(name)
            if not isinstance(stored, h5py.Dataset):
                return None
            text = h5py.check_string_dtype(stored.dtype)
            if text is None:
                return np.asarray(stored[()])
            if text.length is None or stored.ndim == 0:
                return np.asarray(stored.asstr()[()], dtype=object)
            # Texts in as many bytes each, as we write them: several times as fast for hundreds of thousands.
            return np.array([content.decode() for content in stored[()].ravel().tolist()], dtype=object)
        except (OSError, RuntimeError, KeyError, UnicodeDecodeError) as error:
            raise _damaged(self.path, f"{name}: {type(error).__name__}: {error}") from error

    @property
    def variables(self) -> list[str]:
        """Names of what the file has."""
        return sorted(self._file)

    def stretches(self) -> Iterator[np.ndarray]:
        """All rows in order, in pieces that read every chunk once and take some 64 MB."""
        row_bytes = self.feature_dim * int(np.prod(self.grid)) * self.dtype.itemsize
        for start, part in zip(self._starts, self._parts):
            of_chunk = (part.maps.chunks or (1,))[0]
            step = of_chunk * max(1, 64 * 2**20 // (of_chunk * row_bytes))
            for first in range(0, len(part.maps), step):
                yield np.arange(start + first, start + min(first + step, len(part.maps)))

    def attribute(self, name: str) -> str | None:
        """A text attribute of the file."""
        value = self._file.attrs.get(name)
        return None if value is None else str(value)

    def pooled(self) -> np.ndarray | None:
        """`pooled` (N, P), mapped from disk where it lies there in one piece."""
        stored = self._file.get("pooled")
        if stored is None:
            return None
        if stored.chunks is None and stored.dtype.isnative and self._file.userblock_size == 0 and stored.id.get_offset():
            return np.memmap(self.path, stored.dtype, "r", stored.id.get_offset(), stored.shape)
        return self.variable("pooled")

    def name_of(self, row: int) -> str:
        """How messages call a row: its number and, where the file knows it, its image."""
        files = self._file.get("image_files")
        return f"row {row}" if files is None else f"row {row} ({files.asstr()[row]})"

    def close(self) -> None:
        """Closes the file; a second time does nothing."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        self._file.close()


def _open(path: Path) -> h5py.File:
    if not path.is_file():
        unfinished = _part_path(path).exists()
        raise InputError(
            "missing region maps", where=path, found="an extraction that has not finished" if unfinished else "nothing",
            expected="an HDF5 file of region maps", cure="Repeat the extraction; it continues where it stopped."
            if unfinished else "Extract them with extract_features.py, or check the path.",
        )
    try:
        return h5py.File(path, "r")
    except OSError as error:
        found = "no HDF5 file" if not h5py.is_hdf5(path) else error
        raise _damaged(path, found) from error


def _damaged(path: Path, found: object) -> InputError:
    return InputError("unreadable region maps", where=path, found=found, expected="a complete HDF5 file", cure=DAMAGED)


def _part_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


def batches(
    regions: RegionFile,
    rows_of_batches: Iterable[np.ndarray],
    *,
    prefetch: int = 2,
    device: torch.device | str = "cpu",
) -> Iterator[Tensor]:
    """Region features batch by batch, read and converted by a thread while the caller computes.

    Args:
        rows_of_batches: row numbers (b,) of each batch. Drawn from in the caller's thread, at most `prefetch` + 1 batches
            ahead of what has been yielded.
        prefetch: batches that may wait, finished or under way, while the caller works on one.
        device: where they are wanted; a GPU gets them in the file's precision and converts them itself.

    Yields:
        (b, r, f) float32, contiguous, not normalised; r = gh * gw regions row by row.

    Raises:
        InputError: the file is damaged, or a value is not finite.
    """
    device = torch.device(device)
    # One worker is enough: reading and converting take a small part of a training step.
    pool, waiting = ThreadPoolExecutor(1, "region-maps"), deque()
    try:
        for rows in rows_of_batches:
            waiting.append(pool.submit(_load, regions, np.asarray(rows), device))
            if len(waiting) > prefetch:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _load(regions: RegionFile, rows: np.ndarray, device: torch.device) -> Tensor:
    raw = torch.from_numpy(regions.read(rows)).flatten(2)
    if device.type == "cuda":
        raw = raw.pin_memory().to(device, non_blocking=True)
    loaded = torch.empty(len(rows), raw.shape[2], raw.shape[1], device=device)
    loaded.copy_(raw.transpose(1, 2))
    # A sum is far cheaper than looking at every number, and is finite if all of them are.
    if not loaded.sum().isfinite():
        finite = loaded.isfinite().flatten(1).all(1).cpu().numpy()
        if not finite.all():
            row = int(rows[np.flatnonzero(~finite)[0]])
            raise InputError(
                "region maps contain NaN or infinity", where=regions.path, found=regions.name_of(row),
                expected="finite numbers", cure="Extract that image again.",
            )
    return loaded


# --- writing ----------------------------------------------------------------------------------------------------------


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
        self.path, self.part, self.head = Path(path), _part_path(Path(path)), Path(f"{path}.part.head")
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


# --- the data set -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RegionStageData(StageData):
    """One experiment on region maps.

    Attributes:
        regions: the file that the maps are read from.
        rows: "train", "test_seen", "test_unseen" -> (n,) rows of the file, in the order of the samples of that name;
            always on the CPU.
        word_vectors: (A, v) float32, None where there are none.
    """

    regions: RegionFile
    rows: dict[str, Tensor]
    word_vectors: Tensor | None

    @property
    def feature_dim(self) -> int:
        return self.regions.feature_dim

    def to(self, device: torch.device) -> RegionStageData:
        moved = super().to(device)
        if self.word_vectors is not None:
            object.__setattr__(moved, "word_vectors", self.word_vectors.to(device))
        return moved


@dataclass(frozen=True)
class RegionDataset(Dataset):
    """A data set whose images are region maps; `features` are the file's pooled vectors, (N, 0) where it has none.

    Attributes:
        regions: the maps; row i is sample i.
        word_vectors: (A, v) float32 or None.
        attribute_names: A names ("attribute 1", ... where the file has none).
        image_files: N paths relative to the image folder, or None.
        backbone: JSON text that describes what made the maps, or None.
    """

    _: KW_ONLY
    regions: RegionFile
    word_vectors: np.ndarray | None
    attribute_names: list[str]
    image_files: list[str] | None
    backbone: str | None

    def stage(self, stage: Stage, scaling: Scaling = "minmax", seed: int = 0) -> RegionStageData:
        """As `Dataset.stage`; `scaling` concerns the pooled features alone."""
        base = super().stage(stage, scaling if self.features.shape[1] else "none", seed)
        for samples in (base.train, base.test_seen, base.test_unseen):
            if not torch.isfinite(samples.features.sum()):
                raise InputError(
                    "pooled features contain NaN or infinity", where=self.regions.path, found="pooled",
                    expected="finite numbers", cure="Extract the features again.",
                )
        rows = dict(zip(("train", "test_seen", "test_unseen"), map(torch.from_numpy, self.stage_locations(stage, seed))))
        vectors = None if self.word_vectors is None else torch.from_numpy(self.word_vectors)
        return RegionStageData(**vars(base), regions=self.regions, rows=rows, word_vectors=vectors)


def read_region_maps(
    path: Path,
    *,
    dataset: str | None = None,
    attributes: Literal["att", "original_att"] = "att",
    attribute_change: AttributeChange = "none",
    split_file: Path | None = None,
    word_vector_file: Path | None = None,
    drop_absent_classes: bool = False,
    standard_split: bool = False,
    allow_missing_vectors: bool = False,
) -> RegionDataset:
    """Opens and checks a region file; no map is read.

    Args:
        dataset: name, by default that of the folder.
        attributes: which class attributes of the file to take.
        attribute_change: done to them before their rows are normalised: "negative_to_zero", or "to_unit_interval",
            (a + 1) / 2.
        split_file: a MATLAB split file (1-based lists) to take lists, att and class names from instead of the file's.
        word_vector_file: a .npy file (A, v) to read instead of w2v_att.
        drop_absent_classes: leave out classes without samples, renumbering the others in order.
        standard_split: zero-shot learning alone: the lists are trainval_loc and test_unseen_loc or test_loc, and test_seen
            is empty.
        allow_missing_vectors: accept attributes whose word vector is a row of zeros, and note them.

    Raises:
        InputError: a file is missing or damaged, or its content cannot be right; the message tells what to do.
    """
    path = Path(path)
    regions = RegionFile(path)
    try:
        return _describe(
            regions, dataset or path.resolve().parent.name, attributes, attribute_change, split_file, word_vector_file,
            drop_absent_classes, standard_split, allow_missing_vectors,
        )
    except BaseException:
        regions.close()
        raise


def _describe(
    regions: RegionFile,
    dataset: str,
    attributes: str,
    change: AttributeChange,
    split_file: Path | None,
    word_vector_file: Path | None,
    drop_absent: bool,
    standard_split: bool,
    allow_missing: bool,
) -> RegionDataset:
    labels, image_files, locations = _samples(regions)
    if split_file is not None:
        split = read_mat(split_file, [], ["att", "original_att", *LOCATIONS, "test_loc", "allclasses_names", "unseen_classes"])
        first, source = 1, Path(split_file)
        locations = {key: split[key] for key in (*LOCATIONS, "test_loc") if key in split}
    else:
        split, first, source = {}, 0, regions.path
    # Classes that are unseen by declaration need no samples (see zsl.data.xlsa17), so that this list may be empty.
    untested = "unseen_classes" in split and not np.size(locations.get("test_unseen_loc", ()))
    locations = _check_locations(locations, source, len(labels), first, standard_split, untested)

    word_vectors = regions.variable("w2v_att")
    if word_vector_file is not None:
        word_vectors = _read_word_vectors(word_vector_file)
    class_names = split.get("allclasses_names", regions.variable("class_names"))
    attribute_names = regions.variable("attribute_names")
    if attributes in split:
        att, where = split[attributes].T, source
    else:
        att, where = regions.variable(attributes), regions.path
        if att is None:
            raise _missing(regions, attributes)
        att = _orient(att, regions, labels, class_names, attribute_names, word_vectors)
    n_classes, n_attributes = att.shape
    if len(labels) and labels.max() >= n_classes:
        raise InputError(
            "labels out of range", where=regions.path, found=f"label {labels.max()}",
            expected=f"labels in 0..{n_classes - 1}, the rows of att", cure="Subtract 1 if the labels are 1-based.",
        )
    if class_names is None or len(class_names) != n_classes:
        class_names = [f"class {number}" for number in range(1, n_classes + 1)]
    if attribute_names is None or len(attribute_names) != n_attributes:
        attribute_names = [f"attribute {number}" for number in range(1, n_attributes + 1)]
    missing = []
    if word_vectors is not None:
        missing = _check_word_vectors(word_vectors, attribute_names, word_vector_file or regions.path, allow_missing)

    unseen_classes = np.zeros(0, dtype=np.int64)
    if "unseen_classes" in split:
        unseen_classes = check_location(split["unseen_classes"], "unseen_classes", source, n_classes)
    present = np.unique(labels)
    absent = np.setdiff1d(np.arange(n_classes), np.concatenate([present, unseen_classes]))
    notes = describe_untested(unseen_classes, labels[locations["test_unseen"]])
    if len(absent) and drop_absent:
        labels = np.searchsorted(present, labels)
        att, class_names = att[present], [class_names[label] for label in present]
        notes.append(f"{len(absent)} of {n_classes} classes have no sample and are left out.")
    elif len(absent):
        raise InputError(
            "a class without samples", where=regions.path,
            found=f"no sample of {len(absent)} of {n_classes} classes, e.g. {class_names[absent[0]]}",
            expected="at least one sample of every row of att", cure="Ask for such classes to be left out, or mend the file.",
        )
    if change == "negative_to_zero":
        att = np.maximum(att, 0)
    elif change == "to_unit_interval":
        att = (np.asarray(att, dtype=np.float64) + 1) / 2
    att = check_attributes(np.asarray(att).T, where)
    check_disjoint(locations, labels, source)
    # The published counts are those of the Proposed Split.
    version, split_notes = recognise_split("" if standard_split else dataset, locations, labels)
    notes += split_notes
    features = regions.pooled()
    if features is None:
        features = np.zeros((len(labels), 0), dtype=np.float32)
        notes.append("The region file has no pooled features.")
    elif features.ndim != 2 or len(features) != len(labels):
        raise InputError(
            "pooled features of the wrong shape", where=regions.path, found=features.shape,
            expected=f"({len(labels)}, P)", cure="Extract the features again.",
        )
    if not regions.streams:
        notes.append(
            f"{regions.path.name} keeps many images in one compressed chunk, so that random batches are slow. Repack it once: "
            "python -m zsl.data.region_maps SOURCE TARGET"
        )
    if missing:
        notes.append(f"{len(missing)} attributes have no word vector and start from zero, the first is {missing[0]}.")
    if standard_split:
        notes.append("Standard split: zero-shot learning alone, there are no test samples of seen classes.")
    return RegionDataset(
        dataset, regions.path.stem, source.stem.removesuffix("_splits") if split_file is not None else attributes,
        features, labels, att, [str(name) for name in class_names], locations, version, notes,
        regions=regions, word_vectors=None if word_vectors is None else np.ascontiguousarray(word_vectors, dtype=np.float32),
        attribute_names=[str(name) for name in attribute_names],
        image_files=None if image_files is None else [str(name) for name in image_files],
        backbone=regions.attribute("backbone"), unseen_classes=unseen_classes,
    )


def _samples(regions: RegionFile) -> tuple[np.ndarray, np.ndarray | None, dict[str, np.ndarray]]:
    """labels (N,) int64, image files or None, and the stored lists (0-based, unchecked)."""
    if regions.groups is None:
        labels, image_files = regions.variable("labels"), regions.variable("image_files")
        if labels is None:
            raise _missing(regions, "labels")
        found = {key: regions.variable(key) for key in (*LOCATIONS, "test_loc")}
        locations = {key: value for key, value in found.items() if value is not None}
    else:
        labels, image_files, rows = [], [], {}
        ends = np.cumsum(regions.sizes)
        for group, size, end in zip(regions.groups, regions.sizes, ends):
            key, _, label = group.partition("/")
            stored = regions.variable(f"label_{group}")
            if stored is None:
                raise _missing(regions, f"label_{group}")
            if stored.size != size or (label and (stored != int(label)).any()):
                raise InputError(
                    "labels and maps do not match", where=f"{regions.path}, label_{group}",
                    found=f"{stored.size} labels {np.unique(stored)[:5]}", expected=f"{size} labels that fit the maps",
                    cure=DAMAGED,
                )
            images = regions.variable(f"img_{group}")
            labels.append(stored.ravel())
            image_files = None if images is None or image_files is None else [*image_files, *images.ravel()]
            rows.setdefault("trainval_loc" if key == "train" else f"{key}_loc", []).append(np.arange(end - size, end))
        labels = np.concatenate(labels)
        locations = {key: np.concatenate(value) for key, value in rows.items()}
    flat = labels.ravel()
    if flat.dtype.kind not in "fiu" or len(flat) != regions.n:
        raise InputError(
            "labels and maps do not match", where=regions.path, found=f"labels {labels.shape} {labels.dtype}",
            expected=f"{regions.n} numbers, one an image", cure=DAMAGED,
        )
    if len(flat) == 0 or not (np.isfinite(flat).all() and (flat == np.floor(flat)).all() and flat.min() >= 0):
        raise InputError(
            "labels out of range", where=regions.path, found=f"{flat.min()}..{flat.max()}" if len(flat) else "no label",
            expected="whole numbers from 0 on: rows of att", cure="Store 0-based class numbers.",
        )
    if image_files is not None and len(image_files) != regions.n:
        raise InputError(
            "image files and maps do not match", where=regions.path, found=f"{len(image_files)} image files",
            expected=f"{regions.n}, one a row", cure=DAMAGED,
        )
    return flat.astype(np.int64), image_files, locations


def _check_locations(
    found: dict[str, np.ndarray], path: Path, n_samples: int, first: int, standard_split: bool, untested: bool
) -> dict[str, np.ndarray]:
    found = dict(found)
    if standard_split:
        found.setdefault("test_unseen_loc", found.get("test_loc"))
        found.pop("test_seen_loc", None)
    if untested:
        found.pop("test_unseen_loc", None)
    found = {key: value for key, value in found.items() if key != "test_loc" and value is not None}
    optional = {"test_seen_loc": standard_split, "test_unseen_loc": untested}
    required = [key for key in LOCATIONS[:3] if not optional.get(key)]
    missing = [key for key in required if key not in found]
    if missing:
        raise InputError(
            f"missing variable {', '.join(missing)}", where=path, found=f"{sorted(found) or 'no list'}",
            expected=", ".join(required), cure="Give a file with these lists; a standard split needs --standard_split.",
        )
    locations = {key.removesuffix("_loc"): check_location(value, key, path, n_samples, first) for key, value in found.items()}
    for name in ("test_seen", "test_unseen"):
        locations.setdefault(name, np.zeros(0, dtype=np.int64))
    return locations


def _orient(
    att: np.ndarray,
    regions: RegionFile,
    labels: np.ndarray,
    class_names: np.ndarray | None,
    attribute_names: np.ndarray | None,
    word_vectors: np.ndarray | None,
) -> np.ndarray:
    """att as (C, A), whichever way the file has it, by the other variables' sizes."""
    sizes = {len(values) for values in (attribute_names, word_vectors) if values is not None}

    def fits(n_classes: int, n_attributes: int) -> bool:
        return labels.max() < n_classes and (class_names is None or len(class_names) == n_classes) and sizes <= {n_attributes}

    found = [matrix for matrix in (att, att.T) if att.ndim == 2 and att.dtype.kind in "fiub" and fits(*matrix.shape)]
    if len(found) == 2 and regions.attribute("complete") is None:  # without our mark the number of classes decides
        n_present = len(np.unique(labels))
        exact = [matrix for matrix in found if len(matrix) == n_present]
        if len(exact) != 1:
            raise InputError(
                "class attributes of an unclear orientation", where=regions.path, found=f"att {att.shape}",
                expected="classes and attributes that w2v_att and labels tell apart",
                cure="Give a split file whose att is attributes × classes, or store class_names and attribute_names.",
            )
        return exact[0]
    if not found:
        w2v = "none" if word_vectors is None else word_vectors.shape
        raise InputError(
            "class attributes that do not fit", where=regions.path,
            found=f"att {att.shape} {att.dtype}, labels up to {labels.max()}, word vectors {w2v}",
            expected="att (C, A) with a row for every label and a column for every word vector",
            cure="The labels are 0-based here; or the word vectors belong to other attributes.",
        )
    return found[0]


def _read_word_vectors(path: Path) -> np.ndarray:
    try:
        return np.load(path, allow_pickle=False)
    except FileNotFoundError:
        found, cure = "nothing", "Check the path."
    except (ValueError, OSError, EOFError) as error:
        found, cure = error, "Save it again with numpy.save."
    raise InputError(
        "unreadable word vectors", where=path, found=found, expected="a NumPy file (A, v), one row an attribute", cure=cure
    )


def _check_word_vectors(
    vectors: np.ndarray, attribute_names: Sequence[str], path: Path, allow_missing: bool
) -> list[str]:
    """Names of the attributes whose vector is a row of zeros."""
    n = len(attribute_names)
    if vectors.ndim != 2 or len(vectors) != n or vectors.dtype.kind != "f":
        raise InputError(
            "word vectors of the wrong shape", where=path, found=f"{vectors.shape} {vectors.dtype}",
            expected=f"({n}, v) numbers, one row an attribute", cure="Make them for the attributes of this file.",
        )
    zero = (vectors == 0).all(1)
    bad = np.flatnonzero(~np.isfinite(vectors).all(1) | (zero & (not allow_missing)))
    if len(bad):
        raise InputError(
            "attributes without a word vector", where=path,
            found=f"{len(bad)} rows that are zero or not finite, the first is {bad[0]} ({attribute_names[bad[0]]})",
            expected="a finite, non-zero vector for every attribute",
            cure="Make the word vectors again; --allow_missing_w2v lets rows of zeros stand, as the release's SUN has one.",
        )
    return [name for name, is_zero in zip(attribute_names, zero) if is_zero]


def _missing(regions: RegionFile, name: str) -> InputError:
    return InputError(
        f"missing variable {name}", where=regions.path, found=regions.variables, expected=name,
        cure="Use a file written by extract_features.py or by the DAZLE release.",
    )


# --- repacking --------------------------------------------------------------------------------------------------------


def repack(source: Path, target: Path, dtype: str = "float16") -> None:
    """Copies a region file into the layout that streams, adding pooled features (the mean over the regions, which is what
    a ResNet's own pooling computes) where it has none. Resumable.

    Raises:
        InputError: as `read_region_maps` and `RegionWriter`.
    """
    source = Path(source)
    regions = RegionFile(source)
    try:
        labels, image_files, locations = _samples(regions)
        identity = {"source": source.name, "bytes": source.stat().st_size}
        writer = RegionWriter(target, regions.n, regions.feature_dim, regions.grid, dtype, identity)
        pooled = regions.pooled()
        for rows in tqdm(list(regions.stretches()), unit="stretch", disable=None):
            rows = rows[~writer.done[rows]]
            if len(rows):
                maps = regions.read(rows)
                writer.write(rows, maps, maps.mean((2, 3), dtype=np.float32) if pooled is None else pooled[rows])
        writer.finish(
            labels=labels, locations={key.removesuffix("_loc"): rows for key, rows in locations.items()},
            image_files=image_files, backbone=regions.attribute("backbone"),
            **{key: regions.variable(key) for key in
               ("att", "original_att", "w2v_att", "class_names", "attribute_names")},
        )
    finally:
        regions.close()


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns 0, 1 after an error told on stderr, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser("python -m zsl.data.region_maps", description="Repack a region file.", allow_abbrev=False)
    parser.add_argument("source", type=Path, help="a region file, such as the DAZLE release's")
    parser.add_argument("target", type=Path, help="the file to write, half its size in memory, uncompressed")
    parser.add_argument("--dtype", choices=("float16", "float32"), default="float16", help="precision to keep")
    args = parser.parse_args(argv)
    return exit_status(
        lambda: repack(args.source, args.target, args.dtype), "\nStopped; the same command continues where it was."
    )


if __name__ == "__main__":
    sys.exit(main())
