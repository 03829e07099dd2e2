"""Checks of a checkpoint's content against what a trainer expects, before anything of it is used, and a digest of weights.

What does not fit raises ValueError.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

SQUARES = ("exp_avg_sq", "square_avg")  # moments that are not negative


def check_tensors(stored: object, expected: Mapping[str, Tensor]) -> None:
    """Check that a dictionary holds tensors of the names, types and shapes that are expected, all of them finite."""
    if not isinstance(stored, dict) or stored.keys() != expected.keys():
        raise ValueError(f"other tensors than {', '.join(map(str, list(expected)[:5]))} ...")
    for name, tensor in expected.items():
        value = stored[name]
        if not isinstance(value, Tensor) or (value.shape, value.dtype, value.layout) != (
            tensor.shape,
            tensor.dtype,
            torch.strided,
        ):
            raise ValueError(f"{name} is not a {tensor.dtype} tensor of shape {tuple(tensor.shape)}")
        if not torch.isfinite(value).all() or (name in SQUARES and (value < 0).any()):
            raise ValueError(f"{name} has values that training cannot give")


def check_archive(path: Path) -> None:
    """Check the checksums of a checkpoint, which PyTorch writes and does not read."""
    with zipfile.ZipFile(path) as archive:
        if any(member.compress_type for member in archive.infolist()):
            raise ValueError("compressed members")
        if (name := archive.testzip()) is not None:
            raise ValueError(f"another checksum of {name}")


def load_network(network: nn.Module, stored: object) -> None:
    """Load a network's parameters after checking them."""
    check_tensors(stored, network.state_dict())
    assert isinstance(stored, dict)
    network.load_state_dict(stored)


def load_optimizer(optimizer: torch.optim.Optimizer, stored: Mapping[str, Any], n_steps: int | None = None) -> None:
    """Load an optimizer's moments after checking them; its settings stay those of the config.

    Args:
        optimizer: of any kind; the moments of Adam and RMSprop are checked one by one.
        stored: its `state_dict` from a checkpoint.
        n_steps: how many steps it has made; None where this is not known.
    """
    moments, groups = stored["state"], optimizer.state_dict()["param_groups"]
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    names = {torch.optim.Adam: ["exp_avg", "exp_avg_sq"], torch.optim.RMSprop: ["square_avg"]}.get(type(optimizer), [])
    if names and (moments or n_steps):
        names = [*names, *(["momentum_buffer"] if groups[0].get("momentum") else [])]
        if not isinstance(moments, dict) or list(moments) != list(range(len(parameters))):
            raise ValueError(f"moments of other parameters than the {len(parameters)} of the network")
        for i, parameter in enumerate(parameters):
            check_tensors(moments[i], {"step": torch.tensor(0.0)} | dict.fromkeys(names, parameter))
        counts = {moments[i]["step"].item() for i in moments}
        if len(counts) != 1 or (n_steps is not None and counts != {n_steps}) or not min(counts) > 0:
            raise ValueError(f"{counts} steps of the optimizer, not {n_steps if n_steps is not None else 'one number'}")
    optimizer.load_state_dict({"state": moments, "param_groups": groups})


def checked_sums(stored: object, position: int, device: torch.device) -> dict[str, Tensor]:
    """Return the losses summed over an epoch so far, on a device, after checking them.

    Args:
        stored: loss -> sum, from a checkpoint.
        position: iterations of the epoch that are done.
        device: where to put them.
    """
    if not isinstance(stored, dict) or bool(stored) != bool(position):
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
