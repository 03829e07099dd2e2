"""A model file comes back as it was written, holds no code, and is refused when it is cut short or lies."""

import json
import pickle
import re
import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from zslab.app import export as export_module
from zslab.app.export import ExportConfig, export
from zslab.app.model_file import KEY, read_model, write_model
from zslab.app.predictor import Predictor
from zslab.baselines.eszsl import Eszsl
from zslab.cli import main
from zslab.errors import InputError
from zslab.protocol.held_out import validation_dataset
from zslab.report.run import write_report
from zslab.results.finished import read_run
from zslab.results.folder import content_digest
from zslab.results.result import read_calibration
from zslab.utils.names import clean_name

from helpers.damage import flip_bit
from helpers.exported_models import train
from helpers.tiny_models import tiny_model


def contents(path) -> tuple[dict, dict[str, torch.Tensor]]:
    with safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()[KEY]), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def rewritten(path, method="tfvaegan", header=(), tensors=(), drop=()):
    """A model file with some fields and tensors replaced or dropped; its path."""
    write_model(path, tiny_model(method))
    about, stored = contents(path)
    about, stored = (
        {k: v for k, v in (part | dict(new)).items() if k not in drop} for part, new in ((about, header), (stored, tensors))
    )
    save_file(stored, path, {KEY: json.dumps(about | {"digest": content_digest(about, stored)})})
    return path


@pytest.mark.parametrize("method", ["tfvaegan", "dazle"])
def test_what_is_written_comes_back(birds, tmp_path, method) -> None:
    model = read_model(birds.models[method])
    assert model.method == method and model.class_names == birds.names
    assert model.seen.sum() == 20 and not model.seen[[birds.names.index(n) for n in (birds.tested, birds.untested)]].any()
    assert model.attribute_names == birds.table.attribute_names and np.allclose(model.table, birds.table.values)
    unit = birds.table.values / np.linalg.norm(birds.table.values, axis=1, keepdims=True)
    assert np.allclose(model.attributes, unit, atol=1e-6)
    assert [row["row"] for row in model.rows][:2] == ["paper", "val"] and model.config["nepoch"] in (2, 40)
    write_model(tmp_path / "again.zsl", model)
    assert (tmp_path / "again.zsl").read_bytes() == birds.models[method].read_bytes()


def test_only_what_prediction_and_new_classes_need_is_kept(birds) -> None:
    model = read_model(birds.models["tfvaegan"])
    assert {name.split(".")[0] for name in model.weights} == {"generator", "feedback", "decoder", "zsl_head", "gzsl_head"}
    assert len(model.train) == 20 * 5 and model.train_share == 1  # 6 images a class, one of them held out for testing
    assert model.train.features.min() >= 0 and model.train.features.max() <= 1


def test_seen_features_are_capped_and_can_be_left_out(birds, tmp_path) -> None:
    run, row = birds.runs["tfvaegan"], birds.table.values[0] + 1
    few = export(ExportConfig(run, tmp_path / "few.zsl", method="tfvaegan", max_seen_per_class=2))
    assert torch.bincount(few.train.labels).max() == 2 and few.train_share == pytest.approx(2 / 5)
    Predictor.load(tmp_path / "few.zsl").add_class("new", row).predict_proba(np.zeros((1, 656)))
    assert export(ExportConfig(run, tmp_path / "none.zsl", method="tfvaegan", max_seen_per_class=0)).train is None
    with pytest.raises(InputError, match="max_seen_per_class"):
        Predictor.load(tmp_path / "none.zsl").add_class("new", row)


@pytest.mark.parametrize("name", ["\u200eTeal", "\x1b[31mTeal\x1b[0m", "\ue000", "\U000323b0", "n" * 2000])
def test_a_name_that_a_table_may_have_is_one_that_a_model_file_opens(tmp_path, name) -> None:
    predictor = Predictor(tiny_model("prototype regression"))
    (tmp_path / "more.csv").write_text(f"class,{','.join(predictor.attribute_names)}\n{name},1,0,0,1,0\n", encoding="utf-8")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        predictor.add_classes(tmp_path / "more.csv").add_class(name + " 2", [0, 1, 0, 0, 0])
    predictor.save(tmp_path / "more.zsl")
    assert Predictor.load(tmp_path / "more.zsl").classes_[-2:] == [clean_name(name), clean_name(name) + " 2"]


