"""The page in a real headless Chromium: by keyboard alone, without violations of axe-core, and with nothing lost."""

from __future__ import annotations

import html
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from zslab.app.predictor import Predictor
from zslab.app.web.html import percent
from zslab.app.web.layout import MAX_UPLOAD
from zslab.app.web.session import TOP
from zslab.utils.names import readable_names

from helpers.web import NAMES, free_port, open_page, tiny_model, wait_for_value, write_bird

LABELS = readable_names(NAMES)
NEW_VALUE = "#zslab-new-values .zslab-value"
FACTS, STATUS, RESULTS = ".zslab-facts", "#zslab-status", "#zslab-results"


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor(tiny_model(), device="cpu")


@pytest.fixture(scope="module")
def url(web, browser, predictor) -> Iterator[str]:
    with web.serving(predictor, port=free_port()) as address:
        yield address


@pytest.fixture
def tab(browser, url) -> Iterator:
    page = open_page(browser, url)
    yield page
    page.context.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bird, text that is called a photo, and a file over the limit."""
    folder = tmp_path_factory.mktemp("uploads")
    write_bird(folder / "bird.png")
    (folder / "notes.jpg").write_text("these are notes")
    with open(folder / "large.png", "wb") as stream:
        stream.truncate(MAX_UPLOAD + 1)
    return folder


def upload(tab, *paths: Path) -> None:
    tab.locator("#zslab-files input[type=file]").set_input_files(paths)


def wait_for_text(tab, selector: str, text: str) -> None:
    tab.wait_for_function(
        "([selector, text]) => document.querySelector(selector)?.innerText.includes(text)", arg=[selector, text]
    )


def expected_numbers(predictor: Predictor, image: Path, calibration: float) -> list[str]:
    """The probabilities that the page shows for an image, best first."""
    (prediction,) = predictor.predict(image, calibration=calibration, top=TOP)
    return [html.unescape(percent(score.probability)) for score in prediction.classes]


def wait_for_numbers(tab, expected: list[str]) -> None:
    shown = "[...document.querySelectorAll('.zslab-classes .zslab-number')].map((each) => each.innerText)"
    tab.wait_for_function(f"(expected) => JSON.stringify({shown}) === JSON.stringify(expected)", arg=expected)


def open_classes(tab) -> None:
    tab.get_by_role("button", name="Add or change classes").click()
    tab.get_by_label("Name of the new class").wait_for()


def add_copy(tab, name: str, of: str, done: str) -> None:
    """Add a class with the attributes of another, and wait until the page says so."""
    tab.get_by_label("Name of the new class").fill(name)
    tab.get_by_label("Start from a copy of").click()
    tab.get_by_role("option", name=LABELS[of]).click()
    tab.locator("#zslab-add").click()
    wait_for_text(tab, STATUS, done)


# ---- accessibility ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("width, scheme", [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")])
def test_axe_finds_no_violation(browser, url, folder: Path, width: int, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python brings axe-core").Axe()
    tab = open_page(browser, url, width, scheme)

    def check(state: str) -> None:
        tab.wait_for_timeout(400)  # what fades in has faded in
        assert axe.run(tab).generate_report().startswith("Found 0 "), f"{state}: {axe.run(tab).generate_report()}"
        assert tab.evaluate("document.documentElement.scrollWidth") == width, state

    check("at the start")
    tab.get_by_role("button", name="Example").first.click()
    tab.wait_for_selector(".zslab-card")
    check("an example")
    upload(tab, *(folder / name for name in ("bird.png", "notes.jpg", "large.png")))
    tab.wait_for_selector(f"{RESULTS} .zslab-error")
    check("two images and one over the limit")
    open_classes(tab)
    tab.locator("#zslab-add").click()
    tab.wait_for_selector(f"{STATUS} .zslab-error")
    check("a class without a name")
    set_first_value(tab, "5000")
    tab.get_by_label("Name of the new class").fill("Giant")
    tab.locator("#zslab-add").click()
    tab.wait_for_selector(f"{STATUS} .zslab-warning")
    check("a class with unusual values")
    for name in ("Change", "Remove", "CSV"):
        tab.get_by_role("tab", name=name, exact=True).click()
        check(f"the tab {name}")
    tab.context.close()


def set_first_value(tab, value: str) -> None:
    """Type the value of the new class's first attribute over what is there."""
    tab.locator(NEW_VALUE).first.click()
    tab.keyboard.type(value)


