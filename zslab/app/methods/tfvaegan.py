"""An exported TF-VAEGAN: softmax heads over [x, Dec(x), h(x)], which learn a row for each new class.

A head's rows for the classes that the model file holds never change. For a new class, features are synthesized from its
attributes, and one more row is trained against the old ones. So adding a class leaves all other scores as they were, and
removing it restores the model exactly.
"""

import hashlib
from dataclasses import replace
from typing import Annotated, Literal

import msgspec
import numpy as np
import torch
from msgspec import Meta
from torch import Tensor

from zslab.app.methods.base import Output, RunParts, Served, with_samples
from zslab.app.model_file import Model, Positive
from zslab.data.dataset import Dataset
from zslab.errors import InputError
from zslab.shared.gate import EntropyDetector, ThresholdRule
from zslab.shared.heads import SoftmaxHead
from zslab.shared.wgan import Critic, Generator
from zslab.tfvaegan.networks import Encoder, Feedback, Networks, SemanticDecoder
from zslab.tfvaegan.synthesis import synthesize, transform
from zslab.utils.seeds import REFIT, stream

SEED = 20_20  # new rows are a function of the model and its classes
SERVED = ("generator", "feedback", "decoder")  # the other networks serve training only
HEADS = ("zsl_head", "gzsl_head", "seen_head")  # over unseen classes, over all, over seen ones behind a gate


class Gate(msgspec.Struct):
    """How a detector tells samples of seen classes: by an entropy below `threshold`, in nats."""

    rule: ThresholdRule
    hidden_dim: Positive
    threshold: Annotated[float, Meta(ge=0)]


