"""Training and measuring on a fake GPU: nothing is on the wrong device, nothing is read back, and iterations can be
recorded as CUDA graphs; every number is that of the CPU."""

import gc
import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from weakref import ref

import pytest
import torch

from zslab.app.predictor import Predictor
from zslab.config import RunConfig
from zslab.protocol.loop import Interrupted
from zslab.results.record import read_records
from zslab.shared.gate import EntropyDetector, GatedClassifier
from zslab.shared.heads import SoftmaxHead
from zslab.tfvaegan.steps import iteration
from zslab.tfvaegan.trainer import TfvaeganTrainer
from zslab.utils.cuda_graphs import Replay, capture_cuda

from helpers import configs, dazle_trainer
from helpers.action_features import write_features
from helpers.commands import train as train_method
from helpers.fake_cuda import DEVICE, FakeCuda, Graph, OnGpu, fake_cuda
from helpers.interruptible import run, without_times
from helpers.project import tree_modules
from helpers.tfvaegan_trainer import CONFIG, build
from helpers.tiny import write_tiny


@contextmanager
def deterministic() -> Iterator[None]:
    """What --deterministic does to the process, inside only."""
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


def test_numbers_on_it_are_those_of_the_cpu() -> None:
    x = torch.rand(3, 4)
    with fake_cuda():
        y = x.to(DEVICE)
        assert isinstance(y, OnGpu) and y.device == DEVICE
        assert (y @ y.T).cpu().equal(x @ x.T) and y.sum().item() == x.sum().item()


def test_it_refuses_what_a_gpu_refuses() -> None:
    """Otherwise the tests below could not fail."""
    with fake_cuda() as gpu:
        x, generator = torch.ones(3, device=DEVICE), torch.Generator(DEVICE)
        with pytest.raises(RuntimeError, match="both devices"):
            x + torch.ones(3)
        for forbidden in (
            lambda: x.sum().item(),
            lambda: x.cpu(),
            lambda: x.copy_(torch.ones(3)),
            lambda: x[x > 0],
            lambda: torch.rand(3, generator=torch.Generator(DEVICE), device=DEVICE),
        ):
            forbidden()
            with pytest.raises(RuntimeError), gpu.record(Graph()):
                forbidden()
        graph = Graph()
        graph.register_generator_state(generator)
        with pytest.raises(RuntimeError, match="capturing"), gpu.record(graph):
            x.sum().item()
        with pytest.raises(RuntimeError, match="unexpectedly"):
            torch.rand(3, generator=generator, device=DEVICE)
        with deterministic(), pytest.raises(RuntimeError, match="deterministic"):
            x.cumsum(0)


def test_a_replay_repeats_operations_and_not_python() -> None:
    with fake_cuda():
        generator, total, factor = torch.Generator(DEVICE), torch.zeros(2, device=DEVICE), 1.0
        generator.manual_seed(1)

        def work():
            total.add_(factor * torch.rand(2, generator=generator, device=DEVICE))
            return {"total": total.sum()}

        replay = capture_cuda(work, generator)
        generator.manual_seed(1)
        total.zero_()
        expected, factor = torch.rand(2, generator=torch.Generator().manual_seed(1)), 100.0
        found = replay()["total"]
        assert total.cpu().equal(expected) and found.item() == expected.sum().item()
        replay()
        assert found.item() > expected.sum().item()  # filled anew


def test_a_replay_keeps_what_its_graph_uses(tiny, monkeypatch) -> None:
    """A graph knows addresses alone: on a GPU, memory that nothing else refers to is given to the next tensor."""
    monkeypatch.setattr("zslab.tfvaegan.trainer.can_capture", lambda device: device == DEVICE)
    with fake_cuda():
        trainer = build(tiny, device=DEVICE)
        networks, replay = ref(trainer.state.networks), trainer.step(feedback_active=True)
        del trainer
        gc.collect()
        assert isinstance(replay, Replay) and networks() is not None
        replay()
        del replay
        gc.collect()
        assert networks() is None


# ---- training ------------------------------------------------------------------------------------------------------------

