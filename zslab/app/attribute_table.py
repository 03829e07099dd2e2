"""Tables of class attributes: a file with one row for each class, or mappings from names to numbers.

class,red crown,long bill,...
Blue_backed_Towhee,0,12.5,...
"""

from __future__ import annotations

import csv
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TextIO

import numpy as np

from zslab.data.formats.table import Table, formula_safe, from_formula_safe, read_table
from zslab.errors import InputError, examples
from zslab.utils.names import clean_name, clean_names, match_names, normalized, repeated, without_numbers

Row = Mapping[str, float | str] | Sequence[float | str] | np.ndarray

YES, NO = ("yes", "y", "true", "x", "✓", "✔", "☑", "✅"), ("no", "n", "false", "✗", "✘", "☐", "❌")
THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+")
SPACED = re.compile(r"[+-]?\d{1,3}([ \u00a0\u2009\u202f'’]\d{3})+([.,]\d+)?")  # thousands apart, as in 12 500
DECIMAL_COMMA = re.compile(r"^[+-]?\d*,\d+\s*%?$", re.MULTILINE)
POINTED = re.compile(r"^[+-]?[1-9]\d{0,2}(\.\d{3})+$", re.MULTILINE)  # 1.500, which may be 1500
DATE = re.compile(r"\d{4}-\d\d-\d\d|\d\d:\d\d")
LARGEST = 1e30  # far from where float32 ends
NOT_PLAIN = re.compile(r"[^\d.eE+-]", re.ASCII)
COUNTED = 5  # attributes from which on a header 1, 2, 3, ... is taken for their numbers


@dataclass(frozen=True)
class AttributeTable:
    """Attribute values of classes on their author's own scale.

    Attributes:
        class_names: C names, each once.
        attribute_names: A names, each once.
        values: (C, A) float64, finite.
        source: where it comes from, for messages.
        notes: sentences on how the file was read.
    """

    class_names: list[str]
    attribute_names: list[str]
    values: np.ndarray
    source: str
    notes: list[str] = field(default_factory=list)

    def columns(self, names: Sequence[str]) -> np.ndarray:
        """Return the values (C, len(names)) in the order of `names`, which must be this table's columns.

        Raises:
            InputError: a column is missing, or there is one that `names` does not have.
        """
        places = match_names(self.attribute_names, names, self.source)
        given = {place for place in places if place is not None}
        missing = [name for place, name in enumerate(names) if place not in given]
        unknown = [name for name, place in zip(self.attribute_names, places) if place is None]
        if missing or unknown or len(given) < len(places):
            lists = (("without ", missing), ("with the unknown ", unknown))
            raise InputError(
                "the attributes are not the model's",
                where=self.source,
                found="; ".join(words + examples(list(map(repr, some))) for words, some in lists if some) or "one twice",
                expected=f"one column for each of the {len(names)} attributes, under its name",
                fix="Give the columns the model's names; the order does not matter.",
            )
        columns = np.empty_like(self.values)
        columns[:, [place for place in places if place is not None]] = self.values
        return columns

    def transposed(self) -> AttributeTable:
        """Return the table with rows and columns exchanged, and a note that says so."""
        note = f"{self.source} holds one column for each class; its rows and columns were exchanged."
        return AttributeTable(self.attribute_names, self.class_names, self.values.T.copy(), self.source, [*self.notes, note])


@dataclass(frozen=True)
class AttributeScale:
    """From values on the author's scale to what a method sees: (v - low) / (high - low), then rows of unit L2 norm.

    Attributes:
        low, high: (A,) float64; a column whose two are equal becomes 0.
    """

    low: np.ndarray
    high: np.ndarray

    @classmethod
    def unit(cls, n_attributes: int) -> AttributeScale:
        """Return the scale that only divides rows by their norm, so that per cent and 0 ... 1 come out the same."""
        return cls(np.zeros(n_attributes), np.ones(n_attributes))

    def apply(self, values: np.ndarray, class_names: Sequence[str], where: object) -> np.ndarray:
        """Scale values (C, A) and return them as float32 (C, A) with unit row norm.

        Raises:
            InputError: a row is zero everywhere, so that it has no direction.
        """
        width = self.high - self.low
        scaled = (np.asarray(values, dtype=np.float64) - self.low) / np.where(width == 0, np.inf, width)
        norms = np.linalg.norm(scaled, axis=1)
        zero = np.flatnonzero(norms == 0)
        if len(zero):
            lowest = "0" if not self.low.any() else "the smallest value of its column"
            raise InputError(
                "a class has no attributes",
                where=where,
                found=f"every value of {class_names[zero[0]]!r} is {lowest}" + f" ({len(zero)} such rows)" * (len(zero) > 1),
                expected="at least one attribute that the class has",
                fix="Fill in what the class looks like.",
            )
        unit: np.ndarray = (scaled / norms[:, None]).astype(np.float32)
        return unit


