"""Attention of a trained DAZLE: attributes behind a prediction, pointing on known parts against hand counts, the figures."""

import csv
import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from zslab import cli
from zslab.data.parts import read_parts
from zslab.data.region_dataset import read_region_maps
from zslab.data.region_writer import write_region_file
from zslab.dazle.explain import contributions, crop_of, evenly_chosen, explain, record_attention
from zslab.dazle.model import Dazle, Output
from zslab.dazle.pointing import coverage, holds_center, measure_pointing, pointing
from zslab.errors import InputError
from zslab.report import attention as report
from zslab.report import run as run_report
from zslab.report.attention import draw_attention, pointing_tables
from zslab.results.finished import read_run

from helpers.commands import train
from helpers.configs import dazle, dazle_options
from helpers.project import tree_modules
from helpers.results import result_json

GRID = (2, 4)  # rows and columns differ, so that a mix-up shows


def test_coverage_is_the_share_of_each_cell() -> None:
    # Columns are 0.25 wide, rows 0.5 high. x 0.125 ... 0.5 is half of column 0 and all of 1; y 0.25 ... 1 half of row 0.
    found = coverage(np.array([[0.125, 0.25, 0.5, 1.0], [0.3, 0.6, 0.35, 0.7]]), GRID)
    assert np.allclose(found[0], [[0.25, 0.5, 0, 0], [0.5, 1, 0, 0]])
    assert np.allclose(found[1], [[0, 0, 0, 0], [0, 0.05 * 0.1 / (0.25 * 0.5), 0, 0]])
    # Middles of the columns: 0.125, 0.375, 0.625, 0.875; of the rows: 0.25, 0.75. An edge at a middle: low is in, high out.
    inside = holds_center(np.array([[0.125, 0.25, 0.625, 0.75], [0.13, 0.2, 0.7, 1.0]]), GRID)
    assert inside[0].tolist() == [[True, True, False, False], [False] * 4]
    assert inside[1].tolist() == [[False, True, True, False]] * 2


def test_coverage_agrees_with_counting_pixels() -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        x0, y0 = random.integers(0, 30, 2)
        x1, y1 = random.integers(31, 57, 2)
        photo = np.zeros((56, 56))
        photo[y0:y1, x0:x1] = 1
        expected = photo.reshape(7, 8, 7, 8).mean(axis=(1, 3))
        assert np.allclose(coverage(np.array([x0, y0, x1, y1]) / 56, (7, 7)), expected)


def one_pair(map_, boxes, part=0) -> dict[str, float]:
    found = pointing(np.array([map_], dtype=float), np.array([boxes], dtype=float), np.array([part]))
    return {name: float(values[0]) for name, values in found.items()}


LEFT, RIGHT, MISSING = [0.0, 0.0, 0.3, 0.5], [0.5, 0.0, 1.0, 1.0], [np.nan] * 4


def test_pointing_against_hand_counts() -> None:
    # The peak is cell (0, 1): x 0.25 ... 0.5, middle (0.375, 0.25). LEFT overlaps it by a fifth, without its middle.
    found = one_pair([[0.2, 0.5, 0.1, 0], [0.1, 0, 0.1, 0]], [LEFT, RIGHT, MISSING])
    assert found == pytest.approx(
        {
            "peak": 1,
            "peak_chance": 2 / 8,
            "center": 0,
            "center_chance": 1 / 8,
            "mass": 0.2 + 0.5 * 0.2,
            "mass_chance": 0.3 * 0.5,
            "other": 0,
        }
    )
    found = one_pair([[0.2, 0.1, 0.1, 0], [0.1, 0, 0.1, 0.4]], [LEFT, RIGHT, MISSING])
    assert found["peak"] == found["center"] == 0 and found["other"] == 1  # of the one other part that is there
    found = one_pair([[0.2, 0.1, 0.1, 0], [0.1, 0, 0.1, 0.4]], [LEFT, RIGHT, LEFT], part=1)
    assert found["peak"] == found["center"] == 1 and found["mass"] == pytest.approx(0.6) and found["other"] == 0
    assert np.isnan(one_pair([[1, 0, 0, 0], [0, 0, 0, 0]], [LEFT, MISSING, MISSING])["other"])


