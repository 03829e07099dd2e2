"""Every plot of a run, drawn from its folder alone.

`draw_plots(read_run(run_dir))` returns the plots as PNG bytes; what the folder does not hold is not drawn.
`write_report` in zsl/report/html.py saves them. The palette is in zsl/report/style.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from zsl.report.folder import FinishedRun, chosen_epoch, epoch_number, number
from zsl.report.style import (
    BLUE,
    CLASS_COLOURS,
    CLASS_MARKERS,
    GREEN,
    GRID,
    HEAT,
    INK,
    MUTED,
    ORANGE,
    PAPER,
    PURPLE,
    RED,
    ROW_COLOURS,
    ROW_MARKERS,
    SEEN,
    STYLE,
    UNSEEN,
    to_png,
)
from zsl.report.tables import area, percent

MEASURE_NAMES = {
    "T1": "T1, unseen among unseen", "acc_unseen": "u, unseen among all", "acc_seen": "s, seen among all", "H": "H",
}
_LOSS_NAMES = {
    "vae": "VAE (reconstruction + KL)", "reconstruction": "reconstruction (BCE)", "kl": "KL", "critic": "critic",
    "penalty": "gradient penalty", "generator": "generator, total", "adversarial": "generator, adversarial",
    "cycle_generator": "cycle, generator", "cycle_decoder": "cycle, decoder", "cross_entropy": "cross-entropy",
    "self_calibration": "self-calibration",
}
_MAX_NAMED = 32  # classes whose names still fit beside an axis
_MAX_NUMBERED = 12  # classes whose confusion cells still hold a number
_SHOWN_CLASSES, _SHOWN_POINTS = 12, 60  # of the projection; t-SNE of 12 x 2 x 60 points takes some seconds


@dataclass(frozen=True)
class Plot:
    """One picture of the report.

    Attributes:
        name: file stem under plots/.
        caption: one sentence saying what is shown.
        alt: what a reader who cannot see it should know.
        secondary: shown folded in the report, because another plot tells the same of a more trustworthy model.
    """

    name: str
    title: str
    caption: str
    alt: str
    png: bytes
    secondary: bool = False


def draw_plots(run: FinishedRun) -> list[Plot]:
    """Draws everything the folder has data for, in the order of the report."""
    drawers: list[Callable[[FinishedRun], Iterable[Plot | None]]] = [
        _accuracies, _curves, _gate, _per_class, _confusions, _projection, _losses, _wasserstein, _lambda1,
    ]
    # A context, not an update: an application that imports us keeps its own matplotlib settings.
    with matplotlib.rc_context(STYLE):
        return [plot for drawer in drawers for plot in drawer(run) if plot is not None]


# Training -------------------------------------------------------------------------------------------------------------


def _losses(run: FinishedRun) -> list[Plot]:
    """One small panel a loss: their scales differ by orders of magnitude, so a shared axis would hide most."""
    keys = _keys(run.epochs, lambda key: not key.startswith("wasserstein"))
    # The transductive twin of a loss shares its panel.
    twins = {key: twin for key in keys if (twin := f"{key.removesuffix('_generator')}_unseen") in keys}
    panels = [key for key in keys if key not in twins.values()]
    if not panels:
        return []
    columns = min(3, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(9, 0.6 + 1.9 * rows), layout="constrained")
    for position, key in enumerate(panels):
        axes = figure.add_subplot(rows, columns, position + 1)
        axes.set_title(_LOSS_NAMES.get(key, key.replace("_", " ")), fontsize=9.5)
        _line(axes, *_series(run.epochs, key), BLUE)
        if key in twins:
            _line(axes, *_series(run.epochs, twins[key]), ORANGE, dashes=(4, 1.5))
        _epoch_axis(axes, run.epochs, label=position >= len(panels) - columns)
    if twins:
        handles = [
            Line2D([], [], color=BLUE, label="seen classes"),
            Line2D([], [], color=ORANGE, linestyle=(0, (4, 1.5)), label="unseen classes (transductive)"),
        ]
        figure.legend(handles=handles, loc="outside upper center", ncols=2)
    ends = []
    for key in panels:
        values = _series(run.epochs, key)[1]
        ends.append(f"{key} {values[0]:.3g} to {values[-1]:.3g}")
    return [Plot(
        "losses", "Losses", "Mean of each loss over every epoch, each on its own scale.",
        f"Line plots of the losses over {len(run.epochs)} epochs, first to last: {', '.join(ends)}.", to_png(figure),
    )]


def _wasserstein(run: FinishedRun) -> list[Plot]:
    keys = _keys(run.epochs, lambda key: key.startswith("wasserstein"))
    if not keys:
        return []
    figure, axes = _single_panel()
    for key, colour, dashes in zip(keys, (BLUE, ORANGE, GREEN), (None, (4, 1.5), (1.5, 1.5)), strict=False):
        which = key.removeprefix("wasserstein").strip("_")
        name = f"critic, {which} classes (no attributes)" if which else "critic"
        _line(axes, *_series(run.epochs, key), colour, label=name, dashes=dashes)
    axes.axhline(0, color=MUTED, linewidth=0.8)
    axes.set_ylabel("mean D(real) − mean D(fake)")
    if len(keys) > 1:
        axes.legend()
    _epoch_axis(axes, run.epochs)
    last = _series(run.epochs, keys[0])[1][-1]
    return [Plot(
        "wasserstein", "Wasserstein distance",
        "The critic's estimate of how far synthesised features are from real ones; it should settle, not explode.",
        f"Line plot of the critic's distance between real and synthesised features; it ends at {last:.3g}.",
        to_png(figure),
    )]


def _lambda1(run: FinishedRun) -> list[Plot]:
    records = [record for record in run.epochs if number(record.get("lambda1")) > 0]
    if not records:
        return []
    values = np.array([record["lambda1"] for record in records], dtype=float)
    figure, axes = _single_panel()
    _line(axes, np.array([epoch_number(record) for record in records]), values, BLUE)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    if values.max() < 10 * values.min():  # less than a decade: the minor ticks are the only ones in sight
        axes.yaxis.set_minor_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    else:
        axes.yaxis.set_minor_formatter("")
    axes.set_ylabel("λ1 (log scale)")
    _epoch_axis(axes, run.epochs)
    return [Plot(
        "lambda1", "Weight of the gradient penalty, λ1",
        "λ1 at the end of every epoch: raised while gradients are too large, lowered while they are small enough.",
        f"Line plot on a log scale; λ1 goes from {values[0]:.3g} to {values[-1]:.3g}, lowest {values.min():.3g}.",
        to_png(figure),
    )]


# Accuracies -----------------------------------------------------------------------------------------------------------


def _accuracies(run: FinishedRun) -> list[Plot | None]:
    result_rows = {row["row"]: row for row in run.result["rows"]}
    marked = {name: result_rows[name] for name in ("paper", "val", "last") if name in result_rows}
    stage1 = {name: row for name, row in marked.items() if name == "val"}
    return [
        _accuracy_plot(
            "accuracy", "Accuracy over epochs", run.epochs, marked,
            "Accuracy on the test classes after every evaluated epoch, and the epochs each row was taken at", True,
        ),
        _accuracy_plot(
            "accuracy_validation", "Accuracy over epochs of the validation run", run.validation_epochs, stage1,
            "Stage 1 of the two-stage run, on validation classes, and the epochs it chose for the row “val”", False,
        ),
    ]


def _accuracy_plot(
    name: str, title: str, epochs: list[dict], rows: dict[str, dict], caption: str, mark_values: bool
) -> Plot | None:
    """Four panels T1, u, s, H: after the last head epoch, and after the head epoch that the `paper` rule would take."""
    curves = {measure: _head_curves(epochs, measure) for measure in MEASURE_NAMES}
    curves = {measure: curve for measure, curve in curves.items() if len(curve[0])}
    if not curves:
        return None
    has_heads = any(len(record["zsl"]["acc"]) > 1 for record in epochs if "zsl" in record)
    has_choice = any(not np.array_equal(last, best) for _, last, best in curves.values())
    columns = min(2, len(curves))
    height = math.ceil(len(curves) / columns)
    figure = Figure(figsize=(9, 0.9 + 2.5 * height), layout="constrained")
    for position, (measure, (x, last, best)) in enumerate(curves.items()):
        axes = figure.add_subplot(height, columns, position + 1)
        axes.set_title(MEASURE_NAMES[measure])
        axes.set_ylabel("per cent")
        if has_choice:
            _line(axes, x, 100 * best, MUTED, dashes=(3, 1.5), width=1.1)
        _line(axes, x, 100 * last, INK)
        for row_name, row in rows.items():
            epoch = chosen_epoch(row, "T1" if measure == "T1" else "H")
            if epoch is None:
                continue
            colour = ROW_COLOURS[row_name]
            axes.axvline(epoch, color=colour, linewidth=1, alpha=0.45, zorder=1)
            if mark_values and not math.isnan(number(row.get(measure))):
                axes.plot(
                    epoch, 100 * row[measure], ROW_MARKERS[row_name], color=colour, markeredgecolor=PAPER,
                    markersize=8.5, zorder=5, clip_on=False,
                )
        _epoch_axis(axes, epochs, label=position >= len(curves) - columns)
    handles = [Line2D([], [], color=INK, label="last head epoch" if has_heads else "every evaluated epoch")]
    if has_choice:
        handles.append(Line2D([], [], color=MUTED, dashes=(3, 1.5), linewidth=1.1, label="best head epoch"))
    for row_name, row in rows.items():
        if chosen_epoch(row, "T1") is not None or chosen_epoch(row, "H") is not None:
            marker = ROW_MARKERS[row_name] if mark_values else ""
            handles.append(Line2D(
                [], [], color=ROW_COLOURS[row_name], marker=marker, linewidth=1, markeredgecolor=PAPER, markersize=8.5,
                label=f"row “{row_name}”",
            ))
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    ends = ", ".join(f"{measure} {100 * last[-1]:.1f}" for measure, (_, last, _) in curves.items())
    tail = "; the dashed line takes the best head epoch (for u and s: the one with the best H)." if has_choice else "."
    alt = f"Line plots; at the last evaluated epoch, in per cent: {ends}."
    return Plot(name, title, caption + tail, alt, to_png(figure))


def _head_curves(epochs: list[dict], measure: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The evaluated epochs, the value after the last head epoch, the value after the best; empty where not measured."""
    task, key, judge = ("zsl", "acc", "acc") if measure == "T1" else ("gzsl", measure, "H")
    x, last, best = [], [], []
    for record in epochs:
        found = record.get(task) or {}
        values = np.array([number(value) for value in found.get(key) or []])
        judged = np.array([number(value) for value in found.get(judge) or []])
        if values.size and values.size == judged.size and not np.isnan(judged).all():
            x.append(epoch_number(record))
            last.append(values[-1])
            best.append(values[np.nanargmax(judged)])
    return np.array(x), np.array(last), np.array(best)


