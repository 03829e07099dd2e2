"""What all plots share: the record of a plot, names, lines and axes. Figures are narrow, so that a phone shows them legibly."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from zslab.report.style import to_png
from zslab.results.finished import FinishedRun
from zslab.results.record import EpochRecord
from zslab.utils.names import readable_names

WIDTH = 6.4  # inches
LONGEST_NAME = 40  # characters of a class name beside a plot


@dataclass(frozen=True)
class Plot:
    """One figure of a report."""

    name: str  #: the file's stem below `plots/`
    title: str  #: the heading above the figure
    caption: str  #: one or two sentences that say what is shown
    alt: str  #: what a reader who cannot see the figure should know
    png: bytes  #: the image


def render(figure: Figure, name: str, title: str, caption: str, alt: str) -> Plot:
    """Return the plot of a figure; the arguments are those of `Plot`."""
    return Plot(name, title, caption, alt, to_png(figure))


def panels(n: int, height: float, columns: int = 2, top: float = 0.0) -> tuple[Figure, list[Axes]]:
    """Return a figure with n panels, each `height` inches high, and `top` inches for a legend."""
    columns = min(columns, n)
    rows = -(-n // columns)
    figure = Figure(figsize=(WIDTH, top + height * rows), layout="constrained")
    return figure, [figure.add_subplot(rows, columns, position + 1) for position in range(n)]


def draw_line(axes: Axes, x: Sequence[float], y: ArrayLike, color: str, dashes: Sequence[float] = (), **style: object) -> None:
    """Draw a line that stays visible when it has a single point."""
    (line,) = axes.plot(x, y, color=color, marker="o" if len(x) <= 2 else "", markersize=4)
    line.set(linestyle=(0, tuple(dashes)) if dashes else "-", **style)


def set_epoch_axis(axes: Axes, epochs: Sequence[EpochRecord]) -> None:
    """Let the x axis span the epochs, with ticks at round numbers."""
    first, last = epochs[0].epoch + 1, epochs[-1].epoch + 1
    margin = max(0.02 * (last - first), 0.5 if first == last else 0.05)
    axes.set(xlim=(first - margin, last + margin), xlabel="epoch")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))


def hide_axes(axes: Axes, color: str) -> None:
    """Remove ticks and grid, and draw a frame in `color`."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(False)
    axes.spines[:].set(visible=True, color=color)


def wrapped(text: str) -> str:
    """Return a name above a small image, on at most two lines."""
    return "\n".join(textwrap.wrap(text, 21, max_lines=2, placeholder="…"))


def class_names(run: FinishedRun) -> list[str]:
    """Return the names of all classes as people read them, without the running numbers that some data sets put before them."""
    shown = readable_names(run.result.data.class_names)
    names = [shown[name] for name in run.result.data.class_names]
    return [name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…" for name in names]
