"""The toy data set: files agree with attributes, boxes and splits, and are made whole or not at all; its descriptor."""

import csv
import hashlib
import json
import os
from functools import partial
from pathlib import Path

import joblib
import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat

from zslab.data.region_dataset import read_region_maps
from zslab.data.xlsa17 import read_xlsa17
from zslab.errors import InputError
from zslab.features import descriptor
from zslab.toy import dataset, regions, render, species

pytestmark = pytest.mark.slow

PER_CLASS = 5
INDEX_KEYS = ("trainval_loc", "train_loc", "val_loc", "test_seen_loc", "test_unseen_loc")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return dataset.make_toy(tmp_path_factory.mktemp("first"), seed=0, images_per_class=PER_CLASS)


@pytest.fixture(scope="module")
def data(folder: Path) -> dict[str, np.ndarray]:
    return loadmat(folder / "descriptor.mat") | loadmat(folder / "att_splits.mat")


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def class_sets(data: dict[str, np.ndarray]) -> dict[str, set[int]]:
    labels = data["labels"][:, 0].astype(int)
    return {key: set(labels[data[key][:, 0].astype(int) - 1]) for key in INDEX_KEYS}


def test_same_seed_same_bytes_and_other_seed_other_images(folder: Path, tmp_path: Path) -> None:
    first = digests(folder)
    again = digests(dataset.make_toy(tmp_path / "again", seed=0, images_per_class=PER_CLASS))
    other = digests(dataset.make_toy(tmp_path / "other", seed=1, images_per_class=PER_CLASS))
    assert first == again
    photos = [name for name in first if name.endswith(".png")]
    assert len(photos) == len(species.SPECIES) * PER_CLASS
    assert all(first[name] != other[name] for name in photos)
    assert first["descriptor.mat"] != other["descriptor.mat"]
    assert first["class_attributes.csv"] == other["class_attributes.csv"], "the species do not depend on the seed"


def test_processes_give_the_same_bytes_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset, "IMAGES_PER_PROCESS", 1)
    monkeypatch.setattr(joblib, "cpu_count", lambda: 2)
    assert os.getpid() not in list(dataset.map_in_order(lambda _: os.getpid(), range(3), images=3))
    names, features = list(species.SPECIES)[:3], {}
    for place, images in (("one", 0), ("two", 6)):
        render = partial(dataset._render_species, folder=tmp_path / place, seed=0, images_per_class=2)
        rendered = list(dataset.map_in_order(render, names, images=images))
        features[place] = np.concatenate([of_species for _, of_species, _, _ in rendered])
    assert digests(tmp_path / "one") == digests(tmp_path / "two") and np.array_equal(features["one"], features["two"])


def test_an_existing_copy_is_kept_and_an_older_one_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # What a copy holds does not matter here: a stand-in writes in no time.
    monkeypatch.setattr(dataset, "_write_everything", stand_in_writer)
    folder = dataset.make_toy(tmp_path, seed=0)
    before = (folder / "parts.csv").stat().st_ino
    assert dataset.make_toy(tmp_path, seed=0) == folder
    assert (folder / "parts.csv").stat().st_ino == before
    dataset.make_toy(tmp_path, seed=7)
    assert (folder / "parts.csv").read_text() == "7"
    monkeypatch.setattr(dataset, "VERSION", dataset.VERSION + 1)
    dataset.make_toy(tmp_path, seed=7)
    assert json.loads((folder / "manifest.json").read_text())["version"] == dataset.VERSION
    assert [path.name for path in tmp_path.iterdir()] == ["TOY"]
    (folder / "manifest.json").unlink()
    with pytest.raises(InputError, match="manifest.json"):  # it may be anything
        dataset.make_toy(tmp_path, seed=7)
    assert (folder / "parts.csv").read_text() == "7"


def stand_in_writer(folder: Path, seed: int, images_per_class: int) -> None:
    (folder / "parts.csv").write_text(str(seed))


@pytest.mark.parametrize("failure", [KeyboardInterrupt, RuntimeError, OSError(28, "No space left on device")])
def test_an_interrupted_render_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure) -> None:
    real, calls = dataset.render_bird, []

    def fails_midway(*args, **kwargs):
        calls.append(1)
        if len(calls) == 12:
            raise failure
        return real(*args, **kwargs)

    monkeypatch.setattr(dataset, "render_bird", fails_midway)
    expected = InputError if isinstance(failure, OSError) else failure
    with pytest.raises(expected):
        dataset.make_toy(tmp_path, images_per_class=PER_CLASS)
    assert len(calls) == 12 and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [{"seed": -1}, {"seed": 2**32}, {"images_per_class": 4}])
