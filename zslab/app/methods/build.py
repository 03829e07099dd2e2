"""From a model file to the method that it was trained with."""

from __future__ import annotations

from collections.abc import Callable

import torch

from zslab.app.json_reader import JsonReader
from zslab.app.methods.base import LARGEST_SCORE, Method
from zslab.app.methods.dazle import DazleMethod
from zslab.app.methods.eszsl import EszslMethod
from zslab.app.methods.tfvaegan import TfvaeganMethod
from zslab.app.model_file import Model

BUILDERS: dict[str, Callable[[Model, str, torch.device], Method]] = {
    "tfvaegan": TfvaeganMethod,
    "dazle": DazleMethod,
    "eszsl": EszslMethod,
}


def build_method(model: Model, where: object, device: torch.device) -> Method:
    """Return the method of a model, with its weights checked and on the device.

    Raises:
        InputError: settings or weights are not the method's.
    """
    JsonReader(model.settings, f"{where}, settings.").number("calibration", -LARGEST_SCORE, LARGEST_SCORE)
    return BUILDERS[model.method](model, str(where), device)
