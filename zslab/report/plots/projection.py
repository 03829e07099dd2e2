"""Real and synthesized features of unseen classes in the plane."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from zslab.report.plots.plot import Plot, class_name, hide_axes, render
from zslab.report.run import FinishedRun
from zslab.report.style import CLASS_COLORS, CLASS_MARKERS, GRID, INK

_CLASSES, _POINTS = 12, 60  # at most so many classes, and points of each kind; t-SNE of 12 x 2 x 60 takes some seconds


def projection_plots(run: FinishedRun) -> list[Plot]:
    """Draw PCA to 50 dimensions, then t-SNE, of real and synthesized features together."""
    keys = ("projection_real", "projection_real_labels", "projection_synthetic", "projection_synthetic_labels")
    if any(key not in run.arrays for key in keys):
        return []
    real, real_labels, synthetic, synthetic_labels = (run.arrays[key] for key in keys)
    classes = sorted(set(real_labels.tolist()) & set(synthetic_labels.tolist()))
    if len(real) + len(synthetic) < 8 or not classes:
        return []
    # Evenly spaced through the class list, so that nobody chose which classes look good.
    positions = np.linspace(0, len(classes) - 1, min(_CLASSES, len(classes))).round().astype(int)
    shown = [classes[position] for position in positions]
    sources = ((False, synthetic, synthetic_labels), (True, real, real_labels))
    groups = [
        (position, is_real, points[labels == index][:_POINTS])
        for position, index in enumerate(shown)
        for is_real, points, labels in sources
    ]
    plane = _embed(np.concatenate([points for _, _, points in groups]))
    figure = Figure(figsize=(9, 6), layout="constrained")
    axes = figure.add_subplot()
    parts = np.split(plane, np.cumsum([len(points) for _, _, points in groups])[:-1])
    for (position, is_real, _), part in zip(groups, parts):
        _draw_points(axes, position, is_real, part)
    hide_axes(axes, GRID)
    figure.legend(handles=_legend(run, shown), loc="outside right upper")
    which = f"{len(shown)} of the {len(classes)}" if len(shown) < len(classes) else f"all {len(shown)}"
    spacing = ", evenly spaced in the class list" if len(shown) < len(classes) else ""
    caption = (
        f"PCA to 50 dimensions, then t-SNE, of up to {_POINTS} real (filled) and {_POINTS} synthesized (hollow) features "
        f"of each of {which} unseen classes{spacing}. Distances between far groups mean nothing."
    )
    alt = f"Scatter plot of real and synthesized features of {len(shown)} unseen classes, one color and shape for each class."
    return [render(figure, "projection", "Real and synthesized features of unseen classes", caption, alt)]


def _draw_points(axes: Axes, position: int, is_real: bool, points: np.ndarray) -> None:
    color, marker = CLASS_COLORS[position], CLASS_MARKERS[position % 3]
    (marks,) = axes.plot(points[:, 0], points[:, 1], marker, linestyle="none", markersize=5.5 if is_real else 4.5)
    # Filled marks are paler than the hollow ones above them, which would vanish on their own color.
    face, edge = ((color, 0.35), "none") if is_real else ("none", color)
    marks.set(markerfacecolor=face, markeredgecolor=edge, markeredgewidth=0.9, zorder=2 if is_real else 3)


def _legend(run: FinishedRun, classes: list[int]) -> list[Line2D]:
    def entry(marker: str, label: str, **style: object) -> Line2D:
        line = Line2D([], [], marker=marker, linestyle="none", label=label)
        line.set(**style)
        return line

    kinds = [
        entry("o", "real", markersize=7, markerfacecolor=(INK, 0.4), markeredgecolor="none"),
        entry("o", "synthesized", markerfacecolor="none", color=INK),
        entry("", " "),
    ]
    return kinds + [
        entry(CLASS_MARKERS[position % 3], class_name(run, index, 26), color=CLASS_COLORS[position])
        for position, index in enumerate(classes)
    ]


def _embed(points: np.ndarray) -> np.ndarray:
    """Map (n, dim) features to (n, 2), the same for the same features."""
    # Imported here: scikit-learn takes seconds to load, and few callers draw a projection.
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    # One thread: sums keep their order, and on a busy machine waiting threads make t-SNE ten times slower.
    with threadpool_limits(1):
        reduced = PCA(min(50, *points.shape), svd_solver="full").fit_transform(points.astype(np.float64))
        plane = TSNE(perplexity=min(30, (len(points) - 1) / 3), init="pca", random_state=0).fit_transform(reduced)
    return np.asarray(plane)
