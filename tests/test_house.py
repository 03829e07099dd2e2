"""The house's own rules: one list of requirements, imports that point one way, no paths of anybody's machine."""

from __future__ import annotations

import ast
import graphlib
import re
import subprocess
import sys
from collections.abc import Iterator
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
    "zsl.graphs": [],
    "zsl.rows": [],
    "zsl.products": ["zsl.errors"],
    "zsl.classifiers": ["zsl.graphs", "zsl.products", "zsl.rows"],
    "zsl.runs.files": ["zsl.errors"],
    "zsl.runs": ["zsl.errors", "zsl.numbers", "zsl.report.sweep"],  # a sweep, once it is over, is reported
    "zsl.features": ["zsl.errors", "zsl.runs.files", "zsl.data.matfile", "zsl.data.npyfile",
                     "zsl.data.region_writer", "zsl.data.toy", "zsl.data.xlsa17"],
    "zsl.numbers": [],
    "zsl.gate": ["zsl.classifiers", "zsl.rows"],
    "zsl.data": ["zsl.errors", "zsl.numbers", "zsl.rows", "zsl.runs.files", "zsl.features"],
    "zsl.eszsl": ["zsl.data", "zsl.errors", "zsl.metrics", "zsl.rows"],
    "zsl.evaluation": ["zsl.data", "zsl.metrics"],
    "zsl.report": ["zsl.errors", "zsl.numbers", "zsl.metrics", "zsl.runs.files"],
    "zsl.tfvaegan": [
        "zsl.errors", "zsl.data", "zsl.classifiers", "zsl.gate", "zsl.graphs", "zsl.metrics", "zsl.products", "zsl.rows",
        "zsl.evaluation", "zsl.runs.loop",
    ],
    "zsl.dazle": [
        "zsl.errors", "zsl.data", "zsl.evaluation", "zsl.features", "zsl.products", "zsl.runs.files", "zsl.runs.loop",
    ],
    "zsl.protocol": ["zsl", "zsl.data", "zsl.errors", "zsl.eszsl", "zsl.evaluation", "zsl.runs"],
    "zsl.flags": [
        "zsl.errors", "zsl.data", "zsl.classifiers", "zsl.gate", "zsl.tfvaegan", "zsl.dazle", "zsl.protocol", "zsl.runs",
    ],
    "zsl.experiment": ["zsl.errors", "zsl.data", "zsl.protocol", "zsl.report", "zsl.runs"],
    "zsl.app": [
        "zsl", "zsl.errors", "zsl.data", "zsl.features", "zsl.classifiers", "zsl.gate", "zsl.tfvaegan", "zsl.dazle",
        "zsl.report", "zsl.runs", "zsl.flags",
    ],
    "zsl.notebook": ["zsl.errors", "zsl.report"],
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


def test_every_module_is_in_a_layer() -> None:
    for path in (PROJECT / "zsl").rglob("*.py"):
        name = ".".join(path.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__")
        assert name == "zsl" or any(name == layer or name.startswith(f"{layer}.") for layer in LAYERS), name


def run_on_import(node: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """The import statements that run when a module is imported: not those in functions or for type checkers alone."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.Import, ast.ImportFrom)):
            yield child
        elif isinstance(child, ast.If) and ast.unparse(child.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            yield from run_on_import(ast.Module(child.orelse, []))
        elif not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield from run_on_import(child)


def module_graph(package: Path) -> dict[str, set[str]]:
    """module -> the package's modules that it imports when it is imported; packages go by their own name.

    Packages that a dotted name passes through are left out: their __init__ imports nothing, as a test below makes sure.
    """
    files = {".".join(path.relative_to(package.parent).with_suffix("").parts): path for path in package.rglob("*.py")}
    files = {name.removesuffix(".__init__"): path for name, path in files.items()}
    graph = {}
    for name, path in files.items():
        found = set()
        for node in run_on_import(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
                continue
            assert node.level == 0, f"{path.name}: relative imports are not followed here"
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        graph[name] = found & files.keys() - {name}
    return graph


def test_no_module_imports_itself_by_way_of_others() -> None:
    graph = module_graph(PROJECT / "zsl")
    assert "zsl.metrics" in graph["zsl.evaluation"] and "zsl.data" in graph  # it does see imports and packages
    try:
        tuple(graphlib.TopologicalSorter(graph).static_order())
    except graphlib.CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


def test_packages_import_nothing_by_themselves() -> None:
    for path in (PROJECT / "zsl").rglob("__init__.py"):
        assert not imports_of(path), path


def test_what_counts_as_a_cycle(tmp_path: Path) -> None:
    def cycle(**modules: str) -> set[str]:
        package = tmp_path / "p"
        package.mkdir(exist_ok=True)
        for name, source in modules.items():
            (package / f"{name}.py").write_text(source)
        try:
            tuple(graphlib.TopologicalSorter(module_graph(package)).static_order())
        except graphlib.CycleError as error:
            return set(error.args[1])
        return set()

    assert cycle(a="from p.b import x", b="import p.c", c="try:\n    from p import a\nexcept ImportError: pass") == \
        {"p.a", "p.b", "p.c"}
    assert cycle(c="def f():\n    from p import a") == set()
    assert cycle(c="if TYPE_CHECKING:\n    from p import a\nelse:\n    import sys") == set()
    assert cycle(c="class C:\n    import p.a") == {"p.a", "p.b", "p.c"}


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
