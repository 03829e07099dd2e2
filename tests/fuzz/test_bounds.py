"""Files that are well formed and ask for too much: each number in a foreign file has a bound, and ends in one InputError."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from fuzz.campaign import Reader, run_cases
from PIL import Image

from zslab.data.region_dataset import read_region_maps
from zslab.errors import InputError
from zslab.features.images import open_image

from helpers.region_examples import write_ours

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is bounded as Linux does")


def is_refused(path: Path, read: Callable[[], object]) -> bool:
    """Whether a file ends in one InputError, in bounded time and memory."""
    outcome = run_cases(Reader(read, path, lambda content, _: content), 1)
    assert 1 not in outcome.faults or outcome.refused  # the "good" file is the same, and refused as well
    return outcome.refused == 1


def damaged_heap(content: bytes) -> bytes:
    heap = content.rindex(b"GCOL") + 16  # the first object: its number, references and size
    return content[:heap] + b"\xff" * 16 + content[heap + 16 :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content.replace(b'{"name": "none"}', b"\xff\xfe\xfd" + b"\x80" * 13),
        damaged_heap,
        lambda content: content.replace(b"GCOL", b"XCOL"),
    ],
)
def test_a_damaged_text_of_a_region_file_is_refused(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = write_ours(tmp_path / "maps.hdf5")
    with h5py.File(path, "r+") as file:
        del file.attrs["backbone"]
        file.attrs.create("backbone", '{"name": "none"}', dtype=h5py.string_dtype())  # of any length: in the heap
    assert read_region_maps(path).backbone == '{"name": "none"}'
    damaged = damage(path.read_bytes())
    assert damaged != path.read_bytes()
    path.write_bytes(damaged)
    assert is_refused(path, lambda: read_region_maps(path).stage("test"))


@pytest.mark.parametrize("name", ["pooled", "labels", "att", "w2v_att", "train_loc", "feature_map"])
@pytest.mark.parametrize("kind", ["S3", h5py.regionref_dtype, np.dtype([("a", "f4")]), h5py.string_dtype(), "c8"])
def test_an_array_of_another_kind_is_refused(tmp_path: Path, name: str, kind: object) -> None:
    path = write_ours(tmp_path / "maps.hdf5")
    with h5py.File(path, "r+") as file:
        shape = file[name].shape
        del file[name]
        file.create_dataset(name, shape, kind)
    with pytest.raises(InputError):
        read_region_maps(path).stage("test")


def test_a_box_that_claims_gigabytes_costs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.jp2"
    Image.new("RGB", (40, 30)).save(path)
    content = path.read_bytes()
    at = content.index(b"jp2h") - 4
    path.write_bytes(content[:at] + b"\xff\xff\xff\x00" + content[at + 4 :])
    assert is_refused(path, lambda: open_image(path))