def _curves(run: FinishedRun) -> list[Plot]:
    """Accuracy on seen against unseen classes as a constant is taken from the seen scores (Chao et al., ECCV 2016)."""
    found = {row: run.arrays.get(f"{row.lower()}_curve", ()) for row in ("val", "last", "ESZSL")}
    curves = {row: curve for row, curve in found.items() if len(curve)}
    if not curves:
        return []
    figure = Figure(figsize=(9, 5.2), layout="constrained")
    axes = figure.add_subplot()
    points = [
        row for row in run.result["rows"]
        if not math.isnan(number(row.get("acc_seen")) + number(row.get("acc_unseen")))
    ]
    top_u = max([curve[:, 1].max() for curve in curves.values()] + [row["acc_unseen"] for row in points])
    top_s = max([curve[:, 0].max() for curve in curves.values()] + [row["acc_seen"] for row in points])
    limit_u, limit_s = min(102, 106 * max(top_u, 0.01)), min(102, 106 * max(top_s, 0.01))
    _harmonic_lines(axes, limit_u, limit_s)
    handles = []
    for row_name, curve in curves.items():
        u, s = 100 * curve[:, 1], 100 * curve[:, 0]
        colour = ROW_COLOURS[row_name]
        (line,) = axes.plot(u, s, color=colour, label=f"{row_name}, area {_area(run, row_name)}", zorder=3)
        axes.fill_between(u, s, color=colour, alpha=0.05, linewidth=0)
        handles.append(line)
    for row in points:
        family, _, calibrated = row["row"].partition(" + ")
        (mark,) = axes.plot(
            100 * row["acc_unseen"], 100 * row["acc_seen"], ROW_MARKERS.get(family, "P"), markersize=9, zorder=5,
            color=PAPER if calibrated else ROW_COLOURS.get(family, PURPLE), clip_on=False,
            markeredgecolor=ROW_COLOURS.get(family, PURPLE) if calibrated else PAPER,
            markeredgewidth=2 if calibrated else 1, linestyle="none", label=f"{row['row']}, H {percent(row.get('H'))}",
        )
        handles.append(mark)
    axes.set(xlim=(0, limit_u), ylim=(0, limit_s), xlabel="u: accuracy on unseen classes, per cent",
             ylabel="s: accuracy on seen classes, per cent")
    axes.grid(False)
    figure.legend(handles=handles, loc="outside right upper", title="Curves and operating points", alignment="left")
    areas = ", ".join(f"{row_name} {_area(run, row_name)}" for row_name in curves)
    return [Plot(
        "curve", "Seen against unseen accuracy",
        "Every balance that a constant subtracted from the seen scores (with a gate: its threshold) can reach, the area "
        "under it, and where the rows of the table stand; thin grey lines join points of equal H.",
        f"Seen accuracy against unseen accuracy, one falling curve a model; areas under the curves: {areas}.",
        to_png(figure),
    )]


