"""From images to files: layout, order, resuming after a kill, unreadable images, lists that do not match."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import scipy.io
import torch
from PIL import Image

from zslab.data.formats.matfile import read_mat
from zslab.data.region_dataset import read_region_maps
from zslab.data.resumable import ResumableRows
from zslab.data.xlsa17 import read_xlsa17
from zslab.errors import InputError
from zslab.features.backbones import BackboneSpec, load_backbone
from zslab.features.images import open_image

from helpers.damage import flip_bit
from helpers.project import PROJECT, tree_modules

try:
    import torchvision
except ImportError:
    torchvision = None

SCRIPT = PROJECT / "zero-shot-images" / "extract_features.py"
# In the order of the columns of att, which is not that of the folders.
CLASSES = ["003.Blue_Jay", "001.Red_Owl", "004.Grey_Gull", "002.Green_Kiwi"]
PER_CLASS = 4
N_ATTRIBUTES, WORD_DIM = 6, 5


@pytest.fixture
def birds(tmp_path: Path) -> SimpleNamespace:
    """Sixteen images in four folders, their list, and a split: 12 trainval and test_seen of three classes, 4 unseen."""
    generator = np.random.default_rng(0)
    lines, labels = [], []
    for folder in sorted(CLASSES):
        label = CLASSES.index(folder) + 1
        (tmp_path / "images" / folder).mkdir(parents=True)
        for number in range(PER_CLASS):
            name = f"{folder}/{number}.png"
            pixels = generator.integers(0, 256, (7, 9, 3), dtype=np.uint8) // 2 + 30 * label
            Image.fromarray(pixels).resize((90, 70)).save(tmp_path / "images" / name)
            lines.append(f"{name}\t{label}\tmore\n")
            labels.append(label)
    (tmp_path / "list.txt").write_text("".join(lines))
    labels = np.array(labels)
    unseen = np.flatnonzero(labels == 2)
    test_seen = np.flatnonzero(labels != 2)[::4]
    trainval = np.setdiff1d(np.arange(len(labels)), np.concatenate([unseen, test_seen]))
    attributes = generator.random((N_ATTRIBUTES, 4)) + 0.1
    dataset = tmp_path / "data" / "BIRDS"
    dataset.mkdir(parents=True)
    split = {
        "att": attributes,
        "original_att": 100 * attributes,
        "allclasses_names": np.array([[name] for name in CLASSES], dtype=object),
        "trainval_loc": trainval[:, None] + 1,
        "test_seen_loc": test_seen[:, None] + 1,
        "test_unseen_loc": unseen[:, None] + 1,
        "train_loc": trainval[labels[trainval] != 3][:, None] + 1,
        "val_loc": trainval[labels[trainval] == 3][:, None] + 1,
    }
    scipy.io.savemat(dataset / "att_splits.mat", split)
    (tmp_path / "attributes.txt").write_text("".join(f"{i + 1} has_color::{i}\n" for i in range(N_ATTRIBUTES)))
    np.save(tmp_path / "words.npy", generator.random((N_ATTRIBUTES, WORD_DIM)))
    return SimpleNamespace(
        root=tmp_path,
        images=tmp_path / "images",
        list=tmp_path / "list.txt",
        dataset=dataset,
        labels=labels,
        split=split,
        files=[line.split("\t")[0] for line in lines],
    )


@pytest.fixture
def script() -> Iterator[SimpleNamespace]:
    with tree_modules("zero-shot-images") as load:
        yield load("extract_features")


def config_of(script, birds, **changes):
    flags = dict(
        images=birds.images,
        image_list=birds.list,
        dataroot=birds.root / "data",
        dataset="BIRDS",
        backbone="descriptor",
        batch_size=5,
        device="cpu",
    )
    return script.ExtractConfig(**flags | changes)


def command(birds, *extra: str) -> list[str]:
    return [
        sys.executable,
        str(SCRIPT),
        "--images",
        str(birds.images),
        "--image_list",
        str(birds.list),
        "--dataroot",
        str(birds.root / "data"),
        "--dataset",
        "BIRDS",
        "--batch_size",
        "5",
        "--device",
        "cpu",
        *extra,
    ]


def run(birds, *extra: str) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command(birds, *extra), capture_output=True, text=True, env=environment, cwd=birds.root)


def content(birds, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Pooled vectors (N, P) and maps as the bits on disk."""
    with h5py.File(birds.dataset / f"feature_map_{name}_BIRDS.hdf5") as file:
        maps = file["feature_map"][()]
    return read_mat(birds.dataset / f"{name}.mat", ["features"])["features"].T, maps


