"""The DAZLE model against einsums written as in the paper, its losses against loops in plain Python."""

import itertools
import math
from dataclasses import fields

import pytest
import torch

from zslab.config import DazleOptions
from zslab.dazle import losses as loss
from zslab.dazle.model import Dazle
from zslab.errors import InputError

from helpers.configs import dazle_options
from helpers.naive_dazle import naive_forward, naive_loss, naive_step

N, GRID, FEATURES, ATTRIBUTES, WORDS, CLASSES = 4, (3, 2), 6, 5, 7, 9
OPTIONS = [field.name for field in fields(DazleOptions)]


def build(options: DazleOptions, vectors: torch.Tensor | None = None) -> Dazle:
    """A model in float64 whose zero weights are drawn, too, so that nothing hides behind a zero."""
    generator = torch.Generator().manual_seed(3)
    model = Dazle(vectors, ATTRIBUTES, FEATURES, WORDS, options, generator, GRID).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += torch.randn(parameter.shape, generator=generator, dtype=torch.float64) / 2
        if model.normalization is not None:
            model.normalization.running_mean += torch.linspace(-0.3, 0.4, FEATURES // 2)
            model.normalization.running_var += torch.linspace(-0.5, 0.7, FEATURES // 2)
    return model


def inputs() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    regions = torch.rand(N, GRID[0] * GRID[1], FEATURES, generator=generator, dtype=torch.float64)
    att = torch.nn.functional.normalize(torch.randn(CLASSES, ATTRIBUTES, generator=generator, dtype=torch.float64), dim=1)
    return regions, att


@pytest.mark.parametrize(
    ("convolution", "nonlinear"),
    [(False, False), *(pytest.param(*both, marks=pytest.mark.slow) for both in ((False, True), (True, False), (True, True)))],
)
def test_every_combination_of_options_is_the_papers_einsums(convolution: bool, nonlinear: bool) -> None:
    switches = [name for name in OPTIONS if name not in ("is_conv", "non_linear_emb")]
    for chosen in itertools.product((False, True), repeat=len(switches)):
        options = dazle_options(is_conv=convolution, non_linear_emb=nonlinear, **dict(zip(switches, chosen)))
        for training in (True, False) if convolution else (True,):
            check(options, training)


def check(options: DazleOptions, training: bool) -> None:
    """Outputs and gradients of all parameters are those of the einsums, in train or in eval mode."""
    model, (regions, att) = build(options).train(training), inputs()
    leaves = {name: p.detach().clone().requires_grad_(p.requires_grad) for name, p in model.named_parameters()}
    statistics = {name: buffer.clone() for name, buffer in model.named_buffers()}
    found = model(regions, att)
    expected = naive_forward(leaves | statistics, options, GRID, regions, att, training)
    for name, value in expected.items():
        torch.testing.assert_close(getattr(found, name), value, rtol=1e-10, atol=1e-12, msg=f"{name} with {options}")
    labels, is_unseen = torch.tensor([0, 3, 2, 3]), torch.arange(CLASSES) > 5
    naive_loss(expected["scores"], labels, is_unseen).backward()
    margin = torch.where(is_unseen, 1.0, -1.0)
    calibration = loss.self_calibration(found.scores + margin, is_unseen.nonzero().flatten())
    ours = loss.cross_entropy(found.scores, labels) + 0.1 * calibration
    ours.backward()
    for name, parameter in model.named_parameters():
        if name == "vectors" and not options.trainable_w2v:
            assert parameter.grad is None
        else:
            torch.testing.assert_close(parameter.grad, leaves[name].grad, rtol=1e-9, atol=1e-12, msg=f"{name} with {options}")


@pytest.mark.parametrize("options", [dazle_options(), dazle_options(is_conv=True, non_linear_emb=True)])
def test_every_parameter_learns(options) -> None:
    model, (regions, att) = build(options), inputs()
    loss.cross_entropy(model(regions, att).scores, torch.tensor([0, 3, 2, 3])).backward()
    for name, parameter in model.named_parameters():
        # The one is the same for all classes, the other is taken away again with the mean of the batch.
        if name not in ("embedding.2.bias", "convolution.bias"):
            assert parameter.grad.abs().sum() > 0, f"no gradient for {name}"


def test_shapes_and_the_smaller_grid_of_the_convolution() -> None:
    regions, att = inputs()
    output = build(dazle_options())(regions, att)
    assert [tuple(t.shape) for t in output] == [(4, 9), (4, 5, 6), (4, 5), (4, 5), (4, 5, 6)]
    torch.testing.assert_close(output.attention.sum(dim=2), torch.ones(4, 5, dtype=torch.float64))
    model = build(dazle_options(is_conv=True))
    assert model.grid == (2, 1)
    assert model(regions, att).attention.shape == (4, 5, 2)
    assert model.convolution.weight.shape == (FEATURES // 2, FEATURES, 2, 2) and model.score.shape == (WORDS, FEATURES // 2)


def test_running_statistics_follow_the_batches_of_training_alone() -> None:
    """A tenth of the way to each batch's mean and unbiased variance over images and regions, by hand."""
    model, (regions, att) = build(dazle_options(is_conv=True)), inputs()
    mean, variance = (getattr(model.normalization, f"running_{name}").clone() for name in ("mean", "var"))
    for batch in (regions[:3], regions[1:]):
        maps = torch.nn.functional.conv2d(
            batch.transpose(1, 2).reshape(3, FEATURES, *GRID), model.convolution.weight, model.convolution.bias
        ).detach()
        values = maps.transpose(0, 1).flatten(1)  # (f / 2, 3 images of 2 regions)
        centered = values - values.sum(dim=1, keepdim=True) / 6
        mean = 0.9 * mean + 0.1 * values.sum(dim=1) / 6
        variance = 0.9 * variance + 0.1 * centered.square().sum(dim=1) / 5
        model(batch, att)
    model.eval()(regions, att)
    torch.testing.assert_close(model.normalization.running_mean, mean)
    torch.testing.assert_close(model.normalization.running_var, variance)
    assert model.normalization.num_batches_tracked == 2


def test_regions_under_a_convolution_are_not_normalized() -> None:
    """Whatever `normalize_features` says; in eval mode, for batch normalization takes a common factor away by itself."""
    regions, att = inputs()
    outputs = [build(dazle_options(is_conv=True, normalize_F=on)).eval()(regions, att) for on in (True, False)]
    assert torch.equal(outputs[0].scores, outputs[1].scores)


def test_uniform_regions_are_those_of_p_alone() -> None:
    model, (regions, att) = build(dazle_options(uniform_att_1=True)), inputs()
    attended = build(dazle_options())(regions, att)
    found = model(regions, att)
    torch.testing.assert_close(found.attribute_scores, attended.region_scores.mean(dim=2))
    assert not torch.allclose(found.attribute_scores, attended.attribute_scores)
    torch.testing.assert_close(found.attribute_attention, attended.attribute_attention)
    torch.testing.assert_close(found.attention, attended.attention)
    found.scores.square().sum().backward()
    assert model.attention.grad.abs().sum() > 0


def test_the_start_is_the_published_one() -> None:
    words = torch.randn(ATTRIBUTES, WORDS, generator=torch.Generator().manual_seed(0)) * 5
    model = Dazle(words, ATTRIBUTES, 400, options=dazle_options(), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(model.vectors.detach(), words / words.norm(dim=1, keepdim=True))
    assert model.score.std().item() == pytest.approx(1, abs=0.05) and abs(model.score.mean().item()) < 0.05
    assert not model.attention.any() and not model.importance.any()
    output = model(torch.rand(2, 49, 400), torch.rand(3, ATTRIBUTES))
    torch.testing.assert_close(output.attention, torch.full((2, ATTRIBUTES, 49), 1 / 49))
    torch.testing.assert_close(output.attribute_attention, torch.full((2, ATTRIBUTES), 0.5))
    drawn = Dazle(None, 50, 4, word_dim=200, generator=torch.Generator().manual_seed(1)).vectors
    assert drawn.shape == (50, 200) and drawn.std().item() == pytest.approx(1, abs=0.05)


def test_the_start_depends_on_the_generator_alone() -> None:
    options = dazle_options(non_linear_emb=True, is_conv=True)
    models = []
    for seed in (1, 1, 2):
        torch.manual_seed(len(models))
        models.append(Dazle(None, ATTRIBUTES, FEATURES, WORDS, options, torch.Generator().manual_seed(seed)).state_dict())
    assert all(torch.equal(models[0][key], models[1][key]) for key in models[0])
    drawn = [key for key in models[0] if models[0][key].any() and not key.startswith("normalization.")]
    assert not any(torch.equal(models[0][key], models[2][key]) for key in drawn)


def test_what_uniform_attention_does_without_is_not_there() -> None:
    names = {name for name, _ in build(dazle_options(uniform_att_1=True, uniform_att_2=True)).named_parameters()}
    assert names == {"vectors", "score"}
    names = {name for name, _ in build(dazle_options(uniform_att_1=True)).named_parameters()}
    assert names == {"vectors", "score", "attention", "importance"}


def test_a_region_of_zeros_is_no_reason_for_nan() -> None:
    model, (regions, att) = build(dazle_options()), inputs()
    regions[0, 2] = 0
    output = model(regions, att)
    output.scores.sum().backward()
    assert output.scores.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("vectors", "words"),
    [
        (torch.ones(4, 7), r"the 5 attributes .got shape \(4, 7\)"),
        (torch.ones(5), "the 5 attributes"),
        (torch.full((5, 7), float("nan")), "got 5 "),
    ],
)
def test_word_vectors_that_do_not_fit_are_refused(vectors, words) -> None:
    with pytest.raises(InputError, match=words):
        Dazle(vectors, ATTRIBUTES, FEATURES)


def test_an_attribute_without_a_word_vector_learns_unless_it_is_normalized() -> None:
    vectors = torch.eye(5, 7) * torch.tensor([[1.0], [1], [0], [1], [1]])
    with pytest.raises(InputError, match="got 1 .*attribute 3"):
        Dazle(vectors, ATTRIBUTES, FEATURES, options=dazle_options(normalize_V=True))
    model = Dazle(vectors, ATTRIBUTES, FEATURES)
    model(torch.randn(2, 49, FEATURES), torch.rand(3, ATTRIBUTES)).scores.square().sum().backward()
    assert model.vectors[2].eq(0).all() and model.vectors.grad[2].isfinite().all() and model.vectors.grad[2].ne(0).any()


@pytest.mark.parametrize("grid", [(1, 7), (2, 2)])
def test_a_grid_too_small_for_the_convolution_is_refused(grid) -> None:
    with pytest.raises(InputError, match=f"the region maps: .*got {grid[0]} × {grid[1]}"):
        Dazle(None, ATTRIBUTES, FEATURES, options=dazle_options(is_conv=True), grid=grid)


def test_regions_of_other_features_are_refused_before_the_convolution() -> None:
    with pytest.raises(InputError, match="3 × 2 regions of 6 features.*got 6 of 3"):
        build(dazle_options(is_conv=True))(torch.zeros(2, 6, 3, dtype=torch.float64), inputs()[1])


# ---- losses --------------------------------------------------------------------------------------------------------------


def scores_and_labels() -> tuple[torch.Tensor, list[int]]:
    return torch.randn(N, CLASSES, generator=torch.Generator().manual_seed(8), dtype=torch.float64) * 2, [1, 0, 5, 1]


def test_cross_entropy() -> None:
    scores, labels = scores_and_labels()
    expected = sum(math.log(sum(math.exp(s) for s in row)) - row[label] for row, label in zip(scores.tolist(), labels)) / N
    assert loss.cross_entropy(scores, torch.tensor(labels)).item() == pytest.approx(expected)


def test_rank() -> None:
    scores, labels = scores_and_labels()
    terms = [max(0.0, 1 - (row[label] - s)) for row, label in zip(scores.tolist(), labels) for s in row]
    assert loss.rank(scores, torch.tensor(labels)).item() == pytest.approx(sum(terms) / len(terms))


def test_self_calibration() -> None:
    scores, _ = scores_and_labels()
    unseen = [2, 7]
    mean = 0.0
    for row in scores.tolist():
        mean += sum(math.exp(row[k]) for k in unseen) / sum(math.exp(s) for s in row) / N
    assert loss.self_calibration(scores, torch.tensor(unseen)).item() == pytest.approx(-math.log(mean))


def test_self_calibration_stays_finite_where_the_probability_does_not() -> None:
    scores = torch.tensor([[500.0, 0.0], [300.0, 0.0]], requires_grad=True)
    value = loss.self_calibration(scores, torch.tensor([1]))
    value.backward()
    assert value.item() == pytest.approx(300 + math.log(2)) and scores.grad.isfinite().all()


def test_the_naive_step_trains() -> None:
    """The benchmark's reference: two of its steps move the weights as two of the model's do."""
    options = dazle_options()
    model, (regions, att) = build(options), inputs()
    leaves = {name: p.detach().clone().requires_grad_() for name, p in model.named_parameters()}
    labels, is_unseen = torch.tensor([0, 3, 2, 3]), torch.arange(CLASSES) > 5
    reference = torch.optim.RMSprop(leaves.values(), lr=1e-2, momentum=0.9)
    ours = torch.optim.RMSprop(model.parameters(), lr=1e-2, momentum=0.9)
    margin = torch.where(is_unseen, 1.0, -1.0)
    for _ in range(2):
        value = naive_step(leaves, reference, options, GRID, regions, att, labels, is_unseen)
        scores = model(regions, att).scores
        found = loss.cross_entropy(scores, labels) + 0.1 * loss.self_calibration(scores + margin, is_unseen.nonzero().flatten())
        assert found.item() == pytest.approx(value.item())
        ours.zero_grad()
        found.backward()
        ours.step()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter, leaves[name], rtol=1e-7, atol=1e-9)
