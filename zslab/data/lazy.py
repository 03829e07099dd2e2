"""Feature matrices that do not fit in memory: rows are read from disk or computed on demand, wherever only rows are needed."""

from __future__ import annotations

import mmap
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

IN_MEMORY = 4 * 2**30  # bytes of the largest matrix that is made as a whole
CPU = torch.device("cpu")
CHUNK = 2048  # rows that are read or computed at once

Scale = Callable[[np.ndarray], np.ndarray]


def limit_memory(gib: float) -> None:
    """Let a matrix be made as a whole only if it takes at most an eighth of `gib` GiB: some four exist at once."""
    global IN_MEMORY
    IN_MEMORY = int(gib * 2**30 / 8)


def fits(n: int, dim: int) -> bool:
    """Tell whether a float32 matrix (n, dim) may be made as a whole."""
    return 4 * n * dim <= IN_MEMORY


def read_rows(array: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return rows (b, d) of an array (N, d), in memory or mapped from disk, for their indices (b,) in any order."""
    # Where they lie far apart on a disk, the system is kept from reading ahead, which can be megabytes for each of them.
    mapping = getattr(array, "_mmap", None)
    scattered = len(rows) > 0 and np.ptp(rows) > 8 * len(rows)
    if mapping is None or not scattered or not hasattr(mmap, "MADV_RANDOM"):
        return np.asarray(array[rows])
    mapping.madvise(mmap.MADV_RANDOM)
    try:
        return np.asarray(array[rows])
    finally:
        mapping.madvise(mmap.MADV_NORMAL)


class LazyFeatures(ABC):
    """A float32 matrix of `shape` (n, d) that is accessed by rows, which `take` returns on `device`."""

    shape: tuple[int, int]
    device: torch.device

    @abstractmethod
    def take(self, index: Tensor) -> Tensor:
        """Return rows (b, d) on `device` for their indices (b,), in any order."""

    def to(self, device: torch.device) -> LazyFeatures:
        """Return the same rows on another device; of this class, on their own device only."""
        assert device == self.device
        return self

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Tensor | slice) -> Tensor:
        """Return rows (*k, d) for indices of any shape k, or for a slice."""
        if isinstance(index, slice):
            index = torch.arange(*index.indices(len(self)))
        return self.take(index.flatten()).view(*index.shape, self.shape[1])

    def split(self, size: int) -> Iterator[Tensor]:
        """Yield all rows in order, `size` at once."""
        return (self[start : start + size] for start in range(0, len(self), size))


class StoredFeatures(LazyFeatures):
    """Rows (n,) of an array (N, d), in memory or mapped from disk, scaled to float32 while they are read."""

    def __init__(self, array: np.ndarray, rows: np.ndarray, scale: Scale, device: torch.device = CPU):
        self.array, self.rows, self.scale = array, rows, scale
        self.shape, self.device = (len(rows), array.shape[1]), device

    def take(self, index: Tensor) -> Tensor:
        """Return scaled rows (b, d) for their indices (b,)."""
        return torch.from_numpy(self.scale(read_rows(self.array, self.rows[index.cpu().numpy()]))).to(self.device)

    def to(self, device: torch.device) -> StoredFeatures:
        """Return the same rows on another device."""
        return StoredFeatures(self.array, self.rows, self.scale, device)


class TransformedFeatures(LazyFeatures):
    """The rows of another matrix after a function (b, d) -> (b, e), which is computed anew for every access."""

    def __init__(self, source: Tensor | LazyFeatures, transform: Callable[[Tensor], Tensor]):
        self.source, self.transform, self.device = source, transform, source.device
        self.shape = (len(source), transform(source[:1]).shape[1])

    def take(self, index: Tensor) -> Tensor:
        """Return transformed rows (b, e) for their indices (b,)."""
        return self.transform(self.source[index.to(self.device)])


class ConcatenatedFeatures(LazyFeatures):
    """Matrices of the same width, one below the other."""

    def __init__(self, parts: Sequence[Tensor | LazyFeatures]):
        self.parts, self.device = list(parts), parts[0].device
        self.shape = (sum(len(part) for part in parts), parts[0].shape[1])

    def take(self, index: Tensor) -> Tensor:
        """Return rows (b, d) for their indices (b,), counted through all parts."""
        index = index.to(self.device)
        rows, start = torch.empty(len(index), self.shape[1], device=self.device), 0
        for part in self.parts:
            inside = (index >= start) & (index < start + len(part))
            if inside.any():
                rows[inside] = part[index[inside] - start]
            start += len(part)
        return rows


def join(*parts: Tensor | LazyFeatures) -> Tensor | LazyFeatures:
    """Return one matrix of several of the same width, as a tensor where it fits."""
    tensors = [part for part in parts if isinstance(part, Tensor)]
    whole = len(tensors) == len(parts) and fits(sum(map(len, parts)), parts[0].shape[1])
    return torch.cat(tensors) if whole else ConcatenatedFeatures(parts)


def transformed(source: Tensor | LazyFeatures, transform: Callable[[Tensor], Tensor], dim: int) -> Tensor | LazyFeatures:
    """Return the rows of `source` after a transform (b, d) -> (b, dim), as a tensor where they fit."""
    if not fits(len(source), dim):
        return TransformedFeatures(source, transform)
    return torch.cat([transform(part) for part in source.split(CHUNK)])
