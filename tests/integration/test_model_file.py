"""A model file comes back as it was written, holds no code, and is refused when it is cut short or lies."""

from __future__ import annotations

import json
import pickle
import shutil
import warnings
from dataclasses import replace

import msgspec
import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from zslab.app import export as export_module
from zslab.app import model_file
from zslab.app.export import export, main
from zslab.app.model_file import KEY, read_model, write_model
from zslab.app.predictor import Predictor
from zslab.baselines.eszsl import Eszsl
from zslab.data.dataset import FeatureScaling
from zslab.errors import InputError
from zslab.results.checkpoint import content_digest
from zslab.results.finished import read_run
from zslab.utils.names import clean_name

from helpers.damage import flip_bit
from helpers.exported_models import train
from helpers.tiny_models import tiny_model


def contents(path) -> tuple[dict, dict[str, torch.Tensor]]:
    with safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()[KEY]), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def rewritten(birds, path, method="tfvaegan", description=(), tensors=(), drop=()):
    """A model file with some fields and tensors replaced or dropped; its path."""
    about, stored = contents(birds.models[method])
    about = {k: v for k, v in (about | dict(description)).items() if k not in drop}
    stored = {k: v for k, v in (stored | dict(tensors)).items() if k not in drop}
    about["digest"] = content_digest(about, stored)
    save_file(stored, path, {KEY: json.dumps(about)})
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
    few = export(birds.runs["tfvaegan"], tmp_path / "few.zsl", max_seen_per_class=2)
    assert torch.bincount(few.train.labels).max() == 2 and few.train_share == pytest.approx(2 / 5)
    Predictor.load(tmp_path / "few.zsl").add_class("new", birds.table.values[0] + 1).predict_features(np.zeros((1, 656)))
    assert export(birds.runs["tfvaegan"], tmp_path / "none.zsl", max_seen_per_class=0).train is None
    with pytest.raises(InputError, match="max_seen_per_class"):
        Predictor.load(tmp_path / "none.zsl").add_class("new", birds.table.values[0])


def test_the_baseline_of_a_run_is_exported_and_takes_new_classes(birds, tmp_path) -> None:
    run = read_run(birds.runs["tfvaegan"])
    model = export(birds.runs["tfvaegan"], tmp_path / "eszsl.zsl", method="eszsl")
    dataset, _ = export_module._read_data(run, None)
    test = dataset.stage("test", "minmax", run.result["seed"])
    expected = Eszsl(**model.origin["settings"]).fit(test.train.features, test.train.labels, test.attributes)
    predictor = Predictor.load(tmp_path / "eszsl.zsl", device="cpu")
    features, scaled = dataset.features[dataset.locations["test_unseen"]], test.test_unseen.features[:]
    scores = predictor.decision_function(features)
    np.testing.assert_allclose(scores, expected.scores(scaled), atol=1e-4 * np.abs(scores).max())
    calibration = model.settings["calibration"]
    lowered = predictor.decision_function(features, calibration=calibration)
    np.testing.assert_allclose(lowered, scores - calibration * predictor.seen_, atol=1e-4)
    assert np.isneginf(predictor.decision_function(features, unseen_only=True)[:, predictor.seen_]).all()
    # A new class with the attributes of an old one has its scores, and no other score changes.
    place = birds.names.index(birds.tested)
    twin = predictor.copy().add_class("twin", birds.table.values[place])
    again = twin.decision_function(features)
    np.testing.assert_allclose(again[:, -1], scores[:, place], rtol=1e-3, atol=1e-4)
    assert np.array_equal(again[:, :-1], scores)
    assert np.array_equal(twin.remove_class("twin").decision_function(features), scores)
    wrong = replace(model, weights=model.weights | {"compatibility": -model.weights["compatibility"]})
    rows = [msgspec.structs.replace(row, acc_unseen=0.99) for row in run.result.rows]
    run = replace(run, result=msgspec.structs.replace(run.result, rows=rows))
    with pytest.raises(InputError, match="does not have the accuracy that its run found"):
        export_module.check_accuracies(wrong, dataset, run)
    with pytest.raises(InputError, match="one feature vector for each sample"):
        export(birds.runs["dazle"], tmp_path / "dazle.zsl", method="eszsl")


