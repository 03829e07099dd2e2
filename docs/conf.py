"""Sphinx: the documentation site. `make docs` builds it without network, into docs/_build/html."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import zslab

project = "zslab"
author = "The zslab authors"
copyright = author  # noqa: A001, the name that Sphinx reads
release = version = zslab.__version__

extensions = ["myst_parser", "sphinx_copybutton"]
extensions += [f"sphinx.ext.{name}" for name in ("autodoc", "autosummary", "napoleon", "viewcode")]
copybutton_prompt_text, copybutton_line_continuation_character = ">>> ", "\\"
exclude_patterns = ["_build"]
templates_path = ["_templates"]
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"zslab {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
html_show_sphinx = False

highlight_language = "none"  # of indented commands; Python is marked as such
default_role = "py:obj"
suppress_warnings = ["ref.python"]  # names in backticks that several classes have, such as fields of flags
REQUESTS = ("fit", "predict", "predict_proba", "decision_function", "score", "split")
autosummary_generate = True
autodoc_default_options = {
    "members": True,
    "show-inheritance": True,
    "member-order": "bysource",
    # scikit-learn adds these to every estimator, with references into its own documentation.
    "exclude-members": ", ".join(f"set_{name}_request" for name in REQUESTS),
}
autodoc_typehints = "signature"
autodoc_type_aliases = {"ArrayLike": "ArrayLike"}
autodoc_mock_imports = ["IPython", "av", "gradio", "timm", "torchvision"]  # the reference needs none of the extras
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
python_maximum_signature_line_length = 100

SECTION = re.compile(r"(Args|Arguments|Attributes|Returns|Yields|Raises|Example|Examples|Note|Notes):$")


def plain_text(app: Sphinx, what: str, name: str, obj: object, options: Any, lines: list[str]) -> None:
    """Add what reStructuredText needs where readers of the code need nothing.

    An indented block outside the sections of Google's style is literal; a list begins and ends with a blank line.
    """
    marked: list[str] = []
    section = literal = item = False
    for line in lines:
        indented, before = line.startswith("    "), marked[-1] if marked else ""
        if line and not line.startswith(" "):
            section, literal = bool(SECTION.match(line)), False
            if before and item != line.startswith(("- ", "* ")):
                marked.append("")
            item = line.startswith(("- ", "* "))
        if indented and not (section or literal or item) and (not before or before.endswith(":")):
            marked += ["", "::", ""]
            literal = True
        marked.append(line)
    if what == "attribute" and marked:  # napoleon would take what is before a colon for the type
        marked[0] = f": {marked[0]}"
    lines[:] = marked


def escape_markup(app: Sphinx, what: str, name: str, obj: object, options: Any, lines: list[str]) -> None:
    """Escape what reStructuredText would take for markup in plain text: `word_`, `*` and `|`."""
    literal = False
    for number, line in enumerate(lines):
        if literal and line and not line.startswith(" "):
            literal = False
        if not literal and not line.lstrip().startswith((">>>", "...", "..")):
            parts = re.split(r"(^\s*\* |``.*?``|`.*?`|:[a-z]+ [^:]*:)", line)  # a list's star and code stay as they are
            parts[::2] = [re.sub(r"(\w)_(?!\w)", r"\1\\_", re.sub(r"([*|])", r"\\\1", part)) for part in parts[::2]]
            lines[number] = re.sub(r"^(:ivar \w+)_:", r"\1\\_:", "".join(parts))  # napoleon escapes parameters alone
        literal = literal or line.endswith("::")


ACCENT = re.compile(r'<mover accent="true">\s*<mi>([a-z])</mi>\s*<mo[^>]*>([ˆ~˜ˉ¯])</mo>\s*</mover>')
COMBINING = {"ˆ": "\u0302", "~": "\u0303", "˜": "\u0303", "ˉ": "\u0304", "¯": "\u0304"}


def mathml(tex: str, block: bool = False) -> str:
    """Return a formula as MathML, with accents as combining characters: browsers draw those above a letter too small."""
    italic = {chr(97 + i): "ℎ" if i == 7 else chr(0x1D44E + i) for i in range(26)}  # Unicode has no second h
    return ACCENT.sub(lambda m: f"<mi>{italic[m[1]]}{COMBINING[m[2]]}</mi>", tex2mathml(tex, as_block=block))


def math_inline(translator: Any, node: nodes.math) -> None:
    """Write a formula in a line as MathML, which browsers draw without a script."""
    translator.body.append(mathml(node.astext()))
    raise nodes.SkipNode


def math_block(translator: Any, node: nodes.math_block) -> None:
    """Write a formula on lines of its own as MathML."""
    translator.body.append(f'<div class="math">{mathml(node.astext(), block=True)}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    """Register the handlers; napoleon runs between the two."""
    app.connect("autodoc-process-docstring", plain_text, priority=400)
    app.connect("autodoc-process-docstring", escape_markup, priority=600)
    app.add_html_math_renderer("mathml", (math_inline, None), (math_block, None))