def test_arguments_out_of_range(tmp_path: Path, arguments: dict[str, int]) -> None:
    with pytest.raises(InputError, match=next(iter(arguments))):
        dataset.make_toy(tmp_path, **arguments)


def test_shapes_and_counts(folder: Path, data: dict[str, np.ndarray]) -> None:
    n_images, n_classes, n_attributes = 40 * PER_CLASS, 40, 48
    assert data["features"].shape == (descriptor.POOLED_DIM, n_images) and data["features"].dtype == np.float32
    assert np.isfinite(data["features"]).all()
    assert data["labels"].shape == (n_images, 1)
    assert np.array_equal(np.unique(data["labels"], return_counts=True)[1], np.full(n_classes, PER_CLASS))
    assert data["att"].shape == data["original_att"].shape == (n_attributes, n_classes)
    assert np.allclose(np.linalg.norm(data["att"], axis=0), 1)
    # Each of the 13 traits is shown in one of its values by every bird.
    assert np.allclose(data["original_att"].sum(0), 100 * len(species.TRAITS))
    assert [cell[0][0] for cell in data["allclasses_names"]] == list(species.SPECIES)
    for file, label in zip(data["image_files"][:, 0], data["labels"][:, 0], strict=True):
        assert file[0].split("/")[1] == list(species.SPECIES)[int(label) - 1]
        with Image.open(folder / file[0]) as image:
            assert image.size == (render.IMAGE_SIZE, render.IMAGE_SIZE) and image.mode == "RGB"


def test_splits_follow_the_proposed_split_v2(data: dict[str, np.ndarray]) -> None:
    samples = {key: data[key][:, 0].astype(int) for key in INDEX_KEYS}
    for key, numbers in samples.items():
        assert data[key].shape == (len(numbers), 1) and len(set(numbers)) == len(numbers), key
    everything = np.concatenate([samples[key] for key in ("trainval_loc", "test_seen_loc", "test_unseen_loc")])
    assert np.array_equal(np.sort(everything), np.arange(1, 40 * PER_CLASS + 1)), "each sample in one part, 1-based"
    assert np.array_equal(np.sort(np.concatenate([samples["train_loc"], samples["val_loc"]])), samples["trainval_loc"])
    assert len(samples["test_seen_loc"]) == 32 * round(0.2 * PER_CLASS)
    classes = class_sets(data)
    assert classes["train_loc"].isdisjoint(classes["val_loc"])
    assert (len(classes["train_loc"]), len(classes["val_loc"])) == (24, 8)
    assert classes["test_seen_loc"] == classes["trainval_loc"] and len(classes["trainval_loc"]) == 32
    assert len(classes["test_unseen_loc"]) == 8 and classes["test_unseen_loc"].isdisjoint(classes["trainval_loc"])


def test_unseen_species_are_new_combinations_of_values_seen_in_training(data: dict[str, np.ndarray]) -> None:
    classes = class_sets(data)
    for train, test in (("trainval_loc", "test_unseen_loc"), ("train_loc", "val_loc")):
        train_columns = np.array(sorted(classes[train])) - 1
        test_columns = np.array(sorted(classes[test])) - 1
        typical = data["original_att"] > 50  # what most birds of the species show
        needed = typical[:, test_columns].any(1)
        assert typical[:, train_columns].sum(1)[needed].min() >= 3, f"{test}: a value with too few species in {train}"
    vectors = data["original_att"].T
    distance = np.linalg.norm(vectors[:, None] - vectors[None], axis=-1) + 1e9 * np.eye(len(vectors))
    assert distance.min() > 100, "no two species share an attribute vector"


def test_feature_columns_are_the_descriptor_of_the_files(folder: Path, data: dict[str, np.ndarray]) -> None:
    rows = [0, 57, 199]
    images = np.stack([np.asarray(Image.open(folder / data["image_files"][row, 0][0])) for row in rows])
    assert np.allclose(descriptor.pooled_descriptor(images), data["features"].T[rows], atol=1e-6)


def test_text_files_agree_with_the_mat_files(folder: Path, data: dict[str, np.ndarray]) -> None:
    names = [line.split()[1] for line in (folder / "attributes.txt").read_text().splitlines()]
    assert names == list(species.ATTRIBUTES) and "has_wing_color::red" in names
    with open(folder / "class_attributes.csv", newline="") as file:
        header, *rows = list(csv.reader(file))
    assert header[1:] == names and [row[0] for row in rows] == list(species.SPECIES)
    assert np.allclose(np.array([row[1:] for row in rows], dtype=float), data["original_att"].T)
    with open(folder / "attribute_parts.csv", newline="") as file:
        assert {row["attribute"]: row["part"] for row in csv.DictReader(file)} == species.ATTRIBUTE_PARTS
    assert set(species.ATTRIBUTE_PARTS.values()) == set(species.PARTS)


