"""HTML of the web page: what a prediction looks like, messages, style. Every text that comes from outside is escaped here.

Nothing refers to another file or host; pictures are embedded.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from PIL import Image

from zsl.app.annotate import readable, readable_class
from zsl.app.model_file import Model
from zsl.app.predictor import AttributeReason, ClassScore, Prediction
from zsl.errors import InputError
from zsl.report.overlay import overlay
from zsl.report.style import BLUE, INK, MUTED

PICTURE, TILE, EXAMPLE = 640, 240, 160  # longest side in pixels: the picture, one with attention over it, an example
METHODS = {"tfvaegan": "TF-VAEGAN", "dazle": "DAZLE"}
MINUS, THIN = "\u2212", "\u202f"


@dataclass(frozen=True)
class Result:
    """One picture on the page: what was predicted of it, or why it could not be read."""

    name: str
    picture: Image.Image | None = None
    prediction: Prediction | None = None
    error: InputError | None = None


def page_header(model: Model, changes: Sequence[str] = ()) -> str:
    """Title and what the model knows, as it is now in this session."""
    seen = int(model.seen.sum())
    facts = [
        f"{model.title}", f"{len(model.class_names)} classes: {seen} seen, {len(model.class_names) - seen} unseen",
        f"{len(model.attribute_names)} attributes",
    ]
    changed = f"<p class='zsl-changed'>{escape(_changes(changes))}</p>" if changes else ""
    return (
        "<header class='zsl-head'><h1>Zero-shot recognition</h1>"
        f"<p class='zsl-facts'>{' · '.join(map(escape, facts))}</p>"
        f"<p class='zsl-lead'>Names what a picture shows: {badge(True)} classes it was trained on, and {badge(False)} classes "
        "of which it has only a description, their attributes.</p>"
        f"{changed}</header>"
    )


def _changes(changes: Sequence[str]) -> str:
    shown = "; ".join(changes[-5:])
    return f"In this session only: {'… ' if len(changes) > 5 else ''}{shown}."


def badge(seen: bool) -> str:
    """Seen or unseen, told apart by word, shape and colour."""
    kind, mark = ("seen", "●") if seen else ("unseen", "◇")
    return f"<span class='zsl-badge zsl-{kind}'><span aria-hidden='true'>{mark}</span> {kind}</span>"


def empty_page() -> str:
    """What stands where results will be."""
    return (
        "<section class='zsl-empty'><h2>No picture yet</h2><p>Drop a picture on the left, or choose an example. You will see "
        "the most probable classes and the attributes that speak for the best one.</p></section>"
    )


def example_buttons(pictures: Sequence[tuple[str, Image.Image]]) -> str:
    """Example pictures (name, picture) to choose from; a click is told by its place, `data-index`."""
    buttons = "".join(
        f"<li><button type='button' data-index='{number}' aria-label='Example {escape(name)}' title='{escape(name)}'>"
        f"<img src='{data_uri(picture, EXAMPLE)}' alt=''></button></li>"
        for number, (name, picture) in enumerate(pictures)
    )
    return f"<p class='zsl-label'>Or try an example</p><ul class='zsl-examples'>{buttons}</ul>"


# Tells the page which button was pressed.
EXAMPLE_CLICK = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-index]');
  if (button) trigger('click', {index: Number(button.dataset.index)});
});
"""

# On a phone results lie below what is asked: goes there when they are out of sight.
TO_RESULTS = """
() => {
  const results = document.querySelector('#zsl-answer');
  if (results.getBoundingClientRect().top > 0.7 * window.innerHeight) results.scrollIntoView({behavior: 'smooth'});
}
"""


def results_page(results: Sequence[Result], largest_value: float, left_out: int = 0) -> str:
    """All pictures; where there are several, each folds, and the first lies open. What could not be read is never folded.

    Args:
        largest_value: of the attribute table; bars of class values are drawn on 0 ... this.
        left_out: pictures beyond what is predicted at a time.
    """
    if not results:
        return empty_page()
    parts = ["<section class='zsl-results' aria-label='Results'>"]
    if left_out:
        parts.append(message("note", f"{left_out} more pictures were left out", f"At most {len(results)} are shown at a time; "
                             "zero-shot-images/demo.py predicts any number."))
    first = next((number for number, result in enumerate(results) if result.error is None), None)
    for number, result in enumerate(results):
        body = result_card(result, largest_value)
        if len(results) > 1 and result.error is None:
            opened = " open" if number == first else ""
            body = f"<details{opened}><summary>{_summary(result)}</summary>{body}</details>"
        parts.append(body)
    return "".join([*parts, "</section>"])


