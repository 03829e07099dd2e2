"""Image backbones: networks of torchvision and timm without their last layer, and the toy set's descriptor.

A backbone turns an image into a grid of region features and into their mean. The published recipe of DAZLE (Huynh and
Elhamifar, CVPR 2020) is the default of `BackboneSpec("resnet101")`: torchvision's ResNet-101 (He et al., CVPR 2016;
IMAGENET1K_V1) up to its last two layers, shorter side 224, center crop 224, ImageNet mean and deviation; (2048, 7, 7).

    backbone = load_backbone(BackboneSpec("resnet101"))
    batch = torch.stack([backbone.prepare(open_image(path)) for path in paths])
    pooled, regions = backbone.features(batch)  # (n, 2048), (n, 2048, 7, 7)

Networks need the extra `images` (torchvision, timm); the descriptor needs nothing.
"""

from __future__ import annotations

import json
import re
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from zslab.errors import InputError
from zslab.features import descriptor
from zslab.features.images import open_image
from zslab.features.weights import check_intent, download, import_extra, load_fitting, read_state_dict, weights_digest

DESCRIPTOR = "descriptor"
TIMM = "timm:"
PADDINGS = ("torch", "tensorflow")
NORMALIZATIONS = ("imagenet", "half", "timm")
INTERPOLATIONS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
WHOLE = (0.0, 0.0, 1.0, 1.0)  # a view that leaves nothing out
PUBLISHED_WEIGHTS = "IMAGENET1K_V1"  # torchvision's own default is newer for many networks


