"""The estimators for arrays: scikit-learn's own checks, the digits of a run, and unseen classes that are recognized."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.utils.estimator_checks import check_estimator

from zslab.app.predictor import Predictor
from zslab.baselines.comparison import BASELINES
from zslab.data.xlsa17 import read_xlsa17
from zslab.errors import InputError
from zslab.estimator import BaselineClassifier, ClassFold, TfvaeganClassifier
from zslab.plan import run_folder

from helpers.commands import train
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
    small = dict(ngh=8, ndh=8, nepoch=2, batch_size=10, critic_iter=2, syn_num=5, classifier_epochs=3)
    config = replace(tfvaegan(), dataset="TINY", dataroot=tiny, output=tiny / "runs", **small)
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
    flags = dict(lr=5e-3, dec_lr=5e-3, feed_lr=1e-4, classifier_lr=3e-3, recons_weight=0.1)
    flags |= dict(syn_num=50, critic_iter=1, feedback_loop=1, batch_size=100)
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


@pytest.mark.parametrize(
    ("labels", "vectors", "message"),
    [
        ([0, 1, 7], np.eye(4), "y: every label must have a class vector"),
        ([1, 2, 4], np.eye(4), "0, 1, 2, 3 have .got 4"),
        (["cat", "dog", "dog"], np.eye(4), "every label must have a class vector"),
        ([0, 1, 1], np.zeros((4, 2)), "class_vectors: "),
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
        BaselineClassifier("class-normalized MLP").fit(np.eye(3), [0, 0, 0], class_vectors=np.eye(2))
    with pytest.raises(NotFittedError):
        TfvaeganClassifier().predict(np.eye(3))


def seen_samples() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    x, labels, vectors, seen = made()
    return x[seen], labels[seen], vectors


def test_class_vectors_are_matched_by_their_names(tmp_path: Path) -> None:
    """A table in any order of rows, or with an index that counts from 1, and rows whose attributes are in another order."""
    pandas = pytest.importorskip("pandas")
    x, labels, vectors = seen_samples()
    expected = BaselineClassifier().fit(x, labels, class_vectors=vectors).predict_proba(x[:20])
    rng = np.random.default_rng(1)
    table = pandas.DataFrame(vectors)
    shuffled = BaselineClassifier().fit(x, labels, class_vectors=table.sample(frac=1, random_state=0))
    assert np.array_equal(shuffled.predict_proba(x[:20]), expected)
    from_one = BaselineClassifier().fit(x, labels + 1, class_vectors=table.set_axis(range(1, 51)))
    assert np.array_equal(from_one.predict_proba(x[:20]), expected) and from_one.classes_.tolist() == list(range(1, 51))
    columns = [f"attribute {k}" for k in range(10)]
    rows = {k: pandas.Series(row, index=columns)[rng.permutation(columns)] for k, row in enumerate(vectors)}
    rows[0] = pandas.Series(vectors[0], index=columns)
    assert np.array_equal(BaselineClassifier().fit(x, labels, class_vectors=rows).predict_proba(x[:20]), expected)
    plain = {k: dict(row) for k, row in rows.items()}
    assert np.array_equal(BaselineClassifier().fit(x, labels, class_vectors=plain).predict_proba(x[:20]), expected)
    for wrong in (
        table.set_axis(range(1, 51)),  # label 0 has no row
        table.set_axis([0, *range(49)]),
        table.set_axis([("birds", k) for k in range(50)]),
        {**rows, 3: rows[3].rename({"attribute 1": "wings"})},
    ):
        with pytest.raises(InputError, match="class_vectors|y: "):
            BaselineClassifier().fit(x, labels, class_vectors=wrong)


def test_cross_validation_leaves_classes_out_and_class_vectors_whole() -> None:
    x, labels, vectors = seen_samples()
    splitter = ClassFold(4)
    for train_index, test_index in splitter.split(x, labels):
        assert not set(labels[train_index]) & set(labels[test_index]) and len(train_index) + len(test_index) == len(x)
    scores = cross_val_score(BaselineClassifier("ESZSL, centered", class_vectors=vectors), x, labels, cv=splitter)
    by_hand = []
    for train_index, test_index in splitter.split(x, labels):
        model = BaselineClassifier("ESZSL, centered").fit(x[train_index], labels[train_index], class_vectors=vectors)
        by_hand.append(model.score(x[test_index], labels[test_index]))
    assert scores.tolist() == by_hand and min(by_hand) > 0.5
    few = np.flatnonzero((labels < 10) & (np.arange(400) % 10 < 5))  # as many samples as classes
    assert len(few) == len(vectors)
    for given in (vectors, dict(enumerate(vectors))):  # scikit-learn takes items of a dictionary for those of samples, too
        with pytest.raises(InputError, match="class_vectors.*constructor"):
            fit = dict(params={"class_vectors": given}, cv=2, error_score="raise")
            cross_val_score(BaselineClassifier(), x[few], labels[few], **fit)
    whole = cross_val_score(BaselineClassifier(class_vectors=vectors), x[few], labels[few], cv=ClassFold(2))
    assert len(whole) == 2 and max(whole) > 0.2  # of all 50 classes, 2 % would be right by chance


def test_scores_history_synthesized_features_and_a_head_of_ones_own() -> None:
    x, labels, vectors = seen_samples()
    head = LogisticRegression(max_iter=300)
    model = TfvaeganClassifier(class_vectors=vectors, n_epochs=2, hidden_dim=16, flags=QUICK | {"syn_num": 30}, device="cpu")
    model.fit(x, labels)
    assert len(model.history_) == 2 and model.history_[1]["reconstruction"] < model.history_[0]["reconstruction"]
    scores = model.decision_function(x[:5])
    assert scores.shape == (5, 50) and np.array_equal(model.classes_[scores.argmax(axis=1)], model.predict(x[:5]))
    assert np.isneginf(model.decision_function(x[:5], unseen_only=True)[:, :40]).all()
    features, of = model.synthesize(n=7)
    assert features.shape == (70, 24) and of.tolist() == np.repeat(np.arange(40, 50), 7).tolist()
    assert np.array_equal(model.synthesize(n=7)[0], features)
    assert not np.array_equal(model.synthesize(n=7, random_state=1)[0], features)
    low, high = x.min(axis=0) - 1e-5, x.max(axis=0) + 1e-5
    assert ((low <= features) & (features <= high)).all(), "features have the range of the training features"
    one, of_one = model.synthesize([3], n=2)
    assert one.shape == (2, 24) and of_one.tolist() == [3, 3]
    other = clone(model).set_params(head=head).fit(x, labels)
    real = other.predictor_.transformed(x.astype(np.float32))
    synthetic, of = other.synthesize()
    inputs = np.concatenate([real, other.predictor_.transformed(synthetic)])
    by_hand = clone(head).fit(inputs, np.concatenate([labels, of]))
    assert np.allclose(other.decision_function(x[:5]), by_hand.decision_function(real[:5]))
    assert other.score(x, labels) > 0.8
