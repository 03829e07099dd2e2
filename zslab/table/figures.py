"""Figures beside the tables: curves over epochs with bands, and bars with every run as a point."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from zslab.report.style import CLASS_COLORS, INK, STYLE, to_png
from zslab.table.build import Data, Variant
from zslab.table.runs import MEASURES
from zslab.utils.files import atomic_path, read_metrics

GROUPS = {"T1": ("zsl", "acc"), "H": ("gzsl", "H")}  # where metrics.jsonl has the measures that are drawn


def write_figures(folder: Path, variants: Sequence[Variant], rule: str = "last") -> list[Path]:
    """Draw curves (where run folders are at hand) and bars for each data set; return the PNG files written."""
    written = []
    for data in dict.fromkeys(variant.data for variant in variants):
        own = [variant for variant in variants if variant.data == data]
        with matplotlib.rc_context(STYLE):
            figures = {"curves": draw_curves(data, own), "bars": draw_bars(data, own, rule)}
            for kind, figure in figures.items():
                if figure is not None:
                    path = folder / f"{kind}-{'-'.join(data)}.png"
                    with atomic_path(path) as temporary:
                        temporary.write_bytes(to_png(figure))
                    written.append(path)
    return written


def read_curve(variant: Variant, measure: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the 1-based epochs (e,) that all runs evaluated and the values (runs, e) after the last head epoch."""
    group, key = GROUPS[measure]
    curves = []
    for run in variant.runs:
        metrics = run.path and run.path / "metrics.jsonl"
        records = read_metrics(metrics) if metrics and metrics.is_file() else []
        curves.append({r["epoch"] + 1: r[group][key][-1] for r in records if key in r.get(group, {})})
    epochs = sorted(set.intersection(*(set(curve) for curve in curves))) if curves else []
    return np.array(epochs), np.array([[curve[epoch] for epoch in epochs] for curve in curves])


def draw_curves(data: Data, variants: Sequence[Variant]) -> Figure | None:
    """Draw T1 and H over epochs, a line for each variant's mean and a band of one standard deviation; None without data."""
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    lines = 0
    for position, measure in enumerate(GROUPS):
        axes = figure.add_subplot(1, len(GROUPS), position + 1)
        axes.set_title(MEASURES[measure])
        axes.set_xlabel("epoch")
        for index, variant in enumerate(variants):
            epochs, values = read_curve(variant, measure)
            if not len(epochs):
                continue
            lines += 1
            color, mean = CLASS_COLORS[index % len(CLASS_COLORS)], 100 * values.mean(axis=0)
            axes.plot(epochs, mean, color=color, label=f"{variant.name} ({len(values)})")
            if len(values) > 1:
                sd = 100 * values.std(axis=0, ddof=1)
                axes.fill_between(epochs, mean - sd, mean + sd, color=color, alpha=0.18, linewidth=0)
        axes.set_ylim(bottom=0)
        if position == 0:
            axes.set_ylabel("per cent")
    if not lines:
        return None
    figure.suptitle(", ".join(data))
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def draw_bars(data: Data, variants: Sequence[Variant], rule: str) -> Figure | None:
    """Draw mean T1 and H of each variant as bars, and each run as a point; baselines by their validation rule."""
    figure = Figure(figsize=(9, 0.9 + 0.42 * len(variants)), layout="constrained")
    drawn = False
    for position, measure in enumerate(GROUPS):
        axes = figure.add_subplot(1, len(GROUPS), position + 1)
        axes.set_title(f"{MEASURES[measure]}, {rule}")
        for index, variant in enumerate(variants):
            values = variant.values("val" if variant.is_baseline else rule, measure)
            if not values:
                continue
            drawn = True
            points = 100 * np.array([values[repeat] for repeat in sorted(values)])
            color = CLASS_COLORS[index % len(CLASS_COLORS)]
            axes.barh(index, points.mean(), color=color, alpha=0.35, height=0.7)
            spread = np.linspace(-0.2, 0.2, len(points)) if len(points) > 1 else np.zeros(1)
            axes.plot(points, index + spread, "o", color=INK, markersize=3.5, linestyle="none")
        axes.set_yticks(range(len(variants)), [variant.name for variant in variants] if position == 0 else [""] * len(variants))
        axes.set_ylim(len(variants) - 0.4, -0.6)
        axes.set_xlim(left=0)
        axes.set_xlabel("per cent")
    if not drawn:
        return None
    figure.suptitle(", ".join(data))
    return figure
