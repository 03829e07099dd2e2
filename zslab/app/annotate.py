"""A prediction drawn beside its image: the ranked classes as bars, the attributes that speak for the best, where it looked.

annotate(open_image(path), prediction).save("photo-annotated.png")
"""

import io
from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from zslab.app.prediction import Prediction
from zslab.errors import shortened
from zslab.report.attention import attribute_name as readable
from zslab.report.style import BLUE, SEEN, STYLE, UNSEEN, overlay, to_png
from zslab.utils.files import printable
from zslab.utils.names import readable_names

WIDTH, DPI = 1080, 100  # pixels, and pixels an inch
LINE, HEAD = 0.3, 0.6  # inches of a bar's row, and of what is above and below a panel
LONGEST = 32  # characters of a name
MAPS = 4  # images with attention over them


def annotate(image: Image.Image, prediction: Prediction) -> Image.Image:
    """Return an RGB image, WIDTH pixels wide, of an image beside what the model says of it."""
    image = image.convert("RGB")
    image.thumbnail((WIDTH, WIDTH))
    scores, reasons, maps = prediction.classes, prediction.attributes, list(prediction.attention.items())[:MAPS]
    names = readable_names([score.name for score in scores])
    body = max(4.0, LINE * (len(scores) + len(reasons)) + HEAD * (2 if reasons else 1) + 0.3)
    height, width = body + (2.9 if maps else 0), WIDTH / DPI
    with matplotlib.rc_context(STYLE):
        figure = Figure((width, height))

        def panel(left: float, top: float, wide: float, high: float) -> Axes:
            """Return axes at a place from the upper left corner, in inches."""
            return figure.add_axes((left / width, 1 - (top + high) / height, wide / width, high / height))

        caption = "; ".join(filter(None, [printable(Path(prediction.image).name), prediction.doubt]))
        _show(panel(0.3, 0.3, 4.4, body - 0.8), image, caption)
        labels = [f"{shortened(names[score.name], LONGEST)} ({'seen' if score.seen else 'unseen'})" for score in scores]
        values, colors = [score.probability for score in scores], [SEEN if score.seen else UNSEEN for score in scores]
        axes = panel(7.9, HEAD, 2.2, LINE * len(scores))
        _bars(axes, labels, values, [f"{value:.1%}" for value in values], colors, "Classes")
        if reasons:
            strongest = max(abs(reason.contribution) for reason in reasons) or 1.0
            shares = [max(0.0, reason.contribution / strongest) for reason in reasons]
            labels = [shortened(readable(reason.name), LONGEST) for reason in reasons]
            title = f"Attributes that speak for {shortened(names[scores[0].name], LONGEST)}"
            axes = panel(7.9, 2 * HEAD + LINE * len(scores), 2.2, LINE * len(reasons))
            _bars(axes, labels, shares, [f"{r.contribution:+.2g}" for r in reasons], [BLUE] * len(reasons), title)
        for number, (name, weights) in enumerate(maps):
            axes = panel(0.3 + 2.6 * number, body + 0.3, 2.4, 2.2)
            _show(axes, overlay(image, weights, prediction.view), f"Where it looks: {readable(name)}")
        return Image.open(io.BytesIO(to_png(figure, DPI))).convert("RGB")


def _show(axes: Axes, image: Image.Image, caption: str) -> None:
    axes.imshow(image)
    axes.set_axis_off()
    axes.set_anchor("NW")
    axes.annotate(shortened(caption, 2 * LONGEST), (0, 0), (0, -6), "axes fraction", "offset points", va="top", size=8)


def _bars(axes: Axes, labels: Sequence[str], shares: list[float], values: list[str], colors: list[str], title: str) -> None:
    """Draw bars from the top, the share 1 as long as the axes, each with its label and value."""
    places = range(len(labels))
    axes.barh(places, shares, 0.5, color=colors)
    axes.set_yticks(places, labels)
    axes.set(xlim=(0, 1), ylim=(len(labels) - 0.4, -0.6), xticks=[])
    axes.set_title(title, loc="right", weight="bold")
    for place, value in zip(places, values):
        axes.text(1.01, place, value, va="center", transform=axes.get_yaxis_transform())
