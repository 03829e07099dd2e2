"""Reading region files: a grid of feature vectors for every image, in an HDF5 file that is never read as a whole.

The layout is that of the DAZLE release (Huynh and Elhamifar, CVPR 2020), indices counted from 0:

    feature_map (N, D, gh, gw), labels (N,), trainval_loc, test_seen_loc, test_unseen_loc,
    att and original_att (C, A), w2v_att (A, v)

Our files (`zslab.data.region_writer`) add train_loc, val_loc, class_names, attribute_names, image_files, pooled (N, P), and
the attributes `backbone` and `format_version`. The release's DeepFashion file has feature_map_train/<label>,
label_train/<label>, img_train/<label> and *_test_seen, *_test_unseen instead of one feature_map; it is presented as one list
of images in that order.

Our files are uncompressed, so that a random image costs one access to a known place of the file. The release's files are
compressed in chunks that span hundreds of images. They are read as they are, but a random batch unpacks most of the file:
`RegionFile.streams` is false for them, and they should be repacked once before training (`zslab.data.repack`).
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor

from zslab.data.formats.hdf5 import array, local_item, texts
from zslab.errors import InputError, examples

FIX_DAMAGED = "It is probably cut short; copy, download or extract it again."


class _Part:
    """One HDF5 array of maps; a file has one, or one for each class.

    Maps of an uncompressed array without chunks, or with one chunk for each image, are read from their place in the file,
    without HDF5, whose lock and selections would cost more than the reading.
    """

    def __init__(self, maps: h5py.Dataset, path: Path, descriptor: int | None):
        self.maps, self.path, self.descriptor = maps, path, descriptor
        properties = maps.id.get_create_plist()
        plain = properties.get_nfilters() == 0 and maps.dtype.isnative and descriptor is not None
        self.in_one_piece = plain and (
            maps.chunks == (1, *maps.shape[1:]) or (maps.chunks is None and maps.id.get_offset() is not None)
        )
        self._places: np.ndarray | None = None

    def read(self, rows: np.ndarray, out: np.ndarray, where: np.ndarray) -> None:
        """Put the map rows[i] into out[where[i]]."""
        order = np.argsort(rows, kind="stable")
        if self.in_one_piece:
            for i in order:
                self._read_piece(rows[i], out[where[i]])
        else:
            self._read_chunks(rows[order], out, where[order])

    def _read_piece(self, row: int, out: np.ndarray) -> None:
        assert self.descriptor is not None
        place, buffer, got = int(self.places[row]), memoryview(out.data).cast("B"), 0
        if place < 0:
            raise _damaged(self.path, f"row {row} of {self.maps.name} was never written")
        while got < len(buffer):
            n = os.preadv(self.descriptor, [buffer[got:]], place + got)
            if n == 0:
                raise _damaged(self.path, f"the file ends within row {row} of {self.maps.name}")
            got += n

    @property
    def places(self) -> np.ndarray:
        """(n,) byte at which each map begins in the file, -1 for one that was never written; computed at the first access."""
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
        """Read ascending rows; every chunk is unpacked once, and one chunk's rows and channels are in memory at a time."""
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

    Raises:
        InputError: the file is missing, damaged or has no maps.

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
        self.path = Path(path)
        self._file = _open(self.path)
        self._descriptor: int | None = None
        try:
            with _damage_named(self.path):
                self._find_parts()
        except BaseException:
            self.close()
            raise

    def _find_parts(self) -> None:
        self.groups: list[str] | None = None
        whole, by_class = (local_item(self._file, name) for name in ("feature_map", "feature_map_train"))
        items = {} if whole is None else {"feature_map": whole}
        if whole is None and isinstance(by_class, h5py.Group):
            groups = [*(f"train/{label}" for label in sorted(by_class, key=int)), "test_seen", "test_unseen"]
            there = {group: local_item(self._file, f"feature_map_{group}") for group in groups}
            items = {group: item for group, item in there.items() if item is not None}
            self.groups = list(items)
        maps = [item for item in items.values() if isinstance(item, h5py.Dataset)]
        if not maps or len(maps) < len(items):
            raise InputError(
                "the file has no region maps",
                where=self.path,
                found=examples(sorted(self._file)) or "an empty file",
                expected="feature_map (N, D, gh, gw), or DeepFashion's feature_map_train/<label>",
                fix="Use a file written by extract_features.py or by the DAZLE release.",
            )
        for part in maps:
            if part.ndim != 4 or part.dtype.kind != "f" or part.shape[1:] != maps[0].shape[1:]:
                raise InputError(
                    "the region maps have the wrong shape",
                    where=f"{self.path}, {part.name}",
                    found=f"{part.shape} {part.dtype}",
                    expected="(N, D, gh, gw) floating-point numbers, alike in all parts",
                    fix="Save the maps before any pooling or flattening.",
                )
        rows, columns = maps[0].shape[2:]
        pooled = local_item(self._file, "pooled")
        n_pooled = pooled.shape[1] if isinstance(pooled, h5py.Dataset) and pooled.ndim == 2 else None
        if columns > maps[0].shape[1] == rows or (n_pooled == columns != maps[0].shape[1]):
            raise InputError(
                "the region maps have their channels last",
                where=f"{self.path}, {maps[0].name}",
                found=maps[0].shape,
                expected="(N, D, gh, gw), channels before the grid",
                fix="Save the maps again with maps.transpose(0, 3, 1, 2).",
            )
        self.feature_dim, *grid = maps[0].shape[1:]
        self.grid = tuple(grid)
        self.dtype = maps[0].dtype.newbyteorder("=")
        if hasattr(os, "preadv") and self._file.userblock_size == 0:
            self._descriptor = os.open(self.path, os.O_RDONLY)
        self._parts = [_Part(part, self.path, self._descriptor) for part in maps]
        self.sizes = [len(part) for part in maps]
        self._starts = np.cumsum([0, *self.sizes[:-1]])
        self.n = sum(self.sizes)

    @property
    def streams(self) -> bool:
        """Whether an image costs one access, rather than unpacking chunks that it shares with others."""
        return all(part.maps.chunks is None or part.maps.chunks[0] == 1 for part in self._parts)

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Return the maps of some images.

        Args:
            rows: (b,) image numbers in any order, repetitions allowed.

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
        with _damage_named(self.path):
            for number in np.unique(part_of_row):
                where = np.flatnonzero(part_of_row == number)
                self._parts[number].read(rows[where] - self._starts[number], out, where)
        return out

    def variable(self, name: str) -> np.ndarray | None:
        """Return a small variable of the file, texts as str, or None if it is not there.

        Raises:
            InputError: it cannot be read.
        """
        with _damage_named(f"{self.path}, {name}"):
            stored = local_item(self._file, name)
            if not isinstance(stored, h5py.Dataset):
                return None
            return array(stored) if h5py.check_string_dtype(stored.dtype) is None else texts(stored)

    def texts(self, name: str) -> list[str] | None:
        """Return a variable that holds texts, or None if it is not there."""
        stored = self.variable(name)
        return None if stored is None else [str(text) for text in stored.ravel()]

    @property
    def variables(self) -> list[str]:
        """Names of the variables in the file."""
        with _damage_named(self.path):
            return sorted(self._file)

    def stretches(self) -> Iterator[np.ndarray]:
        """Yield the numbers of all images in order, in blocks that read every chunk once and take some 64 MB."""
        row_bytes = self.feature_dim * int(np.prod(self.grid)) * self.dtype.itemsize
        for start, part in zip(self._starts, self._parts):
            of_chunk = (part.maps.chunks or (1,))[0]
            step = of_chunk * max(1, 64 * 2**20 // (of_chunk * row_bytes))
            for first in range(0, len(part.maps), step):
                yield np.arange(start + first, start + min(first + step, len(part.maps)))

    def attribute(self, name: str) -> str | None:
        """Return an attribute of the file as text, or None if it is not there."""
        with _damage_named(f"{self.path}, {name}"):
            value = self._file.attrs.get(name)
            if value is None:
                return None
            str(value).encode()  # h5py lets undecodable bytes through, which no file could be written with
            return str(value)

    def json_attribute(self, name: str) -> str | None:
        """Return an attribute of the file that holds a JSON object as text, or None if it is not there."""
        text = self.attribute(name)
        with _damage_named(f"{self.path}, {name}"):
            if text is not None and not isinstance(json.loads(text), dict):
                raise ValueError("no JSON object")
        return text

    def pooled(self) -> np.ndarray | None:
        """Return `pooled` (N, P), memory-mapped where it lies in one piece, or None if it is not there."""
        with _damage_named(f"{self.path}, pooled"):
            stored = local_item(self._file, "pooled")
            if not isinstance(stored, h5py.Dataset):
                return None
            if stored.chunks is None and stored.dtype.isnative and self._file.userblock_size == 0 and stored.id.get_offset():
                return np.memmap(self.path, stored.dtype, "r", stored.id.get_offset(), stored.shape)
            return array(stored)

    def name_of(self, row: int) -> str:
        """Return what messages call an image: its number and, where the file has it, its path."""
        with _damage_named(f"{self.path}, image_files"):
            files = local_item(self._file, "image_files")
            return f"row {row} ({files.asstr()[row]})" if isinstance(files, h5py.Dataset) else f"row {row}"

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        self._file.close()


def _open(path: Path) -> h5py.File:
    if not path.is_file():
        raise InputError(
            "the region file is missing",
            where=path,
            found="no such file",
            expected="an HDF5 file of region maps",
            fix="Extract the maps with extract_features.py, or check the path.",
        )
    try:
        return h5py.File(path, "r")
    except OSError as error:
        found = "no HDF5 file" if not h5py.is_hdf5(path) else error
        raise _damaged(path, found) from error


@contextmanager
def _damage_named(where: object) -> Iterator[None]:
    """Turn whatever h5py raises over a damaged file into an InputError."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise _damaged(where, f"{type(error).__name__}: {error}") from error


def _damaged(where: object, found: object) -> InputError:
    return InputError(
        "the region maps cannot be read", where=where, found=found, expected="a complete HDF5 file", fix=FIX_DAMAGED
    )


def batches(
    regions: RegionFile, rows_of_batches: Iterable[np.ndarray], *, prefetch: int = 2, device: torch.device | str = "cpu"
) -> Iterator[Tensor]:
    """Yield region features batch by batch, read and converted by a thread while the caller computes.

    Args:
        regions: the file.
        rows_of_batches: image numbers (b,) of each batch. Drawn from in the caller's thread, at most `prefetch` + 1 batches
            ahead of what has been yielded.
        prefetch: batches that may wait, finished or under way, while the caller works on one.
        device: where to put the batches; a GPU gets them in the file's precision and converts them itself.

    Yields:
        (b, r, f) float32, contiguous, not normalized; r = gh * gw regions row by row.

    Raises:
        InputError: the file is damaged, or a value is not finite.
    """
    device = torch.device(device)
    # One worker is enough: reading and converting take a small part of a training step.
    pool = ThreadPoolExecutor(1, "region-maps")
    waiting: deque[Future[Tensor]] = deque()
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
    # Checked before they go to a GPU, since reading a result from there would wait for it.
    if raw.numel() and not raw.abs().amax().isfinite():
        row = int(rows[raw.isfinite().flatten(1).all(1).logical_not().nonzero()[0]])
        raise InputError(
            "region maps contain NaN or infinity",
            where=regions.path,
            found=regions.name_of(row),
            expected="finite numbers",
            fix="Extract that image again.",
        )
    if device.type == "cuda":
        raw = raw.pin_memory().to(device, non_blocking=True)
    loaded = torch.empty(len(rows), raw.shape[2], raw.shape[1], device=device)
    loaded.copy_(raw.transpose(1, 2))
    return loaded