def test_both_files_in_one_command(birds) -> None:
    result = run(birds, "--backbone", "descriptor", "--attribute_names", "attributes.txt", "--word_vectors", "words.npy")
    assert result.returncode == 0, result.stderr
    assert "16 images of 4 classes" in result.stdout
    assert {path.name for path in birds.dataset.iterdir()} == {
        "att_splits.mat",
        "descriptor.mat",
        "feature_map_descriptor_BIRDS.hdf5",
    }
    backbone = load_backbone(BackboneSpec("descriptor"))
    batch = torch.stack([backbone.prepare(open_image(birds.images / name)) for name in birds.files])
    expected_pooled, expected_maps = backbone.features(batch)
    pooled, maps = content(birds, "descriptor")
    np.testing.assert_allclose(pooled, expected_pooled, rtol=1e-6)
    assert maps.dtype == np.float16
    np.testing.assert_allclose(maps, expected_maps.half(), rtol=2e-3, atol=1e-6)

    stored = read_mat(birds.dataset / "descriptor.mat", ["image_files", "labels", "backbone", "allclasses_names"])
    assert stored["image_files"].tolist() == birds.files and stored["allclasses_names"].tolist() == CLASSES
    assert str(stored["backbone"].item()) == backbone.describe()
    data = read_xlsa17(birds.root / "data", "BIRDS", "descriptor", "att")
    np.testing.assert_array_equal(data.labels, birds.labels - 1)

    regions = read_region_maps(birds.dataset / "feature_map_descriptor_BIRDS.hdf5")
    np.testing.assert_array_equal(regions.features, pooled)
    np.testing.assert_array_equal(regions.labels, birds.labels - 1)
    for name in ("trainval", "test_seen", "test_unseen", "train", "val"):
        np.testing.assert_array_equal(np.sort(regions.locations[name]), birds.split[f"{name}_loc"].ravel() - 1)
    assert regions.class_names == CLASSES and regions.image_files == birds.files
    assert regions.attribute_names == [f"has_color::{i}" for i in range(N_ATTRIBUTES)]
    np.testing.assert_allclose(regions.word_vectors, np.load(birds.root / "words.npy"), rtol=1e-6)
    assert regions.backbone == backbone.describe()
    with h5py.File(birds.dataset / "feature_map_descriptor_BIRDS.hdf5") as file:
        assert file["feature_map"].chunks is None and file["feature_map"].compression is None
        np.testing.assert_allclose(file["att"][()], birds.split["att"].T)
        np.testing.assert_allclose(file["original_att"][()], birds.split["original_att"].T)


@pytest.mark.skipif(torchvision is None, reason="the extra `images` is not installed: no torchvision")
def test_an_untrained_network_by_command(birds) -> None:
    flags = [
        "--backbone",
        "mobilenet_v2",
        "--weights",
        "none",
        "--random_weights",
        "--resize",
        "64",
        "--crop",
        "64",
        "--padding",
        "tensorflow",
        "--normalization",
        "half",
        "--region_type",
        "float32",
        "--workers",
        "3",
    ]
    result = run(birds, *flags)
    assert result.returncode == 0, result.stderr
    assert "UNTRAINED" in result.stdout and "1280 x 2 x 2" in result.stdout
    spec = BackboneSpec("mobilenet_v2", "tensorflow", "half", 64, 64)
    backbone = load_backbone(spec, "none", random_weights=True)
    batch = torch.stack([backbone.prepare(open_image(birds.images / name)) for name in birds.files])
    expected_pooled, expected_maps = backbone.features(batch)
    pooled, maps = content(birds, "mobilenet_v2")
    np.testing.assert_allclose(pooled, expected_pooled, rtol=1e-3, atol=1e-3 * float(expected_pooled.max()))
    np.testing.assert_allclose(maps, expected_maps, rtol=1e-3, atol=1e-3 * float(expected_maps.max()))
    described = json.loads(read_mat(birds.dataset / "mobilenet_v2.mat", ["backbone"])["backbone"].item())
    assert described == {"spec": spec.to_json(), "weights": "random weights, seed 0", "digest": backbone.digest}


