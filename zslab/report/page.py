"""Reports as self-contained HTML pages, all from the templates in `templates/`, which escape what they are given."""

import base64
import math
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from zslab.report.plots.plot import Plot
from zslab.results.names import ACCURACIES, MEASURES
from zslab.results.text import DASH, percent
from zslab.utils.files import atomic_path, write_text


def write_page(path: Path, template: str, *, kind: str, title: str, facts: str, **content: object) -> Path:
    """Write a page that refers to no other file or host; return its path."""
    write_text(path, _templates().get_template(template).render(kind=kind, title=title, facts=facts, **content))
    return path


def render_part(template: str, **content: object) -> str:
    """Return a template that is no page of its own, filled in."""
    return _templates().get_template(template).render(**content)


def write_plots(folder: Path, plots: Iterable[Plot]) -> None:
    """Write plots as PNG files."""
    for plot in plots:
        with atomic_path(folder / f"{plot.name}.png") as temporary:
            temporary.write_bytes(plot.png)


def duration(seconds: float) -> str:
    """Return a time in at most two units: "3 h 12 min", "41 s"."""
    seconds = round(seconds) if math.isfinite(seconds) else 0
    for unit, size, smaller, rest in (("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if seconds >= size:
            return f"{seconds // size} {unit} {seconds % size // rest} {smaller}"
    return f"{seconds} s"


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=PackageLoader("zslab.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"percent": percent, "plain": _plain, "base64": lambda png: base64.b64encode(png).decode("ascii")}
    environment.globals |= {"measures": MEASURES, "accuracies": ACCURACIES, "headings": _headings}
    return environment


def _headings(body: str) -> list[tuple[str, str]]:
    """Return id and text of each section's heading, for the list of contents."""
    return re.findall(r'<h2 id="([^"]+)">(.*?)</h2>', body)


def _plain(value: object) -> str:
    """Return a value for readers: a dash for nothing, thin spaces between thousands."""
    if value is None or value == "":
        return DASH
    return f"{value:,}".replace(",", "\u202f") if isinstance(value, int) and not isinstance(value, bool) else str(value)
