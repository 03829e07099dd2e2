"""What the notebooks call: start a launcher, then show its table and figures. Needs the extra `notebooks`."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from IPython.display import Image, display

from zsl.errors import InputError
from zsl.report.folder import read_run
from zsl.report.tables import format_rows

FLAGS = "ZSL_FLAGS"  # environment variable with flags for every launcher that a notebook starts


def launch(launcher: Path, flags: Sequence[object] = ()) -> Path:
    """Runs a launcher as on the command line, showing its output as it comes.

    Args:
        launcher: a `run_*.py` file.
        flags: typed after it; those of the environment variable ZSL_FLAGS come last and so override them.

    Returns:
        The folder of the run, or of the sweep over seeds.

    Raises:
        InputError: the launcher failed.
    """
    command = [sys.executable, str(launcher), *map(str, flags), *shlex.split(os.environ.get(FLAGS, ""))]
    print("$", shlex.join(["python", *command[1:]]))
    report, last = None, ""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        for line in process.stdout:
            print(line, end="", flush=True)
            last = line.strip() or last
            if line.startswith("Report: "):
                report = Path(line.removeprefix("Report: ").strip())
    if process.returncode != 0 or report is None:
        raise InputError(
            "a launcher that failed", where=launcher, found=last, expected="a finished run with a report",
            cure="Its output above tells what to do.",
        )
    return report.parent


def show(run_dir: Path, *figures: str, width: int = 820) -> None:
    """Prints a run's table and shows figures of its report.

    Args:
        figures: names as under `plots/` ("accuracy", "curve"); "attention" stands for attention_1, attention_2, ...; none
            means all of them.
        width: in pixels.

    Raises:
        InputError: there is no such figure.
    """
    print(format_rows(read_run(run_dir).result))
    available = {path.stem: path for path in sorted((Path(run_dir) / "plots").glob("*.png"))}
    for name in figures or available:
        found = [path for stem, path in available.items() if stem == name or stem.rpartition("_")[0] == name]
        if not found:
            raise InputError(
                "unknown figure", where=run_dir, found=name, expected=", ".join(available), cure="Ask for one of those.",
            )
        for path in found:
            display(Image(filename=str(path), width=width))
