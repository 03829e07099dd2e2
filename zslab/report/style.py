"""The palette and typography of every figure of the project, and how a figure becomes a PNG.

Draw inside `with matplotlib.rc_context(STYLE):`; a figure drawn outside it looks like matplotlib's default.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from PIL import Image

from zslab.report.fonts import FAMILY, use_fallbacks, without_font_warnings

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType  # not in matplotlib 3.8

INK, MUTED, GRID, PAPER = "#22262b", "#6b7280", "#e3e6ea", "#ffffff"
# Okabe and Ito's hues, a little darker where they carry thin lines: told apart under every common color blindness.
BLUE, ORANGE, GREEN, RED, PURPLE, SKY = "#0b66a8", "#e08e0b", "#0a8a66", "#cc4f14", "#a8578a", "#4aa8dc"
SEEN, UNSEEN = SKY, RED
RULE_COLORS = {"paper": RED, "val": GREEN, "last": BLUE}
RULE_MARKERS = {"paper": "^", "val": "D", "last": "o"}
Style = dict[str, Any]  # keyword arguments of an artist
# Twelve classes, the first ones the safest to tell apart.
CLASS_COLORS = (BLUE, ORANGE, GREEN, PURPLE, RED, SKY, "#4b3f9e", "#8a8d1d", "#7d1f4e", "#2fb5a5", "#5a6572", "#d46a86")
HEAT = LinearSegmentedColormap.from_list("zslab", [PAPER, "#cfe3f1", "#6fb0d8", BLUE, "#07365c"])

STYLE: dict[RcKeyType, Any] = {
    "font.family": FAMILY,
    "font.size": 9.5,
    "text.color": INK,
    "text.usetex": False,
    "text.parse_math": False,  # class names are text, whatever dollars they contain
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.formatter.use_mathtext": False,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.6,
    "figure.constrained_layout.w_pad": 0.09,
    "figure.constrained_layout.h_pad": 0.09,
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "savefig.facecolor": PAPER,
}


def to_png(figure: Figure, dpi: int = 150) -> bytes:
    """Return a figure as PNG. The same figure gives the same bytes: they hold no date and no version."""
    use_fallbacks(figure)
    figure.set_dpi(dpi)
    canvas, buffer = FigureCanvasAgg(figure), io.BytesIO()
    with without_font_warnings():
        canvas.draw()  # type: ignore[no-untyped-call]  # once; savefig draws a second time
    pixels = np.asarray(canvas.buffer_rgba())[..., :3]  # type: ignore[no-untyped-call]
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()
