"""Which classes are recognized, and what they are confused with."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from zslab.report.plots.plot import Plot, class_name, hide_axes, render
from zslab.report.run import FinishedRun, class_recall
from zslab.report.style import GRID, HEAT, INK, ORANGE, PAPER, SEEN, UNSEEN, Style
from zslab.report.text import percent

_MAX_BARS = 32  # classes whose names still fit beside bars
_MAX_NAMED = 40  # classes whose names still fit beside a matrix
_MAX_NUMBERED = 12  # classes whose confusion cells still hold a number
_EXTREMES = 8  # lowest and highest classes that are named when there are too many for bars
Accuracies = dict[int, float]  # class -> accuracy, for classes with test samples


def _models(run: FinishedRun) -> list[tuple[str, bool]]:
    """Return the evaluated models and whether each is secondary; the one chosen on validation data comes first."""
    rules = [rule for rule in ("val", "last") if {f"{rule}_zsl_confusion", f"{rule}_gzsl_confusion"} & set(run.arrays)]
    return [(rule, position > 0) for position, rule in enumerate(rules)]


# Each class ------------------------------------------------------------------------------------------------------------


def per_class_plots(run: FinishedRun) -> list[Plot]:
    """Draw the accuracy of each class: as bars, or as a profile where there are too many classes."""
    plots = []
    for rule, secondary in _models(run):
        zsl, gzsl = (run.arrays.get(f"{rule}_{task}_confusion") for task in ("zsl", "gzsl"))
        t1 = {} if zsl is None else _present(zip(run.result["data"]["unseen_classes"], class_recall(zsl), strict=True))
        accuracy = t1 if gzsl is None else _present(enumerate(class_recall(gzsl)))
        if not accuracy:
            continue
        few = len(accuracy) <= _MAX_BARS
        figure = (_class_bars if few else _class_profile)(run, accuracy, t1 if gzsl is not None else {})
        among = "all classes" if gzsl is not None else "unseen classes"
        caption = f"Accuracy of each class when predicting among {among}. " + (
            "A mean can hide classes that are never right."
            if few
            else "Left: classes sorted from the worst to the best. Right: the extremes by name."
        )
        ordered = sorted(accuracy, key=accuracy.__getitem__)
        low, high = (f"{class_name(run, index)} at {percent(accuracy[index])}" for index in (ordered[0], ordered[-1]))
        alt = f"Accuracies of {len(accuracy)} classes in per cent; lowest {low}, highest {high}."
        title = f"Accuracy of each class, selection “{rule}”"
        plots.append(render(figure, f"per_class_{rule}", title, caption, alt, secondary=secondary))
    return plots


def _present(pairs: Iterable[tuple[int, float]]) -> Accuracies:
    return {index: float(value) for index, value in pairs if not math.isnan(value)}


def _set_class_rows(axes: Axes, rows: np.ndarray, names: list[str], fontsize: float) -> None:
    """Label horizontal bars with classes, on an axis in per cent."""
    axes.set_yticks(rows, names, fontsize=fontsize)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    axes.set(xlim=(0, 100), ylim=(rows[0] - 0.7, rows[-1] + 0.7), xlabel="accuracy, per cent")


def _class_bars(run: FinishedRun, accuracy: Accuracies, t1: Accuracies) -> Figure:
    """Draw one horizontal bar for each class, best on top, seen above unseen classes; `t1` as dots."""
    unseen = set(run.result["data"]["unseen_classes"])
    ordered = sorted(accuracy, key=lambda index: (index not in unseen, accuracy[index]))
    figure = Figure(figsize=(9, 1.3 + 0.24 * len(ordered)), layout="constrained")
    axes = figure.add_subplot()
    rows = np.arange(len(ordered))
    colors = [UNSEEN if index in unseen else SEEN for index in ordered]
    axes.barh(rows, [100 * accuracy[index] for index in ordered], height=0.7, color=colors)
    _set_class_rows(axes, rows, [class_name(run, index) for index in ordered], 9.5)
    square: Style = {"marker": "s", "linestyle": "none", "markersize": 8}
    handles = [Line2D([], [], color=UNSEEN, label="unseen class", **square)]
    if any(index not in unseen for index in ordered):
        handles.append(Line2D([], [], color=SEEN, label="seen class", **square))
    dots = [(100 * t1[index], row) for row, index in enumerate(ordered) if index in t1]
    if dots:
        circle: Style = {"marker": "o", "linestyle": "none", "color": PAPER, "markeredgecolor": INK}
        axes.plot(*zip(*dots), markersize=5.5, clip_on=False, **circle)
        handles.append(Line2D([], [], label="the same class among unseen classes only (T1)", **circle))
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    return figure


def _class_profile(run: FinishedRun, accuracy: Accuracies, t1: Accuracies) -> Figure:
    """Draw sorted accuracies as steps, and the lowest and highest classes by name."""
    unseen_classes = set(run.result["data"]["unseen_classes"])
    seen = [index for index in accuracy if index not in unseen_classes]
    unseen = [index for index in accuracy if index in unseen_classes]
    figure = Figure(figsize=(9, 4.6), layout="constrained")
    profile, extremes = figure.subplots(1, 2, width_ratios=(1.25, 1))
    _draw_profile(profile, "seen", [accuracy[index] for index in seen], SEEN)
    _draw_profile(profile, "unseen", [accuracy[index] for index in unseen], UNSEEN)
    _draw_profile(profile, "unseen, among unseen only (T1)", list(t1.values()), UNSEEN, dashes=(3, 1.5))
    profile.set(xlim=(0, 100), ylim=(0, 101), xlabel="share of the classes, sorted, per cent", ylabel="accuracy, per cent")
    profile.set_title("From the worst class to the best")
    profile.legend(loc="upper center", bbox_to_anchor=(0.45, -0.16), alignment="left")

    kind, group, color = ("unseen", unseen, UNSEEN) if unseen else ("seen", seen, SEEN)
    ordered = sorted(group, key=accuracy.__getitem__)
    rows = np.arange(len(ordered), dtype=float)
    if len(ordered) > 2 * _EXTREMES:  # the middle is left out; a gap stands for it
        ordered = ordered[:_EXTREMES] + ordered[-_EXTREMES:]
        rows = np.concatenate([np.arange(_EXTREMES), np.arange(_EXTREMES) + _EXTREMES + 1.0])
    extremes.barh(rows, [100 * accuracy[index] for index in ordered], height=0.7, color=color)
    _set_class_rows(extremes, rows, [class_name(run, index, 24) for index in ordered], 8)
    extremes.set_title(f"Lowest and highest {kind} classes")
    return figure


def _draw_profile(axes: Axes, label: str, values: list[float], color: str, dashes: tuple[float, float] | None = None) -> None:
    """Draw one group's sorted accuracies as steps; nothing for an empty group."""
    if not values:
        return
    label = f"{label}: {len(values)} classes, mean {percent(float(np.mean(values)))}"
    edges = np.linspace(0, 100, len(values) + 1)
    steps = axes.stairs(100 * np.sort(values), edges, color=color, baseline=None, linewidth=1.8, label=label)
    steps.set_linestyle("-" if dashes is None else (0, dashes))


