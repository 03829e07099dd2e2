"""Pooled features of videos from the networks of `torchvision.models.video`, one vector a video.

A video is seen through a few windows, evenly spaced, of as many frames and at the frame rate that the network's weights
were trained with. Each window goes through the weights' own transforms and the network without its last layer; the
windows' features are averaged. The networks, weights, transforms and test-time numbers are torchvision's: R3D, MC3 and
R(2+1)D (Tran et al., CVPR 2018), S3D (Xie et al., ECCV 2018), MViT (Fan et al., ICCV 2021; Li et al., CVPR 2022) and Video
Swin (Liu et al., CVPR 2022), trained on Kinetics-400.

These are not the features of the TF-VAEGAN paper, which are of an I3D network on color and on optical flow, 8192-d.

    backbone = load_backbone(VideoSpec("r2plus1d_18"))
    windows, _ = backbone.read(Path("clip.mp4"))
    pooled, _ = backbone.features(windows[None])  # (1, 512)

Memory holds a video's windows at network size, never a video's frames. Needs the extra `video` (torchvision, PyAV).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import torch
from torch import Tensor, nn

from zslab.errors import InputError
from zslab.features.backbones import WHOLE, Backbone, Spec
from zslab.features.networks import Weights, check_intent, import_extra, load_weights, weights_digest
from zslab.features.video_files import read_frames

# Family -> frames a window and frames a second, as in torchvision's evaluation of the weights (in their documentation).
SAMPLING = {name: (16, 15.0) for name in ("r3d", "mc3", "r2plus1d")}
SAMPLING |= {"s3d": (128, 15.0), "mvit": (16, 7.5), "swin3d": (32, 15.0)}
AT_A_TIME = 4  # windows in the network

Size = Annotated[tuple[int, ...], msgspec.Meta(min_length=1, max_length=2)]


class VideoSpec(Spec, frozen=True, forbid_unknown_fields=True):
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
    """

    windows: int = 4
    frames: int = 0
    frame_rate: float = 0.0
    resize: Size | None = None
    crop: Size | None = None

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

    def state_dict(self) -> dict[str, Tensor]:
        """Return the weights on the CPU."""
        return {name: value.detach().cpu().contiguous() for name, value in self.network.state_dict().items()}


def backbone_names() -> list[str]:
    """Return every video network of the installed torchvision whose sampling is known."""
    models = import_extra("torchvision", "video").models
    return [name for name in models.list_models(module=models.video) if name.split("_")[0] in SAMPLING]


def load_backbone(
    spec: VideoSpec,
    weights: Weights = "default",
    *,
    random_weights: bool = False,
    seed: int = 0,
    device: torch.device | str = "cpu",
    batch_size: int = AT_A_TIME,
) -> VideoBackbone:
    """Return a network with its weights and without its last layer.

    Args:
        weights: "default" or the name of one of torchvision's weights (downloaded once), a file: a state dict
            (.pth, .pt; read as data, never run as code) or .safetensors, or named tensors. Entries of the last layer are
            not used, so it may have any number of classes. "none" only with `random_weights`.
        random_weights: use initial weights, drawn from `seed`.
        batch_size: windows in the network at a time.
    """
    models = import_extra("torchvision", "video").models
    import_extra("av", "video")  # missing, it is missed before the first video
    if spec.name not in backbone_names():
        must = f"--backbone must be one of {', '.join(backbone_names())}"
        raise InputError(must, where="--backbone", got=spec.name, fix="Choose one of them.")
    known = models.get_model_weights(spec.name)
    if not isinstance(weights, Mapping):
        check_intent(weights, random_weights)
        weights = known.DEFAULT.name if weights == "default" else weights
    with torch.random.fork_rng(devices=[]):  # the caller's random numbers stay as they were
        torch.manual_seed(seed)
        network = models.get_model(spec.name, weights=None)
    last = list(network.modules())[-1]  # the linear layer, or the convolution of S3D, that gives the classes
    feature_dim = last.in_features if isinstance(last, nn.Linear) else last.in_channels
    head = list(network._modules)[-1]  # in all of these the last child is the classifier, a mean over space-time aside
    setattr(network, head, nn.Identity())
    source = load_weights(network, weights, known, [head])
    sizes = {f"{name}_size": list(size) for name in ("resize", "crop") if (size := getattr(spec, name)) is not None}
    transform = known.DEFAULT.transforms(**sizes)
    spec = msgspec.structs.replace(spec, resize=tuple(transform.resize_size), crop=tuple(transform.crop_size))
    digest = weights_digest(network.state_dict())
    network = network.eval().requires_grad_(False).to(device)
    source = f"random weights, seed {seed}" if random_weights else source
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
