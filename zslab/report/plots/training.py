"""Plots of the training itself: losses, the critic's estimate of the Wasserstein distance, and the penalty's weight."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from zslab.report.plots.plot import Plot, draw_line, render, set_epoch_axis, single_panel
from zslab.report.run import FinishedRun, Record, epoch_number, number
from zslab.report.style import BLUE, GREEN, MUTED, ORANGE

_LOSS_NAMES = {
    "vae": "VAE (reconstruction + KL)",
    "reconstruction": "reconstruction (BCE)",
    "kl": "KL",
    "critic": "critic",
    "penalty": "gradient penalty",
    "generator": "generator, total",
    "adversarial": "generator, adversarial",
    "cycle_generator": "cycle, generator",
    "cycle_decoder": "cycle, decoder",
    "cross_entropy": "cross-entropy",
    "self_calibration": "self-calibration",
}
_DASHES = (4, 1.5)


def loss_plots(run: FinishedRun) -> list[Plot]:
    """Draw one small panel for each loss: a shared axis would hide most, as scales differ by orders of magnitude."""
    keys = _loss_keys(run.epochs, lambda key: not key.startswith("wasserstein"))
    # A transductive run has a loss for unseen classes too; it shares the panel of the loss for seen classes.
    twins = {key: twin for key in keys if (twin := f"{key.removesuffix('_generator')}_unseen") in keys}
    panels = [key for key in keys if key not in twins.values()]
    if not panels:
        return []
    columns = min(3, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(9, 0.6 + 1.9 * rows), layout="constrained")
    ends = []
    for position, key in enumerate(panels):
        axes = figure.add_subplot(rows, columns, position + 1)
        axes.set_title(_LOSS_NAMES.get(key, key.replace("_", " ")), fontsize=9.5)
        epochs, values = _loss_series(run.epochs, key)
        draw_line(axes, epochs, values, BLUE)
        ends.append(f"{key} {values[0]:.3g} to {values[-1]:.3g}")
        if key in twins:
            draw_line(axes, *_loss_series(run.epochs, twins[key]), ORANGE, dashes=_DASHES)
        set_epoch_axis(axes, run.epochs, label=position >= len(panels) - columns)
    if twins:
        handles = [
            Line2D([], [], color=BLUE, label="seen classes"),
            Line2D([], [], color=ORANGE, linestyle=(0, _DASHES), label="unseen classes (transductive)"),
        ]
        figure.legend(handles=handles, loc="outside upper center", ncols=2)
    caption = "Mean of each loss over an epoch. Each panel has its own scale."
    alt = f"Line plots of the losses over {len(run.epochs)} epochs, first to last: {', '.join(ends)}."
    return [render(figure, "losses", "Losses", caption, alt)]


def wasserstein_plots(run: FinishedRun) -> list[Plot]:
    """Draw the critics' estimates of the distance between real and synthesized features."""
    keys = _loss_keys(run.epochs, lambda key: key.startswith("wasserstein"))
    if not keys:
        return []
    figure, axes = single_panel()
    for key, color, dashes in zip(keys, (BLUE, ORANGE, GREEN), (None, _DASHES, (1.5, 1.5))):
        critic = key.removeprefix("wasserstein").strip("_")
        label = f"critic, {critic} classes (no attributes)" if critic else "critic"
        draw_line(axes, *_loss_series(run.epochs, key), color, label=label, dashes=dashes)
    axes.axhline(0, color=MUTED, linewidth=0.8)
    axes.set_ylabel("mean D(real) − mean D(fake)")
    if len(keys) > 1:
        axes.legend()
    set_epoch_axis(axes, run.epochs)
    caption = "The critic's estimate of the distance between synthesized and real features. It should settle at a small value."
    last = _loss_series(run.epochs, keys[0])[1][-1]
    alt = f"Line plot of the critic's distance between real and synthesized features; it ends at {last:.3g}."
    return [render(figure, "wasserstein", "Wasserstein distance", caption, alt)]


def lambda1_plots(run: FinishedRun) -> list[Plot]:
    """Draw the weight of the gradient penalty on a log scale."""
    records = [record for record in run.epochs if number(record.get("lambda1")) > 0]
    if not records:
        return []
    values = np.array([record["lambda1"] for record in records], dtype=float)
    figure, axes = single_panel()
    draw_line(axes, np.array([epoch_number(record) for record in records]), values, BLUE)
    axes.set_yscale("log")
    plain = FuncFormatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_major_formatter(plain)
    # Within less than a decade the minor ticks are the only ones in sight.
    axes.yaxis.set_minor_formatter(plain if values.max() < 10 * values.min() else "")
    axes.set_ylabel("λ1 (log scale)")
    set_epoch_axis(axes, run.epochs)
    caption = (
        "λ1 at the end of each epoch. It grows while the critic's gradients are too large and shrinks while they are small."
    )
    alt = f"Line plot on a log scale; λ1 goes from {values[0]:.3g} to {values[-1]:.3g}, lowest {values.min():.3g}."
    return [render(figure, "lambda1", "Weight of the gradient penalty, λ1", caption, alt)]


def _loss_keys(epochs: list[Record], accept: Callable[[str], bool]) -> list[str]:
    """Return the accepted loss names that are finite at least once, in order of appearance."""
    names = dict.fromkeys(key for record in epochs for key in record.get("losses") or {} if accept(key))
    return [key for key in names if len(_loss_series(epochs, key)[0])]


def _loss_series(epochs: list[Record], key: str) -> tuple[np.ndarray, np.ndarray]:
    """Return epochs and values of one loss, finite values only."""
    pairs = [(epoch_number(record), number((record.get("losses") or {}).get(key))) for record in epochs]
    pairs = [pair for pair in pairs if not math.isnan(pair[1])]
    return np.array([epoch for epoch, _ in pairs]), np.array([value for _, value in pairs])
