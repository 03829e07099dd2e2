"""The text table that a run prints at its end. Accuracies are fractions in the files and per cent in the table."""

from __future__ import annotations

import math
import textwrap
from typing import Literal

from zslab.report.run import MEASURES, Result, Row, number

DASH = "–"
Heading = Literal["T1", "acc_unseen", "acc_seen", "H", "AUSUC"]
HEADINGS: dict[Heading, str] = {"T1": "T1", "acc_unseen": "u", "acc_seen": "s", "H": "H", "AUSUC": "AUSUC"}
_WIDTH = 110


def percent(value: object) -> str:
    """Return a fraction as per cent with one decimal; an en dash for null."""
    fraction = number(value)
    return DASH if math.isnan(fraction) else f"{100 * fraction:.1f}"


def area(result: Result, row_name: str) -> float | None:
    """Return the area under the seen/unseen curve of a row; curves are named like rows, in lower case or not."""
    return {name.lower(): value for name, value in result["AUSUC"].items()}.get(row_name.lower())


def chosen_at(row: Row) -> str:
    """Return which epoch a row's values come from, as text; empty when none was chosen."""
    t1, h = row.get("T1_at"), row.get("H_at")
    if t1 == h:
        return t1 or ""
    return "; ".join(f"{name}: {at}" for name, at in (("T1", t1), ("H", h)) if at)


def headline(result: Result) -> list[str]:
    """Return data set, features, class embedding, split and seed as text."""
    data, split = result["data"], result["config"].get("split")
    return [
        f"{data['dataset']}",
        f"features {data['image_embedding']} ({data['feature_dim']}-d)",
        f"classes {data['class_embedding']} ({data['attribute_dim']}-d)",
        f"split {data['split_version']}",
        *([] if split is None else [f"class split {split}"]),
        f"seed {result['seed']}",
    ]


def format_rows(result: Result) -> str:
    """Return the table of one run: all rows in per cent, then what each selection means, then the notes."""
    table = [["selection", *HEADINGS.values(), "chosen at"]]
    for row in result["rows"]:
        values = [percent(row.get(measure)) for measure in MEASURES]
        table.append([row["row"], *values, percent(area(result, row["row"])), chosen_at(row)])
    parts = [result["title"], " · ".join(headline(result)), "", *_aligned(table), ""]
    label_width = max((len(row["row"]) for row in result["rows"]), default=0)
    for row in result["rows"]:
        parts += _hanging(f"{row['row']:<{label_width}} = ", row.get("rule") or "")
    parts += [line for note in result["notes"] for line in _hanging("note: ", note)]
    return "\n".join(parts).rstrip() + "\n"


def _aligned(table: list[list[str]]) -> list[str]:
    """Return the table's lines: first and last column aligned to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = []
    for cells in table:
        middle = [cell.rjust(width) for cell, width in zip(cells[1:-1], widths[1:-1], strict=True)]
        lines.append("  ".join([cells[0].ljust(widths[0]), *middle, cells[-1]]).rstrip())
    rule = "-" * max(map(len, lines))
    return [lines[0], rule, *lines[1:]]


def _hanging(label: str, text: str) -> list[str]:
    """Return `text` as wrapped lines that hang below `label`."""
    return textwrap.wrap(text, _WIDTH, initial_indent=label, subsequent_indent=" " * len(label)) or [label.rstrip()]