VARIANTS = {
    "default": {},
    "noise": {"encoded_noise": False, "stale_feedback": True},
    "frozen": {"freeze_dec": True},
    "sigmoid": {"bce_att": True},
    "transductive": {},
    "labels": {"unseen_prior": "labels"},
    "f-vaegan": {"recons_weight": 0.0, "feedback_loop": 1},
}


def assert_equal_to_the_cpus(on_gpu: TfvaeganTrainer, on_cpu: TfvaeganTrainer) -> None:
    for (key, found), expected in zip(on_gpu.state.tensors().items(), on_cpu.state.tensors().values(), strict=True):
        assert isinstance(found, OnGpu) and found.cpu().equal(expected), key


def train_on_both(tiny, variant: str) -> tuple[FakeCuda, int]:
    """Two epochs on the CPU and on the GPU, held to each other; returns the GPU and the number of its iterations."""
    transductive, config = variant in ("transductive", "labels"), replace(CONFIG, **VARIANTS[variant])
    on_cpu = build(tiny, transductive, config)
    expected = [on_cpu.train_epoch(lambda: True) for _ in range(2)]
    with fake_cuda() as gpu:
        trainer = build(tiny, transductive, config, DEVICE)
        for feedback_active in range(config.feedback_loop):
            trainer.step(bool(feedback_active))  # where it is to be recorded, that reads and copies
        gpu.counts.clear()
        found = []
        for _ in range(2):
            found.append(trainer.train_epoch(lambda: True))
            # The epoch's mean losses, a number each, are all that was read; "vae" is a sum of two.
            assert gpu.counts.pop("reads") == len(found[-1]) - 1 and not gpu.counts.pop("copies")
        assert found == expected
        assert_equal_to_the_cpus(trainer, on_cpu)
    return gpu, 2 * on_cpu.iterations_per_epoch


@pytest.mark.parametrize("variant", VARIANTS)
def test_training_stays_on_the_device(tiny, variant) -> None:
    train_on_both(tiny, variant)


@pytest.mark.parametrize("variant", VARIANTS)
def test_iterations_can_be_recorded(tiny, monkeypatch, caplog, variant) -> None:
    monkeypatch.setattr("zslab.tfvaegan.trainer.can_capture", lambda device: device == DEVICE)
    gpu, n_iterations = train_on_both(tiny, variant)
    assert gpu.counts["replays"] == n_iterations and not caplog.records


def test_what_cannot_be_recorded_runs_all_the_same(tiny, monkeypatch, caplog) -> None:
    monkeypatch.setattr("zslab.tfvaegan.trainer.can_capture", lambda device: device == DEVICE)

    def reading(*args):
        losses = iteration(*args)
        assert losses["critic"].isfinite()
        return losses

    monkeypatch.setattr("zslab.tfvaegan.trainer.iteration", reading)
    on_cpu = build(tiny)
    expected = on_cpu.train_epoch(lambda: True)
    with fake_cuda() as gpu:
        trainer = build(tiny, device=DEVICE)
        assert trainer.train_epoch(lambda: True) == expected
        assert_equal_to_the_cpus(trainer, on_cpu)
    assert not gpu.counts["replays"]
    assert ["stream is capturing" in record.getMessage() for record in caplog.records] == [True, True]


