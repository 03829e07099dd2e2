"""One command from a folder of images and a table to a model file that can be believed."""

import json
import re
import shutil
from dataclasses import replace
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
import torch
from PIL import Image

from zslab import estimator
from zslab import learn as learn_module
from zslab.app.methods.base import build_method
from zslab.app.model_file import read_model
from zslab.app.prediction import describe
from zslab.app.predictor import Predictor
from zslab.baselines.comparison import BASELINES
from zslab.cli import main
from zslab.protocol.held_out import held_out_draws
from zslab.toy.species import SPECIES

from helpers.exported_models import write_birds, write_table
from helpers.tiny_models import tiny_model

NAMES = list(SPECIES)[:7]


def learn(root, *flags: str) -> int:
    flags = ("--backbone", "descriptor", "--dataroot", str(root / "data"), "--output", str(root / "birds.zsl"), *flags)
    return main(["learn", "--images", str(root / "images"), "--attributes", str(root / "birds.csv"), *flags])


@pytest.fixture(scope="module")
def learned(tmp_path_factory) -> SimpleNamespace:
    """Six toy species with images and one without; what the command prints, and the model."""
    root = tmp_path_factory.mktemp("learn")
    write_birds(root / "images", NAMES[:6], 6)
    write_table(root / "birds.csv", NAMES)
    with pytest.MonkeyPatch.context() as patch:
        printed: list[str] = []
        patch.setattr("builtins.print", lambda *parts, **_: printed.append(" ".join(map(str, parts))))
        assert learn(root) == 0
    return SimpleNamespace(root=root, out="\n".join(printed), model=read_model(root / "birds.zsl"))


def test_every_baseline_is_measured_and_the_best_is_exported(learned) -> None:
    model, table = learned.model, learned.out.split("\n")
    means = {
        name: float(next(line for line in table if line.startswith(f"{name}  ")).split("±")[1].split()[1]) for name in BASELINES
    }
    assert means[model.method] == max(means.values()) or "cannot tell from chance" in learned.out
    assert model.class_names == NAMES and model.seen.sum() == 6 and not model.seen[6]
    assert f"{model.method} is chosen" in learned.out and NAMES[6] in learned.out


def test_probabilities_are_calibrated_and_reports_show_it(learned) -> None:
    calibration = learned.model.calibration
    assert calibration.after.error < calibration.before.error and calibration.temperature != 1
    page, card = (learned.root / name for name in ("birds.html", "birds.card.md"))
    assert "data:image/png" in page.read_text(encoding="utf-8") and "prototype regression" in page.read_text(encoding="utf-8")
    assert f"{100 * calibration.after.error:.1f}" in card.read_text(encoding="utf-8")


def test_the_model_predicts_explains_and_knows_its_own(learned, tmp_path, capsys) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    photos, table = learned.root / "images", tmp_path / "out.csv"
    flags = ["--json", str(tmp_path / "out.json"), "--csv", str(table), "--annotated", str(tmp_path / "drawn")]
    assert main(["predict", "--model", str(learned.root / "birds.zsl"), str(photos), str(tmp_path / "noise.png"), *flags]) == 0
    *own, other = json.loads((tmp_path / "out.json").read_text())
    assert np.mean([p["familiar"] for p in own]) > 0.9 and other["familiar"] is False
    assert [row.rsplit(",", 1)[1] for row in table.read_text().splitlines()[-2:]] == ["1", "0"]
    assert capsys.readouterr().out.count("not like the training images") == 1 + sum(not p["familiar"] for p in own)
    assert np.mean([p["classes"][0]["name"] in p["image"] for p in own]) > 0.8


def test_reasons_leave_out_what_the_second_class_shares() -> None:
    model = tiny_model("prototype regression")
    model.table[:, 1] = 0.5
    attributes = torch.from_numpy(model.attribute_scale.apply(model.table, model.class_names, ""))
    model = msgspec.structs.replace(model, text=None, attributes=attributes)
    method = build_method(model, "", torch.device("cpu"))
    output = method.forward(torch.rand(20, 7))
    names, views = [str(n) for n in range(20)], [(0.0, 0.0, 1.0, 1.0)] * 20
    predictions = describe(method, output, output.every, model, names, views, top=2, attributes=5)
    assert any(prediction.attributes for prediction in predictions)
    for prediction, read in zip(predictions, output.read):
        first, second = (model.class_names.index(score.name) for score in prediction.classes)
        gaps = read * (method.attributes[first] - method.attributes[second])
        gaps[1] = 0
        listed = {reason.name: reason.contribution for reason in prediction.attributes}
        expected = {f"has {i}": gap for i, gap in enumerate(gaps.tolist()) if gap > 0}
        assert listed == pytest.approx(expected, abs=1e-6)


