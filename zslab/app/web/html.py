"""HTML of predictions and messages. Texts from outside are escaped; images are embedded, nothing refers to another file."""

from __future__ import annotations

import base64
import io
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from PIL import Image

from zslab.app.model_file import Model
from zslab.app.prediction import AttributeReason, ClassScore, Prediction
from zslab.errors import InputError
from zslab.report.attention import attribute_name
from zslab.report.overlay import overlay

IMAGE, TILE, EXAMPLE = 640, 240, 160  # longest side in pixels: the image, one with attention over it, an example
MAX_DIGITS = 40  # characters of an attribute's value
MINUS, THIN = "\u2212", "\u202f"


@dataclass(frozen=True)
class Result:
    """One image on the page and what was predicted of it, with classes named as people read them."""

    name: str
    image: Image.Image
    prediction: Prediction

    @property
    def top(self) -> ClassScore:
        """The most probable class."""
        return self.prediction.classes[0]


@dataclass(frozen=True)
class Unreadable:
    """One image that could not be read, and why."""

    name: str
    error: InputError


def page_header(model: Model, changes: Sequence[str] = ()) -> str:
    """Title and what the model knows, as it is now in this session."""
    seen = int(model.seen.sum())
    facts = [
        f"{model.title}",
        f"{len(model.class_names)} classes: {seen} seen, {len(model.class_names) - seen} unseen",
        f"{len(model.attribute_names)} attributes",
    ]
    changed = f"<p class='zslab-changed'>{escape(_changes(changes))}</p>" if changes else ""
    return (
        "<header class='zslab-head'><h1>Zero-shot recognition</h1>"
        f"<p class='zslab-facts'>{' · '.join(map(escape, facts))}</p>"
        f"<p class='zslab-lead'>Names what an image shows: {badge(True)} classes it was trained on, and {badge(False)} classes "
        "of which it has only a description, their attributes.</p>"
        f"{changed}</header>"
    )


def _changes(changes: Sequence[str]) -> str:
    shown = "; ".join(changes[-5:])
    return f"In this session only: {'… ' if len(changes) > 5 else ''}{shown}."


def badge(seen: bool) -> str:
    """Seen or unseen, told apart by word, shape and color."""
    kind, mark = ("seen", "●") if seen else ("unseen", "◇")
    return f"<span class='zslab-badge zslab-{kind}'><span aria-hidden='true'>{mark}</span> {kind}</span>"


def empty_page() -> str:
    """Return what stands where results will be."""
    return (
        "<section class='zslab-empty'><h2>No image yet</h2><p>Drop an image on the left, or choose an example. You will see "
        "the most probable classes and the attributes that speak for the best one.</p></section>"
    )


