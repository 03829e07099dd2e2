"""What tells data apart that a run was trained on, and what becomes of a run whose data have changed."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from zslab.data.dataset import Dataset
from zslab.data.fingerprint import MAPS, ROWS, fingerprint
from zslab.data.region_dataset import RegionDataset, read_region_maps
from zslab.data.region_writer import write_region_file
from zslab.data.xlsa17 import read_xlsa17
from zslab.datasets import ActionSource
from zslab.utils.files import read_json

from helpers.commands import train
from helpers.configs import tfvaegan
from helpers.tiny import tiny_arrays, write_tiny

TINY_FLAGS = dict(  # fmt: skip
    ngh=8, ndh=8, nepoch=2, batch_size=10, critic_iter=2, syn_num=5, classifier_epochs=2, device="cpu", dataset="TINY"
)


def read(root: Path, embedding: str = "res101") -> Dataset:
    return read_xlsa17(root, "TINY", embedding, "att")


def large(n: int) -> Dataset:
    """More rows than are looked at; only what a fingerprint reads is there."""
    features = np.random.default_rng(0).random((n, 3), dtype=np.float32)
    rows = np.arange(n)
    return Dataset("X", "f", "a", features, rows % 7, np.eye(7, dtype=np.float32), list("abcdefg"), {"trainval": rows}, "none")


def changed(array: np.ndarray, at: tuple | int, value: object) -> np.ndarray:
    array = array.copy()
    array[at] = value
    return array


@pytest.mark.parametrize(
    "change, part",
    [
        (lambda d: {"features": changed(d.features, (0, 1), 0.5)}, "content"),
        (lambda d: {"features": changed(d.features, (-1, 0), np.nextafter(d.features[-1, 0], np.float32(9)))}, "content"),
        (lambda d: {"features": d.features.astype(np.float64)}, "content"),
        (lambda d: {"features": d.features[:, :6]}, "content"),
        (lambda d: {"labels": changed(d.labels, 3, d.labels[3] ^ 1)}, "content"),
        (lambda d: {"attributes": changed(d.attributes, (2, 2), 0.25)}, "content"),
        (lambda d: {"class_names": [*d.class_names[:-1], "crow"]}, "content"),
        (lambda d: {"class_names": [*d.class_names[:-2], "bird 7b", "ird 8"]}, "content"),
        (lambda d: {"locations": d.locations | {"trainval": d.locations["trainval"][::-1].copy()}}, "split"),
        (lambda d: {"locations": d.locations | {"val": d.locations["val"][:-1]}}, "split"),
        (lambda d: {"locations": {k: v for k, v in d.locations.items() if k != "val"}}, "split"),
        (lambda d: {"unseen_classes": np.array([8])}, "split"),
    ],
)
def test_any_change_shows_and_shows_where(tiny, change, part) -> None:
    dataset = read(tiny)
    before, after = fingerprint(dataset), fingerprint(replace(dataset, **change(dataset)))
    assert {key for key in before if before[key] != after[key]} == {part}
    assert all(len(digest) == 12 and int(digest, 16) >= 0 for digest in after.values())


def test_it_is_the_same_wherever_the_files_lie_and_however_they_are_read(tiny, tmp_path) -> None:
    before = fingerprint(read(tiny))
    loaded = read(tiny)
    (tiny / "TINY").rename(tiny / "elsewhere")
    (tmp_path / "there").mkdir()
    folder = (tiny / "elsewhere").rename(tmp_path / "there" / "TINY")
    assert fingerprint(read(folder.parent)) == before
    np.save(folder / "mapped_features.npy", loaded.features)
    np.save(folder / "mapped_labels.npy", loaded.labels + 1)
    mapped = read(folder.parent, "mapped")
    assert isinstance(mapped.features, np.memmap) and fingerprint(mapped) == before
    swapped = loaded.features.astype(loaded.features.dtype.newbyteorder())  # another machine's order of bytes
    assert fingerprint(replace(loaded, features=swapped)) == before
    assert fingerprint(replace(loaded, features=np.asfortranarray(loaded.features))) == before


def test_it_is_what_it_was() -> None:
    """Checkpoints hold it: another way to compute it would refuse all of them."""
    numbers, lists = np.arange(6), {"trainval": np.array([0, 1]), "test_unseen": np.array([2])}
    features, attributes = numbers.reshape(3, 2).astype(np.float32), np.eye(3, dtype=np.float32)
    dataset = Dataset("X", "f", "a", features, numbers[:3], attributes, ["a", "b", "c"], lists, "none")
    assert fingerprint(dataset) == {"content": "422866dc7bf5", "split": "18440cd972ea"}


def test_of_many_rows_a_sample_is_looked_at_first_and_last_among_them() -> None:
    dataset = large(3 * ROWS)
    before = fingerprint(dataset)

    def seen(row: int) -> bool:
        return fingerprint(replace(dataset, features=changed(dataset.features, row, 2.0))) != before

    assert seen(0) and seen(3 * ROWS - 1) and not seen(1)  # the last is what its docstring admits
    assert fingerprint(large(3 * ROWS + 1))["content"] != before["content"]


def write_regions(path: Path, n: int = 8, change: tuple[int, float] | None = None, **values) -> RegionDataset:
    """Maps of n images of 4 classes, in one of which `change` = (image, value) puts a number; opened."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    maps = rng.random((n, 3, 2, 2)).astype(np.float16)
    if change is not None:
        maps[change[0], 2, 1, 1] = change[1]
    rows = np.arange(n)
    labels = rows % 4
    seen = rows[labels < 2]
    write_region_file(
        path,
        [maps],
        shape=maps.shape,
        dtype="float16",
        pooled=np.ones((n, 3)),
        **{
            "labels": labels,
            "att": rng.random((4, 5)),
            "w2v_att": rng.random((5, 6)),
            "locations": {"trainval": seen[:-2], "test_seen": seen[-2:], "test_unseen": rows[labels >= 2]},
        }
        | values,
    )
    return read_region_maps(path)


