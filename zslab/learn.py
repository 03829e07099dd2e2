"""From a folder of images and a table of attributes to a model file, in one command.

    zslab learn --images birds --attributes birds.csv --output birds.zsl
    zslab learn --images birds --attributes birds.csv --output birds.zsl --backbone mobilenet_v2 --methods all
    zslab learn --images birds --describe names --unseen Kingfisher --output birds.zsl --backbone open_clip:ViT-B-32,openai

The data set is prepared as by `zslab prepare`, whose flags all apply. The candidates are measured on seen classes that are held
out as if they were unseen, in several draws; the best becomes the model, calibrated on the same draws. Beside the model file
there are its card and a report, birds.card.md and birds.html. The candidates are the baselines, which take seconds, and with
`--methods all` TF-VAEGAN and, if region maps are asked for by `--write_regions`, DAZLE. Where class vectors are text
(`--describe`) of the same open_clip model as the features, their plain similarity is one, too. Repeated with the same images
and flags, the command takes the features that it made before.
"""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import torch

from zslab.app.calibration import calibrate, fit_familiarity
from zslab.app.candidates import HEAD, NO_DRAWS, Candidate, best_candidate, choose_settings, measure_baseline, measure_baselines
from zslab.app.card import card_path, model_card
from zslab.app.export import all_scores, model_of_data, read_data
from zslab.app.methods.baseline import shares_space, with_baseline
from zslab.app.model_file import Model, write_model
from zslab.app.own_data import LEFT_OUT, SPLIT_FILE, OwnData, PrepareConfig, make_data_set
from zslab.app.predictor import Predictor
from zslab.baselines.comparison import SERVED, TEXT_SIMILARITY, Measured, seeded
from zslab.data.dataset import Dataset
from zslab.datasets import RegionSource, Xlsa17Source
from zslab.errors import InputError, examples
from zslab.estimator import fit_dazle, fit_tfvaegan
from zslab.features.backbones import Backbone, load_backbone
from zslab.features.images import SUFFIXES
from zslab.features.sources import Images, read_class_folders
from zslab.metrics import seen_unseen_curve
from zslab.protocol.held_out import held_out_draws
from zslab.report.page import duration, write_page
from zslab.report.plots.classes import reliability_plot
from zslab.results.result import Calibration
from zslab.results.text import aligned
from zslab.utils.environment import as_typed, command_line, resolve_device, resolve_folder
from zslab.utils.files import converted, read_json, write_text

Fit = Callable[[Model, Any, int, str], Model]  # trains on the training samples of a data set, for a seed and a device
PREPARED = "learned.json"  # beside the features: which inputs they were made of, and what was made
NOT_MEASURED = (
    "Nothing can be measured: that takes at least 3 classes with images, so that one can be held out, and 2 training images in "
    "one of the others. The model is {}, the baseline with the fewest settings, and its probabilities are not calibrated."
)
RULE = "mean over draws of seen classes that are held out as unseen"
CAPTION = (
    "Mean ± standard deviation over {} draws of seen classes that are held out as unseen: accuracy on them when predicting "
    "among all classes, and H, its harmonic mean with the accuracy on seen classes. Other draws choose settings and offset."
)


@dataclass(frozen=True)
class LearnConfig(PrepareConfig):
    """Flags of `zslab learn`: its own, and those of `zslab prepare`."""

    output: Path = Path("model.zsl")  #: model file to write; the data set is named after it unless --name says otherwise
    #: candidates: the baselines, which take seconds, or TF-VAEGAN as well and, with --write_regions, DAZLE
    methods: Literal["baselines", "all"] = "baselines"


class Prepared(msgspec.Struct):
    """What `_digest` was when a data set was made, and the fields of its `OwnData` but the folder."""

    digest: str
    made: dict[str, Any]


