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
from collections.abc import Iterable
from pathlib import Path

import filelock
import numpy as np

from zslab.data.dataset import Dataset
from zslab.data.xlsa17 import assemble, read_features
from zslab.errors import InputError
from zslab.utils.files import atomic_path, file_sha256, make_folder, write_text
from zslab.utils.int_ranges import format_numbers


def read_action_set(
    dataroot: Path, dataset: str, image_embedding: str, class_embedding: str, split: int | None, manual_att: bool, cache: Path
) -> Dataset:
    """Read and check features and one split; see the module's docstring for the files.

    Args:
        dataroot: folder that holds one folder a data set.
        dataset: name of the data set's folder.
        image_embedding: name of the feature file, without its suffix.
        class_embedding: name of the split files, without "_splits.mat".
        split: number of the split, None for a split file beside the features.
        manual_att: take the class vectors from the .npy file instead of `att`.
        cache: folder where the features are kept in a form that processes share; see `shared_features`.

    Raises:
        InputError: a file is missing or damaged, or its content cannot be right; the message tells what to do.
    """
    folder = Path(dataroot) / dataset
    feature_file = folder / f"{image_embedding}.mat"
    if not folder.is_dir():
        raise InputError(
            "the data set is missing",
            where=folder,
            found="no such folder",
            expected=f"a folder with {feature_file.name} and split_<k>/{class_embedding}_splits.mat",
            fix="data/README.md of the tree says where the files come from; --dataroot names the folder above.",
        )
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
    """Return what `read_features` does, with the features mapped from a .npy file that processes share in memory.

    The first process builds it, the others wait. It is built again where the feature file or a bit of the cache has changed.

    Args:
        feature_file: the .mat file.
        cache: folder for the .npy files; it can be deleted at any time when nothing runs.

    Returns:
        features (N, D) float32, read-only and mapped from disk, and 1-based labels (N,).

    Raises:
        InputError: as `read_features`.
    """
    if not feature_file.is_file():
        read_features(feature_file)  # raises what is wrong
    status = feature_file.stat()
    identity = f"{feature_file.resolve()}|{status.st_size}|{status.st_mtime_ns}"
    digest = hashlib.sha256(identity.encode()).hexdigest()[:12]
    stem = f"{feature_file.parent.name}-{feature_file.stem}-{digest}"
    paths = cache / f"{stem}-features.npy", cache / f"{stem}-labels.npy"
    checksums = cache / f"{stem}.sha256"
    make_folder(cache)
    with filelock.FileLock(cache / f".{stem}.lock"):
        if not _are_whole(paths, checksums):
            for path, array in zip(paths, read_features(feature_file)):
                with atomic_path(path) as temporary:
                    np.save(temporary, array)
            write_text(checksums, _checksums(paths))
        return np.load(paths[0], mmap_mode="r"), np.load(paths[1])


def _are_whole(paths: Iterable[Path], checksums: Path) -> bool:
    """Return whether files are as they were when their checksums were written."""
    try:
        return checksums.read_text(encoding="utf-8") == _checksums(paths)
    except (OSError, UnicodeDecodeError):
        return False


def _checksums(paths: Iterable[Path]) -> str:
    """Return the checksums of files in the format of `sha256sum`."""
    return "".join(f"{file_sha256(path)}  {path.name}\n" for path in paths)


def _split_file(folder: Path, name: str, split: int | None) -> Path:
    """Return the path of a split file, or refuse a split that does not exist."""
    existing = existing_splits(folder, name)
    if split is None:
        if not (folder / name).exists() and existing:
            raise InputError(
                "this data set needs a split number",
                where="--split",
                found="nothing",
                expected=f"one of {format_numbers(existing)}",
                fix=f"Pass --split {existing[0]}: {folder} holds split folders and no {name} of its own.",
            )
        return folder / name
    if split not in existing:
        raise InputError(
            "the split does not exist",
            where="--split",
            found=split,
            expected=f"one of {format_numbers(existing)}" if existing else f"folders split_<k> with {name} in {folder}",
            fix="Choose one of those, or make more with make_splits.py."
            if existing
            else f"Make them with make_splits.py, or leave out --split to use {name} beside the features.",
        )
    return folder / f"split_{split}" / name
