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

A launcher resolves its own flags, so the package knows no tree: with `--plan` it answers each line of standard input, a
JSON list of arguments, by one line with its runs.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import cast

from zslab import __version__
from zslab.errors import InputError, examples
from zslab.utils.files import read_json, read_toml, write_json
from zslab.utils.int_ranges import parse_numbers

Value = str | int | float | bool | None
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


def as_arguments(flags: Flags) -> list[str]:
    """Return flags as a training script takes them; None leaves a flag at its default.

    >>> as_arguments({"nepoch": 3, "gzsl": True, "freeze_dec": False, "nz": None})
    ['--nepoch', '3', '--gzsl', '--no_freeze_dec']
    """
    arguments = []
    for flag, value in flags.items():
        if isinstance(value, bool):
            arguments.append(f"--{flag}" if value else f"--no_{flag}")
        elif value is not None:
            arguments += [f"--{flag}", str(value)]
    return arguments


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


def plan_runs(grid: Grid, cache: Path) -> list[PlannedRun]:
    """Ask the launchers for their runs.

    Args:
        grid: what to run.
        cache: folder that keeps the answers, so that a sweep which has nothing left to do need not start the launchers.

    Raises:
        InputError: there is no launcher, or one refuses its flags.
    """
    if not grid.launchers:
        raise InputError(
            "the sweep has no launcher",
            where="launchers",
            found="none",
            expected="paths of run_*.py scripts",
            fix="Name at least one launcher.",
        )
    runs: list[PlannedRun] = []
    launchers: dict[str, Launcher] = {}
    with ExitStack() as started:
        for name, call in grid.calls():
            file = cache / f"{_digest(call)}.json"
            answer = _kept(file)
            if answer is None:
                if call[0] not in launchers:
                    launchers[call[0]] = started.enter_context(Launcher(Path(call[0])))
                answer = launchers[call[0]].ask(call[1:], name)
                write_json(file, [run.to_json() for run in answer])
            runs += [replace(run, name=", ".join(filter(None, [name, run.name]))) for run in answer]
    return runs


class Launcher(AbstractContextManager["Launcher"]):
    """A launcher's process, which says what runs its flags make. It starts once, since it loads PyTorch."""

    def __init__(self, path: Path):
        self._process = subprocess.Popen(
            [sys.executable, str(path), "--plan"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            start_new_session=True,  # an interrupt is for the sweep
        )

    def ask(self, arguments: Sequence[str], name: str) -> list[PlannedRun]:
        """Return the runs of a command line.

        Args:
            arguments: the launcher's flags.
            name: of the call, for the message.

        Raises:
            InputError: the launcher refuses the flags, or does not answer.
        """
        process = self._process
        assert process.stdin and process.stdout
        line = ""
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(json.dumps(list(arguments)) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        answer = json.loads(line) if line else f"it ended with status {process.wait()}"
        if isinstance(answer, str):
            raise InputError(
                "the launcher refuses its flags",
                where=name,
                found=answer,
                expected="flags that its --help lists",
                fix="Correct the flags.",
            )
        return _from_json(answer)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End the process, which ends with its input."""
        assert self._process.stdin and self._process.stdout
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


def _kept(file: Path) -> list[PlannedRun] | None:
    """Return the answer kept in a file; None without one, or where it is damaged."""
    try:
        return _from_json(cast(list[dict[str, object]], read_json(file)))
    except (InputError, KeyError, TypeError, ValueError):
        return None


def _from_json(answer: Iterable[Mapping[str, object]]) -> list[PlannedRun]:
    return [
        PlannedRun(
            str(run["name"]),
            tuple(map(str, run["command"])),  # type: ignore[call-overload]
            Path(str(run["folder"])),
            None if run["data"] is None else Path(str(run["data"])),
            dict(run["config"]),  # type: ignore[call-overload]
        )
        for run in answer
    ]


def _digest(call: Sequence[str]) -> str:
    """Identify a call by its words and by every file that could change its runs: of the launcher's tree, and settings."""
    launcher = Path(call[0])
    settings = (Path(word) for word in call if word.endswith(".toml") and Path(word).is_file())
    files = sorted({launcher, *launcher.resolve().parents[1].glob("*.py"), *settings})
    parts = [__version__, sys.executable, str(Path.cwd()), *call, *(file.read_text(encoding="utf-8") for file in files)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


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
