"""Lists of whole numbers as text: 1-30, or 1,2,5-8."""

from __future__ import annotations

import re
from collections.abc import Sequence

from zslab.errors import InputError, shortened

LARGEST = 1_000_000


def parse_numbers(text: str, where: object) -> list[int]:
    """Return the numbers that a text lists: "1-3,7" gives [1, 2, 3, 7]; each number once, in the order given.

    Args:
        text: the list.
        where: the flag or file that it comes from, for the error.

    Raises:
        InputError: it is something else, a range is empty or begins below 1, or a number is above a million.
    """
    numbers: dict[int, None] = {}
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part)
        if not match or len(part) > 40 or not 1 <= int(match[1]) <= int(match[2] or match[1]) <= LARGEST:
            raise InputError(
                "the value is not a list of numbers",
                where=where,
                found=shortened(repr(text), 60),
                expected="numbers from 1 on, such as 1-30 or 1,2,5-8",
                fix="Correct it.",
            )
        numbers |= dict.fromkeys(range(int(match[1]), int(match[2] or match[1]) + 1))
    return list(numbers)


def format_numbers(numbers: Sequence[int]) -> str:
    """Return numbers as short text, ascending: [1, 2, 3, 7] gives "1-3,7"."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
