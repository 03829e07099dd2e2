"""What only a GPU can show: the engines agree on it, and iterations are captured and replayed. Skipped without one."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from zslab.classifiers import SoftmaxHead

from helpers.tfvaegan_trainer import SETTINGS, build

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
VARIANTS = {
    "default": {},
    "noise": {"encoded_noise": False, "stale_feedback": True},
    "frozen": {"freeze_decoder": True},
    "sigmoid": {"attribute_loss": "cross_entropy"},
}


@pytest.mark.parametrize("transductive", [False, True])
@pytest.mark.parametrize("variant", VARIANTS)
def test_engines_agree_and_iterations_are_captured(tiny, caplog, variant: str, transductive: bool) -> None:
    device, losses = torch.device("cuda"), {}
    for engine in ("fast", "eager"):
        trainer = build(tiny, transductive, replace(SETTINGS, **VARIANTS[variant]), device=device, engine=engine)
        losses[engine] = trainer.train_epoch(lambda: True)
    assert not caplog.records, "an iteration runs without a CUDA graph"
    assert losses["fast"] == {name: pytest.approx(loss, rel=1e-2, abs=1e-3) for name, loss in losses["eager"].items()}


def test_a_captured_head_is_the_ordinary_one(caplog) -> None:
    device = torch.device("cuda")
    features, labels = torch.rand(50, 6, device=device), torch.arange(50, device=device) % 4
    heads = [
        SoftmaxHead(epochs=3, batch_size=12, cuda_graphs=captured).fit(features, labels, torch.Generator(device).manual_seed(1))
        for captured in (True, False)
    ]
    assert not caplog.records
    torch.testing.assert_close(heads[0].weight_, heads[1].weight_, rtol=1e-4, atol=1e-5)
