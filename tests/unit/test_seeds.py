"""Every purpose has random numbers of its own."""

from itertools import product

import torch

from zslab.utils.environment import set_seed
from zslab.utils.seeds import BATCHES, EVALUATION, GATE, REFIT, TRAINING, WEIGHTS, stream, stream_seed

PURPOSES = (WEIGHTS, TRAINING, BATCHES, EVALUATION, GATE, REFIT)


def test_no_two_streams_share_a_seed() -> None:
    streams = list(product(range(5), PURPOSES, range(5)))
    assert len({stream_seed(*each) for each in streams}) == len(streams)
    assert all(0 <= stream_seed(*each) < 2**63 for each in streams)


def test_training_noise_does_not_repeat_the_initial_weights() -> None:
    set_seed(3483)
    weights = torch.randn(100)
    assert weights.equal(torch.randn(100, generator=stream(3483, WEIGHTS)))
    assert not weights.isclose(torch.randn(100, generator=stream(3483, TRAINING))).any()
