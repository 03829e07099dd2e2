"""Zero-shot classification of arrays, in scikit-learn's manner: TF-VAEGAN and the baselines without files and folders.

A class without samples is known by its class vector alone, and is predicted like any other.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.model_selection import GroupKFold
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from zslab.app.attribute_table import AttributeScale
from zslab.app.export import model_of_data
from zslab.app.methods.base import RunParts, methods
from zslab.app.model_file import Model
from zslab.app.predictor import Predictor
from zslab.baselines.comparison import BASELINES
from zslab.config import DazleConfig, ImageConfig, config_dict, override
from zslab.data.dataset import Dataset, FeatureScaling, fit_scaling
from zslab.data.region_dataset import RegionDataset
from zslab.dazle.model import RELEASE, Dazle
from zslab.dazle.trainer import DazleTrainer
from zslab.errors import InputError, examples
from zslab.method import RUN
from zslab.shared.heads import SoftmaxHead
from zslab.tfvaegan.networks import Networks
from zslab.tfvaegan.trainer import TfvaeganTrainer
from zslab.utils.environment import resolve_device
from zslab.utils.names import logged_names
from zslab.utils.seeds import WEIGHTS, stream, stream_seed

if TYPE_CHECKING:
    from typing_extensions import Self

ClassVectors = Mapping[object, ArrayLike] | ArrayLike
# The flags of `TfvaeganClassifier`. For features by the thousand, not the hundred thousand: learning rates ten times the
# paper's, as for the toy birds. What says where data come from or how a run proceeds has no meaning here.
ARRAYS = RUN | dict(
    dataset="arrays", dataroot=Path(), image_embedding="features", class_embedding="class vectors", manualSeed=0, output=Path()
)
NUMBERS: dict[str, Any] = dict(
    **dict.fromkeys(("resSize", "attSize", "nclass_all", "nz", "extra_loss")),
    **dict.fromkeys(("standardization", "bce_att", "freeze_dec", "stale_feedback", "transductive"), False),
    **dict.fromkeys(("preprocessing", "encoded_noise", "transform", "gzsl", "cuda_graphs"), True),
    **dict.fromkeys(("gammaD", "gammaG", "lambda1", "gammaD2", "gammaG_D2"), 10),
    **dict.fromkeys(("a1", "a2", "extra_weight"), 1),
    **dict.fromkeys(("ngh", "ndh"), 512),
    **dict.fromkeys(("dec_lr", "classifier_lr"), 1e-3),
    critic_iter=5,
    feedback_loop=2,
    feed_lr=1e-4,
    beta1=0.5,
    recons_weight=0.1,
    unseen_prior="uniform",
    syn_num=300,
    classifier_epochs=25,
)
FLAGS = ImageConfig(**ARRAYS, **NUMBERS)
# As run_own_dazle.py has them, with the release's model.
DAZLE_NUMBERS: dict[str, Any] = dict(
    **dict.fromkeys(("split_file", "w2v_file")),
    **dict.fromkeys(("standard_split", "drop_absent_classes", "allow_missing_w2v"), False),
    **dict.fromkeys(("w2v", "is_conservative", "is_bias"), True),
    **dict.fromkeys(("att_change", "cache"), "none"),
    dim_v=300,
    loss_type="CE",
    bias=1,
    lambda_=0.1,
    iterations_per_epoch=0,
    sampling="class_balanced",
    weight_decay=1e-4,
    momentum=0.9,
)
IMAGES = dict(dataset="images", image_embedding="regions", lr=1e-4, batch_size=50)
DAZLE_FLAGS = DazleConfig(**ARRAYS | IMAGES | vars(RELEASE), **DAZLE_NUMBERS)


class ZeroShotClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Base class of the estimators.

    Args:
        class_vectors: of all classes, for every call of `fit`; cross-validation, which splits what `fit` is given by samples,
            leaves them whole.

    Attributes:
        classes_: (C,) labels of all classes, ascending; columns of `predict_proba`. Set by `fit`.
        seen_: (C,) whether a class had samples. Set by `fit`.
    """

    classes_: np.ndarray
    seen_: np.ndarray

    def fit(self, X: ArrayLike, y: ArrayLike, class_vectors: ClassVectors | None = None) -> Self:
        """Learn from samples of the seen classes and from the vectors of all classes.

        Args:
            X: (n, D) features.
            y: (n,) labels: rows of `class_vectors`, or keys of the mapping.
            class_vectors: (C, A) one row a class, a mapping from labels to rows, or a table of pandas whose index has the
                labels; a row without samples is an unseen class. Rows with names of their own are matched by these. None takes
                those of the constructor; without either, every label of `y` gets a vector of its own, so that there is no
                unseen class.

        Raises:
            InputError: a label has no class vector, or a class vector is zero or not finite.
        """
        features, y = validate_data(self, X, y, dtype=np.float32)
        check_classification_targets(y)
        labels, targets = np.unique(y, return_inverse=True)
        is_table = class_vectors is not None and not isinstance(class_vectors, Mapping)
        if is_table and len(np.asarray(class_vectors)) == len(targets):
            must = "the class vectors must not be as many as the samples, or cross-validation would split them, too"
            raise InputError(must, where="class_vectors", got=len(targets), fix="Pass them to the constructor.")
        self.classes_, table = class_table(self.class_vectors if class_vectors is None else class_vectors, labels)
        unknown = labels[~np.isin(labels, self.classes_)]
        if len(unknown):
            must = f"every label must have a class vector, as {examples(self.classes_.tolist())} have"
            fix = "Labels are row numbers of class_vectors, counted from 0, or keys of the mapping."
            raise InputError(must, where="y", got=examples(unknown.tolist()), fix=fix)
        self.seen_ = np.isin(self.classes_, labels)
        names, nowhere = [str(label) for label in self.classes_], np.array([], dtype=np.int64)
        dataset = Dataset(
            name="arrays",
            image_embedding="features",
            class_embedding="class vectors",
            features=features,
            labels=np.searchsorted(self.classes_, labels)[targets],
            attributes=AttributeScale.unit(table.shape[1]).apply(table, names, "class_vectors"),
            class_names=names,
            locations={"trainval": np.arange(len(features)), "test_seen": nowhere, "test_unseen": nowhere},
            split_version="none",
            unseen_classes=np.flatnonzero(~self.seen_),
        )
        self._fit(dataset, table)
        return self

    def decision_function(self, X: ArrayLike, unseen_only: bool = False) -> np.ndarray:
        """Return class scores (n, C) of features (n, D), columns as `classes_`, -inf for classes that are left out.

        Of two classes the score of the second minus that of the first (n,), as in scikit-learn.
        """
        scores = self._checked_scores(X, unseen_only)
        return scores if len(self.classes_) != 2 else np.asarray(scores[:, 1] - scores[:, 0])

    @abstractmethod
    def _fit(self, dataset: Dataset, table: np.ndarray) -> None:
        """Learn from all samples of a data set; `table` (C, A) has the class vectors as they were given."""

    @abstractmethod
    def _scores(self, X: np.ndarray, unseen_only: bool) -> np.ndarray:
        """Return scores (n, C) of features (n, D), -inf for excluded classes."""

    def predict_proba(self, X: ArrayLike, unseen_only: bool = False) -> np.ndarray:
        """Return the softmax of the class scores of features (n, D), as (n, C) with columns as `classes_`.

        Args:
            X: (n, D) features.
            unseen_only: choose among the unseen classes only.
        """
        return np.asarray(torch.from_numpy(self._checked_scores(X, unseen_only)).double().softmax(dim=1))

    def _checked_scores(self, X: ArrayLike, unseen_only: bool) -> np.ndarray:
        check_is_fitted(self)
        if unseen_only and self.seen_.all():
            must, fix = "there must be unseen classes", "Pass class_vectors with a row for each of them."
            raise InputError(must, where="unseen_only", got="samples of every class", fix=fix)
        return self._scores(validate_data(self, X, dtype=np.float32, reset=False), unseen_only)

    def predict(self, X: ArrayLike, unseen_only: bool = False) -> np.ndarray:
        """Return the labels (n,) of features (n, D); arguments as for `predict_proba`."""
        best = self.predict_proba(X, unseen_only).argmax(axis=1)
        return np.asarray(self.classes_[best])


