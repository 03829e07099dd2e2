"""A hand-made image descriptor: colors, edges and texture on a 7 x 7 grid, no trained weights.

It stands in for a backbone where none can be had: the toy data set and the photo demo. Regions feed DAZLE, the pooled
vector feeds TF-VAEGAN. Everything is a closed formula, so the same pixels give the same numbers.

Sources: Oklab color space (Ottosson, 2020); soft color histograms and gradient-orientation histograms as in HOG
(Dalal and Triggs, CVPR 2005); bilinear pooling (Lin et al., ICCV 2015); signed square root and L2 norm as in improved
Fisher vectors (Perronnin et al., ECCV 2010).
"""

from functools import lru_cache

import numpy as np
from scipy.sparse import csr_matrix

SIZE = 112  # sides of an image, in pixels
GRID = 7
CELL = SIZE // GRID
BATCH = 64  # images worked on at a time, to bound memory
LEVELS = 32  # steps a color channel in the color table
ORIENTATIONS = 8

# Colors that pixels are softly assigned to, in Oklab (lightness, a, b): four greys; eight hues, each dark and light.
_HUES = np.arange(8) * (2 * np.pi / 8) + 0.5
COLOR_WORDS = np.concatenate(
    [[(lightness, 0.0, 0.0) for lightness in (0.30, 0.55, 0.75, 0.97)]]
    + [np.stack([np.full(8, lightness), 0.13 * np.cos(_HUES), 0.13 * np.sin(_HUES)], axis=1) for lightness in (0.50, 0.78)]
)
N_COLORS = len(COLOR_WORDS)
COLOR_WIDTH = 0.07  # Oklab distance over which the assignment falls to exp(-1/2)
LOCAL_DIM = N_COLORS + ORIENTATIONS + 4
HEIGHTS = 4  # soft horizontal bands in which a region's numbers are kept apart
REGION_DIM = HEIGHTS * LOCAL_DIM + GRID + 2
POSITION_WEIGHT = 0.3
BANDS = 4
POOLED_DIM = 2 * BANDS * LOCAL_DIM + N_COLORS * N_COLORS