# Confusion -------------------------------------------------------------------------------------------------------------


def confusion_plots(run: FinishedRun) -> list[Plot]:
    """Draw the confusion among unseen classes and among all classes."""
    seen, unseen = run.result["data"]["seen_classes"], run.result["data"]["unseen_classes"]
    plots, rows = [], " Each row sums to 100 per cent."
    for rule, secondary in _models(run):
        if (zsl := run.arrays.get(f"{rule}_zsl_confusion")) is not None:
            caption = "What the samples of each unseen class are taken for when only unseen classes can be predicted."
            title = f"Confusion among unseen classes, selection “{rule}”"
            figure, alt = _confusion(run, zsl, unseen)
            plots.append(render(figure, f"confusion_zsl_{rule}", title, caption + rows, alt, secondary=secondary))
        if (gzsl := run.arrays.get(f"{rule}_gzsl_confusion")) is not None:
            order = [*seen, *unseen]
            counts = gzsl[np.ix_(order, order)]
            lost = percent(counts[len(seen) :, : len(seen)].sum() / max(counts[len(seen) :].sum(), 1))
            caption = "What the samples of each class are taken for when every class can be predicted, seen classes first. "
            caption += f"{lost} % of the unseen samples are assigned a seen class."
            title = f"Confusion among all classes, selection “{rule}”"
            figure, alt = _confusion(run, counts, order, boundary=len(seen))
            plots.append(render(figure, f"confusion_gzsl_{rule}", title, caption + rows, alt, secondary=secondary))
    return plots


