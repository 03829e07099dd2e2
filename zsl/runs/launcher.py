"""What every `run_*.py` launcher does: choose a variant's flags, pass the user's on, run once or a sweep.

A sweep runs several seeds, class splits or both, leaves out what has finished before, and reports mean and standard
deviation.

A launcher owns its flags, literally; here are only the switches that all launchers share. Flags that are typed after a
launcher reach the training script after its own, and so override them.
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from zsl.errors import InputError
from zsl.numbers import format_numbers, parse_numbers
from zsl.runs.config import config_dict, config_digest, parse_config

Flags = Mapping[str, object]
STOPPED = 130  # a training script's exit status after Ctrl-C or SIGTERM
SWITCHES = {
    "finetuned": "settings for features fine-tuned on the seen classes",
    "transductive": "use unlabelled features of the unseen classes",
    "standard_split": "settings for the standard split, which measures zero-shot accuracy alone",
}
LAST_WORDS = 15  # lines shown of a failed run whose output was kept from the screen


def as_arguments(flags: Flags) -> list[str]:
    """{"lr": 1e-4, "encoded_noise": True} as ["--lr", "0.0001", "--encoded_noise"]; False becomes --no_encoded_noise."""
    arguments = []
    for name, value in flags.items():
        if isinstance(value, bool):
            arguments.append(f"--{name}" if value else f"--no_{name}")
        else:
            arguments += [f"--{name}", str(value)]
    return arguments


def launch(docstring: str, tree: Path, variants: Mapping[tuple[str, ...], tuple[str, Flags]]) -> int:
    """Runs a launcher; returns its exit status.

    Args:
        docstring: the launcher's, shown by --help.
        tree: the folder of the training scripts, `config.py` and `util.py`; it must be on the import path.
        variants: words -> (training script, flags). Those of the words that are keys of `SWITCHES` become switches of the
            launcher, and the variant is run whose words are the ones switched on.
    """
    offered = {word for key in variants for word in key if word in SWITCHES}
    parser = argparse.ArgumentParser(
        description=docstring, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"All other flags go to {' or '.join(sorted({script for script, _ in variants.values()}))}, whose --help "
               "lists them.\nThey override this launcher's settings, which --dry-run prints.",
    )
    for word, help_text in SWITCHES.items():
        if word in offered:
            parser.add_argument(f"--{word}", action="store_true", help=help_text)
    parser.add_argument("--seeds", type=int, nargs="+", help="run each of these seeds; report mean and sd")
    if any("split" in flags for _, flags in variants.values()):
        parser.add_argument("--splits", type=_numbers, metavar="1-30", help="run these class splits; report mean and sd")
    parser.add_argument("--workers", type=_at_least_one, default=1, help="runs of a sweep at the same time (1)")
    parser.add_argument("--dry-run", action="store_true", help="print the command and the resolved config; run nothing")
    own, passed_on = parser.parse_known_args()
    chosen = {word for word in offered if getattr(own, word)}
    found = [variant for key, variant in variants.items() if offered & set(key) == chosen]
    if not found:
        parser.error(f"no settings for --{' with --'.join(sorted(chosen))}")
    ((script, flags),) = found
    arguments = [*as_arguments(flags), *passed_on]
    runs: list[dict[str, int]] = [{"split": split} for split in getattr(own, "splits", None) or ()] or [{}]
    if own.seeds is not None:
        runs = [run | {"manualSeed": seed} for run in runs for seed in own.seeds]
    if runs == [{}]:
        if own.dry_run:
            return _print_run(tree, script, arguments)
        return _run_all([_Command("", _command(tree, script, arguments))], 1)
    return _sweep(tree, script, arguments, runs, own.workers, own.dry_run)


def _numbers(text: str) -> list[int]:
    try:
        return parse_numbers(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _at_least_one(text: str) -> int:
    if not (text.isdecimal() and int(text) >= 1):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def _command(tree: Path, script: str, arguments: Sequence[str]) -> list[str]:
    return [sys.executable, str(tree / script), *arguments]


def _print_run(tree: Path, script: str, arguments: Sequence[str]) -> int:
    config = config_dict(_resolve(script, arguments))
    command = shlex.join(_command(tree, script, arguments))
    print(command, *(f"  {key} = {value}" for key, value in config.items()), sep="\n")
    return 0


def _sweep(
    tree: Path, script: str, arguments: list[str], runs: Sequence[Flags], workers: int, dry_run: bool
) -> int:
    """Runs what has not finished, then gathers everything; each of `runs` is the flags that set it apart."""
    from util import run_folder  # the tree's own; `tree` is on the path

    lines = [[*arguments, *as_arguments(run)] for run in runs]
    configs = [_resolve(script, line) for line in lines]
    if dry_run:
        for line in lines:
            _print_run(tree, script, line)
        return 0
    try:
        folders = [run_folder(config) for config in configs]
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    commands = [
        # What an interrupted sweep has begun is continued.
        _Command(", ".join(f"{flag} {value}" for flag, value in run.items()),
                 _command(tree, script, line if config.overwrite else [*line, "--resume"]))
        for run, line, config, folder in zip(runs, lines, configs, folders)
        if config.overwrite or not folder.finished
    ]
    if len(commands) < len(runs):
        print(f"{len(runs) - len(commands)} of {len(runs)} runs have finished before and are not repeated.", flush=True)
    status = _run_all(commands, workers)
    if status != 0:
        print("The sweep is not complete; the same command continues it.", file=sys.stderr)
        return status
    from zsl.report.sweep import write_sweep  # loads matplotlib

    target = _sweep_folder(configs[0], folders[0], runs)
    print(write_sweep(target, [folder.path for folder in folders]), f"Report: {target / 'report.html'}", sep="\n")
    return 0


def _sweep_folder(config: object, folder: object, runs: Sequence[Flags]) -> Path:
    """Beside the runs' folders, named as the first of them with all splits and seeds in the place of its own."""
    name = folder.path.name.removesuffix(f"-{folder.digest}")
    for flag, word in (("split", "split"), ("manualSeed", "seed")):
        if flag in runs[0]:
            values = list(dict.fromkeys(run[flag] for run in runs))
            text = format_numbers(values) if flag == "split" else "_".join(map(str, values))
            name = name.replace(f"-{word}{values[0]}", f"-{word}s{text}")
    return folder.path.with_name(f"{name}-{config_digest(replace(config, **dict.fromkeys(runs[0], 0)))}")


