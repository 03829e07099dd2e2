"""DAZLE's training: resume bit for bit, samplers by counting, evaluation against loops over images, the real command."""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from zslab.config import parse_config
from zslab.data.region_dataset import read_region_maps
from zslab.dazle.model import Dazle
from zslab.dazle.sampling import class_balanced_batches, random_batches
from zslab.dazle.trainer import DazleTrainer
from zslab.errors import InputError
from zslab.launch import launch
from zslab.plan import load_launcher
from zslab.protocol.loop import Interrupted, resume
from zslab.results.folder import RunFolder
from zslab.results.record import read_records
from zslab.results.result import Choice
from zslab.utils.seeds import BATCHES, stream

from helpers.commands import train
from helpers.configs import dazle, dazle_options
from helpers.dazle_trainer import ATTRIBUTES, CPU, FEATURES, GRID, SEEN, SETTINGS, UNSEEN, build, write_regions
from helpers.interruptible import run, without_times
from helpers.project import PROJECT
from helpers.results import read_rows
from helpers.tiny import BASELINE_ROWS

CONVOLUTION = dazle_options(is_conv=True)  # whose batch normalization keeps statistics and has two modes


@pytest.fixture
def region_file(tmp_path: Path) -> Path:
    return write_regions(tmp_path)


def assert_same(first: DazleTrainer, second: DazleTrainer) -> None:
    assert all(torch.equal(p, second.weights()[key]) for key, p in first.weights().items())
    others = second.optimizer.state_dict()["state"]
    for index, state in first.optimizer.state_dict()["state"].items():
        assert state.keys() >= {"square_avg", "momentum_buffer"}
        assert all(torch.equal(value, others[index][key]) for key, value in state.items())
    assert torch.equal(first.generator.get_state(), second.generator.get_state())


# ---- training ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sampling", "options"), [("random", dazle_options()), ("class_balanced", dazle_options()), ("random", CONVOLUTION)]
)
@pytest.mark.parametrize("stop_after", [1, 4, 6])
def test_a_stopped_run_continues_bit_for_bit(region_file, tmp_path, sampling, options, stop_after) -> None:
    settings = replace(SETTINGS, sampling=sampling)
    straight = build(region_file, settings, options=options)
    expected = run(straight, tmp_path / "straight")
    first = build(region_file, settings, options=options)
    with pytest.raises(Interrupted):
        run(first, tmp_path / "stopped", stop_after=stop_after)
    assert 4 * first.epoch + first.position == stop_after
    resumed = build(region_file, settings, seed=99, options=options)  # whatever it starts from, the checkpoint replaces
    assert without_times(run(resumed, tmp_path / "stopped")) == without_times(expected)
    assert_same(straight, resumed)
    if options.is_conv:
        assert resumed.weights()["normalization.num_batches_tracked"] == 3 * 4


@pytest.mark.parametrize(
    ("part", "value"), [("generator", torch.zeros(3, dtype=torch.uint8)), ("networks", {}), ("optimizers", {})]
)
def test_a_checkpoint_with_a_wrong_value_is_refused(region_file, tmp_path, part, value) -> None:
    trainer, folder = build(region_file), RunFolder(tmp_path / "run", "digest")
    trainer.train_epoch(lambda: trainer.position < 2)
    folder.save_checkpoint(trainer.state_dict())
    resume(build(region_file), folder, 3)
    folder.save_checkpoint(trainer.state_dict() | {part: value})
    with pytest.raises(InputError, match=r"checkpoint\.pt"):
        resume(build(region_file), folder, 3)


def test_an_epoch_ended_early_is_continued_by_the_next_call(region_file) -> None:
    straight, pieces = build(region_file), build(region_file)
    expected = straight.train_epoch(lambda: True)
    for _ in range(4):
        assert pieces.train_epoch(lambda: False) is None
    assert pieces.train_epoch(lambda: True) == expected
    assert_same(straight, pieces)


@pytest.mark.parametrize("options", [dazle_options(), CONVOLUTION])
def test_evaluating_does_not_change_the_training(region_file, options) -> None:
    often, never = build(region_file, options=options), build(region_file, options=options)
    for _ in range(2):
        often.train_epoch(lambda: True)
        assert often.evaluate().metrics == often.evaluate().metrics
        assert often.networks.training
        never.train_epoch(lambda: True)
    assert_same(often, never)