def learn(config: LearnConfig) -> int:
    """Prepare, extract, choose, calibrate, export and report; return the exit status."""
    start = time.perf_counter()
    if config.name == PrepareConfig.name:
        config = replace(config, name=config.output.stem)
    if config.output.exists() and config.output.read_bytes()[8:9] != b"{":
        fix = "Name another one."
        raise InputError("the output must be new, or a model file", where="--output", got=config.output, fix=fix)
    found = read_class_folders(resolve_folder(config.images), SUFFIXES, "image")  # a wrong path is reported before a download
    config.check_sources()
    backbone = load_backbone(config.spec, config.weights, device=resolve_device(config.device))
    made = _prepared(config, backbone, found)
    source = Xlsa17Source(made.folder.name, made.features, "att")
    dataset, original = read_data(source, made.folder.parent, made.folder)
    draws = held_out_draws(dataset)
    trained = _trained_methods(config, made, dataset, original) if config.methods == "all" else {}
    candidates = measure_baselines([draw.stage("test") for draw in draws], config.seed) if draws else []
    unmeasured = NO_DRAWS
    if shares_space(model_of_data(dataset, original, TEXT_SIMILARITY)):
        unmeasured, baseline = TEXT_SIMILARITY, SERVED[TEXT_SIMILARITY]
        stages = [draw.stage("test", baseline.scaling) for draw in draws]
        candidates += [measure_baseline(TEXT_SIMILARITY, baseline, stages)] if draws else []
    candidates += [_measure(config, name, *trained[name], draws) for name in trained if draws]
    reason, chosen = NOT_MEASURED.format(unmeasured), None
    if candidates:
        chosen, reason = best_candidate(candidates)
        print("\n".join(aligned([HEAD, *(each.cells for each in candidates)])))
    print(reason)
    if chosen is not None and chosen.name in trained:
        model = _train(config, chosen.name, *trained[chosen.name])
    else:
        name, settings = (chosen.name, chosen.settings) if chosen else (unmeasured, {})
        baseline = seeded(SERVED[name], config.seed).with_settings(settings)
        model = with_baseline(model_of_data(dataset, original, name), baseline, dataset)
    model = msgspec.structs.replace(
        model,
        calibration=calibrate(chosen.parts, chosen.offset) if chosen else Calibration(),
        backbone_weights=backbone.state_dict(),
        familiarity=fit_familiarity(draws) if draws and model.train is not None else None,
        rows=[
            {"row": each.name, "acc_unseen": float(np.mean(each.accuracy)), "H": float(np.mean(each.h)), "rule": RULE}
            for each in candidates
        ],
        notes=[reason],
        config={"seed": config.seed, "methods": config.methods},
        origin=model.origin | {"choice": model.method, "command": command_line()},
    )
    write_model(config.output, model)
    write_text(card_path(config.output), model_card(model))
    report = _report(config, model, candidates, reason, made, time.perf_counter() - start)
    for sentence in _sentences(model, made):
        print(f"Note: {sentence}")
    print(f"-> {config.output}, {card_path(config.output)}, {report}")
    print(f"Classify images:\n  {as_typed(['zslab', 'predict', '--model', str(config.output), 'photo.jpg'])}")
    return LEFT_OUT if made.left_out else 0


def _prepared(config: LearnConfig, backbone: Backbone, found: Images) -> OwnData:
    """Make the data set, or return what was made of the same inputs before."""
    digest, path = _digest(config, backbone, found), config.folder / PREPARED
    if path.exists():
        before = converted(read_json(path), Prepared, path, "Delete the file, and repeat the command.")
        if before.digest == digest and (config.folder / SPLIT_FILE).exists() and not config.overwrite:
            print(f"Features: as made before in {config.folder}")
            return OwnData(config.folder, **before.made)
        config = replace(config, overwrite=True)  # of other inputs, and by this command
        path.unlink()
    made = make_data_set(config, backbone, found)
    values = {key: value for key, value in vars(made).items() if key != "folder"}
    write_text(path, msgspec.json.encode(Prepared(digest, values)).decode())
    return made


