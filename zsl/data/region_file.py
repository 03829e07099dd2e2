"""Reading region files: a grid of feature vectors for every image, in an HDF5 file that is never read as a whole.

The layout is that of the DAZLE release (Huynh and Elhamifar, CVPR 2020), indices counted from 0:

    feature_map (N, D, gh, gw), labels (N,), trainval_loc, test_seen_loc, test_unseen_loc,
    att and original_att (C, A), w2v_att (A, v)

to which ours (`zsl.data.region_writer`) add train_loc, val_loc, class_names, attribute_names, image_files, pooled (N, P),
and the attributes `backbone` and `complete`. The release's DeepFashion file keeps feature_map_train/<label>,
label_train/<label>, img_train/<label> and *_test_seen, *_test_unseen instead of one feature_map; it is presented as one
list of rows in that order.

Ours are stored uncompressed in half precision, one chunk an image, so that a random image costs one read at a known place
of the file. The release's files are gzip'd in chunks that span hundreds of images: they are read as they are, but a
random batch unpacks most of the file, so that `RegionFile.streams` is false for them and training wants them repacked
once (`zsl.data.repack`).
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor

from zsl.errors import InputError

# The cure for whatever only a damaged file can show.
DAMAGED = "It is probably cut short; copy, download or extract it again."


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
        unfinished = part_path(path).exists()
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


def part_path(path: Path) -> Path:
    """Where a region file grows until it is complete."""
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
    # Looked at before they go to a GPU, which would have to be waited for.
    if raw.numel() and not raw.abs().amax().isfinite():
        row = int(rows[raw.isfinite().flatten(1).all(1).logical_not().nonzero()[0]])
        raise InputError(
            "region maps contain NaN or infinity", where=regions.path, found=regions.name_of(row),
            expected="finite numbers", cure="Extract that image again.",
        )
    if device.type == "cuda":
        raw = raw.pin_memory().to(device, non_blocking=True)
    loaded = torch.empty(len(rows), raw.shape[2], raw.shape[1], device=device)
    loaded.copy_(raw.transpose(1, 2))
    return loaded