FOCUSED = """() => {
  const element = document.activeElement, box = element.getBoundingClientRect();
  return [element.outerHTML.slice(0, 300), {x: box.x - 5, y: box.y - 5, width: box.width + 10, height: box.height + 10}];
}"""


def picture(tab, clip: dict[str, float]) -> np.ndarray:
    shot = tab.screenshot(animations="disabled", clip=clip)
    return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB"), np.int16)


def tab_to(tab, selector: str, most: int = 40) -> None:
    """Press Tab until the element has the focus; every element on the way shows its focus."""
    for _ in range(most):
        tab.keyboard.press("Tab")
        element, clip = tab.evaluate(FOCUSED)
        if element.startswith("<body"):  # from the page's end Tab leads to its beginning
            continue
        focused = picture(tab, clip)
        tab.keyboard.press("Tab")
        changed = np.abs(focused - picture(tab, clip)).max(axis=2) > 60
        assert changed.sum() >= clip["width"] + clip["height"], f"the focus is invisible on {element}"
        tab.keyboard.press("Shift+Tab")
        assert tab.evaluate(FOCUSED)[0][:60] == element[:60], f"Shift+Tab does not lead back to {element}"
        if tab.evaluate("(selector) => document.activeElement.matches(selector)", selector):
            return
    raise AssertionError(f"{selector} cannot be reached by Tab")


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_works_by_keyboard_and_shows_its_focus(browser, url, folder: Path, predictor, scheme: str) -> None:
    tab = open_page(browser, url, scheme=scheme)
    tab.set_viewport_size({"width": 1280, "height": 2600})  # nothing scrolls
    tab.on("filechooser", lambda _: None)  # choosers are the test's from the start, or the first may open too early
    keys = tab.keyboard

    tab_to(tab, "#zslab-files button")
    with tab.expect_file_chooser() as chooser:
        keys.press("Enter")
    chooser.value.set_files([folder / "bird.png"])
    wait_for_text(tab, ".zslab-image figcaption", "bird.png")
    tab_to(tab, "[aria-label='Add images']")
    with tab.expect_file_chooser() as chooser:
        keys.press("Enter")
    chooser.value.set_files([folder / "notes.jpg"])
    tab.wait_for_selector(f"{RESULTS} .zslab-error")
    tab_to(tab, "#zslab-examples button")
    keys.press("Enter")
    tab.wait_for_function("!document.querySelector('.zslab-image figcaption').innerText.includes('bird')")
    tab_to(tab, "input[type=radio]")
    keys.press("ArrowRight")
    tab.wait_for_function("document.querySelectorAll('.zslab-classes li').length === 2")
    tab_to(tab, "#zslab-calibration input[type=range]")

    tab_to(tab, "#zslab-teach button")
    keys.press("Enter")
    tab_to(tab, "#zslab-new-name textarea")
    keys.type("Kiwi")
    tab_to(tab, "#zslab-start input")
    assert tab.get_by_role("option").count() == 1 + len(NAMES)
    keys.press("ArrowDown")
    tab.locator("[role=option].active", has_text="Oriole").wait_for()
    keys.press("Enter")
    oriole = predictor.table[1]
    wait_for_value(tab, NEW_VALUE, f"{oriole[0]:.6g}")
    tab_to(tab, NEW_VALUE)
    keys.type("77")
    tab_to(tab, "#zslab-add")
    keys.press("Enter")
    wait_for_text(tab, STATUS, "Added Kiwi")
    tab_to(tab, "#zslab-save")
    keys.press("Enter")
    tab.locator("#zslab-saved").wait_for()
    tab_to(tab, "#zslab-saved")
    with tab.expect_download() as download:
        keys.press("Enter")
    learned = Predictor.load(download.value.path(), device="cpu")
    assert learned.classes_ == [*NAMES, "Kiwi"] and learned.table[4, 0] == 77
    np.testing.assert_allclose(learned.table[4, 1:], oriole[1:], rtol=1e-5)
    tab_to(tab, "#zslab-undo")
    keys.press("Enter")
    wait_for_text(tab, FACTS, "4 classes")
    tab.context.close()


