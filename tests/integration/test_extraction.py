"""From images to files: layout, order, resuming after a kill, unreadable images, lists that do not match."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import scipy.io
import torch
from PIL import Image

from zslab import cli
from zslab.data.formats.matfile import read_mat
from zslab.data.region_dataset import read_region_maps
from zslab.data.xlsa17 import read_xlsa17
from zslab.errors import InputError
from zslab.features.backbones import BackboneSpec, load_backbone
from zslab.features.extract_command import ExtractConfig, extract_features
from zslab.features.extraction import extract as extraction_of
from zslab.features.images import open_image
from zslab.features.sources import Images, read_image_list

from helpers.project import PROJECT

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
    files = [line.split("\t")[0] for line in lines]
    places = {"root": tmp_path, "images": tmp_path / "images", "list": tmp_path / "list.txt", "dataset": dataset}
    return SimpleNamespace(**places, labels=labels, split=split, files=files)


def extract(birds, **changes) -> int:
    """Run the command's function in this process."""
    flags = dict(images=birds.images, image_list=birds.list, dataroot=birds.root / "data", dataset="BIRDS")
    flags |= dict(backbone="descriptor", batch_size=5, device="cpu")
    return extract_features(ExtractConfig(**flags | changes))


def command(birds, *extra: str) -> list[str]:
    places = ["--images", birds.images, "--image_list", birds.list, "--dataroot", birds.root / "data", "--dataset", "BIRDS"]
    return ["extract", *map(str, places), "--batch_size", "5", "--device", "cpu", *extra]


