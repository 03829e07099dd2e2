"""An exported model at work, in scikit-learn's manner: images, videos or features in; classes, probabilities and reasons out.

    predictor = Predictor.load("birds.zsl")
    for prediction in predictor.predict(["photo.jpg", "folder"]):
        print(prediction.image, prediction.error or prediction.top.name)

A model whose features came from videos takes paths of videos instead. A stream of any length needs the memory of one batch.
"""

from __future__ import annotations

import copy
import io
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import BinaryIO, cast

import msgspec
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from zslab.app.attribute_table import AttributeTable, Row, read_attribute_table, table_from_mapping
from zslab.app.calibration import likeness
from zslab.app.hub import find_model
from zslab.app.methods.base import Output, build_method
from zslab.app.model_file import EXPORT_AGAIN, Model, read_model, write_model
from zslab.app.prediction import Prediction, View, describe
from zslab.data.checks import array
from zslab.errors import InputError, examples
from zslab.features.backbones import DESCRIPTOR, Backbone
from zslab.features.sources import VIDEOS, Modality, modality_of
from zslab.features.text import Encode
from zslab.utils.environment import resolve_device
from zslab.utils.names import find_names

ImageInput = Path | str | bytes | BinaryIO | Image.Image | np.ndarray | Tensor
Source = Path | str | BinaryIO | Image.Image | np.ndarray  # what a backbone reads
Table = AttributeTable | Mapping[str, Row] | Mapping[str, str] | str | Path


class UnusualAttributesWarning(UserWarning):
    """A table of classes was read with notes, or has values far outside the range of the model's classes."""