def _harmonic_lines(axes: Axes, limit_u: float, limit_s: float) -> None:
    best = 2 * limit_u * limit_s / (limit_u + limit_s)
    for h in range(10, 100, 10):
        if h >= best:
            break
        u = np.linspace(h / 2 + 0.01, limit_u, 400)
        s = h * u / (2 * u - h)
        inside = s <= limit_s
        axes.plot(u[inside], s[inside], color=GRID, linewidth=0.9, zorder=1)
        # Named at the right edge, inside: the rows stand near the middle of the lines.
        axes.annotate(
            f"H {h}", (limit_u, s[-1]), xytext=(-3, 2), textcoords="offset points", ha="right", fontsize=7.5,
            color=MUTED,
        )


def _area(run: FinishedRun, row_name: str) -> str:
    return percent(area(run.result, row_name))


# Gate -----------------------------------------------------------------------------------------------------------------


def _gate(run: FinishedRun) -> list[Plot]:
    """How well the entropy of the gate's detector tells unseen from seen test clips."""
    tags = [tag for tag in ("val", "last") if len(run.arrays.get(f"{tag}_gate_entropy_seen", ()))]
    return [_gate_plot(run, tag, secondary=position > 0) for position, tag in enumerate(tags)]


def _gate_plot(run: FinishedRun, tag: str, secondary: bool) -> Plot:
    import torch  # here, as most of this module's users draw no gate and need not wait for it

    from zsl.metrics import roc_area, roc_curve

    seen, unseen = (run.arrays[f"{tag}_gate_entropy_{side}"] for side in ("seen", "unseen"))
    threshold = float(run.arrays[f"{tag}_gate_threshold"])
    scores = torch.from_numpy(unseen), torch.from_numpy(seen)
    curve, auc = 100 * roc_curve(*scores).numpy(), roc_area(*scores)
    stopped, lost = 100 * float(np.mean(unseen >= threshold)), 100 * float(np.mean(seen >= threshold))
    figure = Figure(figsize=(9, 4), layout="constrained")
    roc, histogram = figure.subplots(1, 2, width_ratios=(1, 1.35))
    roc.plot([0, 100], [0, 100], color=MUTED, linewidth=0.9, linestyle=(0, (3, 1.5)))
    roc.plot(curve[:, 0], curve[:, 1], color=BLUE, clip_on=False)
    roc.fill_between(curve[:, 0], curve[:, 1], color=BLUE, alpha=0.07, linewidth=0)
    roc.plot(lost, stopped, "o", color=RED, markeredgecolor=PAPER, markersize=9, clip_on=False, zorder=5)
    roc.annotate("the threshold", (lost, stopped), xytext=(9, -13), textcoords="offset points", color=RED)
    roc.text(97, 4, f"area {percent(auc)} %", ha="right", fontsize=11)
    roc.set(xlim=(0, 100), ylim=(0, 100), aspect="equal", xlabel="seen clips held to be unseen, per cent")
    roc.set_ylabel("unseen clips recognised, per cent")
    roc.set_title("Unseen against seen clips")

    top = max(float(seen.max()), float(unseen.max()), threshold, 1e-6)
    bins = np.linspace(0, top, 41)
    for values, colour, label in ((seen, SEEN, "seen classes"), (unseen, UNSEEN, "unseen classes")):
        weights = np.full(len(values), 100 / len(values))
        histogram.hist(values, bins, weights=weights, color=colour, alpha=0.45, label=f"{label}, {len(values)} clips")
        histogram.hist(values, bins, weights=weights, color=colour, histtype="step", linewidth=1.4)
    histogram.axvline(threshold, color=INK, linewidth=1.4, linestyle=(0, (4, 1.5)), label=f"threshold {threshold:.3g}")
    histogram.set(xlim=(0, top), xlabel="entropy of the detector, nats")
    histogram.set_ylabel("clips of the side, per cent")
    histogram.set_title("Entropy of the test clips")
    histogram.grid(axis="x", visible=False)
    histogram.legend()
    return Plot(
        f"gate_{tag}", f"Out-of-distribution gate, row “{tag}”",
        "Left: every threshold's share of clips held to be unseen, rightly (up) and wrongly (right). Right: the detector's "
        "entropies; clips left of the threshold are given a seen class.",
        f"Receiver operating characteristic of the gate, area {percent(auc)} per cent; at the threshold it recognises "
        f"{stopped:.1f} per cent of unseen clips and loses {lost:.1f} per cent of seen ones.", to_png(figure), secondary,
    )


