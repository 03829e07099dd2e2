"""The page's lists with as many classes as ImageNet has: what is sent stays small, and every class is found by typing."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from zslab.app.predictor import Predictor
from zslab.app.web.layout import start_choices
from zslab.app.web.session import MAX_CHOICES, TOP, Page

from helpers.web import free_port, open_page, tiny_model, wait_for_value, write_bird

N = 21_000
NAMES = [f"Species_{k:05d}" for k in range(N)]


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor(tiny_model(NAMES, np.arange(N) % 2 == 0), device="cpu")


def test_lists_offer_what_was_typed_and_what_is_selected(web, predictor: Predictor, tmp_path: Path) -> None:
    session = Page(predictor, tmp_path).served
    assert len(session.choices()) == MAX_CHOICES == 50
    assert session.choices("species 2099") == [
        *((f"Species 2099{k} (unseen)", f"Species_2099{k}") for k in (1, 3, 5, 7, 9)),
        *((f"Species 2099{k} (seen)", f"Species_2099{k}") for k in (0, 2, 4, 6, 8)),
    ]
    assert session.choices("nothing") == []
    mine = replace(session, own=tuple(NAMES[100:300]))  # each can be removed
    assert [name for _, name in mine.choices(own=True)] == [*NAMES[101:300:2], *NAMES[100:300:2]]
    assert session.choices(selected="Species_20999") == [*session.choices(), ("Species 20999 (unseen)", "Species_20999")]
    assert session.choices("20999", selected="Species_20999") == [("Species 20999 (unseen)", "Species_20999")]
    assert start_choices(session.choices("nothing", selected=""))[0][1] == ""
    assert session.find("species  20999") == "Species_20999" and session.find("species 21000") is None


@pytest.mark.slow
def test_a_class_among_21000_is_found_by_typing(web, browser, predictor: Predictor, tmp_path: Path) -> None:
    with web.serving(predictor, port=free_port()) as url:
        tab, received = open_page(browser, url), []
        network = tab.context.new_cdp_session(tab)
        network.send("Network.enable")
        network.on("Network.dataReceived", lambda event: received.append(event["dataLength"]))
        assert len(set(re.findall(r"Species_\d{5}", tab.content()))) == MAX_CHOICES
        assert f"{N} classes: {N // 2} seen, {N // 2} unseen" in tab.locator(".zslab-facts").inner_text()

        def wait_for_text(selector: str, text: str) -> None:
            has_text = "([selector, text]) => document.querySelector(selector)?.innerText.includes(text)"
            tab.wait_for_function(has_text, arg=[selector, text])

        def choose(label: str, typed: str, number: int, values: str) -> None:
            """Type part of a name into a list as fast as keys come, and choose a class; its values are shown."""
            tab.get_by_label(label, exact=True).fill("")
            tab.keyboard.type(typed)
            option = tab.get_by_role("option").filter(has_text=f"Species {number}")
            option.wait_for()
            fits = "(typed) => texts.length <= 11 && texts.slice(1).every((text) => text.toLowerCase().includes(typed))"
            texts = "[...document.querySelectorAll('[role=option]')].map((each) => each.innerText)"
            tab.wait_for_function(fits.replace("texts", texts), arg=typed)
            option.click()
            wait_for_value(tab, f"{values} .zslab-value", f"{predictor.table[number, 0]:.6g}")

        tab.get_by_role("button", name="Add or change classes").click()
        tab.get_by_role("tab", name="Change").click()
        choose("Class", "20999", 20999, "#zslab-old-values")
        tab.get_by_role("tab", name="Add", exact=True).click()
        choose("Start from a copy of", "species 1234", 12341, "#zslab-new-values")
        tab.get_by_label("Name of the new class").fill("Kiwi")
        tab.locator("#zslab-add").click()
        wait_for_text("#zslab-status", "Added Kiwi")
        assert f"{N + 1} classes" in tab.locator(".zslab-facts").inner_text()

        # The class that was chosen before is still the one that is changed.
        tab.get_by_role("tab", name="Change").click()
        assert tab.get_by_label("Class", exact=True).input_value() == "Species 20999 (unseen)"
        tab.locator("#zslab-old-values .zslab-value").first.click()
        tab.keyboard.type("50")
        tab.keyboard.press("Enter")
        tab.get_by_label("Class", exact=True).focus()
        tab.keyboard.press("Tab")  # a list that is left as it was leaves edited values alone
        tab.locator("#zslab-change").click()
        wait_for_text("#zslab-status", "Changed Species 20999")
        wait_for_value(tab, "#zslab-old-values .zslab-value", "50")

        tab.locator("#zslab-files input[type=file]").set_input_files(write_bird(tmp_path / "bird.png", 96))
        tab.wait_for_selector(".zslab-card")
        assert tab.locator(".zslab-classes li").count() == TOP
        assert sum(received) < 400_000  # of names, 21,000 classes have 600,000 bytes, and each list would send them
        tab.context.close()
