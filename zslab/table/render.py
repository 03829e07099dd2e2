"""Tables as Markdown, CSV, LaTeX (booktabs) or HTML, all from the same lines."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from zslab.data.formats.table import formula_safe
from zslab.table.build import (
    Line,
    Pair,
    build_lines,
    build_pairs,
    build_variants,
    changed_data,
    conditions,
    missing_cells,
    named_variants,
)
from zslab.table.runs import MEASURES, RULES, Quote, Run
from zslab.table.statistics import FEWEST_PAIRS, Comparison, Summary
from zslab.utils.int_ranges import format_numbers

DASH, MINUS = "–", "\u2212"
SIGNIFICANT = 0.05
PIVOTS = {"data": (0, 1, 2), "backbone": (0, 2)}  # which of data set, features, descriptions head a table
HEADS = ("data set", "features", "descriptions")
Cell = tuple[str, bool]  # text, is best


def make_table(
    runs: Sequence[Run | Quote],
    *,
    style: str = "md",
    rules: Sequence[str] = RULES,
    compare: Sequence[tuple[str, str]] = (),
    measures: Sequence[str] = ("T1", "H"),
    pivot: str = "data",
    variants: Sequence[str] | None = None,
    pairs_only: bool = False,
) -> str:
    """Return the tables of runs as one document, with paired comparisons and warnings below.

    Args:
        runs: of all data sets.
        style: one of `STYLES`, or "csv", which leaves comparisons out.
        rules: the selection rules to show.
        compare: pairs of variants to compare, in `measures`.
        measures: of the comparisons.
        pivot: "data" heads a table by data set, features and descriptions; "backbone" makes the features a column.
        variants: names of those to show; all by default.
        pairs_only: leave out all but the comparisons.
    """
    every = build_variants(runs)
    pairs = [pair for first, second in compare for pair in build_pairs(every, first, second, rules, measures)]
    names = [name for pair in compare for name in pair] if pairs_only else variants
    shown = every if names is None else named_variants(every, names, "--variants")
    by_data = [[v for v in shown if v.data == data] for data in dict.fromkeys(v.data for v in shown)]
    lines = [line for group in by_data for line in build_lines(group, rules)]
    if style == "csv":
        return _csv(lines)
    tables = [*([] if pairs_only else _tables(lines, pivot)), *_pairs_tables(pairs)]
    return STYLES[style](tables, [*changed_data(shown), *missing_cells(shown)])


def cell_text(cell: Summary | None) -> str:
    """Return a summary in per cent: "58.2 ± 0.7 (5)", "58.2" for a single value, an en dash for none."""
    if cell is None:
        return DASH
    mean = f"{100 * cell.mean:.1f}"
    return mean if cell.sd is None else f"{mean} ± {100 * cell.sd:.1f} ({cell.n})"


def comparison_text(result: Comparison | None) -> str:
    """Return a paired comparison in points: "+9.1 (+8.6 to +9.6), p 0.031"; an en dash for no common repetition."""
    if result is None:
        return DASH
    text = _points(result.difference)
    if result.interval is not None:
        text += f" ({_points(result.interval[0])} to {_points(result.interval[1])})"
    return text if result.p is None else f"{text}, p {result.p:#.2g}"


def _points(share: float) -> str:
    return f"{round(100 * share, 1) + 0.0:+.1f}".replace("-", MINUS)  # -0.0 + 0.0 is 0.0


@dataclass(frozen=True)
class _Table:
    """One table: its title and caption, the heading of each column, and the cells of each row."""

    title: str
    caption: str
    header: list[str]
    n_names: int
    rows: list[list[Cell]]


def _tables(lines: Sequence[Line], pivot: str) -> list[_Table]:
    """Return a table for each data set. Measures that no line of a table has are left out."""
    sections: dict[tuple[str, ...], list[Line]] = {}
    for line in lines:
        sections.setdefault(tuple(line.variant.data[i] for i in PIVOTS[pivot]), []).append(line)
    tables = []
    for title, members in sections.items():
        features = pivot == "backbone"
        measures = {key: name for key, name in MEASURES.items() if any(line.cells[key] for line in members)}
        names = [*(["features"] if features else []), "variant", "selection"]
        rows: list[list[Cell]] = [
            [(name, False) for name in [*([line.variant.data[1]] if features else []), line.variant.name, line.rule]]
            + [(cell_text(line.cells[measure]), measure in line.best) for measure in measures]
            for line in members
        ]
        caption = conditions([line.variant for line in members])
        tables.append(_Table(", ".join(title), caption, [*names, *measures.values()], len(names), rows))
    return tables


def _pairs_tables(pairs: Sequence[Pair]) -> list[_Table]:
    """Return a table for each two variants that were compared; the last one has the caption of all."""
    sections: dict[str, dict[tuple[str, str], dict[str, Comparison | None]]] = {}
    for pair in pairs:
        lines = sections.setdefault(f"{pair.first} minus {pair.second}", {})
        lines.setdefault((", ".join(pair.data), pair.rule), {})[pair.measure] = pair.result
    measures = dict.fromkeys(pair.measure for pair in pairs)
    header = ["data", "selection", "pairs", *(MEASURES[measure] for measure in measures)]
    caption = "Points: mean of the paired differences, 95 % bootstrap interval, p of the permutation test (two-sided); "
    caption += f"bold: p < {SIGNIFICANT:g}"
    if any(pair.result and pair.result.p is None for pair in pairs):
        caption += f". With fewer than {FEWEST_PAIRS} pairs no test can decide"
    tables: list[_Table] = []
    for title, lines in sections.items():
        rows = []
        for place, results in lines.items():
            counts = format_numbers(sorted({result.n for result in results.values() if result})) or "0"
            found = (results.get(measure) for measure in measures)
            rows.append(
                [(text, False) for text in (*place, counts)]
                + [(comparison_text(each), bool(each and each.p and each.p < SIGNIFICANT)) for each in found]
            )
        tables.append(_Table(title, caption if len(tables) + 1 == len(sections) else "", header, 2, rows))
    return tables


def _markdown(tables: Sequence[_Table], notes: Sequence[str]) -> str:
    parts = []
    for table in tables:
        n = table.n_names
        rows = [
            table.header,
            *([f"**{text}**" if best else text.replace("|", "\\|") for text, best in row] for row in table.rows),
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        padded = [[f"{text:{'<' if i < n else '>'}{widths[i]}}" for i, text in enumerate(row)] for row in rows]
        padded.insert(1, ["-" * width if i < n else "-" * (width - 1) + ":" for i, width in enumerate(widths)])
        body = "\n".join(f"| {' | '.join(row)} |" for row in padded)
        parts += [f"**{table.title}**", body, *([f"{table.caption}."] if table.caption else [])]
    parts += ["\n".join(f"- {text}" for text in notes)] if notes else []
    return "\n\n".join(parts) + "\n"


def _csv(lines: Sequence[Line]) -> str:
    """One line for each measure, values as fractions in full precision; comparisons and notes are left out."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([*HEADS, "variant", "selection", "measure", "mean", "sd", "n"])
    for line in lines:
        for measure, cell in line.cells.items():
            if cell:
                sd = "" if cell.sd is None else cell.sd
                names = map(formula_safe, (*line.variant.data, line.variant.name))
                writer.writerow([*names, line.rule, MEASURES[measure], cell.mean, sd, cell.n])
    return stream.getvalue()


