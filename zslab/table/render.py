"""Tables as Markdown, CSV, LaTeX (booktabs) or HTML, all from the same lines."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from zslab.data.formats.table import formula_safe
from zslab.table.build import Line, Pair, build_lines, build_pairs, build_variants, changed_data, conditions, missing_cells
from zslab.table.runs import MEASURES, RULES, Quote, Run
from zslab.table.statistics import FEWEST_PAIRS, Comparison, Summary

DASH = "–"
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
) -> str:
    """Return the tables of runs as one document, with paired comparisons and warnings below.

    Args:
        runs: of all data sets.
        style: one of `STYLES`.
        rules: the selection rules to show.
        compare: pairs of variants to compare, in `measures`.
        measures: of the comparisons.
        pivot: "data" heads a table by data set, features and descriptions; "backbone" makes the features a column.
    """
    variants = build_variants(runs)
    by_data = [[v for v in variants if v.data == data] for data in dict.fromkeys(v.data for v in variants)]
    lines = [line for group in by_data for line in build_lines(group, rules)]
    pairs = [pair for first, second in compare for pair in build_pairs(variants, first, second, rules, measures)]
    return STYLES[style](lines, pairs, [*changed_data(variants), *missing_cells(variants)], pivot)


def cell_text(cell: Summary | None) -> str:
    """Return a summary in per cent: "58.2 ± 0.7 (5)", "58.2" for a single value, an en dash for none."""
    if cell is None:
        return DASH
    mean = f"{100 * cell.mean:.1f}"
    return mean if cell.sd is None else f"{mean} ± {100 * cell.sd:.1f} ({cell.n})"


def verdict(result: Comparison | None) -> str:
    """Return a paired comparison as a sentence."""
    if result is None:
        return "no common repetition"
    text = f"{100 * result.difference:+.1f} points over {result.n} pair{'s' if result.n > 1 else ''}"
    if result.interval is not None:
        low, high = result.interval
        text += f", 95 % interval {100 * low:+.1f} to {100 * high:+.1f}"
    if result.p is None:
        return f"{text}; fewer than {FEWEST_PAIRS} pairs, so no test can decide"
    return f"{text}, p = {result.p:.3g}"


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


def _pair_text(pair: Pair) -> str:
    return (
        f"{' '.join(pair.data)}, {pair.rule}, {MEASURES[pair.measure]}: {pair.first} minus {pair.second}: "
        f"{verdict(pair.result)}"
    )


def _markdown(lines: Sequence[Line], pairs: Sequence[Pair], notes: Sequence[str], pivot: str) -> str:
    parts = []
    for table in _tables(lines, pivot):
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
    parts += ["\n".join(f"- {text}" for text in group) for group in (list(map(_pair_text, pairs)), notes) if group]
    return "\n\n".join(parts) + "\n"


def _csv(lines: Sequence[Line], pairs: Sequence[Pair], notes: Sequence[str], pivot: str) -> str:
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
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "–": "--", "[": "{[}"}
)


def _latex(lines: Sequence[Line], pairs: Sequence[Pair], notes: Sequence[str], pivot: str) -> str:
    parts = ["% needs \\usepackage{booktabs}"]
    for table in _tables(lines, pivot):
        columns = "l" * table.n_names + "r" * (len(table.header) - table.n_names)
        texts = [
            [f"\\textbf{{{text.translate(_TEX)}}}" if best else text.translate(_TEX) for text, best in row]
            for row in table.rows
        ]
        title = f"\\multicolumn{{{len(table.header)}}}{{l}}{{{table.title.translate(_TEX)}}} \\\\"
        head, *body = (" & ".join(row) + r" \\" for row in [[name.translate(_TEX) for name in table.header], *texts])
        content = "\n".join(["\\toprule", title, "\\midrule", head, "\\midrule", *body, "\\bottomrule"])
        parts += [_comment(table.caption), f"\\begin{{tabular}}{{{columns}}}\n{content}\n\\end{{tabular}}"]
    parts += map(_comment, [*map(_pair_text, pairs), *notes])
    return "\n\n".join(parts) + "\n"


def _comment(text: str) -> str:
    return f"% {' '.join(text.split())}"


def _html(lines: Sequence[Line], pairs: Sequence[Pair], notes: Sequence[str], pivot: str) -> str:
    parts = []
    for table in _tables(lines, pivot):
        heads = "".join(f"<th scope='col'>{escape(name)}</th>" for name in table.header)
        rows = "".join(
            "<tr>" + "".join(f"<td>{f'<b>{escape(t)}</b>' if best else escape(t)}</td>" for t, best in row) + "</tr>"
            for row in table.rows
        )
        parts.append(
            f"<table class='rows plain'><caption>{escape(table.title)}</caption><thead><tr>{heads}</tr></thead>"
            f"<tbody>{rows}</tbody></table><p class='under'>{escape(table.caption)}</p>"
        )
    texts = [*map(_pair_text, pairs), *notes]
    if texts:
        parts.append("<ul class='notes'>" + "".join(f"<li>{escape(text)}</li>" for text in texts) + "</ul>")
    return "\n".join(parts) + "\n"


STYLES: dict[str, Callable[[Sequence[Line], Sequence[Pair], Sequence[str], str], str]] = {
    "md": _markdown,
    "csv": _csv,
    "latex": _latex,
    "html": _html,
}
