"""Export a finished run as one model file with a card, which can be kept and passed on.

    zslab export runs/CUB-resnet101-att-tfvaegan-inductive-seed1-0a1b2c3d --output birds.zsl
    zslab export RUN --weights mobilenet_v2.safetensors        # embeds the backbone's weights
    zslab export RUN --weights none --random_weights           # draws them again, where the features are of random weights
    zslab export RUN --method "ESZSL, centered"                # a baseline instead of what validation favors
    zslab export RUN --no_backbone                             # leaves them out; pass --weights when predicting

The data of the run must still lie where its config says (or in --dataroot): scaling and the training features of the seen
classes come from there. The model is checked against the run: on the test samples it must predict what the run did.
"""

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import numpy as np
import torch
import tyro
from safetensors import safe_open
from torch import Tensor

from zslab.app.attribute_table import AttributeScale
from zslab.app.calibration import HeldOutScores, calibrate, fit_familiarity
from zslab.app.card import card_path, model_card
from zslab.app.methods.base import RunParts, methods
from zslab.app.methods.baseline import shares_space, with_baseline
from zslab.app.model_file import BackboneRecord, Model, write_model
from zslab.app.predictor import Predictor
from zslab.baselines.comparison import SERVED, TEXT_SIMILARITY, usable_baselines, validation_h
from zslab.data.dataset import Dataset
from zslab.data.fingerprint import fingerprint
from zslab.data.formats.matfile import read_mat
from zslab.data.formats.table import read_names
from zslab.data.region_dataset import RegionDataset
from zslab.datasets import DataSource, source_from_json
from zslab.errors import InputError, readable
from zslab.features.backbones import DESCRIPTOR, BackboneSpec
from zslab.features.descriptor import POOLED_DIM
from zslab.features.networks import check_intent
from zslab.features.sources import modality_of
from zslab.features.text import TextRecord
from zslab.features.video import SAMPLING
from zslab.method import load_method
from zslab.metrics import mean_class_accuracy
from zslab.protocol.held_out import validation_dataset
from zslab.protocol.selection import measure_at, select
from zslab.results.finished import FinishedRun, read_run
from zslab.results.folder import changed_data, content_digest
from zslab.results.names import ACCURACIES
from zslab.results.result import CALIBRATION, Calibration, ExportedCalibration
from zslab.utils.environment import resolve_folder
from zslab.utils.files import write_json, write_text
from zslab.utils.flags import check_at_least
from zslab.utils.names import find_names, logged_names

CHECKED = 256  # test samples at a time
NOTED = ["original_att", "attribute_names", "attribute_low", "attribute_high", "text_encoder"]  # original_att is (A, C)
AGREEMENT = 0.999  # of the run's test predictions; another machine may round a tie the other way
CHANGED = "The data have changed since the run: put back the old ones, or train again."
VIDEOS_AGAIN = "Make the features of videos again with `zslab extract`, which notes what made them."


@dataclass(frozen=True)
class ExportConfig:
    """Flags of `zslab export`."""

    run: tyro.conf.Positional[Path]  #: folder of a finished run
    output: Path | None = None  #: model file to write; None: RUN.zsl here
    choice: Literal["last", "val"] = "last"  #: last epoch, or what --select val chose
    #: the run's own method, file.py:NAME of one of yours, or a baseline ("ESZSL, centered"); None: what validation favors
    method: str | None = None
    dataroot: Path | None = None  #: where the data lie, if not where the run says
    weights: str | None = None  #: file with the backbone's weights, to embed them, or default to download them
    random_weights: bool = False  #: with --weights none: draw the weights of an untrained backbone again
    backbone: str | None = None  #: what made the features, where the feature file does not say (resnet101, ...)
    no_backbone: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False  #: leave the backbone's weights out of the file
    max_seen_per_class: int = 100  #: training features of each seen class to keep for new classes; 0: none


