"""Figures of where a model attends, from attention.npz and pointing.json of a run folder."""

from __future__ import annotations

import textwrap
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

from zslab.errors import InputError
from zslab.report.overlay import overlay
from zslab.report.plots.plot import WIDTH, Plot, class_names, hide_axes, render
from zslab.report.style import BLUE, GREEN, GRID, HEAT, INK, MUTED, ORANGE, PAPER, RED, STYLE, Style
from zslab.results.finished import FinishedRun, read_arrays
from zslab.results.names import RULES, Rule
from zslab.results.text import percent
from zslab.utils.files import converted, read_json

PIXELS = 224  # side of an image in the figure
AT_ONCE = 6  # images in one figure, so that it fits a screen
SHOWN = 3  # attributes beside an image
FIX = "Delete the file to draw the report without it, or train again with --overwrite."


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
        images: Folder of the images; by default the one that the run used. Maps of images that cannot be opened are
            drawn without the image.

    Raises:
        InputError: A file is damaged.
    """
    with matplotlib.rc_context(STYLE):
        return [*_image_plots(run, images), *_pointing_plots(run)]


def attribute_name(name: str) -> str:
    """Return an attribute's name as people write it: "wing color: red" for "has_wing_color::red"."""
    return " ".join(name.removeprefix("has_").replace("::", ": ").replace("_", " ").split())


def read_pointing(run: FinishedRun) -> Pointing | None:
    """Return the content of pointing.json, or None where the run has none.

    Raises:
        InputError: The file is damaged.
    """
    path = run.path / "pointing.json"
    if not path.exists():
        return None
    return converted(read_json(path), Pointing, path, FIX)


def pointing_rows(run: FinishedRun) -> list[list[object]]:
    """Return every attribute's pointing accuracy, for a table; nothing for runs without it."""
    pointing = read_pointing(run)
    every = pointing.attributes.items() if pointing else ()
    return [
        [attribute_name(name), means.pairs, *map(percent, (means.peak, means.peak_chance, means.center, means.mass))]
        for name, means in every
    ]


def _image_plots(run: FinishedRun, images: Path | None) -> list[Plot]:
    path = run.path / "attention.npz"
    if not path.exists():
        return []
    arrays = _read(path, len(run.result.data.class_names))
    root = Path(str(arrays["image_root"])) if images is None else Path(images)
    photos = [_open(root / str(file), float(arrays["crop"])) for file in arrays["images"]]
    plots, n = [], len(photos)
    for start in range(0, n, AT_ONCE):
        rows = range(start, min(start + AT_ONCE, n))
        number = start // AT_ONCE + 1
        right = sum(int(arrays["true"][row] == arrays["predicted"][row]) for row in rows)
        title = "Where attention goes"
        title += f", {number} of {-(-n // AT_ONCE)}" if n > AT_ONCE else ""
        kind = "unseen" if arrays["true"][start] in run.result.data.unseen_classes else "seen"
        caption = (
            f"Test images of {kind} classes, chosen by position, not by result; {right} of {len(rows)} are predicted "
            f"correctly ({_rule_title(arrays)}). Beside each image are the attributes that add most to the score of the "
            "predicted class, with their contributions. "
            + (
                "Bright, colored regions get attention; the frame marks the cell with most of it."
                if any(photos[row] is not None for row in rows)
                else "Dark regions get attention. The images themselves were not found (pass --images)."
            )
        )
        leading = ", ".join(attribute_name(str(arrays["attribute_names"][i])) for i in arrays["attributes"][start][:SHOWN])
        first = class_names(run)[int(arrays["true"][start])]
        alt = f"{len(rows)} images with attention maps. The leading attributes of the first, a {first}, are {leading}."
        plots.append(render(_grid(run, arrays, photos, rows), f"attention_{number}", title, caption, alt))
    return plots


def _grid(run: FinishedRun, arrays: dict[str, np.ndarray], photos: list[np.ndarray | None], rows: range) -> Figure:
    """Draw a row for each image: the image, then its attention maps."""
    columns = 1 + min(SHOWN, arrays["attributes"].shape[1])
    figure = Figure(
        figsize=(WIDTH, 0.15 + 1.35 * WIDTH / columns * len(rows)), layout=ConstrainedLayoutEngine(w_pad=0.03, h_pad=0.06)
    )
    panels, names = figure.subplots(len(rows), columns, squeeze=False), class_names(run)
    for line, row in zip(panels, rows):
        for axes in line:
            hide_axes(axes, GRID)
        true, predicted = (names[int(arrays[key][row])] for key in ("true", "predicted"))
        right = arrays["true"][row] == arrays["predicted"][row]
        verdict, color = ("✓ correct", GREEN) if right else (f"✗ {_wrapped(predicted)}", RED)
        line[0].set_title(_wrapped(true), fontsize=7.5, loc="left", fontweight="bold")
        line[0].set_xlabel(verdict, fontsize=7.5, color=color, labelpad=2, loc="left")
        _show(line[0], photos[row])
        for place, axes in enumerate(line[1:]):
            name = str(arrays["attribute_names"][arrays["attributes"][row, place]])
            axes.set_title(_wrapped(attribute_name(name)), fontsize=7.5, loc="left", fontweight="normal")
            _overlay(axes, photos[row], arrays["maps"][row, place])
            score = f"{arrays['contributions'][row, place]:+.2f}".replace("-", "\u2212")
            axes.set_xlabel(score, fontsize=7.5, labelpad=2, loc="left")
    return figure


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


