"""A kept model at work, in scikit-learn's manner: pictures, videos or features in; classes, probabilities and reasons out.

    predictor = Predictor.load("birds.zsl")
    for prediction in predictor.predict(["photo.jpg", "folder"]):
        print(prediction.picture, prediction.top.name, prediction.top.probability)
    predictor.add_class("Red_capped_Parrot", {"red crown": 82, "hooked bill": 100, ...})  # by its attributes alone
    predictor.save("more_birds.zsl")

A model whose features came from videos takes videos, by their paths, wherever others take pictures: see `medium`.
A stream of any length is predicted in the memory of one batch, of videos in that of one video.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from zsl.app.methods import build_method
from zsl.app.model_file import Model, read_model, write_model
from zsl.app.tables import AttributeTable, read_attribute_table, table_from_mapping
from zsl.data.xlsa17 import Samples
from zsl.errors import InputError
from zsl.features.backbones import DESCRIPTOR, WHOLE, Backbone
from zsl.features.media import VIDEOS, Medium, medium_of
from zsl.runs.environment import resolve_device

Picture = Path | str | BinaryIO | Image.Image | np.ndarray
Row = Mapping[str, float] | Sequence[float] | np.ndarray


@dataclass(frozen=True)
class ClassScore:
    """A class and how probable the model holds it; `seen` tells whether it had training pictures."""

    name: str
    probability: float
    seen: bool


@dataclass(frozen=True)
class AttributeReason:
    """How an attribute speaks for the top class.

    Attributes:
        name: of the attribute.
        contribution: its part in the agreement between what is read off the picture and what the class should have; TF-VAEGAN:
            Dec(x)_i a_ki, DAZLE: a_ki q_i p_i.
        read: what the model reads off the picture, on the method's own scale (Dec(x)_i; p_i).
        value: the class's value on the scale of the author of the attribute table.
    """

    name: str
    contribution: float
    read: float
    value: float


@dataclass(frozen=True)
class Prediction:
    """What the model says of one picture; `error` is the only thing that an unreadable one has.

    Attributes:
        picture: its path or name; a video's, where the model takes videos.
        classes: the most probable ones, best first.
        attributes: reasons for the best class, strongest first; empty where the method has none.
        attention: for methods that look at regions: attribute -> (rows, columns) weights that sum to 1, for `attributes`.
        view: (left, top, right, bottom) of what the model saw, as fractions of the picture's width and height; attention
            lies over it.
        error: why the picture could not be read.
    """

    picture: str
    classes: list[ClassScore] = field(default_factory=list)
    attributes: list[AttributeReason] = field(default_factory=list)
    attention: dict[str, np.ndarray] = field(default_factory=dict)
    view: tuple[float, float, float, float] = WHOLE
    error: str | None = None

    @property
    def top(self) -> ClassScore | None:
        """The most probable class; None for an unreadable picture."""
        return self.classes[0] if self.classes else None

    def to_json(self) -> dict:
        """As JSON can hold it."""
        return {
            "picture": self.picture, "error": self.error, "classes": [vars(c) for c in self.classes],
            "attributes": [vars(a) for a in self.attributes],
            "attention": {name: np.round(map_, 5).tolist() for name, map_ in self.attention.items()},
            "view": list(self.view),
        }


class Predictor:
    """Classifies pictures and features with a kept model, and learns new classes from their attributes.

    Attributes:
        classes_: names of all classes; columns of every score table.
        seen_: (C,) bool.
        attribute_names, table: A names, and (C, A) values on the scale of the author of the attribute table.
        model: what the file holds besides: title, rows of the run's result, notes, config, origin.
    """

    def __init__(
        self, model: Model, *, device: str = "auto", weights: str | Path | None = None, where: object = "the model"
    ):
        """Args as for `load`; `where` names the model in messages."""
        self.model, self.where, self.device = model, where, resolve_device(device)
        self._method = build_method(model, where, self.device)
        self._stale = False  # whether classes have changed since the heads were fitted
        self._weights, self._backbone = weights, None

    @classmethod
    def load(cls, path: str | Path, device: str = "auto", weights: str | Path | None = None) -> Predictor:
        """Opens a model file. Nothing in it is run as code.

        Args:
            device: "auto", "cpu", "cuda" or "cuda:N".
            weights: file with the backbone's weights, or "default" to have them downloaded; needed for pictures only, and
                only where the model file does not hold them.

        Raises:
            InputError: the file is missing, damaged or no model.
        """
        return cls(read_model(Path(path)), device=device, weights=weights, where=path)

    def save(self, path: str | Path) -> None:
        """Writes the model with its classes as they are now."""
        self._refit()
        settings = self.model.settings
        if settings.get("gate"):
            settings = settings | {"gate": settings["gate"] | {"threshold": self._method.threshold}}
        state = {k: v.detach().cpu() for k, v in self._method.weights.items()}
        write_model(Path(path), replace(self.model, settings=settings, weights=state))

    def copy(self) -> Predictor:
        """One whose classes may be changed without changing this one's; backbone and networks are shared."""
        twin = copy.copy(self)
        twin._method = self._method.copy()
        return twin

    # ---- what it knows ------------------------------------------------------------------------------------------------

    @property
    def classes_(self) -> list[str]:
        return self.model.class_names

    @property
    def seen_(self) -> np.ndarray:
        return self.model.seen

    @property
    def attribute_names(self) -> list[str]:
        return self.model.attribute_names

    @property
    def table(self) -> np.ndarray:
        return self.model.table

    @property
    def attribute_table(self) -> AttributeTable:
        """All classes with their attributes on the author's scale."""
        return AttributeTable(list(self.classes_), list(self.attribute_names), self.table.copy(), "the model")

    @property
    def generalised(self) -> bool:
        """Whether seen and unseen classes can be told apart; otherwise it chooses among unseen ones only."""
        return self._method.generalised

    @property
    def medium(self) -> Medium:
        """What the model looks at, pictures or videos.

        Raises:
            InputError: features only, since nobody knows what made them.
        """
        if self.model.backbone is None:
            raise InputError(
                "a model that takes features only", where=self.where, found="no backbone", expected="a known one",
                cure="Pass features to predict_features, or export the run again: with --backbone; or, for a model of videos, "
                     "after making its features again with zero-shot-actions/extract_features.py, which notes the backbone.",
            )
        return medium_of(self.model.backbone["spec"])

    @property
    def backbone(self) -> Backbone:
        """The network that turns pictures or videos into features; loaded when first needed.

        Raises:
            InputError: the model does not know it, or its weights are not at hand or are others than in training.
        """
        if self._backbone is None:
            self._backbone = self._load_backbone()
        return self._backbone

    def _load_backbone(self) -> Backbone:
        medium, about = self.medium, self.model.backbone
        spec = medium.spec.from_json(about["spec"])
        weights = self._weights or self.model.backbone_weights or (spec.name == DESCRIPTOR and "default")
        if not weights:
            raise InputError(
                "a model file without its backbone's weights", where=self.where, found=f"{spec.name}, {about['weights']}",
                expected="the weights that the features were made with",
                cure="Pass --weights FILE, or --weights default to have them downloaded; or export the run again with them.",
            )
        backbone = medium.load_backbone(spec, weights, device=self.device)
        if about["digest"] and backbone.digest != about["digest"]:
            raise InputError(
                "other weights than those of training", where=self._weights or self.where, found=f"digest {backbone.digest}",
                expected=f"{about['digest']} ({about['weights']})", cure="Use the very weights that made the features.",
            )
        return backbone

    # ---- features ---------------------------------------------------------------------------------------------------

    def decision_function(self, features: np.ndarray, *, unseen_only: bool = False, calibration: float = 0.0) -> np.ndarray:
        """(n, D) features as the backbone gives them -> (n, C) float32 scores; -inf: out of the question.

        Args:
            unseen_only: choose among unseen classes only (zero-shot), instead of all (generalised).
            calibration: is subtracted from the scores of the seen classes, which every model favours.

        Raises:
            InputError: features of another shape or not finite, or the model cannot choose among all classes.
        """
        (scores,) = self.decision_functions(features, [unseen_only], calibration=calibration)
        return scores

    def decision_functions(
        self, features: np.ndarray, unseen_only: Sequence[bool], *, calibration: float = 0.0
    ) -> list[np.ndarray]:
        """`decision_function` for each choice in `unseen_only`, of features that are looked at once for all of them."""
        features = self._check_features(features)
        for only in unseen_only:
            self._check_choice(only)
        parts: list[list[Tensor]] = [[] for _ in unseen_only]
        for chunk in torch.from_numpy(features).split(self._method.chunk):
            if len(chunk):  # no samples are split into one part without any
                view = self._view(chunk)
                for found, only in zip(parts, unseen_only, strict=True):
                    found.append(self._method.scores(view, only, calibration))
        none = np.zeros((0, len(self.classes_)), dtype=np.float32)
        return [torch.cat(found).cpu().numpy() if found else none for found in parts]

    def predict_proba(self, features: np.ndarray, *, unseen_only: bool = False, calibration: float = 0.0) -> np.ndarray:
        """(n, D) features -> (n, C) probabilities, columns as `classes_`; see `decision_function`."""
        scores = self.decision_function(features, unseen_only=unseen_only, calibration=calibration)
        return torch.from_numpy(scores).softmax(dim=1).numpy()

    def predict_features(self, features: np.ndarray, *, unseen_only: bool = False, calibration: float = 0.0) -> np.ndarray:
        """(n, D) features -> (n,) names of classes; see `decision_function`."""
        scores = self.decision_function(features, unseen_only=unseen_only, calibration=calibration)
        return np.array(self.classes_)[scores.argmax(axis=1)]

    def _check_features(self, features: np.ndarray) -> np.ndarray:
        features = np.asarray(features)
        wide = self.feature_shape
        if features.ndim != 1 + len(wide) or features.shape[1:] != wide or features.dtype.kind not in "fiu":
            raise InputError(
                "features of another shape", where="the features", found=f"{features.dtype} {features.shape}",
                expected=f"numbers (n, {', '.join(map(str, wide))})", cure="Use features of the backbone of training.",
            )
        if not np.isfinite(features).all():
            raise InputError("features contain NaN or infinity", where="the features", found="such values",
                             expected="finite numbers", cure="Extract them again.")
        return np.ascontiguousarray(features, dtype=np.float32)

    @property
    def feature_shape(self) -> tuple[int, ...]:
        """Of one sample's features: (D,), or (D, rows, columns) for methods that look at regions."""
        return self._method.feature_shape

    def _check_choice(self, unseen_only: bool) -> None:
        self._refit()
        if not unseen_only and not self.generalised:
            raise InputError(
                "a model for unseen classes only", where=self.where, found="no head over all classes",
                expected="unseen_only", cure="Ask for unseen classes only (--zsl), or train with --gzsl.",
            )

    def _view(self, features: Tensor):
        scaling = self.model.scaling
        if scaling is not None:
            features = torch.from_numpy(scaling(features.numpy()))
        return self._method.view(features.to(self.device))

    # ---- pictures and videos ------------------------------------------------------------------------------------------

    def predict(
        self,
        pictures: Picture | Iterable[Picture],
        *,
        batch_size: int = 32,
        unseen_only: bool = False,
        calibration: float = 0.0,
        top: int = 5,
        attributes: int = 8,
    ) -> Iterator[Prediction]:
        """Predictions of pictures or videos, in their order and as they come; a folder stands for all of them in it.

        An unreadable one, or one of the other kind, gives a prediction with an error and does not stop the others.

        Args:
            pictures: one, or a possibly endless stream: paths, open streams, PIL images, arrays; of videos paths alone.
                Never more than a batch is held at a time.
            batch_size: pictures that go through the networks together; changes speed and memory only. Videos go one by one.
            unseen_only, calibration: as for `decision_function`.
            top: how many classes a prediction lists.
            attributes: how many reasons it gives.

        Raises:
            InputError: at the call, not when the first prediction is asked for: the model takes features only, or cannot
                choose among all classes; later, a folder without pictures.
        """
        if batch_size < 1:
            raise InputError("a number too small", where="batch_size", found=batch_size, expected="at least 1",
                             cure="Pass 1 or more.")
        self._check_choice(unseen_only)
        _ = self.backbone
        if isinstance(pictures, str | Path | Image.Image | np.ndarray) or hasattr(pictures, "read"):
            pictures = [pictures]
        batch_size = 1 if self.medium is VIDEOS else batch_size
        return self._predictions(iter(pictures), batch_size, unseen_only, calibration, top, attributes)

    def _predictions(self, pictures, batch_size, unseen_only, calibration, top, attributes) -> Iterator[Prediction]:
        named = self._named(pictures)
        while batch := list(islice(named, batch_size)):
            results: list[Prediction | None] = []
            prepared, views = [], []
            for name, picture in batch:
                try:
                    inputs, view = self.backbone.read(picture)
                except InputError as error:
                    results.append(Prediction(name, error=str(error)))
                    continue
                prepared.append(inputs)
                views.append(view)
                results.append(None)
                del inputs
            if prepared:
                stacked = torch.stack(prepared) if len(prepared) > 1 else prepared[0][None]  # a video is not copied
                described = iter(self._describe(stacked, unseen_only, calibration, top, attributes))
                del stacked
            for (name, _), result in zip(batch, results, strict=True):
                if result is None:
                    classes, reasons, attention = next(described)
                    result = Prediction(name, classes, reasons, attention, views.pop(0))
                yield result

    def _named(self, pictures: Iterator[Picture]) -> Iterator[tuple[str, Picture]]:
        """Every picture or video with its name; folders are opened up."""
        for number, picture in enumerate(pictures, start=1):
            if isinstance(picture, str | Path):
                if Path(picture).is_dir():
                    yield from ((str(path), path) for path in self.medium.find([picture]))
                else:
                    yield str(picture), picture
            else:
                name = getattr(picture, "filename", None) or getattr(picture, "name", None)
                yield (str(name) if name else f"{self.medium.name} {number}"), picture

    def _describe(
        self, batch: Tensor, unseen_only: bool, calibration: float, top: int, n_reasons: int
    ) -> list[tuple[list[ClassScore], list[AttributeReason], dict[str, np.ndarray]]]:
        """Ranked classes, reasons and attention of prepared pictures."""
        pooled, regions = self.backbone.features(batch)
        features = self._method.rounded(regions if self._method.uses_regions else pooled)
        if tuple(features.shape[1:]) != self.feature_shape:
            raise InputError(
                "a backbone of another shape", where=self.where, found=f"features {tuple(features.shape[1:])}",
                expected=self.feature_shape, cure="The model's description of its backbone is wrong; export it again.",
            )
        view = self._view(features)
        scores = self._method.scores(view, unseen_only, calibration)
        explained = self._method.contributions(view, scores.argmax(dim=1))
        maps = self._method.attention(view)
        # From here on single numbers are looked at, which a GPU would hand over one by one.
        scores, maps = scores.cpu(), maps if maps is None else maps.cpu()
        explained = explained and [part.cpu() for part in explained]
        best, order = scores.softmax(dim=1).topk(min(top, scores.shape[1]), dim=1)
        found = []
        for row, (probabilities, columns) in enumerate(zip(best.tolist(), order.tolist(), strict=True)):
            allowed = torch.isfinite(scores[row, columns]).tolist()
            classes = [ClassScore(self.classes_[c], p, bool(self.seen_[c]))
                       for c, p, ok in zip(columns, probabilities, allowed) if ok]
            reasons, attention = [], {}
            if explained is not None and classes:
                contribution, read = explained[0][row], explained[1][row]
                strongest = contribution.topk(min(n_reasons, len(contribution))).indices.tolist()
                k = int(scores[row].argmax())
                reasons = [AttributeReason(self.attribute_names[i], contribution[i].item(), read[i].item(),
                                           float(self.table[k, i])) for i in strongest]
                if maps is not None:
                    attention = {self.attribute_names[i]: maps[row, i].numpy() for i in strongest}
            found.append((classes, reasons, attention))
        return found

    # ---- new classes --------------------------------------------------------------------------------------------------

    def add_class(self, name: str, attributes: Row) -> Predictor:
        """Adds an unseen class, known by its attributes alone; returns self.

        What follows from it (features synthesised, heads fitted anew; the generator is not trained again) is done when
        the next prediction is asked for, once for all classes added until then.

        Args:
            attributes: {attribute: value} or a row in the order of `attribute_names`, on the scale of `table`.

        Raises:
            InputError: the name is taken, or attributes are missing, unknown or not numbers.
        """
        return self._add(table_from_mapping({name: attributes}, self.attribute_names))

    def add_classes(self, csv: str | Path | AttributeTable) -> Predictor:
        """`add_class` for every row of a CSV (class, then a column for each attribute, in any order)."""
        table = csv if isinstance(csv, AttributeTable) else read_attribute_table(Path(csv))
        return self._add(table)

    def set_attributes(self, table: Mapping[str, Row] | AttributeTable | str | Path) -> Predictor:
        """Replaces the attributes of classes that the model has; returns self. Arguments as for `add_class(es)`."""
        if isinstance(table, Mapping):
            table = table_from_mapping(table, self.attribute_names)
        elif not isinstance(table, AttributeTable):
            table = read_attribute_table(Path(table))
        values = self.table.copy()
        place = {name: row for row, name in enumerate(self.classes_)}
        strange = [name for name in table.class_names if name not in place]
        if strange:
            raise InputError("an unknown class", where=table.source, found=repr(strange[0]),
                             expected="classes of the model", cure="Add it as a new class.")
        values[[place[name] for name in table.class_names]] = table.columns(self.attribute_names)
        return self._change(self.classes_, self.seen_, values, table.source)

    def remove_class(self, name: str) -> Predictor:
        """Takes an unseen class out; returns self.

        Raises:
            InputError: there is no such class, it is a seen one, or it is the last unseen one.
        """
        if name not in self.classes_ or self.seen_[self.classes_.index(name)] or (~self.seen_).sum() < 2:
            raise InputError("a class that cannot be removed", where="the classes", found=repr(name),
                             expected="one of at least two unseen classes", cure="Name another class.")
        at = self.classes_.index(name)
        keep = np.arange(len(self.classes_)) != at
        train = self.model.train and Samples(
            self.model.train.features, self.model.train.labels - (self.model.train.labels > at).long()
        )
        names = [each for each in self.classes_ if each != name]
        return self._change(names, self.seen_[keep], self.table[keep], "the classes", train)

    def _add(self, table: AttributeTable) -> Predictor:
        taken = [name for name in table.class_names if name in set(self.classes_)]
        if taken:
            raise InputError("a class that exists already", where=table.source, found=repr(taken[0]),
                             expected="a new name", cure="Choose another name, or change that class's attributes instead.")
        values = np.concatenate([self.table, table.columns(self.attribute_names)])
        seen = np.concatenate([self.seen_, np.zeros(len(table.class_names), dtype=bool)])
        return self._change([*self.classes_, *table.class_names], seen, values, table.source)

    def _change(
        self, names: list[str], seen: np.ndarray, table: np.ndarray, source: str, train: Samples | None = None
    ) -> Predictor:
        attributes = torch.from_numpy(self.model.attribute_scale.apply(table, names, source))
        changed = replace(self.model, class_names=list(names), seen=seen, table=table, attributes=attributes,
                          train=train or self.model.train)
        self._method.check_refit(changed)
        self.model, self._stale = changed, True
        return self

    def _refit(self) -> None:
        if self._stale:
            self._method.refit(self.model)
            self._stale = False