def class_table(vectors: Any, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return all classes (C,), ascending, and their vectors (C, A); rows and columns that carry names are matched by them."""
    if vectors is None:
        return labels, np.eye(len(labels))
    if hasattr(vectors, "iloc"):  # a table of pandas
        names = vectors.index.tolist()
        if twice := sorted({str(name) for name in names if names.count(name) > 1}):
            raise InputError("a class must be named once", where="class_vectors", got=examples(twice), fix="Correct the index.")
        vectors = dict(zip(names, vectors.to_numpy(dtype=np.float64)))
    if not isinstance(vectors, Mapping):
        table = check_array(vectors, dtype=np.float64)
        return np.arange(len(table)), table
    keys = list(vectors)
    if any(isinstance(key, tuple) for key in keys):  # an index of several levels
        must, fix = "a class must be named by one text or number", "Drop the other levels of the index."
        raise InputError(must, where="class_vectors", got=examples(keys), fix=fix)
    classes, order = np.unique(np.asarray(keys), return_index=True)
    rows = [vectors[keys[place]] for place in order]
    named = [list(row.keys()) if hasattr(row, "keys") else [] for row in rows]  # mappings, and series of pandas
    for label, names in zip(classes, named):
        if set(names) != set(named[0]):
            must, fix = "each class must have the same attributes", "Name them alike."
            raise InputError(must, where=f"class_vectors, {label}", got=examples(names or ["no names"]), fix=fix)
    columns = (named[0] if named else None) or None
    return classes, check_array([row if columns is None else [row[name] for name in columns] for row in rows], dtype=np.float64)


def fit_tfvaegan(model: Model, dataset: Dataset, seed: int, device: str) -> Model:
    """Return a model with TF-VAEGAN as `TfvaeganClassifier` trains it on the training samples of a data set."""
    return _fitted(model, dataset, override(FLAGS, {"manualSeed": seed, "device": device}, "flags"))[0]


def fit_dazle(model: Model, dataset: RegionDataset, seed: int, device: str) -> Model:
    """Return a model with DAZLE trained on the region maps of a data set's training samples."""
    config, data = override(DAZLE_FLAGS, {"manualSeed": seed, "device": device}, "flags"), dataset.stage("test")
    sizes = data.attribute_dim, data.feature_dim, config.dim_v
    network = Dazle(data.word_vectors, *sizes, config, stream(seed, WEIGHTS), data.regions.grid)
    trainer = DazleTrainer(network, data, config, resolve_device(device))
    for _ in range(config.nepoch):
        trainer.train_epoch(lambda: True)
    tensors = {name: value.cpu() for name, value in trainer.weights().items()}
    return methods()["dazle"].of_run(model, dataset, RunParts(tensors, config_dict(config), seed))


def _fitted(model: Model, dataset: Dataset, config: ImageConfig) -> tuple[Model, list[dict[str, float]]]:
    """Train networks and heads with the flags of a config, see `fit_tfvaegan`; also return each epoch's mean losses."""
    data = dataset.stage("test")
    with torch.random.fork_rng():  # the initial weights draw from PyTorch's own generator
        torch.manual_seed(stream_seed(config.manualSeed, WEIGHTS))
        networks = Networks.build(config, data.feature_dim, data.attribute_dim)
    head = SoftmaxHead(config.classifier_lr, config.classifier_epochs, config.syn_num)
    zsl_head, gzsl_head = head, replace(head)
    trainer = TfvaeganTrainer(networks, data, config, zsl_head, gzsl_head, resolve_device(config.device))
    history = [trainer.train_epoch(lambda: True) or {} for _ in range(config.nepoch)]
    trainer.evaluate()
    tensors = trainer.weights()
    for name, head in (("zsl_head", zsl_head), ("gzsl_head", gzsl_head)):
        tensors = tensors | {f"{name}.{key}": value for key, value in head.state_dict().items()}
    tensors = {name: value.cpu() for name, value in tensors.items()}
    return methods()["tfvaegan"].of_run(model, dataset, RunParts(tensors, config_dict(config), config.manualSeed)), history


class TfvaeganClassifier(ZeroShotClassifier):
    """TF-VAEGAN: synthesizes features of unseen classes from their vectors and trains softmax heads on them.

    Args:
        n_epochs: training epochs of the networks, `nepoch`.
        hidden_dim: units of their hidden layers, `ngh` and `ndh`; the paper has 4096.
        flags: other flags of the method under their names on the command line, such as {"syn_num": 100}.
        calibration: is subtracted from the scores of the seen classes, which every model favors.
        head: any classifier of scikit-learn, which takes the place of the softmax heads: it learns from the real features of
            seen classes and synthesized ones of unseen classes, after TF-VAEGAN's transformation.
        device: "auto", "cpu", "cuda" or "cuda:N".
        random_state: the seed; equal to that of a run with the same settings, it gives the same networks and heads.

    Attributes:
        predictor_: the trained model, which learns new classes and writes a model file with `save`. Set by `fit`.
        history_: one dictionary an epoch with the mean of each loss. Set by `fit`.
        head_: the fitted head, where one was given. Set by `fit`.

    Examples:
        >>> X, A = [[0.0, 1.0], [0.1, 0.9], [1.0, 0.0], [0.9, 0.1]], [[1, 0], [0, 1], [0.6, 0.8]]
        >>> model = TfvaeganClassifier(n_epochs=1, hidden_dim=8).fit(X, [0, 0, 1, 1], class_vectors=A)
        >>> model.predict(X, unseen_only=True).tolist(), model.predict_proba(X).shape
        ([2, 2, 2, 2], (4, 3))
    """

    predictor_: Predictor
    history_: list[dict[str, float]]

    def __init__(
        self,
        *,
        class_vectors: ClassVectors | None = None,
        n_epochs: int = 30,
        hidden_dim: int = 512,
        flags: Mapping[str, object] | None = None,
        calibration: float = 0.0,
        head: Any = None,
        device: str = "auto",
        random_state: int = 0,
    ):
        self.class_vectors, self.n_epochs, self.hidden_dim, self.flags = class_vectors, n_epochs, hidden_dim, flags
        self.calibration, self.head, self.device, self.random_state = calibration, head, device, random_state

    @property
    def config(self) -> ImageConfig:
        """All flags."""
        own: dict[str, object] = {"nepoch": self.n_epochs, "ngh": self.hidden_dim, "ndh": self.hidden_dim}
        own |= {"device": self.device, "manualSeed": self.random_state}
        return override(FLAGS, own | dict(self.flags or {}), "flags")

    def _fit(self, dataset: Dataset, table: np.ndarray) -> None:
        model = msgspec.structs.replace(
            model_of_data(dataset, {"original_att": table.T}, "tfvaegan"),
            title="TF-VAEGAN on arrays",
            class_names=logged_names(dataset.class_names, "class_vectors"),
            config=config_dict(self.config),
        )
        self.config.check()
        fitted, self.history_ = _fitted(model, dataset, self.config)
        self.predictor_ = Predictor(fitted, device=self.device)
        if self.head is not None:
            features, labels = [dataset.features], [self.classes_[dataset.labels]]
            if not self.seen_.all():
                synthetic, of = self.synthesize()
                features, labels = [*features, synthetic], [*labels, of]
            self.head_ = clone(self.head).fit(self._head_inputs(np.concatenate(features)), np.concatenate(labels))

    def _scores(self, X: np.ndarray, unseen_only: bool) -> np.ndarray:
        if self.head is None:
            return self.predictor_.decision_function(X, unseen_only=unseen_only, calibration=self.calibration)
        x = self._head_inputs(X)
        if hasattr(self.head_, "decision_function"):
            found = self.head_.decision_function(x)
        else:
            found = np.log(np.maximum(self.head_.predict_proba(x), 1e-12))
        scores = np.full((len(x), len(self.classes_)), -np.inf)
        found = np.stack([-found, found], axis=1) if found.ndim == 1 else found
        scores[:, np.searchsorted(self.classes_, self.head_.classes_)] = found
        return np.where(self.seen_, -np.inf if unseen_only else scores - self.calibration, scores)

    def _head_inputs(self, X: np.ndarray) -> np.ndarray:
        """Return the features [x, Dec(x), h(x)] (n, D + A + H) that heads classify, for features (n, D)."""
        return self.predictor_.transformed(np.asarray(X, dtype=np.float32))

    def synthesize(
        self, labels: ArrayLike | None = None, n: int | None = None, random_state: int = 0
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return synthesized features (k * n, D) as `fit` takes them, and their labels.

        Args:
            labels: the classes; the unseen ones by default.
            n: features of each; `syn_num` by default.
            random_state: seed of the noise.
        """
        check_is_fitted(self, "predictor_")
        chosen = np.atleast_1d(self.classes_[~self.seen_] if labels is None else np.asarray(labels))
        names = [self.predictor_.classes_[k] for k in np.flatnonzero(np.isin(self.classes_, chosen))]
        features, of = self.predictor_.synthesize(names, n or self.config.syn_num, random_state)
        return features, self.classes_[[self.predictor_.classes_.index(name) for name in of]]


class BaselineClassifier(ZeroShotClassifier):
    """A baseline on features scaled to [0, 1], as in the table of a run.

    Args:
        baseline: one of `zslab.baselines.comparison.BASELINES`.
        class_vectors: see `ZeroShotClassifier`.
        settings: hyperparameters that replace the baseline's own, such as {"lambda_": 0.1}.
        calibration: is subtracted from the scores of the seen classes, which every model favors.

    Attributes:
        baseline_: the fitted baseline. Set by `fit`.

    Examples:
        >>> X, A = [[0.0, 1.0], [0.1, 0.9], [1.0, 0.0], [0.9, 0.1]], {"cat": [1, 0], "dog": [0, 1], "fox": [0.5, 0.5]}
        >>> model = BaselineClassifier("ESZSL, centered").fit(X, ["cat", "cat", "dog", "dog"], class_vectors=A)
        >>> model.predict(X).tolist(), model.classes_[~model.seen_].tolist()
        (['cat', 'cat', 'dog', 'dog'], ['fox'])
    """

    scaling_: FeatureScaling

    def __init__(
        self,
        baseline: str = "prototype regression",
        *,
        class_vectors: ClassVectors | None = None,
        settings: Mapping[str, float] | None = None,
        calibration: float = 0.0,
    ):
        self.baseline, self.class_vectors, self.settings, self.calibration = baseline, class_vectors, settings, calibration

    def _fit(self, dataset: Dataset, table: np.ndarray) -> None:
        if self.baseline not in BASELINES:
            must, fix = f"the baseline must be one of {', '.join(BASELINES)}", "Use one of these names."
            raise InputError(must, where="baseline", got=self.baseline, fix=fix)
        data = dataset.stage("test")
        if self.baseline == "class-normalized MLP" and len(data.seen_classes) < 2:
            must = "there must be two seen classes, over which the baseline normalizes"
            raise InputError(must, where="y", got="1 class", fix="Use another baseline.")
        self.scaling_ = fit_scaling(dataset.features, dataset.locations["trainval"], "minmax")
        (self.baseline_,) = BASELINES[self.baseline].path(
            data.train.features, data.train.labels, data.attributes, [self.settings or {}]
        )

    def _scores(self, X: np.ndarray, unseen_only: bool) -> np.ndarray:
        scores: np.ndarray = self.baseline_.scores(torch.from_numpy(self.scaling_(X))).numpy()
        return np.where(self.seen_, -np.inf if unseen_only else scores - self.calibration, scores)


class ClassFold(GroupKFold):  # type: ignore[misc]  # scikit-learn has no types
    """A splitter for cross-validation that leaves classes out: in each split the samples of some classes are for testing.

    Those classes are unseen in that split, if `class_vectors` has them; see scikit-learn's `GroupKFold` for the arguments.

    Examples:
        >>> from sklearn.model_selection import cross_val_score
        >>> X, y = [[0.0, 1.0], [0.1, 0.9], [1.0, 0.0], [0.9, 0.1], [0.5, 0.6], [0.6, 0.5]], [0, 0, 1, 1, 2, 2]
        >>> vectors = [[0, 1], [1, 0], [0.7, 0.7]]
        >>> model = BaselineClassifier("ESZSL", class_vectors=vectors, calibration=100)  # the unseen class of a split wins
        >>> cross_val_score(model, X, y, cv=ClassFold(3)).tolist()
        [1.0, 1.0, 1.0]
    """

    def split(self, X: ArrayLike, y: ArrayLike, groups: object = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the sample indices for training and for testing of each split; `groups` are ignored."""
        splits: Iterator[tuple[np.ndarray, np.ndarray]] = super().split(X, y, groups=np.asarray(y))
        return splits