def test_scores_are_those_of_eval_mode_whatever_images_come_along(region_file) -> None:
    trainer = build(region_file, options=CONVOLUTION)
    trainer.train_epoch(lambda: True)
    rows = trainer.data.rows["test_unseen"]
    together, alone = trainer.scores(rows), torch.cat([trainer.scores(row[None]) for row in rows])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)
    maps = torch.from_numpy(trainer.data.regions.read(rows.numpy()).astype(np.float32)).flatten(2).transpose(1, 2)
    torch.testing.assert_close(trainer.networks.eval()(maps, trainer.attributes).scores, together, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(trainer.networks.train()(maps, trainer.attributes).scores, together, rtol=1e-2)


def test_an_evaluation_that_fails_leaves_train_mode_behind(region_file) -> None:
    trainer = build(region_file, options=CONVOLUTION)
    with pytest.raises(IndexError):
        trainer.scores(torch.tensor([10**6]))
    assert trainer.networks.training


def test_maps_in_memory_train_the_same_model(region_file) -> None:
    streamed, cached = build(region_file), build(region_file, cached=True)
    for trainer in (streamed, cached):
        trainer.train_epoch(lambda: True)
    assert_same(streamed, cached)
    assert streamed.evaluate().metrics == cached.evaluate().metrics


def test_a_step_is_the_published_one_on_the_batch_that_was_drawn(region_file) -> None:
    """Two epochs against RMSprop written out by hand, batches drawn again and read from the file as a whole."""
    trainer = build(region_file, replace(SETTINGS, lambda_=0.3, bias=0.7))
    data, n = trainer.data, 8
    weights = {name: p.detach().clone().requires_grad_() for name, p in trainer.networks.named_parameters()}
    squares = {name: torch.zeros_like(p) for name, p in weights.items()}
    momenta = {name: torch.zeros_like(p) for name, p in weights.items()}
    model = Dazle(data.word_vectors, ATTRIBUTES, FEATURES, grid=GRID)
    drawn = islice(random_batches(36, 10, stream(4, BATCHES)), n)
    losses = []
    for batch in drawn:
        rows = data.rows["train"][batch].numpy()
        maps = torch.from_numpy(data.regions.read(rows).astype(np.float32)).flatten(2).transpose(1, 2)
        scores = torch.func.functional_call(model, weights, (maps, data.attributes)).scores
        cross_entropy = torch.nn.functional.cross_entropy(scores, data.train.labels[batch])
        probabilities = (scores + 0.7 * torch.tensor([-1.0] * SEEN + [1.0] * UNSEEN)).softmax(dim=1)
        calibration = -probabilities[:, SEEN:].sum(dim=1).mean().log()
        losses.append((cross_entropy.item(), calibration.item()))
        gradients = torch.autograd.grad(cross_entropy + 0.3 * calibration, weights.values())
        for (name, p), gradient in zip(weights.items(), gradients):
            gradient = gradient + 1e-4 * p.detach()
            squares[name] = 0.99 * squares[name] + 0.01 * gradient**2
            momenta[name] = 0.9 * momenta[name] + gradient / (squares[name].sqrt() + 1e-8)
            p.data -= 1e-3 * momenta[name]
    found = [trainer.train_epoch(lambda: True) for _ in range(2)]
    for name, parameter in trainer.networks.named_parameters():
        torch.testing.assert_close(parameter, weights[name], rtol=1e-4, atol=1e-5)
    for epoch, means in enumerate(found):
        expected = np.mean(losses[4 * epoch : 4 * epoch + 4], axis=0)
        assert [means["cross_entropy"], means["self_calibration"]] == pytest.approx(expected, rel=1e-4)


def test_training_learns(region_file) -> None:
    trainer = build(region_file, replace(SETTINGS, lr=2e-3))
    losses = [trainer.train_epoch(lambda: True)["cross_entropy"] for _ in range(30)]
    assert losses[-1] < losses[0] / 3
    record = trainer.evaluate().metrics
    assert record["gzsl"]["acc_seen"][0] > 0.5 and record["zsl"]["acc"][0] > 0.5  # chance: 1/9 and 1/3


def test_seen_classes_alone_may_compete(region_file) -> None:
    """Then unseen classes get no gradient but that of self-calibration."""
    trainer = build(region_file, replace(SETTINGS, is_conservative=False, lambda_=0.0))
    expected = trainer.train_epoch(lambda: False) or trainer.mean_losses()["cross_entropy"]
    fresh = build(region_file)
    batch = next(random_batches(36, 10, stream(4, BATCHES)))
    scores = fresh.scores(fresh.data.rows["train"][batch])[:, :SEEN]
    labels = fresh.data.train.labels[batch]
    assert expected == pytest.approx(torch.nn.functional.cross_entropy(scores, labels).item(), rel=1e-5)


@pytest.mark.parametrize("conservative", [True, False])
def test_rank_loss_takes_the_place_of_cross_entropy_with_the_margin(region_file, conservative) -> None:
    """Against seen classes the margin is on both sides, against unseen ones it is to be overcome twice."""
    settings = replace(SETTINGS, loss_type="rank", bias=0.7, is_conservative=conservative)
    trainer, fresh = build(region_file, settings), build(region_file)
    assert trainer.train_epoch(lambda: False) is None
    losses = trainer.mean_losses()
    assert losses.keys() == {"rank", "self_calibration"}
    batch = next(random_batches(36, 10, stream(4, BATCHES)))
    labels = fresh.data.train.labels[batch].tolist()
    terms = [
        max(0.0, 1 - (row[label] - s) + (1.4 if k >= SEEN else 0))
        for row, label in zip(fresh.scores(fresh.data.rows["train"][batch]).tolist(), labels)
        for k, s in enumerate(row)
        if conservative or k < SEEN
    ]
    assert losses["rank"] == pytest.approx(sum(terms) / len(terms), rel=1e-5)


def test_a_loss_that_is_not_finite_stops_the_run_and_is_named(region_file, tmp_path) -> None:
    trainer = build(region_file)
    with torch.no_grad():
        trainer.networks.score.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match=r"the \w+ loss became nan in epoch 0"):
        run(trainer, tmp_path / "run")


