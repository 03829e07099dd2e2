"""Tables as people keep them: CSV with commas, semicolons or tabs, "Unicode text", or an Excel workbook, as rows of text.

Names that a spreadsheet program would take for a formula ("=1+1", "@SUM") are written with an apostrophe before them, as
the makers of spreadsheets advise, and lose it again when they are read.
"""

from __future__ import annotations

import csv
import datetime
import io
import logging
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from zslab.errors import InputError, examples, first_line
from zslab.utils.file_kinds import START, kind_of_bytes, kind_of_file

if TYPE_CHECKING:
    from openpyxl import Workbook
    from openpyxl.cell import Cell

log = logging.getLogger(__name__)

LARGEST = 64 * 2**20  # bytes of a file
LARGEST_UNPACKED = 512 * 2**20  # bytes of a workbook's parts
MOST_CELLS = 20_000_000
SUFFIXES, WORKBOOK = (".csv", ".tsv", ".xlsx"), b"PK\x03\x04"
FORMULA = re.compile(r"'*[=+\-@\t\r]")


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes:
        rows: (number of the line, cells without surrounding white space); empty lines, and columns that are empty from top
            to bottom at the right end, are left out.
        delimiter: what separated the cells; "," for a workbook, whose numbers have points.
    """

    rows: list[tuple[int, list[str]]]
    delimiter: str


def formula_safe(text: str) -> str:
    """Return text that no spreadsheet program runs as a formula; see `from_formula_safe`."""
    return f"'{text}" if FORMULA.match(text) else text


def from_formula_safe(text: str) -> str:
    """Return the text that `formula_safe` was given."""
    return text[1:] if text[:1] == "'" and FORMULA.match(text) else text


def read_table(path: Path) -> Table:
    """Read a CSV file or an Excel workbook (.xlsx); the content decides which it is.

    The table of a workbook is its first visible sheet that is not empty.

    Raises:
        InputError: the file is missing, too large, or no table of text.
    """
    content = _read(Path(path))
    if content.startswith(WORKBOOK):
        return _workbook_table(path, content)
    return parse_table(_decoded(path, content), str(path))


def read_text(path: Path) -> str:
    """Return the text of a file in UTF-8 or UTF-16, without its byte order mark.

    Raises:
        InputError: the file is missing, too large, or no text.
    """
    return _decoded(path, _read(path))


def is_table(path: Path) -> bool:
    """Return whether a file is a table by its suffix, or an Excel workbook by its content."""
    return path.suffix.lower() in SUFFIXES or (path.is_file() and _begins_as_workbook(path))


def _begins_as_workbook(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(len(WORKBOOK)) == WORKBOOK


def _read(path: Path) -> bytes:
    """Return the content of a file of bounded size."""
    try:
        size = path.stat().st_size
        if size > LARGEST:
            raise InputError(
                "the file is too large",
                where=path,
                found=f"{size:,} bytes",
                expected=f"at most {LARGEST:,}",
                fix="Check that this is the right file.",
            )
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            "the file cannot be read",
            where=path,
            found=error.strerror or error,
            expected="text, a CSV file or an Excel workbook",
            fix="Check the path.",
        ) from None


def parse_table(text: str, source: str) -> Table:
    """Split the text of a CSV file into rows.

    Raises:
        InputError: the text is no CSV.
    """
    text = text.removeprefix("\ufeff")
    start = text.lstrip()
    if start.startswith(("<", "%PDF", "version https://git-lfs")):
        kind = kind_of_bytes(start[:START].encode())
        if kind != "text":
            raise _no_table(source, kind)
    declared = re.match(r"sep=([,;\t])\r?\n", start)  # Excel's own way to name the separator
    unquoted = re.sub(r'"[^"]*"', "", start[:1_000_000]).split("\n", 1)[0]
    delimiter = declared[1] if declared else max(",;\t", key=unquoted.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)

    def rows() -> Iterator[tuple[int, list[str]]]:
        for cells in reader:
            if not (declared and reader.line_num == 1 + text[: len(text) - len(start)].count("\n")):
                yield reader.line_num, cells

    try:
        return _tidy(rows(), delimiter, source)
    except csv.Error as error:
        raise InputError(
            "the table is no CSV",
            where=source,
            found=error,
            expected="cells with a separator between them",
            fix="Save the table as CSV (UTF-8).",
        ) from None


def _decoded(path: Path, content: bytes) -> str:
    """Return the text of a file in UTF-8, or in UTF-16 with its byte order mark."""
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        kind = kind_of_bytes(content[:START])
        raise _no_table(path, "bytes that are not UTF-8" if kind in ("text", "a file of another kind") else kind)
    return text


def _no_table(where: object, found: str) -> InputError:
    return InputError(
        "the file is not text in UTF-8 or a workbook",
        where=where,
        found=found,
        expected="text, CSV (UTF-8) or .xlsx without a password",
        fix="Save it as .xlsx, or as text or CSV in UTF-8.",
    )


def _workbook_table(path: Path, content: bytes) -> Table:
    """Return the first visible sheet of a workbook that is not empty, as text."""
    try:
        import openpyxl
    except ImportError:
        raise InputError(
            "an Excel workbook needs another package",
            where=path,
            found="no openpyxl",
            expected="openpyxl",
            fix="Install it with `pip install -e '.[images]'`, or save the table as CSV (UTF-8).",
        ) from None
    kind = kind_of_file(io.BytesIO(content))
    if kind != "an Excel workbook":
        raise _no_table(path, kind)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            unpacked = sum(part.file_size for part in archive.infolist())
        if unpacked > LARGEST_UNPACKED:
            raise ValueError(f"{unpacked:,} bytes unpacked, more than {LARGEST_UNPACKED:,}")
        book = openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=True)
        sheets = [sheet.title for sheet in book.worksheets if sheet.sheet_state == "visible"] or book.sheetnames
        table = Table([], ",")
        for title in sheets:
            table = _tidy(_sheet_rows(book, title), ",", path)
            if table.rows:
                break
        others = [repr(name) for name in sheets if name != title]
        if others:
            log.warning("%s: sheet %r was read and the others were not: %s", path, title, examples(others))
        if any("" in cells for _, cells in table.rows):
            formulas = openpyxl.load_workbook(io.BytesIO(content), read_only=True)
            _check_formulas(book, formulas, title, path)
        return table
    except InputError:
        raise
    except Exception as error:  # openpyxl raises almost anything for a damaged workbook
        raise InputError(
            "the workbook cannot be read",
            where=path,
            found=f"{type(error).__name__}: {first_line(error)}",
            expected="an Excel workbook (.xlsx) with a sheet of cells",
            fix="Save the sheet with the table as CSV (UTF-8).",
        ) from None


def _sheet_rows(book: Workbook, title: str) -> Iterator[tuple[int, list[str]]]:
    """Yield number and cells of a sheet's rows, as text."""
    if hasattr(book[title], "iter_rows"):  # a sheet of a chart has none
        for number, row in enumerate(book[title].iter_rows(), start=1):
            yield number, [_cell_text(cell) for cell in row]


