"""DAZLE's training at CUB's size, through its launcher: how long is an epoch where nothing is learned from random regions?

    python benchmarks/dazle_cub.py --output DIR [--device cuda] [--nepoch 20]      2.4 GB of disk
    python benchmarks/dazle_cub.py --output DIR --images 400 --dim 32 --nepoch 1   small: shows that it works

Other flags go to run_cub_dazle.py. The region file is generated in a temporary folder: 11,788 images of 200 classes, random
2048 × 7 × 7 maps in half precision, with the proportions of the Proposed Split. DIR receives the run folder, whose
metrics.jsonl has the seconds of every epoch.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from speed import ROOT, environment

from zslab.data.region_writer import write_region_file
from zslab.data.splits import split_of_classes

CLASSES, SEEN, ATTRIBUTES, WORDS, GRID, BLOCK = 200, 150, 312, 300, 7, 64


def write_regions(path: Path, n_images: int, dim: int) -> None:
    """Write a region file of random maps, of which every BLOCK images are a rotation of the same block."""
    rng = np.random.default_rng(0)
    labels = np.arange(n_images) % CLASSES
    split = split_of_classes(labels, rng.permutation(CLASSES)[:SEEN], rng, hold_out=0.2, validation=1 / 3)
    block = np.abs(rng.normal(size=(BLOCK, dim, GRID, GRID))).astype(np.float16)
    write_region_file(
        path,
        (np.roll(block, first, axis=1)[: n_images - first] for first in range(0, n_images, BLOCK)),
        shape=(n_images, dim, GRID, GRID),
        dtype="float16",
        labels=labels,
        locations={name.removesuffix("_loc"): numbers - 1 for name, numbers in split.items()},
        att=rng.random((CLASSES, ATTRIBUTES)),
        w2v_att=rng.normal(size=(ATTRIBUTES, WORDS)).astype(np.float32),
    )


def main() -> int:
    """Generate the file, train on it, and return the launcher's exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=11_788, help="at least 400: two for every class")
    parser.add_argument("--dim", type=int, default=2048, help="channels of a region")
    arguments, passed_on = parser.parse_known_args()
    launcher = ROOT / "zero-shot-images" / "image-scripts" / "run_cub_dazle.py"
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "CUB").mkdir()
        write_regions(Path(folder) / "CUB" / "random.hdf5", arguments.images, arguments.dim)
        command = [sys.executable, str(launcher), "--dataroot", folder, "--image_embedding", "random", *passed_on]
        return subprocess.run(command, env=environment()).returncode


if __name__ == "__main__":
    sys.exit(main())
