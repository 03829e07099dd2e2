"""Tables as Markdown, LaTeX (booktabs) or CSV, all from the same lines."""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from zslab.data.formats.table import formula_safe
from zslab.results.names import MEASURES, RULES, MeasureKey, Rule
from zslab.results.runs import Record
from zslab.results.statistics import FEWEST_PAIRS, Comparison, Summary
from zslab.results.table import (
    Line,
    Pair,
    build_lines,
    build_pairs,
    build_variants,
    changed_data,
    conditions,
    listed_numbers,
    missing_runs,
    variant_names,
)
from zslab.results.text import DASH

MINUS = "\u2212"
SIGNIFICANT = 0.05
PIVOTS = {"data": (0, 1, 2), "backbone": (0, 2)}  # which of data set, features, descriptions head a table
Cell = tuple[str, bool]  # text, is bold


@dataclass(frozen=True)
class Table:
    """One table: its title and caption, the heading of each column, how many of them hold names, and the cells of each row."""

    title: str
    caption: str
    header: list[str]
    n_names: int
    rows: list[list[Cell]]


@dataclass(frozen=True)
class Tables:
    """The tables of runs, the lines that they show, and what must be said below them."""

    tables: list[Table]
    lines: list[Line]
    notes: list[str]


def make_tables(
    runs: Sequence[Record],
    *,
    rules: Sequence[Rule] = tuple(RULES),
    compare: Sequence[tuple[str, str]] = (),
    measures: Sequence[MeasureKey] = ("T1", "H"),
    pivot: str = "data",
    variants: Sequence[str] = (),
    pairs_only: bool = False,
) -> Tables:
    """Return the tables of runs, with paired comparisons below."""
    every = build_variants(runs)
    pairs = {f"{first} minus {second}": build_pairs(every, first, second, rules, measures) for first, second in compare}
    names = [name for pair in compare for name in pair] if pairs_only else variants
    chosen = variant_names(every, names, "--variants")
    shown = [variant for variant in every if variant.name in chosen] if names else every
    by_data = [[v for v in shown if v.data == data] for data in dict.fromkeys(v.data for v in shown)]
    lines = [line for group in by_data for line in build_lines(group, rules)]
    tables = [] if pairs_only else _result_tables(lines, pivot)
    compared = [_pairs_table(title, found, measures) for title, found in pairs.items()]
    tables += [replace(table, caption="") for table in compared[:-1]] + compared[-1:]  # one caption for all
    return Tables(tables, lines, [*changed_data(shown), *missing_runs(shown)])


def cell_text(cell: Summary | None) -> str:
    """Return a summary in percent: "58.2 ± 0.7 (5)", "58.2" for a single value, an en dash for none."""
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


def _result_tables(lines: Sequence[Line], pivot: str) -> list[Table]:
    """Return a table for each data set. Measures that no line of a table has are left out."""
    sections: dict[tuple[str, ...], list[Line]] = {}
    for line in lines:
        sections.setdefault(tuple(line.variant.data[i] for i in PIVOTS[pivot]), []).append(line)
    tables = []
    for title, members in sections.items():
        features = pivot == "backbone"
        measures = {key: measure.symbol for key, measure in MEASURES.items() if any(line.cells[key] for line in members)}
        names = [*(["features"] if features else []), "variant", "selection"]
        rows: list[list[Cell]] = [
            [(name, False) for name in [*([line.variant.data[1]] if features else []), line.variant.name, RULES[line.rule]]]
            + [(cell_text(line.cells[measure]), measure in line.best) for measure in measures]
            for line in members
        ]
        caption = conditions([line.variant for line in members])
        tables.append(Table(", ".join(title), caption, [*names, *measures.values()], len(names), rows))
    return tables


