"""Tables as people keep them, as rows of text: CSV with commas, semicolons or tabs, "Unicode text", or an Excel workbook.

Two layouts become a table with a row for each class: long tables (class, attribute, value), and the matrices of numbers of
AwA and CUB, whose names are in files beside them. An index that a program saved as the first column is left out. Lists of
names are text with a name a line, a column of a table, or a .mat file.

Names that a spreadsheet program would take for a formula ("=1+1", "@SUM") are written with an apostrophe before them, as
the makers of spreadsheets advise, and lose it again when they are read.
"""

from __future__ import annotations

import csv
import datetime
import io
import logging
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from zslab.data.formats.matfile import read_mat
from zslab.errors import InputError, examples, readable
from zslab.utils.files import OTHER, kind_of_bytes, user_path
from zslab.utils.names import logged_names

if TYPE_CHECKING:
    from openpyxl.cell import Cell

log = logging.getLogger(__name__)

SUFFIXES, WORKBOOK = (".csv", ".tsv", ".xlsx"), b"PK\x03\x04"
FORMULA = re.compile(r"'*[=+\-@\t\r]")
NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?\s*%?")
VALUE = re.compile(rf"{NUMBER.pattern}|yes|no|true|false|x?", re.IGNORECASE)
WHOLE = re.compile(r"\d+(\.0)?")
COUNT = re.compile(r"\s*(\d+)[.:]?\s+(?=\S)")
HEADINGS = ("des", "name", "names", "attribute", "attributes", "class", "classes", "new_des")  # the first that is there counts
INDEX = re.compile(r"(Unnamed: \d+(\.\d+)*|index|level_\d+)?")  # how pandas calls a saved index when it is read
CLASS = re.compile(r"class(es)?|(class[ _]?)?names?|species|categor(y|ies)|labels?", re.IGNORECASE)
MUST = "the file must be text or CSV in UTF-8, or an Excel workbook (.xlsx) without a password"
FIX = "Save it as .xlsx, or as text or CSV in UTF-8."

Rows = list[tuple[int, list[str]]]


class Table(NamedTuple):
    """Rows (number of the line, cells without surrounding white space), and what separated the cells; "," for a workbook.

    Empty lines, and columns that are empty from top to bottom at the right end, are left out.
    """

    rows: Rows
    delimiter: str


def formula_safe(text: str) -> str:
    """Return text that no spreadsheet program runs as a formula; see `from_formula_safe`."""
    return f"'{text}" if FORMULA.match(text) else text


def from_formula_safe(text: str) -> str:
    """Return the text that `formula_safe` was given."""
    return text[1:] if text[:1] == "'" and FORMULA.match(text) else text


def read_table(path: Path) -> Table:
    """Read a table with a header and a row for each class, or for each attribute; see the module's docstring."""
    table = read_cells(path)
    return Table(_pivoted(_without_index(table.rows, path), path), table.delimiter)


