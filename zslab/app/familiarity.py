"""Is this image like the training images? The mean cosine with its nearest training features, against a threshold.

The threshold accepts 95 % of images that were held out: of seen classes and of classes left out as unseen.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.neighbors import NearestNeighbors

from zslab.app.model_file import Familiarity
from zslab.data.dataset import StageData

ACCEPTED = 0.95
NEIGHBORS = 3


def likeness(features: np.ndarray, train: np.ndarray, neighbors: int = NEIGHBORS) -> np.ndarray:
    """Return the mean cosine (n,) of features (n, D) with the nearest of the training features (m, D), both centered."""
    mean = train.mean(axis=0)
    index = NearestNeighbors(n_neighbors=min(neighbors, len(train)), metric="cosine").fit(train - mean)
    distances, _ = index.kneighbors(features - mean)
    result: np.ndarray = 1 - distances.mean(axis=1)
    return result


def fit_familiarity(draws: Sequence[StageData]) -> Familiarity:
    """Choose the threshold on the test samples of draws of held-out classes."""
    scores = [
        likeness(np.asarray(samples.features[:]), np.asarray(data.train.features[:]))
        for data in draws
        for samples in (data.test_seen, data.test_unseen)
    ]
    return Familiarity(float(np.quantile(np.concatenate(scores), 1 - ACCEPTED)), NEIGHBORS)