def _pairs_table(title: str, pairs: Sequence[Pair], measures: Sequence[MeasureKey]) -> Table:
    """Return the table of two variants that were compared."""
    rows: list[list[Cell]] = []
    for pair in pairs:
        counts = listed_numbers(sorted({result.n for result in pair.results.values() if result} or {0}))
        found = [pair.results.get(measure) for measure in measures]
        cells = [(comparison_text(each), bool(each and each.p and each.p < SIGNIFICANT)) for each in found]
        rows.append([(text, False) for text in (", ".join(pair.data), RULES[pair.rule], counts)] + cells)
    caption = "Points: mean of the paired differences, 95 % interval by Student's t, p of the permutation test (two-sided); "
    caption += f"bold: p < {SIGNIFICANT:g}"
    if any(result and result.p is None for pair in pairs for result in pair.results.values()):
        caption += f". With fewer than {FEWEST_PAIRS} pairs no test can decide"
    return Table(title, caption, ["data", "selection", "pairs", *(MEASURES[m].symbol for m in measures)], 2, rows)


def markdown(made: Tables) -> str:
    """Return the tables as Markdown, columns aligned."""
    parts = []
    for table in made.tables:
        n = table.n_names
        texts = [[f"**{text}**" if bold else text.replace("|", "\\|") for text, bold in row] for row in table.rows]
        widths = [max(map(len, column)) for column in zip(table.header, *texts, strict=True)]
        padded = [
            [f"{text:{'<' if i < n else '>'}{widths[i]}}" for i, text in enumerate(row)] for row in [table.header, *texts]
        ]
        padded.insert(1, ["-" * width if i < n else "-" * (width - 1) + ":" for i, width in enumerate(widths)])
        body = "\n".join(f"| {' | '.join(row)} |" for row in padded)
        parts += [f"**{table.title}**", body, *([f"{table.caption}."] if table.caption else [])]
    parts += ["\n".join(f"- {text}" for text in made.notes)] if made.notes else []
    return "\n\n".join(parts) + "\n"


_TEX = str.maketrans(
    {c: f"\\{c}" for c in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "[": "{[}"}
    | {"±": r"$\pm$", "–": "--", MINUS: "$-$", "<": "$<$"}
)


def latex(made: Tables) -> str:
    """Return the tables as LaTeX, each with a caption and a label; notes become comments."""
    parts = ["% needs \\usepackage{booktabs}"]
    for table in made.tables:
        columns = "l" * table.n_names + "r" * (len(table.header) - table.n_names)
        cells = [[(name, False) for name in table.header], *table.rows]
        texts = [[f"\\textbf{{{t.translate(_TEX)}}}" if bold else t.translate(_TEX) for t, bold in row] for row in cells]
        head, *body = (" & ".join(row) + r" \\" for row in texts)
        label = "-".join(re.findall(r"[a-z0-9]+", table.title.lower()))
        caption = ". ".join(filter(None, [table.title, table.caption]))
        rows = "\n".join([r"\toprule", head, r"\midrule", *body, r"\bottomrule"])
        parts.append(
            "\\begin{table}\n\\centering\n"
            f"\\caption{{{caption.translate(_TEX)}.}}\n\\label{{tab:{label}}}\n"
            f"\\begin{{tabular}}{{{columns}}}\n{rows}\n\\end{{tabular}}\n\\end{{table}}"
        )
    parts += [f"% {' '.join(text.split())}" for text in made.notes]
    return "\n\n".join(parts) + "\n"


def comma_separated(made: Tables) -> str:
    """Return one line for each measure, values as fractions in full precision; comparisons and notes are left out."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["data set", "features", "descriptions", "variant", "selection", "measure", "mean", "sd", "n"])
    for line in made.lines:
        for measure, cell in line.cells.items():
            if cell:
                sd = "" if cell.sd is None else cell.sd
                names = map(formula_safe, (*line.variant.data, line.variant.name))
                writer.writerow([*names, line.rule, MEASURES[measure].symbol, cell.mean, sd, cell.n])
    return stream.getvalue()
