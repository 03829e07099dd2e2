"""Plots of the training itself: losses, the critic's estimate of the Wasserstein distance, and the penalty's weight."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from zslab.report.plots.plot import Plot, draw_line, panels, render, set_epoch_axis
from zslab.report.style import BLUE, GREEN, MUTED, ORANGE
from zslab.results.finished import FinishedRun
from zslab.results.record import EpochRecord

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


def loss_plots(run: FinishedRun) -> Iterator[Plot]:
    """Draw one small panel for each loss: a shared axis would hide most, as scales differ by orders of magnitude."""
    keys = _loss_keys(run.epochs, lambda key: not key.startswith("wasserstein"))
    # A transductive run has a loss for unseen classes too; it shares the panel of the loss for seen classes.
    twins = {key: twin for key in keys if (twin := f"{key.removesuffix('_generator')}_unseen") in keys}
    shown = [key for key in keys if key not in twins.values()]
    if not shown:
        return
    figure, every = panels(len(shown), 1.8, top=0.5)
    ends = []
    for axes, key in zip(every, shown):
        axes.set_title(_LOSS_NAMES.get(key, key.replace("_", " ")), fontsize=9.5)
        epochs, values = _loss_series(run.epochs, key)
        draw_line(axes, epochs, values, BLUE)
        ends.append(f"{key} {values[0]:.3g} to {values[-1]:.3g}")
        if key in twins:
            draw_line(axes, *_loss_series(run.epochs, twins[key]), ORANGE, _DASHES)
        set_epoch_axis(axes, run.epochs)
    if twins:
        handles = [
            Line2D([], [], color=BLUE, label="seen classes"),
            Line2D([], [], color=ORANGE, linestyle=(0, _DASHES), label="unseen classes (transductive)"),
        ]
        figure.legend(handles=handles, loc="outside upper center", ncols=2)
    caption = "Mean of each loss over an epoch. Each panel has its own scale."
    alt = f"Line plots of the losses over {len(run.epochs)} epochs, first to last: {', '.join(ends)}."
    yield render(figure, "losses", "Losses", caption, alt)


def wasserstein_plots(run: FinishedRun) -> Iterator[Plot]:
    """Draw the critics' estimates of the distance between real and synthesized features."""
    keys = _loss_keys(run.epochs, lambda key: key.startswith("wasserstein"))
    if not keys:
        return
    figure, (axes,) = panels(1, 2.8)
    for key, color, dashes in zip(keys, (BLUE, ORANGE, GREEN), ((), _DASHES, (1.5, 1.5))):
        critic = key.removeprefix("wasserstein").strip("_")
        label = f"critic, {critic} classes (no attributes)" if critic else "critic"
        draw_line(axes, *_loss_series(run.epochs, key), color, dashes, label=label)
    axes.axhline(0, color=MUTED, linewidth=0.8)
    axes.set_ylabel("mean D(real) − mean D(fake)")
    if len(keys) > 1:
        axes.legend()
    set_epoch_axis(axes, run.epochs)
    caption = "The critic's estimate of the distance between synthesized and real features. It should settle at a small value."
    last = _loss_series(run.epochs, keys[0])[1][-1]
    alt = f"Line plot of the critic's distance between real and synthesized features; it ends at {last:.3g}."
    yield render(figure, "wasserstein", "Wasserstein distance", caption, alt)


def lambda1_plots(run: FinishedRun) -> Iterator[Plot]:
    """Draw the weight of the gradient penalty on a log scale."""
    pairs = [(record.epoch + 1, record.status["lambda1"]) for record in run.epochs if record.status.get("lambda1", 0) > 0]
    if not pairs:
        return
    values = np.array([value for _, value in pairs])
    figure, (axes,) = panels(1, 2.8)
    draw_line(axes, [epoch for epoch, _ in pairs], values, BLUE)
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
    yield render(figure, "lambda1", "Weight of the gradient penalty, λ1", caption, alt)


def _loss_keys(epochs: Sequence[EpochRecord], accept: Callable[[str], bool]) -> list[str]:
    """Return the accepted names of losses, in order of appearance."""
    return list(dict.fromkeys(key for record in epochs for key in record.losses if accept(key)))


def _loss_series(epochs: Sequence[EpochRecord], key: str) -> tuple[list[int], np.ndarray]:
    """Return epochs, counted from 1, and values of one loss."""
    pairs = [(record.epoch + 1, record.losses[key]) for record in epochs if key in record.losses]
    return [epoch for epoch, _ in pairs], np.array([value for _, value in pairs])
