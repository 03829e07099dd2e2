"""Pooled features of videos from the networks of `torchvision.models.video`, one vector a video.

A video is seen through a few windows, evenly spaced, of as many frames and at the frame rate that the network's weights
were trained with. Each window goes through the weights' own transforms and the network without its last layer; the
windows' features are averaged. The networks, weights, transforms and test-time numbers are torchvision's: R3D, MC3 and
R(2+1)D (Tran et al., CVPR 2018), S3D (Xie et al., ECCV 2018), MViT (Fan et al., ICCV 2021; Li et al., CVPR 2022) and Video
Swin (Liu et al., CVPR 2022), trained on Kinetics-400. The features of the TF-VAEGAN paper are others: of an I3D network on
color and on optical flow, 8192-d.

    backbone = load_backbone(VideoSpec("r2plus1d_18"))
    windows, _ = backbone.read(Path("clip.mp4"))
    pooled, _ = backbone.features(windows[None])  # (1, 512)

Memory holds a video's windows at network size, never a video's frames. Needs the extra `video` (torchvision, PyAV).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from zslab.errors import InputError, readable
from zslab.features.backbones import WHOLE, Backbone, Spec
from zslab.features.networks import Weights, check_intent, import_extra, load_weights, weights_digest

SUFFIXES = (
    ".mp4", ".m4v", ".mov", ".3gp", ".avi", ".divx", ".mkv", ".webm", ".mpg", ".mpeg", ".mpe", ".m2v", ".vob", ".mts", ".m2ts",
    ".ts", ".wmv", ".asf", ".flv", ".f4v", ".ogv",
)  # fmt: skip

# FFmpeg reads far more: playlists, which open other files, and text, which it draws. The suffix decides nothing.
FORMATS = "mov,avi,matroska,mpeg,mpegts,mpegvideo,h264,hevc,m4v,flv,asf,ogg"
STILLS = (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftypavif")  # images in a container for videos
CUT_SHORT = 0.9  # a video whose frames end before this share of its announced length is taken to be damaged

# Family -> frames a window and frames a second, as in torchvision's evaluation of the weights (in their documentation).
SAMPLING = {name: (16, 15.0) for name in ("r3d", "mc3", "r2plus1d")}
SAMPLING |= {"s3d": (128, 15.0), "mvit": (16, 7.5), "swin3d": (32, 15.0)}
AT_A_TIME = 4  # windows in the network

Size = Annotated[tuple[int, ...], msgspec.Meta(min_length=1, max_length=2)]


class VideoSpec(Spec, frozen=True, forbid_unknown_fields=True):
    """Settings of a video backbone, without its weights; 0 and None stand for what the network's weights were trained with."""

    windows: int = 4  #: a video, evenly spaced, whose features are averaged
    frames: int = 0  #: length of a window
    frame_rate: float = 0.0  #: frames a second within a window
    resize: Size | None = None  #: (height, width) that a frame is brought to, or its shorter side alone, in pixels
    crop: Size | None = None  #: (height, width) of the center crop

    def __post_init__(self) -> None:
        frames, rate = SAMPLING.get(self.name.split("_")[0], (1, 1.0))  # another name is refused with its weights
        msgspec.structs.force_setattr(self, "frames", self.frames or frames)
        msgspec.structs.force_setattr(self, "frame_rate", self.frame_rate or rate)
        numbers = (self.windows, self.frames, self.frame_rate, *(self.resize or ()), *(self.crop or ()))
        if not all(0 < number < math.inf for number in numbers):
            where = "--windows, or frames and pixels of a video backbone"
            raise InputError("the numbers must be greater than 0", where=where, got=numbers, fix="Correct them.")


