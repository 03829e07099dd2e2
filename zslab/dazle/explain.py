"""Where a trained DAZLE looks: the attributes behind a prediction with their maps, and how often they hit the part.

`record_attention` leaves two files in a run's folder, which the report draws:

    attention.npz     a few test images of unseen classes, each with the attributes that speak most for the predicted
                      class and their attention maps
    pointing.json     for data sets that tell where parts are (`zslab.data.parts`), how well attention finds them

Pointing is measured on pairs of a test image and an attribute that this very image shows (has_wing_color::red where
the wing is red), on the attribute's map over the grid's cells, against the box of the attribute's part:

    peak      the cell with most attention overlaps the box (by more than nothing)
    centre    stricter: the middle of that cell lies in the box
    mass      the attention inside the box, every cell's spread evenly over its area
    other     peak, but on the boxes of the image's other parts, on average: what pointing anywhere at the thing gives

Cells that share the highest value count with equal shares. Each of the first three has a chance level, what attention
gets that is the same everywhere: the share of cells that overlap the box, of cells whose middle it holds, of its area.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from zslab.data.parts import PartAnnotation, read_parts
from zslab.data.region_dataset import RegionDataset
from zslab.data.region_file import batches
from zslab.dazle.model import Dazle, Output
from zslab.features.backbones import BackboneSpec
from zslab.fileio import atomic_path, write_json

MEASURES = ("peak", "peak_chance", "centre", "centre_chance", "mass", "mass_chance", "other")


class Attention(NamedTuple):
    """What n images' predictions rest on.

    Attributes:
        predicted: (n,) int64, columns of the scores.
        attributes: (n, t) int64, the t attributes that contribute most to the predicted class, greatest first.
        contributions: (n, t) float32, att_ki q_i p_i of those; over all attributes they sum to the class's score (with
            `nonlinear_classes` they are the input of its perceptron).
        maps: (n, t, rows, columns) float32 attention, each summing to 1.
    """

    predicted: np.ndarray
    attributes: np.ndarray
    contributions: np.ndarray
    maps: np.ndarray


@torch.no_grad()
def explain(
    model: Dazle, regions: Iterable[Tensor], class_attributes: Tensor, offsets: Tensor | None = None, top: int = 5
) -> Attention:
    """Predicts images and tells by which attributes.

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
    """(B, A): what each attribute adds to the score of a class with `attributes` (B, A), one class an image."""
    return attributes * output.attribute_attention * output.attribute_scores


