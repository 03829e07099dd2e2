"""The web page: what its handlers do, its server, and a walk through it in a headless Chromium."""

import json
import runpy
import signal
import socket
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from zslab.app.prediction import ClassScore, Prediction
from zslab.app.predictor import Predictor
from zslab.errors import InputError
from zslab.features.sources import VIDEOS
from zslab.report.attention import attribute_name
from zslab.toy.species import ATTRIBUTES
from zslab.utils.names import readable_names

from helpers.tiny_models import tiny_model as text_model
from helpers.web import NAMES, free_port, tiny_model, write_bird

LABELS = readable_names(NAMES)
CREEPER, ORIOLE = NAMES[:2]
EVIL = "<img src=x onerror=alert(1)> & *q* ${1+1}"


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor(tiny_model(), device="cpu")


@pytest.fixture
def visit(web, predictor: Predictor):
    yield (served := web.Visit(predictor))
    assert served.predictor.classes_ == NAMES and (served.predictor.table == tiny_model().table).all()


@pytest.mark.parametrize(
    "stored, expected", [(0, (3, 0.01, 0)), (0.1234, (0.37, 0.001, 0.123)), (25, (75, 0.1, 25)), (-0.5, (1.5, 0.01, -0.5))]
)
def test_the_calibration_starts_at_the_stored_value(web, stored: float, expected: tuple[float, ...]) -> None:
    minimum, *others = web.slider(stored).values()
    assert (-minimum, *others) == pytest.approx((expected[0], *expected), abs=1e-9)


def test_a_visit_learns_in_a_copy(web, visit, tmp_path: Path) -> None:
    form = web.shown_row(visit, CREEPER)
    form[3][1], form[0][1] = 77.5, ""
    added = web.add(visit, "  New \n bird ", "", CREEPER, form[::-1])
    expected = visit.predictor.table[0].copy()
    expected[3] = 77.5
    assert added.predictor.classes_ == [*NAMES, "New bird"] and not added.predictor.seen_[4]
    np.testing.assert_array_equal(added.predictor.table[4], expected)
    assert added.choices()[0] == ("New bird (unseen, yours)", "New bird")
    changed = web.change(added, ORIOLE, [[form[3][0], 11.0]])
    expected = added.predictor.table[1].copy()
    expected[3] = 11
    np.testing.assert_array_equal(changed.predictor.table[1], expected)
    assert changed.changes == ("added New bird", "changed Black crested Oriole")
    zeros = web.add(changed, "Zeros", "", web.NONE, [[form[1][0], "5"]])
    assert zeros.predictor.table[-1, 1] == 5 and np.count_nonzero(zeros.predictor.table[-1]) == 1
    table, model = web.files(zeros, tmp_path)
    assert Path(table).read_text().splitlines()[-1].startswith("Zeros,0,5,0") and model.endswith("6_classes.zsl")
    loaded = Predictor.load(model, device="cpu")
    assert loaded.classes_ == zeros.predictor.classes_ and (loaded.table == zeros.predictor.table).all()
    removed = web.remove(web.remove(zeros, "New bird"), ORIOLE)
    assert removed.predictor.classes_ == [NAMES[0], *NAMES[2:], "Zeros"]
    assert "In this visit:** added New bird; " in web.header(removed)


@pytest.mark.parametrize(
    "act, inputs, place",
    [
        ("add", ("", "", CREEPER, []), "name"),
        ("add", ("black crested creeper", "", CREEPER, []), "Creeper"),
        ("add", ("New", "", CREEPER, [[attribute_name(ATTRIBUTES[0]), "much"]]), "much"),
        ("change", ("no class", [[attribute_name(ATTRIBUTES[5]), 1.0]]), "no class"),
        ("remove", (CREEPER,), CREEPER),
    ],
)
def test_a_change_that_cannot_be_made_is_refused(web, visit, act: str, inputs: tuple, place: str) -> None:
    with pytest.raises(InputError, match=place):
        getattr(web, act)(visit, *inputs)