def example_buttons(images: Sequence[tuple[str, Image.Image]]) -> str:
    """Return example images (name, image) to choose from; a click is told by its place, `data-index`."""
    buttons = "".join(
        f"<li><button type='button' data-index='{number}' aria-label='Example {escape(name)}' title='{escape(name)}'>"
        f"<img src='{data_uri(image, EXAMPLE)}' alt=''></button></li>"
        for number, (name, image) in enumerate(images)
    )
    return f"<p class='zslab-label'>Or try an example</p><ul class='zslab-examples'>{buttons}</ul>"


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
  const results = document.querySelector('#zslab-answer');
  if (results.getBoundingClientRect().top > 0.7 * window.innerHeight) results.scrollIntoView({behavior: 'smooth'});
}
"""

# An open list of Gradio's that has become shorter is drawn again at the next key only: sends it one.
REDRAW = """
() => {
  const field = FIELD;
  if (field.ariaExpanded === 'true') field.dispatchEvent(new KeyboardEvent('keydown', {key: 'Shift', bubbles: true}));
}
"""


_drawn = itertools.count()


def attribute_fields(title: str, labels: Sequence[str], values: Sequence[str]) -> str:
    """Return a field for each attribute, and one that searches them; `page.js` knows the keys.

    The element around them has another name each time: Gradio changes only what differs, and would leave typed values.
    """
    element = f"zslab-fields-{next(_drawn)}"
    fields = "".join(
        f"<li><label><span>{escape(label)}</span><input class='zslab-value' inputmode='decimal' autocomplete='off' "
        f"maxlength='{MAX_DIGITS}' tabindex='{-1 if place else 0}' value='{escape(value)}'></label></li>"
        for place, (label, value) in enumerate(zip(labels, values))
    )
    return (
        f"<{element} class='zslab-fields'><p class='zslab-label'>{escape(title)}</p><input type='search' "
        f"aria-label='Search the attributes' placeholder='Search' autocomplete='off'><ul>{fields}</ul></{element}>"
    )


def results_page(results: Sequence[Result | Unreadable], largest_value: float, left_out: int = 0) -> str:
    """Return all results; of several images each folds, and the first is open. What could not be read is never folded.

    Args:
        largest_value: of the attribute table; bars of class values are drawn on 0 ... this.
        left_out: images beyond what is predicted at a time.
    """
    if not results:
        return empty_page()
    parts = ["<section class='zslab-results' aria-label='Results'>"]
    if left_out:
        parts.append(
            message(
                "note",
                f"{left_out} more images were left out",
                f"At most {len(results)} are shown at a time; zero-shot-images/demo.py predicts any number.",
            )
        )
    fold, is_open = len(results) > 1, True
    for result in results:
        if isinstance(result, Unreadable):
            parts.append(problem(f"{result.name} could not be read", result.error))
            continue
        card = result_card(result, largest_value)
        if fold:
            card = f"<details{' open' if is_open else ''}><summary>{_summary(result)}</summary>{card}</details>"
            is_open = False
        parts.append(card)
    return "".join([*parts, "</section>"])


def result_card(result: Result, largest_value: float) -> str:
    """Return one image with everything that is said of it."""
    prediction, name = result.prediction, escape(result.top.name)
    answer = (
        f"<p class='zslab-eyebrow'>Most probable class</p><h2>{name} {badge(result.top.seen)}</h2>"
        f"<ol class='zslab-classes'>{''.join(map(class_bar, prediction.classes))}</ol>"
    )
    figure = (
        f"<figure class='zslab-image'><img src='{data_uri(result.image, IMAGE)}' alt='Your image {escape(result.name)}'>"
        f"<figcaption>{escape(result.name)}</figcaption></figure>"
    )
    parts = [f"<div class='zslab-top'>{figure}<div class='zslab-answer'>{answer}</div></div>"]
    if prediction.attributes:
        parts.append(
            f"<h3>What speaks for {name}</h3>"
            + reasons_table(prediction.attributes, largest_value)
            + "<p class='zslab-under'>Contribution: how much the attribute adds to the class’s score. Read: how strongly it is "
            "found in the image, on the model’s own scale. Class: what the attribute table says of the class.</p>"
        )
    if prediction.attention:
        parts.append(f"<h3>Where it looked</h3>{attention_tiles(result.image, prediction)}")
    return f"<article class='zslab-card'>{''.join(parts)}</article>"


def _summary(result: Result) -> str:
    return (
        f"<img src='{data_uri(result.image, 96)}' alt=''><span class='zslab-file'>{escape(result.name)}</span>"
        f"<strong>{escape(result.top.name)}</strong><span>{percent(result.top.probability)}</span>{badge(result.top.seen)}"
    )


def class_bar(score: ClassScore) -> str:
    """Return a class with its probability as number and bar."""
    kind = "seen" if score.seen else "unseen"
    return (
        f"<li><span class='zslab-name'>{escape(score.name)} {badge(score.seen)}</span>"
        f"<span class='zslab-number'>{percent(score.probability)}</span>{_bar(score.probability, f'zslab-fill-{kind}')}</li>"
    )


def reasons_table(reasons: Sequence[AttributeReason], largest_value: float) -> str:
    """Attributes with contribution, what was read, and the class's value: numbers and bars.

    Contributions and readings are drawn against the largest one of the table.
    """
    most = max((abs(reason.contribution) for reason in reasons), default=0)
    most_read = max((abs(reason.read) for reason in reasons), default=0)
    rows = "".join(
        f"<tr><th scope='row'>{escape(attribute_name(reason.name))}</th>"
        + _cell(signed(reason.contribution, most), reason.contribution, most, "zslab-fill-why")
        + _cell(signed(reason.read, most_read).removeprefix("+"), reason.read, most_read, "zslab-fill-read")
        + _cell(f"{reason.value:.4g}".replace("-", MINUS), reason.value, largest_value, "zslab-fill-value")
        + "</tr>"
        for reason in reasons
    )
    heads = "".join(f"<th scope='col'>{head}</th>" for head in ("Attribute", "Contribution", "Read", "Class"))
    return f"<table class='zslab-reasons'><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"


def _cell(text: str, value: float, most: float, kind: str) -> str:
    return f"<td><span class='zslab-number'>{text}</span>{_bar(value / most if most > 0 else 0.0, kind)}</td>"


def _bar(share: float, kind: str) -> str:
    """Of a length of 0 ... 1 of its place; what is negative has none. Its number stands beside it."""
    width = 100 * min(1.0, max(0.0, share)) if math.isfinite(share) else 0.0
    return f"<span class='zslab-bar' aria-hidden='true'><span class='{kind}' style='width:{width:.1f}%'></span></span>"


def signed(value: float, largest: float) -> str:
    """Return a number with its sign, to as many decimals as the largest of its column needs for two digits."""
    decimals = min(6, max(0, 1 - math.floor(math.log10(largest)))) if largest > 0 else 1
    return f"{value:+.{decimals}f}".replace("-", MINUS)


def percent(share: float) -> str:
    """Return a probability for people."""
    return f"&lt;{THIN}0.1{THIN}%" if 0 < share < 0.0005 else f"{100 * share:.1f}{THIN}%"


def attention_tiles(image: Image.Image, prediction: Prediction) -> str:
    """Return the image once for each attribute, bright where the model looked for it."""
    contributions = {reason.name: reason.contribution for reason in prediction.attributes}
    most = max(map(abs, contributions.values()), default=0)
    small, tiles = _small(image, TILE), []
    for name, weights in prediction.attention.items():
        shown = escape(attribute_name(name))
        number = f" <span class='zslab-number'>{signed(contributions[name], most)}</span>" if name in contributions else ""
        tiles.append(
            f"<li><figure><img src='{data_uri(overlay(small, weights, prediction.view), TILE)}' alt='Where the model looked "
            f"for {shown}'><figcaption>{shown}{number}</figcaption></figure></li>"
        )
    partial = prediction.view != (0.0, 0.0, 1.0, 1.0)
    outside = " The model sees the middle of the image only; the rest is dark." if partial else ""
    return (
        f"<ul class='zslab-maps'>{''.join(tiles)}</ul>"
        "<p class='zslab-under'>Bright is where the model looked for the attribute; "
        f"the number is its contribution.{outside}</p>"
    )


def _small(image: Image.Image, side: int) -> Image.Image:
    image = image.copy()
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return image


def data_uri(image: Image.Image, side: int) -> str:
    """Return an image, no longer than `side`, to write into the page."""
    buffer = io.BytesIO()
    _small(image, side).save(buffer, "JPEG", quality=86)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def message(kind: str, title: str, text: str = "") -> str:
    """Return a message of kind "error", "warning", "done", "busy" or "note", which screen readers speak out."""
    role = "alert" if kind == "error" else "status"
    body = f"<p>{escape(text)}</p>" if text else ""
    wheel = "<span class='zslab-wheel' aria-hidden='true'></span>" if kind == "busy" else ""
    return (
        f"<div class='zslab-message zslab-{kind}' role='{role}'><p class='zslab-title'>{wheel}{escape(title)}</p>{body}</div>"
    )


def problem(title: str, error: InputError, place: bool = False) -> str:
    """Return an error as the page shows it.

    Args:
        place: say where it is; left out where that is the path of an upload.
    """
    text = str(error) if place else str(error).removeprefix(f"{error.where}: ")
    return message("error", title, text[:1].upper() + text[1:])


FAVICON = (
    "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'><rect width='32' height='32' rx='7' fill='#0b66a8'/>"
    "<path d='M8 23V12m8 11V7m8 16v-6' stroke='#fff' stroke-width='4' stroke-linecap='round'/></svg>"
)
