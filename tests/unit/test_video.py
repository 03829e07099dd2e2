"""Features of videos, on clips drawn here: sampling, order, damage, resuming, weights, and on to a split."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
import scipy.io
import torch
from safetensors.torch import save_file

av = pytest.importorskip("av", reason="the extra `video` is not installed: no PyAV")
torchvision = pytest.importorskip("torchvision", reason="the extra `video` is not installed: no torchvision")

from zslab.data.formats.matfile import read_mat  # noqa: E402
from zslab.data.xlsa17 import read_features  # noqa: E402
from zslab.errors import InputError  # noqa: E402
from zslab.features import video  # noqa: E402
from zslab.features.extract_command import ExtractConfig, extract_features  # noqa: E402
from zslab.features.splits_command import SplitsConfig, make_splits  # noqa: E402

from helpers.clips import SMALL, draw_clip  # noqa: E402

pytestmark = pytest.mark.slow

NAMES = [name for name in torchvision.models.list_models(torchvision.models.video) if name.split("_")[0] in video.SAMPLING]


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
def small() -> video.VideoBackbone:
    """R3D-18 with random weights, windows of four frames and images of half the size."""
    return video.load_backbone(video.VideoSpec("r3d_18", **SMALL), "none", random_weights=True)


def seen_with(backbone: video.VideoBackbone, windows: int, **changes) -> video.VideoBackbone:
    """The same with another number of windows."""
    return replace(backbone, spec=msgspec.structs.replace(backbone.spec, windows=windows), **changes)


@pytest.fixture
def quick(small, monkeypatch) -> None:
    """Every backbone of the command is that of the tests."""
    monkeypatch.setattr(video, "load_backbone", lambda spec, *args, **kwargs: seen_with(small, spec.windows))


def features_of(path: Path, backbone: video.VideoBackbone) -> np.ndarray:
    return backbone.features(backbone.read(path)[0][None])[0][0].numpy()


def extract(clips: Path, root: Path, **changes) -> int:
    flags = dict(videos=clips, dataroot=root, dataset="my_clips", backbone="r3d_18", weights="none", random_weights=True)
    return extract_features(ExtractConfig(**flags | {"windows": 2, "device": "cpu"} | changes))


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


def test_sampling_is_that_of_the_weights_documentation() -> None:
    for name in NAMES:
        frames, rate = video.SAMPLING[name.split("_")[0]]
        text = torchvision.models.get_model_weights(name).DEFAULT.meta["_docs"]
        assert f"clip_len={frames}" in text and f"frame_rate={rate:g}" in text


def test_features_are_those_of_the_decoded_frames(small, clips) -> None:
    path = clips / "down" / "d.mp4"
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == 16
    whole = torchvision.models.video.r3d_18(weights=None)  # its last layer kept: features are what goes into it
    whole.load_state_dict(small.network.state_dict(), strict=False)
    seen = []
    whole.eval().fc.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    transform = torchvision.models.video.R3D_18_Weights.DEFAULT.transforms(resize_size=(64, 86), crop_size=(56, 56))
    with torch.inference_mode():
        for numbers in ([0, 1, 2, 3], [6, 7, 8, 9], [12, 13, 14, 15]):
            whole(transform(torch.from_numpy(np.stack([frames[i] for i in numbers])).permute(0, 3, 1, 2))[None])
    three = seen_with(small, 3, batch_size=2)
    found = features_of(path, three)
    np.testing.assert_allclose(found, torch.cat(seen).mean(0), rtol=1e-4, atol=1e-5)
    assert found.std() > 0
    np.testing.assert_array_equal(found, features_of(path, three))
    pooled, region = three.features(torch.stack([three.read(str(path))[0]] * 2))
    np.testing.assert_array_equal(pooled[1], found)
    assert region.shape == (2, len(found), 1, 1)


def test_a_window_keeps_the_frame_rate_of_the_weights(small, clips) -> None:
    taken = []
    spy = torch.nn.Module()
    spy.forward = lambda frame: taken.append(frame) or small.transform(frame)
    spec = msgspec.structs.replace(small.spec, windows=1, frame_rate=7.5)
    slow = replace(small, spec=spec, transform=spy)  # the clips have 15 frames a second: every second one
    assert slow.read(clips / "right" / "a.mp4")[0].shape == (1, 3, 4, 56, 56)
    bright = [int((frame[0, 0, 16] > 140).nonzero().flatten().float().mean()) for frame in taken]
    assert np.diff(bright).tolist() == [4, 4, 4]  # pixels: twice 2


def test_images_stand_as_the_phone_was_held(small, tmp_path) -> None:
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
    spy.forward = lambda frame: seen.append(frame) or small.transform(frame)
    seen_with(small, 1, transform=spy).read(path)
    assert seen[0].shape == (1, 3, 64, 32) and video.middle_frame(path).size == (32, 64)
    bright = (seen[0][0, 0] > 140).nonzero().float().mean(0)
    assert bright[0] < 20 and bright[1] < 20  # a quarter turn clockwise leaves it at the top


def test_a_folder_becomes_a_feature_file(quick, clips, small, tmp_path, capsys) -> None:
    assert extract(clips, tmp_path) == 0
    assert "UNTRAINED" in capsys.readouterr().out
    path = tmp_path / "my_clips" / "r3d_18.mat"
    features, labels = read_features(path)
    content = read_mat(path, ["image_files", "allclasses_names", "backbone", "copy_of"])
    assert content["allclasses_names"].tolist() == ["down", "right"]
    assert content["image_files"].tolist() == ["down/c.mkv", "down/d.mp4", "right/a.mp4", "right/b.AVI"]
    assert json.loads(content["backbone"][0]) == {
        "spec": {"name": "r3d_18", "windows": 2, "frames": 4, "frame_rate": 15.0, "resize": [64, 86], "crop": [56, 56]},
        "weights": "random weights, seed 0",
        "digest": small.digest,
    }
    assert labels.tolist() == [1, 1, 2, 2] and content["copy_of"].ravel().tolist() == [1, 2, 3, 4]
    assert scipy.io.loadmat(path)["features"].dtype == np.float32
    assert features.shape == (4, 512)
    assert [path.name for path in path.parent.iterdir()] == ["r3d_18.mat"]
    for row, name in zip(features, content["image_files"]):
        np.testing.assert_array_equal(row, features_of(clips / name, small))
    with pytest.raises(InputError, match="r3d_18.mat: .*must not exist.*--overwrite"):
        extract(clips, tmp_path, resume=True)


def test_damaged_videos_are_listed_and_left_out(quick, clips, tmp_path, capsys) -> None:
    videos = shutil.copytree(clips, tmp_path / "videos")
    long = videos / "down" / "long.mp4"
    draw_clip(long, 0, n_frames=24, down=True)
    content = long.read_bytes()
    start = content.index(b"mdat")  # the images; what comes before them says how many there should be
    long.write_bytes(content[: start + (len(content) - start) * 3 // 4])
    (videos / "right" / "text.mp4").write_text("no video at all")
    (videos / "right" / "gone.mp4").symlink_to("nowhere")
    assert extract(videos, tmp_path) == 3
    listed = (tmp_path / "my_clips" / "r3d_18-unreadable.txt").read_text().splitlines()
    assert [line.split(": ")[0] for line in listed] == ["down/long.mp4", "right/gone.mp4", "right/text.mp4"]
    assert "cut short" in listed[0] and "r3d_18-unreadable.txt" in capsys.readouterr().err
    features, labels = read_features(tmp_path / "my_clips" / "r3d_18.mat")
    assert len(features) == 4 and labels.tolist() == [1, 1, 2, 2]
    for name in ("broken/x.webm", "empty/y.mp4"):
        (videos / name).parent.mkdir(exist_ok=True)
        (videos / name).write_bytes(b"")
    with pytest.raises(InputError, match="none of broken, empty"):
        extract(videos, tmp_path, overwrite=True)


def test_what_is_no_complete_video_is_refused(tmp_path) -> None:
    for suffix in (".mp4", ".avi", ".mkv", ".ts"):  # one frame makes a complete one
        draw_clip(tmp_path / f"a{suffix}", 4, n_frames=1)
        assert video.middle_frame(tmp_path / f"a{suffix}").size == (64, 64)
    content = bytearray((tmp_path / "a.mp4").read_bytes())
    entry = content.index(b"stsd") + 12  # the size of the first description of samples
    content[entry : entry + 4] = b"\xff" * 4  # for which FFmpeg says that it lacks memory
    (tmp_path / "large.mp4").write_bytes(content)
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=48_000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 48_000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 48_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    (tmp_path / "photo.heic").write_bytes(bytes(4) + b"ftypheic" + bytes(99))
    for name, got in (
        ("large.mp4", ""),
        ("sound.mp4", "sound"),
        ("photo.heic", "an image"),
        ("", "Is a directory"),
        ("no", "No such"),
    ):
        with pytest.raises(InputError, match=f"{name}: the file must be a complete video .*got {got}"):
            video.middle_frame(tmp_path / name)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_from_a_file(suffix: str, tmp_path) -> None:
    pytest.importorskip("timm")
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
    with pytest.raises(InputError, match="own.*must be those of the network"):
        video.load_backbone(video.VideoSpec("r2plus1d_18"), str(path))


def test_flags_that_cannot_be_are_refused(clips, tmp_path, monkeypatch) -> None:
    (tmp_path / "one" / "run").mkdir(parents=True)
    for videos, words in ((tmp_path / "absent", "--videos: .*absent"), (tmp_path / "one", "one: .*must hold videos")):
        with pytest.raises(InputError, match=words):
            extract(videos, tmp_path)
    with pytest.raises(InputError, match="--windows"):
        extract(clips, tmp_path, windows=0)
    with pytest.raises(InputError, match="--images / --videos: .*got both"):
        extract(clips, tmp_path, images=clips)
    with pytest.raises(InputError, match="--backbone must be .*mc3_18.*got resnet18"):
        video.load_backbone(video.VideoSpec("resnet18"))
    with pytest.raises(InputError, match="weights none --random_weights"):
        video.load_backbone(video.VideoSpec("r3d_18"), "none")

    def refuse(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(torchvision.models.video.R3D_18_Weights, "get_state_dict", refuse)
    with pytest.raises(InputError, match="pth: .*no network.*--weights FILE"):
        video.load_backbone(video.VideoSpec("r3d_18"))


def test_from_videos_to_a_split(quick, tmp_path) -> None:
    names = ["fall_down", "go_left", "go_right", "jump_up"]
    for number, name in enumerate(names):
        for start in range(3):
            draw_clip(tmp_path / "videos" / name / f"{start}.mp4", 8 * number + start, n_frames=4, down=number % 2 == 0)
    assert extract(tmp_path / "videos", tmp_path, windows=1) == 0
    np.save(tmp_path / "vectors.npy", np.random.default_rng(0).normal(size=(4, 6)))
    flags = dict(dataset="my_clips", dataroot=tmp_path, image_embedding="r3d_18")
    make_splits(SplitsConfig(**flags, class_vectors=tmp_path / "vectors.npy", splits="1"))
    split = read_mat(tmp_path / "my_clips" / "split_1" / "att_splits.mat", ["allclasses_names", "test_unseen_loc"])
    assert split["allclasses_names"].tolist() == names and len(split["test_unseen_loc"]) == 6