def test_birds_vary_about_their_species_as_often_as_the_attributes_say() -> None:
    random = np.random.RandomState(0)
    shares = species.class_attributes()
    name = list(species.SPECIES)[3]
    birds = [species.individual(species.SPECIES[name], random) for _ in range(2000)]
    shown = np.array([[bird[t] == value for t, values in species.TRAITS.items() for value in values] for bird in birds])
    # Four standard deviations of a mean of 2,000 draws, for a seed that is fixed.
    assert np.abs(shown.mean(0) - shares[3]).max() < 4 * np.sqrt(0.25 / 2000)


def test_boxes_lie_in_the_image_and_hold_the_part(folder: Path) -> None:
    with open(folder / "parts.csv", newline="") as file:
        boxes = np.array([[int(row[side]) for side in ("x0", "y0", "x1", "y1")] for row in csv.DictReader(file)])
    boxes = boxes.reshape(-1, len(species.PARTS), 4)  # the parts of an image follow one another
    assert boxes.shape == (40 * PER_CLASS, len(species.PARTS), 4)
    assert (boxes[..., :2] >= 0).all() and (boxes[..., 2:] <= render.IMAGE_SIZE).all()
    assert (boxes[..., 2:] - boxes[..., :2] >= 4).all(), "no part shrinks to a few pixels"
    for bird in jittered_birds(10):
        for number, part in enumerate(species.PARTS, start=1):
            x0, y0, x1, y1 = bird.boxes[part]
            inside = bird.part_map == number
            assert inside.sum() == inside[y0:y1, x0:x1].sum() > 0
            assert inside[y0].any() and inside[y1 - 1].any() and inside[:, x0].any() and inside[:, x1 - 1].any()


def jittered_birds(count: int) -> list[render.Bird]:
    all_species = list(species.SPECIES.values())
    return [render.render_bird(all_species[3 * i % 40], np.random.RandomState(i)) for i in range(count)]


def shown_color(bird: render.Bird, part: str, choices: tuple[str, ...]) -> str:
    """The name, of `choices`, nearest to the median color of the part."""
    pixels = np.asarray(bird.image)[bird.part_map == species.PARTS.index(part) + 1]
    return min(choices, key=lambda name: np.abs(np.median(pixels, axis=0) - render.PALETTE[name]).sum())


@pytest.mark.parametrize("part", species.PARTS)
def test_each_part_has_the_color_its_attribute_says(part: str) -> None:
    base = next(iter(species.SPECIES.values())) | {"breast_pattern": "solid", "wing_pattern": "solid"}
    for color in species.TRAITS[f"{part}_color"]:
        traits = base | {f"{part}_color": color}
        bird = render.render_bird(traits, np.random.RandomState(0), jitter=0)
        assert shown_color(bird, part, species.TRAITS[f"{part}_color"]) == color
        if part in ("wing", "breast", "bill"):  # parts that fill most of their box
            x0, y0, x1, y1 = bird.boxes[part]
            inner = np.asarray(bird.image)[y0:y1, x0:x1][bird.part_map[y0:y1, x0:x1] > 0]
            off = np.abs(np.median(inner, axis=0) - render.PALETTE[color]).max()
            assert off < 60, f"{color} {part}: median of the box is off by {off}"


def test_colors_survive_pose_and_light() -> None:
    all_species = list(species.SPECIES.values())
    hits = [
        shown_color(bird, part, species.TRAITS[f"{part}_color"]) == all_species[3 * i % 40][f"{part}_color"]
        for i, bird in enumerate(jittered_birds(60))
        for part in species.PARTS
    ]
    assert np.mean(hits) > 0.9


@pytest.mark.parametrize("trait", [trait for trait in species.TRAITS if not trait.endswith("_color")])
def test_each_shape_and_pattern_changes_its_own_part(trait: str) -> None:
    base = next(iter(species.SPECIES.values()))
    part = species.PARTS.index(trait.split("_")[0]) + 1
    birds = [render.render_bird(base | {trait: value}, np.random.RandomState(0), jitter=0) for value in species.TRAITS[trait]]
    for one in range(len(birds)):
        for other in range(one):
            touched = (birds[one].part_map == part) | (birds[other].part_map == part)
            changed = np.abs(np.asarray(birds[one].image, int) - np.asarray(birds[other].image, int)).sum(-1)
            assert (changed[touched] > 60).sum() >= 40, "the difference is too small to see"
            assert changed[touched].sum() > 0.5 * changed.sum(), "the difference is mostly elsewhere"


