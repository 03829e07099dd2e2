"""Execute a grid of runs; see `zslab.sweep.plan` for the grid and `zslab.sweep.driver` for what is never done twice.

    zslab sweep zero-shot-images/image-scripts/run_cub_tfvaegan.py --seeds 1 2 3 --set nepoch=20 --grid syn_num=10,300
    zslab sweep ablations.toml --workers 2 --dry-run
    zslab sweep ablations.toml --engine ray --address auto --cpus-per-run 4 --gpus-per-run 0.33
    zslab sweep ablations.toml --engine slurm --slurm-partition gpu --cpus-per-run 8 --gpus-per-run 1

A finished run is never repeated, a half-finished one resumes, a failed one is named and tried again (--retries). The same
command continues a sweep that was stopped or killed. `zslab table RUNS` makes the table.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from zslab.config import Value
from zslab.errors import InputError, exit_status
from zslab.sweep.driver import Outcome, execute
from zslab.sweep.engines import Engine, LocalEngine, RayEngine, Resources, SlurmEngine
from zslab.sweep.plan import Grid, PlannedRun, find_launcher, plan_runs, read_grid
from zslab.utils.int_ranges import parse_numbers

ENGINES = ("local", "ray", "slurm")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 0 with all runs done, that of the first failed run, 130 when stopped."""
    return exit_status(lambda: _run(_parser().parse_args(argv)))


def add_engine_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say where runs are executed."""
    parser.add_argument("--workers", type=int, default=1, help="runs at the same time, or submitted to a cluster (1)")
    parser.add_argument("--retries", type=int, default=0, help="further attempts for a run that fails (0)")
    parser.add_argument("--engine", choices=ENGINES, default="local", help="local processes, Ray or Slurm (local)")
    parser.add_argument("--cpus-per-run", type=int, default=0, help="cores of a run (local: the machine's, shared out)")
    parser.add_argument("--gpus-per-run", type=float, default=0.0, help="GPUs of a run; a fraction shares one (0)")
    parser.add_argument("--memory-per-run", type=float, default=0.0, metavar="GIB", help="memory for Ray or Slurm")
    parser.add_argument("--address", help="of a running Ray cluster; auto finds it")
    parser.add_argument("--slurm-partition", default="", metavar="NAME", help="partition of the Slurm cluster")
    parser.add_argument("--minutes", type=int, default=24 * 60, help="time limit of a Slurm job (1440)")
    parser.add_argument("--slurm-folder", type=Path, default=Path("runs/slurm"), help="for submitit's files")
    parser.add_argument("--slurm-cluster", choices=("slurm", "local"), default="slurm", help=argparse.SUPPRESS)


def build_engine(own: argparse.Namespace) -> Engine:
    """Build the engine that `add_engine_flags`' flags ask for."""
    if own.workers < 1:
        raise InputError(
            "the number of workers is too small",
            where="--workers",
            found=own.workers,
            expected="at least 1",
            fix="Pass --workers 1 or more.",
        )
    resources = Resources(own.cpus_per_run, own.gpus_per_run, own.memory_per_run, own.minutes)
    if own.engine == "ray":
        return RayEngine(own.workers, resources, own.address)
    if own.engine == "slurm":
        return SlurmEngine(own.workers, resources, own.slurm_folder, own.slurm_cluster, own.slurm_partition)
    return LocalEngine(own.workers, resources)


def report(outcome: Outcome) -> int:
    """Print what failed and what is left; return the exit status."""
    for run, status in outcome.failed.items():
        print(f"failed with status {status}: {run.name} ({run.folder})", file=sys.stderr)
    if outcome.left:
        print(f"{len(outcome.left)} runs are left; the same command continues.", file=sys.stderr)
    return outcome.status


def _run(own: argparse.Namespace) -> int:
    grid = _grid(own)
    runs = plan_runs(grid)
    if own.dry_run:
        _print_plan(runs)
        return 0
    if all(run.is_current for run in runs):
        print(f"All {len(runs)} runs have finished.")
        return 0
    engine = build_engine(own)
    try:
        outcome = execute(runs, engine, retries=own.retries)
    finally:
        engine.close()
    print(f"{len(outcome.done) + len(outcome.skipped)} of {len({run.folder for run in runs})} runs have finished.")
    return report(outcome)


def _print_plan(runs: Sequence[PlannedRun]) -> None:
    for run in runs:
        state = "done" if run.is_current else "begun" if (run.folder / "metrics.jsonl").exists() else "new"
        print(f"{state:6}{run.name}  {run.folder}")


def _grid(own: argparse.Namespace) -> Grid:
    files = [path for path in own.what if path.suffix == ".toml"]
    launchers = tuple(find_launcher(path) for path in own.what if path.suffix != ".toml")
    if len(files) > 1 or (files and launchers):
        raise InputError(
            "a sweep is one TOML file or a list of launchers",
            where="zslab sweep",
            found=" ".join(map(str, own.what)),
            expected="one .toml, or run_*.py scripts",
            fix="Name the launchers in the file.",
        )
    grid = read_grid(files[0]) if files else Grid(launchers)
    axes = {flag: [_value(value) for value in values.split(",")] for flag, values in map(_assignment, own.grid)}
    return replace(
        grid,
        flags={**grid.flags, **assignments(own.set)},
        grid={**grid.grid, **axes},
        seeds=tuple(own.seeds) or grid.seeds,
        splits=tuple(parse_numbers(own.splits, "--splits")) if own.splits else grid.splits,
        partitions=grid.partitions if own.partitions is None else own.partitions,
        switches=(*grid.switches, *own.switch),
    )


def assignments(texts: Sequence[str]) -> dict[str, Value]:
    """Return flag -> value of FLAG=VALUE texts.

    Raises:
        InputError: a text is of another form.
    """
    return {flag: _value(value) for flag, value in map(_assignment, texts)}


def _assignment(text: str) -> tuple[str, str]:
    flag, equals, value = text.partition("=")
    if not (flag and equals):
        raise InputError(
            "the flag has no value", where="--set or --grid", found=text, expected="FLAG=VALUE", fix="Write nepoch=20, say."
        )
    return flag.lstrip("-"), value


def _value(text: str) -> Value:
    return {"true": True, "false": False}.get(text.lower(), text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "zslab sweep", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("what", type=Path, nargs="+", help="a .toml file, or launchers (run_*.py)")
    parser.add_argument("--seeds", type=int, nargs="+", default=(), help="a run for each")
    parser.add_argument("--splits", metavar="1-30", help="a run for each class split, where launchers have them")
    parser.add_argument("--partitions", type=int, metavar="N", help="a run for each of N random partitions")
    parser.add_argument("--switch", action="append", default=[], metavar="NAME", help="switch of the launchers: finetuned, …")
    parser.add_argument("--set", action="append", default=[], metavar="FLAG=VALUE", help="flag of every run")
    parser.add_argument("--grid", action="append", default=[], metavar="FLAG=A,B", help="flag with several values")
    parser.add_argument("--dry-run", action="store_true", help="print the runs and which are done; run nothing")
    add_engine_flags(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