def _check_formulas(values: Workbook, formulas: Workbook, title: str, path: Path) -> None:
    """Refuse formulas without results, which programs that only write files do not store; a result may be empty text."""
    rows = zip(formulas[title].iter_rows(), values[title].iter_rows())
    pairs = [pair for row in rows for pair in zip(*row) if pair[0].value is not None and pair[0].data_type == "f"]
    if pairs and all(result.value is None for _, result in pairs):
        cell = pairs[0][0]
        raise InputError(
            "the workbook holds formulas without their results",
            where=f"{path}, cell {cell.coordinate}",
            found=cell.value,
            expected="a workbook that a spreadsheet program saved",
            fix="Open it in a spreadsheet program and save it there, or save the table as CSV (UTF-8).",
        )


def _cell_text(cell: Cell) -> str:
    """Return what a cell shows: 0.7 in the format "0 %" is "70%"."""
    value = cell.value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        is_percentage = "%" in (cell.number_format or "")
        return f"{100 * value:.15g}%" if is_percentage else f"{value:.15g}" if isinstance(value, float) else str(value)
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        value = value.date()
    return "" if value is None else str(value)


def _tidy(rows: Iterator[tuple[int, list[str]]], delimiter: str, source: object) -> Table:
    """Strip cells, and drop empty rows and empty columns at the right end."""
    kept, width, n_cells = [], 0, 0
    for number, row in rows:
        cells = list(map(str.strip, row))
        n_cells += len(cells)
        if n_cells > MOST_CELLS:
            raise InputError(
                "the table is too large",
                where=source,
                found=f"more than {MOST_CELLS:,} cells",
                expected="a row for each class and a column for each attribute",
                fix="Check that this is the table of attributes.",
            )
        filled = len(cells)
        while filled and not cells[filled - 1]:
            filled -= 1
        if filled:
            kept.append((number, cells))
            width = max(width, filled)
    return Table([(number, cells if len(cells) <= width else cells[:width]) for number, cells in kept], delimiter)