def test_regions_are_local_and_say_where_they_are() -> None:
    image = np.full((112, 112, 3), 128, dtype=np.uint8)
    touched = image.copy()
    touched[3 * 16 + 2 : 4 * 16 - 2, 5 * 16 + 2 : 6 * 16 - 2] = (200, 40, 40)  # inside the cell of row 3, column 5
    plain, marked = descriptor.region_descriptors(np.stack([image, touched]))
    changed = np.abs(plain - marked).max(-1) > 1e-6
    assert plain.shape == (7, 7, descriptor.REGION_DIM)
    assert np.argwhere(changed).tolist() == [[3, 5]]
    assert np.allclose(plain[2, 1], plain[2, 5]) and not np.allclose(plain[2, 1], plain[4, 1])


def test_color_histogram_against_a_pixel_by_pixel_sum() -> None:
    image = np.random.RandomState(0).randint(0, 256, (112, 112, 3)).astype(np.uint8)
    table = descriptor._color_table().reshape(32, 32, 32, -1)
    cell = image[16:32, 32:48].reshape(-1, 3) // 8
    expected = np.mean([table[tuple(pixel)] for pixel in cell], axis=0)
    assert np.allclose(descriptor._colors(image[None])[0, 1, 2], expected, atol=1e-5)
    assert np.allclose(descriptor._colors(image[None]).sum(-1), 1, atol=1e-4)


def test_orientation_histogram_of_straight_edges() -> None:
    ramp = np.broadcast_to(np.arange(112)[None, :, None] * 2, (112, 112, 3)).astype(np.uint8)
    upright = descriptor._edges(ramp[None])[0][0, 3, 3]
    lying = descriptor._edges(ramp.swapaxes(0, 1)[None])[0][0, 3, 3]
    # A gradient along x lies on the border of the first and last bin, one along y on that of the two middle ones.
    assert upright[[0, 7]].sum() == pytest.approx(upright.sum()) and lying[[3, 4]].sum() == pytest.approx(lying.sum())
    assert upright.sum() == pytest.approx(4 * 2 / 255, rel=1e-4)


def test_pooled_descriptor_is_normalized_and_mirror_blind() -> None:
    bird, other_bird = (np.asarray(bird.image) for bird in jittered_birds(2))
    plain, mirror, other = descriptor.pooled_descriptor(np.stack([bird, bird[:, ::-1], other_bird]))
    assert np.linalg.norm(plain) == pytest.approx(1, abs=1e-5)
    assert np.allclose(plain, mirror, atol=1e-5) and np.linalg.norm(plain - other) > 0.1


def test_a_launcher_takes_the_birds_that_are_there_and_renders_them_where_there_are_none(folder, tmp_path, monkeypatch) -> None:
    assert dataset.open_toy(folder.parent) == folder
    monkeypatch.setattr(dataset, "make_toy", lambda root: root / "rendered")
    assert dataset.open_toy(tmp_path) == tmp_path / "rendered"


def test_region_maps_are_the_descriptors_of_the_images_beside_the_same_split(toy: Path) -> None:
    maps, pooled = read_region_maps(regions.make_toy_regions(toy)), read_xlsa17(toy.parent, "TOY", "descriptor", "att")
    assert maps.regions.feature_dim == 137 and maps.regions.grid == (7, 7) and maps.regions.n == 240
    rows = [3, 120, 199]
    photos = np.stack([np.asarray(Image.open(toy / maps.image_files[row])) for row in rows])
    expected = descriptor.region_descriptors(photos).transpose(0, 3, 1, 2).astype(np.float16)
    np.testing.assert_array_equal(maps.regions.read(np.array(rows)), expected)
    np.testing.assert_array_equal(maps.labels, pooled.labels)
    np.testing.assert_allclose(maps.attributes, pooled.attributes, atol=1e-6)
    np.testing.assert_allclose(maps.features, pooled.features, atol=1e-6)
    assert maps.class_names == pooled.class_names and maps.split_version == "v2"
    for name, locations in pooled.locations.items():
        np.testing.assert_array_equal(maps.locations[name], locations)
    assert maps.attribute_names == list(species.ATTRIBUTES) and '"descriptor"' in maps.backbone
    assert maps.word_vectors.shape == (48, 300)


def test_region_maps_are_made_once(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regions, "write_region_file", None)
    assert regions.make_toy_regions(toy).parent == toy


def test_attributes_that_share_words_are_alike() -> None:
    names = ["has_wing_color::red", "has_wing_color::grey", "has_tail_color::red", "has_bill_shape::hooked"]
    vectors = regions.word_vectors(names)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    same = unit @ unit.T
    assert same[0, 1] == pytest.approx(2 / 3, abs=0.15) and same[0, 2] == pytest.approx(2 / 3, abs=0.15)
    assert abs(same[0, 3]) < 0.2 and np.array_equal(vectors, regions.word_vectors(names))
