"""Region files: rows as written, the release's own layouts, streaming in order, resuming after a kill, clear refusals."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
import torch

from zsl.data.region_maps import RegionFile, RegionWriter, batches, main, read_region_maps
from zsl.errors import InputError
from zsl.eszsl import eszsl

N, D, GRID, A, V = 72, 6, (3, 2), 5, 4  # 9 classes of 8 images: 4 train, 2 val, 3 unseen


def arrays(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(9), 8))
    is_test = np.zeros(N, dtype=bool)
    for label in range(6):
        is_test[np.flatnonzero(labels == label)[:2]] = True
    trainval = np.flatnonzero((labels < 6) & ~is_test)
    att = rng.uniform(0.1, 1, (9, A))
    return {
        "feature_map": rng.normal(size=(N, D, *GRID)).astype(np.float16), "labels": labels,
        "pooled": (att[labels] @ rng.uniform(0, 1, (A, 7)) + 0.1 * rng.random((N, 7))).astype(np.float32),
        "trainval_loc": trainval, "test_seen_loc": np.flatnonzero((labels < 6) & is_test),
        "test_unseen_loc": np.flatnonzero(labels >= 6),
        "train_loc": trainval[labels[trainval] < 4], "val_loc": trainval[labels[trainval] >= 4],
        "att": att, "original_att": 100 * att - 50, "w2v_att": rng.normal(size=(A, V)).astype(np.float32),
    }


CONTENT = arrays()
CLASSES, ATTRIBUTES = [f"bird {i}" for i in range(9)], [f"has {i}" for i in range(A)]
IMAGES = [f"birds/{i}.jpg" for i in range(N - 1)] + ["birds/Käuzchen 鳥.jpg"]


def write_ours(path: Path, **changes) -> Path:
    content = CONTENT | changes
    writer = RegionWriter(path, N, D, GRID)
    writer.write(np.arange(N), content["feature_map"], content["pooled"])
    finish(writer, content)
    return path


def finish(writer: RegionWriter, content: dict[str, np.ndarray] = CONTENT) -> None:
    writer.finish(
        labels=content["labels"], class_names=CLASSES, attribute_names=ATTRIBUTES, image_files=IMAGES,
        locations={key.removesuffix("_loc"): rows for key, rows in content.items() if key.endswith("_loc")},
        att=content["att"], original_att=content["original_att"], w2v_att=content["w2v_att"], backbone='{"name": "none"}',
    )


def write_release(path: Path, **changes: np.ndarray | None) -> Path:
    """As the release's extractors do: gzip in chunks of several images, no train/val lists, no names."""
    content = CONTENT | {"train_loc": None, "val_loc": None, "pooled": None} | changes
    with h5py.File(path, "w") as file:
        for name, value in content.items():
            if value is not None:
                chunks = (5, 4, 1, 1) if name == "feature_map" else None
                file.create_dataset(name, data=value, compression="gzip", chunks=chunks)
    return path


def write_deepfashion(path: Path, compression: str | None = "gzip", **changes) -> tuple[Path, np.ndarray]:
    """Groups of training maps by class, labels 1, 2, 10 seen, 3 unseen, of 12 rows of att; and the maps in row order."""
    rng = np.random.default_rng(1)
    sizes = {"train/1": 7, "train/2": 3, "train/10": 5, "test_seen": 4, "test_unseen": 6}
    labels = {"train/1": 1, "train/2": 2, "train/10": 10, "test_seen": [1, 10, 2, 1], "test_unseen": 3}
    att = np.zeros((12, A))
    att[[1, 2, 3, 10]] = rng.uniform(-1, 1, (4, A))
    maps = {}
    with h5py.File(path, "w") as file:
        for group, size in sizes.items():
            maps[group] = rng.normal(size=(size, D, *GRID)).astype(np.float32)
            file.create_dataset(f"feature_map_{group}", data=maps[group], compression=compression)
            file.create_dataset(f"label_{group}", data=np.broadcast_to(labels[group], size), compression=compression)
            names = np.array([f"img/{group}_{i}.jpg" for i in range(size)], dtype="S")
            file.create_dataset(f"img_{group}", data=names, dtype=h5py.string_dtype(), compression=compression)
        for name, value in ({"att": att, "w2v_att": CONTENT["w2v_att"], "labels": np.arange(25)} | changes).items():
            file[name] = value
    return path, np.concatenate(list(maps.values()))


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    return write_ours(tmp_path / "SET" / "maps.hdf5")


