"""Tables as Markdown, CSV, LaTeX (booktabs) or HTML, all from the same lines."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from html import escape

from zslab.table.build import Data, Line, Pair
from zslab.table.runs import MEASURES
from zslab.table.statistics import FEWEST_PAIRS, Comparison, Summary

DASH = "–"
PIVOTS = {"data": (0, 1, 2), "backbone": (0, 2)}  # which of data set, features, descriptions head a table
HEADS = ("data set", "features", "descriptions")
Cell = tuple[str, bool]  # text, is best


def render(lines: Sequence[Line], pairs: Sequence[Pair], notes: Sequence[str], style: str, pivot: str = "data") -> str:
    """Return the table of `lines`, then paired comparisons and notes, as one document.

    Args:
        lines: of all data sets, in order.
        pairs: paired comparisons, which may be none.
        notes: sentences below the tables.
        style: one of `STYLES`.
        pivot: "data" heads a table by data set, features and descriptions; "backbone" makes the features a column.
    """
    return STYLES[style](lines, pairs, notes, pivot)


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


def _sections(lines: Sequence[Line], pivot: str) -> list[tuple[Data, list[Line]]]:
    keep = PIVOTS[pivot]
    sections: dict[Data, list[Line]] = {}
    for line in lines:
        data = line.variant.data
        sections.setdefault(tuple(data[i] if i in keep else "" for i in range(3)), []).append(line)  # type: ignore[arg-type]
    return list(sections.items())


def _header(pivot: str) -> list[str]:
    return [*(["features"] if pivot == "backbone" else []), "variant", "selection", *MEASURES.values()]


def _cells(line: Line, pivot: str) -> list[Cell]:
    names = [*([line.variant.data[1]] if pivot == "backbone" else []), line.variant.name, line.rule]
    return [
        *((name, False) for name in names),
        *((cell_text(cell), measure in line.best) for measure, cell in line.cells.items()),
    ]


def _pair_text(pair: Pair) -> str:
    return (
        f"{' '.join(pair.data)}, {pair.rule}, {MEASURES[pair.measure]}: {pair.first} minus {pair.second}: "
        f"{verdict(pair.result)}"
    )


def _markdown(lines: Sequence[Line], pairs: Sequence[Pair], notes: Sequence[str], pivot: str) -> str:
    parts = []
    for data, members in _sections(lines, pivot):
        header = _header(pivot)
        rows = [[f"**{text}**" if best else text.replace("|", "\\|") for text, best in _cells(line, pivot)] for line in members]
        rule = ["---"] * (len(header) - len(MEASURES)) + ["---:"] * len(MEASURES)
        table = "\n".join(f"| {' | '.join(row)} |" for row in [header, rule, *rows])
        parts.append(f"**{', '.join(filter(None, data))}**\n\n{table}")
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
                writer.writerow([*line.variant.data, line.variant.name, line.rule, MEASURES[measure], cell.mean, sd, cell.n])
    return stream.getvalue()


_TEX = str.maketrans(
    {c: f"\\{c}" for c in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "–": "--"}
)


def _latex(lines: Sequence[Line], pairs: Sequence[Pair], notes: Sequence[str], pivot: str) -> str:
    parts = ["% needs \\usepackage{booktabs}"]
    for data, members in _sections(lines, pivot):
        header = _header(pivot)
        columns = "l" * (len(header) - len(MEASURES)) + "r" * len(MEASURES)
        body = [f"\\multicolumn{{{len(header)}}}{{l}}{{{', '.join(filter(None, data)).translate(_TEX)}}} \\\\", "\\midrule"]
        body.append(" & ".join(name.translate(_TEX) for name in header) + r" \\")
        body.append("\\midrule")
        for line in members:
            texts = ((text.translate(_TEX), best) for text, best in _cells(line, pivot))
            body.append(" & ".join(f"\\textbf{{{text}}}" if best else text for text, best in texts) + r" \\")
        table = "\n".join(["\\toprule", *body, "\\bottomrule"])
        parts.append(f"\\begin{{tabular}}{{{columns}}}\n{table}\n\\end{{tabular}}")
    parts += [f"% {text}" for text in [*map(_pair_text, pairs), *notes]]
    return "\n\n".join(parts) + "\n"


def _html(lines: Sequence[Line], pairs: Sequence[Pair], notes: Sequence[str], pivot: str) -> str:
    parts = []
    for data, members in _sections(lines, pivot):
        heads = "".join(f"<th scope='col'>{escape(name)}</th>" for name in _header(pivot))
        rows = "".join(
            "<tr>"
            + "".join(f"<td>{f'<b>{escape(t)}</b>' if best else escape(t)}</td>" for t, best in _cells(line, pivot))
            + "</tr>"
            for line in members
        )
        caption = escape(", ".join(filter(None, data)))
        parts.append(f"<table><caption>{caption}</caption><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>")
    texts = [*map(_pair_text, pairs), *notes]
    if texts:
        parts.append("<ul>" + "".join(f"<li>{escape(text)}</li>" for text in texts) + "</ul>")
    return "\n".join(parts) + "\n"


STYLES: dict[str, Callable[[Sequence[Line], Sequence[Pair], Sequence[str], str], str]] = {
    "md": _markdown,
    "csv": _csv,
    "latex": _latex,
    "html": _html,
}
