"""Search settings on the validation split, with Optuna.

    zslab search zero-shot-images/image-scripts/run_cub_tfvaegan.py --trials 50 --workers 2 --set dataroot=DIR
    zslab search LAUNCHER --trials 200 --engine slurm --workers 20 --cpus-per-run 4

Each trial trains and measures on the validation split alone; the first one has the launcher's own settings. The flags to
vary and their bounds are in `search_space.py` beside the launcher or in its tree. Hopeless trials are stopped early.
Several processes may work on one study, and the same command continues a search that was stopped or killed.

Leaves settings.toml and report.html in the folder of the study, and prints the command that runs the winner on the test
split. Needs Optuna: pip install -e '.[search]'.
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from tyro.conf import Positional

from zslab.config import as_arguments
from zslab.errors import InputError
from zslab.sweep.command import Assignments, assignments
from zslab.sweep.engines import EngineFlags, start_engine
from zslab.utils.files import plain_disk_errors

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


@dataclass(frozen=True, kw_only=True)
class SearchFlags(EngineFlags):
    """The flags of `zslab search`."""

    launcher: Positional[Path]  #: a launcher (run_*.py)
    trials: int  #: trials in all, those of earlier calls included
    objective: Literal["T1", "H"] = "H"  #: what to maximize on validation
    set: Annotated[Assignments, tyro.conf.arg(metavar="FLAG=VALUE")] = ()  #: flags of every trial, which are not varied
    study: Path | None = None  #: folder of the study and its runs; runs/search-LAUNCHER where not given
    space: Path | None = None  #: another search_space.py
    seed: int = 0  #: of the sampler


def search(flags: SearchFlags) -> int:
    """Search; return the exit status."""
    try:
        from zslab.search.study import Study, write_report, write_settings
    except ImportError as error:
        fix = "Install it in the project's folder: pip install -e '.[search]'."
        raise InputError("Optuna must be installed", where="zslab search", got=error, fix=fix) from None
    from zslab.plan import load_launcher
    from zslab.sweep.plan import find_launcher

    folder, fixed = flags.study or Path("runs") / f"search-{flags.launcher.stem}", assignments(flags.set)
    launcher = load_launcher(find_launcher(flags.launcher))
    places = [folder / "search_space.py" for folder in (launcher.path.parent, launcher.path.parents[1])]
    space_file = flags.space or next((place for place in places if place.is_file()), places[-1])
    space = {flag: values for flag, values in read_space(space_file, launcher.script).items() if flag not in fixed}
    with plain_disk_errors(folder):
        study = Study(folder.resolve(), launcher, space, fixed, flags.objective, flags.seed)
        print(f"Search for the best {flags.objective} on validation, in {folder}.")
        print(f"{len(study.counted)} of {flags.trials} trials were made before. Vary: {', '.join(space)}.", flush=True)
        status = study.execute(start_engine(flags), flags.trials, flags.retries)
    winner = study.winner
    if winner is None:
        print("No trial is complete.", file=sys.stderr)
        return status or 1
    settings = folder / "settings.toml"
    write_settings(settings, study, winner)
    write_report(folder / "report.html", study, winner)
    print(f"Best: trial {winner.number}, {study.objective} {100 * (winner.value or 0):.1f} on validation.")
    print(f"Report: {folder / 'report.html'}")
    from zslab.utils.environment import as_typed

    command = ["python", str(flags.launcher), *as_arguments(fixed), "--settings", str(settings), "--select", "val"]
    print(f"On the test split: {as_typed(command)}")
    if status:
        print("The search is not complete; the same command continues it.", file=sys.stderr)
    return status


def read_space(path: Path, script: str) -> Mapping[str, BaseDistribution]:
    """Return what is varied of a training script's flags: flag -> Optuna's distribution, from a tree's `search_space.py`."""
    spaces: dict[str, dict[str, BaseDistribution]] = runpy.run_path(str(path)).get("SPACES", {}) if path.is_file() else {}
    if script not in spaces:
        got, fix = ", ".join(spaces) or "no SPACES", "Add it, or name another file with --space."
        raise InputError(f"the file must have a search space for {script!r}", where=path, got=got, fix=fix)
    return spaces[script]
