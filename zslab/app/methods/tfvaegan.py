"""An exported TF-VAEGAN: softmax heads over [x, Dec(x), h(x)], which learn a row for each new class.

A head's rows for the classes that the model file holds never change. For a new class, features are synthesized from its
attributes, and one more row is trained against the old ones. So adding a class leaves all other scores as they were, and
removing it restores the model exactly.
"""

from __future__ import annotations

import copy
import hashlib
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch
from torch import Tensor

from zslab.app.json_reader import JsonReader, contradiction
from zslab.app.methods.base import LARGEST_SCORE, check_same_classes, take_tensors
from zslab.app.model_file import Model
from zslab.data.lazy import fits
from zslab.errors import InputError
from zslab.shared.gate import EntropyDetector, GatedClassifier, ThresholdRule
from zslab.shared.heads import SoftmaxHead
from zslab.tfvaegan.networks import Critic, Encoder, Feedback, Generator, Networks, SemanticDecoder
from zslab.tfvaegan.synthesis import synthesize, transform
from zslab.utils.seeds import REFIT, stream

SEED = 20_20  # new rows are a function of the model and its classes
MOST_SYNTHETIC = 10_000  # features of a class; the papers take 300 to 2,400
MOST_EPOCHS = 1_000  # of a head; the papers take 25 to 50
RULES: tuple[ThresholdRule, ...] = ("release", "mean", "val")
SERVED = ("generator", "feedback", "decoder")  # the other networks serve training only


@dataclass(frozen=True)
class TfvaeganPass:
    """Transformed features (n, width) of n samples; see `zslab.app.methods.base.ForwardPass`."""

    method: TfvaeganMethod
    x: Tensor

    @torch.no_grad()
    def scores(self, unseen_only: bool, calibration: float) -> Tensor:
        """Return (n, C) logits; with a gate, -inf for the side that the gate rules out, and no calibration."""
        zsl_head, gzsl = self.method.zsl_head, self.method.gzsl
        scores = self.x.new_full((len(self.x), len(self.method.model.class_names)), -torch.inf)
        if unseen_only or gzsl is None:
            scores[:, zsl_head.classes_] = zsl_head.scores(self.x)
        elif isinstance(gzsl, GatedClassifier):
            is_seen = gzsl.is_seen(gzsl.detector.entropy(self.x))
            for side, head in ((is_seen, gzsl.seen_head), (~is_seen, gzsl.unseen_head)):
                part = scores[side]
                part[:, head.classes_] = head.scores(self.x[side])
                scores[side] = part
        else:
            scores[:, gzsl.classes_] = gzsl.scores(self.x)
            scores[:, indices_of(self.method.model.seen).to(scores.device)] -= calibration
        return scores

    @torch.no_grad()
    def contributions(self, classes: Tensor) -> tuple[Tensor, Tensor] | None:
        """Return Dec(x)_i a_ki, which sum to the agreement of Dec(x) with the class, and Dec(x); None if untrained."""
        if not self.method.explains:
            return None
        attributes, decoder = self.method.attributes, self.method.networks.decoder
        if self.method.transform:
            d = decoder.hidden.in_features
            decoded = self.x[:, d : d + attributes.shape[1]]
        else:
            decoded = decoder(self.x)[0]
        return decoded * attributes[classes], decoded

    def attention(self) -> None:
        """Return None: the method sees no regions."""


