r"""Make a data set of your own images, in one command.

    python zero-shot-images/prepare_data.py --images my_birds --attributes my_birds.csv --name MYBIRDS
    python zero-shot-images/prepare_data.py --images my_birds --attributes my_birds.csv --name MYBIRDS --dataroot DIR \
        --backbone mobilenet_v2 --unseen Kingfisher Hoopoe --write_regions

`--images` holds a folder of images for each class. `--attributes` is a table, CSV or .xlsx, with the class names in its
first column and an attribute in each other one: 0/1, yes/no, percentages or any numbers. A class with a row and no images is
unseen and is recognized by its attributes alone. Images and table are checked before anything is computed. The command ends
with the commands that train on the data set and export the model. If it is interrupted, repeat it to continue.
Exit status: 0 done, 1 an error, 3 done but images left out, 130 stopped.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from zslab.app.own_data import SPLIT_FILE, OwnData, PrepareOptions, prepare, read_inputs
from zslab.data.formats.names import listed_names
from zslab.errors import InputError, examples, exit_status
from zslab.features.backbones import DESCRIPTOR, BackboneSpec, load_backbone
from zslab.features.images import MAX_PIXELS
from zslab.features.sources import read_attribute_vectors
from zslab.results.config import parse_config
from zslab.utils.environment import resolve_device, resolve_folder
from zslab.utils.flags import check_at_least, is_plain_name

TREE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class PrepareConfig:
    """What `prepare_data.py` is asked for; the values below are its defaults."""

    images: Path = TREE / "data" / "images"
    """folder with a folder of images for each class"""
    attributes: Path = TREE / "data" / "attributes.csv"
    """CSV or .xlsx: class names in the first column, an attribute in every other, a row for every class, seen and unseen"""
    name: str = "OWN"
    """name of the data set: its folder under --dataroot"""
    dataroot: Path = TREE / "data"
    """where the data sets lie; relative to the working directory, else to the project's root"""
    unseen: tuple[str, ...] = ()
    """classes whose images are for testing only: names, or a text file or table of names"""
    scale: Literal["auto", "rows", "columns"] = "auto"
    """attributes as they are (rows), each to 0 ... 1 by its own range (columns), or as fits (auto)"""
    backbone: str = "resnet101"
    """a classification network of torchvision, timm:NAME, or descriptor (colors and edges, needs no weights)"""
    weights: str = "default"
    """default (downloaded once), a name of torchvision's weights, or a file (.safetensors, or a .pth state dict)"""
    padding: Literal["torch", "tensorflow"] = "torch"
    """tensorflow: for weights that come from TensorFlow, pad convolutions of stride 2 as it does"""
    normalization: Literal["imagenet", "half", "timm"] | None = None
    """imagenet (mean and deviation), half ((x - 128) / 128) or timm (its own); None: timm for timm's networks, else imagenet"""
    resize: int | None = None
    """length of an image's shorter side, in pixels; None: the crop's, or what the network was made for"""
    crop: int | None = None
    """side of the center crop, in pixels; None: what the network was made for: 224, 518 for DINOv2 ..."""
    write_regions: bool = False
    """write region maps, too, which DAZLE needs"""
    word_vectors: Path | None = None
    """word vectors of the attributes for DAZLE: .npy, one row an attribute; it starts from random ones without"""
    seed: int = 0
    """of the split into training and test images and of the validation classes"""
    test_fraction: float = 0.2
    """share of each seen class's images that is held out for testing"""
    skip_unreadable: bool = False
    """leave out images that cannot be read, and list them"""
    batch_size: int = 32
    """images in the network at a time"""
    max_pixels: int = MAX_PIXELS
    """largest width times height of an image; larger JPEGs are decoded at a fraction of their size"""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N"""
    overwrite: bool = False
    """throw away an earlier data set of that name"""


def prepare_data(config: PrepareConfig) -> int:
    """Make the data set and print how to go on; return the exit status.

    Raises:
        InputError: images, table or flags cannot be used.
    """
    check_at_least(1, config, "batch_size", "max_pixels")
    check_at_least(0, config, "seed")
    dataroot = resolve_folder(config.dataroot)
    folder = dataroot / config.name
    if not is_plain_name(config.name) or config.name == "TOY":
        raise InputError(
            "the data set cannot have this name",
            where="--name",
            found=repr(config.name),
            expected="a folder's name other than TOY",
            fix="Choose another one.",
        )
    if (folder / SPLIT_FILE).exists() and not config.overwrite:
        raise InputError(
            "a data set of that name exists",
            where=folder,
            found=SPLIT_FILE,
            expected="a new name",
            fix="Pass another --name, or --overwrite to make it again.",
        )
    # A wrong path is reported before weights are downloaded.
    inputs = read_inputs(resolve_folder(config.images), config.attributes, listed_names(config.unseen))
    vectors = None
    if config.word_vectors is not None:
        vectors = read_attribute_vectors(config.word_vectors, len(inputs.table.attribute_names))
    spec = BackboneSpec(config.backbone, config.padding, config.normalization, config.resize, config.crop)
    backbone = load_backbone(spec, config.weights, device=resolve_device(config.device))
    options = PrepareOptions(
        regions=config.write_regions,
        word_vectors=vectors,
        scale=config.scale,
        seed=config.seed,
        test_fraction=config.test_fraction,
        skip_unreadable=config.skip_unreadable,
        batch_size=config.batch_size,
        max_pixels=config.max_pixels,
        overwrite=config.overwrite,
    )
    made = prepare(inputs, folder, backbone, options)
    weights = [] if backbone.spec.name == DESCRIPTOR else ["--weights", config.weights]
    print(summary(made, dataroot, weights))
    return 3 if made.left_out else 0


def summary(made: OwnData, dataroot: Path, weights: Sequence[str]) -> str:
    """Return what was made and the commands that follow; `weights` are the flags that embed the backbone in the model."""
    images = ", ".join(f"{n} {use}" for use, n in made.n_images.items())
    lines = [f"{made.folder}: {len(made.seen)} seen and {len(made.unseen)} unseen classes; images: {images}."]
    if made.untested:
        lines.append(f"Unseen classes without images, whose accuracy cannot be measured: {examples(made.untested)}.")
    lines += [f"Note: {warning}" for warning in made.warnings]
    if made.left_out:
        lines.append(f"Left out {made.left_out} images that cannot be read: {made.folder / 'unreadable.txt'}")
    data = ["--dataset", made.folder.name, "--dataroot", str(dataroot)]
    scripts = TREE / "image-scripts"
    tfvaegan = ["python", str(scripts / "run_own_tfvaegan.py"), *data, "--image_embedding", made.features]
    lines += ["", "Train TF-VAEGAN:", f"  {shlex.join(tfvaegan)}"]
    if made.regions:
        dazle = ["python", str(scripts / "run_own_dazle.py"), *data, "--image_embedding", made.regions]
        lines += ["Train DAZLE:", f"  {shlex.join(dazle)}"]
    export = ["zslab", "export", "RUN_FOLDER", "--output", "my_model.zsl", *weights]
    lines += [
        "Then export the run, whose folder is printed at the end of training, and classify images:",
        f"  {shlex.join(export)}",
        f"  {shlex.join(['python', str(TREE / 'demo.py'), '--model', 'my_model.zsl', 'photo.jpg'])}",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    parsed = parse_config(PrepareConfig(), None, __file__, __doc__)
    sys.exit(exit_status(lambda: prepare_data(parsed), "Stopped. Repeat the command to continue."))