def test_an_extraction_that_was_killed_goes_on_to_the_same_bits(birds, script) -> None:
    slow = birds.root / "slow.py"
    slow.write_text(
        "import runpy, sys, time\n"
        "from zslab.features import backbones\n"
        "whole = backbones._Descriptor.features\n"
        "backbones._Descriptor.features = lambda self, batch: (time.sleep(0.5), whole(self, batch))[1]\n"
        "sys.argv = sys.argv[1:]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    partial = birds.dataset / "descriptor-partial.jsonl"
    arguments = command(birds, "--backbone", "descriptor")
    process = subprocess.Popen(
        [arguments[0], str(slow), *arguments[1:]],
        env=os.environ | {"PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while not (partial.exists() and partial.read_bytes().count(b"\n") >= 6) and time.monotonic() < deadline:
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = partial.read_bytes().count(b"\n") - 1
    assert 5 <= finished < 16 and not (birds.dataset / "descriptor.mat").exists()

    with pytest.raises(InputError, match="an unfinished extraction.*--resume"):
        script.extract_features(config_of(script, birds))
    with pytest.raises(InputError, match="has other settings.*Repeat"):
        script.extract_features(config_of(script, birds, resume=True, crop=100))
    assert run(birds, "--backbone", "descriptor", "--resume").returncode == 0
    resumed = content(birds, "descriptor")
    with pytest.raises(InputError, match="exists already.*--overwrite"):
        script.extract_features(config_of(script, birds))
    assert script.extract_features(config_of(script, birds, overwrite=True)) == 0
    for one, other in zip(resumed, content(birds, "descriptor")):
        assert one.tobytes() == other.tobytes()
    assert not list(birds.dataset.glob("*partial*"))


def test_only_what_is_missing_is_computed_again(birds, script, monkeypatch) -> None:
    """Stopped in the third batch, the first two are not computed again; an image that changed since is."""
    backbone, sizes = load_backbone(BackboneSpec("descriptor")), []
    whole = backbone.features

    def features(batch):
        sizes.append(len(batch))
        if len(sizes) == 3:
            raise KeyboardInterrupt
        return whole(batch)

    backbone.features = features
    monkeypatch.setattr(script, "load_backbone", lambda *args, **kwargs: backbone)
    with pytest.raises(KeyboardInterrupt):
        script.extract_features(config_of(script, birds))
    changed = birds.images / birds.files[7]
    Image.new("RGB", (40, 40), "orange").save(changed)
    assert script.extract_features(config_of(script, birds, resume=True)) == 0
    assert sizes == [5, 5, 5, 5, 5, 1]  # rows 0-4, 5-9, killed; then 5-9 for the changed image, 10-14, 15
    pooled, maps = content(birds, "descriptor")
    expected = whole(backbone.prepare(open_image(changed))[None])
    np.testing.assert_allclose(pooled[7], expected[0][0], rtol=1e-6)
    np.testing.assert_array_equal(maps[7], expected[1][0].half())


ROW = np.dtype([("pooled", "float32", (3,))])
KEY = ("a.png", 3, 4)


def test_two_processes_do_not_write_the_same_file(tmp_path) -> None:
    record = tmp_path / "a.jsonl"
    with ResumableRows(record, ROW, {"network": 1}) as first:
        first.add([KEY], np.array([([0, 1, 2],)], ROW))
        with pytest.raises(InputError, match="another process is writing"):
            ResumableRows(record, ROW, {"network": 1})
    with open(record, "a") as file:
        file.write('["b.png", 5, 6')  # a kill in the middle of a line
    with open(tmp_path / "a.rows", "ab") as file:
        file.write(bytes(20))  # a kill between the rows and their lines
    for row_type, settings in ((ROW, {"network": 2}), (np.dtype([("pooled", "float32", (4,))]), {"network": 1})):
        with pytest.raises(InputError, match="other settings"):
            ResumableRows(record, row_type, settings)
    with ResumableRows(record, ROW, {"network": 1}) as second:
        assert second.positions == {KEY: 0}
        second.add([("b.png", 5, 6), ("a.png", 3, 5)], np.array([([3, 4, 5],), ([6, 7, 8],)], ROW))
    with ResumableRows(record, ROW, {"network": 1}) as third:
        assert third.positions == {KEY: 0, ("b.png", 5, 6): 1, ("a.png", 3, 5): 2}
        assert third.rows()["pooled"].tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    assert not (tmp_path / "a.jsonl.lock").exists()
    with open(record, "a") as file:
        file.write("no JSON\n")
    with open(tmp_path / "a.rows", "ab") as file:
        file.write(bytes(ROW.itemsize))
    with pytest.raises(InputError, match="is damaged.*--overwrite"):
        ResumableRows(record, ROW, {"network": 1})


def test_rows_that_are_missing_from_the_file_are_not_believed(tmp_path) -> None:
    record = tmp_path / "a.jsonl"
    with ResumableRows(record, ROW, {}) as rows:
        rows.add([KEY, ("b.png", 5, 6)], np.array([([0, 1, 2],), ([3, 4, 5],)], ROW))
    os.truncate(tmp_path / "a.rows", ROW.itemsize + 5)
    with ResumableRows(record, ROW, {}) as rows:
        assert rows.positions == {KEY: 0} and rows.rows()["pooled"].tolist() == [[0, 1, 2]]
        rows.add([("c.png", 7, 8)], np.array([([9, 9, 9],)], ROW))
    with ResumableRows(record, ROW, {}) as rows:
        assert rows.positions == {KEY: 0, ("c.png", 7, 8): 1}
        rows.remove()
    assert not list(tmp_path.iterdir())


def test_a_flipped_bit_in_a_finished_row_is_one_error(tmp_path) -> None:
    record, file = tmp_path / "a.jsonl", tmp_path / "a.rows"
    with ResumableRows(record, ROW, {}) as rows:
        rows.add([KEY, ("b.png", 5, 6)], np.array([([0, 1, 2],), ([3, 4, 5],)], ROW))
    flip_bit(file, ROW.itemsize + 2)
    with ResumableRows(record, ROW, {}) as rows, pytest.raises(InputError, match=r"a\.rows: .*row 1.* Delete this file"):
        rows.rows()
    file.unlink()
    with ResumableRows(record, ROW, {}) as rows:
        assert rows.positions == {}


def test_a_full_disk_is_told_and_what_was_written_stays(tmp_path) -> None:
    record, child = tmp_path / "a.jsonl", os.fork()
    if child == 0:
        try:
            with ResumableRows(record, ROW, {}) as rows:
                rows.add([KEY], np.array([([0, 1, 2],)], ROW))
                resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200))
                try:
                    rows.add([(f"{i}.png", 1, 1) for i in range(90)], np.zeros(90, ROW))
                except InputError as error:
                    os._exit(7 if "the file cannot be written" in str(error) or "cannot write" in str(error) else 8)
        finally:
            os._exit(9)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    with ResumableRows(record, ROW, {}) as rows:
        assert rows.positions == {KEY: 0} and rows.rows()["pooled"].tolist() == [[0, 1, 2]]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_disk_too_full_for_the_record_is_one_error(tmp_path) -> None:
    with pytest.raises(InputError, match="No space left"), ResumableRows(tmp_path / "a.jsonl", ROW, {}) as rows:
        rows._record.close()
        rows._record = open("/dev/full", "wb", buffering=0)  # noqa: SIM115 - closed with the rows
        rows.add([KEY], np.array([([0, 1, 2],)], ROW))
    with ResumableRows(tmp_path / "a.jsonl", ROW, {}) as rows:
        assert rows.positions == {}


# ---- unreadable ---------------------------------------------------------------------------------------------------------


def test_unreadable_images_stop_it_and_can_be_replaced(birds, script) -> None:
    assert script.extract_features(config_of(script, birds)) == 0
    clean = content(birds, "descriptor")
    for row in (2, 11):
        shutil.copy(birds.images / birds.files[row], birds.root / f"{row}.png")
        (birds.images / birds.files[row]).write_text("not an image")
    (birds.dataset / "descriptor.mat").unlink()
    with pytest.raises(InputError, match=r"cannot be read.*2 of 16.*001.Red_Owl/2.png.*--skip_unreadable"):
        script.extract_features(config_of(script, birds, overwrite=True))
    lines = (birds.dataset / "descriptor-unreadable.txt").read_text().splitlines()
    assert [line.split(":")[0] for line in lines] == [birds.files[2], birds.files[11]]
    assert not (birds.dataset / "descriptor.mat").exists()
    for row in (2, 11):
        shutil.copy(birds.root / f"{row}.png", birds.images / birds.files[row])
    assert script.extract_features(config_of(script, birds, resume=True)) == 0
    for one, other in zip(clean, content(birds, "descriptor")):
        assert one.tobytes() == other.tobytes()
    assert not (birds.dataset / "descriptor-unreadable.txt").exists()


def test_missing_images_are_told_before_anything_is_computed(birds, script) -> None:
    (birds.images / birds.files[15]).unlink()
    with pytest.raises(InputError, match=r"1 of 16.*3.png: no such file"):
        script.extract_features(config_of(script, birds))
    assert not list(birds.dataset.glob("*partial*"))


def test_unreadable_images_can_be_left_out_of_files_and_lists(birds, script, capsys) -> None:
    assert script.extract_features(config_of(script, birds)) == 0
    clean = content(birds, "descriptor")
    bad = [1, 8, 13]
    for row in bad:
        (birds.images / birds.files[row]).write_text("not an image")
    assert script.extract_features(config_of(script, birds, overwrite=True, skip_unreadable=True)) == 3
    assert "--class_embedding att_readable" in capsys.readouterr().err
    good = np.setdiff1d(np.arange(16), bad)
    for one, other in zip(clean, content(birds, "descriptor")):
        np.testing.assert_allclose(one[good], other, rtol=1e-6)
    pooled = read_xlsa17(birds.root / "data", "BIRDS", "descriptor", "att_readable")
    regions = read_region_maps(birds.dataset / "feature_map_descriptor_BIRDS.hdf5")
    for data in (pooled, regions):
        np.testing.assert_array_equal(data.labels, birds.labels[good] - 1)
        for name in ("trainval", "test_seen", "test_unseen", "train", "val"):
            old = np.setdiff1d(birds.split[f"{name}_loc"].ravel() - 1, bad)
            np.testing.assert_array_equal(np.sort(good[data.locations[name]]), old)
    assert regions.image_files == [birds.files[row] for row in good]


def test_a_class_without_a_readable_image_is_an_error(birds, script) -> None:
    for row in np.flatnonzero(birds.labels == 3):
        (birds.images / birds.files[row]).write_text("not an image")
    with pytest.raises(InputError, match="has no readable image.*004.Grey_Gull"):
        script.extract_features(config_of(script, birds, skip_unreadable=True))


# ---- which images -----------------------------------------------------------------------------------------------------


def test_a_folder_gives_the_rows_and_labels_of_its_list(birds, script) -> None:
    assert script.extract_features(config_of(script, birds)) == 0
    listed = content(birds, "descriptor")
    (birds.images / "notes").mkdir()  # no images: no class
    (birds.images / "001.Red_Owl").rename(birds.images / "red owl")
    assert script.extract_features(config_of(script, birds, image_list=None, overwrite=True)) == 0
    stored = read_mat(birds.dataset / "descriptor.mat", ["labels", "image_files"])
    rows = [birds.files.index(name.replace("red owl", "001.Red_Owl")) for name in stored["image_files"]]
    assert sorted(rows) == list(range(16))
    np.testing.assert_array_equal(stored["labels"].ravel(), birds.labels[rows])
    np.testing.assert_allclose(content(birds, "descriptor")[0], listed[0][rows], rtol=1e-6)


def test_a_folder_without_a_split_makes_its_own_labels(birds, script) -> None:
    (birds.dataset / "att_splits.mat").unlink()
    assert script.extract_features(config_of(script, birds, image_list=None, write="pooled", image_embedding="mine")) == 0
    stored = read_mat(birds.dataset / "mine.mat", ["labels", "allclasses_names"])
    assert stored["allclasses_names"].tolist() == sorted(CLASSES)
    np.testing.assert_array_equal(stored["labels"].ravel(), np.repeat([1, 2, 3, 4], PER_CLASS))
    with pytest.raises(InputError, match="region maps need a split.*--write pooled"):
        script.extract_features(config_of(script, birds, image_list=None, regions="new", image_embedding="new"))


def test_folders_that_do_not_match_the_classes_are_listed(birds, script) -> None:
    (birds.images / "001.Red_Owl").rename(birds.images / "001.Red_Hawk")
    with pytest.raises(InputError, match=r"folders of no class: 001.Red_Hawk; classes without a folder: 001.Red_Owl"):
        script.extract_features(config_of(script, birds, image_list=None))


def test_the_list_of_a_published_feature_file(birds, script) -> None:
    author = np.array([[f"/disk/author/birds/images/{name}"] for name in birds.files], dtype=object)
    scipy.io.savemat(birds.root / "res101.mat", {"image_files": author, "labels": birds.labels[:, None].astype(float)})
    with pytest.raises(InputError, match="does not match the images.*Pass --drop_leading 5"):
        script.extract_features(config_of(script, birds, image_list=birds.root / "res101.mat"))
    flags = dict(image_list=birds.root / "res101.mat", drop_leading=5, write="regions", regions="maps")
    assert script.extract_features(config_of(script, birds, **flags)) == 0
    assert read_region_maps(birds.dataset / "maps.hdf5").image_files == birds.files
    assert not (birds.dataset / "descriptor.mat").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda lines: lines[:-1], "15 images, expected 16"),
        (lambda lines: [*lines, lines[0]], "17 images, expected 16"),
        (lambda lines: [lines[0].replace("\t2\t", "\t3\t"), *lines[1:]], "label 3 for 001.Red_Owl/0.png, and 0 more"),
        # two rows swapped, with their labels, across the split
        (lambda lines: [lines[4], *lines[1:4], lines[0], *lines[5:]], "the splits overlap"),
        (lambda lines: [lines[0].replace("\t2\t", "\t9\t"), *lines[1:]], "label 9 for"),
        (lambda lines: [lines[0].replace("\t2\t", "\t0\t"), *lines[1:]], "label 0.*Count labels from 1"),
        (lambda lines: [lines[0].split("\t")[0] + "\n", *lines[1:]], "without a label"),
        (lambda lines: ["../secret.png\t2\n", *lines[1:]], "below --images"),
        (lambda lines: [], "no line"),
    ],
)
def test_a_list_that_does_not_match_is_refused(change, words, birds, script) -> None:
    birds.list.write_text("".join(change(birds.list.read_text().splitlines(keepends=True))))
    with pytest.raises(InputError, match=words):
        script.extract_features(config_of(script, birds))
    assert [path.name for path in birds.dataset.iterdir()] == ["att_splits.mat"]