class Predictor:
    """Classifies images and features with an exported model, and learns new classes from their attributes.

    Scores of seen classes, which every model favors, are lowered by the offset that validation chose, unless a call names
    another `calibration`.

    Attributes:
        model: what the file holds.
        where: names the model in messages.
        device: where networks run.

    Examples:
        >>> from zslab import TfvaeganClassifier
        >>> X, A = np.float32([[0, 1], [0.1, 0.9], [1, 0], [0.9, 0.1]]), {"cat": [1, 0], "dog": [0, 1], "fox": [0.6, 0.8]}
        >>> model = TfvaeganClassifier(n_epochs=1, hidden_dim=8, class_vectors=A).fit(X, ["cat", "cat", "dog", "dog"])
        >>> predictor = model.predictor_  # or Predictor.load("birds.zsl")
        >>> predictor.classes_, predictor.decision_function(X).shape
        (['cat', 'dog', 'fox'], (4, 3))
    """

    def __init__(
        self,
        model: Model,
        *,
        device: str = "auto",
        weights: str | Path | None = None,
        text_source: str | None = None,
        where: object = "the model",
    ):  # as for `load`; `where` names the model in messages
        self.model, self.where, self.device = model, where, resolve_device(device)
        self._method = build_method(model, where, self.device)
        self._stale = False  # whether classes have changed since the method took them over
        self._weights, self._text_source = weights, text_source
        self._backbone: Backbone | None = None
        self._encode: Encode | None = None
        self._train: np.ndarray | None = None  # features (n, D) of training samples, not scaled

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
        """Open a shared model: "user/name" on the Hugging Face Hub, a folder, or a model file. Options as for `load`."""
        return cls.load(find_model(name, revision), **options)  # type: ignore[arg-type]

    def save(self, path: str | Path) -> None:
        """Write the model with its classes as they are now."""
        self._update()
        write_model(Path(path), msgspec.structs.replace(self.model, weights=self._method.weights))

    def copy(self) -> Predictor:
        """Return a predictor whose classes may be changed without changing this one's; networks are shared."""
        twin = copy.copy(self)
        twin._method = self._method.copy()
        return twin

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
    def generalized(self) -> bool:
        """Whether seen and unseen classes can be told apart; otherwise it chooses among unseen ones only."""
        return self._method.generalized

    @property
    def feature_shape(self) -> tuple[int, ...]:
        """Shape of one sample's features: (D,), or (D, rows, columns) for methods that look at regions."""
        return self._method.feature_shape

    @property
    def modality(self) -> Modality:
        """What the model looks at, images or videos."""
        if self.model.backbone is None:
            must, got = "the model must know the network that made its features", "a model that takes features only"
            fix = "Pass features to predict_proba, or export the run again with --backbone; for videos, run zslab extract anew."
            raise InputError(must, where=self.where, got=got, fix=fix)
        return modality_of(self.model.backbone.spec)

    @property
    def backbone(self) -> Backbone:
        """The network that turns images or videos into features; loaded when first needed."""
        if self._backbone is None:
            modality, about = self.modality, self.model.backbone
            assert about is not None
            name = about.spec["name"]
            source = self._weights or self.model.backbone_weights or ("default" if name == DESCRIPTOR else None)
            if not source:
                must = f"the weights of the {modality.name}s' backbone must be in the model file or be passed"
                fix = "Pass --weights FILE, or --weights default to download them; or export the run again with them."
                raise InputError(must, where=self.where, got=f"neither for {name}, {about.weights}", fix=fix)
            self._backbone = about.load(source, self._weights or self.where, device=self.device)
        return self._backbone

    def decision_function(
        self, features: np.ndarray, *, unseen_only: bool = False, calibration: float | None = None
    ) -> np.ndarray:
        """Return class scores (n, C) float32; -inf for classes that are out of the question.

        Args:
            features: (n, *feature_shape) as the backbone gives them.
            unseen_only: choose among unseen classes only (zero-shot), instead of all (generalized).
            calibration: is subtracted from the scores of the seen classes; None: as validation chose it.
        """
        self._check_choice(unseen_only)
        scores = [self.scores(output, unseen_only, calibration).cpu() for output in self.outputs(features, unseen_only)]
        return torch.cat(scores).numpy() if scores else np.zeros((0, len(self.classes_)), dtype=np.float32)

    def predict_proba(self, features: np.ndarray, *, unseen_only: bool = False, calibration: float | None = None) -> np.ndarray:
        """Return probabilities (n, C) of features (n, *feature_shape), columns as `classes_`; see `decision_function`."""
        scores = torch.from_numpy(self.decision_function(features, unseen_only=unseen_only, calibration=calibration))
        return np.asarray((scores / self.model.calibration.temperature).softmax(dim=1))

    def outputs(self, features: np.ndarray, unseen_only: bool | None = None) -> Iterator[Output]:
        """Yield what the method says of features (n, *feature_shape), a part of them at a time."""
        self._update()
        for start in range(0, len(features), self._method.chunk):
            yield self._method.forward(self._scaled(features[start : start + self._method.chunk]), unseen_only)

    def _scaled(self, features: np.ndarray) -> Tensor:
        fix = "Use features of the backbone of training."
        features = array(features, "the features", "features", (None, *self.feature_shape), fix=fix)
        scaled = features if self.model.scaling is None else self.model.scaling(features)
        return torch.from_numpy(np.ascontiguousarray(scaled, dtype=np.float32)).to(self.device)

    def transformed(self, features: np.ndarray) -> np.ndarray:
        """Return what the method's heads classify in place of features (n, D)."""
        self._update()
        return np.asarray(self._method.transformed(self._scaled(features)).cpu())

    def synthesize(self, classes: Sequence[str] | None = None, n: int = 100, seed: int = 0) -> tuple[np.ndarray, list[str]]:
        """Return synthesized features (k * n, D) as the backbone gives them, and the class of each.

        Args:
            classes: their names; the unseen ones by default.
            n: features of each.
            seed: of the noise.

        Raises:
            InputError: a class is not in the model, or its method generates no features.
        """
        self._update()
        unseen = np.flatnonzero(~self.seen_).tolist()
        places = unseen if classes is None else find_names(classes, self.classes_, "classes")
        generator = torch.Generator(self.device).manual_seed(seed)
        made = self._method.synthesize(torch.tensor(places, device=self.device), n, generator).cpu().numpy()
        features = made if self.model.scaling is None else self.model.scaling.inverse(made)
        return features, [self.classes_[place] for place in places for _ in range(n)]

    def familiarity(self, features: np.ndarray) -> np.ndarray | None:
        """Return how like the training samples features (n, D) are, for `model.familiarity.threshold`, or None if unknown."""
        model = self.model
        if model.familiarity is None or model.train is None or model.scaling is None:
            return None
        if self._train is None:
            self._train = model.scaling.inverse(model.train.features[:].numpy())
        return likeness(np.asarray(features), self._train, model.familiarity.neighbors)

    def scores(self, output: Output, unseen_only: bool, calibration: float | None) -> Tensor:
        """Return (n, C) class scores; NaN, of a model whose finite numbers have products that are not, is refused."""
        scores = output.unseen if unseen_only else output.every
        assert scores is not None
        if not unseen_only:
            offset = self.model.calibration.offset if calibration is None else calibration
            scores = scores - offset * torch.from_numpy(self.seen_).to(scores.device)
        if scores.isnan().any():
            got, fix = f"{int(scores.isnan().sum())} that are not", f"Its weights or scaling are too large. {EXPORT_AGAIN}"
            raise InputError("class scores must be numbers", where=self.where, got=got, fix=fix)
        return scores

    def _check_choice(self, unseen_only: bool) -> None:
        self._update()
        if not unseen_only and not self.generalized:
            must = "the model must have a head over all classes"
            fix = "Ask for unseen classes only (--zsl), or train with --gzsl."
            raise InputError(must, where=self.where, got="one over unseen classes only", fix=fix)

    def predict(
        self,
        images: ImageInput | Iterable[ImageInput],
        *,
        batch_size: int = 32,
        unseen_only: bool = False,
        calibration: float | None = None,
        top: int = 5,
        attributes: int = 8,
    ) -> Iterator[Prediction]:
        """Yield predictions of images or videos, in their order and as they come.

        An unreadable one, or one of the other kind, gives a prediction with an error and does not stop the others.

        Args:
            images: one input or a possibly endless stream of them: paths, folders (for all files below), bytes, file objects,
                PIL images, arrays, tensors, as `sources` says; of videos paths alone.
            batch_size: images that go through the networks together; changes speed and memory only. Videos go one by one.
            unseen_only: choose among unseen classes only (zero-shot), instead of all (generalized).
            calibration: is subtracted from the scores of the seen classes; None: as validation chose it.
            top: number of classes that a prediction lists.
            attributes: number of reasons that it gives.

        Raises:
            InputError: at the call, the model takes features only, or cannot choose among all classes; later, a folder
                without images.
        """
        if batch_size < 1:
            raise InputError("it must be at least 1", where="batch_size", got=batch_size, fix="Pass 1 or more.")
        self._check_choice(unseen_only)
        backbone, named = self.backbone, sources(images, self.modality)
        size = 1 if self.modality is VIDEOS else batch_size

        def described(inputs: list[Tensor], names: list[str], views: list[View]) -> list[Prediction]:
            stacked = torch.stack(inputs) if len(inputs) > 1 else inputs.pop()[None]  # a video is not copied
            pooled, regions = backbone.features(stacked)
            features = self._method.as_stored(regions if self._method.uses_regions else pooled).cpu().numpy()
            output = self._method.forward(self._scaled(features), unseen_only)
            scores = self.scores(output, unseen_only, calibration) / self.model.calibration.temperature
            likeness = self.familiarity(features)
            return describe(self._method, output, scores, self.model, names, views, likeness, top=top, attributes=attributes)

        def predictions() -> Iterator[Prediction]:
            while batch := list(islice(named, size)):
                inputs, names, views = [], [], []
                outcomes: list[Prediction | None] = []  # None: to be predicted
                for name, source in batch:
                    try:
                        prepared, view = backbone.read(source)
                    except InputError as error:
                        outcomes.append(Prediction(name, error=str(error)))
                        continue
                    inputs.append(prepared)
                    names.append(name)
                    views.append(view)
                    outcomes.append(None)
                    del prepared
                found = iter(described(inputs, names, views) if inputs else [])
                inputs.clear()
                yield from (outcome or next(found) for outcome in outcomes)

        return predictions()

    def add_class(self, name: str, attributes: Row) -> Predictor:
        """Add an unseen class, known by its attributes alone, and return self.

        The method learns the class when the next prediction is asked for, once for all classes added until then. The scores
        of the other classes stay as they are.

        Args:
            name: of the class.
            attributes: {attribute: value} or a row in the order of `attribute_names`, on the scale of `table`.
        """
        return self.add_classes({name: attributes})

    def add_described(self, name: str, sentence: str | None = None) -> Predictor:
        """Add an unseen class, known by a sentence, or by its name alone, where class vectors came from text; return self."""
        return self.add_classes({name: sentence or ""})

    def add_classes(self, table: Table) -> Predictor:
        """Add a class for every row of a table (class, then a column for each attribute, in any order); return self.

        Args:
            table: a file, a table, {name: attributes}, or {name: sentence} where class vectors came from text.

        Warns:
            UnusualAttributesWarning: values lie far outside the range of the model's classes.
        """
        return self._change(Model.with_classes, table)

    def set_attributes(self, table: Table) -> Predictor:
        """Replace the attributes of classes that the model has, and return self; warns and raises as `add_classes` does."""
        return self._change(Model.with_attributes, table)

    def remove_class(self, name: str) -> Predictor:
        """Remove an unseen class and return self; a class that was added and removed leaves no trace."""
        self.model, self._stale = self.model.without_class(name), True
        return self

    def _change(self, change: Callable[[Model, AttributeTable], Model], given: Table) -> Predictor:
        table = self._as_table(given)
        changed = change(self.model, table)
        self._method.check_classes(changed)
        for sentence in [*table.notes, *self.model.unusual_values(table)]:
            warnings.warn(sentence, UnusualAttributesWarning, stacklevel=3)
        self.model, self._stale = changed, True
        return self

    def _as_table(self, table: Table) -> AttributeTable:
        if isinstance(table, AttributeTable):
            return table.with_clean_names()
        if isinstance(table, Mapping):
            texts = {name: value for name, value in table.items() if isinstance(value, str)}
            vectors = dict(zip(texts, self._text_vectors(texts))) if texts else {}
            return table_from_mapping({name: vectors.get(name, value) for name, value in table.items()}, self.attribute_names)
        return read_attribute_table(Path(table), attributes=self.attribute_names)

    def _text_vectors(self, sentences: Mapping[str, str]) -> np.ndarray:
        """Return unit vectors (n, A) of new classes by name -> sentence, with the encoder of the model's class vectors."""
        if self.model.text is None:
            must, got = "class vectors must have come from text to add a class by a sentence", examples(list(sentences))
            fix = "Give every new class its attributes, or train with class vectors made by `zslab class-vectors`."
            raise InputError(must, where=self.where, got=f"a sentence for {got}", fix=fix)
        self._encode = self._encode or self.model.text.encoder(self._text_source)
        return self._encode([self.model.text.text_of(name, sentence) for name, sentence in sentences.items()])

    def _update(self) -> None:
        """Let the method take over the classes, if they have changed."""
        if self._stale:
            self._method.set_classes(self.model)
            self._stale = False


