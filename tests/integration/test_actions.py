"""The action tree as a user meets it: flags against the published settings, files, errors, splits, sweeps to a report."""

import json
import re
import runpy
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.io
import torch

from zslab import launch as launcher
from zslab.config import as_arguments
from zslab.data import xlsa17 as action_files
from zslab.data.formats.matfile import read_mat
from zslab.data.splits import random_class_split
from zslab.data.xlsa17 import shared_features
from zslab.errors import InputError
from zslab.features import splits_command
from zslab.features.text import TextRecord
from zslab.features.word_vectors import class_vectors, clean_name
from zslab.plan import load_launcher, run_folder
from zslab.report.runs import write_runs_report
from zslab.results.runs import read_runs
from zslab.results.table import build_variants
from zslab.utils.flags import format_numbers, parse_numbers

from helpers import configs
from helpers.action_features import write_features
from helpers.commands import train
from helpers.configs import read_dataset
from helpers.project import PROJECT, tree_modules
from helpers.results import read_rows, result_json

SCRIPTS = PROJECT / "zero-shot-actions" / "action-scripts"
# fmt: off
TINY_FLAGS = dict(
    ngh=8, ndh=8, nz=4, nepoch=1, batch_size=10, critic_iter=1, syn_num=4, classifier_epochs=2, ood_epochs=2, ood_hidden=4,
    device="cpu", threads=1,
)
COMMON = dict(
    gammaD=10, gammaG=10, nepoch=200, ngh=4096, ndh=4096, lambda1=10, critic_iter=5, batch_size=64, lr=1e-4, dec_lr=1e-4,
    recons_weight=0.1, a1=1, a2=1, feedback_loop=2, encoded_noise=True, preprocessing=True, bce_att=True, manualSeed=806,
    classifier_lr=1e-3, classifier_epochs=25, gzsl=True, gzsl_od=True, ood_threshold="release", ood_epochs=50, ood_lr=1e-3,
    ood_batch_size=64, ood_hidden=512, split=1, image_embedding="i3d", class_embedding="att", freeze_dec=False, beta1=0.5,
    transform=True, standardization=False, stale_feedback=False, eval_every=1, select="none",
)
# fmt: on
PUBLISHED = {
    "hmdb51": COMMON | {"dataset": "hmdb_i3d", "syn_num": 1200, "feed_lr": 1e-4, "nz": 300, "manual_att": False},
    "ucf101": COMMON | {"dataset": "ucf101_i3d", "syn_num": 600, "feed_lr": 1e-5, "nz": 115, "manual_att": True},
}


@pytest.fixture
def actions() -> Iterator[SimpleNamespace]:
    """The modules of zero-shot-actions."""
    names = ("config", "model", "classifier", "classifier_entropy", "train_tfvaegan")
    with tree_modules("zero-shot-actions") as load:
        yield SimpleNamespace(**{name: load(name) for name in names})


def make_splits(root: Path, dataset: str = "hmdb_i3d", **flags) -> None:
    splits_command.make_splits(splits_command.SplitsConfig(dataset=dataset, dataroot=root, **flags))


@pytest.fixture
def root(tmp_path: Path, actions) -> Path:
    """A dataroot with both data sets in the published layout, 2 splits each, and manual attributes."""
    for name in ("hmdb_i3d", "ucf101_i3d"):
        write_features(tmp_path / name)
        make_splits(tmp_path, name, class_vectors=tmp_path / name / "vectors.npy", splits="1-2")
    np.save(tmp_path / "ucf101_i3d" / "ucf101_manual_att.npy", np.random.default_rng(1).random((8, 7)))
    return tmp_path


def config_of(actions, root: Path, **changes):
    flags = {"dataset": "hmdb_i3d", "dataroot": root, "output": root / "runs", "split": 1} | TINY_FLAGS | changes
    return replace(configs.actions(), **flags)


