"""Export a finished run as one model file with a card, which can be kept and passed on.

    zslab export runs/CUB-resnet101-att-tfvaegan-inductive-seed1-0a1b2c3d --output birds.zsl
    zslab export RUN --weights mobilenet_v2.safetensors        # embeds the backbone's weights
    zslab export RUN --weights none --random_weights           # draws them again, where the features are of random weights
    zslab export RUN --method eszsl                            # the closed-form baseline, often the best on small sets
    zslab export RUN --no_backbone                             # leaves them out; pass --weights when predicting

The data of the run must still lie where its config says (or in --dataroot): scaling and the training features of the seen
classes come from there. The model is checked against the run: on the test samples it must predict what the run did.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from zslab.app.attribute_table import AttributeScale
from zslab.app.card import card_path, model_card
from zslab.app.model_file import Model, write_model
from zslab.app.predictor import Predictor
from zslab.app.trained_parts import read_weights, row_values, with_dazle, with_eszsl, with_tfvaegan
from zslab.data.dataset import Dataset
from zslab.data.fingerprint import fingerprint
from zslab.data.formats.matfile import read_mat
from zslab.data.formats.names import read_names
from zslab.data.region_dataset import RegionDataset
from zslab.datasets import source_from_json
from zslab.errors import InputError, exit_status
from zslab.features.backbones import DESCRIPTOR, BackboneSpec
from zslab.features.descriptor import POOLED_DIM
from zslab.features.modality import modality_of
from zslab.features.text import TextRecord
from zslab.features.video import SAMPLING
from zslab.features.weights import check_intent
from zslab.metrics import mean_class_accuracy
from zslab.results.finished import FinishedRun, read_run
from zslab.results.folder import changed_data
from zslab.utils.environment import resolve_folder
from zslab.utils.files import write_text
from zslab.utils.flags import check_at_least
from zslab.utils.names import logged_names

MAX_SEEN_PER_CLASS = 100
CHECKED = 256  # test samples at a time
AGREEMENT = 0.999  # of the run's test predictions; another machine may round a tie the other way


def export(
    run_dir: Path,
    output: Path,
    *,
    choice: str = "last",
    method: str | None = None,
    dataroot: Path | None = None,
    weights: str | Path | None = None,
    backbone: BackboneSpec | None = None,
    random_weights: bool = False,
    embed: bool = True,
    max_seen_per_class: int = MAX_SEEN_PER_CLASS,
    attribute_names: Path | None = None,
    seed: int = 0,
) -> Model:
    """Write the model file of a run, and its card beside it; return what is in it.

    Args:
        run_dir: folder of a finished run.
        output: file to write.
        choice: "last" (epoch) or "val", what --select val chose.
        method: "eszsl" for the run's closed-form baseline instead of what it trained.
        dataroot: where the data lie, if not where the run's config says.
        weights: file with the backbone's weights, or "default" (downloaded); None embeds none.
        backbone: what made the features, where the feature file does not say.
        random_weights: with weights "none": an untrained backbone's, drawn as the extraction drew them.
        embed: whether the backbone's weights go into the file.
        max_seen_per_class: training features of each seen class to keep for new classes; 0 keeps none.
        attribute_names: text file with a name a line, where the data set has none.
        seed: of the choice of training features.

    Raises:
        InputError: the run is unfinished, its data are missing or have changed, or the backbone's weights do not fit.
    """
    run = read_run(run_dir)
    tensors, about = ({}, {}) if method == "eszsl" else read_weights(run, choice)
    dataset, original = _read_data(run, dataroot)
    seen = np.zeros(len(dataset.class_names), dtype=bool)
    seen[dataset.labels[dataset.locations["trainval"]]] = True
    table, scale, names = _attribute_table(dataset, original, attribute_names)
    text = TextRecord.of_split(original.get("text_encoder"))
    model = Model(
        method=run.result.method,
        title=run.result.title,
        class_names=dataset.class_names,
        attribute_names=names,
        seen=seen,
        attributes=torch.from_numpy(dataset.attributes),
        table=table,
        attribute_scale=scale,
        scaling=None,
        settings={},
        weights={},
        backbone=_backbone(dataset, original, backbone),
        text=text if text is not None and len(text.check_vector) == len(names) else None,
        config=run.result.config,
        rows=[row_values(row) for row in run.result.rows],
        notes=[*run.result.notes, *run.result.verdict],
        version=run.result.version,
        origin=_origin(run, dataset, choice) | about,
    )
    if method == "eszsl":
        model = with_eszsl(model, dataset, run.result.seed)
    elif isinstance(dataset, RegionDataset):
        model = with_dazle(model, tensors, dataset)
    else:
        threshold = float(run.arrays[f"{choice}_gate_threshold"]) if "detector.classes" in tensors else None
        model = with_tfvaegan(model, tensors, dataset, threshold, max_seen_per_class, seed)
    model = _with_backbone(model, weights, random_weights, embed)
    if method == "eszsl":
        check_accuracies(model, dataset, run)
    else:
        check_predictions(model, dataset, run, choice)
    write_model(output, model)
    write_text(card_path(output), model_card(model))
    return model


def _origin(run: FinishedRun, dataset: Dataset, choice: str) -> dict[str, object]:
    """Return where a model comes from."""
    return {
        "run": run.path.name,
        "choice": choice,
        "command": run.result.command,
        "dataset": dataset.name,
        "image_embedding": dataset.image_embedding,
        "class_embedding": dataset.class_embedding,
        "split_version": dataset.split_version,
    }


def _read_data(run: FinishedRun, dataroot: Path | None) -> tuple[Dataset, dict[str, np.ndarray]]:
    """Open the data set of the run, as its result describes it, and what its files say besides.

    Returns:
        The data set; "original_att" (A, C), "attribute_names", "attribute_low", "attribute_high", "text_encoder",
        "backbone", as far as known.

    Raises:
        InputError: the data are missing or have changed since the run.
    """
    config, data = run.result.config, run.result.data
    root = resolve_folder(dataroot or Path(str(config["dataroot"])))
    result_file = run.path / "result.json"
    source = source_from_json(data.source, result_file)
    dataset = source.open(root, resolve_folder(Path(str(config["output"]))) / "feature-cache")
    now = fingerprint(dataset)
    if now != data.fingerprint:
        raise changed_data(result_file, data.fingerprint, now)
    names = ["original_att", "attribute_names", "attribute_low", "attribute_high", "text_encoder"]
    folder, splits = root / source.dataset, source.split_file(root)
    found: dict[str, np.ndarray] = {}
    if isinstance(dataset, RegionDataset):
        found = {name: value for name in names if (value := dataset.regions.variable(name)) is not None}
        if "original_att" in found and found["original_att"].shape == dataset.attributes.shape:
            found["original_att"] = found["original_att"].T
    if splits.is_file():
        found |= read_mat(splits, [], names)
    if isinstance(dataset, RegionDataset):
        if dataset.regions.variable("attribute_names") is not None:
            found["attribute_names"] = np.array(dataset.attribute_names)
        if dataset.backbone:
            found["backbone"] = np.array(dataset.backbone)
    else:
        about = read_mat(folder / f"{source.image_embedding}.mat", [], ["backbone"])
        found |= {"backbone": np.ravel(about["backbone"])[:1]} if "backbone" in about else {}
    if "attribute_names" not in found and (folder / "attributes.txt").is_file():
        found["attribute_names"] = np.array(read_names(folder / "attributes.txt"))
    return dataset, found


def _attribute_table(
    dataset: Dataset, original: dict[str, np.ndarray], names_file: Path | None
) -> tuple[np.ndarray, AttributeScale, list[str]]:
    """Return the attributes as their author wrote them, how they became what the method sees, and their names."""
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
    names = logged_names(original.get("attribute_names", ()), "attribute_names", "attribute")
    if names_file is not None:
        names = read_names(names_file, n_attributes)
    if len(names) != n_attributes or len(set(names)) < n_attributes:
        names = [f"attribute {number}" for number in range(1, n_attributes + 1)]
    return table, scale, names


def _backbone(dataset: Dataset, original: dict[str, np.ndarray], given: BackboneSpec | None) -> dict[str, object] | None:
    """Return what made the features: as given, as the feature file says, or as its name says; None if nothing does."""
    if given is not None:
        return {"spec": given.to_json(), "weights": "not said by the feature file", "digest": ""}
    try:
        about = json.loads(str(np.ravel(original["backbone"])[0]))
        spec = modality_of(about["spec"]).spec.from_json(about["spec"])
        return {"spec": spec.to_json(), "weights": about["weights"], "digest": about["digest"]}
    except (ValueError, KeyError, TypeError, InputError):
        pass  # no description, or one that this version does not know
    if dataset.image_embedding == DESCRIPTOR and dataset.features.shape[1] == POOLED_DIM:
        return {"spec": BackboneSpec(DESCRIPTOR).to_json(), "weights": "closed formula, no weights", "digest": ""}
    return None


def _with_backbone(model: Model, weights: str | Path | None, random_weights: bool, embed: bool) -> Model:
    """Return the model with the weights of its backbone, if they are given and are those of the features."""
    if model.backbone is None or weights is None:
        return model
    modality = modality_of(model.backbone["spec"])
    spec = modality.spec.from_json(model.backbone["spec"])
    if spec.name == DESCRIPTOR:
        return model
    loaded = modality.load_backbone(spec, weights, random_weights=random_weights)
    digest = model.backbone["digest"]
    if digest and loaded.digest != digest:
        raise InputError(
            "the weights are not those of the features",
            where="--weights",
            found=f"digest {loaded.digest}",
            expected=f"{digest} ({model.backbone['weights']})",
            fix="Pass the weights that made the features.",
        )
    source = model.backbone["weights"] if digest else loaded.weights
    about = model.backbone | {"spec": loaded.spec.to_json(), "digest": loaded.digest, "weights": source}
    return replace(model, backbone=about, backbone_weights=loaded.state_dict() if embed else {})


def check_predictions(model: Model, dataset: Dataset, run: FinishedRun, choice: str) -> None:
    """Check that a model predicts on the test samples what its run predicted.

    Raises:
        InputError: it does not.
    """
    predictor = Predictor(model, device="cpu")
    stored = {task: run.arrays.get(f"model_{choice}_{task}_predictions") for task in ("zsl", "gzsl")}
    expected = {task: labels for task, labels in stored.items() if labels is not None and len(labels)}
    rows = {"zsl": dataset.locations["test_unseen"]}
    rows["gzsl"] = np.concatenate([dataset.locations["test_seen"], rows["zsl"]])
    read = dataset.regions.read if isinstance(dataset, RegionDataset) else dataset.features.__getitem__
    needed = rows["gzsl" if "gzsl" in expected else "zsl"]
    # Each sample is read once. That seen ones get scores among unseen classes, too, costs next to nothing.
    parts = [
        [scores.argmax(axis=1) for scores in predictor.decision_functions(read(part), [task == "zsl" for task in expected])]
        for part in np.array_split(needed, max(1, -(-len(needed) // CHECKED)))
    ]
    for task, predicted in zip(expected, map(np.concatenate, zip(*parts)), strict=True):
        predicted = predicted[len(predicted) - len(rows[task]) :]  # test_unseen is last
        same = len(predicted) == len(expected[task]) and float((predicted == expected[task]).mean())
        if same < AGREEMENT:
            raise InputError(
                "the model does not predict what its run did",
                where=f"{run.path}, {task}",
                found=f"{100 * same:.1f} % of the same test predictions",
                expected="all of them",
                fix="The data have changed since the run; put back the old ones or train again.",
            )


def check_accuracies(model: Model, dataset: Dataset, run: FinishedRun) -> None:
    """Check that an exported baseline has the accuracies that its run found for it, where it found any.

    Raises:
        InputError: it has others.
    """
    row = run.result.row("val + calibration", "ESZSL, centered")
    predictor = Predictor(model, device="cpu")
    for measure, expected, part in (
        ("acc_unseen", row.acc_unseen if row else None, "test_unseen"),
        ("acc_seen", row.acc_seen if row else None, "test_seen"),
    ):
        rows = dataset.locations[part]
        if expected is None or not len(rows):
            continue
        scores = predictor.decision_function(dataset.features[rows], calibration=float(str(model.settings["calibration"])))
        predicted = torch.from_numpy(scores.argmax(axis=1))
        labels = torch.from_numpy(dataset.labels[rows])
        found = mean_class_accuracy(labels, predicted, labels.unique())
        if abs(found - expected) > 1 - AGREEMENT:
            raise InputError(
                "the baseline does not have the accuracy that its run found",
                where=f"{run.path}, {measure}",
                found=f"{100 * found:.1f} %",
                expected=f"{100 * expected:.1f} %",
                fix="The data have changed since the run; put back the old ones or train again.",
            )


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    return exit_status(lambda: _export_and_report(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="zslab export", description=__doc__, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="folder of a finished run")
    parser.add_argument("--output", type=Path, help="model file to write (<run>.zsl)")
    parser.add_argument("--choice", choices=("last", "val"), default="last", help="last epoch, or what --select val chose")
    parser.add_argument("--method", choices=("eszsl",), help="the run's closed-form baseline (ESZSL, centered) instead")
    parser.add_argument("--dataroot", type=Path, help="where the data lie, if not where the run says")
    parser.add_argument("--weights", help="file with the backbone's weights, or default to download them")
    parser.add_argument(
        "--random_weights", action="store_true", help="with --weights none: draw the weights of an untrained backbone again"
    )
    parser.add_argument("--backbone", help="what made the features, where the feature file does not say (resnet101, ...)")
    parser.add_argument("--no_backbone", action="store_true", help="leave the backbone's weights out of the file")
    parser.add_argument(
        "--max_seen_per_class",
        type=int,
        default=MAX_SEEN_PER_CLASS,
        help=f"training features of each seen class to keep for new classes ({MAX_SEEN_PER_CLASS}; 0: none)",
    )
    parser.add_argument("--attribute_names", type=Path, help="text file with a name a line, where the data set has none")
    return parser


def _export_and_report(arguments: argparse.Namespace) -> None:
    """Export as the command line asks, and print what was written and what it lacks."""
    check_at_least(0, arguments, "max_seen_per_class")
    output = arguments.output or Path(f"{arguments.run.resolve().name}.zsl")
    check_intent(arguments.weights or "default", arguments.random_weights)
    if arguments.backbone and arguments.backbone.split("_")[0] in SAMPLING:
        raise InputError(
            "a video backbone cannot be named afterwards",
            where="--backbone",
            found=arguments.backbone,
            expected="a network of images; the features of a video depend on its windows, too",
            fix="Make the features again with zero-shot-actions/extract_features.py, which notes all of that.",
        )
    model = export(
        arguments.run,
        output,
        choice=arguments.choice,
        method=arguments.method,
        dataroot=arguments.dataroot,
        weights=arguments.weights,
        random_weights=arguments.random_weights,
        backbone=BackboneSpec(arguments.backbone) if arguments.backbone else None,
        embed=not arguments.no_backbone,
        max_seen_per_class=arguments.max_seen_per_class,
        attribute_names=arguments.attribute_names,
    )
    print(
        f"{output}: {model.title}, {model.seen.sum()} seen and {(~model.seen).sum()} unseen classes, "
        f"{len(model.attribute_names)} attributes, {output.stat().st_size / 2**20:.1f} MiB"
    )
    if model.backbone is None:
        print(
            "The model takes features only, because nothing says what made them. Pass --backbone to let it take images; for "
            "videos, make the features again with zero-shot-actions/extract_features.py and export again."
        )
        return
    modality = modality_of(model.backbone["spec"])
    spec = modality.spec.from_json(model.backbone["spec"])
    if spec.name != DESCRIPTOR and not model.backbone_weights:
        print(
            f"To classify {modality.name}s, the model needs the weights of {spec.name} ({model.backbone['weights']}): pass "
            "--weights here to embed them, or when predicting."
        )
