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
from zslab.utils.files import user_path

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


def read_state_dict(path: str | Path) -> Mapping[str, Tensor]:
    """Read named tensors from a .safetensors file, a state dict or a trainer's checkpoint (.pth, .pt), running no code."""
    timm = import_extra("timm.models", "images")
    must = "the weights must be default, a name of the library's, none, or a file of named tensors (.pth or .safetensors)"
    fix = "Check the path, or save network.state_dict() or .safetensors; anything but tensors may run code."
    path = user_path(path)
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
    """Load a state dict into a network without its last layer, every entry of both.

    A wrapper's prefix before all of the network's entries, such as "module.", is left off. Entries of the `unused` layers,
    which the network lacks, are ignored, so that the last layer may have any number of classes.
    """
    current = network.state_dict()
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
    given = {name: value for name, value in given.items() if not name.startswith(tuple(f"{layer}." for layer in unused))}
    try:
        for name, value in given.items():  # PyTorch would convert whole numbers
            is_plain = value.layout == torch.strided and not value.is_meta and not value.is_quantized
            if not is_plain or (name in current and value.is_floating_point() < current[name].is_floating_point()):
                raise RuntimeError(f"\n\t{name} of {value.dtype} on {value.device.type}, {value.layout}")
        network.load_state_dict(counters | given)
    except RuntimeError as error:
        problem = str(error).split("\n\t")[1]
        raise InputError("the weights must be those of the network", where=where, got=problem, fix=fix) from None


def weights_digest(state: Mapping[str, Tensor]) -> str:
    """Return 12 hexadecimal digits of the SHA-256 of all values, in the order of the state dict."""
    digest = hashlib.sha256()
    for value in state.values():
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]