@pytest.mark.parametrize("kind", ["csv", "tsv", "xlsx"])
def test_a_table_adds_and_changes(web, visit, tmp_path: Path, kind: str) -> None:
    rows = [
        ["class", *ATTRIBUTES],
        ["Black crested creeper", *visit.predictor.table[0]],
        ["Dodo", *visit.predictor.table[1]],
        [ORIOLE, *visit.predictor.table[1]],
    ]
    rows[1][2] = rows[2][2] = 42
    path = tmp_path / f"birds.{kind}"
    if kind == "xlsx":
        workbook = pytest.importorskip("openpyxl").Workbook()
        for row in rows:
            workbook.active.append(row)
        workbook.save(path)
    else:
        path.write_text("\n".join({"csv": ",", "tsv": "\t"}[kind].join(map(str, row)) for row in rows))
    learned = web.take_table(visit, str(path))
    assert learned.predictor.classes_ == [*NAMES, "Dodo"] and learned.own == ("Dodo",)
    assert (learned.predictor.table[0, 1], learned.predictor.table[-1, 1]) == (42, 42)
    np.testing.assert_allclose(learned.predictor.table[-1, 2:], visit.predictor.table[1, 2:], rtol=1e-12)
    assert learned.changes == (f"changed 2 and added 1 classes from birds.{kind}",)


@pytest.mark.parametrize(
    "names, attributes", [(["Dodo"], ["wrong"]), ([CREEPER, "black crested creeper"], ATTRIBUTES), ([], [])]
)
def test_a_table_of_another_model_or_with_a_class_twice_is_refused(web, visit, tmp_path: Path, names, attributes) -> None:
    rows = [["class", *attributes], *([name, *("1" for _ in attributes)] for name in names)]
    (tmp_path / "birds.csv").write_text("\n".join(map(",".join, rows)))
    with pytest.raises(InputError, match="birds.csv"):
        web.take_table(visit, str(tmp_path / "birds.csv"))


def test_images_are_predicted_or_refused_one_by_one(web, visit, tmp_path: Path) -> None:
    bird, notes, large = write_bird(tmp_path / "bird.png"), tmp_path / "notes.jpg", tmp_path / "large.png"
    notes.write_text("these are notes")
    with open(large, "wb") as stream:
        stream.truncate(web.MAX_UPLOAD + 1)
    for unseen_only, calibration in ((False, 0.0), (False, 0.5), (True, 0.0)):
        image, shown = web.answer(visit, str(bird), unseen_only, calibration)
        (expected,) = visit.predictor.predict(bird, unseen_only=unseen_only, calibration=calibration)
        assert (shown.image, shown.classes, shown.attributes) == ("bird.png", expected.classes, expected.attributes)
        assert image.size == (224, 224) and shown.attention.keys() == expected.attention.keys()
    for path, part in ((notes, "notes.jpg"), (large, "30 MB")):
        image, refused = web.answer(visit, str(path), False, 0.0)
        assert image is None and part in refused.error and str(tmp_path) not in refused.error


def test_of_an_image_unlike_the_training_images_the_page_is_not_sure(web, visit) -> None:
    for familiar, expected in ((True, False), (False, True)):
        prediction = Prediction("a.png", [ClassScore(CREEPER, 0.9, True), ClassScore(ORIOLE, 0.1, False)], familiar=familiar)
        with web.gr.Blocks() as page:
            web.show(visit, Image.new("RGB", (9, 9)), prediction, True)
        shown = json.dumps(page.get_config_file(), default=str)
        assert ("(not sure)" in shown) is ("not like the training images" in shown) is expected


def test_a_model_of_text_learns_a_class_by_a_sentence(web, tmp_path: Path) -> None:
    model = text_model("prototype regression")
    predictor = Predictor(model, device="cpu")
    asked = []
    predictor._encode = lambda texts: (asked.extend(texts), np.full((1, len(model.attribute_names)), 0.4))[1]
    predictor._backbone = object()  # it makes no features here
    visit = web.Visit(predictor)
    learned = web.add(visit, "wren", "a small brown bird", web.NONE, [])
    assert learned.predictor.classes_[-1] == "wren" and "a small brown bird" in asked[0]
    np.testing.assert_allclose(learned.predictor.table[-1], 0.4)


