"""What an exported method is: it turns features into class scores, explains a class by its attributes, takes new classes in.

    class Nearest(Served):
        Settings = NearestSettings  # a msgspec struct: what the method needs beside its weights

        def of_run(cls, model, dataset, run): ...  # a class method: put settings, scaling and weights into the model
        def build(self, model): ...  # take the weights, set feature_shape
        def forward(self, features, unseen_only=None): ...  # -> Output

    METHOD = Method("nearest", ..., served=Nearest)

Export, model files, predictor and page then know it, where the package that defines METHOD offers it as an entry point
`zslab.methods`, or the command names it. The modules of this package are imported when they are asked for.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec
import numpy as np
import torch
from torch import Tensor, nn

from zslab.app.model_file import EXPORT_AGAIN, Model
from zslab.baselines.comparison import SERVED
from zslab.data.dataset import Dataset, Samples, Scaling, fit_scaling
from zslab.errors import InputError
from zslab.method import load_method, offered_methods
from zslab.utils.files import converted
from zslab.utils.plugins import load_object

if TYPE_CHECKING:
    from typing_extensions import Self

PLACES: dict[str, Any] = {  # of the package's methods, by the names that model files and results have
    "tfvaegan": "zslab.app.methods.tfvaegan:TfvaeganServed",
    "dazle": "zslab.app.methods.dazle:DazleServed",
    **dict.fromkeys(SERVED, "zslab.app.methods.baseline:BaselineServed"),
}
_found: dict[str, type[Served]] = {}


@dataclass(frozen=True)
class Output:
    """What a method says of n samples. Columns of classes are in the model's order."""

    unseen: Tensor | None  #: (n, C) scores among the unseen classes, -inf for the others; None where they were not asked for
    every: Tensor | None  #: (n, C) scores among all classes; None likewise, and for a method trained for unseen ones only
    read: Tensor | None = None  #: (n, A) what is read off the samples; None where nothing is
    weights: Tensor | None = None  #: (n, A) what an attribute of value 1 adds to the score of a class; None where it is `read`
    attention: Tensor | None = None  #: (n, A, rows, columns) where the method looks for each attribute; each map sums to 1


@dataclass(frozen=True)
class RunParts:
    """What a run left for its model, and how much of the data to keep."""

    tensors: dict[str, Tensor]  #: weights of the chosen epoch
    config: Mapping[str, Any]  #: flags
    seed: int
    gate_threshold: float | None = None  #: in nats
    max_seen_per_class: int = 100  #: training features of each seen class to keep for new classes


