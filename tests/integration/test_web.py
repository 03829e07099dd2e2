"""The web page: its HTML from hand-made predictions, and the page itself in a real headless Chromium."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from zslab.app.model_file import write_model
from zslab.app.prediction import AttributeReason, ClassScore, Prediction
from zslab.app.predictor import Predictor
from zslab.app.web import html as parts
from zslab.app.web import session
from zslab.errors import InputError
from zslab.utils.names import readable_names

from helpers.project import PROJECT
from helpers.web import NAMES, free_port, tiny_model, write_bird

EVIL = "<img src=x onerror=alert(1)> & 'q' ${1+1} {{x}}"


# ---- HTML ------------------------------------------------------------------------------------------------------------


class Tags(HTMLParser):
    """Tags with attributes, and the text, of an HTML fragment; checks that everything opened is closed."""

    def __init__(self, html: str):
        super().__init__()
        self.tags, self.words, self.open = [], [], []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("img", "path", "rect"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def prediction(name: str = "Black crested Oriole", **changes) -> Prediction:
    fields = {
        "classes": [ClassScore(name, 0.62504, False), ClassScore("Owl", 0.25, True), ClassScore("Wren", 0.0002, True)],
        "attributes": [AttributeReason("has_wing_color::red", 0.5, 2.0, 80.0), AttributeReason("bill", -0.125, 0.5, 20.0)],
        "attention": {"has_wing_color::red": np.eye(3, dtype=np.float32) / 3},
    }
    return Prediction("x.png", **fields | changes)


def test_result_has_every_number_as_text_and_as_bar() -> None:
    card = parts.result_card(parts.Result("x.png", Image.new("RGB", (40, 30)), prediction()), 100.0)
    found = Tags(card)
    assert "62.5\u202f%" in card and "25.0\u202f%" in card and "&lt;\u202f0.1\u202f%" in card
    assert "Black crested Oriole" in found.text and "wing color: red" in found.text
    widths = re.findall(r"class='(zslab-fill-[a-z]+)' style='width:([0-9.]+)%'", card)
    assert widths == [
        ("zslab-fill-unseen", "62.5"),
        ("zslab-fill-seen", "25.0"),
        ("zslab-fill-seen", "0.0"),
        # contribution and reading against the largest of the table, the class's value against that of the model
        ("zslab-fill-why", "100.0"),
        ("zslab-fill-read", "100.0"),
        ("zslab-fill-value", "80.0"),
        ("zslab-fill-why", "0.0"),
        ("zslab-fill-read", "25.0"),
        ("zslab-fill-value", "20.0"),
    ]
    assert "+0.50" in card and "\u22120.12" in card and "2.0" in found.words and "0.5" in found.words
    # seen or unseen are words, once beside the best class and once beside every class of the list
    assert found.words.count(" unseen") == 2 and found.words.count(" seen") == 2
    assert all(attrs.get("alt") for tag, attrs in found.tags if tag == "img")
    assert "http" not in card


def test_signed_numbers_keep_two_digits_of_the_largest() -> None:
    assert [parts.signed(value, 0.085) for value in (0.085, -0.0049, 0)] == ["+0.085", "\u22120.005", "+0.000"]
    assert [parts.signed(value, 6.3) for value in (6.3, 0.16)] == ["+6.3", "+0.2"]
    assert parts.signed(1234.5, 1234.5) == "+1234" and parts.signed(0, 0) == "+0.0"


def test_whatever_comes_from_outside_is_escaped() -> None:
    model = tiny_model()
    evil = prediction(EVIL, attributes=[AttributeReason(EVIL, 1, 1, 1)], attention={EVIL: np.ones((2, 2))})
    photo = Image.new("RGB", (8, 8))
    error = InputError(EVIL, where=EVIL, found=EVIL, expected=EVIL, fix=EVIL)
    several = [parts.Result(EVIL, photo, evil), parts.Unreadable(EVIL, error)]
    for html in (
        parts.results_page(several[:1], 1.0),
        parts.results_page(several, 1.0, left_out=3),
        parts.problem(EVIL, error),
        parts.problem(EVIL, error, place=True),
        parts.message("done", EVIL, EVIL),
        parts.page_header(model, [f"added {EVIL}"]),
        parts.example_buttons([(EVIL, photo)]),
    ):
        found = Tags(html)
        assert all(
            attrs.keys()
            <= {
                "class",
                "role",
                "aria-hidden",
                "aria-label",
                "style",
                "src",
                "alt",
                "scope",
                "type",
                "data-index",
                "title",
                "open",
            }
            for _, attrs in found.tags
        ), html
        assert all(attrs["src"].startswith("data:image/jpeg;base64,") for tag, attrs in found.tags if tag == "img")
        assert EVIL in found.text or any(EVIL in (value or "") for _, attrs in found.tags for value in attrs.values())


def test_several_images_fold_and_the_first_is_open() -> None:
    photo = Image.new("RGB", (8, 8))
    error = InputError("not an image", where="/secret/upload.jpg", found="text", expected="an image", fix="Leave it out.")
    readable = parts.Result("a.png", photo, prediction())
    results = [parts.Unreadable("b.jpg", error), readable, readable]
    found = Tags(parts.results_page(results, 100.0, left_out=2))
    assert [("open" in attrs) for tag, attrs in found.tags if tag == "details"] == [True, False]
    assert "2 more images were left out" in found.text and "b.jpg could not be read" in found.text
    assert "Not an image (got text, expected an image). Leave it out." in found.text and "secret" not in found.text


def test_what_lies_outside_the_view_is_told_of() -> None:
    whole, part = (
        parts.attention_tiles(Image.new("RGB", (8, 8)), prediction(view=view))
        for view in ((0.0, 0.0, 1.0, 1.0), (0.1, 0.0, 0.9, 1.0))
    )
    assert "middle" not in whole and "middle" in part
    assert parts.percent(0) == "0.0\u202f%" and parts.percent(1) == "100.0\u202f%"


def test_header_counts_classes_and_names_changes() -> None:
    text = Tags(parts.page_header(tiny_model(), [f"added {i}" for i in range(7)])).text
    assert "4 classes: 2 seen, 2 unseen · 48 attributes" in text
    assert "added 6" in text and "added 1;" not in text and "added 2;" in text


# ---- what the page does, without a browser ------------------------------------------------------------------------------


@pytest.fixture
def page(web, tmp_path):
    return web.Page(Predictor(tiny_model(), device="cpu"), tmp_path)


def test_a_session_learns_in_a_copy(web, page) -> None:
    served = page.served
    assert page.attribute_labels[:2] == ["crown color: red", "crown color: yellow"] and len(page.attribute_labels) == 48
    values = page.values(NAMES[0], served)
    values[3] = "77.5"
    before = served.predictor.table.copy()
    learned = page.learn(served, lambda copy: page.add(copy, "  New \n bird ", values))
    assert learned.predictor.classes_ == [*NAMES, "New bird"] and learned.changes == ("added New bird",)
    expected = np.array([float(f"{value:.6g}") for value in before[0]])
    expected[3] = 77.5
    np.testing.assert_array_equal(learned.predictor.table[4], expected)
    assert not learned.predictor.seen_[4]
    values = page.values(NAMES[1], learned)
    values[3] = "11"
    changed = page.learn(learned, lambda copy: page.change(copy, NAMES[1], values))
    assert changed.predictor.table[1, 3] == 11 and learned.predictor.table[1, 3] == before[1, 3]
    np.testing.assert_array_equal(np.delete(changed.predictor.table[1], 3), np.delete(before[1], 3))  # nothing is rounded
    assert changed.changes == ("added New bird", "changed Black crested Oriole")
    assert served.predictor.classes_ == NAMES and (served.predictor.table == before).all()
    assert [name for _, name in learned.choices()][:3] != NAMES[:3]
    assert {label for label, name in learned.choices() if name == "New bird"} == {"New bird (unseen)"}
    kept = Predictor.load(page.table_file(learned) and page.model_file(learned), device="cpu")
    assert kept.classes_ == learned.predictor.classes_
    token = page.keep("", learned)
    assert page.session(token) is learned and page.session("another") is served and page.session(None) is served
    page.forget(token)
    assert not learned.folder.exists() and page.session(token) is served


@pytest.mark.parametrize(
    "name, value, what",
    [
        ("", "1", "nothing"),
        ("x" * 101, "1", "printable"),
        ("black crested creeper", "1", "exists already"),
        ("A", "", "cell is empty"),
        ("A", None, "'None'"),
        ("A", "much", "'much'"),
        ("A", "nan", "finite"),
    ],
)
def test_classes_that_cannot_be_added(page, name: str, value, what: str) -> None:
    served = page.served
    values = page.values(NAMES[0], served)
    values[5] = value
    with pytest.raises(InputError, match=what):
        page.learn(served, lambda copy: page.add(copy, name, values))
    assert served.predictor.classes_ == NAMES


def test_values_that_change_nothing_are_refused_and_others_taken_as_tables_write_them(page) -> None:
    def change(session, values):
        return page.learn(session, lambda copy: page.change(copy, NAMES[0], values))

    served, values = page.served, page.values(NAMES[0], page.served)
    with pytest.raises(InputError, match="nothing to change"):
        change(served, values)
    for short in ([], values[:-1]):
        with pytest.raises(InputError, match=f"{len(short)} values"):
            change(served, short)
    for text, number, same in (("0,5", 0.5, "0.50"), ("\u22127", -7, "-7.0"), ("yes", 1, "1e0"), ("1e1", 10, "10.")):
        changed = change(served, [text, *values[1:]])
        assert changed.predictor.table[0, 0] == number, text
        with pytest.raises(InputError, match="nothing to change"):
            change(changed, [same, *values[1:]])


def test_a_table_adds_and_changes(page, tmp_path: Path) -> None:
    table = Path(page.table_file(page.served)).read_text().splitlines()
    cells = table[1].split(",")
    cells[2] = "42"
    path = tmp_path / "birds.csv"
    path.write_text("\n".join([table[0], ",".join(cells), ",".join(["Dodo", *cells[1:]])]))
    learned = page.learn(page.served, lambda copy: page.take_table(copy, str(path)))
    assert learned.predictor.table[0, 1] == 42 and learned.predictor.table[4, 1] == 42
    assert learned.predictor.classes_[4] == "Dodo"
    assert learned.changes == ("changed Black crested Creeper from birds.csv", "added Dodo from birds.csv")
    path.write_text("class,wrong\nDodo,1\n")
    with pytest.raises(InputError, match="birds.csv: the attributes are not the model.s"):
        page.learn(page.served, lambda copy: page.take_table(copy, str(path)))


def test_unreadable_images_and_bombs_become_messages(page, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(session, "MAX_PIXELS", 1000)
    monkeypatch.setattr(session, "MAX_IMAGES", 3)
    Image.new("RGB", (30, 30), "red").save(tmp_path / "good.png")
    Image.new("RGB", (40, 40)).save(tmp_path / "bomb.png")
    (tmp_path / "text.jpg").write_text("hello")
    sources = [(name, str(tmp_path / name)) for name in ("good.png", "bomb.png", "text.jpg", "good.png", "good.png")]
    found = Tags(page.predict(sources, session.ALL, 0, page.served))
    assert "(got 40 x 40 pixels, expected at most 1,000 pixels" in found.text
    assert "text.jpg could not be read" in found.text and "2 more images were left out" in found.text
    assert str(tmp_path) not in found.text
    only = Tags(page.predict(sources[:1], session.UNSEEN, 0, page.served))
    assert only.words.count(" seen") == 0 and only.words.count(" unseen") == 3  # two classes, and the best one's title
    assert "No image yet" in page.predict([], session.ALL, 0, page.served)


def test_examples_are_toy_birds_or_a_folder(web, page, tmp_path: Path) -> None:
    birds = web._examples(page.served.predictor, None, tmp_path)
    assert len(birds) == 8 and all(Image.open(path).size == (336, 336) for path in birds)
    Image.new("RGB", (5, 5)).save(tmp_path / "mine.png")
    assert tmp_path / "mine.png" in web._examples(page.served.predictor, tmp_path, tmp_path)
    page.served.predictor.model.attribute_names[0] = "other"
    assert web._examples(page.served.predictor, None, tmp_path) == []


# ---- in the browser -----------------------------------------------------------------------------------------------------


def test_the_page_in_a_browser(web, browser, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(web.tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    reached = []
    connect = socket.socket.connect
    monkeypatch.setattr(socket.socket, "connect", lambda self, place: (reached.append(place), connect(self, place))[1])
    bird = write_bird(tmp_path / "bird <b>.png")
    (tmp_path / "notes.jpg").write_text("these are notes")
    predictor = Predictor(tiny_model(), device="cpu")
    # Of a copy of the best seen class the unseen margin makes the best of all: 2 * 1.0 above its original.
    best = max((score for score in next(predictor.predict(bird)).classes if score.seen), key=lambda score: score.probability)
    asked = []
    with web.serving(predictor, port=free_port()) as url:
        tab = browser.new_context(viewport={"width": 390, "height": 800}).new_page()
        tab.set_default_timeout(20_000)
        tab.on("request", lambda request: asked.append(request.url))
        tab.goto(url)
        tab.wait_for_selector(".zslab-empty")

        tab.locator("#zslab-files input[type=file]").set_input_files(bird)
        tab.wait_for_selector(".zslab-card")
        assert tab.locator(".zslab-classes li").count() == len(NAMES)
        assert tab.locator(".zslab-image figcaption").inner_text().startswith("bird")
        assert tab.locator(".zslab-reasons tbody tr").count() == 8 and tab.locator(".zslab-maps li").count() == 8
        tab.get_by_label("Unseen classes only").check()
        tab.wait_for_function("document.querySelectorAll('.zslab-classes li').length == 2")
        tab.get_by_label("All classes").check()
        tab.wait_for_function("document.querySelectorAll('.zslab-classes li').length == 4")
        assert tab.evaluate("document.documentElement.scrollWidth") == 390

        tab.get_by_role("button", name="Add or change classes").click()
        tab.locator("#zslab-add").click()
        tab.wait_for_selector("#zslab-status .zslab-error")
        assert "has no name" in tab.locator("#zslab-status").inner_text()
        tab.get_by_label("Name of the new class").fill(EVIL)
        tab.get_by_label("Start from a copy of").click()
        tab.get_by_role("option", name=readable_names(NAMES)[best.name]).click()
        value = f"{predictor.table[predictor.classes_.index(best.name), 0]:.6g}"
        tab.wait_for_function(f"document.querySelector('#zslab-new-values .zslab-value').value === '{value}'")
        tab.locator("#zslab-add").click()
        tab.wait_for_selector("#zslab-status .zslab-done")
        assert EVIL in tab.locator("#zslab-status").inner_text()
        assert "5 classes: 2 seen, 3 unseen" in tab.locator(".zslab-facts").inner_text()
        assert EVIL in tab.locator(".zslab-answer h2").inner_text() and "unseen" in tab.locator(".zslab-answer h2").inner_text()

        tab.locator("#zslab-save").click()
        tab.locator("#zslab-saved").wait_for()
        with tab.expect_download() as download:
            tab.locator("#zslab-saved").click()
        assert Predictor.load(download.value.path(), device="cpu").classes_ == [*NAMES, EVIL]
        tab.locator("#zslab-undo").click()
        tab.wait_for_function("document.querySelector('.zslab-facts').innerText.includes('4 classes')")

        tab.get_by_role("button", name="Example").first.click()
        tab.wait_for_function("!document.querySelector('.zslab-image figcaption').innerText.includes('bird')")
        tab.locator("#zslab-files input[type=file]").set_input_files(tmp_path / "notes.jpg")
        tab.wait_for_selector("#zslab-results .zslab-error")
        shown = tab.locator("#zslab-results").inner_text()
        assert "notes.jpg could not be read" in shown and "got text" in shown and str(tmp_path) not in shown
        assert any((tmp_path / "temporary").rglob("notes.jpg"))
        tab.context.close()
        assert not {place[0] for place in reached if isinstance(place, tuple)} - {"127.0.0.1", "::1", "localhost"}
    assert all(address.startswith((url, "data:", "blob:")) for address in asked), asked
    assert list((tmp_path / "temporary").iterdir()) == []
    assert predictor.classes_ == NAMES


def test_a_taken_port_is_named(web, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        predictor = Predictor(tiny_model(), device="cpu")
        with pytest.raises(InputError, match=f"127.0.0.1:{port}"), web.serving(predictor, port=port):
            pass
        with pytest.raises(InputError, match="65535"), web.serving(predictor, port=70000):
            pass


def test_without_gradio_it_says_what_to_install() -> None:
    code = "import sys; sys.modules['gradio'] = None; import zslab.app.web.server"
    ended = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(PROJECT)}, capture_output=True, text=True
    )
    assert "InputError: the web page: the page needs Gradio" in ended.stderr and "pip install" in ended.stderr


def test_terminated_it_leaves_nothing_behind(web, tmp_path: Path) -> None:
    write_model(tmp_path / "birds.zsl", tiny_model())
    (tmp_path / "temporary").mkdir()
    code = f"from zslab.app.web.server import launch; launch({str(tmp_path / 'birds.zsl')!r}, port={free_port()})"
    environment = os.environ | {"TMPDIR": str(tmp_path / "temporary"), "PYTHONPATH": str(PROJECT)}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment) as server:
        assert "http://127.0.0.1" in server.stdout.readline()
        assert any((tmp_path / "temporary").glob("zslab-web-*"))
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0
    assert not any((tmp_path / "temporary").glob("zslab-web-*"))