def test_values_are_searched_and_reached_by_arrow_keys_and_stay_when_the_page_shows_another_tab(tab, predictor) -> None:
    focused = "document.activeElement.closest('li')?.innerText.trim()"
    keys, visible = tab.keyboard, tab.locator("#zslab-new-values li:visible")
    open_classes(tab)
    tab.locator(NEW_VALUE).first.click()
    keys.type("-0.5")
    keys.press("ArrowDown")
    keys.type("7")
    keys.press("Enter")
    keys.type("77")
    keys.press("ArrowUp")
    assert tab.evaluate(focused) == "crown color: yellow"
    search = tab.get_by_label("Search the attributes").first
    search.fill("SPOTTED")
    names = visible.all_inner_texts()
    assert 0 < len(names) < len(predictor.attribute_names) and all("spotted" in name for name in names)
    search.press("Tab")
    assert tab.evaluate(focused) == names[0].strip()
    keys.type("8")
    keys.press("Tab")
    assert tab.evaluate("document.activeElement.id") == "zslab-add"  # one Tab leads out of hundreds of values
    search.fill("")
    assert visible.count() == len(predictor.attribute_names)
    tab.get_by_role("tab", name="Change").click()
    tab.get_by_role("tab", name="Add", exact=True).click()
    tab.get_by_label("Name of the new class").fill("Kiwi")
    tab.locator("#zslab-add").click()
    wait_for_text(tab, STATUS, "Added Kiwi")
    tab.locator("#zslab-save").click()
    with tab.expect_download() as download:
        tab.locator("#zslab-saved").click()
    expected = np.zeros(len(predictor.attribute_names))
    expected[:3] = -0.5, 7, 77
    expected[next(i for i, name in enumerate(predictor.attribute_names) if "spotted" in name)] = 8
    np.testing.assert_array_equal(Predictor.load(download.value.path(), device="cpu").table[4], expected)


def test_what_was_typed_goes_when_another_class_is_chosen_or_all_is_undone(tab, predictor) -> None:
    old = "#zslab-old-values .zslab-value"
    open_classes(tab)
    tab.get_by_role("tab", name="Change").click()
    shown = tab.locator(old).first.input_value()
    tab.locator(old).first.fill("99")
    tab.locator("#zslab-change").click()
    wait_for_text(tab, STATUS, "Changed")
    tab.locator(old).nth(1).fill("98")
    tab.locator("#zslab-undo").click()
    wait_for_value(tab, old, shown)
    assert tab.locator(old).nth(1).input_value() != "98"
    tab.locator(old).first.fill("much")
    tab.locator("#zslab-change").click()
    wait_for_text(tab, STATUS, "'much'")
    assert tab.locator(old).first.input_value() == "much"  # it is there to be mended
    tab.get_by_label("Class", exact=True).click()
    tab.get_by_role("option", name=LABELS[NAMES[0]]).click()
    wait_for_value(tab, old, f"{predictor.table[0, 0]:.6g}")


# ---- images -------------------------------------------------------------------------------------------------------------


