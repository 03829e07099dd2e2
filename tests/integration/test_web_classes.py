"""The page's lists with as many classes as ImageNet has: what is sent stays small, and every class is found by typing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from zslab.app.predictor import Predictor
from zslab.app.web.layout import start_choices
from zslab.app.web.session import MAX_CHOICES, Page

from helpers.web import tiny_model

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
    assert session.choices(selected="Species_20999") == [*session.choices(), ("Species 20999 (unseen)", "Species_20999")]
    assert session.choices("20999", selected="Species_20999") == [("Species 20999 (unseen)", "Species_20999")]
    assert start_choices(session.choices("nothing", selected=""))[0][1] == ""
    assert session.find("species  20999") == "Species_20999" and session.find("species 21000") is None
