"""The predictor says what the run said, explains it with its own numbers, and takes new classes in."""

import io
import itertools
import re
import weakref
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from zslab.app.export import ExportConfig, export
from zslab.app.model_file import read_model
from zslab.app.predictor import Predictor, UnusualAttributesWarning
from zslab.data.region_dataset import read_region_maps
from zslab.data.xlsa17 import read_xlsa17
from zslab.errors import InputError
from zslab.features import backbones
from zslab.features.backbones import BackboneSpec

from helpers.exported_models import train_dazle
from helpers.tiny_models import tiny_model


def test_rows(birds):
    """LazyFeatures of the test samples, seen then unseen, their features and their images."""
    data = read_xlsa17(birds.root / "data", "BIRDS", "descriptor", "att")
    maps = read_region_maps(birds.made.folder / f"{birds.made.regions}.hdf5", split_file=birds.made.folder / "att_splits.mat")
    rows = np.concatenate([data.locations["test_seen"], data.locations["test_unseen"]])
    files = [str(birds.root / "images" / maps.image_files[row]) for row in rows]
    return {"tfvaegan": data.features[rows], "dazle": maps.regions.read(rows)}, files, len(data.locations["test_seen"])


test_rows.__test__ = False


def best(predictor: Predictor, features: np.ndarray, **options) -> list[str]:
    """Names of the best classes of features."""
    return np.array(predictor.classes_)[predictor.decision_function(features, **options).argmax(axis=1)].tolist()


@pytest.mark.parametrize("method", ["tfvaegan", "dazle"])
def test_predictions_equal_those_of_the_run(birds, method) -> None:
    predictor, (features, files, n_seen) = Predictor.load(birds.models[method]), test_rows(birds)
    run = np.load(birds.runs[method] / "evaluation.npz")
    names = np.array(predictor.classes_)
    for unseen_only, expected in ((False, run["model_last_gzsl_predictions"]), (True, run["model_last_zsl_predictions"])):
        first = n_seen if unseen_only else 0
        options = {"unseen_only": unseen_only, "calibration": 0}
        found = best(predictor, features[method][first:], **options)
        assert found == names[expected].tolist() and (unseen_only or method == "dazle" or len(set(found)) > 3)
        assert [p.top.name for p in predictor.predict(files[first:], batch_size=5, **options)] == found


@pytest.mark.parametrize("method", ["tfvaegan", "dazle"])
def test_probabilities_are_the_softmax_of_the_scores_in_question(birds, method) -> None:
    predictor, (features, _, _) = Predictor.load(birds.models[method]), test_rows(birds)
    features = features[method][:7]
    for unseen_only in (False, True):
        p = predictor.predict_proba(features, unseen_only=unseen_only)
        scores = predictor.decision_function(features, unseen_only=unseen_only)
        weights = np.exp((scores - scores.max(axis=1, keepdims=True)) / predictor.model.calibration.temperature)
        assert np.allclose(p, weights / weights.sum(axis=1, keepdims=True), atol=1e-6)
        assert (p[:, predictor.seen_] == 0).all() if unseen_only else (p > 0).all()
    lowered = predictor.decision_function(features, calibration=1.5)
    drop = predictor.decision_function(features, calibration=0) - lowered
    assert np.allclose(drop[:, predictor.seen_], 1.5, atol=1e-5) and np.allclose(drop[:, ~predictor.seen_], 0)


def check_reasons(predictor: Predictor, prediction, weights: np.ndarray) -> None:
    """The reasons are what the attributes add to the first class and not to the second, if they differ in them."""
    model, (first, second) = predictor.model, (predictor.classes_.index(score.name) for score in prediction.classes[:2])
    gaps = weights * (model.attributes[first] - model.attributes[second]).numpy()
    gaps[model.table[first] == model.table[second]] = 0
    expected = {name: gap for name, gap in zip(model.attribute_names, gaps) if gap > 0}
    assert {r.name: r.contribution for r in prediction.attributes} == pytest.approx(expected, abs=1e-5)
    contributions = [r.contribution for r in prediction.attributes]
    assert contributions == sorted(contributions, reverse=True) and len(contributions) > 1
    assert all(r.value == model.table[first, model.attribute_names.index(r.name)] for r in prediction.attributes)


