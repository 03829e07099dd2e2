"""Features of images for TF-VAEGAN (pooled vectors, .mat) and DAZLE (region maps, .hdf5), both in one pass.

    pip install -e '.[images]'
    python zero-shot-images/extract_features.py --dataset CUB --images CUB_images --image_list CUB/res101.mat \\
        --drop_leading 5 --attribute_names CUB/attributes.txt --word_vectors CUB/attribute_w2v.npy
    python zero-shot-images/extract_features.py --dataset my_birds --images my_photos --write pooled --backbone timm:resnet50

The first is DAZLE's recipe: torchvision's ResNet-101 (IMAGENET1K_V1), shorter side 224, centre crop 224, 2048 x 7 x 7 region
maps in half precision. `--images` holds a folder for each class, or `--image_list` says which pictures are of which class.
Rows and labels must fit the split file, which is <dataroot>/<dataset>/att_splits.mat where --splits is not given.

Written are <dataroot>/<dataset>/<image_embedding>.mat and feature_map_<backbone>_<dataset>.hdf5. Pictures that cannot be read
are listed in <image_embedding>-unreadable.txt and nothing is put in their place: replace them and pass --resume, or leave
them out with --skip_unreadable. Stop it at any time and go on with --resume.
Exit status: 0 all pictures, 3 features written but some pictures left out, 1 an error, 130 stopped.
"""

from __future__ import annotations

import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from zsl.data.splits import write_split
from zsl.errors import InputError, exit_status
from zsl.features.backbones import BackboneSpec, load_backbone
from zsl.features.extraction import (
    extract,
    find_unreadable,
    leave_out,
    read_attribute_names,
    read_attribute_vectors,
    read_class_names,
    read_image_folder,
    read_image_list,
    read_split,
    write_unreadable,
)
from zsl.features.pictures import MAX_PIXELS
from zsl.flags import check_at_least
from zsl.runs.config import parse_config
from zsl.runs.environment import resolve_device, resolve_folder

TREE = Path(__file__).resolve().parent
RELEASE_NAMES = {"resnet101": "ResNet_101"}  # what the DAZLE release calls a backbone in file names