def _pointing_plots(run: FinishedRun) -> list[Plot]:
    """Draw peak and mass for every part, best first, beside what chance gives."""
    pointing = read_pointing(run)
    if pointing is None:
        return []
    ordered = sorted(pointing.parts.items(), key=lambda item: item[1].peak)
    entries = [*ordered, ("all pairs", pointing.overall)]
    figure = Figure(figsize=(WIDTH, 1.5 + 0.3 * len(entries)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    means = [entry for _, entry in entries]
    _bars(left, BLUE, "Peak on the part's box", [m.peak for m in means], [m.peak_chance for m in means])
    _bars(right, GREEN, "Attention inside the box", [m.mass for m in means], [m.mass_chance for m in means])
    center: Style = {"marker": "D", "linestyle": "none", "color": ORANGE, "markeredgecolor": PAPER}
    places = _places(len(entries))
    left.plot([100 * m.center for m in means], places, markersize=5.5, clip_on=False, **center)
    left.set_yticks(places, [name for name, _ in entries])
    left.get_yticklabels()[-1].set_fontweight("bold")
    handles = [
        Patch(color=BLUE, label="peak cell overlaps the box"),
        Line2D([], [], label="its center lies in the box", **center),
        Line2D([], [], label="chance (even attention)", **_CHANCE),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=3)
    overall = pointing.overall
    pairs = f"{overall.pairs:,}".replace(",", "\u202f")
    caption = (
        f"Over {pairs} pairs of a test image and an attribute that it shows, {RULES[pointing.row]}: the cell with "
        f"most attention overlaps the box of the attribute's part in {percent(overall.peak)} % of the pairs "
        f"(any cell: {percent(overall.peak_chance)} %"
        + (f"; the same cell on the boxes of other parts: {percent(overall.other)} %" if overall.other is not None else "")
        + ")."
    )
    listed = ", ".join(f"{name} {percent(entry.peak)}" for name, entry in reversed(entries))
    alt = f"Pointing accuracy in percent by part: {listed}."
    return [render(figure, "pointing", "Does attention find the part?", caption, alt)]


_CHANCE: Style = {"marker": "o", "linestyle": "none", "color": PAPER, "markeredgecolor": INK}


def _places(n: int) -> np.ndarray:
    """Return where bars stand; the last one is set apart."""
    return np.arange(n) + np.where(np.arange(n) == n - 1, 0.4, 0.0)


def _bars(axes: Axes, color: str, title: str, values: list[float], chance: list[float]) -> None:
    """Draw one horizontal bar for each part with its number, and a mark for chance."""
    places = _places(len(values))
    axes.barh(places, [100 * value for value in values], height=0.66, color=color)
    axes.plot([100 * value for value in chance], places, markersize=5.5, clip_on=False, **_CHANCE)
    for place, value in zip(places, values):
        axes.text(104, place, f"{100 * value:.0f}", va="center", ha="left", fontsize=9)
    axes.set(xlim=(0, 100), ylim=(-0.6, places[-1] + 0.6), xlabel="%")
    axes.set_title(title)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)


def _wrapped(text: str) -> str:
    """Return `text` on at most two lines."""
    return "\n".join(textwrap.wrap(text, 21, max_lines=2, placeholder="…"))


def _open(path: Path, crop: float) -> np.ndarray | None:
    """Return what the backbone sees of an image: all of it, squeezed (`crop` 0), or a square in its middle.

    Returns:
        (PIXELS, PIXELS, 3) uint8; None where the image cannot be opened.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            side = crop * min(width, height)
            box = ((width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2) if crop else None
            return np.asarray(image.convert("RGB").resize((PIXELS, PIXELS), Image.Resampling.BICUBIC, box))
    except (OSError, ValueError, Image.DecompressionBombError):
        return None


def _rule_title(arrays: dict[str, np.ndarray]) -> str:
    return next((title for rule, title in RULES.items() if rule == str(arrays["row"])), str(arrays["row"]))


def _read(path: Path, n_classes: int) -> dict[str, np.ndarray]:
    arrays = read_arrays(path, FIX)
    try:
        n, t = arrays["attributes"].shape
        shapes = {"true": (n,), "predicted": (n,), "contributions": (n, t), "images": (n,)}
        wrong = [key for key, shape in shapes.items() if arrays[key].shape != shape]
        maps = arrays["maps"]
        if wrong or maps.ndim != 4 or maps.shape[:2] != (n, t) or not (maps.max((2, 3)) > 0).all():
            raise ValueError(f"shapes that do not fit: {', '.join(wrong) or 'maps'}")
        for key, end in (("true", n_classes), ("predicted", n_classes), ("attributes", len(arrays["attribute_names"]))):
            if arrays[key].min(initial=0) < 0 or arrays[key].max(initial=0) >= end:
                raise ValueError(f"{key} out of range")
        float(arrays["crop"]), str(arrays["row"])
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise InputError("the file must hold the attention maps of the run", where=path, got=error, fix=FIX) from None
    return arrays
