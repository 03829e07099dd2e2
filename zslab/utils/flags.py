"""What the flags of all commands share: checks, and lists of whole numbers such as 1-30 or 1,2,5-8."""

import re
from collections.abc import Sequence
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


def parse_numbers(text: str, where: object) -> list[int]:
    """Return the numbers from 1 to a million that a text lists: "1-3,7" gives [1, 2, 3, 7]; each once, in the order given."""
    numbers: dict[int, None] = {}
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,7})\s*(?:-\s*(\d{1,7})\s*)?", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not 1 <= first <= last <= 1_000_000:
            must = "the value must list numbers from 1 on, such as 1-30 or 1,2,5-8"
            raise InputError(must, where=where, got=repr(text), fix="Correct it.")
        numbers |= dict.fromkeys(range(first, last + 1))
    return list(numbers)


def format_numbers(numbers: Sequence[int]) -> str:
    """Return numbers as short text, ascending: [1, 2, 3, 7] gives "1-3,7"."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
