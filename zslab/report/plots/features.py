"""Synthesized features beside real ones, and how well the entropy of the gate separates unseen from seen test clips."""

from collections.abc import Iterator

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Ellipse

from zslab.report.plots.plot import WIDTH, Plot, class_names, hide_axes, render
from zslab.report.style import BLUE, CLASS_COLORS, GRID, INK, MUTED, PAPER, RED, SEEN, UNSEEN
from zslab.results.finished import FinishedRun
from zslab.results.names import RULES, Rule
from zslab.results.text import percent

_CLASSES, _FEWEST = 6, 3  # at most so many classes, with at least so many features of each kind
_RADIUS = 1.5  # of an ellipse, in standard deviations


def projection_plots(run: FinishedRun) -> Iterator[Plot]:
    """Draw real and synthesized features of a few unseen classes in the plane that separates these classes best."""
    keys = ("projection_real", "projection_real_labels", "projection_synthetic", "projection_synthetic_labels")
    if not run.arrays.keys() >= set(keys):
        return
    real, real_labels, synthetic, synthetic_labels = (run.arrays[key] for key in keys)
    counts = [np.bincount(labels.astype(int), minlength=1) for labels in (real_labels, synthetic_labels)]
    size = min(map(len, counts))
    classes = np.flatnonzero((counts[0][:size] >= _FEWEST) & (counts[1][:size] >= _FEWEST))
    if len(classes) < 2 or real.shape[1] < 2 or real.shape[1] != synthetic.shape[1]:
        return
    # Evenly spaced through the class list, so that nobody chose which classes look good.
    shown = classes[np.linspace(0, len(classes) - 1, min(_CLASSES, len(classes))).round().astype(int)]
    groups = [(real[real_labels == k].astype(float), synthetic[synthetic_labels == k].astype(float)) for k in shown]
    means = np.stack([ours.mean(axis=0) for ours, _ in groups])
    spread = means if len(shown) > 2 else np.concatenate([ours for ours, _ in groups])
    plane = np.linalg.svd(spread - spread.mean(axis=0), full_matrices=False)[2][:2].T
    figure = Figure(figsize=(WIDTH, 4.6), layout="constrained")
    axes, names = figure.add_subplot(), class_names(run)
    for color, (ours, theirs) in zip(CLASS_COLORS, groups):
        points = ours @ plane
        axes.plot(points[:, 0], points[:, 1], ".", color=color, alpha=0.3, markersize=4, markeredgewidth=0)
        _draw_ellipse(axes, points, facecolor=(color, 0.12), edgecolor=color)
        _draw_ellipse(axes, theirs @ plane, facecolor="none", edgecolor=color, linestyle=(0, (3, 1.5)))
    handles = [Line2D([], [], color=color, label=names[index]) for color, index in zip(CLASS_COLORS, shown)]
    figure.legend(handles=handles, loc="outside upper center", ncols=2)
    axes.autoscale_view()
    hide_axes(axes, GRID)
    which = f"{len(shown)} of the {len(classes)}" if len(shown) < len(classes) else f"all {len(shown)}"
    spacing = ", evenly spaced in the class list" if len(shown) < len(classes) else ""
    caption = (
        f"Features of {which} unseen classes{spacing}, in the plane through their means. Dots and solid ellipses: real test "
        f"features; dashed ellipses: synthesized ones ({_RADIUS} standard deviations). The closer a dashed ellipse is to the "
        "solid one of its color, the better the generator."
    )
    alt = f"Ellipses of real and of synthesized features of {len(shown)} unseen classes, one color for each class."
    yield render(figure, "projection", "Real and synthesized features of unseen classes", caption, alt)


def _draw_ellipse(axes: Axes, points: np.ndarray, **style: object) -> None:
    """Draw where most of the points (n, 2) lie."""
    lengths, directions = np.linalg.eigh(np.cov(points.T))
    width, height = 2 * _RADIUS * np.sqrt(np.maximum(lengths, 0))
    angle = float(np.degrees(np.arctan2(directions[1, 0], directions[0, 0])))
    mean = (float(points[:, 0].mean()), float(points[:, 1].mean()))
    ellipse = Ellipse(mean, width, height, angle=angle, linewidth=1.4)
    ellipse.set(**style)
    axes.add_patch(ellipse)