def _confusion(run: FinishedRun, counts: np.ndarray, classes: list[int], boundary: int | None = None) -> tuple[Figure, str]:
    """Draw a confusion matrix and describe it.

    Args:
        counts: (C, C) samples; rows are true classes.
        classes: The C classes in the order of the matrix.
        boundary: How many seen classes come before the unseen ones, where both are shown.
    """
    counts = counts.astype(float)
    share = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
    size = len(classes)
    figure = Figure(figsize=(8.2, 7.2) if size > 6 else (6.6, 5.6), layout="constrained")
    axes = figure.add_subplot()
    # A root scale: on a linear one the confusions of 200 classes, a few per cent each, are all white.
    heat = axes.imshow(share, cmap=HEAT, norm=PowerNorm(0.5, 0, 100), interpolation="nearest")
    hide_axes(axes, GRID)
    axes.tick_params(length=0)
    if size <= _MAX_NAMED:
        _name_classes(axes, [class_name(run, index, 22) for index in classes])
    elif boundary is not None:
        middles = [(boundary - 1) / 2, (boundary + size - 1) / 2]
        groups = [f"{boundary} seen", f"{size - boundary} unseen"]
        axes.set_xticks(middles, groups)
        axes.set_yticks(middles, groups, rotation=90, va="center")
    if boundary is not None:
        axes.axhline(boundary - 0.5, color=ORANGE, linewidth=1.2)
        axes.axvline(boundary - 0.5, color=ORANGE, linewidth=1.2)
    if size <= _MAX_NUMBERED:
        for row, column in np.argwhere(share >= 0.5):
            color = PAPER if share[row, column] > 35 else INK
            axes.text(column, row, f"{share[row, column]:.0f}", ha="center", va="center", fontsize=9, color=color)
    axes.set(xlabel="predicted class", ylabel="true class")
    color_bar = figure.colorbar(heat, shrink=0.6, aspect=28, pad=0.02)
    color_bar.set_label("per cent of the true class")
    color_bar.outline.set_visible(False)
    right = np.diag(share)[counts.sum(1) > 0]
    wrong = share - np.diag(np.diag(share))
    row, column = np.unravel_index(wrong.argmax(), wrong.shape)
    true, predicted = class_name(run, classes[row]), class_name(run, classes[column])
    alt = (
        f"Matrix of {size} classes; mean of the diagonal {np.mean(right) if right.size else 0:.1f} per cent; "
        f"most frequent confusion {true} taken for {predicted}, {wrong[row, column]:.0f} per cent."
    )
    return figure, alt


def _name_classes(axes: Axes, names: list[str]) -> None:
    """Label both axes of a matrix; many classes get smaller, upright labels."""
    few = len(names) <= 16
    size = 9 if few else 7.5
    axes.set_xticks(range(len(names)), names, rotation=45 if few else 90, fontsize=size)
    axes.set_yticks(range(len(names)), names, fontsize=size)
    if few:
        for label in axes.get_xticklabels():
            label.set(ha="right", rotation_mode="anchor")
