"""The "xlsa17" layout of Xian et al. (TPAMI 2018): a feature file and a split file per data set.

    <dataroot>/<dataset>/<image_embedding>.mat          features (D, N), labels (N, 1) 1-based, image_files
    <dataroot>/<dataset>/<class_embedding>_splits.mat   att (A, C), allclasses_names, and 1-based index lists
                                                        trainval_loc, train_loc, val_loc, test_seen_loc, test_unseen_loc

A split file may also name unseen_classes (1-based columns of att): unseen classes that need no samples, so that
test_unseen_loc may lack some of them or be empty. Training covers them all; accuracy is measured on those with samples.

A set too large for memory has two NumPy files in place of the feature file,

    <image_embedding>_features.npy (N, D) float16 or float32, <image_embedding>_labels.npy (N,) 1-based

Their features are read batch by batch and scaled while they are read, where all of them would not fit (`zslab.data.lazy`).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from zslab.data.checks import (
    check_attributes,
    check_class_names,
    check_disjoint,
    check_labels,
    check_location,
    missing_value_note,
)
from zslab.data.dataset import Dataset
from zslab.data.formats.matfile import read_mat
from zslab.data.formats.npyfile import read_array, read_matrix
from zslab.data.lazy import CHUNK
from zslab.data.splits import LOCATIONS, PROPOSED_SPLIT, describe_untested, recognize_split
from zslab.errors import InputError


def read_xlsa17(dataroot: Path, dataset: str, image_embedding: str, class_embedding: str) -> Dataset:
    """Read and check a feature file and a split file.

    Args:
        dataroot: folder that holds one folder a data set.
        dataset: name of the data set's folder.
        image_embedding: name of the feature file, without its suffix.
        class_embedding: name of the split file, without "_splits.mat".

    Raises:
        InputError: a file is missing or damaged, or its content cannot be right; the message tells what to do.
    """
    folder = Path(dataroot) / dataset
    if not folder.is_dir():
        download = f"Download it: `zslab download {dataset} --dataroot DIR`. "
        raise InputError(
            "the data set is missing",
            where=folder,
            found="no such folder",
            expected=f"a folder with {image_embedding}.mat and {class_embedding}_splits.mat",
            fix=(download if dataset in PROPOSED_SPLIT else "")
            + "data/README.md of the tree says where data sets come from; --dataroot names the folder that holds them.",
        )
    feature_file, split_file = folder / f"{image_embedding}.mat", folder / f"{class_embedding}_splits.mat"
    mapped = folder / f"{image_embedding}_features.npy"
    if mapped.is_file() and not feature_file.is_file():
        feature_file = mapped
        features, labels = map_features(mapped, folder / f"{image_embedding}_labels.npy")
    else:
        features, labels = read_features(feature_file)
    return assemble(dataset, image_embedding, class_embedding, features, labels, feature_file, split_file)


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
        dataset: name of the data set, which tells whether its published counts are known.
        image_embedding: name of the features.
        class_embedding: name of the class vectors.
        features: (N, feature_dim) float32, or mapped from disk and float16 or float32.
        labels: (N,) int64, 1-based.
        feature_file: where they come from, for messages.
        split_file: the file with att and the lists.
        attribute_file: a .npy file (C, attribute_dim) to read instead of the split file's att.

    Raises:
        InputError: the split file or the attribute file is missing or damaged, or does not fit the features.
    """
    split, attributes, notes = _read_split(split_file, attribute_file, int(labels.max()))
    names, name_notes = check_class_names(split.get("allclasses_names", split.get("all_classes")), len(attributes), split_file)
    if labels.max() > len(attributes):
        raise InputError(
            "a class has no attributes",
            where=feature_file,
            found=f"label {labels.max()}",
            expected=f"labels in 1..{len(attributes)}, the columns of att in {split_file.name}",
            fix="Feature file and split file do not belong together, or the labels are not 1-based columns of att.",
        )
    labels = labels - 1
    locations, unseen_classes = _check_lists(split, labels, len(attributes), split_file)
    absent = np.setdiff1d(np.arange(len(attributes)), np.concatenate([labels, unseen_classes]))
    if len(absent):
        raise InputError(
            "a class has no samples",
            where=feature_file,
            found=f"no sample of {len(absent)} of {len(attributes)} classes, e.g. {absent[0] + 1} ({names[absent[0]]})",
            expected=f"at least one sample for every column of att in {split_file.name}",
            fix="Remove those columns of att, or use the feature file that the split was made for.",
        )
    version, split_notes = recognize_split(dataset, locations, labels)
    return Dataset(
        dataset,
        image_embedding,
        class_embedding,
        features,
        labels,
        attributes,
        names,
        locations,
        version,
        [*notes, *name_notes, *split_notes, *describe_untested(unseen_classes, labels[locations["test_unseen"]])],
        unseen_classes,
    )


def _read_split(
    path: Path, attribute_file: Path | None, largest_label: int
) -> tuple[dict[str, np.ndarray], np.ndarray, list[str]]:
    """Return the content of a split file, the class vectors (C, attribute_dim) of unit L2 norm, and notes about them."""
    optional = ["train_loc", "val_loc", "allclasses_names", "all_classes", "unseen_classes"]
    if attribute_file is None:
        split = read_mat(path, ["att", *LOCATIONS[:3]], optional)
        return split, check_attributes(split["att"], path), missing_value_note(split["att"])
    split = read_mat(path, LOCATIONS[:3], [*optional, "att"])
    n_classes = split["att"].shape[1] if "att" in split else largest_label
    stored = read_matrix(
        attribute_file,
        "class attributes",
        n_rows=n_classes,
        expected=f"a NumPy file of shape ({n_classes}, attribute_dim), one row a class in the order of the labels",
        fix="data/README.md of the tree describes the file; --no_manual_att takes att of the split file instead.",
    )
    return split, check_attributes(stored.T, attribute_file), []


