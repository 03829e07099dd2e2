"""How good is the model that `zslab learn` chooses? Trials of the size of a user's data, drawn from a set of many classes.

    python benchmarks/choice.py CUB resnet_fc1000 att --dataroot DATA --trials 20

A trial draws seen and unseen classes, and some images of each seen one to learn from. Baselines are measured on held-out
classes, and one is chosen, as the command does. All of them are then fitted and measured on the other images of these classes:
u and H among all classes, the expected calibration error with and without calibration, and, for images of classes that are not
in the trial, the area under the ROC curve of their likeness to the training images, against images of the unseen classes.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import tyro
from sklearn.metrics import roc_auc_score

from zslab.app.calibration import calibrate, likeness, reliability
from zslab.app.candidates import best_candidate, measure_baseline
from zslab.baselines.comparison import BASELINES, seeded, usable_baselines
from zslab.data.dataset import Dataset
from zslab.datasets import Xlsa17Source
from zslab.metrics import harmonic_mean, seen_unseen_curve
from zslab.protocol.held_out import held_out_draws

COLUMNS = ("u", "s", "H", "error before", "error after")


@dataclass(frozen=True)
class Config:
    """Flags."""

    dataset: tyro.conf.Positional[str]
    """folder below --dataroot, in the layout of xlsa17"""
    image_embedding: tyro.conf.Positional[str]
    """feature file, without .mat"""
    class_embedding: tyro.conf.Positional[str] = "att"
    """split file, without _splits.mat"""
    dataroot: Path = Path("zero-shot-images/data")
    """where the data sets lie"""
    trials: int = 20
    """how many"""
    seed: int = 0
    """of the first trial; the next one has the next"""
    seen: int = 6
    """classes to learn"""
    unseen: int = 2
    """classes known by their vectors alone"""
    images: int = 10
    """of each seen class, to learn from"""
    fresh: int = 20
    """most images of a class to test on"""
    linear: bool = False
    """leave out the perceptron, which takes most of the time"""
    skip: int = 0
    """classes to leave out, the first of a fixed permutation: those that a rule was designed on"""


def draw_trial(dataset: Dataset, config: Config, seed: int) -> tuple[Dataset, np.ndarray]:
    """Return a data set of some classes, numbered anew, and features of images of the others."""
    random = np.random.default_rng(seed)
    order = random.permutation(np.random.default_rng(99).permutation(np.unique(dataset.labels))[config.skip :])
    classes, parts = order[: config.seen + config.unseen], {"trainval": [], "test_seen": [], "test_unseen": []}
    for place, label in enumerate(classes):
        rows, n = random.permutation(np.flatnonzero(dataset.labels == label)), config.images if place < config.seen else 0
        parts["trainval"].extend(rows[:n])
        parts["test_seen" if n else "test_unseen"].extend(rows[n:][: config.fresh])
    number = np.full(int(dataset.labels.max()) + 1, -1)
    number[classes] = np.arange(len(classes))
    others = random.permutation(np.flatnonzero(~np.isin(dataset.labels, classes)))[:200]
    trial = replace(
        dataset,
        labels=number[dataset.labels],
        attributes=dataset.attributes[classes],
        class_names=[dataset.class_names[label] for label in classes],
        locations={name: np.array(rows) for name, rows in parts.items()},
        split_version="none",
        unseen_classes=np.arange(config.seen, len(classes)),
    )
    return trial, dataset.features[others]


def run_trial(trial: Dataset, others: np.ndarray, seed: int, linear: bool) -> tuple[dict[str, list[float]], str, float]:
    """Return the COLUMNS of every candidate by name, the name of the chosen one, and the area under the ROC curve."""
    draws = [draw.stage("test") for draw in held_out_draws(trial)]
    usable = {name: each for name, each in usable_baselines(*draws, seed=seed).items() if not (linear and "MLP" in name)}
    candidates = [measure_baseline(name, each, draws) for name, each in usable.items()]
    data, measured = trial.stage("test"), {}
    features = torch.cat([data.test_seen.features, data.test_unseen.features])
    is_seen = torch.isin(torch.arange(len(data.attributes)), data.seen_classes)
    for each in candidates:
        model = seeded(BASELINES[each.name], seed).with_settings(each.settings)
        scores = model.fit(data.train.features, data.train.labels, data.attributes).scores(features)
        s, u = seen_unseen_curve(scores, data.test_labels, data.seen_classes, data.unseen_classes).at(each.offset)
        temperature = calibrate(each.parts, each.offset).temperature
        after = ((scores - each.offset * is_seen) / temperature).softmax(dim=1)
        errors = [reliability(p, data.test_labels).error for p in (scores.softmax(dim=1), after)]
        measured[each.name] = [u, s, harmonic_mean(s, u), *errors]
    train, fresh = (trial.features[trial.locations[name]] for name in ("trainval", "test_unseen"))
    alike = [likeness(part, train) for part in (fresh, others)]
    area = roc_auc_score(np.repeat([1, 0], [len(part) for part in alike]), np.concatenate(alike))
    return measured, best_candidate(candidates)[0].name, float(area)


def main(config: Config) -> None:
    """Print means over trials."""
    source = Xlsa17Source(config.dataset, config.image_embedding, config.class_embedding)
    dataset = source.open(config.dataroot, config.dataroot / config.dataset)
    rows: dict[str, list[list[float]]] = {}
    areas, chosen = [], []
    for seed in range(config.seed, config.seed + config.trials):
        measured, name, area = run_trial(*draw_trial(dataset, config, seed), seed, config.linear)
        best = max(measured.values(), key=lambda values: values[2])
        for title, values in [("chosen", measured[name]), ("best in hindsight", best), *measured.items()]:
            rows.setdefault(title, []).append(values)
        areas.append(area)
        chosen.append(name)
        print(f"seed {seed}: {name}", {title: f"{100 * values[2]:.1f}" for title, values in measured.items()}, flush=True)
    print(f"{'':22}" + "".join(f"{name:>14}" for name in COLUMNS))
    for title, values in rows.items():
        print(f"{title:22}" + "".join(f"{100 * mean:14.1f}" for mean in np.mean(values, axis=0)))
    print({name: chosen.count(name) for name in dict.fromkeys(chosen)}, f"AUROC {np.mean(areas):.3f} ± {np.std(areas):.3f}")


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
