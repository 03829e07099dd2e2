"""Which classes are recognized, what they are confused with, and how far to believe their probabilities."""

from collections.abc import Iterable, Iterator

import numpy as np
from matplotlib import rc_context
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from zslab.report.plots.plot import WIDTH, Plot, class_names, hide_axes, panels, render
from zslab.report.style import BLUE, GRID, HEAT, INK, MUTED, ORANGE, PAPER, SEEN, STYLE, UNSEEN, Style
from zslab.results.finished import FinishedRun, class_recall
from zslab.results.names import RULES, Rule
from zslab.results.result import Calibration
from zslab.results.text import percent

_MAX_BARS = 32  # classes whose names still fit beside bars
_MAX_NAMED = 40  # classes whose names still fit beside a matrix
_MAX_NUMBERED = 12  # classes whose confusion cells still hold a number
_EXTREMES = 8  # lowest and highest classes that are named when there are too many for bars


def shown_model(run: FinishedRun) -> Rule | None:
    """Return the rule of the model whose classes are drawn: the one selected on validation, else the last; None without any."""
    rules: tuple[Rule, ...] = ("val", "last")
    return next((rule for rule in rules if {f"{rule}_zsl_confusion", f"{rule}_gzsl_confusion"} & run.arrays.keys()), None)


def per_class_plots(run: FinishedRun) -> Iterator[Plot]:
    """Draw the accuracy of each class as a bar; of many classes the lowest and highest unseen ones."""
    rule, unseen, names = shown_model(run), run.result.data.unseen_classes, class_names(run)
    zsl, gzsl = (run.arrays.get(f"{rule}_{task}_confusion") for task in ("zsl", "gzsl"))
    t1 = {} if zsl is None else _present(zip(unseen, class_recall(zsl), strict=True))
    accuracy = t1 if gzsl is None else _present(enumerate(class_recall(gzsl)))
    if rule is None or not accuracy:
        return
    ordered = sorted(accuracy, key=lambda index: (index not in unseen, accuracy[index]))
    groups = {"unseen": [k for k in ordered if k in unseen], "seen": [k for k in ordered if k not in unseen]}
    among = "all" if gzsl is not None else "unseen"
    caption = f"Accuracy of each class when predicting among {among} classes ({RULES[rule]}). "
    if len(ordered) > _MAX_BARS:
        kind, group = next((kind, group) for kind, group in groups.items() if group)
        ordered = group if len(group) <= 2 * _EXTREMES else group[:_EXTREMES] + group[-_EXTREMES:]
        means = (
            f"{name} {percent(float(np.mean([accuracy[k] for k in ks])))} ({len(ks)})" for name, ks in groups.items() if ks
        )
        caption += f"The lowest and highest {kind} classes. Means (number of classes): {', '.join(means)}. "
    figure, (axes,) = panels(1, 1.3 + 0.22 * len(ordered))
    rows = np.arange(len(ordered))
    colors = [UNSEEN if index in unseen else SEEN for index in ordered]
    axes.barh(rows, [100 * accuracy[index] for index in ordered], height=0.7, color=colors)
    axes.set_yticks(rows, [names[index] for index in ordered], fontsize=9)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    axes.set(xlim=(0, 100), ylim=(-0.7, len(ordered) - 0.3), xlabel="accuracy, %")
    square: Style = {"marker": "s", "linestyle": "none", "markersize": 8}
    kinds = {UNSEEN: "unseen class", SEEN: "seen class"}
    handles = [Line2D([], [], color=color, label=kinds[color], **square) for color in kinds if color in colors]
    dots = [(100 * t1[index], row) for row, index in enumerate(ordered) if gzsl is not None and index in t1]
    if dots:
        circle: Style = {"marker": "o", "linestyle": "none", "color": PAPER, "markeredgecolor": INK}
        axes.plot(*zip(*dots), markersize=5.5, clip_on=False, **circle)
        handles.append(Line2D([], [], label="among unseen classes only (T1)", **circle))
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    extremes = sorted(accuracy, key=accuracy.__getitem__)
    low, high = (f"{names[index]} at {percent(accuracy[index])}" for index in (extremes[0], extremes[-1]))
    alt = f"Accuracies of {len(accuracy)} classes in percent; lowest {low}, highest {high}."
    caption += "A mean can hide classes that are never right."
    yield render(figure, "per_class", "Accuracy of each class", caption, alt)


def _present(pairs: Iterable[tuple[int, float]]) -> dict[int, float]:
    """Return class -> accuracy, for classes with test samples."""
    return {index: float(value) for index, value in pairs if not np.isnan(value)}


