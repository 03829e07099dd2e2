"""Region maps of the toy birds on the 7 x 7 grid of `zslab.features.descriptor`, so that DAZLE runs without a download."""

import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from zslab.data.formats.matfile import read_mat
from zslab.data.region_writer import write_region_file
from zslab.data.splits import LOCATIONS
from zslab.features.backbones import DESCRIPTOR, BackboneSpec, load_backbone
from zslab.features.descriptor import GRID, REGION_DIM, region_descriptors
from zslab.toy.dataset import map_in_order
from zslab.toy.species import ATTRIBUTES

WORD_DIM = 300
AT_ONCE = 60


def make_toy_regions(folder: Path) -> Path:
    """Write the region maps of a data set of `zslab.toy.dataset`, unless they exist, and return the file's path.

    2,400 images take about 20 s on one core, half of that on two, and 33 MB.
    """
    target = Path(folder) / "descriptor_regions.hdf5"
    if target.exists():
        return target
    features = read_mat(folder / "descriptor.mat", ["features", "labels", "image_files"])
    split = read_mat(folder / "att_splits.mat", ["att", "original_att", "allclasses_names", *LOCATIONS])
    files = [str(name) for name in features["image_files"]]
    batches = [[folder / name for name in files[start : start + AT_ONCE]] for start in range(0, len(files), AT_ONCE)]
    described = map_in_order(_describe, batches, images=len(files))
    write_region_file(
        target,
        tqdm(described, total=len(batches), desc="toy regions", disable=None),
        shape=(len(files), REGION_DIM, GRID, GRID),
        dtype="float16",
        labels=features["labels"].ravel() - 1,
        locations={name.removesuffix("_loc"): split[name].ravel() - 1 for name in LOCATIONS},
        att=split["att"].T,
        pooled=features["features"].T,
        original_att=split["original_att"].T,
        w2v_att=word_vectors(ATTRIBUTES),
        class_names=split["allclasses_names"].tolist(),
        attribute_names=ATTRIBUTES,
        image_files=files,
        backbone=load_backbone(BackboneSpec(DESCRIPTOR)).describe(),
    )
    return target


def _describe(files: Sequence[Path]) -> np.ndarray:
    """Return the region maps of some images, (n, REGION_DIM, 7, 7) float16."""
    regions = region_descriptors(np.stack([np.asarray(Image.open(file)) for file in files]))
    maps: np.ndarray = regions.transpose(0, 3, 1, 2).astype(np.float16)
    return maps


def word_vectors(attributes: Sequence[str]) -> np.ndarray:
    """Return (A, WORD_DIM) float32 stand-ins for word vectors: sums of random directions, seeded by the spelling of a word."""
    words = [name.removeprefix("has_").replace("::", "_").replace("-", "_").split("_") for name in attributes]

    def vector(word: str) -> np.ndarray:
        return np.random.RandomState(zlib.crc32(word.encode())).standard_normal(WORD_DIM)

    return np.stack([sum(map(vector, of_name)) for of_name in words]).astype(np.float32)