# Flags ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PUBLISHED)
def test_launchers_pass_the_published_settings(actions, name: str) -> None:
    config = load_launcher(SCRIPTS / f"run_{name}_tfvaegan.py").config()
    expected = PUBLISHED[name]
    assert {key: getattr(config, key) for key in expected} == expected
    zsl, gate = actions.classifier.build_heads(config)
    assert gate.unseen_head is zsl and gate.rule == "release"
    for head in (zsl, gate.seen_head):
        assert (head.epochs, head.lr, head.batch_size) == (25, 1e-3, expected["syn_num"])
    detector = gate.detector
    assert (detector.epochs, detector.lr, detector.batch_size, detector.hidden_dim) == (50, 1e-3, 64, 512)


@pytest.mark.parametrize("bce", [True, False])
def test_networks_are_built_as_the_table_says(actions, root, bce: bool) -> None:
    config = config_of(actions, root, bce_att=bce, nz=None)
    data = read_dataset(config).stage("test")
    networks = actions.model.build_networks(config, data)
    a, h = networks.decoder(torch.rand(3, 12))
    assert a.shape == (3, 5) and h.shape == (3, 8)
    assert ((a > 0) & (a < 1)).all() if bce else torch.allclose(a.norm(dim=1), torch.ones(3))
    assert networks.encoder.mean.out_features == 5


def test_heads_with_and_without_gate(actions, root) -> None:
    build = actions.classifier.build_heads
    assert build(config_of(actions, root, gzsl=False))[1] is None
    assert type(build(config_of(actions, root, gzsl_od=False))[1]).__name__ == "SoftmaxHead"
    assert type(build(config_of(actions, root))[1]).__name__ == "GatedClassifier"


# Files and errors -----------------------------------------------------------------------------------------------------


def test_published_and_plain_layout_are_read(actions, root) -> None:
    dataset = read_dataset(config_of(actions, root, split=2))
    assert dataset.features.shape == (48, 12) and dataset.attributes.shape == (8, 5)
    assert [len(np.unique(dataset.labels[dataset.locations[part]])) for part in ("trainval", "test_unseen")] == [4, 4]
    manual = read_dataset(config_of(actions, root, dataset="ucf101_i3d", manual_att=True))
    assert manual.attributes.shape == (8, 7) and manual.class_embedding == "manual_att"
    assert np.allclose(np.linalg.norm(manual.attributes, axis=1), 1)
    split_file = root / "hmdb_i3d" / "split_1" / "att_splits.mat"
    split_file.rename(root / "hmdb_i3d" / "att_splits.mat")
    assert read_dataset(config_of(actions, root, split=None)).name == "hmdb_i3d"


def both_sides(root: Path) -> None:
    path = root / "hmdb_i3d" / "split_1" / "att_splits.mat"
    content = {key: value for key, value in scipy.io.loadmat(path).items() if not key.startswith("__")}
    moved, content["test_unseen_loc"] = content["test_unseen_loc"][:1], content["test_unseen_loc"][1:]
    content["trainval_loc"] = np.vstack([content["trainval_loc"], moved])
    scipy.io.savemat(path, content)


def manual(array):
    def save(root: Path) -> None:
        path = root / "ucf101_i3d" / "ucf101_manual_att.npy"
        path.unlink() if array is None else np.save(path, array)

    return save


