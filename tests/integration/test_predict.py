"""The command writes what the predictor says, draws it, and lists what it could not read."""

import csv
import json

import numpy as np
import pytest
from PIL import Image, ImageColor

from zslab.app.annotate import WIDTH, annotate
from zslab.app.attribute_table import AttributeTable, write_attribute_table
from zslab.app.predict import csv_writer
from zslab.app.prediction import AttributeReason, ClassScore, Prediction
from zslab.app.predictor import Predictor
from zslab.cli import main
from zslab.data.formats.table import from_formula_safe
from zslab.report.style import DIM, SEEN, UNSEEN, overlay


def predict(model, *arguments: object, **flags: object) -> int:
    """Run `zslab predict` and return its exit status."""
    return main(
        ["predict", "--model", str(model), *map(str, arguments), *(str(x) for k, v in flags.items() for x in (f"--{k}", v))]
    )


def test_files_hold_what_the_predictor_says(birds, tmp_path, capsys) -> None:
    folder, model = birds.root / "images" / birds.names[0], birds.models["dazle"]
    outputs = {"json": tmp_path / "o.json", "csv": tmp_path / "o.csv", "annotated": tmp_path / "drawn"}
    assert predict(model, folder, **outputs, top=3, batch_size=4) == 0
    expected = list(Predictor.load(model).predict(folder, top=3))
    assert len(expected) == 6
    stored, rows = json.loads((tmp_path / "o.json").read_text()), list(csv.DictReader((tmp_path / "o.csv").open()))
    printed = capsys.readouterr().out
    for prediction, entry, row in zip(expected, stored, rows, strict=True):
        names = [score.name for score in prediction.classes]
        assert [c["name"] for c in entry["classes"]] == names == [row[f"class_{n}"] for n in (1, 2, 3)]
        assert float(row["probability_1"]) == pytest.approx(prediction.top.probability, abs=1e-4)
        assert int(row["seen_1"]) == prediction.top.seen and prediction.image[-30:] in printed
        assert np.allclose(list(entry["attention"].values())[0], list(prediction.attention.values())[0], atol=1e-4)
    drawn = sorted((tmp_path / "drawn").iterdir())
    assert [path.name for path in drawn] == [f"{i}.png" for i in range(6)]
    with Image.open(drawn[0]) as image:
        assert image.width == WIDTH


def test_images_of_one_name_are_all_drawn_in_folders_as_they_lie(birds, tmp_path) -> None:
    images, model = [birds.root / "images" / name / "0.png" for name in birds.names[:2]], birds.models["tfvaegan"]
    twin = tmp_path / "same" / "0.jpg"
    twin.parent.mkdir()
    with Image.open(images[0]) as image:
        image.convert("RGB").save(twin)
        image.save(twin.with_suffix(".png"))
    assert predict(model, *images, annotated=tmp_path / "drawn") == 0
    assert sorted((tmp_path / "drawn").rglob("*.png")) == [tmp_path / "drawn" / name / "0.png" for name in birds.names[:2]]
    assert predict(model, twin.parent, annotated=tmp_path / "flat") == 0
    assert sorted(path.name for path in (tmp_path / "flat").iterdir()) == ["0-2.png", "0.png"]


def test_scores_are_calibrated_as_validation_chose_unless_told_otherwise(birds, tmp_path) -> None:
    photo, model = birds.root / "images" / birds.names[0] / "0.png", tmp_path / "baseline.zsl"
    assert main(["export", str(birds.runs["tfvaegan"]), "--method", "ESZSL, centered", "--output", str(model)]) == 0
    predictor, found = Predictor.load(model), {}
    offset = predictor.model.calibration.offset
    for name, flags in {"default": (), "same": ("--calibration", offset), "raw": ("--uncalibrated",)}.items():
        assert predict(model, photo, *flags, json=tmp_path / f"{name}.json", top=22) == 0
        found[name] = json.loads((tmp_path / f"{name}.json").read_text())
    (raw,) = predictor.predict(photo, calibration=0, top=22)
    assert found["default"] == found["same"] != found["raw"] and offset > 0
    assert found["raw"][0]["classes"][0]["name"] == raw.top.name


def test_unreadable_images_are_listed_and_the_others_done(birds, tmp_path, capsys) -> None:
    (tmp_path / "a.jpg").write_text("no image")
    good = birds.root / "images" / birds.names[0] / "0.png"
    assert predict(birds.models["tfvaegan"], tmp_path / "a.jpg", good, json=tmp_path / "o.json") == 3
    out, err = capsys.readouterr()
    assert "1 of 2 images could not be read" in err and "a.jpg" in err and "0.png" in out
    stored = json.loads((tmp_path / "o.json").read_text())
    assert "a.jpg" in stored[0]["error"] and stored[1]["error"] is None and stored[1]["classes"]


