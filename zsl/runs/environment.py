"""Seeds, device, and what is worth knowing about the machine beside a number."""

from __future__ import annotations

import os
import platform
import random
import shlex
import sys
from pathlib import Path

import numpy as np
import torch

from zsl.errors import InputError

PROJECT_ROOT = Path(__file__).resolve().parents[2]


def set_seed(seed: int, deterministic: bool = False) -> None:
    """Seeds Python, NumPy and PyTorch.

    Args:
        deterministic: also refuse CUDA operations whose result depends on the order of execution. The CPU's do not.
    """
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(deterministic)


def resolve_device(name: str) -> torch.device:
    """The device for `--device`: "auto" is CUDA where there is one, else the CPU.

    Raises:
        InputError: the name means nothing, or that device is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        if device.type not in ("cpu", "cuda"):
            raise RuntimeError(f"{device.type} devices are not supported")
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            "device not available", where="--device", found=name,
            expected=f"auto, cpu or one of {torch.cuda.device_count()} CUDA devices (cuda, cuda:0, ...)",
            cure=f"Pass --device cpu, or choose a GPU with CUDA_VISIBLE_DEVICES. The reason: {str(error).splitlines()[0]}.",
        ) from None
    return device


def resolve_folder(path: Path) -> Path:
    """A folder given on the command line: relative to the working directory, else to the project's root.

    The second makes one command work from any directory. Defaults are absolute and pass through.
    """
    path = Path(path).expanduser()
    if not path.is_absolute() and not path.exists() and (PROJECT_ROOT / path).exists():
        return (PROJECT_ROOT / path).resolve()
    return path.resolve()


def machine(device: torch.device) -> str:
    """Processor, cores and, where used, GPU, in a few words."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        models = [line.split(":")[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        name = models[0] if models else name
    words = f"{name}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"
    return f"{torch.cuda.get_device_name(device)}; {words}" if device.type == "cuda" else words


def command_line() -> str:
    """The command that started this process, as one could type it; the script's path relative to the project."""
    script = Path(sys.argv[0]).resolve()
    name = script.relative_to(PROJECT_ROOT) if script.is_relative_to(PROJECT_ROOT) else script.name
    return shlex.join(["python", str(name), *sys.argv[1:]])