def test_attributes_explain_by_the_decoders_reading(birds) -> None:
    predictor, (features, files, _) = Predictor.load(birds.models["tfvaegan"]), test_rows(birds)
    model = predictor.model
    (prediction,) = predictor.predict(files[0], attributes=48, top=3)
    w = {k.removeprefix("decoder."): v.numpy() for k, v in model.weights.items() if k.startswith("decoder.")}
    x = (features["tfvaegan"][0] * model.scaling.factor + model.scaling.shift) / model.scaling.divisor
    h = w["hidden.weight"] @ x + w["hidden.bias"]
    a = w["attributes.weight"] @ np.where(h > 0, h, 0.2 * h) + w["attributes.bias"]
    check_reasons(predictor, prediction, a / np.linalg.norm(a))
    assert len(prediction.classes) == 3 and prediction.attention == {}
    assert all(c.seen == bool(model.seen[model.class_names.index(c.name)]) for c in prediction.classes)


def test_dazle_explains_by_parts_of_its_score_and_shows_where_it_looked(birds) -> None:
    predictor, (features, files, _) = Predictor.load(birds.models["dazle"]), test_rows(birds)
    (prediction,) = predictor.predict([files[3]], attributes=48, calibration=0)
    (output,) = predictor.outputs(features["dazle"][3:4])
    weights, margin = output.weights[0].numpy(), np.where(predictor.seen_, -1, 1)
    scores = predictor.decision_function(features["dazle"][3:4], calibration=0)[0]
    assert predictor.model.attributes.numpy() @ weights == pytest.approx(scores - margin, abs=1e-3)
    check_reasons(predictor, prediction, weights)
    maps = prediction.attention
    assert set(maps) == {r.name for r in prediction.attributes}
    assert all(m.shape == (7, 7) and m.min() >= 0 and m.sum() == pytest.approx(1, abs=1e-4) for m in maps.values())


def trained(birds, folder: Path, **flags) -> Path:
    """A DAZLE of other flags; its run folder."""
    shared = {"cache": "memory", "split_file": Path("att_splits.mat")}
    return train_dazle("BIRDS", birds.root / "data", folder, birds.made.regions, **shared, **flags)


def test_a_run_with_an_attribute_that_has_no_word_vector_is_kept_too(birds, tmp_path) -> None:
    """Its data are opened as the run opened them, every flag of it."""
    vectors = np.random.default_rng(0).normal(size=(len(birds.table.attribute_names), 12))
    vectors[3] = 0
    np.save(tmp_path / "vectors.npy", vectors)
    flags = {"w2v_file": tmp_path / "vectors.npy", "allow_missing_w2v": True, "select": "val"}
    model = export(ExportConfig(trained(birds, tmp_path / "runs", nepoch=1, **flags), tmp_path / "birds.zsl"))
    assert model.weights["vectors"].shape == (len(vectors), 12) and model.calibration.after is not None


def test_a_convolutions_running_statistics_come_along(birds, tmp_path) -> None:
    """A model with batch normalization predicts what its run did, one image at a time as well, and refuses a lie."""
    run = trained(birds, tmp_path / "runs", nepoch=4, is_conv=True, non_linear_emb=True, uniform_att_1=True)
    model = export(ExportConfig(run, tmp_path / "conv.zsl"))
    stored, trained_ones = read_model(tmp_path / "conv.zsl").weights, load_file(run / "model_last.safetensors")
    statistics = [f"normalization.{name}" for name in ("running_mean", "running_var", "num_batches_tracked")]
    assert all(torch.equal(stored[name], trained_ones[name]) for name in statistics)
    predictor, (features, files, _) = Predictor.load(tmp_path / "conv.zsl"), test_rows(birds)
    together = predictor.decision_function(features["dazle"], calibration=0)
    expected = np.load(run / "evaluation.npz")["model_last_gzsl_predictions"]
    assert together.argmax(axis=1).tolist() == expected.tolist()
    alone = np.concatenate([predictor.decision_function(row[None], calibration=0) for row in features["dazle"]])
    assert np.allclose(alone, together, rtol=1e-4, atol=1e-4)
    (prediction,) = predictor.predict(files[:1])
    assert next(iter(prediction.attention.values())).shape == (6, 6)
    for name, value in ((statistics[1], -stored[statistics[1]]), (statistics[2], stored[statistics[2]].float())):
        with pytest.raises(InputError, match=re.escape(name)):
            Predictor(msgspec.structs.replace(model, weights=model.weights | {name: value}))