# Classes --------------------------------------------------------------------------------------------------------------


def _models(run: FinishedRun) -> list[tuple[str, bool]]:
    """The evaluated models, and whether each is secondary: the one chosen on validation data comes first."""
    present = [tag for tag in ("val", "last") if {f"{tag}_zsl_confusion", f"{tag}_gzsl_confusion"} & set(run.arrays)]
    return [(tag, position > 0) for position, tag in enumerate(present)]


def _per_class(run: FinishedRun) -> list[Plot]:
    plots = []
    data = run.result["data"]
    for tag, secondary in _models(run):
        zsl = _recall(run.arrays.get(f"{tag}_zsl_confusion"))
        gzsl = _recall(run.arrays.get(f"{tag}_gzsl_confusion"))
        t1 = {} if zsl is None else _present(zip(data["unseen_classes"], zsl, strict=True))
        accuracy = t1 if gzsl is None else _present(enumerate(gzsl))
        if not accuracy:
            continue
        few = len(accuracy) <= _MAX_NAMED
        figure = (_class_bars if few else _class_profile)(run, accuracy, t1, among_all=gzsl is not None)
        ordered = sorted(accuracy, key=accuracy.__getitem__)
        low, high = (f"{_name(run, index)} at {percent(accuracy[index])}" for index in (ordered[0], ordered[-1]))
        protocol = "all classes" if gzsl is not None else "unseen classes"
        caption = (
            f"Accuracy of each class among {protocol}, row “{tag}”; the mean can hide classes that are never right."
        )
        if not few:
            caption = (
                f"Accuracy among {protocol}, row “{tag}”, as a profile from the worst class to the best, and the "
                "extremes by name."
            )
        alt = f"Accuracies of {len(accuracy)} classes in per cent; lowest {low}, highest {high}."
        title = f"Accuracy of each class, row “{tag}”"
        plots.append(Plot(f"per_class_{tag}", title, caption, alt, to_png(figure), secondary))
    return plots


