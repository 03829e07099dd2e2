"""Writing and repacking region files: whole or not at all, and nothing that half precision cannot hold."""

import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from zslab.cli import main
from zslab.data.region_dataset import read_region_maps
from zslab.data.region_file import RegionFile
from zslab.data.region_writer import write_region_file
from zslab.errors import InputError

from helpers.region_examples import CONTENT, GRID, D, N, write_deepfashion, write_maps, write_ours, write_release


def blocks(size: int = 10, die_at: int | None = None) -> Iterator[np.ndarray]:
    for start in range(0, N, size):
        if start == die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        yield CONTENT["feature_map"][start : start + size]


@pytest.mark.parametrize("size", [1, 10, N])
def test_blocks_of_any_size_make_the_same_file(tmp_path: Path, size: int) -> None:
    write_maps(tmp_path / "maps.hdf5", blocks(size))
    assert (tmp_path / "maps.hdf5").read_bytes() == write_ours(tmp_path / "whole.hdf5").read_bytes()
    data = read_region_maps(tmp_path / "maps.hdf5")
    assert np.array_equal(data.regions.read(np.arange(N)), CONTENT["feature_map"])
    assert np.array_equal(data.features, CONTENT["pooled"]) and np.array_equal(data.labels, CONTENT["labels"])
    with h5py.File(tmp_path / "maps.hdf5") as file:
        assert file.attrs["format_version"] == 1


def test_a_killed_writer_leaves_the_earlier_file(tmp_path: Path) -> None:
    path = write_ours(tmp_path / "maps.hdf5")
    before, child = path.read_bytes(), os.fork()
    if child == 0:
        try:
            write_maps(path, blocks(die_at=40))
        finally:
            os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert path.read_bytes() == before


def test_what_half_precision_cannot_hold_is_refused(tmp_path: Path) -> None:
    maps = CONTENT["feature_map"].astype(np.float32)
    maps[38, 0, 0, 0] = 70000
    with pytest.raises(InputError, match="float16.*in 38"):
        write_maps(tmp_path / "maps.hdf5", [maps[:30], maps[30:]])
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="71 maps and 72 labels for 72 images"):
        write_maps(tmp_path / "maps.hdf5", [CONTENT["feature_map"][1:]])
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))
            maps = np.zeros((100, 64, 7, 7), np.float16)
            try:
                how = {"shape": (500, 64, 7, 7), "dtype": "float16", "labels": np.zeros(500), "locations": {}}
                write_region_file(tmp_path / "maps.hdf5", [maps] * 5, **how)
            except InputError as error:
                os._exit(7 if "write" in str(error) or "written" in str(error) else 8)
        finally:
            os._exit(9)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert not list(tmp_path.iterdir())


def test_289_000_images_cost_no_memory_to_open(tmp_path: Path) -> None:
    n, path = 289_000, tmp_path / "large.hdf5"
    indices = np.array([n - 1, 0, 144_000])
    maps = np.random.default_rng(0).normal(size=(3, 64, 7, 7)).astype(np.float16)
    with h5py.File(path, "w") as file:
        stored = file.create_dataset("feature_map", (n, 64, 7, 7), "float16")
        for index, of_image in zip(indices, maps):
            stored[index] = of_image
    assert os.path.getsize(path) > n * 64 * 49 * 2
    assert os.stat(path).st_blocks * 512 < 4 * 2**20  # nothing but the three maps takes room
    regions = RegionFile(path)
    assert regions.n == n
    assert np.array_equal(regions.read(indices[[2, 0, 1]]), maps[[2, 0, 1]])


def test_the_mean_over_the_regions_stands_in_for_pooled_features(tmp_path: Path) -> None:
    maps = CONTENT["feature_map"]
    how = {"shape": (N, D, *GRID), "dtype": "float32", "labels": CONTENT["labels"], "locations": {}}
    write_region_file(tmp_path / "maps.hdf5", blocks(), **how, att=None, pooled="mean")
    with h5py.File(tmp_path / "maps.hdf5") as file:
        np.testing.assert_allclose(file["pooled"], maps.astype(np.float64).mean((2, 3)), atol=1e-6)
        assert file["pooled"].dtype == np.float32


@pytest.mark.parametrize("layout", ["release", "deepfashion"])
def test_repacking_keeps_everything_and_streams(tmp_path: Path, capsys, layout: str) -> None:
    source, target, options = tmp_path / "source.hdf5", tmp_path / "target.hdf5", {"drop_absent_classes": True}
    (write_release if layout == "release" else write_deepfashion)(source)
    assert main(["repack", str(source), str(target), "--dtype", "float32"]) == 0
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
    assert main(["repack", str(tmp_path / "nowhere.hdf5"), str(target)]) == 1
    assert "nowhere.hdf5" in capsys.readouterr().err
