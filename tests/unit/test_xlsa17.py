"""Reading the xlsa17 layout: both MATLAB versions, scaling, split versions, validation without leakage, clear refusals."""

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
import scipy.sparse
import torch

from zslab.data.formats.matfile import read_mat
from zslab.data.splits import PROPOSED_SPLIT, draw_partition, recognize_split
from zslab.data.xlsa17 import read_xlsa17
from zslab.errors import InputError

from helpers.project import SHARED_DATA
from helpers.tiny import tiny_arrays, write_tiny


def read(root: Path, **kwargs):
    return read_xlsa17(root, kwargs.get("dataset", "TINY"), "res101", "att")


def write_v73(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """As MATLAB's -v7.3 does: HDF5, transposed, strings as references to UTF-16 codes."""
    with h5py.File(path, "w") as file:
        for name, value in arrays.items():
            if getattr(value, "dtype", None) == np.dtype(object):
                cells = file.create_dataset(name, value.T.shape, dtype=h5py.ref_dtype)
                for i, text in enumerate(value.ravel()):
                    text = text if isinstance(text, str) else text.item()
                    codes = np.array([[ord(c)] for c in text], dtype=np.uint16)
                    cells[0, i] = file.create_dataset(f"#refs#/{name}{i}", data=codes).ref
            elif scipy.sparse.issparse(value):
                group = file.create_group(name)
                group.attrs["MATLAB_sparse"] = np.uint64(value.shape[0])
                group["ir"], group["jc"], group["data"] = value.indices, value.indptr, value.data
            elif not name.startswith("__"):
                file[name] = np.asarray(value).T


def test_what_is_read_is_what_was_written(tiny: Path) -> None:
    data, arrays = read(tiny), tiny_arrays()
    assert np.array_equal(data.features, arrays["features"].T)
    assert data.features.flags["C_CONTIGUOUS"] and data.features.dtype == np.float32
    assert np.array_equal(data.labels, arrays["labels"].ravel() - 1)
    assert np.allclose(np.linalg.norm(data.attributes, axis=1), 1)
    expected = arrays["att"].T / np.linalg.norm(arrays["att"].T, axis=1, keepdims=True)
    assert np.allclose(data.attributes, expected)
    assert data.class_names[3] == "bird 3"
    assert np.array_equal(data.locations["trainval"], arrays["trainval_loc"].ravel() - 1)
    assert data.counts == {"trainval": 36, "test_seen": 12, "test_unseen": 24, "train": 24, "val": 12}


def test_version_7_3_reads_like_version_5(tiny: Path) -> None:
    from_v5, arrays = read(tiny), tiny_arrays()
    write_v73(tiny / "TINY" / "res101.mat", {k: arrays[k] for k in ("features", "labels")})
    write_v73(tiny / "TINY" / "att_splits.mat", {k: v for k, v in arrays.items() if k not in ("features", "labels")})
    from_v73 = read(tiny)
    assert np.array_equal(from_v73.features, from_v5.features)
    assert np.array_equal(from_v73.labels, from_v5.labels)
    assert np.array_equal(from_v73.attributes, from_v5.attributes)
    assert from_v73.class_names == from_v5.class_names
    for key, value in from_v5.locations.items():
        assert np.array_equal(from_v73.locations[key], value)


def test_scaling_is_fitted_on_the_training_samples_alone(tmp_path: Path) -> None:
    unseen = tiny_arrays()["labels"].ravel() > 6
    write_tiny(tmp_path, features=np.where(unseen, 3, 1) * tiny_arrays()["features"])
    data = read(tmp_path)
    raw = data.features[data.locations["trainval"]]
    stage = data.stage("test")
    low, high = raw.min(0), raw.max(0)
    scaled = (raw - low) / (high - low)
    assert np.allclose(stage.train.features.numpy(), scaled / scaled.max(), atol=1e-6)
    unseen = data.features[data.locations["test_unseen"]]
    assert np.allclose(stage.test_unseen.features.numpy(), (unseen - low) / (high - low), atol=1e-6)
    assert stage.test_unseen.features.max() > 1  # test samples may leave the training range
    assert stage.train.features.max() <= 1.0
    standard = data.stage("test", "standard").train.features
    assert torch.allclose(standard.mean(0), torch.zeros(7), atol=1e-5)
    assert torch.allclose(standard.std(0, correction=0), torch.ones(7), atol=1e-5)
    assert torch.equal(data.stage("test", "none").train.features, torch.from_numpy(raw))


def test_a_constant_dimension_does_not_divide_by_zero(tmp_path: Path) -> None:
    features = tiny_arrays()["features"]
    features[2] = 3.5
    write_tiny(tmp_path, features=features)
    assert torch.isfinite(read(tmp_path).stage("test").train.features).all()


@pytest.mark.parametrize("version", ["v1", "v2", "none"])
def test_validation_never_touches_a_test_sample(tmp_path: Path, version: str) -> None:
    write_tiny(tmp_path, version=version)
    data = read(tmp_path)
    assert data.split_version == version
    if version == "v1":
        assert len(np.intersect1d(data.locations["train"], data.locations["test_seen"])) == 8 and "removed" in data.notes[0]
    train, hold_out, val = data.stage_locations("validation", 1)
    trainval = set(data.locations["trainval"].tolist())
    parts = [set(part.tolist()) for part in (train, hold_out, val)]
    assert set.union(*parts) <= trainval
    assert sum(map(len, parts)) == len(set.union(*parts))
    if version != "none":
        assert set.union(*parts) == trainval
    train_classes, hold_out_classes, val_classes = (set(data.labels[p].tolist()) for p in (train, hold_out, val))
    assert hold_out_classes == train_classes
    assert not train_classes & val_classes
    assert len(hold_out) == len(train_classes)  # 20 % of 6 samples a class: one
    if version == "none":
        assert len(val_classes) == 2  # a quarter of 6 seen classes, rounded
    stage = data.stage("validation", seed=1)
    assert stage.train.features.max() == 1.0  # fitted on these samples, not on trainval
    assert stage.seen_classes.tolist() == sorted(train_classes)
    assert stage.unseen_classes.tolist() == sorted(val_classes)
    assert stage.classes.tolist() == sorted(train_classes | val_classes)
    assert np.array_equal(train, data.stage_locations("validation", 1)[0])
    assert not np.array_equal(train, data.stage_locations("validation", 2)[0])


@pytest.mark.parametrize("dataset", sorted(PROPOSED_SPLIT))
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_split_versions_by_published_counts(dataset: str, version: str) -> None:
    trainval, test_seen, test_unseen, n_seen, n_unseen = PROPOSED_SPLIT[dataset]
    bounds = np.cumsum([0, trainval, test_seen, test_unseen])
    locations = {key: np.arange(a, b) for key, a, b in zip(("trainval", "test_seen", "test_unseen"), bounds, bounds[1:])}
    labels = np.concatenate(
        [np.arange(trainval) % n_seen, np.arange(test_seen) % n_seen, n_seen + np.arange(test_unseen) % n_unseen]
    )
    pool = np.concatenate([locations["trainval"], locations["test_seen"]]) if version == "v1" else locations["trainval"]
    half = n_seen // 2
    locations |= {"train": pool[labels[pool] < half], "val": pool[labels[pool] >= half]}
    found, notes = recognize_split(dataset, locations, labels)
    assert found == version
    assert not any("not the published" in note for note in notes)


@pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="the real split files of ../shared/data are not here")
@pytest.mark.parametrize("folder", ["CUB", "CUB_v2", "CUB_sent", "AWA2", "AWA2_v2", "SUN", "SUN_v2", "FLO", "AWA1", "APY"])
def test_real_split_files_are_recognized(folder: str) -> None:
    name, _, kind = folder.partition("_")
    path = f"{name}/{'sent' if kind == 'sent' else 'att'}_splits{'_v2' if kind == 'v2' else ''}"
    version = "v2" if folder.endswith("_v2") or name == "APY" else "v1"
    content = scipy.io.loadmat(SHARED_DATA / f"{path}.mat")
    keys = ("trainval", "test_seen", "test_unseen", "train", "val")
    locations = {key: content[f"{key}_loc"].ravel().astype(int) - 1 for key in keys}
    # Labels are not in split files; any that agree with the lists' sizes serve to recognize the version.
    labels = np.zeros(sum(len(locations[key]) for key in keys[:3]), dtype=int)
    found, notes = recognize_split(name, locations, labels)
    assert found == version
    assert tuple(len(locations[key]) for key in keys[:3]) == PROPOSED_SPLIT[name][:3]