UCF = {"dataset": "ucf101_i3d", "manual_att": True}
MANUAL = ["ucf101_manual_att.npy"]
WRONG = {
    "class on both sides": ({}, both_sides, ["trainval_loc and test_unseen_loc", "got 1"]),
    "split that is not there": ({"split": 17}, None, ["--split", "got 17", "one of 1-2"]),
    "no split named": ({"split": None}, None, ["--split", "one of 1-2", "pass --split 1"]),
    "no splits at all": ({"class_embedding": "w2v"}, None, ["split_<k> with w2v_splits.mat", "make_splits.py"]),
    "manual attributes missing": (UCF, manual(None), [*MANUAL, "No such file", "--no_manual_att"]),
    "manual attributes of few": (UCF, manual(np.ones((5, 7))), [*MANUAL, "(8, any)", "(5, 7)", "--no_manual_att"]),
    "manual attributes transposed": (UCF, manual(np.ones((7, 8))), [*MANUAL, "(7, 8)", "Save the transpose"]),
    "manual attributes empty": (UCF, manual(np.zeros((8, 7))), [*MANUAL, "class 1"]),
    "no folder": ({"dataset": "hmdb"}, None, ["hmdb", "data/README.md"]),
    "no features": ({"image_embedding": "r3d"}, None, ["r3d.mat", "only i3d.mat"]),
}


@pytest.mark.parametrize("changes,damage,words", WRONG.values(), ids=WRONG)
def test_what_cannot_be_read_is_named(actions, root, changes, damage, words) -> None:
    if damage:
        damage(root)
    with pytest.raises(InputError) as raised:
        read_dataset(config_of(actions, root, **changes))
    for word in words:
        assert word in str(raised.value)


def test_flags_that_contradict_each_other_are_refused(actions, root, capsys) -> None:
    assert train(config_of(actions, root, ood_threshold="val"), actions.train_tfvaegan.METHOD) == 1
    assert "--select val" in capsys.readouterr().err
    assert train(config_of(actions, root, ood_epochs=0), actions.train_tfvaegan.METHOD) == 1
    assert "--ood_epochs" in capsys.readouterr().err
    config_of(actions, root, ood_threshold="val", gzsl_od=False).check()


def test_features_are_read_once_and_again_when_they_change(tmp_path, monkeypatch) -> None:
    labels, file, cache = write_features(tmp_path), tmp_path / "i3d.mat", tmp_path / "cache"
    features, found = shared_features(file, cache)
    assert isinstance(features, np.memmap) and (found == labels).all()
    assert np.allclose(features, read_mat(file, ["features"])["features"].T)
    calls, real = [], action_files.read_features
    monkeypatch.setattr(action_files, "read_features", lambda path: calls.append(path) or real(path))
    shared_features(file, cache)
    assert not calls
    write_features(tmp_path, feature_dim=9)
    assert shared_features(file, cache)[0].shape == (48, 9) and calls == [file]


@pytest.mark.parametrize("part", ["features.npy", "labels.npy"])
@pytest.mark.parametrize("length", [0, 20, -8])
def test_a_cache_that_is_cut_short_is_built_again(tmp_path, part: str, length: int) -> None:
    write_features(tmp_path)
    expected = [np.array(array) for array in shared_features(tmp_path / "i3d.mat", tmp_path / "cache")]
    (file,) = (tmp_path / "cache").glob(f"*-{part}")
    whole = file.read_bytes()
    file.write_bytes(whole[:length])
    for array, expected_array in zip(shared_features(tmp_path / "i3d.mat", tmp_path / "cache"), expected):
        np.testing.assert_array_equal(array, expected_array)
    assert file.read_bytes() == whole


# Splits ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_classes,expected", [(51, (26, 25)), (101, (51, 50)), (27, (14, 13)), (4, (2, 2))])
def test_splits_are_disjoint_and_half_and_half(n_classes: int, expected: tuple[int, int]) -> None:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(1, n_classes + 1), 10))
    drawn = [
        random_class_split(labels, np.random.default_rng((3, k)), seen=0.5, hold_out=0.2, validation=0.25) for k in (1, 1, 2)
    ]
    for split in drawn:
        parts = [split[key] for key in ("trainval_loc", "test_seen_loc", "test_unseen_loc")]
        assert sorted(np.concatenate(parts)) == list(range(1, len(labels) + 1))  # disjoint, and nothing is left out
        classes = [set(labels[part - 1]) for part in parts]
        assert (len(classes[0]), len(classes[2])) == expected and classes[0] == classes[1] and not classes[0] & classes[2]
        counts = np.bincount(labels[split["test_seen_loc"] - 1], minlength=n_classes + 1)
        assert set(counts[list(classes[0])]) == {2}  # 20 % of 10
        train, val = split["train_loc"], split["val_loc"]
        assert sorted([*train, *val]) == sorted(split["trainval_loc"])
        assert not set(labels[train - 1]) & set(labels[val - 1])
        assert len(set(labels[val - 1])) == max(1, round(0.25 * expected[0]))
    assert all((drawn[0][key] == drawn[1][key]).all() for key in drawn[0])
    assert set(drawn[0]["test_unseen_loc"]) != set(drawn[2]["test_unseen_loc"]) or n_classes == 4