def content(birds, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Pooled vectors (N, P) and maps as the bits on disk."""
    with h5py.File(birds.dataset / f"feature_map_{name}_BIRDS.hdf5") as file:
        maps = file["feature_map"][()]
    return read_mat(birds.dataset / f"{name}.mat", ["features"])["features"].T, maps


def test_both_files_in_one_command(birds, monkeypatch, capsys) -> None:
    monkeypatch.chdir(birds.root)
    flags = ["--backbone", "descriptor", "--attribute_names", "attributes.txt", "--word_vectors", "words.npy"]
    assert cli.main(command(birds, *flags)) == 0
    output = capsys.readouterr().out
    assert "16 images of 4 classes" in output and "\ndata/BIRDS/descriptor.mat: 16 images\n" in output
    names = ["att_splits.mat", "descriptor.mat", "feature_map_descriptor_BIRDS.hdf5"]
    assert sorted(path.name for path in birds.dataset.iterdir()) == names
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


def test_an_untrained_network_by_command(birds, capsys) -> None:
    pytest.importorskip("torchvision", reason="the extra `images` is not installed: no torchvision")
    flags = "--backbone mobilenet_v2 --weights none --random_weights --resize 64 --crop 64 --padding tensorflow"
    flags += " --normalization half --region_type float32 --workers 3"
    assert cli.main(command(birds, *flags.split())) == 0
    output = capsys.readouterr().out
    assert "UNTRAINED" in output and "1280 x 2 x 2" in output
    spec = BackboneSpec("mobilenet_v2", "tensorflow", "half", 64, 64)
    backbone = load_backbone(spec, "none", random_weights=True)
    batch = torch.stack([backbone.prepare(open_image(birds.images / name)) for name in birds.files])
    expected_pooled, expected_maps = backbone.features(batch)
    pooled, maps = content(birds, "mobilenet_v2")
    np.testing.assert_allclose(pooled, expected_pooled, rtol=1e-3, atol=1e-3 * float(expected_pooled.max()))
    np.testing.assert_allclose(maps, expected_maps, rtol=1e-3, atol=1e-3 * float(expected_maps.max()))
    described = json.loads(read_mat(birds.dataset / "mobilenet_v2.mat", ["backbone"])["backbone"].item())
    assert described == {"spec": spec.to_json(), "weights": "random weights, seed 0", "digest": backbone.digest}


KILLED = """
import os, signal, sys
from zslab import cli
from zslab.features import backbones

whole, calls = backbones._Descriptor.features, []

def features(self, batch):
    calls.append(1)
    if len(calls) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(self, batch)

backbones._Descriptor.features = features
cli.main(sys.argv[1:])
"""


def test_an_extraction_that_was_killed_goes_on_to_the_same_bits(birds) -> None:
    program = [sys.executable, "-c", KILLED, *command(birds, "--backbone", "descriptor")]
    environment = os.environ | {"PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"}
    assert subprocess.run(program, env=environment, stdout=subprocess.DEVNULL).returncode == -signal.SIGKILL
    partial = birds.dataset / "descriptor-partial"
    assert len(list(partial.glob("[0-9]*.npy"))) == 2 and not (birds.dataset / "descriptor.mat").exists()
    with pytest.raises(InputError, match="descriptor-partial: .*--resume"):
        extract(birds)
    assert extract(birds, resume=True) == 0
    resumed = content(birds, "descriptor")
    with pytest.raises(InputError, match="descriptor.mat: .*--overwrite"):
        extract(birds)
    assert extract(birds, overwrite=True) == 0
    for one, other in zip(resumed, content(birds, "descriptor")):
        assert one.tobytes() == other.tobytes()
    assert not list(birds.dataset.glob("*partial*"))


def test_only_what_is_missing_is_computed_again(birds, monkeypatch) -> None:
    """Stopped in the third batch, the first two are not computed again; an image that changed since is."""
    backbone, sizes = load_backbone(BackboneSpec("descriptor")), []
    whole = backbone.features

    def features(batch):
        sizes.append(len(batch))
        if len(sizes) == 3:
            raise KeyboardInterrupt
        return whole(batch)

    backbone.features = features
    monkeypatch.setattr("zslab.features.backbones.load_backbone", lambda *args, **kwargs: backbone)
    with pytest.raises(KeyboardInterrupt):
        extract(birds)
    changed = birds.images / birds.files[7]
    Image.new("RGB", (40, 40), "orange").save(changed)
    assert extract(birds, resume=True) == 0
    assert sizes == [5, 5, 5, 5, 5, 1]  # rows 0-4, 5-9, stopped; then 5-9 for the changed image, 10-14, 15
    pooled, maps = content(birds, "descriptor")
    expected = whole(backbone.prepare(open_image(changed))[None])
    np.testing.assert_allclose(pooled[7], expected[0][0], rtol=1e-6)
    np.testing.assert_array_equal(maps[7], expected[1][0].half())


def test_images_of_12_bits_have_one_white_which_is_kept(birds, caplog) -> None:
    for name in birds.files:
        with Image.open(birds.images / name) as image:
            gray = np.asarray(image.convert("L")).astype(np.uint16)
        Image.fromarray(gray * 16).save(birds.images / name)  # 12 bits in 16
    assert extract(birds, write="pooled") == 0
    assert "16 images have more than 8 bits" in caplog.text and "4095" in caplog.text
    spec = BackboneSpec.from_json(
        json.loads(read_mat(birds.dataset / "descriptor.mat", ["backbone"])["backbone"].item())["spec"]
    )
    assert spec == BackboneSpec("descriptor", white=4095)
    image, _ = load_backbone(spec).read(birds.images / birds.files[0])
    with Image.open(birds.images / birds.files[0]) as stored:
        expected = np.asarray(stored).astype(float) * 255 / 4095
    assert abs(float(image.float().mean()) - expected.mean()) < 1


def test_unreadable_images_stop_it_and_can_be_replaced(birds) -> None:
    assert extract(birds) == 0
    clean = content(birds, "descriptor")
    for row in (2, 11):
        shutil.copy(birds.images / birds.files[row], birds.root / f"{row}.png")
        (birds.images / birds.files[row]).write_text("not an image")
    (birds.dataset / "descriptor.mat").unlink()
    with pytest.raises(InputError, match=r"all 16 files must be readable.*got 2 .*001.Red_Owl/2.png.*--skip_unreadable"):
        extract(birds, overwrite=True)
    lines = (birds.dataset / "descriptor-unreadable.txt").read_text().splitlines()
    assert [line.split(":")[0] for line in lines] == [birds.files[2], birds.files[11]]
    assert not (birds.dataset / "descriptor.mat").exists()
    for row in (2, 11):
        shutil.copy(birds.root / f"{row}.png", birds.images / birds.files[row])
    assert extract(birds, resume=True) == 0
    for one, other in zip(clean, content(birds, "descriptor")):
        assert one.tobytes() == other.tobytes()
    assert not (birds.dataset / "descriptor-unreadable.txt").exists()


def test_unreadable_images_can_be_left_out_of_files_and_lists(birds, capsys) -> None:
    assert extract(birds) == 0
    clean = content(birds, "descriptor")
    bad = [1, 8, 13]
    for row in bad:
        (birds.images / birds.files[row]).write_text("not an image")
    assert extract(birds, overwrite=True, skip_unreadable=True) == 3
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


def test_a_class_without_a_readable_image_is_an_error(birds) -> None:
    for row in np.flatnonzero(birds.labels == 3):
        (birds.images / birds.files[row]).write_text("not an image")
    with pytest.raises(InputError, match="every class .*none of 004.Grey_Gull"):
        extract(birds, skip_unreadable=True)


def test_a_folder_gives_the_rows_and_labels_of_its_list(birds) -> None:
    assert extract(birds) == 0
    listed = content(birds, "descriptor")
    (birds.images / "notes").mkdir()  # no images: no class
    (birds.images / "001.Red_Owl").rename(birds.images / "red owl")
    assert extract(birds, image_list=None, overwrite=True) == 0
    stored = read_mat(birds.dataset / "descriptor.mat", ["labels", "image_files"])
    rows = [birds.files.index(name.replace("red owl", "001.Red_Owl")) for name in stored["image_files"]]
    assert sorted(rows) == list(range(16))
    np.testing.assert_array_equal(stored["labels"].ravel(), birds.labels[rows])
    np.testing.assert_allclose(content(birds, "descriptor")[0], listed[0][rows], rtol=1e-6)


def test_a_folder_without_a_split_makes_its_own_labels(birds) -> None:
    (birds.dataset / "att_splits.mat").unlink()
    assert extract(birds, image_list=None, write="pooled", image_embedding="mine") == 0
    stored = read_mat(birds.dataset / "mine.mat", ["labels", "allclasses_names"])
    assert stored["allclasses_names"].tolist() == sorted(CLASSES)
    np.testing.assert_array_equal(stored["labels"].ravel(), np.repeat([1, 2, 3, 4], PER_CLASS))
    with pytest.raises(InputError, match="region maps must have a split.*--write pooled"):
        extract(birds, image_list=None, regions="new", image_embedding="new")


def test_the_list_of_a_published_feature_file(birds) -> None:
    author = np.array([[f"/disk/author/birds/images/{name}"] for name in birds.files], dtype=object)
    scipy.io.savemat(birds.root / "res101.mat", {"image_files": author, "labels": birds.labels[:, None].astype(float)})
    with pytest.raises(InputError, match="must have paths of images below.*Pass --drop_leading 5"):
        extract(birds, image_list=birds.root / "res101.mat")
    flags = dict(image_list=birds.root / "res101.mat", drop_leading=5, write="regions", regions="maps")
    assert extract(birds, **flags) == 0
    assert read_region_maps(birds.dataset / "maps.hdf5").image_files == birds.files
    assert not (birds.dataset / "descriptor.mat").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda lines: lines[:-1], "must be 16 images.*got 15"),
        (lambda lines: [*lines, lines[0]], "must be 16 images.*got 17"),
        (lambda lines: [lines[0].replace("\t2\t", "\t3\t"), *lines[1:]], "got label 3 for 001.Red_Owl/0.png"),
        # two rows swapped, with their labels, across the split
        (lambda lines: [lines[4], *lines[1:4], lines[0], *lines[5:]], "trainval_loc and test_unseen_loc"),
        (lambda lines: [lines[0].replace("\t2\t", "\t9\t"), *lines[1:]], "label 9 for"),
        (lambda lines: [lines[0].replace("\t2\t", "\t0\t"), *lines[1:]], "labels must be between 1"),
        (lambda lines: [lines[0].split("\t")[0] + "\n", *lines[1:]], "line 1: a line must have a path and a label"),
        (lambda lines: ["../secret.png\t2\n", *lines[1:]], "must have paths of images below.*secret"),
        (lambda lines: [], "no line"),
    ],
)
def test_a_list_that_does_not_match_is_refused(change, words, birds) -> None:
    birds.list.write_text("".join(change(birds.list.read_text().splitlines(keepends=True))))
    with pytest.raises(InputError, match=words):
        extract(birds)
    assert [path.name for path in birds.dataset.iterdir()] == ["att_splits.mat"]


def test_words_that_do_not_fit_the_attributes_are_refused(birds) -> None:
    np.save(birds.root / "few.npy", np.ones((N_ATTRIBUTES - 1, WORD_DIM)))
    np.save(birds.root / "objects.npy", np.array([{}] * N_ATTRIBUTES), allow_pickle=True)
    (birds.root / "few.txt").write_text("one\ntwo\n")
    for flags, words in (
        (dict(word_vectors=birds.root / "few.npy"), r"\(5, 5\)"),
        (dict(word_vectors=birds.root / "objects.npy"), "objects.npy"),
        (dict(word_vectors=birds.root / "none.npy"), "none.npy"),
        (dict(attribute_names=birds.root / "few.txt"), "6 names .*got 2"),
        (dict(batch_size=0), "--batch_size"),
        (dict(splits=birds.root / "none.mat"), "none.mat"),
        (dict(images=birds.root / "nowhere"), "--images"),
    ):
        with pytest.raises(InputError, match=words):
            extract(birds, **flags)


@pytest.mark.parametrize("separator", ["\t", ",", " "])
def test_lists_name_classes_or_number_them(separator: str, birds) -> None:
    numbered = read_image_list(birds.list, birds.images)
    names = [separator.join([file, name]) for file, name in zip(birds.files, (CLASSES[n - 1] for n in birds.labels))]
    birds.list.write_text("\n".join([separator.join(["path", "class"]), *names]))
    listed = read_image_list(birds.list, birds.images, class_names=[name.replace("_", " ") for name in CLASSES])
    assert listed.files == numbered.files == birds.files and listed.labels.tolist() == birds.labels.tolist()
    assert read_image_list(birds.list, birds.images).classes == sorted(CLASSES)


def test_one_process_at_a_time_and_no_damaged_rows(tmp_path) -> None:
    for name in ("a.png", "b.png"):
        Image.new("RGB", (20, 20), "orange").save(tmp_path / name)
    images, backbone = Images(tmp_path, ["a.png", "b.png"], np.array([1, 1]), None, tmp_path), BackboneSpec("descriptor")
    again = lambda: extraction_of(images, load_backbone(backbone), tmp_path / "partial", batch_size=1)  # noqa: E731
    with again() as extraction:
        assert extraction.pooled.shape[0] == 2 and len(extraction.batches) == 2
        with pytest.raises(InputError, match="partial"), again():
            pass
    extraction.batches[1].write_bytes(extraction.batches[1].read_bytes()[:-3])
    with pytest.raises(InputError, match=extraction.batches[1].name), again():
        pass
    extraction.batches[1].unlink()
    with again() as repeated:
        assert np.array_equal(repeated.pooled, extraction.pooled)
        repeated.remove()
    assert not (tmp_path / "partial").exists()
