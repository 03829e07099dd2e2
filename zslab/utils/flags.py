"""Checks of flags that all commands share."""

from __future__ import annotations

from pathlib import Path

from zslab.errors import InputError


def check_at_least(least: float, config: object, *flags: str, below: float | None = None) -> None:
    """Refuse numbers smaller than `least` or not smaller than `below`; also NaN."""
    for flag in flags:
        value = getattr(config, flag)
        if not value >= least or (below is not None and not value < below):
            must = f"the number must be at least {least:g}" + ("" if below is None else f" and less than {below:g}")
            raise InputError(must, where=f"--{flag}", got=value, fix="Pass another number.")


def check_batch_size(batch_size: int, n: int, samples: str) -> None:
    """Refuse a batch of more than the n samples it is drawn from."""
    if batch_size > n:
        must, fix = f"a batch must fit in the {n} {samples}", f"Pass {n} or less, or --fit_batch_size."
        raise InputError(must, where="--batch_size", got=batch_size, fix=fix)


def is_plain_name(name: str) -> bool:
    """Return whether a name is that of a file or folder, and leads nowhere else."""
    return bool(name.strip()) and Path(name).name == name and name != ".."


def check_file_names(config: object, *flags: str) -> None:
    """Refuse names of files to write that are empty or lead out of their folder; None is not checked."""
    for flag in flags:
        name = getattr(config, flag)
        if name is not None and not is_plain_name(name):
            fix = "Pass a plain name; --dataroot and --dataset say where the file goes."
            raise InputError("the name must be that of a file, without folders", where=f"--{flag}", got=repr(name), fix=fix)
