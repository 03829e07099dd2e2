"""Exported models of each method with random weights, a few kilobytes each."""

from dataclasses import fields

import numpy as np
import torch

from zslab.app.attribute_table import AttributeScale
from zslab.app.model_file import BackboneRecord, Model
from zslab.baselines.comparison import BASELINES
from zslab.config import DazleOptions
from zslab.data.dataset import FeatureScaling, Samples
from zslab.dazle.model import Dazle
from zslab.features.backbones import BackboneSpec
from zslab.features.text import TextRecord
from zslab.results.result import Calibration
from zslab.shared.wgan import Critic, Generator
from zslab.tfvaegan.networks import Encoder, Feedback, Networks, SemanticDecoder

from helpers.configs import dazle_options

METHODS = ("tfvaegan", "dazle", "prototype regression", "class-normalized MLP")
D, A, H, V, GRID, SEEN, UNSEEN = 7, 5, 8, 4, (3, 2), 6, 3


def tiny_model(method: str) -> Model:
    """Return a model of 9 classes, of which 3 are unseen."""
    generator = torch.manual_seed(0)
    table = 0.1 + torch.rand(SEEN + UNSEEN, A, generator=generator).numpy().astype(np.float64)
    names, scale = [f"bird {i}" for i in range(SEEN + UNSEEN)], AttributeScale.unit(A)
    makers = {"tfvaegan": _tfvaegan, "dazle": _dazle}
    settings, weights, uses_regions = makers[method]() if method in makers else _baseline(method)
    return Model(
        method=method,
        title=f"{method} on TINY",
        class_names=names,
        attribute_names=[f"has {i}" for i in range(A)],
        seen=np.arange(SEEN + UNSEEN) < SEEN,
        attributes=torch.from_numpy(scale.apply(table, names, "")),
        table=table,
        attribute_scale=scale,
        scaling=None if uses_regions else FeatureScaling(np.ones(D), np.zeros(D), 1.0),
        settings=settings | {"feature_dim": D},
        calibration=Calibration(0.1),
        weights={name: value.detach() for name, value in weights.items()},
        backbone=BackboneRecord(BackboneSpec("descriptor").to_json(), "none", ""),
        train=Samples(torch.rand(2 * SEEN, D), torch.arange(SEEN).repeat(2)) if method == "tfvaegan" else None,
        text=TextRecord("words:glove.txt", "a {}", "a text", (0.6, 0.8, 0.0, 0.0, 0.0)),
        config={"manualSeed": 1, "nepoch": 3},
        rows=[{"row": "val", "T1": 0.5, "H": 0.4, "rule": "A rule."}],
        notes=["A note."],
        origin={"dataset": "TINY", "choice": "val", "epoch": 2},
    )


def _tfvaegan() -> tuple[dict[str, object], dict[str, torch.Tensor], bool]:
    decoder = SemanticDecoder(D, A, H, "unit_norm")
    networks = Networks(Encoder(D, A, A, H), Generator(A, A, D, H), Critic(D, A, H), Feedback(H), decoder)
    weights = {k: v for k, v in networks.state_dict().items() if k.split(".")[0] in ("generator", "feedback", "decoder")}
    for name, classes in (("zsl_head", torch.arange(SEEN, SEEN + UNSEEN)), ("gzsl_head", torch.arange(SEEN + UNSEEN))):
        rows = torch.randn(len(classes), D + A + H), torch.zeros(len(classes))
        weights |= {f"{name}.weight": rows[0], f"{name}.bias": rows[1]}
    settings = {
        "hidden_dim": H, "latent_dim": A, "decoder_output": "unit_norm", "decoder_trained": True, "transform": True,
        "feedback_synthesis": 1.0, "n_synthetic": 4, "head_lr": 0.01, "head_epochs": 2,
        "head_batch_size": 5, "gate": None,
    }  # fmt: skip
    return settings, weights, False


def _dazle() -> tuple[dict[str, object], dict[str, torch.Tensor], bool]:
    options = dazle_options()
    flags = {field.name: getattr(options, field.name) for field in fields(DazleOptions)}
    network = Dazle(torch.randn(A, V), A, D, V, options, grid=GRID)
    settings = {"word_dim": V, "grid": list(GRID), "options": flags, "margin": 0.5, "half_precision_regions": True}
    return settings, network.state_dict(), True


def _baseline(name: str) -> tuple[dict[str, object], dict[str, torch.Tensor], bool]:
    samples = torch.rand(3 * SEEN, D), torch.arange(SEEN).repeat(3)
    fitted = BASELINES[name].fit(*samples, torch.rand(SEEN + UNSEEN, A))
    arguments = {field.name: getattr(fitted, field.name) for field in fields(fitted) if field.init}
    means = {"feature_mean": fitted.feature_mean_, "attribute_mean": fitted.attribute_mean_}
    return {"arguments": arguments}, means | {f"weights.{k}": v for k, v in fitted.weights_.items()}, False
