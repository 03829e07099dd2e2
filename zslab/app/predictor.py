"""An exported model at work, in scikit-learn's manner: images, videos or features in; classes, probabilities and reasons out.

    predictor = Predictor.load("birds.zsl")
    for prediction in predictor.predict(["photo.jpg", "folder"]):
        print(prediction.image, prediction.error or prediction.top.name)

A model whose features came from videos takes paths of videos wherever others take images. A stream of any length is predicted
in the memory of one batch, of videos in that of one video.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from zslab.app.attribute_table import AttributeTable, Row, read_attribute_table, table_from_mapping, with_clean_names
from zslab.app.class_changes import text_record, unusual_values, with_attributes, with_classes, without_class
from zslab.app.hub import find_model
from zslab.app.inputs import ImageInput, Source, sources
from zslab.app.methods.base import ForwardPass, check_features, checked_scores
from zslab.app.methods.build import build_method
from zslab.app.model_backbone import load_model_backbone, model_modality
from zslab.app.model_file import Model, read_model, write_model
from zslab.app.prediction import Prediction, Question, View, describe
from zslab.errors import InputError
from zslab.features.backbones import Backbone
from zslab.features.modality import VIDEOS, Modality
from zslab.features.text import Encode, TextRecord
from zslab.utils.environment import resolve_device

Table = AttributeTable | Mapping[str, Row] | Mapping[str, str] | str | Path


class UnusualAttributesWarning(UserWarning):
    """Attributes of a class lie far outside the range of the model's classes."""