@pytest.mark.parametrize("choice", ["last", "val"])
def test_a_model_is_held_to_the_predictions_of_its_run(birds, tmp_path, choice) -> None:
    path = tmp_path / "m.zsl"
    model = export(birds.runs["tfvaegan"], path, choice=choice)
    assert model.origin["choice"] == choice


@pytest.mark.parametrize("task", ["zsl", "gzsl"])
@pytest.mark.parametrize("method", ["tfvaegan", "dazle"])
def test_a_model_that_predicts_otherwise_is_refused_for_either_task(birds, tmp_path, method, task) -> None:
    shutil.copytree(birds.runs[method], tmp_path / "run")
    arrays = dict(np.load(tmp_path / "run" / "evaluation.npz"))
    found = arrays[f"model_last_{task}_predictions"]
    arrays[f"model_last_{task}_predictions"] = (found + 1) % len(birds.names)
    np.savez(tmp_path / "run" / "evaluation.npz", **arrays)
    with pytest.raises(InputError, match=rf", {task}: the model does not predict what its run did \(got 0\.0 %"):
        export(tmp_path / "run", tmp_path / "m.zsl")
    assert not (tmp_path / "m.zsl").exists()


@pytest.mark.parametrize("task", ["zsl", "gzsl"])
def test_a_changed_head_is_refused_for_its_own_task(birds, task) -> None:
    run, model = read_run(birds.runs["tfvaegan"]), read_model(birds.models["tfvaegan"])
    dataset, _ = export_module._read_data(run, None)
    opposite = {f"{task}_head.{key}": -model.weights[f"{task}_head.{key}"] for key in ("weight", "bias")}
    with pytest.raises(InputError, match=rf", {task}: the model does not predict what its run did \(got 0\.0 %"):
        export_module.check_predictions(replace(model, weights=model.weights | opposite), dataset, run, "last")


class Spied(np.ndarray):
    """Features that call `note` with the numbers of rows that are read."""

    note = None

    def __getitem__(self, index):
        Spied.note(index)
        return np.asarray(self)[index]


@pytest.mark.parametrize("tasks", ["zsl", "gzsl", "zsl and gzsl"])
@pytest.mark.parametrize("method", ["tfvaegan", "dazle"])
def test_every_test_sample_is_read_once(birds, monkeypatch, method, tasks) -> None:
    run, model = read_run(birds.runs[method]), read_model(birds.models[method])
    for task in {"zsl", "gzsl"} - set(tasks.split()):
        del run.arrays[f"model_last_{task}_predictions"]
    dataset, _ = export_module._read_data(run, None)
    rows: list[int] = []
    if method == "dazle":
        read = dataset.regions.read
        monkeypatch.setattr(dataset.regions, "read", lambda part: rows.extend(part.tolist()) or read(part))
    else:
        monkeypatch.setattr(Spied, "note", lambda part: rows.extend(part.tolist()))
        dataset = replace(dataset, features=dataset.features.view(Spied))
    monkeypatch.setattr(export_module, "CHECKED", 7)
    export_module.check_predictions(model, dataset, run, "last")
    tests = dataset.locations["test_unseen"]
    if "gzsl" in tasks:
        tests = np.concatenate([dataset.locations["test_seen"], tests])
    assert rows == tests.tolist() and len(set(rows)) == len(rows) >= 6


