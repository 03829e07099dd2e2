"""Weights of trained networks: download, reading without running code, checking entry by entry, and a digest."""

from __future__ import annotations

import argparse
import hashlib
import importlib
import pickle
import re
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeGuard

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from zslab.errors import InputError, examples, first_line
from zslab.utils.file_kinds import kind_of_file

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum

# Where checkpoints of trainers keep the weights, the first that is there; without any, the only mapping of tensors counts.
NESTED = ("state_dict", "model", "model_state_dict", "teacher")

READABLE = ("a ZIP archive", "a file of another kind")  # as PyTorch writes them, now and formerly
OTHER_KINDS = {
    "a Git LFS pointer": "Fetch the file itself with `git lfs pull`.",
    "a web page": "Download the file itself: its address led to a page of a browser.",
    "a folder": "Name the file in it.",
}


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

    def refusal(found: object, fix: str) -> InputError:
        return InputError("the weights cannot be read", where=path, found=found, expected=expected, fix=fix)

    if not path.exists():
        raise refusal("no such file", "Check the path.")
    with open(path, "rb") if path.is_file() else nullcontext() as file:
        is_safetensors = file is not None and file.read(9)[8:] == b"{"
    kind = kind_of_file(path)
    if not is_safetensors and kind not in READABLE:
        raise refusal(
            kind, OTHER_KINDS.get(kind, "Pass a file that torch.save(network.state_dict(), FILE) or safetensors wrote.")
        )
    try:
        if is_safetensors:
            return _dense(safetensors.torch.load_file(path), refusal)
        # Trainers store their flags beside the weights. NumPy's scalars stay refused: a file could forge pointers in them.
        allowed = torch.serialization.safe_globals([argparse.Namespace])
        with open(path, "rb") as file, warnings.catch_warnings(), allowed:  # given a path, torch.load judges by the suffix
            warnings.simplefilter("ignore")  # about the protocol of the pickle
            content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # raised for anything but tensors and plain containers, before it could run
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        found = (
            f"a pickle with {named[1]}, which may run code"
            if named
            else "a pickle of other objects, which may run code, or no weights"
        )
        raise refusal(found, "Save network.state_dict() or .safetensors instead.") from None
    except Exception as error:  # a damaged file makes torch.load raise almost anything
        raise refusal(f"{type(error).__name__}: {first_line(error)}", "Copy or download the file again.") from None
    mappings = {name: value for name, value in content.items() if _is_state(value)} if isinstance(content, Mapping) else {}
    chosen = next((name for name in NESTED if name in mappings), None) or (next(iter(mappings)) if len(mappings) == 1 else None)
    if _is_state(content):
        return _dense(content, refusal)
    if chosen is not None:
        return _dense(mappings[chosen], refusal)
    found = (
        f"weights under several names: {examples(mappings)}" if mappings else f"a {type(content).__name__} without a state dict"
    )
    raise refusal(found, "Save network.state_dict() alone.")


def _is_state(content: object) -> TypeGuard[Mapping[object, Tensor]]:
    return isinstance(content, Mapping) and bool(content) and all(isinstance(value, Tensor) for value in content.values())


def _dense(state: Mapping[Any, Tensor], refusal: Callable[[object, str], InputError]) -> Mapping[str, Tensor]:
    """Return the state dict with its names as text; refuse tensors that are no plain arrays of real numbers."""
    for name, value in state.items():
        if value.layout != torch.strided or value.is_meta or value.is_quantized or value.is_complex():
            kind = "without values" if value.is_meta else f"{value.dtype} {value.layout}".replace("torch.", "")
            raise refusal(f"{name}, {kind}", "Save dense tensors of floating-point numbers.")
    return {str(name): value for name, value in state.items()}


def _without_prefix(state: Mapping[str, Tensor], entries: Collection[str], where: object) -> Mapping[str, Tensor]:
    """Return the part of a state dict below the prefix that a wrapper put before every one of the network's entries.

    Raises:
        InputError: several parts hold all entries.
    """
    if any(name in state for name in entries):
        return state
    entries = [name for name in entries if not name.endswith("num_batches_tracked")]
    prefixes = [name[: -len(entries[0])] for name in state if name.endswith(f".{entries[0]}")] if entries else []
    whole = [prefix for prefix in prefixes if all(prefix + name in state for name in entries)]
    if len(whole) > 1:
        raise InputError(
            "the weights are of several networks",
            where=where,
            found=f"entries that begin with {examples(whole)}",
            expected="those of one network",
            fix="Save the entries that you mean, without what comes before their names.",
        )
    return {name[len(whole[0]) :]: value for name, value in state.items() if name.startswith(whole[0])} if whole else state


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
    is_head = tuple(f"{head}." for head in heads)
    state = _without_prefix(state, [name for name in current if not name.startswith(is_head)], where)
    wanted = {name: tuple(value.shape) for name, value in current.items()}
    # Files of before 2018, ResNet-101's among them, lack the counters, which nothing reads in evaluation.
    state = {name: value for name, value in current.items() if name.endswith("num_batches_tracked")} | dict(state)
    given = {name: tuple(value.shape) for name, value in state.items() if not name.startswith(is_head)}
    wrong = sorted(name for name in wanted | given if wanted.get(name) != given.get(name))
    if wrong:
        raise InputError(
            "the weights belong to another network",
            where=where,
            found=f"{len(wrong)} entries that do not fit, such as {wrong[0]}: {given.get(wrong[0], 'missing')}",
            expected=f"{len(wanted)} entries, {wrong[0]}: {wanted.get(wrong[0], 'absent')}",
            fix="Pass the weights of the chosen --backbone, or the backbone of these weights.",
        )
    whole = [name for name in wanted if current[name].is_floating_point() and not state[name].is_floating_point()]
    if whole:
        raise InputError(
            "the weights are whole numbers",
            where=where,
            found=f"{whole[0]}, {state[whole[0]].dtype}".replace("torch.", ""),
            expected="floating-point numbers",
            fix="Pass the weights from before they were quantized.",
        )
    current.update({name: state[name] for name in wanted})
    network.load_state_dict(current)


def weights_digest(state: Mapping[str, Tensor]) -> str:
    """Return 12 hexadecimal digits of the SHA-256 of all values, in the order of the state dict."""
    digest = hashlib.sha256()
    for value in state.values():
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]
