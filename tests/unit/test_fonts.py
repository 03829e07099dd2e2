"""Texts in scripts that our font lacks are drawn with an installed font, where there is one."""

from __future__ import annotations

import warnings
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

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


def test_a_text_of_two_fonts_is_drawn_from_left_to_right() -> None:
    typeface, text = fonts.Typeface(20), f"ab{in_stix()}"

    def drawn(text: str) -> np.ndarray:
        image = Image.new("L", (200, 40))
        typeface.draw(ImageDraw.Draw(image), (3, 4), text, "white")
        return np.asarray(image)

    assert typeface.length(text) == typeface.length("ab") + typeface.length(in_stix())
    end = 3 + round(typeface.length("ab"))
    assert np.array_equal(drawn(text)[:, : end - 1], drawn("ab")[:, : end - 1])
    assert drawn(text)[:, end + 1 :].any() and not drawn("ab")[:, end + 1 :].any()
    plain = Image.new("L", (200, 40))
    ImageDraw.Draw(plain).text((3, 4), "ab", "white", fonts._pillow_font(fonts.own_face(), 20))
    assert np.array_equal(drawn("ab"), np.asarray(plain))


def test_marks_stay_with_the_letter_before_them() -> None:
    letter = in_stix()[0]
    assert STIX.covers("\u0301")
    parts = [part for _, part in fonts.Typeface(14)._parts(f"a{letter}\u0301\u200db")]
    assert parts == ["a", f"{letter}\u0301\u200d", "b"]
