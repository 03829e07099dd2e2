"""The examples in the docstrings of the package print what they say."""

from __future__ import annotations

import doctest
from importlib import import_module
from types import SimpleNamespace

import pytest

from helpers.project import PROJECT

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
NEED_MODEL = ["zslab.app.predictor"]  # their examples open the model files of the toy birds
TRAINED = ["zslab.estimator"]  # its examples train
SOURCES = {
    ".".join(path.relative_to(PROJECT).with_suffix("").parts): path for path in sorted((PROJECT / "zslab").rglob("*.py"))
}
WITH_EXAMPLES = [name for name, path in SOURCES.items() if ">>> " in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (name in TRAINED)) for name in WITH_EXAMPLES if name not in NEED_MODEL],
)
def test_examples(name: str) -> None:
    assert doctest.testmod(import_module(name), optionflags=FLAGS).failed == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", NEED_MODEL)
def test_examples_with_a_model(name: str, birds: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(birds.root)
    assert doctest.testmod(import_module(name), optionflags=FLAGS).failed == 0


@pytest.mark.slow
def test_examples_of_the_documentation() -> None:
    found = doctest.testfile(str(PROJECT / "docs" / "own-data.md"), module_relative=False, optionflags=FLAGS)
    assert found.failed == 0 and found.attempted > 5


def test_measures_head_and_predictor_have_examples() -> None:
    assert {"zslab.metrics", "zslab.shared.heads", "zslab.app.predictor"} <= set(WITH_EXAMPLES)