class TfvaeganMethod:
    """Networks and heads; see `zslab.app.methods.base.Method`.

    Attributes:
        zsl_head: over the unseen classes.
        gzsl: a head over all classes, or a gate; None for a model that was trained for unseen classes only.

    Raises:
        InputError: settings or weights are not TF-VAEGAN's.
    """

    uses_regions, chunk = False, 8192
    feature_shape: tuple[int, ...]

    def __init__(self, model: Model, where: str, device: torch.device):
        s = JsonReader(model.settings, f"{where}, settings.")
        d, z, h = (s.integer(name) for name in ("feature_dim", "latent_dim", "hidden_dim"))
        if model.scaling is None or len(model.scaling.factor) != d:
            raise contradiction(f"{where}, scaling_factor", "another number of dimensions", d)
        self.device, self.where, self.feature_shape = device, where, (d,)
        self.explains = s.flag("decoder_trained")
        self.n_synthetic, self.transform = s.integer("n_synthetic", 1, MOST_SYNTHETIC), s.flag("transform")
        self.feedback = s.number("feedback_synthesis", 0, 1000) if s.flag("uses_feedback") else None
        self.head_settings = SoftmaxHead(
            lr=s.number("head_lr", 1e-9, 10),
            epochs=s.integer("head_epochs", 1, MOST_EPOCHS),
            batch_size=s.integer("head_batch_size"),
        )
        output = s.choice("decoder_output", ("unit_norm", "sigmoid"))
        a = len(model.attribute_names)
        with torch.device("meta"):  # wrong sizes must not cost memory
            decoder = SemanticDecoder(d, a, h, "sigmoid" if output == "sigmoid" else "unit_norm")
            networks = Encoder(d, a, z, h), Generator(z, a, d, h), Critic(d, a, h), Feedback(h), decoder
            self.networks = Networks(*networks)
        for name, network in self.networks.named_children():
            if name in SERVED:
                shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
                state = take_tensors(name, shapes, model.weights, where)
                network.to_empty(device=device).requires_grad_(False)
                network.load_state_dict(state)
        self.network_weights = {k: v for k, v in model.weights.items() if k.split(".")[0] in SERVED}
        self.width = d + (a + h if self.transform else 0)
        self.zsl_head = self._head("zsl_head", indices_of(~model.seen), model)
        self.gzsl = self._gzsl(model, s)
        self.model = self.base = model
        self.attributes = model.attributes.to(device)
        self.base_zsl_head, self.base_gzsl = self.zsl_head, self.gzsl

    def _head(self, name: str, classes: Tensor, model: Model) -> SoftmaxHead:
        k = len(classes)
        shapes: dict[str, tuple[int, ...]] = {"weight": (k, self.width), "bias": (k,), "classes": (k,)}
        state = take_tensors(name, shapes, model.weights, self.where)
        check_same_classes(name, state["classes"], classes, self.where)
        return self._with_rows(state)

    def _with_rows(self, state: dict[str, Tensor]) -> SoftmaxHead:
        head = replace(self.head_settings)
        head.load_state_dict({key: value.to(self.device) for key, value in state.items()})
        return head

    def _gzsl(self, model: Model, settings: JsonReader) -> SoftmaxHead | GatedClassifier | None:
        if settings.content.get("gate") is None:
            everything = torch.arange(len(model.class_names))
            return self._head("gzsl_head", everything, model) if "gzsl_head.weight" in model.weights else None
        gate = JsonReader(settings.member("gate"), f"{settings.where}gate.")
        rule = cast(ThresholdRule, gate.choice("rule", RULES))
        seen, hidden = indices_of(model.seen), gate.integer("hidden_dim")
        sizes = (self.width, hidden, hidden, len(seen))
        shapes: dict[str, tuple[int, ...]] = {f"{2 * i}.weight": (n, m) for i, (m, n) in enumerate(zip(sizes, sizes[1:]))}
        shapes |= {f"{2 * i}.bias": (n,) for i, n in enumerate(sizes[1:])} | {"classes": (len(seen),)}
        state = take_tensors("detector", shapes, model.weights, self.where)
        check_same_classes("detector", state["classes"], seen, self.where)
        detector = EntropyDetector(hidden_dim=hidden)
        detector.load_state_dict({key: value.to(self.device) for key, value in state.items()})
        detector.network_.requires_grad_(False)
        classifier = GatedClassifier(detector, self._head("seen_head", seen, model), self.zsl_head, rule)
        classifier.threshold_ = gate.number("threshold", 0, LARGEST_SCORE)
        return classifier

    @property
    def generalized(self) -> bool:
        """Whether there is a head over all classes, or a gate."""
        return self.gzsl is not None

    @property
    def weights(self) -> dict[str, Tensor]:
        """All tensors under the names of the model file."""
        heads: dict[str, SoftmaxHead | EntropyDetector] = {"zsl_head": self.zsl_head}
        if isinstance(self.gzsl, GatedClassifier):
            heads |= {"detector": self.gzsl.detector, "seen_head": self.gzsl.seen_head}
        elif self.gzsl is not None:
            heads["gzsl_head"] = self.gzsl
        return self.network_weights | {
            f"{name}.{key}": value for name, head in heads.items() for key, value in head.state_dict().items()
        }

    def as_stored(self, features: Tensor) -> Tensor:
        """Return the features: they are stored as they are."""
        return features

    def forward(self, features: Tensor) -> TfvaeganPass:
        """Look at scaled features (n, D)."""
        return TfvaeganPass(self, self._transformed(features))

    def _transformed(self, features: Tensor) -> Tensor:
        return transform(self.networks.decoder, features) if self.transform else features

    # ---- new classes ----------------------------------------------------------------------------------------------------

    def check_classes(self, model: Model) -> None:
        """Check that new rows can be trained against the seen classes, and within the memory.

        Raises:
            InputError: the model keeps no training features, or the synthesized ones would not fit in memory.
        """
        new = self._new_classes(model)
        if isinstance(self.gzsl, SoftmaxHead) and len(new) and model.train is None:
            raise InputError(
                "the model cannot learn new classes",
                where="the model file",
                found="no training features of seen classes",
                expected="some, which new classes are trained against",
                fix="Export it with --max_seen_per_class 100 or so.",
            )
        n_synthetic = int((~model.seen).sum()) * self.n_synthetic
        if len(new) and not fits(n_synthetic, 2 * self.width):
            raise InputError(
                "the synthesized features do not fit in memory",
                where="the classes",
                found=f"{n_synthetic:,} features of {self.width:,} numbers",
                expected="half of the free memory or less",
                fix="Add fewer classes, or train with a smaller --syn_num.",
            )

    def _new_classes(self, model: Model) -> Tensor:
        """Return the unseen classes (k,) that the model file does not have, or has with other attributes."""
        places = {name: place for place, name in enumerate(self.base.class_names)}
        return torch.tensor(
            [
                number
                for number, name in enumerate(model.class_names)
                if not model.seen[number]
                and not (name in places and np.array_equal(model.table[number], self.base.table[places[name]]))
            ],
            dtype=torch.int64,
        )

    def set_classes(self, model: Model) -> None:
        """Give the heads the model's classes: old ones keep their rows, new ones learn theirs."""
        self.check_classes(model)
        self.model, self.attributes = model, model.attributes.to(self.device)
        new, unseen = self._new_classes(model).to(self.device), indices_of(~model.seen).to(self.device)
        x, labels = self._synthetic(unseen if len(new) else new)
        self.zsl_head = self._extended(self.base_zsl_head, unseen, new, x, labels)
        if isinstance(self.base_gzsl, GatedClassifier):
            gate = self.base_gzsl
            self.gzsl = GatedClassifier(gate.detector, gate.seen_head, self.zsl_head, gate.rule)
            self.gzsl.threshold_ = gate.threshold_
        elif self.base_gzsl is not None:
            everything = torch.arange(len(model.class_names), device=self.device)
            if len(new) and model.train is not None:
                # Where only a share of the training samples was kept, as large a share of synthesized ones keeps the balance.
                n = self.n_synthetic
                kept = torch.arange(len(labels), device=self.device) % n < max(1, round(n * model.train_share))
                seen = self._transformed(model.train.features[:].to(self.device))
                x = torch.cat([seen, x[kept]])
                labels = torch.cat([model.train.labels.to(self.device), labels[kept]])
            self.gzsl = self._extended(self.base_gzsl, everything, new, x, labels)

    def _synthetic(self, classes: Tensor) -> tuple[Tensor, Tensor]:
        """Return transformed synthesized features of classes, with labels; those of a class depend on nothing else."""
        features = [torch.empty(0, self.width, device=self.device)]
        for number in classes.tolist():
            name, row = self.model.class_names[number], self.model.attributes[number]
            generator = stream(SEED, REFIT, _digest(name, row), self.device)
            one = torch.tensor([number], device=self.device)
            made = synthesize(self.networks, self.attributes, one, self.n_synthetic, self.feedback, generator)
            features.append(self._transformed(made.features[:]))
        return torch.cat(features), classes.repeat_interleave(self.n_synthetic)

    def _extended(self, base: SoftmaxHead, classes: Tensor, new: Tensor, x: Tensor, labels: Tensor) -> SoftmaxHead:
        """Return the head over `classes`, with the base's rows for the old ones and trained rows for the new ones."""
        places = {self.base.class_names[k]: row for row, k in enumerate(base.classes_.tolist())}
        old = classes[~torch.isin(classes, new)]
        rows = torch.tensor([places[self.model.class_names[k]] for k in old.tolist()], dtype=torch.int64, device=self.device)
        weight, bias = base.weight_[rows], base.bias_[rows]
        if len(new):
            new_weight, new_bias = self._train_rows(weight, bias, old, new, x, labels)
            weight, bias = torch.cat([weight, new_weight]), torch.cat([bias, new_bias])
        order = torch.cat([old, new]).argsort()
        return self._with_rows({"weight": weight[order], "bias": bias[order], "classes": classes.clone()})

    def _train_rows(
        self, weight: Tensor, bias: Tensor, old: Tensor, new: Tensor, x: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Train the rows of new classes by softmax cross-entropy over all classes, with the rows of old ones fixed.

        Args:
            weight: (k, width) of the old classes.
            bias: (k,) of the old classes.
            old: (k,) the old classes, ascending.
            new: (m,) the new classes, ascending.
            x: (n, width) samples of old and new classes.
            labels: (n,) their classes.

        Returns:
            Weight (m, width) and bias (m,) of the new classes.
        """
        settings, generator = self.head_settings, stream(SEED, REFIT, device=self.device)
        old_logits = x @ weight.T + bias
        old_total = torch.cat([old_logits, x.new_full((len(x), 1), -torch.inf)], dim=1).logsumexp(dim=1)
        is_new = torch.isin(labels, new)
        target = torch.zeros(len(x), device=x.device)
        target[~is_new] = old_logits[~is_new, torch.searchsorted(old, labels[~is_new])]
        column = torch.searchsorted(new, labels).clamp(max=len(new) - 1)
        new_weight = torch.randn(len(new), self.width, generator=generator, device=x.device).mul_(0.02).requires_grad_()
        new_bias = torch.zeros(len(new), device=x.device, requires_grad=True)
        adam = torch.optim.Adam([new_weight, new_bias], lr=settings.lr, betas=(0.5, 0.999))
        for _ in range(settings.epochs):
            for batch in torch.randperm(len(x), generator=generator, device=x.device).split(settings.batch_size):
                logits = x[batch] @ new_weight.T + new_bias
                total = torch.cat([old_total[batch, None], logits], dim=1).logsumexp(dim=1)
                own = torch.where(is_new[batch], logits.gather(1, column[batch, None]).squeeze(1), target[batch])
                loss = (total - own).mean()
                adam.zero_grad()
                loss.backward()
                adam.step()
        return new_weight.detach(), new_bias.detach()

    def copy(self) -> TfvaeganMethod:
        """Return a method with classes of its own; heads are replaced and never changed in place."""
        return copy.copy(self)


def indices_of(mask: object) -> Tensor:
    """Return the indices (k,) where a NumPy mask is true."""
    return torch.as_tensor(mask).nonzero().flatten()


def _digest(name: str, attributes: Tensor) -> int:
    """Return a number for a class that depends on its name and attributes alone."""
    return int.from_bytes(hashlib.sha256(name.encode() + attributes.numpy().tobytes()).digest()[:6], "big")
