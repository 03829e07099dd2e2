"""Writing region files: continued after a kill, nobody else's file touched, no room filled before its time."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import h5py
import numpy as np
import pytest
from region_examples import CONTENT, GRID, D, N, finish

from zsl.data.region_file import RegionFile
from zsl.data.region_maps import read_region_maps
from zsl.data.region_writer import RegionWriter
from zsl.errors import InputError


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