def _check_lists(
    split: dict[str, np.ndarray], labels: np.ndarray, n_classes: int, path: Path
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return a split file's lists (name without "_loc" -> 0-based indices) and its declared unseen classes (u,)."""
    unseen_classes = np.array([], dtype=np.int64)
    if "unseen_classes" in split:
        unseen_classes = check_location(split["unseen_classes"], "unseen_classes", path, n_classes)
    untested = len(unseen_classes) and "test_unseen_loc" in split and not split["test_unseen_loc"].size
    keys = [key for key in LOCATIONS if key in split and not (key == "test_unseen_loc" and untested)]
    locations = {key.removesuffix("_loc"): check_location(split[key], key, path, len(labels)) for key in keys}
    locations.setdefault("test_unseen", np.array([], dtype=np.int64))
    check_disjoint(locations, labels, path)
    trained = np.intersect1d(unseen_classes, labels[locations["trainval"]])
    if len(trained):
        raise InputError(
            "the splits overlap",
            where=path,
            found=f"{len(trained)} unseen_classes, e.g. {trained[0] + 1}, in trainval_loc",
            expected="unseen classes without training samples",
            fix="Remove them from either list.",
        )
    return locations, unseen_classes


def read_features(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return features (N, D) float32 and 1-based labels (N,) int64 of a feature file.

    Raises:
        InputError: the file is missing or damaged, or its content cannot be right.
    """
    content = read_mat(path, ["features", "labels"])
    features, labels = content["features"], content["labels"].ravel()
    if features.dtype.kind not in "fiu" or labels.dtype.kind not in "fiu":
        raise InputError(
            "features or labels are not numbers",
            where=path,
            found=f"{features.dtype} and {labels.dtype}",
            expected="numeric arrays",
            fix="Save features (D, N) and labels (N, 1) as numeric MATLAB arrays.",
        )
    n = len(labels)
    if min(content["labels"].shape) > 1:
        raise InputError(
            "labels are a matrix",
            where=path,
            found=f"labels {content['labels'].shape}",
            expected="one number for each sample: (N, 1) or (1, N)",
            fix="Of one-hot labels, store in which column each 1 stands, counted from 1.",
        )
    if not features.size:
        raise InputError(
            "features are empty",
            where=path,
            found=f"features {features.shape}, labels {content['labels'].shape}",
            expected="features (D, N) of at least one sample",
            fix="Extract the features again.",
        )
    if features.ndim != 2 or features.shape[1] != n:
        transposed = features.ndim == 2 and features.shape[0] == n
        raise InputError(
            "features are transposed" if transposed else "features and labels do not match",
            where=path,
            found=f"features {features.shape}, labels {content['labels'].shape}",
            expected=f"features (D, {n}): one column a sample",
            fix="Store features.T." if transposed else "Every sample needs one column of features and one label.",
        )
    with np.errstate(over="ignore"):  # float64 beyond the range of float32 becomes infinity, which is refused
        features = np.ascontiguousarray(features.T, dtype=np.float32)
    _check_finite(features, path, "column")
    return features, check_labels(labels, path)


def map_features(features_path: Path, labels_path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return features (N, D) float16 or float32, mapped from disk, and 1-based labels (N,) int64 of two .npy files.

    Raises:
        InputError: a file is missing or damaged, or its content cannot be right.
    """
    expected = "features (N, D) and, in a second file, labels (N,), as numpy.save writes them"
    fix = f"{features_path.name} and {labels_path.name} belong together: write both again."
    features = read_array(features_path, "features", expected=expected, fix=fix, mapped=True)
    labels = read_array(labels_path, "labels", expected=expected, fix=fix)
    if features.dtype not in (np.float16, np.float32) or features.ndim != 2 or labels.shape != features.shape[:1]:
        raise InputError(
            "features and labels do not match",
            where=features_path,
            found=f"features {features.dtype} {features.shape}, labels {labels.dtype} {labels.shape}",
            expected="features (N, D) float16 or float32, one row a sample, and labels (N,)",
            fix="Write them again.",
        )
    _check_finite(features, features_path, "row")
    return features, check_labels(labels, labels_path)


def _check_finite(features: np.ndarray, path: Path, of_sample: str) -> None:
    """Refuse features (N, D) that are not finite; `of_sample` tells whether the file has a sample in a row or a column."""
    chunks = ((start, features[start : start + CHUNK]) for start in range(0, len(features), CHUNK))
    bad = [start + row for start, chunk in chunks for row in np.flatnonzero(~np.isfinite(chunk).all(axis=1))]
    if bad:
        raise InputError(
            "features contain NaN or infinity",
            where=path,
            found=f"{len(bad)} of {len(features)} samples, the first is {of_sample} {bad[0] + 1}",
            expected="finite numbers",
            fix="Extract those samples again. An unreadable image is often the reason; float16 ends at 65,504.",
        )
