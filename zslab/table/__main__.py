"""Make the tables of a paper from finished runs.

    zslab table runs/                                          Markdown on the screen
    zslab table runs/ --format latex --output table.tex        booktabs
    zslab table runs/ --compare "TF-VAEGAN" "TF-VAEGAN, without feedback"
    zslab table runs/ --save docs/results.json                 collect; the collected file can take the place of runs/
    zslab table docs/results.json --into docs/results.md       between the page's two marks

Values are per cent, mean ± sample standard deviation (number of runs). Selection rules of a variant stand one below the
other: `paper` is selected on the test set, `val` on validation, `last` is the last epoch. The best mean of each measure and
rule is bold.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from zslab.data.formats.table import read_text
from zslab.errors import InputError, exit_status
from zslab.fileio import write_text
from zslab.table.build import build_variants
from zslab.table.render import PIVOTS, STYLES, make_table
from zslab.table.runs import MEASURES, RULES, read_runs, save_runs

BEGIN, END = "<!-- tables begin -->\n", "<!-- tables end -->"


def insert(page: Path, table: str) -> None:
    """Replace what stands between the page's two marks.

    Raises:
        InputError: the page cannot be read or lacks the marks.
    """
    text = read_text(page)
    before, found, rest = text.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not (found and ended):
        raise InputError(
            "the page lacks the marks between which tables stand",
            where=page,
            found="no marks",
            expected=f"{BEGIN.strip()} and {END}",
            fix="Write both marks on lines of their own.",
        )
    write_text(page, f"{before}{BEGIN}\n{table}\n{END}{after}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    return exit_status(lambda: _run(_parser().parse_args(argv)))


def _run(own: argparse.Namespace) -> None:
    runs = read_runs(own.paths)
    if own.save is not None:
        save_runs(own.save, runs)
    table = make_table(
        runs,
        style="md" if own.into else own.format,
        rules=own.rules,
        compare=[(first, second) for first, second in own.compare],
        measures=own.measures,
        pivot=own.pivot,
    )
    if own.figures is not None:
        from zslab.table.figures import write_figures  # loads matplotlib

        print(*write_figures(own.figures, build_variants(runs)), sep="\n", file=sys.stderr)
    if own.into is not None:
        insert(own.into, table)
    elif own.output is not None:
        write_text(own.output, table)
    else:
        sys.stdout.write(table)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "zslab table", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("paths", type=Path, nargs="+", help="run folders, folders of them, or collected .json files")
    parser.add_argument("--format", choices=sorted(STYLES), default="md", help="style of the table (md)")
    parser.add_argument("--rules", nargs="+", choices=RULES, default=RULES, help="selection rules shown (all)")
    parser.add_argument("--measures", nargs="+", choices=list(MEASURES), default=("T1", "H"), help="measures compared (T1 H)")
    parser.add_argument(
        "--compare", nargs=2, action="append", default=[], metavar=("FIRST", "SECOND"), help="paired test of two variants"
    )
    parser.add_argument("--pivot", choices=sorted(PIVOTS), default="data", help="backbone: features as a column (data)")
    parser.add_argument("--output", type=Path, help="write the table to this file")
    parser.add_argument("--into", type=Path, help="write it between the two marks of this Markdown page")
    parser.add_argument("--save", type=Path, help="collect the runs in this .json file")
    parser.add_argument("--figures", type=Path, metavar="FOLDER", help="draw curves and bars into this folder")
    return parser


if __name__ == "__main__":
    sys.exit(main())
