"""Checks that any method should pass before its numbers are believed, for tests.

    from zslab.testing import check_method

    def test_ale() -> None:
        check_method(METHOD)

Without data they run on a small data set that is made here, with whatever config is given; choose few hidden units and epochs.
"""

import io
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
import torch
from torch import Tensor

from zslab.config import RunConfig
from zslab.data.dataset import Dataset, Samples, StageData
from zslab.data.lazy import StoredFeatures
from zslab.method import Method, load_method
from zslab.plan import data_folders
from zslab.protocol.stages import EvaluatingTrainer
from zslab.utils.environment import set_seed

CPU = torch.device("cpu")
EPOCHS = 2


def write_small_dataset(root: Path | str, name: str = "SMALL") -> Path:
    """Write a learnable data set in the xlsa17 layout, 6 seen and 3 unseen classes of 8 samples, and return its folder."""
    rng = np.random.default_rng(0)
    attributes, labels = rng.uniform(0.1, 1, (9, 5)), np.repeat(np.arange(9), 8)
    features = attributes[labels] @ rng.uniform(0, 1, (5, 7)) + 0.3 * rng.random((72, 7))
    number = np.tile(np.arange(8), 9)
    lists = {
        "trainval": (labels < 6) & (number >= 2),
        "test_seen": (labels < 6) & (number < 2),
        "test_unseen": labels >= 6,
        "train": (labels < 4) & (number >= 2),
        "val": (labels >= 4) & (labels < 6) & (number >= 2),
    }
    folder = Path(root) / name
    folder.mkdir(parents=True)
    scipy.io.savemat(folder / "features.mat", {"features": features.T, "labels": labels[:, None] + 1})
    locations = {f"{key}_loc": np.flatnonzero(mask)[:, None] + 1 for key, mask in lists.items()}
    scipy.io.savemat(folder / "att_splits.mat", {"att": attributes.T} | locations)
    return folder


def check_method(method: Method | str, config: RunConfig | None = None, uses_unlabeled: bool = False) -> None:
    """Check what the protocol relies on; an AssertionError says what a method does wrong.

    - The same seed gives the same weights and measures, whatever else draws from PyTorch's own random numbers.
    - Training that was stopped anywhere continues bit for bit, from what `torch.save` can write and load without code.
    - A state with a missing part is refused.
    - Evaluating changes nothing, measures every head epoch, and fills the snapshots it is asked for.
    - Features that are read on demand give the same weights, and the same measures up to rounding.
    - Neither features nor labels of test samples have an influence on the training.

    Args:
        method: what to check, or its place, as `--method` takes it.
        config: its flags, with data that exist; by default those of the method, on a small data set that is made here.
        uses_unlabeled: whether it may use the features of unseen test samples, as a transductive method does.

    Examples:
        >>> check_method("examples/ale.py:METHOD")  # says nothing if all is well
    """
    if isinstance(method, str):
        method = load_method(method, "method")
    with tempfile.TemporaryDirectory() as folder:
        if config is None:
            write_small_dataset(Path(folder))
            files: dict[str, Any] = dict(dataroot=Path(folder), dataset="SMALL", image_embedding="features")
            config = replace(method.config, **files, class_embedding="att", output=Path(folder), fit_batch_size=True)
        dataset = method.source(config).open(*data_folders(config))
        check = _Check(method, replace(config, device="cpu"), dataset)
        check.evaluation()
        check.determinism()
        check.resuming()
        check.lazy_features()
        check.no_test_data(uses_unlabeled)