def export_command(config: ExportConfig) -> None:
    """Export as the command line asks, and print what was written and what it lacks."""
    model, path = export(config), _output(config)
    print(f"Method: {model.method}, {model.origin['chosen']}.")
    print(
        f"{path}: {model.title}, {model.seen.sum()} seen and {(~model.seen).sum()} unseen classes, "
        f"{len(model.attribute_names)} attributes, {path.stat().st_size / 2**20:.1f} MiB"
    )
    about = model.backbone
    if about is None:
        print(f"The model takes features only: nothing says what made them. Export again with --backbone NAME. {VIDEOS_AGAIN}")
    elif about.spec["name"] != DESCRIPTOR and not model.backbone_weights:
        what = f"{modality_of(about.spec).name}s, the model needs the weights of {about.spec['name']} ({about.weights})"
        print(f"To classify {what}: pass --weights here to embed them, or when predicting.")
    _keep_calibration(model, config.run)


def _keep_calibration(model: Model, run: Path) -> None:
    """Leave in a run's folder how reliable the exported model's probabilities are, and draw the run's report with it."""
    if model.calibration.after is None or not os.access(run, os.W_OK):
        return
    about = ExportedCalibration(method=model.method, **msgspec.structs.asdict(model.calibration))
    write_json(run / CALIBRATION, msgspec.to_builtins(about))
    if (run / "report.html").exists():
        from zslab.report.run import write_report  # draws everything anew, which `export` itself need not

        print(f"Report, with the reliability of the probabilities: {write_report(run.resolve())}")


def _output(config: ExportConfig) -> Path:
    return config.output or Path(f"{config.run.resolve().name}.zsl")


def export(config: ExportConfig) -> Model:
    """Write the model file of a run, and its card beside it; return what is in it."""
    check_at_least(0, config, "max_seen_per_class")
    check_intent(config.weights or "default", config.random_weights)
    run = read_run(config.run)
    dataset, original = _read_data(run, config.dataroot)
    if config.method is None:
        name, why = favored(run, dataset, original)
    elif ":" in config.method:
        methods(config.method)
        name, why = load_method(config.method).name, "as asked for"
    else:
        spelled = [name.replace(",", "") for name in methods()]  # "eszsl centered" will do
        (place,) = find_names([config.method.replace(",", "")], spelled, "--method", "method")
        name, why = list(methods())[place], "as asked for"
    if name not in methods():
        must, fix = "its Method must say what an exported model is", "Give it `served`, or export a baseline by --method."
        raise InputError(must, where=config.run, got=f"{name}, without it", fix=fix)
    tensors, about = read_weights(run.path, config.choice) if name == run.result.method else ({}, {})
    model, origin = model_of_data(dataset, original, name, config.backbone), {"chosen": why} | about
    threshold = float(run.arrays[f"{config.choice}_gate_threshold"]) if "detector.classes" in tensors else None
    model = msgspec.structs.replace(
        model,
        title=run.result.title,
        config=run.result.config,
        rows=[
            {"row": row.title if row.baseline else row.rule} | {m: row.value(m) for m in ACCURACIES} | {"rule": row.about}
            for row in run.result.rows
        ],
        notes=[*run.result.notes, *run.result.verdict],
        version=run.result.version,
        calibration=Calibration(about.get("constant", 0.0) if threshold is None else 0.0),  # a gate has its threshold instead
        origin=model.origin | {"run": run.path.name, "choice": config.choice, "command": run.result.command} | origin,
    )
    parts = RunParts(tensors, run.result.config, run.result.seed, threshold, config.max_seen_per_class)
    model = with_calibration(methods()[name].of_run(model, dataset, parts), dataset, original, run)
    model = _with_backbone(model, config)
    check_predictions(model, dataset, run)
    write_model(_output(config), model)
    write_text(card_path(_output(config)), model_card(model))
    return model


