"""Pooled features of videos from the networks of `torchvision.models.video`, one vector a video.

A video is seen through a few windows, evenly spaced, of as many frames and at the frame rate that the network's weights
were trained with. Each window goes through the weights' own transforms and the network without its last layer; the
windows' features are averaged. The networks, weights, transforms and test-time numbers are torchvision's: R3D, MC3 and
R(2+1)D (Tran et al., CVPR 2018), S3D (Xie et al., ECCV 2018), MViT (Fan et al., ICCV 2021; Li et al., CVPR 2022) and Video
Swin (Liu et al., CVPR 2022), trained on Kinetics-400.

These are not the features of the TF-VAEGAN paper, which are of an I3D network on colour and on optical flow, 8192-d.

Memory holds one video's windows at network size, never a video's frames. Needs the extra `video` (torchvision, PyAV).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from zsl.errors import InputError
from zsl.features.files import PartialFeatures
from zsl.features.weights import check_intent, download, import_extra, load_fitting, read_state_dict, weights_digest

SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm")

# Family -> frames a window and frames a second, as in torchvision's evaluation of the weights (in their documentation).
SAMPLING = {
    "r3d": (16, 15.0), "mc3": (16, 15.0), "r2plus1d": (16, 15.0), "s3d": (128, 15.0), "mvit": (16, 7.5),
    "swin3d": (32, 15.0),
}
CUT_SHORT = 0.9  # a video whose pictures end before this share of its announced length is taken to be damaged


class UnreadableVideo(Exception):
    """A file that is not a whole video; the message says why."""


@dataclass(frozen=True)
class Backbone:
    """A network that turns windows into features, and how it wants them.

    Attributes:
        name: torchvision's name of it.
        network: (n, 3, frames, height, width) -> (n, D), in evaluation mode.
        transform: uint8 (t, 3, H, W) -> float32 (3, t, height, width), each frame by itself.
        frames: length of a window.
        frame_rate: frames a second within a window.
        weights: where the weights came from, in words.
        digest: 12 hexadecimal digits of the weights' SHA-256.
    """

    name: str
    network: nn.Module
    transform: nn.Module
    frames: int
    frame_rate: float
    weights: str
    digest: str


# ---- networks -----------------------------------------------------------------------------------------------------------


def backbone_names() -> list[str]:
    """Every video network of the installed torchvision whose sampling is known here."""
    models = import_extra("torchvision", "video").models
    return [name for name in models.list_models(module=models.video) if name.split("_")[0] in SAMPLING]


def load_backbone(
    name: str, weights: str = "default", *, random_weights: bool = False, seed: int = 0, device: torch.device | str = "cpu"
) -> Backbone:
    """A network with its weights and without its last layer.

    Args:
        weights: "default" or the name of one of torchvision's weights (downloaded once), or a file: a state dict
            (.pth, .pt; read as data, never run as code) or .safetensors. Entries of the last layer are not used, so it
            may have any number of classes. "none" only with `random_weights`.
        random_weights: initial weights, drawn from `seed`.

    Raises:
        InputError: no such network or weights, weights that do not fit or cannot be fetched, or packages are missing.
    """
    models = import_extra("torchvision", "video").models
    if name not in backbone_names():
        raise InputError(
            "unknown backbone", where="--backbone", found=name, expected=f"one of {', '.join(backbone_names())}",
            cure="Choose one of those.",
        )
    known = models.get_model_weights(name)
    check_intent(weights, random_weights)
    with torch.random.fork_rng(devices=[]):  # the caller's random numbers stay as they were
        torch.manual_seed(seed)
        network = models.get_model(name, weights=None)
    head = list(network._modules)[-1]  # in all of these the last child is the classifier, a mean over space-time aside
    setattr(network, head, nn.Identity())
    if random_weights:
        source = f"random weights, seed {seed}"
    elif weights == "default" or weights in known.__members__:
        chosen = known.DEFAULT if weights == "default" else known[weights]
        source = f"torchvision's {chosen}"
        load_fitting(network, download(chosen), [head], source)
    else:
        source = Path(weights).name
        load_fitting(network, read_state_dict(Path(weights), [each.name for each in known]), [head], weights)
    frames, frame_rate = SAMPLING[name.split("_")[0]]
    digest = weights_digest(network.state_dict())
    network = network.eval().requires_grad_(False).to(device)
    return Backbone(name, network, known.DEFAULT.transforms(), frames, frame_rate, source, digest)


# ---- videos -------------------------------------------------------------------------------------------------------------


def list_videos(folder: Path) -> tuple[list[str], list[Path], np.ndarray]:
    """The videos of `<folder>/<class name>/`, classes and files in the order of their names.

    Returns:
        C class names (folders without any video are no classes), N files, and their 1-based labels (N,).

    Raises:
        InputError: there is no such folder, or it does not have videos of two classes.
    """
    layout = f"<class name>/*{'|'.join(SUFFIXES)} in it, at least two classes"
    if not folder.is_dir():
        raise InputError("missing folder", where="--videos", found=folder, expected=layout, cure="Check the path.")
    of_class = {
        child.name: sorted(path for path in child.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
        for child in sorted(folder.iterdir()) if child.is_dir()
    }
    of_class = {name: paths for name, paths in of_class.items() if paths}
    if len(of_class) < 2:
        raise InputError(
            "videos of fewer than two classes" if of_class else "no videos", where=folder,
            found=f"only {next(iter(of_class))}/" if of_class else "none in its folders", expected=layout,
            cure="Put the clips of each class into a folder with the name of the class.",
        )
    labels = np.repeat(np.arange(1, len(of_class) + 1), [len(paths) for paths in of_class.values()])
    return list(of_class), [path for paths in of_class.values() for path in paths], labels


def window_indices(n_frames: int, length: int, step: int, n_windows: int) -> np.ndarray:
    """Which frames each window takes: (w, length), each row `step` apart, w = n_windows where the video is long enough.

    First and last window touch the ends, one window alone is in the middle. Windows that would be the same are taken
    once, and a video shorter than a window repeats its last frame.
    """
    room = max(0, n_frames - ((length - 1) * step + 1))
    starts = np.linspace(0, room, n_windows).round() if n_windows > 1 else np.array([room // 2])
    indices = np.unique(starts.astype(int))[:, None] + step * np.arange(length)
    return np.minimum(indices, n_frames - 1)


def read_windows(path: Path, backbone: Backbone, n_windows: int) -> Tensor:
    """(w, 3, frames, height, width) float32: a video's windows as the network wants them.

    Raises:
        UnreadableVideo: the file is no video, is damaged or ends early.
    """
    announced, rate = _count_frames(path)
    step = max(1, round(rate / backbone.frame_rate))
    indices = window_indices(max(announced, 1), backbone.frames, step, n_windows)
    frames, n_frames = _decode(path, set(indices.ravel().tolist()), backbone.transform)
    if n_frames != announced:  # a container may hold packets that are not shown: look again with the true number
        indices = window_indices(n_frames, backbone.frames, step, n_windows)
        frames, _ = _decode(path, set(indices.ravel().tolist()), backbone.transform)
    return torch.stack([torch.cat([frames[index] for index in row], dim=1) for row in indices.tolist()])


def video_features(path: Path, backbone: Backbone, n_windows: int, batch_size: int) -> np.ndarray:
    """(D,) float32: the mean over a video's windows, at most `batch_size` of them in the network at a time."""
    device = next(backbone.network.parameters()).device
    with torch.inference_mode():
        batches = read_windows(path, backbone, n_windows).split(batch_size)
        features = torch.cat([backbone.network(batch.to(device)).float().cpu() for batch in batches])
    return features.mean(0).numpy()


