"""Networks of torchvision and timm that return their last grid of features instead of class scores, and their weights."""

import hashlib
import importlib
import math
import re
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from zslab.errors import InputError, examples, readable
from zslab.utils.files import OTHER, kind_of_file, user_path

TIMM, CLIP = "timm:", "open_clip:"
IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FETCH = (
    "Fetch that file on a machine with a network and pass it with --weights FILE, without --padding and --normalization; "
    "for images, --backbone descriptor needs no file."
)
PUBLISHED_WEIGHTS = "IMAGENET1K_V1"  # torchvision's own default is newer for many networks
# How the names of torchvision's layers begin that are left off.
AFTER_GRID = ("aux", "avgpool", "classifier", "head", "heads", "fc", "dropout", "flatten")

Weights = str | Path | Mapping[str, Tensor]


@dataclass(frozen=True)
class GridNetwork:
    """A network without its last layers, made for images of a side of `size` pixels and of these means and deviations.

    `grid` turns images (n, 3, h, w) into regions (n, D, rows, columns); `source` says where the weights came from.
    """

    network: nn.Module
    grid: Callable[[Tensor], Tensor]
    size: int
    source: str
    mean: Sequence[float]
    deviation: Sequence[float]


def load_weights(network: nn.Module, weights: Weights, unused: Sequence[str], known: Any = None) -> str:
    """Load "none", a member of torchvision's enumeration `known`, a file, or tensors; return a description of the source.

    Entries of the `unused` layers are left out, see `load_fitting`.
    """
    if isinstance(weights, str) and weights == "none":
        return "none"
    if isinstance(weights, Mapping):
        source, state = "weights given as tensors", weights
    elif known is not None and weights in known.__members__:
        chosen = known[weights]
        source = f"torchvision's {chosen}"
        with readable(chosen.url, "the weights must be fetched", FETCH, (OSError, RuntimeError)):
            state = chosen.get_state_dict(progress=True, check_hash=True)
    else:
        source, state = Path(weights).name, read_state_dict(weights)
    if any("denselayer" in name for name in state):  # DenseNet's files name the layers as they were before 2018
        state = {re.sub(r"(norm|conv)\.(\d)\.", r"\1\2.", name): value for name, value in state.items()}
    load_fitting(network, state, unused, source)
    return source


def build_torchvision(name: str, weights: Weights) -> GridNetwork:
    """Return a classification network of torchvision up to its pooling; arguments as for `backbones.load_backbone`."""
    models = import_extra("torchvision", "images").models
    names = [known for known in models.list_models(module=models) if not known.startswith("vit")]  # which has no grid
    if name not in names:
        must = (
            f"--backbone must be descriptor, {TIMM}NAME, {CLIP}ARCHITECTURE,WEIGHTS, or one of torchvision's {', '.join(names)}"
        )
        raise InputError(must, where="--backbone", got=name, fix=f"Choose one of them, or timm's version: {TIMM}{name}.")
    layers = OrderedDict(models.get_model(name, weights=None).named_children())
    kept = OrderedDict((layer, child) for layer, child in layers.items() if not layer.lower().startswith(AFTER_GRID))
    if name.startswith("maxvit"):  # a list of blocks, which has no forward of its own
        kept["blocks"] = nn.Sequential(*layers["blocks"])
    elif name.startswith("densenet"):  # its last activation is a function in its forward
        kept["activation"] = nn.ReLU()
    network = nn.Sequential(kept)
    known = models.get_model_weights(name)
    default = PUBLISHED_WEIGHTS if PUBLISHED_WEIGHTS in known.__members__ else known.DEFAULT.name
    chosen = default if weights == "default" else weights
    size = known[chosen if isinstance(chosen, str) and chosen in known.__members__ else default].transforms().crop_size[0]
    source = load_weights(network, chosen, [layer for layer in layers if layer not in kept], known)
    # Two networks were trained without ImageNet's normalization, which their forward undoes.
    own = (3 * (0.5,), 3 * (0.5,)) if name in ("googlenet", "inception_v3") else (IMAGENET_MEAN, IMAGENET_DEVIATION)
    return GridNetwork(network, network, int(size), source, *own)


