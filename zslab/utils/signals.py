"""The first Ctrl-C as a request to save and stop, the second as an order."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def stop_requests(on_first: Callable[[], object]) -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C, SIGTERM or SIGHUP into a flag; a second one raises KeyboardInterrupt."""
    asked = False

    def handle(number: int, frame: object) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        on_first()

    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    numbers = [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]
    try:
        earlier = {number: signal.signal(number, handle) for number in numbers}
    except ValueError:  # not in the main thread, where signals cannot be handled
        earlier = {}
    try:
        yield lambda: asked
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