@pytest.fixture
def one_candidate(monkeypatch) -> None:
    """Measure no more than the quickest baseline."""
    only = {"prototype regression": BASELINES["prototype regression"]}
    monkeypatch.setattr("zslab.app.candidates.usable_baselines", lambda *draws, seed: only)


def test_features_are_made_once_for_the_same_inputs(learned, one_candidate, tmp_path, capsys) -> None:
    root = tmp_path / "again"
    shutil.copytree(learned.root, root)
    assert learn(root) == 0 and learn(root) == 0
    assert capsys.readouterr().out.count("as made before") == 1  # the copy lies elsewhere
    shutil.rmtree(root / "images" / NAMES[0])
    assert learn(root) == 0
    assert "as made before" not in capsys.readouterr().out and not read_model(root / "birds.zsl").seen[0]


def test_what_is_ignored_is_said_once(learned, one_candidate, tmp_path, caplog) -> None:
    shutil.copytree(learned.root / "images", tmp_path / "images")
    shutil.copy(learned.root / "birds.csv", tmp_path)
    (tmp_path / "images" / NAMES[0] / "notes.txt").touch()
    assert learn(tmp_path) == 0 and caplog.text.count("1 .txt") == 1


def test_two_seen_classes_give_a_model_that_is_not_measured(learned, tmp_path, capsys) -> None:
    for name in NAMES[:2]:
        shutil.copytree(learned.root / "images" / name, tmp_path / "images" / name)
    shutil.copy(learned.root / "birds.csv", tmp_path)
    assert learn(tmp_path) == 0
    assert "Nothing can be measured" in capsys.readouterr().out
    model = read_model(tmp_path / "birds.zsl")
    assert model.calibration.before is None and model.familiarity is None
    assert sum(1 for _ in Predictor(model).predict(learned.root / "images" / NAMES[0])) == 6


@pytest.fixture(scope="module")
def with_regions(learned, tmp_path_factory):
    root = tmp_path_factory.mktemp("all") / "root"
    shutil.copytree(learned.root, root)
    return root


@pytest.mark.parametrize("chosen", ["tfvaegan", "dazle"])
def test_all_methods_are_measured_and_any_can_be_the_model(with_regions, monkeypatch, capsys, chosen: str) -> None:
    monkeypatch.setattr(learn_module, "held_out_draws", lambda dataset: held_out_draws(dataset)[:2])
    for flags, few in (("FLAGS", {"ngh": 16, "ndh": 16, "syn_num": 8}), ("DAZLE_FLAGS", {"dim_v": 8})):
        monkeypatch.setattr(estimator, flags, replace(getattr(estimator, flags), nepoch=1, **few))
    choice = learn_module.best_candidate
    monkeypatch.setattr(learn_module, "best_candidate", lambda each: choice([c for c in each if c.name == chosen]))
    assert learn(with_regions, "--methods", "all", "--write_regions") == 0
    out = capsys.readouterr().out
    assert all(f"\n{name}  " in f"\n{out}" for name in [*BASELINES, "tfvaegan", "dazle"])
    model = read_model(with_regions / "birds.zsl")
    assert model.method == chosen and model.calibration.after is not None
    assert (model.familiarity is None) == (chosen == "dazle")
    predictions = list(Predictor(model).predict(with_regions / "images" / NAMES[0]))
    assert len(predictions) == 6 and all(sum(c.probability for c in p.classes) <= 1.001 for p in predictions)


