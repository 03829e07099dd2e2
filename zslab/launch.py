"""What every `run_*.py` launcher does: choose a variant's flags, pass on the user's, run once or a sweep.

A sweep runs several seeds, class splits or random partitions of the classes, skips runs that have finished, and reports
mean and standard deviation.

A launcher owns its flags, literally; this module has only the switches that all launchers share. Flags that are typed after
a launcher reach the training script after the launcher's own, and so override them; those of `--settings` come between.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import json
import runpy
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import dropwhile, takewhile
from pathlib import Path

from zslab.config import RunFlags, data_folders, run_folder
from zslab.errors import InputError, examples, exit_status, prepare_output
from zslab.results.config import config_dict, config_digest, parse_config
from zslab.results.folder import RunFolder
from zslab.sweep.driver import execute
from zslab.sweep.engines import LocalEngine
from zslab.sweep.plan import Flags, PlannedRun, Value, as_arguments
from zslab.utils.environment import as_typed
from zslab.utils.files import read_toml
from zslab.utils.int_ranges import format_numbers, parse_numbers

SWITCHES = {
    "finetuned": "settings for features fine-tuned on the seen classes",
    "transductive": "use unlabeled features of the unseen classes",
    "standard_split": "settings for the standard split, which measures zero-shot accuracy alone",
}


@dataclass(frozen=True)
class Run:
    """One run of a launcher.

    Attributes:
        script: the training script.
        arguments: its flags.
        config: what the script makes of them.
        differs: the flags that set it apart from the other runs of a sweep.
    """

    script: Path
    arguments: list[str]
    config: RunFlags
    differs: Mapping[str, int]

    @property
    def command(self) -> list[str]:
        """The training script as it is started."""
        return [sys.executable, str(self.script), *self.arguments]

    @property
    def folder(self) -> RunFolder:
        """Where the run leaves its result."""
        return run_folder(self.config)

    def planned(self) -> PlannedRun:
        """Return the run as a sweep executes it: it continues what an interrupted sweep has begun."""
        name = ", ".join(f"{flag} {value}" for flag, value in self.differs.items())
        resume = [] if self.config.overwrite else ["--resume"]
        data = data_folders(self.config)[0] / self.config.dataset
        return PlannedRun(name, (*self.command, *resume), self.folder.path, data, config_dict(self.config))


def launch(
    docstring: str,
    tree: Path,
    defaults: Mapping[str, RunFlags],
    variants: Mapping[tuple[str, ...], tuple[str, Flags]],
    argv: Sequence[str] | None = None,
) -> int:
    """Run a launcher and return its exit status.

    Args:
        docstring: the launcher's, shown by --help.
        tree: the folder of the training scripts.
        defaults: training script -> its config without flags.
        variants: words -> (training script, flags). Words that are keys of `SWITCHES` become switches of the launcher. The
            variant whose words are switched on is run.
        argv: the command line; None takes that of this process.
    """
    prepare_output()
    parser = _parser(docstring, variants)

    def resolve(argv: Sequence[str] | None) -> tuple[argparse.Namespace, list[Run]]:
        own, passed_on = parser.parse_known_args(argv)
        offered = _switches(variants)
        chosen = {word for word in offered if getattr(own, word)}
        matching = [variant for words, variant in variants.items() if offered & set(words) == chosen]
        if not matching:
            parser.error(f"no settings for --{' with --'.join(sorted(chosen))}")
        script, flags = matching[0]
        if own.settings is not None:
            flags = {**flags, **_read_settings(own.settings, defaults[script])}
        repeats = {"split": getattr(own, "splits", None), "partition": own.partitions, "manualSeed": own.seeds}
        axes = {flag: values for flag, values in repeats.items() if values is not None}
        differences = [dict(zip(axes, values)) for values in itertools.product(*axes.values())]
        runs = []
        for differs in differences:
            arguments = [*as_arguments(flags), *passed_on, *as_arguments(differs)]
            runs.append(Run(tree / script, arguments, parse_config(defaults[script], arguments, script, ""), differs))
        return own, runs

    if "--plan" in (sys.argv[1:] if argv is None else argv):
        _answer_plans(lambda arguments: resolve(arguments)[1])
        return 0
    return exit_status(lambda: _execute(*resolve(argv)))


def _execute(own: argparse.Namespace, runs: Sequence[Run]) -> int:
    if own.dry_run:
        for run in runs:
            print(as_typed(run.command), *(f"  {flag} = {value}" for flag, value in config_dict(run.config).items()), sep="\n")
        return 0
    return _sweep(runs, own.workers) if runs[0].differs else _run_script(runs[0])


def _read_settings(path: Path, default: RunFlags) -> dict[str, Value]:
    """Return the flags of a settings file, such as `zslab search` writes.

    Raises:
        InputError: the file is not TOML, or has anything but flags of the training script under [flags].
    """
    content = read_toml(path, "a file of flags", "Write flags under [flags], such as nepoch = 20.")
    flags = content.get("flags", {})
    unknown = content.keys() - {"flags"} or (flags.keys() - default.__dataclass_fields__.keys())
    if unknown or not flags:
        raise InputError(
            "the file has an unknown flag" if unknown else "the file has no flags",
            where=path,
            found=examples(sorted(unknown)) or "an empty [flags]",
            expected="one table [flags] with flags of the training script",
            fix="Correct the file; --help of the training script lists its flags.",
        )
    return dict(flags)


def _answer_plans(runs: Callable[[list[str]], Sequence[Run]]) -> None:
    """Answer each line of standard input, the flags of a command line, by its runs or by the reason of a refusal."""
    for line in sys.stdin:
        said = io.StringIO()
        try:
            with contextlib.redirect_stderr(said):
                answer: object = [run.planned().to_json() for run in runs(json.loads(line))]
        except InputError as error:
            answer = str(error)
        except SystemExit:
            answer = _reason(said.getvalue())
        print(json.dumps(answer), flush=True)


def _reason(text: str) -> str:
    """Return what argparse or tyro complain about, without usage, box and advice."""
    if "error: " in text:
        return text.rpartition("error: ")[2].strip()
    lines = [line.strip("╭╮╰╯│+| ") for line in text.strip().splitlines()]  # a title, the reason, a rule, advice
    after_title = dropwhile(lambda line: not line.strip("─-"), lines[1:])
    return " ".join(takewhile(lambda line: line.strip("─-"), after_title))


def _switches(variants: Mapping[tuple[str, ...], object]) -> set[str]:
    return {word for words in variants for word in words if word in SWITCHES}


def _parser(docstring: str, variants: Mapping[tuple[str, ...], tuple[str, Flags]]) -> argparse.ArgumentParser:
    scripts = " or ".join(sorted({script for script, _ in variants.values()}))
    parser = argparse.ArgumentParser(
        description=docstring,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"All other flags go to {scripts}, whose --help lists them.\nThey override this launcher's settings, which "
        "--dry-run prints.",
    )
    offered = _switches(variants)
    for word, help_text in SWITCHES.items():
        if word in offered:
            parser.add_argument(f"--{word}", action="store_true", help=help_text)
    parser.add_argument("--seeds", type=int, nargs="+", help="run each of these seeds; report mean and sd")
    if any("split" in flags for _, flags in variants.values()):
        parser.add_argument("--splits", type=_numbers, metavar="1-30", help="run these class splits; report mean and sd")
    parser.add_argument("--partitions", type=_partitions, metavar="N", help="run N random partitions of the classes")
    parser.add_argument("--settings", type=Path, metavar="FILE", help="flags from a TOML file, as `zslab search` writes it")
    parser.add_argument("--workers", type=_at_least_one, default=1, help="runs of a sweep at the same time (1)")
    parser.add_argument("--dry-run", action="store_true", help="print the command and the resolved config; run nothing")
    parser.add_argument("--plan", action="store_true", help=argparse.SUPPRESS)  # see zslab.sweep.plan
    return parser


def _numbers(text: str) -> list[int]:
    try:
        return parse_numbers(text, "--splits")
    except InputError as error:  # argparse names the flag
        raise argparse.ArgumentTypeError(f"{error.problem} (got {error.found}, expected {error.expected})") from None


def _partitions(text: str) -> range:
    return range(1, _at_least_one(text) + 1)


def _at_least_one(text: str) -> int:
    if not (text.isdecimal() and int(text) >= 1):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def _run_script(run: Run) -> int:
    """Run the training script in this process, as if its command had been typed."""
    launcher = sys.argv
    sys.argv = run.command[1:]
    try:
        runpy.run_path(str(run.script), run_name="__main__")
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    finally:
        sys.argv = launcher
    return 0


def _sweep(runs: Sequence[Run], workers: int) -> int:
    """Run what has not finished, then report all runs together."""
    planned = [run.planned() for run in runs]
    engine = LocalEngine(workers)
    try:
        outcome = execute(planned, engine, keep_going=False, show_output=workers == 1)
    finally:
        engine.close()
    if outcome.status != 0:
        print("The sweep is not complete; the same command continues it.", file=sys.stderr)
        return outcome.status
    from zslab.table.report import write_report  # loads matplotlib

    target = _sweep_folder(runs)
    print(write_report(target, [run.folder for run in planned]), f"Report: {target / 'report.html'}", sep="\n")
    return 0


def _sweep_folder(runs: Sequence[Run]) -> Path:
    """Return a folder beside those of the runs, named as the first of them with all splits and seeds in place of its own."""
    first, folder = runs[0], runs[0].folder
    name = folder.path.name.removesuffix(f"-{folder.digest}")
    for flag, word in (("split", "split"), ("partition", "partition"), ("manualSeed", "seed")):
        if flag in first.differs:
            values = list(dict.fromkeys(run.differs[flag] for run in runs))
            text = "_".join(map(str, values)) if flag == "manualSeed" else format_numbers(values)
            name = name.replace(f"-{word}{values[0]}", f"-{word}s{text}")
    return folder.path.with_name(f"{name}-{config_digest(replace(first.config, **dict.fromkeys(first.differs, 0)))}")
