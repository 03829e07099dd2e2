"""Checks of a checkpoint's content against what a trainer expects, before anything of it is used, and a digest of weights."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

SQUARES = ("exp_avg_sq", "square_avg")  # moments that are not negative


def check_tensors(stored: object, expected: Mapping[str, Tensor]) -> None:
    """Check that a dictionary holds tensors of the names, types and shapes that are expected, all of them finite.

    Args:
        stored: from a checkpoint.
        expected: name -> a tensor alike.

    Raises:
        ValueError: it does not.
    """
    if not isinstance(stored, dict) or stored.keys() != expected.keys():
        raise ValueError(f"other tensors than {', '.join(map(str, list(expected)[:5]))} ...")
    for name, tensor in expected.items():
        value = stored[name]
        if not isinstance(value, Tensor) or value.layout != torch.strided:
            raise ValueError(f"{name} is no plain tensor")
        if value.shape != tensor.shape or value.dtype != tensor.dtype:
            raise ValueError(f"{name} is {value.dtype} {tuple(value.shape)}, not {tensor.dtype} {tuple(tensor.shape)}")
        if not torch.isfinite(value).all() or (name in SQUARES and (value < 0).any()):
            raise ValueError(f"{name} has values that training cannot give")


def check_archive(path: Path) -> None:
    """Check the checksums of a checkpoint, which PyTorch writes and does not read.

    Raises:
        ValueError: the content of the file has changed.
        zipfile.BadZipFile: it is cut short.
    """
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if any(member.compress_type for member in members) or sum(member.file_size for member in members) > path.stat().st_size:
            raise ValueError("members that do not lie in the file as they are")
        if (name := archive.testzip()) is not None:
            raise ValueError(f"another checksum of {name}")


def load_network(network: nn.Module, stored: object) -> None:
    """Load a network's parameters after checking them; raises as `check_tensors`."""
    check_tensors(stored, network.state_dict())
    assert isinstance(stored, dict)
    network.load_state_dict(stored)


def load_optimizer(optimizer: torch.optim.Optimizer, stored: Mapping[str, Any], n_steps: int | None = None) -> None:
    """Load an optimizer's moments after checking them; its settings stay those of the config.

    Args:
        optimizer: Adam or RMSprop.
        stored: its `state_dict` from a checkpoint.
        n_steps: how many steps it has made; None where this is not known.

    Raises:
        ValueError: the moments do not belong to its parameters, or to this number of steps.
    """
    moments, own = stored["state"], optimizer.state_dict()
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    if moments or n_steps:
        names = ["exp_avg", "exp_avg_sq"] if isinstance(optimizer, torch.optim.Adam) else ["square_avg"]
        names += ["momentum_buffer"] if own["param_groups"][0].get("momentum") else []
        if not isinstance(moments, dict) or list(moments) != list(range(len(parameters))):
            raise ValueError(f"moments of other parameters than the {len(parameters)} of the network")
        steps = torch.tensor(0.0)
        for i, parameter in enumerate(parameters):
            check_tensors(moments[i], {"step": steps} | dict.fromkeys(names, parameter))
        counts = {moments[i]["step"].item() for i in moments}
        if len(counts) != 1 or (n_steps is not None and counts != {n_steps}) or not min(counts) > 0:
            raise ValueError(f"{counts} steps of the optimizer, not {n_steps if n_steps is not None else 'one number'}")
    optimizer.load_state_dict({"state": moments, "param_groups": own["param_groups"]})


def checked_sums(stored: object, position: int, device: torch.device, names: Collection[str] = ()) -> dict[str, Tensor]:
    """Return the losses summed over an epoch so far, on a device.

    Args:
        stored: loss -> sum, from a checkpoint.
        position: iterations of the epoch that are done.
        device: where to put them.
        names: losses that must be among them.

    Raises:
        ValueError: they are no finite numbers, or not there.
    """
    if not isinstance(stored, dict) or bool(stored) != bool(position) or (stored and not stored.keys() >= set(names)):
        raise ValueError(f"losses that {position} iterations cannot give")
    check_tensors(stored, {str(name): torch.tensor(0.0, dtype=torch.float64) for name in stored})
    return {name: total.to(device) for name, total in stored.items()}


def content_digest(description: Mapping[str, object], tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of a description without its digest and of all tensors, as hexadecimal digits."""
    digest = hashlib.sha256(json.dumps({k: v for k, v in description.items() if k != "digest"}, sort_keys=True).encode())
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        if value.numel():
            digest.update(value.cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
