"""Pooled features of videos from the networks of `torchvision.models.video`, one vector a video.

A video is seen through a few windows, evenly spaced, of as many frames and at the frame rate that the network's weights
were trained with. Each window goes through the weights' own transforms and the network without its last layer; the
windows' features are averaged. The networks, weights, transforms and test-time numbers are torchvision's: R3D, MC3 and
R(2+1)D (Tran et al., CVPR 2018), S3D (Xie et al., ECCV 2018), MViT (Fan et al., ICCV 2021; Li et al., CVPR 2022) and Video
Swin (Liu et al., CVPR 2022), trained on Kinetics-400.

These are not the features of the TF-VAEGAN paper, which are of an I3D network on color and on optical flow, 8192-d.

    backbone = load_backbone(VideoSpec("r2plus1d_18"))
    features = video_features(Path("clip.mp4"), backbone)  # (512,)

Memory holds one video's windows at network size, never a video's frames. Needs the extra `video` (torchvision, PyAV).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from zslab.data.resumable import ResumableRows, file_key
from zslab.errors import InputError
from zslab.features.backbones import WHOLE, Backbone
from zslab.features.sources import Images
from zslab.features.video_files import read_frames
from zslab.features.weights import check_intent, download, import_extra, load_fitting, read_state_dict, weights_digest

# Family -> frames a window and frames a second, as in torchvision's evaluation of the weights (in their documentation).
SAMPLING = {
    "r3d": (16, 15.0),
    "mc3": (16, 15.0),
    "r2plus1d": (16, 15.0),
    "s3d": (128, 15.0),
    "mvit": (16, 7.5),
    "swin3d": (32, 15.0),
}
AT_A_TIME = 4  # windows in the network
MOST_PIXELS = 100_000_000  # of all windows of a video at network size, 1.2 GB
LARGEST = 1000  # windows, frames, frames a second and pixels a side of a spec, which may come out of anybody's file


@dataclass(frozen=True)
class VideoSpec:
    """Settings of a video backbone, without its weights.

    Attributes:
        name: a network of torchvision.models.video.
        windows: a video, evenly spaced, whose features are averaged.
        frames: length of a window.
        frame_rate: frames a second within a window.
        resize: (height, width) that a frame is brought to, or its shorter side alone, in pixels.
        crop: (height, width) of the center crop.

    Zero frames, a rate of zero, and None stand for what the network's weights were trained with; a backbone's own spec has the
    numbers.

    Raises:
        InputError: a value is impossible.
    """

    name: str
    windows: int = 4
    frames: int = 0
    frame_rate: float = 0.0
    resize: tuple[int, ...] | None = None
    crop: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        frames, rate = SAMPLING.get(self.name.split("_")[0], (1, 1.0))  # a stranger is refused with its weights
        object.__setattr__(self, "frames", self.frames or frames)
        object.__setattr__(self, "frame_rate", self.frame_rate or rate)
        for number in (self.windows, self.frames, *(self.resize or ()), *(self.crop or ())):
            if not 1 <= number <= LARGEST:
                raise InputError(
                    "the number is impossible",
                    where="--windows, or frames and pixels of a video backbone",
                    found=number,
                    expected=f"1 to {LARGEST}",
                    fix="Choose one of them.",
                )
        n_pixels = self.windows * self.frames * math.prod((self.crop or (1,)) * (2 if len(self.crop or ()) == 1 else 1))
        if n_pixels > MOST_PIXELS:
            raise InputError(
                "the windows of a video do not fit in memory",
                where="--windows, or frames and pixels of a video backbone",
                found=f"{self.windows} windows of {self.frames} frames, {n_pixels:,} pixels",
                expected=f"at most {MOST_PIXELS:,} pixels",
                fix="Choose fewer windows.",
            )
        if not 0 < self.frame_rate <= LARGEST:
            raise InputError(
                "the number is impossible",
                where="the frame rate of a video backbone",
                found=self.frame_rate,
                expected=f"up to {LARGEST} a second",
                fix="Extract the features or export the model again.",
            )

    def to_json(self) -> dict[str, object]:
        """Return the settings as JSON can say them."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_json(cls, content: object) -> VideoSpec:
        """Return the spec from what `to_json` gave.

        Raises:
            InputError: it is something else.
        """

        def is_number(value: object, *others: type) -> bool:
            return type(value) in (int, *others) and 0 < cast(float, value) < math.inf

        def is_size(value: object) -> bool:
            return isinstance(value, list | tuple) and len(value) in (1, 2) and all(map(is_number, value))

        fits: dict[str, Callable[[Any], bool]] = {
            "name": lambda value: isinstance(value, str),
            "windows": is_number,
            "frames": is_number,
            "frame_rate": lambda value: is_number(value, float),
            "resize": is_size,
            "crop": is_size,
        }
        known = {field.name for field in fields(cls)}
        if not isinstance(content, Mapping) or set(content) != known or not all(fits[key](content[key]) for key in known):
            raise InputError(
                "the description of the video backbone cannot be understood",
                where="the backbone",
                found=content,
                expected=", ".join(fits),
                fix="It was written by another version or changed by hand; extract the features or export the model again.",
            )
        values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in content.items()}
        return cls(**values)


