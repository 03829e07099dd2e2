"""Tables of class attributes: a file with one row for each class, or mappings from names to numbers.

class,red crown,long bill,...
Blue_backed_Towhee,0,12.5,...
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from zslab.data.formats.table import CLASS, formula_safe, from_formula_safe, read_table
from zslab.errors import InputError, examples
from zslab.utils.files import write_text
from zslab.utils.names import clean_name, clean_names, find_names, normalized, repeated, without_numbers

Row = Mapping[str, float | str] | Sequence[float | str] | np.ndarray

YES, NO = ("yes", "y", "true", "x", "✓", "✔", "☑", "✅"), ("no", "n", "false", "✗", "✘", "☐", "❌")
NAMES_TOO = ("x", "y", "n")  # marks that may head a column
THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+")
DECIMAL_COMMA = re.compile(r"^[+-]?\d*,\d+\s*%?$", re.MULTILINE)
POINTED = re.compile(r"^[+-]?[1-9]\d{0,2}(\.\d{3})+$", re.MULTILINE)  # 1.500, which may be 1500
LARGEST = 1e30  # far from where float32 ends
COUNTED = 5  # attributes from which on a header 1, 2, 3, ... is taken for their numbers
NUMBER = "a finite number such as 0, 1, 37.5 or 37.5%, or yes or no"

Rows = list[tuple[int, list[str]]]


@dataclass(frozen=True)
class AttributeTable:
    """Attribute values of classes on their author's own scale."""

    class_names: list[str]  #: C and A names, each once
    attribute_names: list[str]
    values: np.ndarray  #: (C, A) float64, finite
    source: str  #: where it comes from, for messages
    notes: list[str] = field(default_factory=list)  #: sentences on how the file was read

    def columns(self, names: Sequence[str]) -> np.ndarray:
        """Return the values (C, len(names)) in the order of `names`, which must be this table's columns."""
        columns = np.empty_like(self.values)
        columns[:, _places(self.attribute_names, names, self.source)] = self.values
        return columns

    def with_clean_names(self) -> AttributeTable:
        """Return the table with names that can be printed, and notes on what was removed from them."""
        classes, notes = clean_names(self.class_names, self.source)
        attributes, more = clean_names(self.attribute_names, self.source, "attribute")
        return replace(self, class_names=classes, attribute_names=attributes, notes=[*self.notes, *notes, *more])


@dataclass(frozen=True)
class AttributeScale:
    """From values on the author's scale to what a method sees: (v - low) / (high - low), then rows of unit L2 norm."""

    low: np.ndarray  #: (A,) float64; a column whose two are equal becomes 0
    high: np.ndarray

    @classmethod
    def unit(cls, n_attributes: int) -> AttributeScale:
        """Return the scale that only divides rows by their norm, so that percent and 0 ... 1 come out the same."""
        return cls(np.zeros(n_attributes), np.ones(n_attributes))

    def apply(self, values: np.ndarray, class_names: Sequence[str], where: object) -> np.ndarray:
        """Scale values (C, A) and return them as float32 (C, A) with unit row norm."""
        width = self.high - self.low
        scaled = (np.asarray(values, dtype=np.float64) - self.low) / np.where(width == 0, np.inf, width)
        norms = np.linalg.norm(scaled, axis=1)
        zero = [repr(class_names[row]) for row in np.flatnonzero(norms == 0).tolist()]
        if zero:
            lowest = "0" if not self.low.any() else "the smallest value of its column"
            must = f"every class must have an attribute that is not {lowest}"
            raise InputError(must, where=where, got=examples(zero), fix="Fill in what the class looks like.")
        unit: np.ndarray = (scaled / norms[:, None]).astype(np.float32)
        return unit


