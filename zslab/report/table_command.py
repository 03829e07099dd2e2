"""Make the tables of a paper from finished runs.

    zslab table runs/                                          Markdown on the screen
    zslab table runs/ --format latex --output table.tex        booktabs
    zslab table runs/ --compare "TF-VAEGAN" "TF-VAEGAN, without feedback"
    zslab table runs/ --save docs/results.json                 collect; the collected file can take the place of runs/
    zslab table --refresh docs/results.md                      make the tables of a Markdown page again

Values are in percent, mean ± sample standard deviation (number of runs). The rules of a variant, by which an epoch was
selected, stand one below the other. The best mean of each measure and rule is bold.

In a page, a table stands between two comments; the first holds the command, with paths as seen from the page:

    <!-- zslab table results.json --rules last -->
    <!-- end of table -->
"""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from zslab.data.formats.table import read_text
from zslab.errors import InputError, exit_status
from zslab.results.names import MEASURES, RULES
from zslab.results.render import PIVOTS, Tables, comma_separated, latex, make_tables, markdown
from zslab.results.runs import Record, read_runs, save_runs
from zslab.results.table import build_variants, check_names, only_variants, rename_variants
from zslab.utils.files import write_text

BEGIN, END = "<!-- zslab table ", "<!-- end of table -->"
BLOCK = re.compile(rf"({BEGIN}(.*?) -->\n)(?:(?!{BEGIN}).)*?({END})", re.DOTALL)


def _html(made: Tables) -> str:
    from zslab.report.page import render_part  # loads matplotlib

    return render_part("table.html", made=made)


FORMATS: dict[str, Callable[[Tables], str]] = {"csv": comma_separated, "html": _html, "latex": latex, "md": markdown}


def refresh(page: Path) -> None:
    """Make every table of a Markdown page again.

    Raises:
        InputError: the page cannot be read, has no table, or lacks the end of one.
    """
    text = read_text(page)
    begun, complete = text.count(BEGIN), len(BLOCK.findall(text))
    if not begun or complete < begun:
        raise InputError(
            f"tables must stand between {BEGIN}PATH … --> and {END}",
            where=page,
            got=f"{begun} of the first kind, {complete} with both",
            fix="Write both comments on lines of their own.",
        )
    write_text(page, BLOCK.sub(lambda block: f"{block[1]}\n{_block_table(page, block[2])}\n{block[3]}", text))


def _block_table(page: Path, command: str) -> str:
    try:
        own = _parser().parse_args(shlex.split(command))
    except ValueError as error:
        must = "the command of a table must be the arguments of zslab table"
        raise InputError(must, where=page, got=f"{command!r}: {error}", fix="Close the quotation marks.") from None
    if own.format != "md" or own.output or own.save or own.figures or own.refresh:
        raise InputError(
            "a table of a page must be Markdown and write no other file",
            where=page,
            got=command,
            fix="Leave out --format, --output, --save, --figures and --refresh.",
        )
    return _table(_read(own, page.parent), own)


def _read(own: argparse.Namespace, folder: Path) -> list[Record]:
    """Return the runs of a command whose paths are seen from a folder."""
    runs = read_runs(folder / path for path in own.paths)
    if own.datasets is not None:
        check_names(own.datasets, [run.dataset for run in runs], "data set", "--datasets")
        runs = [run for run in runs if run.dataset in own.datasets]
    return rename_variants(runs, dict(own.rename))


def _table(runs: Sequence[Record], own: argparse.Namespace) -> str:
    made = make_tables(
        runs,
        rules=own.rules,
        compare=[(first, second) for first, second in own.compare],
        measures=[key for symbol in own.measures for key, measure in MEASURES.items() if measure.symbol == symbol],
        pivot=own.pivot,
        variants=own.variants,
        pairs_only=own.pairs_only,
    )
    return FORMATS[own.format](made)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    return exit_status(lambda: _run(_parser().parse_args(argv)))


def _run(own: argparse.Namespace) -> None:
    if bool(own.paths) == bool(own.refresh):
        raise InputError(
            "either paths of runs or pages after --refresh must be given",
            where="zslab table",
            got="both" if own.paths else "neither",
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
        from zslab.report.runs import write_figures  # loads matplotlib

        print(*write_figures(own.figures, build_variants(runs)), sep="\n", file=sys.stderr)
    if own.output is not None:
        write_text(own.output, table)
    else:
        sys.stdout.write(table)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "zslab table", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    symbols = [measure.symbol for measure in MEASURES.values()]
    rules = "; ".join(f"{rule!r}: {title}" for rule, title in RULES.items())
    parser.add_argument("paths", type=Path, nargs="*", help="run folders, folders of them, or collected .json files")
    parser.add_argument("--format", choices=list(FORMATS), default="md", help="style of the table (md)")
    parser.add_argument("--rules", nargs="+", choices=list(RULES), default=list(RULES), help=f"rules shown (all): {rules}")
    parser.add_argument("--datasets", nargs="+", metavar="NAME", help="data sets shown and saved (all)")
    parser.add_argument("--variants", nargs="+", metavar="NAME", help="variants shown and saved (all)")
    parser.add_argument("--rename", nargs=2, action="append", default=[], metavar=("OLD", "NEW"), help="call a variant NEW")
    parser.add_argument(
        "--compare", nargs=2, action="append", default=[], metavar=("FIRST", "SECOND"), help="paired test of two variants"
    )
    parser.add_argument("--measures", nargs="+", choices=symbols, default=("T1", "H"), help="measures compared (T1 H)")
    parser.add_argument("--pairs-only", action="store_true", help="show nothing but the comparisons")
    parser.add_argument("--pivot", choices=sorted(PIVOTS), default="data", help="backbone: features as a column (data)")
    parser.add_argument("--output", type=Path, help="write the table to this file")
    parser.add_argument("--save", type=Path, help="collect the runs in this .json file")
    parser.add_argument("--figures", type=Path, metavar="FOLDER", help="draw curves and bars into this folder")
    parser.add_argument(
        "--refresh", type=Path, nargs="+", default=[], metavar="PAGE", help="make the tables of Markdown pages again"
    )
    return parser
