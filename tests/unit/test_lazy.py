"""Features that are read by the row: the same numbers, accuracies and refusals as features in memory."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch

from zslab.baselines.comparison import run_baselines
from zslab.data import lazy as rows
from zslab.data.dataset import Dataset
from zslab.data.lazy import (
    ConcatenatedFeatures,
    LazyFeatures,
    StoredFeatures,
    TransformedFeatures,
    join,
    read_rows,
    transformed,
)
from zslab.data.xlsa17 import read_xlsa17
from zslab.errors import InputError
from zslab.protocol.evaluation import Snapshot
from zslab.shared.heads import SoftmaxHead
from zslab.tfvaegan.networks import Networks
from zslab.tfvaegan.steps import generate
from zslab.tfvaegan.synthesis import synthesize

from helpers.configs import read_dataset, tfvaegan
from helpers.tfvaegan_trainer import build
from helpers.tiny import tiny_arrays, write_tiny


@pytest.fixture
def nothing_fits(monkeypatch) -> None:
    monkeypatch.setattr(rows, "IN_MEMORY", 0)


def write_mapped(root: Path, dtype: type = np.float16, **changes: np.ndarray) -> Path:
    """TINY with its features, rounded to `dtype`, in .npy files, and as MAT the very same numbers in a .mat file."""
    arrays = tiny_arrays() | changes
    features = arrays["features"].astype(dtype)
    folder = write_tiny(root, "MAPPED", **changes)
    (folder / "res101.mat").unlink()
    np.save(folder / "res101_features.npy", features.T)
    np.save(folder / "res101_labels.npy", arrays["labels"].ravel())
    folder = write_tiny(root, "MAT", **changes)
    scipy.io.savemat(folder / "res101.mat", {"features": features.astype(np.float32), "labels": arrays["labels"]})
    return root


def read(root: Path, name: str) -> Dataset:
    return read_xlsa17(root, name, "res101", "att")


def test_rows_are_the_matrix() -> None:
    """Reading, viewing and joining against indexing a matrix that was made as a whole."""
    rng = np.random.default_rng(0)
    array, numbers = rng.random((30, 4)).astype(np.float16), rng.permutation(30)[:20]
    stored = StoredFeatures(array, numbers, lambda x: 2 * x.astype(np.float32) + 1)
    whole = 2 * torch.from_numpy(array[numbers].astype(np.float32)) + 1
    tensor = torch.rand(7, 4)
    cases = [
        (stored, whole),
        (TransformedFeatures(stored, lambda x: torch.cat([x, x.square()], dim=1)), torch.cat([whole, whole.square()], dim=1)),
        (ConcatenatedFeatures([stored, tensor, stored]), torch.cat([whole, tensor, whole])),
        (TransformedFeatures(ConcatenatedFeatures([tensor, stored]), torch.sqrt), torch.cat([tensor, whole]).sqrt()),
    ]
    for found, expected in cases:
        n = len(expected)
        assert found.shape == tuple(expected.shape) and len(found) == n
        index = torch.randint(n, (3, 5), generator=torch.Generator().manual_seed(0))
        assert found[index].dtype == torch.float32
        torch.testing.assert_close(found[index], expected[index])
        torch.testing.assert_close(found[::3], expected[::3])
        torch.testing.assert_close(torch.cat(list(found.split(6))), expected)


def test_what_fits_is_made_as_a_whole(monkeypatch) -> None:
    x = torch.rand(6, 4)
    monkeypatch.setattr(rows, "IN_MEMORY", 4 * 12 * 4)
    assert isinstance(join(x, x), torch.Tensor) and isinstance(join(x, x, x), LazyFeatures)
    double = lambda part: torch.cat([part, part], dim=1)  # noqa: E731
    assert isinstance(transformed(x, double, 8), torch.Tensor) and isinstance(
        transformed(torch.cat([x, x]), double, 8), LazyFeatures
    )
    assert isinstance(join(x, TransformedFeatures(x, torch.sqrt)), LazyFeatures)


@pytest.mark.parametrize("stage", ["test", "validation"])
@pytest.mark.parametrize("scaling", ["minmax", "standard", "none"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_mapped_features_are_scaled_as_those_in_memory(tmp_path, nothing_fits, stage, scaling, dtype) -> None:
    write_mapped(tmp_path, dtype)
    found, expected = (read(tmp_path, name).stage(stage, scaling) for name in ("MAPPED", "MAT"))
    for name in ("train", "test_seen", "test_unseen"):
        mine, theirs = getattr(found, name), getattr(expected, name)
        assert isinstance(mine.features, LazyFeatures) and isinstance(theirs.features, torch.Tensor)
        assert torch.equal(mine.features[:], theirs.features)
        assert torch.equal(mine.labels, theirs.labels)
    assert found.feature_dim == expected.feature_dim


def test_a_scaling_fitted_in_parts_is_the_whole_ones(tmp_path, monkeypatch) -> None:
    write_mapped(tmp_path)
    whole = read(tmp_path, "MAT").stage("test", "standard").train.features
    monkeypatch.setattr("zslab.data.dataset.CHUNK", 5)
    torch.testing.assert_close(read(tmp_path, "MAT").stage("test", "standard").train.features, whole)
    low_high = read(tmp_path, "MAT").stage("test").train.features
    assert low_high.min() == 0 and low_high.max() == 1


def same_numbers(monkeypatch, root: Path, transductive: bool = False) -> tuple:
    """Trainers on the same numbers, read by the row and in memory."""
    monkeypatch.setattr("helpers.tfvaegan_trainer.read_xlsa17", lambda root, *_: read(root, "MAPPED"))
    streamed = build(root, transductive)
    monkeypatch.setattr("helpers.tfvaegan_trainer.read_xlsa17", lambda root, *_: read(root, "MAT"))
    return streamed, build(root, transductive)


@pytest.mark.parametrize("transductive", [False, True])
def test_training_and_evaluation_on_streamed_features_are_those_in_memory(tmp_path, monkeypatch, transductive) -> None:
    """First with streamed features only, then with nothing made as a whole: transformed features are never kept."""
    write_mapped(tmp_path)
    monkeypatch.setattr(rows, "IN_MEMORY", 0)
    streamed, memory = same_numbers(monkeypatch, tmp_path, transductive)
    assert isinstance(streamed.data.train.features, LazyFeatures) and isinstance(memory.data.train.features, torch.Tensor)
    for _ in range(2):
        assert streamed.train_epoch(lambda: True) == memory.train_epoch(lambda: True)
    record = streamed.evaluate(keep={1})
    monkeypatch.setattr(rows, "IN_MEMORY", 2**30)
    expected = memory.evaluate(keep={1})
    assert record.metrics == expected.metrics
    assert isinstance(record.synthetic.features, LazyFeatures)
    torch.testing.assert_close(streamed.gzsl.weight_, memory.gzsl.weight_, rtol=1e-5, atol=1e-7)


def test_a_head_learns_from_rows_what_it_learns_from_a_matrix() -> None:
    torch.manual_seed(1)
    x, labels = torch.rand(50, 6), torch.arange(50) % 4
    settings = {"epochs": 3, "batch_size": 12}
    whole = SoftmaxHead(**settings).fit(x.square(), labels, torch.Generator().manual_seed(2))
    found = SoftmaxHead(**settings).fit(TransformedFeatures(x, torch.square), labels, torch.Generator().manual_seed(2))
    assert found.weight_.equal(whole.weight_)
    torch.testing.assert_close(found.scores(TransformedFeatures(x, torch.square)), whole.scores(x.square()))
    assert found.predict(TransformedFeatures(x, torch.square)).equal(whole.predict(x.square()))


def test_baselines_in_parts_are_the_baselines(tmp_path, monkeypatch) -> None:
    """The same results from rows read in parts; the perceptron, which needs its samples in memory, is left out."""
    write_mapped(tmp_path)
    whole = run_baselines(*(read(tmp_path, "MAT").stage(stage) for stage in ("validation", "test")))
    monkeypatch.setattr("zslab.baselines.base.CHUNK", 5)
    monkeypatch.setattr("zslab.baselines.eszsl.CHUNK", 5)
    monkeypatch.setattr("zslab.baselines.comparison.CHUNK", 5)
    monkeypatch.setattr("zslab.data.dataset.fits", lambda *_: False)
    validation, test = (read(tmp_path, "MAPPED").stage(stage) for stage in ("validation", "test"))
    assert isinstance(test.train.features, LazyFeatures)
    streamed = run_baselines(validation, test)
    assert [result.name for result in streamed] == ["ESZSL", "ESZSL, centered", "prototype regression"]
    for result, expected in zip(streamed, whole):
        assert (result.t1, result.plain, result.calibrated) == (expected.t1, expected.plain, expected.calibrated)
        assert result.constant == pytest.approx(expected.constant, abs=1e-5)


def test_damaged_numpy_features_are_refused(tmp_path) -> None:
    folder = write_mapped(tmp_path) / "MAPPED"
    paths = {name: folder / f"res101_{name}.npy" for name in ("features", "labels")}
    good = {name: np.load(path) for name, path in paths.items()}
    broken = good["features"].copy()
    broken[17, 2] = np.inf
    for name, content, words in (
        ("features", broken, "1 of [0-9]+ samples, the first is 18"),
        ("features", good["features"].astype(np.int32), "int32"),
        ("features", good["features"].T, r"float16 \(7, 72\)"),
        ("labels", good["labels"] - 1, "0 to 8"),
    ):
        for other, path in paths.items():
            np.save(path, content if other == name else good[other])
        with pytest.raises(InputError, match=rf"res101_{name}\.npy.*{words}"):
            read(tmp_path, "MAPPED")


@pytest.mark.parametrize("rows_wanted", [[], [7], [3, 2, 3], [0, 499, 20], list(range(100, 200))])
@pytest.mark.parametrize("mapped", [False, True])
def test_rows_are_the_same_however_they_are_read(tmp_path, rows_wanted, mapped) -> None:
    array = np.random.default_rng(0).random((500, 3)).astype(np.float16)
    np.save(tmp_path / "array.npy", array)
    source = np.load(tmp_path / "array.npy", mmap_mode="r") if mapped else array
    wanted = np.array(rows_wanted, dtype=np.int64)
    np.testing.assert_array_equal(read_rows(source, wanted), array[wanted])


def test_features_of_large_label_sets_are_synthesized_on_demand(monkeypatch) -> None:
    """They are what the generator makes of the stored noise, the same at every access, in whatever batches."""
    torch.manual_seed(0)
    networks = Networks.build(tfvaegan(ngh=8, ndh=8), 6, 4)
    attributes, classes = torch.rand(9, 4), torch.tensor([2, 5, 7])
    monkeypatch.setattr("zslab.shared.synthesis.NOISE_ROWS", 16)
    held = synthesize(networks, attributes, classes, 10, 0.5, torch.Generator().manual_seed(3))
    monkeypatch.setattr(rows, "IN_MEMORY", 0)
    streamed = synthesize(networks, attributes, classes, 10, 0.5, torch.Generator().manual_seed(3))
    assert isinstance(held.features, torch.Tensor) and isinstance(streamed.features, LazyFeatures)
    assert torch.equal(held.labels, streamed.labels) and streamed.features.shape == held.features.shape
    noise = torch.randn(16, 4, generator=torch.Generator().manual_seed(3))
    index = torch.tensor([29, 0, 17, 1])
    with torch.no_grad():
        expected = generate(networks, noise[[13, 0, 1, 1]], attributes[[7, 2, 5, 2]], 0.5)
    torch.testing.assert_close(streamed.features[index], expected)
    torch.testing.assert_close(streamed.features[:][index], streamed.features[index])
    assert streamed.features.to(torch.device("cpu")) is streamed.features


def test_memory_limits_every_matrix_to_a_share(images, tiny, monkeypatch) -> None:
    monkeypatch.setattr(rows, "IN_MEMORY", rows.IN_MEMORY)
    config = replace(tfvaegan(), dataset="TINY", dataroot=tiny)
    assert rows.fits(2**20, 1024) and not rows.fits(2**20, 1025)
    read_dataset(config)
    assert rows.fits(2**20, 1024)
    read_dataset(replace(config, memory=4.0))
    assert rows.fits(2**17, 1024) and not rows.fits(2**17, 1025)


def test_confusion_matrices_end_where_nobody_could_draw_them(monkeypatch) -> None:
    labels, classes, snapshot = torch.tensor([0, 2]), torch.arange(3), Snapshot()
    snapshot.add_confusion("zsl", labels, labels, classes)
    assert snapshot.arrays["zsl_confusion"].tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 1]]
    monkeypatch.setattr("zslab.protocol.evaluation.MOST_CONFUSED", 2)
    snapshot.add_confusion("gzsl", labels, labels, classes)
    assert snapshot.arrays.keys() == {"zsl_confusion"}
