"""Feature files in the layout of the published ones (xlsa17): a .mat file with one column for each image or video."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import scipy.io

from zslab.utils.files import atomic_path, printable


def write_features(
    path: Path,
    features: np.ndarray,
    labels: np.ndarray,
    files: Sequence[str],
    classes: Sequence[str] | None,
    *,
    copy_of: np.ndarray | None = None,
    **texts: str,
) -> None:
    """Write a feature file, whole or not at all.

    Args:
        path: the .mat file.
        features: (N, D), written as float32 (D, N).
        labels: (N,) 1-based.
        files: N names.
        classes: C names in the order of the labels, where they are known.
        copy_of: (N,) index of the first file with the same content, where that is known.
        **texts: further variables, such as a description of the backbone.

    Raises:
        InputError: the disk is full.
    """
    content: dict[str, object] = {
        "features": features.T.astype(np.float32),
        "labels": labels[:, None].astype(np.float64),
        "image_files": np.array([[printable(name)] for name in files], dtype=object),
        **texts,
    }
    if copy_of is not None:
        content["copy_of"] = copy_of[:, None] + 1.0
    if classes is not None:
        content["allclasses_names"] = np.array([[name] for name in classes], dtype=object)
    with atomic_path(path) as temporary:
        scipy.io.savemat(temporary, content)
