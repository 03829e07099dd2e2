"""The house's own rules: one list of requirements, imports that point one way, no paths of anybody's machine."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PROJECT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest brings it along where Python has none

# A module of the key may import zsl modules of the values only, and its own package.
LAYERS = {
    "zsl.errors": [],
    "zsl.metrics": [],
    "zsl.classifiers": [],
    "zsl.runs.files": ["zsl.errors"],
    "zsl.features": ["zsl.errors", "zsl.runs.files", "zsl.data.matfile", "zsl.data.region_maps", "zsl.data.xlsa17"],
    "zsl.numbers": [],
    "zsl.gate": ["zsl.classifiers"],
    "zsl.data": ["zsl.errors", "zsl.numbers", "zsl.runs.files", "zsl.features"],
    "zsl.eszsl": ["zsl.data", "zsl.errors", "zsl.metrics"],
    "zsl.evaluation": ["zsl.data", "zsl.metrics"],
    "zsl.report": ["zsl.errors", "zsl.numbers", "zsl.metrics", "zsl.runs.files"],
    "zsl.tfvaegan": ["zsl.errors", "zsl.data", "zsl.classifiers", "zsl.gate", "zsl.metrics", "zsl.evaluation"],
    "zsl.dazle": ["zsl.errors", "zsl.data", "zsl.evaluation", "zsl.features", "zsl.runs.files"],
    "zsl.app": [
        "zsl", "zsl.errors", "zsl.data", "zsl.features", "zsl.classifiers", "zsl.gate", "zsl.tfvaegan", "zsl.dazle",
        "zsl.report", "zsl.runs",
    ],
}


def tracked(pattern: str = "") -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=PROJECT, capture_output=True, text=True
    )
    if listed.returncode != 0:
        pytest.skip("not a git checkout, so there is no list of the project's files")
    return [PROJECT / line for line in listed.stdout.splitlines() if re.search(pattern, line) and (PROJECT / line).is_file()]


def test_conda_and_pip_users_get_the_same_requirements() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    expected = set(project["dependencies"]).union(*project["optional-dependencies"].values())
    listed = re.findall(r"^      - (.+)$", (PROJECT / "environment.yml").read_text(), re.MULTILINE)
    assert set(listed) - {"-e ."} == expected
    assert len(listed) == len(set(listed))
    assert f"python{project['requires-python']}" in (PROJECT / "environment.yml").read_text()


def imports_of(path: Path) -> set[str]:
    """Names of the modules a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module}
    return found


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_point_one_way(layer: str) -> None:
    place = PROJECT / layer.replace(".", "/")
    files = sorted(place.rglob("*.py")) if place.is_dir() else [place.with_suffix(".py")]
    assert files
    for path in files:
        for name in imports_of(path):
            if name == "zsl" or name.startswith("zsl."):
                allowed = [layer, *LAYERS[layer]]
                assert any(name == a or name.startswith(f"{a}.") for a in allowed), f"{path.name} imports {name}"


def test_nothing_in_the_package_imports_a_tree() -> None:
    tree_modules = {path.stem for path in (PROJECT / "zero-shot-images").glob("*.py")}
    for path in (PROJECT / "zsl").rglob("*.py"):
        if path.name != "launcher.py":  # which starts a tree's scripts and reads their config
            assert not imports_of(path) & tree_modules, path


def test_no_file_names_a_path_of_a_machine_or_is_large() -> None:
    machine = re.compile(r"/(?:home|root|Users|wor[k])/\w|/tmp/\w")
    for path in tracked():
        assert path.stat().st_size < 2 * 1024 * 1024, f"{path} is larger than 2 MiB"
        if path.suffix in (".py", ".md", ".toml", ".yml", ".json", ".ipynb", "") and path.name != "test_house.py":
            found = machine.search(path.read_text(encoding="utf-8"))
            assert not found, f"{path}: {found.group()}"
