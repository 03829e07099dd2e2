"""Work on the toy images, spread over processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import joblib

Argument = TypeVar("Argument")
Result = TypeVar("Result")

MAX_PROCESSES = 4
IMAGES_PER_PROCESS = 300  # starting a process takes as long as a hundred images


def map_in_order(function: Callable[[Argument], Result], arguments: Sequence[Argument], *, images: int) -> Iterator[Result]:
    """Yield `function(argument)` for each argument, in order, computed by at most `MAX_PROCESSES` processes.

    Args:
        function: something that pickles; its module should be quick to import.
        arguments: one for each call.
        images: how many images all calls work on. Fewer than 600 stay in this process.
    """
    processes = min(joblib.cpu_count(), MAX_PROCESSES, max(1, images // IMAGES_PER_PROCESS))
    yield from joblib.Parallel(processes, return_as="generator")(joblib.delayed(function)(argument) for argument in arguments)
