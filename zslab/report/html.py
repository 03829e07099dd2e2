"""The report of a run: `plots/*.png` and one self-contained `report.html`, from the run folder alone.

`write_report(run_dir)`, or from the command line `zslab report RUN_DIR [RUN_DIR ...]`.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Literal

from zslab.report.attention import attribute_name, draw_attention, read_pointing
from zslab.report.leakage import GROUPS, accuracies, class_groups, read_leakage
from zslab.report.plots.draw import draw_plots
from zslab.report.plots.plot import Plot
from zslab.report.run import MEASURES, DataFacts, FinishedRun, Result, Row, number, read_run
from zslab.report.text import DASH, HEADINGS, area, chosen_at, headline, percent
from zslab.utils.environment import export_command
from zslab.utils.files import atomic_path, write_text

_TAGS = {"paper": "optimistic", "validation": "validation classes"}  # what a reader must know before quoting a row
_MEANINGS = {
    "T1": "accuracy on unseen classes when predicting among unseen classes",
    "u": "accuracy on unseen classes when predicting among all classes",
    "s": "accuracy on seen classes when predicting among all classes",
    "H": "harmonic mean of u and s",
    "AUSUC": "area under the seen/unseen curve",
}


def write_report(run_dir: Path, images: Path | None = None) -> Path:
    """Draw the plots and write the report of one run.

    Everything is drawn before anything is written, so a failure leaves the earlier report as it was.

    Args:
        run_dir: The folder of a finished run.
        images: Folder of the data set's images, for attention maps; by default the one that the run used.

    Returns:
        The path of report.html.

    Raises:
        InputError: The folder lacks a required file, or one is damaged or of another schema.
    """
    run = read_run(run_dir)
    plots, attention = draw_plots(run), draw_attention(run, images)
    page = render(run, plots, attention)
    for plot in [*plots, *attention]:
        with atomic_path(run.path / "plots" / f"{plot.name}.png") as temporary:
            temporary.write_bytes(plot.png)
    report = run.path / "report.html"
    write_text(report, page)
    return report


def render(run: FinishedRun, plots: Sequence[Plot], attention: Sequence[Plot] = ()) -> str:
    """Return the page as HTML that refers to no other file or host."""
    result = run.result
    return document(
        f"{result['method']} · run report",
        result["title"],
        " · ".join(headline(result)),
        [
            _tiles(result),
            section("Results", _rows_table(result)),
            _leakage(run),
            notes_section(result["notes"]),
            section("Data", _data_facts(result["data"])),
            _plots(plots),
            section("Attention", *map(figure_html, attention), _pointing_table(run)) if attention else "",
            section("Reproduce", *_reproduce(run)),
        ],
        f"Written by zslab {escape(result['version'])} from the run folder. Redraw it with <code>zslab report RUN_DIR</code>.",
    )


def document(kind: str, title: str, facts: str, parts: Iterable[str], footer: str = "") -> str:
    """Return a self-contained page.

    Args:
        kind: Kind of the page, in small type above the title.
        title: Title, as text.
        facts: One line below the title, as text.
        parts: HTML of the sections.
        footer: HTML of the footer.
    """
    style = files("zslab.report").joinpath("style.css").read_text(encoding="utf-8")
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        "<meta name='color-scheme' content='light dark'>"
        f"<title>{escape(title)}</title><style>\n{style}</style></head><body>\n"
        f"<header><p class='eyebrow'>{escape(kind)}</p><h1>{escape(title)}</h1><p class='facts'>{escape(facts)}</p></header>\n"
        "<main>\n" + "\n".join(parts) + f"\n</main>{footer and f'<footer>{footer}</footer>'}</body></html>\n"
    )


def duration(seconds: float) -> str:
    """Return a time in at most two units: "3 h 12 min", "41 s"."""
    seconds = round(seconds) if math.isfinite(seconds) else 0
    for unit, size, smaller, rest in (("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if seconds >= size:
            return f"{seconds // size} {unit} {seconds % size // rest} {smaller}"
    return f"{seconds} s"


def headline_row(result: Result) -> Row | None:
    """Return the row to quote: the first of `val`, `last` and `validation` with the most accuracies; None without any."""
    rows = {row["row"]: row for row in result["rows"]}
    named = [rows[name] for name in ("val", "last", "validation") if name in rows]
    known = [sum(not math.isnan(number(row.get(measure))) for measure in MEASURES) for row in named]
    return named[known.index(max(known))] if any(known) else None


def section(heading: str, *parts: str) -> str:
    """Return a section of a page from the HTML of its parts."""
    name = "-".join(re.findall(r"\w+", heading.lower()))
    return "\n".join([f"<section aria-labelledby='{name}'><h2 id='{name}'>{heading}</h2>", *parts, "</section>"])


def notes_section(notes: Iterable[str]) -> str:
    """Return the section of the notes; nothing without any."""
    items = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return section("Notes", f"<ul class='notes'>{items}</ul>") if items else ""


def plain_table(heads: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Return a table of texts; the first cell of a row is its heading."""
    head = "".join(f"<th scope='col'>{escape(name)}</th>" for name in heads)
    body = "".join(
        f"<tr><th scope='row'>{escape(str(first))}</th>{''.join(f'<td>{escape(str(cell))}</td>' for cell in cells)}</tr>"
        for first, *cells in rows
    )
    return f"<table class='rows plain'><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _tiles(result: Result) -> str:
    """Return the four accuracies of the row to quote, in large type."""
    row = headline_row(result)
    if row is None:
        return ""
    tiles = "".join(f"<div><dt>{HEADINGS[measure]}</dt><dd>{percent(row.get(measure))}</dd></div>" for measure in MEASURES)
    where = " Measured on validation classes." if row["row"] == "validation" else ""
    return f"<dl class='tiles'>{tiles}</dl><p class='under'>Per cent, selection “{escape(row['row'])}”.{where}</p>"


