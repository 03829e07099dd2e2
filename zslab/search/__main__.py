"""Search settings on the validation split, with Optuna.

    zslab search zero-shot-images/image-scripts/run_cub_tfvaegan.py --trials 50 --workers 2 --set dataroot=DIR
    zslab search LAUNCHER --trials 200 --engine slurm --workers 20 --cpus-per-run 4

Each trial trains and measures on the validation split alone; the first one has the launcher's own settings. The flags to
vary and their bounds are in `search_space.py` of the launcher's tree. Hopeless trials are stopped early. Several processes
may work on one study, and the same command continues a search that was stopped or killed.

Leaves settings.toml and report.html in the folder of the study, and prints the command that runs the winner on the test
split. Needs Optuna: pip install -e '.[search]'.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from zslab.config import as_arguments, config_dict
from zslab.errors import InputError, exit_status
from zslab.plan import load_launcher
from zslab.search.space import read_space
from zslab.sweep.__main__ import add_engine_flags, assignments, build_engine
from zslab.sweep.plan import find_launcher
from zslab.utils.environment import as_typed
from zslab.utils.files import plain_disk_errors


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return exit_status(lambda: _run(_parser().parse_args(argv)))


def _run(own: argparse.Namespace) -> int:
    try:
        from zslab.search.report import write_report, write_settings
        from zslab.search.study import Study
    except ImportError as error:
        raise InputError(
            "the search needs Optuna",
            where="zslab search",
            found=error,
            expected="optuna in this Python environment",
            fix="Install it in the project's folder: pip install -e '.[search]'.",
        ) from None
    folder, fixed = own.study or Path("runs") / f"search-{own.launcher.stem}", assignments(own.set)
    launcher = load_launcher(find_launcher(own.launcher))
    (run,) = launcher.parse(as_arguments(fixed))[1]
    space_file = own.space or launcher.path.parents[1] / "search_space.py"
    space = {k: v for k, v in read_space(space_file, launcher.script).items() if k not in fixed}
    with plain_disk_errors(folder):
        study = Study(folder.resolve(), launcher, space, fixed, own.objective, own.seed)
        engine = build_engine(own)
        try:
            status = study.execute(engine, own.trials, own.retries)
        finally:
            engine.close()
    winner = study.winner
    if winner is None:
        print("No trial is complete.", file=sys.stderr)
        return status or 1
    settings = folder / "settings.toml"
    write_settings(settings, study, winner, config_dict(run.config))
    write_report(folder / "report.html", study, winner)
    print(f"Best: trial {winner.number}, {study.objective} {100 * (winner.value or 0):.1f} on validation.")
    print(f"Report: {folder / 'report.html'}")
    command = ["python", str(own.launcher), *as_arguments(fixed), "--settings", str(settings), "--select", "val"]
    print(f"On the test split: {as_typed(command)}")
    if status:
        print("The search is not complete; the same command continues it.", file=sys.stderr)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "zslab search", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("launcher", type=Path, help="a launcher (run_*.py)")
    parser.add_argument("--trials", type=int, required=True, help="trials in all, those of earlier calls included")
    parser.add_argument("--objective", choices=("T1", "H"), default="H", help="what to maximize on validation (H)")
    parser.add_argument("--set", action="append", default=[], metavar="FLAG=VALUE", help="flag of every trial; is not varied")
    parser.add_argument("--study", type=Path, metavar="FOLDER", help="where the study and its runs are (runs/search-LAUNCHER)")
    parser.add_argument("--space", type=Path, metavar="FILE", help="another search_space.py")
    parser.add_argument("--seed", type=int, default=0, help="of the sampler (0)")
    add_engine_flags(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
