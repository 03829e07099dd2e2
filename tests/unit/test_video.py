"""Features of videos, on clips drawn here: sampling, order, damage, resuming, weights, and on to splits and training."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.io
import torch
from safetensors.torch import save_file

from zslab.train import train

from helpers.configs import actions
from helpers.project import tree_modules

av = pytest.importorskip("av", reason="the extra `video` is not installed: no PyAV")
torchvision = pytest.importorskip("torchvision", reason="the extra `video` is not installed: no torchvision")

from zslab.data.formats.matfile import read_mat  # noqa: E402
from zslab.data.xlsa17 import read_features  # noqa: E402
from zslab.errors import InputError  # noqa: E402
from zslab.features import video, video_files  # noqa: E402
from zslab.features.sources import Images  # noqa: E402

from helpers.clips import SMALL, draw_clip  # noqa: E402

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    """<folder>/{down,right}/, two clips each, of three kinds of file."""
    folder = tmp_path_factory.mktemp("videos")
    for start, name in enumerate(("a.mp4", "b.AVI")):
        draw_clip(folder / "right" / name, 4 * start)
    for start, name in enumerate(("c.mkv", "d.mp4")):
        draw_clip(folder / "down" / name, 4 * start, down=True)
    (folder / "right" / "notes.txt").write_text("no video")
    (folder / "empty").mkdir()
    return folder


@pytest.fixture(scope="module")
def backbone() -> video.VideoBackbone:
    """R3D-18 with random weights and windows of four frames, which is quicker."""
    return video.load_backbone(video.VideoSpec("r3d_18", windows=2, frames=4), "none", random_weights=True)


@pytest.fixture(scope="module")
def small() -> video.VideoBackbone:
    """The same on images of half the size, for all that does not depend on it."""
    return video.load_backbone(video.VideoSpec("r3d_18", **SMALL), "none", random_weights=True)


def seen_with(backbone: video.VideoBackbone, windows: int, **changes) -> video.VideoBackbone:
    """The same with another number of windows."""
    return replace(backbone, spec=replace(backbone.spec, windows=windows), **changes)


@pytest.fixture
def script(small, monkeypatch) -> Iterator[SimpleNamespace]:
    """The modules of zero-shot-actions, where every backbone is that of the tests."""
    with tree_modules("zero-shot-actions") as load:
        modules = SimpleNamespace(
            **{name: load(name) for name in ("extract_features", "make_splits", "config", "train_tfvaegan")}
        )
        monkeypatch.setattr(
            modules.extract_features, "load_backbone", lambda spec, *args, **kwargs: seen_with(small, spec.windows)
        )
        yield modules


def config_of(script, clips: Path, root: Path, **changes):
    flags = dict(videos=clips, dataroot=root, backbone="r3d_18", weights="none", random_weights=True, windows=2, device="cpu")
    return script.extract_features.ExtractConfig(**flags | changes)


@pytest.mark.parametrize(
    ("n_frames", "length", "step", "n_windows", "expected"),
    [
        (10, 4, 1, 3, [[0, 1, 2, 3], [3, 4, 5, 6], [6, 7, 8, 9]]),
        (10, 4, 2, 2, [[0, 2, 4, 6], [3, 5, 7, 9]]),
        (10, 4, 1, 1, [[3, 4, 5, 6]]),
        (5, 4, 1, 4, [[0, 1, 2, 3], [1, 2, 3, 4]]),  # there are only two different ones
        (3, 5, 1, 4, [[0, 1, 2, 2, 2]]),
        (4, 3, 2, 2, [[0, 2, 3]]),
        (1, 3, 1, 1, [[0, 0, 0]]),
    ],
)
def test_windows_are_where_a_hand_count_puts_them(n_frames, length, step, n_windows, expected) -> None:
    assert video.window_indices(n_frames, length, step, n_windows).tolist() == expected


@pytest.mark.parametrize("name", video.backbone_names())
def test_every_backbone_gives_the_input_of_its_last_linear_layer(name: str) -> None:
    with torch.device("meta"):  # shapes alone, so that all networks take no time
        network = torchvision.models.get_model(name, weights=None).eval()
        last = list(network.modules())[-1]
        width = getattr(last, "in_features", None) or last.in_channels
        setattr(network, list(network._modules)[-1], torch.nn.Identity())
        frames, _ = video.SAMPLING[name.split("_")[0]]
        size = torchvision.models.get_model_weights(name).DEFAULT.transforms().crop_size[0]
        assert network(torch.empty(2, 3, frames, size, size)).shape == (2, width)


def test_sampling_is_that_of_the_weights_documentation() -> None:
    for name in video.backbone_names():
        frames, rate = video.SAMPLING[name.split("_")[0]]
        text = torchvision.models.get_model_weights(name).DEFAULT.meta["_docs"]
        assert f"clip_len={frames}" in text and f"frame_rate={rate:g}" in text


def test_features_are_those_of_the_decoded_frames(backbone, clips) -> None:
    path = clips / "down" / "d.mp4"
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == 16
    whole = torchvision.models.video.r3d_18(weights=None)  # its last layer kept: features are what goes into it
    whole.load_state_dict(backbone.network.state_dict(), strict=False)
    seen = []
    whole.eval().fc.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    transform = torchvision.models.video.R3D_18_Weights.DEFAULT.transforms()
    with torch.inference_mode():
        for numbers in ([0, 1, 2, 3], [6, 7, 8, 9], [12, 13, 14, 15]):
            whole(transform(torch.from_numpy(np.stack([frames[i] for i in numbers])).permute(0, 3, 1, 2))[None])
    three = seen_with(backbone, 3, batch_size=2)
    found = video.video_features(path, three)
    np.testing.assert_allclose(found, torch.cat(seen).mean(0), rtol=1e-4, atol=1e-5)
    assert found.std() > 0
    np.testing.assert_array_equal(found, video.video_features(path, three))
    pooled, region = three.features(torch.stack([three.read(str(path))[0]] * 2))
    np.testing.assert_array_equal(pooled[1], found)
    assert region.shape == (2, len(found), 1, 1)


def test_a_window_keeps_the_frame_rate_of_the_weights(backbone, clips) -> None:
    taken = []
    spy = torch.nn.Module()
    spy.forward = lambda frame: taken.append(frame) or backbone.transform(frame)
    spec = replace(backbone.spec, windows=1, frame_rate=7.5)
    slow = replace(backbone, spec=spec, transform=spy)  # the clips have 15 frames a second: every second one
    assert video.read_windows(clips / "right" / "a.mp4", slow).shape == (1, 3, 4, 112, 112)
    bright = [int((frame[0, 0, 16] > 140).nonzero().flatten().float().mean()) for frame in taken]
    assert np.diff(bright).tolist() == [4, 4, 4]  # pixels: twice 2


def test_a_wrong_number_of_announced_frames_changes_nothing(small, clips, monkeypatch) -> None:
    path = clips / "right" / "a.mp4"
    small = seen_with(small, 3)
    expected = video.read_windows(path, small)
    for announced in (0, 7, 30):
        monkeypatch.setattr(video_files, "_count_frames", lambda path, announced=announced: (announced, 15.0))
        assert torch.equal(video.read_windows(path, small), expected)


def test_images_stand_as_the_phone_was_held(backbone, tmp_path) -> None:
    path = tmp_path / "phone.mp4"
    draw_clip(path, 0, n_frames=2, size=(64, 32))
    fixed = [1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30]  # the matrix of an MP4 track: the identity, then a quarter turn
    turned = [0, 1 << 16, 0, (1 << 32) - (1 << 16), 0, 0, 0, 0, 1 << 30]
    as_bytes = [b"".join(number.to_bytes(4, "big") for number in matrix) for matrix in (fixed, turned)]
    content = path.read_bytes()
    track = content.index(b"tkhd")
    path.write_bytes(content[:track] + content[track:].replace(*as_bytes, 1))
    seen = []
    spy = torch.nn.Module()
    spy.forward = lambda frame: seen.append(frame) or backbone.transform(frame)
    video.read_windows(path, seen_with(backbone, 1, transform=spy))
    assert seen[0].shape == (1, 3, 64, 32) and video_files.middle_frame(path).size == (32, 64)
    bright = (seen[0][0, 0] > 140).nonzero().float().mean(0)
    assert bright[0] < 20 and bright[1] < 20  # a quarter turn clockwise leaves it at the top


def test_a_folder_becomes_a_feature_file(script, clips, small, tmp_path, capsys) -> None:
    assert script.extract_features.extract_features(config_of(script, clips, tmp_path)) == 0
    assert "UNTRAINED" in capsys.readouterr().out
    path = tmp_path / "my_clips" / "r3d_18.mat"
    features, labels = read_features(path)
    content = read_mat(path, ["image_files", "allclasses_names", "backbone"])
    assert content["allclasses_names"].tolist() == ["down", "right"]
    assert content["image_files"].tolist() == ["down/c.mkv", "down/d.mp4", "right/a.mp4", "right/b.AVI"]
    assert json.loads(content["backbone"][0]) == {
        "spec": {"name": "r3d_18", "windows": 2, "frames": 4, "frame_rate": 15.0, "resize": [64, 86], "crop": [56, 56]},
        "weights": "random weights, seed 0",
        "digest": small.digest,
    }
    assert labels.tolist() == [1, 1, 2, 2]
    assert scipy.io.loadmat(path)["features"].dtype == np.float32
    assert features.shape == (4, 512)
    assert sorted(p.name for p in path.parent.iterdir()) == ["r3d_18.mat"]
    for row, name in zip(features, content["image_files"]):
        np.testing.assert_array_equal(row, video.video_features(clips / name, small))
    with pytest.raises(InputError, match="exists already"):
        script.extract_features.extract_features(config_of(script, clips, tmp_path, resume=True))


def test_damaged_videos_are_listed_and_left_out(script, clips, tmp_path, capsys) -> None:
    videos = shutil.copytree(clips, tmp_path / "videos")
    long = videos / "down" / "long.mp4"
    draw_clip(long, 0, n_frames=24, down=True)
    content = long.read_bytes()
    start = content.index(b"mdat")  # the images; what comes before them says how many there should be
    long.write_bytes(content[: start + (len(content) - start) * 3 // 4])
    (videos / "right" / "text.mp4").write_text("no video at all")
    assert script.extract_features.extract_features(config_of(script, videos, tmp_path)) == 3
    listed = (tmp_path / "my_clips" / "r3d_18-unreadable.txt").read_text().splitlines()
    assert [line.split(": ")[0] for line in listed] == ["down/long.mp4", "right/text.mp4"]
    assert (
        "cut short" in listed[0]
        and "the file is not a video, a file of another kind" in listed[1]
        and "right/text.mp4" in capsys.readouterr().err
    )
    features, labels = read_features(tmp_path / "my_clips" / "r3d_18.mat")
    assert len(features) == 4 and labels.tolist() == [1, 1, 2, 2]


def test_sound_alone_is_no_damaged_video(tmp_path) -> None:
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=48_000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 48_000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 48_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(InputError, match="the file is not a video .got sound without images.*Leave it out"):
        video_files.middle_frame(path)


def test_a_video_of_one_frame_is_whole_in_any_container(tmp_path) -> None:
    for suffix in (".mp4", ".avi", ".mkv", ".ts"):
        draw_clip(tmp_path / f"a{suffix}", 4, n_frames=1)
        assert video_files.middle_frame(tmp_path / f"a{suffix}").size == (64, 64)


def test_an_impossible_size_is_not_called_a_lack_of_memory(tmp_path) -> None:
    draw_clip(tmp_path / "a.mp4", 4, n_frames=6, size=(32, 32))
    content = bytearray((tmp_path / "a.mp4").read_bytes())
    entry = content.index(b"stsd") + 12  # the size of the first description of samples
    content[entry : entry + 4] = b"\xff" * 4
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.mp4"):
        video_files.middle_frame(tmp_path / "a.mp4")


def test_a_class_without_a_readable_video_is_an_error(script, clips, tmp_path) -> None:
    videos = shutil.copytree(clips, tmp_path / "videos")
    (videos / "broken").mkdir()
    (videos / "broken" / "x.webm").write_bytes(b"")
    with pytest.raises(InputError, match="some classes have no readable video.*broken"):
        script.extract_features.extract_features(config_of(script, videos, tmp_path))


def test_what_was_finished_is_not_decoded_again(script, clips, tmp_path, monkeypatch) -> None:
    decoded, decode = [], video_files._decode

    def counting(path, *args):
        decoded.append(path.name)
        if len(decoded) == 3:
            raise KeyboardInterrupt
        return decode(path, *args)

    monkeypatch.setattr(video_files, "_decode", counting)
    with pytest.raises(KeyboardInterrupt):
        script.extract_features.extract_features(config_of(script, clips, tmp_path))
    partial = tmp_path / "my_clips" / "r3d_18-partial.jsonl"
    with open(partial, "a") as file:
        file.write('["right/a.mp4", 12')  # what a kill in the middle of writing leaves
    with pytest.raises(InputError, match="--resume"):
        script.extract_features.extract_features(config_of(script, clips, tmp_path))
    with pytest.raises(InputError, match="has other settings"):
        script.extract_features.extract_features(config_of(script, clips, tmp_path, resume=True, windows=1))
    assert script.extract_features.extract_features(config_of(script, clips, tmp_path, resume=True)) == 0
    assert decoded == ["c.mkv", "d.mp4", "a.mp4", "a.mp4", "b.AVI"]
    resumed, _ = read_features(tmp_path / "my_clips" / "r3d_18.mat")
    assert script.extract_features.extract_features(config_of(script, clips, tmp_path, overwrite=True)) == 0
    np.testing.assert_array_equal(resumed, read_features(tmp_path / "my_clips" / "r3d_18.mat")[0])


def test_a_video_that_changed_is_read_anew(small, clips, tmp_path) -> None:
    videos = shutil.copytree(clips, tmp_path / "videos")
    partial = tmp_path / "partial.jsonl"
    small = seen_with(small, 1)
    both = Images(videos, ["right/a.mp4", "right/b.AVI"], np.array([1, 1]), ["right"], videos)
    before, _ = video.extract(both, small, partial=partial)
    draw_clip(both.path(0), 0, n_frames=20, down=True)
    after, _ = video.extract(both, small, partial=partial)
    assert not np.array_equal(before[0], after[0])
    np.testing.assert_array_equal(before[1], after[1])
    written = [json.loads(line)[0] for line in partial.read_text().splitlines()[1:]]
    assert written == ["right/a.mp4", "right/b.AVI", "right/a.mp4"]
    partial.write_text(partial.read_text().replace('"right/b.AVI"', "right"))
    with pytest.raises(InputError, match="is damaged.*--overwrite"):
        video.extract(both, small, partial=partial)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_from_a_file(suffix: str, tmp_path) -> None:
    torch.manual_seed(5)
    network = torchvision.models.video.mc3_18(num_classes=7)  # fine-tuned on other classes
    path = tmp_path / f"own{suffix}"
    torch.save(network.state_dict(), path) if suffix == ".pth" else save_file(network.state_dict(), path)
    random_state = torch.get_rng_state()
    loaded = video.load_backbone(video.VideoSpec("mc3_18"), str(path))
    assert torch.equal(random_state, torch.get_rng_state())
    assert loaded.weights == path.name and not loaded.network.training
    for name, value in loaded.network.state_dict().items():
        assert torch.equal(value, network.state_dict()[name])
    with pytest.raises(InputError, match="belong to another network"):
        video.load_backbone(video.VideoSpec("r2plus1d_18"), str(path))


class Attack:
    def __reduce__(self):
        return Path.touch, (Path("attacked"),)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (lambda path: torch.save({"stem.0.weight": Attack()}, path), "may run code"),
        (lambda path: path.write_bytes(pickle.dumps(Attack(), protocol=2)), "weights cannot be read"),
        (lambda path: path.write_bytes(b"PK\x03\x04 cut"), "weights cannot be read"),
        (lambda path: path.write_bytes(b""), "weights cannot be read"),
        (lambda path: torch.save({"model": {}}, path), "a dict without a state dict"),
        (lambda path: None, "no such file"),
    ],
)
def test_weights_that_are_none_are_refused_and_run_nothing(content, words, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    content(tmp_path / "weights.pth")
    with pytest.raises(InputError, match=words):
        video.load_backbone(video.VideoSpec("r3d_18"), "weights.pth")
    assert not (tmp_path / "attacked").exists()


def test_flags_that_cannot_be_are_refused(script, clips, tmp_path, monkeypatch) -> None:
    with pytest.raises(InputError, match="backbone is unknown.*resnet18.*mc3_18"):
        video.load_backbone(video.VideoSpec("resnet18"))
    for weights, random_weights in (("none", False), ("default", True)):
        with pytest.raises(InputError, match="weights none --random_weights"):
            video.load_backbone(video.VideoSpec("r3d_18"), weights, random_weights=random_weights)
    (tmp_path / "one" / "run").mkdir(parents=True)
    for videos, words in (
        (tmp_path / "absent", "the folder is missing"),
        (tmp_path / "one", "no folder of a class holds a video"),
    ):
        with pytest.raises(InputError, match=words):
            script.extract_features.extract_features(config_of(script, videos, tmp_path))
    shutil.copy(clips / "right" / "a.mp4", tmp_path / "one" / "run" / "a.mp4")
    with pytest.raises(InputError, match="fewer than two classes"):
        script.extract_features.extract_features(config_of(script, tmp_path / "one", tmp_path))
    with pytest.raises(InputError, match="--windows"):
        script.extract_features.extract_features(config_of(script, clips, tmp_path, windows=0))
    monkeypatch.setattr(torchvision.models, "get_model_weights", lambda name: Offline)
    with pytest.raises(InputError, match="--weights FILE"):
        video.load_backbone(video.VideoSpec("r3d_18"))


class Offline:
    """Weights behind a network that is not there."""

    __members__: dict = {}

    class DEFAULT:
        url = "the weights' address"

        @staticmethod
        def get_state_dict(**kwargs):
            raise OSError("no network")


def test_a_missing_package_is_named(monkeypatch) -> None:
    def missing(name: str):
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr("importlib.import_module", missing)
    with pytest.raises(InputError, match=r"\.\[video\]"):
        video.load_backbone(video.VideoSpec("r3d_18"))


def test_from_videos_to_a_trained_network(script, tmp_path, monkeypatch) -> None:
    videos = tmp_path / "videos"
    for number, name in enumerate(("fall_down", "go_left", "go_right", "jump_up")):
        for start in range(3):
            draw_clip(videos / name / f"{start}.mp4", 8 * number + start, n_frames=4, down=number % 2 == 0)
    extract = config_of(script, videos, tmp_path, windows=1)
    assert script.extract_features.extract_features(extract) == 0
    np.save(tmp_path / "vectors.npy", np.random.default_rng(0).normal(size=(4, 6)))
    splits = script.make_splits.SplitsConfig(
        dataset="my_clips", dataroot=tmp_path, image_embedding="r3d_18", class_vectors=tmp_path / "vectors.npy", splits="1"
    )
    script.make_splits.make_splits(splits)
    names = read_mat(tmp_path / "my_clips" / "split_1" / "att_splits.mat", ["allclasses_names"])["allclasses_names"]
    assert names.tolist() == ["fall_down", "go_left", "go_right", "jump_up"]
    monkeypatch.setattr("zslab.report.run.write_report", lambda folder: folder / "report.html")
    tiny = dict(
        ngh=8,
        ndh=8,
        nz=4,
        nepoch=2,
        batch_size=4,
        critic_iter=1,
        syn_num=4,
        classifier_epochs=2,
        ood_epochs=2,
        ood_hidden=4,
        device="cpu",
        threads=1,
    )
    config = actions(dataset="my_clips", dataroot=tmp_path, image_embedding="r3d_18", split=1, output=tmp_path / "runs", **tiny)
    assert train(config, script.train_tfvaegan.METHOD) == 0
