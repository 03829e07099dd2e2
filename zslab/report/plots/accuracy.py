"""Over the epochs: accuracies and what was recorded of the training itself; and accuracy on seen against unseen classes."""

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from zslab.report.plots.plot import WIDTH, Plot, draw_line, panels, render, set_epoch_axis
from zslab.report.style import BLUE, GRID, INK, MUTED, ORANGE, PAPER, PURPLE, RULE_COLORS, RULE_MARKERS, Style
from zslab.results.finished import FinishedRun
from zslab.results.names import ACCURACIES, CALIBRATED, MEASURES, RULES, MeasureKey
from zslab.results.record import EpochRecord
from zslab.results.result import Row
from zslab.results.text import percent

_DASHES = (3, 1.5)
Curve = tuple[list[int], np.ndarray, np.ndarray]  # epochs, values in percent after the last head epoch and after the best


def accuracy_plots(run: FinishedRun) -> Iterator[Plot]:
    """Draw accuracies on the test classes over the epochs, with the epochs that the rules selected."""
    rows = [row for row in run.result.rows if not row.baseline and row.rule in RULE_COLORS]
    caption = "Accuracy on the test classes after every evaluated epoch; marks are the rows of the table."
    yield from _accuracy_plot("accuracy", "Accuracy over epochs", run.epochs, rows, caption, mark_values=True)


def validation_plots(run: FinishedRun) -> Iterator[Plot]:
    """Draw accuracies on the validation classes over the epochs of the validation run."""
    rows = [row for row in run.result.rows if not row.baseline and row.rule == "val"]
    caption = "Accuracy on the validation classes in the validation run; vertical lines are the epochs that it selected."
    title = "Accuracy over epochs of the validation run"
    yield from _accuracy_plot("accuracy_validation", title, run.validation_epochs, rows, caption, mark_values=False)


def _accuracy_plot(
    name: str, title: str, epochs: Sequence[EpochRecord], rows: Sequence[Row], caption: str, mark_values: bool
) -> Iterator[Plot]:
    """Draw T1, u, s and H: after the last head epoch, and after the head epoch that the rule `paper` would choose."""
    curves = {measure: curve for measure in ACCURACIES if (curve := _head_curves(epochs, measure))[0]}
    if not curves:
        return
    rows = [row for row in rows if row.T1_at or row.H_at]
    has_choice = any(not np.array_equal(last, best) for _, last, best in curves.values())
    figure, every = panels(len(curves), 2.1, top=0.6)
    for axes, (measure, (x, last, best)) in zip(every, curves.items()):
        axes.set(title=MEASURES[measure].title, ylabel="%")
        if has_choice:
            draw_line(axes, x, best, MUTED, _DASHES, linewidth=1.1)
        draw_line(axes, x, last, INK)
        for row in rows:
            _mark_choice(axes, row, measure, mark_values)
        set_epoch_axis(axes, epochs)
    has_heads = any(len(record.values("zsl", "acc")) > 1 for record in epochs)
    handles = [Line2D([], [], color=INK, label="last head epoch" if has_heads else "every evaluated epoch")]
    if has_choice:
        handles.append(Line2D([], [], color=MUTED, dashes=_DASHES, linewidth=1.1, label="best head epoch"))
    for row in rows:
        style: Style = {"marker": RULE_MARKERS[row.rule] if mark_values else "", "markersize": 7, "markeredgecolor": PAPER}
        handles.append(Line2D([], [], color=RULE_COLORS[row.rule], linewidth=1, label=row.title, **style))
    figure.legend(handles=handles, loc="outside upper center", ncols=3)
    if has_choice:
        caption += " The dashed line takes the best head epoch (for u and s: the one with the best H)."
    ends = ", ".join(f"{MEASURES[measure].symbol} {last[-1]:.1f}" for measure, (_, last, _) in curves.items())
    yield render(figure, name, title, caption, f"Line plots; at the last evaluated epoch, in percent: {ends}.")


def _mark_choice(axes: Axes, row: Row, measure: MeasureKey, mark_value: bool) -> None:
    """Mark the epoch that a rule selected, and the value there."""
    choice, value, color = row.T1_at if measure == "T1" else row.H_at, row.value(measure), RULE_COLORS[row.rule]
    if choice is None:
        return
    axes.axvline(choice.epoch + 1, color=color, linewidth=1, alpha=0.45, zorder=1)
    if mark_value and value is not None:
        style: Style = {"markeredgecolor": PAPER, "markersize": 7, "zorder": 5, "clip_on": False}
        axes.plot(choice.epoch + 1, 100 * value, RULE_MARKERS[row.rule], color=color, **style)


