"""How a kept model classifies: the part of the predictor that differs between methods.

Every method turns features into one table of class scores, explains a class by its attributes, and takes new classes in.
"""

from __future__ import annotations

import copy
from dataclasses import fields
from typing import Any, Protocol

import torch
from torch import Tensor

from zsl.app.model_file import LARGEST_NUMBER, Model
from zsl.classifiers import SoftmaxHead
from zsl.data.xlsa17 import Samples
from zsl.dazle.attention import contributions
from zsl.dazle.model import Dazle, DazleOptions, Output
from zsl.errors import InputError
from zsl.gate import EntropyDetector, GatedClassifier
from zsl.tfvaegan.classification import synthesise, transform
from zsl.tfvaegan.networks import Feedback, Generator, Networks, SemanticDecoder
from zsl.tfvaegan.steps import Settings

INTEGERS = ("classes", "num_batches_tracked")
REFIT_SEED = 20_20  # heads fitted anew are a function of the model and its classes


class Method(Protocol):
    """What the predictor needs of a method. Class columns are in the model's order; `view` is what `view` returned."""

    uses_regions: bool
    feature_shape: tuple[int, ...]  # of one sample
    chunk: int  # samples at a time
    generalised: bool  # whether it can choose among seen and unseen classes together
    weights: dict[str, Tensor]

    def rounded(self, features: Tensor) -> Tensor: ...  # fresh features, as if they had been stored for training
    def view(self, features: Tensor) -> Any: ...
    def scores(self, view: Any, unseen_only: bool, calibration: float) -> Tensor: ...
    def contributions(self, view: Any, classes: Tensor) -> tuple[Tensor, Tensor] | None: ...
    def attention(self, view: Any) -> Tensor | None: ...
    def check_refit(self, model: Model) -> None: ...
    def refit(self, model: Model) -> None: ...
    def copy(self) -> Method: ...


def build_method(model: Model, where: object, device: torch.device) -> Method:
    """The method of a model, its weights checked and on the device.

    Raises:
        InputError: settings or weights are not the method's.
    """
    return {"tfvaegan": TfvaeganMethod, "dazle": DazleMethod}[model.method](model, where, device)


def setting(settings: dict, name: str, where: object, kind: type = int) -> Any:
    """A number (positive, bounded), a text or a bool out of a model's settings."""
    value = settings.get(name)
    kinds = (int, float) if kind is float else kind
    fits = isinstance(value, kinds) and (kind is bool or not isinstance(value, bool))
    if not fits or (kind in (int, float) and not 0 <= value <= LARGEST_NUMBER) or (kind is int and value < 1):
        raise _lie(f"{where}, settings.{name}", repr(value)[:100], kind.__name__)
    return value


def _lie(where: object, found: object, expected: object) -> InputError:
    return InputError(
        "a model file that contradicts itself", where=where, found=found, expected=expected,
        cure="Export the model again with `python -m zsl.app.export RUN`, or copy the file again.",
    )