def sources(images: ImageInput | Iterable[ImageInput], modality: Modality) -> Iterator[tuple[str, Source]]:
    """Return every image or video of an input or a stream with its name, one by one; folders and batches are opened up.

    Arrays are (h, w), (h, w, channels) or (n, h, w, channels), tensors (channels, h, w) or (n, channels, h, w). Floats lie
    in 0 ... 1.
    """
    is_one = isinstance(images, str | Path | bytes | Image.Image | np.ndarray | Tensor) or hasattr(images, "read")
    opened = (each for image in cast(Iterable[ImageInput], [images] if is_one else images) for each in _opened(image, modality))
    return ((name or f"{modality.name} {number}", source) for number, (name, source) in enumerate(opened, start=1))


def _opened(image: ImageInput, modality: Modality) -> Iterator[tuple[str, Source]]:
    if isinstance(image, str | Path):
        paths = modality.find([image]) if Path(image).is_dir() else [image]
        yield from ((str(path), path) for path in paths)
    elif isinstance(image, bytes):
        yield "", io.BytesIO(image)
    elif isinstance(image, Tensor | np.ndarray):
        array = image.detach().cpu().numpy() if isinstance(image, Tensor) else image
        if isinstance(image, Tensor) and array.ndim in (3, 4):
            array = np.moveaxis(array, -3, -1)  # channels last
        for part in array if array.ndim == 4 else [array]:
            if part.dtype.kind == "f" and part.size and part.min() >= 0 and part.max() <= 1:  # NaN compares false
                part = np.round(255 * part).astype(np.uint8)
            yield "", part
    else:
        yield str(getattr(image, "filename", None) or getattr(image, "name", None) or ""), image