def _head_curves(epochs: Sequence[EpochRecord], measure: MeasureKey) -> Curve:
    """Return the evaluated epochs, counted from 1, with their values; all empty where the measure was not evaluated."""
    x, last, best = [], [], []
    for record in epochs:
        values = record.values(*MEASURES[measure].place)
        judged = values if measure == "T1" else record.values(*MEASURES["H"].place) or values
        if values:
            x.append(record.epoch + 1)
            last.append(100 * values[-1])
            best.append(100 * values[int(np.argmax(judged))])
    return x, np.array(last), np.array(best)


def curve_plots(run: FinishedRun) -> Iterator[Plot]:
    """Draw accuracy on seen against unseen classes while a constant is subtracted from the seen scores.

    Chao et al., "An empirical study and analysis of generalized zero-shot learning", ECCV 2016.
    """
    rows, best = run.result.rows, run.result.strongest_baseline("H")
    shown = [row for row in rows if row.baseline in ("", best.baseline if best else "") and row.rule != "validation"]
    curves = [(row, curve) for row in shown if row.rule in ("val", "last") and (curve := _curve(run, row)) is not None]
    rest = [_curve(run, row) for row in rows if row.rule == "val" and row not in shown]
    others = [curve for curve in rest if curve is not None]
    if not curves:
        return
    points = [
        (row, 100 * row.acc_unseen, 100 * row.acc_seen)
        for row in shown
        if row.acc_unseen is not None and row.acc_seen is not None
    ]
    figure = Figure(figsize=(WIDTH, 5.2), layout="constrained")
    axes = figure.add_subplot()
    tops = [max([curve[:, side].max() for _, curve in curves] + [point[2 - side] for point in points]) for side in (1, 0)]
    limit_u, limit_s = (min(102.0, 1.06 * max(top, 1.0)) for top in tops)
    x, y = np.meshgrid(np.linspace(0.1, limit_u, 200), np.linspace(0.1, limit_s, 200))
    if levels := range(10, int(2 * limit_u * limit_s / (limit_u + limit_s)), 10):
        lines = axes.contour(x, y, 2 * x * y / (x + y), levels, colors=GRID, linewidths=0.9, zorder=1)
        axes.clabel(lines, fmt="H %d", fontsize=7.5, colors=MUTED)
    for curve in others:
        axes.plot(curve[:, 1], curve[:, 0], color=MUTED, linewidth=0.8, alpha=0.6)
    handles = []
    for row, curve in curves:
        label, color = f"{row.title}, area {percent(row.AUSUC)}", _color(row)
        (line,) = axes.plot(curve[:, 1], curve[:, 0], color=color, zorder=3, label=label)
        axes.fill_between(curve[:, 1], curve[:, 0], color=color, alpha=0.05, linewidth=0)
        handles.append(line)
    for row, u, s in points:
        _draw_point(axes, row, u, s)
    if others:
        handles.append(Line2D([], [], color=MUTED, linewidth=0.8, label=f"{len(others)} other baselines"))
    hollow: Style = {"marker": "o", "linestyle": "none", "color": PAPER, "markeredgecolor": MUTED, "markeredgewidth": 2}
    if any(row.rule == "val + calibration" for row, _, _ in points):
        handles.append(Line2D([], [], label=CALIBRATED, **hollow))
    if any(row.rule == "paper" for row, _, _ in points):
        handles.append(Line2D([], [], color=RULE_COLORS["paper"], marker="^", linestyle="none", label=RULES["paper"]))
    axes.set(xlim=(0, limit_u), ylim=(0, limit_s))
    axes.set(xlabel="u: accuracy on unseen classes, %", ylabel="s: accuracy on seen classes, %")
    axes.grid(False)
    figure.legend(handles=handles, loc="outside upper center", ncols=2)
    caption = (
        "Each curve joins the balances that a calibration, subtracted from the seen scores, can reach (with a gate: its "
        "threshold). Marks show rows of the table with their H; thin gray lines join points of equal H."
    )
    listed = ", ".join(f"{row.title} {percent(row.AUSUC)}" for row, _ in curves)
    alt = f"Seen accuracy against unseen accuracy, one falling curve for each model; areas under the curves: {listed}."
    yield render(figure, "curve", "Seen against unseen accuracy", caption, alt)


