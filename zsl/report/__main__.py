"""Redraws the report of one or more run folders: `python -m zsl.report RUN_DIR [RUN_DIR ...] [--images DIR]`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from zsl.errors import InputError
from zsl.report.html import write_report


def main(arguments: list[str] | None = None) -> int:
    """Draws every report it can; returns 1 when at least one folder was refused."""
    parser = argparse.ArgumentParser(prog="python -m zsl.report", description="Redraw the report of run folders.")
    parser.add_argument("run_dir", nargs="+", type=Path, help="a finished run: holds result.json and metrics.jsonl")
    parser.add_argument(
        "--images", type=Path, metavar="DIR", help="folder of the pictures that attention maps are drawn on, if they moved"
    )
    failed, parsed = False, parser.parse_args(arguments)
    for run_dir in parsed.run_dir:
        try:
            print(write_report(run_dir, parsed.images))
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)
            failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