_TEX = str.maketrans(
    {c: f"\\{c}" for c in "&%$#_{}"}
    | {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "±": r"$\pm$",
        "–": "--",
        MINUS: "$-$",
        "<": "$<$",
        "[": "{[}",
    }
)


def _latex(tables: Sequence[_Table], notes: Sequence[str]) -> str:
    parts = ["% needs \\usepackage{booktabs}"]
    for table in tables:
        columns = "l" * table.n_names + "r" * (len(table.header) - table.n_names)
        texts = [
            [f"\\textbf{{{text.translate(_TEX)}}}" if best else text.translate(_TEX) for text, best in row]
            for row in table.rows
        ]
        title = f"\\multicolumn{{{len(table.header)}}}{{l}}{{{table.title.translate(_TEX)}}} \\\\"
        head, *body = (" & ".join(row) + r" \\" for row in [[name.translate(_TEX) for name in table.header], *texts])
        content = "\n".join(["\\toprule", title, "\\midrule", head, "\\midrule", *body, "\\bottomrule"])
        parts += [_comment(table.caption), f"\\begin{{tabular}}{{{columns}}}\n{content}\n\\end{{tabular}}"]
    parts += map(_comment, notes)
    return "\n\n".join(parts) + "\n"


def _comment(text: str) -> str:
    return f"% {' '.join(text.split())}"


def _html(tables: Sequence[_Table], notes: Sequence[str]) -> str:
    parts = []
    for table in tables:
        heads = "".join(f"<th scope='col'>{escape(name)}</th>" for name in table.header)
        rows = "".join(
            "<tr>" + "".join(f"<td>{f'<b>{escape(t)}</b>' if best else escape(t)}</td>" for t, best in row) + "</tr>"
            for row in table.rows
        )
        parts.append(
            f"<table class='rows plain'><caption>{escape(table.title)}</caption><thead><tr>{heads}</tr></thead>"
            f"<tbody>{rows}</tbody></table><p class='under'>{escape(table.caption)}</p>"
        )
    if notes:
        parts.append("<ul class='notes'>" + "".join(f"<li>{escape(text)}</li>" for text in notes) + "</ul>")
    return "\n".join(parts) + "\n"


STYLES: dict[str, Callable[[Sequence[_Table], Sequence[str]], str]] = {"md": _markdown, "latex": _latex, "html": _html}