def test_text_similarity_is_what_open_clip_computes_and_takes_classes_by_sentence(
    learned, tiny_clip, monkeypatch, capsys
) -> None:
    choice = learn_module.best_candidate
    monkeypatch.setattr(learn_module, "best_candidate", lambda each: choice([c for c in each if c.name == "text similarity"]))
    root, output = learned.root, learned.root / "clip.zsl"
    flags = ["--backbone", tiny_clip.place, "--describe", "names", "--unseen", NAMES[0], "sea eagle", "--template", "a {}"]
    flags += ["--output", str(output), "--dataroot", str(root / "data")]
    assert main(["learn", "--images", str(root / "images"), *flags]) == 0
    out = capsys.readouterr().out
    assert all(f"\n{name}  " in f"\n{out}" for name in [*BASELINES, "text similarity"]) and "sea eagle" in out
    clip, photo = tiny_clip.model, next((root / "images" / NAMES[1]).iterdir())
    tokens = tiny_clip.open_clip.get_tokenizer("tiny-clip")
    as_clip_does = tiny_clip.open_clip.image_transform(32, is_train=False, interpolation="bicubic")
    predictor = Predictor.load(output, device="cpu").add_described("Dodo", "a bird of no island")
    names = [*NAMES[:6], "sea eagle"]
    assert predictor.classes_ == [*names, "Dodo"] and predictor.seen_.tolist() == [False, *5 * [True], False, False]
    with torch.inference_mode():
        image = clip.encode_image(as_clip_does(Image.open(photo).convert("RGB"))[None], normalize=True)
        texts = clip.encode_text(
            tokens([*(f"a {name.replace('_', ' ')}" for name in names), "a bird of no island"]), normalize=True
        )
    features = predictor.backbone.features(predictor.backbone.read(photo)[0][None])[0].numpy()
    np.testing.assert_allclose(predictor.decision_function(features, calibration=0.0), 100 * image @ texts.T, atol=1e-3)
    (prediction,) = predictor.predict(photo)
    assert prediction.attributes == [] and prediction.familiar is not None


def test_sentences_take_the_place_of_a_table(learned, one_candidate, tmp_path, capsys) -> None:
    words, sentences = tmp_path / "words.txt", tmp_path / "birds.csv"
    colors = np.random.default_rng(0).random((9, 4))
    words.write_text("".join(f"{word} {' '.join(map(str, row))}\n" for word, row in zip("abcdefghi", colors)))
    sentences.write_text("class,sentence\n" + "".join(f'{name},"{word}, i"\n' for name, word in zip(NAMES, "abcdefg")))
    flags = ["--describe", str(sentences), "--encoder", f"words:{words}", "--output", str(tmp_path / "birds.zsl")]
    flags += ["--backbone", "descriptor", "--dataroot", str(tmp_path)]
    command = ["learn", "--images", str(learned.root / "images"), *flags]
    assert main(command) == 0
    model = read_model(tmp_path / "birds.zsl")
    assert model.class_names == NAMES and not model.seen[6] and "text similarity" not in capsys.readouterr().out
    expected = colors[:7] + colors[8]
    np.testing.assert_allclose(model.attributes, expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-6)
    assert main(command) == 0 and "as made before" in capsys.readouterr().out
    sentences.write_text(sentences.read_text().replace("g, i", "h, i"))
    assert main(command) == 0 and "as made before" not in capsys.readouterr().out
    assert not np.allclose(read_model(tmp_path / "birds.zsl").attributes[6], model.attributes[6])


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ((), "--attributes / --describe: .*neither"),
        (("--describe", "names", "--attributes", "birds.csv"), "--attributes / --describe: .*both"),
        (("--describe", "names", "--write_regions"), "--write_regions: "),
        (("--describe", "names", "--template", "a bird"), "--template: "),
    ],
)
def test_class_vectors_come_from_one_place(learned, tmp_path, capsys, flags, words) -> None:
    common = ["--backbone", "descriptor", "--dataroot", str(tmp_path), "--output", str(tmp_path / "x.zsl")]
    assert main(["learn", "--images", str(learned.root / "images"), *common, *flags]) == 1
    assert re.search(words, capsys.readouterr().err)


def test_another_file_is_not_replaced(learned, tmp_path, capsys) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"a photo, no model")
    assert learn(learned.root, "--output", str(tmp_path / "photo.jpg")) == 1
    assert "--output" in capsys.readouterr().err and (tmp_path / "photo.jpg").read_bytes() == b"a photo, no model"
