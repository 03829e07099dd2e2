"""Action data sets: the xlsa17 layout with one split folder for each of 30 random class splits.

    <dataroot>/<dataset>/<image_embedding>.mat                    features (D, N), labels (N, 1) 1-based
    <dataroot>/<dataset>/split_<k>/<class_embedding>_splits.mat   att (A, C) and the 1-based *_loc lists, k = 1, 2, ...
    <dataroot>/<dataset>/<name>_manual_att.npy                    (C, A), optional; name is dataset without "_i3d"

as the authors of TF-VAEGAN published HMDB51 (hmdb_i3d) and UCF101 (ucf101_i3d). Without a split number the split file
lies beside the features, as for images.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import numpy as np

from zslab.data.dataset import Dataset
from zslab.data.formats.arrays import read_array
from zslab.data.xlsa17 import assemble, data_folder, read_features
from zslab.errors import InputError
from zslab.utils.files import atomic_path, locked, make_folder
from zslab.utils.flags import format_numbers


def read_action_set(
    dataroot: Path, dataset: str, image_embedding: str, class_embedding: str, split: int | None, manual_att: bool, cache: Path
) -> Dataset:
    """Read and check features and one split; see the module's docstring for the files.

    Args:
        split: number of the split, None for a split file beside the features.
        manual_att: take the class vectors from the .npy file instead of `att`.
        cache: folder where the features are kept in a form that processes share; see `shared_features`.
    """
    folder = data_folder(dataroot, dataset, f"{image_embedding}.mat and split_<k>/{class_embedding}_splits.mat")
    feature_file = folder / f"{image_embedding}.mat"
    split_file = _split_file(folder, f"{class_embedding}_splits.mat", split)
    attribute_file = folder / f"{dataset.removesuffix('_i3d')}_manual_att.npy" if manual_att else None
    if attribute_file is not None:
        class_embedding = "manual_att"
    features, labels = shared_features(feature_file, cache)
    return assemble(dataset, image_embedding, class_embedding, features, labels, feature_file, split_file, attribute_file)


def existing_splits(folder: Path, file_name: str) -> list[int]:
    """Return the numbers k of the split_<k> folders that hold the file, ascending."""
    matches = (re.fullmatch(r"split_(\d{1,9})", path.parent.name) for path in Path(folder).glob(f"split_*/{file_name}"))
    return sorted(int(match[1]) for match in matches if match)


def shared_features(feature_file: Path, cache: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return what `read_features` does, with the features mapped from a .npy file in `cache` that processes share in memory.

    The first process writes it, the others wait. Another feature file, by place, size or time, gets another cache.
    """
    if not feature_file.is_file():
        read_features(feature_file)  # raises what is wrong
    status = feature_file.stat()
    identity = f"{feature_file.resolve()}|{status.st_size}|{status.st_mtime_ns}"
    stem = f"{feature_file.parent.name}-{feature_file.stem}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"
    paths = cache / f"{stem}-features.npy", cache / f"{stem}-labels.npy"
    make_folder(cache)
    with locked(cache / f".{stem}.lock"):
        try:
            return read_array(paths[0], "features", "", mapped=True), read_array(paths[1], "labels", "")
        except InputError:  # not there, cut short or damaged
            for path, array in zip(paths, read_features(feature_file)):
                with atomic_path(path) as temporary:
                    np.save(temporary, array)
        return read_array(paths[0], "features", "", mapped=True), read_array(paths[1], "labels", "")


def _split_file(folder: Path, name: str, split: int | None) -> Path:
    """Return the path of a split file, or refuse a split that does not exist."""
    existing = existing_splits(folder, name)
    if split is None and ((folder / name).exists() or not existing):
        return folder / name
    if split not in existing:
        choice = f"one of {format_numbers(existing)}" if existing else f"that of a folder split_<k> with {name} in {folder}"
        fix = f"Make it with make_splits.py, or pass --split {existing[0] if existing else 'none to use that file itself'}."
        raise InputError(f"the number of the split must be {choice}", where="--split", got=split, fix=fix)
    return folder / f"split_{split}" / name