class TfvaeganMethod:
    """TF-VAEGAN: softmax heads over [x, Dec(x), h(x)], refitted on synthesised features when classes change."""

    uses_regions, chunk = False, 8192

    def __init__(self, model: Model, where: object, device: torch.device):
        s = model.settings
        d, z, h = (setting(s, name, where) for name in ("feature_dim", "latent_dim", "hidden_dim"))
        if model.scaling is None or len(model.scaling.factor) != d:
            raise _lie(f"{where}, scaling_factor", "another number of dimensions", d)
        if s.get("decoder_output") not in ("unit_norm", "sigmoid"):
            raise _lie(f"{where}, settings.decoder_output", s.get("decoder_output"), "unit_norm or sigmoid")
        a, self.feature_shape = len(model.attribute_names), (d,)
        self.transforms, self.explains = (setting(s, key, where, bool) for key in ("transform", "decoder_trained"))
        feedback = setting(s, "uses_feedback", where, bool)
        self.settings = Settings(
            n_synthetic=setting(s, "n_synthetic", where), transform=self.transforms,
            feedback_loop=2 if feedback else 1, feedback_synthesis=setting(s, "feedback_synthesis", where, float),
        )
        with torch.device("meta"):  # sizes that are lies must not cost memory
            parts = {"generator": Generator(z, a, d, h), "feedback": Feedback(h),
                     "decoder": SemanticDecoder(d, a, h, s["decoder_output"])}
        for name, part in parts.items():
            shapes = {key: tuple(value.shape) for key, value in part.state_dict().items()}
            state = _take(name, shapes, model.weights, where)
            part.to_empty(device=device).requires_grad_(False)
            part.load_state_dict(state)
        self.networks = Networks(encoder=None, critic=None, **parts)  # which only train
        self.device, self.attributes = device, model.attributes.to(device)
        self.n_classes = len(model.class_names)
        self.network_weights = {k: v for k, v in model.weights.items() if k.split(".")[0] in parts}
        self._build_heads(model, where, d + (a + h if self.transforms else 0))

    def _build_heads(self, model: Model, where: object, width: int) -> None:
        s, weights = model.settings, model.weights
        unseen = torch.from_numpy(~model.seen).nonzero().flatten()
        seen = torch.from_numpy(model.seen).nonzero().flatten()

        def head(name: str, classes: Tensor) -> SoftmaxHead:
            made = SoftmaxHead(lr=setting(s, "head_lr", where, float), epochs=setting(s, "head_epochs", where),
                               batch_size=setting(s, "head_batch_size", where))
            made.load_state_dict(_head_state(name, classes, width, weights, where, self.device))
            return made

        self.zsl_head, self.gzsl = head("zsl_head", unseen), None
        gate = s.get("gate")
        if gate is not None:
            if not isinstance(gate, dict) or gate.get("rule") not in ("release", "mean", "val"):
                raise _lie(f"{where}, settings.gate", str(gate)[:100], "an object with a known rule")
            detector = EntropyDetector(
                lr=setting(gate, "lr", where, float), epochs=setting(gate, "epochs", where),
                batch_size=setting(gate, "batch_size", where), hidden_dim=setting(gate, "hidden_dim", where),
            )
            sizes = (width, detector.hidden_dim, detector.hidden_dim, len(seen))
            shapes = {f"{2 * i}.weight": (n, m) for i, (m, n) in enumerate(zip(sizes, sizes[1:]))}
            shapes |= {f"{2 * i}.bias": (n,) for i, n in enumerate(sizes[1:])} | {"classes": (len(seen),)}
            state = _take("detector", shapes, weights, where)
            _check_classes("detector", state["classes"], seen, where)
            detector.load_state_dict({k: v.to(self.device) for k, v in state.items()})
            detector.network_.requires_grad_(False)
            self.gzsl = GatedClassifier(detector, head("seen_head", seen), self.zsl_head, gate["rule"])
            self.gzsl.threshold_ = float(setting(gate, "threshold", where, float))
        elif "gzsl_head.weight" in weights:
            self.gzsl = head("gzsl_head", torch.arange(self.n_classes))

    @property
    def generalised(self) -> bool:
        return self.gzsl is not None

    @property
    def weights(self) -> dict[str, Tensor]:
        """All tensors under the names of the model file."""
        heads = {"zsl_head": self.zsl_head}
        if isinstance(self.gzsl, GatedClassifier):
            heads |= {"detector": self.gzsl.detector, "seen_head": self.gzsl.seen_head}
        elif self.gzsl is not None:
            heads["gzsl_head"] = self.gzsl
        return self.network_weights | {
            f"{name}.{key}": value for name, head in heads.items() for key, value in head.state_dict().items()
        }

    @property
    def threshold(self) -> float | None:
        """The gate's, in nats; None without a gate."""
        return self.gzsl.threshold_ if isinstance(self.gzsl, GatedClassifier) else None

    def rounded(self, features: Tensor) -> Tensor:
        return features

    def view(self, features: Tensor) -> Tensor:
        """(n, D) scaled features -> what the heads see."""
        return transform(self.networks.decoder, features) if self.transforms else features

    @torch.no_grad()
    def scores(self, view: Tensor, unseen_only: bool, calibration: float) -> Tensor:
        """(n, C) logits, -inf for classes that are out of the question.

        Args:
            unseen_only: whether only unseen classes are in question.
            calibration: is subtracted from the seen classes' scores; a gate has no use for it.
        """
        found = view.new_full((len(view), self.n_classes), -torch.inf)
        if unseen_only:
            found[:, self.zsl_head.classes_] = self.zsl_head.scores(view)
        elif isinstance(self.gzsl, GatedClassifier):
            is_seen = self.gzsl.is_seen(self.gzsl.detector.entropy(view))
            for rows, head in ((is_seen, self.gzsl.seen_head), (~is_seen, self.gzsl.unseen_head)):
                part = found[rows]
                part[:, head.classes_] = head.scores(view[rows])
                found[rows] = part
        else:
            found[:, self.gzsl.classes_] = self.gzsl.scores(view)
            if calibration:
                is_unseen = torch.isin(self.gzsl.classes_, self.zsl_head.classes_)
                found[:, self.gzsl.classes_[~is_unseen]] -= calibration
        return found

    @torch.no_grad()
    def contributions(self, view: Tensor, classes: Tensor) -> tuple[Tensor, Tensor] | None:
        """What each attribute adds to the agreement of Dec(x) with a class, Dec(x)_i a_ki, and Dec(x): (n, A) each."""
        if not self.explains:
            return None
        d, a = self.networks.decoder.hidden.in_features, self.attributes.shape[1]
        decoded = view[:, d : d + a] if self.transforms else self.networks.decoder(view)[0]
        return decoded * self.attributes[classes], decoded

    def attention(self, view: Tensor) -> None:
        return None

    def check_refit(self, model: Model) -> None:
        """Whether `refit` will have what it needs.

        Raises:
            InputError: the model keeps no training features, without which the seen classes would be forgotten.
        """
        if self.gzsl is not None and model.train is None:
            raise InputError(
                "a model that cannot learn new classes", where="the model file", found="no training features of seen classes",
                expected="some, to fit the heads over all classes again",
                cure="Export it with --max_seen_per_class 100 or so.",
            )

    def refit(self, model: Model) -> None:
        """Takes the model's classes in: features are synthesised for the unseen ones, and all heads fitted anew."""
        self.check_refit(model)
        self.attributes, self.n_classes = model.attributes.to(self.device), len(model.class_names)
        unseen = torch.from_numpy(~model.seen).nonzero().flatten().to(self.device)
        generator = torch.Generator(self.device).manual_seed(REFIT_SEED)
        synthetic = synthesise(self.networks, self.attributes, unseen, self.settings, generator)
        x_synthetic = self.view(synthetic.features)
        self.zsl_head.fit(x_synthetic, synthetic.labels, generator)
        if self.gzsl is None:
            return
        train = Samples(model.train.features.to(self.device), model.train.labels.to(self.device))
        x_train = self.view(train.features)
        if isinstance(self.gzsl, GatedClassifier):
            share = self.gzsl.threshold_ / self.gzsl.detector.largest_entropy
            self.gzsl.detector.fit(x_train, train.labels, x_synthetic, generator)
            self.gzsl.detector.network_.requires_grad_(False)
            self.gzsl.seen_head.fit(x_train, train.labels, generator)
            self.gzsl.threshold_ = share * self.gzsl.detector.largest_entropy if self.gzsl.rule == "val" else (
                self.gzsl.detector.training_threshold(self.gzsl.rule))
            return
        # Where only a share of the training samples was kept, as large a share of the synthesised ones keeps the balance.
        n = self.settings.n_synthetic
        kept = torch.arange(len(synthetic), device=self.device) % n < max(1, round(n * model.train_share))
        self.gzsl.fit(torch.cat([x_train, x_synthetic[kept]]), torch.cat([train.labels, synthetic.labels[kept]]), generator)

    def copy(self) -> TfvaeganMethod:
        """One whose heads may be fitted anew without changing this one's; the networks are shared."""
        twin = copy.copy(self)
        twin.zsl_head, twin.gzsl = copy.copy(self.zsl_head), copy.copy(self.gzsl)
        if isinstance(twin.gzsl, GatedClassifier):
            twin.gzsl.unseen_head = twin.zsl_head
            twin.gzsl.seen_head, twin.gzsl.detector = copy.copy(self.gzsl.seen_head), copy.copy(self.gzsl.detector)
        return twin