def test_the_baseline_of_a_run_is_exported_and_takes_new_classes(birds, tmp_path) -> None:
    run = read_run(birds.runs["tfvaegan"])
    model = export(ExportConfig(birds.runs["tfvaegan"], tmp_path / "eszsl.zsl", method="eszsl, CENTERED"))
    dataset, _ = export_module._read_data(run, None)
    test = dataset.stage("test", "minmax", run.result.seed)
    expected = Eszsl(**model.settings["arguments"]).fit(test.train.features, test.train.labels, test.attributes)
    predictor = Predictor.load(tmp_path / "eszsl.zsl", device="cpu")
    features, scaled = dataset.features[dataset.locations["test_unseen"]], test.test_unseen.features[:]
    scores = predictor.decision_function(features, calibration=0)
    np.testing.assert_allclose(scores, expected.scores(scaled), atol=1e-4 * np.abs(scores).max())
    lowered = predictor.decision_function(features)
    np.testing.assert_allclose(lowered, scores - model.calibration.offset * predictor.seen_, atol=1e-4)
    assert np.isneginf(predictor.decision_function(features, unseen_only=True)[:, predictor.seen_]).all()
    # A new class with the attributes of an old one has its scores, and no other score changes.
    place = birds.names.index(birds.tested)
    twin = predictor.copy().add_class("twin", birds.table.values[place])
    again = twin.decision_function(features)
    np.testing.assert_allclose(again[:, -1], scores[:, place], rtol=1e-3, atol=1e-4)
    assert np.array_equal(again[:, :-1], lowered)
    assert np.array_equal(twin.remove_class("twin").decision_function(features), lowered)
    export_module.check_predictions(model, dataset, run)
    rows = [msgspec.structs.replace(row, acc_unseen=(row.acc_unseen or 0) + 0.1) for row in run.result.rows]
    run = replace(run, result=msgspec.structs.replace(run.result, rows=rows))
    with pytest.raises(InputError, match="acc_unseen"):
        export_module.check_predictions(model, dataset, run)
    with pytest.raises(InputError, match="--method.*region maps"):
        export(ExportConfig(birds.runs["dazle"], tmp_path / "dazle.zsl", method="ESZSL"))


@pytest.mark.parametrize("method", ["tfvaegan", "ESZSL, centered"])
def test_an_exported_run_is_calibrated_on_its_validation_stage_and_its_report_says_so(
    birds, tmp_path, monkeypatch, method: str
) -> None:
    run = read_run(Path(shutil.copytree(birds.runs["tfvaegan"], tmp_path / "run")))
    monkeypatch.setattr("zslab.report.plots.plot.to_png", lambda figure: b"")
    page = write_report(run.path).read_text(encoding="utf-8")
    assert "Probabilities" not in page
    assert main(["export", str(run.path), "--method", method, "--output", str(tmp_path / "m.zsl")]) == 0
    model, page = read_model(tmp_path / "m.zsl"), (run.path / "report.html").read_text(encoding="utf-8")
    before, after = (100 * each.error for each in (model.calibration.before, model.calibration.after))
    assert f"({method})" in page and re.search(rf"error\s+{before:.1f} points before and {after:.1f} after", page)
    assert read_calibration(run.path).after == model.calibration.after and (run.path / "plots" / "reliability.png").exists()
    calibration, data = model.calibration, validation_dataset(export_module._read_data(run, None)[0], run.result.seed)
    n = len(data.locations["test_seen"]) + len(data.locations["test_unseen"])
    assert sum(count for _, _, count in calibration.after.bins) == sum(count for _, _, count in calibration.before.bins) == n
    assert calibration.temperature != 1 and model.familiarity is not None
    if method == "ESZSL, centered":  # whose scores are no logits
        assert calibration.after.error < calibration.before.error


def test_the_model_that_validation_chose_is_held_to_the_predictions_of_its_run(birds, tmp_path) -> None:
    model = export(ExportConfig(birds.runs["tfvaegan"], tmp_path / "m.zsl", choice="val", method="tfvaegan"))
    assert model.origin["choice"] == "val"


@pytest.mark.parametrize("task", ["zsl", "gzsl"])
@pytest.mark.parametrize("method", ["tfvaegan", "dazle"])
def test_a_model_that_predicts_otherwise_is_refused_for_either_task(birds, tmp_path, method, task) -> None:
    shutil.copytree(birds.runs[method], tmp_path / "run")
    arrays = dict(np.load(tmp_path / "run" / "evaluation.npz"))
    found = arrays[f"model_last_{task}_predictions"]
    arrays[f"model_last_{task}_predictions"] = (found + 1) % len(birds.names)
    np.savez(tmp_path / "run" / "evaluation.npz", **arrays)
    with pytest.raises(InputError, match=rf", {task}: .*got 0\.0 %"):
        export(ExportConfig(tmp_path / "run", tmp_path / "m.zsl", method=method))
    assert not (tmp_path / "m.zsl").exists()


def test_damaged_or_older_weights_of_a_run_are_one_error(birds, tmp_path, capsys) -> None:
    shutil.copytree(birds.runs["tfvaegan"], tmp_path / "run")
    weights = tmp_path / "run" / "model_last.safetensors"
    command = ["export", str(tmp_path / "run"), "--method", "tfvaegan", "--output", str(tmp_path / "m.zsl")]
    flip_bit(weights, -5)
    assert main(command) == 1 and "content with another digest" in capsys.readouterr().err
    save_file({"generator.x": torch.zeros(1)}, weights, {"epoch": "1"})
    assert main(command) == 1 and str(weights) in capsys.readouterr().err and not (tmp_path / "m.zsl").exists()


