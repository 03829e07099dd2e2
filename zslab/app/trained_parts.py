"""What the weights, flags and training data of a run become in a model file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, replace

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from zslab.app.methods.tfvaegan import SERVED
from zslab.app.model_file import Model
from zslab.baselines.comparison import choose
from zslab.baselines.eszsl import Eszsl
from zslab.config import DazleOptions
from zslab.data.dataset import Dataset, Samples, fit_scaling
from zslab.data.region_dataset import RegionDataset
from zslab.errors import InputError
from zslab.results.checkpoint import content_digest
from zslab.results.finished import FinishedRun
from zslab.results.names import ACCURACIES
from zslab.results.result import Row

ESZSL_ROW = "ESZSL, centered, calibrated"  # of the result, which an exported ESZSL must reproduce
HEADS = ("zsl_head", "gzsl_head", "seen_head", "detector")


def row_values(row: Row) -> dict[str, object]:
    """Return a row of a run's result as a model file holds it."""
    values: dict[str, object] = {measure: row.value(measure) for measure in ACCURACIES}
    return {"row": row.title if row.baseline else row.rule} | values | {"rule": row.about}


def read_weights(run: FinishedRun, choice: str) -> tuple[dict[str, Tensor], dict[str, int | float]]:
    """Return the tensors of a run's model, and its "epoch", "head_epoch" and, where there is one, "constant"."""
    path = run.path / f"model_{choice}.safetensors"
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = json.loads(file.metadata()["run"])
        if metadata["digest"] != content_digest(metadata, tensors):
            raise ValueError("content with another digest")
        about: dict[str, int | float] = {key: int(metadata[key]) for key in ("epoch", "head_epoch")}
        if "constant" in metadata:
            about["constant"] = float(metadata["constant"])
    except FileNotFoundError:
        raise InputError(
            "the run has no such model",
            where=path,
            found="nothing",
            expected="a file that the run wrote at its end",
            fix="Pass --choice last." if choice == "val" else "Train again.",
        ) from None
    except Exception as error:  # the container's parser has errors of its own, which derive from nothing useful
        raise InputError(
            "the weights cannot be read",
            where=path,
            found=f"{type(error).__name__}: {error}",
            expected="the safetensors file that the run wrote",
            fix="Copy it again, or train again.",
        ) from None
    return tensors, about


def with_eszsl(model: Model, dataset: Dataset, seed: int) -> Model:
    """Fit ESZSL on centered features of the seen classes, with everything chosen on validation as the runs' baseline is.

    The settings and the constant are those with the best calibrated H. `seed` draws the validation stage as the run did.

    Raises:
        InputError: the data set has no pooled features or no validation split.
    """
    test = dataset.stage("test", "minmax", seed)
    if not test.feature_dim or isinstance(dataset, RegionDataset):
        raise InputError(
            "ESZSL needs one feature vector for each sample",
            where="--method",
            found="a run on region maps",
            expected="a run on pooled features, such as TF-VAEGAN's",
            fix="Export a run of TF-VAEGAN on the same images.",
        )
    settings, constant = choose(Eszsl(), dataset.stage("validation", "minmax", seed))
    chosen, seen = settings["calibrated H"], test.train.labels.unique()
    mean = test.attributes.double()[seen].mean(dim=0)
    # The prototype of a class is V (a − α), so those of the classes α + e_i are the columns of V.
    probes = torch.cat([test.attributes.double(), mean + torch.eye(len(mean), dtype=torch.float64)])
    (fitted,) = Eszsl().path(test.train.features, test.train.labels, probes, [chosen])
    return replace(
        model,
        method="eszsl",
        title=f"ESZSL, centered on {dataset.name}",
        settings={"feature_dim": test.feature_dim, "calibration": constant},
        scaling=fit_scaling(dataset.features, dataset.locations["trainval"], "minmax"),
        weights={
            "compatibility": fitted.prototypes_[len(test.attributes) :].T,
            "feature_mean": fitted.feature_mean_,
            "attribute_mean": mean.float(),
        },
        origin=model.origin | {"choice": ESZSL_ROW, "settings": dict(chosen), "constant": constant},
    )


def with_dazle(model: Model, tensors: dict[str, Tensor], dataset: RegionDataset) -> Model:
    """Add what `zslab.app.methods.dazle` needs."""
    config = model.config
    settings = {
        "feature_dim": dataset.regions.feature_dim,
        "word_dim": tensors["vectors"].shape[1],
        "grid": list(dataset.regions.grid),
        "options": {field.name: config[field.name] for field in fields(DazleOptions)},
        "margin": config["bias"] if config["is_bias"] else 0.0,
        "half_precision_regions": dataset.regions.dtype == np.float16,
        "calibration": model.origin.get("constant", 0.0),
    }
    return replace(model, settings=settings, weights=tensors)


def with_tfvaegan(
    model: Model, tensors: dict[str, Tensor], dataset: Dataset, gate_threshold: float | None, max_per_class: int, seed: int
) -> Model:
    """Add what `zslab.app.methods.tfvaegan` needs.

    Args:
        model: what is known of the run already.
        tensors: all weights of the run.
        dataset: its data.
        gate_threshold: in nats; None for a run without a gate.
        max_per_class: number of training features of each seen class to keep.
        seed: of their choice.
    """
    train = dataset.locations["trainval"]
    scaling = fit_scaling(dataset.features, train, "minmax")
    generator, labels = np.random.default_rng(seed), dataset.labels[train]
    kept = np.concatenate(
        [np.sort(generator.permutation(np.flatnonzero(labels == k))[:max_per_class]) for k in np.unique(labels)]
    )
    features, labels = scaling(dataset.features[train[kept]]), labels[kept]
    return replace(
        model,
        settings=_tfvaegan_settings(model.config, tensors, model.origin.get("constant", 0.0), gate_threshold),
        scaling=scaling,
        weights={name: value for name, value in tensors.items() if name.split(".")[0] in (*SERVED, *HEADS)},
        train=Samples(torch.from_numpy(features), torch.from_numpy(labels)) if len(kept) else None,
        train_share=max(len(kept), 1) / len(train),
    )


def _tfvaegan_settings(
    config: Mapping[str, object], tensors: dict[str, Tensor], constant: object, gate_threshold: float | None
) -> dict[str, object]:
    hidden_dim, feature_dim = tensors["decoder.hidden.weight"].shape
    attribute_dim = len(tensors["decoder.attributes.bias"])
    gate = None
    if gate_threshold is not None:
        gate = {"rule": config["ood_threshold"], "hidden_dim": config["ood_hidden"], "threshold": gate_threshold}
    return {
        "feature_dim": feature_dim,
        "hidden_dim": hidden_dim,
        "latent_dim": tensors["generator.hidden.weight"].shape[1] - attribute_dim,
        "decoder_output": "sigmoid" if config["bce_att"] else "unit_norm",
        "decoder_trained": config["recons_weight"] != 0,
        "transform": config["transform"],
        "uses_feedback": config["feedback_loop"] != 1,
        "feedback_synthesis": config["a2"],
        "n_synthetic": config["syn_num"],
        "head_lr": config["classifier_lr"],
        "head_epochs": config["classifier_epochs"],
        "head_batch_size": config["syn_num"],
        "calibration": 0.0 if gate else constant,
        "gate": gate,
    }
