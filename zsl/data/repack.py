"""Region files of the DAZLE release, rewritten once for training: uncompressed, one chunk an image, half precision.

    python -m zsl.data.repack SOURCE.hdf5 TARGET.hdf5

The release's files are gzip'd in chunks that span hundreds of images (see `zsl.data.region_file`), so that a random batch
unpacks most of one. Pooled features, the mean over the regions, are added where a file has none.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from zsl.data.region_file import RegionFile
from zsl.data.region_maps import read_samples
from zsl.data.region_writer import RegionWriter
from zsl.errors import exit_status


def repack(source: Path, target: Path, dtype: str = "float16") -> None:
    """Copies a region file into the layout that streams, adding pooled features (the mean over the regions, which is what
    a ResNet's own pooling computes) where it has none. Resumable.

    Raises:
        InputError: as `read_region_maps` and `RegionWriter`.
    """
    source = Path(source)
    regions = RegionFile(source)
    try:
        labels, image_files, locations = read_samples(regions)
        identity = {"source": source.name, "bytes": source.stat().st_size}
        writer = RegionWriter(target, regions.n, regions.feature_dim, regions.grid, dtype, identity)
        pooled = regions.pooled()
        for rows in tqdm(list(regions.stretches()), unit="stretch", disable=None):
            rows = rows[~writer.done[rows]]
            if len(rows):
                maps = regions.read(rows)
                writer.write(rows, maps, maps.mean((2, 3), dtype=np.float32) if pooled is None else pooled[rows])
        writer.finish(
            labels=labels, locations={key.removesuffix("_loc"): rows for key, rows in locations.items()},
            image_files=image_files, backbone=regions.attribute("backbone"),
            **{key: regions.variable(key) for key in
               ("att", "original_att", "w2v_att", "class_names", "attribute_names")},
        )
    finally:
        regions.close()


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns 0, 1 after an error told on stderr, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(
        "python -m zsl.data.repack", description=__doc__, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", type=Path, help="a region file, such as the DAZLE release's")
    parser.add_argument("target", type=Path, help="the region file to write; an unfinished one is continued")
    parser.add_argument("--dtype", choices=("float16", "float32"), default="float16", help="precision to keep")
    args = parser.parse_args(argv)
    return exit_status(
        lambda: repack(args.source, args.target, args.dtype), "\nStopped; the same command continues where it was."
    )


if __name__ == "__main__":
    sys.exit(main())
