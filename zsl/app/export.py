"""Makes a model file, which one can keep and pass on, out of a finished run's folder.

    python -m zsl.app.export runs/CUB-resnet101-att-tfvaegan-inductive-seed1-0a1b2c3d --output birds.zsl
    python -m zsl.app.export RUN --weights mobilenet_v2.safetensors        # embeds the backbone's weights
    python -m zsl.app.export RUN --weights none --random_weights           # ... drawn again, where the features are random
    python -m zsl.app.export RUN --no_backbone                             # leaves them out; --weights when predicting

The data that the run was trained on must still lie where the run's config says (or --dataroot): scaling and the training
features of the seen classes come from there. The finished file is held to the run: on the test samples it must predict
what the run did.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from zsl import flags
from zsl.app.model_file import Model, write_model
from zsl.app.predictor import Predictor
from zsl.app.tables import AttributeScale
from zsl.data.actions import read_action_set
from zsl.data.matfile import read_mat
from zsl.data.region_maps import RegionDataset
from zsl.data.xlsa17 import Dataset, Samples, fit_scaling, read_xlsa17
from zsl.errors import InputError, exit_status
from zsl.features.backbones import DESCRIPTOR, BackboneSpec
from zsl.features.descriptor import POOLED_DIM
from zsl.features.extraction import read_attribute_names
from zsl.features.media import medium_of
from zsl.features.video import SAMPLING
from zsl.features.weights import check_intent
from zsl.report.folder import FinishedRun, read_run
from zsl.runs.environment import resolve_folder

MAX_SEEN_PER_CLASS = 100
CHECKED = 256  # test samples at a time
AGREEMENT = 0.999  # of the run's test predictions; another machine may round a tie the other way


def export(
    run_dir: Path,
    output: Path,
    *,
    choice: str = "last",
    dataroot: Path | None = None,
    weights: str | Path | None = None,
    backbone: BackboneSpec | None = None,
    random_weights: bool = False,
    embed: bool = True,
    max_seen_per_class: int = MAX_SEEN_PER_CLASS,
    attribute_names: Path | None = None,
    seed: int = 0,
) -> Model:
    """Writes the model file of a run and returns what is in it.

    Args:
        choice: "last" (epoch) or "val", what --select val chose.
        dataroot: where the data lie, if not where the run's config says.
        weights: file with the backbone's weights, or "default" (downloaded); None: embedded only if the backbone has none.
        backbone: what made the features, where the feature file does not say.
        random_weights: with weights "none": an untrained backbone's, drawn as the extraction drew them.
        embed: whether the backbone's weights go into the file.
        max_seen_per_class: training features of each seen class to keep for new classes, drawn from `seed`; 0 keeps none.
        attribute_names: text file with a name a line, where the data set has none.

    Raises:
        InputError: the run is unfinished or older than its heads are kept, its data are missing or have changed, or the
            backbone's weights do not fit.
    """
    run = read_run(run_dir)
    tensors, about = _read_weights(run, choice)
    dataset, original = _read_data(run, dataroot)
    seen = np.zeros(len(dataset.class_names), dtype=bool)
    seen[dataset.labels[dataset.locations["trainval"]]] = True
    table, scale, names = _attribute_table(dataset, original, attribute_names)
    model = Model(
        method=run.result["method"], title=run.result["title"], class_names=dataset.class_names, attribute_names=names,
        seen=seen, attributes=torch.from_numpy(dataset.attributes), table=table, attribute_scale=scale, scaling=None,
        settings={}, weights={}, backbone=_backbone(dataset, original, backbone),
        config=run.result["config"], rows=run.result["rows"], notes=run.result["notes"], version=run.result["version"],
        origin={
            "run": run.path.name, "choice": choice, **about, "command": run.result["command"],
            "dataset": dataset.name, "image_embedding": dataset.image_embedding,
            "class_embedding": dataset.class_embedding, "split_version": dataset.split_version,
        },
    )
    if model.method == "dazle":
        model = _dazle_part(model, tensors, dataset)
    else:
        model = _tfvaegan_part(model, tensors, dataset, run, choice, max_seen_per_class, seed)
    model = _with_backbone(model, weights, random_weights, embed)
    _hold_to_the_run(model, dataset, run, choice)
    write_model(output, model)
    return model


def _read_weights(run: FinishedRun, choice: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors of the run's model, and its epoch, head epoch and, where there is one, constant."""
    path = run.path / f"model_{choice}.safetensors"
    try:
        with safe_open(path, framework="pt") as file:
            metadata, tensors = file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise InputError(
            "no such model in the run", where=path, found="nothing", expected="a file that the run wrote at its end",
            cure="Pass --choice last." if choice == "val" else "Train again with this version of zsl.",
        ) from None
    except Exception as error:  # the container's parser has errors of its own, which derive from nothing useful
        raise InputError("unreadable weights", where=path, found=error, expected="a whole safetensors file",
                         cure="Copy or train it again.") from None
    if "head_epoch" not in metadata:
        raise InputError(
            "a run of an earlier version", where=path, found="no heads", expected="weights of networks and heads",
            cure="Train again with this version of zsl (--overwrite); earlier ones did not keep the heads.",
        )
    about = {key: int(metadata[key]) for key in ("epoch", "head_epoch")}
    return tensors, about | ({"constant": float(metadata["constant"])} if "constant" in metadata else {})


