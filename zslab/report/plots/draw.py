"""The plots of a run, a module for each kind, drawn from its folder alone.

A plot whose data the folder does not hold is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import matplotlib

from zslab.report.plots.accuracy import accuracy_plots, curve_plots, validation_plots
from zslab.report.plots.classes import confusion_plots, per_class_plots
from zslab.report.plots.features import gate_plots, projection_plots
from zslab.report.plots.plot import Plot
from zslab.report.plots.training import training_plots
from zslab.report.style import STYLE
from zslab.results.finished import FinishedRun

Drawer = Callable[[FinishedRun], Iterable[Plot]]
RESULTS: tuple[Drawer, ...] = (accuracy_plots, curve_plots, gate_plots, per_class_plots, confusion_plots, projection_plots)
TRAINING: tuple[Drawer, ...] = (validation_plots, training_plots)


def draw_plots(run: FinishedRun, drawers: Iterable[Drawer] = RESULTS + TRAINING) -> list[Plot]:
    """Draw every plot that the run folder has data for, in the order of the report."""
    # A context, not an update: a program that imports this package keeps its own matplotlib settings.
    with matplotlib.rc_context(STYLE):
        return [plot for draw in drawers for plot in draw(run)]
