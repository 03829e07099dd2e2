"""What every `run_*.py` launcher calls: one run in this process, or several as a sweep with mean and standard deviation."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from zslab.config import config_dict, config_digest, override
from zslab.errors import ExitStatus
from zslab.plan import STOPPED, Launcher, Run
from zslab.utils.flags import format_numbers


def launch(launcher: Launcher, argv: Sequence[str] | None = None) -> int:
    """Run a launcher and return its exit status.

    Args:
        launcher: its settings.
        argv: the command line; None takes that of this process.
    """
    with ExitStatus(STOPPED) as status:
        switches, runs = launcher.parse(sys.argv[1:] if argv is None else argv)
        if switches.dry_run:
            _print_plan(runs)
        elif len(runs) > 1 or runs[0].differs:
            status.code = _sweep(runs, switches.workers)
        else:
            from zslab.experiment import log_to_stdout, report, train  # loads everything

            config = runs[0].config
            log_to_stdout()
            report(train(config, launcher.method()), config.report)
    return status.code


def train_command(argv: Sequence[str]) -> int:
    """Train a method with the flags of a launcher, `zslab train --method file.py:NAME [flags]`, and return the exit status."""
    named = any(word.partition("=")[0] == "--method" for word in argv)  # then --help is about its flags
    about = "Train a method with the flags of a launcher."
    parser = argparse.ArgumentParser("zslab train", description=about, add_help=not named, allow_abbrev=False)
    parser.add_argument("--method", required=True, help="file.py:NAME, module:NAME, or the name that a package offers it by")
    chosen, flags = parser.parse_known_args(argv)
    with ExitStatus() as status:
        status.code = launch(method_launcher(chosen.method), flags)
    return status.code


def method_launcher(name: str) -> Launcher:
    """Return a launcher with a method's own settings, for a name as `zslab.method.load_method` takes it."""
    from zslab.method import load_method, method_place  # loads PyTorch

    method = load_method(name)
    module = sys.modules[method.build_trainer.__module__]
    command = ["-m", "zslab", "train", "--method", name]
    return Launcher(module.__doc__, str(module.__file__), method_place(name), method.config, {(): {}}, command)


def _print_plan(runs: Sequence[Run]) -> None:
    first = runs[0]
    print(f"{first.launcher.script} with")
    print(*(f"  {flag} = {value}" for flag, value in config_dict(first.config).items() if flag not in first.differs), sep="\n")
    print("makes", *(f"  {run.name or 'one run'}: {run.folder.path}" for run in runs), sep="\n")


def _sweep(runs: Sequence[Run], workers: int) -> int:
    """Make the runs that have not finished, each in a process of its own, then report all of them together."""
    from zslab.report.runs import write_runs_report  # loads matplotlib
    from zslab.sweep.engines import EngineFlags, start_engine
    from zslab.sweep.plan import planned
    from zslab.sweep.run import execute
    from zslab.utils.environment import shown

    engine = start_engine(EngineFlags(workers=workers))
    status = execute([planned(run) for run in runs], engine, keep_going=False, show_output=workers == 1)
    if status != 0:
        return status
    target = _sweep_folder(runs)
    print(write_runs_report(target, [run.folder.path for run in runs]), f"Report: {shown(target / 'report.html')}", sep="\n")
    return 0


def _sweep_folder(runs: Sequence[Run]) -> Path:
    """Return a folder beside those of the runs, named as the first of them with all splits and seeds in place of its own."""
    first, folder = runs[0], runs[0].folder
    name = folder.path.name.removesuffix(f"-{folder.digest}")
    for flag, word in (("split", "split"), ("partition", "partition"), ("manualSeed", "seed")):
        if flag in first.differs:
            values = list(dict.fromkeys(int(run.differs[flag] or 0) for run in runs))
            text = "_".join(map(str, values)) if flag == "manualSeed" else format_numbers(values)
            name = name.replace(f"-{word}{values[0]}", f"-{word}s{text}")
    return folder.path.with_name(f"{name}-{config_digest(override(first.config, dict.fromkeys(first.differs, 0), name))}")
