"""The report of several runs, such as those of `--seeds 1 2 3`: their table, figures, and a link to each run's own report."""

from __future__ import annotations

import os
from collections.abc import Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

import matplotlib

from zslab.report.html import document, figure_html, measures_table, notes_section, section
from zslab.report.plots.plot import Plot, render
from zslab.report.style import STYLE
from zslab.report.text import percent
from zslab.table.build import Variant, build_variants, changed_data, describe_repeat
from zslab.table.figures import draw_bars, draw_curves
from zslab.table.render import cell_text, make_table
from zslab.table.runs import MEASURES, Run, read_runs, save_runs
from zslab.utils.files import write_text

_RULES = "Selection: paper is the best epoch on the test set (optimistic), val is chosen on validation, last is the last epoch."


def write_report(folder: Path, paths: Sequence[Path]) -> str:
    """Write report.html, table.md and the collected runs.json of finished runs into a folder.

    Args:
        folder: made if it does not exist.
        paths: the run folders.

    Returns:
        The Markdown table.

    Raises:
        InputError: a run has not finished, or its result is damaged.
    """
    runs = read_runs(paths)
    table = make_table(runs)
    page = _page(folder, [run for run in runs if isinstance(run, Run)], make_table(runs, style="html"))
    save_runs(folder / "runs.json", runs)
    write_text(folder / "table.md", table)
    write_text(folder / "report.html", page)
    return table


def _page(folder: Path, runs: Sequence[Run], table: str) -> str:
    variants = build_variants(runs)
    title = f"{variants[0].name} on {runs[0].dataset}"
    rule = "val" if any("val" in run.scores for run in runs) else "last"
    each = []
    for run in runs:
        cells = "".join(f"<td>{percent(run.scores.get(rule, {}).get(measure))}</td>" for measure in MEASURES)
        link = quote(os.path.relpath(run.path or folder, folder))
        name = escape(describe_repeat(run.repeat))
        each.append(f"<tbody><tr><th scope='row'><a href='{link}/report.html'>{name}</a></th>{cells}</tr></tbody>")
    return document(
        f"report of {len(runs)} runs",
        title,
        f"Per cent, mean ± sample standard deviation (number of runs). {_RULES}",
        [
            section("Results", table),
            notes_section(dict.fromkeys([*changed_data(variants), *(note for run in runs for note in run.notes)])),
            section("Figures", *map(figure_html, _plots(variants, rule))),
            section(f"Each run, selection “{rule}”", measures_table("run", MEASURES.values(), each)),
        ],
    )


def _plots(variants: Sequence[Variant], rule: str) -> list[Plot]:
    data, own = variants[0].data, [variant for variant in variants if variant.data == variants[0].data]
    means = "; ".join(f"{variant.name} {cell_text(variant.summary(rule, 'H'))}" for variant in own if not variant.is_baseline)
    with matplotlib.rc_context(STYLE):
        figures = {
            "bars": (draw_bars(data, own, rule), "Mean and spread", "Bars are means; each point is a run."),
            "curves": (draw_curves(data, own), "Accuracy over epochs", "Mean of the runs, and one standard deviation."),
        }
        return [
            render(figure, name, title, caption, f"{caption} H in per cent: {means}.")
            for name, (figure, title, caption) in figures.items()
            if figure is not None
        ]