def _rows_table(result: Result) -> str:
    bodies = []
    for row in result["rows"]:
        values = [percent(row.get(measure)) for measure in MEASURES] + [percent(area(result, row["row"]))]
        bodies.append(row_with_rule(row["row"], row.get("rule"), values, chosen_at(row)))
    return measures_table("selection", HEADINGS.values(), bodies)


def row_with_rule(name: str, rule: str | None, values: Sequence[str], chosen: str = "") -> str:
    """Return a row of the table with its values, and below it what its selection means and which epoch it chose."""
    tag = f" <span class='tag'>{_TAGS[name]}</span>" if name in _TAGS else ""
    cells = "".join(f"<td>{value}</td>" for value in values)
    more = f" <span class='where'>{escape(chosen)}</span>" if chosen else ""
    return (
        f"<tbody><tr><th scope='row'>{escape(name)}{tag}</th>{cells}</tr><tr class='rule'>"
        f"<td colspan='{len(values) + 1}'>{escape(rule or '')}{more}</td></tr></tbody>"
    )


def measures_table(first: str, names: Iterable[str], bodies: Iterable[str]) -> str:
    """Return a table of accuracies with its legend.

    Args:
        first: Heading of the first column.
        names: The measures as they are headed in every table.
        bodies: HTML of the rows.
    """
    names = list(names)
    heads = "".join(f"<th scope='col'><abbr title='{_MEANINGS[name]}'>{name}</abbr></th>" for name in names)
    legend = " · ".join(f"{name}: {_MEANINGS[name]}" for name in names)
    return (
        f"<table class='rows'><thead><tr><th scope='col'>{escape(first)}</th>{heads}</tr></thead>{''.join(bodies)}</table>"
        f"<p class='under'>Per cent, averaged per class; {DASH} where there is no value. {legend}.</p>"
    )


def _data_facts(data: DataFacts) -> str:
    facts: list[tuple[str, object]] = [
        *data["counts"].items(),
        ("seen classes", len(data["seen_classes"])),
        ("unseen classes", len(data["unseen_classes"])),
        ("feature dimensions", data["feature_dim"]),
        ("attribute dimensions", data["attribute_dim"]),
    ]
    return _pairs([*facts, *((f"digest of the {part}", digest) for part, digest in data.get("fingerprint", {}).items())])