ARRAYS = tiny_arrays()


def spoiled(name: str, row: int, column: int, value: float) -> np.ndarray:
    array = ARRAYS[name].astype(np.float64)
    array[row, column] = value
    return array


REFUSALS = {
    "labels one-hot": ({"labels": np.ones((72, 3))}, ["labels", "(72, 3)", "one-hot"]),
    "features transposed": ({"features": ARRAYS["features"].T}, ["features", "res101.mat", "(72, 7)", "features.T"]),
    "features and labels differ": ({"labels": ARRAYS["labels"][:-1]}, ["res101.mat", "(D, 71)", "(7, 72)"]),
    "NaN": ({"features": spoiled("features", 3, 10, np.nan)}, ["features", "1 of 72", "is 11"]),
    "label 0": ({"labels": ARRAYS["labels"] - 1}, ["labels", "0 to 8", "Add 1"]),
    "label too large": ({"labels": ARRAYS["labels"] + 1}, ["labels", "got 10", "1..9"]),
    "label and a half": ({"labels": ARRAYS["labels"] + 0.5}, ["labels", "whole numbers", "2.5"]),
    "wrong key in features": ({"labels": None}, ["labels", "res101.mat", "got features"]),
    "wrong key in splits": ({"test_seen_loc": None}, ["test_seen_loc", "att_splits.mat"]),
    "empty split": ({"test_unseen_loc": np.zeros((0, 1))}, ["test_unseen_loc", "att_splits.mat", "(0,)"]),
    "0-based split": (
        {"trainval_loc": ARRAYS["trainval_loc"] - ARRAYS["trainval_loc"].min()},
        ["trainval_loc", "between 1 and 72", "0 to"],
    ),
    "split beyond the data": ({"val_loc": ARRAYS["val_loc"] + 72}, ["val_loc", "between 1 and 72"]),
    "split with a repetition": ({"test_seen_loc": np.repeat(ARRAYS["test_seen_loc"], 2)[:, None]}, ["test_seen_loc", "once"]),
    "shared samples": ({"test_seen_loc": ARRAYS["trainval_loc"][:5]}, ["trainval_loc and test_seen_loc", "got 5"]),
    "shared train and unseen": ({"train_loc": ARRAYS["test_unseen_loc"]}, ["train_loc and test_unseen_loc", "got 24"]),
    "shared classes": (
        {
            "trainval_loc": np.vstack([ARRAYS["trainval_loc"], ARRAYS["test_unseen_loc"][:1]]),
            "test_unseen_loc": ARRAYS["test_unseen_loc"][1:],
        },
        ["no class in common", "got 1,"],
    ),
    "stranger in test_seen": (
        {"trainval_loc": ARRAYS["trainval_loc"][ARRAYS["labels"].ravel()[ARRAYS["trainval_loc"].ravel() - 1] != 2]},
        ["test_seen_loc", "first is 2"],
    ),
    "class lacks attributes": ({"att": np.where(np.arange(9) == 4, 0, ARRAYS["att"])}, ["attribute vector", "class 5"]),
    "attribute NaN": ({"att": np.where(np.arange(9) == 4, np.nan, ARRAYS["att"])}, ["attribute vector", "class 5"]),
    "class has no samples": (
        {"att": np.hstack([ARRAYS["att"], ARRAYS["att"][:, :1]]), "allclasses_names": None},
        ["res101.mat", "1 of 10 classes", "10"],
    ),
    "a name too few": ({"allclasses_names": ARRAYS["allclasses_names"][1:]}, ["allclasses_names", "8 names", "9"]),
    "a name twice": ({"allclasses_names": ARRAYS["allclasses_names"][[0, 0, *range(2, 9)]]}, ["bird 0 twice"]),
    "names are numbers": ({"allclasses_names": np.arange(9.0)[:, None]}, ["allclasses_names", "float64"]),
    "no features": ({"features": np.zeros((7, 0)), "labels": np.zeros((0, 1))}, ["features", "(7, 0)"]),
    "att is empty": ({"att": np.zeros((0, 9))}, ["att", "(0, 9)"]),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_bad_input_is_refused_with_file_and_value(tmp_path: Path, case: str) -> None:
    changes, words = REFUSALS[case]
    write_tiny(tmp_path, **changes)
    with pytest.raises(InputError) as caught:
        read(tmp_path)
    message = str(caught.value)
    for word in [*words, ".mat", "(got "]:
        assert word in message, message
    assert caught.value.fix and "\n" not in message


def test_labels_are_matched_to_the_columns_of_att_by_name(tiny: Path) -> None:
    """The feature file counts its own classes, as an extraction from folders does; the split file has another order."""
    plain, order = read(tiny), np.random.default_rng(3).permutation(9)
    names = ARRAYS["allclasses_names"][order]
    own = {"allclasses_names": ARRAYS["allclasses_names"]}
    scipy.io.savemat(tiny / "TINY" / "res101.mat", {k: ARRAYS[k] for k in ("features", "labels")} | own)
    write_split(tiny, att=ARRAYS["att"][:, order], allclasses_names=np.char.upper(names.astype(str)).astype(object))
    data = read(tiny)
    assert [data.class_names[label].lower() for label in data.labels] == [plain.class_names[label] for label in plain.labels]
    assert np.array_equal(data.attributes[data.labels], plain.attributes[plain.labels])
    write_split(tiny, allclasses_names=np.array([["crow"], *names[1:]], dtype=object))
    with pytest.raises(InputError, match=r"att_splits\.mat.*without bird"):
        read(tiny)
    write_split(tiny, allclasses_names=np.array([[f"class {i}"] for i in "abcdefghi"], dtype=object))
    data = read(tiny)
    assert np.array_equal(data.labels, plain.labels) and any("other names" in note for note in data.notes)


def write_split(root: Path, **changes: np.ndarray) -> None:
    content = {k: v for k, v in (ARRAYS | changes).items() if k not in ("features", "labels")}
    scipy.io.savemat(root / "TINY" / "att_splits.mat", content)


@pytest.mark.parametrize("hdf5", [False, True])
def test_masks_and_sparse_matrices_are_read_like_lists_and_dense_ones(tiny: Path, hdf5: bool) -> None:
    plain = read(tiny)
    changes: dict[str, object] = {name: scipy.sparse.csc_matrix(ARRAYS[name]) for name in ("features", "att", "labels")}
    for name in ("trainval_loc", "test_seen_loc", "test_unseen_loc", "train_loc"):
        changes[name] = np.isin(np.arange(1, 73), ARRAYS[name])[:, None]
    changes["val_loc"] = scipy.sparse.csc_matrix(ARRAYS["val_loc"])
    write_tiny(tiny, **changes)
    if hdf5:
        for file in ("res101.mat", "att_splits.mat"):
            write_v73(tiny / "TINY" / file, scipy.io.loadmat(tiny / "TINY" / file))
    data = read(tiny)
    assert np.array_equal(data.features, plain.features) and np.array_equal(data.attributes, plain.attributes)
    assert np.array_equal(data.labels, plain.labels) and data.class_names == plain.class_names
    assert {name: sorted(indices) for name, indices in data.locations.items()} == {
        name: sorted(indices) for name, indices in plain.locations.items()
    }


def test_names_written_from_python_are_read_and_absent_ones_are_noted(tiny: Path) -> None:
    names = [f"bird é {i}" for i in range(9)]
    arrays = {k: v for k, v in ARRAYS.items() if k not in ("features", "labels", "allclasses_names")}
    write_v73(tiny / "TINY" / "att_splits.mat", arrays)
    data = read(tiny)
    assert data.class_names[8] == "class 9" and data.notes == [
        "att_splits.mat has no allclasses_names: classes are called class 1 ... class 9."
    ]
    for stored in (names, np.array([name.encode() for name in names])):
        write_v73(tiny / "TINY" / "att_splits.mat", arrays)
        with h5py.File(tiny / "TINY" / "att_splits.mat", "a") as file:
            file["allclasses_names"] = stored
        data = read(tiny)
        assert data.class_names == names and data.notes == []


def test_a_sparse_matrix_whose_columns_end_before_they_start_is_refused(tmp_path: Path) -> None:
    """SciPy checks the starts of columns only where there are values, and would read beyond them."""
    scipy.io.savemat(tmp_path / "a.mat", {"att": scipy.sparse.csc_matrix((np.array([5.0]), ([1], [0])), (3, 2))})
    content, starts = (tmp_path / "a.mat").read_bytes(), np.array([0, 1, 1], "<i4").tobytes()
    assert content.count(starts) == 1
    (tmp_path / "a.mat").write_bytes(content.replace(starts, np.array([0, 10**9, 0], "<i4").tobytes()))
    with pytest.raises(InputError, match=r"a\.mat"):
        read_mat(tmp_path / "a.mat", ["att"])


def test_missing_values_of_awa_are_noted(tmp_path: Path) -> None:
    write_tiny(tmp_path, att=np.where(np.arange(9) == 4, -1, np.round(100 * ARRAYS["att"])))
    (note,) = read(tmp_path).notes
    assert "5 entries of -1" in note and "missing values" in note


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ({"a": 1.0}, "a struct"),
        (np.array([[1 + 2j]]), "a complex array"),
        (np.array([[np.ones(2)], [np.ones(3)]], dtype=object), "a cell array of something else than text"),
    ],
)
def test_kinds_of_matlab_variables_that_are_not_read_are_named(tiny: Path, names, words: str) -> None:
    write_tiny(tiny, allclasses_names=names)
    with pytest.raises(InputError, match=rf"att_splits\.mat.*allclasses_names.*{words}.*cellstr"):
        read(tiny)


