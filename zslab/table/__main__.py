"""Make the tables of a paper from finished runs.

    zslab table runs/                                          Markdown on the screen
    zslab table runs/ --format latex --output table.tex        booktabs
    zslab table runs/ --compare "TF-VAEGAN" "TF-VAEGAN, without feedback"
    zslab table runs/ --save docs/results.json                 collect; the collected file can take the place of runs/
    zslab table --refresh docs/results.md                      make the tables of a Markdown page again

Values are per cent, mean ± sample standard deviation (number of runs). Selection rules of a variant stand one below the
other: `paper` is selected on the test set, `val` on validation, `last` is the last epoch. The best mean of each measure and
rule is bold.

In a page, a table stands between two comments; the first holds the command, with paths as seen from the page:

    <!-- zslab table results.json --rules last -->
    <!-- end of table -->
"""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from zslab.data.formats.table import read_text
from zslab.errors import InputError, exit_status
from zslab.table.build import build_variants, check_names, only_variants, rename_variants
from zslab.table.render import PIVOTS, STYLES, make_table
from zslab.table.runs import MEASURES, RULES, Quote, Run, read_runs, save_runs
from zslab.utils.files import write_text

BEGIN, END = "<!-- zslab table ", "<!-- end of table -->"
BLOCK = re.compile(rf"({BEGIN}(.*?) -->\n)(?:(?!{BEGIN}).)*?({END})", re.DOTALL)


def refresh(page: Path) -> None:
    """Make every table of a Markdown page again.

    Raises:
        InputError: the page cannot be read, has no table, or lacks the end of one.
    """
    text = read_text(page)
    begun, whole = text.count(BEGIN), len(BLOCK.findall(text))
    if not begun or whole < begun:
        raise InputError(
            "the page lacks the comments between which tables stand",
            where=page,
            found=f"{begun} of the first kind, {whole} with both",
            expected=f"{BEGIN}PATH … --> and {END}",
            fix="Write both comments on lines of their own.",
        )
    write_text(page, BLOCK.sub(lambda block: f"{block[1]}\n{_block_table(page, block[2])}\n{block[3]}", text))


def _block_table(page: Path, command: str) -> str:
    try:
        own = _parser().parse_args(shlex.split(command))
    except ValueError as error:
        raise InputError(
            "the command of a table cannot be read",
            where=page,
            found=f"{command!r}: {error}",
            expected="the arguments of zslab table",
            fix="Close the quotation marks.",
        ) from None
    if own.format != "md" or own.output or own.save or own.figures or own.refresh:
        raise InputError(
            "a table of a page is Markdown and writes no other file",
            where=page,
            found=command,
            expected="paths and what the table shows",
            fix="Leave out --format, --output, --save, --figures and --refresh.",
        )
    return _table(_read(own, page.parent), own)


def _read(own: argparse.Namespace, folder: Path) -> list[Run | Quote]:
    """Return the runs of a command whose paths are seen from a folder."""
    runs = read_runs(folder / path for path in own.paths)
    if own.datasets is not None:
        check_names(own.datasets, [run.dataset for run in runs], "data set", "--datasets")
        runs = [run for run in runs if run.dataset in own.datasets]
    return rename_variants(runs, dict(own.rename))


def _table(runs: Sequence[Run | Quote], own: argparse.Namespace) -> str:
    return make_table(
        runs,
        style=own.format,
        rules=own.rules,
        compare=[(first, second) for first, second in own.compare],
        measures=[measure for name in own.measures for measure, shown in MEASURES.items() if shown == name],
        pivot=own.pivot,
        variants=own.variants,
        pairs_only=own.pairs_only,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    return exit_status(lambda: _run(_parser().parse_args(argv)))


def _run(own: argparse.Namespace) -> None:
    if bool(own.paths) == bool(own.refresh):
        raise InputError(
            "there is nothing to make a table of" if not own.paths else "runs and pages are given",
            where="zslab table",
            found="both" if own.paths else "no path",
            expected="paths of runs, or pages after --refresh",
            fix="Name the folder of the runs, or the pages to refresh.",
        )
    for page in own.refresh:
        refresh(page)
    if own.refresh:
        return
    runs = _read(own, Path())
    if own.save is not None:
        save_runs(own.save, runs if own.variants is None else only_variants(runs, own.variants))
    table = _table(runs, own)
    if own.figures is not None:
        from zslab.table.figures import write_figures  # loads matplotlib

        print(*write_figures(own.figures, build_variants(runs)), sep="\n", file=sys.stderr)
    if own.output is not None:
        write_text(own.output, table)
    else:
        sys.stdout.write(table)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "zslab table", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("paths", type=Path, nargs="*", help="run folders, folders of them, or collected .json files")
    parser.add_argument("--format", choices=["csv", *sorted(STYLES)], default="md", help="style of the table (md)")
    parser.add_argument("--rules", nargs="+", choices=RULES, default=RULES, help="selection rules shown (all)")
    parser.add_argument("--datasets", nargs="+", metavar="NAME", help="data sets shown and saved (all)")
    parser.add_argument("--variants", nargs="+", metavar="NAME", help="variants shown and saved (all)")
    parser.add_argument("--rename", nargs=2, action="append", default=[], metavar=("OLD", "NEW"), help="call a variant NEW")
    parser.add_argument(
        "--compare", nargs=2, action="append", default=[], metavar=("FIRST", "SECOND"), help="paired test of two variants"
    )
    parser.add_argument(
        "--measures", nargs="+", choices=list(MEASURES.values()), default=("T1", "H"), help="measures compared (T1 H)"
    )
    parser.add_argument("--pairs-only", action="store_true", help="show nothing but the comparisons")
    parser.add_argument("--pivot", choices=sorted(PIVOTS), default="data", help="backbone: features as a column (data)")
    parser.add_argument("--output", type=Path, help="write the table to this file")
    parser.add_argument("--save", type=Path, help="collect the runs in this .json file")
    parser.add_argument("--figures", type=Path, metavar="FOLDER", help="draw curves and bars into this folder")
    parser.add_argument(
        "--refresh", type=Path, nargs="+", default=[], metavar="PAGE", help="make the tables of Markdown pages again"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