def _plots(plots: Sequence[Plot]) -> str:
    first, folded = ([plot for plot in plots if plot.secondary == secondary] for secondary in (False, True))
    if not first:
        return ""
    more = ["<details><summary>The same for selection “last”</summary>", *map(figure_html, folded), "</details>"]
    return section("Plots", *map(figure_html, first), *(more if folded else ()))


def _reproduce(run: FinishedRun) -> list[str]:
    result = run.result
    return [
        f"<pre tabindex='0'><code>{escape(result['command'])}\n{escape(export_command(run.path))}</code></pre>",
        _pairs(
            [
                ("device", result["device"]),
                ("machine", result["machine"]),
                ("torch", result["torch"]),
                ("zslab", result["version"]),
                ("time", duration(result["seconds"])),
                ("epochs trained", len(run.epochs)),
            ]
        ),
        f"<details><summary>Configuration ({len(result['config'])} flags)</summary>",
        _pairs(sorted((flag, str(value)) for flag, value in result["config"].items()), "config"),
        "</details>",
    ]


def _pointing_table(run: FinishedRun) -> str:
    """Return every attribute's pointing accuracy, folded; nothing for runs without it."""
    pointing = read_pointing(run)
    if pointing is None:
        return ""
    measures: tuple[Literal["peak", "peak_chance", "center", "mass"], ...] = ("peak", "peak_chance", "center", "mass")
    rows = (
        [attribute_name(name), means["pairs"], *(percent(means[measure]) for measure in measures)]
        for name, means in pointing["attributes"].items()
    )
    return (
        f"<details><summary>Pointing accuracy of {len(pointing['attributes'])} attributes</summary>"
        f"{plain_table(['attribute', 'pairs', 'peak', 'chance', 'center', 'mass'], rows)}"
        "<p class='under'>Per cent of pairs of a test image and an attribute that it shows. Peak: the cell with most "
        "attention overlaps the part's box. Chance: the same for any cell. Center: the middle of that cell lies in the box. "
        "Mass: attention inside the box.</p></details>"
    )


def _leakage(run: FinishedRun) -> str:
    """Return T1 with and without the unseen classes of the pretraining, and what matched; nothing where none was looked for."""
    leakage = read_leakage(run)
    if leakage is None:
        return ""
    sizes = class_groups(run, leakage)
    heads = ["selection", *(f"{name} ({sizes[name].sum()})" for name in GROUPS)]
    rows = ([rule, *(percent(values[name]) for name in GROUPS)] for rule, values in accuracies(run, leakage).items())
    matches = ((m["name"], f"{'same as' if m['same'] else 'related to'} {m['pretrained']}") for m in leakage["matches"])
    return section(
        "Leakage",
        plain_table(heads, rows),
        f"<p class='under'>T1 in per cent over groups of unseen classes (number of classes): all, without a class of "
        f"{escape(leakage['pretraining'])}, with a related one, and with the same one, by their names.</p>",
        _pairs(matches),
    )


def _pairs(items: Iterable[tuple[str, object]], kind: str = "counts") -> str:
    """Return names and values as a definition list."""
    cells = "".join(f"<div><dt>{escape(key)}</dt><dd>{escape(_plain(value))}</dd></div>" for key, value in items)
    return f"<dl class='{kind}'>{cells}</dl>"


def _plain(value: object) -> str:
    if value is None or value == "":
        return DASH
    return f"{value:,}".replace(",", "\u202f") if isinstance(value, int) and not isinstance(value, bool) else str(value)


def figure_html(plot: Plot) -> str:
    """Return a plot with its title and caption, the image embedded."""
    source = base64.b64encode(plot.png).decode("ascii")
    title = escape(plot.title, quote=True)
    return (
        f"<figure id='{plot.name}'><h3>{escape(plot.title)}</h3>"
        f"<div class='scroll' tabindex='0' role='group' aria-label='{title}'>"
        f"<img alt='{escape(plot.alt)}' src='data:image/png;base64,{source}'></div>"
        f"<figcaption>{escape(plot.caption)}</figcaption></figure>"
    )
