"""Repacking: the release's files come out streaming, with the same content and pooled features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from zslab.cli import main
from zslab.data.region_dataset import read_region_maps

from helpers.region_examples import write_deepfashion, write_release


@pytest.mark.parametrize("layout", ["release", "deepfashion"])
def test_repacking_keeps_everything_and_streams(tmp_path: Path, capsys, layout: str) -> None:
    source, target, options = tmp_path / "source.hdf5", tmp_path / "target.hdf5", {}
    if layout == "release":
        write_release(source)
    else:
        write_deepfashion(source)
        options = {"drop_absent_classes": True}
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
