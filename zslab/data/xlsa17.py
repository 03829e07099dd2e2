"""The "xlsa17" layout of Xian et al. (TPAMI 2018): a feature file and a split file per data set.

    <dataroot>/<dataset>/<image_embedding>.mat          features (D, N), labels (N, 1) 1-based, image_files
    <dataroot>/<dataset>/<class_embedding>_splits.mat   att (A, C), allclasses_names, and 1-based index lists
                                                        trainval_loc, train_loc, val_loc, test_seen_loc, test_unseen_loc

Where both files have allclasses_names, the labels are matched to the columns of att by name; otherwise a label is the number
of a column.

A split file may also name unseen_classes (1-based columns of att): unseen classes that need no samples, so that
test_unseen_loc may lack some of them or be empty. Training covers them all; accuracy is measured on those with samples.

A set too large for memory has two NumPy files in place of the feature file,

    <image_embedding>_features.npy (N, D) float16 or float32, <image_embedding>_labels.npy (N,) 1-based

Their features are read batch by batch and scaled while they are read, where all of them would not fit (`zslab.data.lazy`).

Action sets, as the authors of TF-VAEGAN published HMDB51 (hmdb_i3d) and UCF101 (ucf101_i3d), have several class splits,

    <dataroot>/<dataset>/split_<k>/<class_embedding>_splits.mat   for k = 1, 2, ...
    <dataroot>/<dataset>/<name>_manual_att.npy                    (C, A), optional; name is dataset without "_i3d"
"""

import hashlib
from pathlib import Path

import numpy as np

from zslab.data.checks import (
    check_attributes,
    check_class_names,
    check_disjoint,
    check_labels,
    check_location,
    check_locations,
    missing_value_note,
)
from zslab.data.dataset import Dataset
from zslab.data.formats.arrays import read_array, read_matrix
from zslab.data.formats.matfile import read_mat
from zslab.data.lazy import CHUNK
from zslab.data.splits import LOCATIONS, PROPOSED_SPLIT, describe_untested, recognize_split
from zslab.errors import InputError
from zslab.utils.files import atomic_path, locked, make_folder
from zslab.utils.flags import format_numbers
from zslab.utils.names import did_you_mean, logged_names, places_by_name

NAMES = ("allclasses_names", "all_classes")


def read_xlsa17(
    dataroot: Path,
    dataset: str,
    image_embedding: str,
    class_embedding: str,
    *,
    split: int | None = None,
    manual_att: bool = False,
    cache: Path | None = None,
) -> Dataset:
    """Read and check a feature file and a split file; see the module's docstring for their places.

    Args:
        split: the number of a class split; None for a split file beside the features.
        manual_att: take the class vectors from the .npy file instead of `att`.
        cache: where `shared_features` keeps the features; None: in memory.
    """
    folder = data_folder(dataroot, dataset, f"{image_embedding}.mat and {class_embedding}_splits.mat")
    feature_file, mapped = folder / f"{image_embedding}.mat", folder / f"{image_embedding}_features.npy"
    split_file = _split_file(folder, f"{class_embedding}_splits.mat", split)
    attribute_file = folder / f"{dataset.removesuffix('_i3d')}_manual_att.npy" if manual_att else None
    if mapped.is_file() and not feature_file.is_file():
        features, labels = map_features(mapped, folder / f"{image_embedding}_labels.npy")
        feature_file = mapped
    else:
        features, labels = shared_features(feature_file, cache) if cache else read_features(feature_file)
    class_embedding = "manual_att" if manual_att else class_embedding
    return assemble(dataset, image_embedding, class_embedding, features, labels, feature_file, split_file, attribute_file)


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
    numbers = [path.parent.name.removeprefix("split_") for path in folder.glob(f"split_*/{name}")]
    existing = sorted(int(number) for number in numbers if number.isdecimal())
    if split is None and ((folder / name).exists() or not existing):
        return folder / name
    if split not in existing:
        choice = f"one of {format_numbers(existing)}" if existing else f"that of a folder split_<k> with {name} in {folder}"
        fix = f"Make it with make_splits.py, or pass --split {existing[0] if existing else 'none to use that file itself'}."
        raise InputError(f"the number of the split must be {choice}", where="--split", got=split, fix=fix)
    return folder / f"split_{split}" / name


