"""What a model says of one image or video, and how it comes from scores and explanations."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
import torch
from torch import Tensor

from zslab.app.methods.base import Output, Served
from zslab.app.model_file import Model
from zslab.features.backbones import WHOLE

UNFAMILIAR = "not like the training images"
View = tuple[float, float, float, float]


@dataclass(frozen=True)
class ClassScore:
    """A class and its probability; `seen` tells whether it had training images."""

    name: str
    probability: float
    seen: bool


@dataclass(frozen=True)
class AttributeReason:
    """How an attribute speaks for the first class and against the second.

    It contributes to a class its part in the agreement between what is read off the image and what the class should have;
    TF-VAEGAN: Dec(x)_i a_ki, DAZLE: a_ki q_i p_i.
    """

    name: str  #: of the attribute
    contribution: float  #: to the first class minus that to the second
    read: float  #: what the model reads off the image, on the method's own scale (Dec(x)_i; p_i)
    value: float  #: the class's value on the scale of the author of the attribute table


@dataclass(frozen=True)
class Prediction:
    """What the model says of one image; an unreadable one has nothing but `error`.

    Attributes:
        image: its path or name; a video's, where the model takes videos.
        classes: the most probable ones, best first.
        attributes: reasons for the best class and not the second, strongest first, without attributes in which the two agree;
            empty where the method has none.
        attention: for methods that look at regions: attribute -> (rows, columns) weights that sum to 1, for `attributes`.
        view: (left, top, right, bottom) of what the model saw, as fractions of the image's width and height; attention
            lies over it.
        familiar: whether the image is like the training images; None where the model cannot tell.
        likeness: the score behind it, see `zslab.app.calibration`.
        error: why the image could not be read.
    """

    image: str
    classes: list[ClassScore] = field(default_factory=list)
    attributes: list[AttributeReason] = field(default_factory=list)
    attention: dict[str, np.ndarray] = field(default_factory=dict)
    view: View = WHOLE
    familiar: bool | None = None
    likeness: float | None = None
    error: str | None = None

    @property
    def top(self) -> ClassScore | None:
        """The most probable class; None for an unreadable image."""
        return self.classes[0] if self.classes else None

    @property
    def doubt(self) -> str:
        """What to say of an image that is unlike the training images; nothing of others."""
        return UNFAMILIAR if self.familiar is False else ""

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
    likeness: np.ndarray | None = None,
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
        names, views: of the images, and the parts of them that the model saw.
        likeness: n scores of likeness to the training images, where the model has a threshold for them.
        top, attributes: number of classes that a prediction lists, and of reasons.
    """
    first, second = scores.topk(2, dim=1).indices.T if scores.shape[1] > 1 else (scores.argmax(dim=1),) * 2
    probabilities, order = (part.tolist() for part in scores.softmax(dim=1).topk(min(top, scores.shape[1]), dim=1))
    n_allowed, predictions, explained = scores.isfinite().sum(dim=1).tolist(), [], None
    if model.text is None and output.read is not None:  # dimensions of text have no names
        contributions, against = (method.contributions(output, classes) for classes in (first, second))
        if contributions is not None and against is not None:
            explained = contributions.cpu(), against.cpu(), output.read.cpu()  # single numbers are looked at
    for row, (name, view) in enumerate(zip(names, views)):
        ranked = list(zip(order[row], probabilities[row]))[: n_allowed[row]]
        classes = [ClassScore(model.class_names[k], p, bool(model.seen[k])) for k, p in ranked]
        reasons, attention, compared = [], {}, n_allowed[row] > 1
        if explained is not None:
            contribution, other, read = (part[row] for part in explained)
            values, others = model.table[int(first[row])], model.table[int(second[row])]
            if compared:  # what both classes have, or lack, speaks for neither
                contribution = (contribution - other).masked_fill(torch.from_numpy(values == others), 0.0)
            for i in contribution.topk(min(attributes, len(read))).indices.tolist():
                if contribution[i] > 0 or not compared:
                    attribute = model.attribute_names[i]
                    reasons.append(AttributeReason(attribute, contribution[i].item(), read[i].item(), float(values[i])))
                    if output.attention is not None:
                        attention[attribute] = output.attention[row, i].cpu().numpy()
        score = None if likeness is None else float(likeness[row])
        familiar = None if score is None or model.familiarity is None else score >= model.familiarity.threshold
        predictions.append(Prediction(name, classes, reasons, attention, view, familiar, score))
    return predictions
