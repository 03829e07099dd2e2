"""Texts in scripts that our font lacks are drawn with an installed font, where there is one."""

from __future__ import annotations

import warnings
from pathlib import Path

import matplotlib
import pytest
from matplotlib.figure import Figure

import zslab.report.fonts as fonts
from zslab.report.style import STYLE, to_png

FOLDER = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
STIX = fonts.Face("STIXGeneral", str(FOLDER / "STIXGeneral.ttf"))
MONO = fonts.Face("DejaVu Sans Mono", str(FOLDER / "DejaVuSansMono.ttf"))


@pytest.fixture(autouse=True)
def two_fonts(monkeypatch) -> None:
    """Pretend that STIX and a monospaced font are all that is installed."""
    monkeypatch.setattr(fonts, "installed_faces", lambda: [MONO, STIX])
    monkeypatch.setattr(fonts, "_faces", {})
    monkeypatch.setattr(fonts, "_missing", set())


def in_stix() -> str:
    """Return two characters that STIX has and DejaVu Sans lacks."""
    every = map(chr, range(0x2000, 0xFFFD))
    return "".join(sorted(STIX.covers(every) - fonts.own_face().covers(map(chr, range(0x2000, 0xFFFD))))[:2])


def test_our_font_comes_first_and_others_are_few() -> None:
    found = fonts.faces_of("aé" + in_stix())
    assert list(found.values()) == [fonts.own_face(), fonts.own_face(), STIX, STIX]


def test_what_no_font_has_is_said_once(caplog) -> None:
    assert fonts.faces_of("漢 \u200d") == dict.fromkeys("漢 \u200d", fonts.own_face())
    fonts.faces_of("字")
    assert [record.getMessage() for record in caplog.records] == [
        "No installed font has 漢, so figures show boxes. Install a font of that script, such as Noto Sans."
    ]


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