def _read_data(run: FinishedRun, dataroot: Path | None) -> tuple[Dataset, dict[str, np.ndarray]]:
    """The data set of the run as it lies there now, and what its files say besides: "original_att" (A, C),
    "attribute_names", "attribute_low", "attribute_high", "backbone", as far as they do."""
    config, data = run.result["config"], run.result["data"]
    root = resolve_folder(Path(dataroot or config["dataroot"]))
    folder = root / data["dataset"]
    wanted = ["original_att", "attribute_names", "attribute_low", "attribute_high"]
    feature_file = folder / f"{data['image_embedding']}.mat"
    if run.result["method"] == "dazle":
        dataset = flags.read_region_dataset(SimpleNamespace(**config), root)
        found = {name: value for name in wanted if (value := dataset.regions.variable(name)) is not None}
        if "original_att" in found and found["original_att"].shape == dataset.attributes.shape:
            found["original_att"] = found["original_att"].T
        splits = folder / (config["split_file"] or "att_splits.mat")  # which the region file was made for
        if splits.is_file():
            found |= read_mat(splits, [], wanted)
        if "attribute_names" in dataset.regions.variables:
            found["attribute_names"] = np.array(dataset.attribute_names)
        if dataset.backbone:
            found["backbone"] = dataset.backbone
    else:
        split = config.get("split")
        if "manual_att" in config:  # actions
            dataset = read_action_set(root, data["dataset"], data["image_embedding"], config["class_embedding"], split,
                                      config["manual_att"], resolve_folder(Path(config["output"])) / "feature-cache")
        else:
            dataset = read_xlsa17(root, data["dataset"], data["image_embedding"], data["class_embedding"])
        splits = (folder if split is None else folder / f"split_{split}") / f"{config['class_embedding']}_splits.mat"
        found = read_mat(splits, [], wanted) | read_mat(feature_file, [], ["backbone"])
        found |= {"backbone": str(np.ravel(found["backbone"])[0])} if "backbone" in found else {}
    if "attribute_names" not in found and (folder / "attributes.txt").is_file():
        found["attribute_names"] = np.array(read_attribute_names(folder / "attributes.txt"))
    if dataset.class_names != data["class_names"] or dataset.counts != data["counts"]:
        raise InputError(
            "data that have changed since the run", where=folder, found=f"{dataset.counts}", expected=f"{data['counts']}",
            cure="Put back the data that the run was trained on, or train again.",
        )
    return dataset, found


def _attribute_table(
    dataset: Dataset, original: dict[str, np.ndarray], names_file: Path | None
) -> tuple[np.ndarray, AttributeScale, list[str]]:
    """The attributes as their author wrote them, how they became what the method sees, and their names."""
    n_classes, n_attributes = dataset.attributes.shape
    unit = AttributeScale.unit(n_attributes)
    table, scale = dataset.attributes.astype(np.float64), unit
    written = original.get("original_att")
    if written is not None and written.shape == (n_attributes, n_classes) and np.isfinite(written).all():
        written = written.T.astype(np.float64)
        ones = np.ones(n_attributes)
        # What a reader of the data may have done to them; what gives the very attributes of the run is it.
        candidates = [(written, unit), (np.maximum(written, 0), unit), (written, AttributeScale(-ones, ones))]
        if {"attribute_low", "attribute_high"} <= original.keys():
            ends = (original[f"attribute_{end}"].ravel().astype(np.float64) for end in ("low", "high"))
            candidates.insert(0, (written, AttributeScale(*ends)))
        for values, way in candidates:
            try:
                found = way.apply(values, dataset.class_names, "original_att")
            except InputError:
                continue
            if np.abs(found - dataset.attributes).max() < 1e-5:
                table, scale = values, way
                break
    names = [str(name) for name in original.get("attribute_names", ())]
    if names_file is not None:
        names = read_attribute_names(names_file, n_attributes)
    if len(names) != n_attributes or len(set(names)) < n_attributes:
        names = [f"attribute {number}" for number in range(1, n_attributes + 1)]
    return table, scale, names


