"""Weights of trained networks: download, reading without running code, checking entry by entry, and a digest."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Collection, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from zslab.errors import InputError, examples, readable
from zslab.utils.file_kinds import OTHER, kind_of_file

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum


def import_extra(name: str, extra: str) -> ModuleType:
    """Import a package that only an extra of this project installs.

    Args:
        name: of the package.
        extra: that installs it.

    Raises:
        InputError: the package is not installed or does not work.
    """
    fix = f"In the project's folder: pip install -e '.[{extra}]'."
    # RuntimeError: a torchvision that was built for another PyTorch
    with readable(name, f"the package of the extra `{extra}` must be installed", fix, (ImportError, RuntimeError)):
        return importlib.import_module(name)


def check_intent(weights: object, random_weights: bool) -> None:
    """Refuse random weights unless both flags ask for them: `--weights none --random_weights`."""
    if random_weights != (isinstance(weights, str) and weights == "none"):
        raise InputError(
            "random weights must be asked for by both flags",
            where="--weights / --random_weights",
            got=f"--weights {weights}{' --random_weights' if random_weights else ''}",
            fix="Pass trained weights, or `--weights none --random_weights`, whose features mean little, to try things out.",
        )


def download(chosen: WeightsEnum) -> Mapping[str, Tensor]:
    """Return the state dict of one of torchvision's weights, from its cache or the network."""
    fix = "Fetch that file on a machine with a network and pass it with --weights FILE."
    with readable(chosen.url, "the weights must be fetched", fix, (OSError, RuntimeError)):
        fetched: Mapping[str, Tensor] = chosen.get_state_dict(progress=True, check_hash=True)
        return fetched


def read_state_dict(path: Path) -> Mapping[str, Tensor]:
    """Read named tensors from a .safetensors file, or from a state dict or a trainer's checkpoint (.pth, .pt).

    No code in the file is run.

    Raises:
        InputError: the file is missing, damaged, or holds anything but tensors under one name.
    """
    timm = import_extra("timm.models", "images")
    must = "the weights must be default, a name of the library's, none, or a file of named tensors (.pth or .safetensors)"
    fix = "Check the path, or save network.state_dict() or .safetensors; anything but tensors may run code."
    if not path.is_file() or kind_of_file(path) not in ("a ZIP archive", OTHER):
        got = kind_of_file(path) if path.exists() else "no such file"
        raise InputError(must, where=path, got=got, fix=fix)
    with readable(path, must, fix):
        content = timm.load_state_dict(str(path), weights_only=True)
    states = [content, *content.values()] if isinstance(content, Mapping) else []
    states = [state for state in states if _is_state(state)]
    if len(states) != 1:
        raise InputError(must, where=path, got=f"{len(states)} state dicts", fix="Save network.state_dict() alone.")
    return {str(name): value for name, value in states[0].items()}


def _is_state(content: object) -> bool:
    return isinstance(content, Mapping) and bool(content) and all(isinstance(value, Tensor) for value in content.values())


def load_fitting(network: nn.Module, state: Mapping[str, Tensor], unused: Collection[str], where: object) -> None:
    """Load a state dict into a network without its last layer.

    Args:
        network: the network.
        state: name -> tensor. A wrapper's prefix before all of the network's entries, such as "module.", is left off.
        unused: names of the layers that the network lacks; the file's entries of them are ignored, so that the last layer may
            have any number of classes.
        where: for the message.

    Raises:
        InputError: an entry is missing, is one too many, has another shape, or is no array of floating-point numbers.
    """
    current = network.state_dict()  # with its version numbers, which some layers ask for when they load
    fix = "Pass the weights of the chosen --backbone, or the backbone of these weights."
    # Files of before 2018, ResNet-101's among them, lack the counters, which nothing reads in evaluation.
    counters = {name: value for name, value in current.items() if name.endswith("num_batches_tracked")}
    needed = [name for name in current if name not in counters]
    first = needed[0]
    prefixes = [name.removesuffix(first) for name in state if name == first or name.endswith(f".{first}")]
    prefixes = [prefix for prefix in prefixes if all(prefix + name in state for name in needed)]
    if len(prefixes) > 1 and "" not in prefixes:
        raise InputError("the weights must be of one network", where=where, got=examples(prefixes), fix=fix)
    prefix = prefixes[0] if len(prefixes) == 1 else ""
    given = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    is_unused = tuple(f"{layer}." for layer in unused)
    given = counters | {name: value for name, value in given.items() if not name.startswith(is_unused)}
    for name in sorted({*current, *given}):
        expected, value = current.get(name), given.get(name)
        must, got = f"{name} must have the shape {None if expected is None else tuple(expected.shape)}", "no such entry"
        if expected is not None and value is not None:
            is_plain = value.layout == torch.strided and not value.is_meta and not value.is_quantized
            kind_fits = value.is_floating_point() or not expected.is_floating_point()
            if is_plain and kind_fits and value.shape == expected.shape:
                continue
            must = f"{must} and the type {expected.dtype}".replace("torch.", "")
            got = f"{tuple(value.shape)} {value.dtype} {value.device.type}, {value.layout}".replace("torch.", "")
        elif expected is None:
            must, got = f"the network must have the entry {name}", "none of that name"
        raise InputError(must, where=where, got=got, fix=fix)
    network.load_state_dict(current | given)


def weights_digest(state: Mapping[str, Tensor]) -> str:
    """Return 12 hexadecimal digits of the SHA-256 of all values, in the order of the state dict."""
    digest = hashlib.sha256()
    for value in state.values():
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]
