"""Region files of the DAZLE release, rewritten once for training: uncompressed and in half precision.

    zslab repack SOURCE.hdf5 TARGET.hdf5

The release's files are compressed in chunks that span hundreds of images (see `zslab.data.region_file`), so that a random
batch unpacks most of the file. Pooled features, the mean over the regions, are added where a file has none.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tqdm import tqdm
from tyro.conf import Positional

from zslab.data.region_file import RegionFile, read_samples
from zslab.data.region_writer import write_region_file

VARIABLES = ("att", "original_att", "w2v_att", "class_names", "attribute_names")


@dataclass(frozen=True)
class RepackConfig:
    """Flags of `zslab repack`."""

    source: Positional[Path]
    """a region file, such as the DAZLE release's"""
    target: Positional[Path]
    """the region file to write"""
    dtype: Literal["float16", "float32"] = "float16"
    """precision to keep"""


def repack(config: RepackConfig) -> None:
    """Copy a region file into the layout with one access for each image."""
    regions = RegionFile(config.source)
    try:
        samples = read_samples(regions)
        pooled = regions.pooled()
        blocks = tqdm(list(regions.blocks()), unit="block", disable=None)
        write_region_file(
            config.target,
            (regions.read(indices) for indices in blocks),
            shape=(regions.n, regions.feature_dim, *regions.grid),
            dtype=config.dtype,
            labels=samples.labels,
            locations={key.removesuffix("_loc"): indices for key, indices in samples.locations.items()},
            pooled="mean" if pooled is None else pooled,
            backbone=regions.json_attribute("backbone"),
            image_files=samples.image_files,
            **{name: regions.variable(name) for name in VARIABLES},
        )
    finally:
        regions.close()
