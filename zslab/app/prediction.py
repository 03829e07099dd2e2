"""What a model says of one image or video, and how it comes from scores and explanations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
from torch import Tensor

from zslab.app.methods.base import Output, Served
from zslab.app.model_file import Model
from zslab.features.backbones import WHOLE

View = tuple[float, float, float, float]


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
        attention = {name: np.round(weights, 5).tolist() for name, weights in self.attention.items()}
        return asdict(self) | {"attention": attention, "view": list(self.view)}


def describe(
    method: Served,
    output: Output,
    scores: Tensor,
    model: Model,
    names: Sequence[str],
    views: Sequence[View],
    *,
    top: int,
    attributes: int,
) -> list[Prediction]:
    """Return the predictions of n images.

    Args:
        method: explains.
        output: what it computed for them.
        scores: (n, C) of the classes, -inf for those that are out of the question.
        model: has the names of classes and attributes.
        names: n names of the images.
        views: n parts of the images that the model saw.
        top: number of classes that a prediction lists.
        attributes: number of reasons that it gives.
    """
    chosen = scores.argmax(dim=1)
    contributions = None if model.text is not None else method.contributions(output, chosen)  # text has no named dimensions
    probabilities, order = (part.tolist() for part in scores.softmax(dim=1).topk(min(top, scores.shape[1]), dim=1))
    n_allowed, predictions = scores.isfinite().sum(dim=1).tolist(), []
    explained = None
    if contributions is not None and output.read is not None:
        explained = contributions.cpu(), output.read.cpu()  # single numbers are looked at
    for row, (name, view) in enumerate(zip(names, views)):
        ranked = list(zip(order[row], probabilities[row]))[: n_allowed[row]]
        classes = [ClassScore(model.class_names[k], p, bool(model.seen[k])) for k, p in ranked]
        reasons, attention = [], {}
        if explained is not None:
            contribution, read = (part[row] for part in explained)
            for i in contribution.topk(min(attributes, len(read))).indices.tolist():
                numbers = contribution[i].item(), read[i].item(), float(model.table[order[row][0], i])
                reasons.append(AttributeReason(model.attribute_names[i], *numbers))
                if output.attention is not None:
                    attention[model.attribute_names[i]] = output.attention[row, i].cpu().numpy()
        predictions.append(Prediction(name, classes, reasons, attention, view))
    return predictions
