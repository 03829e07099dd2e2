"""Reading region files: a grid of feature vectors for every image, in an HDF5 file that is never read as a whole.

The layout is that of the DAZLE release (Huynh and Elhamifar, CVPR 2020), indices counted from 0:

    feature_map (N, D, gh, gw), labels (N,), trainval_loc, test_seen_loc, test_unseen_loc,
    att and original_att (C, A), w2v_att (A, v)

Our files (`zslab.data.region_writer`) add train_loc, val_loc, class_names, attribute_names, image_files, pooled (N, P), and
the attributes `backbone` and `format_version`. The release's DeepFashion file has feature_map_train/<label>,
label_train/<label>, img_train/<label> and *_test_seen, *_test_unseen instead of one feature_map; it is presented as one list
of images in that order. Our files are uncompressed, so that a random image costs one access; see `RegionFile.streams`.
"""

import errno
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import h5py
import msgspec
import numpy as np
import torch
from torch import Tensor

from zslab.data.checks import array, check_labels
from zslab.data.formats.matfile import all_written, content, open_hdf5
from zslab.data.splits import LOCATIONS
from zslab.errors import InputError, examples, readable
from zslab.utils.files import optional_service

MUST = "the region maps must be in a complete HDF5 file"
FIX_DAMAGED = "It is probably cut short; copy, download or extract it again."
FIX_OTHER = "Use a file written by extract_features.py or by the DAZLE release."


