"""What people hand to `Predictor.predict`, one by one: paths, folders, bytes, file objects, PIL images, arrays, tensors."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from PIL import Image
from torch import Tensor

from zslab.features.modality import Modality

ImageInput = Path | str | bytes | BinaryIO | Image.Image | np.ndarray | Tensor
Source = Path | str | BinaryIO | Image.Image | np.ndarray  # what a backbone reads


def sources(images: ImageInput | Iterable[ImageInput], modality: Modality) -> Iterator[tuple[str, Source]]:
    """Yield every image or video with its name; folders, and batches of arrays or tensors, are opened up.

    Args:
        images: one input or a possibly endless stream of them. Arrays are (h, w), (h, w, channels) or a batch
            (n, h, w, channels). Tensors are (channels, h, w) or a batch (n, channels, h, w). Floats lie in 0 ... 1.
        modality: how folders are searched.
    """
    number = 0
    for image in _stream(images):
        for name, source in _opened(image, modality):
            number += 1
            yield name or f"{modality.name} {number}", source


def _stream(images: ImageInput | Iterable[ImageInput]) -> Iterator[ImageInput]:
    if isinstance(images, str | Path | bytes | Image.Image | np.ndarray | Tensor | io.IOBase) or hasattr(images, "read"):
        yield cast(ImageInput, images)
    else:
        yield from cast(Iterable[ImageInput], images)


def _opened(image: ImageInput, modality: Modality) -> Iterator[tuple[str, Source]]:
    if isinstance(image, str | Path):
        paths = modality.find([image]) if Path(image).is_dir() else [image]
        yield from ((str(path), path) for path in paths)
    elif isinstance(image, bytes):
        yield "", io.BytesIO(image)
    elif isinstance(image, Tensor):
        array = image.detach().cpu().numpy()
        channels_last = np.moveaxis(array, -3, -1) if array.ndim in (3, 4) else array
        yield from _opened(channels_last, modality)
    elif isinstance(image, np.ndarray):
        yield from (("", _in_8_bits(part)) for part in (image if image.ndim == 4 else [image]))
    else:
        name = getattr(image, "filename", None) or getattr(image, "name", None)
        yield str(name or ""), image


def _in_8_bits(array: np.ndarray) -> np.ndarray:
    """Return floats in 0 ... 1 as uint8; any other array as it is, for the reader to judge."""
    if array.dtype.kind != "f" or array.size == 0 or not (array.min() >= 0 and array.max() <= 1):  # NaN compares false
        return array
    return np.round(255 * array).astype(np.uint8)