def result_card(result: Result, largest_value: float) -> str:
    """One picture with everything that is said of it."""
    if result.error is not None:
        return problem(f"{result.name} could not be read", result.error)
    prediction = result.prediction
    top, picture = prediction.top, result.picture
    name = readable_class(top.name)
    answer = (
        f"<p class='zsl-eyebrow'>Most probable class</p><h2>{escape(name)} {badge(top.seen)}</h2>"
        f"<ol class='zsl-classes'>{''.join(map(class_bar, prediction.classes))}</ol>"
    )
    figure = (
        f"<figure class='zsl-picture'><img src='{data_uri(picture, PICTURE)}' alt='Your picture {escape(result.name)}'>"
        f"<figcaption>{escape(result.name)}</figcaption></figure>"
    )
    parts = [f"<div class='zsl-top'>{figure}<div class='zsl-answer'>{answer}</div></div>"]
    if prediction.attributes:
        parts.append(
            f"<h3>What speaks for {escape(name)}</h3>" + reasons_table(prediction.attributes, largest_value)
            + "<p class='zsl-under'>Contribution: how much the attribute adds to the class’s score. Read: how strongly it is "
            "found in the picture, on the model’s own scale. Class: what the attribute table says of the class.</p>"
        )
    if prediction.attention:
        parts.append(f"<h3>Where it looked</h3>{attention_tiles(picture, prediction)}")
    return f"<article class='zsl-card'>{''.join(parts)}</article>"


def _summary(result: Result) -> str:
    top = result.prediction.top
    return (
        f"<img src='{data_uri(result.picture, 96)}' alt=''><span class='zsl-file'>{escape(result.name)}</span>"
        f"<strong>{escape(readable_class(top.name))}</strong><span>{percent(top.probability)}</span>{badge(top.seen)}"
    )


def class_bar(score: ClassScore) -> str:
    """A class with its probability as number and bar."""
    kind = "seen" if score.seen else "unseen"
    return (
        f"<li><span class='zsl-name'>{escape(readable_class(score.name))} {badge(score.seen)}</span>"
        f"<span class='zsl-number'>{percent(score.probability)}</span>{_bar(score.probability, f'zsl-fill-{kind}')}</li>"
    )


def reasons_table(reasons: Sequence[AttributeReason], largest_value: float) -> str:
    """Attributes with contribution, what was read, and the class's value: numbers and bars.

    Contributions and readings are drawn against the largest one of the table.
    """
    most = max((abs(reason.contribution) for reason in reasons), default=0)
    most_read = max((abs(reason.read) for reason in reasons), default=0)
    rows = "".join(
        f"<tr><th scope='row'>{escape(readable(reason.name))}</th>"
        + _cell(signed(reason.contribution, most), reason.contribution, most, "zsl-fill-why")
        + _cell(signed(reason.read, most_read).removeprefix("+"), reason.read, most_read, "zsl-fill-read")
        + _cell(f"{reason.value:.4g}".replace("-", MINUS), reason.value, largest_value, "zsl-fill-value") + "</tr>"
        for reason in reasons
    )
    heads = "".join(f"<th scope='col'>{head}</th>" for head in ("Attribute", "Contribution", "Read", "Class"))
    return f"<table class='zsl-reasons'><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"


def _cell(text: str, value: float, most: float, kind: str) -> str:
    return f"<td><span class='zsl-number'>{text}</span>{_bar(value / most if most > 0 else 0.0, kind)}</td>"


def _bar(share: float, kind: str) -> str:
    """Of a length of 0 ... 1 of its place; what is negative has none. Its number stands beside it."""
    width = 100 * min(1.0, max(0.0, share)) if math.isfinite(share) else 0.0
    return f"<span class='zsl-bar' aria-hidden='true'><span class='{kind}' style='width:{width:.1f}%'></span></span>"


def signed(value: float, largest: float) -> str:
    """A number with its sign, to as many decimals as the largest of its column needs for two digits."""
    decimals = min(6, max(0, 1 - math.floor(math.log10(largest)))) if largest > 0 else 1
    return f"{value:+.{decimals}f}".replace("-", MINUS)


