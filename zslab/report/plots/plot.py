"""What all plots of a run share: the record of a plot, names, lines and axes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from zslab.report.run import FinishedRun, Measure, Record, epoch_number
from zslab.report.style import to_png

MEASURE_NAMES: dict[Measure, str] = {
    "T1": "T1, unseen among unseen",
    "acc_unseen": "u, unseen among all",
    "acc_seen": "s, seen among all",
    "H": "H",
}


@dataclass(frozen=True)
class Plot:
    """One figure of the report.

    Attributes:
        name: The file's stem below `plots/`.
        title: The heading above the figure.
        caption: One or two sentences that say what is shown.
        alt: What a reader who cannot see the figure should know.
        png: The rendered figure.
        secondary: Whether the report shows it folded, because another plot shows the same of a model chosen on
            validation data.
    """

    name: str
    title: str
    caption: str
    alt: str
    png: bytes
    secondary: bool = False


def render(figure: Figure, name: str, title: str, caption: str, alt: str, *, secondary: bool = False) -> Plot:
    """Return the plot of a figure; the arguments are those of `Plot`."""
    return Plot(name, title, caption, alt, to_png(figure), secondary)


def single_panel() -> tuple[Figure, Axes]:
    """Return a wide, low figure with one panel."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    return figure, figure.add_subplot()


def draw_line(
    axes: Axes,
    x: ArrayLike,
    y: ArrayLike,
    color: str,
    *,
    label: str | None = None,
    dashes: tuple[float, float] | None = None,
    width: float = 1.6,
) -> None:
    """Draw a line that stays visible when it has a single point."""
    style = "-" if dashes is None else (0, dashes)
    marker = "o" if np.size(x) <= 2 else ""
    axes.plot(x, y, color=color, label=label, linewidth=width, linestyle=style, marker=marker, markersize=4)


def set_epoch_axis(axes: Axes, epochs: list[Record], label: bool = True) -> None:
    """Let the x axis span the epochs, with ticks at whole numbers."""
    first, last = epoch_number(epochs[0]), epoch_number(epochs[-1])
    margin = max(0.02 * (last - first), 0.5 if first == last else 0.05)
    axes.set_xlim(first - margin, last + margin)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))
    if label:
        axes.set_xlabel("epoch")


def hide_axes(axes: Axes, color: str) -> None:
    """Remove ticks and grid, and draw a frame in `color`."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(False)
    axes.spines[:].set(visible=True, color=color)


def class_name(run: FinishedRun, index: int, width: int = 32) -> str:
    """Return a class name on one line, shortened to `width` characters."""
    name = " ".join(str(run.result["data"]["class_names"][index]).split())
    return name if len(name) <= width else name[: width - 1] + "…"
