"""CUDA graphs: a piece of work recorded once and replayed, so that a GPU need not wait for Python to launch its kernels.

Nothing is trusted: a recorded piece must do what the ordinary one does, from the same state and the same random numbers,
or the ordinary one stays in use. Which of the two ran is told in one line and changes results by no more than rounding.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

log = logging.getLogger("zsl")

Tensors = dict[str, Tensor]
Work = Callable[[], Tensors]
Record = Callable[[Work, torch.Generator], Work]

WARM_UP = 2  # runs before recording: libraries are loaded, workspaces and an optimiser's moments made
TOLERANCE = 1e-2  # of a tensor's change, see `_disagreement`


def can_record(device: torch.device) -> bool:
    return device.type == "cuda"


def record_cuda(work: Work, generator: torch.Generator) -> Work:
    """Records `work` as a CUDA graph; what is returned replays it and gives the same result tensors, filled anew.

    The generator is registered with the graph: every replay reads its seed and offset and advances it, as `work` does.
    """
    with torch.cuda.device(generator.device):
        side = _side_stream(generator.device)
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UP):
                work()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(generator)
        try:
            with torch.cuda.graph(graph, stream=side):
                results = work()
        except RuntimeError:
            # The generator still believes that it is being recorded and would refuse every later draw; another state does not.
            generator.graphsafe_set_state(torch.Generator(generator.device))
            raise

    def replay() -> Tensors:
        graph.replay()
        return results

    return replay


@cache
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    """The same for every recording, since cuBLAS keeps a workspace for each stream that it has worked on."""
    return torch.cuda.Stream(device)


def replayed(
    work: Work, changed: Callable[[], Tensors], generator: torch.Generator, name: str, record: Record = record_cuda
) -> Work:
    """`work`, recorded and checked; or `work` itself where that fails, which is logged.

    State and generator are afterwards as they were before.

    Args:
        work: changes tensors in place and draws from `generator`, reads nothing back to the host, and has static shapes.
        changed: name -> every tensor that `work` changes and that outlives it. Tensors that the first call of `work`
            makes, such as an optimiser's moments, start at zero.
        name: what to call it in the log.
        record: how it is recorded.
    """
    before = {key: tensor.clone() for key, tensor in changed().items()}
    draws = generator.get_state()

    def restore() -> None:
        with torch.no_grad():
            for key, tensor in changed().items():
                tensor.copy_(before[key]) if key in before else tensor.zero_()
        generator.set_state(draws)

    def outcome(run: Work) -> Tensors:
        restore()
        results = {f"result {key}": tensor.clone() for key, tensor in run().items()}
        return results | {key: tensor.clone() for key, tensor in changed().items()}

    try:
        replay = record(work, generator)
        expected, offset = outcome(work), generator.get_state()
        trouble = _disagreement(outcome(replay), expected, before)
        if trouble is None and not torch.equal(generator.get_state(), offset):
            trouble = "other random numbers were drawn"
    except RuntimeError as error:  # of capture: an operation that cannot be recorded
        trouble = str(error).splitlines()[0]
    restore()
    if trouble is None:
        return replay
    log.warning("The %s runs without a CUDA graph: %s.", name, trouble)
    return work


def _disagreement(found: Tensors, expected: Tensors, before: Tensors) -> str | None:
    """Where a replay left something else than the ordinary work did, in words; None where it did not.

    A tensor that existed before is held to its change, since a step of an optimiser is small against a weight; of a
    result and of new tensors, which come from zero, that is the value itself.
    """
    for key, wanted in expected.items():
        start = before.get(key)
        change = (wanted if start is None else wanted - start).double().norm()
        difference = (found[key] - wanted).double().norm()
        rounding = 4 * torch.finfo(wanted.dtype).eps * wanted.double().norm() if wanted.is_floating_point() else 0.0
        if not difference <= TOLERANCE * change + rounding:
            return f"its replay differs in {key}, by {difference:.2g} where {change:.2g} changes"
    return None
