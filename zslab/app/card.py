"""The card of a model file: a README.md in the format of the Hugging Face Hub, with metadata in front.

Every number in it is one of the model file, which has them from the run's result.json.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from zslab.app.model_file import Model
from zslab.features.backbones import DESCRIPTOR
from zslab.features.modality import VIDEOS, modality_of
from zslab.features.networks import TIMM
from zslab.results.text import percent

COLUMNS = {"T1": "T1", "acc_unseen": "u", "acc_seen": "s", "H": "H"}
NAME = "user/name"  # `zslab push` puts in the name under which the model is shared
SHOWN = 50  # class names that a card lists
ALWAYS_ANSWERS = "It always answers with one of its classes, also for an image of something else."
KNOWS_OTHER = (
    "It marks images that are less like the training images than 95 % of held-out ones, and still names a class for them."
)
CARD = """---
{metadata}
---

# {title}

Recognizes {n_seen} seen and {n_unseen} unseen classes, and learns more from {n_attributes} attributes of each.

## Load

```python
from zslab import Predictor

predictor = Predictor.from_pretrained("{name}")
for prediction in predictor.predict(["{file}"]):
    print(prediction.image, prediction.error or prediction.top.name)
```

The file holds tensors and JSON; loading it runs no code.

## Training

| | |
|---|---|
{facts}

## Results

Percent, mean of the classes' accuracies: T1 among unseen classes; u, s of unseen and seen classes among all; H their harmonic
mean. The file holds the model of the row `{selection}`.

| selection | {columns} |
|---|{rule}
{rows}

{rules}

## Probabilities

{probabilities}

## Limits

* {other}
* Unseen classes are known by their attributes alone, and seen ones are favored over them.
* Accuracy on images unlike those of the data set is not known.
{notes}

## Classes

Seen: {seen}.

Unseen: {unseen}.
"""


def card_path(model_file: Path) -> Path:
    """Return where the card of a model file lies: `birds.card.md` beside `birds.zsl`."""
    return model_file.with_name(f"{model_file.stem}.card.md")


def model_card(model: Model) -> str:
    """Return the card of a model as Markdown, with NAME for where it will be shared."""
    seen, unseen = ([_text(k) for k, s in zip(model.class_names, model.seen) if s == side] for side in (True, False))
    origin, selection = model.origin, str(model.origin.get("choice", "unknown"))
    takes_videos = model.backbone is not None and modality_of(model.backbone.spec) is VIDEOS
    facts = {
        "method": model.method,
        "data": ", ".join(str(origin.get(key, "unknown")) for key in ("dataset", "image_embedding", "class_embedding")),
        "split": origin.get("split_version", "unknown"),
        "seed": model.config.get("manualSeed", "unknown"),
        "selection rule": selection,
        **({"epoch, from 0": origin["epoch"]} if "epoch" in origin else {}),
    }
    lines = [f"| {key} | {_text(value)} |" for key, value in facts.items()]
    lines.append("| command | `" + str(origin.get("command", "unknown")).replace("`", "'") + "` |")
    lines += [f"| backbone | {_backbone(model)} |", f"| written by | zslab {model.version} |"]
    shares = [[value if isinstance(value := row.get(key), float) else None for key in COLUMNS] for row in model.rows]
    rows = [f"| {_text(row.get('row'))} | {' | '.join(map(percent, values))} |" for row, values in zip(model.rows, shares)]
    rules = [f"* {_text(row.get('row'))}: {_text(row['rule'])}" for row in model.rows if row.get("rule")]
    return CARD.format(
        metadata=_metadata(model, selection, "video-classification" if takes_videos else "image-classification"),
        title=_text(model.title),
        n_seen=len(seen),
        n_unseen=len(unseen),
        n_attributes=len(model.attribute_names),
        name=NAME,
        file="clip.mp4" if takes_videos else "photo.jpg",
        facts="\n".join(lines),
        selection=selection,
        columns=" | ".join(COLUMNS.values()),
        rule="---|" * len(COLUMNS),
        rows="\n".join(rows),
        rules="\n".join(rules),
        probabilities=_probabilities(model),
        other=KNOWS_OTHER if model.familiarity and model.train is not None else ALWAYS_ANSWERS,
        notes="\n".join(f"* {_text(note)}" for note in model.notes),
        seen=_listed(seen),
        unseen=_listed(unseen),
    )


def _metadata(model: Model, selection: str, task: str) -> str:
    """Return the YAML block; its values are written as JSON, which YAML contains."""
    row = next((row for row in model.rows if row.get("row") == selection), {})
    metrics = [{"type": "accuracy", "name": n, "value": row[key]} for key, n in COLUMNS.items() if row.get(key) is not None]
    content: dict[str, object] = {"library_name": "zslab", "pipeline_tag": task, "tags": ["zero-shot-learning", model.method]}
    if metrics:
        data = dict.fromkeys(("type", "name"), str(model.origin.get("dataset", "unknown")))
        results = [{"task": {"type": task}, "dataset": data, "metrics": metrics}]
        content["model-index"] = [{"name": _text(model.title), "results": results}]
    return "\n".join(f"{key}: {json.dumps(value)}" for key, value in content.items())


def _probabilities(model: Model) -> str:
    """Return how far to believe probabilities, with the reliability diagram as a table."""
    offset, temperature = model.calibration.offset, model.calibration.temperature
    before, after = model.calibration.before, model.calibration.after
    if before is None or after is None:
        return "Not calibrated on held-out samples: a probability is no share of right answers."
    bins = [f"| {100 * p:.0f} | {100 * right:.0f} | {n} |" for p, right, n in after.bins]
    return "\n".join(
        [
            f"Calibrated on held-out samples: scores of seen classes are lowered by {offset:.4g}, all are divided by "
            f"{temperature:.4g}. Expected calibration error: {100 * before.error:.1f} points before, {100 * after.error:.1f} "
            "after.",
            "",
            "| probability, % | right, % | held-out images |",
            "|---|---|---|",
            *bins,
        ]
    )


def _backbone(model: Model) -> str:
    """Return the network that makes the features, its weights, and their license."""
    if model.backbone is None:
        return "unknown; the model takes features only"
    modality = modality_of(model.backbone.spec)
    name, place = model.backbone.spec["name"], "in the file" if model.backbone_weights else "not in the file"
    if name == DESCRIPTOR:
        return "descriptor, a formula of zslab without weights (MIT)"
    terms = "see the network's page in timm"
    if not name.startswith(TIMM):
        data = "Kinetics-400" if modality is VIDEOS else "ImageNet"
        terms = f"torchvision's code is under BSD-3-Clause; it states none for the weights, and {data} has terms of its own"
    return _text(f"{name}, weights {model.backbone.weights}, {place}; license: {terms}")


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return (", ".join(names[:SHOWN]) or "none") + more


def _text(value: object) -> str:
    """Return a value as one line that Markdown leaves as it is."""
    return re.sub(r"([|<>*\[\]`])", r"\\\1", " ".join(str(value).split()))