def test_an_epoch_may_be_any_number_of_iterations(region_file) -> None:
    assert build(region_file).iterations_per_epoch == 4  # ⌈36 / 10⌉
    trainer, count = build(region_file, replace(SETTINGS, iterations_per_epoch=7)), []
    trainer.train_epoch(lambda: not count.append(1))
    assert len(count) == 7 and trainer.epoch == 1


# ---- samplers ------------------------------------------------------------------------------------------------------------


def test_random_batches_have_every_sample_equally_often_and_none_twice() -> None:
    counts = Counter()
    for batch in islice(random_batches(20, 5, torch.Generator().manual_seed(0)), 4000):
        assert len(set(batch.tolist())) == 5
        counts.update(batch.tolist())
    assert set(counts) == set(range(20))
    assert all(abs(count - 1000) < 5 * 27.4 for count in counts.values())  # binomial sd of 4000 draws at 1/4


@pytest.mark.parametrize(("batch_size", "n_classes", "per_class"), [(3, 3, 1), (4, 4, 1), (5, 4, 1), (8, 4, 2), (11, 4, 2)])
def test_class_balanced_batches(batch_size: int, n_classes: int, per_class: int) -> None:
    """Four classes of very different sizes: as many samples of each, classes drawn evenly, samples evenly within them."""
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([7] * 2 + [1] * 3 + [4] * 10 + [9] * 25)[order]
    classes, samples, n = Counter(), Counter(), 3000
    for batch in islice(class_balanced_batches(labels, batch_size, torch.Generator().manual_seed(2)), n):
        found = Counter(labels[batch].tolist())
        assert len(found) == n_classes and set(found.values()) == {per_class}
        assert len(set(batch.tolist())) == len(batch)
        classes.update(found.keys())
        samples.update(batch.tolist())
    for label in (1, 4, 7, 9):
        share = n_classes / 4
        assert abs(classes[label] - n * share) <= 5 * (n * share * (1 - share)) ** 0.5
        members = (labels == label).nonzero().flatten().tolist()
        p = share * per_class / len(members)
        assert all(abs(samples[member] - n * p) <= 5 * (n * p * (1 - p)) ** 0.5 for member in members)


def test_a_class_with_few_samples_gives_all_it_has() -> None:
    labels = torch.tensor([0, 1, 1, 1, 1, 1])
    for batch in islice(class_balanced_batches(labels, 6, torch.Generator().manual_seed(2)), 20):
        assert Counter(labels[batch].tolist()) == {0: 1, 1: 3}


