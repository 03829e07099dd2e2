"""What a file is that is not what it should be: the kinds that downloads and copies leave behind, by their first bytes."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

START = 512  # bytes that tell the kind
OTHER = "a file of another kind"
MARKS = ((b"PK\x03\x04", "a ZIP archive"), (b"\x89HDF", "an HDF5 file"), (b"version https://git-lfs", "a Git LFS pointer"))


def kind_of_bytes(start: bytes) -> str:
    """Return the kind of a file by its first `START` bytes."""
    if not start:
        return "an empty file"
    if start.removeprefix(b"\xef\xbb\xbf").lstrip().lower().startswith((b"<!doctype html", b"<html", b"<head")):
        return "a web page"
    return next((kind for mark, kind in MARKS if start.startswith(mark)), OTHER)


def kind_of_file(source: object) -> str:
    """Return the kind of a file, by its path or as an open binary stream."""
    try:
        if isinstance(source, str | Path):
            if Path(source).is_dir():
                return "a folder"
            with open(source, "rb") as file:
                return kind_of_bytes(file.read(START))
        stream: BinaryIO = source  # type: ignore[assignment]
        stream.seek(0)
        return kind_of_bytes(stream.read(START))
    except (OSError, AttributeError):
        return "something unreadable"
