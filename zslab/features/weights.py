"""Weights of trained networks: download, reading without running code, checking entry by entry, and a digest."""

from __future__ import annotations

import hashlib
import importlib
import pickle
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from zslab.errors import InputError

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum

NESTED = ("state_dict", "model", "model_state_dict", "teacher")  # where checkpoints of trainers keep the weights
PREFIXES = ("module.", "backbone.", "module.backbone.", "model.", "encoder.")  # what wrappers put before every entry


def import_extra(name: str, extra: str) -> ModuleType:
    """Import a package that only an extra of this project installs.

    Args:
        name: of the package.
        extra: that installs it.

    Raises:
        InputError: the package is not installed or does not work.
    """
    try:
        return importlib.import_module(name)
    except (ImportError, RuntimeError) as error:  # RuntimeError: a torchvision that was built for another PyTorch
        raise InputError(
            "the package cannot be used",
            where=name,
            found=error,
            expected=f"the extra `{extra}`",
            fix=f"In the project's folder: pip install -e '.[{extra}]'.",
        ) from None


def check_intent(weights: object, random_weights: bool) -> None:
    """Refuse random weights unless both flags ask for them: `--weights none --random_weights`.

    Raises:
        InputError: only one of the flags was given.
    """
    if random_weights != (isinstance(weights, str) and weights == "none"):
        raise InputError(
            "the choice of weights is unclear",
            where="--weights / --random_weights",
            found=f"--weights {weights}{' --random_weights' if random_weights else ''}",
            expected="trained weights, or `--weights none --random_weights`",
            fix="Random weights give features that mean little; ask for them with both flags, and only to try things out.",
        )


def download(chosen: WeightsEnum) -> Mapping[str, Tensor]:
    """Return the state dict of one of torchvision's weights, from its cache or the network.

    Raises:
        InputError: there is no network, or the download is damaged.
    """
    try:
        fetched: Mapping[str, Tensor] = chosen.get_state_dict(progress=True, check_hash=True)
        return fetched
    except (OSError, RuntimeError) as error:  # no network, or a file that came damaged
        raise InputError(
            "the weights cannot be fetched",
            where=chosen.url,
            found=error,
            expected="a download",
            fix="Fetch that file on a machine with a network and pass it with --weights FILE.",
        ) from None


def read_state_dict(path: Path, names: Sequence[str]) -> Mapping[str, Tensor]:
    """Read named tensors from a .safetensors file or a state dict (.pth, .pt).

    Args:
        path: the file.
        names: what --weights could have been instead of a file, for the message.

    Raises:
        InputError: the file is missing, damaged, or holds anything but tensors.
    """
    expected = f"{', '.join(['default', *names, 'none'])}, or a file of named tensors (.pth or .safetensors)"
    try:
        with open(path, "rb") as file:
            start = file.read(64)
        kind = _kind_of_weights(start)
        if kind == "safetensors":
            return safetensors.torch.load_file(path)
        if kind != "torch":
            raise InputError(
                "the weights file is something else",
                where=path,
                found=kind,
                expected=expected,
                fix="Download the file itself: `git lfs pull` replaces a pointer, a browser's download an HTML page.",
            )
        with open(path, "rb") as file:  # given a path, torch.load judges by the suffix
            content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:  # raised for anything but tensors and plain containers, before it could run
        found, cure = "a pickle of other objects, which may run code", "Save network.state_dict() or .safetensors instead."
    except InputError:
        raise
    except FileNotFoundError:
        found, cure = "no such file", "Check the path."
    except Exception as error:  # a damaged file makes torch.load raise almost anything
        found, cure = f"{type(error).__name__}: {error}".splitlines()[0], "Copy or download the file again."
    else:
        for key in ("", *NESTED):
            inner = content.get(key) if key and isinstance(content, Mapping) else content
            if isinstance(inner, Mapping) and inner and all(isinstance(value, Tensor) for value in inner.values()):
                return {str(name): value for name, value in inner.items()}
        found, cure = f"a {type(content).__name__} that is not all tensors", "Save network.state_dict() alone."
    raise InputError("the weights cannot be read", where=path, found=found, expected=expected, fix=cure)


def _kind_of_weights(start: bytes) -> str:
    """Return "safetensors", "torch" or what else a file is, by its first bytes; "torch" where they tell nothing."""
    if start[8:9] == b"{":
        return "safetensors"
    text = start.lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "an HTML page"
    if text.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer"
    return "torch"


def _without_prefix(state: Mapping[str, Tensor], entries: Collection[str]) -> Mapping[str, Tensor]:
    """Return the state dict without the prefixes that wrappers put before every entry of the network."""
    for prefix in PREFIXES:
        inner = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        if inner and not any(name in entries for name in state) and any(name in entries for name in inner):
            return inner
    return state


def load_fitting(network: nn.Module, state: Mapping[str, Tensor], heads: Sequence[str], where: object) -> None:
    """Load a state dict into a network without its last layer.

    Args:
        network: the network.
        state: name -> tensor.
        heads: names of the last layers; the file's entries of them are not used, so it may have any number of classes.
        where: for the message.

    Raises:
        InputError: an entry is missing, is one too many, or has another shape.
    """
    current = network.state_dict()  # with its version numbers, which some layers ask for when they load
    state = _without_prefix(state, current)
    wanted = {name: tuple(value.shape) for name, value in current.items()}
    # Files of before 2018, ResNet-101's among them, lack the counters, which nothing reads in evaluation.
    state = {name: value for name, value in current.items() if name.endswith("num_batches_tracked")} | dict(state)
    given = {
        name: tuple(value.shape) for name, value in state.items() if not name.startswith(tuple(f"{head}." for head in heads))
    }
    wrong = sorted(name for name in wanted | given if wanted.get(name) != given.get(name))
    if wrong:
        raise InputError(
            "the weights belong to another network",
            where=where,
            found=f"{len(wrong)} entries that do not fit, such as {wrong[0]}: {given.get(wrong[0], 'missing')}",
            expected=f"{len(wanted)} entries, {wrong[0]}: {wanted.get(wrong[0], 'absent')}",
            fix="Pass the weights of the chosen --backbone, or the backbone of these weights.",
        )
    current.update({name: state[name] for name in wanted})
    network.load_state_dict(current)


def weights_digest(state: Mapping[str, Tensor]) -> str:
    """Return 12 hexadecimal digits of the SHA-256 of all values, in the order of the state dict."""
    digest = hashlib.sha256()
    for value in state.values():
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]
