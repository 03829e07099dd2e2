"""bfloat16 products: near float32, with everything that lasts in float32; and refusals where a precision does not exist."""

from dataclasses import replace

import pytest
import torch

from zslab.data.xlsa17 import read_xlsa17
from zslab.errors import InputError
from zslab.shared.heads import SoftmaxHead
from zslab.tfvaegan import steps
from zslab.tfvaegan.networks import Networks
from zslab.tfvaegan.steps import TrainingState
from zslab.tfvaegan.trainer import TfvaeganTrainer
from zslab.utils.precision import autocast, linear

from helpers import dazle_trainer
from helpers.configs import tfvaegan
from helpers.project import tree_modules
from helpers.tfvaegan_state import CONFIG, CPU, D, K, Z, build_state, toy_data


def test_products_round_their_operands_and_give_float32() -> None:
    torch.manual_seed(0)
    x, weight, bias = torch.randn(5, 40), torch.randn(7, 40, requires_grad=True), torch.randn(7)
    exact = linear(x, weight, bias)
    torch.testing.assert_close(exact, x @ weight.T + bias)
    with autocast(CPU, True):
        found = linear(x, weight, bias)
    (gradient,) = torch.autograd.grad(found.square().sum(), weight)
    (expected,) = torch.autograd.grad(exact.square().sum(), weight)
    for rounded, full in ((found, exact), (gradient, expected)):
        assert rounded.dtype == torch.float32 and not rounded.equal(full)
        assert (rounded - full).norm() < 1e-2 * full.norm()
    with autocast(CPU, False):
        assert linear(x, weight, bias).equal(exact)


def test_a_weight_is_rounded_anew_for_every_product() -> None:
    """A copy that PyTorch kept would miss the optimizer's step, and one made under no_grad would have no gradient."""
    weight = torch.ones(3, 4, requires_grad=True)
    with autocast(CPU, True):
        with torch.no_grad():
            linear(torch.ones(2, 4), weight)
            weight.mul_(2)
        y = linear(torch.ones(2, 4), weight)
    assert y.eq(8).all() and torch.autograd.grad(y.sum(), weight)[0].eq(2).all()


def iterate(state: TrainingState, bf16: bool, n: int, feedback: bool) -> steps.Losses:
    data, generator = toy_data(), torch.Generator().manual_seed(1)
    for _ in range(n):
        draws = steps.draw(data, state.config, Z, generator, state.transductive)
        with autocast(CPU, bf16):
            losses = steps.iteration(state, data, data.attributes, draws, feedback)
    return losses


@pytest.mark.parametrize("bce_att", [False, True])
@pytest.mark.parametrize("transductive", [False, True])
@pytest.mark.parametrize("feedback", [False, True])
def test_an_iteration_is_near_the_one_in_float32_and_keeps_everything_in_float32(feedback, transductive, bce_att) -> None:
    config = replace(CONFIG, transductive=transductive, bce_att=bce_att)
    losses, changes = {}, {}
    for bf16 in (False, True):
        torch.manual_seed(5)
        state = build_state(config)
        before = {name: value.clone() for name, value in state.networks.state_dict().items()}
        losses[bf16] = iterate(state, bf16, 1, feedback)
        changes[bf16] = {name: value - before[name] for name, value in state.networks.state_dict().items()}
        for name, tensor in state.tensors().items():
            assert tensor.dtype == (torch.float64 if name == "lambda1" else torch.float32), name
    assert losses[True].keys() == losses[False].keys()
    for name, expected in losses[False].items():
        assert losses[True][name].dtype == torch.float32
        if name == "generator":  # the weighted sum of others, whose large parts cancel
            continue
        assert abs(losses[True][name] - expected) < 2e-2 * max(1.0, expected.abs().item()), name
    assert any(losses[True][name] != expected for name, expected in losses[False].items())
    trained = {name for name, change in changes[False].items() if change.any()}
    assert {name for name, change in changes[True].items() if change.any()} == trained


def test_small_steps_are_not_lost_in_bfloat16() -> None:
    """A step of lr 1e-5 on weights near 0.3 vanishes where weights are bfloat16, whose steps are 1e-3 there."""
    torch.manual_seed(5)
    state = build_state()
    state.optimizers["critic"].param_groups[0]["lr"] = 1e-5
    before = state.networks.critic.hidden.weight.detach().clone()
    iterate(state, True, 5, False)
    moved = (state.networks.critic.hidden.weight.detach() - before).abs()
    assert 0 < moved.max() <= 1.5e-5 * 5 * K
    assert (moved[:, :D] > 0).float().mean() > 0.9