def test_labels_that_cannot_be_split_are_refused() -> None:
    shares = {"seen": 0.5, "hold_out": 0.2, "validation": 0.25}
    for labels, word in ((np.array([1, 1, 2, 2]), "1 seen classes of 2"), (np.arange(1, 9), "got 1 sample of")):
        with pytest.raises(InputError, match=word):
            random_class_split(labels, np.random.default_rng(0), **shares)


def test_unseen_classes_can_be_named(actions, root) -> None:
    folder, names = root / "hmdb_i3d", [f"action {i}" for i in range(1, 9)]
    (folder / "names.txt").write_text("\n".join(names), encoding="utf-8-sig")
    common = {"class_vectors": folder / "vectors.npy", "class_names": folder / "names.txt", "splits": "7-8"}
    make_splits(root, **common, unseen=("action 3", "8"))
    labels = read_mat(folder / "i3d.mat", ["labels"])["labels"].ravel()
    held_out = []
    for number in (7, 8):
        split = read_mat(
            folder / f"split_{number}" / "att_splits.mat", ["test_unseen_loc", "test_seen_loc", "allclasses_names"]
        )
        assert set(labels[split["test_unseen_loc"].ravel().astype(int) - 1]) == {3, 8}
        assert list(split["allclasses_names"]) == names
        held_out.append(set(split["test_seen_loc"].ravel()))
    assert held_out[0] != held_out[1]
    with pytest.raises(InputError, match="--unseen: .*got action 9, swim"):
        make_splits(root, **common, unseen=("action 9", "action 1", "swim"), overwrite=True)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"seen": float("nan")}, "--seen: the number must"),
        ({"hold_out": 1.0}, "--hold_out: the number must"),
        ({"validation": -1.0}, "--validation: the number must"),
        ({"seed": -1}, "--seed: the number must"),
        ({"class_embedding": "../x"}, "--class_embedding: the name must"),
        ({"image_embedding": ""}, "--image_embedding: the name must"),
    ],
)
def test_flags_of_splits_that_cannot_be_are_refused(actions, root, flags, words) -> None:
    with pytest.raises(InputError, match=words):
        make_splits(root, **{"class_vectors": root / "hmdb_i3d" / "vectors.npy", "splits": "1"} | flags)


def test_unseen_classes_are_drawn_outside_the_pretraining(actions, root) -> None:
    folder, names = root / "hmdb_i3d", ["Archery", "Hug", "Pushups", "Kick", "Horse Riding", "Wave", "Skiing", "Smile"]
    (folder / "names.txt").write_text("\n".join(names))
    (folder / "list.txt").write_text("archery\npush up\nriding or walking with horse\n")
    common = {"class_vectors": folder / "vectors.npy", "class_names": folder / "names.txt", "splits": "1-6"}
    common |= {"exclude_pretrained": str(folder / "list.txt"), "class_embedding": "clean"}
    make_splits(root, **common, seen=0.6)
    labels = read_mat(folder / "i3d.mat", ["labels"])["labels"].ravel()
    drawn = []
    for number in range(1, 7):
        unseen = read_mat(folder / f"split_{number}" / "clean_splits.mat", ["test_unseen_loc"])["test_unseen_loc"]
        drawn.append(tuple(np.unique(labels[unseen.ravel().astype(int) - 1])))
    assert {len(unseen) for unseen in drawn} == {3} and set().union(*drawn) == {2, 4, 6, 7, 8} and len(set(drawn)) > 1
    with pytest.raises(InputError, match="6 classes must .*got 5 of 8"):
        make_splits(root, **common, seen=0.2, overwrite=True)
    with pytest.raises(InputError, match="--unseen must not name the classes"):
        make_splits(root, **common, unseen=("Hug",), overwrite=True)


