"""Installed fonts for the scripts that our font lacks: Chinese, Japanese, Korean, Hindi, Thai and others."""

from __future__ import annotations

import logging
import unicodedata
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache

from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text

FAMILY = "DejaVu Sans"  # it comes with matplotlib

log = logging.getLogger(__name__)


@cache
def installed_fonts() -> dict[str, str]:
    """Return family -> file of the installed fonts: ours, then upright sans serif ones of normal weight, then others."""
    manager = font_manager.fontManager
    for path in {*font_manager.findSystemFonts()} - {entry.fname for entry in manager.ttflist}:
        with suppress(Exception):  # installed since matplotlib made its list; some are refused with errors of many kinds
            manager.addfont(path)

    def order(entry: font_manager.FontEntry) -> tuple[object, ...]:
        name, weight = entry.name.casefold(), entry.weight if isinstance(entry.weight, int) else 400
        return entry.name != FAMILY, entry.style != "normal", abs(weight - 400), "sans" not in name, "mono" in name, entry.fname

    fonts: dict[str, str] = {}
    for entry in sorted(manager.ttflist, key=order):
        if "lastresort" not in entry.name.replace(" ", "").casefold():  # which draws every character as a box
            fonts.setdefault(entry.name, entry.fname)
    return fonts


@cache
def codes_of(path: str) -> frozenset[int]:
    """Return the characters that a font file has glyphs for; none if it cannot be opened."""
    with suppress(OSError, RuntimeError):
        return frozenset(FT2Font(path).get_charmap())
    return frozenset()


@cache
def family_of(character: str) -> str:
    """Return the first font with a glyph for a character: ours also where none has it, which is said once."""
    # No glyph is needed for joiners, variation selectors and white space.
    is_drawn = unicodedata.category(character)[0] not in "CZ" and not 0xFE00 <= ord(character) <= 0xFE0F
    for family, path in installed_fonts().items() if is_drawn else ():
        if ord(character) in codes_of(path):
            return family
    if is_drawn:
        log.warning("No installed font has %s: figures show a box. Install a font of its script, such as Noto Sans.", character)
    return FAMILY


def use_fallbacks(figure: Figure) -> None:
    """Give each text of a figure the installed fonts that it needs beside its own."""
    for axes in figure.axes:  # the texts of tick labels are made when they are asked for
        axes.get_xticklabels()
        axes.get_yticklabels()
    for artist in figure.findobj(Text):
        assert isinstance(artist, Text)
        if others := dict.fromkeys(map(family_of, artist.get_text())).keys() - {FAMILY}:
            artist.set_fontfamily([*artist.get_fontfamily(), *sorted(others)])


@contextmanager
def without_font_warnings() -> Iterator[None]:
    """Hide what matplotlib says of each missing glyph and of fonts without a bold face."""
    logger = logging.getLogger("matplotlib.font_manager")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing from")
            yield
    finally:
        logger.setLevel(level)
