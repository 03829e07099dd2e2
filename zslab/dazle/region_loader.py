"""Where a trainer's region maps come from: read from their file as they are needed, or held on the device as a whole."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from zslab.data.region_file import RegionFile, batches
from zslab.errors import InputError

GIB = 2**30


class Streamed:
    """Reads batches from the file in a thread; needs memory for a few batches, whatever the file's size."""

    def __init__(self, regions: RegionFile, device: torch.device):
        self.regions, self.device = regions, device

    def batches(self, rows_of_batches: Iterable[np.ndarray]) -> Iterator[Tensor]:
        """Return maps (b, r, f) float32 on the device, for rows (b,) of the file batch by batch."""
        return batches(self.regions, rows_of_batches, device=self.device)


class Cached:
    """Holds all maps that a run needs on the device, in half precision; the file is read once."""

    def __init__(self, regions: RegionFile, rows: Tensor, device: torch.device):
        """Read `rows` (n,) of the file, if they fit into the device's free memory."""
        needed = len(rows) * regions.feature_dim * regions.grid[0] * regions.grid[1] * 2
        free = free_memory(device)
        if needed > 0.9 * free:
            must = f"the region maps must fit in 90 % of the {free / GIB:.1f} GiB that are free on {device}"
            got = f"{needed / GIB:.1f} GiB for {len(rows)} images in half precision"
            fix = "Leave out --cache memory: maps are then read as they are needed, while the model computes."
            raise InputError(must, where="--cache memory", got=got, fix=fix)
        self.device = device
        rows = rows.unique()
        self.places = torch.full((regions.n,), -1, dtype=torch.int64)
        self.places[rows] = torch.arange(len(rows))
        self.maps = torch.empty(
            len(rows), regions.grid[0] * regions.grid[1], regions.feature_dim, dtype=torch.float16, device=device
        )
        start = 0
        for part in Streamed(regions, device).batches(chunk.numpy() for chunk in rows.split(64)):
            self.maps[start : start + len(part)] = part
            start += len(part)

    def batches(self, rows_of_batches: Iterable[np.ndarray]) -> Iterator[Tensor]:
        """Return maps (b, r, f) float32 on the device, as `Streamed.batches`."""
        for rows in rows_of_batches:
            places = self.places[torch.from_numpy(rows)]
            yield self.maps[places.to(self.device, non_blocking=True)].float()


def free_memory(device: torch.device) -> int:
    """Return how many bytes can still be allocated on the device."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        (line,) = (line for line in meminfo.read_text().splitlines() if line.startswith("MemAvailable:"))
        return int(line.split()[1]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")  # such a system reports its total memory only