def region_descriptors(images: np.ndarray) -> np.ndarray:
    """Describe each cell of a 7 x 7 grid of images (n, SIZE, SIZE, 3) uint8: what is seen in it, and where the cell lies.

    A linear model on one region, which DAZLE is, tells a red crown from a red tail only if the region says where it is;
    a network's regions do so through its padding and wide view, these say it outright.

    Returns:
        (n, 7, 7, REGION_DIM) float32, non-negative, rows from the top: the square root of the LOCAL_DIM numbers of the
        cell (colors, edges, texture) times its membership of each of HEIGHTS soft bands; then POSITION_WEIGHT times
        the row as one of seven, the distance from the middle column and one minus it. Left and right are not told apart.
    """
    local = np.sqrt(_local_descriptors(images))
    row = np.arange(GRID)
    band_row = np.linspace(0, GRID - 1, HEIGHTS)
    membership = np.maximum(0, 1 - np.abs(row[:, None] - band_row) / (band_row[1] - band_row[0]))
    banded = membership[None, :, None, :, None] * local[:, :, :, None, :]
    aside = np.abs(row - GRID // 2) / (GRID // 2)
    columns = np.broadcast_to(np.stack([aside, 1 - aside], axis=-1)[None], (GRID, GRID, 2))
    place = np.concatenate([np.broadcast_to(np.eye(GRID)[:, None], (GRID, GRID, GRID)), columns], axis=-1)
    place = np.broadcast_to(POSITION_WEIGHT * place, (len(local), *place.shape))
    return np.concatenate([banded.reshape(*local.shape[:3], -1), place], axis=-1).astype(np.float32)


def pooled_descriptor(images: np.ndarray) -> np.ndarray:
    """Describe whole images (n, SIZE, SIZE, 3) uint8; the same for an image and its mirror image.

    Returns:
        (n, POOLED_DIM) float32, non-negative, each row of L2 norm 1: mean and maximum over each of BANDS overlapping
        horizontal bands of the grid, and which color lies above which (bilinear pooling of vertical neighbors), all
        square rooted.
    """
    local = _local_descriptors(images)
    edges = local[..., N_COLORS : N_COLORS + ORIENTATIONS]
    # In the mirror, orientation bin k becomes bin -k - 1: averaging the two makes left and right the same.
    local[..., N_COLORS : N_COLORS + ORIENTATIONS] = (edges + edges[..., ::-1]) / 2
    bands = [local[:, start:stop] for start, stop in ((0, 2), (1, 4), (3, 6), (5, 7))]
    pooled = [statistic for band in bands for statistic in (band.mean((1, 2)), band.max((1, 2)))]
    colors = local[..., :N_COLORS]
    pairs = np.einsum("nrck,nrcl->nkl", colors[:, :-1], colors[:, 1:], optimize=True) / ((GRID - 1) * GRID)
    vector = np.sqrt(np.concatenate([*pooled, pairs.reshape(-1, N_COLORS**2)], axis=1))
    return np.asarray(vector / np.linalg.norm(vector, axis=1, keepdims=True))


def _local_descriptors(images: np.ndarray) -> np.ndarray:
    """(n, 7, 7, LOCAL_DIM) float32: soft color histogram, orientation histogram, texture of each cell."""
    batches = [images[start : start + BATCH] for start in range(0, len(images), BATCH)]
    described = [np.concatenate([_colors(batch), *_edges(batch)], axis=-1) for batch in batches]
    return np.concatenate([np.zeros((0, GRID, GRID, LOCAL_DIM), np.float32), *described])


def _cell_mean(maps: np.ndarray) -> np.ndarray:
    """(n, SIZE, SIZE, ...) averaged over the pixels of each cell: (n, GRID, GRID, ...)."""
    n, _, _, *rest = maps.shape
    return np.asarray(maps.reshape(n, GRID, CELL, GRID, CELL, *rest).mean(axis=(2, 4)))


def _cell_numbers(n: int) -> np.ndarray:
    """(n, SIZE, SIZE): the number, over the batch, of the cell each pixel lies in."""
    along = np.arange(SIZE) // CELL
    return np.asarray(np.arange(n)[:, None, None] * GRID * GRID + (along[:, None] * GRID + along)[None])


def _colors(batch: np.ndarray) -> np.ndarray:
    """Soft color histogram of each cell, (n, GRID, GRID, N_COLORS), summing to 1."""
    red, green, blue = np.moveaxis(batch.astype(np.int32) // (256 // LEVELS), -1, 0)
    codes = (red * LEVELS + green) * LEVELS + blue
    # Counting a cell's codes and multiplying by the table once is cheaper than adding up a table row a pixel.
    rows, ones = _cell_numbers(len(batch)).ravel(), np.ones(codes.size, dtype=np.float32)
    counts = csr_matrix((ones, (rows, codes.ravel())), shape=(len(batch) * GRID * GRID, LEVELS**3))
    return np.asarray((counts @ _color_table() / CELL**2).reshape(len(batch), GRID, GRID, N_COLORS))


@lru_cache(maxsize=1)
def _color_table() -> np.ndarray:
    """Membership of each coarse RGB color in each color word: (LEVELS ** 3, N_COLORS) float32, rows sum to 1."""
    level = (np.arange(LEVELS) + 0.5) / LEVELS
    red, green, blue = np.meshgrid(level, level, level, indexing="ij")
    rgb = np.stack([red, green, blue], axis=-1).reshape(-1, 3)
    squared = ((_oklab(rgb)[:, None] - COLOR_WORDS[None]) ** 2).sum(-1)
    # Less the smallest, which the division below cancels: a color far from every word must not become 0 / 0.
    closeness = np.exp(-0.5 * (squared - squared.min(1, keepdims=True)) / COLOR_WIDTH**2)
    return np.asarray(closeness / closeness.sum(1, keepdims=True), dtype=np.float32)


def _oklab(rgb: np.ndarray) -> np.ndarray:
    """Convert sRGB in 0 ... 1, (n, 3), to Oklab, (n, 3)."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    red, green = (0.4122214708, 0.2119034982, 0.0883024619), (0.5363325363, 0.6806995451, 0.2817188376)
    cones = linear @ np.array([red, green, (0.0514459929, 0.1073969566, 0.6299787005)])
    long, medium = (0.2104542553, 1.9779984951, 0.0259040371), (0.7936177850, -2.4285922050, 0.7827717662)
    return np.asarray(np.cbrt(cones) @ np.array([long, medium, (-0.0040720468, 0.4505937099, -0.8086757660)]))


def _edges(batch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Orientation histogram (n, GRID, GRID, ORIENTATIONS) and texture energies (n, GRID, GRID, 4) of each cell."""
    grey = batch.astype(np.float32) @ np.array([0.299, 0.587, 0.114], dtype=np.float32) / 255
    down, right = np.gradient(grey, axis=(1, 2))
    strength = np.hypot(down, right)
    # Orientation without sign, so that dark-to-light and light-to-dark edges are the same edge.
    position = (np.arctan2(down, right) / np.pi % 1.0) * ORIENTATIONS - 0.5
    lower = np.floor(position)
    share = position - lower
    cell = _cell_numbers(len(batch)) * ORIENTATIONS
    bins = lower.astype(np.int64)
    votes = [((bins + offset) % ORIENTATIONS, weight * strength) for offset, weight in ((0, 1 - share), (1, share))]
    first, second = (
        np.bincount((cell + side).ravel(), weights.ravel(), minlength=len(batch) * GRID * GRID * ORIENTATIONS)
        for side, weights in votes
    )
    histogram = (first + second).reshape(len(batch), GRID, GRID, ORIENTATIONS).astype(np.float32) / CELL**2
    laplacian = np.abs(
        4 * grey[:, 1:-1, 1:-1] - grey[:, :-2, 1:-1] - grey[:, 2:, 1:-1] - grey[:, 1:-1, :-2] - grey[:, 1:-1, 2:]
    )
    laplacian = np.pad(laplacian, ((0, 0), (1, 1), (1, 1)))
    mean = _cell_mean(grey)
    deviation = np.sqrt(np.maximum(_cell_mean(grey**2) - mean**2, 0))
    energies = [_cell_mean(strength), _cell_mean(laplacian), deviation, mean]
    return 4 * histogram, np.stack(energies, axis=-1)
