"""A tiny learnable data set in the xlsa17 layout."""

from pathlib import Path

import numpy as np
import scipy.io

# The rows of the baselines, as they follow a method's rows in every result.
BASELINE_ROWS = [
    name + suffix
    for name in ("ESZSL", "ESZSL, centered", "prototype regression", "class-normalized MLP")
    for suffix in ("", ", calibrated")
]


def tiny_arrays(version: str = "v2") -> dict[str, np.ndarray]:
    """A learnable data set of 9 classes: 4 train, 2 val, 3 unseen; features (7, N), attributes (5, 9).

    Args:
        version: "v1" puts test_seen into train_loc and val_loc, "v2" does not, "none" leaves the two out.
    """
    rng = np.random.default_rng(0)
    attributes = rng.uniform(0.1, 1, (9, 5))
    labels = np.repeat(np.arange(9), 8)
    features = attributes[labels] @ rng.uniform(0, 1, (5, 7)) + 0.3 * rng.random((len(labels), 7))
    order = rng.permutation(len(labels))
    labels, features = labels[order], features[order]
    seen, unseen = np.flatnonzero(labels < 6), np.flatnonzero(labels >= 6)
    is_test = np.zeros(len(labels), dtype=bool)
    for label in range(6):
        is_test[np.flatnonzero(labels == label)[:2]] = True
    trainval, test_seen = seen[~is_test[seen]], seen[is_test[seen]]
    pool = seen if version == "v1" else trainval
    arrays = {
        "features": features.T.astype(np.float32),
        "labels": labels[:, None] + 1,
        "att": attributes.T,
        "allclasses_names": np.array([[f"bird {i}"] for i in range(9)], dtype=object),
        "trainval_loc": trainval[:, None] + 1,
        "test_seen_loc": test_seen[:, None] + 1,
        "test_unseen_loc": unseen[:, None] + 1,
        "train_loc": pool[labels[pool] < 4][:, None] + 1,
        "val_loc": pool[labels[pool] >= 4][:, None] + 1,
    }
    if version == "none":
        del arrays["train_loc"], arrays["val_loc"]
    return arrays


def write_tiny(root: Path, name: str = "TINY", **changes: np.ndarray | None) -> Path:
    """Writes `tiny_arrays`, with variables replaced (or left out: None), as <root>/<name>/; returns that folder."""
    version = changes.pop("version", "v2")
    arrays = tiny_arrays(version) | changes
    arrays = {key: value for key, value in arrays.items() if value is not None}
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    in_features = ("features", "labels")
    scipy.io.savemat(folder / "res101.mat", {k: v for k, v in arrays.items() if k in in_features})
    scipy.io.savemat(folder / "att_splits.mat", {k: v for k, v in arrays.items() if k not in in_features})
    return folder
