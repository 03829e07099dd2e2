"""Seeds of the random streams: one user seed, and for every purpose a stream of its own.

Two streams that start from the same seed draw the same numbers, so that training noise would repeat the initial weights.
Each purpose therefore mixes the user's seed with a constant of its own.
"""

import numpy as np
import torch

WEIGHTS = 1  # initial weights of networks and models
TRAINING = 2  # batches, noise and interpolations of TF-VAEGAN's training
BATCHES = 3  # batches of DAZLE's training
EVALUATION = 4  # synthesis and heads; one stream per epoch
GATE = 5  # the out-of-distribution detector and its seen head
REFIT = 6  # synthesis and heads when an exported model learns new classes


def stream_seed(seed: int, purpose: int, index: int = 0) -> int:
    """Return the seed of a random stream.

    Examples:
        >>> stream_seed(3483, WEIGHTS) == stream_seed(3483, TRAINING)
        False
    """
    (state,) = np.random.SeedSequence([seed, purpose, index]).generate_state(1, np.uint64)
    return int(state >> np.uint64(1))


def stream(seed: int, purpose: int, index: int = 0, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a generator on `device` that is seeded by `stream_seed`."""
    return torch.Generator(device).manual_seed(stream_seed(seed, purpose, index))
