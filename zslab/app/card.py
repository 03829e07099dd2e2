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
TORCHVISION = (
    "torchvision's code is under BSD-3-Clause; for the weights it states no license of their own, and {data}, on which they "
    "were trained, has terms of its own"
)


def card_path(model_file: Path) -> Path:
    """Return where the card of a model file lies: `birds.card.md` beside `birds.zsl`."""
    return model_file.with_name(f"{model_file.stem}.card.md")


def model_card(model: Model) -> str:
    """Return the card of a model as Markdown, with NAME for where it will be shared."""
    names = dict(zip(model.class_names, model.seen.tolist()))
    seen, unseen = ([_text(k) for k, is_seen in names.items() if is_seen == side] for side in (True, False))
    origin = {key: _text(value) for key, value in model.origin.items()}
    facts = {
        "method": model.method,
        "data": ", ".join(origin.get(key, "unknown") for key in ("dataset", "image_embedding", "class_embedding")),
        "split": origin.get("split_version", "unknown"),
        "seed": _text(model.config.get("manualSeed", "unknown")),
        "selection rule": _selection(model),
        **({"epoch, from 0": origin["epoch"]} if "epoch" in origin else {}),
        "command": "`" + str(model.origin.get("command", "unknown")).replace("`", "'") + "`",
        "backbone": _backbone(model),
        "written by": f"zslab {model.version}",
    }
    shares = [[value if isinstance(value := row.get(key), float) else None for key in COLUMNS] for row in model.rows]
    rows = [f"| {_text(row.get('row'))} | {' | '.join(map(percent, values))} |" for row, values in zip(model.rows, shares)]
    rules = [f"* {_text(row.get('row'))}: {_text(row['rule'])}" for row in model.rows if row.get("rule")]
    parts = [
        _metadata(model),
        f"# {_text(model.title)}",
        f"Recognizes {len(seen)} seen and {len(unseen)} unseen classes, and learns more from {len(model.attribute_names)} "
        "attributes of each, without training.",
        "## Load",
        f'```python\nfrom zslab import Predictor\n\npredictor = Predictor.from_pretrained("{NAME}")\n'
        f'for prediction in predictor.predict(["{"clip.mp4" if _takes_videos(model) else "photo.jpg"}"]):\n'
        "    print(prediction.image, prediction.error or prediction.top.name)\n```",
        "The file holds tensors and JSON; loading it runs no code.",
        "## Training",
        "\n".join(["| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in facts.items())]),
        "## Results",
        "Per cent, mean of the classes' accuracies: T1 among unseen classes; u, s of unseen and seen classes among all; H "
        f"their harmonic mean. The file holds the model of the row `{_selection(model)}`.",
        "\n".join([f"| selection | {' | '.join(COLUMNS.values())} |", "|---|" + "---|" * len(COLUMNS), *rows]),
        "\n".join(rules),
        "## Limits",
        "\n".join(
            f"* {sentence}"
            for sentence in (
                "It always answers with one of its classes, also for an image of something else.",
                "Unseen classes are known by their attributes alone, and seen ones are favored over them.",
                "Accuracy on images unlike those of the data set is not known.",
                *map(_text, model.notes),
            )
        ),
        "## Classes",
        f"Seen: {_listed(seen)}.\n\nUnseen: {_listed(unseen)}.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _metadata(model: Model) -> str:
    """Return the YAML block; its values are written as JSON, which YAML contains."""
    row = next((row for row in model.rows if row.get("row") == _selection(model)), {})
    metrics = [
        {"type": "accuracy", "name": word, "value": row[key]} for key, word in COLUMNS.items() if row.get(key) is not None
    ]
    task = "video-classification" if _takes_videos(model) else "image-classification"
    data = dict.fromkeys(("type", "name"), str(model.origin.get("dataset", "unknown")))
    results = [{"task": {"type": task}, "dataset": data, "metrics": metrics}] if metrics else []
    content = {
        "library_name": "zslab",
        "pipeline_tag": task,
        "tags": ["zero-shot-learning", model.method],
        "model-index": [{"name": _text(model.title), "results": results}],
    }
    lines = [f"{key}: {json.dumps(value)}" for key, value in content.items() if key != "model-index" or results]
    return "\n".join(["---", *lines, "---"])


def _selection(model: Model) -> str:
    """Return the row of the results that the model in the file has."""
    return str(model.origin.get("choice", "unknown"))


def _takes_videos(model: Model) -> bool:
    return model.backbone is not None and modality_of(model.backbone["spec"]) is VIDEOS


def _backbone(model: Model) -> str:
    """Return the network that makes the features, its weights, and their license."""
    if model.backbone is None:
        return "unknown; the model takes features only"
    name = modality_of(model.backbone["spec"]).spec.from_json(model.backbone["spec"]).name
    place = "in the file" if model.backbone_weights else "not in the file"
    if name == DESCRIPTOR:
        return "descriptor, a formula of zslab without weights (MIT)"
    if name.startswith(TIMM):
        license_text = _timm_license(name.removeprefix(TIMM))
    else:
        license_text = TORCHVISION.format(data="Kinetics-400" if _takes_videos(model) else "ImageNet")
    return f"{_text(name)}, weights {_text(model.backbone['weights'])}, {place}; license: {license_text}"


def _timm_license(name: str) -> str:
    try:
        from timm.models import get_pretrained_cfg
    except ImportError:
        return "see the network's page in timm"
    config = get_pretrained_cfg(name, allow_unregistered=True)
    return _text(getattr(config, "license", None) or "see the network's page in timm")


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return (", ".join(names[:SHOWN]) or "none") + more


def _text(value: object) -> str:
    """Return a value as one line that Markdown leaves as it is."""
    return re.sub(r"([|<>*\[\]`])", r"\\\1", " ".join(str(value).split()))
