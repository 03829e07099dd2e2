"""Probabilities that can be believed, and images that are like the training images: offset, temperature and threshold.

All are chosen on held-out data.

Softmax of (scores − offset · seen) / T. The offset is chosen for the harmonic mean of seen and unseen accuracy, T for the
likelihood of the labels (Guo et al., "On Calibration of Modern Neural Networks", ICML 2017), which also defines the expected
calibration error: the mean gap between confidence and accuracy over bins of confidence.

The threshold, of the mean cosine with the nearest training features, accepts 95 % of images that were held out: of seen
classes and of classes left out as unseen. Features are compared as the backbone gives them: against 49 photos of flowers, the
area under the ROC curve was 1.00 for photos of unseen species in two sets of 60 CUB photos with MobileNetV2. It was 0.90 and
1.00 with features scaled to 0 ... 1, 0.92 and 0.96 with centered ones. A Mahalanobis distance with shrunk covariance ranks as
well, but its threshold refused a quarter of the photos of unseen species in one of the sets.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from zslab.app.model_file import Familiarity
from zslab.data.dataset import Dataset
from zslab.metrics import SeenUnseenCurve
from zslab.results.result import Calibration, Reliability

N_BINS = 15
MOST_OFFSETS = 2000  # that are tried
TEMPERATURES = (1e-4, 1e4)
ACCEPTED = 0.95  # share of held-out images that are like the training images
NEIGHBORS = 5


@dataclass(frozen=True)
class HeldOutScores:
    """What a model that did not see some samples' classes, or samples, says of them."""

    scores: Tensor  #: (n, C), -inf for classes out of the question
    labels: Tensor  #: (n,) the true columns
    seen: Tensor  #: (C,) bool; which classes that model was trained on
    offset: float  #: chosen without these samples

    @property
    def shifted(self) -> Tensor:
        """The scores (n, C) with the offset subtracted from those of seen classes."""
        return self.scores - self.offset * self.seen


def best_offset(curves: Sequence[SeenUnseenCurve]) -> float:
    """Return the offset with the highest harmonic mean, averaged over the curves; the middle of equally good ones."""
    at = torch.cat([curve.constants[curve.constants.isfinite()] for curve in curves]).unique()
    at = at[torch.linspace(0, len(at) - 1, min(len(at), MOST_OFFSETS)).round().long()]
    tried = torch.cat([at[:1] - 1, (at[1:] + at[:-1]) / 2, at[-1:] + 1])
    h = torch.stack([curve.h[curve.places(tried)] for curve in curves]).mean(dim=0)
    best = (h >= h.max() - 1e-9).nonzero().flatten()
    return float(tried[best[len(best) // 2]])


def fit_temperature(parts: Sequence[HeldOutScores]) -> float:
    """Return the temperature that makes the labels most likely, given their shifted scores."""
    logits, labels = torch.cat([part.shifted for part in parts]).double(), torch.cat([part.labels for part in parts])

    def loss(log_temperature: float) -> float:
        return torch.nn.functional.cross_entropy(logits / np.exp(log_temperature), labels).item()

    return float(np.exp(minimize_scalar(loss, bounds=tuple(np.log(TEMPERATURES)), method="bounded").x))


def calibrate(parts: Sequence[HeldOutScores], offset: float) -> Calibration:
    """Return an offset with the temperature that belongs to it, and how reliable probabilities are before and after.

    Args:
        parts: one for each draw of held-out classes.
        offset: chosen on all of them. The reliability "after" uses each part's own offset, and a temperature fitted to the
            other parts, so that it is no praise of a fit by itself.
    """
    labels = torch.cat([part.labels for part in parts])
    others = [[*parts[:i], *parts[i + 1 :]] or parts for i in range(len(parts))]
    before = torch.cat([part.scores for part in parts]).softmax(dim=1)
    after = torch.cat([(part.shifted / fit_temperature(rest)).softmax(dim=1) for part, rest in zip(parts, others)])
    return Calibration(offset, fit_temperature(parts), reliability(before, labels), reliability(after, labels))


def reliability(probabilities: Tensor, labels: Tensor, n_bins: int = N_BINS) -> Reliability:
    """Return accuracy by confidence of predictions with probabilities (n, C) and true columns (n,)."""
    confidence, predicted = (part.numpy() for part in probabilities.double().max(dim=1))
    correct, places = predicted == labels.numpy(), np.clip((confidence * n_bins).astype(int), 0, n_bins - 1)
    bins = []
    for place in np.unique(places):
        inside = places == place
        bins.append((float(confidence[inside].mean()), float(correct[inside].mean()), int(inside.sum())))
    return Reliability(sum(n * abs(c - a) for c, a, n in bins) / len(labels), bins)


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