def model_of_data(dataset: Dataset, original: dict[str, np.ndarray], method: str, backbone: str | None = None) -> Model:
    """Return a model of a data set that lacks the method's weights alone."""
    seen = np.zeros(len(dataset.class_names), dtype=bool)
    seen[dataset.labels[dataset.locations["trainval"]]] = True
    table, scale, names = _attribute_table(dataset, original)
    text = TextRecord.of_split(original.get("text_encoder"))
    return Model(
        method=method,
        title=f"{method} on {dataset.name}",
        class_names=dataset.class_names,
        attribute_names=names,
        seen=seen,
        attributes=torch.from_numpy(dataset.attributes),
        table=table,
        attribute_scale=scale,
        settings={},
        weights={},
        backbone=_backbone(dataset, original, backbone),
        text=text if text is not None and len(text.check_vector) == len(names) else None,
        origin={"dataset": dataset.name}
        | {key: getattr(dataset, key) for key in ("image_embedding", "class_embedding", "split_version")},
    )


def favored(run: FinishedRun, dataset: Dataset, original: dict[str, np.ndarray]) -> tuple[str, str]:
    """Return the method of a run, or the baseline with a higher H on the run's validation stage, and why as a phrase.

    Every H is calibrated with the best offset there is on validation; a run with a gate has its threshold instead.
    """
    own = run.result.method
    if not run.validation_epochs or isinstance(dataset, RegionDataset):
        return own, "as trained; no validation run compares it with the baselines"
    choice = select(run.validation_epochs).h
    measured = [measure_at(run.validation_epochs, "gzsl", key, choice) for key in ("H_at_constant", "H")]
    h = next((value for value in measured if value is not None), None)
    if h is None:
        return own, "as trained; its validation run measured no H"
    validation = dataset.stage("validation", "minmax", run.result.seed)
    usable = usable_baselines(validation, seed=run.result.seed)
    found = {own: h} | {name: validation_h(baseline, validation) for name, baseline in usable.items()}
    if shares_space(model_of_data(dataset, original, TEXT_SIMILARITY)):
        baseline = SERVED[TEXT_SIMILARITY]
        found[TEXT_SIMILARITY] = validation_h(baseline, dataset.stage("validation", baseline.scaling, run.result.seed))
    best, second = sorted(found, key=found.__getitem__, reverse=True)[:2]
    return best, f"H {100 * found[best]:.1f} % on validation, before {second} with {100 * found[second]:.1f} %"


def read_weights(run: Path, choice: str) -> tuple[dict[str, Tensor], dict[str, int | float]]:
    """Return the tensors of a run's model, and its "epoch", "head_epoch" and, where there is one, "constant"."""
    path = run / f"model_{choice}.safetensors"
    fix = "Pass --choice last, or train again." if choice == "val" else "Copy it again, or train again."
    with readable(path, "the run must have the complete weights that it wrote", fix):
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no dict
            metadata = json.loads(file.metadata()["run"])
        if metadata["digest"] != content_digest(metadata, tensors):
            raise ValueError("content with another digest")
        about: dict[str, int | float] = {key: int(metadata[key]) for key in ("epoch", "head_epoch")}
        return tensors, about | ({"constant": float(metadata["constant"])} if "constant" in metadata else {})


def _read_data(run: FinishedRun, dataroot: Path | None) -> tuple[Dataset, dict[str, np.ndarray]]:
    """Open the data set of the run, unchanged, as its result describes it; see `read_data`."""
    config, data, result_file = run.result.config, run.result.data, run.path / "result.json"
    root, output = (resolve_folder(Path(str(path))) for path in (dataroot or config["dataroot"], config["output"]))
    dataset, original = read_data(source_from_json(data.source, result_file), root, output / "feature-cache")
    now = fingerprint(dataset)
    if now != data.fingerprint:
        raise changed_data(result_file, data.fingerprint, now)
    return dataset, original


