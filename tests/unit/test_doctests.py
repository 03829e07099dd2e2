"""The examples in the docstrings of the package print what they say."""

import doctest
from importlib import import_module

import pytest

import zslab

from helpers.project import PROJECT

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
TRAINED = ["zslab.api", "zslab.app.predictor", "zslab.estimator", "zslab.testing"]  # their examples train
SOURCES = {
    ".".join(path.relative_to(PROJECT).with_suffix("").parts): path for path in sorted((PROJECT / "zslab").rglob("*.py"))
}
WITH_EXAMPLES = [name for name, path in SOURCES.items() if ">>> " in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in TRAINED)) for name in WITH_EXAMPLES])
def test_examples(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PROJECT)
    assert doctest.testmod(import_module(name), optionflags=FLAGS).failed == 0


@pytest.mark.slow
def test_examples_of_the_documentation() -> None:
    for page in ("own-data.md", "api.md"):
        found = doctest.testfile(str(PROJECT / "docs" / page), module_relative=False, optionflags=FLAGS)
        assert found.failed == 0 and found.attempted > 5


def test_every_public_name_has_an_example() -> None:
    assert all(">>> " in getattr(zslab, name).__doc__ for name in zslab.__all__)
    assert {"zslab.metrics", "zslab.shared.heads"} <= set(WITH_EXAMPLES)