def read_attribute_table(path: Path, *, classes: Iterable[str] = (), attributes: Iterable[str] = ()) -> AttributeTable:
    """Read a table from a CSV file or an Excel workbook: the attributes' names, then a row for each class.

    The first column holds the names of the classes. Every other cell holds a number, a percentage, or yes/no, true/false,
    x or nothing. A table with one column for each class is recognized by the known names.
    """
    source, table = str(path), read_table(Path(path))
    header = table.rows[0][1] if table.rows else []
    if len(table.rows) < 2 or len(header) < 2:
        must = "the table must have a header, a class and an attribute, with commas, semicolons or tabs between cells"
        fix = "The first column holds the class names, every other one an attribute."
        raise InputError(must, where=source, got=f"{len(table.rows)} lines, {', '.join(header)!r}", fix=fix)
    first_line, rows = table.rows[0][0], table.rows[1:]
    _check_header(header, f"{source}, line {first_line}")
    for line, row in rows:
        _check_length(len(row), len(header), f"{source}, line {line} ({row[0]!r})", "cells, as the header")
    given = header[1:], (row[0] for _, row in rows)
    columns, names = ([from_formula_safe(" ".join(cell.split())) for cell in cells] for cells in given)
    exchanged = _share(names, attributes) + _share(columns, classes) > _share(names, classes) + _share(columns, attributes)
    kinds = ("attribute", "class") if exchanged else ("class", "attribute")
    known = bool(_share(names, classes)) or not header[0] or bool(CLASS.fullmatch(header[0]))
    _check_names(columns, kinds[1], source, [f"column {place}" for place in range(2, len(header) + 1)])
    values = _numbers(rows, header, table.delimiter, source)  # before the names: text in a column may be the true ones
    if not (known or exchanged) and not any(math.isnan(_value(name)) for name in names):
        must, fix = "the first column must hold the names of the classes", "Insert a column of class names before it."
        raise InputError(must, where=source, got=f"numbers below {header[0]!r}", fix=fix)
    _check_names(names, kinds[0], source, [f"line {line}" for line, _ in rows])
    if exchanged:
        note = f"{source} holds one column for each class; its rows and columns were exchanged."
        return AttributeTable(columns, names, values.T.copy(), source, [note]).with_clean_names()
    return AttributeTable(names, columns, values, source).with_clean_names()


def table_from_mapping(rows: Mapping[str, Row], attribute_names: Sequence[str]) -> AttributeTable:
    """Return a table of {class: {attribute: value}} or {class: row in the order of `attribute_names`}."""
    _check_names(list(rows), "class", "the table", [f"row {place}" for place in range(1, len(rows) + 1)])
    values = np.empty((len(rows), len(attribute_names)))
    for number, (name, row) in enumerate(rows.items()):
        where = f"the attributes of {name!r}"
        if not isinstance(row, Mapping):
            cells = list(np.asarray(row, dtype=object).ravel())
            _check_length(len(cells), len(attribute_names), where, "values")
            row = dict(zip(attribute_names, cells))
        numbers = {attribute: _value(str(value)) for attribute, value in row.items()}
        for attribute, value in numbers.items():
            if math.isnan(value):
                raise _no_number(str(row[attribute]), f"{where}, {attribute!r}")
        values[number, _places(list(row), attribute_names, where)] = list(numbers.values())
    return AttributeTable(list(rows), list(attribute_names), values, "the table").with_clean_names()