def data_folder(dataroot: Path, dataset: str, files: str) -> Path:
    """Return the folder of a data set, which must exist; `files` says what must be in it."""
    folder = Path(dataroot) / dataset
    if not folder.is_dir():
        there = [path.name for path in folder.parent.iterdir() if path.is_dir()] if folder.parent.is_dir() else []
        fix = did_you_mean(dataset, there)
        fix += f"Download it: `zslab download {dataset} --dataroot DIR`. " if dataset in PROPOSED_SPLIT else ""
        fix += "data/README.md of the tree says where data sets come from; --dataroot names the folder that holds them."
        must = f"the folder of the data set must exist, with {files}"
        raise InputError(must, where=folder, got="no such folder", fix=fix)
    return folder


def assemble(
    dataset: str,
    image_embedding: str,
    class_embedding: str,
    features: np.ndarray,
    labels: np.ndarray,
    feature_file: Path,
    split_file: Path,
    attribute_file: Path | None = None,
) -> Dataset:
    """Join features that have been read with a split file, checking that they fit.

    Args:
        dataset, image_embedding, class_embedding: names of the data set, its features and its class vectors.
        features: (N, feature_dim) float32, or mapped from disk and float16 or float32.
        labels: (N,) int64, 1-based.
        feature_file: where they come from; a .mat file may have allclasses_names.
        split_file: the file with att and the lists.
        attribute_file: a .npy file (C, attribute_dim) to read instead of the split file's att.
    """
    needed, optional = ["att", *LOCATIONS[:3]][attribute_file is not None :], ["train_loc", "val_loc", "unseen_classes"]
    split = read_mat(split_file, needed, [*optional, *NAMES, "att"])
    if attribute_file is None:
        attributes, notes = check_attributes(split["att"], split_file), missing_value_note(split["att"])
    else:
        n_classes = split["att"].shape[1] if "att" in split else int(labels.max())
        fix = "data/README.md of the tree describes the file; --no_manual_att takes att of the split file instead."
        stored = read_matrix(attribute_file, "class attributes", fix, n_classes)
        attributes = check_attributes(stored.T, attribute_file)
        notes = [f"{attribute_file.name} has no class names: its rows are taken in the order of the labels."]
    stored_names = next((split[key] for key in NAMES if key in split), None)
    names, name_notes = check_class_names(stored_names, len(attributes), split_file)
    labels, label_notes = _labels_by_name(labels, names, feature_file, split_file)
    if labels.max() >= len(attributes):
        must = f"labels must be in 1..{len(attributes)}, the columns of att in {split_file.name}"
        fix = "Feature file and split file do not belong together, or the labels are not 1-based columns of att."
        raise InputError(must, where=feature_file, got=labels.max() + 1, fix=fix)
    locations, unseen_classes = _check_lists(split, labels, len(attributes), split_file)
    absent = np.setdiff1d(np.arange(len(attributes)), np.concatenate([labels, unseen_classes]))
    if len(absent):
        must = f"every column of att in {split_file.name} must have a sample"
        got = f"none of {len(absent)} of {len(attributes)} classes, e.g. {absent[0] + 1} ({names[absent[0]]})"
        fix = "Remove those columns of att, or use the feature file that the split was made for."
        raise InputError(must, where=feature_file, got=got, fix=fix)
    version, split_notes = recognize_split(dataset, locations, labels)
    notes += [*name_notes, *label_notes, *split_notes, *describe_untested(unseen_classes, labels[locations["test_unseen"]])]
    of_split = (attributes, names, locations, version, notes, unseen_classes)
    return Dataset(dataset, image_embedding, class_embedding, features, labels, *of_split)


def class_names_of(path: Path) -> list[str] | None:
    """Return the class names of a split or feature file (.mat) in the order of the labels, where it has them."""
    content = read_mat(path, [], NAMES)
    return next((logged_names(content[key], path) for key in NAMES if key in content), None)