ROWS = np.array([5, 71, 5, 0, 33, 34, 70, 2, 5])


@pytest.mark.parametrize("layout", ["ours", "release", "contiguous", "big-endian", "without preadv"])
def test_rows_are_the_source_arrays_in_any_order(tmp_path: Path, monkeypatch, layout: str) -> None:
    path = tmp_path / "maps.hdf5"
    if layout == "without preadv":
        monkeypatch.delattr(os, "preadv")
    if layout == "release":
        write_release(path)
    elif layout in ("ours", "without preadv"):
        write_ours(path)
    else:
        with h5py.File(path, "w") as file:
            file["feature_map"] = CONTENT["feature_map"].astype(">f4" if layout == "big-endian" else "<f4")
    regions = RegionFile(path)
    assert (regions.n, regions.feature_dim, regions.grid) == (N, D, GRID)
    assert regions.streams == (layout != "release")
    assert [part.in_one_piece for part in regions._parts] == [layout in ("ours", "contiguous")]
    assert np.array_equal(regions.read(ROWS), CONTENT["feature_map"][ROWS])
    assert np.array_equal(regions.read(np.arange(N)), CONTENT["feature_map"])
    assert regions.read(ROWS).dtype == regions.dtype and regions.dtype.isnative
    assert regions.read(np.array([], dtype=int)).shape == (0, D, *GRID)
    for row in (-1, N):
        with pytest.raises(IndexError):
            regions.read([row])
    regions.close()
    regions.close()


