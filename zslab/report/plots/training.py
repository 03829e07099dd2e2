"""What was recorded of the training itself: each loss, the critic's estimate of a distance, and the penalty's weight."""

from __future__ import annotations

from collections.abc import Iterator

from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from zslab.report.plots.plot import Plot, draw_line, panels, render, set_epoch_axis
from zslab.report.style import BLUE, ORANGE
from zslab.results.finished import FinishedRun

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
_DASHES = (4, 1.5)


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