def test_splits_keep_the_word_vectors_that_later_actions_need(actions, root) -> None:
    folder = root / "hmdb_i3d"
    (folder / "names.txt").write_text("ride\nbike\nride bike\nhorse\nride horse\nbike horse\nhorse ride\nbike ride\n")
    common = {"class_names": folder / "names.txt", "class_embedding": "words"}
    make_splits(root, **common, word_vectors=write_words(folder / "w.txt"), splits="1")
    split = read_mat(folder / "split_1" / "words_splits.mat", ["att", "text_encoder"])
    record = TextRecord.of_split(split["text_encoder"])
    expected = split["att"][:, 4] / np.linalg.norm(split["att"][:, 4])
    np.testing.assert_allclose(record.encoder()([record.text_of("ride_horse")])[0], expected, atol=1e-6)


@pytest.mark.parametrize(
    "changes,words",
    [
        ({}, "--class_vectors / --word_vectors"),
        ({"word_vectors": "w.txt"}, "--class_names"),
        ({"class_vectors": "gone.npy"}, "gone.npy"),
        ({"splits": "3-1"}, "--splits: "),
    ],
)
def test_splits_that_cannot_be_made_are_refused(actions, tmp_path, changes, words) -> None:
    write_features(tmp_path / "X")
    changes = {key: value if key == "splits" else tmp_path / value for key, value in changes.items()}
    with pytest.raises(InputError, match=words):
        make_splits(tmp_path, "X", **changes)
    assert not list(tmp_path.glob("X/split_*"))


def test_names_and_vectors_are_matched_by_name(actions, tmp_path, capsys) -> None:
    """The feature file counts its classes in natural order, a list and named vectors in others."""
    folder, names = tmp_path / "X", [f"Action_{i}" for i in range(3, 11)]
    write_features(folder)
    cells = np.array(names, dtype=object)[:, None]
    content = read_mat(folder / "i3d.mat", ["features", "labels"])
    scipy.io.savemat(folder / "i3d.mat", content | {"allclasses_names": cells})
    order = np.argsort(names)  # Action_10 comes first
    assert order[0] == 7
    (folder / "names.txt").write_text("\n".join(f"action {names[k][7:]}" for k in order))
    stored = {"att": np.arange(16.0).reshape(2, 8)[:, ::-1] + 1, "allclasses_names": cells[::-1]}
    scipy.io.savemat(folder / "named.mat", stored)
    common = {"dataset": "X", "splits": "1", "class_names": folder / "names.txt"}
    make_splits(tmp_path, **common, class_vectors=folder / "named.mat")
    split = read_mat(folder / "split_1" / "att_splits.mat", ["att", "allclasses_names"])
    assert list(split["allclasses_names"]) == [f"action {i}" for i in range(3, 11)]
    assert np.array_equal(split["att"], np.arange(16.0).reshape(2, 8) + 1)
    assert "Note" not in capsys.readouterr().out
    make_splits(tmp_path, **common, class_vectors=folder / "vectors.npy", overwrite=True)
    assert "Note: vectors.npy has no names: its rows are those of names.txt." in capsys.readouterr().out
    split = read_mat(folder / "split_1" / "att_splits.mat", ["att", "allclasses_names"])
    assert list(split["allclasses_names"]) == [f"action {i}" for i in range(3, 11)]
    np.testing.assert_allclose(split["att"].T[order], np.load(folder / "vectors.npy"))
    (folder / "names.txt").write_text("\n".join(["run", *(f"action {i}" for i in range(4, 11))]))
    with pytest.raises(InputError, match=r"names\.txt.*without Action_3; with the unknown run"):
        make_splits(tmp_path, **common, class_vectors=folder / "named.mat", overwrite=True)