def percent(share: float) -> str:
    """A probability for people."""
    return f"&lt;{THIN}0.1{THIN}%" if 0 < share < 0.0005 else f"{100 * share:.1f}{THIN}%"


def attention_tiles(picture: Image.Image, prediction: Prediction) -> str:
    """The picture once for each attribute, bright where the model looked for it."""
    contributions = {reason.name: reason.contribution for reason in prediction.attributes}
    most = max(map(abs, contributions.values()), default=0)
    small, tiles = _small(picture, TILE), []
    for name, weights in prediction.attention.items():
        shown = escape(readable(name))
        number = f" <span class='zsl-number'>{signed(contributions[name], most)}</span>" if name in contributions else ""
        tiles.append(
            f"<li><figure><img src='{data_uri(overlay(small, weights, prediction.view), TILE)}' alt='Where the model looked "
            f"for {shown}'><figcaption>{shown}{number}</figcaption></figure></li>"
        )
    partial = prediction.view != (0.0, 0.0, 1.0, 1.0)
    outside = " The model sees the middle of the picture only; the rest is dark." if partial else ""
    return (
        f"<ul class='zsl-maps'>{''.join(tiles)}</ul><p class='zsl-under'>Bright is where the model looked for the attribute; "
        f"the number is its contribution.{outside}</p>"
    )


def _small(picture: Image.Image, side: int) -> Image.Image:
    picture = picture.copy()
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    return picture


def data_uri(picture: Image.Image, side: int) -> str:
    """A picture, no longer than `side`, to write into the page."""
    buffer = io.BytesIO()
    _small(picture, side).save(buffer, "JPEG", quality=86)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def message(kind: str, title: str, text: str = "") -> str:
    """A message of kind "error", "done", "busy" or "note", which screen readers speak out."""
    role = "alert" if kind == "error" else "status"
    body = f"<p>{escape(text)}</p>" if text else ""
    wheel = "<span class='zsl-wheel' aria-hidden='true'></span>" if kind == "busy" else ""
    return f"<div class='zsl-message zsl-{kind}' role='{role}'><p class='zsl-title'>{wheel}{escape(title)}</p>{body}</div>"


def problem(title: str, error: InputError, names: Mapping[str, str] | None = None) -> str:
    """An error as the page shows it.

    Args:
        names: what to write instead of what, such as a file's name instead of the path that its upload has here.
    """
    where = str(error.where)
    for path, name in (names or {}).items():
        where = where.replace(path, name)
    place = f" ({where})" if names is not None else ""
    text = f"{error.what[:1].upper()}{error.what[1:]}{place}: found {error.found}; expected {error.expected}. {error.cure}"
    return message("error", title, text)


FAVICON = (
    "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'><rect width='32' height='32' rx='7' fill='#0b66a8'/>"
    "<path d='M8 23V12m8 11V7m8 16v-6' stroke='#fff' stroke-width='4' stroke-linecap='round'/></svg>"
)

