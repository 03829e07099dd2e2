"""What the C library is told about freed memory, in processes of their own, because it lasts."""

import subprocess
import sys

import pytest

from zslab.utils.environment import MMAP_LIMIT, reuse_freed_memory

COUNT = """
import resource, sys, torch
from zslab.utils.environment import reuse_freed_memory
told = reuse_freed_memory(int(sys.argv[1]))
for i in range(23):
    if i == 20:  # the first ones find their places
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(9 * 2**20)
print(told, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_small_blocks_need_nothing() -> None:
    assert not reuse_freed_memory(MMAP_LIMIT - 1)


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's")
def test_large_blocks_are_used_again() -> None:
    """36 MiB are 9,216 pages, or 18 huge ones."""
    outputs = [
        subprocess.run([sys.executable, "-c", COUNT, str(largest)], capture_output=True, text=True, check=True).stdout.split()
        for largest in (0, MMAP_LIMIT)
    ]
    (_, without), (told, faults) = outputs
    assert int(without) >= 3 * 18
    if told == "True":  # musl has no such function
        assert int(faults) < 3 * 18