@dataclass(frozen=True)
class BackboneSpec:
    """Settings of a backbone, without its weights.

    Attributes:
        name: "descriptor", a classification network of torchvision ("resnet101"), or "timm:NAME".
        padding: "tensorflow" pads convolutions of stride 2 as TensorFlow's 'SAME' does, for weights that come from
            there: on even sides only right and bottom, where PyTorch's networks pad on all sides.
        normalization: "imagenet" (x / 255 less mean, by deviation), "half" ((x - 128) / 128), "timm" (the network's own
            mean and deviation). None: "timm" for timm's, otherwise "imagenet".
        resize: length of the shorter side, in pixels.
        crop: side of the center crop.
        interpolation: of the resize, "bilinear" or "bicubic".

    The descriptor squeezes every image to its own size and uses only `name`.

    Raises:
        InputError: a value is impossible.
    """

    name: str
    padding: str = "torch"
    normalization: str | None = None
    resize: int = 224
    crop: int = 224
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        is_timm = self.name.startswith(TIMM)
        if self.normalization is None:
            object.__setattr__(self, "normalization", "timm" if is_timm else "imagenet")
        normalizations = NORMALIZATIONS if is_timm else NORMALIZATIONS[:2]
        allowed = {"padding": PADDINGS, "normalization": normalizations, "interpolation": tuple(INTERPOLATIONS)}
        for flag, values in allowed.items():
            if getattr(self, flag) not in values:
                raise InputError(
                    "the setting is unknown",
                    where=f"--{flag}",
                    found=getattr(self, flag),
                    expected=f"one of {', '.join(values)}",
                    fix="Choose one of them.",
                )
        if not 1 <= self.crop <= self.resize:
            raise InputError(
                "the crop does not fit",
                where="--resize / --crop",
                found=f"{self.resize} / {self.crop}",
                expected="1 <= crop <= resize",
                fix="Raise --resize or lower --crop.",
            )

    @property
    def crop_share(self) -> float:
        """Side of the center crop as a share of the shorter side; 0 where the backbone sees the whole image."""
        return 0.0 if self.name == DESCRIPTOR else self.crop / self.resize

    def seen_part(self, size: tuple[int, int]) -> tuple[float, float, float, float]:
        """Return (left, top, right, bottom) of the center crop of an image of (width, height), as fractions of its sides."""
        if not self.crop_share:
            return WHOLE
        margins = [(1 - min(1.0, self.crop_share * min(size) / side)) / 2 for side in size]
        return (margins[0], margins[1], 1 - margins[0], 1 - margins[1])

    def to_json(self) -> dict[str, object]:
        """Return the settings as JSON can say them."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: object) -> BackboneSpec:
        """Return the spec from what `to_json` gave.

        Raises:
            InputError: the content is something else.
        """
        known = {field.name: str if field.name not in ("resize", "crop") else int for field in fields(cls)}
        if (
            not isinstance(content, Mapping)
            or "name" not in content
            or any(key not in known or not isinstance(value, known[key]) for key, value in content.items())
        ):
            raise InputError(
                "the description of the backbone cannot be understood",
                where="the backbone",
                found=content,
                expected=", ".join(known),
                fix="It was written by another version or changed by hand; extract the features or export the model again.",
            )
        return cls(**content)


class Backbone(ABC):
    """A network that turns images, or in `zslab.features.video` videos, into features, and how it wants them.

    Attributes:
        spec: which one.
        weights: a description of where the weights came from.
        digest: 12 hexadecimal digits of the weights' SHA-256; "" where there are none.
    """

    spec: Any  # a dataclass with `name` and `to_json`
    weights: str
    digest: str

    @abstractmethod
    def read(self, source: Any) -> tuple[Tensor, tuple[float, float, float, float]]:
        """Return a file as `features` takes it, and the part that is seen: (left, top, right, bottom), fractions of its sides.

        Raises:
            InputError: the file cannot be read.
        """

    @abstractmethod
    def features(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """Return pooled (n, P) and regions (n, D, rows, columns), float32 on the CPU, of n stacked inputs from `read`."""

    @abstractmethod
    def state_dict(self) -> dict[str, Tensor]:
        """Return the weights on the CPU; `load_backbone(spec, weights)` takes them."""

    def identity(self) -> dict[str, object]:
        """Return what the features depend on besides the files, as JSON can say it."""
        return {"backbone": {"spec": self.spec.to_json(), "digest": self.digest}}

    def describe(self) -> str:
        """Return what the features are, as JSON text to store beside them."""
        return json.dumps({"spec": self.spec.to_json(), "weights": self.weights, "digest": self.digest})


class ImageBackbone(Backbone):
    """A backbone of images.

    Attributes:
        feature_dim: D, of a region.
        pooled_dim: P, of a whole image; D for every network, since pooled is the mean of the regions.
        grid: (rows, columns) of regions.
    """

    spec: BackboneSpec
    feature_dim: int
    pooled_dim: int
    grid: tuple[int, int]

    def read(
        self, source: Path | str | BinaryIO | Image.Image | np.ndarray
    ) -> tuple[Tensor, tuple[float, float, float, float]]:
        """Open, resize and crop an image, see `Backbone.read`."""
        image = open_image(source)
        return self.prepare(image), self.spec.seen_part(image.size)

    @abstractmethod
    def prepare(self, image: Image.Image) -> Tensor:
        """Return an RGB image as uint8 (3, h, w), resized and cropped. Threads may call it at the same time."""


def load_backbone(
    spec: BackboneSpec,
    weights: str | Path | Mapping[str, Tensor] = "default",
    *,
    random_weights: bool = False,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> ImageBackbone:
    """Return a backbone with its weights.

    Args:
        spec: its settings.
        weights: "default" (downloaded once: IMAGENET1K_V1 of torchvision's networks, timm's own of timm's), another name
            of torchvision's weights, a file (.safetensors, or a state dict .pth, .pt, read as data and never run as
            code), or named tensors. Entries of the last layer are not used. "none" only with `random_weights`. The
            descriptor has no weights and takes "default" or nothing.
        random_weights: use initial weights, drawn from `seed`.
        seed: of the random weights.
        device: where the network runs.

    Raises:
        InputError: no such network, its features are no grid, weights that do not fit or cannot be fetched, or packages
            are missing.
    """
    if spec.name == DESCRIPTOR:
        return _load_descriptor(spec, weights, random_weights)
    if not isinstance(weights, Mapping):
        check_intent(weights, random_weights)
    build = _build_timm if spec.name.startswith(TIMM) else _build_torchvision
    with torch.random.fork_rng(devices=[]):  # the caller's random numbers stay as they were
        torch.manual_seed(seed)
        network, source = build(spec, weights)
    if random_weights:
        source = f"random weights, seed {seed}"
    if spec.padding == "tensorflow" and not _pad_as_tensorflow(network):
        raise InputError(
            "the padding has no effect",
            where="--padding",
            found="tensorflow",
            expected=f"convolutions of stride 2 with padding, of which {spec.name} has none",
            fix="Leave the flag out.",
        )
    return _Network(spec, network, source, torch.device(device))


# ---- the descriptor -----------------------------------------------------------------------------------------------------


class _Descriptor(ImageBackbone):
    feature_dim, pooled_dim = descriptor.REGION_DIM, descriptor.POOLED_DIM
    grid = (descriptor.GRID, descriptor.GRID)
    weights, digest = "closed formula, no weights", ""

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

    def state_dict(self) -> dict[str, Tensor]:
        return {}


def _load_descriptor(spec: BackboneSpec, weights: object, random_weights: bool) -> ImageBackbone:
    if random_weights or (weights if isinstance(weights, Mapping) else weights not in ("default", "none")):
        found = f"{len(weights)} tensors" if isinstance(weights, Mapping) else weights
        raise InputError(
            "the descriptor has no weights",
            where="--weights / --random_weights",
            found=found,
            expected="neither flag: the descriptor is a closed formula",
            fix="Leave those flags out, or choose a network.",
        )
    return _Descriptor(spec)


# ---- networks -----------------------------------------------------------------------------------------------------------


class _Network(ImageBackbone):
    """Any network whose `forward` gives region features (n, D, rows, columns)."""

    def __init__(self, spec: BackboneSpec, network: nn.Module, source: str, device: torch.device):
        self.spec, self.weights, self.digest = spec, source, weights_digest(network.state_dict())
        if spec.normalization == "half":
            scale, mean, deviation = 1.0, 3 * [128.0], 3 * [128.0]
        elif spec.normalization == "imagenet":
            scale, mean, deviation = 255.0, IMAGENET_MEAN, IMAGENET_DEVIATION
        else:
            scale, mean, deviation = 255.0, *network.mean_and_deviation
        # Channels last is half as quick again on a CPU, and on a GPU no slower.
        self._network = network.eval().requires_grad_(False).to(device, memory_format=torch.channels_last)
        self._device, self._scale = device, scale
        self._mean, self._deviation = (torch.tensor(v, device=device).view(3, 1, 1) for v in (mean, deviation))
        pooled, regions = self.features(torch.zeros(1, 3, spec.crop, spec.crop, dtype=torch.uint8))
        self.pooled_dim, (self.feature_dim, *grid) = pooled.shape[1], regions.shape[1:]
        self.grid = tuple(grid)

    def prepare(self, image: Image.Image) -> Tensor:
        width, height = image.size
        shorter, crop = min(width, height), self.spec.crop
        # Lengths and offsets are rounded as torchvision's Resize and CenterCrop round them.
        width, height = (
            self.spec.resize if side == shorter else int(self.spec.resize * side / shorter) for side in (width, height)
        )
        if image.size != (width, height):
            image = image.resize((width, height), INTERPOLATIONS[self.spec.interpolation])
        left, top = round((width - crop) / 2), round((height - crop) / 2)
        pixels = np.array(image.crop((left, top, left + crop, top + crop)))
        return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()

    @torch.inference_mode()
    def features(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        inputs = (batch.to(self._device).float() / self._scale - self._mean) / self._deviation
        regions = self._network(inputs.contiguous(memory_format=torch.channels_last)).float().contiguous()
        return regions.mean((2, 3)).cpu(), regions.cpu()

    def state_dict(self) -> dict[str, Tensor]:
        return {name: value.detach().cpu().contiguous() for name, value in self._network.state_dict().items()}


class _Grid(nn.Module):
    """A network that returns its last grid instead of its output; the state dict is the network's own."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def state_dict(self, *args, **kwargs) -> dict[str, Tensor]:
        return self.network.state_dict(*args, **kwargs)