def _backbone(dataset: Dataset, original: dict, given: BackboneSpec | None) -> dict | None:
    """What made the features: given, said by the feature file, or known by name; None where nobody knows."""
    if given is not None:
        return {"spec": given.to_json(), "weights": "not said by the feature file", "digest": ""}
    try:
        about = json.loads(original["backbone"])
        spec = medium_of(about["spec"]).spec.from_json(about["spec"])
        return {"spec": spec.to_json(), "weights": about["weights"], "digest": about["digest"]}
    except (ValueError, KeyError, TypeError, InputError):
        pass  # no description, or one that this version does not know
    if dataset.image_embedding == DESCRIPTOR and dataset.features.shape[1] == POOLED_DIM:
        return {"spec": BackboneSpec(DESCRIPTOR).to_json(), "weights": "closed formula, no weights", "digest": ""}
    return None


def _with_backbone(model: Model, weights: str | Path | None, random_weights: bool, embed: bool) -> Model:
    """Embeds the backbone's weights, where they are given; checks that they are those of the features."""
    if model.backbone is None or weights is None or model.backbone["spec"]["name"] == DESCRIPTOR:
        return model
    medium = medium_of(model.backbone["spec"])
    loaded = medium.load_backbone(medium.spec.from_json(model.backbone["spec"]), weights, random_weights=random_weights)
    digest = model.backbone["digest"]
    if digest and loaded.digest != digest:
        raise InputError(
            "other weights than those of the features", where="--weights", found=f"digest {loaded.digest}",
            expected=f"{digest} ({model.backbone['weights']})", cure="Pass the weights that made the features.",
        )
    about = model.backbone | {"digest": loaded.digest, "weights": model.backbone["weights"] if digest else loaded.weights}
    return replace(model, backbone=about, backbone_weights=loaded.state_dict() if embed else {})


def _dazle_part(model: Model, tensors: dict[str, Tensor], dataset: RegionDataset) -> Model:
    """What `zsl.app.methods.DazleMethod` needs."""
    config = SimpleNamespace(**model.config)
    settings = {
        "feature_dim": dataset.regions.feature_dim, "word_dim": tensors["vectors"].shape[1],
        "grid": list(dataset.regions.grid),
        "options": asdict(flags.dazle_options(config)), "margin": flags.dazle_margin(config),
        "half_precision_regions": dataset.regions.dtype == np.float16, "calibration": model.origin.get("constant", 0.0),
    }
    return replace(model, settings=settings, weights=tensors)


def _tfvaegan_part(
    model: Model, tensors: dict[str, Tensor], dataset: Dataset, run: FinishedRun, choice: str, max_per_class: int, seed: int
) -> Model:
    """What `zsl.app.methods.TfvaeganMethod` needs."""
    config = model.config
    train = dataset.locations["trainval"]
    scaling = fit_scaling(dataset.features, train, "minmax")
    generator, labels = np.random.default_rng(seed), dataset.labels[train]
    kept = np.concatenate([
        np.sort(generator.permutation(np.flatnonzero(labels == k))[:max_per_class]) for k in np.unique(labels)
    ])
    features, labels = scaling(dataset.features[train[kept]]), labels[kept]
    hidden_dim, feature_dim = tensors["decoder.hidden.weight"].shape
    attribute_dim = len(tensors["decoder.attributes.bias"])
    settings = {
        "feature_dim": feature_dim, "hidden_dim": hidden_dim,
        "latent_dim": tensors["generator.hidden.weight"].shape[1] - attribute_dim,
        "decoder_output": "sigmoid" if config.get("bce_att") else "unit_norm", "decoder_trained": config["recons_weight"] > 0,
        "transform": config["transform"], "uses_feedback": config["feedback_loop"] > 1, "feedback_synthesis": config["a2"],
        "n_synthetic": config["syn_num"], "head_lr": config["classifier_lr"], "head_epochs": config["classifier_epochs"],
        "head_batch_size": config["syn_num"], "calibration": model.origin.get("constant", 0.0), "gate": None,
    }
    if "detector.classes" in tensors:
        settings |= {"calibration": 0.0, "gate": {
            "rule": config["ood_threshold"], "lr": config["ood_lr"], "epochs": config["ood_epochs"],
            "batch_size": config["ood_batch_size"], "hidden_dim": config["ood_hidden"],
            "threshold": float(run.arrays[f"{choice}_gate_threshold"]),
        }}
    return replace(
        model, settings=settings, scaling=scaling,
        weights={k: v for k, v in tensors.items() if k.split(".")[0] not in ("encoder", "critic", "critic_unseen")},
        train=Samples(torch.from_numpy(features), torch.from_numpy(labels)) if len(kept) else None,
        train_share=max(len(kept), 1) / len(train),
    )


