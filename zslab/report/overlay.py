"""Attention over an image, drawn alike in reports, in annotated images and on the web page."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

DIM = 0.45  # brightness of regions without attention, which also lose their colors


def overlay(image: Image.Image, attention: np.ndarray, view: Sequence[float] = (0.0, 0.0, 1.0, 1.0)) -> Image.Image:
    """Return the image, unchanged where attention is highest and dim and gray where there is none.

    Args:
        attention: (rows, columns), non-negative.
        view: (left, top, right, bottom) of the region that the grid covers, as shares of the image. Outside is dim.
    """
    pixels = np.asarray(image.convert("RGB"), dtype=np.float32)
    left, top, right, bottom = (round(share * side) for share, side in zip(view, (*image.size, *image.size)))
    size = (max(1, right - left), max(1, bottom - top))
    grid = Image.fromarray((np.asarray(attention) / np.max(attention)).astype(np.float32))
    share = np.zeros((*pixels.shape[:2], 1), dtype=np.float32)
    lit = share[top : top + size[1], left : left + size[0], 0]
    lit[:] = np.clip(np.asarray(grid.resize(size, Image.Resampling.BILINEAR)), 0, 1)[: lit.shape[0], : lit.shape[1]]
    dim = DIM * pixels.mean(axis=2, keepdims=True)
    return Image.fromarray((share * pixels + (1 - share) * dim).astype(np.uint8))
