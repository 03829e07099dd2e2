"""CUDA graphs: a step captured once and replayed, so that the GPU does not wait for Python to launch its kernels.

A capture is used only after its replay has been compared with the ordinary step, from the same state and the same random
numbers. If the two differ, or the capture fails, the ordinary step stays in use and one warning says why. Either way the
results agree to rounding.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from zslab.errors import first_line

log = logging.getLogger("zslab")

Tensors = dict[str, Tensor]
Step = Callable[[], Tensors]
Capture = Callable[[Step, torch.Generator], Step]

WARM_UP = 2  # runs before the capture, which load libraries and allocate workspaces and the optimizer's moments
TOLERANCE = 1e-2  # of a tensor's change, see `_disagreement`


@dataclass(frozen=True)
class Replay:
    """A captured step, see `capture_cuda`.

    It holds the step, because the graph reads and writes the tensors that the step refers to: freed, their memory would
    be given to others.
    """

    graph: torch.cuda.CUDAGraph
    results: Tensors
    step: Step

    def __call__(self) -> Tensors:
        """Replay the graph, and return the same result tensors each time, with new values."""
        self.graph.replay()
        return self.results


def can_capture(device: torch.device) -> bool:
    """Return whether steps on `device` can be captured as CUDA graphs."""
    return device.type == "cuda"


def capture_cuda(step: Step, generator: torch.Generator) -> Replay:
    """Capture a step as a CUDA graph.

    The generator is registered with the graph: every replay reads its seed and offset and advances it, as `step` does.

    Args:
        step: see `capture_verified`.
        generator: the one that `step` draws from.
    """
    with torch.cuda.device(generator.device):
        side = _side_stream(generator.device)
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UP):
                step()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(generator)
        try:
            # Other threads, such as a loader of region maps, may allocate meanwhile.
            with torch.cuda.graph(graph, stream=side, capture_error_mode="thread_local"):
                results = step()
        except RuntimeError:
            # After a failed capture the generator's state still counts as captured and refuses every draw; a new one does not.
            generator.graphsafe_set_state(torch.Generator(generator.device))
            raise
    return Replay(graph, results, step)


@cache
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    """Return one stream for all captures on a device, because cuBLAS keeps a workspace for each stream."""
    return torch.cuda.Stream(device)


def capture_verified(
    step: Step, changed: Callable[[], Tensors], generator: torch.Generator, name: str, capture: Capture = capture_cuda
) -> Step:
    """Capture a step and compare its replay with it; state and generator are left as they were before.

    Args:
        step: changes tensors in place and draws from `generator`, reads nothing back to the host, has static shapes, and
            returns its results by name.
        changed: returns, by name, every tensor that `step` changes and that outlives it. Tensors that the first call of
            `step` creates, such as an optimizer's moments, start at zero.
        generator: the only source of random numbers in `step`.
        name: of the step, for the log.
        capture: how to capture.

    Returns:
        The captured step, or `step` itself where the capture fails or its replay differs, which is logged.
    """
    before = {key: tensor.clone() for key, tensor in changed().items()}
    random_state = generator.get_state()

    def restore() -> None:
        with torch.no_grad():
            for key, tensor in changed().items():
                tensor.copy_(before[key]) if key in before else tensor.zero_()
        generator.set_state(random_state)

    def outcome(run: Step) -> Tensors:
        restore()
        results = {f"result {key}": tensor.clone() for key, tensor in run().items()}
        return results | {key: tensor.clone() for key, tensor in changed().items()}

    try:
        replay = capture(step, generator)
        expected, random_state_after = outcome(step), generator.get_state()
        reason = _disagreement(outcome(replay), expected, before)
        if reason is None and not torch.equal(generator.get_state(), random_state_after):
            reason = "its replay draws other random numbers"
    except RuntimeError as error:  # the step contains an operation that cannot be captured
        reason = first_line(error)
    restore()
    if reason is None:
        return replay
    log.warning("The %s runs without a CUDA graph: %s.", name, reason)
    return step


def moments(optimizer: torch.optim.Optimizer) -> Tensors:
    """Return an optimizer's moments and steps by name, for `changed` of `capture_verified`; none before its first step."""
    return {f"{key} {i}": value for i, state in enumerate(optimizer.state.values()) for key, value in state.items()}


def _disagreement(replayed: Tensors, expected: Tensors, before: Tensors) -> str | None:
    """Return where a replay left other values than the ordinary step, or None where it did not.

    The difference in a tensor that existed before is compared with the tensor's change, because an optimizer's step is
    small against a weight. Results and new tensors, which start at zero, are compared as they are.
    """
    for key, value in expected.items():
        start = before.get(key)
        change = (value if start is None else value - start).double().norm()
        difference = (replayed[key] - value).double().norm()
        rounding = 4 * torch.finfo(value.dtype).eps * value.double().norm() if value.is_floating_point() else 0.0
        if not difference <= TOLERANCE * change + rounding:
            return f"its replay differs in {key}, by {difference:.2g} where {change:.2g} changes"
    return None
