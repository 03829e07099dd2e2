"""Accuracy over the epochs, and accuracy on seen against unseen classes."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from zslab.report.plots.plot import MEASURE_NAMES, Plot, draw_line, render, set_epoch_axis
from zslab.report.run import FinishedRun, Measure, Record, Row, chosen_epoch, epoch_number, number
from zslab.report.style import GRID, INK, MUTED, PAPER, RULE_COLORS, RULE_MARKERS, SKY, Style
from zslab.report.text import area, percent

_DASHES = (3, 1.5)
Curve = tuple[np.ndarray, np.ndarray, np.ndarray]  # epochs, value after the last head epoch, value after the best


def accuracy_plots(run: FinishedRun) -> list[Plot]:
    """Draw accuracies over the epochs of the run, and of its validation run where there was one."""
    rules = {row["row"]: row for row in run.result["rows"] if row["row"] in ("paper", "val", "last")}
    test = _accuracy_plot(
        "accuracy",
        "Accuracy over epochs",
        run.epochs,
        rules,
        "Accuracy on the test classes after every evaluated epoch, and the epochs that the selection rules chose",
        mark_values=True,
    )
    validation = _accuracy_plot(
        "accuracy_validation",
        "Accuracy over epochs of the validation run",
        run.validation_epochs,
        {name: row for name, row in rules.items() if name == "val"},
        "Accuracy on the validation classes in the validation run, and the epochs that it chose for selection “val”",
        mark_values=False,
    )
    return [plot for plot in (test, validation) if plot is not None]


def _accuracy_plot(
    name: str, title: str, epochs: list[Record], rules: dict[str, Row], caption: str, mark_values: bool
) -> Plot | None:
    """Draw T1, u, s and H: after the last head epoch, and after the head epoch that rule `paper` would choose."""
    curves = {measure: curve for measure in MEASURE_NAMES if len((curve := _head_curves(epochs, measure))[0])}
    if not curves:
        return None
    has_choice = any(not np.array_equal(last, best) for _, last, best in curves.values())
    columns = min(2, len(curves))
    height = math.ceil(len(curves) / columns)
    figure = Figure(figsize=(9, 0.9 + 2.5 * height), layout="constrained")
    for position, (measure, (x, last, best)) in enumerate(curves.items()):
        axes = figure.add_subplot(height, columns, position + 1)
        axes.set_title(MEASURE_NAMES[measure])
        axes.set_ylabel("per cent")
        if has_choice:
            draw_line(axes, x, 100 * best, MUTED, dashes=_DASHES, width=1.1)
        draw_line(axes, x, 100 * last, INK)
        for rule, row in rules.items():
            _mark_choice(axes, rule, row, measure, mark_values)
        set_epoch_axis(axes, epochs, label=position >= len(curves) - columns)
    has_heads = any(len((record.get("zsl") or {}).get("acc", ())) > 1 for record in epochs)
    handles = [Line2D([], [], color=INK, label="last head epoch" if has_heads else "every evaluated epoch")]
    if has_choice:
        handles.append(Line2D([], [], color=MUTED, dashes=_DASHES, linewidth=1.1, label="best head epoch"))
    for rule, row in rules.items():
        if chosen_epoch(row, "T1") is not None or chosen_epoch(row, "H") is not None:
            style: Style = {"marker": RULE_MARKERS[rule] if mark_values else "", "markersize": 8.5, "markeredgecolor": PAPER}
            handles.append(Line2D([], [], color=RULE_COLORS[rule], linewidth=1, label=f"selection “{rule}”", **style))
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    tail = ". The dashed line takes the best head epoch (for u and s: the one with the best H)." if has_choice else "."
    ends = ", ".join(f"{measure} {100 * last[-1]:.1f}" for measure, (_, last, _) in curves.items())
    alt = f"Line plots; at the last evaluated epoch, in per cent: {ends}."
    return render(figure, name, title, caption + tail, alt)


def _mark_choice(axes: Axes, rule: str, row: Row, measure: Measure, mark_value: bool) -> None:
    """Mark the epoch that a selection rule chose, and the value there."""
    epoch = chosen_epoch(row, "T1" if measure == "T1" else "H")
    if epoch is None:
        return
    color = RULE_COLORS[rule]
    axes.axvline(epoch, color=color, linewidth=1, alpha=0.45, zorder=1)
    value = 100 * number(row.get(measure))
    if mark_value and not math.isnan(value):
        style: Style = {"markeredgecolor": PAPER, "markersize": 8.5, "zorder": 5, "clip_on": False}
        axes.plot(epoch, value, RULE_MARKERS[rule], color=color, **style)


def _head_curves(epochs: list[Record], measure: Measure) -> Curve:
    """Return the evaluated epochs with their values; all empty where the measure was not evaluated."""
    key, judge = ("acc", "acc") if measure == "T1" else (measure, "H")
    x, last, best = [], [], []
    for record in epochs:
        group = (record.get("zsl") if measure == "T1" else record.get("gzsl")) or {}
        values = np.array([number(value) for value in group.get(key) or []])
        judged = np.array([number(value) for value in group.get(judge) or group.get(key) or []])
        if values.size and values.size == judged.size and not np.isnan(judged).all():
            x.append(epoch_number(record))
            last.append(values[-1])
            best.append(values[np.nanargmax(judged)])
    return np.array(x), np.array(last), np.array(best)


def curve_plots(run: FinishedRun) -> list[Plot]:
    """Draw accuracy on seen against unseen classes while a constant is subtracted from the seen scores.

    Chao et al., "An empirical study and analysis of generalized zero-shot learning", ECCV 2016.
    """
    curves = {rule: run.arrays[key] for rule in RULE_COLORS if (key := f"{rule.lower()}_curve") in run.arrays}
    curves = {rule: 100 * curve for rule, curve in curves.items() if len(curve)}
    if not curves:
        return []
    points = {
        row["row"]: (100 * u, 100 * s)
        for row in run.result["rows"]
        if row["row"].partition(" + ")[0] in RULE_COLORS
        and not math.isnan((u := number(row.get("acc_unseen"))) + (s := number(row.get("acc_seen"))))
    }
    h = {row["row"]: percent(row.get("H")) for row in run.result["rows"]}
    top_u = max([curve[:, 1].max() for curve in curves.values()] + [u for u, _ in points.values()])
    top_s = max([curve[:, 0].max() for curve in curves.values()] + [s for _, s in points.values()])
    limit_u, limit_s = (min(102.0, 1.06 * max(top, 1.0)) for top in (top_u, top_s))
    figure = Figure(figsize=(9, 5.2), layout="constrained")
    axes = figure.add_subplot()
    _draw_harmonic_lines(axes, limit_u, limit_s)
    areas = {rule: percent(area(run.result, rule)) for rule in curves}
    handles: list[Artist] = []
    for rule, curve in curves.items():
        s, u = curve.T
        (line,) = axes.plot(u, s, color=RULE_COLORS[rule], label=f"{rule}, area {areas[rule]}", zorder=3)
        axes.fill_between(u, s, color=RULE_COLORS[rule], alpha=0.05, linewidth=0)
        handles.append(line)
    handles += [_draw_point(axes, rule, u, s, f"{rule}, H {h[rule]}") for rule, (u, s) in points.items()]
    axes.set(xlim=(0, limit_u), ylim=(0, limit_s))
    axes.set(xlabel="u: accuracy on unseen classes, per cent", ylabel="s: accuracy on seen classes, per cent")
    axes.grid(False)
    figure.legend(handles=handles, loc="outside right upper", title="Curves and operating points", alignment="left")
    caption = (
        "Each curve joins the balances that a constant subtracted from the seen scores can reach (with a gate: its "
        "threshold). Marks show the rows of the table; thin gray lines join points of equal H."
    )
    listed = ", ".join(f"{rule} {value}" for rule, value in areas.items())
    alt = f"Seen accuracy against unseen accuracy, one falling curve for each model; areas under the curves: {listed}."
    return [render(figure, "curve", "Seen against unseen accuracy", caption, alt)]


def _draw_point(axes: Axes, rule: str, u: float, s: float, label: str) -> Line2D:
    """Mark an operating point: filled, or hollow where it is calibrated."""
    family, _, calibrated = rule.partition(" + ")
    color = RULE_COLORS.get(family, SKY)
    face, edge, width = (PAPER, color, 2) if calibrated else (color, PAPER, 1)
    (mark,) = axes.plot(u, s, RULE_MARKERS.get(family, "P"), color=face, markersize=9, linestyle="none", label=label)
    mark.set(zorder=5, clip_on=False, markeredgecolor=edge, markeredgewidth=width)
    return mark


def _draw_harmonic_lines(axes: Axes, limit_u: float, limit_s: float) -> None:
    """Draw lines of equal H, 10 per cent apart."""
    best = 2 * limit_u * limit_s / (limit_u + limit_s)
    for h in range(10, 100, 10):
        if h >= best:
            break
        u = np.linspace(h / 2 + 0.01, limit_u, 400)
        s = h * u / (2 * u - h)
        inside = s <= limit_s
        axes.plot(u[inside], s[inside], color=GRID, linewidth=0.9, zorder=1)
        # Labeled at the right edge: operating points stand near the middle of the lines.
        place: Style = {"xytext": (-3, 2), "textcoords": "offset points", "ha": "right"}
        axes.annotate(f"H {h}", (limit_u, s[-1]), fontsize=7.5, color=MUTED, **place)