class RegionFile:
    """The maps of a region file; opening reads no map, whatever the size. Threads may read at the same time.

    It has `n` images (rows) of `feature_dim` channels on a `grid` (gh, gw), stored as `dtype`. In DeepFashion's layout `groups`
    are the group ("train/3", "test_seen") -> its number of rows, in their order; otherwise None.
    """

    def __init__(self, path: Path):
        self.path, self._descriptor = Path(path), -1
        with readable(self.path, MUST, "Extract the maps with extract_features.py, check the path, or copy the file again."):
            self._size = os.path.getsize(self.path)
            self._file = open_hdf5(self.path)
        try:
            with readable(self.path, MUST, FIX_DAMAGED):
                self._find_parts()
        except BaseException:
            self.close()
            raise

    def _find_parts(self) -> None:
        items, by_class = {"feature_map": self._file.get("feature_map")}, self._file.get("feature_map_train")
        self.groups: dict[str, int] | None = None
        if items["feature_map"] is None and isinstance(by_class, h5py.Group):
            groups = [*(f"train/{label}" for label in sorted(by_class, key=int)), "test_seen", "test_unseen"]
            items = {group: self._file[f"feature_map_{group}"] for group in groups if f"feature_map_{group}" in self._file}
            self.groups = {group: len(part) for group, part in items.items()}
        self._parts: list[h5py.Dataset] = list(items.values())
        for name, part in items.items():
            shape = getattr(part, "shape", None) or ()
            if len(shape) != 4 or part.dtype.kind != "f" or shape[1:] != self._parts[0].shape[1:]:
                must = "feature_map, or DeepFashion's feature_map_train/<label>, must be (N, D, gh, gw) floating-point numbers"
                got = f"{shape} {part.dtype}" if shape else f"a file with {examples(sorted(self._file)) or 'nothing'}"
                raise InputError(must, where=f"{self.path}, {name}", got=got, fix=FIX_OTHER)
            if not all_written(part):
                raise ValueError(f"parts of {name} were never written")
        _, self.feature_dim, rows, columns = self._parts[0].shape
        n_pooled = self._file["pooled"].shape[-1] if "pooled" in self._file else None
        if columns > self.feature_dim == rows or (n_pooled == columns != self.feature_dim):
            must, fix = "region maps must be (N, D, gh, gw), channels before the grid", "Save maps.transpose(0, 3, 1, 2)."
            raise InputError(must, where=self.path, got=self._parts[0].shape, fix=fix)
        self.grid, self.dtype = (rows, columns), self._parts[0].dtype.newbyteorder("=")
        if hasattr(os, "preadv") and self._parts[0].dtype.isnative and not self._file.userblock_size:
            self._descriptor = os.open(self.path, os.O_RDONLY)
        sizes = [len(part) for part in self._parts]
        self._starts, self.n = np.cumsum([0, *sizes[:-1]]), sum(sizes)

    @property
    def streams(self) -> bool:
        """Whether an image costs one access, rather than unpacking chunks that it shares with hundreds, as in the release."""
        return all(part.chunks is None or part.chunks[0] == 1 for part in self._parts)

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Return the maps (b, D, gh, gw), in the file's precision, of images (b,) in any order, repetitions allowed."""
        rows = np.asarray(rows, dtype=np.int64)
        if len(rows) and (rows.min() < 0 or rows.max() >= self.n):
            raise IndexError(f"rows {rows.min()}..{rows.max()} of {self.n}")
        out = np.empty((len(rows), self.feature_dim, *self.grid), dtype=self.dtype)
        part_of_row = np.searchsorted(self._starts, rows, side="right") - 1
        with readable(self.path, MUST, FIX_DAMAGED):
            if os.path.getsize(self.path) < self._size:  # HDF5 would read zeros
                raise OSError("the file has become shorter")
            for number in np.unique(part_of_row):
                where = np.flatnonzero(part_of_row == number)
                part, rows_of_part = self._parts[number], rows[where] - self._starts[number]
                if self._descriptor < 0 or part.chunks is not None:
                    _read_chunks(part, rows_of_part, out, where)
                    continue
                # Without HDF5, whose lock and selections cost more than the reading.
                offset, row_bytes = part.id.get_offset(), out[:1].nbytes
                for i in np.argsort(rows_of_part, kind="stable").tolist():
                    place = offset + row_bytes * int(rows_of_part[i])
                    if os.preadv(self._descriptor, [out[where[i]]], place) != row_bytes:
                        raise OSError("the file ends within a map")
        return out

    def variable(self, name: str) -> np.ndarray | None:
        """Return a small variable of the file, texts as str, or None if it is not there."""
        with readable(f"{self.path}, {name}", MUST, FIX_DAMAGED):
            stored = self._file.get(name)
            return None if stored is None else content(stored)

    def required(self, name: str) -> np.ndarray:
        """Return a small variable that the file must have."""
        found = self.variable(name)
        if found is None:
            raise InputError(f"the file must hold {name}", where=self.path, got=examples(sorted(self._file)), fix=FIX_OTHER)
        return found

    def texts(self, name: str) -> list[str] | None:
        """Return a variable that holds texts, or None if it is not there."""
        stored = self.variable(name)
        return None if stored is None else [str(text) for text in stored.ravel()]

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield the numbers of all images in order, in blocks that read every chunk once and take some 64 MB."""
        row_bytes = self.feature_dim * int(np.prod(self.grid)) * self.dtype.itemsize
        for start, part in zip(self._starts, self._parts):
            of_chunk = (part.chunks or (1,))[0]
            step = of_chunk * max(1, 64 * 2**20 // (of_chunk * row_bytes))
            for first in range(0, len(part), step):
                yield np.arange(start + first, start + min(first + step, len(part)))

    def json_attribute(self, name: str) -> str | None:
        """Return an attribute of the file that holds a JSON object as text, or None if it is not there."""
        with readable(f"{self.path}, {name}", "the attribute must hold a JSON object", FIX_DAMAGED):
            text = self._file.attrs.get(name)
            if text is not None:
                msgspec.json.decode(str(text).encode(), type=dict)
        return None if text is None else str(text)

    def pooled(self) -> np.ndarray | None:
        """Return `pooled` (N, P), memory-mapped where it lies in one piece, or None if it is not there."""
        with readable(f"{self.path}, pooled", MUST, FIX_DAMAGED), optional_service(errno.ENODEV):
            stored = self._file.get("pooled")
            if isinstance(stored, h5py.Dataset) and stored.id.get_offset() and not self._file.userblock_size:
                return np.memmap(self.path, stored.dtype, "r", stored.id.get_offset(), stored.shape)
        return self.variable("pooled")

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        self._file.close()


def _read_chunks(maps: h5py.Dataset, rows: np.ndarray, out: np.ndarray, where: np.ndarray) -> None:
    """Put the map rows[i] into out[where[i]]; every chunk is unpacked once, and one at a time is in memory."""
    n_rows, n_channels = (maps.chunks or (1, maps.shape[1]))[:2]
    blocks = rows // n_rows
    for block in np.unique(blocks):
        members = np.flatnonzero(blocks == block)
        first, last = rows[members].min(), rows[members].max()
        for channel in range(0, maps.shape[1], n_channels):
            channels = slice(channel, channel + n_channels)
            out[where[members], channels] = maps[first : last + 1, channels][rows[members] - first]


# Labels (N,) int64, 0-based, the N paths if the file has them, and its lists, 0-based and unchecked.
RegionSamples = tuple[np.ndarray, list[str] | None, dict[str, np.ndarray]]


def read_samples(regions: RegionFile) -> RegionSamples:
    """Return labels, image files and lists of a region file of either layout."""
    if regions.groups is None:
        labels = regions.required("labels").ravel()
        stored = {key: regions.variable(key) for key in (*LOCATIONS, "test_loc")}
        locations = {key: value for key, value in stored.items() if value is not None}
        image_files = regions.texts("image_files")
    else:
        labels, image_files, locations = _read_groups(regions)
    array(labels, regions.path, "labels", (regions.n,), fix=FIX_DAMAGED)
    if image_files is not None and len(image_files) != regions.n:
        must = f"there must be {regions.n} image files, one for each map"
        raise InputError(must, where=regions.path, got=len(image_files), fix=FIX_DAMAGED)
    return check_labels(labels, regions.path, first=0), image_files, locations


def _read_groups(regions: RegionFile) -> RegionSamples:
    """Return labels, image files and lists of DeepFashion's layout."""
    labels, files, end = list[np.ndarray](), list[str](), 0
    locations: dict[str, np.ndarray] = {}
    for group, size in (regions.groups or {}).items():
        name, number = f"label_{group}", int(group.removeprefix("train/")) if "/" in group else None
        stored = regions.required(name).ravel()
        labels.append(array(stored, f"{regions.path}, {name}", "labels", (size,), low=number, high=number, fix=FIX_DAMAGED))
        files += regions.texts(f"img_{group}") or []
        key = f"{group}_loc" if number is None else "trainval_loc"
        locations[key] = np.concatenate([locations.get(key, np.arange(0)), np.arange(end, end + size)])
        end += size
    return np.concatenate(labels), files or None, locations


