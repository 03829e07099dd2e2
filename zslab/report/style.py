"""The palette and typography of every figure of the project, and how a figure becomes a PNG.

Draw inside `with matplotlib.rc_context(STYLE):`; a figure drawn outside it looks like matplotlib's default.
"""

from __future__ import annotations

import io
import logging
import unicodedata
import warnings
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text
from PIL import Image

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType  # not in matplotlib 3.8

log = logging.getLogger(__name__)

FAMILY = "DejaVu Sans"  # it comes with matplotlib
DIM = 0.45  # brightness of regions without attention, which also lose their colors
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
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # said before
        canvas.draw()  # type: ignore[no-untyped-call]  # once; savefig draws a second time
    pixels = np.asarray(canvas.buffer_rgba())[..., :3]  # type: ignore[no-untyped-call]
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def overlay(image: Image.Image, attention: np.ndarray, view: Sequence[float] = (0.0, 0.0, 1.0, 1.0)) -> Image.Image:
    """Return the image, unchanged where attention is highest and dim and gray where there is none.

    Args:
        attention: (rows, columns), non-negative.
        view: (left, top, right, bottom) of the region that the grid covers, as shares of the image. Outside is dim.
    """
    pixels = np.asarray(image.convert("RGB"), dtype=np.float32)
    left, top, right, bottom = (round(share * side) for share, side in zip(view, (*image.size, *image.size)))
    size = (max(1, right - left), max(1, bottom - top))
    grid = Image.fromarray((np.asarray(attention) / np.max(attention)).astype(np.float32))
    share = np.zeros((*pixels.shape[:2], 1), dtype=np.float32)
    lit = share[top : top + size[1], left : left + size[0], 0]
    lit[:] = np.clip(np.asarray(grid.resize(size, Image.Resampling.BILINEAR)), 0, 1)[: lit.shape[0], : lit.shape[1]]
    dim = DIM * pixels.mean(axis=2, keepdims=True)
    return Image.fromarray((share * pixels + (1 - share) * dim).astype(np.uint8))


@cache
def installed_fonts() -> dict[str, str]:
    """Return family -> file of the installed fonts: ours, then upright sans serif ones of normal weight, then others."""

    def order(entry: font_manager.FontEntry) -> tuple[object, ...]:
        name, is_normal = entry.name.casefold(), entry.weight in (400, "normal", "regular")
        return entry.name != FAMILY, entry.style != "normal", not is_normal, "sans" not in name, "mono" in name, entry.fname

    fonts: dict[str, str] = {}
    for entry in sorted(font_manager.fontManager.ttflist, key=order):
        if "lastresort" not in entry.name.replace(" ", "").casefold():  # which draws every character as a box
            fonts.setdefault(entry.name, entry.fname)
    return fonts


@cache
def families_of(characters: frozenset[str]) -> list[str]:
    """Return our font, and the first installed ones that together have the glyphs that it lacks; what none has is said."""
    # No glyph is needed for joiners, variation selectors and white space.
    missing = {c for c in characters if unicodedata.category(c)[0] not in "CZ" and not 0xFE00 <= ord(c) <= 0xFE0F}
    families = [FAMILY]
    for family, path in installed_fonts().items():
        if not missing:
            break
        codes: set[int] = set()
        with suppress(OSError, RuntimeError):
            codes = {*FT2Font(path).get_charmap()}
        if found := {c for c in missing if ord(c) in codes}:
            families += [family] * (family != FAMILY)
            missing -= found
    if missing:
        listed = "".join(sorted(missing))
        log.warning("No installed font has %s: figures show boxes. Install a font of the script, such as Noto Sans.", listed)
    return families


def use_fallbacks(figure: Figure) -> None:
    """Give the texts of a figure the installed fonts that they need beside their own."""
    for axes in figure.axes:  # the texts of tick labels are made when they are asked for
        axes.get_xticklabels()
        axes.get_yticklabels()
    texts = cast(list[Text], figure.findobj(Text))
    if len(families := families_of(frozenset("".join(text.get_text() for text in texts)))) > 1:
        for text in texts:
            text.set_fontfamily(families)