def test_attention_that_is_the_same_everywhere_gets_chance() -> None:
    random = np.random.default_rng(1)
    low, size = random.uniform(0, 0.5, (30, 2)), random.uniform(0.05, 0.5, (30, 2))
    boxes = np.concatenate([low, low + size], axis=1)[:, None]
    found = pointing(np.full((30, 7, 7), 1 / 49), boxes, np.zeros(30, dtype=int))
    for measure in ("peak", "center", "mass"):
        assert np.allclose(found[measure], found[f"{measure}_chance"])
    assert np.allclose(found["mass_chance"], size.prod(axis=1))
    # Two cells that share the highest value count a half each.
    assert one_pair([[0.4, 0, 0, 0.4], [0, 0.2, 0, 0]], [LEFT, MISSING])["peak"] == 0.5


def test_contributions_add_up_to_the_score() -> None:
    torch.manual_seed(0)
    model = Dazle(None, 6, 5, word_dim=4, grid=GRID, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter))
    regions, attributes = torch.randn(3, 8, 5), torch.nn.functional.normalize(torch.rand(4, 6), dim=1)
    output: Output = model(regions, attributes)
    labels = torch.tensor([2, 0, 3])
    whole = contributions(output, attributes[labels])
    assert torch.allclose(whole.sum(1), output.scores[torch.arange(3), labels], atol=1e-5)

    offsets = torch.tensor([0.0, 0.0, 0.0, 100.0])
    found = explain(model, regions.split(2), attributes, offsets, top=3)
    assert found.predicted.tolist() == [3, 3, 3] and found.maps.shape == (3, 3, *GRID)
    whole = contributions(output, attributes[[3, 3, 3]]).detach().numpy()
    for photo in range(3):
        order = np.argsort(-whole[photo])[:3]
        assert found.attributes[photo].tolist() == order.tolist()
        assert np.allclose(found.contributions[photo], whole[photo, order])
        for place, attribute in enumerate(order):
            expected = output.attention[photo, attribute].detach().numpy().reshape(GRID)
            assert np.allclose(found.maps[photo, place], expected)
    plain = explain(model, regions.split(2), attributes, top=99)
    assert plain.predicted.tolist() == output.scores.argmax(1).tolist() and plain.maps.shape[1] == 6


