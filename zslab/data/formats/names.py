"""Lists of names of classes or attributes: text with a name a line, a column of a table, or a .mat file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from zslab.data.formats.matfile import read_mat
from zslab.data.formats.table import SUFFIXES, from_formula_safe, is_table, read_cells, read_text, without_count
from zslab.errors import InputError, examples
from zslab.utils.files import user_path
from zslab.utils.names import logged_names

HEADINGS = ("des", "name", "names", "attribute", "attributes", "class", "classes", "new_des")  # the first that is there counts


def read_names(path: Path, n: int | None = None) -> list[str]:
    """Read names from text, one a line with or without a number before it, from a table, or from SUN's .mat file.

    A table (.csv, .tsv, .xlsx) gives the column whose heading says that it holds names; without headings, its only column
    that holds no numbers.

    Args:
        path: the file.
        n: how many there must be; None where nothing else tells.
    """
    path = Path(path)
    if path.suffix == ".mat":
        names = [str(name) for name in read_mat(path, ["attributes"])["attributes"]]
    elif is_table(path):
        names = _column(path, n)
    else:
        names = without_count([line.strip() for line in read_text(path).splitlines() if line.strip()])
    if not names or n not in (None, len(names)):
        must = "the file must hold names" if n is None else f"the file must hold {n} names"
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


def _column(path: Path, n: int | None) -> list[str]:
    """Return the cells of a table's column of names."""
    rows = [cells for _, cells in read_cells(path).rows]
    width = max(map(len, rows), default=0)
    columns = [[from_formula_safe(row[place]) if place < len(row) else "" for row in rows] for place in range(width)]
    headings = [column[0].casefold() for column in columns]
    named = next((headings.index(heading) for heading in HEADINGS if heading in headings), None)
    if named is not None or not columns:
        return [] if named is None else columns[named][1:]
    texts = [column for column in columns if not all(re.fullmatch(r"[\d.,]*", cell) for cell in column[1:] or column)]
    if len(texts) != 1:
        raise InputError(
            f"the table must have one column of names, or one with the heading {HEADINGS[1]!r}",
            where=path,
            got=f"{len(texts)} columns of text, {examples([repr(column[0]) for column in texts])}",
            fix="Name the column, or pass a text file with a name a line.",
        )
    others = [column for column in columns if column is not texts[0] and any(column[1:])]
    has_heading = n == len(rows) - 1 or any(not re.fullmatch(r"[\d.,]+", column[0]) for column in others)
    return texts[0][has_heading:]