def coverage(boxes: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """(..., rows, columns): the share of every cell's area that lies in a box.

    Args:
        boxes: (..., 4): x0, y0, x1, y1 in shares of the image.
    """

    def along(low: np.ndarray, high: np.ndarray, n: int) -> np.ndarray:
        edges = np.arange(n + 1)
        overlap: np.ndarray = np.clip(
            np.minimum(high[..., None] * n, edges[1:]) - np.maximum(low[..., None] * n, edges[:-1]), 0, 1
        )
        return overlap

    x0, y0, x1, y1 = np.moveaxis(np.asarray(boxes, dtype=np.float64), -1, 0)
    covered: np.ndarray = along(y0, y1, grid[0])[..., :, None] * along(x0, x1, grid[1])[..., None, :]
    return covered


def holds_centre(boxes: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """(..., rows, columns) bool: whether a box holds the middle of a cell."""
    x0, y0, x1, y1 = np.moveaxis(np.asarray(boxes, dtype=np.float64), -1, 0)[..., None, None]
    y, x = ((np.arange(n) + 0.5) / n for n in grid)
    inside: np.ndarray = (y0 <= y[:, None]) & (y[:, None] < y1) & (x0 <= x) & (x < x1)
    return inside


def pointing(maps: np.ndarray, boxes: np.ndarray, part: np.ndarray) -> dict[str, np.ndarray]:
    """Return the measures of the module's docstring for n pairs of an image and an attribute.

    Args:
        maps: (n, rows, columns), each summing to 1.
        boxes: (n, P, 4) of the image's parts, in shares of the image; NaN for a missing one.
        part: (n,) the attribute's part, which is not missing.

    Returns:
        Measure -> (n,) values in [0, 1]; "other" is NaN where the image has no other part.
    """
    grid, pair = maps.shape[1:], np.arange(len(maps))
    peak = maps == maps.max(axis=(1, 2), keepdims=True)
    peak = peak / peak.sum(axis=(1, 2), keepdims=True)
    there = ~np.isnan(boxes).any(axis=2)
    covered = coverage(np.where(there[..., None], boxes, 0), grid)
    hit = (peak[:, None] * (covered > 0)).sum(axis=(2, 3))
    others = there.copy()
    others[pair, part] = False
    own = covered[pair, part]
    centre = holds_centre(boxes[pair, part], grid)
    with np.errstate(invalid="ignore"):
        other = (hit * others).sum(axis=1) / others.sum(axis=1)
    return {
        "peak": hit[pair, part],
        "peak_chance": (own > 0).mean(axis=(1, 2)),
        "centre": (peak * centre).sum(axis=(1, 2)),
        "centre_chance": centre.mean(axis=(1, 2)),
        "mass": (maps * own).sum(axis=(1, 2)),
        "mass_chance": own.mean(axis=(1, 2)),
        "other": other,
    }


@torch.no_grad()
def measure_pointing(
    model: Dazle, regions: Iterable[Tensor], class_attributes: Tensor, parts: PartAnnotation, attribute_names: list[str]
) -> dict[str, Any]:
    """Pointing of all pairs: means over all pairs, over those of each part and over those of each attribute.

    Args:
        regions: batches (b, r, f), together the n images of `parts`.

    Returns:
        "overall": means, "parts" and "attributes": name -> means; means are "pairs" (how many) and measure -> mean.
    """
    pairs: list[dict[str, np.ndarray]] = []
    start = 0
    for batch in regions:
        images = slice(start, start := start + len(batch))
        boxes = parts.boxes[images]
        has_box = np.zeros((len(batch), len(parts.part_of)), dtype=bool)
        for attribute, part in enumerate(parts.part_of):
            has_box[:, attribute] = part >= 0 and ~np.isnan(boxes[:, part]).any(axis=1)
        image, shown = np.nonzero(parts.shown[images] & has_box)
        attention = model(batch, class_attributes).attention.unflatten(2, model.grid).double().cpu().numpy()
        part = parts.part_of[shown]
        found = pointing(attention[image, shown], boxes[image], part)
        pairs.append(found | {"part": part, "attribute": shown})
    joined = {key: np.concatenate([found[key] for found in pairs]) for key in pairs[0]}

    def means(chosen: np.ndarray) -> dict[str, float | int | None]:
        values = {}
        for measure in MEASURES:
            known = joined[measure][chosen]
            known = known[~np.isnan(known)]
            values[measure] = float(known.mean()) if len(known) else None
        return {"pairs": int(chosen.sum())} | values

    return {
        "overall": means(np.ones(len(joined["part"]), dtype=bool)),
        "parts": {
            name: means(joined["part"] == number) for number, name in enumerate(parts.parts) if (joined["part"] == number).any()
        },
        "attributes": {
            name: means(joined["attribute"] == number)
            for number, name in enumerate(attribute_names)
            if (joined["attribute"] == number).any()
        },
    }


def evenly_chosen(labels: np.ndarray, n: int) -> np.ndarray:
    """About n positions of samples, spread evenly over the classes and within each: nobody picks the ones that look good.

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
    """Return the share of an image that a backbone sees; that of the release's recipe without a description."""
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
    """Write attention.npz, and pointing.json where the data set's folder tells about parts, of a run that has trained.

    Args:
        run: its folder; the weights of the validated epoch are used, else those of the last.
        model: of the right shape, whatever its weights; is left in eval mode.
        margin: added to unseen and subtracted from seen scores in predictions.

    Raises:
        InputError: the data set's files about parts are wrong.
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

    rows = data.rows["test_unseen"].numpy()
    rows = rows[evenly_chosen(dataset.labels[rows], n_images)]
    found = explain(model, regions(rows), class_attributes, offsets, top)
    files = [f"image {row}" for row in rows] if dataset.image_files is None else [dataset.image_files[row] for row in rows]
    arrays = found._asdict() | {
        "predicted": data.classes.numpy()[found.predicted],
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
    rows = torch.cat([data.rows["test_seen"], data.rows["test_unseen"]]).numpy()
    parts = read_parts(image_root, [dataset.image_files[row] for row in rows], dataset.attribute_names, crop)
    if parts is not None:
        measured = measure_pointing(model, regions(rows), class_attributes, parts, dataset.attribute_names)
        write_json(run / "pointing.json", {"row": row, "images": len(rows), "grid": list(model.grid)} | measured)