# ---- evaluation ----------------------------------------------------------------------------------------------------------


def naive_accuracy(labels: list[int], predictions: list[int], classes: list[int]) -> float:
    shares = []
    for label in classes:
        mine = [p == y for y, p in zip(labels, predictions) if y == label]
        shares.append(sum(mine) / len(mine))
    return sum(shares) / len(shares)


@pytest.mark.parametrize("stage", ["test", "validation"])
def test_evaluation_is_a_loop_over_images(region_file, stage) -> None:
    trainer = build(region_file, replace(SETTINGS, bias=0.05), stage=stage)
    trainer.train_epoch(lambda: True)
    data = trainer.data
    found = trainer.evaluate(keep=[0], constant=0.03)
    seen, unseen = data.seen_classes.tolist(), data.unseen_classes.tolist()
    labels, zsl, gzsl, calibrated = [], [], [], []
    for side in ("test_seen", "test_unseen"):
        for row, label in zip(data.rows[side].tolist(), getattr(data, side).labels.tolist()):
            maps = torch.from_numpy(data.regions.read(np.array([row])).astype(np.float32)).flatten(2).transpose(1, 2)
            scores = trainer.networks(maps, data.attributes).scores[0].tolist()
            with_margin = {k: scores[k] - 0.05 for k in seen} | {k: scores[k] + 0.05 for k in unseen}
            shifted = {k: s - 0.03 * (k in seen) for k, s in with_margin.items()}
            labels.append(label)
            zsl.append(max(unseen, key=scores.__getitem__))
            gzsl.append(max(with_margin, key=with_margin.get))
            calibrated.append(max(shifted, key=shifted.get))
    n = len(data.test_seen)
    assert found.metrics["zsl"] == {"acc": [pytest.approx(naive_accuracy(labels[n:], zsl[n:], unseen))]}
    for group, predictions in (("gzsl", gzsl), ("calibrated", calibrated)):
        record = found.metrics[group]
        assert record["acc_seen"] == [pytest.approx(naive_accuracy(labels, predictions, seen))]
        assert record["acc_unseen"] == [pytest.approx(naive_accuracy(labels, predictions, unseen))]
    assert ("constant" in found.metrics["gzsl"]) == (stage == "validation")
    pairs = Counter(zip(labels, gzsl))
    classes = sorted(seen + unseen)
    assert found.snapshots[0].arrays["gzsl_confusion"].tolist() == [[pairs[a, b] for b in classes] for a in classes]
    assert found.snapshots[0].arrays["zsl_confusion"].sum() == len(data.test_unseen)


def test_the_margin_and_self_calibration_trade_seen_for_unseen(region_file) -> None:
    plain, calibrated = (build(region_file, replace(SETTINGS, lr=2e-3, bias=0.0, lambda_=weight)) for weight in (0.0, 1.0))
    for trainer in (plain, calibrated):
        for _ in range(30):
            trainer.train_epoch(lambda: True)
    found = {"plain": plain.evaluate().metrics["gzsl"], "calibrated": calibrated.evaluate().metrics["gzsl"]}
    for margin in (2.0, 4.0, 20.0):
        plain.margins = margin * plain.margins.new_tensor([-1.0] * SEEN + [1.0] * UNSEEN)
        found[margin] = plain.evaluate().metrics["gzsl"]
    seen, unseen = ({name: record[key][0] for name, record in found.items()} for key in ("acc_seen", "acc_unseen"))
    assert unseen["calibrated"] > unseen["plain"] and seen["calibrated"] < seen["plain"]
    order = ("plain", 2.0, 4.0, 20.0)
    assert [unseen[name] for name in order] == sorted(unseen[name] for name in order) and unseen["plain"] < unseen[20.0]
    assert [seen[name] for name in order] == sorted((seen[name] for name in order), reverse=True) and seen[20.0] == 0


def test_without_seen_test_samples_there_is_nothing_generalized(tmp_path) -> None:
    data = read_region_maps(write_regions(tmp_path), standard_split=True).stage("test")
    trainer = DazleTrainer(Dazle(None, ATTRIBUTES, FEATURES, grid=GRID), data, SETTINGS, CPU)
    found = trainer.evaluate(keep=[0])
    assert found.metrics.keys() == {"zsl"} and found.snapshots.keys() == {0}
    snapshot = found.snapshots[0]
    assert snapshot.arrays.keys() == {"zsl_confusion"} and snapshot.predictions.keys() == {"zsl"} and not snapshot.heads