def test_names_are_cleaned() -> None:
    assert clean_name("ApplyEyeMakeup") == clean_name("003.apply_eye-makeup") == ["apply", "eye", "makeup"]
    assert clean_name("TaiChi") == ["tai", "chi"] and clean_name("brush_hair") == ["brush", "hair"]
    assert clean_name("YoYo 2") == ["yo", "yo", "2"] and clean_name("TVShow") == ["tv", "show"]
    assert clean_name("Boeing_747-400") == ["boeing", "747", "400"] and clean_name("1.5 mm") == ["1", "5", "mm"]
    assert clean_name("कि_คำ") == ["कि", "คำ"]


WORDS = {"ride": [1.0, 0.0], "bike": [0.0, 2.0], "Horse": [5.0, 5.0], "other": [9.0, 9.0]}


def write_words(path: Path) -> Path:
    path.write_text("".join(f"{word} {' '.join(map(str, vector))}\n" for word, vector in WORDS.items()))
    return path


@pytest.mark.parametrize("combine,ride_bike", [("mean", [0.5, 1.0]), ("sum", [1.0, 2.0])])
def test_class_vectors_from_words(tmp_path, combine, ride_bike) -> None:
    path = write_words(tmp_path / "w.txt")
    vectors, notes = class_vectors(["RideBike", "horse", "bike_unheard"], path, combine)
    assert vectors.tolist() == [ride_bike, [5.0, 5.0], [0.0, 2.0]]
    assert notes == ["bike_unheard: no vector for unheard"]
    with pytest.raises(InputError, match="every class name .*'Archery'"):
        class_vectors(["RideBike", "Archery"], path, combine)
    assert class_vectors(["Bike", "Bike 747"], path, combine)[1] == [
        "Bike 747: no vector for 747",
        "classes with the same vector cannot be told apart: Bike = Bike 747",
    ]


def test_numbers_as_people_write_them() -> None:
    assert parse_numbers("1-3, 7,2", "--splits") == [1, 2, 3, 7] and format_numbers([7, 3, 1, 2]) == "1-3,7"
    for text in ("", "0-2", "3-1", "a", "1--2", "1,"):
        with pytest.raises(InputError, match="--splits: "):
            parse_numbers(text, "--splits")


# Runs -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes,groups",
    [
        ({"ood_threshold": "val", "select": "val"}, {"zsl", "gzsl", "gate"}),
        ({"gzsl_od": False, "select": "val", "bce_att": False}, {"zsl", "gzsl", "calibrated"}),
        ({"gzsl": False}, {"zsl"}),
    ],
)
def test_runs_with_and_without_gate(actions, root, monkeypatch, changes, groups) -> None:
    monkeypatch.setattr("zslab.report.run.write_report", lambda folder: folder / "report.html")
    config = config_of(actions, root, **changes)
    assert train(config, actions.train_tfvaegan.METHOD) == 0
    folder = run_folder(config)
    (record,) = folder.read_metrics()
    assert groups == record.metrics.keys() & {"zsl", "gzsl", "gate", "calibrated"}
    rows = read_rows(folder.path)
    assert ("val + calibration" in rows) == ("calibrated" in groups)
    assert (rows["val"].T1 is not None) == (config.select == "val")
    assert (rows["last"].H is not None) == config.gzsl
    if "gate" in groups:
        chosen = folder.validation().read_metrics()[0].values("gzsl", "constant")
        assert any(record.values("gate", "threshold")[0] == pytest.approx(value * np.log(4), rel=1e-6) for value in chosen)
        arrays = np.load(folder.arrays)
        assert {
            f"{tag}_gate_{kind}" for tag in ("last", "val") for kind in ("entropy_seen", "entropy_unseen", "threshold")
        } <= set(arrays.files)