def read_attribute_table(path: Path, *, classes: Iterable[str] = (), attributes: Iterable[str] = ()) -> AttributeTable:
    """Read a table from a CSV file or an Excel workbook: the attributes' names, then a row for each class.

    The first column holds the names of the classes. Every other cell holds a number, a percentage, or yes/no, true/false,
    x or nothing. A table with one column for each class is recognized by the known names.

    Args:
        path: .csv with commas, semicolons or tabs, or .xlsx.
        classes: names that are known to be classes.
        attributes: names that are known to be attributes.

    Raises:
        InputError: the file is missing or is no such table; the message names line, column and value.
    """
    return _attribute_table(read_table(Path(path)), str(path), classes, attributes)


def table_from_mapping(rows: Mapping[str, Row], attribute_names: Sequence[str]) -> AttributeTable:
    """Return a table of {class: {attribute: value}} or {class: row in the order of `attribute_names`}.

    Raises:
        InputError: attributes are missing or unknown, or a value is no finite number.
    """
    _check_names(list(rows), "class", "row", "the table", range(1, len(rows) + 1))
    values = []
    for name, row in rows.items():
        where = f"the attributes of {name!r}"
        if not isinstance(row, Mapping):
            cells = list(np.asarray(row, dtype=object).ravel())
            if len(cells) != len(attribute_names):
                raise _another_length(where, f"{len(cells)} values", len(attribute_names))
            row = dict(zip(attribute_names, cells))
        numbers = {attribute: _value(str(value)) for attribute, value in row.items()}
        for attribute, number in numbers.items():
            if math.isnan(number):
                raise _no_number(str(row[attribute]), f"{where}, {attribute!r}")
        given = AttributeTable([name], list(row), np.array(list(numbers.values())).reshape(1, -1), where)
        values.append(given.columns(attribute_names))
    return with_clean_names(AttributeTable(list(rows), list(attribute_names), np.concatenate(values), "the table"))


def write_attribute_table(stream: TextIO, table: AttributeTable) -> None:
    """Write what `read_attribute_table` reads to an open text stream."""
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["class", *map(formula_safe, table.attribute_names)])
    for name, row in zip(table.class_names, table.values):
        writer.writerow([formula_safe(name), *(f"{value:.10g}" for value in row)])


# ---- from cells to numbers ------------------------------------------------------------------------------------------------


def _attribute_table(table: Table, source: str, classes: Iterable[str] = (), attributes: Iterable[str] = ()) -> AttributeTable:
    """Check the shape of a table of text and turn its cells into numbers."""
    width = max((len(cells) for _, cells in table.rows), default=0)
    if len(table.rows) < 2 or width < 2:
        raise InputError(
            "the file holds no table",
            where=source,
            found=f"a single column, {table.rows[0][1][0]!r}"
            if len(table.rows) > 1
            else ("no line", "one line")[len(table.rows)],
            expected="a header, at least one class, and at least one attribute, with commas, semicolons or tabs between them",
            fix="The first column holds the class names, every other one an attribute.",
        )
    (first_line, header), *rows = _without_index(table)
    _check_header(header, f"{source}, line {first_line}")
    for line, row in rows:
        if len(row) != len(header):
            where = f"{source}, line {line} ({row[0]!r})"
            raise _another_length(where, f"{len(row)} cells", f"{len(header)}, as the header has")
    columns = [_one_line(name) for name in header[1:]]
    names = [_one_line(row[0]) for _, row in rows]
    is_transposed = _share(names, attributes) + _share(columns, classes) > _share(names, classes) + _share(columns, attributes)
    kinds = (("attribute", "row"), ("class", "column")) if is_transposed else (("class", "row"), ("attribute", "column"))
    _check_names(names, *kinds[0], source, [line for line, _ in rows])
    _check_names(columns, *kinds[1], source, range(2, len(header) + 1))
    result = with_clean_names(AttributeTable(names, columns, _numbers(rows, header, table.delimiter, source), source))
    return result.transposed() if is_transposed else result