@dataclass(frozen=True)
class _Command:
    """`name` is what sets the run apart from the others of a sweep, in words."""

    name: str
    arguments: list[str]


@dataclass(frozen=True)
class _Running:
    command: _Command
    process: subprocess.Popen
    output: IO[bytes] | None
    started: float


def _run_all(commands: Sequence[_Command], workers: int) -> int:
    """Runs the commands, `workers` at a time; returns the first status that is not 0, after which none is started.

    A single worker shows its output; several would mix theirs, so only beginnings, ends and failures are shown (each
    run's log.txt has the rest), and they share the processor's cores.
    """
    waiting, running, status, done = list(commands), [], 0, 0
    environment = dict(os.environ)
    if workers > 1:
        environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))

    def forward(number: int, frame: object) -> None:
        nonlocal status
        status = status or 128 + number
        for run in running:
            run.process.send_signal(number)

    # Ctrl-C reaches the training scripts too, which save and exit; until then the launcher must not go away.
    earlier = {signal.SIGINT: signal.signal(signal.SIGINT, signal.SIG_IGN),
               signal.SIGTERM: signal.signal(signal.SIGTERM, forward)}
    try:
        while running or (waiting and status == 0):
            while waiting and len(running) < workers and status == 0:
                command = waiting.pop(0)
                output = tempfile.TemporaryFile() if workers > 1 else None  # noqa: SIM115, closed by _announce
                process = subprocess.Popen(
                    command.arguments, env=environment, stdout=output, stderr=output and subprocess.STDOUT,
                    preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
                )
                running.append(_Running(command, process, output, time.perf_counter()))
            ended = [run for run in running if run.process.poll() is not None]
            for run in ended:
                running.remove(run)
                code = run.process.returncode
                status = status or (code if code >= 0 else 128 - code)
                done += 1
                _announce(run, f"{done} of {len(commands)}")
            if not ended:
                time.sleep(0.05)
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
    return status


def _announce(run: _Running, count: str) -> None:
    """Says how a run ended whose output nobody saw."""
    if run.output is None:
        return
    minutes, code = (time.perf_counter() - run.started) / 60, run.process.returncode
    word = {0: "done", STOPPED: "stopped"}.get(code, "failed")
    print(f"{count}: {run.command.name} {word} after {minutes:.1f} min", flush=True)
    if word == "failed":
        run.output.seek(0)
        print(*run.output.read().decode(errors="replace").splitlines()[-LAST_WORDS:], sep="\n", file=sys.stderr, flush=True)
    run.output.close()


def _resolve(script: str, arguments: Sequence[str]) -> object:
    """The config that the training script will see."""
    from config import DEFAULTS  # the tree's own, which is on the path

    return parse_config(DEFAULTS[script], arguments, script, "")