def _labels_by_name(labels: np.ndarray, names: list[str], feature_file: Path, split_file: Path) -> tuple[np.ndarray, list[str]]:
    """Return 0-based labels that count `names`, and notes; `labels` are 1-based and count the feature file's own names."""
    own = class_names_of(feature_file) if feature_file.suffix == ".mat" else None
    if own is None:
        return labels - 1, []
    if labels.max() > len(own):
        got = f"label {labels.max()} of {len(own)} names"
        raise InputError("every label must have a name", where=feature_file, got=got, fix="Extract the features again.")
    places = places_by_name(own, names, split_file, of_all=False)
    if places is None:
        note = f"{feature_file.name} and {split_file.name} call their classes by other names: labels are columns of att."
        return labels - 1, [note]
    return np.array(places)[labels - 1], []


def _check_lists(
    split: dict[str, np.ndarray], labels: np.ndarray, n_classes: int, path: Path
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return a split file's lists (name without "_loc" -> 0-based indices) and its declared unseen classes (u,)."""
    unseen_classes = np.array([], dtype=np.int64)
    if "unseen_classes" in split:
        unseen_classes = check_location(split["unseen_classes"], "unseen_classes", path, n_classes)
    untested = bool(len(unseen_classes)) and "test_unseen_loc" in split and not split["test_unseen_loc"].size
    locations = check_locations({key: split[key] for key in LOCATIONS if key in split}, path, len(labels), untested=untested)
    check_disjoint(locations, labels, path)
    trained = np.intersect1d(unseen_classes, labels[locations["trainval"]])
    if len(trained):
        got, fix = f"{len(trained)} of them, e.g. {trained[0] + 1}", "Remove them from either list."
        raise InputError("unseen_classes must have no samples in trainval_loc", where=path, got=got, fix=fix)
    return locations, unseen_classes


def read_features(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return features (N, D) float32 and 1-based labels (N,) int64 of a feature file."""
    content = read_mat(path, ["features", "labels"])
    features, labels = content["features"], content["labels"]
    if labels.size > max(labels.shape):
        fix = "Of one-hot labels, store in which column each 1 stands, counted from 1."
        raise InputError("labels must be one number for each sample", where=path, got=f"shape {labels.shape}", fix=fix)
    n = labels.size
    if features.dtype.kind not in "fiub" or features.ndim != 2 or features.shape[1] != n or not features.size:
        fix = "Every sample needs one column of features and one label; if they are rows, store features.T."
        raise InputError(f"features must be numbers (D, {n})", where=path, got=f"{features.dtype} {features.shape}", fix=fix)
    checked = check_labels(labels.ravel(), path)
    with np.errstate(over="ignore"):  # float64 beyond the range of float32 becomes infinity, which is refused
        features = np.ascontiguousarray(features.T, dtype=np.float32)
    _check_finite(features, path)
    return features, checked


def map_features(features_path: Path, labels_path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return features (N, D) float16 or float32, mapped from disk, and 1-based labels (N,) int64 of two .npy files."""
    fix = f"{features_path.name} (N, D) and {labels_path.name} (N,) belong together: write both again."
    features = read_array(features_path, "features", fix, mapped=True)
    labels = read_array(labels_path, "labels", fix)
    if features.dtype not in (np.float16, np.float32) or features.ndim != 2 or labels.shape != features.shape[:1]:
        must = "features must be (N, D) float16 or float32, with as many labels"
        got = f"features {features.dtype} {features.shape}, labels {labels.dtype} {labels.shape}"
        raise InputError(must, where=features_path, got=got, fix=fix)
    _check_finite(features, features_path)
    return features, check_labels(labels, labels_path)


def _check_finite(features: np.ndarray, path: Path) -> None:
    """Refuse features (N, D) that are not finite, reading them in parts."""
    chunks = ((start, features[start : start + CHUNK]) for start in range(0, len(features), CHUNK))
    bad = [start + row for start, chunk in chunks for row in np.flatnonzero(~np.isfinite(chunk).all(axis=1))]
    if bad:
        got = f"NaN or infinity in {len(bad)} of {len(features)} samples, the first is {bad[0] + 1}"
        fix = "Extract those samples again. An unreadable image is often the reason; float16 ends at 65,504."
        raise InputError("features must be finite numbers", where=path, got=got, fix=fix)
