"""The plain port that the benchmark times computes what the engines compute."""

from __future__ import annotations

import pytest
import torch

from zslab.tfvaegan import steps

from helpers.plain_port import PlainTraining, fit_plain_head
from helpers.tfvaegan_state import CPU, PLAIN, Z, build_state, toy_data


@pytest.mark.parametrize("feedback", [False, True])
def test_the_plain_port_is_the_reference(feedback: bool) -> None:
    torch.set_default_dtype(torch.float64)
    try:
        torch.manual_seed(5)
        state, other = build_state(PLAIN, False), build_state(PLAIN, False)
        other.networks.load_state_dict(state.networks.state_dict())
        data, generator = toy_data(), torch.Generator().manual_seed(1)
        plain = PlainTraining(other.networks, PLAIN, data, CPU)
        for _ in range(6):
            draws = steps.draw(data, PLAIN, Z, generator, False)
            expected = steps.iteration(state, data, data.attributes, draws, feedback)
            found = plain.iteration(draws, feedback)
            for name in ("reconstruction", "kl", "adversarial", "cycle_generator", "penalty"):
                assert found[name] == pytest.approx(expected[name].item(), rel=1e-9, abs=1e-9), name
        assert plain.penalty_weight == pytest.approx(state.penalty_weight.item())
        for name, value in state.networks.state_dict().items():
            torch.testing.assert_close(other.networks.state_dict()[name], value, rtol=1e-7, atol=1e-9)
    finally:
        torch.set_default_dtype(torch.float32)


def test_the_plain_head_learns() -> None:
    torch.manual_seed(0)
    labels = torch.arange(60) % 3
    features = torch.eye(3)[labels] + 0.1 * torch.rand(60, 3)
    head = fit_plain_head(features, labels, 3, epochs=20, batch_size=10, lr=1e-2, device=CPU)
    assert (head(features).argmax(1) == labels).float().mean() > 0.95