def _count_frames(path: Path) -> tuple[int, float]:
    """Pictures that a file announces, without decoding them, and pictures a second."""
    av = import_extra("av", "video")
    try:
        with av.open(str(path)) as container:
            stream = _video_stream(container)
            n_frames = sum(packet.size > 0 for packet in container.demux(stream))
            return n_frames, float(stream.average_rate or stream.base_rate or 0)
    except (av.error.FFmpegError, OSError) as error:
        raise UnreadableVideo(error.strerror or str(error)) from None


def _decode(path: Path, wanted: set[int], transform: nn.Module) -> tuple[dict[int, Tensor], int]:
    """Decodes a whole video and keeps the wanted frames, transformed (3, 1, height, width); with the number of frames."""
    av = import_extra("av", "video")
    kept, n_frames, first, last = {}, 0, None, None
    try:
        with av.open(str(path)) as container:
            stream = _video_stream(container)
            stream.thread_type = "AUTO"
            for frame in container.decode(stream):
                if n_frames in wanted:
                    upright = np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90)  # as a phone was held
                    kept[n_frames] = transform(torch.from_numpy(upright.copy()).permute(2, 0, 1)[None])
                n_frames += 1
                if frame.time is not None:
                    first, last = frame.time if first is None else first, frame.time
            duration = float(stream.duration * stream.time_base) if stream.duration else None
            if duration is None and container.duration and len(container.streams) == 1:
                duration = container.duration / av.time_base
            interval = 1 / float(stream.average_rate) if stream.average_rate else 0.0
    except (av.error.FFmpegError, OSError) as error:
        raise UnreadableVideo(error.strerror or str(error)) from None
    if not n_frames:
        raise UnreadableVideo("no frame can be decoded")
    if duration is not None and last is not None and (shown := last - first + interval) < CUT_SHORT * duration - interval:
        raise UnreadableVideo(f"cut short: {shown:.2f} of {duration:.2f} seconds")
    return kept, n_frames


def _video_stream(container: object) -> object:
    if not container.streams.video:
        raise UnreadableVideo("no video stream")
    return container.streams.video[0]


# ---- a folder of videos -------------------------------------------------------------------------------------------------


def extract(
    folder: Path, paths: Sequence[Path], backbone: Backbone, *, n_windows: int, batch_size: int, partial: Path
) -> tuple[dict[Path, np.ndarray], dict[Path, str]]:
    """Features of many videos, written down one by one in `partial`, from where a later call goes on.

    Args:
        folder: what `paths` are noted relative to.
        partial: a file of `PartialFeatures`. A video that could not be read is tried again.

    Returns:
        file -> (D,) float32, and file -> reason for the videos that cannot be read.

    Raises:
        InputError: `partial` belongs to other settings, or the disk is full.
    """
    identity = {
        "backbone": backbone.name, "weights": backbone.digest, "windows": n_windows, "frames": backbone.frames,
        "frame_rate": backbone.frame_rate,
    }
    features, unreadable = {}, {}
    with PartialFeatures(partial, identity) as written:
        for path in tqdm(paths, desc=backbone.name, unit="video", disable=None):
            key = written.key(path, path.relative_to(folder).as_posix())
            if key not in written.done:
                try:
                    written.add(key, video_features(path, backbone, n_windows, batch_size))
                except UnreadableVideo as error:
                    unreadable[path] = str(error)
                    continue
            features[path] = written.done[key]
    return features, unreadable
