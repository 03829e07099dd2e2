"""What only a GPU can show: iterations are captured and replayed, and train as on the CPU. Skipped without one."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from zslab.shared.heads import SoftmaxHead

from helpers import dazle_trainer
from helpers.tfvaegan_trainer import CONFIG, build

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
VARIANTS = {
    "default": {},
    "noise": {"encoded_noise": False, "stale_feedback": True},
    "frozen": {"freeze_dec": True},
    "sigmoid": {"bce_att": True},
    "bf16": {"precision": "bf16"},
}


@pytest.mark.parametrize("transductive", [False, True])
@pytest.mark.parametrize("variant", VARIANTS)
def test_iterations_are_captured_and_train_as_without_graphs(tiny, caplog, variant: str, transductive: bool) -> None:
    config = replace(CONFIG, **VARIANTS[variant])
    found, expected = (
        build(tiny, transductive, replace(config, cuda_graphs=graphs), torch.device("cuda")).train_epoch(lambda: True)
        for graphs in (True, False)
    )
    assert not caplog.records, "an iteration runs without a CUDA graph"
    assert found == {name: pytest.approx(loss, rel=1e-2, abs=1e-3) for name, loss in expected.items()}


def test_a_captured_head_is_the_ordinary_one(caplog) -> None:
    device = torch.device("cuda")
    features, labels = torch.rand(50, 6, device=device), torch.arange(50, device=device) % 4
    heads = [
        SoftmaxHead(epochs=3, batch_size=12, cuda_graphs=captured).fit(features, labels, torch.Generator(device).manual_seed(1))
        for captured in (True, False)
    ]
    assert not caplog.records
    torch.testing.assert_close(heads[0].weight_, heads[1].weight_, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("cached", "precision"), [(False, "fp32"), (True, "fp32"), (True, "bf16")])
def test_dazle_is_captured_and_trains_as_on_the_cpu(tmp_path, caplog, cached: bool, precision: str) -> None:
    path = dazle_trainer.write_regions(tmp_path)
    found, expected = (
        dazle_trainer.build(path, cached=cached, device=torch.device(name), precision=precision) for name in ("cuda", "cpu")
    )
    for _ in range(3):
        losses, on_cpu = found.train_epoch(lambda: True), expected.train_epoch(lambda: True)
    assert not caplog.records, "a step runs without a CUDA graph"
    assert losses == {name: pytest.approx(loss, rel=1e-2) for name, loss in on_cpu.items()}
    found.load_state_dict(found.state_dict())
    assert found.train_epoch(lambda: True)


def test_a_replay_outlives_its_trainer(tiny) -> None:
    """The graph writes to addresses: were the trainer's memory freed, other tensors would be overwritten or read."""
    device = torch.device("cuda")
    step = build(tiny, device=device).step(feedback_active=True)
    others = [torch.full_like(torch.empty(1 << size, device=device), size) for size in range(4, 22)]
    for _ in range(3):
        losses = step()
    assert all(loss.isfinite() for loss in losses.values())
    assert all(bool((other == size).all()) for size, other in zip(range(4, 22), others))


DIVERGING = """
import sys, torch
from dataclasses import replace
from pathlib import Path
from helpers.tfvaegan_trainer import CONFIG, build
trainer = build(Path(sys.argv[1]), config=replace(CONFIG, lr=1e4, dec_lr=1e4), device=torch.device("cuda"))
for _ in range(10):
    trainer.train_epoch(lambda: True)
"""


def test_a_training_that_diverges_names_the_loss(tiny) -> None:
    """In a process of its own: after an assertion on the device a process cannot use it any more."""
    tests = Path(__file__).resolve().parents[1]
    path = os.pathsep.join([str(tests), str(tests.parent), os.environ.get("PYTHONPATH", "")])
    command, environment = [sys.executable, "-c", DIVERGING, str(tiny)], os.environ | {"PYTHONPATH": path}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert "FloatingPointError: the reconstruction loss became nan in epoch" in done.stderr
