"""What region files cost: opening, random batches, memory; against loading the whole file, and in the release's chunks.

    python benchmarks/region_files.py [--folder DIR] [--images 11788]      2.4 GB of disk, some 3 minutes

Generates a CUB-sized file (2048 × 7 × 7, half precision, random numbers) in a temporary folder, a DeepFashion-sized one whose
maps are holes (no disk; for memory and opening alone), and a small gzip'd one in the chunks that the release's have. Each
row is measured in a process of its own; its peak memory includes Python and PyTorch, which stand alone in brackets. Also
writes benchmarks/results/region-files.json.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np
import torch
from speed import header, in_fresh_process, peak_gib, save

from zslab.data.region_file import RegionFile, batches

D, GRID, BATCH = 2048, (7, 7), 50
DEEPFASHION = 289_222


def write(path: Path, n: int, n_written: int) -> float:
    """A file of n images of which some are written, the others holes; seconds per written image."""
    block = np.random.default_rng(0).normal(size=(64, D, *GRID)).astype(np.float16)
    begin = time.perf_counter()
    with h5py.File(path, "w") as file:
        maps = file.create_dataset("feature_map", (n, D, *GRID), np.float16)
        for first in range(0, n_written, 64):
            last = min(first + 64, n_written)
            maps[first:last] = np.roll(block, first, 1)[: last - first]
        file["labels"], file["trainval_loc"], file["att"] = np.arange(n) % 50, np.arange(n), np.ones((50, 4))
    seconds = time.perf_counter() - begin
    return seconds / n_written


def write_release(path: Path, n: int) -> None:
    maps = np.abs(np.random.default_rng(0).normal(size=(n, D, *GRID))).astype(np.float32)
    with h5py.File(path, "w") as file:  # 369 images a chunk is what h5py chooses for CUB
        file.create_dataset("feature_map", data=maps, compression="gzip", chunks=(369, 128, 1, 1))


def measure(kind: str, path: Path, n_batches: int, compute: float) -> dict[str, float]:
    """Seconds to open, milliseconds a batch, and GiB that this process needs at first (Python, PyTorch) and at most."""
    torch.set_num_threads(1)
    before = peak_gib()
    if kind == "cold":  # what the system remembers of the file
        with open(path, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    begin = time.perf_counter()
    regions = RegionFile(path)
    opened, rng = time.perf_counter() - begin, np.random.default_rng(1)
    result = {"open_s": opened}
    begin = time.perf_counter()
    if kind == "whole":
        maps = np.empty((regions.n, D, *GRID), dtype=np.float32)
        for rows in regions.blocks():
            maps[rows[0] : rows[-1] + 1] = regions.read(rows)
        result["load_s"] = time.perf_counter() - begin
    else:
        for batch in batches(regions, (rng.choice(regions.n, BATCH) for _ in range(n_batches))):
            assert batch.shape == (BATCH, GRID[0] * GRID[1], D)
            time.sleep(compute)
        result["batch_ms"] = 1000 * ((time.perf_counter() - begin) / n_batches - compute)
    return result | {"start_gib": before, "peak_gib": peak_gib()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where the temporary folder is made")
    parser.add_argument("--images", type=int, default=11_788)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        cub, deepfashion, release = (Path(folder) / f"{name}.hdf5" for name in ("cub", "deepfashion", "release"))
        writing = write(cub, arguments.images, arguments.images)
        write(deepfashion, DEEPFASHION, 64)
        write_release(release, 738)
        rows = {
            "random batches": ("stream", cub, 200, 0.0),
            "not in the file cache": ("cold", cub, 200, 0.0),
            "beside 50 ms of computing": ("stream", cub, 100, 0.05),
            "the whole in float32": ("whole", cub, 0, 0.0),
            "DeepFashion's size, holes": ("stream", deepfashion, 200, 0.0),
            "release's chunks, 738 images": ("stream", release, 3, 0.0),
        }
        report = header() | {
            "h5py": h5py.__version__,
            "images": arguments.images,
            "batch": BATCH,
            "write_ms_per_image": 1000 * writing,
            "bytes": {path.stem: path.stat().st_size for path in (cub, deepfashion, release)},
            "rows": {},
        }
        print(
            f"{report['machine']}, load {os.getloadavg()[0]:.1f}; written at {1000 * writing:.1f} ms an image\n"
            f"{'':30}{'opening':>10}{'batch of 50':>14}{'loading':>10}{'peak GiB (of it at start)':>27}"
        )
        for name, work in rows.items():
            report["rows"][name] = row = in_fresh_process(measure, *work)
            cells = f"{row['batch_ms']:11.1f} ms{'':10}" if "batch_ms" in row else f"{'':14}{row['load_s']:8.1f} s"
            print(f"{name:30}{1000 * row['open_s']:7.1f} ms{cells}{row['peak_gib']:19.2f} ({row['start_gib']:.2f})", flush=True)
    save(report, "region-files")


if __name__ == "__main__":
    sys.exit(main())