@dataclass(frozen=True)
class VideoBackbone(Backbone):
    """A network, (n, 3, frames, height, width) -> (n, D), that turns videos into features.

    Its transform takes uint8 (t, 3, H, W) to float32 (3, t, height, width), each frame by itself; `batch_size` windows go
    through it at a time, on which only memory and speed depend.
    """

    spec: VideoSpec
    network: nn.Module
    transform: Any
    feature_dim: int
    weights: str
    digest: str
    batch_size: int = AT_A_TIME
    grid = (1, 1)

    @property
    def pooled_dim(self) -> int:  # type: ignore[override]
        """D, of a video."""
        return self.feature_dim

    def read(self, source: Path | str, *, max_pixels: int = 0) -> tuple[Tensor, tuple[float, float, float, float]]:
        """Return the windows of a video file, (w, 3, frames, height, width), and the whole frame as the part that is seen."""

        def choose(n_frames: int, rate: float) -> np.ndarray:
            return window_indices(n_frames, self.spec.frames, max(1, round(rate / self.spec.frame_rate)), self.spec.windows)

        frames, indices = read_frames(source, choose, self.transform)
        return torch.stack([torch.cat([frames[index] for index in row], dim=1) for row in indices.tolist()]), WHOLE

    def features(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """Return pooled (n, D), the mean over a video's windows, and the same as one region, (n, D, 1, 1)."""
        device, rows = next(self.network.parameters()).device, []
        with torch.inference_mode():
            for windows in batch:
                parts = [self.network(part.to(device)).float().cpu() for part in windows.split(self.batch_size)]
                rows.append(torch.cat(parts).mean(0))
        pooled = torch.stack(rows)
        return pooled, pooled[..., None, None]

    def for_files(self, files: object, **options: object) -> VideoBackbone:
        """Return the backbone itself, since videos have 8 bits."""
        return self


def load_backbone(
    spec: VideoSpec,
    weights: Weights = "default",
    *,
    random_weights: bool = False,
    device: torch.device | str = "cpu",
    batch_size: int = AT_A_TIME,
) -> VideoBackbone:
    """Return a network with its weights and without its last layer; arguments as for `zslab.features.backbones.load_backbone`.

    `batch_size` windows are in the network at a time. The last layer may have any number of classes.
    """
    models = import_extra("torchvision", "video").models
    import_extra("av", "video")  # missing, it is missed before the first video
    names = [name for name in models.list_models(module=models.video) if name.split("_")[0] in SAMPLING]
    if spec.name not in names:
        must = f"--backbone must be one of {', '.join(names)}"
        raise InputError(must, where="--backbone", got=spec.name, fix="Choose one of them.")
    known = models.get_model_weights(spec.name)
    if not isinstance(weights, Mapping):
        check_intent(weights, random_weights)
        weights = known.DEFAULT.name if weights == "default" else weights
    with torch.random.fork_rng(devices=[]):  # the caller's random numbers stay as they were
        torch.manual_seed(0)
        network = models.get_model(spec.name, weights=None)
    last = list(network.modules())[-1]  # the linear layer, or the convolution of S3D, that gives the classes
    feature_dim = last.in_features if isinstance(last, nn.Linear) else last.in_channels
    head = list(network._modules)[-1]  # in all of these the last child is the classifier, a mean over space-time aside
    setattr(network, head, nn.Identity())
    source = load_weights(network, weights, [head], known)
    sizes = {f"{name}_size": list(size) for name in ("resize", "crop") if (size := getattr(spec, name)) is not None}
    transform = known.DEFAULT.transforms(**sizes)
    spec = msgspec.structs.replace(spec, resize=tuple(transform.resize_size), crop=tuple(transform.crop_size))
    digest = weights_digest(network.state_dict())
    network = network.eval().requires_grad_(False).to(device)
    source = "random weights, seed 0" if random_weights else source
    return VideoBackbone(spec, network, transform, feature_dim, source, digest, batch_size)


def window_indices(n_frames: int, length: int, step: int, n_windows: int) -> np.ndarray:
    """Return which frames each window takes: (w, length), each row `step` apart, w = n_windows where the video is long enough.

    First and last window touch the ends, one window alone is in the middle. Windows that would be the same are taken
    once, and a video shorter than a window repeats its last frame.
    """
    room = max(0, n_frames - ((length - 1) * step + 1))
    starts = np.linspace(0, room, n_windows).round() if n_windows > 1 else np.array([room // 2])
    indices = np.unique(starts.astype(int))[:, None] + step * np.arange(length)
    return np.minimum(indices, n_frames - 1)


def middle_frame(path: Path | str) -> Image.Image:
    """Return the frame in the middle of a video, RGB and upright."""
    frames, _ = read_frames(path, lambda n_frames, rate: np.array([n_frames // 2]), lambda frame: frame)
    (pixels,) = frames.values()
    return Image.fromarray(pixels[0].permute(1, 2, 0).numpy())


def read_frames(
    path: Path | str, choose: Callable[[int, float], np.ndarray], transform: Callable[[Tensor], Tensor]
) -> tuple[dict[int, Tensor], np.ndarray]:
    """Return frames of a video by their numbers, transformed, and these numbers.

    Args:
        path: the file, which is judged by its content.
        choose: how many frames there are, and how many a second -> the numbers of those to read, of any shape.
        transform: of uint8 (1, 3, H, W).
    """
    must = "the file must be a complete video (MP4, AVI, MOV, MKV, WebM, ...)"
    with readable(path, must, "Copy or download it again, or leave it out.", (OSError, ValueError, TypeError)):
        with _opened(Path(path)) as (container, stream):  # without decoding
            announced = sum(packet.size > 0 for packet in container.demux(stream))
            rate = float(stream.average_rate or stream.base_rate or 0)
        indices = choose(max(announced, 1), rate)
        frames, n_frames = _decode(Path(path), set(indices.ravel().tolist()), transform)
        if n_frames != announced:  # a container may hold packets that are not shown: look again with the true number
            indices = choose(n_frames, rate)
            frames, _ = _decode(Path(path), set(indices.ravel().tolist()), transform)
    return frames, indices


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """Yield the container that PyAV has opened by its content, and its first stream of images."""
    with open(path, "rb") as file:
        if file.read(12)[4:] in STILLS:
            raise ValueError("an image")
    av = import_extra("av", "video")
    options = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
    try:
        # Absolute, for of "12:30.mp4" FFmpeg would take 12 for a protocol.
        with av.open(str(path.absolute()), options=options, metadata_errors="replace") as container:
            if not container.streams.video:
                raise ValueError("sound without images")
            yield container, container.streams.video[0]
    except av.error.FFmpegError as error:  # of an impossible size it says that it cannot allocate memory
        raise ValueError(error.strerror or str(error)) from error


def _decode(path: Path, chosen: Collection[int], transform: Callable[[Tensor], Tensor]) -> tuple[dict[int, Tensor], int]:
    """Decode a complete video; return the chosen frames, transformed, and the number of all frames."""
    frames: dict[int, Tensor] = {}
    times: list[float | None] = []
    with _opened(path) as (container, stream):
        stream.thread_type = "AUTO"
        for number, frame in enumerate(container.decode(stream)):
            if number in chosen:
                upright = np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90)  # as a phone was held
                frames[number] = transform(torch.from_numpy(upright.copy()).permute(2, 0, 1)[None])
            times.append(frame.time)
        duration = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else None
        if duration is None and container.duration and len(container.streams) == 1:
            duration = container.duration / 1_000_000  # FFmpeg counts microseconds
        rate = stream.average_rate or stream.base_rate
        interval = 1 / float(rate) if rate else 0.0
    known = [time for time in times if time is not None]
    if not times:
        raise ValueError("no frame can be decoded")
    if duration is not None and known and (shown := known[-1] - known[0] + interval) < CUT_SHORT * duration - interval:
        raise ValueError(f"cut short: {shown:.2f} of {duration:.2f} seconds")
    return frames, len(times)