def trainer(root, precision: str) -> TfvaeganTrainer:
    data = read_xlsa17(root, "TINY", "res101", "att").stage("test")
    torch.manual_seed(2)
    changes = dict(batch_size=12, critic_iter=2, syn_num=20, lr=1e-3, ngh=32, ndh=32, manualSeed=9)
    config = tfvaegan(precision=precision, **changes)
    networks = Networks.build(config, data.feature_dim, data.attribute_dim)
    heads = [SoftmaxHead(epochs=20, batch_size=10, lr=5e-2, bf16=precision == "bf16") for _ in range(2)]
    return TfvaeganTrainer(networks, data, config, *heads, CPU)


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
        SoftmaxHead(lr=1e-2, epochs=5, batch_size=20, bf16=bf16).fit(features, labels, torch.Generator().manual_seed(6))
        for bf16 in (False, True)
    )
    assert rounded.weight_.dtype == torch.float32
    difference = (rounded.weight_ - plain.weight_).norm() / plain.weight_.norm()
    assert 0 < difference < 2e-2
    assert rounded.predict(features).equal(plain.predict(features))


def test_a_saved_state_is_continued_bit_for_bit_in_bfloat16(tiny) -> None:
    straight, first, second = (trainer(tiny, "bf16") for _ in range(3))
    straight.train_epoch(lambda: True)
    first.train_epoch(lambda: first.position < 3)
    with torch.no_grad():
        second.state.networks.generator.hidden.weight.zero_()
    second.load_state_dict(first.state_dict())
    second.train_epoch(lambda: True)
    for name, value in straight.weights().items():
        assert value.equal(second.weights()[name]), name


@pytest.mark.parametrize("tree", ["zero-shot-images", "zero-shot-actions"])
def test_the_flag_reaches_the_heads(tree: str) -> None:
    with tree_modules(tree) as load:
        default = load("config").TFVAEGAN
        assert default.precision == "fp32" and default.cuda_graphs
        for precision, bf16 in (("fp32", False), ("bf16", True)):
            zsl_head, gzsl = load("classifier").build_heads(replace(default, precision=precision, cuda_graphs=False))
            for head in (zsl_head, getattr(gzsl, "seen_head", gzsl)):
                assert head.bf16 is bf16 and not head.cuda_graphs


def test_dazle_in_bfloat16_is_near_float32_and_is_measured_in_float32(tmp_path) -> None:
    path = dazle_trainer.write_regions(tmp_path)
    plain, rounded = (dazle_trainer.build(path, precision=precision) for precision in ("fp32", "bf16"))
    regions, targets = next(plain._batches(torch.Generator().manual_seed(0)))
    for model in (plain.networks, rounded.networks):
        model(regions, plain.attributes).scores.square().sum().backward()
    exact, found = plain.networks(regions, plain.attributes).scores, rounded.networks(regions, plain.attributes).scores
    assert found.dtype == torch.float32 and not found.equal(exact)
    assert (found - exact).norm() < 1e-2 * exact.norm()
    for (name, p), q in zip(plain.networks.named_parameters(), rounded.networks.parameters(), strict=True):
        assert q.dtype == q.grad.dtype == torch.float32
        assert (q.grad - p.grad).norm() <= 2e-2 * p.grad.norm(), name
    rows = plain.data.rows["test_seen"]
    assert rounded.scores(rows).equal(plain.scores(rows))  # the weights are the same still

    expected, losses = plain.train_epoch(lambda: True), rounded.train_epoch(lambda: True)
    assert losses != expected and losses == {name: pytest.approx(loss, rel=0.02) for name, loss in expected.items()}


def test_tf32_without_cuda_is_refused(tiny, tmp_path) -> None:
    path = dazle_trainer.write_regions(tmp_path)
    for build in (lambda: trainer(tiny, "tf32"), lambda: dazle_trainer.build(path, precision="tf32")):
        with pytest.raises(InputError, match="--precision: .*tf32 on cpu"):
            build()
