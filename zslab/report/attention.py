"""Figures of where a model attends, from attention.npz and pointing.json of a run folder."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path

import matplotlib
import msgspec
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from PIL import Image

from zslab.errors import readable
from zslab.report.overlay import overlay
from zslab.report.plots.plot import WIDTH, Plot, class_names, hide_axes, panels, render
from zslab.report.style import BLUE, GREEN, GRID, HEAT, INK, MUTED, ORANGE, PAPER, RED, STYLE, Style
from zslab.results.finished import FinishedRun, read_arrays
from zslab.results.names import RULES, Rule
from zslab.results.text import percent
from zslab.utils.files import converted, read_json

PIXELS = 224  # side of an image in the figure
AT_ONCE = 6  # images in one figure, so that it fits a screen
SHOWN = 3  # attributes beside an image
FIX = "Delete the file to draw the report without it, or train again with --overwrite."
_CHANCE: Style = {"marker": "o", "linestyle": "none", "color": PAPER, "markeredgecolor": INK}


class Means(msgspec.Struct):
    """Pointing over pairs of a test image and an attribute that it shows, as shares of the pairs."""

    pairs: int
    peak: float
    peak_chance: float
    center: float
    mass: float
    mass_chance: float
    other: float | None = None


class Pointing(msgspec.Struct):
    """What the report reads of pointing.json."""

    row: Rule
    overall: Means
    parts: dict[str, Means]
    attributes: dict[str, Means]


def draw_attention(run: FinishedRun, images: Path | None = None) -> list[Plot]:
    """Draw the attention maps of a run and its pointing accuracy; nothing for runs without them.

    Args:
        run: the run.
        images: folder of the images; by default the one that the run used. Maps of images that cannot be opened are drawn
            without the image.

    Raises:
        InputError: a file is damaged.
    """
    with matplotlib.rc_context(STYLE):
        return [*_image_plots(run, images), *_pointing_plots(run)]


def attribute_name(name: str) -> str:
    """Return an attribute's name as people write it: "wing color: red" for "has_wing_color::red"."""
    return " ".join(name.removeprefix("has_").replace("::", ": ").replace("_", " ").split())


def read_pointing(run: FinishedRun) -> Pointing | None:
    """Return the content of pointing.json, or None if the run has none.

    Raises:
        InputError: the file is damaged.
    """
    path = run.path / "pointing.json"
    return converted(read_json(path), Pointing, path, FIX) if path.exists() else None


def pointing_rows(run: FinishedRun) -> list[list[object]]:
    """Return every attribute's pointing accuracy, for a table; nothing for runs without it."""
    pointing = read_pointing(run)
    return [
        [attribute_name(name), means.pairs, *map(percent, (means.peak, means.peak_chance, means.center, means.mass))]
        for name, means in (pointing.attributes.items() if pointing else ())
    ]


def _image_plots(run: FinishedRun, images: Path | None) -> Iterator[Plot]:
    """Draw the images, a few in each figure, with their attention maps."""
    path = run.path / "attention.npz"
    if not path.exists():
        return
    arrays, names = _read(path, len(run.result.data.class_names)), class_names(run)
    root = Path(str(arrays["image_root"])) if images is None else Path(images)
    photos = [_open(root / str(file), float(arrays["crop"])) for file in arrays["images"]]
    attributes = [attribute_name(str(name)) for name in arrays["attribute_names"]]
    n, true, predicted = len(photos), arrays["true"], arrays["predicted"]
    selected = next((title for rule, title in RULES.items() if rule == str(arrays["row"])), "")
    for number, start in enumerate(range(0, n, AT_ONCE), start=1):
        rows = range(start, min(start + AT_ONCE, n))
        n_right = sum(true[list(rows)] == predicted[list(rows)])
        kind = "unseen" if true[start] in run.result.data.unseen_classes else "seen"
        caption = (
            f"Test images of {kind} classes, chosen by position, not by result; {n_right} of {len(rows)} are "
            f"predicted correctly ({selected}). Beside each image are the attributes that add most to the score of the "
            "predicted class, with their contributions. "
            + (
                "Bright, colored regions get attention; the frame marks the cell with most of it."
                if any(photos[row] is not None for row in rows)
                else "Dark regions get attention. The images themselves were not found (pass --images)."
            )
        )
        leading = ", ".join(attributes[i] for i in arrays["attributes"][start][:SHOWN])
        first = f"The leading attributes of the first, a {names[true[start]]}, are {leading}."
        title = "Where attention goes" + (f", {number} of {-(-n // AT_ONCE)}" if n > AT_ONCE else "")
        yield render(
            _grid(arrays, names, attributes, photos, rows),
            f"attention_{number}",
            title,
            caption,
            f"{len(rows)} images with attention maps. {first}",
        )


