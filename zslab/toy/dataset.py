"""The toy data set: cartoon birds rendered from a seed, in the layout of the real data sets, so that nothing is downloaded.

Our own drawings (`zslab.toy.render`) and class table (`zslab.toy.species`) in the layout of the xlsa17 data, with the split
rules of its Proposed Split v2. `zslab toy DATAROOT` writes `DATAROOT/TOY/`, unless it exists already: 2,400 images (46 MB) in
about 30 s on one core. On the pooled features, closed-form ESZSL with regularizers chosen on the validation classes reaches a
per-class accuracy of 78 % over the unseen classes (seed 0; 83 % for seed 1; chance is 12.5 %).

    images/<class>/<index>.png   the images, 112 x 112 RGB
    descriptor.mat               features (D, N), labels (N, 1) 1-based, image_files (N, 1) relative to `TOY/`
    att_splits.mat               att, original_att in percent, allclasses_names and the index lists of the Proposed Split
    attributes.txt               CUB's list: "<1-based number> has_wing_color::red" per line
    class_attributes.csv         class,<attribute names>: the expected percentage of its images that show the attribute
    *.csv                        parts, attributes of parts and of images, see `zslab.data.parts`
    manifest.json                what this copy was made from; written last
"""

import csv
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from scipy.io import savemat
from tqdm import tqdm
from tyro.conf import Positional

from zslab.errors import InputError
from zslab.features.descriptor import pooled_descriptor
from zslab.toy.render import render_bird
from zslab.toy.species import ATTRIBUTE_PARTS, ATTRIBUTES, PARTS, SPECIES, TRAITS, UNSEEN_CLASSES, class_attributes, individual
from zslab.utils.files import plain_disk_errors, read_json, temporary_path, write_json
from zslab.utils.flags import check_at_least

NAME = "TOY"
VERSION = 1  # raise it whenever a pixel, a feature or a file of the set changes, so that old copies are made anew
TEST_SEEN_FRACTION = 0.2
MAX_PROCESSES = 4
IMAGES_PER_PROCESS = 300  # starting a process takes as long as a hundred images


@dataclass(frozen=True)
class ToyConfig:
    """Flags of `zslab toy`."""

    root: Positional[Path]  #: folder of data sets; TOY is made in it
    seed: int = 0  #: another seed, other birds of the same species
    images_per_class: int = 60  #: images of each species


def toy(config: ToyConfig) -> None:
    """Render the toy data set."""
    print(make_toy(config.root, config.seed, config.images_per_class))


def make_toy(root: Path, seed: int = 0, images_per_class: int = 60) -> Path:
    """Render the data set into `root/TOY`, unless it exists already, and return that folder.

    The work is done in a hidden folder beside it that is renamed when complete, so `root/TOY` is complete or absent. The same
    seed gives the same bytes. Image number i of a species depends on the seed, the species and i alone: a larger set contains
    the smaller one. There are at least 5, so that a fifth of a seen species is at least one test image.
    """
    config = ToyConfig(Path(root), seed, images_per_class)
    check_at_least(0, config, "seed", below=2**32)
    check_at_least(5, config, "images_per_class")
    folder, manifest = Path(root) / NAME, Path(root) / NAME / "manifest.json"
    made_from = {"version": VERSION, "seed": seed, "images_per_class": images_per_class}
    if folder.exists() and not manifest.exists():
        fix = "Move it away or pass another folder."
        raise InputError("the folder must be a toy data set", where=folder, got="no manifest.json", fix=fix)
    if manifest.exists() and read_json(manifest) == made_from:
        return folder
    temporary = temporary_path(folder)
    try:
        with plain_disk_errors(folder):
            shutil.rmtree(temporary, ignore_errors=True)  # left by a killed process that had our process number
            temporary.mkdir(parents=True)
            _write_everything(temporary, seed, images_per_class)
            write_json(temporary / "manifest.json", made_from)
            if not manifest.exists() or read_json(manifest) != made_from:  # otherwise another process was faster
                shutil.rmtree(folder, ignore_errors=True)
                os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def open_toy(root: Path) -> Path:
    """Return the folder of a toy data set below `root`, of any seed and size; render one if there is none of this version."""
    manifest = Path(root) / NAME / "manifest.json"
    content = read_json(manifest) if manifest.exists() else None
    return manifest.parent if isinstance(content, dict) and content.get("version") == VERSION else make_toy(root)