def _hold_to_the_run(model: Model, dataset: Dataset, run: FinishedRun, choice: str) -> None:
    """Refuses a model that does not predict what the run predicted on its test samples.

    Raises:
        InputError: it does not.
    """
    predictor = Predictor(model, device="cpu")
    given = {task: run.arrays.get(f"model_{choice}_{task}_predictions") for task in ("zsl", "gzsl")}
    expected = {task: labels for task, labels in given.items() if labels is not None and len(labels)}
    rows = {"zsl": dataset.locations["test_unseen"]}
    rows["gzsl"] = np.concatenate([dataset.locations["test_seen"], rows["zsl"]])
    read = dataset.regions.read if isinstance(dataset, RegionDataset) else dataset.features.__getitem__
    needed = rows["gzsl" if "gzsl" in expected else "zsl"]
    # Each is read, scaled and looked at once. That seen ones get scores among unseen classes, too, costs next to nothing.
    parts = [
        [scores.argmax(axis=1) for scores in predictor.decision_functions(read(part), [task == "zsl" for task in expected])]
        for part in np.array_split(needed, max(1, -(-len(needed) // CHECKED)))
    ]
    for task, found in zip(expected, map(np.concatenate, zip(*parts)), strict=True):
        found = found[len(found) - len(rows[task]):]  # test_unseen is last
        agreement = float((found == expected[task]).mean()) if len(found) == len(expected[task]) else 0.0
        if agreement < AGREEMENT:
            raise InputError(
                "a model that does not predict what its run did", where=f"{run.path}, {task}",
                found=f"{100 * agreement:.1f} % of the same test predictions", expected="all of them",
                cure="The data have changed since the run; put back the old ones or train again.",
            )


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m zsl.app.export", description=__doc__, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", type=Path, help="folder of a finished run")
    parser.add_argument("--output", type=Path, help="model file to write (<run>.zsl)")
    parser.add_argument("--choice", choices=("last", "val"), default="last", help="last epoch, or what --select val chose")
    parser.add_argument("--dataroot", type=Path, help="where the data lie, if not where the run says")
    parser.add_argument("--weights", help="file with the backbone's weights, or default to download them")
    parser.add_argument("--random_weights", action="store_true",
                        help="with --weights none: the features are of an untrained backbone, whose weights are drawn again")
    parser.add_argument("--backbone", help="what made the features, where the feature file does not say (resnet101, ...)")
    parser.add_argument("--no_backbone", action="store_true", help="leave the backbone's weights out of the file")
    parser.add_argument("--max_seen_per_class", type=int, default=MAX_SEEN_PER_CLASS,
                        help=f"training features of each seen class to keep for new classes ({MAX_SEEN_PER_CLASS}; 0: none)")
    parser.add_argument("--attribute_names", type=Path, help="text file with a name a line, where the data set has none")
    own = parser.parse_args(argv)
    return exit_status(lambda: _export_and_say(own))


def _export_and_say(own: argparse.Namespace) -> None:
    flags.check_at_least(0, own, "max_seen_per_class")
    output = own.output or Path(f"{own.run.resolve().name}.zsl")
    check_intent(own.weights or "default", own.random_weights)
    if own.backbone and own.backbone.split("_")[0] in SAMPLING:
        raise InputError(
            "a video backbone named afterwards", where="--backbone", found=own.backbone,
            expected="a network of pictures; a video's features depend on its windows, too",
            cure="Make the features again with zero-shot-actions/extract_features.py, which notes all of that.",
        )
    model = export(
        own.run, output, choice=own.choice, dataroot=own.dataroot, weights=own.weights, random_weights=own.random_weights,
        backbone=BackboneSpec(own.backbone) if own.backbone else None, embed=not own.no_backbone,
        max_seen_per_class=own.max_seen_per_class, attribute_names=own.attribute_names,
    )
    print(f"{output}: {model.title}, {model.seen.sum()} seen and {(~model.seen).sum()} unseen classes, "
          f"{len(model.attribute_names)} attributes, {output.stat().st_size / 2**20:.1f} MiB")
    if model.backbone is None:
        print("It takes features only: nobody says what made them. Pass --backbone to let it take pictures; for videos, make "
              "the features again with zero-shot-actions/extract_features.py and export again.")
    elif model.backbone["spec"]["name"] != DESCRIPTOR and not model.backbone_weights:
        spec = model.backbone["spec"]
        print(f"{medium_of(spec).name.capitalize()}s need the weights of {spec['name']} ({model.backbone['weights']}): pass "
              "--weights here to embed them, or to whatever opens the model.")


if __name__ == "__main__":
    sys.exit(main())
