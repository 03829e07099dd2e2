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

from zslab.errors import InputError, examples, first_line, readable
from zslab.utils.file_kinds import OTHER, kind_of_file

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum


def import_extra(name: str, extra: str) -> ModuleType:
    """Import a package that only an extra of this project installs."""
    fix = f"In the project's folder: pip install -e '.[{extra}]'."
    # RuntimeError: a torchvision that was built for another PyTorch
    with readable(name, f"the package of the extra `{extra}` must be installed", fix, (ImportError, RuntimeError)):
        return importlib.import_module(name)


def check_intent(weights: object, random_weights: bool) -> None:
    """Refuse random weights unless both flags ask for them: `--weights none --random_weights`."""
    if random_weights != (isinstance(weights, str) and weights == "none"):
        where, got = "--weights / --random_weights", f"--weights {weights}{' --random_weights' if random_weights else ''}"
        fix = "Pass trained weights, or `--weights none --random_weights`, whose features mean little, to try things out."
        raise InputError("random weights must be asked for by both flags", where=where, got=got, fix=fix)


def download(chosen: WeightsEnum) -> Mapping[str, Tensor]:
    """Return the state dict of one of torchvision's weights, from its cache or the network."""
    fix = "Fetch that file on a machine with a network and pass it with --weights FILE."
    with readable(chosen.url, "the weights must be fetched", fix, (OSError, RuntimeError)):
        fetched: Mapping[str, Tensor] = chosen.get_state_dict(progress=True, check_hash=True)
        return fetched


def read_state_dict(path: Path) -> Mapping[str, Tensor]:
    """Read named tensors from a .safetensors file, a state dict or a trainer's checkpoint (.pth, .pt), running no code."""
    timm = import_extra("timm.models", "images")
    must = "the weights must be default, a name of the library's, none, or a file of named tensors (.pth or .safetensors)"
    fix = "Check the path, or save network.state_dict() or .safetensors; anything but tensors may run code."
    if not path.is_file() or kind_of_file(path) not in ("a ZIP archive", OTHER):
        raise InputError(must, where=path, got=kind_of_file(path) if path.exists() else "no such file", fix=fix)
    try:
        content = timm.load_state_dict(str(path), weights_only=True)
    except Exception as error:  # a damaged file makes torch.load raise almost anything
        got = "objects that are no tensors" if "weights_only" in str(error) else first_line(error)
        raise InputError(must, where=path, got=got, fix=fix) from error
    states = [content, *content.values()] if isinstance(content, Mapping) else []
    states = [s for s in states if isinstance(s, Mapping) and s and all(isinstance(value, Tensor) for value in s.values())]
    if len(states) != 1:
        raise InputError(must, where=path, got=f"{len(states)} state dicts", fix="Save network.state_dict() alone.")
    return {str(name): value for name, value in states[0].items()}


def load_fitting(network: nn.Module, state: Mapping[str, Tensor], unused: Collection[str], where: object) -> None:
    """Load a state dict into a network without its last layer, after checking every entry.

    Args:
        network: the network.
        state: name -> tensor. A wrapper's prefix before all of the network's entries, such as "module.", is left off.
        unused: names of the layers that the network lacks; the file's entries of them are ignored, so that the last layer may
            have any number of classes.
        where: for messages.
    """
    current = network.state_dict()  # with its version numbers, which some layers ask for when they load
    fix = "Pass the weights of the chosen --backbone, or the backbone of these weights."
    # Files of before 2018, ResNet-101's among them, lack the counters, which nothing reads in evaluation.
    counters = {name: value for name, value in current.items() if name.endswith("num_batches_tracked")}
    needed = [name for name in current if name not in counters]
    prefixes = [name.removesuffix(needed[0]) for name in state if f".{name}".endswith(f".{needed[0]}")]
    prefixes = [prefix for prefix in prefixes if all(prefix + name in state for name in needed)]
    if len(prefixes) > 1 and "" not in prefixes:
        raise InputError("the weights must be of one network", where=where, got=examples(prefixes), fix=fix)
    prefix = prefixes[0] if len(prefixes) == 1 else ""
    given = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    is_unused = tuple(f"{layer}." for layer in unused)
    given = counters | {name: value for name, value in given.items() if not name.startswith(is_unused)}
    for name in sorted({*current, *given}):
        expected, value = current.get(name), given.get(name)
        if expected is None or value is None:
            must, got = ("the network", "no such entry in the network") if expected is None else ("the file", "no such entry")
            raise InputError(f"{must} must have the entry {name}", where=where, got=got, fix=fix)
        is_plain = value.layout == torch.strided and not value.is_meta and not value.is_quantized
        if not is_plain or value.shape != expected.shape or value.is_floating_point() < expected.is_floating_point():
            must = f"{name} must have the shape {tuple(expected.shape)} and the type {expected.dtype}"
            got = f"{tuple(value.shape)} {value.dtype} {value.device.type}, {value.layout}"
            raise InputError(must.replace("torch.", ""), where=where, got=got.replace("torch.", ""), fix=fix)
    network.load_state_dict(current | given)


def weights_digest(state: Mapping[str, Tensor]) -> str:
    """Return 12 hexadecimal digits of the SHA-256 of all values, in the order of the state dict."""
    digest = hashlib.sha256()
    for value in state.values():
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]
