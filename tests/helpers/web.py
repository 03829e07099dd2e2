"""A tiny exported model for the web page, and what a test does with the page in a browser."""

import socket
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np
import torch

from zslab.app.attribute_table import AttributeScale
from zslab.app.model_file import BackboneRecord, Model
from zslab.config import DazleOptions
from zslab.dazle.model import Dazle
from zslab.features.backbones import BackboneSpec, load_backbone
from zslab.features.descriptor import GRID, REGION_DIM
from zslab.toy.render import render_bird
from zslab.toy.species import ATTRIBUTES, SPECIES

from helpers.configs import dazle_options

NAMES, SEEN = [list(SPECIES)[i] for i in (0, 1, 6, 8)], np.array([True, False, True, False])


def tiny_model(names: Sequence[str] = NAMES, seen: np.ndarray = SEEN) -> Model:
    """An untrained DAZLE over a few classes and the toy set's 48 attributes."""
    options, a, v = dazle_options(), len(ATTRIBUTES), 6
    network = Dazle(None, a, REGION_DIM, v, options, torch.Generator().manual_seed(0), (GRID, GRID))
    rng = np.random.default_rng(0)
    table, scale = rng.uniform(5, 90, (len(names), a)), AttributeScale.unit(a)
    backbone = load_backbone(BackboneSpec("descriptor"))
    return Model(
        method="dazle",
        title="DAZLE on a few toy birds",
        class_names=list(names),
        attribute_names=list(ATTRIBUTES),
        seen=seen,
        attributes=torch.from_numpy(scale.apply(table, list(names), "table")),
        table=table,
        attribute_scale=scale,
        settings={
            "feature_dim": REGION_DIM,
            "word_dim": v,
            "grid": [GRID, GRID],
            "options": {field.name: getattr(options, field.name) for field in fields(DazleOptions)},
            "margin": 1.0,
            "half_precision_regions": False,
        },
        weights={name: value.detach() for name, value in network.state_dict().items()},
        backbone=BackboneRecord(backbone.spec.to_json(), backbone.weights, backbone.digest),
    )


def write_bird(path: Path, size: int = 224) -> Path:
    """Write an image of the first species."""
    render_bird(SPECIES[NAMES[0]], np.random.RandomState(1), size=size).image.save(path)
    return path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