# ---- refusals ------------------------------------------------------------------------------------------------------------


def test_a_batch_larger_than_the_data_is_refused(region_file) -> None:
    for sampling in ("random", "class_balanced"):
        with pytest.raises(InputError, match=r"--batch_size: .*36 training samples.*got 37"):
            build(region_file, replace(SETTINGS, batch_size=37, sampling=sampling))


def test_maps_that_do_not_fit_into_memory_are_refused(region_file, monkeypatch) -> None:
    monkeypatch.setattr("zslab.dazle.region_loader.free_memory", lambda device: 2 * 72 * FEATURES * 9 * 2 // 2)
    with pytest.raises(InputError, match="--cache memory: .*got .* for 72 images"):
        build(region_file, cached=True)


def test_regions_of_another_grid_are_refused(region_file) -> None:
    data = read_region_maps(region_file).stage("test")
    with pytest.raises(InputError, match="the region maps: .*7 × 7 regions of 12 features.*got 9 of 12"):
        DazleTrainer(Dazle(None, ATTRIBUTES, FEATURES), data, SETTINGS, CPU).evaluate()


# ---- the tree ------------------------------------------------------------------------------------------------------------

SCRIPTS = PROJECT / "zero-shot-images" / "image-scripts"
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(PROJECT)}

# The settings of the paper, spec by spec.
# fmt: off
COMMON = dict(
    lr=1e-4, batch_size=50, manualSeed=214, loss_type="CE", is_conservative=True, is_bias=True, bias=1, lambda_=0.1,
    normalize_F=True, trainable_w2v=True, w2v=True, uniform_att_1=False, is_sigmoid=False, non_linear_act=False,
    non_linear_emb=False, is_conv=False, eval_every=1, weight_decay=1e-4,
)
PUBLISHED = {
    "cub": dict(
        dataset="CUB", nepoch=20, sampling="random", momentum=0.9, normalize_V=False, uniform_att_2=False, att_change="none",
        iterations_per_epoch=0,
    ),
    "awa": dict(
        dataset="AWA2", nepoch=20, sampling="class_balanced", momentum=0, normalize_V=True, uniform_att_2=False,
        att_change="negative_to_zero", iterations_per_epoch=0,
    ),
    "sun": dict(
        dataset="SUN", nepoch=100, sampling="class_balanced", momentum=0.9, normalize_V=False, uniform_att_2=True,
        att_change="none", iterations_per_epoch=0,
    ),
    "deepfashion": dict(
        dataset="DeepFashion", iterations_per_epoch=200, sampling="class_balanced", momentum=0.9, normalize_V=False,
        uniform_att_2=False, att_change="to_unit_interval", drop_absent_classes=True,
    ),
}
# fmt: on


@pytest.mark.parametrize("name", PUBLISHED)
def test_launchers_pass_the_published_settings(name: str) -> None:
    launcher = load_launcher(SCRIPTS / f"run_{name}_dazle.py")
    assert launcher.script == "train_dazle"
    config, expected = launcher.config(), COMMON | PUBLISHED[name]
    assert {key: getattr(config, key) for key in expected} == expected


def test_the_standard_split_has_its_own_settings() -> None:
    (run,) = load_launcher(SCRIPTS / "run_cub_dazle.py").parse(["--standard_split", "--nepoch", "3"])[1]
    config = run.config
    assert (config.weight_decay, config.standard_split, config.nepoch) == (5e-5, True, 3)
    assert config.split_file == Path("standard_split/att_splits.mat")


def test_the_margin_is_off_without_bias() -> None:
    assert dazle(bias=8).margin == 8 and dazle(bias=8, is_bias=False).margin == 0


FLAGS = ["--dataset", "TINY", "--image_embedding", "regions", "--device", "cpu"]
FLAGS += ["--nepoch", "3", "--batch_size", "10", "--lr", "0.001"]


def parsed(images, root: Path, *arguments: str):
    """The config of a run in this process."""
    place = ["--dataroot", str(root), "--output", str(root / "runs")]
    return parse_config(dazle(), [*FLAGS, *place, *arguments], "train_dazle.py", "")


