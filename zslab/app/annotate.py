"""A prediction drawn on an image: the ranked classes as bars, the attributes that speak for the best, where it was looked.

annotate(open_image(path), prediction).save("photo-annotated.png")
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw

from zslab.app.prediction import Prediction
from zslab.report.attention import attribute_name as readable
from zslab.report.fonts import Typeface
from zslab.report.overlay import overlay
from zslab.report.style import BLUE, GRID, INK, MUTED, PAPER, SEEN, UNSEEN
from zslab.utils.files import printable
from zslab.utils.names import readable_names

WIDTH, MARGIN, GAP = 1080, 28, 24
IMAGE = 480  # longest side of the image
LINE, BAR = 30, 12  # height of a bar's row, and of the bar
SMALL, MEDIUM, LARGE = Typeface(14), Typeface(16, bold=True), Typeface(18, bold=True)
MAPS = 4  # images with attention over them


def annotate(image: Image.Image, prediction: Prediction) -> Image.Image:
    """Draw an image beside what the model says of it.

    Args:
        image: RGB, the one that was predicted.
        prediction: what the model says.

    Returns:
        RGB, WIDTH pixels wide and as high as needed.
    """
    shown = image.convert("RGB")
    shown.thumbnail((IMAGE, IMAGE), Image.Resampling.LANCZOS)
    if max(shown.size) < IMAGE:  # tiny images are enlarged, or nobody would see them
        factor = IMAGE / max(shown.size)
        shown = shown.resize(
            (max(1, round(shown.width * factor)), max(1, round(shown.height * factor))), Image.Resampling.BICUBIC
        )
    n_bars = len(prediction.classes) + len(prediction.attributes)
    n_heads = 1 + bool(prediction.attributes)
    maps = list(prediction.attention.items())[:MAPS]
    tile = (WIDTH - 2 * MARGIN - (MAPS - 1) * GAP // 2) // MAPS
    tile_height = round(tile * shown.height / shown.width) if maps else 0
    body = max(shown.height + 26, n_bars * LINE + n_heads * 40 + 46)
    height = MARGIN + body + (tile_height + 66 if maps else 0) + MARGIN
    canvas = Image.new("RGB", (WIDTH, height), PAPER)
    draw = ImageDraw.Draw(canvas)
    canvas.paste(shown, (MARGIN, MARGIN))
    file = _fit(printable(Path(prediction.image).name), SMALL, IMAGE)
    SMALL.draw(draw, (MARGIN, MARGIN + shown.height + 8), file, MUTED)
    left, right, y = MARGIN + IMAGE + GAP, WIDTH - MARGIN, MARGIN
    y = _classes(draw, prediction, left, right, y)
    if prediction.attributes:
        _reasons(draw, prediction, left, right, y + 14)
    if maps:
        y = MARGIN + body + 12
        MEDIUM.draw(draw, (MARGIN, y), "Where it looks for the strongest attributes", INK)
        for number, (name, weights) in enumerate(maps):
            x = MARGIN + number * (tile + GAP // 2)
            over = overlay(shown, weights, prediction.view).resize((tile, tile_height), Image.Resampling.LANCZOS)
            canvas.paste(over, (x, y + 26))
            SMALL.draw(draw, (x, y + 30 + tile_height), _fit(readable(name), SMALL, tile), INK)
    return canvas


def _classes(draw: ImageDraw.ImageDraw, prediction: Prediction, left: int, right: int, y: int) -> int:
    """Bars of the ranked classes; returns where they end."""
    LARGE.draw(draw, (left, y), "Classes", INK)
    x = right
    for word, color in (("unseen", UNSEEN), ("seen", SEEN)):
        x -= round(SMALL.length(word))
        SMALL.draw(draw, (x, y + 4), word, INK)
        draw.rectangle((x - 18, y + 8, x - 6, y + 18), color)
        x -= 34
    y += 36
    names = readable_names([score.name for score in prediction.classes])
    for score in prediction.classes:
        color = SEEN if score.seen else UNSEEN
        _bar(draw, names[score.name], f"{100 * score.probability:.1f} %", score.probability, color, left, right, y)
        y += LINE
    return y


def _reasons(draw: ImageDraw.ImageDraw, prediction: Prediction, left: int, right: int, y: int) -> None:
    """Bars of the attributes that speak for the best class; the longest is the strongest, one to the left speaks against."""
    names = readable_names([score.name for score in prediction.classes])
    title = _fit(f"Attributes that speak for {names[prediction.classes[0].name]}", LARGE, right - left)
    LARGE.draw(draw, (left, y), title, INK)
    strongest = max(abs(reason.contribution) for reason in prediction.attributes) or 1.0
    for number, reason in enumerate(prediction.attributes):
        share = max(0.0, reason.contribution / strongest)
        _bar(draw, readable(reason.name), f"{reason.contribution:+.2g}", share, BLUE, left, right, y + 36 + number * LINE)


def _bar(draw: ImageDraw.ImageDraw, label: str, value: str, share: float, color: str, left: int, right: int, y: int) -> None:
    """Label, bar of a length of `share`, and value on one line."""
    names, values = 236, 70
    SMALL.draw(draw, (left, y), _fit(label, SMALL, names - 10), INK)
    start, end = left + names, right - values
    middle = y + 9
    draw.rectangle((start, middle - BAR // 2, end, middle + BAR // 2), GRID)
    if share > 0:
        draw.rectangle((start, middle - BAR // 2, start + max(1, round(share * (end - start))), middle + BAR // 2), color)
    SMALL.draw(draw, (right - round(SMALL.length(value)), y), value, INK)


def _fit(text: str, font: Typeface, width: int) -> str:
    """Return the text, cut in its middle if it is too wide."""
    if font.length(text) <= width:
        return text
    keep = len(text)
    while keep > 2 and font.length(_cut(text, keep)) > width:
        keep -= 1
    return _cut(text, keep)


def _cut(text: str, keep: int) -> str:
    return f"{text[: keep - keep // 2]}…{text[len(text) - keep // 2 :]}"
