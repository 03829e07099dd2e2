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
"""

import itertools
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import msgspec

from zslab.config import Value, override
from zslab.errors import InputError
from zslab.plan import SWITCHES, Launcher, Run, SplitSwitches, Switches, data_folders, load_launcher, read_settings
from zslab.sweep.run import PlannedRun
from zslab.utils.files import converted, read_toml

HELP = "Correct the file; the head of zslab/sweep/plan.py shows one."


class Grid(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a sweep consists of; see the module's text."""

    launchers: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    splits: str | tuple[int, ...] = ""
    partitions: int | None = None
    switches: tuple[str, ...] = ()
    flags: dict[str, Value] = {}
    grid: dict[str, list[Value]] = {}
    variants: dict[str, dict[str, Value]] = {}

    def runs(self) -> list[PlannedRun]:
        """Return the runs of all launchers."""
        if not self.launchers:
            raise InputError("a sweep must have a launcher", where="launchers", got="none", fix="Name a run_*.py script.")
        splits = self.splits if isinstance(self.splits, str) else ",".join(map(str, self.splits))
        repeats = SplitSwitches(seeds=self.seeds, splits=splits, partitions=self.partitions)
        variants, runs = self.variants or {"": {}}, list[PlannedRun]()
        for launcher in map(load_launcher, map(Path, self.launchers)):
            for (variant, changes), combination in itertools.product(variants.items(), itertools.product(*self.grid.values())):
                chosen = dict(zip(self.grid, combination))
                flags = {**dict.fromkeys(self.switches, True), **self.flags, **chosen, **changes}
                which = launcher.path.stem if len(self.launchers) > 1 else ""
                words = [which, variant, *(f"{flag} {value}" for flag, value in chosen.items())]
                name = ", ".join(filter(None, words))
                runs += [planned(run, name) for run in launcher_runs(launcher, flags, name or launcher.path.name, repeats)]
        return runs


def read_grid(path: Path) -> Grid:
    """Read a grid from a TOML file; relative launchers are looked for beside the file, then in the working directory."""
    grid = converted(read_toml(path, "a sweep file", HELP), Grid, path, HELP)
    launchers = tuple(str(find_launcher(Path(name), path.parent)) for name in grid.launchers)
    return msgspec.structs.replace(grid, launchers=launchers)


def find_launcher(path: Path, folder: Path = Path()) -> Path:
    """Return the path of a launcher, relative to a folder or to the working directory."""
    for candidate in (folder / path, path):
        if os.path.isfile(candidate):  # unlike Path.is_file, False for a name that is too long
            return candidate
    fix = "Check the path; relative paths start at the sweep file or at the working directory."
    raise InputError("the launcher must exist", where=path, got="no such file", fix=fix)


def launcher_runs(launcher: Launcher, flags: Mapping[str, Value], where: object, repeats: Switches) -> list[Run]:
    """Return the runs of a launcher with some flags, among them its switches and `settings`, as typed after it."""
    words = tuple(flag for flag, value in flags.items() if value is True and flag in {*launcher.offered, *SWITCHES})
    config = launcher.config(words)
    if settings := flags.get("settings"):
        config = override(config, read_settings(Path(str(settings))), settings)
    flags = {flag: value for flag, value in flags.items() if flag not in {*SWITCHES, "settings"}}
    return launcher.runs(words, override(config, flags, where), repeats)


def planned(run: Run, name: str = "") -> PlannedRun:
    """Return a launcher's run as a sweep executes it: it continues what an interrupted sweep has started."""
    config = run.config
    command = replace(run, config=replace(config, resume=not config.overwrite)).command
    data = data_folders(config)[0] / config.dataset
    name = ", ".join(filter(None, [name, run.name])) or run.launcher.path.stem
    return PlannedRun(name, tuple(command), run.folder.path, data, config.nepoch)
