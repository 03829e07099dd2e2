"""Small features of actions, in the layout of the published ones."""

from pathlib import Path

import numpy as np
import scipy.io


def write_features(folder: Path, feature_dim: int = 12, n_classes: int = 8, per_class: int = 6) -> np.ndarray:
    """Write i3d.mat with classes that differ, and class vectors; return the 1-based labels."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat(np.arange(n_classes), per_class))
    features = rng.random((n_classes, feature_dim))[labels] + 0.1 * rng.random((len(labels), feature_dim))
    scipy.io.savemat(folder / "i3d.mat", {"features": features.T.astype(np.float32), "labels": labels[:, None] + 1})
    np.save(folder / "vectors.npy", rng.normal(size=(n_classes, 5)))
    return labels + 1