def confusion_plots(run: FinishedRun) -> Iterator[Plot]:
    """Draw the confusion among unseen classes and among all classes."""
    seen, unseen, rule = run.result.data.seen_classes, run.result.data.unseen_classes, shown_model(run)
    if (zsl := run.arrays.get(f"{rule}_zsl_confusion")) is not None:
        caption = "What the samples of each unseen class are taken for when only unseen classes can be predicted."
        figure, alt = _confusion(run, zsl, unseen)
        yield render(figure, "confusion_zsl", "Confusion among unseen classes", f"{caption} Each row sums to 100 %.", alt)
    if (gzsl := run.arrays.get(f"{rule}_gzsl_confusion")) is not None:
        order = [*seen, *unseen]
        counts = gzsl[np.ix_(order, order)]
        caption = "What the samples of each class are taken for when every class can be predicted, seen classes first. "
        if n := counts[len(seen) :].sum():
            lost = percent(counts[len(seen) :, : len(seen)].sum() / n)
            caption += f"{lost} % of the unseen samples are assigned a seen class. "
        caption += "Each row sums to 100 %."
        figure, alt = _confusion(run, counts, order, boundary=len(seen))
        yield render(figure, "confusion_gzsl", "Confusion among all classes", caption, alt)


def _confusion(run: FinishedRun, counts: np.ndarray, classes: list[int], boundary: int | None = None) -> tuple[Figure, str]:
    """Draw a confusion matrix (C, C) with true classes as rows, in the order of `classes`, and describe it.

    `boundary` classes before the others are seen, where both kinds are shown.
    """
    counts = counts.astype(float)
    share = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
    size, every = len(classes), class_names(run)
    names = [every[index] for index in classes]
    figure = Figure(figsize=(WIDTH, 5.6), layout="constrained")
    axes = figure.add_subplot()
    # A root scale: on a linear one the confusions of 200 classes, a few percent each, are all white.
    heat = axes.imshow(share, cmap=HEAT, norm=PowerNorm(0.5, 0, 100), interpolation="nearest")
    hide_axes(axes, GRID)
    axes.tick_params(length=0)
    if size <= _MAX_NAMED:
        few = size <= 16
        axes.set_yticks(range(size), names, fontsize=8.5 if few else 6.5)
        axes.set_xticks(range(size), names, fontsize=8.5 if few else 6.5, rotation=45 if few else 90)
        for label in axes.get_xticklabels() if few else ():
            label.set(ha="right", rotation_mode="anchor")
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
            axes.text(column, row, f"{share[row, column]:.0f}", ha="center", va="center", fontsize=8.5, color=color)
    axes.set(xlabel="predicted class", ylabel="true class")
    color_bar = figure.colorbar(heat, shrink=0.6, aspect=28, pad=0.02)
    color_bar.set_label("% of the true class")
    color_bar.outline.set_visible(False)
    right = np.diag(share)[counts.sum(1) > 0]
    wrong = share - np.diag(np.diag(share))
    row, column = np.unravel_index(wrong.argmax(), wrong.shape)
    alt = (
        f"Matrix of {size} classes; mean of the diagonal {np.mean(right) if right.size else 0:.1f} percent; "
        f"most frequent confusion {names[row]} taken for {names[column]}, {wrong[row, column]:.0f} percent."
    )
    return figure, alt


def reliability_plot(calibration: Calibration | None) -> Plot | None:
    """Return the reliability diagram before and after calibration; None where it was not measured."""
    if calibration is None or calibration.before is None or calibration.after is None:
        return None
    with rc_context(STYLE):
        figure, (axes,) = panels(1, 4.6)
        axes.plot([0, 1], [0, 1], color=GRID, zorder=1)
        for title, measured, color in (("before", calibration.before, MUTED), ("after", calibration.after, BLUE)):
            x, y, n = zip(*measured.bins)
            label = f"{title} calibration, error {100 * measured.error:.1f} points"
            axes.scatter(x, y, [20 + 200 * count / sum(n) for count in n], color=color, alpha=0.8, label=label, zorder=2)
            axes.plot(x, y, color=color, linewidth=1, zorder=2)
        axes.set(xlim=(0, 1), ylim=(-0.02, 1.02), xlabel="probability of the predicted class", ylabel="share that is right")
        figure.legend(loc="outside upper center", ncols=2)
        caption = "A dot is a bin of held-out samples, larger for more; on the diagonal, 80 % is right 80 % of the time."
        alt = "Accuracy against confidence, before and after calibration."
        return render(figure, "reliability", "How far to believe a probability", caption, alt)
