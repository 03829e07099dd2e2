"""How well the entropy of the out-of-distribution detector separates unseen from seen test clips."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zslab.report.plots.plot import Plot, render
from zslab.report.run import FinishedRun
from zslab.report.style import BLUE, INK, MUTED, PAPER, RED, SEEN, UNSEEN
from zslab.report.text import percent


def gate_plots(run: FinishedRun) -> list[Plot]:
    """Draw the gate's receiver operating characteristic and its entropies, for each exported model."""
    rules = [rule for rule in ("val", "last") if len(run.arrays.get(f"{rule}_gate_entropy_seen", ()))]
    return [_gate_plot(run, rule, secondary=position > 0) for position, rule in enumerate(rules)]


def _gate_plot(run: FinishedRun, rule: str, secondary: bool) -> Plot:
    from sklearn.metrics import auc, roc_curve  # slow to import, and most runs have no gate

    seen, unseen = (run.arrays[f"{rule}_gate_entropy_{side}"] for side in ("seen", "unseen"))
    threshold = float(run.arrays[f"{rule}_gate_threshold"])
    is_unseen = np.repeat([True, False], [len(unseen), len(seen)])
    false_rate, true_rate, _ = roc_curve(is_unseen, np.concatenate([unseen, seen]))
    area = percent(auc(false_rate, true_rate))
    recognized, lost = (100 * float(np.mean(entropy >= threshold)) for entropy in (unseen, seen))
    figure = Figure(figsize=(9, 4), layout="constrained")
    roc, histogram = figure.subplots(1, 2, width_ratios=(1, 1.35))
    _draw_roc(roc, 100 * false_rate, 100 * true_rate, (lost, recognized), area)
    _draw_histogram(histogram, seen, unseen, threshold)
    caption = (
        "Left: for every threshold, the share of unseen clips that are recognized as unseen and of seen clips that are "
        "taken for unseen. Right: entropy of the test clips; a clip left of the threshold is assigned a seen class."
    )
    alt = (
        f"Receiver operating characteristic of the gate, area {area} per cent; at the threshold it recognizes "
        f"{recognized:.1f} per cent of unseen clips and loses {lost:.1f} per cent of seen ones."
    )
    title = f"Out-of-distribution gate, selection “{rule}”"
    return render(figure, f"gate_{rule}", title, caption, alt, secondary=secondary)


def _draw_roc(axes: Axes, lost: np.ndarray, recognized: np.ndarray, at_threshold: tuple[float, float], area: str) -> None:
    axes.plot([0, 100], [0, 100], color=MUTED, linewidth=0.9, linestyle=(0, (3, 1.5)))
    axes.plot(lost, recognized, color=BLUE, clip_on=False)
    axes.fill_between(lost, recognized, color=BLUE, alpha=0.07, linewidth=0)
    axes.plot(*at_threshold, "o", color=RED, markeredgecolor=PAPER, markersize=9, clip_on=False, zorder=5)
    axes.annotate("threshold", at_threshold, xytext=(9, -13), textcoords="offset points", color=RED)
    axes.text(97, 4, f"area {area} %", ha="right", fontsize=11)
    axes.set(xlim=(0, 100), ylim=(0, 100), aspect="equal")
    axes.set(xlabel="seen clips taken for unseen, per cent", ylabel="unseen clips recognized, per cent")
    axes.set_title("Unseen against seen clips")


def _draw_histogram(axes: Axes, seen: np.ndarray, unseen: np.ndarray, threshold: float) -> None:
    top = max(float(seen.max()), float(unseen.max()), threshold, 1e-6)
    bins = np.linspace(0, top, 41).tolist()
    for values, color, label in ((seen, SEEN, "seen classes"), (unseen, UNSEEN, "unseen classes")):
        weights = np.full(len(values), 100 / len(values))
        axes.hist(values, bins, weights=weights, color=color, alpha=0.45, label=f"{label}, {len(values)} clips")
        axes.hist(values, bins, weights=weights, color=color, histtype="step", linewidth=1.4)
    axes.axvline(threshold, color=INK, linewidth=1.4, linestyle=(0, (4, 1.5)), label=f"threshold {threshold:.3g}")
    axes.set(xlim=(0, top), xlabel="entropy of the detector, nats", ylabel="share of the clips, per cent")
    axes.set_title("Entropy of the test clips")
    axes.grid(axis="x", visible=False)
    axes.legend()
