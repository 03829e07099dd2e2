"""Every refusal of the project reads as plain sentences: `{where}: {problem} (got …, expected …). {fix}`."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest

from helpers.project import PROJECT

FIELDS = {"where", "found", "expected", "fix"}
VALUE = "{}"  # what a text has where a value is put in
VERBS = (
    "appears are asks begins belong belongs can cannot changed contain contains contradicts counts cut describes did differ "
    "differs do does ends exceeds exists expects failed fails falls fits gives goes had has have hold holds indexes "
    "is lack lacks leads leaves lie lies lists makes mapped matches may means mixes must names need needs occurs "
    "offers overlap overlaps points produces reads refers refuses repeats requires runs says share shares shows stands starts "
    "stopped stores takes trained trains uses wants was were wrote chooses "
)


def texts(node: ast.expr) -> list[str] | None:
    """Return what a string expression can evaluate to, with VALUE for each part that only a run knows; None if unknown."""
    match node:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.JoinedStr(values=parts):
            return ["".join(part.value if isinstance(part, ast.Constant) else VALUE for part in parts)]
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            parts = [texts(side) or [VALUE] for side in (left, right)]
            return ["".join(pair) for pair in product(*parts)]
        case ast.IfExp(body=body, orelse=orelse):
            return [text for side in (body, orelse) for text in texts(side) or []]
    return None


def faults_of_problem(text: str) -> Iterator[str]:
    """Yield what is wrong with a problem: not a clause in the middle of a sentence."""
    first = text.split()[0] if text.split() else ""
    if not (re.match(r"[a-z'\"`\-\d(]", first) or first.startswith(VALUE) or len(re.findall("[A-Z]", first)) > 1):
        yield "starts with a capital"
    if not set(re.findall(r"[a-z]+", text)) & set(VERBS.split()):
        yield "has no finite verb"
    if text.rstrip().endswith((".", "!", ":")):
        yield "ends with punctuation"


def faults_of_fix(text: str) -> Iterator[str]:
    """Yield what is wrong with a fix: not one or more full sentences."""
    if text and not re.match(r"[A-Z'\"`]|\{\}|\S*[._/]", text):  # or the name of a file or a command
        yield "does not start with a capital"
    if text and not text.rstrip().endswith((".", "?", VALUE)):
        yield "does not end with a full stop"


def faults(source: str) -> Iterator[tuple[int, str]]:
    """Yield line and fault of each refusal in a module, and of each `fix` that is handed on to one."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        keywords = {keyword.arg: keyword.value for keyword in node.keywords}
        checks = [("fix", keywords.get("fix"), faults_of_fix)]
        if isinstance(node.func, ast.Name) and node.func.id == "InputError":
            if None not in keywords and keywords.keys() != FIELDS:
                yield node.lineno, f"has the fields {sorted(keywords)}"
            if len(node.args) != 1:
                yield node.lineno, "has no problem as its one positional argument"
                continue
            checks.append(("problem", node.args[0], faults_of_problem))
        for name, value, check in checks:
            for text in (texts(value) if value is not None else None) or []:
                yield from ((node.lineno, f"{name} {fault}: {text!r}") for fault in check(text))


FILES = sorted(path for tree in ("zslab", "zero-shot-images", "zero-shot-actions") for path in (PROJECT / tree).rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PROJECT)))
def test_refusals_are_plain_sentences(path: Path) -> None:
    found = [f"{path}:{line}: {fault}" for line, fault in faults(path.read_text(encoding="utf-8"))]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("call", "fault"),
    [
        ("""InputError("'val' needs a run", where=1, found=2, expected=3, fix="Add it.")""", None),
        ("""InputError(f"{n} is too small", where=1, found=2, expected=3, fix=f"Pass {n} or more.")""", None),
        ("""InputError("HDF5 is damaged", where=1, found=2, expected=3, fix="Copy it again. " + advice)""", None),
        ("""InputError("it is missing", **rest)""", None),
        ("""InputError(problem, where=1, found=2, expected=3, fix=advice)""", None),
        ("""InputError("missing file", where=1, found=2, expected=3, fix="Add it.")""", "has no finite verb"),
        ("""InputError(f"unknown {name}" if a else "it is", where=1, found=2, expected=3, fix="A.")""", "has no finite verb"),
        ("""InputError("The file is missing", where=1, found=2, expected=3, fix="Add it.")""", "starts with a capital"),
        ("""InputError("the file is missing.", where=1, found=2, expected=3, fix="Add it.")""", "ends with punctuation"),
        ("""InputError("it is missing", where=1, found=2, expected=3, fix="add it.")""", "does not start with a capital"),
        ("""InputError("it is missing", where=1, found=2, expected=3, fix="Add it")""", "does not end with a full stop"),
        ("""InputError("it is missing", where=1, found=2, expected=3)""", "has the fields"),
        ("""InputError(where=1, found=2, expected=3, fix="Add it.")""", "no problem"),
        ("""read(path, fix="write it again")""", "does not start with a capital"),
    ],
)
def test_what_counts_as_plain(call: str, fault: str | None) -> None:
    found = [text for _, text in faults(call)]
    assert (not found) if fault is None else any(fault in text for text in found), found
