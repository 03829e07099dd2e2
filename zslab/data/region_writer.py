"""Region files written, or rewritten from the DAZLE release's, so that an image costs one access: uncompressed.

    zslab repack SOURCE.hdf5 TARGET.hdf5

Rewritten files are in half precision by default. Pooled features, the mean over the regions, are added where a file has none.
"""

import errno
import math
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import h5py
import numpy as np
from tqdm import tqdm
from tyro.conf import Positional

from zslab.data.checks import in_precision
from zslab.data.formats.matfile import open_hdf5
from zslab.data.region_file import RegionFile, read_samples
from zslab.utils.files import NO_SERVICE, atomic_path

FORMAT_VERSION = 1
OVERHEAD = 2**20  # bytes for names, backbone and HDF5's own structures
COPIED = ("att", "original_att", "w2v_att", "class_names", "attribute_names")


@dataclass(frozen=True)
class RepackConfig:
    """Flags of `zslab repack`."""

    source: Positional[Path]  #: a region file, such as the DAZLE release's
    target: Positional[Path]  #: the region file to write
    dtype: Literal["float16", "float32"] = "float16"  #: precision to keep


def repack(config: RepackConfig) -> None:
    """Copy a region file into the layout with one access for each image."""
    regions = RegionFile(config.source)
    try:
        (labels, image_files, locations), pooled = read_samples(regions), regions.pooled()
        write_region_file(
            config.target,
            map(regions.read, tqdm(list(regions.blocks()), unit="block", disable=None)),
            shape=(regions.n, regions.feature_dim, *regions.grid),
            dtype=config.dtype,
            labels=labels,
            locations={key.removesuffix("_loc"): indices for key, indices in locations.items()},
            pooled="mean" if pooled is None else pooled,
            backbone=regions.json_attribute("backbone"),
            image_files=image_files,
            **{name: regions.variable(name) for name in COPIED},
        )
    finally:
        regions.close()


def write_region_file(
    path: Path,
    maps: Iterable[np.ndarray],
    *,
    shape: tuple[int, int, int, int],
    dtype: str,
    labels: np.ndarray,
    locations: Mapping[str, np.ndarray],
    pooled: np.ndarray | Literal["mean"] | None = None,
    backbone: str | None = None,
    **variables: np.ndarray | Sequence[str] | None,
) -> None:
    """Write a region file (see `zslab.data.region_file`), completely or not at all.

    Args:
        maps: the region maps in the order of the images, in blocks (b, D, gh, gw) of any size; `shape` is that of all of them.
        labels: (N,) 0-based, and
        locations: name without "_loc" -> 0-based image numbers.
        pooled: (N, P) features of whole images; "mean" for the mean over the regions.
        backbone: JSON text that describes what made the maps.
        variables: att, original_att, w2v_att, class_names, attribute_names and image_files, as far as they are known.
    """
    arrays = {f"{name}_loc": np.asarray(indices, dtype=np.int64) for name, indices in locations.items()}
    arrays["labels"] = np.asarray(labels, dtype=np.int64)
    arrays |= {name: _encoded(np.asarray(value)) for name, value in variables.items() if value is not None}
    n_bytes = math.prod(shape) * np.dtype(dtype).itemsize + sum(array.nbytes for array in arrays.values())
    if pooled is not None:
        n_bytes += 4 * (shape[0] * shape[1] if isinstance(pooled, str) else pooled.size)
    with atomic_path(path) as temporary:
        _reserve(temporary, n_bytes + OVERHEAD)
        with open_hdf5(temporary, "w") as file:
            for name, array in arrays.items():
                file[name] = array
            file.attrs.update({"format_version": FORMAT_VERSION} | ({"backbone": backbone} if backbone is not None else {}))
            stored, start, means = file.create_dataset("feature_map", shape, dtype), 0, []
            for block in maps:
                numbers = range(start, start + len(block))
                stored[numbers.start : numbers.stop] = in_precision(block, dtype, path, numbers)
                start += len(block)
                if isinstance(pooled, str):
                    means.append(block.mean((2, 3), dtype=np.float32))
            if pooled is not None:
                file["pooled"] = np.concatenate(means) if isinstance(pooled, str) else np.asarray(pooled, dtype=np.float32)
            if not (start == shape[0] == len(labels)):
                raise ValueError(f"{start} maps and {len(labels)} labels for {shape[0]} images")


def _encoded(values: np.ndarray) -> np.ndarray:
    """Return numbers as they are, and texts as UTF-8 in as many bytes each: several times as fast to read as other texts."""
    if values.dtype.kind not in "UO":
        return values
    encoded = np.array([str(text).encode() for text in values])
    return encoded.astype(h5py.string_dtype(length=encoded.itemsize))


def _reserve(path: Path, n_bytes: int) -> None:
    """Make sure that the disk has room for a file: the HDF5 library crashes on a full disk."""
    with open(path, "wb") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, n_bytes)
        except (OSError, AttributeError) as error:  # macOS and Windows do not have it
            if getattr(error, "errno", errno.ENOTSUP) not in NO_SERVICE:
                raise
            if shutil.disk_usage(path.parent).free < n_bytes:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from None
