"""From a grid to planned runs: which commands make up a sweep and in which folders they leave their results.

A grid is data sets × methods (as launchers) × variants × flags × splits × partitions × seeds, from flags or a TOML file:

    launchers = ["zero-shot-images/image-scripts/run_cub_tfvaegan.py", "zero-shot-images/image-scripts/run_flo_tfvaegan.py"]
    seeds = [1, 2, 3]
    splits = "1-30"                      # where launchers have splits
    partitions = 10                      # random seen and unseen classes
    switches = ["finetuned"]             # launchers' own switches

    [flags]                              # of every run
    nepoch = 20

    [grid]                               # every combination
    syn_num = [10, 300]

    [variants.full]                      # named alternatives
    [variants."without feedback"]
    feedback_loop = 1

Launchers are read in this process; see `zslab.plan`.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from zslab.config import Value, as_arguments, config_dict
from zslab.errors import InputError, examples
from zslab.plan import Run, data_folders, load_launcher
from zslab.utils.files import read_toml
from zslab.utils.int_ranges import parse_numbers

Flags = Mapping[str, Value]
KEYS = ("launchers", "seeds", "splits", "partitions", "switches", "flags", "grid", "variants")


@dataclass(frozen=True)
class PlannedRun:
    """A run that a sweep wants.

    Attributes:
        name: what sets it apart from the others, for messages.
        command: the training script with its flags.
        folder: the run folder.
        data: folder of the data set; None where it is not known.
        config: flag -> value, as the training script resolves them.
    """

    name: str
    command: tuple[str, ...]
    folder: Path
    data: Path | None = None
    config: Flags = field(default_factory=dict, compare=False)

    @property
    def finished(self) -> bool:
        """Whether the run has left its result and its report."""
        return (self.folder / "result.json").exists() and (self.folder / "report.html").exists()

    @property
    def is_current(self) -> bool:
        """Whether the run has finished after its data changed for the last time, as far as times of files tell.

        A run that shall be overwritten never is.
        """
        if not self.finished or "--overwrite" in self.command:
            return False
        if self.data is None or not self.data.is_dir():
            return True
        made = (self.folder / "result.json").stat().st_mtime
        return all(file.stat().st_mtime <= made for file in self.data.iterdir() if file.is_file())

    def to_json(self) -> dict[str, object]:
        """Return the run as JSON can hold it."""
        data = None if self.data is None else str(self.data)
        return asdict(self) | {"folder": str(self.folder), "data": data}


@dataclass(frozen=True)
class Grid:
    """What a sweep consists of; see the module's text."""

    launchers: tuple[Path, ...]
    seeds: tuple[int, ...] = ()
    splits: tuple[int, ...] = ()
    partitions: int | None = None
    switches: tuple[str, ...] = ()
    flags: Flags = field(default_factory=dict)
    grid: Mapping[str, Sequence[Value]] = field(default_factory=dict)
    variants: Mapping[str, Flags] = field(default_factory=dict)

    def calls(self) -> list[tuple[str, list[str]]]:
        """Return (name, command line of a launcher) for each combination of launcher, variant and grid flags."""
        repeats = [
            *(["--seeds", *map(str, self.seeds)] if self.seeds else []),
            *(["--splits", ",".join(map(str, self.splits))] if self.splits else []),
            *(["--partitions", str(self.partitions)] if self.partitions is not None else []),
        ]
        calls = []
        for launcher in self.launchers:
            for variant, changes in (self.variants or {"": {}}).items():
                for combination in itertools.product(*self.grid.values()):
                    chosen = dict(zip(self.grid, combination))
                    words = [launcher.stem, variant, *(f"{flag} {value}" for flag, value in chosen.items())]
                    flags = as_arguments({**self.flags, **chosen, **changes})
                    switches = [f"--{switch}" for switch in self.switches]
                    calls.append((", ".join(filter(None, words)), [str(launcher), *switches, *repeats, *flags]))
        return calls


def read_grid(path: Path) -> Grid:
    """Read a grid from a TOML file; relative launchers are looked for beside the file, then in the working directory.

    Raises:
        InputError: the file is not TOML, has an unknown key, or a value of the wrong kind.
    """
    content = read_toml(path, "a sweep file", "Correct the file; `zslab sweep --help` shows one.")
    unknown = content.keys() - set(KEYS)
    if unknown:
        raise InputError(
            "the file has an unknown key",
            where=path,
            found=examples(sorted(unknown)),
            expected=", ".join(KEYS),
            fix="Put flags of the runs under [flags].",
        )
    try:
        splits = content.get("splits", "")
        grid = {str(flag): list(values) for flag, values in dict(content.get("grid", {})).items()}
        if any(isinstance(values, str) for values in dict(content.get("grid", {})).values()):
            raise TypeError("[grid] takes lists")
        return Grid(
            launchers=tuple(find_launcher(Path(name), path.parent) for name in content.get("launchers", ())),
            seeds=tuple(int(seed) for seed in content.get("seeds", ())),
            splits=tuple(parse_numbers(splits, "splits") if isinstance(splits, str) and splits else map(int, splits)),
            partitions=int(content["partitions"]) if "partitions" in content else None,
            switches=tuple(map(str, content.get("switches", ()))),
            flags=dict(content.get("flags", {})),
            grid=grid,
            variants={str(name): dict(flags) for name, flags in dict(content.get("variants", {})).items()},
        )
    except InputError:
        raise
    except (TypeError, ValueError) as error:
        raise InputError(
            "the file has a value of the wrong kind",
            where=path,
            found=error,
            expected="lists of launchers, seeds and splits; a number of partitions; tables of flags",
            fix="Correct the file; `zslab sweep --help` shows one.",
        ) from None


def planned(run: Run, name: str = "") -> PlannedRun:
    """Return a launcher's run as a sweep executes it: it continues what an interrupted sweep has begun."""
    resume = [] if run.config.overwrite else ["--resume"]
    data = data_folders(run.config)[0] / run.config.dataset
    words = ", ".join(filter(None, [name, run.name]))
    return PlannedRun(words, (*run.command, *resume), run.folder.path, data, config_dict(run.config))


def plan_runs(grid: Grid) -> list[PlannedRun]:
    """Return the runs of all launchers.

    Raises:
        InputError: there is no launcher, or a flag cannot be used.
    """
    if not grid.launchers:
        raise InputError(
            "the sweep must have a launcher", where="launchers", got="none", fix="Name at least one run_*.py script."
        )
    launchers = {path: load_launcher(path) for path in grid.launchers}
    return [planned(run, name) for name, call in grid.calls() for run in launchers[Path(call[0])].parse(call[1:])[1]]


def find_launcher(path: Path, folder: Path = Path()) -> Path:
    """Return the path of a launcher, relative to a folder or to the working directory.

    Raises:
        InputError: it does not exist.
    """
    for candidate in (folder / path, path):
        if os.path.isfile(candidate):  # unlike Path.is_file, False for a name that is too long
            return candidate
    raise InputError(
        "the launcher does not exist",
        where=path,
        found="no such file",
        expected="the path of a run_*.py script",
        fix="Check the path; relative paths start at the sweep file or at the working directory.",
    )
