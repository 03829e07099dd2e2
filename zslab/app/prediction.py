"""What a model says of one image or video, and how it comes from scores and explanations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from zslab.app.methods.base import ForwardPass, checked_scores
from zslab.app.model_file import Model
from zslab.features.backbones import WHOLE

View = tuple[float, float, float, float]


@dataclass(frozen=True)
class Question:
    """What is asked of each image.

    Attributes:
        unseen_only: choose among the unseen classes only (zero-shot), instead of all (generalized).
        calibration: is subtracted from the scores of the seen classes, which every model favors.
        top: number of classes that a prediction lists.
        attributes: number of reasons that it gives.
    """

    unseen_only: bool = False
    calibration: float = 0.0
    top: int = 5
    attributes: int = 8


@dataclass(frozen=True)
class ClassScore:
    """A class and its probability; `seen` tells whether it had training images."""

    name: str
    probability: float
    seen: bool


@dataclass(frozen=True)
class AttributeReason:
    """How an attribute speaks for the top class.

    Attributes:
        name: of the attribute.
        contribution: its part in the agreement between what is read off the image and what the class should have; TF-VAEGAN:
            Dec(x)_i a_ki, DAZLE: a_ki q_i p_i.
        read: what the model reads off the image, on the method's own scale (Dec(x)_i; p_i).
        value: the class's value on the scale of the author of the attribute table.
    """

    name: str
    contribution: float
    read: float
    value: float


@dataclass(frozen=True)
class Prediction:
    """What the model says of one image; an unreadable one has nothing but `error`.

    Attributes:
        image: its path or name; a video's, where the model takes videos.
        classes: the most probable ones, best first.
        attributes: reasons for the best class, strongest first; empty where the method has none.
        attention: for methods that look at regions: attribute -> (rows, columns) weights that sum to 1, for `attributes`.
        view: (left, top, right, bottom) of what the model saw, as fractions of the image's width and height; attention
            lies over it.
        error: why the image could not be read.
    """

    image: str
    classes: list[ClassScore] = field(default_factory=list)
    attributes: list[AttributeReason] = field(default_factory=list)
    attention: dict[str, np.ndarray] = field(default_factory=dict)
    view: View = WHOLE
    error: str | None = None

    @property
    def top(self) -> ClassScore | None:
        """The most probable class; None for an unreadable image."""
        return self.classes[0] if self.classes else None

    def to_json(self) -> dict[str, object]:
        """Return the prediction as values that JSON can hold."""
        return {
            "image": self.image,
            "error": self.error,
            "classes": [vars(score) for score in self.classes],
            "attributes": [vars(reason) for reason in self.attributes],
            "attention": {name: np.round(weights, 5).tolist() for name, weights in self.attention.items()},
            "view": list(self.view),
        }


def describe(
    forward: ForwardPass, question: Question, model: Model, names: Sequence[str], views: Sequence[View]
) -> list[Prediction]:
    """Return the predictions of n images.

    Args:
        forward: what the method computed for them.
        question: what is asked.
        model: has the names of classes and attributes.
        names: n names of the images.
        views: n parts of the images that the model saw.
    """
    scores = checked_scores(forward, question.unseen_only, question.calibration)
    explained, maps = forward.contributions(scores.argmax(dim=1)), forward.attention()
    # From here on single numbers are looked at, which a GPU would hand over one by one.
    scores, maps = scores.cpu(), maps if maps is None else maps.cpu()
    best, order = scores.softmax(dim=1).topk(min(question.top, scores.shape[1]), dim=1)
    reasons: list[list[AttributeReason]] = [[] for _ in names]
    if explained is not None and model.text is None:  # dimensions of a vector of text mean nothing to people
        reasons = _reasons(explained[0].cpu(), explained[1].cpu(), scores.argmax(dim=1), question.attributes, model)
    predictions = []
    for row, (name, view) in enumerate(zip(names, views)):
        allowed = scores[row, order[row]].isfinite()
        columns, probabilities = order[row][allowed].tolist(), best[row][allowed].tolist()
        classes = [ClassScore(model.class_names[c], p, bool(model.seen[c])) for c, p in zip(columns, probabilities)]
        attention: dict[str, np.ndarray] = {}
        if maps is not None:
            shown = [model.attribute_names.index(reason.name) for reason in reasons[row]]
            attention = {model.attribute_names[i]: maps[row, i].numpy() for i in shown}
        predictions.append(Prediction(name, classes, reasons[row], attention, view))
    return predictions


def _reasons(contributions: Tensor, read: Tensor, classes: Tensor, n: int, model: Model) -> list[list[AttributeReason]]:
    """Return the n strongest reasons for the class of each sample, from (samples, A) contributions and readings."""
    _, strongest = contributions.topk(min(n, contributions.shape[1]), dim=1)

    def reason(row: int, k: int, i: int) -> AttributeReason:
        numbers = contributions[row, i].item(), read[row, i].item(), float(model.table[k, i])
        return AttributeReason(model.attribute_names[i], *numbers)

    return [[reason(row, k, i) for i in strongest[row].tolist()] for row, k in enumerate(classes.tolist())]