def _one_line(cell: str) -> str:
    """Return a name as written by its author, with single spaces for line breaks and other white space."""
    return from_formula_safe(" ".join(cell.split()))


def with_clean_names(table: AttributeTable) -> AttributeTable:
    """Return the table with names that can be printed, and notes on what was removed from them."""
    classes, notes = clean_names(table.class_names, table.source)
    attributes, more = clean_names(table.attribute_names, table.source, "attribute")
    return replace(table, class_names=classes, attribute_names=attributes, notes=[*table.notes, *notes, *more])


def _without_index(table: Table) -> list[tuple[int, list[str]]]:
    """Return the rows without a first column that has no name and counts 0, 1, 2, ..., as pandas writes it."""
    (first_line, header), *rows = table.rows
    if len(header) > 2 and not header[0] and all(row[0] == str(number) for number, (_, row) in enumerate(rows)):
        return [(line, cells[1:]) for line, cells in table.rows]
    return table.rows


def _share(names: Sequence[str], known: Iterable[str]) -> float:
    """Return the share of the names that are among the known ones."""
    known = list(known)
    spellings = {normalized(name) for name in (*known, *without_numbers(known))}
    return sum(normalized(name) in spellings for name in names) / len(names)


def _check_header(header: list[str], where: str) -> None:
    """Refuse a first line that is a class and its values; numbers 1, 2, 3, ... may be the names of attributes."""
    cells = header[1:]
    if header[0] and not any(cells) and header[0] != "class":
        raise InputError(
            "the line is a title and not a header",
            where=where,
            found=repr(header[0]),
            expected="the word class, then the names of the attributes",
            fix="Remove what stands above the header.",
        )
    counted = len(cells) >= COUNTED and cells in ([str(first + i) for i in range(len(cells))] for first in (0, 1))
    if not counted and all(_is_value(cell) for cell in cells):
        raise InputError(
            "the table has no header",
            where=where,
            found=f"{header[0]!r} and numbers",
            expected="the word class, then the names of the attributes",
            fix="Insert a first line that names the columns.",
        )


def _is_value(cell: str) -> bool:
    marks = {*YES, *NO} - {"x", "y", "n"}  # those may be names
    return cell.casefold() in marks or bool(re.fullmatch(r"[+-]?[\d.,]*\d[\d.,]*(e[+-]?\d+)?\s*%?", cell, re.IGNORECASE))


def _check_names(names: list[str], kind: str, line: str, source: str, places: Sequence[int]) -> None:
    """Refuse empty names and names that occur twice; two spellings of a class are one name.

    Args:
        names: of all classes or all attributes.
        kind: "class" or "attribute".
        line: "row" or "column".
        source: where they come from, for messages.
        places: numbers of their rows or columns.
    """
    names = [clean_name(str(name)) for name in names]
    empty = next((place for place, name in zip(places, names) if not name), None)
    if empty is not None:
        raise InputError(
            f"{_a(kind)} has no name",
            where=source,
            found=f"{line} {empty} is unnamed",
            expected=f"a name for every {kind}",
            fix="Name it or remove it; of merged cells only the first one holds a value.",
        )
    twice = [f"{name!r}" for name, count in Counter(names).items() if count > 1]
    if not twice and kind == "class":
        twice = [" = ".join(map(repr, group)) for group in repeated(names)]
    if twice:
        raise InputError(
            f"{_a(kind)} is named twice",
            where=source,
            found=examples(twice),
            expected=f"every {kind} once" + ", whatever its case, spaces and underscores" * (kind == "class"),
            fix=f"Remove or rename the second {line}.",
        )


def _a(kind: str) -> str:
    return f"an {kind}" if kind.startswith("a") else f"a {kind}"


def _another_length(where: str, found: str, expected: object) -> InputError:
    return InputError(
        "the row has another length",
        where=where,
        found=found,
        expected=expected,
        fix="Fill in or remove cells; a name with commas needs quotes.",
    )