def batches(
    regions: RegionFile, rows_of_batches: Iterable[np.ndarray], *, prefetch: int = 2, device: torch.device | str = "cpu"
) -> Iterator[Tensor]:
    """Yield region features batch by batch, read and converted by a thread while the caller computes.

    Args:
        rows_of_batches: image numbers (b,) of each batch, drawn from in the caller's thread.
        prefetch: batches that may wait, finished or under way, while the caller works on one.
        device: where to put the batches.

    Yields:
        (b, r, f) float32, contiguous, not normalized; r = gh * gw regions row by row.
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
    """Return a batch; a GPU gets it in the file's precision and converts it itself."""
    raw = torch.from_numpy(regions.read(rows)).flatten(2)
    # Checked before they go to a GPU, since reading a result from there would wait for it.
    if raw.numel() and not raw.abs().amax().isfinite():
        row = int(rows[raw.isfinite().flatten(1).all(1).logical_not().nonzero()[0]])
        files = regions.texts("image_files")
        got, fix = f"row {row}{f' ({files[row]})' if files else ''}", "Extract that image again."
        raise InputError("region maps must be finite numbers", where=regions.path, got=got, fix=fix)
    if device.type == "cuda":
        raw = raw.pin_memory().to(device, non_blocking=True)
    loaded = torch.empty(len(rows), raw.shape[2], raw.shape[1], device=device)
    loaded.copy_(raw.transpose(1, 2))
    return loaded