def read_cells(path: Path) -> Table:
    """Read a CSV file, a published matrix or an Excel workbook (its first visible sheet that is not empty) as it is."""
    path = Path(path)
    content = _content(path)
    if content.startswith(WORKBOOK):
        return Table(_workbook_rows(path, content), ",")
    text = read_text(path)
    if path.suffix.lower() not in SUFFIXES:
        lines = [line.split() for line in text.splitlines() if line.strip()]
        if len(lines) > 1 and len(lines[0]) > 1 and all(map(NUMBER.fullmatch, lines[0])):
            classes = _names_beside(path, ("classes.txt", "allclasses.txt"), len(lines))
            attributes = _names_beside(path, ("predicates.txt", "attributes.txt"), len(lines[0]))
            rows = [(number, [name, *row]) for number, (name, row) in enumerate(zip(classes, lines), start=1)]
            return Table([(0, ["class", *attributes]), *rows], ",")
    declared = re.match(r"\s*sep=([,;\t])\r?\n", text)  # Excel's own way to name the separator
    text = text[declared.end() :] if declared else text
    first_line = re.sub(r'"[^"]*"', "", text.lstrip()[:1_000_000]).split("\n", 1)[0]
    delimiter = declared[1] if declared else max(",;\t", key=first_line.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    with readable(path, MUST, FIX, (csv.Error,)):
        return Table(_tidy((reader.line_num + bool(declared), row) for row in reader if any(row)), delimiter)


def is_table(path: Path) -> bool:
    """Return whether a file is a table by its suffix, or an Excel workbook by its content."""
    return path.suffix.lower() in SUFFIXES or (path.is_file() and _content(path).startswith(WORKBOOK))


def _content(path: Path) -> bytes:
    with readable(path, "the file must exist and be readable", "Check the path.", (OSError,)):
        return path.read_bytes()


def read_text(path: Path) -> str:
    """Return the text of a file in UTF-8 or UTF-16, without its byte order mark."""
    content = _content(path)
    with readable(path, MUST, FIX, (ValueError,)):
        if (kind := kind_of_bytes(content)) not in ("an empty file", OTHER):
            raise ValueError(kind)
        text = content.decode("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
        if "\0" in text:
            raise ValueError("bytes that are not UTF-8")
    return text


def _workbook_rows(path: Path, content: bytes) -> Rows:
    """Return the cells of the first visible sheet of a workbook that is not empty, as text."""
    fix = "Install it with `pip install -e '.[images]'`, or save the table as CSV (UTF-8)."
    with readable(path, "an Excel workbook must have openpyxl to read it", fix, (ImportError,)):
        import openpyxl
    with readable(path, MUST, "Save the sheet with the table as CSV (UTF-8)."):  # openpyxl raises almost anything
        book, formulas = (openpyxl.load_workbook(io.BytesIO(content), data_only=results) for results in (True, False))
        for sheet in [sheet for sheet in book.worksheets if sheet.sheet_state == "visible"] or book.worksheets:
            rows = _tidy((number, map(_cell_text, row)) for number, row in enumerate(sheet.iter_rows(), start=1))
            if rows:
                break
        cells = [cell for row in formulas[sheet.title].iter_rows() for cell in row if cell.data_type == "f"]
        if cells and all(sheet[cell.coordinate].value is None for cell in cells):  # written by a program that computes nothing
            fix = "Save the workbook with a spreadsheet program, or as CSV (UTF-8)."
            where, must = f"{path}, cell {cells[0].coordinate}", "formulas must have their results beside them"
            raise InputError(must, where=where, got=cells[0].value, fix=fix)
        if len(book.worksheets) > 1:
            log.warning("%s: only sheet %r was read", path, sheet.title)
    return rows


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


def _tidy(rows: Iterable[tuple[int, Iterable[str]]]) -> Rows:
    """Strip cells, unwrap texts that a spreadsheet was to leave alone (="80"), drop empty rows and columns at the right."""
    kept, width = [], 0
    for number, row in rows:
        cells = [cell.strip() for cell in row]
        cells = [cell[2:-1].strip() if len(cell) > 2 and cell[:2] == '="' and cell[-1] == '"' else cell for cell in cells]
        if any(cells):
            kept.append((number, cells))
            width = max(width, len(cells) - next(place for place, cell in enumerate(reversed(cells)) if cell))
    return [(number, cells[:width]) for number, cells in kept]


def read_names(path: Path, n: int | None = None) -> list[str]:
    """Read names from text, one a line with or without a number before it, from a table, or from SUN's .mat file.

    A table (.csv, .tsv, .xlsx) gives the column whose heading says that it holds names; without headings, its only column
    that holds no numbers. `n` is how many there must be; None where nothing else tells.
    """
    path = Path(path)
    if path.suffix == ".mat":
        names = [str(name) for name in read_mat(path, ["attributes"])["attributes"]]
    else:
        names = _names_column(path, n) if is_table(path) else _lines_of(path)
    if not names or n not in (None, len(names)):
        must = f"the file must hold {'names' if n is None else f'{n} names'}"
        fix = "Pass the names that belong to these data, in their order: a name a line, or a column of a table."
        raise InputError(must, where=path, got=f"{len(names)} names", fix=fix)
    return logged_names(names, path, "class or attribute")


def listed_names(entries: Sequence[str]) -> list[str]:
    """Return names that a flag gives itself, or in text files and tables."""
    names = []
    for entry in entries:
        is_list = Path(entry).suffix.lower() in (".txt", *SUFFIXES)
        names += read_names(user_path(entry)) if is_list else logged_names([entry], "the name")
    return names


def _lines_of(path: Path) -> list[str]:
    """Return the lines of a file without numbers before them, if these count 0, 1, 2, ... or 1, 2, 3, ...."""
    lines = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    numbers = [int(match[1]) if (match := COUNT.match(line)) else -1 for line in lines]
    counted = numbers[:1] in ([0], [1]) and numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    return [COUNT.sub("", line, count=1) for line in lines] if counted else lines


def _names_column(path: Path, n: int | None) -> list[str]:
    """Return the cells of a table's column of names."""
    rows = [cells for _, cells in read_cells(path).rows]
    width = max(map(len, rows), default=0)
    columns = [[from_formula_safe(row[place]) if place < len(row) else "" for row in rows] for place in range(width)]
    headings = [column[0].casefold() for column in columns]
    for heading in HEADINGS:
        if heading in headings:
            return columns[headings.index(heading)][1:]
    texts = [column for column in columns if not all(re.fullmatch(r"[\d.,]*", cell) for cell in column[1:] or column)]
    if len(texts) != 1:
        must = f"the table must have one column of names, or one with the heading {HEADINGS[1]!r}"
        got = f"{len(texts)} columns of text{': ' * bool(texts)}{examples([repr(column[0]) for column in texts])}"
        raise InputError(must, where=path, got=got, fix="Name the column, or pass a text file with a name a line.")
    others = [column for column in columns if column is not texts[0] and any(column[1:])]
    has_heading = n == len(rows) - 1 or any(not re.fullmatch(r"[\d.,]+", column[0]) for column in others)
    return texts[0][has_heading:]


def _columns(rows: Rows) -> list[list[str]]:
    """Return the columns below the header, as many as all rows have."""
    return list(map(list, zip(*(cells for _, cells in rows[1:]))))


def _without_index(rows: Rows, path: Path) -> Rows:
    """Leave out columns that number the rows, in any order, before one of names."""
    header, dropped = rows[0][1] if rows else [], 0
    columns = _columns(rows) if header and INDEX.fullmatch(header[0]) else []
    while dropped + 1 < len(columns) and INDEX.fullmatch(header[dropped]) and all(map(WHOLE.fullmatch, columns[dropped])):
        dropped += 1
    # Names may be numbers, too, but then a heading must say so.
    if not dropped or not (CLASS.fullmatch(header[dropped]) or not all(map(VALUE.fullmatch, columns[dropped]))):
        return rows
    log.warning("%s: the first column, which numbers the rows, is left out.", path)
    return [(number, cells[dropped:]) for number, cells in rows]


def _pivoted(rows: Rows, path: Path) -> Rows:
    """Turn rows (class, attribute, value), whose classes and attributes repeat, into a row for each class."""
    columns = _columns(rows) if all(len(cells) == 3 for _, cells in rows) else []
    values = [place for place, column in enumerate(columns) if all(map(VALUE.fullmatch, column))]
    if not values:
        return rows
    classes, attributes = (column for place, column in enumerate(columns) if place != values[-1])
    given = dict(zip(zip(classes, attributes), columns[values[-1]]))
    names, headings = list(dict.fromkeys(classes)), list(dict.fromkeys(attributes))
    if max(len(names), len(headings)) == len(classes) or len(given) < len(classes):
        return rows
    missing = [f"{name}, {heading}" for name in names for heading in headings if (name, heading) not in given]
    if missing:
        must = "a table of class, attribute and value must have a row for every pair"
        raise InputError(must, where=path, got=f"no row for {examples(missing)}", fix="Add the missing rows.")
    log.warning("%s: a table of class, attribute and value was read as one with a row for each class.", path)
    lines = dict(zip(classes, (number for number, _ in rows[1:])))
    table = [(lines[name], [name, *(given[name, heading] for heading in headings)]) for name in names]
    return [(rows[0][0], [rows[0][1][0], *headings]), *table]


def _names_beside(path: Path, files: tuple[str, ...], n: int) -> list[str]:
    """Return the names in a file beside a matrix, or in one of the folders above it, that has as many."""
    for place in (folder / file for folder in path.resolve().parents[:3] for file in files):
        if place.is_file() and len(names := _lines_of(place)) == n:
            return names
    must = f"a matrix of numbers must have {' or '.join(files)} with {n} names beside it"
    raise InputError(must, where=path, got="no such file", fix="Copy the file with the names from the data set's archive.")
