"""A sweep over action splits: wall time of one split, and of many by several workers, through the launcher itself.

    python benchmarks/splits.py [--splits 30] [--workers 2]

Random data of RADAR's size (27 classes, 1024-d, 864 clips), its launcher's settings with fewer epochs, one thread a run. The
bound to hold it to is splits × one split ÷ workers. Writes benchmarks/results/splits.json.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import scipy.io
import torch
from speed import ROOT, environment, header, save

TREE = ROOT / "zero-shot-actions"


def run(*words: object) -> float:
    """Wall seconds of a script of the action tree."""
    begin = time.perf_counter()
    done = subprocess.run([sys.executable, *map(str, words)], env=environment(), capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--splits", type=int, default=30)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--nepoch", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data, rng = Path(folder) / "RADAR", np.random.default_rng(0)
        data.mkdir()
        labels = np.repeat(np.arange(27), 32)
        features = rng.random((27, 1024))[labels] + 0.3 * rng.random((864, 1024))
        scipy.io.savemat(
            data / "SqueezeNet_1024_T.mat", {"features": features.T.astype(np.float32), "labels": labels[:, None] + 1}
        )
        np.save(data / "vectors.npy", rng.normal(size=(27, 300)))
        flags = ["--dataset", "RADAR", "--dataroot", folder, "--image_embedding", "SqueezeNet_1024_T"]
        numbers = f"1-{arguments.splits}"
        run(TREE / "make_splits.py", *flags, "--class_vectors", data / "vectors.npy", "--splits", numbers)
        sweep = [TREE / "action-scripts" / "run_radar_tfvaegan.py", "--dataroot", folder, "--class_embedding", "att"]
        sweep += ["--nepoch", arguments.nepoch, "--threads", 1, "--device", arguments.device]
        one = run(*sweep, "--splits", "1-1", "--output", Path(folder) / "one")
        many = run(*sweep, "--splits", numbers, "--workers", arguments.workers, "--output", Path(folder) / "many")
    bound = arguments.splits * one / arguments.workers
    report = header(torch.device(arguments.device)) | {
        "n_splits": arguments.splits,
        "workers": arguments.workers,
        "n_epochs": arguments.nepoch,
        "one_split_s": one,
        "sweep_s": many,
        "bound_s": bound,
    }
    print(
        f"one split {one:.1f} s; {arguments.splits} splits by {arguments.workers} workers {many:.1f} s, bound {bound:.1f} s "
        f"(load {os.getloadavg()[0]:.1f})"
    )
    save(report, "splits")


if __name__ == "__main__":
    main()
