"""The report of a run: `plots/*.png` and one self-contained `report.html`, from the run folder alone.

`write_report(run_dir)`, or from the command line `python -m zsl.report RUN_DIR [RUN_DIR ...]`.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable
from html import escape
from pathlib import Path

from zsl.report.attention import attribute_name, draw_attention, read_pointing
from zsl.report.folder import MEASURES, FinishedRun, number, read_run
from zsl.report.plots import Plot, draw_plots
from zsl.report.tables import DASH, HEADINGS, area, chosen_at, headline, percent
from zsl.runs.files import atomic_path, write_text

# What a reader must know before quoting a number; the row's own rule says the rest.
_ROW_TAGS = {"paper": "optimistic"}
_MEANINGS = {
    "T1": "accuracy on unseen classes when only they may be named", "u": "unseen classes, every class may be named",
    "s": "seen classes, every class may be named", "H": "harmonic mean of u and s",
    "AUSUC": "area under the seen/unseen curve",
}


def write_report(run_dir: Path, images: Path | None = None) -> Path:
    """Draws the plots and the report of one run.

    Everything is drawn before anything is written, so a failure leaves the earlier report as it was.

    Args:
        images: folder of the data set's pictures, for attention maps; where the run found them if not given.

    Returns:
        The path of report.html.

    Raises:
        InputError: the folder lacks a required file, or one is damaged or of another schema.
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


def render(run: FinishedRun, plots: list[Plot], attention: Iterable[Plot] = ()) -> str:
    """The whole page as text; nothing in it refers to another file or host."""
    result, data = run.result, run.result["data"]
    parts = [
        f"<header><p class='eyebrow'>{escape(result['method'])} · run report</p><h1>{escape(result['title'])}</h1>",
        f"<p class='facts'>{' · '.join(map(escape, headline(result)))}</p></header><main>",
        _tiles(result),
        "<section aria-labelledby='results'><h2 id='results'>Results</h2>", _rows_table(result), "</section>",
    ]
    if result["notes"]:
        notes = "".join(f"<li>{escape(str(note))}</li>" for note in result["notes"])
        parts.append(
            f"<section aria-labelledby='notes'><h2 id='notes'>Notes</h2><ul class='notes'>{notes}</ul></section>"
        )
    parts += [
        "<section aria-labelledby='data'><h2 id='data'>Data</h2>",
        _pairs([
            *data["counts"].items(), ("seen classes", len(data["seen_classes"])),
            ("unseen classes", len(data["unseen_classes"])), ("feature dimensions", data["feature_dim"]),
            ("attribute dimensions", data["attribute_dim"]),
            *((f"digest of the {part}", digest) for part, digest in data.get("fingerprint", {}).items()),
        ], "counts"),
        "</section>",
    ]
    first, folded = [p for p in plots if not p.secondary], [p for p in plots if p.secondary]
    if first:
        parts += ["<section aria-labelledby='plots'><h2 id='plots'>Plots</h2>", *map(figure_html, first)]
        if folded:
            parts += ["<details><summary>The same for the row “last”</summary>", *map(figure_html, folded), "</details>"]
        parts.append("</section>")
    if attention:
        parts += [
            "<section aria-labelledby='attention'><h2 id='attention'>Attention</h2>", *map(figure_html, attention),
            _pointing_table(run), "</section>",
        ]
    parts += [
        "<section aria-labelledby='again'><h2 id='again'>Reproduce</h2>",
        f"<pre tabindex='0'><code>{escape(result['command'])}</code></pre>",
        _pairs([
            ("device", result["device"]), ("machine", result["machine"]), ("torch", result["torch"]),
            ("zsl", result["version"]), ("time", duration(result["seconds"])),
            ("epochs trained", len(run.epochs)),
        ], "counts"),
        f"<details><summary>Configuration ({len(result['config'])} flags)</summary>",
        _pairs(((flag, str(value)) for flag, value in sorted(result["config"].items())), "config"),
        "</details></section></main>",
        f"<footer>Written by zsl {escape(result['version'])} from the run folder; redraw it with "
        "<code>python -m zsl.report RUN_DIR</code>.</footer>",
    ]
    return document(result["title"], parts)


def document(title: str, parts: Iterable[str]) -> str:
    """A self-contained page from the HTML of its parts."""
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        "<meta name='color-scheme' content='light dark'>"
        f"<title>{escape(title)}</title><style>{_CSS}</style></head><body>\n"
        + "\n".join(parts) + "\n</body></html>\n"
    )