@dataclass(frozen=True)
class VideoBackbone(Backbone):
    """A network that turns videos into features.

    Attributes:
        network: (n, 3, frames, height, width) -> (n, D), in evaluation mode.
        transform: uint8 (t, 3, H, W) -> float32 (3, t, height, width), each frame by itself.
        feature_dim: D, of a video.
        batch_size: windows in the network at a time; only memory and speed depend on it.
    """

    spec: VideoSpec
    network: nn.Module
    transform: nn.Module
    feature_dim: int
    weights: str
    digest: str
    batch_size: int = AT_A_TIME

    def read(self, source: Path | str) -> tuple[Tensor, tuple[float, float, float, float]]:
        """Return the windows of a video file, (w, 3, frames, height, width), and the whole frame as the part that is seen."""
        return read_windows(source, self), WHOLE

    def features(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """Return pooled (n, D), the mean over a video's windows, and the same as one region, (n, D, 1, 1)."""
        device = next(self.network.parameters()).device
        with torch.inference_mode():
            pooled = torch.stack(
                [
                    torch.cat([self.network(part.to(device)).float().cpu() for part in windows.split(self.batch_size)]).mean(0)
                    for windows in batch
                ]
            )
        return pooled, pooled[..., None, None]

    def state_dict(self) -> dict[str, Tensor]:
        """Return the weights on the CPU."""
        return {name: value.detach().cpu().contiguous() for name, value in self.network.state_dict().items()}


# ---- networks -----------------------------------------------------------------------------------------------------------


def backbone_names() -> list[str]:
    """Return every video network of the installed torchvision whose sampling is known."""
    models = import_extra("torchvision", "video").models
    return [name for name in models.list_models(module=models.video) if name.split("_")[0] in SAMPLING]


def load_backbone(
    spec: VideoSpec,
    weights: str | Path | Mapping[str, Tensor] = "default",
    *,
    random_weights: bool = False,
    seed: int = 0,
    device: torch.device | str = "cpu",
    batch_size: int = AT_A_TIME,
) -> VideoBackbone:
    """Return a network with its weights and without its last layer.

    Args:
        spec: its settings.
        weights: "default" or the name of one of torchvision's weights (downloaded once), a file: a state dict
            (.pth, .pt; read as data, never run as code) or .safetensors, or named tensors. Entries of the last layer are
            not used, so it may have any number of classes. "none" only with `random_weights`.
        random_weights: use initial weights, drawn from `seed`.
        seed: of the random weights.
        device: where the network runs.
        batch_size: windows in the network at a time.

    Raises:
        InputError: no such network or weights, weights that do not fit or cannot be fetched, or packages are missing.
    """
    models = import_extra("torchvision", "video").models
    import_extra("av", "video")  # missing, it is missed before the first video
    if spec.name not in backbone_names():
        raise InputError(
            "the backbone is unknown",
            where="--backbone",
            found=spec.name,
            expected=f"one of {', '.join(backbone_names())}",
            fix="Choose one of them.",
        )
    known = models.get_model_weights(spec.name)
    if not isinstance(weights, Mapping):
        check_intent(weights, random_weights)
    with torch.random.fork_rng(devices=[]):  # the caller's random numbers stay as they were
        torch.manual_seed(seed)
        network = models.get_model(spec.name, weights=None)
    last = list(network.modules())[-1]  # the linear layer, or the convolution of S3D, that gives the classes
    feature_dim = last.in_features if isinstance(last, nn.Linear) else last.in_channels
    head = list(network._modules)[-1]  # in all of these the last child is the classifier, a mean over space-time aside
    setattr(network, head, nn.Identity())
    if isinstance(weights, Mapping):
        source = "weights given as tensors"
        load_fitting(network, weights, [head], source)
    elif random_weights:
        source = f"random weights, seed {seed}"
    elif weights == "default" or weights in known.__members__:
        chosen = known.DEFAULT if weights == "default" else known[weights]
        source = f"torchvision's {chosen}"
        load_fitting(network, download(chosen), [head], source)
    else:
        source = Path(weights).name
        load_fitting(network, read_state_dict(Path(weights), [each.name for each in known]), [head], weights)
    sizes = {f"{name}_size": list(size) for name in ("resize", "crop") if (size := getattr(spec, name)) is not None}
    transform = known.DEFAULT.transforms(**sizes)
    spec = replace(spec, resize=tuple(transform.resize_size), crop=tuple(transform.crop_size))
    digest = weights_digest(network.state_dict())
    network = network.eval().requires_grad_(False).to(device)
    return VideoBackbone(spec, network, transform, feature_dim, source, digest, batch_size)


# ---- features of a video ------------------------------------------------------------------------------------------------


def window_indices(n_frames: int, length: int, step: int, n_windows: int) -> np.ndarray:
    """Return which frames each window takes: (w, length), each row `step` apart, w = n_windows where the video is long enough.

    First and last window touch the ends, one window alone is in the middle. Windows that would be the same are taken
    once, and a video shorter than a window repeats its last frame.
    """
    room = max(0, n_frames - ((length - 1) * step + 1))
    starts = np.linspace(0, room, n_windows).round() if n_windows > 1 else np.array([room // 2])
    indices = np.unique(starts.astype(int))[:, None] + step * np.arange(length)
    return np.minimum(indices, n_frames - 1)


def read_windows(path: Path | str, backbone: VideoBackbone) -> Tensor:
    """Return a video's windows as the network takes them, (w, 3, frames, height, width) float32.

    Raises:
        InputError: as `read_frames`.
    """
    spec = backbone.spec

    def choose(n_frames: int, rate: float) -> np.ndarray:
        return window_indices(n_frames, spec.frames, max(1, round(rate / spec.frame_rate)), spec.windows)

    frames, indices = read_frames(path, choose, backbone.transform)
    return torch.stack([torch.cat([frames[index] for index in row], dim=1) for row in indices.tolist()])


def video_features(path: Path | str, backbone: VideoBackbone) -> np.ndarray:
    """Return (D,) float32, the mean over a video's windows.

    Raises:
        InputError: as `read_frames`.
    """
    pooled, _ = backbone.features(read_windows(path, backbone)[None])
    return pooled[0].numpy()


# ---- a folder of videos -------------------------------------------------------------------------------------------------


def extract(videos: Images, backbone: VideoBackbone, *, partial: Path) -> tuple[np.ndarray, dict[int, str]]:
    """Extract features of N videos; finished ones stay in `partial`, from where a later call continues.

    Args:
        videos: the files.
        backbone: the network.
        partial: record of the finished videos, see `ResumableRows`. A video that could not be read is tried again.

    Returns:
        (n, D) float32 of the readable videos in their order, and index -> reason for the others.

    Raises:
        InputError: `partial` belongs to other settings, or the disk is full.
    """
    row_type = np.dtype([("pooled", "float32", (backbone.feature_dim,))])
    unreadable: dict[int, str] = {}
    readable = []
    with ResumableRows(partial, row_type, backbone.identity()) as finished:
        for index, name in enumerate(tqdm(videos.files, desc=backbone.spec.name, unit="video", disable=None)):
            try:
                key = file_key(videos.path(index), name)
                row = None if key in finished.positions else video_features(videos.path(index), backbone)
            except InputError as error:
                unreadable[index] = f"{error.problem}, {error.found}"
                continue
            except FileNotFoundError:  # a link that leads nowhere
                unreadable[index] = "the video is missing, no such file"
                continue
            if row is not None:
                finished.add([key], np.array([(row,)], row_type))
            readable.append(key)
        features = np.array(finished.rows()["pooled"][[finished.positions[key] for key in readable]])
    return features, unreadable
