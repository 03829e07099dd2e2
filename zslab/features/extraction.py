"""Many images through a backbone: pooled vectors (.mat, the xlsa17 layout) and region maps (HDF5) in one pass.

Threads open and resize images ahead of the network; at most a few batches are in memory. Finished rows are kept on disk
(`zslab.data.resumable`). A batch holds the same images whatever is finished already, so an extraction that was killed and
continued gives the same bits.

    images = read_image_list(Path("image_list.txt"), Path("images"))
    split = read_split(Path("att_splits.mat"), images)
    extract(images, load_backbone(spec), partial=partial, split=split, pooled=Path("resnet101.mat"), regions=Path("maps.hdf5"))
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from zslab.data.region_writer import write_region_file
from zslab.data.resumable import FileKey, ResumableRows, file_key
from zslab.errors import InputError
from zslab.features.backbones import ImageBackbone
from zslab.features.feature_file import write_features
from zslab.features.images import MAX_PIXELS, open_image
from zslab.features.sources import Images, Split
from zslab.utils.files import printable, write_text

BATCHES_AHEAD = 2  # opened while the network works on one
MAPS_AT_ONCE = 64  # copied into the region file

Item = TypeVar("Item")
Result = TypeVar("Result")


def find_unreadable(images: Images, backbone: ImageBackbone, *, workers: int, max_pixels: int) -> dict[int, str]:
    """Return index -> reason for the images that cannot be opened or cropped; every image is decoded once."""

    def problem(index: int) -> str | None:
        try:
            backbone.prepare(open_image(images.path(index), max_pixels=max_pixels))
        except InputError as error:
            return str(error)
        return None

    with ThreadPoolExecutor(workers) as pool:
        checked = _in_order(pool, problem, range(len(images)), 4 * workers)
        problems = tqdm(checked, total=len(images), desc="checking", unit="image", disable=None)
        return {index: reason for index, reason in enumerate(problems) if reason is not None}


def extract(
    images: Images,
    backbone: ImageBackbone,
    *,
    partial: Path,
    pooled: Path | None = None,
    regions: Path | None = None,
    split: Split | None = None,
    attribute_names: Sequence[str] | None = None,
    word_vectors: np.ndarray | None = None,
    dtype: str = "float16",
    batch_size: int = 32,
    workers: int = 2,
    max_pixels: int = MAX_PIXELS,
) -> dict[int, str]:
    """Write the features of all images, or tell which images cannot be read and write no file.

    Finished rows stay in `partial`, from where a later call continues. They need as much disk space as the files.

    Args:
        images: N images with labels.
        backbone: the network.
        partial: record of the finished rows, see `ResumableRows`.
        pooled: .mat file to write: features (P, N), labels, image_files, backbone, class names where known.
        regions: HDF5 file to write, which needs `split`.
        split: class attributes and lists of these images.
        attribute_names: A names to store with the region maps.
        word_vectors: (A, v) to store with the region maps.
        dtype: precision of the region maps, "float16" or "float32".
        batch_size: images in the network at a time. Another one may change the last bits of the features.
        workers: threads that open images.
        max_pixels: an image with more is not opened.

    Returns:
        index -> reason for the images that cannot be read; empty if the files were written.

    Raises:
        InputError: the finished rows belong to other settings, a feature is not finite, or the disk is full.
    """
    keys, missing = _file_keys(images)
    if missing:
        return missing
    fields: list[tuple[str, str, tuple[int, ...]]] = [("pooled", "float32", (backbone.pooled_dim,))]
    if regions is not None:
        fields.append(("maps", dtype, (backbone.feature_dim, *backbone.grid)))
    with ResumableRows(partial, np.dtype(fields), backbone.identity()) as finished:
        unreadable = _compute(images, backbone, keys, finished, batch_size, workers, max_pixels)
        if unreadable:
            return unreadable
        rows, order = finished.rows(), np.array([finished.positions[key] for key in keys])
        vectors = rows["pooled"][order]
        if pooled is not None:
            classes = images.classes or (split.class_names if split else None)
            write_features(pooled, vectors, images.labels, images.files, classes, backbone=backbone.describe())
        if regions is not None:
            if split is None:
                raise ValueError("region maps are stored with a split")
            write_region_file(
                regions,
                (rows["maps"][order[start : start + MAPS_AT_ONCE]] for start in range(0, len(order), MAPS_AT_ONCE)),
                shape=(len(images), backbone.feature_dim, *backbone.grid),
                dtype=dtype,
                labels=images.labels - 1,
                locations=split.locations,
                att=split.attributes,
                pooled=vectors,
                original_att=split.original_attributes,
                w2v_att=word_vectors,
                class_names=split.class_names,
                attribute_names=attribute_names,
                image_files=[printable(name) for name in images.files],
                backbone=backbone.describe(),
            )
        del rows  # Windows does not delete a mapped file
        finished.remove()
    return {}


def _file_keys(images: Images) -> tuple[list[FileKey], dict[int, str]]:
    """Return the key of every image file, and index -> reason for those that are not there."""
    keys, missing = [], {}
    for index, name in enumerate(images.files):
        try:
            keys.append(file_key(images.path(index), name))
        except OSError as error:
            missing[index] = "no such file" if isinstance(error, FileNotFoundError) else str(error)
    return keys, missing


def _compute(
    images: Images,
    backbone: ImageBackbone,
    keys: Sequence[FileKey],
    finished: ResumableRows,
    batch_size: int,
    workers: int,
    max_pixels: int,
) -> dict[int, str]:
    """Compute the batches that are not finished; return index -> reason for unreadable images."""
    batches = [range(start, min(start + batch_size, len(images))) for start in range(0, len(images), batch_size)]
    batches = [batch for batch in batches if not all(keys[index] in finished.positions for index in batch)]
    indices = [index for batch in batches for index in batch]
    unreadable: dict[int, str] = {}

    def load(index: int) -> Tensor | str:
        try:
            return backbone.prepare(open_image(images.path(index), max_pixels=max_pixels))
        except InputError as error:
            return str(error)

    n_finished = len(images) - len(indices)
    with (
        ThreadPoolExecutor(workers) as pool,
        tqdm(desc=backbone.spec.name, unit="image", total=len(images), initial=n_finished, disable=None) as progress,
    ):
        loaded = _in_order(pool, load, indices, (1 + BATCHES_AHEAD) * batch_size)
        for batch in batches:
            inputs: dict[int, Tensor] = {}
            for index, image in zip(batch, islice(loaded, len(batch))):
                if isinstance(image, str):
                    unreadable[index] = image
                else:
                    inputs[index] = image
            if inputs:
                vectors, maps = backbone.features(torch.stack(list(inputs.values())))
                rows = np.empty(len(inputs), finished.row_type)
                with np.errstate(over="ignore"):
                    for name, values in zip(rows.dtype.names or (), (vectors, maps)):
                        rows[name] = values
                _check_finite(rows, [images.files[index] for index in inputs])
                finished.add([keys[index] for index in inputs], rows)
            progress.update(len(batch))
    return unreadable


def _in_order(
    pool: ThreadPoolExecutor, function: Callable[[Item], Result], items: Sequence[Item], n_ahead: int
) -> Iterator[Result]:
    """Yield function(item) in the order of the items; at most `n_ahead` calls are begun and not yet taken."""
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= n_ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def _check_finite(rows: np.ndarray, files: Sequence[str]) -> None:
    for name in rows.dtype.names or ():
        finite = np.isfinite(rows[name]).reshape(len(rows), -1).all(axis=1)
        if not finite.all():
            raise InputError(
                "the network gives features that cannot be stored",
                where=files[int(np.flatnonzero(~finite)[0])],
                found="NaN or infinity",
                expected=f"finite numbers that {rows[name].dtype.name} can hold",
                fix="Check --weights, --padding and --normalization; --region_type float32 holds larger numbers.",
            )


def write_unreadable(path: Path, images: Images, unreadable: dict[int, str]) -> None:
    """Write a line for each image that cannot be read; remove the file if there is none."""
    path.unlink(missing_ok=True)
    if unreadable:
        write_text(
            path,
            "".join(f"{printable(images.files[index])}: {printable(reason)}\n" for index, reason in sorted(unreadable.items())),
        )
