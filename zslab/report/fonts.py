"""Installed fonts for the scripts that our font lacks: Chinese, Japanese, Korean, Hindi, Thai and others."""

from __future__ import annotations

import logging
import unicodedata
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache

from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text

FAMILY = "DejaVu Sans"  # it comes with matplotlib

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Face:
    """A face of an installed font: its name for matplotlib, its file, and its number in the file."""

    family: str
    path: str
    index: int = 0

    def covers(self, characters: Iterable[str]) -> set[str]:
        """Return those characters that the font has glyphs for; none if its file cannot be opened."""
        try:
            font = FT2Font(self.path, face_index=self.index) if self.index else FT2Font(self.path)
        except (OSError, RuntimeError, TypeError):
            return set()
        return {character for character in characters if font.get_char_index(ord(character))}


@lru_cache(maxsize=1)
def own_face() -> Face:
    """Return the font of all figures."""
    return Face(FAMILY, str(font_manager.findfont(font_manager.FontProperties(family=FAMILY))))


@lru_cache(maxsize=1)
def installed_faces() -> list[Face]:
    """Return the other installed fonts, upright sans serif ones of normal weight first."""
    manager = font_manager.fontManager
    listed = {entry.fname for entry in manager.ttflist}
    for path in font_manager.findSystemFonts():
        if path not in listed:  # installed since matplotlib made its list
            with suppress(Exception):  # some files are refused with errors of many kinds
                manager.addfont(path)

    def order(entry: font_manager.FontEntry) -> tuple[object, ...]:
        name = entry.name.casefold()
        weight = entry.weight if isinstance(entry.weight, int) else 400
        return entry.style != "normal", abs(weight - 400), "sans" not in name, "mono" in name, name, entry.fname

    faces = [Face(entry.name, entry.fname, getattr(entry, "index", 0)) for entry in sorted(manager.ttflist, key=order)]
    return [face for face in faces if face.family != FAMILY and "lastresort" not in face.family.replace(" ", "").casefold()]


_faces: dict[str, Face] = {}  # of the characters that were asked for
_missing: set[str] = set()


def faces_of(text: str) -> dict[str, Face]:
    """Return for each character of a text the font that draws it: our own if it can, or if no installed font can.

    That characters cannot be drawn is said once.
    """
    new = set(text) - _faces.keys()
    _faces.update(dict.fromkeys(new, own_face()))
    new = {character for character in new - own_face().covers(new) if _is_drawn(character)}
    for face in installed_faces() if new else ():
        found = face.covers(new)
        _faces.update(dict.fromkeys(found, face))
        new -= found
        if not new:
            break
    if new and not _missing:
        shown = "".join(sorted(new)[:20])
        log.warning("No installed font has %s, so figures show boxes. Install a font of that script, such as Noto Sans.", shown)
    _missing.update(new)
    return {character: _faces[character] for character in text}


def _is_drawn(character: str) -> bool:
    """Return whether a character has a shape of its own: no joiner, variation selector or white space."""
    return unicodedata.category(character)[0] not in "CZ" and not 0xFE00 <= ord(character) <= 0xFE0F


def use_fallbacks(figure: Figure) -> None:
    """Give each text of a figure the installed fonts that it needs beside its own."""
    for axes in figure.axes:  # the texts of tick labels are made when they are asked for
        axes.get_xticklabels()
        axes.get_yticklabels()
    for artist in figure.findobj(Text):
        assert isinstance(artist, Text)
        faces = dict.fromkeys(faces_of(artist.get_text()).values())
        if others := [face.family for face in faces if face != own_face()]:
            artist.set_fontfamily([*artist.get_fontfamily(), *others])


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