def test_of_21000_classes_a_list_offers_those_that_were_typed_and_the_page_stays_small(web, tmp_path: Path) -> None:
    names = [f"Species_{k:05d}" for k in range(21_000)]
    predictor = Predictor(tiny_model(names, np.arange(21_000) % 2 == 0), device="cpu")
    visit = web.Visit(predictor)
    assert len(visit.choices()) == 50 and visit.choices("nothing") == []
    five = [(f"Species 2099{k} (unseen)", f"Species_2099{k}") for k in (1, 3, 5, 7, 9)]
    assert visit.choices("species  2099")[:6] == [*five, ("Species 20990 (seen)", "Species_20990")]
    assert visit.choices("20991", chosen="Species_20999") == [five[4], five[0]]
    assert len(json.dumps(web.build(predictor, tmp_path).get_config_file(), default=str)) < 300_000


def test_a_taken_port_or_a_model_of_videos_is_named(web, predictor: Predictor, monkeypatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        for port in (taken.getsockname()[1], 70_000):
            with pytest.raises(InputError, match=f"127.0.0.1:{port}"), web.serving(predictor, port=port):
                pass
    monkeypatch.setattr(Predictor, "modality", VIDEOS)
    with pytest.raises(InputError, match="videos"), web.serving(predictor, port=free_port()):
        pass


def test_without_gradio_it_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(InputError, match="the web page: .*pip install"):
        runpy.run_module("zslab.app.web")


def test_terminated_it_leaves_nothing_behind(web, predictor: Predictor, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(web.tempfile, "tempdir", str(tmp_path))
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "socks5://127.0.0.1:9")  # changes nothing
    monkeypatch.setenv("no_proxy", "")
    served = []

    def stop() -> None:
        served.extend(tmp_path.glob("zslab-web-*"))
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(web, "threading", SimpleNamespace(Event=lambda: SimpleNamespace(wait=stop)))
    earlier = signal.getsignal(signal.SIGTERM)
    try:
        web.launch(predictor, host="127.0.0.1", port=free_port())
    finally:
        signal.signal(signal.SIGTERM, earlier)
    assert "http://127.0.0.1" in capsys.readouterr().out and served and list(tmp_path.iterdir()) == []


def wait_for_scores(tab, visit, bird: Path, **options: object) -> None:
    """Wait until the page lists the classes that the model says, in whole percent."""
    (prediction,) = visit.predictor.predict(bird, **options)
    expected = [[visit.marked[score.name], round(100 * score.probability)] for score in prediction.classes]
    shown = "[...document.querySelectorAll('dl')].map((each) => [each.children[0].innerText.trim(), "
    shown += "parseInt(each.querySelector('dd').innerText)])"
    tab.wait_for_function(f"(expected) => JSON.stringify({shown}) === JSON.stringify(expected)", arg=expected)


def press(tab, role: str, name: str, *keys: str) -> None:
    """Press Tab until an element has the focus, then keys."""
    wanted, focused = tab.get_by_role(role, name=name).first, "element => element === document.activeElement"
    wanted.wait_for()
    for _ in range(60):
        if wanted.evaluate(focused):
            break
        tab.keyboard.press("Tab")
    assert wanted.evaluate(focused), f"{role} {name!r} cannot be reached by Tab"
    for key in keys:
        tab.keyboard.press(key)


def test_the_page_in_a_browser(web, browser, predictor: Predictor, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(web.tempfile, "tempdir", str(tmp_path / "temporary"))
    bird, notes, asked = write_bird(tmp_path / "bird <b>.png"), tmp_path / "notes.jpg", []
    notes.write_text("these are notes")
    served = web.Visit(predictor)
    # Of a copy of the best seen class the unseen margin makes the best of all.
    best = max((score for score in next(predictor.predict(bird)).classes if score.seen), key=lambda score: score.probability)
    (tmp_path / "mine").mkdir()
    Image.new("RGB", (50, 50), "red").save(tmp_path / "mine" / "photo.jpg")
    with web.serving(predictor, port=free_port(), examples=tmp_path / "mine") as url:
        tab = browser.new_context(viewport={"width": 390, "height": 900}).new_page()
        tab.set_default_timeout(300_000)
        tab.on("request", lambda request: asked.append(request.url))
        tab.goto(url)
        tab.get_by_text("No image yet").wait_for()
        tab.locator("input[type=file]").first.set_input_files([bird, notes])
        tab.get_by_text("notes.jpg").last.wait_for()
        wait_for_scores(tab, served, bird)
        press(tab, "radio", "Unseen classes only", "Space")
        wait_for_scores(tab, served, bird, unseen_only=True)
        press(tab, "radio", "All classes", "Space")
        press(tab, "spinbutton", "number input for Calibration", "Control+A", "1", ".", "5", "Enter")
        wait_for_scores(tab, served, bird, calibration=1.5)
        assert tab.evaluate("document.documentElement.scrollWidth") == 390

        press(tab, "button", "Add or change classes", "Enter")
        press(tab, "textbox", "Name of a new class")
        tab.keyboard.type(EVIL)
        press(tab, "combobox", "Class to copy, change or remove", "Control+A")
        tab.keyboard.type(LABELS[best.name])
        tab.get_by_role("option").filter(has_text=LABELS[best.name]).wait_for()
        press(tab, "combobox", "Class to copy, change or remove", "Enter")
        tab.get_by_role("gridcell", name=str(web.shown_row(served, best.name)[0][1])).first.wait_for()
        press(tab, "gridcell", "crown color: red", "ArrowRight", "Enter")
        tab.get_by_label("Edit cell").wait_for()
        for key in ("Control+A", "7", "7", "Enter"):
            tab.keyboard.press(key)
        press(tab, "button", "Add the class", "Enter")
        tab.get_by_text("5 classes: 2 seen, 3 unseen").wait_for()
        learned = web.add(served, EVIL, "", best.name, [[attribute_name(ATTRIBUTES[0]), 77.0]])
        wait_for_scores(tab, learned, bird, calibration=1.5)
        assert tab.get_by_text(EVIL).count() and tab.evaluate("document.documentElement.scrollWidth") == 390

        press(tab, "button", "Prepare table and model for download", "Enter")
        with tab.expect_download() as model:
            press(tab, "button", "Download the model", "Enter")
        loaded = Predictor.load(model.value.path(), device="cpu")
        assert loaded.classes_ == [*NAMES, EVIL] and (loaded.table == learned.predictor.table).all()
        with tab.expect_download() as table:
            press(tab, "button", "Download the table", "Enter")
        table.value.save_as(tmp_path / "birds.csv")
        upload = tab.locator(".block").filter(has_text="Or a table of classes").last.locator("input[type=file]")
        press(tab, "button", "Remove the class", "Enter")
        tab.get_by_text("4 classes: 2 seen, 2 unseen").wait_for()
        upload.set_input_files(tmp_path / "birds.csv")
        tab.get_by_text("changed 4 and added 1 classes from birds.csv").first.wait_for()
        wait_for_scores(tab, learned, bird, calibration=1.5)
        upload.set_input_files(notes)
        tab.get_by_text("notes.jpg:").nth(1).wait_for()
        tab.set_viewport_size({"width": 1280, "height": 900})
        assert tab.evaluate("document.documentElement.scrollWidth") == 1280

        tab.reload()  # a visit of its own, as another visitor's
        tab.get_by_text("4 classes: 2 seen, 2 unseen").wait_for()
        tab.get_by_role("button", name="Thumbnail").click()
        tab.get_by_text("What speaks for").wait_for()
        tab.context.close()
    assert all(address.startswith((url, "data:", "blob:")) for address in asked), asked
    assert list((tmp_path / "temporary").iterdir()) == [] and predictor.classes_ == NAMES
