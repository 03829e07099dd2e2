"""README and documentation: links and references resolve, equations name their code, commands are accepted."""

import io
import re
import runpy
import shlex
import sys
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path

import pytest

import zslab
from zslab import cli

from helpers.project import PROJECT, tree_modules

PAGES = [
    *(PROJECT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((PROJECT / "docs").rglob("*.md")),
    *sorted(PROJECT.glob("zero-shot-*/data/README.md")),
]
REFERENCE = re.compile(r"\{py:(\w+)\}`~?([\w.]+)`")
PLACEHOLDER = re.compile(r"[$|…]|--settings")  # of no use without the reader's own files


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and MyST name them."""
    headings = re.findall(r"^#+ (.+)$", text_of(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def resolve(name: str) -> tuple[str, object]:
    """Return the module and the object of a dotted name; fail where there is none."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        module = ".".join(parts[:end])
        if (PROJECT / module.replace(".", "/")).with_suffix(".py").is_file() or (PROJECT / module.replace(".", "/")).is_dir():
            found: object = import_module(module)
            for attribute in parts[end:]:
                found = getattr(found, attribute)
            return module, found
    raise AssertionError(f"{name}: no such module")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(PROJECT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`]*`", "", text_of(page))):
        path, _, anchor = target.partition("#")
        if path.startswith(("http://", "https://")):
            continue
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), f"{page}: {target}"
        assert not anchor or anchor in anchors(linked), f"{page}: {target}"


@pytest.mark.parametrize("page", [page for page in PAGES if REFERENCE.search(text_of(page))], ids=lambda page: page.stem)
def test_references_name_what_the_api_reference_documents(page: Path) -> None:
    for role, name in REFERENCE.findall(text_of(page)):
        module, found = resolve(name)
        assert role == "mod" or getattr(found, "__module__", module) == module, f"{name} is documented elsewhere"
        assert getattr(found, "__doc__", None), name


@pytest.mark.parametrize("name", ["tfvaegan", "dazle"])
def test_every_equation_names_the_function_that_computes_it(name: str) -> None:
    paragraphs = re.sub(r"\n(?= +)", " ", text_of(PROJECT / "docs" / "methods" / f"{name}.md")).split("\n\n")
    places = [place for place, paragraph in enumerate(paragraphs) if paragraph.startswith("$$")]
    assert len(places) >= 4
    for place in places:
        around = paragraphs[place - 1] + paragraphs[place + 1]
        if name == "dazle" and place < paragraphs.index("## Loss"):
            around += paragraphs[paragraphs.index("## Model") + 1]  # one function for all of them
        assert REFERENCE.search(around), paragraphs[place]


def test_the_api_reference_starts_with_the_public_names() -> None:
    page = text_of(PROJECT / "docs" / "api.md")
    objects = {id(resolve(name)[1]) for _, name in REFERENCE.findall(page)}
    for name in zslab.__all__:
        assert id(getattr(zslab, name)) in objects, name


def test_the_first_page_names_the_run_folder_of_the_demo() -> None:
    with tree_modules("zero-shot-images"):
        flags = runpy.run_path(str(PROJECT / "zero-shot-images" / "image-scripts" / "run_toy_tfvaegan.py"))["FROZEN"]
    data = f"{flags['dataset']}-{flags['image_embedding']}-{flags['class_embedding']}"
    report = f"runs/{data}-tfvaegan-inductive-seed{flags['manualSeed']}-*/report.html"
    assert report in text_of(PROJECT / "docs" / "start.md")


def commands() -> list[str]:
    """Every command of the pages that can be typed as it stands."""
    found: dict[str, None] = {}
    for page in PAGES:
        lines = re.sub(r"\\\n\s+", "", text_of(page)).splitlines()
        for line in lines:
            command = re.sub(r"[\[\]]", "", line.partition(" # ")[0]).strip()
            if (
                line.startswith("    ")
                and re.match(r"(python zero-shot-\S+/|zslab )", command)
                and not PLACEHOLDER.search(command)
            ):
                found[command] = None
    return list(found)


@pytest.mark.slow
@pytest.mark.parametrize("command", commands())
def test_commands_of_the_pages_are_accepted(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A launcher accepts the command in a dry run; the help of any other program lists the flags."""
    program, *arguments = shlex.split(command)
    output, script = io.StringIO(), PROJECT / arguments[0]
    is_launcher = script.name.startswith("run_")
    monkeypatch.setattr(sys, "argv", [str(script), *arguments[1:], "--dry-run"] if is_launcher else [str(script), "--help"])
    with redirect_stdout(output), pytest.raises(SystemExit) as ended:
        if program == "zslab":
            cli.main([*arguments[: 3 if arguments[0] == "train" else 1], "--help"])  # the flags of the method's config
        with tree_modules(Path(arguments[0]).parts[0]):
            runpy.run_path(str(script), run_name="__main__")
    assert ended.value.code in (0, None), output.getvalue()
    flags = {argument for argument in arguments if argument.startswith("--")}
    assert is_launcher or flags <= set(re.findall(r"--[\w-]+", output.getvalue())), output.getvalue()
