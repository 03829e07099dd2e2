"""bfloat16 products: near float32, with everything that lasts in float32; and refusals where a precision does not exist."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from zslab.data.xlsa17 import read_xlsa17
from zslab.errors import InputError
from zslab.shared.heads import SoftmaxHead
from zslab.tfvaegan import fast, steps
from zslab.tfvaegan.networks import Critic, Encoder, Feedback, Generator, Linear, Networks, SemanticDecoder
from zslab.tfvaegan.settings import TfvaeganSettings
from zslab.tfvaegan.steps import TrainingState
from zslab.tfvaegan.trainer import TfvaeganTrainer
from zslab.utils.precision import linear, linear_backward_input, matmul_into

from helpers.dazle_trainer import build as build_dazle
from helpers.dazle_trainer import write_regions
from helpers.project import tree_modules
from helpers.tfvaegan_state import PLAIN, D, K, Z, build_state, toy_data

CPU = torch.device("cpu")


def half(x: Tensor) -> Tensor:
    """x rounded to bfloat16, float32 again."""
    return x.bfloat16().float()


def states(transductive: bool = False) -> tuple[TrainingState, TrainingState]:
    """Two states with the same weights: plain, and with rounded products."""
    torch.manual_seed(5)
    plain = build_state(PLAIN, transductive)
    other = build_state(PLAIN, transductive)
    other.networks.load_state_dict(plain.networks.state_dict())
    return plain, TrainingState(other.networks, PLAIN, CPU, bf16=True)


def test_products_round_their_operands_and_keep_float32_results() -> None:
    torch.manual_seed(0)
    x, weight, bias, d_out = torch.randn(5, 40), torch.randn(7, 40), torch.randn(7), torch.randn(5, 7)
    rounded, out = weight.bfloat16(), torch.empty(7, 40)
    matmul_into(out, d_out, x, torch.bfloat16)
    pairs = [
        (linear(x, rounded, bias), half(x) @ half(weight).T + bias),
        (linear_backward_input(d_out, rounded), half(d_out) @ half(weight)),
        (out, half(d_out).T @ half(x)),
    ]
    for found, expected in pairs:
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-2 * expected.abs().max().item())
        assert (found - expected).norm() < 3e-3 * expected.norm()  # the result's own rounding, and no more
    exact = linear(x, weight, bias)
    torch.testing.assert_close(exact, x @ weight.T + bias)
    assert not torch.equal(exact, linear(x, rounded, bias))


@pytest.mark.parametrize("transductive", [False, True])
@pytest.mark.parametrize("feedback", [False, True])
def test_losses_of_an_iteration_are_near_those_in_float32(feedback: bool, transductive: bool) -> None:
    plain, rounded = states(transductive)
    data, generator = toy_data(), torch.Generator().manual_seed(1)
    draws = steps.draw(data, PLAIN, Z, generator, transductive)
    expected = fast.iteration(plain, data, data.attributes, draws, feedback)
    found = fast.iteration(rounded, data, data.attributes, draws, feedback)
    assert found.keys() == expected.keys()
    for name in expected:
        assert found[name].dtype == expected[name].dtype == torch.float32
        scale = max(1.0, expected[name].abs().item())
        assert abs(found[name] - expected[name]) < 2e-2 * scale, name
    assert any(found[name] != expected[name] for name in expected)


def test_what_lasts_is_float32_and_the_rounded_copies_follow_the_weights() -> None:
    _, state = states(transductive=True)
    data, generator = toy_data(), torch.Generator().manual_seed(1)
    before = {name: value.clone() for name, value in state.networks.state_dict().items()}
    for i in range(3):
        draws = steps.draw(data, PLAIN, Z, generator, True)
        fast.iteration(state, data, data.attributes, draws, bool(i % 2))
    for name, tensor in state.tensors().items():
        if "bf16 weight" in name:
            assert tensor.dtype == torch.bfloat16
        else:
            assert tensor.dtype == (torch.float64 if name == "lambda1" else torch.float32), name
    layers = [m for _, network in state.networks.items() for m in network.modules() if isinstance(m, Linear)]
    assert sum(layer.bf16_weight is not None for layer in layers) == len(layers) - 2  # all but the two critics' scores
    for layer in layers:
        assert layer.weight.grad.dtype == torch.float32
        if layer.bf16_weight is not None:
            assert layer.bf16_weight.equal(layer.weight.bfloat16())
    assert all(not v.equal(before[name]) for name, v in state.networks.state_dict().items() if name.endswith("weight"))
    x = torch.rand(4, D)
    inexact = state.networks.decoder.hidden(x)
    with state.full_precision():
        hidden = state.networks.decoder.hidden
        assert torch.equal(hidden(x), torch.nn.functional.linear(x, hidden.weight, hidden.bias))
    assert torch.equal(state.networks.decoder.hidden(x), inexact)


def test_small_steps_are_not_lost_in_bfloat16() -> None:
    """A step of lr 1e-5 on weights near 0.3 vanishes where weights are bfloat16, whose steps are 1e-3 there."""
    _, state = states()
    state.optimizers["critic"].param_groups[0]["lr"] = 1e-5
    data, generator = toy_data(), torch.Generator().manual_seed(1)
    before = state.networks.critic.hidden.weight.clone()
    for _ in range(5):
        fast.iteration(state, data, data.attributes, steps.draw(data, PLAIN, Z, generator, False), False)
    moved = (state.networks.critic.hidden.weight - before).abs()
    assert 0 < moved.max() <= 1.5e-5 * 5 * K
    assert (moved > 0).float().mean() > 0.9


def trainer(root, precision: str, engine: str = "fast") -> TfvaeganTrainer:
    data = read_xlsa17(root, "TINY", "res101", "att").stage("test")
    torch.manual_seed(2)
    d, a, h = data.feature_dim, data.attribute_dim, 32
    networks = Networks(
        Encoder(d, a, a, h), Generator(a, a, d, h), Critic(d, a, h), Feedback(h), SemanticDecoder(d, a, h, "unit_norm")
    )
    heads = [SoftmaxHead(epochs=20, batch_size=10, lr=5e-2, bf16=precision == "bf16") for _ in range(2)]
    settings = TfvaeganSettings(batch_size=12, critic_iter=2, n_synthetic=20, lr=1e-3)
    return TfvaeganTrainer(networks, data, settings, *heads, CPU, 9, engine, precision)


@pytest.mark.slow
def test_a_training_in_bfloat16_learns_as_well(tiny) -> None:
    accuracies = {}
    for precision in ("fp32", "bf16"):
        run = trainer(tiny, precision)
        for _ in range(20):
            run.train_epoch(lambda: True)
        record = run.evaluate().metrics
        accuracies[precision] = record["zsl"]["acc"][-1], record["gzsl"]["acc_seen"][-1]
    (t1, seen), (t1_half, seen_half) = accuracies["fp32"], accuracies["bf16"]
    assert t1 > 0.6 and seen > 0.8  # chance is 1/3 and 1/9
    assert abs(t1_half - t1) <= 0.15 and abs(seen_half - seen) <= 0.15


def test_a_head_in_bfloat16_is_near_the_one_in_float32() -> None:
    torch.manual_seed(4)
    centers = torch.randn(5, 30)
    labels = torch.arange(200) % 5
    features = centers[labels] + 0.5 * torch.randn(200, 30)
    plain, rounded = (
        SoftmaxHead(lr=1e-2, epochs=5, batch_size=20, bf16=r).fit(features, labels, torch.Generator().manual_seed(6))
        for r in (False, True)
    )
    assert rounded.weight_.dtype == torch.float32
    difference = (rounded.weight_ - plain.weight_).norm() / plain.weight_.norm()
    assert 0 < difference < 2e-2
    assert rounded.predict(features).equal(plain.predict(features))


def test_a_saved_state_is_continued_bit_for_bit_in_bfloat16(tiny) -> None:
    straight, first = trainer(tiny, "bf16"), trainer(tiny, "bf16")
    straight.train_epoch(lambda: True)
    first.train_epoch(lambda: first.position < 3)
    second = trainer(tiny, "bf16")
    with torch.no_grad():
        second.state.networks.generator.hidden.weight.zero_()
    second.load_state_dict(first.state_dict())
    second.train_epoch(lambda: True)
    for name, value in straight.weights().items():
        assert value.equal(second.weights()[name]), name


def test_precisions_that_do_not_exist_are_refused(tiny) -> None:
    with pytest.raises(InputError, match=r"--precision: TF32 is a format of CUDA devices .got tf32 on cpu"):
        trainer(tiny, "tf32")
    with pytest.raises(
        InputError, match=r"--precision: the eager engine cannot compute in bfloat16 .got bf16 with --engine eager"
    ):
        trainer(tiny, "bf16", engine="eager")


@pytest.mark.parametrize("tree", ["zero-shot-images", "zero-shot-actions"])
def test_the_flag_reaches_the_heads(tree: str) -> None:
    with tree_modules(tree) as load:
        config = load("config").TfvaeganConfig
        assert config().precision == "fp32" and config().cuda_graphs
        for precision, bf16 in (("fp32", False), ("bf16", True)):
            zsl_head, gzsl = load("classifier").build_heads(config(precision=precision, cuda_graphs=False))
            for head in (zsl_head, getattr(gzsl, "seen_head", gzsl)):
                assert head.bf16 is bf16 and not head.cuda_graphs


def test_dazle_in_bfloat16_is_near_float32_and_is_measured_in_float32(tmp_path) -> None:
    path = write_regions(tmp_path)
    plain, rounded = build_dazle(path), build_dazle(path, precision="bf16")
    regions, targets = next(plain._batches(torch.Generator().manual_seed(0)))
    for model in (plain.model, rounded.model):
        model(regions, plain.attributes).scores.square().sum().backward()
    exact, found = plain.model(regions, plain.attributes).scores, rounded.model(regions, plain.attributes).scores
    assert found.dtype == torch.float32 and not found.equal(exact)
    assert (found - exact).norm() < 1e-2 * exact.norm()
    for (name, p), q in zip(plain.model.named_parameters(), rounded.model.parameters(), strict=True):
        assert q.dtype == q.grad.dtype == torch.float32
        assert (q.grad - p.grad).norm() <= 2e-2 * p.grad.norm(), name
    rows = plain.data.rows["test_seen"]
    assert rounded.scores(rows).equal(plain.scores(rows))  # the weights are the same still

    expected, losses = plain.train_epoch(lambda: True), rounded.train_epoch(lambda: True)
    assert losses != expected and losses == {name: pytest.approx(loss, rel=0.02) for name, loss in expected.items()}
    with pytest.raises(InputError, match="TF32 is a format of CUDA devices"):
        build_dazle(path, precision="tf32")
