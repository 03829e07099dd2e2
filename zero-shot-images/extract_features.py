r"""Extract features of images for TF-VAEGAN (pooled vectors, .mat) and DAZLE (region maps, .hdf5), both in one pass.

    pip install -e '.[images]'
    python zero-shot-images/extract_features.py --dataset CUB --images CUB_images --image_list CUB/res101.mat \
        --drop_leading 5 --attribute_names CUB/attributes.txt --word_vectors CUB/attribute_w2v.npy
    python zero-shot-images/extract_features.py --dataset my_birds --images my_photos --write pooled --backbone timm:resnet50

The first command is DAZLE's recipe: torchvision's ResNet-101 (IMAGENET1K_V1), shorter side 224, center crop 224,
2048 x 7 x 7 region maps in half precision. `--images` holds a folder for each class, or `--image_list` tells the class of
each image. Images and labels must fit the split file, <dataroot>/<dataset>/att_splits.mat unless --splits is given.

The command writes <dataroot>/<dataset>/<image_embedding>.mat and feature_map_<backbone>_<dataset>.hdf5. It lists images that
cannot be read in <image_embedding>-unreadable.txt and puts nothing in their place: replace them and pass --resume, or leave
them out with --skip_unreadable. You can stop it at any time and continue with --resume; until the end, finished features lie
in <image_embedding>-partial.rows and need as much disk space as the files.
Exit status: 0 all images, 3 features written but some images left out, 1 an error, 130 stopped.
"""

from __future__ import annotations

import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from zslab.data.formats.names import read_names
from zslab.data.resumable import remove_rows
from zslab.data.splits import write_split
from zslab.errors import InputError, exit_status
from zslab.features.backbones import BackboneSpec, load_backbone
from zslab.features.extraction import extract, find_unreadable, write_unreadable
from zslab.features.images import MAX_PIXELS
from zslab.features.sources import (
    Images,
    Split,
    leave_out,
    read_attribute_vectors,
    read_class_names,
    read_image_folder,
    read_image_list,
    read_split,
)
from zslab.results.config import parse_config
from zslab.utils.environment import resolve_device, resolve_folder
from zslab.utils.flags import check_at_least, check_file_names

TREE = Path(__file__).resolve().parent
RELEASE_NAMES = {"resnet101": "ResNet_101"}  # what the DAZLE release calls a backbone in file names