class Served(ABC):
    """A trained method with the classes of a model.

    `weights` has all tensors under the names of the model file, and `attributes` (C, A) those of the model's classes, as
    `contributions` takes them.
    """

    Settings: ClassVar[type[msgspec.Struct]]
    uses_regions: ClassVar[bool] = False  #: whether it takes region features (D, rows, columns) instead of pooled ones (D,)
    chunk: ClassVar[int] = 8192  #: samples that go through it at a time
    feature_shape: tuple[int, ...]  #: of one sample
    generalized: bool = True  #: whether it can choose among seen and unseen classes together

    def __init__(self, model: Model, where: object, device: torch.device):
        self.device, self.where = device, f"{where}, weights"
        self.settings: Any = converted(model.settings, self.Settings, f"{where}, settings", EXPORT_AGAIN)
        self.weights: dict[str, Tensor] = dict(model.weights)
        self.build(model)
        self.set_classes(model)

    @classmethod
    @abstractmethod
    def of_run(cls, model: Model, dataset: Dataset, run: RunParts) -> Model:
        """Return the model of a run, of which the rest is known, with what the method needs of the run and its data."""

    @abstractmethod
    def build(self, model: Model) -> None:
        """Take the weights of a model, and set `feature_shape`."""

    @abstractmethod
    def forward(self, features: Tensor, unseen_only: bool | None = None) -> Output:
        """Look at scaled features (n, *feature_shape); `unseen_only` may say which scores alone are asked for."""

    def contributions(self, output: Output, classes: Tensor) -> Tensor | None:
        """Return what each attribute adds to the score of a class (n, A), one class (n,) a sample."""
        weights = output.read if output.weights is None else output.weights
        return None if weights is None else weights * self.attributes[classes]

    def transformed(self, features: Tensor) -> Tensor:
        """Return what is classified in place of scaled features (n, *feature_shape)."""
        return features

    def synthesize(self, classes: Tensor, n: int, generator: torch.Generator) -> Tensor:
        """Return n scaled features of each class (k * n, D), for a method that generates features."""
        must, fix = "the method must generate features", "Take a model of TF-VAEGAN."
        raise InputError(must, where=self.where, got="one that does not", fix=fix)

    def as_stored(self, features: Tensor) -> Tensor:
        """Return fresh features in the precision in which training features were stored."""
        return features

    def check_classes(self, model: Model) -> None:  # noqa: B027, most methods need nothing
        """Check that `set_classes` will have what it needs."""

    def set_classes(self, model: Model) -> None:
        """Take over the classes and attributes of a model that differs in nothing else."""
        self.attributes = model.attributes.to(self.device)
        self.is_seen = torch.from_numpy(model.seen).to(self.device)

    def copy(self) -> Self:
        """Return a method whose classes may be changed without changing this one's; the networks are shared."""
        return copy.copy(self)

    def take(self, expected: Mapping[str, Tensor], prefix: str = "") -> dict[str, Tensor]:
        """Return the tensors "<prefix><name>" of the model by name, on the device; `expected` has their shapes and types."""
        taken = {}
        for name, tensor in expected.items():
            value = self.weights.get(prefix + name, torch.empty(0))
            if (value.shape, value.dtype) != (tensor.shape, tensor.dtype):
                must = f"it must be a {tensor.dtype} tensor of shape {tuple(tensor.shape)}"
                where, got = f"{self.where}.{prefix}{name}", f"{value.dtype} {tuple(value.shape)}"
                raise InputError(must, where=where, got=got, fix=EXPORT_AGAIN)
            taken[name] = value.to(self.device)
        return taken

    def load(self, network: nn.Module, prefix: str = "") -> None:
        """Give a network that was built on the device "meta", where wrong sizes cost no memory, its tensors."""
        state = self.take(network.state_dict(), prefix)
        network.to_empty(device=self.device).requires_grad_(False)
        network.load_state_dict(state)

    def check_scaling(self, model: Model, dim: int) -> None:
        """Refuse a model whose features are scaled in another number of dimensions."""
        if model.scaling is None or len(model.scaling.factor) != dim:
            raise InputError(f"scaling must be of {dim} dimensions", where=self.where, got="another", fix=EXPORT_AGAIN)


def methods(*named: str) -> dict[str, type[Served]]:
    """Return what exported methods are, by name: those of the package, and of methods that others offer or that are named."""
    served = PLACES | {each.name: each.served for each in map(load_method, [*named, *offered_methods()]) if each.served}
    for name, place in served.items():
        if name not in _found:
            _found[name] = load_object(place, name) if isinstance(place, str) else place
    return _found


def with_samples(model: Model, dataset: Dataset, max_per_class: int, scaling_of: Scaling = "minmax") -> Model:
    """Return a model with the scaling of a data set, and scaled training samples, at most so many of each class."""
    train = dataset.locations["trainval"]
    scaling, labels = fit_scaling(dataset.features, train, scaling_of), dataset.labels[train]
    generator = np.random.default_rng(0)
    chosen = [generator.permutation(np.flatnonzero(labels == k))[:max_per_class] for k in np.unique(labels)]
    kept, samples = train[np.concatenate([np.sort(rows) for rows in chosen])], None
    if len(kept):
        samples = Samples(torch.from_numpy(scaling(dataset.features[kept])), torch.from_numpy(dataset.labels[kept]))
    share = len(kept) / len(train) if len(kept) else 1.0
    return msgspec.structs.replace(model, scaling=scaling, train=samples, train_share=share)


def build_method(model: Model, where: object, device: torch.device) -> Served:
    """Return the method of a model, with its weights checked and on the device."""
    if model.method not in methods():
        must = f"method must be one of {', '.join(methods())}"
        raise InputError(must, where=where, got=repr(model.method), fix="Import the package that registers it.")
    return methods()[model.method](model, where, device)
