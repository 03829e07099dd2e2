"""Data sets of region maps: what is read is what was written, in the release's layouts too; clear refusals."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
import torch

from zslab.baselines.comparison import run_baselines
from zslab.data.region_dataset import read_region_maps
from zslab.data.region_file import batches
from zslab.errors import InputError

from helpers.region_examples import (
    ATTRIBUTES,
    CLASSES,
    CONTENT,
    IMAGES,
    ROWS,
    A,
    D,
    N,
    V,
    write_deepfashion,
    write_ours,
    write_release,
)


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    return write_ours(tmp_path / "SET" / "maps.hdf5")


def test_deepfashion_groups_are_one_list_of_rows(tmp_path: Path) -> None:
    path, maps = write_deepfashion(tmp_path / "sep.hdf5")
    data = read_region_maps(path, drop_absent_classes=True, attribute_change="to_unit_interval", dataset="DeepFashion")
    assert (data.regions.n, data.name) == (25, "DeepFashion")
    rows = np.array([24, 6, 7, 10, 9, 15, 14, 19, 18, 0, 24])
    assert np.array_equal(data.regions.read(rows), maps[rows])
    # Classes 1, 2, 3, 10 become 0, 1, 2, 3; groups come in the order of numbers, not of text.
    assert data.labels.tolist() == [0] * 7 + [1] * 3 + [3] * 5 + [0, 3, 1, 0] + [2] * 6
    assert data.counts == {"trainval": 15, "test_seen": 4, "test_unseen": 6}
    assert data.locations["test_unseen"].tolist() == list(range(19, 25))
    assert data.image_files[7] == "img/train/2_0.jpg" and data.image_files[24] == "img/test_unseen_5.jpg"
    with h5py.File(path) as file:
        att = (file["att"][()][[1, 2, 3, 10]] + 1) / 2
    assert np.allclose(data.attributes, att / np.linalg.norm(att, axis=1, keepdims=True), atol=1e-6)
    assert any("8 of 12 classes have no sample" in note for note in data.notes)
    assert any("Repack" in note for note in data.notes)
    stage = data.stage("test")
    assert stage.seen_classes.tolist() == [0, 1, 3] and stage.unseen_classes.tolist() == [2]
    with pytest.raises(InputError, match="8 of 12 classes, e.g. class 1"):
        read_region_maps(path)


def test_what_is_read_is_what_was_written(ours: Path) -> None:
    data = read_region_maps(ours)
    assert (data.name, data.image_embedding, data.class_embedding, data.split_version) == ("SET", "maps", "att", "v2")
    assert (data.class_names, data.attribute_names, data.image_files) == (CLASSES, ATTRIBUTES, IMAGES)
    assert data.backbone == '{"name": "none"}' and data.notes == []
    assert isinstance(data.features, np.memmap) and np.array_equal(data.features, CONTENT["pooled"])
    assert np.array_equal(data.word_vectors, CONTENT["w2v_att"])
    att = CONTENT["att"] / np.linalg.norm(CONTENT["att"], axis=1, keepdims=True)
    assert np.allclose(data.attributes, att)
    original = np.maximum(CONTENT["original_att"], 0)
    changed = read_region_maps(ours, attributes="original_att", attribute_change="negative_to_zero").attributes
    assert np.allclose(changed, original / np.linalg.norm(original, axis=1, keepdims=True), atol=1e-6)


@pytest.mark.parametrize("stage_name", ["test", "validation"])
def test_a_stage_knows_the_rows_of_its_samples(ours: Path, stage_name: str) -> None:
    data = read_region_maps(ours)
    stage = data.stage(stage_name, "none", seed=5)
    expected = (
        data.stage_locations("validation", 5)
        if stage_name == "validation"
        else [CONTENT[f"{key}_loc"] for key in ("trainval", "test_seen", "test_unseen")]
    )
    for name, rows in zip(("train", "test_seen", "test_unseen"), expected):
        samples = getattr(stage, name)
        assert stage.rows[name].tolist() == rows.tolist()
        assert np.array_equal(samples.labels, CONTENT["labels"][rows])
        assert np.array_equal(samples.features, CONTENT["pooled"][rows])
    assert stage.feature_dim == D
    moved = stage.to(torch.device("meta"))
    assert moved.word_vectors.device.type == moved.train.labels.device.type == "meta"
    assert moved.rows["train"].device.type == "cpu" and moved.regions is data.regions
    if stage_name == "validation":
        assert set(np.concatenate(expected)) <= set(CONTENT["trainval_loc"])


def test_baselines_run_on_the_pooled_features_and_say_when_there_are_none(tmp_path: Path) -> None:
    data = read_region_maps(write_ours(tmp_path / "maps.hdf5"))
    results = run_baselines(data.stage("validation"), data.stage("test"))
    assert len(results) == 4 and min(result.t1 for result in results) > 0.6
    bare = read_region_maps(write_release(tmp_path / "release.hdf5"))
    assert bare.features.shape == (N, 0) and any("no pooled" in note for note in bare.notes)
    with pytest.raises(InputError, match="must have pooled features"):
        run_baselines(bare.stage("validation"), bare.stage("test"))


def test_a_file_of_the_release_is_read_as_it_is(tmp_path: Path) -> None:
    data = read_region_maps(write_release(tmp_path / "release.hdf5"))
    assert data.split_version == "none" and any("seeded draw" in note for note in data.notes)
    assert any("Repack it once: zslab repack " in note for note in data.notes)
    assert data.class_names[8] == "class 9" and data.attribute_names[4] == "attribute 5" and data.image_files is None
    (batch,) = batches(data.regions, [ROWS])
    assert np.array_equal(batch, CONTENT["feature_map"][ROWS].reshape(-1, D, 6).transpose(0, 2, 1).astype(np.float32))


def test_lists_attributes_and_word_vectors_may_come_from_other_files(tmp_path: Path) -> None:
    path = write_release(tmp_path / "release.hdf5")
    unseen = np.flatnonzero(CONTENT["labels"] == 0)
    train, val = (np.flatnonzero((CONTENT["labels"] >= low) & (CONTENT["labels"] < high)) for low, high in ((1, 6), (6, 9)))
    split = {
        "att": CONTENT["att"].T ** 2,
        "trainval_loc": np.concatenate([train, val]) + 1,
        "train_loc": train + 1,
        "val_loc": val + 1,
        "test_loc": unseen + 1,
        "allclasses_names": np.array([[c] for c in CLASSES], dtype=object),
    }
    scipy.io.savemat(tmp_path / "standard_splits.mat", split)
    np.save(tmp_path / "vectors.npy", np.ones((A, 3)))
    files = {"split_file": tmp_path / "standard_splits.mat", "word_vector_file": tmp_path / "vectors.npy"}
    data = read_region_maps(path, **files, standard_split=True, dataset="CUB")
    assert data.class_names == CLASSES and data.class_embedding == "standard" and data.split_version == "v2"
    assert np.array_equal(data.word_vectors, np.ones((A, 3))) and data.word_vectors.dtype == np.float32
    squares = CONTENT["att"] ** 2
    assert np.allclose(data.attributes, squares / np.linalg.norm(squares, axis=1, keepdims=True))
    assert data.counts == {"trainval": 64, "test_unseen": 8, "train": 40, "val": 24, "test_seen": 0}
    assert not any("Proposed Split" in note for note in data.notes)
    stage = data.stage("test")
    assert len(stage.test_seen) == len(stage.rows["test_seen"]) == 0 and stage.unseen_classes.tolist() == [0]
    assert stage.seen_classes.tolist() == list(range(1, 9))
    assert data.stage("validation").unseen_classes.tolist() == [6, 7, 8]
    with pytest.raises(InputError, match="test_seen_loc, test_unseen_loc.*standard_split"):
        read_region_maps(path, split_file=tmp_path / "standard_splits.mat")
    with pytest.raises(InputError, match="must have (test samples of seen classes|pooled features)"):
        run_baselines(data.stage("validation"), stage)


def spoiled(name: str, place: tuple[int, ...], value: float) -> np.ndarray:
    array = CONTENT[name].astype(np.float64)
    array[place] = value
    return array


REFUSALS = {
    "too few labels": ({"labels": CONTENT["labels"][:-1]}, ["labels", "(71,)", "72"]),
    "negative label": ({"labels": CONTENT["labels"] - 1}, ["labels", "-1 to 7"]),
    "1-based labels": ({"labels": CONTENT["labels"] + 1}, ["0..8", "got label 9"]),
    "1-based list": ({"test_unseen_loc": np.array([N])}, ["test_unseen_loc", "0 and 71", "1-based"]),
    "no list": ({"trainval_loc": None}, ["trainval_loc"]),
    "NaN in att": ({"att": spoiled("att", (4, 1), np.nan)}, ["attribute vector", "class 5"]),
    "att of other classes": ({"att": np.ones((8, A))}, ["0..7", "label 8"]),
    "vectors of other attributes": ({"w2v_att": np.ones((A + 1, V))}, ["w2v_att", "(5, any)", "(6, 4)"]),
    "att transposed": ({"att": CONTENT["att"].T}, ["w2v_att", "(9, any)", "(5, 4)"]),
    "attribute without vector": ({"w2v_att": spoiled("w2v_att", (3,), 0)}, ["w2v_att", "attribute 4"]),
    "class without samples": ({"att": np.ones((10, A))}, ["1 of 10", "class 10"]),
    "NaN in pooled": ({"pooled": spoiled("pooled", (70, 3), np.nan)}, ["pooled", "NaN"]),
    "pooled of others": ({"pooled": np.ones((3, 7))}, ["pooled", "(3, 7)"]),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_bad_content_is_refused_with_place_and_value(tmp_path: Path, case: str) -> None:
    changes, words = REFUSALS[case]
    path = write_release(tmp_path / "release.hdf5", **changes)
    with pytest.raises(InputError) as caught:
        read_region_maps(path).stage("test")
    for word in [*words, "release.hdf5", "(got "]:
        assert word in str(caught.value), str(caught.value)


@pytest.mark.parametrize("name", ["pooled", "labels", "att", "w2v_att", "train_loc", "feature_map"])
@pytest.mark.parametrize("kind", ["S3", h5py.regionref_dtype, np.dtype([("a", "f4")]), h5py.string_dtype(), "c8"])
def test_an_array_of_another_kind_is_refused(ours: Path, name: str, kind: object) -> None:
    with h5py.File(ours, "r+") as file:
        shape = file[name].shape
        del file[name]
        file.create_dataset(name, shape, kind)
    with pytest.raises(InputError):
        read_region_maps(ours).stage("test")


def test_attributes_without_a_word_vector_are_noted_where_allowed(tmp_path: Path) -> None:
    path = write_release(tmp_path / "release.hdf5", w2v_att=spoiled("w2v_att", (3,), 0))
    dataset = read_region_maps(path, allow_missing_vectors=True)
    assert (dataset.word_vectors[3] == 0).all()
    assert "1 attributes have no word vector and start from zero, the first is attribute 4." in dataset.notes
    path = write_release(tmp_path / "nan.hdf5", w2v_att=spoiled("w2v_att", (2, 1), np.nan))
    with pytest.raises(InputError, match=r"w2v_att.*\(3, 2\)"):
        read_region_maps(path, allow_missing_vectors=True)


def write_split(path: Path, names: list[str], **changes: np.ndarray) -> Path:
    lists = {key: CONTENT[key][:, None] + 1 for key in CONTENT if key.endswith("_loc")}
    cells = np.array([[name] for name in names], dtype=object)
    scipy.io.savemat(path, {"att": CONTENT["att"].T, "allclasses_names": cells, **lists} | changes)
    return path


def test_the_classes_of_a_split_file_are_matched_by_name(ours: Path, tmp_path: Path) -> None:
    order = np.random.default_rng(2).permutation(9)
    extra = np.arange(1.0, A + 1)[:, None]  # an unseen class without images
    split = write_split(
        tmp_path / "att_splits.mat",
        ["heron", *(CLASSES[k].replace(" ", "_").upper() for k in order)],
        att=np.hstack([extra, CONTENT["att"][order].T]),
        unseen_classes=np.array([[1]]),
    )
    data, expected = read_region_maps(ours, split_file=split), read_region_maps(ours)
    assert np.allclose(data.attributes[:9], expected.attributes) and np.array_equal(data.labels, expected.labels)
    assert data.class_names == [*(name.replace(" ", "_").upper() for name in CLASSES), "heron"]
    assert data.unseen_classes.tolist() == [9] and np.allclose(data.attributes[9], extra[:, 0] / np.linalg.norm(extra))
    with pytest.raises(InputError, match="att_splits.mat.*without bird 3"):
        read_region_maps(ours, split_file=write_split(split, [*CLASSES[:3], "crow", *CLASSES[4:]]))
    others = read_region_maps(ours, split_file=write_split(split, list("abcdefghi")))
    assert others.class_names == list("abcdefghi") and any("other names" in note for note in others.notes)
