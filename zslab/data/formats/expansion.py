"""How much may come out of a file of some size."""

from __future__ import annotations


def check_expansion(size: int, stored: int) -> None:
    """Raise ValueError where `size` bytes would be made of so few `stored` ones that no data set can be behind it."""
    if size > max(2**28, 100 * stored):
        raise ValueError(f"an array of {size} bytes out of {stored}")