def test_a_stream_without_end_is_predicted_a_batch_at_a_time(birds, monkeypatch) -> None:
    """At any moment no more images have been drawn from the stream, opened or kept than a batch has."""
    predictor, taken, alive, most = Predictor.load(birds.models["tfvaegan"]), [0], [], [0]
    opened = backbones.open_image

    def open_and_count(source, **options):
        image = opened(source, **options)
        alive.append(weakref.ref(image))
        most[0] = max(most[0], sum(each() is not None for each in alive))
        return image

    monkeypatch.setattr(backbones, "open_image", open_and_count)
    photo = np.full((20, 20, 3), 90, np.uint8)

    def stream():
        while True:
            taken[0] += 1
            yield photo

    predictions = predictor.predict(stream(), batch_size=4)
    assert taken[0] == 0
    for number, prediction in enumerate(itertools.islice(predictions, 12)):
        assert taken[0] <= 4 * (number // 4 + 1)
        assert prediction.image == f"image {number + 1}"
    assert most[0] == 1  # of a batch only what the backbone prepared of it is kept


def test_unreadable_images_say_why_and_stop_nothing(birds, tmp_path) -> None:
    predictor, (_, files, _) = Predictor.load(birds.models["tfvaegan"]), test_rows(birds)
    (tmp_path / "text.jpg").write_text("no image")
    (tmp_path / "clip.mp4").write_bytes(bytes(4) + b"ftypisom" + bytes(100))
    with open(files[0], "rb") as stream:
        cut = stream.read(500)
    stream = io.BytesIO(cut)
    with Image.open(files[1]) as image:
        images = [files[0], tmp_path / "text.jpg", stream, tmp_path / "none.png", image, tmp_path / "clip.mp4"]
        found = list(predictor.predict(images, batch_size=2))
    assert [p.error is None for p in found] == [True, False, False, False, True, False]
    for number, words in ((1, "text.jpg"), (2, "complete image"), (3, "no such file"), (5, "clip.mp4")):
        assert words in found[number].error
    assert found[1].top is None and found[1].classes == [] and found[1].to_json()["error"]
    assert found[4].top.name == next(predictor.predict(files[1])).top.name


@pytest.mark.parametrize("method", ["tfvaegan", "dazle"])
def test_a_class_added_afterwards_is_recognized_better_than_by_chance(birds, method) -> None:
    """The tested species is taken out and added again by its attributes; among 2 unseen ones chance is a half."""
    predictor = Predictor.load(birds.models[method])
    row = dict(zip(birds.table.attribute_names, birds.table.values[birds.names.index(birds.tested)]))
    folder, before = birds.root / "images" / birds.tested, predictor.copy()
    predictor.remove_class(birds.tested)
    assert all(p.top.name == birds.untested for p in predictor.predict(folder, unseen_only=True))
    assert predictor.add_class(birds.tested, row) is predictor
    assert predictor.classes_[-1] == birds.tested and not predictor.seen_[-1]
    found = [p.top.name for p in predictor.predict(folder, unseen_only=True)]
    assert found.count(birds.tested) >= 5
    assert list(before.classes_) == birds.names  # a copy goes its own way
    assert [p.top.name for p in before.predict(folder)] == [
        p.top.name for p in Predictor.load(birds.models[method]).predict(folder)
    ]


@pytest.mark.parametrize("method", ["tfvaegan", "dazle"])
def test_added_classes_change_no_other_score_and_leave_no_trace(birds, tmp_path, method) -> None:
    predictor, (features, _, _) = Predictor.load(birds.models[method]), test_rows(birds)
    features = features[method]
    before = [predictor.decision_function(features, unseen_only=only) for only in (False, True)]
    predictor.add_class("new 1", birds.table.values[:3].mean(axis=0)).add_class("new 2", birds.table.values[4:7].mean(axis=0))
    for scores, only in zip(before, (False, True)):
        added = predictor.decision_function(features, unseen_only=only)
        assert (
            np.allclose(added[:, : scores.shape[1]], scores, rtol=1e-4, atol=1e-4)
            and np.isfinite(added[:, scores.shape[1] :]).all()
        )
    predictor.save(tmp_path / "more.zsl")
    again = Predictor.load(tmp_path / "more.zsl")
    assert again.classes_ == [*birds.names, "new 1", "new 2"] and np.allclose(again.table, predictor.table)
    assert np.array_equal(again.decision_function(features), predictor.decision_function(features))
    for changed in (predictor, again):
        changed.remove_class("new 1").remove_class("new 2")
        assert changed.classes_ == birds.names
        for scores, only in zip(before, (False, True)):
            assert np.array_equal(changed.decision_function(features, unseen_only=only), scores)


def test_a_class_in_another_unit_is_warned_of(birds) -> None:
    predictor, row = Predictor.load(birds.models["dazle"]), birds.table.values[0]
    with pytest.warns(
        UnusualAttributesWarning,
        match=r"of 'millimeters' lie far outside the model's range.*820 .the model's classes have 18 to 82",
    ):
        predictor.add_class("millimeters", 10 * row)


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image.convert("RGB"))


