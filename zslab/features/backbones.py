"""Image backbones: networks of torchvision and timm without their last layer, and the toy set's descriptor.

A backbone turns an image into a grid of region features and into their mean. The published recipe of DAZLE (Huynh and
Elhamifar, CVPR 2020) is the default of `BackboneSpec("resnet101")`: torchvision's ResNet-101 (He et al., CVPR 2016;
IMAGENET1K_V1) up to its last two layers, shorter side 224, center crop 224, ImageNet mean and deviation; (2048, 7, 7). Other
networks get images of the size that they were made for, 518 for DINOv2, unless the spec names another one.

    backbone = load_backbone(BackboneSpec("resnet101"))
    batch = torch.stack([backbone.read(path)[0] for path in paths])
    pooled, regions = backbone.features(batch)  # (n, 2048), (n, 2048, 7, 7)

Networks need the extra `images` (torchvision, timm), those of open_clip `text`; the descriptor needs nothing.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from copy import copy
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec
import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from zslab.errors import InputError
from zslab.features import descriptor, networks
from zslab.features.images import MAX_PIXELS, find_white, open_image
from zslab.features.networks import check_intent, weights_digest
from zslab.utils.files import converted

DESCRIPTOR = "descriptor"
WHOLE = (0.0, 0.0, 1.0, 1.0)  # a view that leaves nothing out

View = tuple[float, float, float, float]  # left, top, right, bottom, as fractions of an image's sides

Self = TypeVar("Self", bound="Spec")
AnyBackbone = TypeVar("AnyBackbone", bound="Backbone")


class Spec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of a backbone, without its weights."""

    name: str

    def to_json(self) -> dict[str, object]:
        """Return the settings as JSON can say them; `white` only where it is known."""
        content: dict[str, object] = msgspec.to_builtins(self)
        return {key: value for key, value in content.items() if key != "white" or value is not None}

    @classmethod
    def from_json(cls: type[Self], content: object) -> Self:
        """Return the spec from what `to_json` gave."""
        fix = "It was written by another version or changed by hand: extract the features or export the model again."
        return converted(content, cls, "the backbone", fix)


class BackboneSpec(Spec, frozen=True, forbid_unknown_fields=True):
    """Settings of a backbone of images; the descriptor squeezes every image to its own size and uses `name` and `white` alone.

    `name` is "descriptor", a classification network of torchvision ("resnet101"), "timm:NAME", or
    "open_clip:ARCHITECTURE,WEIGHTS", whose features share a space with texts.
    """

    #: "tensorflow" pads convolutions of stride 2 as TensorFlow's 'SAME' does, for weights that come from there: on even sides
    #: only right and bottom, where PyTorch's networks pad on all sides.
    padding: Literal["torch", "tensorflow"] = "torch"
    #: (x / 255 less ImageNet's mean, by its deviation), ((x - 128) / 128), or the network's own; None: "timm" for timm's and
    #: open_clip's, otherwise "imagenet"
    normalization: Literal["imagenet", "half", "timm"] | None = None
    resize: int | None = None  #: length of the shorter side in pixels, and
    crop: int | None = None  #: side of the center crop. None: what the network was made for; a backbone's own spec has both
    interpolation: Literal["bilinear", "bicubic"] | None = None  #: None: "bicubic" for open_clip's, otherwise "bilinear"
    white: int | float | None = None  #: in images of more than 8 bits that do not tell, see `zslab.features.images.open_image`

    def __post_init__(self) -> None:
        has_own = self.name.startswith((networks.TIMM, networks.CLIP))
        if self.normalization is None:
            msgspec.structs.force_setattr(self, "normalization", "timm" if has_own else "imagenet")
        way = self.interpolation or ("bicubic" if self.name.startswith(networks.CLIP) else "bilinear")
        msgspec.structs.force_setattr(self, "interpolation", way)
        if self.normalization == "timm" and not has_own:
            must, fix = "it must be imagenet or half for torchvision's networks", "Choose one."
            raise InputError(must, where="--normalization", got=self.normalization, fix=fix)
        resize, crop = self.sizes()
        if 0 in (self.resize, self.crop) or not 1 <= crop <= resize:
            got, fix = f"{self.resize} / {self.crop}", "Raise --resize or lower --crop."
            raise InputError("--crop must be from 1 to --resize", where="--resize / --crop", got=got, fix=fix)

    def sizes(self, size: int = 1) -> tuple[int, int]:
        """Return (resize, crop) in pixels for a network that was made for images of a side of `size`."""
        crop = self.crop or min(size, self.resize or size)
        return self.resize or max(size, crop), crop

    @property
    def crop_share(self) -> float:
        """Side of the center crop as a share of the shorter side; 0 where the backbone sees the whole image."""
        resize, crop = self.sizes()
        return 0.0 if self.name == DESCRIPTOR else crop / resize

    def seen_part(self, size: tuple[int, int]) -> View:
        """Return the center crop of an image of (width, height)."""
        if not self.crop_share:
            return WHOLE
        margins = [(1 - min(1.0, self.crop_share * min(size) / side)) / 2 for side in size]
        return (margins[0], margins[1], 1 - margins[0], 1 - margins[1])