def duration(seconds: float) -> str:
    """Seconds as words of two units at most: "3 h 12 min", "41 s"."""
    seconds = round(seconds)
    for unit, size, smaller, rest in (("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if seconds >= size:
            return f"{seconds // size} {unit} {seconds % size // rest} {smaller}"
    return f"{seconds} s"


def headline_row(result: dict) -> dict | None:
    """The row to quote: the one that looked at the test set once; without one, the last epoch's; None without numbers."""
    rows = {row["row"]: row for row in result["rows"]}
    for name in ("val", "last"):
        row = rows.get(name, {})
        if not all(math.isnan(number(row.get(measure))) for measure in MEASURES):
            return row
    return None


def _tiles(result: dict) -> str:
    """Four large numbers."""
    row = headline_row(result)
    if row is None:
        return ""
    tiles = "".join(
        f"<div><dt>{HEADINGS[measure]}</dt><dd>{percent(row.get(measure))}</dd></div>" for measure in MEASURES
    )
    return f"<dl class='tiles'>{tiles}</dl><p class='under'>Per cent, row “{row['row']}”.</p>"


def _rows_table(result: dict) -> str:
    bodies = []
    for row in result["rows"]:
        values = [row.get(measure) for measure in MEASURES] + [area(result, row["row"])]
        where = chosen_at(row)
        where = f" <span class='where'>{escape(where)}</span>" if where else ""
        bodies.append(row_with_rule(row, map(percent, values), where))
    return measures_table("row", HEADINGS.values(), bodies)


def row_with_rule(row: dict, values: Iterable[str], more: str = "") -> str:
    """A protocol row with its values, and its rule below; `more` is HTML."""
    values = list(values)
    tag = f" <span class='tag'>{_ROW_TAGS[row['row']]}</span>" if row["row"] in _ROW_TAGS else ""
    cells = "".join(f"<td>{value}</td>" for value in values)
    return (
        f"<tbody><tr><th scope='row'>{escape(row['row'])}{tag}</th>{cells}</tr><tr class='rule'>"
        f"<td colspan='{len(values) + 1}'>{escape(row.get('rule') or '')}{more}</td></tr></tbody>"
    )


def measures_table(first: str, names: Iterable[str], bodies: Iterable[str]) -> str:
    """A table of accuracies with its legend: column `first`, then the measures `names` as headed in every table."""
    names = list(names)
    heads = "".join(f"<th scope='col'><abbr title='{_MEANINGS[h]}'>{h}</abbr></th>" for h in names)
    legend = " · ".join(f"{name}: {_MEANINGS[name]}" for name in names)
    return (
        f"<table class='rows'><thead><tr><th scope='col'>{escape(first)}</th>{heads}</tr></thead>{''.join(bodies)}</table>"
        f"<p class='under'>Per cent, averaged per class; {DASH} where there is no value. {legend}.</p>"
    )


def _pointing_table(run: FinishedRun) -> str:
    """Every attribute's pointing, folded."""
    pointing = read_pointing(run)
    if pointing is None:
        return ""
    heads = "".join(f"<th scope='col'>{head}</th>" for head in ("pairs", "peak", "chance", "centre", "mass"))
    rows = "".join(
        f"<tr><th scope='row'>{escape(attribute_name(name))}</th><td>{means['pairs']}</td>"
        + "".join(f"<td>{percent(means[key])}</td>" for key in ("peak", "peak_chance", "centre", "mass")) + "</tr>"
        for name, means in pointing["attributes"].items()
    )
    return (
        f"<details><summary>Pointing of {len(pointing['attributes'])} attributes</summary><table class='rows plain'><thead>"
        f"<tr><th scope='col'>attribute</th>{heads}</tr></thead><tbody>{rows}</tbody></table>"
        "<p class='under'>Per cent of pairs of a test picture and an attribute it shows. Peak: the cell with most attention "
        "overlaps the part's box; chance: that of any cell; centre: its middle lies in the box. Mass: attention inside the "
        "box.</p></details>"
    )


def _pairs(items: Iterable[tuple[str, object]], kind: str) -> str:
    cells = "".join(f"<div><dt>{escape(str(key))}</dt><dd>{escape(_plain(value))}</dd></div>" for key, value in items)
    return f"<dl class='{kind}'>{cells}</dl>"


def _plain(value: object) -> str:
    if value is None or value == "":
        return DASH
    return f"{value:,}".replace(",", "\u202f") if isinstance(value, int) and not isinstance(value, bool) else str(value)


def figure_html(plot: Plot) -> str:
    """A plot with its title and caption, the picture embedded."""
    source = base64.b64encode(plot.png).decode("ascii")
    return (
        f"<figure id='{plot.name}'><h3>{escape(plot.title)}</h3><div class='scroll' tabindex='0'>"
        f"<img alt='{escape(plot.alt)}' src='data:image/png;base64,{source}'></div>"
        f"<figcaption>{escape(plot.caption)}</figcaption></figure>"
    )


_CSS = """
:root{--ink:#22262b;--soft:#5c6570;--line:#dfe3e8;--page:#f6f7f9;--card:#fff;--accent:#0b66a8;--warn:#fff4e2;
--warnline:#e08e0b}
@media (prefers-color-scheme:dark){:root{--ink:#e7eaee;--soft:#a3adb8;--line:#343b44;--page:#15181c;--card:#1d2126;
--accent:#6cb6e8;--warn:#33290f;--warnline:#d99a2b}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:60rem;padding:2rem 1.25rem 3rem;background:var(--page);color:var(--ink);
font:1rem/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
h1{font-size:1.9rem;line-height:1.2;margin:.1rem 0 .4rem;overflow-wrap:anywhere}
h2{font-size:1.25rem;margin:2.6rem 0 .8rem}h3{font-size:1rem;margin:0 0 .6rem}
.eyebrow{margin:0;color:var(--accent);font-size:.8rem;font-weight:600;letter-spacing:.06em}
.facts,.under,figcaption,footer{color:var(--soft)}.facts{margin:0;overflow-wrap:anywhere}
.under,figcaption,footer{font-size:.86rem}.under{margin:.5rem 0 0}
figure,.rows,.tiles div,pre,dl.counts,details{background:var(--card);border:1px solid var(--line);border-radius:10px}
.tiles{display:grid;grid-template-columns:repeat(4,1fr);gap:.8rem;margin:1.6rem 0 0}
.tiles div{padding:.8rem 1rem}.tiles dt{color:var(--soft);font-size:.9rem}
.tiles dd{margin:0;font-size:1.9rem;line-height:1.2;font-weight:650;font-variant-numeric:tabular-nums}
.rows{width:100%;border-collapse:separate;border-spacing:0;overflow:hidden;font-variant-numeric:tabular-nums}
.rows th,.rows td{padding:.55rem .75rem .1rem;text-align:right}.rows th:first-child{text-align:left}
.rows thead th{color:var(--soft);font-size:.86rem;padding-bottom:.55rem}.rows abbr{text-decoration:none}
.rows tbody tr:first-child>*{border-top:1px solid var(--line)}
.rows .rule td{text-align:left;color:var(--soft);font-size:.86rem;padding:0 .75rem .65rem}
.rule td::first-letter{text-transform:uppercase}.where{display:block}
.plain{margin-top:.8rem}.plain th,.plain td{padding:.2rem .6rem;font-weight:400}.plain thead th{font-weight:600}
.tag{display:inline-block;padding:0 .45em;border:1px solid var(--warnline);border-radius:1em;background:var(--warn);
font-size:.74em;font-weight:500}
.notes{margin:0;padding:.8rem 1.2rem .8rem 2.1rem;background:var(--warn);border-left:4px solid var(--warnline);
border-radius:6px}.notes li+li{margin-top:.35rem}
dl{margin:0}
dl.counts{display:grid;grid-template-columns:repeat(auto-fill,minmax(8rem,1fr));gap:.9rem 1rem;padding:1rem}
dt{color:var(--soft);font-size:.84rem}dd{margin:0;overflow-wrap:anywhere}
dl.config{columns:2 17rem;column-gap:2rem;margin-top:.8rem}
dl.config div{display:flex;justify-content:space-between;gap:1rem;break-inside:avoid;padding:.2rem 0;
border-bottom:1px solid var(--line)}dl.config dd{text-align:right}
figure{margin:0 0 1.2rem;padding:1rem}figcaption{margin-top:.6rem}
.scroll{overflow-x:auto;background:#fff;border-radius:6px}
img{display:block;width:100%;min-width:36rem;height:auto}
details{padding:.7rem 1rem;margin-top:1rem}summary{cursor:pointer;font-weight:600}details figure{margin-top:1rem}
pre{padding:.9rem 1rem;margin:0 0 1rem;white-space:pre-wrap;overflow-wrap:anywhere}
code{font:.88em/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
footer{margin-top:2.5rem;border-top:1px solid var(--line);padding-top:.8rem}
@media (max-width:36rem){body{padding:1.2rem .8rem 2rem}.tiles{grid-template-columns:repeat(2,1fr)}
.rows th,.rows td,.rows .rule td{padding-left:.35rem;padding-right:.35rem}
.rows th,.rows td{font-size:.82rem}figure{padding:.7rem}}
"""