@dataclass(frozen=True)
class ExtractConfig:
    images: Path = TREE / "data" / "images"
    """folder with a folder of pictures for each class, or the folder that the paths of --image_list are relative to"""
    image_list: Path | None = None
    """text of path, tab, label (from 1) a line, or a .mat file with image_files and labels, as res101.mat"""
    drop_leading: int = 0
    """parts of every listed path to leave off: 5 for the published res101.mat, 7 for SUN's"""
    dataroot: Path = TREE / "data"
    """where the data sets lie; relative to the working directory, else to the project's root"""
    dataset: str = "CUB"
    """folder of the data set under --dataroot"""
    splits: Path | None = None
    """split file that the pictures belong to; <dataroot>/<dataset>/att_splits.mat where not given"""
    attribute_names: Path | None = None
    """names of the attributes, to store with the region maps: text, one a line, or .csv"""
    word_vectors: Path | None = None
    """word vectors of the attributes, to store with the region maps: .npy, one row an attribute"""
    write: Literal["both", "pooled", "regions"] = "both"
    """pooled vectors, region maps or both"""
    image_embedding: str | None = None
    """feature file to write, without .mat; the backbone's name where not given"""
    regions: str | None = None
    """region file to write, without .hdf5; feature_map_<backbone>_<dataset> where not given, ResNet_101 for resnet101"""
    region_type: Literal["float16", "float32"] = "float16"
    """precision of the stored region maps"""
    backbone: str = "resnet101"
    """a classification network of torchvision, timm:NAME, or descriptor (the toy set's, without weights)"""
    weights: str = "default"
    """default (downloaded once), a name of torchvision's weights, or a file (.safetensors, or a .pth state dict)"""
    random_weights: bool = False
    """with --weights none: an untrained network, to try things out; its features mean little"""
    padding: Literal["torch", "tensorflow"] = "torch"
    """tensorflow: for weights that come from TensorFlow, pad convolutions of stride 2 as it does"""
    normalisation: Literal["imagenet", "half", "timm"] | None = None
    """imagenet (mean and deviation), half ((x - 128) / 128) or timm (its own); None: timm for timm's networks, else imagenet"""
    resize: int = 224
    """length that a picture's shorter side is brought to"""
    crop: int = 224
    """side of the square cut out of its centre"""
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    """of the resize"""
    batch_size: int = 32
    """pictures in the network at a time"""
    workers: int = 2
    """threads that open pictures"""
    max_pixels: int = MAX_PIXELS
    """a picture with more is not opened"""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N"""
    skip_unreadable: bool = False
    """leave out pictures that cannot be read; a split file without them is written too"""
    resume: bool = False
    """continue an extraction that was stopped"""
    overwrite: bool = False
    """throw away earlier files and an unfinished extraction of the same names"""


def extract_features(config: ExtractConfig) -> int:
    """Writes the files; returns the exit status.

    Raises:
        InputError: the pictures, the weights or the flags cannot be used.
    """
    check_at_least(1, config, "batch_size", "workers", "max_pixels")
    check_at_least(0, config, "drop_leading")
    folder = resolve_folder(config.dataroot) / config.dataset
    short = re.sub(r"[^\w.-]", "_", config.backbone)
    name = config.image_embedding or short
    region_name = config.regions or f"feature_map_{RELEASE_NAMES.get(config.backbone, short)}_{config.dataset}"
    pooled = folder / f"{name}.mat" if config.write != "regions" else None
    regions = folder / f"{region_name}.hdf5" if config.write != "pooled" else None
    base = name if pooled else region_name
    listing, partial = folder / f"{base}-unreadable.txt", folder / f"{base}-partial.jsonl"
    _check_outputs(config, pooled, regions, partial)

    images_folder, splits = resolve_folder(config.images), config.splits or folder / "att_splits.mat"
    has_split = splits.exists() or config.splits is not None
    if regions and not has_split:
        raise InputError(
            "region maps without a split", where="--splits", found=f"no {splits}", expected="a split file, whose attributes "
            "and lists are stored with the maps", cure="Pass --splits FILE, or --write pooled.",
        )
    if config.image_list is not None:
        images = read_image_list(config.image_list, images_folder, config.drop_leading)
    else:
        images = read_image_folder(images_folder, read_class_names(splits) if has_split else None)
    split = read_split(splits, images) if has_split else None
    n_attributes = split.attributes.shape[1] if split else 0
    names = read_attribute_names(config.attribute_names, n_attributes) if config.attribute_names and regions else None
    vectors = read_attribute_vectors(config.word_vectors, n_attributes) if config.word_vectors and regions else None

    spec = BackboneSpec(
        config.backbone, config.padding, config.normalisation, config.resize, config.crop, config.interpolation
    )
    backbone = load_backbone(
        spec, config.weights, random_weights=config.random_weights, device=resolve_device(config.device)
    )
    print(f"{len(images)} pictures of {len(set(images.labels.tolist()))} classes; {config.backbone}, {backbone.weights}, "
          f"{backbone.feature_dim} x {backbone.grid[0]} x {backbone.grid[1]}")
    if config.random_weights:
        print("WARNING: the network is UNTRAINED. These features are good for trying out the commands and nothing else.")

    left_out = {}
    if config.skip_unreadable:
        left_out = find_unreadable(images, workers=config.workers, max_pixels=config.max_pixels)
    kept, kept_split = leave_out(images, split, left_out) if left_out else (images, split)
    start = time.perf_counter()
    unreadable = extract(
        kept, backbone, partial=partial, pooled=pooled, regions=regions, split=kept_split, attribute_names=names,
        word_vectors=vectors, dtype=config.region_type, batch_size=config.batch_size, workers=config.workers,
        max_pixels=config.max_pixels,
    )
    if unreadable:
        write_unreadable(listing, kept, unreadable)
        first = min(unreadable)
        raise InputError(
            "pictures that cannot be read", where=images_folder,
            found=f"{len(unreadable)} of {len(kept)}, such as {kept.files[first]}: {unreadable[first]}",
            expected="whole pictures", cure=f"{listing} lists them. Replace them and pass --resume, or pass --skip_unreadable.",
        )
    write_unreadable(listing, images, left_out)
    seconds = time.perf_counter() - start
    for path in filter(None, (pooled, regions)):
        print(f"{path}: {len(kept)} pictures")
    print(f"{seconds:.0f} s")
    if not left_out:
        return 0
    print(f"Left out {len(left_out)} pictures that cannot be read, listed in {listing}.", file=sys.stderr)
    if kept_split and pooled:
        readable = folder / f"{splits.name.removesuffix('.mat').removesuffix('_splits')}_readable_splits.mat"
        write_split(
            readable, kept_split.attributes, kept_split.class_names,
            {f"{key}_loc": location + 1 for key, location in kept_split.locations.items()},
        )
        print(f"{readable} has the lists without them: train with --class_embedding "
              f"{readable.stem.removesuffix('_splits')}.", file=sys.stderr)
    return 3


def _check_outputs(config: ExtractConfig, pooled: Path | None, regions: Path | None, partial: Path) -> None:
    """Refuses to touch files of an earlier extraction unless a flag says what to do with them."""
    part = [regions.with_name(f"{regions.name}.{suffix}") for suffix in ("part", "part.head")] if regions else []
    if config.overwrite:
        for path in (partial, *part):
            path.unlink(missing_ok=True)
        return
    unfinished = [path for path in (partial, *part) if path.exists()]
    if unfinished and not config.resume:
        where, found = unfinished[0], "an unfinished extraction"
    elif not unfinished and (there := [path for path in (pooled, regions) if path is not None and path.exists()]):
        where, found = there[0], "features"
    else:
        return
    raise InputError(
        "a file that is there already", where=where, found=found, expected="none",
        cure="Pass --overwrite to replace it, --resume to continue an unfinished one, or other names (--image_embedding, "
        "--regions).",
    )


def main() -> int:
    config = parse_config(ExtractConfig(), None, __file__, __doc__)
    return exit_status(lambda: extract_features(config), "Stopped. What is finished is kept: --resume continues.")


if __name__ == "__main__":
    sys.exit(main())
