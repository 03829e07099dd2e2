"""What the notebooks call: start a launcher, then show its table and figures. Needs the extra `notebooks`."""

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from IPython.display import Image, display

from zslab.errors import InputError, examples
from zslab.results.result import read_result
from zslab.results.text import format_rows
from zslab.utils.environment import as_typed

FLAGS = "ZSL_FLAGS"  # environment variable with flags for every launcher that a notebook starts


def launch(launcher: Path, flags: Sequence[object] = ()) -> Path:
    """Run a launcher as on the command line, showing its output as it comes.

    Args:
        launcher: a `run_*.py` file.
        flags: typed after it; those of the environment variable ZSL_FLAGS come last and so override them.

    Returns:
        The folder of the run, or of the sweep over seeds.
    """
    command = [sys.executable, str(launcher), *map(str, flags), *shlex.split(os.environ.get(FLAGS, ""))]
    print("$", as_typed(["python", *command[1:]]))
    report, last = None, ""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace") as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            last = line.strip() or last
            if line.startswith("Report: "):
                report = Path(line.removeprefix("Report: ").strip())
    if process.returncode != 0 or report is None:
        raise InputError("the launcher must end with a report", where=launcher, got=last, fix="Read its output above.")
    return report.parent


def show(run_dir: Path, *figures: str, width: int = 820) -> None:
    """Print a run's table and show figures of its report.

    Args:
        run_dir: the run folder.
        figures: names as under `plots/` ("accuracy", "curve"); "attention" stands for attention_1, attention_2, ...; none
            means all of them.
        width: in pixels.
    """
    print(format_rows(read_result(Path(run_dir) / "result.json")))
    available = {path.stem: path for path in sorted((Path(run_dir) / "plots").glob("*.png"))}
    for name in figures or available:
        found = [path for stem, path in available.items() if stem == name or stem.rpartition("_")[0] == name]
        if not found:
            must, fix = f"a figure must be one of {examples(available)}", "Ask for one of those."
            raise InputError(must, where=run_dir, got=name, fix=fix)
        for path in found:
            display(Image(filename=str(path), width=width))  # type: ignore[no-untyped-call]