def tensor_of(path: Path) -> torch.Tensor:
    return torch.from_numpy(pixels(path)).permute(2, 0, 1)


ONE = {
    "path": lambda path: path,
    "string": str,
    "bytes": Path.read_bytes,
    "file object": lambda path: io.BytesIO(path.read_bytes()),
    "PIL image": lambda path: Image.fromarray(pixels(path)),
    "array": pixels,
    "array of floats": lambda path: pixels(path) / 255,
    "array with alpha": lambda path: np.pad(pixels(path), ((0, 0), (0, 0), (0, 1)), constant_values=255),
    "tensor": tensor_of,
    "tensor of floats": lambda path: tensor_of(path) / 255,
}
TWO = {
    "paths": lambda path: [path, str(path)],
    "folder": lambda path: path.parent,
    "batch of arrays": lambda path: np.stack([pixels(path)] * 2),
    "batch of tensors": lambda path: torch.stack([tensor_of(path)] * 2),
    "generator": lambda path: (make(path) for make in (str, tensor_of)),
}


@pytest.mark.parametrize(
    ("make", "n"),
    [*((make, 1) for make in ONE.values()), *((make, 2) for make in TWO.values())],
    ids=[*ONE, *(f"two: {name}" for name in TWO)],
)
def test_every_kind_of_input_gives_the_numbers_of_the_stored_features(birds, tmp_path, make, n: int) -> None:
    predictor, (features, files, _) = Predictor.load(birds.models["tfvaegan"]), test_rows(birds)
    expected = predictor.predict_proba(features["tfvaegan"][:1])[0]
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(Path(files[0]).read_bytes())
    found = list(predictor.predict(make(tmp_path / "a.png"), top=3))
    assert len(found) == n
    for prediction in found:
        assert prediction.top.name == predictor.classes_[expected.argmax()]
        assert [score.probability for score in prediction.classes] == pytest.approx(np.sort(expected)[:-4:-1], abs=1e-6)


def test_classes_from_a_csv_and_changed_attributes(birds, tmp_path) -> None:
    predictor = Predictor.load(birds.models["dazle"])
    names = predictor.attribute_names
    header, cells = ";".join(["class", *reversed(names)]), ";".join(f"{v}%" for v in birds.table.values[0][::-1])
    (tmp_path / "more.csv").write_text(f"{header}\nnew one;{cells}\n")
    predictor.add_classes(tmp_path / "more.csv")
    assert np.allclose(predictor.table[-1], birds.table.values[0])
    # Twice the values are the same row of unit norm.
    predictor.set_attributes({"new one": 2 * birds.table.values[1]})
    assert torch.allclose(predictor.model.attributes[-1], predictor.model.attributes[1], atol=1e-6)


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda p, row: p.add_class(p.classes_[0], row), "the table: .*new name"),
        (lambda p, row: p.add_class("new", row[:-1]), "'new': .*48 values.*got 47"),
        (lambda p, row: p.add_class("new", [float("nan"), *row[1:]]), "'nan'"),
        (lambda p, row: p.remove_class(p.classes_[0]), "unseen"),
        (lambda p, row: p.predict([], batch_size=0), "batch_size"),
        (lambda p, row: p.predict_proba(np.zeros((2, 3))), r"\(2, 3\)"),
    ],
)
def test_impossible_wishes_change_nothing(birds, change, words) -> None:
    predictor = Predictor.load(birds.models["tfvaegan"])
    with pytest.raises(InputError, match=words):
        change(predictor, birds.table.values[0])
    assert predictor.classes_ == birds.names and np.array_equal(predictor.table, read_model(birds.models["tfvaegan"]).table)


@pytest.mark.parametrize("method", ["tfvaegan", "dazle"])
def test_scores_that_overflow_are_an_error(method) -> None:
    predictor = Predictor(tiny_model(method), device="cpu")
    features = np.full((2, *predictor.feature_shape), 3e38, dtype=np.float32)
    features[:, ::2] *= -1
    for ask in (predictor.decision_function, predictor.predict_proba):
        with pytest.raises(InputError, match="class scores must be numbers"):
            ask(features)


def test_what_the_network_sees_of_an_image() -> None:
    crop = BackboneSpec("resnet101", resize=256, crop=192)
    assert BackboneSpec("descriptor").seen_part((300, 100)) == (0, 0, 1, 1)
    assert crop.seen_part((100, 100)) == pytest.approx((0.125, 0.125, 0.875, 0.875))
    assert crop.seen_part((200, 100)) == pytest.approx((0.3125, 0.125, 0.6875, 0.875))
