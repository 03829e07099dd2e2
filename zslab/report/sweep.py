"""The table and the report of several runs that differ in their seed, their class split or both.

`write_sweep(folder, runs)` leaves summary.json, summary.txt, sweep.png and report.html, from the runs' folders alone.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zslab.fileio import atomic_path, write_json, write_text
from zslab.report.html import document, duration, figure_html, headline_row, measures_table, row_with_rule
from zslab.report.plots.plot import MEASURE_NAMES, Plot, render
from zslab.report.run import MEASURES, Result, read_result
from zslab.report.style import INK, PURPLE, RULE_COLORS, RULE_MARKERS, STYLE, Style
from zslab.report.text import HEADINGS, Spread, Summary, format_sweep, percent, plus_minus, run_names, summarize


def write_sweep(folder: Path, runs: Sequence[Path]) -> str:
    """Write the table and the report of finished runs.

    Args:
        folder: Where to write; made if it does not exist.
        runs: The run folders.

    Returns:
        The text table.

    Raises:
        InputError: A run has not finished or its result is damaged.
    """
    results = [read_result(run / "result.json") for run in runs]
    summary = summarize(results)
    table = format_sweep(summary)
    with matplotlib.rc_context(STYLE):
        plot = _draw(summary)
    page = _page(folder, summary, results, runs, plot)
    write_json(folder / "summary.json", summary)
    write_text(folder / "summary.txt", table)
    with atomic_path(folder / "sweep.png") as temporary:
        temporary.write_bytes(plot.png)
    write_text(folder / "report.html", page)
    return table


def _page(folder: Path, summary: Summary, results: list[Result], runs: Sequence[Path], plot: Plot) -> str:
    facts = " · ".join(map(escape, [*summary["headline"], f"mean ± sd over {summary['over']}"]))
    rows = [
        row_with_rule(row["row"], row["rule"], [plus_minus(row[measure]) for measure in HEADINGS]) for row in summary["rows"]
    ]
    quoted = [headline_row(result) for result in results]
    each = []
    for name, row, run in zip(run_names(results), quoted, runs):
        cells = "".join(f"<td>{percent(row.get(measure) if row else None)}</td>" for measure in MEASURES)
        link = quote(os.path.relpath(run / "report.html", folder))
        each.append(f"<tbody><tr><th scope='row'><a href='{link}'>{escape(name)}</a></th>{cells}</tr></tbody>")
    rules = " or ".join(f"“{name}”" for name in sorted({row["row"] for row in quoted if row}))
    notes = dict.fromkeys([*summary["warnings"], *(note for result in results for note in result["notes"])])
    listed = "".join(f"<li>{escape(note)}</li>" for note in notes)
    total = duration(sum(result["seconds"] for result in results))
    machines = escape(", ".join(sorted({result["machine"] for result in results})))
    return document(
        summary["title"],
        [
            f"<header><p class='eyebrow'>{escape(results[0]['method'])} · report of {len(results)} runs</p>"
            f"<h1>{escape(summary['title'])}</h1><p class='facts'>{facts}</p></header><main>",
            "<section aria-labelledby='results'><h2 id='results'>Results</h2>",
            measures_table("selection", HEADINGS.values(), rows),
            "</section>",
            f"<section><h2>Notes</h2><ul class='notes'>{listed}</ul></section>" if notes else "",
            "<section><h2>Spread</h2>",
            figure_html(plot),
            "</section>",
            f"<section><h2>Each run{', selection ' * bool(rules)}{rules}</h2>",
            measures_table("run", [HEADINGS[measure] for measure in MEASURES], each),
            "</section>",
            f"</main><footer>Written by zslab {escape(results[0]['version'])}; {total} of training and evaluation on "
            f"{machines}.</footer>",
        ],
    )


def _draw(summary: Summary) -> Plot:
    """Draw a panel for each measure and a column for each row: a mark for every run, mean and deviation as a bar."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    rows = [row for row in summary["rows"] if any(row[measure] for measure in MEASURES)]
    names = [row["row"].replace("calibration", "calibr.") for row in rows]
    means = []
    for position, measure in enumerate(MEASURES):
        axes = figure.add_subplot(1, len(MEASURES), position + 1)
        axes.set_title(HEADINGS[measure])
        for column, row in enumerate(rows):
            if spread := row[measure]:
                _draw_spread(axes, column, row["row"], spread)
                means.append(f"{row['row']} {HEADINGS[measure]} {percent(spread['mean'])}")
        axes.set_xticks(range(len(names)), names, rotation=90)
        axes.set_xlim(-0.6, len(names) - 0.4)
        axes.set_ylim(bottom=0)
        axes.grid(axis="x", visible=False)
        if position == 0:
            axes.set_ylabel("per cent")
    legend = "; ".join(name.replace(",", ":", 1) for name in MEASURE_NAMES.values() if "," in name)
    caption = f"A mark for every run, and mean and standard deviation in dark, for each row of the table. {legend}."
    alt = f"Marks for {len(summary['seeds'])} runs; means in per cent: {', '.join(means)}."
    return render(figure, "sweep", "Spread over the runs", caption, alt)


def _draw_spread(axes: Axes, column: int, rule: str, spread: Spread) -> None:
    """Draw the runs of one row fanned out in their order, so that a run has the same place in every column."""
    family, _, calibrated = rule.partition(" + ")
    values = 100 * np.array(spread["values"])
    fan = column + np.linspace(-0.22, 0.22, len(values)) if len(values) > 1 else np.array([column])
    (marks,) = axes.plot(fan, values, RULE_MARKERS.get(family, "P"), color=RULE_COLORS.get(family, PURPLE), linestyle="none")
    marks.set(markersize=4.5, alpha=0.75, markeredgewidth=0.9, fillstyle="none" if calibrated else "full")
    sd = None if spread["sd"] is None else 100 * spread["sd"]
    bar: Style = {"fmt": "_", "markersize": 16, "elinewidth": 1.2, "capsize": 3, "zorder": 4}
    axes.errorbar(column, 100 * spread["mean"], sd, color=INK, **bar)