@pytest.mark.parametrize("change", [{"change": (5, 3.0)}, {"w2v_att": np.ones((5, 6))}, {"w2v_att": None}])
def test_region_maps_and_word_vectors_count(tmp_path, change) -> None:
    before = fingerprint(write_regions(tmp_path / "a" / "r.hdf5"))
    assert fingerprint(write_regions(tmp_path / "b" / "other.hdf5")) == before
    after = fingerprint(write_regions(tmp_path / "c" / "r.hdf5", **change))
    assert after["content"] != before["content"] and after["split"] == before["split"]


def test_few_maps_are_read_and_fewer_where_each_costs_unpacking_many(tmp_path, monkeypatch) -> None:
    dataset = write_regions(tmp_path / "r.hdf5", n=4 * MAPS)
    asked, original = [], type(dataset.regions).read
    monkeypatch.setattr(type(dataset.regions), "read", lambda self, rows: asked.append(rows) or original(self, rows))
    fingerprint(dataset)
    monkeypatch.setattr(type(dataset.regions), "streams", False)
    fingerprint(dataset)
    assert [len(rows) for rows in asked] == [MAPS, 2]
    assert all((rows[0], rows[-1]) == (0, 4 * MAPS - 1) for rows in asked)


@pytest.fixture
def stopped(images, tiny, tmp_path, monkeypatch):
    """Trains on TINY in vain, and yields what runs the same command again: exit status for changed flags."""
    monkeypatch.setattr("zslab.report.run.write_report", lambda folder: folder / "report.html")

    def run(**changes) -> int:
        flags = TINY_FLAGS | {"dataroot": tiny, "output": tmp_path / "runs"} | changes
        return train(replace(tfvaegan(), **flags), images.train_tfvaegan_inductive.METHOD)

    def stop(*args: object, **flags: object) -> None:
        raise KeyboardInterrupt

    def begin(**changes) -> Path:
        with monkeypatch.context() as patched:
            patched.setattr("zslab.experiment.kept_baselines", stop)  # both stages are trained, their checkpoints written
            assert run(**changes) == 130
        (folder,) = (tmp_path / "runs").glob("*-seed*")
        assert (folder / "checkpoint.pt").exists() and not (folder / "result.json").exists()
        return folder

    run.begin = begin
    return run


def one_value() -> dict:
    features = tiny_arrays()["features"]
    features[3, 0] += 0.01
    return {"features": features}