def _present(pairs: Iterable[tuple[int, float]]) -> dict[int, float]:
    return {index: float(value) for index, value in pairs if not math.isnan(value)}


def _recall(confusion: np.ndarray | None) -> np.ndarray | None:
    """The share of each class's samples that is right; NaN for a class without samples."""
    if confusion is None:
        return None
    total = confusion.sum(1)
    return np.where(total > 0, np.diag(confusion) / np.maximum(total, 1), np.nan)


def _class_bars(run: FinishedRun, accuracy: dict[int, float], t1: dict[int, float], among_all: bool) -> Figure:
    """Horizontal bars, one a class, best on top, seen and unseen classes in two blocks."""
    unseen = set(run.result["data"]["unseen_classes"])
    ordered = sorted(accuracy, key=lambda index: (index not in unseen, accuracy[index]))
    figure = Figure(figsize=(9, 1.3 + 0.24 * len(ordered)), layout="constrained")
    axes = figure.add_subplot()
    rows = np.arange(len(ordered))
    axes.barh(
        rows, [100 * accuracy[index] for index in ordered], height=0.7,
        color=[UNSEEN if index in unseen else SEEN for index in ordered],
    )
    dots = [(100 * t1[index], row) for row, index in enumerate(ordered) if among_all and index in t1]
    if dots:
        axes.plot(*zip(*dots, strict=True), "o", color=PAPER, markeredgecolor=INK, markersize=5.5, clip_on=False)
    axes.set_yticks(rows, [_name(run, index) for index in ordered])
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    axes.set(xlim=(0, 100), ylim=(-0.7, len(ordered) - 0.3), xlabel="accuracy, per cent")
    handles = [Line2D([], [], marker="s", linestyle="none", markersize=8, color=UNSEEN, label="unseen class")]
    if any(index not in unseen for index in ordered):
        handles.append(Line2D([], [], marker="s", linestyle="none", markersize=8, color=SEEN, label="seen class"))
    if dots:
        handles.append(Line2D([], [], marker="o", linestyle="none", color=PAPER, markeredgecolor=INK,
                              label="the same class among unseen classes only (T1)"))
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    return figure