class _TorchvisionGrid(_Grid):
    """The last tensor (n, D, rows, columns) that passes between the parts of a torchvision network before it is pooled.

    The networks have no common method for it, but all are a row of top-level parts: features or stages, pooling, head.
    """

    def __init__(self, network: nn.Module, name: str):
        super().__init__(network)
        self.name, self.seen, self.lock = name, [], threading.Lock()
        for part in network.children():
            part.register_forward_hook(lambda part, inputs, output: self.seen.extend((*inputs, output)))

    def forward(self, inputs: Tensor) -> Tensor:
        with self.lock:  # a web page may ask from several threads
            self.seen.clear()
            self.network(inputs)
            tensors, grid = [tensor for tensor in self.seen if isinstance(tensor, Tensor)], None
            self.seen.clear()
        for tensor in tensors:
            if tensor.ndim == 3:  # tokens: a grid that came earlier was their input, not the network's features
                grid = None
            elif tensor.ndim == 4 and tensor.shape[2] * tensor.shape[3] > 1:
                grid = tensor
        if grid is None:
            raise InputError(
                "the backbone has no grid of features",
                where="--backbone",
                found=f"{self.name}, whose features are tokens",
                expected="features (n, dimension, rows, columns)",
                fix=f"Choose a convolutional network, or timm's version of it, such as {TIMM}vit_base_patch16_224.",
            )
        # DenseNet's last activation is a function in its forward and not a part of it.
        return F.relu(grid) if self.name.startswith("densenet") else grid


