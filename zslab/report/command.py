"""Redraw the report of one or more run folders: `zslab report RUN_DIR [RUN_DIR ...] [--images DIR]`."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from zslab.errors import exit_status
from zslab.report.html import write_report


def main(arguments: list[str] | None = None) -> int:
    """Draw every report that can be drawn; return 1 when at least one folder was refused."""
    parser = argparse.ArgumentParser(prog="zslab report", description="Redraw the report of run folders.")
    parser.add_argument("run_dir", nargs="+", type=Path, help="folder of a finished run, with result.json and metrics.jsonl")
    parser.add_argument(
        "--images", type=Path, metavar="DIR", help="folder of the images below attention maps, if they have moved"
    )
    parsed = parser.parse_args(arguments)

    def redraw(run: Path) -> None:
        print(write_report(run, parsed.images))

    return max(exit_status(partial(redraw, run)) for run in parsed.run_dir)
