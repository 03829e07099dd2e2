"""The network that makes features for an exported model, loaded as its model file describes it."""

from __future__ import annotations

from pathlib import Path

import torch

from zslab.app.model_file import Model
from zslab.errors import InputError
from zslab.features.backbones import DESCRIPTOR, Backbone
from zslab.features.modality import Modality, modality_of


def model_modality(model: Model, where: object) -> Modality:
    """Return what a model looks at, images or videos.

    Args:
        model: exported.
        where: names it in messages.

    Raises:
        InputError: the model takes features only, because nothing says what made them.
    """
    return modality_of(_description(model, where)["spec"])


def load_model_backbone(model: Model, weights: str | Path | None, device: torch.device, where: object) -> Backbone:
    """Return the backbone of a model.

    Args:
        model: exported.
        weights: file with the backbone's weights, or "default" to download them; None takes those of the model file.
        device: where the network runs.
        where: names the model in messages.

    Raises:
        InputError: the model does not know its backbone, or the weights are missing or differ from those of training.
    """
    about, modality = _description(model, where), model_modality(model, where)
    spec = modality.spec.from_json(about["spec"])
    source = weights or model.backbone_weights or ("default" if spec.name == DESCRIPTOR else None)
    if not source:
        raise InputError(
            "the model file does not hold its backbone's weights",
            where=where,
            found=f"{spec.name}, {about['weights']}",
            expected="the weights that the features were made with",
            fix="Pass --weights FILE, or --weights default to have them downloaded; or export the run again with them.",
        )
    backbone = modality.load_backbone(spec, source, device=device)
    if about["digest"] and backbone.digest != about["digest"]:
        raise InputError(
            "the weights are not those of training",
            where=weights or where,
            found=f"digest {backbone.digest}",
            expected=f"{about['digest']} ({about['weights']})",
            fix="Use the very weights that made the features.",
        )
    return backbone


def _description(model: Model, where: object) -> dict[str, object]:
    if model.backbone is None:
        raise InputError(
            "the model takes features only",
            where=where,
            found="no backbone",
            expected="a description of the network that made the features",
            fix="Pass features to predict_features, or export the run again with --backbone. For a model of videos, make "
            "the features again with zero-shot-actions/extract_features.py, which notes the backbone.",
        )
    return model.backbone
