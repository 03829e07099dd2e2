"""How often DAZLE's attention finds the part that an attribute belongs to.

Pointing is measured on pairs of a test image and an attribute that this very image shows (has_wing_color::red where
the wing is red), on the attribute's map over the grid's cells, against the box of the attribute's part:

    peak      the cell with the most attention overlaps the box (by more than nothing)
    center    stricter: the middle of that cell lies in the box
    mass      the attention inside the box, every cell's spread evenly over its area
    other     peak, but on the boxes of the image's other parts, on average: the value of pointing anywhere at the object

Cells that share the highest value count with equal shares. Each of the first three has a chance level, the value of uniform
attention: the share of cells that overlap the box, the share of cells whose middle lies in it, and the box's share of the area.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zslab.data.parts import PartAnnotation
from zslab.dazle.model import Dazle

MEASURES = ("peak", "peak_chance", "center", "center_chance", "mass", "mass_chance", "other")


def coverage(boxes: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Return the share of every cell's area that lies in a box, (..., rows, columns).

    Args:
        boxes: (..., 4): x0, y0, x1, y1 in shares of the image.
    """

    def along(low: np.ndarray, high: np.ndarray, n: int) -> np.ndarray:
        edges = np.arange(n + 1)
        overlap: np.ndarray = np.clip(
            np.minimum(high[..., None] * n, edges[1:]) - np.maximum(low[..., None] * n, edges[:-1]), 0, 1
        )
        return overlap

    x0, y0, x1, y1 = np.moveaxis(np.asarray(boxes, dtype=np.float64), -1, 0)
    covered: np.ndarray = along(y0, y1, grid[0])[..., :, None] * along(x0, x1, grid[1])[..., None, :]
    return covered


def holds_center(boxes: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Return whether a box holds the middle of a cell, (..., rows, columns) bool."""
    x0, y0, x1, y1 = np.moveaxis(np.asarray(boxes, dtype=np.float64), -1, 0)[..., None, None]
    y, x = ((np.arange(n) + 0.5) / n for n in grid)
    inside: np.ndarray = (y0 <= y[:, None]) & (y[:, None] < y1) & (x0 <= x) & (x < x1)
    return inside


def pointing(maps: np.ndarray, boxes: np.ndarray, part: np.ndarray) -> dict[str, np.ndarray]:
    """Return the measures of the module's docstring for n pairs of an image and an attribute.

    Args:
        maps: (n, rows, columns), each summing to 1.
        boxes: (n, P, 4) of the image's parts, in shares of the image; NaN for a missing one.
        part: (n,) the attribute's part, which is not missing.

    Returns:
        Measure -> (n,) values in [0, 1]; "other" is NaN where the image has no other part.
    """
    grid, pair = maps.shape[1:], np.arange(len(maps))
    peak = maps == maps.max(axis=(1, 2), keepdims=True)
    peak = peak / peak.sum(axis=(1, 2), keepdims=True)
    is_marked = ~np.isnan(boxes).any(axis=2)
    covered = coverage(np.where(is_marked[..., None], boxes, 0), grid)
    hit = (peak[:, None] * (covered > 0)).sum(axis=(2, 3))
    others = is_marked.copy()
    others[pair, part] = False
    own = covered[pair, part]
    center = holds_center(boxes[pair, part], grid)
    with np.errstate(invalid="ignore"):
        other = (hit * others).sum(axis=1) / others.sum(axis=1)
    return {
        "peak": hit[pair, part],
        "peak_chance": (own > 0).mean(axis=(1, 2)),
        "center": (peak * center).sum(axis=(1, 2)),
        "center_chance": center.mean(axis=(1, 2)),
        "mass": (maps * own).sum(axis=(1, 2)),
        "mass_chance": own.mean(axis=(1, 2)),
        "other": other,
    }


@torch.no_grad()
def measure_pointing(
    model: Dazle, regions: Iterable[Tensor], class_attributes: Tensor, parts: PartAnnotation, attribute_names: list[str]
) -> dict[str, Any]:
    """Return the means of pointing over all pairs, over those of each part and over those of each attribute.

    Args:
        regions: batches (b, r, f), together the n images of `parts`.

    Returns:
        "overall": means, "parts" and "attributes": name -> means; means are "pairs" (how many) and measure -> mean.
    """
    pairs: list[dict[str, np.ndarray]] = []
    start = 0
    for batch in regions:
        images = slice(start, start := start + len(batch))
        boxes = parts.boxes[images]
        has_box = np.zeros((len(batch), len(parts.part_of)), dtype=bool)
        for attribute, part in enumerate(parts.part_of):
            has_box[:, attribute] = part >= 0 and ~np.isnan(boxes[:, part]).any(axis=1)
        image, shown = np.nonzero(parts.shown[images] & has_box)
        attention = model(batch, class_attributes).attention.unflatten(2, model.grid).double().cpu().numpy()
        part = parts.part_of[shown]
        measured = pointing(attention[image, shown], boxes[image], part)
        pairs.append(measured | {"part": part, "attribute": shown})
    joined = {key: np.concatenate([pair[key] for pair in pairs]) for key in pairs[0]}

    def means(chosen: np.ndarray) -> dict[str, float | int | None]:
        values = {}
        for measure in MEASURES:
            known = joined[measure][chosen]
            known = known[~np.isnan(known)]
            values[measure] = float(known.mean()) if len(known) else None
        return {"pairs": int(chosen.sum())} | values

    return {
        "overall": means(np.ones(len(joined["part"]), dtype=bool)),
        "parts": {
            name: means(joined["part"] == number) for number, name in enumerate(parts.parts) if (joined["part"] == number).any()
        },
        "attributes": {
            name: means(joined["attribute"] == number)
            for number, name in enumerate(attribute_names)
            if (joined["attribute"] == number).any()
        },
    }
