"""The estimators for arrays: scikit-learn's own checks, the digits of a run, and unseen classes that are recognized."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.exceptions import NotFittedError
from sklearn.utils.estimator_checks import check_estimator

import zslab
from zslab.app.predictor import Predictor
from zslab.baselines.comparison import BASELINES
from zslab.data.xlsa17 import read_xlsa17
from zslab.errors import InputError
from zslab.estimator import BaselineClassifier, TfvaeganClassifier
from zslab.experiment import train
from zslab.plan import run_folder

from helpers.configs import tfvaegan
from helpers.tiny import tiny_arrays

QUICK = dict(syn_num=16, lr=1e-3, dec_lr=1e-3, critic_iter=1, classifier_epochs=60, classifier_lr=1e-2)
ROUNDING = "float32 products may differ in their last digit with the number of rows"
ALLOWED = {
    TfvaeganClassifier: {"check_methods_sample_order_invariance": ROUNDING, "check_methods_subset_invariance": ROUNDING},
    "ESZSL": {"check_classifiers_train": "as published it has no intercept, so blobs that lie in one direction are one class"},
    "class-normalized MLP": {"check_classifiers_one_label": "it normalizes over the seen classes, so it needs two"},
}


def made() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """X, y, the vectors of 50 classes, and which samples belong to the 40 seen ones; 10 samples a class."""
    rng = np.random.default_rng(0)
    vectors, labels = rng.integers(0, 2, (50, 10)).astype(float), np.repeat(np.arange(50), 10)
    noise = 0.3 * rng.normal(size=(500, 24))
    return np.maximum((vectors[labels] - 0.5) @ rng.normal(size=(10, 24)) + noise, 0), labels, vectors, labels < 40


@pytest.mark.slow
@pytest.mark.parametrize("name", ["TF-VAEGAN", *BASELINES])
def test_scikit_learn_finds_nothing_but_what_is_listed(name: str) -> None:
    estimator, allowed = BaselineClassifier(name), ALLOWED.get(name, {})
    if name == "TF-VAEGAN":
        estimator = TfvaeganClassifier(n_epochs=1, hidden_dim=16, flags=QUICK, device="cpu")
        allowed = ALLOWED[TfvaeganClassifier]
    found = check_estimator(estimator, on_fail=None, on_skip=None)
    failed = {check["check_name"] for check in found if check["status"] == "failed"}
    assert failed <= allowed.keys() and len(found) > 50


def test_the_estimator_has_the_digits_of_a_run(images, tiny) -> None:
    config = replace(
        tfvaegan(),
        dataset="TINY",
        dataroot=tiny,
        output=tiny / "runs",
        ngh=8,
        ndh=8,
        nepoch=2,
        batch_size=10,
        critic_iter=2,
        syn_num=5,
        classifier_epochs=3,
    )
    assert train(config, images.train_tfvaegan_inductive.METHOD) == 0
    stored = load_file(run_folder(config).path / "model_last.safetensors")
    data, vectors = read_xlsa17(tiny, "TINY", "res101", "att"), tiny_arrays()["att"].T
    rows = data.locations["trainval"]
    names = ("batch_size", "critic_iter", "syn_num", "classifier_epochs", "lr", "feed_lr", "dec_lr", "recons_weight")
    flags = {name: getattr(config, name) for name in names}
    estimator = TfvaeganClassifier(n_epochs=2, hidden_dim=8, flags=flags, device="cpu", random_state=config.manualSeed).fit(
        data.features[rows], data.labels[rows], class_vectors=vectors
    )
    weights = estimator.predictor_._method.weights
    assert {"gzsl_head.weight", "zsl_head.bias", "generator.hidden.weight"} <= weights.keys()
    for key, value in weights.items():
        assert torch.equal(value, stored[key]), key


@pytest.mark.slow
def test_unseen_classes_are_recognized(tmp_path) -> None:
    """Chance is 2 % among all 50 classes and 10 % among the 10 unseen ones."""
    x, labels, vectors, seen = made()
    flags = dict(
        lr=5e-3,
        dec_lr=5e-3,
        feed_lr=1e-4,
        recons_weight=0.1,
        syn_num=50,
        critic_iter=1,
        feedback_loop=1,
        batch_size=100,
        classifier_lr=3e-3,
    )
    model = TfvaeganClassifier(n_epochs=40, hidden_dim=128, flags=flags, device="cpu")
    before = torch.get_rng_state()
    model.fit(x[seen], labels[seen], class_vectors=vectors)
    assert torch.equal(torch.get_rng_state(), before)
    assert model.score(x[~seen], labels[~seen]) > 0.6 and model.score(x[seen], labels[seen]) > 0.7
    assert (model.predict(x[~seen], unseen_only=True) == labels[~seen]).mean() > 0.8
    model.predictor_.save(tmp_path / "arrays.zsl")
    again = Predictor.load(tmp_path / "arrays.zsl", device="cpu")
    names = [again.classes_[k] for k in again.decision_function(x[~seen]).argmax(axis=1)]
    assert names == [str(label) for label in model.predict(x[~seen])]


@pytest.mark.parametrize(("name", "lowest"), [("ESZSL, centered", 0.9), ("prototype regression", 0.9)])
def test_baselines_recognize_unseen_classes(name: str, lowest: float) -> None:
    x, labels, vectors, seen = made()
    model = BaselineClassifier(name).fit(x[seen], labels[seen], class_vectors=vectors)
    assert model.score(x[~seen], labels[~seen]) > lowest and model.score(x[seen], labels[seen]) > 0.8
    only = model.predict_proba(x[:3], unseen_only=True)
    assert (only[:, :40] == 0).all() and np.allclose(only.sum(axis=1), 1)
    favored = BaselineClassifier(name, calibration=-100).fit(x[seen], labels[seen], class_vectors=vectors)
    assert favored.score(x[~seen], labels[~seen]) == 0


def test_labels_are_keys_of_a_mapping() -> None:
    x, vectors = [[0.0, 1], [0, 2], [1, 0]], {"dog": [0, 1], "cat": [1, 0], "ant": [1, 1]}
    model = BaselineClassifier().fit(x, ["cat", "cat", "dog"], class_vectors=vectors)
    assert model.classes_.tolist() == ["ant", "cat", "dog"] and model.seen_.tolist() == [False, True, True]
    assert model.predict(x).tolist() == ["cat", "cat", "dog"]


@pytest.mark.parametrize(
    ("labels", "vectors", "message"),
    [
        ([0, 1, 7], np.eye(3), "y: every label must have a class vector"),
        ([1, 2, 3], np.eye(3), "0, 1, 2 have .got 3"),
        (["cat", "dog", "dog"], np.eye(3), "every label must have a class vector"),
        ([0, 1, 1], np.zeros((3, 2)), "class_vectors: "),
    ],
)
def test_labels_and_vectors_that_do_not_fit_are_refused(labels, vectors, message: str) -> None:
    with pytest.raises(InputError, match=message):
        BaselineClassifier().fit(np.eye(3), labels, class_vectors=vectors)


def test_other_misuse_is_refused() -> None:
    model = BaselineClassifier().fit(np.eye(3), [0, 1, 2])
    with pytest.raises(InputError, match="unseen_only"):
        model.predict(np.eye(3), unseen_only=True)
    with pytest.raises(InputError, match="the baseline must be one of"):
        BaselineClassifier("SVM").fit(np.eye(3), [0, 1, 2])
    with pytest.raises(InputError, match="two seen classes"):
        BaselineClassifier("class-normalized MLP").fit(np.eye(3), [0, 0, 0], class_vectors=np.eye(3))
    with pytest.raises(NotFittedError):
        TfvaeganClassifier().predict(np.eye(3))


def test_the_package_offers_them_by_name() -> None:
    assert zslab.TfvaeganClassifier is TfvaeganClassifier and zslab.BaselineClassifier is BaselineClassifier
    assert {"Predictor", "TfvaeganClassifier", "BaselineClassifier"} == set(zslab.__all__)
