"""The plots of a run, drawn from its folder alone.

`draw_plots(read_run(run_dir))` returns PNG images. A plot whose data the folder does not hold is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import matplotlib

from zslab.report.plots.accuracy import accuracy_plots, curve_plots
from zslab.report.plots.confusion import confusion_plots, per_class_plots
from zslab.report.plots.gate import gate_plots
from zslab.report.plots.plot import Plot
from zslab.report.plots.projection import projection_plots
from zslab.report.plots.training import lambda1_plots, loss_plots, wasserstein_plots
from zslab.report.run import FinishedRun
from zslab.report.style import STYLE

DRAWERS: list[Callable[[FinishedRun], Iterable[Plot]]] = [
    accuracy_plots,
    curve_plots,
    gate_plots,
    per_class_plots,
    confusion_plots,
    projection_plots,
    loss_plots,
    wasserstein_plots,
    lambda1_plots,
]


def draw_plots(run: FinishedRun) -> list[Plot]:
    """Draw every plot that the run folder has data for, in the order of the report."""
    # A context, not an update: a program that imports this package keeps its own matplotlib settings.
    with matplotlib.rc_context(STYLE):
        return [plot for draw in DRAWERS for plot in draw(run)]
