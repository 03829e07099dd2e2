"""The report of several runs, such as those of `--seeds 1 2 3`: their table, figures, and a link to each run's own report."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

import matplotlib
import numpy as np
from matplotlib.ticker import MaxNLocator

from zslab.report.page import write_page, write_plots
from zslab.report.plots.plot import Plot, panels, render
from zslab.report.style import CLASS_COLORS, INK, STYLE
from zslab.results.names import MEASURES, QUOTABLE, RULES, MeasureKey, Rule
from zslab.results.record import read_records
from zslab.results.render import make_tables, markdown
from zslab.results.result import compared
from zslab.results.runs import Run, read_runs, save_runs
from zslab.results.statistics import Summary
from zslab.results.table import Variant, build_variants, changed_data, describe_repeat
from zslab.utils.files import write_text

DRAWN: tuple[MeasureKey, ...] = ("T1", "H")
MOST_LINES = 6  # in a figure


def write_runs_report(folder: Path, paths: Sequence[Path]) -> str:
    """Write report.html, table.md and the collected runs.json of finished runs into a folder."""
    records = read_runs(paths)
    runs, variants, made = [run for run in records if isinstance(run, Run)], build_variants(records), make_tables(records)
    rule: Rule = "val" if any(row.rule == "val" and not row.baseline for run in runs for row in run.rows) else "last"
    each = []
    for run in runs:
        row = next((row for row in run.rows if (row.rule, row.baseline) == (rule, "")), None)
        link = f"{quote(os.path.relpath(run.path or folder, folder))}/report.html"
        each.append((describe_repeat(run.repetition), link, row))
    write_page(
        folder / "report.html",
        "runs.html",
        kind=f"report of {len(runs)} runs",
        title=f"{variants[0].name} on {runs[0].dataset}",
        facts="In percent, mean ± sample standard deviation (number of runs). The best epoch on the test set is optimistic.",
        made=made,
        verdict=list(_verdict(variants)),
        run_notes=list(dict.fromkeys([*changed_data(variants), *(note for run in runs for note in run.notes)])),
        plots=draw_runs(variants[0].data, variants, rule),
        rule_title=RULES[rule],
        each=each,
    )
    save_runs(folder / "runs.json", records)
    table = markdown(made)
    write_text(folder / "table.md", table)
    return table


def _verdict(variants: Sequence[Variant]) -> Iterator[str]:
    """Compare the mean of the method, by the best founded rule, with that of the strongest baseline."""
    for measure in DRAWN:
        own = next(((RULES[rule], s.mean) for rule in QUOTABLE if (s := variants[0].summary(rule, measure))), None)
        others = [(v.name, s.mean) for v in variants if v.is_baseline and (s := _of_baseline(v, measure))]
        if own and others:
            best = max(others, key=lambda other: other[1])
            yield compared(f"{measure} ({own[0]}) is", best[0], own[1], best[1], " in the mean")


def _of_baseline(variant: Variant, measure: MeasureKey) -> Summary | None:
    """Return a baseline's mean, calibrated where it is."""
    return variant.summary("val + calibration", measure) or variant.summary("val", measure)


def write_figures(folder: Path, variants: Sequence[Variant], rule: Rule = "last") -> list[Path]:
    """Draw curves (where run folders are at hand) and bars for each data set; return the PNG files written."""
    plots = [plot for data in dict.fromkeys(v.data for v in variants) for plot in draw_runs(data, variants, rule)]
    write_plots(folder, plots)
    return [folder / f"{plot.name}.png" for plot in plots]


def draw_runs(data: tuple[str, str, str], variants: Sequence[Variant], rule: Rule) -> list[Plot]:
    """Draw bars and curves of the variants on some data, as far as there is anything to draw."""
    own = [variant for variant in variants if variant.data == data]
    with matplotlib.rc_context(STYLE):
        return [*_bars(data, own, rule), *_curves(data, own)]


def _bars(data: tuple[str, str, str], variants: Sequence[Variant], rule: Rule) -> Iterator[Plot]:
    """Draw mean T1 and H of each variant as bars, and each run as a point; baselines by their validation rule."""
    figure, every = panels(len(DRAWN), 1.0 + 0.34 * len(variants))
    means = []
    for axes, measure in zip(every, DRAWN):
        for index, variant in enumerate(variants):
            calibrated = variant.values("val + calibration", measure) if variant.is_baseline else {}
            values = calibrated or variant.values("val" if variant.is_baseline else rule, measure)
            if values:
                points = 100 * np.array([values[repeat] for repeat in sorted(values)])
                color = CLASS_COLORS[index % len(CLASS_COLORS)]
                axes.barh(index, points.mean(), color=color, alpha=0.35, height=0.7)
                spread = np.linspace(-0.2, 0.2, len(points)) if len(points) > 1 else np.zeros(1)
                axes.plot(points, index + spread, "o", color=INK, markersize=3.5, linestyle="none")
                means.append(f"{variant.name} {MEASURES[measure].symbol} {points.mean():.1f}")
        axes.set_yticks(range(len(variants)), [variant.name if axes is every[0] else "" for variant in variants])
        axes.set(title=MEASURES[measure].symbol, xlabel="%", ylim=(len(variants) - 0.4, -0.6))
        axes.set_xlim(left=0)
    if means:
        caption = f"Bars are means; each point is a run ({RULES[rule]}; baselines: {RULES['val + calibration']})."
        alt = f"Bars of accuracies in percent; means: {'; '.join(means)}."
        yield render(figure, f"bars-{'-'.join(data)}", f"Mean and spread, {', '.join(data)}", caption, alt)


def _curves(data: tuple[str, str, str], variants: Sequence[Variant]) -> Iterator[Plot]:
    """Draw T1 and H over epochs, a line for each variant's mean and a band of one standard deviation."""
    figure, every = panels(len(DRAWN), 3, top=0.6)
    handles = {}
    for axes, measure in zip(every, DRAWN):
        axes.set(title=MEASURES[measure].symbol, xlabel="epoch", ylabel="%")
        for color, variant in zip(CLASS_COLORS, [variant for variant in variants if variant.runs][:MOST_LINES]):
            epochs, values = read_curve(variant, measure)
            if len(epochs) > 1:
                mean = 100 * values.mean(axis=0)
                (handles[f"{variant.name} ({len(values)})"],) = axes.plot(epochs, mean, color=color)
                if len(values) > 1:
                    sd = 100 * values.std(axis=0, ddof=1)
                    axes.fill_between(epochs, mean - sd, mean + sd, color=color, alpha=0.18, linewidth=0)
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10], integer=True))
    if handles:
        figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=2)
        caption = "Mean of the runs, and one standard deviation."
        alt = f"Line plots of T1 and H over epochs of {', '.join(handles)}."
        yield render(figure, f"curves-{'-'.join(data)}", f"Accuracy over epochs, {', '.join(data)}", caption, alt)


def read_curve(variant: Variant, measure: MeasureKey) -> tuple[np.ndarray, np.ndarray]:
    """Return the 1-based epochs (e,) that all runs evaluated and the values (runs, e) after the last head epoch."""
    curves, place = [], MEASURES[measure].place
    for run in variant.runs:
        metrics = run.path and run.path / "metrics.jsonl"
        records = read_records(metrics) if metrics and metrics.is_file() else []
        curves.append({record.epoch + 1: record.values(*place)[-1] for record in records if record.values(*place)})
    epochs = sorted(set.intersection(*(set(curve) for curve in curves))) if curves else []
    return np.array(epochs), np.array([[curve[epoch] for epoch in epochs] for curve in curves])
