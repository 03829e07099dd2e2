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
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from tqdm import tqdm

from zslab.data.resumable import ResumableRows, file_key
from zslab.errors import InputError
from zslab.features.backbones import WHOLE, Backbone
from zslab.features.images import MAX_PIXELS, find_files, is_image, kind_of_file
from zslab.features.weights import check_intent, download, import_extra, load_fitting, read_state_dict, weights_digest

SUFFIXES = (
    ".mp4", ".m4v", ".mov", ".3gp", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".mts", ".m2ts", ".ts", ".wmv", ".flv", ".ogv",
)  # fmt: skip

# FFmpeg reads far more: playlists, which open other files, and text, which it draws. The suffix decides nothing.
FORMATS = "mov,avi,matroska,mpeg,mpegts,mpegvideo,h264,hevc,m4v,flv,asf,ogg"

# Family -> frames a window and frames a second, as in torchvision's evaluation of the weights (in their documentation).
SAMPLING = {
    "r3d": (16, 15.0),
    "mc3": (16, 15.0),
    "r2plus1d": (16, 15.0),
    "s3d": (128, 15.0),
    "mvit": (16, 7.5),
    "swin3d": (32, 15.0),
}
CUT_SHORT = 0.9  # a video whose images end before this share of its announced length is taken to be damaged
AT_A_TIME = 4  # windows in the network
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

    The last four are None for what the network's weights were trained with; a backbone's own spec has the numbers.

    Raises:
        InputError: a value is impossible.
    """

    name: str
    windows: int = 4
    frames: int | None = None
    frame_rate: float | None = None
    resize: tuple[int, ...] | None = None
    crop: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        frames, rate = SAMPLING.get(self.name.split("_")[0], (1, 1.0))  # a stranger is refused with its weights
        object.__setattr__(self, "frames", frames if self.frames is None else self.frames)
        object.__setattr__(self, "frame_rate", rate if self.frame_rate is None else self.frame_rate)
        for number in (self.windows, self.frames, *(self.resize or ()), *(self.crop or ())):
            if not 1 <= number <= LARGEST:
                raise InputError(
                    "the number is impossible",
                    where="--windows, or frames and pixels of a video backbone",
                    found=number,
                    expected=f"1 to {LARGEST}",
                    fix="Choose one of them.",
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

        def is_number(value: object, kinds: type | tuple[type, ...] = int) -> bool:
            return isinstance(value, kinds) and not isinstance(value, bool) and math.isfinite(value)

        def is_size(value: object) -> bool:
            return isinstance(value, list | tuple) and len(value) in (1, 2) and all(map(is_number, value))

        fits = {
            "name": lambda value: isinstance(value, str),
            "windows": is_number,
            "frames": is_number,
            "frame_rate": lambda value: is_number(value, (int, float)),
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
        return cls(**{key: tuple(value) if key in ("resize", "crop") else value for key, value in content.items()})


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


# ---- videos -------------------------------------------------------------------------------------------------------------


def list_videos(folder: Path) -> tuple[list[str], list[Path], np.ndarray]:
    """Return the videos of `<folder>/<class name>/`, classes and files in the order of their names.

    Returns:
        C class names (folders without any video are no classes), N files, and their 1-based labels (N,).

    Raises:
        InputError: there is no such folder, or it does not have videos of two classes.
    """
    layout = f"<class name>/*{'|'.join(SUFFIXES)} in it, at least two classes"
    if not folder.is_dir():
        raise InputError("the folder is missing", where="--videos", found=folder, expected=layout, fix="Check the path.")
    of_class = {child.name: videos_below(child) for child in sorted(folder.iterdir()) if child.is_dir()}
    of_class = {name: paths for name, paths in of_class.items() if paths}
    if len(of_class) < 2:
        raise InputError(
            "there are videos of fewer than two classes" if of_class else "no folder of a class holds a video",
            where=folder,
            found=f"only {next(iter(of_class))}/" if of_class else "none in its folders",
            expected=layout,
            fix="Put the clips of each class into a folder with the name of the class.",
        )
    labels = np.repeat(np.arange(1, len(of_class) + 1), [len(paths) for paths in of_class.values()])
    return list(of_class), [path for paths in of_class.values() for path in paths], labels


def videos_below(folder: Path) -> list[Path]:
    """Return the videos of a folder and all folders below it, sorted."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


