"""Images of unseen classes that were recognized and that were not, where the data set says which file a feature is of."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from zslab.data.formats.matfile import read_mat
from zslab.datasets import Xlsa17Source, source_from_json
from zslab.errors import InputError
from zslab.report.plots.classes import shown_model
from zslab.report.plots.plot import WIDTH, Plot, class_names, hide_axes, render, wrapped
from zslab.report.style import GREEN, GRID, RED
from zslab.results.finished import FinishedRun
from zslab.results.names import RULES
from zslab.utils.environment import resolve_folder

COLUMNS, PIXELS = 4, 224


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
            verdict = ("✓ correct", GREEN) if right[index] else (f"✗ {wrapped(names[predicted[index]])}", RED)
            axes.imshow(image)
            axes.set_title(wrapped(names[labels[index]]), fontsize=7.5, loc="left")
            axes.set_xlabel(verdict[0], fontsize=7.5, color=verdict[1], labelpad=2, loc="left")
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
        try:
            with Image.open(path) as image:
                found.append((int(indices[place]), np.asarray(image.convert("RGB").resize((PIXELS, PIXELS)))))
        except (OSError, ValueError, Image.DecompressionBombError):
            continue
    return found