def _class_profile(run: FinishedRun, accuracy: dict[int, float], t1: dict[int, float], among_all: bool) -> Figure:
    """Too many classes for bars: sorted accuracies as steps, and the five extremes of either kind by name."""
    unseen_set = set(run.result["data"]["unseen_classes"])
    groups = {
        "seen": [index for index in accuracy if index not in unseen_set],
        "unseen": [index for index in accuracy if index in unseen_set],
    }
    figure = Figure(figsize=(9, 4.6), layout="constrained")
    profile, extremes = figure.subplots(1, 2, width_ratios=(1.25, 1))
    lines = [("seen", [accuracy[index] for index in groups["seen"]], SEEN, None),
             ("unseen", [accuracy[index] for index in groups["unseen"]], UNSEEN, None)]
    if among_all:
        lines.append(("unseen, among unseen only (T1)", [*t1.values()], UNSEEN, (3, 1.5)))
    for label, values, colour, dashes in lines:
        if values:
            profile.stairs(
                100 * np.sort(values), np.linspace(0, 100, len(values) + 1), color=colour, baseline=None, linewidth=1.8,
                linestyle="-" if dashes is None else (0, dashes),
                label=f"{label}: {len(values)} classes, mean {percent(float(np.mean(values)))}",
            )
    profile.set(xlim=(0, 100), ylim=(0, 101), xlabel="classes of the group, sorted, per cent")
    profile.set_ylabel("accuracy, per cent")
    profile.set_title("From the worst class to the best")
    profile.legend(loc="upper center", bbox_to_anchor=(0.45, -0.16), alignment="left")

    # The middle of the list is left out, so a gap and not a bar stands for it.
    kind = "unseen" if groups["unseen"] else "seen"
    ordered = sorted(groups[kind], key=accuracy.__getitem__)
    shown = ordered if len(ordered) <= 16 else ordered[:8] + ordered[-8:]
    rows = np.arange(len(shown)) + (0 if len(shown) == len(ordered) else np.repeat([0.0, 1.0], 8))
    colour = UNSEEN if kind == "unseen" else SEEN
    extremes.barh(rows, [100 * accuracy[index] for index in shown], height=0.7, color=colour)
    extremes.set_yticks(rows, [_name(run, index, 24) for index in shown], fontsize=8)
    extremes.tick_params(axis="y", length=0)
    extremes.grid(axis="y", visible=False)
    extremes.set(xlim=(0, 100), ylim=(rows[0] - 0.7, rows[-1] + 0.7), xlabel="accuracy, per cent")
    extremes.set_title(f"Lowest and highest {kind} classes")
    return figure


def _confusions(run: FinishedRun) -> list[Plot]:
    data = run.result["data"]
    seen, unseen = data["seen_classes"], data["unseen_classes"]
    plots = []
    for tag, secondary in _models(run):
        zsl, gzsl = (run.arrays.get(f"{tag}_{task}_confusion") for task in ("zsl", "gzsl"))
        if zsl is not None:
            plots.append(_confusion_plot(
                run, zsl, unseen, f"confusion_zsl_{tag}", f"Confusion among unseen classes, row “{tag}”",
                "Where the samples of each unseen class go when only unseen classes may be named;", secondary,
            ))
        if gzsl is not None:
            order = [*seen, *unseen]
            plots.append(_confusion_plot(
                run, gzsl[np.ix_(order, order)], order, f"confusion_gzsl_{tag}",
                f"Confusion among all classes, row “{tag}”",
                "Where the samples of each class go when every class may be named, seen classes first;", secondary,
                boundary=len(seen),
            ))
    return plots


