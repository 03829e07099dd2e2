"""Matrices of samples that do not fit in memory: rows that are read from disk or computed when they are asked for.

They take a tensor's place wherever rows are all that is wanted. Reading or computing a row gives the same numbers, to
rounding, as a tensor made of all rows at once.
"""

from __future__ import annotations

import mmap
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

IN_MEMORY = 4 * 2**30  # bytes; a matrix of samples that is larger is not made, its rows are
CPU = torch.device("cpu")
CHUNK = 2048  # rows in flight at once, where all are visited


def fits(n: int, dim: int) -> bool:
    """Whether a float32 matrix (n, dim) may be made as a whole."""
    return 4 * n * dim <= IN_MEMORY


def read_rows(array: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Rows (b, d) of an array (N, d), in memory or mapped from disk, for their numbers (b,) in any order.

    Where they lie far apart on a disk, the system is kept from reading ahead, which can be megabytes for each of them.
    """
    mapping = getattr(array, "_mmap", None)
    scattered = len(rows) > 0 and np.ptp(rows) > 8 * len(rows)
    if mapping is None or not scattered or not hasattr(mmap, "MADV_RANDOM"):
        return array[rows]
    mapping.madvise(mmap.MADV_RANDOM)
    try:
        return array[rows]
    finally:
        mapping.madvise(mmap.MADV_NORMAL)


class Rows(ABC):
    """An (n, d) matrix by its rows, float32.

    Attributes:
        shape: (n, d).
        device: where the rows appear.
    """

    shape: tuple[int, int]
    device: torch.device

    @abstractmethod
    def take(self, index: Tensor) -> Tensor:
        """Rows (b, d) for their numbers (b,), in any order, on `device`."""

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Tensor | slice) -> Tensor:
        """Rows (*k, d) for numbers of any shape k, or for a slice."""
        if isinstance(index, slice):
            index = torch.arange(*index.indices(len(self)))
        return self.take(index.flatten()).view(*index.shape, self.shape[1])

    def split(self, size: int) -> Iterator[Tensor]:
        """All rows in order, `size` at once."""
        return (self[start : start + size] for start in range(0, len(self), size))


class StoredRows(Rows):
    """Some rows of an array, in memory or mapped from disk, scaled as they are read."""

    def __init__(
        self, array: np.ndarray, rows: np.ndarray, scale: Callable[[np.ndarray], np.ndarray], device: torch.device = CPU
    ):
        """Args: array (N, d) of any floating-point type; rows (n,) of it; scale: (b, d) -> (b, d) float32."""
        self.array, self.rows, self.scale = array, rows, scale
        self.shape, self.device = (len(rows), array.shape[1]), device

    def take(self, index: Tensor) -> Tensor:
        return torch.from_numpy(self.scale(read_rows(self.array, self.rows[index.cpu().numpy()]))).to(self.device)

    def to(self, device: torch.device) -> StoredRows:
        """The same rows, appearing on another device."""
        return StoredRows(self.array, self.rows, self.scale, device)


class ViewedRows(Rows):
    """What a function (b, d) -> (b, e) makes of the rows of another matrix, computed anew whenever asked for."""

    def __init__(self, source: Tensor | Rows, view: Callable[[Tensor], Tensor]):
        self.source, self.view, self.device = source, view, source.device
        self.shape = (len(source), view(source[:1]).shape[1])

    def take(self, index: Tensor) -> Tensor:
        return self.view(self.source[index.to(self.device)])


class JoinedRows(Rows):
    """Matrices of the same width, one below the other."""

    def __init__(self, parts: Sequence[Tensor | Rows]):
        self.parts, self.device = list(parts), parts[0].device
        self.shape = (sum(len(part) for part in parts), parts[0].shape[1])

    def take(self, index: Tensor) -> Tensor:
        index = index.to(self.device)
        rows, start = torch.empty(len(index), self.shape[1], device=self.device), 0
        for part in self.parts:
            here = (index >= start) & (index < start + len(part))
            if here.any():
                rows[here] = part[index[here] - start]
            start += len(part)
        return rows


def join(*parts: Tensor | Rows) -> Tensor | Rows:
    """One matrix of several, made as a whole where it fits."""
    whole = all(isinstance(part, Tensor) for part in parts) and fits(sum(map(len, parts)), parts[0].shape[1])
    return torch.cat(parts) if whole else JoinedRows(parts)


def viewed(source: Tensor | Rows, view: Callable[[Tensor], Tensor], dim: int) -> Tensor | Rows:
    """What `view` makes of a matrix's rows, (n, dim): made as a whole where it fits."""
    if not fits(len(source), dim):
        return ViewedRows(source, view)
    return torch.cat([view(part) for part in source.split(CHUNK)])
