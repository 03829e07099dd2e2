"""Attention drawn over a picture, the same way in reports, annotated pictures and on the page."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

DIM = 0.45  # brightness of what gets no attention; it also loses its colours


def overlay(picture: Image.Image, attention: np.ndarray, view: Sequence[float] = (0.0, 0.0, 1.0, 1.0)) -> Image.Image:
    """The picture, as it is where attention is most, dim and grey where there is none.

    Args:
        picture: RGB.
        attention: (rows, columns), non-negative.
        view: (left, top, right, bottom) of what the grid lies over, as shares of the picture; outside of it is dim.
    """
    pixels = np.asarray(picture.convert("RGB"), dtype=np.float32)
    left, top, right, bottom = (round(share * side) for share, side in zip(view, (*picture.size, *picture.size)))
    size = (max(1, right - left), max(1, bottom - top))
    grid = Image.fromarray((np.asarray(attention) / np.max(attention)).astype(np.float32))
    share = np.zeros((*pixels.shape[:2], 1), dtype=np.float32)
    lit = share[top : top + size[1], left : left + size[0], 0]
    lit[:] = np.clip(np.asarray(grid.resize(size, Image.Resampling.BILINEAR)), 0, 1)[: lit.shape[0], : lit.shape[1]]
    dim = DIM * pixels.mean(axis=2, keepdims=True)
    return Image.fromarray((share * pixels + (1 - share) * dim).astype(np.uint8))