class DazleMethod:
    """DAZLE: class scores from regions and attributes; a new class is nothing but a new row of attributes."""

    uses_regions, generalised, chunk = True, True, 64

    def __init__(self, model: Model, where: object, device: torch.device):
        s = model.settings
        d, v = (setting(s, name, where) for name in ("feature_dim", "word_dim"))
        grid, options = s.get("grid"), s.get("options")
        if not (isinstance(grid, list) and len(grid) == 2 and all(type(n) is int and 2 <= n <= 1000 for n in grid)):
            raise _lie(f"{where}, settings.grid", str(grid)[:100], "[rows, columns]")
        known = {option.name for option in fields(DazleOptions)}
        if not isinstance(options, dict) or set(options) != known or not all(type(o) is bool for o in options.values()):
            raise _lie(f"{where}, settings.options", str(options)[:100], f"true or false for {', '.join(sorted(known))}")
        self.margin = float(setting(s, "margin", where, float))
        self.half = setting(s, "half_precision_regions", where, bool)
        a = len(model.attribute_names)
        with torch.device("meta"):  # sizes that are lies must not cost memory
            network = Dazle(None, a, d, v, DazleOptions(**options), grid=tuple(grid))
        shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
        strangers = sorted(model.weights.keys() - shapes.keys())
        if strangers:
            raise _lie(f"{where}, weights.{strangers[0]}", "a tensor", "no such tensor")
        state = _take(None, shapes, model.weights, where)
        variance = "normalisation.running_var"
        if variance in state and not (state[variance] >= 0).all():
            raise _lie(f"{where}, weights.{variance}", state[variance].min().item(), "no negative variance")
        network.to_empty(device=device).requires_grad_(False)
        network.load_state_dict(state)
        self.network, self.weights, self.device = network.eval(), dict(model.weights), device
        self.feature_shape = (d, *grid)
        self.refit(model)

    threshold = None

    def check_refit(self, model: Model) -> None:
        pass

    def refit(self, model: Model) -> None:
        """Takes the model's classes in."""
        self.attributes = model.attributes.to(self.device)
        self.is_seen = torch.from_numpy(model.seen).to(self.device)

    def copy(self) -> DazleMethod:
        return copy.copy(self)

    def rounded(self, features: Tensor) -> Tensor:
        """Regions in the precision that they were stored in for training."""
        return features.half().float() if self.half else features

    @torch.no_grad()
    def view(self, features: Tensor) -> Output:
        """(n, D, rows, columns) -> all that the network says of them."""
        return self.network(features.flatten(2).transpose(1, 2).contiguous(), self.attributes)

    def scores(self, view: Output, unseen_only: bool, calibration: float) -> Tensor:
        """(n, C): with the margin of training between seen and unseen, unless only unseen classes are in question."""
        if unseen_only:
            return view.scores.masked_fill(self.is_seen, -torch.inf)
        # One sum and then the other, as in training, so that ties fall alike.
        return view.scores + torch.where(self.is_seen, -self.margin, self.margin) - calibration * self.is_seen

    def contributions(self, view: Output, classes: Tensor) -> tuple[Tensor, Tensor]:
        """att_ki q_i p_i, which sum to the class's score, and p: (n, A) each."""
        return contributions(view, self.attributes[classes]), view.attribute_scores

    def attention(self, view: Output) -> Tensor:
        """(n, A, rows, columns), each summing to 1."""
        return view.attention.unflatten(2, self.network.grid)


