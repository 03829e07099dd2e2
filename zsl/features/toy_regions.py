"""Region maps of the toy birds, so that DAZLE too runs where nothing can be downloaded.

`make_toy_regions(DATAROOT / "TOY")` describes every picture on the 7 x 7 grid of `zsl.features.descriptor` and writes
`descriptor_regions.hdf5` beside it: 2,400 pictures in about 20 s on one core, 33 MB.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path

import filelock
import numpy as np
from PIL import Image
from tqdm import tqdm

from zsl.data.matfile import read_mat
from zsl.data.region_writer import RegionWriter
from zsl.data.toy import ATTRIBUTES
from zsl.features.backbones import DESCRIPTOR, BackboneSpec, load_backbone
from zsl.features.descriptor import GRID, REGION_DIM, region_descriptors
from zsl.runs.files import read_json

STEM = "descriptor_regions"
LISTS = ("trainval_loc", "train_loc", "val_loc", "test_seen_loc", "test_unseen_loc")
WORD_DIM = 300
AT_ONCE = 60


def make_toy_regions(folder: Path) -> Path:
    """Writes the region maps of a data set made by `zsl.data.toy.make_toy`, unless they are there already.

    Args:
        folder: the data set's; after a kill the work is continued where it stopped.

    Returns:
        The file's path.

    Raises:
        InputError: the disk is full.
    """
    folder = Path(folder)
    target = folder / f"{STEM}.hdf5"
    with filelock.FileLock(folder / f".{STEM}.lock"):  # the runs of a sweep may all ask for it
        if not target.exists():
            _write(folder, target)
    return target


def _write(folder: Path, target: Path) -> None:
    features = read_mat(folder / "descriptor.mat", ["features", "labels", "image_files"])
    split = read_mat(folder / "att_splits.mat", ["att", "original_att", "allclasses_names", *LISTS])
    files, pooled = [str(name) for name in features["image_files"]], features["features"].T
    writer = RegionWriter(target, len(files), REGION_DIM, (GRID, GRID), identity=read_json(folder / "manifest.json"))
    missing = np.flatnonzero(~writer.done)
    with tqdm(total=len(missing), desc="toy regions", unit="image", disable=None) as progress:
        for start in range(0, len(missing), AT_ONCE):
            rows = missing[start : start + AT_ONCE]
            regions = region_descriptors([np.asarray(Image.open(folder / files[row])) for row in rows])
            writer.write(rows, regions.transpose(0, 3, 1, 2), pooled[rows])
            progress.update(len(rows))
    writer.finish(
        labels=features["labels"].ravel() - 1,
        locations={name.removesuffix("_loc"): split[name].ravel() - 1 for name in LISTS},
        att=split["att"].T, original_att=split["original_att"].T, w2v_att=word_vectors(ATTRIBUTES),
        class_names=split["allclasses_names"], attribute_names=ATTRIBUTES, image_files=files,
        backbone=load_backbone(BackboneSpec(DESCRIPTOR)).describe(),
    )


def word_vectors(attributes: Sequence[str]) -> np.ndarray:
    """Stand-ins for word vectors: attributes that share words ("has_wing_color::red", "has_wing_color::grey") are alike.

    Every word has a direction of its own, drawn from its spelling; an attribute's vector is the sum over its words, as with
    vectors that were learned from text.

    Returns:
        (A, WORD_DIM) float32.
    """
    words = [name.removeprefix("has_").replace("::", "_").replace("-", "_").split("_") for name in attributes]

    def vector(word: str) -> np.ndarray:
        return np.random.RandomState(zlib.crc32(word.encode())).standard_normal(WORD_DIM)

    return np.stack([sum(map(vector, of_name)) for of_name in words]).astype(np.float32)