def test_words_that_do_not_fit_the_attributes_are_refused(birds, script) -> None:
    np.save(birds.root / "few.npy", np.ones((N_ATTRIBUTES - 1, WORD_DIM)))
    np.save(birds.root / "objects.npy", np.array([{}] * N_ATTRIBUTES), allow_pickle=True)
    (birds.root / "few.txt").write_text("one\ntwo\n")
    for flags, words in (
        (dict(word_vectors=birds.root / "few.npy"), r"\(5, 5\), expected a .npy file of 6 rows"),
        (dict(word_vectors=birds.root / "objects.npy"), "word vectors cannot be read"),
        (dict(word_vectors=birds.root / "none.npy"), "word vectors is missing"),
        (dict(attribute_names=birds.root / "few.txt"), "2 names, expected 6"),
        (dict(batch_size=0), "--batch_size"),
        (dict(splits=birds.root / "none.mat"), "the file is missing"),
        (dict(images=birds.root / "nowhere"), "--images"),
    ):
        with pytest.raises(InputError, match=words):
            script.extract_features(config_of(script, birds, **flags))


def test_errors_are_one_line_and_status_one(birds, script, monkeypatch, capsys) -> None:
    monkeypatch.setattr(
        sys,
        "argv",
        command(birds, "--backbone", "timm:none", "--normalization", "half", "--resize", "224", "--crop", "300")[1:],
    )
    assert script.main() == 1
    error = capsys.readouterr().err
    assert "the crop does not fit" in error and len(error.splitlines()) == 1
