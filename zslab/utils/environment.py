"""Seeds, device, folders, and what is worth knowing about the machine beside a number."""

import ctypes
import os
import platform
import random
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from zslab.errors import readable
from zslab.utils.files import user_path
from zslab.utils.seeds import WEIGHTS, stream_seed

PROJECT_ROOT = Path(__file__).resolve().parents[2]
MMAP_LIMIT = 32 * 2**20  # bytes; glibc never keeps a block of so many or more by itself
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # names and values of malloc.h


def set_seed(seed: int, deterministic: bool = False) -> None:
    """Seed Python, NumPy and PyTorch with the stream that initial weights are drawn from."""
    weights_seed = stream_seed(seed, WEIGHTS)
    random.seed(weights_seed)
    np.random.seed(weights_seed % 2**32)
    torch.manual_seed(weights_seed)
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(deterministic)


def resolve_device(name: str) -> torch.device:
    """Return the device for `--device`; "auto" is CUDA if there is a GPU, else the CPU."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    there = ["auto", "cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
    there += ["mps"] if torch.backends.mps.is_available() else []
    fix = "Choose one of them; CUDA_VISIBLE_DEVICES can hide GPUs."
    with readable(f"--device {name}", f"the device must be one of {', '.join(there)}", fix, (RuntimeError, AssertionError)):
        if name.partition(":")[0] not in ("cpu", "cuda", "mps"):
            raise RuntimeError("another name")
        device = torch.device(name)
        torch.empty(1, device=device)
    return device


def resolve_folder(path: Path) -> Path:
    """Return a folder given on the command line as an absolute path.

    A relative one belongs to the working directory, or to the project's root if it exists only there; so one command works
    from any directory.
    """
    path = user_path(path)
    if not path.is_absolute() and not path.exists() and (PROJECT_ROOT / path).exists():
        return (PROJECT_ROOT / path).resolve()
    return path.resolve()


def dataset_folder(dataset: str, dataroot: Path | None, tree: str = "zero-shot-images") -> Path:
    """Return the folder of a data set."""
    if dataroot is not None:
        return resolve_folder(dataroot) / dataset
    folders = [PROJECT_ROOT / name / "data" for name in (tree, "zero-shot-images", "zero-shot-actions")]
    existing = sorted((folder for folder in folders if folder.is_dir()), key=lambda folder: not (folder / dataset).is_dir())
    return (existing or [Path("data").resolve()])[0] / dataset


def shown(path: Path) -> str:
    """Return a path as commands print it: relative to the working directory if it lies there."""
    path = Path(path).absolute()
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def machine(device: torch.device) -> str:
    """Return processor, cores and, if used, GPU in a few words."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        models = [line.split(":")[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        name = models[0] if models else name
    threads = torch.get_num_threads()
    words = f"{name}, {os.cpu_count()} cores, {threads} thread{'s' * (threads != 1)}"
    return f"{torch.cuda.get_device_name(device)}; {words}" if device.type == "cuda" else words


def command_line() -> str:
    """Return the command that started this process as one could type it."""
    script = Path(sys.argv[0]).resolve()
    name = script.relative_to(PROJECT_ROOT) if script.is_relative_to(PROJECT_ROOT) else script.name
    return as_typed(["python", str(name), *sys.argv[1:]])


def export_command(run: Path) -> str:
    """Return the command that makes a model file of a run."""
    return as_typed(["zslab", "export", str(run), "--output", f"{run.resolve().name}.zsl"])


def as_typed(command: Sequence[str]) -> str:
    """Return a command as one would type it into this system's shell, quoted where necessary."""
    return subprocess.list2cmdline(command) if os.name == "nt" else shlex.join(command)


def reuse_freed_memory(largest: int) -> bool:
    """Let glibc keep freed blocks of memory for their next use, if there will be blocks that it would not keep.

    It returns every freed block of 32 MiB or more to the system. The gradients of 2048 × 4096 weights are such blocks; to map
    them anew in every step costs 200,000 page faults an iteration, a fifth of its time.

    Args:
        largest: bytes of the largest block that will be freed and allocated again and again.
    """
    if largest < MMAP_LIMIT:
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, 2**31 - 1))
