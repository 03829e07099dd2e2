"""Your own pictures as a data set, in one command.

    python zero-shot-images/prepare_data.py --images my_birds --attributes my_birds.csv --name MYBIRDS
    python zero-shot-images/prepare_data.py --images my_birds --attributes my_birds.csv --name MYBIRDS --dataroot DIR \\
        --backbone mobilenet_v2 --unseen Kingfisher Hoopoe --write_regions

`--images` holds a folder of pictures for each class, `--attributes` is a CSV with the class names in its first column and an
attribute in each other one, 0/1, per cent or any numbers. A class with a row and no pictures is unseen, to be recognised by
its attributes alone. What is wrong with pictures or table is said before anything is computed. At the end stand the commands
that train on the data set and make a model file of it. Interrupted, the same command goes on.
Exit status: 0, 1 an error, 3 done but pictures left out, 130 stopped.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from zsl.app.own_data import SPLIT_FILE, OwnData, prepare
from zsl.app.tables import read_attribute_table
from zsl.errors import InputError, exit_status
from zsl.features.backbones import DESCRIPTOR, BackboneSpec, load_backbone
from zsl.features.extraction import read_attribute_vectors, read_image_folder
from zsl.runs.config import parse_config
from zsl.runs.environment import resolve_device, resolve_folder

TREE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class PrepareConfig:
    images: Path = TREE / "data" / "images"
    """folder with a folder of pictures for each class"""
    attributes: Path = TREE / "data" / "attributes.csv"
    """CSV: class names in the first column, an attribute in every other, a row for every class, seen and unseen"""
    name: str = "OWN"
    """name of the data set: its folder under --dataroot"""
    dataroot: Path = TREE / "data"
    """where the data sets lie; relative to the working directory, else to the project's root"""
    unseen: tuple[str, ...] = ()
    """classes whose pictures are for testing only: names, or a text file with a name a line"""
    scale: Literal["auto", "rows", "columns"] = "auto"
    """attributes as they are (rows), each to 0 ... 1 by its own range (columns), or as fits (auto)"""
    backbone: str = "resnet101"
    """a classification network of torchvision, timm:NAME, or descriptor (colours and edges, needs no weights)"""
    weights: str = "default"
    """default (downloaded once), a name of torchvision's weights, or a file (.safetensors, or a .pth state dict)"""
    padding: Literal["torch", "tensorflow"] = "torch"
    """tensorflow: for weights that come from TensorFlow, pad convolutions of stride 2 as it does"""
    normalisation: Literal["imagenet", "half", "timm"] | None = None
    """imagenet (mean and deviation), half ((x - 128) / 128) or timm (its own); None: timm for timm's networks, else imagenet"""
    write_regions: bool = False
    """write region maps, too, which DAZLE needs"""
    word_vectors: Path | None = None
    """word vectors of the attributes for DAZLE: .npy, one row an attribute; it starts from random ones without"""
    seed: int = 0
    """of the split into training and test pictures and of the validation classes"""
    test_fraction: float = 0.2
    """share of each seen class's pictures that is held out for testing"""
    skip_unreadable: bool = False
    """leave out pictures that cannot be read, and list them"""
    batch_size: int = 32
    """pictures in the network at a time"""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N"""
    overwrite: bool = False
    """throw away an earlier data set of that name"""


def prepare_data(config: PrepareConfig) -> int:
    """Makes the data set and says how to go on; returns the exit status.

    Raises:
        InputError: pictures, table or flags cannot be used.
    """
    dataroot = resolve_folder(config.dataroot)
    folder = dataroot / config.name
    if not config.name.strip() or Path(config.name).name != config.name or config.name == "TOY":
        raise InputError("no name for a data set", where="--name", found=repr(config.name), expected="a folder's name",
                         cure="Choose another one.")
    if (folder / SPLIT_FILE).exists() and not config.overwrite:
        raise InputError("a data set of that name", where=folder, found=SPLIT_FILE, expected="a new name",
                         cure="Pass another --name, or --overwrite to make it again.")
    images, table = resolve_folder(config.images), read_attribute_table(config.attributes)
    read_image_folder(images)  # a wrong path is said before weights are downloaded
    spec = BackboneSpec(config.backbone, config.padding, config.normalisation)
    backbone = load_backbone(spec, config.weights, device=resolve_device(config.device))
    vectors = None
    if config.word_vectors is not None:
        vectors = read_attribute_vectors(config.word_vectors, len(table.attribute_names))
    if config.overwrite:
        for path in [*folder.glob("*.mat"), *folder.glob("*.hdf5*"), *folder.glob("*-partial.jsonl")]:
            path.unlink()
    made = prepare(
        images, config.attributes, folder, backbone, unseen=_names(config.unseen),
        regions=config.write_regions, word_vectors=vectors, scale=config.scale, seed=config.seed,
        test_fraction=config.test_fraction, skip_unreadable=config.skip_unreadable, batch_size=config.batch_size,
    )
    weights = [] if backbone.spec.name == DESCRIPTOR else ["--weights", config.weights]
    print(summary(made, dataroot, weights))
    return 3 if made.left_out else 0


def _names(unseen: tuple[str, ...]) -> list[str]:
    """The classes that --unseen names, in files or outright."""
    names = []
    for entry in unseen:
        path = Path(entry)
        lines = path.read_text(encoding="utf-8").splitlines() if path.suffix == ".txt" and path.is_file() else [entry]
        names += [line.strip() for line in lines if line.strip()]
    return names


def summary(made: OwnData, dataroot: Path, weights: Sequence[str]) -> str:
    """What there is now, and the commands that follow; `weights` are the flags that put the backbone into the model file."""
    pictures = ", ".join(f"{n} {word}" for word, n in made.n_pictures.items())
    lines = [f"{made.folder}: {len(made.seen)} seen and {len(made.unseen)} unseen classes; pictures: {pictures}."]
    if made.untested:
        lines.append(f"{len(made.untested)} unseen classes have no pictures: they are learned, how well cannot be measured.")
    lines += [f"Note: {warning}" for warning in made.warnings]
    if made.left_out:
        lines.append(f"Left out {made.left_out} pictures that cannot be read: {made.folder / 'unreadable.txt'}")
    common = f"--dataset {shlex.quote(made.folder.name)} --dataroot {shlex.quote(str(dataroot))}"
    scripts = TREE / "image-scripts"
    lines += ["", "Train TF-VAEGAN:", f"  python {scripts / 'run_own_tfvaegan.py'} {common} --image_embedding {made.features}"]
    if made.regions:
        lines += ["Train DAZLE:", f"  python {scripts / 'run_own_dazle.py'} {common} --image_embedding {made.regions}"]
    lines += ["Then make a model file of the run's folder, which is printed at the end of training, and look at pictures:",
              f"  {shlex.join(['python', '-m', 'zsl.app.export', 'RUN_FOLDER', '--output', 'my_model.zsl', *weights])}",
              f"  python {TREE / 'demo.py'} --model my_model.zsl photo.jpg"]
    return "\n".join(lines)


if __name__ == "__main__":
    parsed = parse_config(PrepareConfig(), None, __file__, __doc__)
    sys.exit(exit_status(lambda: prepare_data(parsed), "Stopped. The same command goes on where it was."))
