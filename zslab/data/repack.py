"""Region files of the DAZLE release, rewritten once for training: uncompressed and in half precision.

    zslab repack SOURCE.hdf5 TARGET.hdf5

The release's files are compressed in chunks that span hundreds of images (see `zslab.data.region_file`), so that a random
batch unpacks most of the file. Pooled features, the mean over the regions, are added where a file has none.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from zslab.data.region_file import RegionFile, read_samples
from zslab.data.region_writer import write_region_file
from zslab.errors import exit_status


def repack(source: Path, target: Path, dtype: str = "float16") -> None:
    """Copy a region file into the layout with one access for each image, in "float16" or "float32"."""
    regions = RegionFile(Path(source))
    try:
        samples = read_samples(regions)
        pooled = regions.pooled()
        blocks = tqdm(list(regions.blocks()), unit="block", disable=None)
        write_region_file(
            target,
            (regions.read(indices) for indices in blocks),
            shape=(regions.n, regions.feature_dim, *regions.grid),
            dtype=dtype,
            labels=samples.labels,
            locations={key.removesuffix("_loc"): indices for key, indices in samples.locations.items()},
            att=regions.variable("att"),
            pooled="mean" if pooled is None else pooled,
            original_att=regions.variable("original_att"),
            w2v_att=regions.variable("w2v_att"),
            class_names=regions.texts("class_names"),
            attribute_names=regions.texts("attribute_names"),
            image_files=samples.image_files,
            backbone=regions.json_attribute("backbone"),
        )
    finally:
        regions.close()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(
        "zslab repack", description=__doc__, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path, help="a region file, such as the DAZLE release's")
    parser.add_argument("target", type=Path, help="the region file to write")
    parser.add_argument("--dtype", choices=("float16", "float32"), default="float16", help="precision to keep")
    args = parser.parse_args(argv)
    return exit_status(lambda: repack(args.source, args.target, args.dtype))
