"""Execute a grid of runs; `zslab.sweep.plan` shows the grid as a file.

    zslab sweep zero-shot-images/image-scripts/run_cub_tfvaegan.py --seeds 1 2 3 --set nepoch=20 --grid syn_num=10,300
    zslab sweep ablations.toml --workers 2 --dry-run
    zslab sweep ablations.toml --engine ray --address auto --cpus-per-run 4 --gpus-per-run 0.33
    zslab sweep ablations.toml --engine slurm --slurm-partition gpu --cpus-per-run 8 --gpus-per-run 1

A finished run is never repeated, an unfinished one resumes, a failed one is named and tried again (--retries). The same
command continues a sweep that was stopped or killed. `zslab table RUNS` makes the table.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import tyro
from tyro.conf import Positional, UseAppendAction

from zslab.config import Value
from zslab.errors import InputError
from zslab.sweep.engines import EngineFlags, start_engine

if TYPE_CHECKING:
    from zslab.sweep.plan import Grid

Assignments = UseAppendAction[tuple[tuple[str, ...], ...]]


@dataclass(frozen=True, kw_only=True)
class SweepFlags(EngineFlags):
    """The flags of `zslab sweep`."""

    what: Positional[tuple[Path, ...]]  #: a .toml file, or launchers (run_*.py)
    seeds: tuple[int, ...] = ()  #: a run for each
    splits: Annotated[str, tyro.conf.arg(metavar="1-30")] = ""  #: a run for each class split, where launchers have them
    partitions: int | None = None  #: a run for each of so many random partitions of the classes
    switch: UseAppendAction[tuple[str, ...]] = ()  #: switch of the launchers: finetuned, …
    set: Annotated[Assignments, tyro.conf.arg(metavar="FLAG=VALUE")] = ()  #: flags of every run
    grid: Annotated[Assignments, tyro.conf.arg(metavar="FLAG=A,B")] = ()  #: flags with several values
    dry_run: bool = False  #: print the runs and which are done; run nothing


def sweep(flags: SweepFlags) -> int:
    """Execute a sweep; return the exit status: 0 with all runs done, that of the first failed run, 130 when stopped."""
    from zslab.sweep.run import execute, show_plan  # load PyTorch, which the help does not need

    runs = _grid(flags).runs()
    if flags.dry_run:
        show_plan(runs)
        return 0
    if all(run.is_current for run in runs):
        print(f"All {len(runs)} runs have finished.")
        return 0
    return execute(runs, start_engine(flags), retries=flags.retries)


def _grid(flags: SweepFlags) -> Grid:
    from zslab.sweep.plan import Grid, find_launcher, read_grid

    files = [path for path in flags.what if path.suffix == ".toml"]
    launchers = tuple(str(find_launcher(path)) for path in flags.what if path.suffix != ".toml")
    if len(files) > 1 or (files and launchers):
        got, fix = " ".join(map(str, flags.what)), "Name the launchers in the file."
        raise InputError("a sweep must be one TOML file, or launchers", where="zslab sweep", got=got, fix=fix)
    grid = read_grid(files[0]) if files else Grid(launchers)
    axes = {flag: [_value(value) for value in text.split(",")] for flag, text in _split(flags.grid)}
    return msgspec.structs.replace(
        grid,
        flags=grid.flags | assignments(flags.set),
        grid=grid.grid | axes,
        seeds=flags.seeds or grid.seeds,
        splits=flags.splits or grid.splits,
        partitions=grid.partitions if flags.partitions is None else flags.partitions,
        switches=(*grid.switches, *flags.switch),
    )


def assignments(texts: Iterable[Sequence[str]]) -> dict[str, Value]:
    """Return flag -> value of the FLAG=VALUE texts after each --set."""
    return {flag: _value(value) for flag, value in _split(texts)}


def _split(texts: Iterable[Sequence[str]]) -> list[tuple[str, str]]:
    pairs = [text.partition("=") for text in itertools.chain(*texts)]
    for flag, equals, value in pairs:
        if not (flag and equals):
            raise InputError("--set and --grid must have a value", where=flag, got=value, fix="Write nepoch=20, say.")
    return [(flag.lstrip("-"), value) for flag, _, value in pairs]


def _value(text: str) -> Value:
    return {"true": True, "false": False}.get(text.lower(), text)