def map_in_order(function: Callable[[Any], Any], arguments: Sequence[Any], *, images: int) -> Iterator[Any]:
    """Yield `function(argument)` for each argument, in order, computed by at most `MAX_PROCESSES` processes.

    Fewer than 600 `images`, on which all calls work together, stay in this process.
    """
    processes = min(joblib.cpu_count(), MAX_PROCESSES, max(1, images // IMAGES_PER_PROCESS))
    yield from joblib.Parallel(processes, return_as="generator")(joblib.delayed(function)(argument) for argument in arguments)


def _render_species(
    name: str, *, folder: Path, seed: int, images_per_class: int
) -> tuple[list[str], np.ndarray, list[list[object]], list[list[object]]]:
    """Write the images of one species; return their files, features, shown attributes and boxes of parts, in order."""
    (folder / "images" / name).mkdir(parents=True)
    images, files = [], []
    shown, boxes = list[list[object]](), list[list[object]]()
    for index in range(images_per_class):
        # RandomState, for its stream of numbers never changes with the version of numpy.
        random = np.random.RandomState([seed, list(SPECIES).index(name), index])
        traits = individual(SPECIES[name], random)
        bird = render_bird(traits, random)
        files.append(f"images/{name}/{index:04d}.png")
        bird.image.save(folder / files[-1], compress_level=4)
        images.append(np.asarray(bird.image))
        shown.append([files[-1], *(int(value == traits[trait]) for trait, values in TRAITS.items() for value in values)])
        boxes.extend([files[-1], part, *bird.boxes[part]] for part in PARTS)
    return files, pooled_descriptor(np.stack(images)), shown, boxes


def _write_everything(folder: Path, seed: int, images_per_class: int) -> None:
    """Write all files of the data set but the manifest."""
    render = partial(_render_species, folder=folder, seed=seed, images_per_class=images_per_class)
    rendered = map_in_order(render, list(SPECIES), images=len(SPECIES) * images_per_class)
    files, features, shown, boxes = zip(*tqdm(rendered, total=len(SPECIES), desc="toy birds", unit="species", disable=None))
    labels = np.repeat(np.arange(1, len(SPECIES) + 1), images_per_class)[:, None]
    shares = class_attributes()
    features_and_labels = {"features": np.concatenate(features).T, "labels": labels.astype(np.float64)}
    _write_mat(folder / "descriptor.mat", **features_and_labels, image_files=_cells(sum(files, [])))
    att, names = (shares / np.linalg.norm(shares, axis=1, keepdims=True)).T, _cells(list(SPECIES))
    splits = _splits(labels[:, 0], seed)
    _write_mat(folder / "att_splits.mat", att=att, original_att=100 * shares.T, allclasses_names=names, **splits)
    listed = [f"{number} {name}\n" for number, name in enumerate(ATTRIBUTES, start=1)]
    (folder / "attributes.txt").write_text("".join(listed), encoding="utf-8")
    percentages = [[name, *(f"{100 * share:g}" for share in row)] for name, row in zip(SPECIES, shares, strict=True)]
    _write_csv(folder / "class_attributes.csv", ["class", *ATTRIBUTES], percentages)
    _write_csv(folder / "attribute_parts.csv", ["attribute", "part"], ATTRIBUTE_PARTS.items())
    _write_csv(folder / "image_attributes.csv", ["image", *ATTRIBUTES], sum(shown, []))
    _write_csv(folder / "parts.csv", ["image", "part", "x0", "y0", "x1", "y1"], sum(boxes, []))


def _splits(labels: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Return 1-based columns of sample numbers; every fourth seen class is a validation class."""
    random = np.random.RandomState([seed, len(SPECIES)])
    parts: dict[str, list[int]] = {key: [] for key in ("train_loc", "val_loc", "test_seen_loc", "test_unseen_loc")}
    seen_classes = [name for name in SPECIES if name not in UNSEEN_CLASSES]
    for class_number, name in enumerate(SPECIES, start=1):
        samples = np.flatnonzero(labels == class_number) + 1
        if name in UNSEEN_CLASSES:
            parts["test_unseen_loc"].extend(samples)
            continue
        samples = random.permutation(samples)
        n_test = round(TEST_SEEN_FRACTION * len(samples))
        parts["test_seen_loc"].extend(samples[:n_test])
        parts["val_loc" if seen_classes.index(name) % 4 == 3 else "train_loc"].extend(samples[n_test:])
    parts["trainval_loc"] = parts["train_loc"] + parts["val_loc"]
    return {key: np.sort(np.array(numbers, dtype=np.float64))[:, None] for key, numbers in parts.items()}


def _cells(strings: list[str]) -> np.ndarray:
    """Return a column of MATLAB cells with a string each."""
    return np.array([[string] for string in strings], dtype=object)


def _write_mat(path: Path, **values: np.ndarray) -> None:
    """Write a MATLAB file whose bytes depend on its content alone."""
    savemat(path, values)
    with open(path, "r+b") as file:  # the header's text holds the time of day; the same data must be the same bytes
        file.write(b"MATLAB 5.0 MAT-file, zslab toy data set".ljust(116))


def _write_csv(path: Path, header: list[str], rows: Iterable[Iterable[object]]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])