def _grid(
    arrays: dict[str, np.ndarray], names: list[str], attributes: list[str], photos: list[np.ndarray | None], rows: range
) -> Figure:
    """Draw a row for each image: the image, then its attention maps."""
    columns = 1 + min(SHOWN, arrays["attributes"].shape[1])
    size = (WIDTH, 0.15 + 1.35 * WIDTH / columns * len(rows))
    figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(w_pad=0.03, h_pad=0.06))
    for line, row in zip(figure.subplots(len(rows), columns, squeeze=False), rows):
        true, predicted = (names[arrays[key][row]] for key in ("true", "predicted"))
        right = arrays["true"][row] == arrays["predicted"][row]
        verdict, color = ("✓ correct", GREEN) if right else (f"✗ {_wrapped(predicted)}", RED)
        for axes in line:
            hide_axes(axes, GRID)
        _label(line[0], true, verdict, color, "bold")
        _show(line[0], photos[row])
        for place, axes in enumerate(line[1:]):
            score = f"{arrays['contributions'][row, place]:+.2f}".replace("-", "\u2212")
            _label(axes, attributes[arrays["attributes"][row, place]], score, INK, "normal")
            _overlay(axes, photos[row], arrays["maps"][row, place])
    return figure


def _label(axes: Axes, above: str, below: str, color: str, weight: str) -> None:
    axes.set_title(_wrapped(above), fontsize=7.5, loc="left", fontweight=weight)
    axes.set_xlabel(below, fontsize=7.5, color=color, labelpad=2, loc="left")


def _wrapped(text: str) -> str:
    """Return `text` on at most two lines."""
    return "\n".join(textwrap.wrap(text, 21, max_lines=2, placeholder="…"))


def _show(axes: Axes, image: np.ndarray | None) -> None:
    if image is None:
        axes.text(0.5, 0.5, "no image", ha="center", va="center", fontsize=8, color=MUTED, transform=axes.transAxes)
        axes.set(xlim=(0, PIXELS), ylim=(PIXELS, 0), aspect="equal")
    else:
        axes.imshow(image)


def _overlay(axes: Axes, image: np.ndarray | None, attention: np.ndarray) -> None:
    """Draw attention (rows, columns) over its image, or alone, with a frame around the maximum."""
    rows, columns = attention.shape
    if image is None:
        axes.imshow(attention, cmap=HEAT, vmin=0, extent=(0, PIXELS, PIXELS, 0), interpolation="nearest")
    else:
        axes.imshow(np.asarray(overlay(Image.fromarray(image), attention)))
    row, column = np.unravel_index(attention.argmax(), attention.shape)
    height, width = PIXELS / rows, PIXELS / columns
    axes.add_patch(Rectangle((column * width, row * height), width, height, fill=False, edgecolor=ORANGE, linewidth=1.3))