class _Check:
    def __init__(self, method: Method, config: RunConfig, dataset: Dataset):
        self.method, self.config, self.dataset = method, config, dataset
        self.data = dataset.stage("test", seed=config.manualSeed)
        self.expected = self.trained(self.data)

    def build(self, data: StageData) -> EvaluatingTrainer:
        set_seed(self.config.manualSeed)
        return self.method.build_trainer(self.config, data, CPU)

    def trained(
        self, data: StageData, after_epoch: Callable[[EvaluatingTrainer], object] = lambda _: None
    ) -> EvaluatingTrainer:
        trainer = self.build(data)
        for _ in range(EPOCHS):
            trainer.train_epoch(lambda: True)
            after_epoch(trainer)
        return trainer

    def compare(self, trainer: EvaluatingTrainer, what: str) -> None:
        expected, found = self.expected.weights(), trainer.weights()
        differing = [name for name in expected if name not in found or not torch.equal(expected[name], found[name])]
        assert not differing and expected.keys() == found.keys(), f"{what} changes the weights {', '.join(differing)}"

    def determinism(self) -> None:
        def disturb(trainer: EvaluatingTrainer) -> None:
            torch.manual_seed(trainer.epoch)
            np.random.seed(trainer.epoch)

        self.compare(self.trained(self.data, disturb), "drawing from PyTorch's or NumPy's own random numbers")
        again = self.trained(self.data)
        assert again.evaluate().metrics == self.expected.evaluate().metrics, "the same seed gives other measures"
        assert all(torch.isfinite(value).all() for value in again.weights().values()), "weights are not finite"

    def resuming(self) -> None:
        per_epoch = self.expected.iterations_per_epoch
        for stop in sorted({1, per_epoch - 1, per_epoch, per_epoch + 1}):
            stopped = self.build(self.data)
            for left in iter(lambda: stop - stopped.epoch * per_epoch - stopped.position, 0):  # noqa: B023
                count = iter(range(1, left))
                stopped.train_epoch(lambda: next(count, None) is not None)  # noqa: B023
            file = io.BytesIO()
            torch.save(stopped.state_dict(), file)
            file.seek(0)
            state = torch.load(file, weights_only=True)
            resumed = self.build(self.data)
            for missing in state:
                try:
                    self.build(self.data).load_state_dict({name: value for name, value in state.items() if name != missing})
                except (ValueError, KeyError):
                    continue
                raise AssertionError(f"a state without {missing!r} is loaded")
            resumed.load_state_dict(state)
            assert (resumed.epoch, resumed.position) == (stopped.epoch, stopped.position), "epoch or position are not restored"
            while resumed.epoch < EPOCHS:
                resumed.train_epoch(lambda: True)
            self.compare(resumed, f"stopping after {stop} of {EPOCHS * per_epoch} iterations")

    def evaluation(self) -> None:
        trainer = self.trained(self.data, lambda trainer: trainer.evaluate())
        self.compare(trainer, "evaluating")
        last, data = trainer.head_epochs - 1, self.data
        evaluation = trainer.evaluate(keep={last})
        for group in evaluation.metrics.values():
            for name, values in group.items():
                assert len(values) == trainer.head_epochs, f"{name} has {len(values)} values, not one for every head epoch"
        assert set(evaluation.snapshots) == {last}, "snapshots are of other head epochs than those asked for"
        predictions = evaluation.snapshots[last].predictions
        for task, n, classes in (
            ("zsl", len(data.test_unseen), data.unseen_classes),
            ("gzsl", len(data.test_labels), data.classes),
        ):
            if task in predictions:
                assert len(predictions[task]) == n, f"the snapshot has {len(predictions[task])} predictions of {task}, not {n}"
                assert torch.isin(predictions[task], classes).all(), f"predictions of {task} are no classes"
        assert "zsl" in predictions, "the snapshot has no predictions; fill it by Evaluation.measure_unseen"
        assert "calibrated" not in trainer.evaluate().metrics, "calibrated measures without a constant"

    def lazy_features(self) -> None:
        def on_demand(samples: Samples) -> Samples:
            array = samples.features[:].numpy()
            return Samples(StoredFeatures(array, np.arange(len(array)), lambda rows: rows.astype(np.float32)), samples.labels)

        data = self.data
        parts: dict[str, Any] = {name: on_demand(getattr(data, name)) for name in ("train", "test_seen", "test_unseen")}
        lazy = self.trained(replace(data, **parts))
        self.compare(lazy, "reading features on demand")
        _assert_close(lazy.evaluate().metrics, self.expected.evaluate().metrics)

    def no_test_data(self, uses_unlabeled: bool) -> None:
        lists = dict(self.dataset.locations)
        for name in ("test_seen", *([] if uses_unlabeled else ["test_unseen"])):
            lists[name] = lists[name][: -(-len(lists[name]) // 2)]
        unseen = np.union1d(self.dataset.unseen_classes, self.dataset.labels[self.dataset.locations["test_unseen"]])
        fewer = replace(self.dataset, locations=lists, unseen_classes=unseen)
        self.compare(self.trained(fewer.stage("test", seed=self.config.manualSeed)), "leaving out test samples")


def _assert_close(found: Mapping[str, Mapping[str, list[float]]], expected: Mapping[str, Mapping[str, list[float]]]) -> None:
    for group, measures in expected.items():
        for name, values in measures.items():
            difference: Tensor = (torch.tensor(values) - torch.tensor(found[group][name])).abs()
            assert (difference < 1e-3).all(), f"{name} of features read on demand is {found[group][name]}, not {values}"