# ---- heads, evaluation, DAZLE --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [5, 12, 20, 24, 50])  # less than a batch, one, less than two, two, and a rest
def test_a_heads_steps_can_be_recorded(monkeypatch, caplog, n) -> None:
    torch.manual_seed(0)
    features, labels = torch.rand(n, 6), torch.arange(n) % 4
    expected = SoftmaxHead(epochs=3, batch_size=12).fit(features, labels, torch.Generator().manual_seed(1))
    monkeypatch.setattr("zslab.shared.heads.can_capture", lambda device: device == DEVICE)
    with fake_cuda() as gpu:
        generator = torch.Generator(DEVICE).manual_seed(1)
        head = SoftmaxHead(epochs=3, batch_size=12)
        epochs = head.fit_epochs(features.to(DEVICE), labels.to(DEVICE), generator)
        next(epochs)
        gpu.counts.clear()
        assert sum(1 for _ in epochs) == 2
        assert gpu.counts == {"replays": 2 * (n // min(12, n)), "reads": 0, "copies": 0}
        assert head.weight_.cpu().equal(expected.weight_) and head.bias_.cpu().equal(expected.bias_)
    assert not caplog.records


def plain(x: dict) -> dict:
    return {key: plain(value) if isinstance(value, dict) else value.cpu().tolist() for key, value in x.items()}


@pytest.mark.parametrize("gated", [False, True])
def test_evaluation_finds_the_same(tiny, gated) -> None:
    def evaluation(device: torch.device):
        trainer = build(tiny, device=device)
        if gated:
            detector = EntropyDetector(epochs=2, batch_size=7, hidden_dim=6)
            trainer.gzsl = GatedClassifier(detector, SoftmaxHead(epochs=2, batch_size=5), trainer.zsl_head)
        found = trainer.evaluate(keep=[0, 1])
        return found.metrics, {epoch: plain(vars(snapshot)) for epoch, snapshot in found.snapshots.items()}

    expected = evaluation(torch.device("cpu"))
    with fake_cuda():
        assert evaluation(DEVICE) == expected
        with deterministic():
            assert evaluation(DEVICE) == expected


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("cached", [False, True])
def test_dazle_trains_and_scores_the_same(tmp_path, monkeypatch, caplog, cached, recorded) -> None:
    path = dazle_trainer.write_regions(tmp_path)
    on_cpu = dazle_trainer.build(path, cached=cached)
    expected = [on_cpu.train_epoch(lambda: True) for _ in range(2)], on_cpu.evaluate().metrics
    monkeypatch.setattr("zslab.dazle.trainer.can_capture", lambda device: recorded and device == DEVICE)
    monkeypatch.setattr("zslab.data.region_file.ThreadPoolExecutor", AtOnce)  # a fake GPU is its thread's alone
    with fake_cuda() as gpu:
        on_gpu = dazle_trainer.build(path, cached=cached, device=DEVICE)
        losses = [on_gpu.train_epoch(lambda: True)]  # the first full batch is recorded, which reads
        gpu.counts.clear()
        losses.append(on_gpu.train_epoch(lambda: True))
        assert gpu.counts["reads"] == len(losses[1])  # the epoch's mean losses
        assert gpu.counts["replays"] == (4 if recorded else 0)
        assert not caplog.records
        for state, other in zip(on_gpu.optimizer.state.values(), on_cpu.optimizer.state.values(), strict=True):
            assert all(state[key].cpu().equal(other[key]) for key in other)
        assert (losses, on_gpu.evaluate().metrics) == expected
        for key, value in on_gpu.weights().items():
            assert isinstance(value, OnGpu) and value.cpu().equal(on_cpu.weights()[key]), key


class AtOnce:
    """A pool that works when it is asked, in the caller's thread."""

    def __init__(self, *args: object):
        pass

    def submit(self, function: Callable, *args: object) -> Future:
        future = Future()
        future.set_result(function(*args))
        return future

    def shutdown(self, **options: object) -> None:
        pass


# ---- whole runs ----------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*meta parameter")  # PyTorch takes the device's name at its word
def test_a_stopped_run_continues_bit_for_bit(tiny, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("zslab.tfvaegan.trainer.can_capture", lambda device: device == DEVICE)
    on_cpu = build(tiny)
    expected = run(on_cpu, tmp_path / "straight")
    with fake_cuda():
        with pytest.raises(Interrupted):
            run(build(tiny, device=DEVICE), tmp_path / "stopped", stop_after=11)
        resumed = build(tiny, device=DEVICE)
        assert without_times(run(resumed, tmp_path / "stopped")) == without_times(expected)
        assert_equal_to_the_cpus(resumed, on_cpu)


def train(tree: str, module: str, config: RunConfig) -> dict:
    """What a training leaves, run in this process: rows and records."""
    with tree_modules(tree) as load:
        assert train_method(config, load(module).METHOD) == 0, "see the captured stderr"
    (folder,) = (path.parent for path in config.output.glob("*/result.json"))
    return {
        "rows": json.loads((folder / "result.json").read_text())["rows"],
        "records": without_times(read_records(folder / "metrics.jsonl")),
    }


TFVAEGAN = {
    **{"ngh": 8, "ndh": 8, "nepoch": 2, "batch_size": 10, "critic_iter": 2, "syn_num": 5, "classifier_epochs": 3},
    **{"deterministic": True, "report": False},
}
IMAGES = {"dataset": "TINY", "image_embedding": "res101", **TFVAEGAN}
GATE = {"dataset": "hmdb_i3d", "split": 1, "nz": 4, "ood_threshold": "val", "ood_epochs": 2, "select": "val", **TFVAEGAN}
DAZLE = {"dataset": "TINY", "image_embedding": "regions", "nepoch": 2, "batch_size": 10, "deterministic": True, "report": False}
RUNS = {
    "inductive": ("zero-shot-images", "train_tfvaegan_inductive", configs.tfvaegan(**IMAGES, select="val")),
    "transductive": ("zero-shot-images", "train_tfvaegan_inductive", configs.tfvaegan(**IMAGES, transductive=True)),
    "gate": ("zero-shot-actions", "train_tfvaegan", configs.actions(**GATE)),
    "dazle": ("zero-shot-images", "train_dazle", configs.dazle(**DAZLE, select="val")),
}


@pytest.mark.parametrize("name", RUNS)
def test_a_whole_run_reports_what_it_reports_on_the_cpu(tmp_path, monkeypatch, name) -> None:
    tree, module, config = RUNS[name]
    root = tmp_path / "data"
    write_tiny(root)
    dazle_trainer.write_regions(root)
    write_features(root / "hmdb_i3d")
    with tree_modules("zero-shot-actions"):
        from zslab.features import splits_command as splits

        splits.make_splits(
            splits.SplitsConfig(dataset="hmdb_i3d", dataroot=root, class_vectors=root / "hmdb_i3d" / "vectors.npy", splits="1")
        )
    with deterministic():
        expected = train(tree, module, replace(config, dataroot=root, output=tmp_path / "cpu"))
    for name in ("zslab.experiment", "zslab.plan"):
        monkeypatch.setattr(f"{name}.resolve_device", lambda device: DEVICE)
    for name in ("zslab.tfvaegan.trainer", "zslab.dazle.trainer", "zslab.shared.heads"):
        monkeypatch.setattr(f"{name}.can_capture", lambda device: device == DEVICE)
    monkeypatch.setattr("zslab.data.region_file.ThreadPoolExecutor", AtOnce)
    with deterministic(), fake_cuda() as gpu:
        found = train(tree, module, replace(config, dataroot=root, output=tmp_path / "gpu", device="cuda"))
    assert found == expected
    assert gpu.counts["replays"] > 0


# ---- exported models ---------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*meta parameter")
@pytest.mark.parametrize("method", ["tfvaegan", "dazle"])
def test_an_exported_model_predicts_the_same(birds, monkeypatch, method) -> None:
    """Also of a class that is added, for which TF-VAEGAN synthesizes features and trains its heads again."""
    names = Predictor.load(birds.models[method], device="cpu").attribute_names
    attributes = {name: float(i % 3) for i, name in enumerate(names)}

    def predictions(device: str) -> list:
        predictor = Predictor.load(birds.models[method], device=device)
        predictor.add_class("new", attributes)
        return list(predictor.predict([birds.root / "images" / birds.tested]))

    expected = predictions("cpu")
    monkeypatch.setattr("zslab.app.predictor.resolve_device", lambda device: DEVICE)
    with fake_cuda():
        found = predictions("cuda")
    assert [prediction.to_json() for prediction in found] == [prediction.to_json() for prediction in expected]
    assert len(found) == 6 and not any(prediction.error for prediction in found)