def _digest(config: LearnConfig, backbone: Backbone, found: Images) -> str:
    """Return digits that change with the images' names, sizes and times, the table, the backbone or a flag of the data."""
    flags = {
        key: value for key, value in vars(config).items() if key not in ("output", "methods", "device", "overwrite", "workers")
    }
    digest = hashlib.sha256(f"{sorted(flags.items(), key=str)} {backbone.identity()}".encode())
    described = Path(config.describe) if config.describe else None
    tables = [path for path in (config.attributes, config.word_vectors, described) if path is not None]
    for path in [*tables, *(found.root / file for file in found.files)]:
        status = path.expanduser().stat() if path.expanduser().exists() else None
        digest.update(f"{path} {status and (status.st_size, status.st_mtime_ns)}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()[:16]


def _trained_methods(
    config: LearnConfig, made: OwnData, dataset: Dataset, original: dict[str, np.ndarray]
) -> dict[str, tuple[Fit, Dataset, dict[str, np.ndarray]]]:
    """Return TF-VAEGAN and, where there are region maps, DAZLE, with their data, by name."""
    found: dict[str, tuple[Fit, Dataset, dict[str, np.ndarray]]] = {"tfvaegan": (fit_tfvaegan, dataset, original)}
    if made.regions is not None:
        source = RegionSource(made.folder.name, made.regions, splits=SPLIT_FILE)
        found["dazle"] = (fit_dazle, *read_data(source, made.folder.parent, made.folder))
    return found


def _train(
    config: LearnConfig, name: str, fit: Fit, dataset: Dataset, original: dict[str, np.ndarray], draw: Dataset | None = None
) -> Model:
    """Train a method on all training samples, or on those of a draw."""
    if draw is not None:
        dataset = replace(dataset, locations=draw.locations, split_version="none", unseen_classes=draw.unseen_classes)
    return fit(model_of_data(dataset, original, name), dataset, config.seed, config.device)


def _measure(
    config: LearnConfig, name: str, fit: Fit, dataset: Dataset, original: dict[str, np.ndarray], draws: list[Dataset]
) -> Candidate:
    """Measure a trained method on every draw."""
    start, scores, tried = time.perf_counter(), [], []
    stages = [draw.stage("test") for draw in draws]
    for draw, data in zip(draws, stages):
        places = np.concatenate([draw.locations["test_seen"], draw.locations["test_unseen"]])
        predictor = Predictor(_train(config, name, fit, dataset, original, draw))
        scores.append(torch.cat(list(all_scores(predictor, dataset, places))))
        curve = seen_unseen_curve(scores[-1], data.test_labels, data.seen_classes, data.unseen_classes)
        tried.append([Measured(float("nan"), curve)])  # accuracy among unseen classes alone takes no part
    return choose_settings(name, stages, tried, lambda draw, setting: scores[draw], start=start)


def _sentences(model: Model, made: OwnData) -> list[str]:
    """Return what a user should know of the data and of the probabilities."""
    sentences = list(made.warnings)
    if made.untested:
        sentences.append(
            f"These unseen classes have no images, so their own accuracy is not measured: {examples(made.untested)}."
        )
    if model.calibration.before is not None and model.calibration.after is not None:
        before, after = (100 * each.error for each in (model.calibration.before, model.calibration.after))
        sentences.append(
            f"Expected calibration error on held-out images: {before:.1f} points before, {after:.1f} after calibration."
        )
    return sentences


def _report(config: LearnConfig, model: Model, candidates: list[Candidate], reason: str, made: OwnData, seconds: float) -> Path:
    """Write the page beside the model file; return its path."""
    names = np.array(model.class_names, dtype=object)
    images = ", ".join(f"{n} {use}" for use, n in made.n_images.items())
    vectors = f"text by {model.text.source}" if model.text else f"{len(model.attribute_names)} attributes"
    return write_page(
        config.output.with_suffix(".html"),
        "learn.html",
        kind="Model",
        title=model.title,
        facts=f"{made.features} · images: {images} · {vectors} · {duration(seconds)}",
        reason=reason,
        head=HEAD,
        rows=[each.cells for each in candidates],
        caption=CAPTION.format(len(candidates[0].h)) if candidates else "",
        plot=reliability_plot(model.calibration),
        sentences=_sentences(model, made),
        seen=names[model.seen].tolist(),
        unseen=names[~model.seen].tolist(),
    )