def write_attribute_table(path: Path, table: AttributeTable) -> None:
    """Write what `read_attribute_table` reads."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["class", *map(formula_safe, table.attribute_names)])
    for name, row in zip(table.class_names, table.values):
        writer.writerow([formula_safe(name), *(f"{value:.10g}" for value in row)])
    write_text(path, stream.getvalue())


def _places(given: Sequence[str], names: Sequence[str], where: str) -> list[int]:
    """Return the places of given attributes among `names`, all of which must be there."""
    places = find_names(given, names, where, "attribute of the model", "The columns are those of the model, in any order.")
    missing = [repr(names[place]) for place in sorted(set(range(len(names))) - set(places))]
    if missing:
        must = f"there must be a value for each of the {len(names)} attributes"
        raise InputError(must, where=where, got=f"none for {examples(missing)}", fix="Add them; their order does not matter.")
    return places


def _share(names: Sequence[str], known: Iterable[str]) -> float:
    """Return the share of the names that are among the known ones."""
    known = list(known)
    spellings = {normalized(name) for name in (*known, *without_numbers(known))}
    return sum(normalized(name) in spellings for name in names) / len(names)


def _check_header(header: list[str], where: str) -> None:
    """Refuse a first line that is a class and its values; numbers 1, 2, 3, ... may be the names of attributes."""
    cells = header[1:]
    counted = len(cells) >= COUNTED and cells in ([str(first + i) for i in range(len(cells))] for first in (0, 1))
    if not counted and all(cell.casefold() not in NAMES_TOO and cell and not math.isnan(_value(cell)) for cell in cells):
        must = "the first line must be the word class and the names of the attributes"
        raise InputError(must, where=where, got=f"{header[0]!r} and numbers", fix="Insert a line that names the columns.")


def _check_names(names: Sequence[object], kind: str, source: str, places: Sequence[str]) -> None:
    """Refuse empty names and names that occur twice; two spellings of a class are one name."""
    cleaned = [clean_name(str(name)) for name in names]
    if "" in cleaned:
        got = f"none in {places[cleaned.index('')]}"
        raise InputError(f"every {kind} must have a name", where=source, got=got, fix="Name it.")
    twice = [repr(name) for name, count in Counter(cleaned).items() if count > 1]
    if kind == "class" and not twice:
        twice = [" = ".join(map(repr, group)) for group in repeated(cleaned)]
    if twice:
        must = f"every {kind} must be named once" + ", whatever its case, spaces and underscores" * (kind == "class")
        raise InputError(must, where=source, got=examples(twice), fix="Remove or rename the second one.")


def _check_length(n: int, expected: int, where: str, what: str) -> None:
    if n != expected:
        fix = "Fill in or remove cells; quote names with commas."
        raise InputError(f"there must be {expected} {what}", where=where, got=n, fix=fix)


def _numbers(rows: Rows, header: list[str], delimiter: str, source: str) -> np.ndarray:
    """Return the cells of all rows (C, A) as float64."""
    values = np.empty((len(rows), len(header) - 1))
    percents = np.zeros(values.shape, dtype=bool)
    text = "\n".join("\n".join(cells[1:]) for _, cells in rows) if delimiter in ";\t" else ""
    comma, point = DECIMAL_COMMA.search(text), POINTED.search(text)
    if comma and point:  # which may separate thousands
        fix = "Format the numbers without a separator of thousands, and save the table again."
        raise InputError("all numbers must have one decimal sign", where=source, got=f"{comma[0]} and {point[0]}", fix=fix)
    known: dict[str, float] = {"": math.nan}  # the cells of a table are few different texts
    for number, (_, (_, *cells)) in enumerate(rows):
        if "_" not in "".join(cells):
            with suppress(ValueError):  # ten times as fast
                values[number] = list(map(float, cells))
                continue
        known |= {cell: _value(cell, delimiter) for cell in cells if cell not in known}
        values[number] = [known[cell] for cell in cells]
        percents[number] = ["%" in cell for cell in cells]
    values[~(np.abs(values) < LARGEST)] = math.nan
    for column in np.flatnonzero(np.isnan(values).any(axis=0)):
        cells = [row[column + 1] for _, row in rows]
        if any(cells) and all(not cell or _mark(cell) in YES for cell in cells):  # a mark or nothing, which means no
            values[:, column] = [bool(cell) for cell in cells]
            continue
        wrong = next(number for number, value in enumerate(values[:, column]) if math.isnan(value))
        where = f"{source}, line {rows[wrong][0]} ({rows[wrong][1][0]!r}), column {header[column + 1]!r}"
        if len(rows) > 1 and all(re.match(r"[^\W\d_]", cell) for cell in cells) and np.isnan(values[:, column]).all():
            fix = "Make it one column of 0 and 1 for each value, or remove it."
            if len(set(cells)) == len(cells):
                fix = "This looks like the class column, which must be the first one. Otherwise remove it."
            raise InputError("a column must hold numbers", where=where, got=f"{cells[wrong]!r}, text in every cell", fix=fix)
        raise _no_number(cells[wrong], where)
    return _in_one_unit(values, percents, header, source)


def _in_one_unit(values: np.ndarray, percents: np.ndarray, header: list[str], source: str) -> np.ndarray:
    """Return values (C, A) with "70 %" as 0.7 where its neighbors are shares of 1, and as 70 elsewhere."""
    plain = ~percents & (values != 0)
    shares, larger = plain & (np.abs(values) <= 1), plain & (np.abs(values) > 1)
    mixed = np.flatnonzero(percents.any(axis=0) & shares.any(axis=0) & larger.any(axis=0))
    if len(mixed):
        where, got = f"{source}, column {header[mixed[0] + 1]!r}", "percentages, shares and larger numbers"
        fix = "Write all its values with a percent sign, or all without."
        raise InputError("a column must be in one unit", where=where, got=got, fix=fix)
    table_of_shares = shares.any() and not larger.any()
    divided = percents.any(axis=0) & (shares.any(axis=0) | (table_of_shares & ~larger.any(axis=0)))
    return np.where(percents & divided, values / 100, values)


def _mark(cell: str) -> str:
    return clean_name(cell).casefold().removesuffix("\ufe0f")


def _value(text: str, delimiter: str = ",") -> float:
    """Return the number that a cell stands for, NaN where it is none."""
    word = _mark(text)
    if word in YES or word in NO:
        return float(word in YES)
    digits = word.removesuffix("%").strip().replace("\u2212", "-")
    # Spreadsheets write semicolons where the comma is the decimal sign; elsewhere a comma may also separate thousands.
    if "." not in digits and (delimiter == ";" or not THOUSANDS.fullmatch(digits)):
        digits = digits.replace(",", ".", 1)
    try:
        value = math.nan if "_" in digits else float(digits)
    except ValueError:
        return math.nan
    return value if abs(value) < LARGEST else math.nan


def _no_number(text: str, where: str) -> InputError:
    fix = "Write 0 for an attribute that the class lacks. A date was a number before a spreadsheet program formatted it."
    return InputError(f"the cell must hold {NUMBER}", where=where, got=repr(text) if text else "an empty cell", fix=fix)