def test_overlapping_validation_classes_are_refused_when_asked_for(tmp_path: Path) -> None:
    trainval = ARRAYS["trainval_loc"]
    write_tiny(tmp_path, train_loc=trainval[::2], val_loc=trainval[1::2])
    data = read(tmp_path)
    with pytest.raises(InputError, match="TINY"):
        data.stage("validation")
    assert len(data.stage("test").train) == 36


def test_missing_files_are_refused_with_what_is_there(tiny: Path) -> None:
    with pytest.raises(InputError, match="NOWHERE: .*data/README.md"):
        read_xlsa17(tiny, "NOWHERE", "res101", "att")
    with pytest.raises(InputError, match="resnet.mat: .*got only att_splits.mat, res101.mat"):
        read_xlsa17(tiny, "TINY", "resnet", "att")
    with pytest.raises(InputError, match="sent_splits.mat"):
        read_xlsa17(tiny, "TINY", "res101", "sent")


@pytest.mark.skipif(not (SHARED_DATA / "CUB").is_dir(), reason="the real features of ../shared/data are not here")
def test_real_features_read_and_scale() -> None:
    data = read_xlsa17(SHARED_DATA, "CUB", "resnet_fc1000", "att")
    assert data.features.min() < 0  # logits
    stage = data.stage("test")
    assert (stage.train.features.min(), stage.train.features.max()) == (0, 1)
    assert (len(stage.seen_classes), len(stage.unseen_classes)) == (150, 50)
    assert len(read_xlsa17(SHARED_DATA, "CUB", "resnet_fc1000", "sent").attributes[0]) == 1024