def test_the_comparison_of_gate_and_head_starts_from_what_the_run_measured(actions, root, monkeypatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    config = config_of(actions, root, report=False)
    assert train(config, actions.train_tfvaegan.METHOD) == 0
    folder = run_folder(config).path
    rows = runpy.run_path(str(PROJECT / "benchmarks" / "gate_on_off.py"))["measure"](folder, None)
    last = read_rows(folder)["last"]
    assert rows["gate, release"][:4] == pytest.approx((last.T1, last.acc_unseen, last.acc_seen, last.H))
    assert rows["one head, best on test"][3] >= rows["one head"][3]


def launch(name: str, *arguments: object) -> int:
    """A launcher in this process; the runs of a sweep are processes of their own."""
    return launcher.launch(load_launcher(SCRIPTS / f"run_{name}_tfvaegan.py"), list(map(str, arguments)))


def test_both_launchers_on_features_of_the_published_size(tmp_path, monkeypatch, capsys) -> None:
    """8192-d features: HMDB51 as a single run, UCF101 with manual attributes as a sweep that is stopped and continued."""
    for name in ("hmdb_i3d", "ucf101_i3d"):
        write_features(tmp_path / name, feature_dim=8192)
        make_splits(tmp_path, name, class_vectors=tmp_path / name / "vectors.npy", splits="1-2")
    np.save(tmp_path / "ucf101_i3d" / "ucf101_manual_att.npy", np.random.default_rng(1).random((8, 7)))
    flags = [*as_arguments(TINY_FLAGS), "--dataroot", tmp_path, "--output", tmp_path / "runs", "--no_baselines"]
    assert launch("hmdb51", *flags, "--split", 2) == 0
    (run,) = (tmp_path / "runs").glob("hmdb_i3d-*")
    result = json.loads((run / "result.json").read_text())
    assert result["config"]["split"] == 2 and result["data"]["feature_dim"] == 8192
    assert (run / "plots" / "gate.png").stat().st_size > 10_000
    assert "Out-of-distribution gate" in (run / "report.html").read_text()

    capsys.readouterr()
    assert launch("ucf101", *flags, "--splits", "1-2", "--workers", 2) == 0
    first = capsys.readouterr().out
    assert "2 of 2: split" in first and "; splits 1 and 2; " in first
    runs = sorted((tmp_path / "runs").glob("ucf101_i3d-*-split[12]-*"))
    assert len(runs) == 2
    marks = [json.loads((run / "result.json").read_text())["data"]["fingerprint"] for run in runs]
    assert (
        marks[0]["content"] == marks[1]["content"] and marks[0]["split"] != marks[1]["split"] and "different data" not in first
    )
    (sweep,) = (tmp_path / "runs").glob("ucf101_i3d-*-splits1-2-*")
    variant = next(variant for variant in build_variants(read_runs([sweep / "runs.json"])) if not variant.is_baseline)
    values = [read_rows(run)["last"].T1 for run in runs]
    assert list(variant.values("last", "T1").values()) == values
    summary = variant.summary("last", "T1")
    assert summary.mean == pytest.approx(np.mean(values)) and summary.sd == pytest.approx(np.std(values, ddof=1))
    collected = (sweep / "runs.json").read_text()
    page = (sweep / "report.html").read_text()
    assert all(f"../{run.name}/report.html" in page for run in runs)
    assert len(list((tmp_path / "runs" / "feature-cache").glob("ucf101*-features.npy"))) == 1

    # As if it had been stopped before the second split: only that one is run, and the table comes out the same.
    (runs[1] / "result.json").unlink()
    before = (runs[0] / "result.json").read_bytes()
    assert launch("ucf101", *flags, "--splits", "1-2", "--no_report") == 0
    assert "1 of them done before" in capsys.readouterr().out
    assert (runs[0] / "result.json").read_bytes() == before and (runs[1] / "result.json").exists()
    again = next(variant for variant in build_variants(read_runs([sweep / "runs.json"])) if not variant.is_baseline)
    assert again.rows == variant.rows and collected.count('"seconds"') == 2


def test_a_failed_run_stops_the_sweep_and_is_named(tmp_path, monkeypatch, capsys) -> None:
    write_features(tmp_path / "hmdb_i3d")
    make_splits(tmp_path, class_vectors=tmp_path / "hmdb_i3d" / "vectors.npy", splits="1")
    flags = [*as_arguments(TINY_FLAGS), "--dataroot", tmp_path, "--output", tmp_path / "runs", "--no_baselines"]
    assert launch("hmdb51", *flags, "--splits", "16-17", "--workers", 2) == 1
    captured = capsys.readouterr()
    assert re.search(r"failed +split 1[67]|split 1[67] failed", captured.out + captured.err)
    assert "--split: " in captured.out + captured.err


def test_dry_run_names_every_run_and_runs_nothing(tmp_path, capsys) -> None:
    assert launch("hmdb51", "--splits", "2-3", "--seeds", 1, 2, "--dry-run", "--output", tmp_path / "runs") == 0
    out = capsys.readouterr().out
    assert re.findall(r"split (\d), manualSeed (\d): ", out) == [("2", "1"), ("2", "2"), ("3", "1"), ("3", "2")]
    assert not (tmp_path / "runs").exists()
    assert launch("radar", "--partitions", 3, "--seeds", 1, "--dry-run", "--output", tmp_path / "runs") == 0
    assert re.findall(r"partition (\d), ", capsys.readouterr().out) == ["1", "2", "3"]
    for wrong in (("--splits", "0"), ("--partitions", "0"), ("--workers", "0")):
        assert launch("hmdb51", *wrong, "--dry-run") == 1
        assert wrong[0] in capsys.readouterr().err
    with pytest.raises(SystemExit):
        launch("hmdb51", "--spl", "1", "--dry-run")


def test_settings_come_after_the_launchers_flags_and_before_typed_ones(tmp_path, monkeypatch, capsys) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text("[flags]\nlr = 0.5\nsyn_num = 7\ngzsl = false\n")
    words = ("--settings", settings, "--syn_num", 8, "--dry-run", "--output", tmp_path / "runs")
    assert launch("hmdb51", *words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {"  lr = 0.5", "  syn_num = 8", "  gzsl = False", "  feed_lr = 0.0001"} <= set(lines)
    for text, message in (
        ("[flags]\nlearning_rate = 1\n", "learning_rate"),
        ("lr = 1\n", "[flags]"),
        ("[flags]\n", "[flags]"),
        ("flags = [", "a file of flags"),
    ):
        settings.write_text(text)
        assert launch("hmdb51", *words) == 1
        said = capsys.readouterr().err
        assert said.startswith(f"error: {settings}: ") and message in said


def test_a_sweep_over_splits_and_seeds_says_so(tmp_path) -> None:
    runs = []
    for split in (1, 2):
        for seed in (5, 6):
            run = tmp_path / f"{split}-{seed}"
            run.mkdir()
            rows = [{"rule": "last", "T1": 0.1 * split + 0.01 * seed}]
            value = result_json(variant="<b>", rows=rows, config={"split": split, "manualSeed": seed})
            (run / "result.json").write_text(json.dumps(value))
            runs.append(run)
    table = write_runs_report(tmp_path / "sweep", runs)
    assert "seeds 5 and 6; splits 1 and 2;" in table and "20.5 ±" in table and "(4)" in table
    page = (tmp_path / "sweep" / "report.html").read_text()
    assert "seed 6, split 2" in page and "&lt;b&gt;" in page and "<b>" not in page
