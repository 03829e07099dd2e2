"""Small region files for tests, in every layout, and what is in them."""

from collections.abc import Iterable
from pathlib import Path

import h5py
import numpy as np

from zslab.data.region_writer import write_region_file

N, D, GRID, A, V = 72, 6, (3, 2), 5, 4  # 9 classes of 8 images: 4 train, 2 val, 3 unseen
ROWS = np.array([5, 71, 5, 0, 33, 34, 70, 2, 5])  # in any order, some of them repeated


def arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat(np.arange(9), 8))
    is_test = np.zeros(N, dtype=bool)
    for label in range(6):
        is_test[np.flatnonzero(labels == label)[:2]] = True
    trainval = np.flatnonzero((labels < 6) & ~is_test)
    att = rng.uniform(0.1, 1, (9, A))
    return {
        "feature_map": rng.normal(size=(N, D, *GRID)).astype(np.float16),
        "labels": labels,
        "pooled": (att[labels] @ rng.uniform(0, 1, (A, 7)) + 0.1 * rng.random((N, 7))).astype(np.float32),
        "trainval_loc": trainval,
        "test_seen_loc": np.flatnonzero((labels < 6) & is_test),
        "test_unseen_loc": np.flatnonzero(labels >= 6),
        "train_loc": trainval[labels[trainval] < 4],
        "val_loc": trainval[labels[trainval] >= 4],
        "att": att,
        "original_att": 100 * att - 50,
        "w2v_att": rng.normal(size=(A, V)).astype(np.float32),
    }


CONTENT = arrays()
CLASSES, ATTRIBUTES = [f"bird {i}" for i in range(9)], [f"has {i}" for i in range(A)]
IMAGES = [f"birds/{i}.jpg" for i in range(N - 1)] + ["birds/Käuzchen 鳥.jpg"]

DEEPFASHION = {  # annotation lists
    "list_category_cloth": "2\ncategory_name  category_type\nAnorak  1\nCape  3\n",
    "list_attr_cloth": "2\nattribute_name  attribute_type\na-line  3\nzip  5\n",
    "list_category_img": "2\nimage_name  category_label\nimg/A/1.jpg  1\nimg/B/1.jpg  2\n",
    "list_attr_img": "2\nimage_name  attribute_labels\nimg/A/1.jpg  0  1\nimg/B/1.jpg  -1  1\n",
    "list_eval_partition": "2\nimage_name  evaluation_status\nimg/A/1.jpg  train\nimg/B/1.jpg  test\n",
}


def write_ours(path: Path, **changes) -> Path:
    write_maps(path, [(CONTENT | changes)["feature_map"]], content=CONTENT | changes)
    return path


def write_maps(path: Path, maps: Iterable[np.ndarray], content: dict[str, np.ndarray] = CONTENT) -> None:
    write_region_file(
        path,
        maps,
        shape=(N, D, *GRID),
        dtype="float16",
        labels=content["labels"],
        locations={key.removesuffix("_loc"): rows for key, rows in content.items() if key.endswith("_loc")},
        att=content["att"],
        pooled=content["pooled"],
        original_att=content["original_att"],
        w2v_att=content["w2v_att"],
        class_names=CLASSES,
        attribute_names=ATTRIBUTES,
        image_files=IMAGES,
        backbone='{"name": "none"}',
    )


def write_release(path: Path, **changes: np.ndarray | None) -> Path:
    """As the release's extractors do: gzip in chunks of several images, no train/val lists, no names."""
    content = CONTENT | {"train_loc": None, "val_loc": None, "pooled": None} | changes
    with h5py.File(path, "w") as file:
        for name, value in content.items():
            if value is not None:
                chunks = (5, 4, 1, 1) if name == "feature_map" else None
                file.create_dataset(name, data=value, compression="gzip", chunks=chunks)
    return path


def write_deepfashion(path: Path, **changes) -> tuple[Path, np.ndarray]:
    """Groups of training maps by class, labels 1, 2, 10 seen, 3 unseen, of 12 rows of att; and the maps in row order."""
    rng = np.random.default_rng(1)
    sizes = {"train/1": 7, "train/2": 3, "train/10": 5, "test_seen": 4, "test_unseen": 6}
    labels = {"train/1": 1, "train/2": 2, "train/10": 10, "test_seen": [1, 10, 2, 1], "test_unseen": 3}
    att = np.zeros((12, A))
    att[[1, 2, 3, 10]] = rng.uniform(-1, 1, (4, A))
    maps = {}
    with h5py.File(path, "w") as file:
        for group, size in sizes.items():
            maps[group] = rng.normal(size=(size, D, *GRID)).astype(np.float32)
            file.create_dataset(f"feature_map_{group}", data=maps[group], compression="gzip")
            file.create_dataset(f"label_{group}", data=np.broadcast_to(labels[group], size), compression="gzip")
            names = np.array([f"img/{group}_{i}.jpg" for i in range(size)], dtype="S")
            file.create_dataset(f"img_{group}", data=names, dtype=h5py.string_dtype(), compression="gzip")
        for name, value in ({"att": att, "w2v_att": CONTENT["w2v_att"], "labels": np.arange(25)} | changes).items():
            file[name] = value
    return path, np.concatenate(list(maps.values()))