class TfvaeganServed(Served):
    """Networks, and heads by name: "zsl_head", and for all classes "gzsl_head" or, behind a gate's detector, "seen_head"."""

    class Settings(msgspec.Struct):
        """Sizes of the networks, and how synthesis and heads learn a new class."""

        feature_dim: Positive
        latent_dim: Positive
        hidden_dim: Positive
        decoder_output: Literal["unit_norm", "sigmoid"]
        decoder_trained: bool
        transform: bool
        feedback_synthesis: Annotated[float, Meta(ge=0, le=1000)] | None
        n_synthetic: Annotated[int, Meta(ge=1, le=10_000)]  #: the papers take 300 to 2,400
        head_lr: Annotated[float, Meta(gt=0, le=10)]
        head_epochs: Annotated[int, Meta(ge=1, le=1000)]  #: the papers take 25 to 50
        head_batch_size: Positive
        gate: Gate | None = None

    @classmethod
    def of_run(cls, model: Model, dataset: Dataset, run: RunParts) -> Model:
        """See `Served.of_run`."""
        tensors, config, threshold = run.tensors, run.config, run.gate_threshold
        hidden_dim, feature_dim = tensors["decoder.hidden.weight"].shape
        settings = cls.Settings(
            feature_dim=feature_dim,
            hidden_dim=hidden_dim,
            latent_dim=tensors["generator.hidden.weight"].shape[1] - len(tensors["decoder.attributes.bias"]),
            decoder_output="sigmoid" if config["bce_att"] else "unit_norm",
            decoder_trained=config["recons_weight"] != 0,
            transform=config["transform"],
            feedback_synthesis=None if config["feedback_loop"] == 1 else config["a2"],
            n_synthetic=config["syn_num"],
            head_lr=config["classifier_lr"],
            head_epochs=config["classifier_epochs"],
            head_batch_size=config["syn_num"],
            gate=None if threshold is None else Gate(config["ood_threshold"], config["ood_hidden"], threshold),
        )
        served = (*SERVED, *HEADS, "detector")
        return msgspec.structs.replace(
            with_samples(model, dataset, run.max_seen_per_class),
            settings=msgspec.to_builtins(settings),
            weights={k: v for k, v in tensors.items() if k.split(".")[0] in served and not k.endswith(".classes")},
        )

    def build(self, model: Model) -> None:
        """Build the networks that synthesis and heads need, and load their weights and those of the heads."""
        s, a = self.settings, len(model.attribute_names)
        d, h, z = s.feature_dim, s.hidden_dim, s.latent_dim
        self.check_scaling(model, d)
        self.head_settings = SoftmaxHead(lr=s.head_lr, epochs=s.head_epochs, batch_size=s.head_batch_size)
        with torch.device("meta"):
            decoder = SemanticDecoder(d, a, h, s.decoder_output)
            self.networks = Networks(Encoder(d, a, z, h), Generator(z, a, d, h), Critic(d, a, h), Feedback(h), decoder)
        for name, network in self.networks.named_children():
            if name in SERVED:
                self.load(network, f"{name}.")
        self.base, self.feature_shape, self.width = model, (d,), d + (a + h if s.transform else 0)
        seen = torch.from_numpy(model.seen)
        over = {"zsl_head": indices_of(~seen)}
        if s.gate or "gzsl_head.weight" in self.weights:
            over |= {"seen_head": indices_of(seen)} if s.gate else {"gzsl_head": torch.arange(len(seen))}
        self.base_heads = {}
        for name, classes in over.items():
            expected = {"weight": torch.empty(len(classes), self.width, device="meta"), "bias": torch.empty(len(classes))}
            self.base_heads[name] = self._head(**self.take(expected, f"{name}."), classes=classes.to(self.device))
        self.generalized = len(self.base_heads) > 1
        self.detector = self._detector(int(seen.sum())) if s.gate else None

    def _head(self, **state: Tensor) -> SoftmaxHead:
        head = replace(self.head_settings)
        head.load_state_dict(state)
        return head

    def _detector(self, n_seen: int) -> EntropyDetector:
        hidden = self.settings.gate.hidden_dim
        sizes = (self.width, hidden, hidden, n_seen)
        expected = {f"{2 * i}.weight": torch.empty(n, m, device="meta") for i, (m, n) in enumerate(zip(sizes, sizes[1:]))}
        expected |= {f"{2 * i}.bias": torch.empty(n, device="meta") for i, n in enumerate(sizes[1:])}
        detector = EntropyDetector(hidden_dim=hidden)
        detector.load_state_dict(self.take(expected, "detector.") | {"classes": torch.arange(n_seen, device=self.device)})
        detector.network_.requires_grad_(False)
        return detector

    @torch.no_grad()
    def forward(self, features: Tensor, unseen_only: bool | None = None) -> Output:
        """Look at scaled features (n, D); a gate leaves -inf on the side that it rules out."""
        x, (_, *others) = self.transformed(features), self.heads
        every = self._scores(x, others[0]) if others and not unseen_only else None
        unseen = self._scores(x, "zsl_head") if every is None or self.detector or unseen_only is None else None
        if self.detector is not None and every is not None and unseen is not None:
            is_seen = self.detector.entropy(x) < self.settings.gate.threshold
            every = torch.where(is_seen[:, None], every, unseen)
        d, read = self.settings.feature_dim, None
        if self.settings.decoder_trained:  # Dec(x)_i a_ki sum to the agreement of Dec(x) with class k
            read = x[:, d : d + self.attributes.shape[1]] if self.settings.transform else self.networks.decoder(x)[0]
        return Output(unseen, every, read)

    def _scores(self, x: Tensor, head: str) -> Tensor:
        scores = x.new_full((len(x), len(self.is_seen)), -torch.inf)
        scores[:, self.heads[head].classes_] = self.heads[head].scores(x)
        return scores

    def transformed(self, features: Tensor) -> Tensor:
        """Return what heads classify (n, width) of scaled features (n, D)."""
        return transform(self.networks.decoder, features) if self.settings.transform else features

    def check_classes(self, model: Model) -> None:
        """Check that new rows can be trained against the seen classes."""
        new = self._new_classes(model)
        if "gzsl_head" in self.base_heads and len(new) and model.train is None:
            must = "the model must hold training features of seen classes, which new classes are trained against"
            raise InputError(must, where="the model file", got="none", fix="Export it with --max_seen_per_class 100 or so.")

    def _new_classes(self, model: Model) -> Tensor:
        """Return the unseen classes (k,) that the model file does not have, or has with other attributes."""
        places = {name: place for place, name in enumerate(self.base.class_names)}
        known = [
            name in places and np.array_equal(model.table[number], self.base.table[places[name]])
            for number, name in enumerate(model.class_names)
        ]
        return indices_of(~(torch.from_numpy(model.seen) | torch.tensor(known)))

    def set_classes(self, model: Model) -> None:
        """Give the heads the model's classes: old ones keep their rows, new ones learn theirs."""
        super().set_classes(model)
        self.model, self.heads = model, self.base_heads
        if model is self.base:
            return
        self.check_classes(model)
        new, unseen, seen = self._new_classes(model).to(self.device), indices_of(~self.is_seen), indices_of(self.is_seen)
        x, labels = self._synthetic(unseen if len(new) else new)
        self.heads = {"zsl_head": self._extended("zsl_head", unseen, new, x, labels)}
        if "seen_head" in self.base_heads:
            self.heads["seen_head"] = self._extended("seen_head", seen, new[:0], x, labels)
        if "gzsl_head" in self.base_heads:
            if len(new):
                # Where only a share of the training samples was kept, as large a share of synthesized ones keeps the balance.
                n = self.settings.n_synthetic
                kept = torch.arange(len(labels), device=self.device) % n < max(1, round(n * model.train_share))
                x = torch.cat([self.transformed(model.train.features[:].to(self.device)), x[kept]])
                labels = torch.cat([model.train.labels.to(self.device), labels[kept]])
            self.heads["gzsl_head"] = self._extended(
                "gzsl_head", torch.arange(len(seen) + len(unseen)).to(seen), new, x, labels
            )
        rows = {f"{name}.{part}": getattr(head, f"{part}_") for name, head in self.heads.items() for part in ("weight", "bias")}
        self.weights = self.weights | rows

    def synthesize(self, classes: Tensor, n: int, generator: torch.Generator) -> Tensor:
        """See `Served.synthesize`."""
        return synthesize(self.networks, self.attributes, classes, n, self.settings.feedback_synthesis, generator).features[:]

    def _synthetic(self, classes: Tensor) -> tuple[Tensor, Tensor]:
        """Return transformed synthesized features of classes, with labels; those of a class depend on nothing else."""
        features = [torch.empty(0, self.width, device=self.device)]
        for number in classes.tolist():
            name, row = self.model.class_names[number], self.model.attributes[number]
            digest = hashlib.sha256(name.encode() + row.numpy().tobytes()).digest()
            generator = stream(SEED, REFIT, int.from_bytes(digest[:6], "big"), self.device)
            one = torch.tensor([number], device=self.device)
            features.append(self.transformed(self.synthesize(one, self.settings.n_synthetic, generator)))
        return torch.cat(features), classes.repeat_interleave(self.settings.n_synthetic)

    def _extended(self, name: str, classes: Tensor, new: Tensor, x: Tensor, labels: Tensor) -> SoftmaxHead:
        """Return a head over `classes`, with the model file's rows for the old ones and trained rows for the new ones."""
        base = self.base_heads[name]
        places = {self.base.class_names[k]: row for row, k in enumerate(base.classes_.tolist())}
        old = classes[~torch.isin(classes, new)]
        rows = torch.tensor([places[self.model.class_names[k]] for k in old.tolist()], dtype=torch.int64, device=self.device)
        head = self._head(weight=base.weight_[rows], bias=base.bias_[rows], classes=old)
        return head.extended(x, labels, new, stream(SEED, REFIT, device=self.device)) if len(new) else head


def indices_of(mask: object) -> Tensor:
    """Return the indices (k,) where a NumPy mask is true."""
    return torch.as_tensor(mask).nonzero().flatten()
