"""Mutated files for a reader: each case runs in a forked child, whose time and memory are bounded for the machine's sake.

A reader keeps the contract if it returns, or raises InputError or MemoryError. A case that takes more than 10 seconds of
processor time, or waits for 30 seconds, is counted as slow.
"""

import multiprocessing
import random
import resource
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

from zslab.errors import InputError

SECONDS, WAIT, BYTES = 10.0, 30.0, 2 << 30
LONGEST_MESSAGE, SLOW = 2000, "slow"

Mutate = Callable[[bytes, random.Random], bytes]


@dataclass(frozen=True)
class Reader:
    """A reader of files.

    Attributes:
        read: reads `path`, and whatever belongs to it, and uses what it has read.
        path: the file that is mutated.
        mutate: makes another file of its content.
    """

    read: Callable[[], object]
    path: Path
    mutate: Mutate


@dataclass
class Outcome:
    """What became of the cases of a reader; `faults` has a line for each that broke the contract, by its number."""

    read: int = 0
    refused: int = 0
    slow: int = 0
    faults: dict[int, str] = field(default_factory=dict)

    @property
    def cases(self) -> int:
        return self.read + self.refused + self.slow + len(self.faults)


def run_cases(reader: Reader, count: int, seconds: float = float("inf"), seed: int = 0) -> Outcome:
    """Return what becomes of mutated files.

    Args:
        reader: whose file is as it should be, and is afterwards.
        count: number of cases.
        seconds: after which no further case is begun.
        seed: case i is made from this seed and i alone, see `case`.
    """
    outcome, content = Outcome(), reader.path.read_bytes()
    end, number = time.monotonic() + seconds, 0
    context = multiprocessing.get_context("fork")
    while number < count and time.monotonic() < end:
        mine, others = context.Pipe(duplex=False)
        child = context.Process(target=_run, args=(others, reader, content, range(number, count), seed), daemon=True)
        child.start()
        others.close()
        fault = ""
        try:
            while time.monotonic() < end:
                if not mine.poll(WAIT):
                    fault = SLOW
                    break
                what = mine.recv()
                if what in ("read", "refused"):
                    setattr(outcome, what, getattr(outcome, what) + 1)
                else:
                    outcome.faults[number] = what
                number += 1
        except EOFError:  # the child has ended
            child.join()
            slow = child.exitcode == -signal.SIGPROF
            fault = SLOW if slow else f"it ended with {child.exitcode}" if child.exitcode else ""
        if fault:  # with number = count, the good file was not read after the damaged ones
            outcome.slow += fault == SLOW
            if fault != SLOW:
                outcome.faults[number] = fault
            number += 1
        child.kill()
        child.join()
    reader.path.write_bytes(content)
    return outcome


def case(reader: Reader, content: bytes, number: int, seed: int = 0) -> bytes:
    """Return the mutated file of a case; `content` is the file as it should be."""
    return reader.mutate(content, random.Random(f"{seed} {number}"))


def _run(results: Connection, reader: Reader, content: bytes, cases: range, seed: int) -> None:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + BYTES, used + BYTES))
    for number in cases:
        reader.path.write_bytes(case(reader, content, number, seed))
        signal.setitimer(signal.ITIMER_PROF, SECONDS)  # SIGPROF ends the process
        outcome = _outcome(reader)
        signal.setitimer(signal.ITIMER_PROF, 0)
        results.send(outcome)
    reader.path.write_bytes(content)
    reader.read()


def _outcome(reader: Reader) -> str:
    """Return "read", "refused", or how the reader broke the contract."""
    try:
        reader.read()
    except InputError as error:
        return "refused" if len(str(error)) <= LONGEST_MESSAGE else f"a message of {len(str(error))} characters"
    except MemoryError:
        return "refused"
    except BaseException as error:
        return f"{type(error).__name__}: {str(error)[:200]}"
    return "read"
