"""How much may come out of a file of some size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

MOST_TEXT_BYTES = 2**30


def check_expansion(size: int, stored: int) -> None:
    """Raise ValueError where `size` bytes would be made of so few `stored` ones that no data set can be behind it."""
    if size > max(2**28, 100 * stored):
        raise ValueError(f"an array of {size} bytes out of {stored}")


def text_array(texts: Sequence[str]) -> np.ndarray:
    """Return texts as an array of str, (n,); raise ValueError where they need too much memory.

    Each text takes the width of the longest one.
    """
    longest = max(map(len, texts), default=0)
    if 4 * len(texts) * longest > MOST_TEXT_BYTES:
        raise ValueError(f"{len(texts)} texts, the longest of {longest} characters")
    return np.array(texts, dtype=str)
