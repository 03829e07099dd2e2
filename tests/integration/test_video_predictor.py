"""An exported model of actions sees videos as its run's features did, predicts what the run predicted, and refuses the rest."""

import itertools
import json
import shutil
import weakref
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
import scipy.io
from PIL import Image
from safetensors.torch import save_file

from helpers.exported_models import train

av = pytest.importorskip("av", reason="the extra `video` is not installed: no PyAV")
pytest.importorskip("torchvision", reason="the extra `video` is not installed: no torchvision")

from zslab.app.annotate import annotate  # noqa: E402
from zslab.app.export import ExportConfig, export  # noqa: E402
from zslab.app.model_file import read_model  # noqa: E402
from zslab.app.predictor import Predictor  # noqa: E402
from zslab.cli import main  # noqa: E402
from zslab.data.formats.matfile import read_mat  # noqa: E402
from zslab.data.xlsa17 import read_features  # noqa: E402
from zslab.errors import InputError  # noqa: E402
from zslab.features import video  # noqa: E402
from zslab.features.extract_command import ExtractConfig, extract_features  # noqa: E402
from zslab.features.sources import VIDEOS  # noqa: E402
from zslab.features.splits_command import SplitsConfig, make_splits  # noqa: E402

from helpers.clips import SMALL, draw_clip  # noqa: E402

CLASSES = ("climb", "drop", "roll", "slide", "turn", "walk")
FEATURES = "mc3_18"


@pytest.fixture(scope="module")
def actions(tmp_path_factory) -> SimpleNamespace:
    """Clips of six classes, their features and a split by the scripts, a run with its gate, its model, and its test clips.

    The network is random, its windows short and its images small, which the features file says; look and do not touch.
    """
    root = tmp_path_factory.mktemp("actions")
    for number, name in enumerate(CLASSES):
        for start in range(4):
            size = (64 + 8 * number, 64 + 8 * start)
            draw_clip(root / "videos" / name / f"{start}.mp4", 6 * number + start, 8, down=number % 2 == 0, size=size)
    np.save(root / "vectors.npy", np.random.default_rng(0).normal(size=(len(CLASSES), 6)))
    data = {"dataroot": root / "data", "dataset": "CLIPS"}
    with pytest.MonkeyPatch.context() as patch:
        load = video.load_backbone
        small = partial(msgspec.structs.replace, **SMALL)
        patch.setattr(video, "load_backbone", lambda spec, *args, **kwargs: load(small(spec), *args, **kwargs))
        flags = {"backbone": FEATURES, "weights": "none", "random_weights": True, "device": "cpu"}
        assert extract_features(ExtractConfig(videos=root / "videos", **data, **flags)) == 0
    flags = {"image_embedding": FEATURES, "class_vectors": root / "vectors.npy", "splits": "1", "hold_out": 0.5}
    make_splits(SplitsConfig(**data, **flags))
    run = train(
        "CLIPS",
        root / "data",
        root / "runs",
        FEATURES,
        tree="zero-shot-actions",
        split=1,
        batch_size=4,
        ood_epochs=20,
        ood_lr=1e-2,
    )
    export(ExportConfig(run, root / "actions.zsl", weights="none", random_weights=True))
    folder = root / "data" / "CLIPS"
    lists = read_mat(folder / "split_1" / "att_splits.mat", ["test_seen_loc", "test_unseen_loc"])
    rows = np.concatenate([lists[f"test_{kind}_loc"].ravel().astype(int) - 1 for kind in ("seen", "unseen")])
    files = read_mat(folder / f"{FEATURES}.mat", ["image_files"])["image_files"]
    return SimpleNamespace(
        root=root,
        run=run,
        model=root / "actions.zsl",
        feature_file=folder / f"{FEATURES}.mat",
        features=read_features(folder / f"{FEATURES}.mat")[0][rows],
        files=[root / "videos" / files[row] for row in rows],
        n_seen=lists["test_seen_loc"].size,
    )


def test_videos_are_predicted_as_the_run_predicted_them(actions) -> None:
    predictor = Predictor.load(actions.model)
    run, names = np.load(actions.run / "evaluation.npz"), np.array(predictor.classes_)
    assert predictor.model.settings["gate"] is not None and predictor.modality is VIDEOS
    for unseen_only, first in ((False, 0), (True, actions.n_seen)):
        expected = names[run[f"model_last_{'zsl' if unseen_only else 'gzsl'}_predictions"]].tolist()
        options = {"unseen_only": unseen_only, "calibration": 0}
        found = list(predictor.predict(actions.files[first:], **options))
        assert [p.image for p in found] == [str(path) for path in actions.files[first:]]
        assert [p.top.name for p in found] == expected
        assert names[predictor.decision_function(actions.features[first:], **options).argmax(axis=1)].tolist() == expected
    gated = run["model_last_gzsl_predictions"]
    seen = set(np.flatnonzero(predictor.seen_))
    assert {k in seen for k in gated.tolist()} == {True, False}  # the gate let some through and held others back
    assert len(set(gated.tolist())) > 2