def one_place() -> dict:
    arrays = tiny_arrays()
    trainval, test = arrays["trainval_loc"], arrays["test_seen_loc"]
    trainval[0, 0], test[0, 0] = test[0, 0], trainval[0, 0]
    return {"trainval_loc": trainval, "test_seen_loc": test}


@pytest.mark.parametrize(("change", "select"), [(one_value, "val"), (one_place, "none")])
def test_a_run_is_not_resumed_on_other_data(stopped, tiny, capsys, change, select) -> None:
    folder = stopped.begin(select=select)
    kept = {path: path.read_bytes() for path in folder.rglob("*.pt")}
    metrics = (folder / "metrics.jsonl").read_bytes()
    write_tiny(tiny, **change())
    capsys.readouterr()
    assert stopped(select=select, resume=True) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "the run started: " in error
    part = "split" if change is one_place else "content"
    assert f"(got {part} " in error and f"started: {part} " in error and "--overwrite" in error
    assert {path: path.read_bytes() for path in folder.rglob("*.pt")} == kept
    assert (folder / "metrics.jsonl").read_bytes() == metrics

    write_tiny(tiny)  # the old files again
    assert stopped(select=select, resume=True) == 0
    assert read_json(folder / "result.json")["data"]["fingerprint"] == fingerprint(read(tiny))


def test_resume_with_other_flags_says_which_run_it_leaves(stopped, caplog) -> None:
    folder = stopped.begin()
    assert stopped(resume=True, nepoch=TINY_FLAGS["nepoch"] + 1, manualSeed=9) == 0 and "starts anew" not in caplog.text
    assert stopped(resume=True, nepoch=TINY_FLAGS["nepoch"] + 1) == 0
    assert f"{folder.name} (unfinished, --nepoch {TINY_FLAGS['nepoch']})" in caplog.text
    caplog.clear()
    assert stopped(resume=True) == 0 and "starts anew" not in caplog.text


def test_a_run_is_resumed_where_only_the_files_place_has_changed(stopped, tiny, tmp_path) -> None:
    stopped.begin()
    (tmp_path / "moved").mkdir()
    (tiny / "TINY").rename(tmp_path / "moved" / "TINY")
    assert stopped(resume=True, dataroot=tmp_path / "moved") == 0


def test_a_finished_run_whose_data_change_is_refused(stopped, tiny, tmp_path, capsys) -> None:
    """The rows of two classes exchanged in the attribute table, as a corrected spreadsheet would."""
    assert stopped() == 0
    (folder,) = (tmp_path / "runs").glob("*-seed*")
    result = (folder / "result.json").read_bytes()
    attributes = tiny_arrays()["att"]
    attributes[:, [0, 1]] = attributes[:, [1, 0]]
    write_tiny(tiny, att=attributes)
    capsys.readouterr()
    assert stopped() == 1 and stopped(resume=True) == 1
    assert re.search(r"result\.json: .*got content ", capsys.readouterr().err)
    assert (folder / "result.json").read_bytes() == result
    write_tiny(tiny)  # the old files again, with other times
    assert stopped() == 0
    assert stopped(overwrite=True) == 0


def test_a_finished_run_is_not_read_again_while_its_files_are_untouched(stopped, tiny, monkeypatch) -> None:
    assert stopped() == 0
    monkeypatch.setattr("zslab.datasets.read_xlsa17", None)
    assert stopped() == 0
    (tiny / "TINY" / "new.txt").write_text("")
    with pytest.raises(TypeError):
        stopped()


def test_class_splits_of_actions_have_their_content_in_common(tmp_path) -> None:
    arrays = tiny_arrays()
    write_tiny(tmp_path, "TINY_i3d")
    others = {"trainval_loc": arrays["trainval_loc"][1:], "train_loc": arrays["train_loc"][1:]}
    for split, lists in ((1, {}), (2, others)):
        folder = tmp_path / "TINY_i3d" / f"split_{split}"
        folder.mkdir()
        content = {key: value for key, value in (arrays | lists).items() if key not in ("features", "labels")}
        scipy.io.savemat(folder / "att_splits.mat", content)
    source = ActionSource("TINY_i3d", "res101", "att", split=1, manual_att=False)
    opened = (replace(source, split=split).open(tmp_path, tmp_path / "cache") for split in (1, 2))
    first, second = map(fingerprint, opened)
    assert first["content"] == second["content"] and first["split"] != second["split"]