def _take(name: str | None, shapes: dict[str, tuple], weights: dict[str, Tensor], where: object) -> dict[str, Tensor]:
    """The tensors "<name>.<key>" (or "<key>"), held to their shapes; those named in `INTEGERS` are int64, others float32."""
    taken = {}
    for key, shape in shapes.items():
        entry = f"{name}.{key}" if name else key
        value, dtype = weights.get(entry), torch.int64 if key.rpartition(".")[2] in INTEGERS else torch.float32
        if value is None or tuple(value.shape) != shape or value.dtype != dtype:
            found = "nothing" if value is None else f"{value.dtype} {tuple(value.shape)}"
            raise _lie(f"{where}, weights.{entry}", found, f"{dtype} {shape}")
        taken[key] = value
    return taken


def _check_classes(name: str, found: Tensor, expected: Tensor, where: object) -> None:
    if not torch.equal(found, expected):
        raise _lie(f"{where}, weights.{name}.classes", found[:10].tolist(), f"{expected[:10].tolist()} ...")


def _head_state(
    name: str, classes: Tensor, width: int, weights: dict[str, Tensor], where: object, device: torch.device
) -> dict[str, Tensor]:
    k = len(classes)
    state = _take(name, {"weight": (k, width), "bias": (k,), "classes": (k,)}, weights, where)
    _check_classes(name, state["classes"], classes, where)
    return {key: value.to(device) for key, value in state.items()}