def _build_torchvision(spec: BackboneSpec, weights: str | Path | Mapping[str, Tensor]) -> tuple[nn.Module, str]:
    models = import_extra("torchvision", "images").models
    names = models.list_models(module=models)
    if spec.name not in names:
        raise InputError(
            "the backbone is unknown",
            where="--backbone",
            found=spec.name,
            expected=f"{DESCRIPTOR}, {TIMM}NAME, or one of torchvision's {', '.join(names)}",
            fix="Choose one of them.",
        )
    network = models.get_model(spec.name, weights=None)
    if hasattr(network, "transform_input"):  # Inception networks undo the ImageNet normalization that they did not have
        network.transform_input = spec.normalization == "imagenet"
    head = list(network._modules)[-1]  # in all of these the last child is the classifier
    setattr(network, head, nn.Identity())
    known = models.get_model_weights(spec.name)
    where = source = "weights given as tensors"
    if isinstance(weights, Mapping):
        state = weights
    elif weights == "none":
        return _TorchvisionGrid(network, spec.name), "none"
    elif weights == "default" or weights in known.__members__:
        published = PUBLISHED_WEIGHTS if PUBLISHED_WEIGHTS in known.__members__ else known.DEFAULT.name
        chosen = known[published if weights == "default" else weights]
        where = source = f"torchvision's {chosen}"
        state = download(chosen)
    else:
        where, source = weights, Path(weights).name
        state = read_state_dict(Path(weights), [each.name for each in known])
    if spec.name.startswith("densenet"):  # its files name the layers as they were before 2018
        state = {re.sub(r"(norm|conv)\.(\d)\.", r"\1\2.", entry): value for entry, value in state.items()}
    load_fitting(network, state, [head], where)
    return _TorchvisionGrid(network, spec.name), source


