"""The toy birds' region maps: what they hold, and that they are made once."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from zslab.data.region_dataset import read_region_maps
from zslab.data.xlsa17 import read_xlsa17
from zslab.features.descriptor import region_descriptors
from zslab.toy import regions as toy_regions
from zslab.toy.regions import make_toy_regions, word_vectors
from zslab.toy.species import ATTRIBUTES

pytestmark = pytest.mark.slow


def test_they_are_the_descriptors_of_the_images_beside_the_same_split(toy) -> None:
    regions, pooled = read_region_maps(make_toy_regions(toy)), read_xlsa17(toy.parent, "TOY", "descriptor", "att")
    assert regions.regions.feature_dim == 137 and regions.regions.grid == (7, 7) and regions.regions.n == 240
    rows = [3, 120, 199]
    photos = np.stack([np.asarray(Image.open(toy / regions.image_files[row])) for row in rows])
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


def test_they_are_made_once(toy, monkeypatch) -> None:
    path = make_toy_regions(toy)
    monkeypatch.setattr(toy_regions, "write_region_file", None)
    assert make_toy_regions(toy) == path


def test_attributes_that_share_words_are_alike() -> None:
    vectors = word_vectors(["has_wing_color::red", "has_wing_color::grey", "has_tail_color::red", "has_bill_shape::hooked"])
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    same = unit @ unit.T
    assert same[0, 1] == pytest.approx(2 / 3, abs=0.15) and same[0, 2] == pytest.approx(2 / 3, abs=0.15)
    assert abs(same[0, 3]) < 0.2
    np.testing.assert_array_equal(
        vectors, word_vectors(["has_wing_color::red", "has_wing_color::grey", "has_tail_color::red", "has_bill_shape::hooked"])
    )