def _confusion_plot(
    run: FinishedRun, counts: np.ndarray, classes: list[int], name: str, title: str, caption: str, secondary: bool,
    boundary: int | None = None,
) -> Plot:
    """Rows are true classes and sum to 100 per cent; `boundary` is how many seen classes stand before the unseen."""
    counts = counts.astype(float)
    share = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
    size = len(classes)
    figure = Figure(figsize=(8.2, 7.2) if size > 6 else (6.6, 5.6), layout="constrained")
    axes = figure.add_subplot()
    # A root scale: on a linear one the confusions of 200 classes, a few per cent each, are all white.
    image = axes.imshow(share, cmap=HEAT, norm=PowerNorm(0.5, 0, 100), interpolation="nearest")
    axes.grid(False)
    axes.spines[:].set(visible=True, color=GRID)
    axes.tick_params(length=0)
    # An in-between number of classes gets labels too, as long as they can be read.
    if size <= _MAX_NAMED + 8:
        names = [_name(run, index, 22) for index in classes]
        font = 9 if size <= 16 else 7.5
        axes.set_xticks(range(size), names, rotation=45 if size <= 16 else 90, fontsize=font,
                        ha="right" if size <= 16 else "center", rotation_mode="anchor" if size <= 16 else "default")
        axes.set_yticks(range(size), names, fontsize=font)
    elif boundary is None:
        axes.set_xticks([]), axes.set_yticks([])
    else:
        middles = [(boundary - 1) / 2, (boundary + size - 1) / 2]
        axes.set_xticks(middles, [f"{boundary} seen", f"{size - boundary} unseen"])
        axes.set_yticks(middles, [f"{boundary} seen", f"{size - boundary} unseen"], rotation=90, va="center")
    if boundary is not None:
        axes.axhline(boundary - 0.5, color=ORANGE, linewidth=1.2)
        axes.axvline(boundary - 0.5, color=ORANGE, linewidth=1.2)
    if size <= _MAX_NUMBERED:
        for row, column in np.argwhere(share >= 0.5):
            axes.text(column, row, f"{share[row, column]:.0f}", ha="center", va="center", fontsize=9,
                      color=PAPER if share[row, column] > 35 else INK)
    axes.set(xlabel="predicted class", ylabel="true class")
    colour_bar = figure.colorbar(image, shrink=0.6, aspect=28, pad=0.02)
    colour_bar.set_label("per cent of the true class")
    colour_bar.outline.set_visible(False)
    right = np.diag(share)[counts.sum(1) > 0]
    wrong = share - np.diag(np.diag(share))
    row, column = np.unravel_index(wrong.argmax(), wrong.shape)
    worst = f"{_name(run, classes[row])} taken for {_name(run, classes[column])}, {wrong[row, column]:.0f} per cent"
    alt = f"Matrix of {size} classes; mean of the diagonal {np.mean(right) if right.size else 0:.1f} per cent; "
    if boundary:
        lost = counts[boundary:, :boundary].sum() / max(counts[boundary:].sum(), 1)
        caption += f" {percent(lost)} % of the unseen samples are given a seen class, and"
    return Plot(
        name, title, caption + " each row sums to 100 per cent.", alt + f"most frequent confusion {worst}.",
        to_png(figure), secondary,
    )