class _TimmGrid(_Grid):
    """`forward_features` of a timm network as (n, D, rows, columns): channels first, tokens laid out, prefix left off."""

    def __init__(self, network: nn.Module, name: str, mean: tuple, deviation: tuple):
        super().__init__(network)
        self.name, self.mean_and_deviation = name, (mean, deviation)

    def forward(self, inputs: Tensor) -> Tensor:
        try:
            output = self.network.forward_features(inputs)
        except (AssertionError, RuntimeError, ValueError) as error:
            wanted = self.network.pretrained_cfg.get("input_size", (3, "?", "?"))[1:]
            if tuple(inputs.shape[2:]) == tuple(wanted):
                raise
            raise InputError(
                "the backbone does not take images of this size",
                where="--resize / --crop",
                found=f"{inputs.shape[3]} ({str(error).splitlines()[0] if str(error) else type(error).__name__})",
                expected=f"{wanted[0]} x {wanted[1]} for {self.name}",
                fix=f"Pass --resize {wanted[0]} --crop {wanted[0]}.",
            ) from None
        dim, shape = self.network.num_features, tuple(output.shape) if isinstance(output, Tensor) else ()
        if len(shape) == 4:
            channels_last = getattr(self.network, "output_fmt", None) == "NHWC" or shape[1] != dim == shape[3]
            return output.permute(0, 3, 1, 2) if channels_last else output
        if len(shape) == 3:
            prefix = getattr(self.network, "num_prefix_tokens", 0)
            n_cells = shape[1] - prefix
            grid = tuple(getattr(getattr(self.network, "patch_embed", None), "grid_size", None) or ())
            if len(grid) != 2 or grid[0] * grid[1] != n_cells:
                grid = 2 * (round(n_cells**0.5),)
            if grid[0] * grid[1] == n_cells:
                return output[:, prefix:].transpose(1, 2).unflatten(2, grid)
        raise InputError(
            "the backbone has no grid of features",
            where="--backbone",
            found=f"{self.name}, whose features have shape {shape[1:]}",
            expected="features (dimension, rows, columns) or tokens that fill a grid",
            fix="Choose another network.",
        )


def _build_timm(spec: BackboneSpec, weights: str | Path | Mapping[str, Tensor]) -> tuple[nn.Module, str]:
    timm = import_extra("timm", "images")
    name = spec.name.removeprefix(TIMM)
    if not timm.is_model(name):
        near = timm.list_models(f"*{name.split('.')[0].split('_')[0]}*")[:8] if name else []
        raise InputError(
            "the backbone is unknown",
            where="--backbone",
            found=spec.name,
            expected=f"a name of timm.list_models(){', such as ' + ', '.join(near) if near else ''}",
            fix="Choose one of them.",
        )
    try:
        network = timm.create_model(name, pretrained=isinstance(weights, str) and weights == "default", num_classes=0)
    # What the hub raises without a network depends on its version and on requests or httpx underneath.
    except Exception as error:
        raise InputError(
            "the weights cannot be fetched",
            where=spec.name,
            found=f"{type(error).__name__}: {error}".splitlines()[0],
            expected="a download by timm",
            fix="Fetch the network's model.safetensors on a machine with a network and pass it with --weights FILE.",
        ) from None
    heads = network.pretrained_cfg.get("classifier") or ()
    heads = [heads] if isinstance(heads, str) else list(heads)
    if isinstance(weights, Mapping):
        source = "weights given as tensors"
        load_fitting(network, weights, heads, source)
    elif weights == "default":
        source = f"timm's {name}.{network.pretrained_cfg.get('tag', '')}".rstrip(".") if "." not in name else f"timm's {name}"
    elif weights == "none":
        source = "none"
    else:
        source = Path(weights).name
        load_fitting(network, read_state_dict(Path(weights), []), heads, weights)
    data = timm.data.resolve_data_config({}, model=network)
    return _TimmGrid(network, name, data["mean"], data["std"]), source


def _pad_as_tensorflow(network: nn.Module) -> int:
    """Make convolutions of stride 2 pad their input as TensorFlow's 'SAME' does, and return how many were changed."""
    changed = 0
    for layer in network.modules():
        if not isinstance(layer, nn.Conv2d) or isinstance(layer.padding, str):
            continue
        if 2 in layer.stride and any(layer.padding):
            layer.padding = (0, 0)
            layer.register_forward_pre_hook(lambda layer, inputs: F.pad(inputs[0], _same_padding(layer, inputs[0])))
            changed += 1
    return changed


def _same_padding(layer: nn.Conv2d, inputs: Tensor) -> tuple[int, ...]:
    """Return (left, right, top, bottom) so that a side n gives ceil(n / stride) outputs; an odd cell goes right and bottom."""
    sides = []
    for axis in (1, 0):
        n, stride = inputs.shape[2 + axis], layer.stride[axis]
        needed = (-(-n // stride) - 1) * stride + layer.dilation[axis] * (layer.kernel_size[axis] - 1) + 1
        total = max(needed - n, 0)
        sides += [total // 2, total - total // 2]
    return tuple(sides)