def test_export_scales_what_it_keeps_and_what_it_checks_and_each_once(birds, tmp_path, monkeypatch) -> None:
    scaled, scale = [], FeatureScaling.__call__
    monkeypatch.setattr(FeatureScaling, "__call__", lambda self, rows: scaled.append(np.atleast_2d(rows)) or scale(self, rows))
    model = export(birds.runs["tfvaegan"], tmp_path / "m.zsl", max_seen_per_class=2)
    counts = read_run(birds.runs["tfvaegan"]).result["data"]["counts"]
    largest = 1  # of training, which the divisor comes from
    assert sum(map(len, scaled)) == largest + len(model.train) + counts["test_seen"] + counts["test_unseen"]


def test_an_older_run_without_heads_is_named(birds, tmp_path, capsys) -> None:
    shutil.copytree(birds.runs["tfvaegan"], tmp_path / "run")
    weights = tmp_path / "run" / "model_last.safetensors"
    save_file({"generator.x": torch.zeros(1)}, weights, {"epoch": "1"})
    assert main([str(tmp_path / "run"), "--output", str(tmp_path / "m.zsl")]) == 1
    assert "the weights cannot be read" in capsys.readouterr().err and not (tmp_path / "m.zsl").exists()


def test_a_flipped_bit_in_the_weights_of_a_run_is_one_error(birds, tmp_path, capsys) -> None:
    shutil.copytree(birds.runs["tfvaegan"], tmp_path / "run")
    flip_bit(tmp_path / "run" / "model_last.safetensors", -5)
    assert main([str(tmp_path / "run"), "--choice", "last", "--output", str(tmp_path / "m.zsl")]) == 1
    assert "content with another digest" in capsys.readouterr().err and not (tmp_path / "m.zsl").exists()


def test_a_model_of_an_action_gate_keeps_threshold_and_decisions(tiny, tmp_path) -> None:
    run = train("TINY", tiny, tmp_path / "runs", "res101", tree="zero-shot-actions", syn_num=20, ood_epochs=3)
    model = export(run, tmp_path / "gate.zsl")
    arrays = np.load(run / "evaluation.npz")
    assert model.settings["gate"]["threshold"] == pytest.approx(float(arrays["last_gate_threshold"]))
    predictor = Predictor.load(tmp_path / "gate.zsl")
    with pytest.raises(InputError, match="takes features only"):
        predictor.predict(np.zeros((8, 8, 3), np.uint8))
    added = predictor.copy().add_class("bird 9", np.linspace(0.1, 1, 5))
    scores = added.decision_function(np.random.default_rng(0).random((6, 7)))
    assert scores.shape == (6, 10) and (np.isfinite(scores).sum(axis=1) == np.isin(scores.argmax(1), range(6)) * 2 + 4).all()
    added.save(tmp_path / "added.zsl")
    again = Predictor.load(tmp_path / "added.zsl").decision_function(np.random.default_rng(0).random((6, 7)))
    assert np.array_equal(scores, again)


class Bomb:
    def __reduce__(self):
        return pytest.fail, ("code of the file was run",)


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda good: b"", "an empty file"),
        (lambda good: pickle.dumps(Bomb()), "a file of another kind"),
        (lambda good: b"PK\x03\x04" + bytes(100), "a ZIP archive"),
        (lambda good: b"\xff\xd8\xff" + bytes(100), "a file of another kind"),
        (lambda good: b"just some text, longer than a header", "a file of another kind"),
        (lambda good: good[: len(good) // 2], "model file is damaged"),
        (lambda good: good[:40], "model file is damaged"),
        (lambda good: (2**40).to_bytes(8, "little") + good[8:], "announces more"),
        (lambda good: (64 * 2**20).to_bytes(8, "little") + b"{" + bytes(64 * 2**20), "a header of"),
    ],
)
def test_files_that_are_no_models_are_refused(birds, tmp_path, make, words) -> None:
    path = tmp_path / "bad.zsl"
    path.write_bytes(make(birds.models["dazle"].read_bytes()))
    with pytest.raises(InputError, match=words):
        read_model(path)


