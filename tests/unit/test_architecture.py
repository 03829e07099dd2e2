"""The architecture: one list of requirements, no cycles, no imports from a tree, no paths of a machine.

The layers of the package are a contract in pyproject.toml, which `lint-imports` checks.
"""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.project import PROJECT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest brings it along where Python has none


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


def test_packages_import_nothing_when_imported() -> None:
    for path in (PROJECT / "zslab").rglob("__init__.py"):
        statements = [node for node in ast.parse(path.read_text(encoding="utf-8")).body if not isinstance(node, ast.If)]
        modules = [node for node in statements if isinstance(node, (ast.Import, ast.ImportFrom))]
        assert {getattr(node, "module", None) for node in modules} <= {"__future__", "typing", None}, path


def test_nothing_in_the_package_imports_a_tree() -> None:
    tree_modules = {path.stem for path in (PROJECT / "zero-shot-images").glob("*.py")}
    for path in (PROJECT / "zslab").rglob("*.py"):
        if path.name != "launcher.py":  # which starts a tree's scripts and reads their config
            assert not imports_of(path) & tree_modules, path


def test_no_file_names_a_path_of_a_machine_or_is_large() -> None:
    machine = re.compile(r"/(?:home|root|Users|wor[k])/\w|/tmp/\w")
    for path in tracked():
        assert path.stat().st_size < 2 * 1024 * 1024, f"{path} is larger than 2 MiB"
        if path.suffix in (".py", ".md", ".toml", ".yml", ".json", ".ipynb", "") and path.name != "test_architecture.py":
            found = machine.search(path.read_text(encoding="utf-8"))
            assert not found, f"{path}: {found.group()}"