def read_data(source: DataSource, root: Path, cache: Path) -> tuple[Dataset, dict[str, np.ndarray]]:
    """Open a data set, and what its files say besides: variables of split and feature files, and `NOTED`, as far as known."""
    dataset = source.open(root, cache)
    folder, splits = root / source.dataset, source.split_file(root)
    found: dict[str, np.ndarray] = read_mat(splits, [], NOTED) if splits.is_file() else {}
    if isinstance(dataset, RegionDataset):
        own = {name: value for name in NOTED if (value := dataset.regions.variable(name)) is not None}
        if own.get("original_att", np.empty(0)).shape == dataset.attributes.shape:
            own["original_att"] = own["original_att"].T
        if "attribute_names" in own:
            found["attribute_names"] = np.array(dataset.attribute_names)
        found = own | found | ({"backbone": np.array(dataset.backbone)} if dataset.backbone else {})
    else:
        found |= read_mat(folder / f"{source.image_embedding}.mat", [], ["backbone"])
    if "attribute_names" not in found and (folder / "attributes.txt").is_file():
        found["attribute_names"] = np.array(read_names(folder / "attributes.txt"))
    return dataset, found


def _attribute_table(dataset: Dataset, original: dict[str, np.ndarray]) -> tuple[np.ndarray, AttributeScale, list[str]]:
    """Return the attributes as their author wrote them, how they became what the method sees, and their names."""
    n_attributes = dataset.attributes.shape[1]
    unit, ones = AttributeScale.unit(n_attributes), np.ones(n_attributes)
    table, scale = dataset.attributes.astype(np.float64), unit
    written = original.get("original_att")
    if written is not None and written.T.shape == dataset.attributes.shape and np.isfinite(written).all():
        written = written.T.astype(np.float64)
        # What a reader of the data may have done to them; what gives the very attributes of the run is it.
        candidates = [(written, unit), (np.maximum(written, 0), unit), (written, AttributeScale(-ones, ones))]
        if {"attribute_low", "attribute_high"} <= original.keys():
            ends = (original[f"attribute_{end}"].ravel().astype(np.float64) for end in ("low", "high"))
            candidates.insert(0, (written, AttributeScale(*ends)))
        for values, way in candidates:
            with suppress(InputError):  # a class without attributes on that scale
                if np.abs(way.apply(values, dataset.class_names, "original_att") - dataset.attributes).max() < 1e-5:
                    table, scale = values, way
                    break
    names = logged_names(original.get("attribute_names", ()), "attribute_names", "attribute")
    if len(set(names)) != n_attributes or len(names) != n_attributes:
        names = [f"attribute {number}" for number in range(1, n_attributes + 1)]
    return table, scale, names


def with_calibration(model: Model, dataset: Dataset, original: dict[str, np.ndarray], run: FinishedRun) -> Model:
    """Return the model of a run with the temperature and the threshold of likeness that fit its validation stage.

    A baseline is fitted to that stage; networks are those of the validation run's last epoch. Without such a run, and for a
    model with a gate or for unseen classes alone, there is neither.
    """
    own, seed = model.method == run.result.method, run.result.seed
    if own and (not run.validation_epochs or model.settings.get("gate") or not Predictor(model, device="cpu").generalized):
        return model
    data = validation_dataset(dataset, seed)
    inner = model_of_data(data, original, model.method)
    if own:
        tensors, _ = read_weights(run.path / "validation", "last")
        inner = methods()[model.method].of_run(inner, data, RunParts(tensors, run.result.config, seed, max_seen_per_class=0))
    else:
        baseline = SERVED[model.method].with_settings(model.settings["arguments"])
        inner = with_baseline(inner, baseline, data, 0)
    rows = np.concatenate([data.locations["test_seen"], data.locations["test_unseen"]])
    scores = torch.cat(list(all_scores(Predictor(inner, device="cpu"), data, rows)))
    labels, offset, seen = torch.from_numpy(data.labels[rows]), model.calibration.offset, torch.from_numpy(inner.seen)
    halves = [HeldOutScores(scores[half::2], labels[half::2], seen, offset) for half in range(2)]
    return msgspec.structs.replace(
        model, calibration=calibrate(halves, offset), familiarity=fit_familiarity([data]) if model.train is not None else None
    )


def all_scores(predictor: Predictor, dataset: Dataset, rows: np.ndarray) -> Iterator[Tensor]:
    """Yield the scores (m, C) of samples (n,) of a data set, a part of them at a time, without an offset."""
    for part in _parts(dataset, rows):
        yield from (predictor.scores(output, False, 0.0).cpu() for output in predictor.outputs(part, False))