def test_a_torch_file_full_of_code_is_refused_unopened(tmp_path) -> None:
    torch.save(Bomb(), tmp_path / "model.safetensors")
    with pytest.raises(InputError, match="a ZIP archive"):
        Predictor.load(tmp_path / "model.safetensors")


def test_a_missing_file_a_folder_and_other_safetensors_are_named(tmp_path) -> None:
    with pytest.raises(InputError, match="cannot be opened"):
        read_model(tmp_path / "no.zsl")
    with pytest.raises(InputError, match="model"):
        read_model(tmp_path)
    save_file({"x": torch.zeros(3)}, tmp_path / "x.safetensors")
    with pytest.raises(InputError, match="without our description"):
        read_model(tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    "field, value",
    [
        ("format", "other"),
        ("format_version", 99),
        ("format_version", True),
        ("method", "magic"),
        ("title", 3),
        ("class_names", []),
        ("class_names", ["a"] * 22),
        ("class_names", ["a\nb", *"bcdefghijklmnopqrstuv"]),
        ("class_names", "abc"),
        ("seen", [99]),
        ("seen", []),
        ("seen", [True]),
        ("settings", []),
        ("backbone", {"spec": 3, "weights": "", "digest": ""}),
        ("backbone", {"spec": {}, "weights": "", "digest": ""}),
        ("backbone", {"spec": {"name": "resnet18", "crop": 20_000}, "weights": "", "digest": ""}),
        ("scaling_divisor", 0),
        ("scaling_divisor", "1"),
        ("train_share", 2),
        ("rows", [1]),
        ("config", None),
        ("version", 1),
        ("notes", [3]),
        ("origin", []),
    ],
)
def test_a_description_that_lies_is_refused(birds, tmp_path, field, value) -> None:
    with pytest.raises(InputError, match=field.replace("_", ".")):
        read_model(rewritten(birds, tmp_path / "lie.zsl", description={field: value}))


@pytest.mark.parametrize("field", ["class_names", "settings", "attributes", "table", "train_labels", "table_low"])
def test_a_missing_part_is_named(birds, tmp_path, field) -> None:
    with pytest.raises(InputError, match=field):
        read_model(rewritten(birds, tmp_path / "lie.zsl", drop=[field]))


@pytest.mark.parametrize(
    "name, value",
    [
        ("attributes", torch.zeros(3, 3)),
        ("attributes", torch.full((22, 48), torch.nan)),
        ("table", torch.zeros(22, 48)),
        ("train_features", torch.zeros(5)),
        ("train_labels", torch.full((100,), 21)),
        ("scaling_shift", torch.zeros(3)),
        ("strange.tensor", torch.zeros(1)),
    ],
)
def test_a_tensor_that_lies_is_refused(birds, tmp_path, name, value) -> None:
    with pytest.raises(InputError, match=name.split(".")[0]):
        read_model(rewritten(birds, tmp_path / "lie.zsl", tensors={name: value}))


@pytest.mark.parametrize(
    "method, change",
    [
        ("tfvaegan", {"hidden_dim": 10**6}),
        ("tfvaegan", {"hidden_dim": -1}),
        ("tfvaegan", {"latent_dim": 2}),
        ("tfvaegan", {"hidden_dim": 10**12}),
        ("tfvaegan", {"transform": False}),
        ("tfvaegan", {"transform": "yes"}),
        ("tfvaegan", {"decoder_output": "none"}),
        ("tfvaegan", {"head_lr": "1"}),
        ("tfvaegan", {"gate": {"rule": "x"}}),
        ("tfvaegan", {"n_synthetic": True}),
        ("tfvaegan", {"n_synthetic": 10**6}),
        ("tfvaegan", {"head_epochs": 10**6}),
        ("tfvaegan", {"calibration": 1e29}),
        ("dazle", {"calibration": "x"}),
        ("dazle", {"grid": [7]}),
        ("dazle", {"grid": [7, 10**9]}),
        ("dazle", {"word_dim": 10**6}),
        ("dazle", {"options": {"normalize_features": True}}),
        ("dazle", {"margin": None}),
    ],
)
def test_settings_that_lie_are_refused_before_memory_is_spent(birds, tmp_path, method, change) -> None:
    settings = contents(birds.models[method])[0]["settings"] | change
    with pytest.raises(InputError, match="contradicts itself"):
        Predictor.load(rewritten(birds, tmp_path / "lie.zsl", method, {"settings": settings}))