def test_a_model_of_an_action_gate_keeps_threshold_and_decisions(tiny, tmp_path) -> None:
    run = train("TINY", tiny, tmp_path / "runs", "res101", tree="zero-shot-actions", syn_num=20, ood_epochs=3)
    model = export(ExportConfig(run, tmp_path / "gate.zsl", method="tfvaegan"))
    arrays = np.load(run / "evaluation.npz")
    assert model.settings["gate"]["threshold"] == pytest.approx(float(arrays["last_gate_threshold"]))
    predictor, features = Predictor.load(tmp_path / "gate.zsl"), np.random.default_rng(0).random((6, 7))
    with pytest.raises(InputError, match="takes features only"):
        predictor.predict(np.zeros((8, 8, 3), np.uint8))
    added = predictor.copy().add_class("bird 9", np.linspace(0.1, 1, 5))
    scores = added.decision_function(features)
    assert scores.shape == (6, 10) and (np.isfinite(scores).sum(axis=1) == np.isin(scores.argmax(1), range(6)) * 2 + 4).all()
    added.save(tmp_path / "added.zsl")
    assert np.array_equal(scores, Predictor.load(tmp_path / "added.zsl").decision_function(features))


class Bomb:
    def __reduce__(self):
        return pytest.fail, ("code of the file was run",)


@pytest.mark.parametrize(
    "make",
    [
        lambda good: b"",
        lambda good: pickle.dumps(Bomb()),
        lambda good: good[: len(good) // 2],
        lambda good: (2**40).to_bytes(8, "little") + good[8:],
        lambda good: good[:-5] + bytes([good[-5] ^ 64]) + good[-4:],
        lambda good: None,
    ],
)
def test_files_that_are_no_models_are_refused(tmp_path, make) -> None:
    path = tmp_path / "bad.zsl"
    write_model(path, tiny_model("dazle"))
    content = make(path.read_bytes())
    path.write_bytes(content) if content is not None else path.unlink()
    with pytest.raises(InputError, match="bad.zsl: the file must be a complete model"):
        read_model(path)


def test_other_containers_and_folders_are_refused(tmp_path) -> None:
    torch.save(Bomb(), tmp_path / "torch.zsl")
    save_file({"x": torch.zeros(3)}, tmp_path / "other.zsl")
    for name, found in (("torch.zsl", "ZIP|header"), ("other.zsl", "another kind"), ("", "")):
        with pytest.raises(InputError, match=f"must be a complete model.*{found}"):
            read_model(tmp_path / name)


@pytest.mark.parametrize(
    "field, value",
    [
        ("format_version", 99),
        ("class_names", ["a\nb", *"bcdefghi"]),
        ("backbone", {"spec": {"name": "resnet18", "crop": 0}, "weights": "", "digest": ""}),
        ("calibration", {"offset": 1e29}),
    ],
)
def test_a_header_that_lies_is_refused(tmp_path, field, value) -> None:
    with pytest.raises(InputError, match=r"lie\.zsl: ") as refused:
        read_model(rewritten(tmp_path / "lie.zsl", header={field: value}))
    assert any(word in str(refused.value) for word in (field, field.replace("_", " "), "crop"))


@pytest.mark.parametrize(
    "name, value",
    [
        ("attributes", torch.ones(9, 5)),
        ("seen", torch.ones(8, dtype=torch.bool)),
        ("train.labels", torch.full((12,), 8)),
        ("scaling.shift", torch.zeros(3, dtype=torch.float64)),
        ("strange.tensor", torch.zeros(1)),
        ("attribute_scale.low", None),
    ],
)
def test_a_part_that_lies_or_is_missing_is_named(tmp_path, name, value) -> None:
    change = {"drop": [name]} if value is None else {"tensors": {name: value}}
    with pytest.raises(InputError, match=r"lie\.zsl"):
        read_model(rewritten(tmp_path / "lie.zsl", **change))


@pytest.mark.parametrize(
    "method, change",
    [
        ("tfvaegan", {"hidden_dim": 10**6}),
        ("tfvaegan", {"transform": "yes"}),
        ("dazle", {"grid": [7, 10**9]}),
        ("prototype regression", {"feature_dim": 8}),
    ],
)
def test_settings_that_lie_are_refused_before_memory_is_spent(tmp_path, method, change) -> None:
    path = rewritten(tmp_path / "lie.zsl", method, {"settings": tiny_model(method).settings | change})
    with pytest.raises(InputError, match=r"lie\.zsl, (settings|weights)"):
        Predictor.load(path)


def test_a_method_that_nobody_registered_is_named(tmp_path) -> None:
    with pytest.raises(InputError, match="'magic'"):
        Predictor.load(rewritten(tmp_path / "lie.zsl", header={"method": "magic"}))


def test_a_model_that_could_not_be_opened_is_not_written(tmp_path) -> None:
    with pytest.raises(InputError, match="train_share"):
        write_model(tmp_path / "m.zsl", msgspec.structs.replace(tiny_model("dazle"), train_share=-1.0))
    assert list(tmp_path.iterdir()) == []
