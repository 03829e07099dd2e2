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

import re
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from zslab.data.formats.table import read_text
from zslab.errors import InputError
from zslab.results.names import MEASURES, RULES, Rule
from zslab.results.render import Tables, comma_separated, latex, make_tables, markdown
from zslab.results.runs import Record, read_runs, save_runs
from zslab.results.table import build_variants, rename_variants
from zslab.utils.files import write_text
from zslab.utils.names import find_names

BEGIN, END = "<!-- zslab table ", "<!-- end of table -->"
BLOCK = re.compile(rf"({BEGIN}(.*?) -->\n)(?:(?!{BEGIN}).)*?({END})", re.DOTALL)

NamePairs = Annotated[tuple[tuple[str, str], ...], tyro.conf.UseAppendAction]


@dataclass(frozen=True)
class TableFlags:
    """What to make tables of, and how."""

    paths: tyro.conf.Positional[tuple[Path, ...]] = ()  #: Run folders, folders of them, or collected .json files.
    format: Literal["csv", "html", "latex", "md"] = "md"  #: Style of the table.
    #: By which an epoch was selected: best on test, on validation, on validation and calibrated, the last one.
    rules: tuple[Rule, ...] = tuple(RULES)
    datasets: tuple[str, ...] = ()  #: Data sets shown and saved; all by default.
    variants: tuple[str, ...] = ()  #: Variants shown; all by default.
    rename: NamePairs = ()  #: OLD NEW: call a variant NEW. Can be repeated.
    compare: NamePairs = ()  #: FIRST SECOND: paired test of two variants. Can be repeated.
    measures: tuple[Literal["T1", "u", "s", "H", "AUSUC"], ...] = ("T1", "H")  #: Measures compared.
    pairs_only: bool = False  #: Show nothing but the comparisons.
    pivot: Literal["data", "backbone"] = "data"  #: backbone: features as a column.
    output: Path | None = None  #: Write the table to this file.
    save: Path | None = None  #: Collect the runs in this .json file.
    figures: Path | None = None  #: Draw curves and bars into this folder.
    refresh: tuple[Path, ...] = ()  #: Make the tables of Markdown pages again.


def _html(made: Tables) -> str:
    from zslab.report.page import render_part  # loads matplotlib

    return render_part("table.html", made=made)


FORMATS: dict[str, Callable[[Tables], str]] = {"csv": comma_separated, "html": _html, "latex": latex, "md": markdown}


def table(flags: TableFlags) -> None:
    """Make the table of runs, or the tables of pages again."""
    if bool(flags.paths) == bool(flags.refresh):
        must, got = "either paths of runs or pages after --refresh must be given", "both" if flags.paths else "neither"
        raise InputError(must, where="zslab table", got=got, fix="Name the folder of the runs, or the pages to refresh.")
    for page in flags.refresh:
        refresh(page)
    if flags.refresh:
        return
    runs = _read(flags, Path())
    if flags.save is not None:
        save_runs(flags.save, runs)
    text = _text(runs, flags)
    if flags.figures is not None:
        from zslab.report.runs import write_figures  # loads matplotlib

        print(*write_figures(flags.figures, build_variants(runs)), sep="\n", file=sys.stderr)
    if flags.output is not None:
        write_text(flags.output, text)
    else:
        sys.stdout.write(text)


def refresh(page: Path) -> None:
    """Make every table of a Markdown page again."""
    text = read_text(page)
    opened, complete = text.count(BEGIN), len(BLOCK.findall(text))
    if not opened or complete < opened:
        got, fix = f"{opened} of the first kind, {complete} with both", "Write both comments on lines of their own."
        raise InputError(f"tables must stand between {BEGIN}PATH … --> and {END}", where=page, got=got, fix=fix)
    write_text(page, BLOCK.sub(lambda block: f"{block[1]}\n{_block_table(page, block[2])}\n{block[3]}", text))


def _block_table(page: Path, command: str) -> str:
    try:
        arguments = shlex.split(command)
    except ValueError as error:
        must = "the command of a table must be the arguments of zslab table"
        raise InputError(must, where=page, got=f"{command!r}: {error}", fix="Close the quotation marks.") from None
    flags = tyro.cli(TableFlags, args=arguments, prog="zslab table", use_underscores=True)
    if flags.format != "md" or flags.output or flags.save or flags.figures or flags.refresh:
        must, fix = "a table of a page must be Markdown and write no other file", "Leave out the flags that say otherwise."
        raise InputError(must, where=page, got=command, fix=fix)
    return _text(_read(flags, page.parent), flags)


def _read(flags: TableFlags, folder: Path) -> list[Record]:
    """Return the runs of a command whose paths are seen from a folder."""
    runs = read_runs(folder / path for path in flags.paths)
    known = list(dict.fromkeys(run.dataset for run in runs))
    found = find_names(flags.datasets, known, "--datasets", "data set", "Copy the name from the table.")
    runs = [run for run in runs if not found or run.dataset in {known[index] for index in found}]
    return rename_variants(runs, dict(flags.rename))


def _text(runs: Sequence[Record], flags: TableFlags) -> str:
    made = make_tables(
        runs,
        rules=flags.rules,
        compare=flags.compare,
        measures=[key for symbol in flags.measures for key, measure in MEASURES.items() if measure.symbol == symbol],
        pivot=flags.pivot,
        variants=flags.variants,
        pairs_only=flags.pairs_only,
    )
    return FORMATS[flags.format](made)