def _pointing_plots(run: FinishedRun) -> Iterator[Plot]:
    """Draw peak and mass for every part, best first, beside what chance gives."""
    pointing = read_pointing(run)
    if pointing is None:
        return
    overall = pointing.overall
    entries = [*sorted(pointing.parts.items(), key=lambda item: item[1].peak), ("all pairs", overall)]
    places = np.arange(len(entries)) + np.where(np.arange(len(entries)) == len(entries) - 1, 0.4, 0.0)  # the last set apart
    means = [entry for _, entry in entries]
    figure, (left, right) = panels(2, 1.5 + 0.3 * len(entries))
    _bars(left, places, BLUE, "Peak on the part's box", [m.peak for m in means], [m.peak_chance for m in means])
    _bars(right, places, GREEN, "Attention inside the box", [m.mass for m in means], [m.mass_chance for m in means])
    center: Style = {"marker": "D", "linestyle": "none", "color": ORANGE, "markeredgecolor": PAPER}
    left.plot([100 * m.center for m in means], places, markersize=5.5, clip_on=False, **center)
    left.set_yticks(places, [name for name, _ in entries])
    right.set_yticks(places, [""] * len(entries))
    left.get_yticklabels()[-1].set_fontweight("bold")
    handles = [
        Patch(color=BLUE, label="peak cell overlaps the box"),
        Line2D([], [], label="its center lies in the box", **center),
        Line2D([], [], label="chance (even attention)", **_CHANCE),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=2)
    others = "" if overall.other is None else f"; the same cell on the boxes of other parts: {percent(overall.other)} %"
    caption = (
        f"Over {overall.pairs:,} pairs of a test image and an attribute that it shows ({RULES[pointing.row]}): the cell with "
        f"most attention overlaps the box of the attribute's part in {percent(overall.peak)} % of the pairs "
        f"(any cell: {percent(overall.peak_chance)} %{others})."
    )
    listed = ", ".join(f"{name} {percent(entry.peak)}" for name, entry in reversed(entries))
    alt = f"Pointing accuracy in percent by part: {listed}."
    yield render(figure, "pointing", "Does attention find the part?", caption, alt)


def _bars(axes: Axes, places: np.ndarray, color: str, title: str, values: list[float], chance: list[float]) -> None:
    """Draw one horizontal bar for each part with its number, and a mark for chance."""
    axes.barh(places, [100 * value for value in values], height=0.66, color=color)
    axes.plot([100 * value for value in chance], places, markersize=5.5, clip_on=False, **_CHANCE)
    for place, value in zip(places, values):
        axes.text(104, place, f"{100 * value:.0f}", va="center", ha="left", fontsize=9)
    axes.set(xlim=(0, 100), ylim=(-0.6, places[-1] + 0.6), xlabel="%", title=title)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)


def _open(path: Path, crop: float) -> np.ndarray | None:
    """Return what the backbone sees of an image: all of it, squeezed (`crop` 0), or a square in its middle.

    Returns:
        (PIXELS, PIXELS, 3) uint8; None if the image cannot be opened.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            side = crop * min(width, height)
            box = ((width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2) if crop else None
            return np.asarray(image.convert("RGB").resize((PIXELS, PIXELS), Image.Resampling.BICUBIC, box))
    except (OSError, ValueError, Image.DecompressionBombError):
        return None


def _read(path: Path, n_classes: int) -> dict[str, np.ndarray]:
    """Return the arrays of attention.npz after checking that their shapes and values fit."""
    arrays = read_arrays(path, FIX)
    with readable(path, "the file must hold the attention maps of the run", FIX):
        n, t = arrays["attributes"].shape
        shapes = {"true": (n,), "predicted": (n,), "contributions": (n, t), "images": (n,), "crop": ()}
        wrong = [key for key, shape in shapes.items() if arrays[key].shape != shape]
        maps = arrays["maps"]
        if wrong or maps.ndim != 4 or maps.shape[:2] != (n, t) or not (maps.max((2, 3)) > 0).all():
            raise ValueError(f"shapes that do not fit: {', '.join(wrong) or 'maps'}")
        for key, end in (("true", n_classes), ("predicted", n_classes), ("attributes", len(arrays["attribute_names"]))):
            if arrays[key].dtype.kind not in "iu" or arrays[key].min(initial=0) < 0 or arrays[key].max(initial=0) >= end:
                raise ValueError(f"{key} out of range")
        str(arrays["row"]), str(arrays["image_root"]), float(arrays["crop"])
    return arrays