@dataclass(frozen=True)
class ExtractConfig:
    """Flags of the command."""

    images: Path = TREE / "data" / "images"
    """folder with a folder of images for each class, or the folder that the paths of --image_list are relative to"""
    image_list: Path | None = None
    """text file with a line of path, tab, label (from 1) for each image, or a .mat file with image_files and labels"""
    drop_leading: int = 0
    """leading parts of every listed path to leave off: 5 for the published res101.mat, 7 for SUN's"""
    dataroot: Path = TREE / "data"
    """folder of the data sets; relative to the working directory, else to the project's root"""
    dataset: str = "CUB"
    """folder of the data set under --dataroot"""
    splits: Path | None = None
    """split file of these images; default: <dataroot>/<dataset>/att_splits.mat"""
    attribute_names: Path | None = None
    """names of the attributes, to store with the region maps: text, one a line, or .csv"""
    word_vectors: Path | None = None
    """word vectors of the attributes, to store with the region maps: .npy, one row an attribute"""
    write: Literal["both", "pooled", "regions"] = "both"
    """pooled vectors, region maps or both"""
    image_embedding: str | None = None
    """feature file to write, without .mat; default: the name of the backbone"""
    regions: str | None = None
    """region file to write, without .hdf5; default: feature_map_<backbone>_<dataset>, with ResNet_101 for resnet101"""
    region_type: Literal["float16", "float32"] = "float16"
    """precision of the stored region maps"""
    backbone: str = "resnet101"
    """a classification network of torchvision, timm:NAME, or descriptor (the toy set's, without weights)"""
    weights: str = "default"
    """default (downloaded once), a name of torchvision's weights, or a file (.safetensors, or a .pth state dict)"""
    random_weights: bool = False
    """with --weights none: use an untrained network, to try out the commands; its features mean little"""
    padding: Literal["torch", "tensorflow"] = "torch"
    """tensorflow: pad convolutions of stride 2 as TensorFlow does, for weights that come from there"""
    normalization: Literal["imagenet", "half", "timm"] | None = None
    """imagenet (mean and deviation), half ((x - 128) / 128) or timm (the network's own); timm's networks default to timm"""
    resize: int | None = None
    """length of an image's shorter side, in pixels; None: the crop's, or what the network was made for"""
    crop: int | None = None
    """side of the center crop, in pixels; None: what the network was made for: 224, 518 for DINOv2 ..."""
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    """interpolation of the resize"""
    batch_size: int = 32
    """number of images in the network at a time"""
    workers: int = 2
    """number of threads that open images"""
    max_pixels: int = MAX_PIXELS
    """largest number of pixels of an image; a larger image counts as unreadable"""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N"""
    skip_unreadable: bool = False
    """leave out images that cannot be read; a split file without them is written too"""
    resume: bool = False
    """continue an extraction that was stopped"""
    overwrite: bool = False
    """replace earlier files and discard an unfinished extraction of the same names"""


def extract_features(config: ExtractConfig) -> int:
    """Write the files and return the exit status.

    Raises:
        InputError: the images, the weights or the flags cannot be used.
    """
    check_file_names(config, "image_embedding", "regions")
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
    _check_outputs(config, [path for path in (pooled, regions) if path], partial)

    splits = config.splits or folder / "att_splits.mat"
    images, split = _read_sources(config, splits, regions is not None)
    n_attributes = split.attributes.shape[1] if split else 0
    names = read_names(config.attribute_names, n_attributes) if config.attribute_names and regions else None
    vectors = read_attribute_vectors(config.word_vectors, n_attributes) if config.word_vectors and regions else None

    spec = BackboneSpec(config.backbone, config.padding, config.normalization, config.resize, config.crop, config.interpolation)
    backbone = load_backbone(spec, config.weights, random_weights=config.random_weights, device=resolve_device(config.device))
    print(
        f"{len(images)} images of {len(set(images.labels.tolist()))} classes; {config.backbone}, {backbone.weights}, "
        f"{backbone.feature_dim} x {backbone.grid[0]} x {backbone.grid[1]}"
    )
    if config.random_weights:
        print("WARNING: the network is UNTRAINED. These features are good for trying out the commands and nothing else.")

    left_out = {}
    if config.skip_unreadable:
        left_out = find_unreadable(images, backbone, workers=config.workers, max_pixels=config.max_pixels)
    readable, readable_split = leave_out(images, split, left_out) if left_out else (images, split)
    start = time.perf_counter()
    unreadable = extract(
        readable,
        backbone,
        partial=partial,
        pooled=pooled,
        regions=regions,
        split=readable_split,
        attribute_names=names,
        word_vectors=vectors,
        dtype=config.region_type,
        batch_size=config.batch_size,
        workers=config.workers,
        max_pixels=config.max_pixels,
    )
    if unreadable:
        write_unreadable(listing, readable, unreadable)
        first = min(unreadable)
        raise InputError(
            "some images cannot be read",
            where=images.root,
            found=f"{len(unreadable)} of {len(readable)}, such as {readable.files[first]}: {unreadable[first]}",
            expected="whole images",
            fix=f"{listing} lists them. Replace them and pass --resume, or pass --skip_unreadable.",
        )
    write_unreadable(listing, images, left_out)
    for path in filter(None, (pooled, regions)):
        print(f"{path}: {len(readable)} images")
    print(f"{time.perf_counter() - start:.0f} s")
    if not left_out:
        return 0
    print(f"Left out {len(left_out)} images that cannot be read, listed in {listing}.", file=sys.stderr)
    if readable_split and pooled:
        _write_readable_split(folder, splits, readable_split)
    return 3


def _read_sources(config: ExtractConfig, splits: Path, needs_split: bool) -> tuple[Images, Split | None]:
    """Return the images and, where there is a split file, their split."""
    has_split = splits.exists() or config.splits is not None
    if needs_split and not has_split:
        raise InputError(
            "region maps need a split",
            where="--splits",
            found=f"no {splits}",
            expected="a split file, whose attributes and lists are stored with the maps",
            fix="Pass --splits FILE, or --write pooled.",
        )
    images_folder = resolve_folder(config.images)
    if config.image_list is not None:
        images = read_image_list(config.image_list, images_folder, config.drop_leading)
    else:
        images = read_image_folder(images_folder, read_class_names(splits) if has_split else None)
    return images, read_split(splits, images) if has_split else None


def _write_readable_split(folder: Path, splits: Path, split: Split) -> None:
    """Write the split without the images that were left out."""
    readable = folder / f"{splits.name.removesuffix('.mat').removesuffix('_splits')}_readable_splits.mat"
    locations = {f"{key}_loc": location + 1 for key, location in split.locations.items()}
    write_split(readable, split.attributes, split.class_names, locations)
    print(
        f"{readable} has the lists without them: train with --class_embedding {readable.stem.removesuffix('_splits')}.",
        file=sys.stderr,
    )


def _check_outputs(config: ExtractConfig, outputs: list[Path], partial: Path) -> None:
    """Refuse to touch files of an earlier extraction unless a flag says what to do with them."""
    if config.overwrite:
        remove_rows(partial)
        return
    if partial.exists():
        if config.resume:
            return
        where, found = partial, "an unfinished extraction"
    else:
        existing = [path for path in outputs if path.exists()]
        if not existing:
            return
        where, found = existing[0], "features"
    raise InputError(
        "the file exists already",
        where=where,
        found=found,
        expected="no file of that name",
        fix="Pass --overwrite to replace it, --resume to continue an unfinished one, or other names (--image_embedding, "
        "--regions).",
    )


def main() -> int:
    """Run the command and return its exit status."""
    config = parse_config(ExtractConfig(), None, __file__, __doc__)
    return exit_status(lambda: extract_features(config), "Stopped. Finished images are kept: --resume continues.")


if __name__ == "__main__":
    sys.exit(main())
