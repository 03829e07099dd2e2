"""Networks of torchvision and timm that return their last grid of features instead of class scores."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import torch.nn.functional as F
from torch import Tensor, nn

from zslab.errors import InputError, first_line
from zslab.features.weights import download, import_extra, load_fitting, read_state_dict

TIMM = "timm:"
IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PUBLISHED_WEIGHTS = "IMAGENET1K_V1"  # torchvision's own default is newer for many networks


class GridNetwork(nn.Module):
    """A network whose `forward` gives (n, D, rows, columns).

    Attributes:
        network: without its last layer.
        name: its name in its library.
        size: side of the images that it was made for, in pixels.
        mean, deviation: of the red, green and blue that it was made for, in 0 ... 1.
        source: where its weights came from.
    """

    def __init__(self, network: nn.Module, name: str, size: int, source: str):
        super().__init__()
        self.network, self.name, self.size, self.source = network, name, size, source
        self.mean: Sequence[float] = IMAGENET_MEAN
        self.deviation: Sequence[float] = IMAGENET_DEVIATION


class _TorchvisionGrid(GridNetwork):
    """The last tensor (n, D, rows, columns) that passes between the parts of a torchvision network before it is pooled.

    The networks have no common method for it, but all are a row of top-level parts: features or stages, pooling, head.
    """

    def __init__(self, network: nn.Module, name: str, size: int, source: str):
        super().__init__(network, name, size, source)
        self.seen: list[object] = []
        self.lock = threading.Lock()
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


def build_torchvision(name: str, weights: str | Path | Mapping[str, Tensor], *, imagenet: bool) -> GridNetwork:
    """Return a classification network of torchvision.

    Args:
        name: of the network.
        weights: as for `zslab.features.backbones.load_backbone`.
        imagenet: whether the pixels are normalized with ImageNet's mean and deviation.

    Raises:
        InputError: as `load_backbone`.
    """
    models = import_extra("torchvision", "images").models
    names = models.list_models(module=models)
    if name not in names:
        raise InputError(
            "the backbone is unknown",
            where="--backbone",
            found=name,
            expected=f"descriptor, {TIMM}NAME, or one of torchvision's {', '.join(names)}",
            fix="Choose one of them.",
        )
    network = models.get_model(name, weights=None)
    if hasattr(network, "transform_input"):  # Inception networks undo the ImageNet normalization that they did not have
        network.transform_input = imagenet
    head = list(network._modules)[-1]  # in all of these the last child is the classifier
    setattr(network, head, nn.Identity())
    known = models.get_model_weights(name)
    published = known[PUBLISHED_WEIGHTS] if PUBLISHED_WEIGHTS in known.__members__ else known.DEFAULT
    chosen = known[weights] if isinstance(weights, str) and weights in known.__members__ else published
    size = int(chosen.transforms().crop_size[0])
    source = "weights given as tensors"
    if isinstance(weights, Mapping):
        state = weights
    elif weights == "none":
        return _TorchvisionGrid(network, name, size, "none")
    elif weights == "default" or weights in known.__members__:
        source = f"torchvision's {chosen}"
        state = download(chosen)
    else:
        source = Path(weights).name
        state = read_state_dict(Path(weights), [each.name for each in known])
    if name.startswith("densenet"):  # its files name the layers as they were before 2018
        state = {re.sub(r"(norm|conv)\.(\d)\.", r"\1\2.", entry): value for entry, value in state.items()}
    load_fitting(network, state, [head], source)
    return _TorchvisionGrid(network, name, size, source)


class _TimmNetwork(Protocol):
    """What every network of timm has."""

    num_features: int
    pretrained_cfg: Mapping[str, Any]

    def forward_features(self, x: Tensor) -> Tensor: ...


class _TimmGrid(GridNetwork):
    """`forward_features` of a timm network as (n, D, rows, columns): channels first, tokens laid out, prefix left off."""

    def forward(self, inputs: Tensor) -> Tensor:
        network = cast(_TimmNetwork, self.network)
        try:
            output = network.forward_features(inputs)
        except (AssertionError, RuntimeError, ValueError) as error:
            if inputs.shape[3] == self.size:
                raise
            raise InputError(
                "the backbone does not take images of this size",
                where="--resize / --crop",
                found=f"{inputs.shape[3]} ({first_line(error)})",
                expected=f"{self.size} for {self.name}",
                fix=f"Pass --resize {self.size} --crop {self.size}, or leave both flags out.",
            ) from None
        shape = tuple(output.shape) if isinstance(output, Tensor) else ()
        if len(shape) == 4:
            is_last = getattr(network, "output_fmt", None) == "NHWC" or shape[1] != network.num_features == shape[3]
            return output.permute(0, 3, 1, 2) if is_last else output
        if len(shape) == 3:
            prefix = getattr(network, "num_prefix_tokens", 0)
            n_cells = shape[1] - prefix
            grid: tuple[int, ...] = tuple(getattr(getattr(network, "patch_embed", None), "grid_size", None) or ())
            if len(grid) != 2 or grid[0] * grid[1] != n_cells:
                grid = 2 * (round(n_cells**0.5),)
            if grid[0] * grid[1] == n_cells:
                regions: Tensor = output[:, prefix:].transpose(1, 2).unflatten(2, grid)
                return regions
        raise InputError(
            "the backbone has no grid of features",
            where="--backbone",
            found=f"{self.name}, whose features have shape {shape[1:]}",
            expected="features (dimension, rows, columns) or tokens that fill a grid",
            fix="Choose another network.",
        )


def build_timm(name: str, weights: str | Path | Mapping[str, Tensor]) -> GridNetwork:
    """Return a network of timm; arguments and errors are those of `zslab.features.backbones.load_backbone`."""
    timm = import_extra("timm", "images")
    name = name.removeprefix(TIMM)
    if not timm.is_model(name):
        near = timm.list_models(f"*{name.split('.')[0].split('_')[0]}*")[:8] if name else []
        raise InputError(
            "the backbone is unknown",
            where="--backbone",
            found=f"{TIMM}{name}",
            expected=f"a name of timm.list_models(){', such as ' + ', '.join(near) if near else ''}",
            fix="Choose one of them.",
        )
    try:
        network = timm.create_model(name, pretrained=isinstance(weights, str) and weights == "default", num_classes=0)
    # What the hub raises without a network depends on its version and on requests or httpx underneath.
    except Exception as error:
        raise InputError(
            "the weights cannot be fetched",
            where=f"{TIMM}{name}",
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
        load_fitting(network, read_state_dict(Path(weights), []), heads, source)
    data = timm.data.resolve_data_config({}, model=network)
    grid = _TimmGrid(network, name, int(data["input_size"][1]), source)
    grid.mean, grid.deviation = data["mean"], data["std"]
    return grid


def pad_as_tensorflow(network: nn.Module) -> int:
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
