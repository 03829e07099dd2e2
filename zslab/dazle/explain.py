"""Where a trained DAZLE looks: the attributes behind a prediction, with their attention maps.

`record_attention` leaves two files in a run's folder, which the report draws:

    attention.npz     a few test images of unseen classes (of seen ones where unseen classes have none), each with the
                      attributes that speak most for the predicted class and their attention maps
    pointing.json     how well attention finds the parts, for data sets that annotate them (`zslab.data.parts`,
                      `zslab.dazle.pointing`)
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from zslab.data.parts import read_parts
from zslab.data.region_dataset import RegionDataset
from zslab.data.region_file import batches
from zslab.dazle.model import Dazle, Output
from zslab.dazle.pointing import measure_pointing
from zslab.features.backbones import BackboneSpec
from zslab.utils.files import atomic_path, write_json


class Attention(NamedTuple):
    """What the predictions of n images rest on."""

    predicted: np.ndarray  #: (n,) int64, columns of the scores
    attributes: np.ndarray  #: (n, t) int64, the t attributes that contribute most to the predicted class, greatest first
    #: (n, t) float32, att_ki q_i p_i of those; over all attributes they sum to the class's score (with `non_linear_emb`
    #: they are the input of its perceptron)
    contributions: np.ndarray
    maps: np.ndarray  #: (n, t, rows, columns) float32 attention, each summing to 1


@torch.no_grad()
def explain(
    model: Dazle, regions: Iterable[Tensor], class_attributes: Tensor, offsets: Tensor | None = None, top: int = 5
) -> Attention:
    """Predict images and return the attributes that each prediction rests on.

    Args:
        regions: batches (b, r, f).
        class_attributes: (k, A), rows of unit L2 norm.
        offsets: (k,) to add to the scores before the largest wins, such as the margin; minus infinity rules a class out.
        top: attributes an image.
    """
    parts = []
    for batch in regions:
        output = model(batch, class_attributes)
        predicted = (output.scores if offsets is None else output.scores + offsets).argmax(dim=1)
        greatest = contributions(output, class_attributes[predicted]).topk(min(top, class_attributes.shape[1]), dim=1)
        chosen = greatest.indices[:, :, None].expand(-1, -1, output.attention.shape[2])
        maps = output.attention.gather(1, chosen).unflatten(2, model.grid)
        parts.append([tensor.cpu().numpy() for tensor in (predicted, greatest.indices, greatest.values, maps)])
    return Attention(*map(np.concatenate, zip(*parts)))


def contributions(output: Output, attributes: Tensor) -> Tensor:
    """Return (B, A), what each attribute adds to the score of a class with `attributes` (B, A), one class an image."""
    return attributes * output.attribute_attention * output.attribute_scores


def evenly_chosen(labels: np.ndarray, n: int) -> np.ndarray:
    """Return about n positions of samples, evenly spaced over the classes and within each, whatever the predictions.

    Args:
        labels: (m,); with more than n classes, an evenly spaced subset of them gets one each.
    """
    classes = np.unique(labels)
    classes = classes[np.linspace(0, len(classes) - 1, min(n, len(classes))).round().astype(int)]
    chosen = []
    for number, label in enumerate(classes):
        members = np.flatnonzero(labels == label)
        share = min(n // len(classes) + (number < n % len(classes)), len(members))
        chosen.append(members[(np.arange(share) * 2 + 1) * len(members) // (2 * share)])
    return np.concatenate(chosen)


def crop_of(backbone: str | None) -> float:
    """Return the share of an image that a backbone sees; without a description, that of the release's preprocessing."""
    spec = BackboneSpec.from_json(json.loads(backbone)["spec"]) if backbone else BackboneSpec("resnet101")
    return spec.crop_share


def record_attention(
    run: Path,
    dataset: RegionDataset,
    model: Dazle,
    margin: float,
    device: torch.device,
    n_images: int = 12,
    top: int = 5,
    batch_size: int = 64,
) -> None:
    """Write a trained run's attention.npz, and pointing.json where the data set annotates parts.

    Args:
        run: the run's folder; the weights of selection "val" are used, else those of the last epoch.
        model: of the right shape, whatever its weights; is left in eval mode.
        margin: added to unseen and subtracted from seen scores in predictions.
    """
    row = "val" if (run / "model_val.safetensors").exists() else "last"
    model.load_state_dict(load_file(run / f"model_{row}.safetensors"))
    model.to(device).eval()
    data = dataset.stage("test")
    class_attributes = data.attributes[data.classes].to(device)
    is_unseen = torch.isin(data.classes, data.unseen_classes)
    # Where nothing seen is tested, seen classes are no candidates.
    offsets = torch.where(is_unseen, margin, -margin if len(data.test_seen) else -torch.inf).to(device)
    image_root, crop = dataset.regions.path.parent, crop_of(dataset.backbone)

    def regions(rows: np.ndarray) -> Iterable[Tensor]:
        chunks = (rows[start : start + batch_size] for start in range(0, len(rows), batch_size))
        return batches(dataset.regions, chunks, device=device)

    tested = [data.rows[name].numpy() for name in ("test_unseen", "test_seen") if len(data.rows[name])]
    if not tested:  # every photo of the user's is one to train on
        return
    rows = tested[0]
    rows = rows[evenly_chosen(dataset.labels[rows], n_images)]
    attention = explain(model, regions(rows), class_attributes, offsets, top)
    files = [f"image {row}" for row in rows] if dataset.image_files is None else [dataset.image_files[row] for row in rows]
    arrays = attention._asdict() | {
        "predicted": data.classes.numpy()[attention.predicted],
        "true": dataset.labels[rows],
        "images": np.array(files),
        "attribute_names": np.array(dataset.attribute_names),
        "row": np.array(row),
        "image_root": np.array(str(image_root.resolve())),
        "crop": np.array(crop),
    }
    with atomic_path(run / "attention.npz") as temporary:
        np.savez_compressed(temporary, **arrays)

    if dataset.image_files is None:
        return
    rows = np.concatenate(tested[::-1])
    parts = read_parts(image_root, [dataset.image_files[row] for row in rows], dataset.attribute_names, crop)
    if parts is not None:
        measured = measure_pointing(model, regions(rows), class_attributes, parts, dataset.attribute_names)
        write_json(run / "pointing.json", {"row": row, "images": len(rows), "grid": list(model.grid)} | measured)
