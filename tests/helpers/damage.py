"""Damage of files, as a failing disk does it."""

from pathlib import Path


def flip_bit(file: Path, position: int) -> None:
    """Flip a bit of the byte at `position`; a negative one counts from the end."""
    content = bytearray(file.read_bytes())
    content[position] ^= 4
    file.write_bytes(content)