def test_the_real_command_from_region_maps_to_report(region_file, tmp_path) -> None:
    script = PROJECT / "zero-shot-images" / "train_dazle.py"
    words = [*FLAGS, "--dataroot", str(tmp_path), "--output", str(tmp_path / "runs"), "--select", "val"]
    done = subprocess.run([sys.executable, str(script), *words], capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "runs").glob("*-seed*")
    assert folder.name.startswith("TINY-regions-att-dazle-seed214-")
    for name in ("report.html", "result.json", "model_last.safetensors", "model_val.safetensors", "validation/metrics.jsonl"):
        assert (folder / name).stat().st_size > 0, name
    result = json.loads((folder / "result.json").read_text())
    assert (result["method"], result["data"]["feature_dim"], result["data"]["counts"]["trainval"]) == ("dazle", FEATURES, 36)
    rows = read_rows(folder)
    assert list(rows) == ["paper", "val", "val + calibration", "last", *BASELINE_ROWS]
    assert rows["last"].T1_at == Choice(2)
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert len(records) == 3 and len(records[0]["metrics"]["gzsl"]["H"]) == 1
    assert max(record["metrics"]["gzsl"]["H"][0] for record in records) == rows["paper"].H
    assert "head epoch" not in done.stdout and "head epoch" not in (folder / "report.html").read_text()
    weights = load_file(folder / "model_last.safetensors")
    assert weights.keys() == {"vectors", "score", "attention", "importance"}
    plots = {path.stem for path in (folder / "plots").iterdir()}
    assert {"accuracy", "accuracy_validation", "curve", "losses", "per_class"} <= plots
    assert not plots & {"lambda1", "projection", "wasserstein"}


def test_the_standard_split_has_zero_shot_accuracy_alone(tmp_path, images, capsys) -> None:
    write_regions(tmp_path)
    assert train(parsed(images, tmp_path, "--standard_split", "--select", "val"), images.train_dazle.METHOD) == 0
    (folder,) = (tmp_path / "runs").glob("*-seed*")
    rows = read_rows(folder)
    assert list(rows) == ["paper", "val", "last"]
    assert all(row.H is None and row.acc_seen is None and row.T1 is not None for row in rows.values())
    t1 = [record.values("zsl", "acc")[0] for record in read_records(folder / "validation/metrics.jsonl")]
    assert max(t1) == t1[rows["val"].T1_at.epoch]
    plots = {path.stem for path in (folder / "plots").iterdir()}
    assert "accuracy" in plots and "curve" not in plots and "confusion_gzsl" not in plots
    assert "T1" in capsys.readouterr().out


def test_seeds_run_through_the_launcher_and_are_summarized(region_file, tmp_path) -> None:
    words = ["--seeds", "1", "2", "--workers", "2", "--no_report"]
    words += ["--dataroot", str(tmp_path), "--output", str(tmp_path / "runs")]
    launcher = load_launcher(PROJECT / "zero-shot-images" / "image-scripts" / "run_cub_dazle.py")
    assert launch(launcher, [*FLAGS, *words]) == 0
    (collected,) = (tmp_path / "runs").glob("*/runs.json")
    assert [record["repeat"] for record in json.loads(collected.read_text())] == [{"manualSeed": 1}, {"manualSeed": 2}]


@pytest.mark.parametrize(
    ("changes", "arguments", "words"),
    [
        ({}, ["--image_embedding", "nothing"], "nothing.hdf5: "),
        ({}, ["--batch_size", "1000"], "--batch_size: .*1000"),
        ({}, ["--nepoch", "0"], "--nepoch: the number must"),
        ({}, ["--is_conv", "--cache", "memory", "--batch_size", "1000"], "--batch_size: .*1000"),
        ({}, ["--lambda_", "-1"], "--lambda_: the number must"),
        ({"w2v_att": np.ones((4, 7), dtype=np.float32)}, [], "regions.hdf5"),
        ({"w2v_att": np.zeros((5, 7), dtype=np.float32)}, [], "w2v_att: "),
    ],
)
def test_what_cannot_be_is_one_line(tmp_path, images, capsys, changes, arguments, words) -> None:
    write_regions(tmp_path, **changes)
    assert train(parsed(images, tmp_path, *arguments), images.train_dazle.METHOD) == 1
    error = capsys.readouterr().err
    assert re.search(words, error) and error.startswith("error: ") and error.count("\n") == 1, error
