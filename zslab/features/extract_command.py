r"""Extract features of images for TF-VAEGAN (pooled vectors, .mat) and DAZLE (region maps, .hdf5), or of videos.

    zslab extract --dataset CUB --images CUB_images --image_list CUB/res101.mat --drop_leading 5 \
        --attribute_names CUB/attributes.txt --word_vectors CUB/attribute_w2v.npy
    zslab extract --dataset my_birds --images my_photos --write pooled --backbone timm:resnet50
    zslab extract --dataset my_clips --videos my_clips --backbone r2plus1d_18

The first command is DAZLE's recipe: torchvision's ResNet-101 (IMAGENET1K_V1), shorter side 224, center crop 224,
2048 x 7 x 7 region maps in half precision. --images and --videos hold a folder for each class, or --image_list tells the class
of each image. Images and labels must fit the split file, <dataroot>/<dataset>/att_splits.mat unless --splits is given.

The command writes <dataroot>/<dataset>/<image_embedding>.mat and feature_map_<backbone>_<dataset>.hdf5, which also describe the
backbone, so that an exported model can extract features of new files. Files that cannot be read are listed in
<image_embedding>-unreadable.txt. Images among them stop the command: replace them and pass --resume, or leave them out with
--skip_unreadable; videos are left out. Until the end, finished features lie in <image_embedding>-partial.
Exit status: 0 all files, 3 features written but some files left out, 1 an error, 130 stopped.
"""

import re
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from zslab.data.formats.table import read_names
from zslab.data.splits import write_split
from zslab.data.xlsa17 import class_names_of
from zslab.errors import InputError
from zslab.features import backbones, sources, video
from zslab.features.extraction import check_readable, extract
from zslab.features.images import SUFFIXES
from zslab.utils.environment import dataset_folder, resolve_device, resolve_folder, shown
from zslab.utils.files import refuse_existing
from zslab.utils.flags import check_at_least, check_file_names

RELEASE_NAMES = {"resnet101": "ResNet_101"}  # what the DAZLE release calls a backbone in file names


@dataclass(frozen=True, kw_only=True)
class NetworkFlags:
    """Flags of the commands that extract features: the network's input, and how files are read."""

    #: default (downloaded once), a name of torchvision's weights, or a file (.safetensors, or a .pth state dict)
    weights: str = "default"
    #: tensorflow: pad convolutions of stride 2 as TensorFlow does, for weights that come from there
    padding: Literal["torch", "tensorflow"] = "torch"
    #: imagenet (mean and deviation), half ((x - 128) / 128) or timm (the network's own); timm's networks default to timm
    normalization: Literal["imagenet", "half", "timm"] | None = None
    #: length of an image's shorter side, in pixels; None: the crop's, or what the network was made for
    resize: int | None = None
    crop: int | None = None  #: side of the center crop, in pixels; None: what the network was made for: 224, 518 for DINOv2 ...
    skip_unreadable: bool = False  #: leave out images that cannot be read, and list them
    workers: int = 2  #: number of threads that open images
    max_pixels: int = 80_000_000  #: largest number of pixels of an image; larger JPEGs are decoded at a fraction of their size
    device: str = "auto"  #: auto, cpu, cuda, cuda:N or mps


@dataclass(frozen=True)
class ExtractConfig(NetworkFlags):
    """Flags of `zslab extract`."""

    #: folder with a folder of images for each class, or the folder that the paths of --image_list are relative to
    images: Path | None = None
    videos: Path | None = None  #: folder with a folder of clips for each class, instead of images
    #: text file of paths and labels (numbers from 1, or names), or a .mat file with image_files and labels
    image_list: Path | None = None
    drop_leading: int = 0  #: leading parts of every listed path to leave off: 5 for the published res101.mat, 7 for SUN's
    dataset: str = "OWN"  #: folder of the data set under --dataroot
    #: folder of the data sets; by default data/ of the clone's tree for images or actions, without a clone ./data
    dataroot: Path | None = None
    splits: Path | None = None  #: split file of these images; default: <dataroot>/<dataset>/att_splits.mat, if it exists
    attribute_names: Path | None = None  #: names of the attributes, to store with the region maps: text, one a line, or .csv
    #: word vectors of the attributes, to store with the region maps: .npy, one row an attribute
    word_vectors: Path | None = None
    write: Literal["both", "pooled", "regions"] = "both"  #: pooled vectors, region maps or both; of videos always pooled
    image_embedding: str | None = None  #: feature file to write, without .mat; default: the name of the backbone
    #: region file to write, without .hdf5; default: feature_map_<backbone>_<dataset>, with ResNet_101 for resnet101
    regions: str | None = None
    region_type: Literal["float16", "float32"] = "float16"  #: precision of the stored region maps
    #: a network of torchvision, timm:NAME, open_clip:ARCHITECTURE,WEIGHTS, or descriptor (the toy set's); default: resnet101,
    #: for videos r2plus1d_18
    backbone: str | None = None
    #: with --weights none: use an untrained network, to try out the commands; its features mean little
    random_weights: bool = False
    #: interpolation of the resize; None: bicubic for open_clip's networks, otherwise bilinear
    interpolation: Literal["bilinear", "bicubic"] | None = None
    windows: int = 4  #: number of windows of a video, evenly spaced, whose features are averaged
    batch_size: int | None = None  #: images, or windows of a video, in the network at a time; default: 32 images, 4 windows
    resume: bool = False  #: continue an extraction that was stopped
    overwrite: bool = False  #: replace earlier files and discard an unfinished extraction of the same names


