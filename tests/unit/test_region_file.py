"""Reading region files: rows as written in every layout, batches in order and ahead, damage refused."""

import os
import threading
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from zslab.data.region_file import RegionFile, batches
from zslab.errors import InputError

from helpers.region_examples import CONTENT, GRID, ROWS, D, N, write_ours, write_release


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    return write_ours(tmp_path / "SET" / "maps.hdf5")


@pytest.mark.parametrize("layout", ["ours", "release", "contiguous", "big-endian", "chunks"])
def test_rows_are_the_source_arrays_in_any_order(tmp_path: Path, layout: str) -> None:
    path = tmp_path / "maps.hdf5"
    if layout == "release":
        write_release(path)
    elif layout == "ours":
        write_ours(path)
    elif layout == "chunks":
        with h5py.File(path, "w") as file:
            file.create_dataset("feature_map", data=CONTENT["feature_map"], chunks=(1, D, *GRID))
    else:
        with h5py.File(path, "w") as file:
            file["feature_map"] = CONTENT["feature_map"].astype(">f4" if layout == "big-endian" else "<f4")
    regions = RegionFile(path)
    assert (regions.n, regions.feature_dim, regions.grid) == (N, D, GRID)
    assert regions.streams == (layout != "release")
    assert np.array_equal(regions.read(ROWS), CONTENT["feature_map"][ROWS])
    assert np.array_equal(regions.read(np.arange(N)), CONTENT["feature_map"])
    assert regions.read(ROWS).dtype == regions.dtype and regions.dtype.isnative
    assert regions.read(np.array([], dtype=int)).shape == (0, D, *GRID)
    for row in (-1, N):
        with pytest.raises(IndexError):
            regions.read([row])
    regions.close()
    regions.close()


def test_a_shared_chunk_is_unpacked_once(tmp_path: Path) -> None:
    regions, slabs = RegionFile(write_release(tmp_path / "release.hdf5")), []
    (maps,) = regions._parts

    class Spy:
        chunks, shape = maps.chunks, maps.shape

        def __getitem__(self, index):
            slabs.append((index[0].start // 5, index[1].start // 4))
            return maps[index]

    regions._parts = [Spy()]
    assert np.array_equal(regions.read(ROWS), CONTENT["feature_map"][ROWS])
    assert sorted(slabs) == [(block, channel) for block in (0, 1, 6, 14) for channel in (0, 1)]


def test_maps_that_were_never_written_are_refused(tmp_path: Path) -> None:
    for chunks in (None, (1, D, *GRID)):
        with h5py.File(tmp_path / "maps.hdf5", "w") as file:
            maps = file.create_dataset("feature_map", (N, D, *GRID), "f2", chunks=chunks)
            if chunks:
                maps[3] = 1
        with pytest.raises(InputError, match=r"maps\.hdf5.*never written"):
            RegionFile(tmp_path / "maps.hdf5")


def test_files_that_are_no_region_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.hdf5.*No such file.*extract_features"):
        RegionFile(tmp_path / "nowhere.hdf5")
    path = tmp_path / "other.hdf5"
    path.write_text("no HDF5")
    with pytest.raises(InputError, match=r"other\.hdf5"):
        RegionFile(path)
    for name, value, words in (
        ("features", np.ones(3), "got a file with features"),
        ("feature_map", np.ones((3, 4, 5)), r"\(3, 4, 5\)"),
        ("feature_map", np.ones((3, 4, 5, 5), dtype=int), "int64"),
        ("feature_map_train/shirt", np.ones((3, 4, 5, 5)), "other.hdf5.*shirt"),
    ):
        with h5py.File(path, "w") as file:
            file[name] = value
        with pytest.raises(InputError, match=words):
            RegionFile(path)


def test_damage_met_while_reading_is_refused(tmp_path: Path) -> None:
    path = write_release(tmp_path / "release.hdf5")
    with h5py.File(path) as file:
        place = file["feature_map"].id.get_chunk_info(0)
    with open(path, "rb+") as file:
        file.seek(place.byte_offset)
        file.write(b"\xff" * place.size)
    regions = RegionFile(path)
    with pytest.raises(InputError, match=r"release\.hdf5"):
        list(batches(regions, [np.arange(5)]))
    regions = RegionFile(write_ours(tmp_path / "ours.hdf5"))
    os.truncate(tmp_path / "ours.hdf5", 5000)
    with pytest.raises(InputError, match=r"ours\.hdf5.*shorter"):
        regions.read(np.array([0, 71]))


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
    with pytest.raises(InputError, match=r"row 40 \(birds/40.jpg\)"):
        list(batches(regions, [np.arange(5), np.array([7, 40, 41])]))


def test_channels_last_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "maps.hdf5"
    for shape, pooled in (((3, 7, 7, 64), None), ((3, 5, 7, 6), 6)):
        with h5py.File(path, "w") as file:
            file["feature_map"] = np.ones(shape, np.float16)
            if pooled:
                file["pooled"] = np.ones((3, pooled), np.float32)
        with pytest.raises(InputError, match=r"transpose\(0, 3, 1, 2\)"):
            RegionFile(path)