def test_the_calibration_takes_effect_by_keyboard_and_as_a_number(tab, folder: Path, predictor) -> None:
    bird = folder / "bird.png"
    expected = {value: expected_numbers(predictor, bird, value) for value in (0, 0.15, 1.5, 3)}
    assert len({tuple(numbers) for numbers in expected.values()}) == 4
    upload(tab, bird)
    wait_for_numbers(tab, expected[0])
    slider, number = tab.locator("#zslab-calibration input[type=range]"), tab.locator("#zslab-calibration input[type=number]")
    slider.focus()
    for _ in range(3):
        tab.keyboard.press("ArrowRight")
    wait_for_numbers(tab, expected[0.15])
    for typed, used in (("1.5", 1.5), ("99", 3), ("-4", 0), ("1e9", 3), ("1.5", 1.5)):
        number.focus()
        tab.keyboard.press("Control+A")
        tab.keyboard.type(typed)
        tab.keyboard.press("Enter")
        wait_for_numbers(tab, expected[used])
        assert (float(number.input_value()), float(slider.input_value())) == (used, used), typed
    number.focus()
    tab.keyboard.press("Control+A")
    tab.keyboard.press("Delete")
    tab.keyboard.press("Tab")
    value = float(number.input_value())  # nothing is no number: whatever the page shows is what it uses
    wait_for_numbers(tab, expected[value])
    assert float(slider.input_value()) == value


@pytest.mark.parametrize("dropped", [False, True])
def test_only_a_file_over_the_limit_is_left_out(tab, folder: Path, predictor, dropped: bool) -> None:
    paths = [folder / "large.png", folder / "bird.png"]
    if dropped:
        box, session = tab.locator("#zslab-files").bounding_box(), tab.context.new_cdp_session(tab)
        for kind in ("dragEnter", "dragOver", "drop"):
            data = {"items": [], "files": list(map(str, paths)), "dragOperationsMask": 1}
            place = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
            session.send("Input.dispatchDragEvent", {"type": kind, **place, "data": data})
    else:
        upload(tab, *paths)
    wait_for_numbers(tab, expected_numbers(predictor, folder / "bird.png", 0))
    assert tab.locator("#zslab-too-large").inner_text() == "Left out, larger than 30 MB: large.png"
    upload(tab, folder / "bird.png")
    tab.wait_for_function("!document.querySelector('#zslab-too-large').innerText.trim()")


# ---- classes ------------------------------------------------------------------------------------------------------------


def test_classes_are_removed_alone_and_kept_when_the_page_is_loaded_again(browser, url, tab, folder: Path) -> None:
    shown = "[...document.querySelectorAll('.zslab-classes .zslab-name')].map((each) => each.firstChild.textContent.trim())"
    open_classes(tab)
    add_copy(tab, "Kiwi", NAMES[0], "Added Kiwi")
    add_copy(tab, "Moa", NAMES[1], "Added Moa")
    upload(tab, folder / "bird.png")
    tab.wait_for_selector(".zslab-card")
    assert "6 classes: 2 seen, 4 unseen" in tab.locator(FACTS).inner_text()
    tab.get_by_role("tab", name="Remove").click()
    tab.get_by_label("Class that you added").click()
    assert tab.get_by_role("option").all_inner_texts() == ["Kiwi (unseen)", "Moa (unseen)"]
    tab.get_by_role("option", name="Kiwi").click()
    tab.locator("#zslab-remove").click()
    wait_for_text(tab, STATUS, "Removed Kiwi")
    assert "5 classes: 2 seen, 3 unseen" in tab.locator(FACTS).inner_text()
    assert set(tab.evaluate(shown)) == {*LABELS.values(), "Moa"}

    tab.reload()
    wait_for_text(tab, FACTS, "5 classes: 2 seen, 3 unseen")
    assert "added Kiwi; added Moa; removed Kiwi" in tab.locator(".zslab-changed").inner_text()
    upload(tab, folder / "bird.png")
    tab.wait_for_selector(".zslab-card")
    assert set(tab.evaluate(shown)) == {*LABELS.values(), "Moa"}
    other = open_page(browser, url)
    wait_for_text(other, FACTS, "4 classes: 2 seen, 2 unseen")
    other.context.close()


def test_values_far_outside_the_table_are_warned_of(tab) -> None:
    open_classes(tab)
    set_first_value(tab, "5000")
    tab.get_by_label("Name of the new class").fill("Giant")
    tab.locator("#zslab-add").click()
    tab.wait_for_selector(f"{STATUS} .zslab-done")
    warning = tab.locator(f"{STATUS} .zslab-warning").inner_text()
    assert "Unusual values" in warning and "Giant" in warning and "5000" in warning
