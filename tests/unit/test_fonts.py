"""Texts in scripts that our font lacks are drawn with an installed font, where there is one."""

import warnings
from pathlib import Path

import matplotlib
import pytest
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font

import zslab.report.style as fonts
from zslab.report.style import STYLE, to_png

FOLDER = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
FILES = {"DejaVu Sans": "DejaVuSans.ttf", "DejaVu Sans Mono": "DejaVuSansMono.ttf", "STIXGeneral": "STIXGeneral.ttf"}


@pytest.fixture(autouse=True)
def three_fonts(monkeypatch) -> None:
    """Pretend that these are all that is installed."""
    fonts.families_of.cache_clear()
    monkeypatch.setattr(fonts, "installed_fonts", lambda: {family: str(FOLDER / file) for family, file in FILES.items()})
    yield
    fonts.families_of.cache_clear()


def in_stix() -> str:
    """Return two characters that only STIX has."""
    ours, mono, stix = ({*FT2Font(str(FOLDER / file)).get_charmap()} for file in FILES.values())
    return "".join(map(chr, sorted(code for code in stix - ours - mono if 0x2000 <= code < 0xE000)[:2]))


def test_our_font_is_enough_where_it_has_all_glyphs_and_what_no_font_has_is_said_once(caplog) -> None:
    for _ in range(2):
        assert fonts.families_of(frozenset("a\u00e9\u6f22 \u200d")) == ["DejaVu Sans"]
    (record,) = caplog.records
    assert "\u6f22" in record.getMessage()


def test_figures_use_installed_fonts() -> None:
    with matplotlib.rc_context(STYLE):
        figure = Figure(layout="constrained")
        axes = figure.add_subplot()
        axes.barh([0, 1], [1, 2])
        axes.set_yticks([0, 1], ["plain", in_stix()])
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            to_png(figure)
    assert axes.get_yticklabels()[1].get_fontfamily() == ["DejaVu Sans", "STIXGeneral"]