def extract_features(config: ExtractConfig) -> int:
    """Extract what the flags ask for and return the exit status."""
    check_file_names(config, "image_embedding", "regions")
    check_at_least(1, config, "workers", "max_pixels", *(["batch_size"] if config.batch_size is not None else []))
    check_at_least(0, config, "drop_leading")
    if (config.images is None) == (config.videos is None):
        got = "neither" if config.images is None else "both"
        raise InputError("there must be a folder of one kind", where="--images / --videos", got=got, fix="Pass one of them.")
    is_video, kind = config.videos is not None, "images" if config.images else "videos"
    folder = dataset_folder(config.dataset, config.dataroot, "zero-shot-actions" if is_video else "zero-shot-images")
    backbone_name = config.backbone or ("r2plus1d_18" if is_video else "resnet101")
    short = re.sub(r"[^\w.-]", "_", backbone_name.partition(",")[0])
    name = config.image_embedding or short
    region_name = config.regions or f"feature_map_{RELEASE_NAMES.get(backbone_name, short)}_{config.dataset}"
    pooled = folder / f"{name}.mat" if is_video or config.write != "regions" else None
    regions = folder / f"{region_name}.hdf5" if not is_video and config.write != "pooled" else None
    outputs, base = [path for path in (pooled, regions) if path], name if pooled else region_name
    listing, partial = folder / f"{base}-unreadable.txt", folder / f"{base}-partial"
    if config.overwrite:
        shutil.rmtree(partial, ignore_errors=True)
    elif not partial.exists():
        refuse_existing(*outputs)
    elif not config.resume:
        fix = "Pass --resume to continue it, or --overwrite to discard it."
        raise InputError("the output must not exist yet", where=partial, got="an unfinished extraction", fix=fix)

    splits = config.splits or folder / "att_splits.mat"
    files, split = _read_sources(config, splits, regions is not None)
    n_attributes = split.attributes.shape[1] if split else 0
    names = read_names(config.attribute_names, n_attributes) if config.attribute_names and regions else None
    vectors = sources.read_attribute_vectors(config.word_vectors, n_attributes) if config.word_vectors and regions else None
    backbone = _load_backbone(config, backbone_name)
    size = f"{backbone.feature_dim} x {backbone.grid[0]} x {backbone.grid[1]}"
    print(f"{len(files)} {kind} of {len(set(files.labels.tolist()))} classes; {backbone_name}, {backbone.weights}, {size}")
    if config.random_weights:
        print("WARNING: the network is UNTRAINED. These features are good for trying out the commands and nothing else.")

    start, batch_size = time.perf_counter(), 1 if is_video else config.batch_size or 32
    workers, maps = 1 if is_video else config.workers, config.region_type if regions else None
    how = {"maps": maps, "batch_size": batch_size, "workers": workers, "max_pixels": config.max_pixels}
    with extract(files, backbone, partial, **how) as extraction:  # type: ignore[arg-type]
        unreadable = extraction.unreadable
        check_readable(listing, files, unreadable, config.skip_unreadable or is_video)
        readable, readable_split = sources.leave_out(files, split, unreadable)
        if pooled:
            copy_of = None if split else sources.find_copies(readable)  # for splits that are still to be drawn
            if copy_of is not None:
                print(*(f"Note: {note}\n" for note in sources.describe_copies(readable, copy_of)), sep="", end="")
            extraction.write_features(pooled, readable, split.class_names if split else files.classes, copy_of)
        if regions and readable_split:
            extraction.write_regions(regions, readable, readable_split, config.region_type, names, vectors)
        extraction.remove()
    for path in outputs:
        print(f"{shown(path)}: {len(readable)} {kind}")
    print(f"{time.perf_counter() - start:.0f} s")
    if not unreadable:
        return 0
    print(f"Left out {len(unreadable)} {kind} that cannot be read, listed in {shown(listing)}.", file=sys.stderr)
    if readable_split and pooled:
        embedding = f"{splits.name.removesuffix('.mat').removesuffix('_splits')}_readable"
        path = folder / f"{embedding}_splits.mat"
        locations = {f"{key}_loc": location + 1 for key, location in readable_split.locations.items()}
        write_split(path, readable_split.attributes, readable_split.class_names, locations)
        print(f"{shown(path)} has the lists without them: train with --class_embedding {embedding}.", file=sys.stderr)
    return 3


def _load_backbone(config: ExtractConfig, name: str) -> backbones.Backbone:
    """Return the backbone of the flags."""
    device, random = resolve_device(config.device), config.random_weights
    if config.videos is not None:
        spec, batch_size = video.VideoSpec(name, config.windows), config.batch_size or video.AT_A_TIME
        return video.load_backbone(spec, config.weights, random_weights=random, device=device, batch_size=batch_size)
    settings = (config.padding, config.normalization, config.resize, config.crop, config.interpolation)
    return backbones.load_backbone(
        backbones.BackboneSpec(name, *settings), config.weights, random_weights=random, device=device
    )


def _read_sources(config: ExtractConfig, splits: Path, needs_split: bool) -> tuple[sources.Images, sources.Split | None]:
    """Return the files and, where there is a split file, their split."""
    if config.videos is not None:
        return sources.read_class_folders(resolve_folder(config.videos), video.SUFFIXES, "video"), None
    has_split = splits.exists() or config.splits is not None
    if needs_split and not has_split:
        must = "region maps must have a split file, whose attributes and lists are stored with them"
        raise InputError(must, where="--splits", got=f"no {splits}", fix="Pass --splits FILE, or --write pooled.")
    folder, class_names = resolve_folder(config.images or Path()), class_names_of(splits) if has_split else None
    if config.image_list is not None:
        files = sources.read_image_list(config.image_list, folder, config.drop_leading, class_names)
    else:
        files = sources.read_class_folders(folder, SUFFIXES, "image", class_names)
    return files, sources.read_split(splits, files) if has_split else None