class Backbone(ABC):
    """A network that turns images, or in `zslab.features.video` videos, into features."""

    spec: Any  #: a Spec
    weights: str  #: a description of where they came from
    digest: str  #: 12 hexadecimal digits of the weights' SHA-256; "" where there are none
    pooled_dim: int  #: P, of a whole image or video; D for every network, since pooled is the mean of the regions
    feature_dim: int  #: D, of a region
    grid: tuple[int, int]  #: rows and columns of regions
    network: nn.Module | None

    def read(self, source: Any, *, max_pixels: int = MAX_PIXELS) -> tuple[Tensor, View]:
        """Return a file as `features` takes it, and the part that is seen. Threads may call it at the same time."""
        image = open_image(source, max_pixels=max_pixels, white=self.spec.white)
        return self.prepare(image), self.spec.seen_part(image.size)

    def prepare(self, image: Image.Image) -> Tensor:
        """Return an RGB image as uint8 (3, h, w), resized and cropped."""
        raise NotImplementedError("a backbone of images defines prepare, one of videos read")

    @abstractmethod
    def features(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """Return pooled (n, P) and regions (n, D, rows, columns), float32 on the CPU, of n stacked inputs from `read`."""

    def state_dict(self) -> dict[str, Tensor]:
        """Return the weights on the CPU; `load_backbone(spec, weights)` takes them."""
        state = self.network.state_dict() if self.network else {}
        return {name: value.detach().cpu().contiguous() for name, value in state.items()}

    def for_files(self: AnyBackbone, files: Iterable[Path], *, max_pixels: int, workers: int) -> AnyBackbone:
        """Return the backbone with what its spec has to know about a data set: what is white in images of more than 8 bits."""
        backbone = copy(self)
        backbone.spec = msgspec.structs.replace(self.spec, white=find_white(files, max_pixels=max_pixels, workers=workers))
        return backbone

    def identity(self) -> dict[str, object]:
        """Return what the features depend on besides the files, as JSON can say it."""
        return {"backbone": {"spec": self.spec.to_json(), "digest": self.digest}}

    def describe(self) -> str:
        """Return what the features are, as JSON text to store beside them."""
        return json.dumps({"spec": self.spec.to_json(), "weights": self.weights, "digest": self.digest})


def load_backbone(
    spec: BackboneSpec,
    weights: networks.Weights = "default",
    *,
    random_weights: bool = False,
    device: torch.device | str = "cpu",
) -> Backbone:
    """Return a backbone with its weights.

    Args:
        weights: "default" (downloaded once: IMAGENET1K_V1 of torchvision's networks, timm's own of timm's), another name
            of torchvision's weights, a file (.safetensors, or a state dict .pth, .pt, read as data and never run as
            code), or named tensors. Entries of the last layer are not used.
        random_weights: with "none", use initial weights, always the same.
    """
    if spec.name == DESCRIPTOR:
        if random_weights or weights not in ("default", "none", {}):
            fix = "Leave those flags out, or choose a network: the descriptor is a closed formula."
            raise InputError("the descriptor must have no weights", where="--weights / --random_weights", got=weights, fix=fix)
        return _Descriptor(spec)
    if not isinstance(weights, Mapping):
        check_intent(weights, random_weights)
    build = {networks.TIMM: networks.build_timm, networks.CLIP: networks.build_open_clip}.get(
        spec.name.partition(":")[0] + ":", networks.build_torchvision
    )
    with torch.random.fork_rng(devices=[]):  # the caller's random numbers stay as they were
        torch.manual_seed(0)
        network = build(spec.name, weights)
    if spec.padding == "tensorflow" and not networks.pad_as_tensorflow(network.network):
        must = "--padding tensorflow must find padded convolutions of stride 2 in the network"
        raise InputError(must, where="--padding", got=f"none in {spec.name}", fix="Leave the flag out.")
    resize, crop = spec.sizes(network.size)
    source = "random weights, seed 0" if random_weights else network.source
    return _Network(msgspec.structs.replace(spec, resize=resize, crop=crop), network, source, torch.device(device))


class _Descriptor(Backbone):
    feature_dim, pooled_dim, grid = descriptor.REGION_DIM, descriptor.POOLED_DIM, (descriptor.GRID, descriptor.GRID)
    weights, digest, network = "closed formula, no weights", "", None

    def __init__(self, spec: BackboneSpec):
        self.spec = spec

    def prepare(self, image: Image.Image) -> Tensor:
        size = (descriptor.SIZE, descriptor.SIZE)
        image = image if image.size == size else image.resize(size, Image.Resampling.BICUBIC)
        return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()

    def features(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        images = batch.permute(0, 2, 3, 1).cpu().numpy()
        regions = torch.from_numpy(descriptor.region_descriptors(images)).permute(0, 3, 1, 2).contiguous()
        return torch.from_numpy(descriptor.pooled_descriptor(images)), regions


class _Network(Backbone):
    """Any network that gives a grid of features."""

    def __init__(self, spec: BackboneSpec, network: networks.GridNetwork, source: str, device: torch.device):
        self.spec, self.weights, self.digest = spec, source, weights_digest(network.network.state_dict())
        mean, deviation = network.mean, network.deviation
        if spec.normalization == "half":
            mean = deviation = 3 * (128.0,)
        elif spec.normalization == "imagenet" and spec.name.startswith((networks.TIMM, networks.CLIP)):
            mean, deviation = networks.IMAGENET_MEAN, networks.IMAGENET_DEVIATION
        # Channels last is half as quick again on a CPU, and on a GPU no slower.
        network.network.eval().requires_grad_(False).to(device).to(memory_format=torch.channels_last)
        self.network, self._grid, self._device = network.network, network.grid, device
        self._scale = 1.0 if spec.normalization == "half" else 255.0
        self._mean, self._deviation = (torch.tensor(v, device=device).view(3, 1, 1) for v in (mean, deviation))
        pooled, regions = self.features(torch.zeros(1, 3, *2 * (spec.sizes()[1],), dtype=torch.uint8))
        self.pooled_dim, (_, self.feature_dim, *grid) = pooled.shape[1], regions.shape
        self.grid = (grid[0], grid[1])

    def prepare(self, image: Image.Image) -> Tensor:
        resize, crop = self.spec.sizes()
        transforms = networks.import_extra("torchvision.transforms.functional", "images")
        image = transforms.resize(image, resize, transforms.InterpolationMode(self.spec.interpolation))
        pixels: Tensor = transforms.pil_to_tensor(transforms.center_crop(image, crop))
        return pixels

    @torch.inference_mode()
    def features(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        inputs = (batch.to(self._device).float() / self._scale - self._mean) / self._deviation
        regions = self._grid(inputs.contiguous(memory_format=torch.channels_last)).float().contiguous()
        return regions.mean((2, 3)).cpu(), regions.cpu()
