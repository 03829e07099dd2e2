"""Figures of where a model with attention looks, from attention.npz and pointing.json of a run's folder."""

from __future__ import annotations

import textwrap
import zipfile
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from PIL import Image

from zsl.errors import InputError
from zsl.report.folder import FinishedRun
from zsl.report.overlay import overlay
from zsl.report.plots import Plot
from zsl.report.style import BLUE, GREEN, GRID, HEAT, INK, MUTED, ORANGE, PAPER, RED, STYLE, to_png
from zsl.report.tables import percent
from zsl.runs.files import read_json

PIXELS = 224  # side of a picture in the figure
AT_ONCE = 6  # pictures a figure, so that one can be read on one screen
_KEYS = ("true", "predicted", "attributes", "contributions", "maps", "images", "attribute_names", "row", "image_root", "crop")


def draw_attention(run: FinishedRun, images: Path | None = None) -> list[Plot]:
    """Everything that the folder tells of attention; nothing for runs without it.

    Args:
        images: folder of the pictures; where the run found them if not given. Maps of pictures that cannot be opened are
            drawn bare.

    Raises:
        InputError: a file is damaged.
    """
    with matplotlib.rc_context(STYLE):
        return [*_pictures(run, images), *_parts(run)]


def attribute_name(name: str) -> str:
    """"has_wing_color::red" as a reader likes it: "wing color: red"."""
    return " ".join(name.removeprefix("has_").replace("::", ": ").replace("_", " ").split())


def read_pointing(run: FinishedRun) -> dict | None:
    """pointing.json, or None where the run has none.

    Raises:
        InputError: it is something else.
    """
    path = run.path / "pointing.json"
    if not path.exists():
        return None
    content = read_json(path)
    try:
        for means in (content["overall"], *content["parts"].values(), *content["attributes"].values()):
            if not (isinstance(means["pairs"], int) and all(isinstance(means[key], float) for key in _SHOWN)):
                raise ValueError(f"means {means}")
        if not isinstance(content["row"], str):
            raise ValueError("row")
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(
            "not pointing results of a run", where=path, found=f"{type(error).__name__}: {error}",
            expected="what training left there", cure="Delete the file to draw the report without them, or run again.",
        ) from None
    return content


_SHOWN = ("peak", "peak_chance", "centre", "mass", "mass_chance")


def _pictures(run: FinishedRun, images: Path | None) -> list[Plot]:
    path = run.path / "attention.npz"
    if not path.exists():
        return []
    arrays = _read(path, len(run.result["data"]["class_names"]))
    root = Path(str(arrays["image_root"])) if images is None else Path(images)
    seen = [_open(root / str(file), float(arrays["crop"])) for file in arrays["images"]]
    plots, n = [], len(seen)
    for start in range(0, n, AT_ONCE):
        rows = range(start, min(start + AT_ONCE, n))
        number = start // AT_ONCE + 1
        right = sum(int(arrays["true"][row] == arrays["predicted"][row]) for row in rows)
        title = f"What the predictions rest on, row “{arrays['row']}”"
        title += f", {number} of {-(-n // AT_ONCE)}" if n > AT_ONCE else ""
        caption = (
            f"Test pictures of unseen classes, chosen by position, not by result; {right} of {len(rows)} are named right. "
            "Beside each the attributes that add most to the score of the named class, the number saying how much. "
            + ("Light and colour are where the attribute looks, the frame is on the cell it looks at most."
               if any(seen[row] is not None for row in rows) else
               "Dark is where the attribute looks; the pictures themselves were not found (pass --images).")
        )
        leading = ", ".join(attribute_name(str(arrays["attribute_names"][i])) for i in arrays["attributes"][start])
        alt = (
            f"{len(rows)} pictures with attention maps; the first, a {_class(run, arrays['true'][start])}, rests on {leading}."
        )
        plots.append(Plot(f"attention_{number}", title, caption, alt, to_png(_grid(run, arrays, seen, rows))))
    return plots


def _grid(run: FinishedRun, arrays: dict[str, np.ndarray], seen: list[np.ndarray | None], rows: range) -> Figure:
    columns = 1 + arrays["attributes"].shape[1]
    figure = Figure(figsize=(9, 0.15 + 2.0 * len(rows) * 6 / columns), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.03, h_pad=0.06)
    panels = figure.subplots(len(rows), columns, squeeze=False)
    for line, row in zip(panels, rows):
        for axes in line:
            axes.set_xticks([]), axes.set_yticks([])
            axes.grid(False)
            axes.spines[:].set(visible=True, color=GRID)
        true, predicted = (_class(run, arrays[key][row]) for key in ("true", "predicted"))
        right = arrays["true"][row] == arrays["predicted"][row]
        line[0].set_title(_wrapped(true), fontsize=7.5, loc="left", fontweight="bold")
        line[0].set_xlabel(
            "✓ named so" if right else f"✗ {_wrapped(predicted)}", fontsize=7.5, color=GREEN if right else RED, labelpad=2,
            loc="left",
        )
        _show(line[0], seen[row])
        for place, axes in enumerate(line[1:]):
            name = str(arrays["attribute_names"][arrays["attributes"][row, place]])
            axes.set_title(_wrapped(attribute_name(name)), fontsize=7.5, loc="left", fontweight="normal")
            _overlay(axes, seen[row], arrays["maps"][row, place])
            score = f"{arrays['contributions'][row, place]:+.2f}".replace("-", "\u2212")
            axes.set_xlabel(score, fontsize=7.5, labelpad=2, loc="left")
    return figure