@pytest.mark.parametrize("method", ["tfvaegan", "dazle"])
def test_a_flipped_bit_is_noticed(birds, tmp_path, method) -> None:
    content = bytearray(birds.models[method].read_bytes())
    content[-5] ^= 64
    (tmp_path / "bad.zsl").write_bytes(content)
    with pytest.raises(InputError, match="the model file is damaged"):
        read_model(tmp_path / "bad.zsl")


def test_numbers_beyond_all_bounds_are_refused(birds, tmp_path) -> None:
    for field, value in (("scaling_divisor", 10**310), ("title", "\ud800"), ("train_share", 1e-300)):
        with pytest.raises(InputError, match=f"{field}|no JSON"):
            read_model(rewritten(birds, tmp_path / "lie.zsl", description={field: value}))


def test_heads_of_other_classes_are_refused(birds, tmp_path) -> None:
    stored = contents(birds.models["tfvaegan"])[1]["weights.zsl_head.classes"]
    with pytest.raises(InputError, match="zsl_head.classes"):
        Predictor.load(rewritten(birds, tmp_path / "lie.zsl", tensors={"weights.zsl_head.classes": stored - 1}))


def test_json_bombs_are_refused(birds, tmp_path) -> None:
    tensors = contents(birds.models["dazle"])[1]
    for text in ("[" * 100_000, "NaN", "{", '{"rows": [NaN]}', "[]"):
        save_file(tensors, tmp_path / "bad.zsl", {KEY: text})
        with pytest.raises(InputError):
            read_model(tmp_path / "bad.zsl")


def test_a_full_disk_leaves_the_earlier_file(birds, tmp_path, monkeypatch) -> None:
    path = tmp_path / "m.zsl"
    shutil.copy(birds.models["dazle"], path)

    def full(*args):
        raise OSError(28, "No space left on device")

    model = read_model(path)
    monkeypatch.setattr(model_file.Path, "write_bytes", full)
    with pytest.raises(InputError, match="cannot be written"):
        write_model(path, replace(model, title="other"))
    assert path.read_bytes() == birds.models["dazle"].read_bytes()


@pytest.mark.parametrize("name", ["\u200eTeal", "\x1b[31mTeal\x1b[0m", "\ue000", "\U000323b0", "n" * 2000])
def test_a_name_that_a_table_may_have_is_one_that_a_model_file_opens(tmp_path, name) -> None:
    predictor = Predictor(tiny_model("eszsl"))
    (tmp_path / "more.csv").write_text(f"class,{','.join(predictor.attribute_names)}\n{name},1,0,0,1,0\n", encoding="utf-8")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        predictor.add_classes(tmp_path / "more.csv").add_class(name + " 2", [0, 1, 0, 0, 0])
    predictor.save(tmp_path / "more.zsl")
    assert Predictor.load(tmp_path / "more.zsl").classes_[-2:] == [clean_name(name), clean_name(name) + " 2"]


def test_a_model_that_could_not_be_opened_is_not_written(tmp_path) -> None:
    model = tiny_model("eszsl")
    with pytest.raises(InputError, match="class_names"):
        write_model(tmp_path / "m.zsl", replace(model, class_names=["\u200e" + name for name in model.class_names]))
    assert list(tmp_path.iterdir()) == []