def _curve(run: FinishedRun, row: Row) -> np.ndarray | None:
    """Return the seen/unseen curve of a row, (p, 2) in percent; None where the run has none."""
    curve = run.arrays.get(f"{row.baseline.lower() or row.rule}_curve")
    return 100 * curve if curve is not None and len(curve) else None


def _color(row: Row) -> str:
    return PURPLE if row.baseline else RULE_COLORS["val" if row.rule == "val + calibration" else row.rule]


def _draw_point(axes: Axes, row: Row, u: float, s: float) -> None:
    """Mark an operating point with its H: filled, or hollow where it is calibrated."""
    color, marker = _color(row), "s" if row.baseline else RULE_MARKERS.get(row.rule, RULE_MARKERS["val"])
    face, edge, width = (PAPER, color, 2) if row.rule == "val + calibration" else (color, PAPER, 1)
    (mark,) = axes.plot(u, s, marker, color=face, markersize=8, label=f"{row.title}, H {percent(row.H)}")
    mark.set(zorder=5, clip_on=False, markeredgecolor=edge, markeredgewidth=width)
    place: Style = {"xytext": (6, 4), "textcoords": "offset points", "fontsize": 8, "color": color, "zorder": 6}
    axes.annotate(percent(row.H), (u, s), **place)


_NAMES = {
    "vae": "VAE (reconstruction + KL)",
    "reconstruction": "reconstruction (BCE)",
    "kl": "KL",
    "critic": "critic",
    "penalty": "gradient penalty",
    "generator": "generator, total",
    "adversarial": "generator, adversarial",
    "wasserstein": "Wasserstein distance (the critic's)",
    "cycle_generator": "cycle, generator",
    "cycle_decoder": "cycle, decoder",
    "cross_entropy": "cross-entropy",
    "self_calibration": "self-calibration",
    "lambda1": "λ1, weight of the gradient penalty",
}


def training_plots(run: FinishedRun) -> Iterator[Plot]:
    """Draw one small panel for each loss and for λ1: a shared axis would hide most, as scales differ by orders of magnitude."""
    series: dict[str, list[tuple[int, float]]] = {}
    for record in run.epochs:
        for key, value in (record.losses | record.status).items():
            series.setdefault(key, []).append((record.epoch + 1, value))
    # A transductive run has a loss for unseen classes too; it shares the panel of the loss for seen classes.
    twins = {key: twin for key in series if (twin := f"{key.removesuffix('_generator')}_unseen") in series}
    shown = [key for key in series if key not in twins.values()]
    if not shown:
        return
    figure, every = panels(len(shown), 1.8, top=0.5)
    for axes, key in zip(every, shown):
        axes.set_title(_NAMES.get(key, key.replace("_", " ")), fontsize=9.5)
        epochs, values = zip(*series[key])
        draw_line(axes, epochs, values, BLUE)
        if key in twins:
            epochs, values = zip(*series[twins[key]])
            draw_line(axes, epochs, values, ORANGE, _DASHES)
        if key == "lambda1" and min(values) > 0:
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.yaxis.set_minor_formatter("" if max(values) >= 10 * min(values) else axes.yaxis.get_major_formatter())
        set_epoch_axis(axes, run.epochs)
    if twins:
        handles = [
            Line2D([], [], color=BLUE, label="seen classes"),
            Line2D([], [], color=ORANGE, linestyle=(0, _DASHES), label="unseen classes (transductive)"),
        ]
        figure.legend(handles=handles, loc="outside upper center", ncols=2)
    caption = "Mean of each loss over an epoch; each panel has its own scale."
    if "wasserstein" in series:
        caption += " The critic's estimate of the distance between synthesized and real features should become small."
    if "lambda1" in series:
        caption += " λ1 grows while the critic's gradients are too large and shrinks while they are small."
    ends = ", ".join(f"{key} {series[key][0][1]:.3g} to {series[key][-1][1]:.3g}" for key in shown)
    alt = f"Line plots of the losses over {len(run.epochs)} epochs, first to last: {ends}."
    yield render(figure, "losses", "Losses", caption, alt)
