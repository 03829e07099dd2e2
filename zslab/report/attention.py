"""Figures of test images: where a model attends, by attention.npz and pointing.json of a run folder; right and wrong ones."""

from collections.abc import Iterator
from pathlib import Path

import matplotlib
import msgspec
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle
from PIL import Image

from zslab.data.formats.matfile import read_mat
from zslab.datasets import Xlsa17Source, source_from_json
from zslab.errors import InputError, readable
from zslab.report.plots.classes import shown_model
from zslab.report.plots.plot import WIDTH, Plot, class_names, hide_axes, render, wrapped
from zslab.report.style import GREEN, GRID, HEAT, INK, MUTED, ORANGE, RED, STYLE, overlay
from zslab.results.finished import FinishedRun, read_arrays
from zslab.results.names import RULES, Rule
from zslab.results.text import percent
from zslab.utils.environment import resolve_folder
from zslab.utils.files import converted, read_json

PIXELS = 224  # side of an image in the figure
AT_ONCE = 6  # images in one figure, so that it fits a screen
SHOWN = 3  # attributes beside an image
COLUMNS = 4  # images that were right, or wrong
DAMAGED = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)  # what arrays that do not fit raise
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
    """Draw the attention maps of a run; nothing for runs without them."""
    path, must = run.path / "attention.npz", "the file must hold the attention maps of the run"
    with matplotlib.rc_context(STYLE), readable(path, must, FIX, DAMAGED):
        return list(_image_plots(run, read_arrays(path, FIX), images)) if path.exists() else []


def attribute_name(name: str) -> str:
    """Return an attribute's name as people write it: "wing color: red" for "has_wing_color::red"."""
    return " ".join(name.removeprefix("has_").replace("::", ": ").replace("_", " ").split())


def pointing_tables(run: FinishedRun) -> dict[str, list[list[object]]]:
    """Return the pointing accuracy of all pairs and of each part, best first, and that of each attribute, as rows of tables."""
    path = run.path / "pointing.json"
    if not path.exists():
        return {}
    pointing = converted(read_json(path), Pointing, path, FIX)

    def row(name: str, m: Means) -> list[object]:
        return [name, m.pairs, *map(percent, (m.peak, m.peak_chance, m.other, m.center, m.mass, m.mass_chance))]

    parts = sorted(pointing.parts.items(), key=lambda item: -item[1].peak)
    attributes = [row(attribute_name(name), means) for name, means in pointing.attributes.items()]
    return {
        "parts": [row(*part) for part in [(f"all ({RULES[pointing.row]})", pointing.overall), *parts]],
        "attributes": attributes,
    }


def _image_plots(run: FinishedRun, arrays: dict[str, np.ndarray], images: Path | None) -> Iterator[Plot]:
    """Draw the images, a few in each figure, with their attention maps."""
    names = class_names(run)
    root = Path(str(arrays["image_root"])) if images is None else Path(images)
    photos = [_open(root / str(file), float(arrays["crop"])) for file in arrays["images"]]
    attributes = [attribute_name(str(name)) for name in arrays["attribute_names"]]
    n, true, predicted = len(photos), arrays["true"], arrays["predicted"]
    selected = next((title for rule, title in RULES.items() if rule == str(arrays["row"])), "")
    for number, start in enumerate(range(0, n, AT_ONCE), start=1):
        rows = range(start, min(start + AT_ONCE, n))
        n_right = sum(true[list(rows)] == predicted[list(rows)])
        kind = "unseen" if true[start] in run.result.data.unseen_classes else "seen"
        shown = "Dark regions get attention. The images themselves were not found (pass --images)."
        if any(photos[row] is not None for row in rows):
            shown = "Bright, colored regions get attention; the frame marks the cell with most of it."
        caption = (
            f"Test images of {kind} classes, chosen by position, not by result; {n_right} of {len(rows)} are "
            f"predicted correctly ({selected}). Beside each image are the attributes that add most to the score of the "
            f"predicted class, with their contributions. {shown}"
        )
        leading = ", ".join(attributes[i] for i in arrays["attributes"][start][:SHOWN])
        first = f"The leading attributes of the first, a {names[true[start]]}, are {leading}."
        title = "Where attention goes" + (f", {number} of {-(-n // AT_ONCE)}" if n > AT_ONCE else "")
        alt = f"{len(rows)} images with attention maps. {first}"
        yield render(_grid(arrays, names, attributes, photos, rows), f"attention_{number}", title, caption, alt)


