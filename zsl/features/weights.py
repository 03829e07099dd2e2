"""Weights of trained networks: fetched, read as data and never run as code, checked entry by entry, and told apart."""

from __future__ import annotations

import hashlib
import importlib
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from zsl.errors import InputError


def import_extra(name: str, extra: str) -> ModuleType:
    """A package that only an extra of this project brings.

    Raises:
        InputError: it is not installed or does not work; the message names the extra.
    """
    try:
        return importlib.import_module(name)
    except (ImportError, RuntimeError) as error:  # RuntimeError: a torchvision that was built for another PyTorch
        raise InputError(
            "a package that cannot be used", where=name, found=error, expected=f"the extra `{extra}`",
            cure=f"Install it: pip install 'zsl[{extra}]', in the project's folder pip install -e '.[{extra}]'.",
        ) from None


def check_intent(weights: object, random_weights: bool) -> None:
    """Random weights are taken only from someone who says so twice: `--weights none --random_weights`."""
    if random_weights != (isinstance(weights, str) and weights == "none"):
        raise InputError(
            "weights that are unclear", where="--weights / --random_weights",
            found=f"--weights {weights}{' --random_weights' if random_weights else ''}",
            expected="trained weights, or `--weights none --random_weights`",
            cure="Random weights give features that mean little; ask for them with both flags, and only to try things out.",
        )


def download(chosen: object) -> Mapping[str, Tensor]:
    """The state dict of one of torchvision's weights, from its cache or the network."""
    try:
        return chosen.get_state_dict(progress=True, check_hash=True)
    except (OSError, RuntimeError) as error:  # no network, or a file that came damaged
        raise InputError(
            "weights that cannot be fetched", where=chosen.url, found=error, expected="a download",
            cure="Fetch that file on a machine with a network and pass it with --weights FILE.",
        ) from None


def read_state_dict(path: Path, names: Sequence[str]) -> Mapping[str, Tensor]:
    """Named tensors from a .safetensors file or a state dict (.pth, .pt).

    Args:
        names: what --weights could have been instead of a file, for the message.

    Raises:
        InputError: the file is missing, damaged, or holds anything but tensors.
    """
    expected = f"{', '.join(['default', *names, 'none'])}, or a file of named tensors (.pth or .safetensors)"
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:  # raised for anything but tensors and plain containers, before it could run
        found, cure = "a pickle of other objects, which may run code", "Save network.state_dict() or .safetensors instead."
    except FileNotFoundError:
        found, cure = "no such file", "Check the path."
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, safetensors.SafetensorError) as error:
        found, cure = f"{type(error).__name__}: {error}".splitlines()[0], "Copy or download the file again."
    else:
        if isinstance(content, Mapping) and all(isinstance(value, Tensor) for value in content.values()):
            return content
        found, cure = f"a {type(content).__name__} that is not all tensors", "Save network.state_dict() alone."
    raise InputError("weights that cannot be read", where=path, found=found, expected=expected, cure=cure)


def load_fitting(network: nn.Module, state: Mapping[str, Tensor], heads: Sequence[str], where: object) -> None:
    """Loads a state dict into a network without its last layer.

    Args:
        heads: names of the last layers; the file's entries of them are not used, so it may have any number of classes.
        where: for the message.

    Raises:
        InputError: an entry is missing, is one too many, or has another shape.
    """
    current = network.state_dict()  # with its version numbers, which some layers ask for when they load
    wanted = {name: tuple(value.shape) for name, value in current.items()}
    # Files of before 2018, ResNet-101's among them, lack the counters, which nothing reads in evaluation.
    state = {name: value for name, value in current.items() if name.endswith("num_batches_tracked")} | dict(state)
    given = {
        name: tuple(value.shape) for name, value in state.items() if not name.startswith(tuple(f"{head}." for head in heads))
    }
    wrong = sorted(name for name in wanted | given if wanted.get(name) != given.get(name))
    if wrong:
        raise InputError(
            "weights of another network", where=where,
            found=f"{len(wrong)} entries that do not fit, such as {wrong[0]}: {given.get(wrong[0], 'missing')}",
            expected=f"{len(wanted)} entries, {wrong[0]}: {wanted.get(wrong[0], 'absent')}",
            cure="Pass the weights of the chosen --backbone, or the backbone of these weights.",
        )
    current.update({name: state[name] for name in wanted})
    network.load_state_dict(current)


def weights_digest(state: Mapping[str, Tensor]) -> str:
    """12 hexadecimal digits of the SHA-256 of all values, in the order of the state dict."""
    digest = hashlib.sha256()
    for value in state.values():
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]