def test_images_are_chosen_evenly() -> None:
    labels = np.repeat([4, 7, 9], [10, 3, 1])
    assert evenly_chosen(labels, 3).tolist() == [5, 11, 13]
    assert np.bincount(labels[evenly_chosen(labels, 7)])[[4, 7, 9]].tolist() == [3, 2, 1]  # class 9 has but one
    assert evenly_chosen(labels, 2).tolist() == [5, 13]
    assert len(set(evenly_chosen(np.arange(50) // 5, 12).tolist())) == 12


NAMES = ["has_head_color::red", "has_head_color::blue", "has_tail_color::red", "migrates"]
HEAD, TAIL = (0, 0, 10, 10), (20, 10, 40, 20)  # pixels of images 40 x 20: head in cell (0, 0), tail in (1, 2) and (1, 3)


def write_data_set(folder, n_per_class=4):
    """Six classes, the last two unseen; feature 0 marks the head's cell, 1 the tail's; feature 2 + c the class."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(6), n_per_class)
    files = [f"images/{label}/{number}.png" for number, label in enumerate(labels)]
    maps = rng.uniform(0, 0.1, (len(labels), 8, *GRID)).astype(np.float32)
    maps[:, 0, 0, 0], maps[:, 1, 1, 2] = 3, 3
    maps[np.arange(len(labels)), 2 + labels] += 1
    rows = np.arange(len(labels))
    seen_test = (labels < 4) & (rows % n_per_class == 0)
    locations = {"trainval": rows[(labels < 4) & ~seen_test], "test_seen": rows[seen_test], "test_unseen": rows[labels > 3]}
    folder.mkdir(parents=True)
    write_region_file(
        folder / "regions.hdf5",
        [maps],
        shape=(len(rows), 8, *GRID),
        dtype="float32",
        pooled="mean",
        labels=labels,
        locations=locations,
        att=rng.uniform(0.1, 1, (6, 4)),
        class_names=[f"00{c}.Bird_{c}" for c in range(6)],
        attribute_names=NAMES,
        image_files=files,
        backbone='{"spec": {"name": "descriptor"}}',
    )
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (20, 40, 3), dtype=np.uint8)).save(folder / file)
    with open(folder / "parts.csv", "w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["image", "part", "x0", "y0", "x1", "y1"])
        for number, file in enumerate(files):
            writer.writerow([file, "head", *HEAD])
            if number != len(files) - 1:  # the last bird hides its tail
                writer.writerow([file, "tail", *TAIL])
    (folder / "attribute_parts.csv").write_text(
        "attribute,part\nhas_head_color::red,head\nhas_head_color::blue,head\nhas_tail_color::red,tail\n"
    )
    with open(folder / "image_attributes.csv", "w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["image", *NAMES])
        writer.writerows([file, number % 2, 1 - number % 2, 1, 1] for number, file in enumerate(files))
    return files


def model_that_looks() -> Dazle:
    """Head attributes look where feature 0 is, tail attributes where feature 0 is, too: the wrong place."""
    model = Dazle(torch.eye(4), 4, 8, grid=GRID, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        model.attention[:, 0] = 20
    return model


def test_parts_are_read_in_the_order_asked_for(tmp_path) -> None:
    files = write_data_set(tmp_path / "X")
    parts = read_parts(tmp_path / "X", [files[23], files[2]], NAMES)
    assert parts.parts == ["head", "tail"] and parts.part_of.tolist() == [0, 0, 1, -1]
    assert parts.shown.tolist() == [[True, False, True, True], [False, True, True, True]]
    assert parts.boxes[1].tolist() == [[0, 0, 0.25, 0.5], [0.5, 0.5, 1, 1]] and np.isnan(parts.boxes[0, 1]).all()
    with pytest.raises(InputError, match=r"images/9\.png"):
        read_parts(tmp_path / "X", [files[0], "images/9.png"], NAMES)
    with pytest.raises(InputError, match="has_beak::long"):
        read_parts(tmp_path / "X", files, [*NAMES, "has_beak::long"])
    (tmp_path / "X" / files[3]).write_bytes(b"")
    with pytest.raises(InputError, match="must describe"):
        read_parts(tmp_path / "X", files, NAMES)
    (tmp_path / "X" / "parts.csv").unlink()
    assert read_parts(tmp_path / "X", files, NAMES) is None


def test_pointing_of_a_model_whose_gaze_is_known(tmp_path) -> None:
    files = write_data_set(tmp_path / "X")
    dataset = read_region_maps(tmp_path / "X" / "regions.hdf5")
    regions = torch.from_numpy(dataset.regions.read(np.arange(24))).float().flatten(2).transpose(1, 2)
    found = measure_pointing(
        model_that_looks(),
        regions.split(5),
        torch.from_numpy(dataset.attributes),
        read_parts(tmp_path / "X", files, NAMES),
        NAMES,
    )
    # 24 images: each shows one head attribute, all but the last a tail.
    assert {name: means["pairs"] for name, means in found["attributes"].items()} == dict(zip(NAMES[:3], (12, 12, 23)))
    head, tail = found["parts"]["head"], found["parts"]["tail"]
    assert head["peak"] == head["center"] == 1 and head["other"] == 0
    assert tail["peak"] == tail["center"] == 0 and tail["other"] == 1
    assert head["peak_chance"] == 1 / 8 and tail["peak_chance"] == 2 / 8 and tail["mass_chance"] == 0.25
    assert head["mass"] > 0.9 and found["overall"]["pairs"] == 47 and found["overall"]["peak"] == 24 / 47
    dataset.regions.close()


@pytest.fixture
def run(tmp_path):
    """A run folder with what record_attention leaves in it."""
    write_data_set(tmp_path / "X")
    folder = tmp_path / "run"
    folder.mkdir()
    model = model_that_looks()
    save_file(model.state_dict(), folder / "model_last.safetensors")
    dataset = read_region_maps(tmp_path / "X" / "regions.hdf5")
    fresh = Dazle(None, 4, 8, word_dim=4, grid=GRID)
    record_attention(folder, dataset, fresh, 1.0, torch.device("cpu"), n_images=4, top=2, batch_size=3)
    yield SimpleNamespace(folder=folder, dataset=dataset, model=model)
    dataset.regions.close()


def test_what_a_run_leaves(run) -> None:
    with np.load(run.folder / "attention.npz", allow_pickle=False) as file:
        arrays = dict(file)
    assert arrays["true"].tolist() == [4, 4, 5, 5] and arrays["maps"].shape == (4, 2, *GRID)
    assert arrays["images"].tolist() == [f"images/{label}/{row}.png" for label, row in ((4, 17), (4, 19), (5, 21), (5, 23))]
    regions = torch.from_numpy(run.dataset.regions.read(np.array([17, 19, 21, 23]))).flatten(2).transpose(1, 2)
    output = run.model(regions, torch.from_numpy(run.dataset.attributes))
    margin = torch.tensor([-1.0] * 4 + [1.0] * 2)
    assert arrays["predicted"].tolist() == (output.scores + margin).argmax(1).tolist()
    assert str(arrays["row"]) == "last" and arrays["attribute_names"].tolist() == NAMES
    content = json.loads((run.folder / "pointing.json").read_text())
    # 4 seen and 8 unseen test images, of which the last has no tail.
    assert content["images"] == 12 and content["overall"]["pairs"] == 23 and content["parts"]["head"]["peak"] == 1


@pytest.mark.parametrize(
    ("without", "true"),
    [(("test_unseen",), [0, 1, 2, 3]), (("test_seen",), [4, 4, 5, 5]), (("test_unseen", "test_seen"), None)],
)
def test_classes_without_photos_leave_the_others_to_show(tmp_path, without, true) -> None:
    write_data_set(tmp_path / "X")
    save_file(model_that_looks().state_dict(), tmp_path / "model_last.safetensors")
    whole = read_region_maps(tmp_path / "X" / "regions.hdf5")
    locations = whole.locations | dict.fromkeys(without, np.array([], dtype=np.int64))
    dataset = replace(whole, locations=locations, unseen_classes=np.array([4, 5]))
    record_attention(tmp_path, dataset, Dazle(None, 4, 8, word_dim=4, grid=GRID), 1.0, torch.device("cpu"), n_images=4, top=2)
    dataset.regions.close()
    if true is None:
        assert not (tmp_path / "attention.npz").exists() and not (tmp_path / "pointing.json").exists()
        return
    with np.load(tmp_path / "attention.npz") as arrays:
        assert arrays["true"].tolist() == true and arrays["maps"].shape == (4, 2, *GRID)
    assert json.loads((tmp_path / "pointing.json").read_text())["images"] == (4 if "test_unseen" in without else 8)


def test_a_convolution_is_recorded_in_eval_mode(run) -> None:
    options = dazle_options(is_conv=True)
    model = Dazle(None, 4, 8, word_dim=4, options=options, grid=GRID, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        model.attention.normal_(generator=torch.Generator().manual_seed(2))
        model.normalization.running_mean += 0.2
    save_file(model.state_dict(), run.folder / "model_last.safetensors")
    fresh = Dazle(None, 4, 8, word_dim=4, options=options, grid=GRID)
    record_attention(run.folder, run.dataset, fresh, 1.0, torch.device("cpu"), n_images=4, top=2, batch_size=3)
    assert torch.equal(fresh.normalization.running_mean, model.normalization.running_mean)
    found = np.load(run.folder / "attention.npz")
    rows = [run.dataset.image_files.index(name) for name in found["images"]]
    regions = torch.from_numpy(run.dataset.regions.read(np.array(rows)).astype(np.float32)).flatten(2).transpose(1, 2)
    output = model.eval()(regions, torch.from_numpy(run.dataset.attributes))
    for photo, attributes in enumerate(found["attributes"]):
        expected = output.attention[photo, attributes].detach().numpy().reshape(2, *model.grid)
        assert np.allclose(found["maps"][photo], expected, atol=1e-5)


def test_the_validated_weights_come_first(run) -> None:
    with torch.no_grad():
        run.model.attention[:, 0], run.model.attention[:, 1] = 0, 20  # now all look at the tail
    save_file(run.model.state_dict(), run.folder / "model_val.safetensors")
    record_attention(run.folder, run.dataset, run.model, 1.0, torch.device("cpu"))
    content = json.loads((run.folder / "pointing.json").read_text())
    assert content["row"] == "val" and content["parts"]["tail"]["peak"] == 1 and content["parts"]["head"]["peak"] == 0


def test_only_what_a_backbone_sees_counts(tmp_path) -> None:
    files = write_data_set(tmp_path / "X")
    # The middle square of 40 x 20 is x 10 ... 30: the head is out of sight, the tail fills its lower right quarter and more.
    parts = read_parts(tmp_path / "X", files[:1], NAMES, crop=1)
    assert np.isnan(parts.boxes[0, 0]).all() and parts.boxes[0, 1].tolist() == [0.5, 0.5, 1.5, 1]
    half = read_parts(tmp_path / "X", files[:1], NAMES, crop=0.5).boxes[0]  # x 15 ... 25, y 5 ... 15
    assert np.isnan(half[0]).all() and half[1].tolist() == [0.5, 0.5, 2.5, 1.5]
    assert coverage(half[1], (2, 2)).tolist() == [[0, 0], [0, 1]]
    assert crop_of(None) == 1 and crop_of('{"spec": {"name": "descriptor"}}') == 0
    assert crop_of('{"spec": {"name": "resnet50", "resize": 256, "crop": 224}}') == 0.875


@pytest.fixture
def reported(run):
    names = [f"00{label}.Bird_{label}" for label in range(6)]
    value = result_json({"class_names": names, "seen_classes": [0, 1, 2, 3], "unseen_classes": [4, 5]})
    (run.folder / "result.json").write_text(json.dumps(value))
    (run.folder / "metrics.jsonl").write_text('{"epoch": 0}\n')
    return run


def test_the_report_shows_images_and_pointing(reported) -> None:
    assert cli.main(["report", str(reported.folder)]) == 0
    page = (reported.folder / "report.html").read_text()
    assert [path.name for path in (reported.folder / "plots").iterdir()] == ["attention_1.png"]
    assert "colored regions get attention" in page and "The images themselves were not found" not in page
    assert '<h2 id="attention">' in page and "Each of 3 attributes" in page
    rows = {name: cells for name, *cells in pointing_tables(read_run(reported.folder))["parts"]}
    # 23 pairs: 12 heads, all found; 11 tails, none; over 8 cells one or two overlap.
    assert rows["all (last epoch)"][:2] == [23, "52.2"] and rows["head"][1:4] == ["100.0", "12.5", "0.0"]
    assert rows["tail"][1:4] == ["0.0", "25.0", "100.0"] and "head color: red" in page and ">52.2<" in page


def test_images_that_moved(reported, tmp_path, monkeypatch) -> None:
    (tmp_path / "X").rename(tmp_path / "elsewhere")
    before = draw_attention(read_run(reported.folder))
    assert "The images themselves were not found" in before[0].caption
    after = draw_attention(read_run(reported.folder), tmp_path / "elsewhere")
    assert "colored regions get attention" in after[0].caption and before[0].png != after[0].png
    asked_for = []
    monkeypatch.setattr(run_report, "write_report", lambda *arguments: asked_for.append(arguments))
    assert cli.main(["report", str(reported.folder), "--images", str(tmp_path / "elsewhere")]) == 0
    assert asked_for == [(reported.folder, tmp_path / "elsewhere")]


def test_the_image_is_light_where_attention_is() -> None:
    drawn = []
    axes = SimpleNamespace(imshow=drawn.append, add_patch=lambda patch: drawn.append(patch.get_bbox().bounds))
    photo = np.full((224, 224, 3), (200, 100, 0), dtype=np.uint8)
    attention = np.zeros((7, 7))
    attention[2, 5] = 1
    report._overlay(axes, photo, attention)
    image, frame = drawn
    assert image[2 * 32 + 16, 5 * 32 + 16].tolist() == pytest.approx([200, 100, 0], abs=6)
    assert image[200, 20].tolist() == [45, 45, 45]  # 0.45 of its mean, 100, and grey
    assert frame == (160, 64, 32, 32)


def test_more_images_than_fit_make_two_figures(reported) -> None:
    path = reported.folder / "attention.npz"
    with np.load(path) as file:
        arrays = dict(file)
    for key in ("true", "predicted", "attributes", "contributions", "maps", "images"):
        arrays[key] = np.concatenate([arrays[key]] * 2)
    np.savez(path, **arrays)
    plots = draw_attention(read_run(reported.folder))
    assert [plot.name for plot in plots] == ["attention_1", "attention_2"]
    assert plots[1].title.endswith("2 of 2") and "of 2 are predicted correctly" in plots[1].caption


@pytest.mark.parametrize("changes", [{"true": np.array([4, 4, 5, 6])}, {"attributes": np.full((4, 2), 4)}, {"crop": None}])
def test_damaged_files_are_refused(reported, changes) -> None:
    path = reported.folder / "attention.npz"
    with np.load(path) as file:
        arrays = dict(file) | changes
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
    (reported.folder / "pointing.json").write_text('{"row": "val", "overall": {"pairs": 1}, "parts": {}, "attributes": {}}')
    run = read_run(reported.folder)
    for name, read in (("attention", draw_attention), ("pointing", pointing_tables)):
        with pytest.raises(InputError, match=name):
            read(run)


@pytest.mark.parametrize("annotated", [True, False])
def test_training_leaves_attention_behind_before_the_report(tmp_path, monkeypatch, caplog, annotated: bool) -> None:
    """A wrong part annotation costs no more than itself."""
    write_data_set(tmp_path / "X")
    if not annotated:
        (tmp_path / "X" / "parts.csv").write_text("image,part\nimages/0/0.png,head\n")
    there = []
    monkeypatch.setattr(run_report, "write_report", lambda folder: there.append((folder / "attention.npz").exists()))
    flags = dict(dataset="X", dataroot=tmp_path, image_embedding="regions", output=tmp_path / "runs")
    with tree_modules("zero-shot-images") as load:
        assert train(dazle(**flags, nepoch=1, batch_size=6, dim_v=4), load("train_dazle").METHOD) == 0
    (folder,) = (tmp_path / "runs").glob("*-seed*")
    with np.load(folder / "attention.npz", allow_pickle=False) as file:
        assert file["maps"].shape == (8, 4, *GRID) and np.allclose(file["maps"].sum((2, 3)), 1, atol=1e-5)
    assert there == [True] and (folder / "pointing.json").exists() is annotated
    if annotated:
        assert json.loads((folder / "pointing.json").read_text())["overall"]["pairs"] == 23
    else:
        assert "Left out of the report: " in caplog.text