def _parts(dataset: Dataset, rows: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the features or region maps of samples (n,), of at most `CHECKED` at a time; each is read once."""
    read = dataset.regions.read if isinstance(dataset, RegionDataset) else dataset.features.__getitem__
    yield from map(read, np.array_split(rows, len(rows) // CHECKED + 1))


def _backbone(dataset: Dataset, original: dict[str, np.ndarray], given: str | None) -> BackboneRecord | None:
    """Return what made the features: as given, as the feature file says, or as its name says; None if nothing does."""
    if given is not None:
        if given.split("_")[0] in SAMPLING:
            must = "--backbone must be a network of images; the features of a video depend on its windows, too"
            raise InputError(must, where="--backbone", got=given, fix=VIDEOS_AGAIN)
        return BackboneRecord(BackboneSpec(given).to_json(), "not said by the feature file", "")
    with suppress(ValueError, KeyError, TypeError):  # no description, or one that this version does not know
        about = json.loads(str(np.ravel(original["backbone"])[0]))
        spec = modality_of(about["spec"]).spec.from_json(about["spec"])
        return BackboneRecord(spec.to_json(), about["weights"], about["digest"])
    if dataset.image_embedding == DESCRIPTOR and dataset.features.shape[1] == POOLED_DIM:
        return BackboneRecord(BackboneSpec(DESCRIPTOR).to_json(), "closed formula, no weights", "")
    return None


def _with_backbone(model: Model, config: ExportConfig) -> Model:
    """Return the model with the weights of its backbone, if they are given and are those of the features."""
    about = model.backbone
    if about is None or config.weights is None or about.spec["name"] == DESCRIPTOR:
        return model
    loaded = about.load(config.weights, "--weights", random_weights=config.random_weights)
    record = BackboneRecord(loaded.spec.to_json(), about.weights if about.digest else loaded.weights, loaded.digest)
    weights = {} if config.no_backbone else loaded.state_dict()
    return msgspec.structs.replace(model, backbone=record, backbone_weights=weights)


def check_predictions(model: Model, dataset: Dataset, run: FinishedRun) -> None:
    """Check that a model predicts on the test samples what its run did: the very classes, or a baseline's accuracies."""
    predictor, choice, places = Predictor(model, device="cpu"), model.origin["choice"], dataset.locations
    stored = {task: run.arrays.get(f"model_{choice}_{task}_predictions") for task in ("zsl", "gzsl")}
    expected = {task: classes for task, classes in stored.items() if classes is not None and len(classes)}
    needed, n_seen = np.concatenate([places["test_seen"], places["test_unseen"]]), len(places["test_seen"])
    predicted: dict[str, list[Tensor]] = {task: [] for task in expected or ["gzsl"]}
    for part in _parts(dataset, needed):
        for output in predictor.outputs(part):
            for task, parts in predicted.items():
                parts.append(predictor.scores(output, task == "zsl", 0.0 if expected else None).argmax(dim=1))
    agreement = {
        task: float((torch.cat(predicted[task])[-len(classes) :].numpy() == classes).mean())  # unseen ones are last
        for task, classes in expected.items()
    }
    row = next((row for row in run.result.rows if row.title == choice and row.rule != "validation"), None)
    if row is not None and not expected and len(needed):
        labels, found = torch.from_numpy(dataset.labels[needed]), torch.cat(predicted["gzsl"])
        sides = (("acc_seen", slice(n_seen), row.acc_seen), ("acc_unseen", slice(n_seen, None), row.acc_unseen))
        for name, side, accuracy in sides:
            if accuracy is not None and len(labels[side]):
                again = mean_class_accuracy(labels[side], found[side], labels[side].unique())
                agreement[name] = 1 - abs(again - accuracy)
    for what, share in agreement.items():
        if share < AGREEMENT:
            must = "the model must predict on the test samples what its run did"
            raise InputError(must, where=f"{run.path}, {what}", got=f"{100 * share:.1f} % of it", fix=CHANGED)
