"""Redraws the report of one or more run folders: `python -m zsl.report RUN_DIR [RUN_DIR ...] [--images DIR]`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from zsl.errors import exit_status
from zsl.report.html import write_report


def main(arguments: list[str] | None = None) -> int:
    """Draws every report it can; returns 1 when at least one folder was refused."""
    parser = argparse.ArgumentParser(prog="python -m zsl.report", description="Redraw the report of run folders.")
    parser.add_argument("run_dir", nargs="+", type=Path, help="a finished run: holds result.json and metrics.jsonl")
    parser.add_argument(
        "--images", type=Path, metavar="DIR", help="folder of the pictures that attention maps are drawn on, if they moved"
    )
    parsed = parser.parse_args(arguments)
    return max(exit_status(lambda run=run: print(write_report(run, parsed.images))) for run in parsed.run_dir)


if __name__ == "__main__":
    sys.exit(main())