def _projection(run: FinishedRun) -> list[Plot]:
    """PCA to 50 dimensions, then t-SNE, of real and synthesised features together."""
    keys = ("projection_real", "projection_real_labels", "projection_synthetic", "projection_synthetic_labels")
    if any(key not in run.arrays for key in keys):
        return []
    real, real_labels, synthetic, synthetic_labels = (run.arrays[key] for key in keys)
    classes = sorted(set(real_labels.tolist()) & set(synthetic_labels.tolist()))
    if len(real) + len(synthetic) < 8 or not classes:
        return []
    # Evenly spaced through the class list, so that nobody chose which classes look good.
    positions = np.linspace(0, len(classes) - 1, min(_SHOWN_CLASSES, len(classes))).round().astype(int)
    picked = [classes[position] for position in positions]
    sources = ((False, synthetic, synthetic_labels), (True, real, real_labels))
    groups = [
        (index, is_real, points[labels == index][:_SHOWN_POINTS])
        for index in picked for is_real, points, labels in sources
    ]
    plane = _embed(np.concatenate([points for _, _, points in groups]))
    figure = Figure(figsize=(9, 6), layout="constrained")
    axes = figure.add_subplot()
    start = 0
    for index, is_real, points in groups:
        position = picked.index(index)
        colour = CLASS_COLOURS[position]
        xy = plane[start:start + len(points)]
        start += len(points)
        axes.plot(
            xy[:, 0], xy[:, 1], CLASS_MARKERS[position % 3], linestyle="none", markersize=5.5 if is_real else 4.5,
            # Paler than the hollow marks above them, which would vanish on their own colour.
            markerfacecolor=(colour, 0.35) if is_real else "none", markeredgecolor="none" if is_real else colour,
            markeredgewidth=0.9, zorder=2 if is_real else 3,
        )
    axes.set_xticks([]), axes.set_yticks([])
    axes.grid(False)
    axes.spines[:].set(visible=True, color=GRID)
    handles = [
        Line2D([], [], marker="o", linestyle="none", markersize=7, markerfacecolor=(INK, 0.4), markeredgecolor="none",
               label="real"),
        Line2D([], [], marker="o", linestyle="none", markerfacecolor="none", color=INK, label="synthesised"),
        Line2D([], [], linestyle="none", label=" "),
    ]
    for position, index in enumerate(picked):
        handles.append(Line2D(
            [], [], marker=CLASS_MARKERS[position % 3], linestyle="none", color=CLASS_COLOURS[position],
            label=_name(run, index, 26),
        ))
    figure.legend(handles=handles, loc="outside right upper")
    which = f"{len(picked)} of the {len(classes)}" if len(picked) < len(classes) else f"all {len(picked)}"
    spacing = ", evenly spaced in the class list" if len(picked) < len(classes) else ""
    return [Plot(
        "projection", "Real and synthesised features of unseen classes",
        f"PCA to 50 dimensions, then t-SNE, of up to {_SHOWN_POINTS} real (filled) and as many synthesised (hollow) "
        f"features of each of {which} unseen classes{spacing}; distances between far groups mean nothing.",
        f"Scatter plot of real and synthesised features of {len(picked)} unseen classes, one colour and shape a class.",
        to_png(figure),
    )]


def _embed(points: np.ndarray) -> np.ndarray:
    """(n, dim) features to (n, 2), the same for the same features."""
    # Imported here: scikit-learn takes seconds to load and most uses of this package never project.
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    # One thread: sums keep their order, and on a busy machine waiting threads make t-SNE ten times slower.
    with threadpool_limits(1):
        reduced = PCA(min(50, *points.shape), svd_solver="full").fit_transform(points.astype(np.float64))
        return TSNE(perplexity=min(30, (len(points) - 1) / 3), init="pca", random_state=0).fit_transform(reduced)


# Shared ---------------------------------------------------------------------------------------------------------------


def _keys(epochs: list[dict], wanted: Callable[[str], bool]) -> list[str]:
    """The loss names in order of appearance that are wanted and finite at least once."""
    names = dict.fromkeys(key for record in epochs for key in record.get("losses") or {} if wanted(key))
    return [key for key in names if len(_series(epochs, key)[0])]


def _series(epochs: list[dict], key: str) -> tuple[np.ndarray, np.ndarray]:
    """Epochs and values of one loss, finite values only."""
    found = [(epoch_number(record), number((record.get("losses") or {}).get(key))) for record in epochs]
    found = [pair for pair in found if not math.isnan(pair[1])]
    return np.array([epoch for epoch, _ in found]), np.array([value for _, value in found])


def _single_panel() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    return figure, figure.add_subplot()


def _line(
    axes: Axes, x: np.ndarray, y: np.ndarray, colour: str, *, label: str | None = None,
    dashes: tuple[float, float] | None = None, width: float = 1.6,
) -> None:
    """A line that stays visible when it has a single point."""
    axes.plot(
        x, y, color=colour, label=label, linewidth=width, marker="o" if len(x) <= 2 else "", markersize=4,
        linestyle="-" if dashes is None else (0, dashes),
    )


def _epoch_axis(axes: Axes, epochs: list[dict], label: bool = True) -> None:
    first, last = epoch_number(epochs[0]), epoch_number(epochs[-1])
    margin = max(0.02 * (last - first), 0.5 if first == last else 0.05)
    axes.set_xlim(first - margin, last + margin)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))
    if label:
        axes.set_xlabel("epoch")


def _name(run: FinishedRun, index: int, width: int = 32) -> str:
    """A class name on one line, cut where it would crowd out the plot."""
    name = " ".join(str(run.result["data"]["class_names"][index]).split())
    return name if len(name) <= width else name[: width - 1] + "…"