class Predictor:
    """Classifies images and features with an exported model, and learns new classes from their attributes.

    Attributes:
        model: what the file holds: title, rows of the run's result, notes, config, origin.
        where: names the model in messages.
        device: where networks run.

    Example:
        >>> predictor = Predictor.load("dazle.zsl")
        >>> prediction = next(predictor.predict(["images/001.Black_crested_Creeper/0.png"]))
        >>> prediction.top.name, prediction.top.seen
        ('001.Black_crested_Creeper', True)
    """

    def __init__(
        self,
        model: Model,
        *,
        device: str = "auto",
        weights: str | Path | None = None,
        text_source: str | None = None,
        where: object = "the model",
    ):
        """Args as for `load`; `where` names the model in messages."""
        self.model, self.where, self.device = model, where, resolve_device(device)
        self._method = build_method(model, where, self.device)
        self._stale = False  # whether classes have changed since the method took them over
        self._weights = weights
        self._backbone: Backbone | None = None
        self._text_source = text_source
        self._encode: Encode | None = None

    @classmethod
    def load(
        cls, path: str | Path, device: str = "auto", weights: str | Path | None = None, text_source: str | None = None
    ) -> Predictor:
        """Open a model file. Nothing in it is run as code.

        Args:
            path: written by `zslab export` or `save`.
            device: "auto", "cpu", "cuda" or "cuda:N".
            weights: file with the backbone's weights, or "default" to have them downloaded; needed for images only, and
                only where the model file does not hold them.
            text_source: where the text encoder of the class vectors lies, if not where the model file says.

        Raises:
            InputError: the file is missing, damaged or no model.
        """
        return cls(read_model(Path(path)), device=device, weights=weights, text_source=text_source, where=path)

    @classmethod
    def from_pretrained(cls, name: str | Path, revision: str | None = None, **options: str | Path | None) -> Predictor:
        """Open a shared model by name; `zslab push` shares one.

        Args:
            name: "user/name" on the Hugging Face Hub, a folder, or a model file.
            revision: branch, tag or commit on the Hub.
            options: device, weights and text_source, as for `load`.

        Raises:
            InputError: there is no such model, or the Hub cannot be reached.
        """
        return cls.load(find_model(name, revision), **options)  # type: ignore[arg-type]

    def save(self, path: str | Path) -> None:
        """Write the model with its classes as they are now."""
        self._update()
        state = {name: value.detach().cpu() for name, value in self._method.weights.items()}
        write_model(Path(path), replace(self.model, weights=state))

    def copy(self) -> Predictor:
        """Return a predictor whose classes may be changed without changing this one's; networks are shared."""
        twin = copy.copy(self)
        twin._method = self._method.copy()
        return twin

    # ---- what it knows ------------------------------------------------------------------------------------------------

    @property
    def classes_(self) -> list[str]:
        """Names of all C classes; columns of every score table."""
        return self.model.class_names

    @property
    def seen_(self) -> np.ndarray:
        """Which classes (C,) had training samples."""
        return self.model.seen

    @property
    def attribute_names(self) -> list[str]:
        """Names of the A attributes."""
        return self.model.attribute_names

    @property
    def table(self) -> np.ndarray:
        """Attributes (C, A) on the scale of the author of the attribute table."""
        return self.model.table

    @property
    def attribute_table(self) -> AttributeTable:
        """All classes with their attributes on the author's scale."""
        return AttributeTable(list(self.classes_), list(self.attribute_names), self.table.copy(), "the model")

    @property
    def text_encoder(self) -> TextRecord | None:
        """How the class vectors came from text, so that `add_described` works; None where they did not."""
        return self.model.text

    @property
    def generalized(self) -> bool:
        """Whether seen and unseen classes can be told apart; otherwise it chooses among unseen ones only."""
        return self._method.generalized

    @property
    def modality(self) -> Modality:
        """What the model looks at, images or videos.

        Raises:
            InputError: the model takes features only, because nothing says what made them.
        """
        return model_modality(self.model, self.where)

    @property
    def backbone(self) -> Backbone:
        """The network that turns images or videos into features; loaded when first needed.

        Raises:
            InputError: the model does not know it, or its weights are missing or differ from those of training.
        """
        if self._backbone is None:
            self._backbone = load_model_backbone(self.model, self._weights, self.device, self.where)
        return self._backbone

    # ---- features ---------------------------------------------------------------------------------------------------

    @property
    def feature_shape(self) -> tuple[int, ...]:
        """Shape of one sample's features: (D,), or (D, rows, columns) for methods that look at regions."""
        return self._method.feature_shape

    def decision_function(self, features: np.ndarray, *, unseen_only: bool = False, calibration: float = 0.0) -> np.ndarray:
        """Return class scores (n, C) float32; -inf for classes that are out of the question.

        Args:
            features: (n, *feature_shape) as the backbone gives them.
            unseen_only: choose among unseen classes only (zero-shot), instead of all (generalized).
            calibration: is subtracted from the scores of the seen classes, which every model favors.

        Raises:
            InputError: features of another shape or not finite, or the model cannot choose among all classes.
        """
        return self.decision_functions(features, [unseen_only], calibration=calibration)[0]

    def decision_functions(
        self, features: np.ndarray, unseen_only: Sequence[bool], *, calibration: float = 0.0
    ) -> list[np.ndarray]:
        """Return `decision_function` for each choice in `unseen_only`, with one forward pass for all of them."""
        features = check_features(features, self.feature_shape)
        for only in unseen_only:
            self._check_choice(only)
        parts: list[list[Tensor]] = [[] for _ in unseen_only]
        for start in range(0, len(features), self._method.chunk):
            seen = self._forward(torch.from_numpy(features[start : start + self._method.chunk]))
            for part, only in zip(parts, unseen_only):
                part.append(checked_scores(seen, only, calibration))
        none = np.zeros((0, len(self.classes_)), dtype=np.float32)
        return [torch.cat(part).cpu().numpy() if part else none for part in parts]

    def predict_proba(self, features: np.ndarray, *, unseen_only: bool = False, calibration: float = 0.0) -> np.ndarray:
        """Return probabilities (n, C) of features (n, *feature_shape), columns as `classes_`; see `decision_function`."""
        scores = self.decision_function(features, unseen_only=unseen_only, calibration=calibration)
        probabilities: np.ndarray = torch.from_numpy(scores).softmax(dim=1).numpy()
        return probabilities

    def predict_features(self, features: np.ndarray, *, unseen_only: bool = False, calibration: float = 0.0) -> np.ndarray:
        """Return the names (n,) of the best classes of features (n, *feature_shape); see `decision_function`."""
        scores = self.decision_function(features, unseen_only=unseen_only, calibration=calibration)
        names: np.ndarray = np.array(self.classes_)[scores.argmax(axis=1)]
        return names

    def _check_choice(self, unseen_only: bool) -> None:
        self._update()
        if not unseen_only and not self.generalized:
            raise InputError(
                "the model chooses among unseen classes only",
                where=self.where,
                found="no head over all classes",
                expected="unseen_only",
                fix="Ask for unseen classes only (--zsl), or train with --gzsl.",
            )

    def _forward(self, features: Tensor) -> ForwardPass:
        scaling = self.model.scaling
        if scaling is not None:
            features = torch.from_numpy(scaling(features.numpy()))
        return self._method.forward(features.to(self.device))

    # ---- images and videos ------------------------------------------------------------------------------------------

    def predict(
        self,
        images: ImageInput | Iterable[ImageInput],
        *,
        batch_size: int = 32,
        unseen_only: bool = False,
        calibration: float = 0.0,
        top: int = 5,
        attributes: int = 8,
    ) -> Iterator[Prediction]:
        """Yield predictions of images or videos, in their order and as they come.

        An unreadable one, or one of the other kind, gives a prediction with an error and does not stop the others.

        Args:
            images: one input or a possibly endless stream of them: paths, folders (for all files below), bytes, file objects,
                PIL images, arrays, tensors, as `zslab.app.inputs.sources` says; of videos paths alone. Never more than a batch
                is held at a time.
            batch_size: images that go through the networks together; changes speed and memory only. Videos go one by one.
            unseen_only, calibration, top, attributes: as for `Question`.

        Raises:
            InputError: at the call, the model takes features only, or cannot choose among all classes; later, a folder
                without images.
        """
        if batch_size < 1:
            raise InputError(
                "the number is too small", where="batch_size", found=batch_size, expected="at least 1", fix="Pass 1 or more."
            )
        self._check_choice(unseen_only)
        _ = self.backbone
        question = Question(unseen_only, calibration, top, attributes)
        return self._predictions(sources(images, self.modality), 1 if self.modality is VIDEOS else batch_size, question)

    def _predictions(self, named: Iterator[tuple[str, Source]], batch_size: int, question: Question) -> Iterator[Prediction]:
        """Yield the predictions of a stream, a batch at a time."""
        while batch := list(islice(named, batch_size)):
            errors: dict[int, Prediction] = {}
            names, prepared, views = [], [], []
            for place, (name, source) in enumerate(batch):
                try:
                    inputs, view = self.backbone.read(source)
                except InputError as error:
                    errors[place] = Prediction(name, error=str(error))
                    continue
                names.append(name)
                prepared.append(inputs)
                views.append(view)
                del inputs
            described: Iterator[Prediction] = iter(())
            if prepared:
                stacked = torch.stack(prepared) if len(prepared) > 1 else prepared[0][None]  # a video is not copied
                described = iter(self._described(stacked, names, views, question))
                del stacked
            for place in range(len(batch)):
                yield errors[place] if place in errors else next(described)

    def _described(self, batch: Tensor, names: list[str], views: list[View], question: Question) -> list[Prediction]:
        """Return the predictions of prepared images."""
        pooled, regions = self.backbone.features(batch)
        features = self._method.as_stored(regions if self._method.uses_regions else pooled)
        if tuple(features.shape[1:]) != self.feature_shape:
            raise InputError(
                "the backbone gives features of another shape",
                where=self.where,
                found=tuple(features.shape[1:]),
                expected=self.feature_shape,
                fix="The model's description of its backbone is wrong; export it again.",
            )
        return describe(self._forward(features), question, self.model, names, views)

    # ---- new classes --------------------------------------------------------------------------------------------------

    def add_class(self, name: str, attributes: Row) -> Predictor:
        """Add an unseen class, known by its attributes alone, and return self.

        The method learns the class when the next prediction is asked for, once for all classes added until then. The scores
        of the other classes stay as they are.

        Args:
            name: of the class.
            attributes: {attribute: value} or a row in the order of `attribute_names`, on the scale of `table`.

        Raises:
            InputError: the name is taken, or attributes are missing, unknown or not numbers.
        """
        return self.add_classes({name: attributes})

    def add_described(self, name: str, sentence: str | None = None) -> Predictor:
        """Add an unseen class, known by a sentence, or by its name alone, and return self.

        Raises:
            InputError: the model's class vectors did not come from text, their encoder cannot be loaded, or the name is taken.
        """
        return self.add_classes({name: sentence or ""})

    def add_classes(self, table: Table) -> Predictor:
        """Add a class for every row of a table (class, then a column for each attribute, in any order); return self.

        Args:
            table: a file, a table, {name: attributes}, or {name: sentence} where class vectors came from text.

        Warns:
            UnusualAttributesWarning: values lie far outside the range of the model's classes.
        """
        return self._change(with_classes, self._as_table(table))

    def set_attributes(self, table: Table) -> Predictor:
        """Replace the attributes of classes that the model has, and return self; warns and raises as `add_classes` does."""
        return self._change(with_attributes, self._as_table(table))

    def remove_class(self, name: str) -> Predictor:
        """Remove an unseen class and return self; a class that was added and removed leaves no trace.

        Raises:
            InputError: there is no such class, it is a seen one, or it is the last unseen one.
        """
        self.model, self._stale = without_class(self.model, name), True
        return self

    def unusual_values(self, table: Table) -> list[str]:
        """Return a sentence for each class of a table with values far outside the range of the model's classes."""
        return unusual_values(self.model, self._as_table(table))

    def _change(self, change: Callable[[Model, AttributeTable], Model], table: AttributeTable) -> Predictor:
        changed = change(self.model, table)
        self._method.check_classes(changed)
        for sentence in [*table.notes, *unusual_values(self.model, table)]:
            warnings.warn(sentence, UnusualAttributesWarning, stacklevel=3)
        self.model, self._stale = changed, True
        return self

    def _as_table(self, table: Table) -> AttributeTable:
        if isinstance(table, AttributeTable):
            return with_clean_names(table)
        if isinstance(table, Mapping):
            texts = {name: value for name, value in table.items() if isinstance(value, str)}
            vectors = dict(zip(texts, self._text_vectors(texts))) if texts else {}
            return table_from_mapping({name: vectors.get(name, value) for name, value in table.items()}, self.attribute_names)
        return read_attribute_table(Path(table), attributes=self.attribute_names)

    def _text_vectors(self, sentences: Mapping[str, str]) -> np.ndarray:
        """Return unit vectors (n, A) of new classes by name -> sentence, with the encoder of the model's class vectors."""
        text = text_record(self.model, sentences, self.where)
        self._encode = self._encode or text.encoder(self._text_source)
        return self._encode([text.text_of(name, sentence) for name, sentence in sentences.items()])

    def _update(self) -> None:
        """Let the method take over the classes, if they have changed."""
        if self._stale:
            self._method.set_classes(self.model)
            self._stale = False
