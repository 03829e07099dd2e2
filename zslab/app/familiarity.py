"""Is this image like the training images? The mean cosine with its nearest training features, against a threshold.

The threshold accepts 95 % of images that were held out: of seen classes and of classes left out as unseen. Features are
compared as the backbone gives them. This was chosen on two sets of 60 CUB photos with MobileNetV2, against 49 photos of
flowers: the area under the ROC curve was 1.00 for photos of unseen species in both. It was 0.90 and 1.00 with features scaled
to 0 ... 1, 0.92 and 0.96 with centered ones. A Mahalanobis distance with shrunk covariance ranks as well, but its threshold
refused a quarter of the photos of unseen species in one of the sets.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.neighbors import NearestNeighbors

from zslab.app.model_file import Familiarity
from zslab.data.dataset import Dataset

ACCEPTED = 0.95
NEIGHBORS = 5


def likeness(features: np.ndarray, train: np.ndarray, neighbors: int = NEIGHBORS) -> np.ndarray:
    """Return the mean cosine (n,) of features (n, D) with the nearest of the training features (m, D), neither scaled."""
    index = NearestNeighbors(n_neighbors=min(neighbors, len(train)), metric="cosine").fit(train)
    result: np.ndarray = 1 - index.kneighbors(features)[0].mean(axis=1)
    return result


def fit_familiarity(draws: Sequence[Dataset]) -> Familiarity:
    """Choose the threshold on the test samples of draws of held-out classes."""
    scores = [
        likeness(draw.features[draw.locations[name]], draw.features[draw.locations["trainval"]])
        for draw in draws
        for name in ("test_seen", "test_unseen")
    ]
    return Familiarity(float(np.quantile(np.concatenate(scores), 1 - ACCEPTED)), NEIGHBORS)