def test_classes_are_added_used_and_saved(birds, tmp_path) -> None:
    table = AttributeTable(["Newcomer"], birds.table.attribute_names, birds.table.values[:1], "new")
    write_attribute_table(tmp_path / "new.csv", table)
    outputs = {"save_model": tmp_path / "more.zsl", "json": tmp_path / "o.json"}
    folder = birds.root / "images" / birds.names[0]
    assert predict(birds.models["dazle"], folder, "--zsl", add_classes=tmp_path / "new.csv", **outputs, top=99) == 0
    stored = json.loads((tmp_path / "o.json").read_text())
    assert len(stored) == 6
    for entry in stored:
        assert {c["name"] for c in entry["classes"]} == {birds.tested, birds.untested, "Newcomer"}
        assert not any(c["seen"] for c in entry["classes"])
    assert Predictor.load(tmp_path / "more.zsl").classes_ == [*birds.names, "Newcomer"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--web"),
        (["x.png", "--batch_size", 0], "--batch_size"),
        (["x.png", "--calibration", "nan"], "--calibration"),
        (["x.png", "--csv", "same", "--json", "same"], "--json, --csv"),
        (["none.png", "--json", "o.json"], "none.png"),
        (["empty", "--json", "o.json"], "empty"),
    ],
)
def test_wrong_commands_are_explained_and_nothing_is_written(birds, tmp_path, capsys, monkeypatch, arguments, words) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    assert predict(birds.models["dazle"], *arguments) == 1
    assert words in capsys.readouterr().err and [path.name for path in tmp_path.iterdir()] == ["empty"]
    assert predict("none.zsl", *(arguments or ["x.png"])) == 1


@pytest.mark.parametrize("flag", ["json", "csv", "annotated", "save_model"])
def test_a_photo_named_as_an_output_is_not_overwritten(birds, tmp_path, capsys, flag) -> None:
    photo = tmp_path / "victim.jpg"
    Image.new("RGB", (20, 20), "red").save(photo)
    content = photo.read_bytes()
    assert predict(birds.models["dazle"], photo, **{flag: photo}) == 1
    assert photo.read_bytes() == content and "victim.jpg: " in capsys.readouterr().err
    if flag != "annotated":
        assert predict(birds.models["dazle"], photo, **{flag: tmp_path}) == 1
        assert [path.name for path in tmp_path.iterdir()] == ["victim.jpg"]


def test_names_are_no_formulas_in_csv(tmp_path) -> None:
    names = ["=1+1", "@SUM(A1)", "'=x", "plain"]
    with csv_writer(tmp_path / "o.csv", 1) as write:
        for name in names:
            write(Prediction("-photo.jpg", [ClassScore(name, 0.5, False)]))
    rows = list(csv.DictReader((tmp_path / "o.csv").open()))
    assert [row["class_1"] for row in rows] == ["'=1+1", "'@SUM(A1)", "''=x", "plain"] and rows[0]["image"] == "'-photo.jpg"
    assert [from_formula_safe(row["class_1"]) for row in rows] == names


PREDICTION = Prediction(
    "a/bird.png",
    [ClassScore("one", 0.75, True), ClassScore("two", 0.25, False)],
    [AttributeReason("has_wing_color::red", 0.4, 0.5, 90.0), AttributeReason("long bill", 0.1, 0.2, 10.0)],
    {"has_wing_color::red": np.array([[1.0, 0], [0, 0]])},
)


def test_bars_are_as_long_as_the_probabilities() -> None:
    drawn = annotate(Image.new("RGB", (30, 20), "black"), PREDICTION)
    seen, unseen = (
        int((np.asarray(drawn) == ImageColor.getrgb(color)).all(axis=2).any(axis=0).sum()) for color in (SEEN, UNSEEN)
    )
    assert seen / unseen == pytest.approx(3, rel=0.05)
    bare = annotate(Image.new("RGB", (30, 20), "black"), Prediction("x", PREDICTION.classes))
    assert bare.width == WIDTH and bare.height < drawn.height


@pytest.mark.parametrize("size", [(1, 1), (3000, 10), (10, 3000)])
def test_images_of_any_shape_are_drawn(size) -> None:
    best = [ClassScore("c" * 200, 1.0, False)]
    prediction = Prediction("n" * 300 + ".png", best, PREDICTION.attributes, PREDICTION.attention)
    assert annotate(Image.new("RGB", size, "red"), prediction).width == WIDTH


def test_the_overlay_is_bright_where_attention_is_and_dark_outside_of_the_view() -> None:
    white = Image.new("RGB", (40, 20), "white")
    weights = np.array([[1.0, 0.0], [0.0, 0.0]])
    values = np.asarray(overlay(white, weights, (0.25, 0, 0.75, 1)))[..., 0]
    dim = int(DIM * 255)
    assert values[2, 12] == 255 and values[17, 27] == dim and (values[:, :10] == dim).all() and (values[:, 30:] == dim).all()
    assert (np.asarray(overlay(white, np.ones((2, 2)))) == 255).all()  # even attention leaves the image as it is