def _show(axes: Axes, picture: np.ndarray | None) -> None:
    if picture is None:
        axes.text(0.5, 0.5, "no picture", ha="center", va="center", fontsize=8, color=MUTED, transform=axes.transAxes)
        axes.set(xlim=(0, PIXELS), ylim=(PIXELS, 0), aspect="equal")
    else:
        axes.imshow(picture)


def _overlay(axes: Axes, picture: np.ndarray | None, attention: np.ndarray) -> None:
    """Attention (rows, columns) on its picture, or bare, with a frame around the greatest."""
    rows, columns = attention.shape
    if picture is None:
        axes.imshow(attention, cmap=HEAT, vmin=0, extent=(0, PIXELS, PIXELS, 0), interpolation="nearest")
    else:
        axes.imshow(np.asarray(overlay(Image.fromarray(picture), attention)))
    row, column = np.unravel_index(attention.argmax(), attention.shape)
    height, width = PIXELS / rows, PIXELS / columns
    axes.add_patch(Rectangle((column * width, row * height), width, height, fill=False, edgecolor=ORANGE, linewidth=1.3))


def _parts(run: FinishedRun) -> list[Plot]:
    """Peak and mass for every part, best first, over what chance gives."""
    pointing = read_pointing(run)
    if pointing is None:
        return []
    ordered = sorted(pointing["parts"].items(), key=lambda item: item[1]["peak"])
    entries = [*ordered, ("all pairs", pointing["overall"])]
    places = np.arange(len(entries)) + (np.arange(len(entries)) == len(ordered)) * 0.4
    figure = Figure(figsize=(9, 1.3 + 0.34 * len(entries)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, key, colour, title in (
        (left, "peak", BLUE, "Peak on the part's box"), (right, "mass", GREEN, "Attention inside the box"),
    ):
        values = [100 * means[key] for _, means in entries]
        axes.barh(places, values, height=0.66, color=colour)
        axes.plot([100 * means[f"{key}_chance"] for _, means in entries], places, "o", color=PAPER, markeredgecolor=INK,
                  markersize=5.5, clip_on=False)
        if key == "peak":
            axes.plot([100 * means["centre"] for _, means in entries], places, "D", color=ORANGE, markeredgecolor=PAPER,
                      markersize=5.5, clip_on=False)
        for place, value in zip(places, values):
            axes.text(104, place, f"{value:.0f}", va="center", ha="left", fontsize=9)
        axes.set(xlim=(0, 100), ylim=(-0.6, places[-1] + 0.6), xlabel="per cent")
        axes.set_title(title)
        axes.grid(axis="y", visible=False)
        axes.tick_params(axis="y", length=0)
    left.set_yticks(places, [name for name, _ in entries])
    left.get_yticklabels()[-1].set_fontweight("bold")
    handles = [
        Patch(color=BLUE, label="peak cell overlaps the box"),
        Line2D([], [], marker="D", linestyle="none", color=ORANGE, markeredgecolor=PAPER, label="its middle lies in the box"),
        Line2D([], [], marker="o", linestyle="none", color=PAPER, markeredgecolor=INK, label="chance (even attention)"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=3)
    overall = pointing["overall"]
    other = overall.get("other")
    caption = (
        f"Over {overall['pairs']:,} pairs of a test picture and an attribute that it shows, row “{pointing['row']}”: the cell "
        f"with most attention overlaps the box of the attribute's part in {percent(overall['peak'])} % "
        f"(any cell: {percent(overall['peak_chance'])} %"
        + (f"; the same cell on the boxes of other parts: {percent(other)} %" if other is not None else "") + ")."
    ).replace(",", "\u202f", 1 if overall["pairs"] >= 1000 else 0)
    alt = "Pointing accuracy in per cent by part: " + ", ".join(
        f"{name} {percent(means['peak'])}" for name, means in reversed(entries)
    ) + "."
    return [Plot("pointing", "Does attention find the part?", caption, alt, to_png(figure))]


def _class(run: FinishedRun, index: int) -> str:
    """A class name without the number that some data sets put before it."""
    name = str(run.result["data"]["class_names"][int(index)])
    number, dot, rest = name.partition(".")
    return " ".join((rest if dot and number.isdigit() else name).replace("_", " ").split())


def _wrapped(text: str) -> str:
    """At most two lines."""
    return "\n".join(textwrap.wrap(text, 21, max_lines=2, placeholder="…"))


def _open(path: Path, crop: float) -> np.ndarray | None:
    """(PIXELS, PIXELS, 3) uint8 of what the backbone saw of a picture: all of it squeezed (0), or a square in its middle."""
    try:
        with Image.open(path) as picture:
            width, height = picture.size
            side = crop * min(width, height)
            box = ((width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2) if crop else None
            return np.asarray(picture.convert("RGB").resize((PIXELS, PIXELS), Image.Resampling.BICUBIC, box))
    except (OSError, ValueError, Image.DecompressionBombError):
        return None


def _read(path: Path, n_classes: int) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in _KEYS}
        n, t = arrays["attributes"].shape
        shapes = {"true": (n,), "predicted": (n,), "contributions": (n, t), "images": (n,)}
        wrong = [key for key, shape in shapes.items() if arrays[key].shape != shape]
        maps = arrays["maps"]
        if wrong or maps.ndim != 4 or maps.shape[:2] != (n, t) or not (maps.max((2, 3)) > 0).all():
            raise ValueError(f"shapes that do not fit: {', '.join(wrong) or 'maps'}")
        for key, end in (("true", n_classes), ("predicted", n_classes), ("attributes", len(arrays["attribute_names"]))):
            if arrays[key].min(initial=0) < 0 or arrays[key].max(initial=0) >= end:
                raise ValueError(f"{key} out of range")
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(
            "unreadable attention", where=path, found=error, expected="what training left there",
            cure="Delete the file to draw the report without it, or run again.",
        ) from None
    return arrays