def test_a_partition_has_the_shape_of_the_published_split_and_depends_on_its_number_alone(tiny: Path) -> None:
    data = read(tiny)
    drawn = [data.with_partition(number) for number in (1, 1, 2)]
    for partition in drawn:
        assert partition.counts == data.counts == {"trainval": 36, "test_seen": 12, "test_unseen": 24, "train": 24, "val": 12}
        lists = partition.locations
        parts = [lists[key] for key in ("trainval", "test_seen", "test_unseen")]
        assert sorted(np.concatenate(parts)) == list(range(72))  # disjoint, and nothing is left out
        trainval, seen, unseen = (set(data.labels[part]) for part in parts)
        assert trainval == seen and not seen & unseen and (len(seen), len(unseen)) == (6, 3)
        train, val = (set(data.labels[lists[key]]) for key in ("train", "val"))
        assert train | val == seen and not train & val and len(val) == 2
        assert sorted([*lists["train"], *lists["val"]]) == sorted(lists["trainval"])
    assert all(np.array_equal(drawn[0].locations[key], drawn[1].locations[key]) for key in data.locations)
    assert set(data.labels[drawn[0].locations["test_unseen"]]) != set(data.labels[drawn[2].locations["test_unseen"]])
    assert drawn[2].split_version == "partition 2" and data.with_partition(None) is data


