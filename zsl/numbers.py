"""Lists of whole numbers as people write them: 1-30, or 1,2,5-8."""

from __future__ import annotations

import re
from collections.abc import Sequence


def parse_numbers(text: str) -> list[int]:
    """"1-3,7" as [1, 2, 3, 7]; each number once, in the order given.

    Raises:
        ValueError: it is something else, or a range is empty or begins below 1.
    """
    numbers: dict[int, None] = {}
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part)
        if not match or not 1 <= int(match[1]) <= int(match[2] or match[1]):
            raise ValueError(f"{text!r} is not a list of numbers such as 1-30 or 1,2,5-8")
        numbers |= dict.fromkeys(range(int(match[1]), int(match[2] or match[1]) + 1))
    return list(numbers)


def format_numbers(numbers: Sequence[int]) -> str:
    """[1, 2, 3, 7] as "1-3,7"."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
