"""Mutated files for a reader: each case runs in a forked child, which a watchdog ends and whose memory is bounded.

A reader keeps the contract if it returns, or raises InputError, within 10 seconds and 2 GiB.
"""

from __future__ import annotations

import multiprocessing
import random
import resource
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

from zslab.errors import InputError

SECONDS, BYTES = 10.0, 2 << 30
LONGEST_MESSAGE = 2000


def mutated(content: bytes, generator: random.Random) -> bytes:
    """Return the content with some bytes flipped, cut, repeated, or replaced by numbers that a size field may hold."""
    data = bytearray(content)
    for _ in range(generator.choice((1, 1, 2, 4, 16))):
        if not data:
            return bytes(data)
        # Headers decide most, so half of the changes fall into the first 512 bytes.
        at = generator.randrange(min(len(data), 512) if generator.random() < 0.5 else len(data))
        match generator.randrange(6):
            case 0:
                data[at] ^= 1 << generator.randrange(8)
            case 1:
                data[at] = generator.randrange(256)
            case 2:
                size = generator.choice((2, 4, 8))
                value = generator.choice((0, 1, 2**7, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1))
                data[at : at + size] = (value % 2 ** (8 * size)).to_bytes(size, generator.choice(("little", "big")))
            case 3:
                del data[at : len(data) if generator.random() < 0.3 else at + generator.randrange(1, 9)]
            case 4:
                data[at:at] = data[at : at + generator.randrange(1, 65)]
            case 5:
                data[at:at] = generator.choice((b"\xff" * 4, b"\0" * 4, b"9" * 20, b"-1", b"nan", b"1e400", b"\xef\xbb\xbf"))
    return bytes(data)


def violations(read: Callable[[], object], path: Path, content: bytes, count: int, seed: int = 0) -> list[str]:
    """Return what went wrong in `count` cases of a reader, a line each.

    Args:
        read: reads `path`, and whatever belongs to it.
        path: the file that is replaced by mutations of `content`.
        content: the file as it should be.
        count: number of cases.
        seed: case i is made from this seed and i alone.
    """
    found: list[str] = []
    first = 0
    context = multiprocessing.get_context("fork")
    while first < count:
        mine, others = context.Pipe(duplex=False)
        child = context.Process(target=_run, args=(others, read, path, content, range(first, count), seed), daemon=True)
        child.start()
        others.close()
        case = first
        try:
            while mine.poll(SECONDS):
                case, fault = mine.recv()
                if fault:
                    found.append(f"case {case}: {fault}")
                case += 1
            found.append(f"case {case}: more than {SECONDS:.0f} s")
        except EOFError:  # the child has ended
            child.join()
            if child.exitcode:
                found.append(f"case {case}: the process ended with {child.exitcode}")
        child.kill()
        child.join()
        first = case + 1 if case < count else count
    path.write_bytes(content)
    return found


def _run(results: Connection, read: Callable[[], object], path: Path, content: bytes, cases: range, seed: int) -> None:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + BYTES, used + BYTES))
    for case in cases:
        path.write_bytes(mutated(content, random.Random(f"{seed} {case}")))
        fault = ""
        try:
            read()
        except InputError as error:
            if len(str(error)) > LONGEST_MESSAGE:
                fault = f"a message of {len(str(error))} characters"
        except BaseException as error:
            fault = f"{type(error).__name__}: {str(error)[:200]}"
        results.send((case, fault))
