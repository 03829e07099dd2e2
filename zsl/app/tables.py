"""Tables of class attributes as people keep them: a CSV with one row a class, or mappings from names to numbers.

    class,red crown,long bill,...
    Blue_backed_Towhee,0,12.5,...
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zsl.errors import InputError

LARGEST = 64 * 2**20  # bytes of a CSV that is still read


@dataclass(frozen=True)
class AttributeTable:
    """Attribute values of classes on their author's own scale.

    Attributes:
        class_names: C names, each once.
        attribute_names: A names, each once.
        values: (C, A) float64, finite.
        source: where it comes from, for messages.
    """

    class_names: list[str]
    attribute_names: list[str]
    values: np.ndarray
    source: str

    def columns(self, names: Sequence[str]) -> np.ndarray:
        """(C, len(names)) values in the order of `names`, which must be this table's columns.

        Raises:
            InputError: a column is missing, or there is one that `names` does not know.
        """
        missing = [name for name in names if name not in self.attribute_names]
        strange = [name for name in self.attribute_names if name not in set(names)]
        if missing or strange:
            raise InputError(
                "other attributes than the model's", where=self.source,
                found="; ".join(
                    f"{word} {', '.join(map(repr, some[:5]))}{' and others' if len(some) > 5 else ''}"
                    for word, some in (("without", missing), ("with the unknown", strange)) if some
                ),
                expected=f"one column for each of the {len(names)} attributes, under its name",
                cure="Give the columns the model's names; the order does not matter.",
            )
        place = {name: column for column, name in enumerate(self.attribute_names)}
        return self.values[:, [place[name] for name in names]]


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
        """Rows are divided by their norm and nothing else, so that per cent and 0 ... 1 come out the same."""
        return cls(np.zeros(n_attributes), np.ones(n_attributes))

    def apply(self, values: np.ndarray, class_names: Sequence[str], where: object) -> np.ndarray:
        """(C, A) -> (C, A) float32 of unit row norm.

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
                "a class without attributes", where=where,
                found=f"every value of {class_names[zero[0]]!r} is {lowest}" + f" ({len(zero)} such rows)" * (len(zero) > 1),
                expected="at least one attribute that the class has", cure="Fill in what the class looks like.",
            )
        return (scaled / norms[:, None]).astype(np.float32)


def read_attribute_table(path: Path) -> AttributeTable:
    """Reads a CSV: a header with the attributes' names, then a row a class, the class's name in the first column.

    Separators may be commas, semicolons or tabs; a per cent sign after a number is taken off.

    Raises:
        InputError: the file is missing or no such table; line, column and value are named.
    """
    path = Path(path)
    expected = "a CSV with a header, class names in the first column and a number in every other cell"
    try:
        if path.stat().st_size > LARGEST:
            raise InputError("too large a table", where=path, found=f"{path.stat().st_size:,} bytes",
                             expected=f"at most {LARGEST:,}", cure="Check that this is the table of attributes.")
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        found = getattr(error, "strerror", None) or "a file that is not text in UTF-8"
        raise InputError("unreadable table", where=path, found=found, expected=expected,
                         cure="Check the path; save the table as CSV (UTF-8).") from None
    return parse_attribute_table(text, str(path))


def parse_attribute_table(text: str, source: str) -> AttributeTable:
    """`read_attribute_table` of a text."""
    header = text.lstrip().split("\n", 1)[0]
    delimiter = max(",;\t", key=header.count)
    try:
        lines = [(n, [cell.strip() for cell in row])
                 for n, row in enumerate(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), start=1)]
    except csv.Error as error:
        raise InputError("unreadable table", where=source, found=str(error), expected="a CSV",
                         cure="Save the table as CSV (UTF-8).") from None
    lines = [(n, row) for n, row in lines if any(row)]
    if len(lines) < 2 or len(lines[0][1]) < 2:
        raise InputError(
            "no table", where=source, found=f"{len(lines)} lines" if len(lines) < 2 else "a single column",
            expected="a header, at least one class, and at least one attribute",
            cure="The first column holds the class names, every other one an attribute.",
        )
    (_, header), *rows = lines
    attribute_names, class_names = header[1:], [row[0] for _, row in rows]
    _check_names(attribute_names, "attribute", "column", source)
    for n, row in rows:
        if len(row) != len(header):
            raise InputError(
                "a row of another length", where=f"{source}, line {n} ({row[0]!r})", found=f"{len(row)} cells",
                expected=f"{len(header)}, as the header has", cure="Fill in or remove cells; a name with commas needs quotes.",
            )
    _check_names(class_names, "class", "row", source)
    values = np.array([
        [_number(cell, f"{source}, line {n} ({row[0]!r}), column {name!r}")
         for name, cell in zip(attribute_names, row[1:], strict=True)] for n, row in rows
    ])
    return AttributeTable(class_names, attribute_names, values, source)


def table_from_mapping(
    rows: Mapping[str, Mapping[str, float] | Sequence[float] | np.ndarray], attribute_names: Sequence[str]
) -> AttributeTable:
    """A table from {class: {attribute: value}} or {class: row in the order of `attribute_names`}.

    Raises:
        InputError: attributes are missing or unknown, or a value is no finite number.
    """
    _check_names(list(rows), "class", "row", "the table")
    values = []
    for name, row in rows.items():
        where = f"the attributes of {name!r}"
        if not isinstance(row, Mapping):
            row = list(np.asarray(row, dtype=object).ravel())
            if len(row) != len(attribute_names):
                raise InputError("a row of another length", where=where, found=f"{len(row)} values",
                                 expected=len(attribute_names), cure="Give a value for every attribute, in their order.")
            row = dict(zip(attribute_names, row, strict=True))
        numbers = np.array([[_number(value, f"{where}, {attribute!r}") for attribute, value in row.items()]])
        values.append(AttributeTable([name], list(row), numbers.reshape(1, -1), where).columns(attribute_names))
    return AttributeTable(list(rows), list(attribute_names), np.concatenate(values), "the table")


def write_attribute_table(stream, table: AttributeTable) -> None:
    """Writes what `read_attribute_table` reads to an open text stream."""
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["class", *table.attribute_names])
    writer.writerows([name, *(f"{value:.10g}" for value in row)] for name, row in zip(table.class_names, table.values))


def _check_names(names: list[str], kind: str, line: str, source: str) -> None:
    empty = [number for number, name in enumerate(names, start=1) if not str(name).strip()]
    if empty:
        raise InputError(f"a {kind} without a name", where=source, found=f"{line} {empty[0]} is unnamed",
                         expected=f"a name for every {kind}", cure="Name it or remove it.")
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise InputError(f"a {kind} named twice", where=source, found=", ".join(map(repr, twice[:5])),
                         expected=f"every {kind} once", cure=f"Remove or rename the second {line}.")


def _number(cell: object, where: str) -> float:
    text = str(cell).strip()
    try:
        value = float(text.removesuffix("%"))
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(
            "an empty cell" if not text else "a cell that is no number", where=where, found=repr(text),
            expected="a finite number, such as 0, 1, 37.5 or 37.5%",
            cure="Fill it in; decimals need a point, and 0 says that the class does not have the attribute.",
        )
    return value