def build_timm(name: str, weights: Weights) -> GridNetwork:
    """Return a network of timm; arguments as for `backbones.load_backbone`."""
    timm = import_extra("timm", "images")
    name = name.removeprefix(TIMM)
    if not timm.is_model(name):
        must, near = "--backbone must be a name of timm.list_models()", timm.list_models(f"*{name.split('_')[0]}*")
        fix = f"Choose another, such as {examples(near or timm.list_models(), 8)}."
        raise InputError(must, where="--backbone", got=f"{TIMM}{name}", fix=fix)
    page = getattr(timm.get_pretrained_cfg(name), "hf_hub_id", None)
    address = f"https://huggingface.co/{page}/resolve/main/model.safetensors" if page else f"{TIMM}{name}"
    # What the hub raises without a network depends on its version and on requests or httpx underneath.
    with readable(address, "the weights must be fetched", FETCH):
        network = timm.create_model(name, pretrained=isinstance(weights, str) and weights == "default", num_classes=0)
    heads = network.pretrained_cfg.get("classifier") or ()
    source = f"timm's {name}.{network.pretrained_cfg.get('tag', '')}".rstrip(".") if "." not in name else f"timm's {name}"
    if isinstance(weights, Mapping) or weights not in ("default", "none"):
        source = load_weights(network, weights, [heads] if isinstance(heads, str) else heads)
    data = timm.data.resolve_data_config({}, model=network)
    size = int(data["input_size"][1])
    return GridNetwork(network, partial(_timm_grid, network, name, size), size, source, data["mean"], data["std"])


def build_open_clip(name: str, weights: Weights) -> GridNetwork:
    """Return the image side of a model of open_clip, whose one region is the image's vector; arguments as for `build_timm`."""
    place, source = name.removeprefix(CLIP), f"open_clip's {name.removeprefix(CLIP)}"
    if isinstance(weights, str | Path) and weights not in ("default", "none"):
        place, source = f"{','.join(place.split(',')[:2])},{weights}", Path(weights).name
    fix = "Fetch the model's open_clip_model.safetensors on a machine with a network and name the file last: "
    fix += "--backbone open_clip:ARCHITECTURE,WEIGHTS,FILE."
    with readable(name, "open_clip must have the architecture, and its weights must be a file or be fetched", fix):
        network = load_open_clip(place, not isinstance(weights, Mapping) and weights != "none").visual
    if isinstance(weights, Mapping):
        source = load_weights(network, weights, ())

    def grid(inputs: Tensor) -> Tensor:
        output = network(inputs)
        vectors: Tensor = output[0] if isinstance(output, tuple) else output  # some return their tokens as well
        return vectors[:, :, None, None]

    about = network.preprocess_cfg
    size = about["size"] if isinstance(about["size"], int) else about["size"][0]
    return GridNetwork(network, grid, size, source, about["mean"], about["std"])


def load_open_clip(place: str, with_weights: bool = True) -> Any:
    """Return a model of open_clip: "ARCHITECTURE,WEIGHTS" by a name or a file, "ARCHITECTURE,WEIGHTS,FILE" or "hf-hub:NAME".

    The name of the weights tells the normalization and the activations that they were trained with; a file alone does not.
    """
    open_clip = import_extra("open_clip", "text")
    architecture, weights, file, *_ = *place.split(",", 2), "", ""
    if not weights and not architecture.startswith(("hf-hub:", "local-dir:")):
        must = "the weights must be named after a comma, as in open_clip:ViT-B-32,laion2b_s34b_b79k"
        fix = "Add a comma and the name of the weights, or their file."
        raise InputError(must, where=f"{CLIP}{place}", got="an architecture alone", fix=fix)
    known = open_clip.get_pretrained_cfg(architecture, weights)
    return open_clip.create_model(
        architecture,
        pretrained=str(user_path(file or weights)) if weights and with_weights else None,
        load_weights=with_weights,
        pretrained_text=False,
        force_quick_gelu=bool(known.get("quick_gelu")),
        force_preprocess_cfg=known,
        device="cpu",
    ).eval()


def _timm_grid(network: Any, name: str, size: int, inputs: Tensor) -> Tensor:
    """Return `forward_features` as (n, D, rows, columns): channels first, tokens laid out, prefix left off."""
    fix = f"Pass --resize {size} --crop {size}, or leave both flags out."
    kinds = () if inputs.shape[3] == size else (AssertionError, RuntimeError, ValueError)
    with readable("--resize / --crop", f"the images of {name} must have {size} pixels", fix, kinds):
        output: Tensor = network.forward_features(inputs)
    must, damage = f"{name} must give a grid of features", (AttributeError, RuntimeError, ValueError)
    with readable("--backbone", must, "Choose another.", damage):
        if output.ndim == 3:
            tokens = output[:, getattr(network, "num_prefix_tokens", 0) :]
            grid = tuple(getattr(getattr(network, "patch_embed", None), "grid_size", None) or ())
            rows, columns = grid if math.prod(grid) == tokens.shape[1] else 2 * (round(tokens.shape[1] ** 0.5),)
            output = tokens.transpose(1, 2).unflatten(2, (rows, columns))
        _, first, _, last = output.shape
        is_last = getattr(network, "output_fmt", None) == "NHWC" or first != network.num_features == last
    return output.permute(0, 3, 1, 2) if is_last else output