def test_a_partition_of_a_hand_made_split_leaves_out_what_the_split_does_not_use() -> None:
    labels = np.repeat([0, 1, 2, 3], 4)  # samples 3 and 15 are in no list
    locations = {"trainval": np.array([0, 1, 4, 5, 6]), "test_seen": np.array([2, 7]), "test_unseen": np.arange(8, 15)}
    drawn = draw_partition(labels, locations, 3)
    used = np.concatenate([drawn[key] for key in ("trainval", "test_seen", "test_unseen")])
    assert sorted(used) == [0, 1, 2, *range(4, 15)]
    assert len(set(labels[drawn["test_unseen"]])) == 2
    for label in set(labels[drawn["trainval"]]):  # 2 of 7 samples were held out: one of three or four
        assert (labels[drawn["test_seen"]] == label).sum() == 1
    assert len(set(labels[drawn["val"]])) == 1  # without train/val lists, a quarter of two classes, at least one


def test_a_partition_keeps_copies_on_one_side(tiny: Path) -> None:
    data = read(tiny)
    features = data.features.copy()
    by_class = np.argsort(data.labels, kind="stable")  # eight of each
    copies = [sorted(pair) for pair in zip(by_class[::2], by_class[1::2], strict=True)]
    for original, copy in copies:
        features[copy] = features[original]
    sides = {}
    for number in range(1, 6):
        lists = replace(data, features=features).with_partition(number).locations
        for name in ("trainval", "test_seen", "test_unseen"):
            sides |= {(number, sample): name for sample in lists[name]}
        assert all(sides[number, original] == sides[number, copy] for original, copy in copies)
        assert 0 < len(lists["test_seen"]) < len(lists["trainval"])
    regions_without_pooled_features = replace(data, features=features[:, :0])
    drawn = regions_without_pooled_features.with_partition(1).locations
    assert all(np.array_equal(drawn[name], data.with_partition(1).locations[name]) for name in drawn)


def test_a_partition_drops_the_notes_of_the_split_that_it_replaces(tmp_path: Path) -> None:
    partition = read(write_tiny(tmp_path, version="v1").parent).with_partition(1)
    assert not any("Split version 1" in note for note in partition.notes) and "Partition 1" in partition.notes[-1]


def test_partitions_that_cannot_be_drawn_are_refused(tiny: Path) -> None:
    data = read(tiny)
    with pytest.raises(InputError, match="--partition.*got 0"):
        data.with_partition(0)
    zsl_alone = data.locations | {"test_seen": np.array([], dtype=np.int64)}
    with pytest.raises(InputError, match="--partition.*got 0 of seen"):
        draw_partition(data.labels, zsl_alone, 1)
