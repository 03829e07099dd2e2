"""Texts in scripts that our font lacks are drawn with an installed font, where there is one."""

from __future__ import annotations

import warnings
from pathlib import Path

import matplotlib
import pytest
from matplotlib.figure import Figure

import zslab.report.style as fonts
from zslab.report.style import STYLE, to_png

FOLDER = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
FILES = {"DejaVu Sans": "DejaVuSans.ttf", "DejaVu Sans Mono": "DejaVuSansMono.ttf", "STIXGeneral": "STIXGeneral.ttf"}


@pytest.fixture(autouse=True)
def three_fonts(monkeypatch) -> None:
    """Pretend that these are all that is installed."""
    fonts.family_of.cache_clear()
    monkeypatch.setattr(fonts, "installed_fonts", lambda: {family: str(FOLDER / file) for family, file in FILES.items()})
    yield
    fonts.family_of.cache_clear()


def in_stix() -> str:
    """Return two characters that only STIX has."""
    ours, mono, stix = (fonts.codes_of(str(FOLDER / file)) for file in FILES.values())
    return "".join(map(chr, sorted(code for code in stix - ours - mono if 0x2000 <= code < 0xE000)[:2]))


def test_our_font_comes_first_and_others_where_it_lacks_a_glyph() -> None:
    assert list(map(fonts.family_of, "aé" + in_stix())) == ["DejaVu Sans"] * 2 + ["STIXGeneral"] * 2


def test_what_no_font_has_is_said_once(caplog) -> None:
    assert {fonts.family_of(character) for character in "漢 \u200d漢"} == {"DejaVu Sans"}
    (record,) = caplog.records
    assert "漢" in record.getMessage()


def test_figures_use_installed_fonts() -> None:
    with matplotlib.rc_context(STYLE):
        figure = Figure(layout="constrained")
        axes = figure.add_subplot()
        axes.barh([0, 1], [1, 2], label="plain")
        axes.set_yticks([0, 1], ["plain", in_stix()])
        legend = axes.legend()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            to_png(figure)
    families = [label.get_fontfamily() for label in axes.get_yticklabels()]
    assert families == [["DejaVu Sans"], ["DejaVu Sans", "STIXGeneral"]]
    assert legend.get_texts()[0].get_fontfamily() == ["DejaVu Sans"]
