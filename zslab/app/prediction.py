"""What a model says of one image or video."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from zslab.features.backbones import WHOLE


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
    view: tuple[float, float, float, float] = WHOLE
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