def find_videos(paths: Iterable[Path | str]) -> list[Path]:
    """Return the video files among files and folders, see `find_files`."""
    return find_files(paths, SUFFIXES, "video")


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
        InputError: the file is no video, is damaged or ends early.
    """
    spec = backbone.spec

    def choose(n_frames: int, rate: float) -> np.ndarray:
        return window_indices(n_frames, spec.frames, max(1, round(rate / spec.frame_rate)), spec.windows)

    frames, indices = _read_frames(path, choose, backbone.transform)
    return torch.stack([torch.cat([frames[index] for index in row], dim=1) for row in indices.tolist()])


def video_features(path: Path | str, backbone: VideoBackbone) -> np.ndarray:
    """Return (D,) float32, the mean over a video's windows.

    Raises:
        InputError: as `read_windows`.
    """
    pooled, _ = backbone.features(read_windows(path, backbone)[None])
    return pooled[0].numpy()


def middle_frame(path: Path | str) -> Image.Image:
    """Return the frame in the middle of a video, RGB and upright.

    Raises:
        InputError: as `read_windows`.
    """
    frames, _ = _read_frames(path, lambda n_frames, rate: np.array([n_frames // 2]), lambda frame: frame)
    (pixels,) = frames.values()
    return Image.fromarray(pixels[0].permute(1, 2, 0).numpy())


def _read_frames(
    path: Path | str, choose: Callable[[int, float], np.ndarray], transform: Callable[[Tensor], Tensor]
) -> tuple[dict[int, Tensor], np.ndarray]:
    """Return frames of a video by their numbers, transformed, and these numbers.

    Args:
        path: the file.
        choose: how many frames there are, and how many a second -> the numbers of those to read, of any shape.
        transform: of uint8 (1, 3, H, W).
    """
    path = _checked(path)
    try:
        announced, rate = _count_frames(path)
        indices = choose(max(announced, 1), rate)
        frames, n_frames = _decode(path, set(indices.ravel().tolist()), transform)
        if n_frames != announced:  # a container may hold packets that are not shown: look again with the true number
            indices = choose(n_frames, rate)
            frames, _ = _decode(path, set(indices.ravel().tolist()), transform)
    except _Unreadable as error:
        found, damaged = str(error), error.is_video or kind_of_file(path) == "a video"
    except OSError as error:
        found, damaged = error.strerror or str(error), True
    else:
        return frames, indices
    if damaged:
        raise _refused("the video is damaged", path, found, "Copy or download it again, or leave it out.")
    raise _refused("the file is not a video", path, kind_of_file(path), "Leave it out, or save it as MP4.")


class _Unreadable(Exception):
    """Why FFmpeg cannot read a file; `is_video` where it was once known to be a video."""

    def __init__(self, why: str, is_video: bool = True):
        super().__init__(why)
        self.is_video = is_video


def _checked(source: Path | str) -> Path:
    """Return the path of a file that may be a video."""
    if not isinstance(source, Path | str):
        raise _refused("the video is not a file", "the video", type(source).__name__, "Save it as a file and name that.")
    path = Path(source)
    if not path.exists():
        raise _refused("the video is missing", path, "no such file", "Check the path.")
    if path.is_dir():
        raise _refused("the file is not a video", path, "a folder", "Name a file.")
    if is_image(path):
        raise _refused("the file is not a video", path, "an image", "Leave it out: this is about videos.")
    return path


def _refused(what: str, where: object, found: object, cure: str) -> InputError:
    return InputError(what, where=where, found=found, expected="a whole video (MP4, AVI, MOV, MKV, WebM, ...)", fix=cure)


def _open(path: Path) -> object:
    """Open a file with FFmpeg, by its content."""
    av = import_extra("av", "video")
    try:
        options = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
        path = path.absolute()  # of "12:30.mp4" FFmpeg would take 12 for a protocol
        return av.open(str(path), options=options, metadata_errors="replace")
    except av.error.FFmpegError as error:
        raise _Unreadable(error.strerror or str(error), is_video=False) from None


def _count_frames(path: Path) -> tuple[int, float]:
    """Return how many frames a file announces, without decoding them, and frames a second."""
    av = import_extra("av", "video")
    try:
        with _open(path) as container:
            stream = _video_stream(container)
            n_frames = sum(packet.size > 0 for packet in container.demux(stream))
            return n_frames, float(stream.average_rate or stream.base_rate or 0)
    except av.error.FFmpegError as error:
        raise _Unreadable(error.strerror or str(error)) from None


def _decode(path: Path, wanted: set[int], transform: Callable[[Tensor], Tensor]) -> tuple[dict[int, Tensor], int]:
    """Decode a whole video; return the wanted frames, transformed, and the number of all frames."""
    av = import_extra("av", "video")
    kept, n_frames, first, last = {}, 0, None, None
    try:
        with _open(path) as container:
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
    except av.error.FFmpegError as error:
        raise _Unreadable(error.strerror or str(error)) from None
    if not n_frames:
        raise _Unreadable("no frame can be decoded")
    if duration is not None and last is not None and (shown := last - first + interval) < CUT_SHORT * duration - interval:
        raise _Unreadable(f"cut short: {shown:.2f} of {duration:.2f} seconds")
    return kept, n_frames


def _video_stream(container: object) -> object:
    if not container.streams.video:
        raise _Unreadable("no video stream")
    stream = container.streams.video[0]
    context = stream.codec_context  # None where FFmpeg has no decoder, which decoding will say
    if context is not None and context.width * context.height > MAX_PIXELS:
        raise _Unreadable(f"frames of {context.width} x {context.height}, more than {MAX_PIXELS:,} pixels")
    return stream


# ---- a folder of videos -------------------------------------------------------------------------------------------------


def extract(
    folder: Path, paths: Sequence[Path], backbone: VideoBackbone, *, partial: Path
) -> tuple[dict[Path, np.ndarray], dict[Path, str]]:
    """Extract features of many videos; finished ones stay in `partial`, from where a later call continues.

    Args:
        folder: what the names of `paths` are relative to.
        paths: the files.
        backbone: the network.
        partial: record of the finished videos, see `ResumableRows`. A video that could not be read is tried again.

    Returns:
        file -> (D,) float32, and file -> reason for the videos that cannot be read.

    Raises:
        InputError: `partial` belongs to other settings, or the disk is full.
    """
    row_type = np.dtype([("pooled", "float32", (backbone.feature_dim,))])
    unreadable, keys = {}, {}
    with ResumableRows(partial, row_type, backbone.identity()) as finished:
        for path in tqdm(paths, desc=backbone.spec.name, unit="video", disable=None):
            keys[path] = file_key(path, path.relative_to(folder).as_posix())
            if keys[path] not in finished.positions:
                try:
                    row = np.array([(video_features(path, backbone),)], row_type)
                except InputError as error:
                    unreadable[path] = f"{error.problem}, {error.found}"
                    continue
                finished.add([keys[path]], row)
        rows = finished.rows()["pooled"]
        features = {path: np.array(rows[finished.positions[key]]) for path, key in keys.items() if path not in unreadable}
    return features, unreadable