def pad_as_tensorflow(network: nn.Module) -> int:
    """Make convolutions of stride 2 pad their input as TensorFlow's 'SAME' does, and return how many were changed."""
    pad_same = import_extra("timm.layers", "images").pad_same
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d) and 2 in layer.stride]
    layers = [layer for layer in layers if not isinstance(layer.padding, str) and any(layer.padding)]
    for layer in layers:
        how = (layer.kernel_size, layer.stride, layer.dilation)
        layer.padding = (0, 0)
        layer.register_forward_pre_hook(lambda layer, inputs, how=how: pad_same(inputs[0], *how))
    return len(layers)


def import_extra(name: str, extra: str) -> ModuleType:
    """Import a package that only an extra of this project installs."""
    fix = f"In the project's folder: pip install -e '.[{extra}]'."
    # RuntimeError: a torchvision that was built for another PyTorch
    with readable(name, f"the package of the extra `{extra}` must be installed", fix, (ImportError, RuntimeError)):
        return importlib.import_module(name)


def check_intent(weights: object, random_weights: bool) -> None:
    """Refuse random weights unless both flags ask for them: `--weights none --random_weights`."""
    if random_weights != (isinstance(weights, str) and weights == "none"):
        where, got = "--weights / --random_weights", f"--weights {weights}{' --random_weights' if random_weights else ''}"
        fix = "Pass trained weights, or `--weights none --random_weights`, whose features mean little, to try things out."
        raise InputError("random weights must be asked for by both flags", where=where, got=got, fix=fix)


def read_state_dict(path: str | Path) -> Mapping[str, Tensor]:
    """Read named tensors from a .safetensors file, a state dict or a trainer's checkpoint (.pth, .pt), running no code."""
    timm = import_extra("timm.models", "images")
    must = "the weights must be default, a name of the library's, none, or a file of named tensors (.pth or .safetensors)"
    fix = "Check the path, or save network.state_dict() alone, or .safetensors; anything but tensors may run code."
    path = user_path(path)
    if not path.is_file() or kind_of_file(path) not in ("a ZIP archive", OTHER):
        raise InputError(must, where=path, got=kind_of_file(path) if path.exists() else "no such file", fix=fix)
    with readable(path, must, fix):  # a damaged file makes torch.load raise almost anything
        content = timm.load_state_dict(str(path), weights_only=True)
        states = [content, *content.values()] if isinstance(content, Mapping) else []
        states = [s for s in states if isinstance(s, Mapping) and s and all(isinstance(v, Tensor) for v in s.values())]
        if len(states) != 1:
            raise ValueError(f"{len(states)} state dicts")
    return {str(name): value for name, value in states[0].items()}


def load_fitting(network: nn.Module, state: Mapping[str, Tensor], unused: Collection[str], where: object) -> None:
    """Load a state dict into a network without its last layer, every entry of both.

    A wrapper's prefix before all of the network's entries, such as "module.", is left off. Entries of the `unused` layers,
    which the network lacks, are ignored, so that the last layer may have any number of classes.
    """
    current = network.state_dict()
    # Files of before 2018, ResNet-101's among them, lack the counters, which nothing reads in evaluation.
    counters = {name: value for name, value in current.items() if name.endswith("num_batches_tracked")}
    needed = [name for name in current if name not in counters]
    prefixes = [name.removesuffix(needed[0]) for name in state if f".{name}".endswith(f".{needed[0]}")]
    prefixes = [prefix for prefix in prefixes if all(prefix + name in state for name in needed)]
    prefix = prefixes[0] if len(prefixes) == 1 else ""
    given = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    given = {name: value for name, value in given.items() if not name.startswith(tuple(f"{layer}." for layer in unused))}
    fix = "Pass the weights of the chosen --backbone, or the backbone of these weights."
    try:
        for name, value in given.items():  # PyTorch would convert whole numbers
            if name in current and value.is_floating_point() < current[name].is_floating_point():
                raise TypeError(f"{name} of {value.dtype}")
        network.load_state_dict(counters | given)
    except (RuntimeError, TypeError, NotImplementedError) as error:
        got = str(error).split("\n\t")[-1]
        raise InputError("the weights must be those of the network", where=where, got=got, fix=fix) from None


def weights_digest(state: Mapping[str, Tensor]) -> str:
    """Return 12 hexadecimal digits of the SHA-256 of all values, in the order of the state dict."""
    digest = hashlib.sha256()
    for value in state.values():
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]