def test_a_row_is_one_read_and_a_shared_chunk_is_unpacked_once(tmp_path: Path, monkeypatch) -> None:
    regions, read = RegionFile(write_ours(tmp_path / "maps.hdf5")), []
    preadv = os.preadv
    monkeypatch.setattr(os, "preadv", lambda *args: read.append(args[2]) or preadv(*args))
    regions.read(ROWS)
    places = regions._parts[0].places[np.sort(ROWS)]
    assert read == places.tolist()  # ascending, one read a row
    assert np.array_equal(np.diff(places), np.diff(np.sort(ROWS)) * D * 6 * 2)

    (part,), slabs = RegionFile(write_release(tmp_path / "release.hdf5"))._parts, []
    class Spy:
        chunks, shape = part.maps.chunks, part.maps.shape
        def __getitem__(self, index):
            slabs.append((index[0].start // 5, index[1].start // 4))
            return maps[index]
    maps, part.maps = part.maps, Spy()
    part.read(ROWS, np.empty((len(ROWS), D, *GRID), np.float16), np.arange(len(ROWS)))
    assert sorted(slabs) == [(block, channel) for block in (0, 1, 6, 14) for channel in (0, 1)]


def test_deepfashion_groups_are_one_list_of_rows(tmp_path: Path) -> None:
    path, maps = write_deepfashion(tmp_path / "sep.hdf5")
    data = read_region_maps(path, drop_absent_classes=True, attribute_change="to_unit_interval", dataset="DeepFashion")
    assert (data.regions.n, data.name) == (25, "DeepFashion")
    rows = np.array([24, 6, 7, 10, 9, 15, 14, 19, 18, 0, 24])
    assert np.array_equal(data.regions.read(rows), maps[rows])
    # Classes 1, 2, 3, 10 become 0, 1, 2, 3; groups come in the order of numbers, not of text.
    assert data.labels.tolist() == [0] * 7 + [1] * 3 + [3] * 5 + [0, 3, 1, 0] + [2] * 6
    assert data.counts == {"trainval": 15, "test_seen": 4, "test_unseen": 6}
    assert data.locations["test_unseen"].tolist() == list(range(19, 25))
    assert data.image_files[7] == "img/train/2_0.jpg" and data.image_files[24] == "img/test_unseen_5.jpg"
    with h5py.File(path) as file:
        att = (file["att"][()][[1, 2, 3, 10]] + 1) / 2
    assert np.allclose(data.attributes, att / np.linalg.norm(att, axis=1, keepdims=True), atol=1e-6)
    assert any("8 of 12 classes have no sample" in note for note in data.notes)
    assert any("Repack" in note for note in data.notes)
    stage = data.stage("test")
    assert stage.seen_classes.tolist() == [0, 1, 3] and stage.unseen_classes.tolist() == [2]
    with pytest.raises(InputError, match="class without samples.*8 of 12 classes, e.g. class 1"):
        read_region_maps(path)


def test_289_000_images_cost_no_memory_to_open(tmp_path: Path) -> None:
    n = 289_000
    writer = RegionWriter(tmp_path / "large.hdf5", n, 64, (7, 7))
    rows = np.array([n - 1, 0, 144_000])
    maps = np.random.default_rng(0).normal(size=(3, 64, 7, 7)).astype(np.float16)
    writer.write(rows, maps)
    writer.close()
    assert os.path.getsize(writer.part) > n * 64 * 49 * 2  # the room is laid out, not filled
    assert os.stat(writer.part).st_blocks * 512 < 4 * 2**20
    with h5py.File(writer.part, "r+") as file:
        file.attrs["complete"] = True
    regions = RegionFile(writer.part)
    assert regions.n == n
    assert np.array_equal(regions.read(rows[[2, 0, 1]]), maps[[2, 0, 1]])


# --- batches ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefetch", [0, 1, 2, 7])
def test_batches_are_the_plain_transposition(ours: Path, prefetch: int) -> None:
    regions, rng = RegionFile(ours), np.random.default_rng(3)
    rows = [rng.integers(0, N, size) for size in (5, 1, 9, 5, 5)]
    found = list(batches(regions, iter(rows), prefetch=prefetch))
    assert len(found) == 5
    for batch, of_batch in zip(found, rows):
        assert batch.dtype == torch.float32 and batch.is_contiguous()
        assert batch.shape == (len(of_batch), 6, D)
        for b, row in enumerate(of_batch):
            for y in range(GRID[0]):
                for x in range(GRID[1]):
                    assert np.array_equal(batch[b, GRID[1] * y + x], CONTENT["feature_map"][row, :, y, x].astype(np.float32))


def region_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("region-maps")]


@pytest.mark.parametrize("prefetch", [0, 2])
def test_reading_runs_ahead_by_no_more_than_prefetch(ours: Path, prefetch: int) -> None:
    drawn = []

    def draw():
        assert threading.current_thread() is threading.main_thread()  # samplers need not be thread-safe
        for i in range(20):
            drawn.append(i)
            yield np.array([i])

    for yielded, _ in enumerate(batches(RegionFile(ours), draw(), prefetch=prefetch), start=1):
        assert len(drawn) <= yielded + prefetch
    assert len(drawn) == 20


def test_loading_goes_on_while_the_caller_computes(ours: Path, monkeypatch) -> None:
    regions, second = RegionFile(ours), threading.Event()
    read = regions.read
    monkeypatch.setattr(regions, "read", lambda rows: (rows[0] == 1 and second.set(), read(rows))[1])
    found = batches(regions, (np.array([i]) for i in range(9)))
    next(found)
    assert second.wait(10)  # nobody has asked for the second batch yet
    found.close()


def test_stopping_early_leaves_no_thread(ours: Path) -> None:
    for number, _ in enumerate(batches(RegionFile(ours), (np.arange(9) for _ in range(1000)))):
        if number == 3:
            break
    assert not region_threads()


def test_an_error_of_the_thread_or_of_the_sampler_is_raised(ours: Path) -> None:
    found = batches(RegionFile(ours), iter([np.array([1]), np.array([N]), np.array([2])]))
    assert next(found).shape == (1, 6, D)
    with pytest.raises(IndexError):
        next(found)

    def broken():
        yield np.array([0])
        raise KeyError("sampler")

    with pytest.raises(KeyError, match="sampler"):
        list(batches(RegionFile(ours), broken()))
    assert not region_threads()


def test_threads_may_read_at_the_same_time(tmp_path: Path) -> None:
    for path in (write_ours(tmp_path / "ours.hdf5"), write_release(tmp_path / "release.hdf5")):
        regions, wrong = RegionFile(path), []

        def work(seed: int, regions=regions, wrong=wrong) -> None:
            rng = np.random.default_rng(seed)
            for _ in range(20):
                rows = rng.integers(0, N, 10)
                if not np.array_equal(regions.read(rows), CONTENT["feature_map"][rows]):
                    wrong.append(seed)

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_found_where_it_is(tmp_path: Path, value: float) -> None:
    path = write_ours(tmp_path / "maps.hdf5")
    with h5py.File(path, "r+") as file:
        file["feature_map"][40, 2, 1, 1] = value
    regions = RegionFile(path)
    assert len(list(batches(regions, [np.arange(40)]))) == 1
    with pytest.raises(InputError, match=r"NaN or infinity.*row 40 \(birds/40.jpg\)"):
        list(batches(regions, [np.arange(5), np.array([7, 40, 41])]))


# --- writing ----------------------------------------------------------------------------------------------------------

def die(*_) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def write_rows(writer: RegionWriter, rows: np.ndarray) -> None:
    writer.write(rows, CONTENT["feature_map"][rows], CONTENT["pooled"][rows])


def killed_before_the_flush(writer: RegionWriter) -> None:
    os.fsync = die
    write_rows(writer, np.arange(30, 40))


def killed_in_finish(writer: RegionWriter) -> None:
    write_rows(writer, np.flatnonzero(~writer.done))
    add = h5py.File.__setitem__

    def add_and_die(file: h5py.File, name: str, value: np.ndarray) -> None:
        add(file, name, value)
        file.flush()
        if name == "att":
            die()

    h5py.File.__setitem__ = add_and_die
    finish(writer)


def killed_before_renaming(writer: RegionWriter) -> None:
    write_rows(writer, np.flatnonzero(~writer.done))
    rename = os.replace
    os.replace = lambda source, target: die() if target == writer.path else rename(source, target)
    finish(writer)


@pytest.mark.parametrize(
    ("end", "n_done"), [(die, 20), (killed_before_the_flush, 20), (killed_in_finish, N), (killed_before_renaming, N)]
)
def test_a_killed_writer_is_continued(tmp_path: Path, end, n_done: int) -> None:
    path = tmp_path / "maps.hdf5"
    child = os.fork()
    if child == 0:
        try:
            writer = RegionWriter(path, N, D, GRID, identity={"images": "birds"})
            write_rows(writer, np.arange(10))
            write_rows(writer, np.arange(20, 30))
            end(writer)
        finally:
            os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert not path.exists()
    with pytest.raises(InputError, match="missing region maps.*not finished.*continues"):
        RegionFile(path)
    writer = RegionWriter(path, N, D, GRID, identity={"images": "birds"})
    assert writer.done.sum() == n_done
    if n_done < N:
        assert np.flatnonzero(writer.done).tolist() == [*range(10), *range(20, 30)]
        with pytest.raises(InputError, match="incomplete extraction.*52 rows not written, the first is 10"):
            finish(writer)
    write_rows(writer, np.flatnonzero(~writer.done))
    finish(writer)
    assert [p.name for p in tmp_path.iterdir()] == ["maps.hdf5"]
    data = read_region_maps(path)
    assert np.array_equal(data.regions.read(np.arange(N)), CONTENT["feature_map"])
    assert np.array_equal(data.features, CONTENT["pooled"])
    assert np.array_equal(data.labels, CONTENT["labels"])


def test_another_extraction_is_not_continued(tmp_path: Path) -> None:
    path = tmp_path / "maps.hdf5"
    RegionWriter(path, N, D, GRID, identity={"backbone": "resnet101"}).close()  # nothing written, nothing to continue
    writer = RegionWriter(path, N, D, GRID, identity={"backbone": "mobilenet_v2"})
    writer.write(np.array([3]), CONTENT["feature_map"][[3]])
    with pytest.raises(InputError, match="another process.*one at a time"):
        RegionWriter(path, N, D, GRID, identity={"backbone": "mobilenet_v2"})
    writer.close()
    for n, identity in ((N, {"backbone": "resnet101"}), (N + 1, {"backbone": "mobilenet_v2"})):
        with pytest.raises(InputError, match="another extraction.*mobilenet_v2.*Delete maps.hdf5.part"):
            RegionWriter(path, n, D, GRID, identity=identity)
    assert RegionWriter(path, N, D, GRID, identity={"backbone": "mobilenet_v2"}).done.sum() == 1
    writer.part.write_bytes(writer.part.read_bytes()[:100])
    with pytest.raises(InputError, match="unreadable half-written file.*Delete maps.hdf5.part"):
        RegionWriter(path, N, D, GRID, identity={"backbone": "mobilenet_v2"})


def test_what_half_precision_cannot_hold_is_refused(tmp_path: Path) -> None:
    writer, maps = RegionWriter(tmp_path / "maps.hdf5", N, D, GRID), np.zeros((2, D, *GRID))
    maps[1, 0, 0, 0] = 70000
    with pytest.raises(InputError, match="row 8.*float16"):
        writer.write(np.array([7, 8]), maps)
    assert not writer.done.any()
    with pytest.raises(ValueError):
        writer.write(np.array([7]), maps)


def test_a_full_disk_is_told_and_what_was_written_stays(tmp_path: Path, monkeypatch) -> None:
    writer = RegionWriter(tmp_path / "maps.hdf5", N, D, GRID)
    writer.write(np.arange(3), CONTENT["feature_map"][:3])
    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(InputError, match="cannot write.*No space left"):
            writer.write(np.arange(3, 9), CONTENT["feature_map"][3:9])
    writer.close()
    assert RegionWriter(tmp_path / "maps.hdf5", N, D, GRID).done.sum() == 3


# --- the data set -----------------------------------------------------------------------------------------------------


def test_what_is_read_is_what_was_written(ours: Path) -> None:
    data = read_region_maps(ours)
    assert (data.name, data.image_embedding, data.class_embedding, data.split_version) == ("SET", "maps", "att", "v2")
    assert (data.class_names, data.attribute_names, data.image_files) == (CLASSES, ATTRIBUTES, IMAGES)
    assert data.backbone == '{"name": "none"}' and data.notes == []
    assert isinstance(data.features, np.memmap) and np.array_equal(data.features, CONTENT["pooled"])
    assert np.array_equal(data.word_vectors, CONTENT["w2v_att"])
    att = CONTENT["att"] / np.linalg.norm(CONTENT["att"], axis=1, keepdims=True)
    assert np.allclose(data.attributes, att)
    original = np.maximum(CONTENT["original_att"], 0)
    changed = read_region_maps(ours, attributes="original_att", attribute_change="negative_to_zero").attributes
    assert np.allclose(changed, original / np.linalg.norm(original, axis=1, keepdims=True), atol=1e-6)


@pytest.mark.parametrize("stage_name", ["test", "validation"])
def test_a_stage_knows_the_rows_of_its_samples(ours: Path, stage_name: str) -> None:
    data = read_region_maps(ours)
    stage = data.stage(stage_name, "none", seed=5)
    expected = data.validation_locations(5) if stage_name == "validation" else [
        CONTENT[f"{key}_loc"] for key in ("trainval", "test_seen", "test_unseen")]
    for name, rows in zip(("train", "test_seen", "test_unseen"), expected):
        samples = getattr(stage, name)
        assert stage.rows[name].tolist() == rows.tolist()
        assert np.array_equal(samples.labels, CONTENT["labels"][rows])
        assert np.array_equal(samples.features, CONTENT["pooled"][rows])
    assert stage.feature_dim == D
    moved = stage.to(torch.device("meta"))
    assert moved.word_vectors.device.type == moved.train.labels.device.type == "meta"
    assert moved.rows["train"].device.type == "cpu" and moved.regions is data.regions
    if stage_name == "validation":
        assert set(np.concatenate(expected)) <= set(CONTENT["trainval_loc"])


def test_eszsl_runs_on_the_pooled_features_and_says_when_there_are_none(tmp_path: Path) -> None:
    data = read_region_maps(write_ours(tmp_path / "maps.hdf5"))
    assert eszsl(data.stage("validation"), data.stage("test")).plain["T1"] > 0.6
    bare = read_region_maps(write_release(tmp_path / "release.hdf5"))
    assert bare.features.shape == (N, 0) and any("no pooled" in note for note in bare.notes)
    with pytest.raises(InputError, match="no features of whole images"):
        eszsl(bare.stage("validation"), bare.stage("test"))


def test_a_file_of_the_release_is_read_as_it_is(tmp_path: Path) -> None:
    data = read_region_maps(write_release(tmp_path / "release.hdf5"))
    assert data.split_version == "none" and any("seeded draw" in note for note in data.notes)
    assert any("Repack it once" in note for note in data.notes)
    assert data.class_names[8] == "class 9" and data.attribute_names[4] == "attribute 5" and data.image_files is None
    transposed = read_region_maps(write_release(tmp_path / "turned.hdf5", att=CONTENT["att"].T))
    assert np.array_equal(transposed.attributes, data.attributes)
    (batch,) = batches(data.regions, [ROWS])
    assert np.array_equal(batch, CONTENT["feature_map"][ROWS].reshape(-1, D, 6).transpose(0, 2, 1).astype(np.float32))


@pytest.mark.parametrize("layout", ["release", "deepfashion"])
def test_repacking_keeps_everything_and_streams(tmp_path: Path, capsys, layout: str) -> None:
    source, target, options = tmp_path / "source.hdf5", tmp_path / "target.hdf5", {}
    if layout == "release":
        write_release(source)
    else:
        write_deepfashion(source)
        options = {"drop_absent_classes": True}
    assert main([str(source), str(target), "--dtype", "float32"]) == 0
    before, after = read_region_maps(source, **options), read_region_maps(target, **options)
    assert after.regions.streams and not before.regions.streams
    rows = np.arange(after.regions.n)
    assert np.array_equal(before.regions.read(rows), after.regions.read(rows))
    assert np.allclose(after.features, before.regions.read(rows).astype(np.float32).mean((2, 3)), atol=1e-6)
    assert np.array_equal(before.labels, after.labels) and np.array_equal(before.attributes, after.attributes)
    assert before.image_files == after.image_files and before.counts == after.counts
    for name, rows in before.locations.items():
        assert np.array_equal(rows, after.locations[name])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["source.hdf5", "target.hdf5"]
    assert main([str(tmp_path / "nowhere.hdf5"), str(target)]) == 1
    assert "missing region maps" in capsys.readouterr().err


def test_lists_attributes_and_word_vectors_may_come_from_other_files(tmp_path: Path) -> None:
    path = write_release(tmp_path / "release.hdf5")
    unseen = np.flatnonzero(CONTENT["labels"] == 0)
    train, val = (np.flatnonzero((CONTENT["labels"] >= low) & (CONTENT["labels"] < high)) for low, high in ((1, 6), (6, 9)))
    split = {
        "att": CONTENT["att"].T ** 2, "trainval_loc": np.concatenate([train, val]) + 1, "train_loc": train + 1,
        "val_loc": val + 1, "test_loc": unseen + 1, "allclasses_names": np.array([[c] for c in CLASSES], dtype=object),
    }
    scipy.io.savemat(tmp_path / "standard_splits.mat", split)
    np.save(tmp_path / "vectors.npy", np.ones((A, 3)))
    data = read_region_maps(
        path, split_file=tmp_path / "standard_splits.mat", word_vector_file=tmp_path / "vectors.npy", standard_split=True,
        dataset="CUB",
    )
    assert data.class_names == CLASSES and data.class_embedding == "standard" and data.split_version == "v2"
    assert np.array_equal(data.word_vectors, np.ones((A, 3))) and data.word_vectors.dtype == np.float32
    squares = CONTENT["att"] ** 2
    assert np.allclose(data.attributes, squares / np.linalg.norm(squares, axis=1, keepdims=True))
    assert data.counts == {"trainval": 64, "test_unseen": 8, "train": 40, "val": 24, "test_seen": 0}
    assert not any("Proposed Split" in note for note in data.notes)
    stage = data.stage("test")
    assert len(stage.test_seen) == len(stage.rows["test_seen"]) == 0 and stage.unseen_classes.tolist() == [0]
    assert stage.seen_classes.tolist() == list(range(1, 9))
    assert data.stage("validation").unseen_classes.tolist() == [6, 7, 8]
    with pytest.raises(InputError, match="missing variable test_seen_loc, test_unseen_loc.*standard_split"):
        read_region_maps(path, split_file=tmp_path / "standard_splits.mat")
    with pytest.raises(InputError, match="no test samples of seen classes|no features"):
        eszsl(data.stage("validation"), stage)


def spoiled(name: str, place: tuple[int, ...], value: float) -> np.ndarray:
    array = CONTENT[name].astype(np.float64)
    array[place] = value
    return array


SQUARE = {"att": np.ones((9, 9)), "w2v_att": np.ones((9, V)), "labels": np.arange(N) % 8}
REFUSALS = {
    "too few labels": ({"labels": CONTENT["labels"][:-1]}, ["labels and maps do not match", "(71,)", "72 numbers"]),
    "negative label": ({"labels": CONTENT["labels"] - 1}, ["labels out of range", "-1..7"]),
    "half a label": ({"labels": CONTENT["labels"] + 0.5}, ["labels out of range", "whole numbers"]),
    "1-based labels": ({"labels": CONTENT["labels"] + 1}, ["do not fit", "up to 9", "0-based"]),
    "1-based list": ({"test_unseen_loc": np.array([N])}, ["test_unseen_loc out of range", "0..71", "1-based"]),
    "list twice": ({"test_seen_loc": np.array([3, 3])}, ["names a sample twice"]),
    "shared samples": ({"test_seen_loc": CONTENT["trainval_loc"][:4]}, ["overlapping splits", "4 samples"]),
    "no list": ({"trainval_loc": None}, ["missing variable trainval_loc"]),
    "no labels": ({"labels": None}, ["missing variable labels"]),
    "no att": ({"att": None}, ["missing variable att"]),
    "NaN in att": ({"att": spoiled("att", (4, 1), np.nan)}, ["class without attributes", "5"]),
    "att of other classes": ({"att": np.ones((8, A))}, ["do not fit", "(8, 5)"]),
    "vectors of other attributes": ({"w2v_att": np.ones((A + 1, V))}, ["do not fit", "(6, 4)"]),
    "square": (SQUARE, ["unclear orientation", "(9, 9)"]),
    "attribute without vector": ({"w2v_att": spoiled("w2v_att", (3,), 0)}, ["without a word vector", "attribute 4"]),
    "NaN vector": ({"w2v_att": spoiled("w2v_att", (2, 1), np.nan)}, ["without a word vector", "attribute 3"]),
    "class without samples": ({"att": np.ones((10, A))}, ["class without samples", "1 of 10", "class 10"]),
    "NaN in pooled": ({"pooled": spoiled("pooled", (70, 3), np.nan)}, ["pooled features contain NaN"]),
    "pooled of others": ({"pooled": np.ones((3, 7))}, ["pooled features of the wrong shape", "(3, 7)"]),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_bad_content_is_refused_with_found_expected_and_cure(tmp_path: Path, case: str) -> None:
    changes, words = REFUSALS[case]
    path = write_release(tmp_path / "release.hdf5", **changes)
    with pytest.raises(InputError) as caught:
        read_region_maps(path).stage("test")
    for word in [*words, "release.hdf5", "found", "expected"]:
        assert word in str(caught.value), str(caught.value)
    assert caught.value.cure


def test_attributes_without_a_word_vector_are_noted_where_allowed(tmp_path: Path) -> None:
    path = write_release(tmp_path / "release.hdf5", w2v_att=spoiled("w2v_att", (3,), 0))
    dataset = read_region_maps(path, allow_missing_vectors=True)
    assert (dataset.word_vectors[3] == 0).all()
    assert "1 attributes have no word vector and start from zero, the first is attribute 4." in dataset.notes
    path = write_release(tmp_path / "nan.hdf5", w2v_att=spoiled("w2v_att", (2, 1), np.nan))
    with pytest.raises(InputError, match="without a word vector"):
        read_region_maps(path, allow_missing_vectors=True)


def test_bad_word_vector_files_are_refused(ours: Path, tmp_path: Path) -> None:
    path = tmp_path / "vectors.npy"
    with pytest.raises(InputError, match="unreadable word vectors.*nothing"):
        read_region_maps(ours, word_vector_file=path)
    np.save(path, np.array([{"pickled": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="unreadable word vectors"):
        read_region_maps(ours, word_vector_file=path)
    np.save(path, np.ones((A + 2, V)))
    with pytest.raises(InputError, match=r"do not fit.*word vectors \(7, 4\)"):
        read_region_maps(ours, word_vector_file=path)


def test_files_that_are_no_region_files_are_refused(tmp_path: Path, ours: Path) -> None:
    with pytest.raises(InputError, match="missing region maps.*nothing.*extract_features"):
        RegionFile(tmp_path / "nowhere.hdf5")
    path = tmp_path / "other.hdf5"
    path.write_text("no HDF5")
    with pytest.raises(InputError, match="unreadable region maps.*no HDF5 file"):
        RegionFile(path)
    for name, value, words in (
        ("features", np.ones(3), "no region maps.*'features'"),
        ("feature_map", np.ones((3, 4, 5)), r"wrong shape.*\(3, 4, 5\)"),
        ("feature_map", np.ones((3, 4, 5, 5), dtype=int), "wrong shape.*int64"),
        ("feature_map_train/shirt", np.ones((3, 4, 5, 5)), "unreadable region maps.*shirt"),
    ):
        with h5py.File(path, "w") as file:
            file[name] = value
        with pytest.raises(InputError, match=words):
            RegionFile(path)
    with h5py.File(ours, "r+") as file:
        file.attrs["complete"] = False
    with pytest.raises(InputError, match="half-written region file.*continues"):
        RegionFile(ours)


@pytest.mark.parametrize("layout", ["ours", "release"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.98])
def test_truncated_files_are_refused(tmp_path: Path, layout: str, share: float) -> None:
    path = (write_ours if layout == "ours" else write_release)(tmp_path / "maps.hdf5")
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match=r"unreadable region maps in .*maps\.hdf5"):
        RegionFile(path)


def test_damage_met_while_reading_is_refused(tmp_path: Path) -> None:
    path = write_release(tmp_path / "release.hdf5")
    with h5py.File(path) as file:
        place = file["feature_map"].id.get_chunk_info(0)
    with open(path, "rb+") as file:
        file.seek(place.byte_offset)
        file.write(b"\xff" * place.size)
    regions = RegionFile(path)
    with pytest.raises(InputError, match="unreadable region maps"):
        list(batches(regions, [np.arange(5)]))
    regions = RegionFile(write_ours(tmp_path / "ours.hdf5"))
    os.truncate(tmp_path / "ours.hdf5", 5000)
    with pytest.raises(InputError, match="unreadable region maps.*ends within row"):
        regions.read(np.array([0, 71]))