def _numbers(rows: list[tuple[int, list[str]]], header: list[str], delimiter: str, source: str) -> np.ndarray:
    """Return the cells of all rows (C, A) as float64."""
    values = np.empty((len(rows), len(header) - 1))
    percents = np.zeros(values.shape, dtype=bool)
    blank_is_no = _columns_of_marks(rows, values.shape[1])
    if delimiter in ";\t":
        _check_decimals(rows, source)
    known: dict[str, float] = {}  # the cells of a table are few different texts
    for number, (line, row) in enumerate(rows):
        cells = row[1:]
        together = "".join(cells)
        if not NOT_PLAIN.search(together):
            with suppress(ValueError):
                values[number] = np.fromiter(map(float, cells), np.float64, len(cells))
                if (np.abs(values[number]) < LARGEST).all():
                    continue
        known |= {cell: _value(cell, delimiter) for cell in set(cells) - known.keys()}
        values[number] = np.fromiter(map(known.__getitem__, cells), np.float64, len(cells))
        if "%" in together:
            percents[number] = [cell.endswith("%") for cell in cells]
        for column in np.flatnonzero(np.isnan(values[number])):
            if cells[column] or not blank_is_no[column]:
                raise _no_number(cells[column], f"{source}, line {line} ({row[0]!r}), column {header[column + 1]!r}")
            values[number, column] = 0.0
    return _in_one_unit(values, percents, header, source)


def _check_decimals(rows: list[tuple[int, list[str]]], source: str) -> None:
    """Refuse points that may separate thousands in a table with decimal commas: 0,7 and 1.500."""
    text = "\n".join("\n".join(cells[1:]) for _, cells in rows)
    comma, point = DECIMAL_COMMA.search(text), POINTED.search(text)
    if comma and point:
        raise InputError(
            "the table mixes decimal commas and points",
            where=source,
            found=f"{comma[0]} and {point[0]}",
            expected="the same decimal sign in all cells, and nothing between thousands",
            fix="Format the numbers without a separator of thousands, and save the table again.",
        )


def _columns_of_marks(rows: list[tuple[int, list[str]]], n_columns: int) -> np.ndarray:
    """Return which columns (A,) hold a mark or nothing in every cell, so that nothing means no."""
    only_marks, has_mark = np.ones(n_columns, dtype=bool), np.zeros(n_columns, dtype=bool)
    for _, (_, *cells) in rows:
        fits = {cell: not cell or cell.casefold().removesuffix("\ufe0f") in YES for cell in set(cells)}
        only_marks &= np.fromiter(map(fits.__getitem__, cells), bool, n_columns)
        has_mark |= np.fromiter(map(bool, cells), bool, n_columns)
        if not only_marks.any():
            break
    return only_marks & has_mark


def _in_one_unit(values: np.ndarray, percents: np.ndarray, header: list[str], source: str) -> np.ndarray:
    """Return values (C, A) with "70 %" as 0.7 where its neighbors are shares of 1, and as 70 elsewhere."""
    if not percents.any():
        return values
    plain = ~percents & (values != 0)
    shares, larger = plain & (np.abs(values) <= 1), plain & (np.abs(values) > 1)
    mixed = np.flatnonzero(percents.any(axis=0) & shares.any(axis=0) & larger.any(axis=0))
    if len(mixed):
        raise InputError(
            "a column mixes percentages, shares and larger numbers",
            where=source,
            found=f"column {header[mixed[0] + 1]!r}",
            expected="one unit in each column",
            fix="Write all values of the column with a per cent sign, or all without.",
        )
    table_of_shares = shares.any() and not larger.any()
    divided = percents.any(axis=0) & (shares.any(axis=0) | (table_of_shares & ~larger.any(axis=0)))
    return np.where(percents & divided, values / 100, values)


def _value(text: str, delimiter: str = ",") -> float:
    """Return the number that a cell stands for, NaN where it is none."""
    word = clean_name(text).casefold().removesuffix("\ufe0f")
    if word in YES or word in NO:
        return float(word in YES)
    digits = word.removesuffix("%").strip().replace("\u2212", "-")
    if SPACED.fullmatch(digits):
        digits = re.sub(r"[^\d.,+-]", "", digits)
    # Spreadsheets write semicolons where the comma is the decimal sign; elsewhere a comma may also separate thousands.
    if "." not in digits and (delimiter == ";" or not THOUSANDS.fullmatch(digits)):
        digits = digits.replace(",", ".", 1)
    try:
        value = math.nan if "_" in digits else float(digits)
    except ValueError:
        return math.nan
    return value if abs(value) < LARGEST else math.nan


def _no_number(text: str, where: str) -> InputError:
    return InputError(
        "the cell is no number" if text else "the cell is empty",
        where=where,
        found=repr(text),
        expected="a finite number such as 0, 1, 37.5 or 37.5%, or yes or no",
        fix="Spreadsheets take numbers such as 1.5 for dates: format the cells as numbers, and write the value again."
        if DATE.match(text)
        else "Fill it in; decimals need a point, and 0 says that the class does not have the attribute.",
    )