def test_features_are_those_of_the_extraction_bit_for_bit(actions) -> None:
    predictor = Predictor.load(actions.model)
    for path, expected in zip(actions.files, actions.features, strict=True):
        windows, view = predictor.backbone.read(str(path))
        assert windows.shape == (2, 3, 4, 56, 56) and view == (0, 0, 1, 1)
        np.testing.assert_array_equal(predictor.backbone.features(windows[None])[0][0], expected)


def test_the_model_holds_the_network_and_how_it_looks(actions) -> None:
    model = read_model(actions.model)
    spec = video.VideoSpec.from_json(model.backbone.spec)
    assert spec == video.VideoSpec(FEATURES, **SMALL | {"frame_rate": 15.0})
    loaded = video.load_backbone(spec, model.backbone_weights)
    assert loaded.digest == model.backbone.digest and model.backbone.weights == "random weights, seed 0"


def test_what_is_no_video_says_why_and_stops_nothing(actions, tmp_path) -> None:
    """The content decides, as it does of images; FFmpeg would draw notes, and play what a list names."""
    predictor, renamed = Predictor.load(actions.model), Path(shutil.copy(actions.files[0], tmp_path / "clip.dat"))
    Image.new("RGB", (40, 30), "red").save(tmp_path / "photo.jpg")
    shutil.copy(tmp_path / "photo.jpg", tmp_path / "photo.mp4")
    (tmp_path / "notes.txt").write_text("walk\n" * 50)
    (tmp_path / "list.mp4").write_text(f"ffconcat version 1.0\nfile {actions.files[0]}\n")
    content = renamed.read_bytes()
    (tmp_path / "half.mp4").write_bytes(content[: len(content) * 3 // 4])
    names = ["photo.jpg", "photo.mp4", "notes.txt", "list.mp4", "half.mp4", "gone.mp4"]
    bad = [*(tmp_path / name for name in names), np.zeros((8, 8, 3), np.uint8)]
    first, *refused, last = predictor.predict([renamed, *bad, actions.files[0]])
    assert first.top == last.top and first.top is not None
    for prediction, name in zip(refused, [*names, "ndarray"], strict=True):
        assert name in prediction.error and prediction.classes == []
    assert refused[-1].image == f"video {len(bad) + 1}"
    (tmp_path / "images").mkdir()
    shutil.copy(tmp_path / "photo.jpg", tmp_path / "images")
    with pytest.raises(InputError, match=r"must be videos.*\.mp4"):
        list(predictor.predict(tmp_path / "images"))


def test_the_middle_frame_stands_for_a_video(tmp_path, monkeypatch) -> None:
    draw_clip(tmp_path / "12:30.mp4", 0, n_frames=9)
    monkeypatch.chdir(tmp_path)
    bright = np.asarray(video.middle_frame("12:30.mp4"))[16, :, 0] > 140
    assert bright.nonzero()[0].mean() == pytest.approx(8 + 7.5, abs=1)  # the fifth of nine: four steps of two pixels


def test_the_command_on_videos(actions, tmp_path, capsys) -> None:
    clips = tmp_path / "clips"
    for number, path in enumerate(actions.files[:2]):
        (clips / str(number)).mkdir(parents=True)
        shutil.copy(path, clips / str(number))
    (clips / "0" / "broken.mp4").write_text("nothing")
    Image.new("RGB", (9, 9)).save(clips / "photo.jpg")  # not looked at in a folder of videos
    outputs = ["--json", str(tmp_path / "o.json"), "--annotated", str(tmp_path / "drawn"), "--top", "2"]
    assert main(["predict", "--model", str(actions.model), str(clips), *outputs]) == 3
    out, err = capsys.readouterr()
    assert "1 of 3 videos could not be read" in err and out.startswith("video ")
    expected = list(Predictor.load(actions.model).predict(clips, top=2))
    assert json.loads((tmp_path / "o.json").read_text()) == json.loads(json.dumps([p.to_json() for p in expected]))
    drawn = sorted((tmp_path / "drawn").rglob("*.png"))
    good = [prediction for prediction in expected if prediction.top]
    assert [path.relative_to(tmp_path / "drawn") for path in drawn] == [
        Path(p.image).relative_to(clips).with_suffix(".png") for p in good
    ]
    with Image.open(drawn[0]) as image:
        assert np.array_equal(image, annotate(video.middle_frame(good[0].image), good[0]))


def test_weights_may_lie_elsewhere_and_must_be_the_right_ones(actions, tmp_path) -> None:
    model = export(ExportConfig(actions.run, tmp_path / "bare.zsl", weights="none", random_weights=True, no_backbone=True))
    assert model.backbone_weights == {} and (tmp_path / "bare.zsl").stat().st_size < actions.model.stat().st_size / 10
    with pytest.raises(InputError, match="bare.zsl.*mc3_18"):
        Predictor.load(tmp_path / "bare.zsl").predict(actions.files)
    state = read_model(actions.model).backbone_weights
    name = next(key for key, value in state.items() if value.is_floating_point())
    for number, changed in enumerate(({}, {name: state[name] + 1})):
        save_file(state | changed, tmp_path / f"{number}.safetensors")
    found = list(Predictor.load(tmp_path / "bare.zsl", weights=tmp_path / "0.safetensors").predict(actions.files[:2]))
    assert [p.top for p in found] == [p.top for p in Predictor.load(actions.model).predict(actions.files[:2])]
    with pytest.raises(InputError, match="1.safetensors: the weights must be those of training"):
        Predictor.load(tmp_path / "bare.zsl", weights=tmp_path / "1.safetensors").predict(actions.files)
    with pytest.raises(InputError, match="--weights: .*digest"):
        export(ExportConfig(actions.run, tmp_path / "no.zsl", weights=str(tmp_path / "1.safetensors")))


def test_features_that_do_not_say_what_made_them_make_a_model_of_features(actions, tmp_path, capsys) -> None:
    shutil.copytree(actions.feature_file.parent, tmp_path / "data" / "CLIPS")
    content = scipy.io.loadmat(actions.feature_file)
    scipy.io.savemat(
        tmp_path / "data" / "CLIPS" / actions.feature_file.name,
        {key: value for key, value in content.items() if key != "backbone" and not key.startswith("__")},
    )
    old = ["export", str(actions.run), "--dataroot", str(tmp_path / "data"), "--output", str(tmp_path / "old.zsl")]
    assert main(old) == 0
    assert "features only" in capsys.readouterr().out
    predictor = Predictor.load(tmp_path / "old.zsl")
    expected = Predictor.load(actions.model).decision_function(actions.features)
    assert np.array_equal(predictor.decision_function(actions.features), expected)
    assert main(["predict", "--model", str(tmp_path / "old.zsl"), str(actions.files[0])]) == 1
    assert "takes features only" in (message := capsys.readouterr().err) and "zslab extract" in message
    assert main([*old, "--backbone", FEATURES]) == 1
    assert "depend on its windows" in capsys.readouterr().err


def test_only_a_video_needs_the_packages_for_videos(actions, monkeypatch) -> None:
    def missing(name: str):
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr("importlib.import_module", missing)
    predictor = Predictor.load(actions.model)
    assert len(predictor.predict_proba(actions.features)) == len(actions.files)
    with pytest.raises(InputError, match=r"pip install -e '\.\[video\]'"):
        predictor.predict(actions.files)


@pytest.mark.parametrize("change", [{"windows": 0}, {"windows": "4"}, {"resize": []}, {"more": 1}])
def test_a_description_that_lies_is_refused(actions, change) -> None:
    with pytest.raises(InputError, match="the content must be that of a VideoSpec"):
        video.VideoSpec.from_json(read_model(actions.model).backbone.spec | change)


def test_a_stream_is_predicted_in_the_memory_of_one_video(actions, monkeypatch) -> None:
    predictor, taken, alive, most = Predictor.load(actions.model), [0], [], [0]
    read = video.VideoBackbone.read

    def read_and_count(backbone, path, **options):
        windows, view = read(backbone, path, **options)
        alive.append(weakref.ref(windows))
        most[0] = max(most[0], sum(each() is not None for each in alive))
        return windows, view

    monkeypatch.setattr(video.VideoBackbone, "read", read_and_count)

    def stream():
        while True:
            taken[0] += 1
            yield actions.files[0]

    for number, _ in enumerate(itertools.islice(predictor.predict(stream()), 4), start=1):
        assert taken[0] == number
    assert most[0] == 1
