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
from matplotlib.figure import Figure

from zsl.report.folder import MEASURES, number
from zsl.report.html import document, duration, figure_html, headline_row, measures_table, row_with_rule
from zsl.report.plots import MEASURE_NAMES, Plot
from zsl.report.style import INK, PURPLE, ROW_COLOURS, ROW_MARKERS, STYLE, to_png
from zsl.report.tables import HEADINGS, format_sweep, percent, plus_minus, run_names, summarise
from zsl.runs.files import atomic_path, read_json, write_json, write_text


def write_sweep(folder: Path, runs: Sequence[Path]) -> str:
    """Gathers finished runs into one table and one report.

    Args:
        folder: where to write; made if it is not there.
        runs: the run folders.

    Returns:
        The text table.

    Raises:
        InputError: a run has not finished or its result is damaged.
    """
    results = [read_json(run / "result.json") for run in runs]
    summary = summarise(results)
    table = format_sweep(summary)
    with matplotlib.rc_context(STYLE):
        plot = _plot(summary)
    page = _render(folder, summary, results, runs, plot)
    write_json(folder / "summary.json", summary)
    write_text(folder / "summary.txt", table)
    with atomic_path(folder / "sweep.png") as temporary:
        temporary.write_bytes(plot.png)
    write_text(folder / "report.html", page)
    return table


def _render(folder: Path, summary: dict, results: list[dict], runs: Sequence[Path], plot: Plot) -> str:
    facts = " · ".join(map(escape, [*summary["headline"], f"mean ± sd over {summary['over']}"]))
    rows = [row_with_rule(row, (plus_minus(row.get(measure)) for measure in HEADINGS)) for row in summary["rows"]]
    each = []
    for name, result, run in zip(run_names(results), results, runs, strict=True):
        row = headline_row(result) or {}
        cells = "".join(f"<td>{percent(row.get(measure))}</td>" for measure in MEASURES)
        link = quote(os.path.relpath(run / "report.html", folder))
        each.append(f"<tbody><tr><th scope='row'><a href='{link}'>{escape(name)}</a></th>{cells}</tr></tbody>")
    used = sorted({row["row"] for row in map(headline_row, results) if row})
    notes = "".join(f"<li>{escape(note)}</li>" for note in dict.fromkeys(
        [*summary["warnings"], *(note for result in results for note in result["notes"])]
    ))
    total = duration(sum(result["seconds"] for result in results))
    return document(summary["title"], [
        f"<header><p class='eyebrow'>{escape(results[0]['method'])} · report of {len(results)} runs</p>"
        f"<h1>{escape(summary['title'])}</h1><p class='facts'>{facts}</p></header><main>",
        "<section aria-labelledby='results'><h2 id='results'>Results</h2>", measures_table("row", HEADINGS.values(), rows),
        "</section>",
        f"<section><h2>Notes</h2><ul class='notes'>{notes}</ul></section>" if notes else "",
        "<section><h2>Spread</h2>", figure_html(plot), "</section>",
        f"<section><h2>Each run, row {' or '.join(f'“{name}”' for name in used)}</h2>",
        measures_table("run", [HEADINGS[measure] for measure in MEASURES], each), "</section>",
        f"</main><footer>Written by zsl {escape(results[0]['version'])}; {total} of training and evaluation on "
        f"{escape(', '.join(sorted({result['machine'] for result in results})))}.</footer>",
    ])


def _plot(summary: dict) -> Plot:
    """A panel a measure, a column a row of the table: every run as a mark, their mean and standard deviation as a bar."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    means = []
    rows = [row for row in summary["rows"] if any(row[measure] for measure in MEASURES)]
    names = [row["row"].replace("calibration", "calibr.") for row in rows]
    for position, measure in enumerate(MEASURES):
        axes = figure.add_subplot(1, len(MEASURES), position + 1)
        axes.set_title(HEADINGS[measure])
        for column, row in enumerate(rows):
            found = row[measure]
            if not found:
                continue
            family, _, calibrated = row["row"].partition(" + ")
            values = 100 * np.array(found["values"])
            # Fanned out in the order of the runs, so that a run stands at the same place of every column.
            fan = column + np.linspace(-0.22, 0.22, len(values)) if len(values) > 1 else [column]
            axes.plot(
                fan, values, ROW_MARKERS.get(family, "P"), markersize=4.5, alpha=0.75, markeredgewidth=0.9,
                color=ROW_COLOURS.get(family, PURPLE), fillstyle="none" if calibrated else "full", linestyle="none",
            )
            axes.errorbar(column, 100 * found["mean"], 100 * number(found["sd"]) if found["sd"] else None, color=INK,
                          fmt="_", markersize=16, elinewidth=1.2, capsize=3, zorder=4)
            means.append(f"{row['row']} {HEADINGS[measure]} {percent(found['mean'])}")
        axes.set_xticks(range(len(names)), names, rotation=90)
        axes.set_xlim(-0.6, len(names) - 0.4)
        axes.set_ylim(bottom=0)
        axes.grid(axis="x", visible=False)
        if position == 0:
            axes.set_ylabel("per cent")
    words = "; ".join(name.replace(",", ":", 1) for name in MEASURE_NAMES.values() if "," in name)
    return Plot(
        "sweep", "Spread over the runs",
        f"Every run as a mark, and mean and standard deviation in dark, for each row of the table. {words}.",
        f"Marks for {len(summary['seeds'])} runs; means in per cent: {', '.join(means)}.", to_png(figure),
    )