def _grid(
    arrays: dict[str, np.ndarray], names: list[str], attributes: list[str], photos: list[np.ndarray | None], rows: range
) -> Figure:
    """Draw a row for each image: the image, then its attention maps."""
    columns = 1 + min(SHOWN, arrays["attributes"].shape[1])
    size = (WIDTH, 0.15 + 1.22 * WIDTH / columns * len(rows))
    figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(w_pad=0.03, h_pad=0.06))
    for line, row in zip(figure.subplots(len(rows), columns, squeeze=False), rows):
        for axes in line:
            hide_axes(axes, GRID)
        true, predicted = (names[arrays[key][row]] for key in ("true", "predicted"))
        _show(line[0], photos[row], true, predicted, "bold")
        for place, axes in enumerate(line[1:]):
            score = f"{arrays['contributions'][row, place]:+.2f}".replace("-", "\u2212")
            _label(axes, attributes[arrays["attributes"][row, place]], score)
            _overlay(axes, photos[row], arrays["maps"][row, place])
    return figure


def _label(axes: Axes, above: str, below: str, color: str = INK, weight: str = "normal") -> None:
    axes.set_title(wrapped(above), fontsize=7.5, loc="left", fontweight=weight)
    axes.set_xlabel(below, fontsize=7.5, color=color, labelpad=2, loc="left")


def _show(axes: Axes, image: np.ndarray | None, true: str, predicted: str, weight: str = "normal") -> None:
    """Draw an image with its true class, and whether that is predicted."""
    _label(axes, true, *(("✓ correct", GREEN) if true == predicted else (f"✗ {wrapped(predicted)}", RED)), weight)
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


def _open(path: Path, crop: float = 0) -> np.ndarray | None:
    """Return an image (PIXELS, PIXELS, 3), squeezed, or with `crop` a square in its middle; None if it cannot be opened."""
    try:
        with Image.open(path) as image:
            width, height = image.size
            side = crop * min(width, height)
            box = ((width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2) if crop else None
            return np.asarray(image.convert("RGB").resize((PIXELS, PIXELS), Image.Resampling.BICUBIC, box))
    except (OSError, ValueError, Image.DecompressionBombError):
        return None


def photo_plots(run: FinishedRun, images: Path | None) -> Iterator[Plot]:
    """Draw a row of images that were predicted correctly among all classes, and a row of others; chosen by position."""
    rule, (files, labels) = shown_model(run), _test_images(run)
    predicted = run.arrays.get(f"model_{rule}_gzsl_predictions", np.array([], dtype=int))[-len(files) or None :]
    if rule is None or not files or len(predicted) != len(files):
        return
    names, right = class_names(run), predicted == labels
    rows = [_opened([files[i] for i in np.flatnonzero(kind)], np.flatnonzero(kind), images) for kind in (right, ~right)]
    rows = [row for row in rows if row]
    if not rows:
        return
    figure = Figure(figsize=(WIDTH, 2.05 * len(rows)), layout="constrained")
    for line, row in zip(figure.subplots(len(rows), COLUMNS, squeeze=False), rows):
        for axes in line:
            hide_axes(axes, GRID)
        for axes, (index, image) in zip(line, row):
            _show(axes, image, names[labels[index]], names[predicted[index]])
    caption = (
        f"Test images of unseen classes, evenly spaced among those predicted correctly ({right.sum()} of {len(right)}) "
        f"and among the others, when every class can be predicted ({RULES[rule]})."
    )
    yield render(figure, "photos", "Right and wrong", caption, f"{sum(map(len, rows))} images with true and predicted class.")


def _test_images(run: FinishedRun) -> tuple[list[Path], np.ndarray]:
    """Return the files and classes of the test samples of unseen classes; none where the data do not say them."""
    try:
        source = source_from_json(run.result.data.source, run.path)
        if not isinstance(source, Xlsa17Source) or source.partition is not None:
            return [], np.array([])
        dataroot = resolve_folder(Path(str(run.result.config["dataroot"])))
        folder = dataroot / source.dataset
        content = read_mat(folder / f"{source.image_embedding}.mat", ["image_files", "labels"])
        rows = read_mat(source.split_file(dataroot), ["test_unseen_loc"])["test_unseen_loc"].ravel().astype(int) - 1
        files = [folder / str(name) for name in content["image_files"].ravel()]
        return [files[row] for row in rows], content["labels"].ravel().astype(int)[rows] - 1
    except (InputError, LookupError, ValueError):  # moved, of another layout or without file names
        return [], np.array([])


def _opened(files: list[Path], indices: np.ndarray, images: Path | None) -> list[tuple[int, np.ndarray]]:
    """Return the indices and pixels of some images, evenly spaced; those that cannot be opened are left out."""
    found = []
    for place in np.linspace(0, len(files) - 1, min(COLUMNS, len(files))).round().astype(int):
        path = files[place] if images is None else images.joinpath(*files[place].parts[-2:])  # class and name
        if (image := _open(path)) is not None:
            found.append((int(indices[place]), image))
    return found