def gate_plots(run: FinishedRun) -> Iterator[Plot]:
    """Draw the receiver operating characteristic of the gate, and its entropies."""
    rules: tuple[Rule, ...] = ("val", "last")
    rule = next((rule for rule in rules if len(run.arrays.get(f"{rule}_gate_entropy_seen", ()))), None)
    if rule is None:
        return
    from sklearn.metrics import auc, roc_curve  # slow to import, and most runs have no gate

    seen, unseen = (run.arrays[f"{rule}_gate_entropy_{side}"] for side in ("seen", "unseen"))
    threshold = float(run.arrays[f"{rule}_gate_threshold"])
    is_unseen = np.repeat([True, False], [len(unseen), len(seen)])
    false_rate, true_rate, _ = roc_curve(is_unseen, np.concatenate([unseen, seen]))
    area = percent(auc(false_rate, true_rate))
    recognized, lost = (100 * float(np.mean(entropy >= threshold)) for entropy in (unseen, seen))
    figure = Figure(figsize=(WIDTH, 6.4), layout="constrained")
    roc, histogram = figure.subplots(2, 1, height_ratios=(1.2, 1))
    _draw_roc(roc, 100 * false_rate, 100 * true_rate, (lost, recognized), area)
    _draw_histogram(histogram, seen, unseen, threshold)
    caption = (
        f"Top: for every threshold, the share of unseen clips that are recognized as unseen and of seen clips that are taken "
        f"for unseen ({RULES[rule]}). Bottom: entropy of the test clips; a clip left of the threshold is assigned a seen class."
    )
    alt = (
        f"Receiver operating characteristic of the gate, area {area} percent; at the threshold it recognizes "
        f"{recognized:.1f} percent of unseen clips and loses {lost:.1f} percent of seen ones."
    )
    yield render(figure, "gate", "Out-of-distribution gate", caption, alt)


def _draw_roc(axes: Axes, lost: np.ndarray, recognized: np.ndarray, at_threshold: tuple[float, float], area: str) -> None:
    axes.plot([0, 100], [0, 100], color=MUTED, linewidth=0.9, linestyle=(0, (3, 1.5)))
    axes.plot(lost, recognized, color=BLUE, clip_on=False)
    axes.fill_between(lost, recognized, color=BLUE, alpha=0.07, linewidth=0)
    axes.plot(*at_threshold, "o", color=RED, markeredgecolor=PAPER, markersize=9, clip_on=False, zorder=5)
    axes.annotate("threshold", at_threshold, xytext=(9, -13), textcoords="offset points", color=RED)
    axes.text(97, 4, f"area {area} %", ha="right", fontsize=11)
    axes.set(xlim=(0, 100), ylim=(0, 100), aspect="equal")
    axes.set(xlabel="seen clips taken for unseen, %", ylabel="unseen clips recognized, %")
    axes.set_title("Unseen against seen clips")


def _draw_histogram(axes: Axes, seen: np.ndarray, unseen: np.ndarray, threshold: float) -> None:
    top = max(float(seen.max()), float(unseen.max(initial=0)), threshold, 1e-6)
    bins = np.linspace(0, top, 41).tolist()
    for values, color, label in ((seen, SEEN, "seen classes"), (unseen, UNSEEN, "unseen classes")):
        weights = np.full(len(values), 100 / max(len(values), 1))
        axes.hist(values, bins, weights=weights, color=color, alpha=0.45, label=f"{label}, {len(values)} clips")
        axes.hist(values, bins, weights=weights, color=color, histtype="step", linewidth=1.4)
    axes.axvline(threshold, color=INK, linewidth=1.4, linestyle=(0, (4, 1.5)), label=f"threshold {threshold:.3g}")
    axes.set(xlim=(0, top), xlabel="entropy of the detector, nats", ylabel="share of the clips, %")
    axes.set_title("Entropy of the test clips")
    axes.grid(axis="x", visible=False)
    axes.legend()
