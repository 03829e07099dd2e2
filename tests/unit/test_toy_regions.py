"""The toy birds' region maps: what they hold, that they are made once, that a kill costs little."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from zslab.data.region_dataset import read_region_maps
from zslab.data.resumable import ResumableRows
from zslab.data.xlsa17 import read_xlsa17
from zslab.features.descriptor import region_descriptors
from zslab.toy import regions as toy_regions
from zslab.toy.dataset import make_toy
from zslab.toy.regions import make_toy_regions, word_vectors
from zslab.toy.species import ATTRIBUTES

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def toy(tmp_path_factory) -> Path:
    return make_toy(tmp_path_factory.mktemp("data"), images_per_class=5)


def test_they_are_the_descriptors_of_the_images_beside_the_same_split(toy) -> None:
    regions, pooled = read_region_maps(make_toy_regions(toy)), read_xlsa17(toy.parent, "TOY", "descriptor", "att")
    assert regions.regions.feature_dim == 137 and regions.regions.grid == (7, 7) and regions.regions.n == 200
    rows = [3, 120, 199]
    photos = [np.asarray(Image.open(toy / regions.image_files[row])) for row in rows]
    expected = region_descriptors(photos).transpose(0, 3, 1, 2).astype(np.float16)
    np.testing.assert_array_equal(regions.regions.read(np.array(rows)), expected)
    np.testing.assert_array_equal(regions.labels, pooled.labels)
    np.testing.assert_allclose(regions.attributes, pooled.attributes, atol=1e-6)
    np.testing.assert_allclose(regions.features, pooled.features, atol=1e-6)
    assert regions.class_names == pooled.class_names and regions.split_version == "v2"
    for name, locations in pooled.locations.items():
        np.testing.assert_array_equal(regions.locations[name], locations)
    assert regions.attribute_names == list(ATTRIBUTES) and '"descriptor"' in regions.backbone
    assert regions.word_vectors.shape == (48, 300)


def test_they_are_made_once_and_continued_after_a_kill(toy, monkeypatch) -> None:
    path = make_toy_regions(toy)
    everything = np.arange(200)
    before = read_region_maps(path).regions.read(everything)
    described = []
    original = toy_regions.describe_files
    monkeypatch.setattr(toy_regions, "describe_files", lambda files: described.append(len(files)) or original(files))
    assert make_toy_regions(toy) == path and not described
    path.unlink()
    add, calls = ResumableRows.add, []

    def die(self, *arguments):
        if len(calls) == 2:
            raise SystemError("killed")
        calls.append(1)
        add(self, *arguments)

    monkeypatch.setattr(ResumableRows, "add", die)
    with pytest.raises(SystemError):
        make_toy_regions(toy)
    assert not path.exists() and sum(described) == 180
    monkeypatch.setattr(ResumableRows, "add", add)
    described.clear()
    make_toy_regions(toy)
    assert sum(described) == 80
    np.testing.assert_array_equal(read_region_maps(path).regions.read(everything), before)


def test_attributes_that_share_words_are_alike() -> None:
    vectors = word_vectors(["has_wing_color::red", "has_wing_color::grey", "has_tail_color::red", "has_bill_shape::hooked"])
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    same = unit @ unit.T
    assert same[0, 1] == pytest.approx(2 / 3, abs=0.15) and same[0, 2] == pytest.approx(2 / 3, abs=0.15)
    assert abs(same[0, 3]) < 0.2
    np.testing.assert_array_equal(
        vectors, word_vectors(["has_wing_color::red", "has_wing_color::grey", "has_tail_color::red", "has_bill_shape::hooked"])
    )
