"""What generative methods share, each against a computation of its own: critic, penalty, synthesis, heads, one update."""

import pytest
import torch
from torch import nn

from zslab.data import lazy
from zslab.shared.heads import SoftmaxHead
from zslab.shared.synthesis import SynthesizedFeatures, synthesize
from zslab.shared.trainer import update
from zslab.shared.wgan import Critic, Generator, gradient_penalty, wasserstein_distance

B, D, A, Z, H = 5, 7, 3, 4, 6


def test_critic_penalty_and_distance_are_those_of_autograd() -> None:
    torch.manual_seed(0)
    critic = Critic(D, A, H).double()
    for parameter in critic.parameters():
        nn.init.normal_(parameter)
    x, x_hat, a, alpha = (torch.rand(B, n, dtype=torch.float64) for n in (D, D, A, 1))
    real, generated, slope = critic.compare(x, x_hat, alpha, a)
    between = (alpha * x + (1 - alpha) * x_hat).requires_grad_()
    (expected,) = torch.autograd.grad(critic(between, a).sum(), between)
    torch.testing.assert_close(slope, expected)
    assert gradient_penalty(slope).item() == pytest.approx(((expected.norm(dim=1) - 1) ** 2).mean().item())
    assert wasserstein_distance(real, generated).item() == pytest.approx((critic(x, a) - critic(x_hat, a)).mean().item())


def test_features_are_synthesized_class_by_class_and_the_same_on_demand(monkeypatch) -> None:
    torch.manual_seed(0)
    network, attributes, classes = Generator(Z, A, D, H), torch.rand(6, A), torch.tensor([1, 4])
    made = synthesize(network, attributes, classes, 3, Z, D, torch.Generator().manual_seed(1))
    noise = torch.randn(6, Z, generator=torch.Generator().manual_seed(1))
    assert made.labels.tolist() == [1, 1, 1, 4, 4, 4] and not made.features.requires_grad
    torch.testing.assert_close(made.features, network(noise, attributes[made.labels]).detach())
    monkeypatch.setattr(lazy, "IN_MEMORY", 0)
    streamed = synthesize(network, attributes, classes, 3, Z, D, torch.Generator().manual_seed(1))
    assert isinstance(streamed.features, SynthesizedFeatures) and streamed.features.shape == (6, D)
    torch.testing.assert_close(streamed.features[torch.tensor([5, 0])], made.features[[5, 0]])


def test_rows_of_new_classes_are_learned_and_old_rows_stay() -> None:
    centers = 2 * torch.eye(4)
    labels = torch.arange(4).repeat_interleave(20)
    x = centers[labels] + 0.1 * torch.randn(80, 4, generator=torch.Generator().manual_seed(0))
    old = torch.isin(labels, torch.tensor([0, 2]))
    head = SoftmaxHead(lr=0.1, epochs=30, batch_size=20).fit(x[old], labels[old], torch.Generator().manual_seed(1))
    extended = head.extended(x, labels, torch.tensor([1, 3]), torch.Generator().manual_seed(2))
    assert extended.classes_.tolist() == [0, 1, 2, 3] and head.classes_.tolist() == [0, 2]
    assert torch.equal(extended.weight_[[0, 2]], head.weight_) and torch.equal(extended.bias_[[0, 2]], head.bias_)
    assert (extended.predict(x) == labels).float().mean() > 0.95


def test_an_update_changes_the_named_optimizers_parameters_alone() -> None:
    first, second = nn.Linear(2, 1), nn.Linear(2, 1)
    sgd = [torch.optim.SGD(network.parameters(), lr=0.5) for network in (first, second)]
    before = first.weight.clone(), second.weight.clone()
    x = torch.tensor([[1.0, 3.0]])
    update((second(x) * first(x).detach() + first(x)).sum(), sgd[0])
    assert torch.allclose(first.weight, before[0] - 0.5 * x) and torch.equal(second.weight, before[1])
    assert first.weight.grad is None