CSS = f"""
:root{{--zsl-ink:{INK};--zsl-soft:#5c6570;--zsl-line:#dfe3e8;--zsl-card:#fff;--zsl-track:#e9ecf0;--zsl-accent:{BLUE};
--zsl-seen:#2f86bd;--zsl-seen-ink:#0a5486;--zsl-seen-paper:#e6f2fa;--zsl-unseen:#cc4f14;--zsl-unseen-ink:#98390b;
--zsl-unseen-paper:#fdeee6;--zsl-value:{MUTED};--zsl-bad:#b3261e;--zsl-bad-paper:#fdecea;--zsl-good:#0a7a5a;
--zsl-good-paper:#e6f5f0}}
.dark{{--zsl-ink:#e7eaee;--zsl-soft:#a9b3be;--zsl-line:#343b44;--zsl-card:#1d2126;--zsl-track:#323942;--zsl-accent:#6cb6e8;
--zsl-seen:#4aa8dc;--zsl-seen-ink:#a5d8f5;--zsl-seen-paper:#16344a;--zsl-unseen:#e8824f;--zsl-unseen-ink:#ffc3a3;
--zsl-unseen-paper:#46230f;--zsl-value:#8f99a5;--zsl-bad:#f2867e;--zsl-bad-paper:#3d1b19;--zsl-good:#4fc9a2;
--zsl-good-paper:#12332a}}
.gradio-container{{max-width:84rem!important;width:100%!important;margin:0 auto!important}}
.block:has(>.html-container>.zsl-html),.block.zsl-html,.zsl-html .html-container{{padding:0!important}}
.zsl-html .zsl-label{{color:var(--zsl-soft);font-size:.86rem;margin-bottom:.35rem}}
.zsl-html .zsl-examples{{display:grid;grid-template-columns:repeat(auto-fill,minmax(4.6rem,1fr));gap:.5rem}}
.zsl-examples button{{display:block;width:100%;padding:0;border:0;background:none;border-radius:8px;cursor:pointer}}
.zsl-examples img{{display:block;width:100%;aspect-ratio:1;object-fit:cover;border-radius:8px}}
.zsl-examples button:hover img{{outline:2px solid var(--zsl-accent);outline-offset:1px}}
.gradio-container button:focus-visible,.zsl-html summary:focus-visible{{outline:3px solid var(--zsl-accent);outline-offset:2px}}
#zsl-teach{{--font-mono:var(--font)}}.dark #zsl-teach{{--color-accent:var(--zsl-accent)}}
.zsl-html,.zsl-html *{{box-sizing:border-box}}
.zsl-html{{color:var(--zsl-ink);font-size:1rem;line-height:1.5;overflow-wrap:anywhere}}
.zsl-html h1,.zsl-html h2,.zsl-html h3,.zsl-html p,.zsl-html ol,.zsl-html ul,.zsl-html figure{{margin:0;padding:0}}
.zsl-html ol,.zsl-html ul{{list-style:none}}
.zsl-head{{padding:.6rem 0 .2rem}}
.zsl-head h1{{font-size:1.75rem;line-height:1.2;font-weight:700;letter-spacing:-.01em}}
.zsl-head .zsl-facts{{color:var(--zsl-soft);margin-top:.3rem}}
.zsl-head .zsl-lead{{margin-top:.55rem;max-width:46rem}}
.zsl-head .zsl-changed{{margin-top:.55rem;color:var(--zsl-accent);font-weight:600}}
.zsl-badge{{display:inline-block;padding:.02em .55em;border:1px solid currentColor;border-radius:1em;font-size:.78rem;
font-weight:600;line-height:1.45;white-space:nowrap;vertical-align:.12em;letter-spacing:0}}
.zsl-badge.zsl-seen{{color:var(--zsl-seen-ink);background:var(--zsl-seen-paper)}}
.zsl-badge.zsl-unseen{{color:var(--zsl-unseen-ink);background:var(--zsl-unseen-paper);border-style:dashed}}
.zsl-empty,.zsl-card,.zsl-results details{{background:var(--zsl-card);border:1px solid var(--zsl-line);border-radius:12px}}
.zsl-empty{{padding:3.2rem 1.5rem;text-align:center;border-style:dashed}}
.zsl-empty h2{{font-size:1.1rem}}.zsl-empty p{{color:var(--zsl-soft);max-width:30rem;margin:.4rem auto 0}}
.zsl-results{{display:grid;gap:.8rem}}
.zsl-card{{padding:1.25rem}}
.zsl-results details .zsl-card{{border:0;border-top:1px solid var(--zsl-line);border-radius:0 0 12px 12px}}
.zsl-results summary{{display:flex;flex-wrap:wrap;align-items:center;gap:.25rem .7rem;padding:.6rem 1rem;cursor:pointer}}
.zsl-results summary img{{width:2.6rem;height:2.6rem;object-fit:cover;border-radius:6px}}
.zsl-results summary .zsl-file{{color:var(--zsl-soft);flex:1 1 8rem}}
.zsl-top{{display:grid;grid-template-columns:minmax(0,5fr) minmax(0,7fr);gap:1.4rem;align-items:start}}
.zsl-picture img{{display:block;width:100%;max-height:26rem;object-fit:contain;border-radius:8px;background:var(--zsl-track)}}
.zsl-html figcaption,.zsl-under{{color:var(--zsl-soft);font-size:.86rem}}
.zsl-picture figcaption{{margin-top:.35rem}}
.zsl-html .zsl-under{{margin-top:.6rem}}
.zsl-eyebrow{{color:var(--zsl-soft);font-size:.86rem}}
.zsl-answer h2{{font-size:1.45rem;line-height:1.25;font-weight:700}}
.zsl-html .zsl-classes{{margin-top:.9rem;display:grid;gap:.6rem}}
.zsl-classes li{{display:grid;grid-template-columns:1fr auto;gap:.15rem .8rem;align-items:baseline}}
.zsl-classes .zsl-bar{{grid-column:1/-1}}
.zsl-number{{font-variant-numeric:tabular-nums;white-space:nowrap}}
.zsl-bar{{display:block;height:.5rem;border-radius:.25rem;background:var(--zsl-track);overflow:hidden}}
.zsl-bar span{{display:block;height:100%;border-radius:.25rem}}
.zsl-fill-seen{{background:var(--zsl-seen)}}
.zsl-fill-unseen{{background:repeating-linear-gradient(135deg,var(--zsl-unseen) 0 6px,
color-mix(in srgb,var(--zsl-unseen) 72%,var(--zsl-card)) 6px 10px)}}
.zsl-fill-why{{background:var(--zsl-accent)}}.zsl-fill-read{{background:var(--zsl-good)}}
.zsl-fill-value{{background:var(--zsl-value)}}
.zsl-card h3{{font-size:1.05rem;font-weight:700;margin:1.5rem 0 .5rem}}
.zsl-reasons{{width:100%;border-collapse:collapse;table-layout:fixed;font-size:.94rem}}
.zsl-reasons th,.zsl-reasons td{{padding:.4rem .8rem .4rem 0;text-align:left;vertical-align:middle;
border-bottom:1px solid var(--zsl-line);font-weight:400;background:none}}
.zsl-reasons thead th{{color:var(--zsl-soft);font-size:.86rem;padding-top:0;overflow-wrap:normal}}
.zsl-reasons th:nth-child(1){{width:34%}}.zsl-reasons th:nth-child(2){{width:30%}}
.zsl-reasons td:last-child,.zsl-reasons th:last-child{{padding-right:0}}
.zsl-reasons td .zsl-bar{{height:.38rem;margin-top:.1rem}}
.zsl-html .zsl-maps{{display:grid;grid-template-columns:repeat(auto-fill,minmax(8.2rem,1fr));gap:.9rem}}
.zsl-maps img{{display:block;width:100%;border-radius:8px}}
.zsl-maps figcaption{{margin-top:.25rem;line-height:1.3}}
.zsl-message{{padding:.75rem 1rem;border-left:4px solid var(--zsl-accent);border-radius:6px;background:var(--zsl-track)}}
.zsl-message .zsl-title{{font-weight:650}}.zsl-message p+p{{margin-top:.2rem}}
.zsl-error{{border-color:var(--zsl-bad);background:var(--zsl-bad-paper)}}
.zsl-done{{border-color:var(--zsl-good);background:var(--zsl-good-paper)}}
.zsl-wheel{{display:inline-block;width:.9em;height:.9em;margin-right:.55em;border:2px solid var(--zsl-accent);
border-top-color:transparent;border-radius:50%;vertical-align:-.1em;animation:zsl-turn 1s linear infinite}}
@keyframes zsl-turn{{to{{transform:rotate(1turn)}}}}
@media (prefers-reduced-motion:reduce){{.zsl-wheel{{animation:none}}}}
#zsl-layout{{display:grid!important;grid-template-columns:minmax(0,24rem) minmax(0,1fr);grid-template-rows:auto 1fr;
gap:1.1rem;align-items:start}}
#zsl-layout>*{{min-width:0!important;width:100%}}
#zsl-ask{{grid-area:1/1}}#zsl-answer{{grid-area:1/2/3/3}}#zsl-teach{{grid-area:2/1}}
@media (max-width:56rem){{#zsl-layout{{display:flex!important;flex-direction:column;align-items:stretch}}
#zsl-ask{{order:1}}#zsl-answer{{order:2}}#zsl-teach{{order:3}}}}
@media (max-width:40rem){{.gradio-container{{padding-left:.2rem!important;padding-right:.2rem!important}}
.zsl-top{{grid-template-columns:1fr;gap:1rem}}.zsl-picture img{{max-height:16rem}}.zsl-card{{padding:.9rem}}
.zsl-empty{{padding:2rem 1rem}}
.zsl-head h1{{font-size:1.5rem}}.zsl-reasons th,.zsl-reasons td{{padding-right:.55rem}}.zsl-reasons{{font-size:.88rem}}
.zsl-reasons thead th{{font-size:.8rem}}.zsl-reasons th:nth-child(1){{width:36%}}.zsl-reasons th:nth-child(2){{width:30%}}
.zsl-html .zsl-maps{{grid-template-columns:repeat(2,1fr)}}}}
"""
