"""The card of a model file: a README.md in the format of the Hugging Face Hub, with metadata in front.

Every number in it is one of the model file, which has them from the run's result.json.
"""

import json
import re
from pathlib import Path

from jinja2 import Environment, PackageLoader

from zslab.app.model_file import Model
from zslab.features.backbones import DESCRIPTOR
from zslab.features.networks import CLIP, TIMM
from zslab.features.sources import VIDEOS, modality_of
from zslab.results.text import percent

COLUMNS = {"T1": "T1", "acc_unseen": "u", "acc_seen": "s", "H": "H"}
NAME = "user/name"  # `zslab push` puts in the name under which the model is shared


def card_path(model_file: Path) -> Path:
    """Return where the card of a model file lies: `birds.card.md` beside `birds.zsl`."""
    return model_file.with_name(f"{model_file.stem}.card.md")


def model_card(model: Model) -> str:
    """Return the card of a model as Markdown, with NAME for where it will be shared."""
    origin, selection = model.origin, str(model.origin.get("choice", "unknown"))
    takes_videos = model.backbone is not None and modality_of(model.backbone.spec) is VIDEOS
    facts = {
        "method": model.method,
        "data": ", ".join(str(origin.get(key, "unknown")) for key in ("dataset", "image_embedding", "class_embedding")),
        "split": origin.get("split_version", "unknown"),
        "seed": model.config.get("manualSeed", model.config.get("seed", "unknown")),
        "selection rule": selection,
        **({"epoch, from 0": origin["epoch"]} if "epoch" in origin else {}),
        "backbone": _backbone(model),
        "written by": f"zslab {model.version}",
    }
    environment = Environment(  # Markdown, which `md` escapes
        loader=PackageLoader("zslab.app"), trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"md": _text, "share": lambda value: percent(value if isinstance(value, float) else None)}
    card = environment.get_template("card.md").render(
        model=model,
        metadata=_metadata(model, selection, "video-classification" if takes_videos else "image-classification"),
        seen=[name for name, is_seen in zip(model.class_names, model.seen) if is_seen],
        unseen=[name for name, is_seen in zip(model.class_names, model.seen) if not is_seen],
        name=NAME,
        takes_videos=takes_videos,
        facts=facts,
        selection=selection,
        columns=COLUMNS,
        calibration=model.calibration,
    )
    return card.rstrip() + "\n"


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


def _backbone(model: Model) -> str:
    """Return the network that makes the features, its weights, and their license."""
    if model.backbone is None:
        return "unknown; the model takes features only"
    name, place = model.backbone.spec["name"], "in the file" if model.backbone_weights else "not in the file"
    if name == DESCRIPTOR:
        return "descriptor, a formula of zslab without weights (MIT)"
    terms = f"see the network's page in {'timm' if name.startswith(TIMM) else 'open_clip'}"
    if not name.startswith((TIMM, CLIP)):
        data = "Kinetics-400" if modality_of(model.backbone.spec) is VIDEOS else "ImageNet"
        terms = f"torchvision's code is under BSD-3-Clause; it states none for the weights, and {data} has terms of its own"
    return f"{name}, weights {model.backbone.weights}, {place}; license: {terms}"


def _text(value: object) -> str:
    """Return a value as one line that Markdown leaves as it is."""
    return re.sub(r"([|<>*\[\]`])", r"\\\1", " ".join(str(value).split()))
