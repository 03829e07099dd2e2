"""A learnable region file and a DAZLE trainer on it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from zslab.config import DazleConfig, DazleOptions
from zslab.data.region_dataset import read_region_maps
from zslab.data.region_writer import write_region_file
from zslab.dazle.model import Dazle
from zslab.dazle.region_loader import Cached
from zslab.dazle.trainer import DazleTrainer

from helpers.configs import dazle, dazle_options

CPU = torch.device("cpu")
SEEN, UNSEEN, PER_CLASS, ATTRIBUTES, FEATURES, GRID = 6, 3, 8, 5, 12, (3, 3)
SETTINGS = dazle(batch_size=10, lr=1e-3)  # 36 training samples: 4 iterations an epoch


def write_regions(root: Path, name: str = "TINY", **changes) -> Path:
    """A learnable region file of 9 classes (4 train, 2 val, 3 unseen): each attribute shows in a region of its own."""
    rng = np.random.default_rng(0)
    bits = [3, 5, 6, 9, 10, 12, 17, 18, 20]  # two of five attributes each
    att = np.array([[0.05 + (number >> i & 1) for i in range(ATTRIBUTES)] for number in bits])
    labels = rng.permutation(np.repeat(np.arange(SEEN + UNSEEN), PER_CLASS))
    directions = 2 * np.eye(FEATURES)[:ATTRIBUTES]
    maps = 0.5 * rng.random((len(labels), FEATURES, *GRID))
    for attribute in range(ATTRIBUTES):
        maps[:, :, attribute % 3, attribute // 3] += att[labels, attribute, None] * directions[attribute]
    seen = np.flatnonzero(labels < SEEN)
    test_seen = np.concatenate([np.flatnonzero(labels == label)[:2] for label in range(SEEN)])
    trainval = np.setdiff1d(seen, test_seen)
    values = {
        "labels": labels,
        "att": att,
        "w2v_att": rng.standard_normal((ATTRIBUTES, 7)).astype(np.float32),
        "attribute_names": [f"has_{i}" for i in range(ATTRIBUTES)],
        "locations": {
            "trainval": trainval,
            "test_seen": test_seen,
            "test_unseen": np.flatnonzero(labels >= SEEN),
            "train": trainval[labels[trainval] < 4],
            "val": trainval[labels[trainval] >= 4],
        },
    } | changes
    path = root / name / "regions.hdf5"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_region_file(path, [maps], shape=(len(labels), FEATURES, *GRID), dtype="float16", pooled=maps.mean((2, 3)), **values)
    return path


def build(
    path: Path,
    settings: DazleConfig = SETTINGS,
    seed: int = 4,
    stage: str = "test",
    cached: bool = False,
    options: DazleOptions = dazle_options(),  # noqa: B008, it is frozen
    device: torch.device = CPU,
    precision: str = "fp32",
) -> DazleTrainer:
    data = read_region_maps(path).stage(stage)
    generator = torch.Generator().manual_seed(seed)
    model = Dazle(data.word_vectors, ATTRIBUTES, FEATURES, options=options, generator=generator, grid=GRID)
    maps = Cached(data.regions, torch.cat([*data.rows.values()]), device) if cached else None
    config = replace(settings, manualSeed=seed, precision=precision)
    return DazleTrainer(model, data, config, device, maps)
