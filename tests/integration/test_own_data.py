"""A folder of images and a CSV become a data set whose lists can be counted by hand; what is wrong is said plainly."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import save_file

from zslab.app.annotate import annotate
from zslab.app.export import ExportConfig, export
from zslab.app.own_data import OwnData, PrepareConfig, choose_scale, make_data_set
from zslab.app.prediction import ClassScore, Prediction
from zslab.app.predictor import Predictor
from zslab.cli import main
from zslab.data.formats.matfile import read_mat
from zslab.data.region_dataset import read_region_maps
from zslab.data.xlsa17 import read_xlsa17
from zslab.errors import InputError
from zslab.features.backbones import BackboneSpec, load_backbone

from helpers.exported_models import train
from helpers.project import PROJECT
from helpers.results import read_rows
from helpers.tiny import tiny_arrays, write_tiny

ROWS = {"Red bird": (1, 0, 0), "blue bird": (0, 1, 0), "green-bird": (0, 0, 1), "Grey": (1, 1, 1), "Violet": (1, 1, 0)}


@pytest.fixture
def backbone():
    return load_backbone(BackboneSpec("descriptor"))


def made_of(images, table, folder, backbone, unseen=(), **options) -> OwnData:
    config = PrepareConfig(images, table, folder.name, folder.parent, tuple(unseen), **options)
    return make_data_set(config, backbone)


def make(root, folders=("001.red_bird", "002.Blue_Bird", "003.green bird", "004.Grey"), rows=None, n=5):
    """Plain colored images in folders, and the table; the paths of both."""
    rng = np.random.default_rng(0)
    for folder in folders:
        (root / "images" / folder).mkdir(parents=True)
        for i in range(n):
            Image.fromarray(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(root / "images" / folder / f"{i}.png")
    lines = [",".join(map(str, (name, *row))) for name, row in (rows or ROWS).items()]
    (root / "table.csv").write_text("\n".join(["class,red,blue,green", *lines]) + "\n", encoding="utf-8")
    return root / "images", root / "table.csv"


def test_lists_are_as_counted_by_hand(tmp_path, backbone) -> None:
    images, table = make(tmp_path)
    made = made_of(images, table, tmp_path / "OWN", backbone, unseen=["GREY"], test_fraction=0.4, write_regions=True)
    assert made.seen == ["Red bird", "blue bird", "green-bird"]
    assert made.unseen == ["Grey", "Violet"] and made.untested == ["Violet"]
    assert made.n_images == {"train": 9, "test seen": 6, "test unseen": 5}
    data = read_xlsa17(tmp_path, "OWN", "descriptor", "att")
    assert data.class_names == list(ROWS) and data.split_version == "v2"
    counts = {name: np.bincount(data.labels[rows], minlength=5).tolist() for name, rows in data.locations.items()}
    assert counts["trainval"] == [3, 3, 3, 0, 0] and counts["test_seen"] == [2, 2, 2, 0, 0]
    assert counts["test_unseen"] == [0, 0, 0, 5, 0]
    assert sorted(counts["val"]) == [0, 0, 0, 0, 3] and sum(counts["train"]) == 6  # a quarter of 3 classes: one
    assert np.allclose(data.attributes, np.array(list(ROWS.values())) / np.sqrt([1, 1, 1, 3, 2])[:, None])
    assert data.stage("test").unseen_classes.tolist() == [3, 4]
    assert any("1 of 2 unseen classes have no test samples" in note for note in data.notes)
    maps = read_region_maps(tmp_path / "OWN" / f"{made.regions}.hdf5", split_file=tmp_path / "OWN" / "att_splits.mat")
    assert maps.attribute_names == ["red", "blue", "green"] and maps.stage("test").unseen_classes.tolist() == [3, 4]
    assert np.array_equal(maps.features, data.features)


def test_the_same_seed_gives_the_same_lists(tmp_path, backbone) -> None:
    images, table = make(tmp_path)
    lists = []
    for name, seed in (("A", 0), ("B", 0), ("C", 1)):
        made_of(images, table, tmp_path / name, backbone, seed=seed)
        content = read_mat(tmp_path / name / "att_splits.mat", ["trainval_loc", "val_loc"])
        lists.append(np.concatenate([content["trainval_loc"], content["val_loc"]]).tolist())
    assert lists[0] == lists[1] != lists[2]


def test_a_model_of_own_data_is_trained_for_classes_without_any_image(birds, tmp_path) -> None:
    """All unseen classes without test images: what can be measured is the seen accuracy, and nothing else is claimed."""
    folder = tmp_path / "images"
    shutil.copytree(birds.root / "images", folder)
    shutil.rmtree(folder / birds.tested)
    made_of(folder, birds.root / "birds.csv", tmp_path / "BIRDS", load_backbone(BackboneSpec("descriptor")))
    run = train("BIRDS", tmp_path, tmp_path / "runs", "descriptor")
    result = json.loads((run / "result.json").read_text())
    rows = read_rows(run)
    assert 0 <= rows["last"].acc_seen <= 1
    assert [rows["last"].value(m) for m in ("T1", "acc_unseen", "H", "AUSUC")] == [None] * 4 and rows["paper"].H is None
    assert any("cannot be measured" in note for note in result["notes"])
    assert len(result["data"]["unseen_classes"]) == 2
    export(ExportConfig(run, tmp_path / "m.zsl"))
    found = {p.top.name for p in Predictor.load(tmp_path / "m.zsl").predict(birds.root / "images", unseen_only=True)}
    assert found <= {birds.tested, birds.untested}


def test_only_classes_declared_unseen_may_lack_samples(tmp_path) -> None:
    arrays = tiny_arrays()
    att = np.concatenate([arrays["att"], np.full((5, 1), 0.5)], axis=1)
    names = np.array([[f"bird {i}"] for i in range(10)], dtype=object)
    write_tiny(tmp_path, att=att, allclasses_names=names)
    with pytest.raises(InputError, match="res101.mat: .*bird 9"):
        read_xlsa17(tmp_path, "TINY", "res101", "att")
    write_tiny(tmp_path, att=att, allclasses_names=names, unseen_classes=np.array([[10.0]]))
    data = read_xlsa17(tmp_path, "TINY", "res101", "att")
    assert data.stage("test").unseen_classes.tolist() == [6, 7, 8, 9]
    assert data.stage("validation").unseen_classes.tolist() == [4, 5]
    write_tiny(tmp_path, att=att, allclasses_names=names, unseen_classes=np.array([[1.0, 10.0]]))
    with pytest.raises(InputError, match="unseen_classes"):
        read_xlsa17(tmp_path, "TINY", "res101", "att")


@pytest.mark.parametrize(
    "folders, rows, options, words",
    [
        (("red bird", "blue bird", "owl"), None, {}, "images: .*owl.*table.csv"),
        (("red bird", "RED-bird", "blue bird"), None, {}, "images: .*once.*red bird"),
        (("red bird", "blue bird"), {"Red bird": (1, 0, 0), "blue bird": (0, 1, 0)}, {}, "--unseen NAME"),
        (("red bird", "blue bird"), None, {"unseen": ["dodo"]}, "--unseen: .*dodo"),
        (("red bird", "blue bird"), ROWS | {"Red bird": (0, 0, 0)}, {}, "table.csv: .*'Red bird'"),
        (("red bird", "blue bird"), ROWS | {"Red bird": (1, "many", 0)}, {}, "'Red bird'.*'blue'.*'many'"),
        (("red bird", "blue bird"), None, {"test_fraction": 1.5}, "test_fraction"),
    ],
)
def test_what_does_not_fit_is_said_before_anything_is_made(tmp_path, backbone, folders, rows, options, words) -> None:
    images, table = make(tmp_path, folders, rows, n=2)
    with pytest.raises(InputError, match=words):
        made_of(images, table, tmp_path / "OWN", backbone, **options)
    assert not (tmp_path / "OWN").exists()


def test_copies_stay_on_one_side_and_are_named(tmp_path, backbone) -> None:
    images, table = make(tmp_path, n=6)
    red, blue, grey = (images / name for name in ("001.red_bird", "002.Blue_Bird", "004.Grey"))
    for number in range(4):
        shutil.copy(red / "0.png", red / f"copy{number}.png")
    shutil.copy(red / "1.png", blue / "same.png")
    shutil.copy(red / "2.png", grey / "same.png")
    for seed in range(8):
        made = made_of(images, table, tmp_path / f"OWN{seed}", backbone, unseen=["Grey"], seed=seed, test_fraction=0.5)
        split = read_mat(tmp_path / f"OWN{seed}" / "att_splits.mat", ["trainval_loc", "test_seen_loc"])
        files = read_mat(tmp_path / f"OWN{seed}" / "descriptor.mat", ["image_files"])["image_files"]
        train, test = ({(images / files[int(k) - 1]).read_bytes() for k in split[key].ravel()} for key in split)
        assert not train & test and made.n_images["test unseen"] == 7
    first, second, third = [note for note in made.warnings if "copies" in note]
    assert first.startswith("6 files") and "001.red_bird/copy0.png = 001.red_bird/0.png" in first
    assert "002.Blue_Bird/same.png" in second and "004.Grey/same.png" in third


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="the file system holds UTF-8 alone")
def test_names_that_are_no_utf8_are_prepared_and_listed(tmp_path, backbone) -> None:
    images, table = make(tmp_path, rows={**ROWS, "caf\\xe9": (0, 1, 1)})
    folder = (images / "004.Grey").rename(images / os.fsdecode(b"004.caf\xe9"))
    odd = Path(shutil.copy(folder / "0.png", folder / os.fsdecode(b"photo\xff.png")))
    (folder / os.fsdecode(b"bad\xfe.png")).write_bytes(b"no image")
    made = made_of(images, table, tmp_path / "OWN", backbone, unseen=["caf\\xe9"], skip_unreadable=True, write_regions=True)
    assert made.left_out == 1 and "bad\\xfe.png: " in (tmp_path / "OWN" / "unreadable.txt").read_text()
    files = read_mat(tmp_path / "OWN" / "descriptor.mat", ["image_files"])["image_files"]
    assert "004.caf\\xe9/photo\\xff.png" in files.tolist()
    data = read_xlsa17(tmp_path, "OWN", "descriptor", "att")
    assert data.class_names[-1] == "caf\\xe9" and (data.labels == 5).sum() == 6
    assert annotate(Image.new("RGB", (8, 8)), Prediction(str(odd), [ClassScore("Grey", 1.0, False)])).width == 1080


def test_a_folder_and_a_row_that_differ_in_a_mark_are_one_class(tmp_path, backbone, caplog) -> None:
    mark, names = "\u200e", ["Red bird", "blue bird", "green-bird", "\ue000 \U000323b0"]
    images, table = make(tmp_path, [mark + names[0], *names[1:3]], {name: row for name, row in zip(names, ROWS.values())})
    made = made_of(images, table, tmp_path / "OWN", backbone, unseen=[mark + "Green bird"])
    assert made.seen == names[:2] and made.unseen == names[2:] and len(caplog.records) == 2
    assert read_xlsa17(tmp_path, "OWN", "descriptor", "att").class_names == names


def test_unreadable_images_stop_or_are_left_out_and_listed(tmp_path, backbone) -> None:
    images, table = make(tmp_path)
    (images / "004.Grey" / "2.png").write_text("no image")
    with pytest.raises(InputError, match="got 1 .*004.Grey/2.png.*skip_unreadable"):
        made_of(images, table, tmp_path / "OWN", backbone)
    assert {path.name for path in (tmp_path / "OWN").iterdir()} == {"unreadable.txt", "descriptor-partial"}
    made = made_of(images, table, tmp_path / "OWN", backbone, skip_unreadable=True)  # as the message says
    assert made.left_out == 1 and sum(made.n_images.values()) == 19
    assert "004.Grey/2.png" in (tmp_path / "OWN" / "unreadable.txt").read_text()
    before = {path: path.read_bytes() for path in (tmp_path / "OWN").iterdir()}
    with pytest.raises(InputError, match="images: .*got 1 "):  # removes nothing, either
        made_of(images, table, tmp_path / "OWN", backbone, overwrite=True)
    assert {path: path.read_bytes() for path in before} == before
    Image.new("RGB", (16, 16)).save(images / "004.Grey" / "2.png")
    (tmp_path / "OWN" / "old.mat").touch()
    made_of(images, table, tmp_path / "OWN", backbone, overwrite=True)
    assert sorted(path.suffix for path in (tmp_path / "OWN").iterdir()) == [".csv", ".mat", ".mat"]


@pytest.mark.parametrize(
    "values, low, high",
    [
        ([[0, 1], [0.5, 0]], [0, 0], [1, 1]),  # shares
        ([[0, 90], [50, 10]], [0, 0], [1, 1]),  # per cent: a factor that rows of unit norm do not feel
        ([[0.2, 90], [0.4, 10]], [0.2, 10], [0.4, 90]),  # a share beside something larger
        ([[-1, 300], [1, 100]], [-1, 100], [1, 300]),
    ],
)
def test_attributes_of_different_scales_are_brought_to_one(values, low, high) -> None:
    scale, _ = choose_scale(np.array(values, dtype=float))
    assert scale.low.tolist() == low and scale.high.tolist() == high


def test_columns_of_different_scales_survive_into_the_model(tmp_path, backbone) -> None:
    rows = {"Red bird": (1, 120, -3), "blue bird": (0, 300, 5), "green-bird": (0, 200, 1), "Grey": (1, 250, 0)}
    images, table = make(tmp_path, ("red bird", "blue bird", "green bird"), rows, n=8)
    made_of(images, table, tmp_path / "OWN", backbone)
    run = train("OWN", tmp_path, tmp_path / "runs", "descriptor", batch_size=8, syn_num=10)
    model = export(ExportConfig(run, tmp_path / "m.zsl"))
    assert model.table.tolist() == [list(map(float, row)) for row in rows.values()]
    predictor = Predictor.load(tmp_path / "m.zsl").add_class("new", {"red": 0.5, "blue": 210, "green": 1})
    expected = np.array([0.5, 0.5, 0.5]) / np.sqrt(0.75)
    assert np.allclose(predictor.model.attributes[-1], expected, atol=1e-6)


def test_the_command_makes_a_data_set_and_says_how_to_go_on(tmp_path, capsys) -> None:
    images, table = make(tmp_path)
    command = ["prepare", "--images", str(images), "--attributes", str(table), "--name", "OWN", "--dataroot", str(tmp_path)]
    command += ["--backbone", "descriptor", "--unseen", "Grey"]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "3 seen and 2 unseen classes; images: 12 train, 3 test seen, 5 test unseen" in out
    assert "run_own_tfvaegan.py --dataset OWN" in out and "run_own_dazle" not in out
    assert "export RUN_FOLDER --output my_model.zsl\n" in out  # the descriptor has no weights
    assert main(command) == 1 and "--overwrite" in capsys.readouterr().err
    done = subprocess.run([sys.executable, PROJECT / "zero-shot-images" / "prepare_data.py", "--help"], capture_output=True)
    assert done.returncode == 0 and b"--skip_unreadable" in done.stdout


def test_a_network_of_another_input_size_is_used_as_it_is(tmp_path) -> None:
    pytest.importorskip("timm", reason="the extra `images` is not installed")
    images, table = make(tmp_path, n=2)
    untrained = load_backbone(BackboneSpec("timm:test_vit"), "none", random_weights=True)
    made = made_of(images, table, tmp_path / "OWN", untrained, unseen=["Grey"], write_regions=True)
    maps = read_region_maps(made.folder / f"{made.regions}.hdf5", split_file=made.folder / "att_splits.mat")
    assert maps.regions.grid == (10, 10) and maps.regions.feature_dim == 64
    save_file(untrained.state_dict(), weights := tmp_path / "w.safetensors")
    config = PrepareConfig(images, table, "B", tmp_path, ("Grey",), backbone="timm:test_vit", weights=str(weights), crop=100)
    with pytest.raises(InputError, match="--crop.*100.*Pass --resize 160 --crop 160"):
        make_data_set(config)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"batch_size": 0}, "--batch_size"),
        ({"name": ".."}, "--name"),
        ({"unseen": ("none.txt",)}, "none.txt"),
        ({"images": Path("none"), "weights": "none.safetensors"}, "--images: .*none"),  # before weights are fetched
    ],
)
def test_flags_out_of_range_are_refused(tmp_path, flags, words) -> None:
    images, table = make(tmp_path, n=2)
    config = PrepareConfig(images, table, "OWN", tmp_path / "data", backbone="descriptor", device="cpu")
    with pytest.raises(InputError, match=words):
        make_data_set(replace(config, **flags))
    assert not (tmp_path / "data").exists()
