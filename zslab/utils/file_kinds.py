"""What a file is, by its content, for messages about files of an unexpected kind.

kind_of_file(Path("photo.jpg"))  # "an HTML page"
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import BinaryIO

START = 512  # bytes that tell the kind

VIDEO = "a video"
STILLS = (b"heic", b"heix", b"mif1", b"avif")  # images in a container for videos

# Where a mark stands, the mark, and the kind; the first that fits counts.
MARKS: tuple[tuple[int, bytes, str], ...] = (
    *((4, b"ftyp" + brand, "an image of a kind that the installed packages do not read") for brand in STILLS),
    (4, b"ftypcrx", "a raw photo"),
    (0, b"\xff\xd8\xff", "a JPEG image"),
    (0, b"\x89PNG", "a PNG image"),
    (0, b"GIF8", "a GIF image"),
    (8, b"WEBP", "a WebP image"),
    (0, b"II*\0", "a TIFF image"),
    (0, b"MM\0*", "a TIFF image"),
    (0, b"8BPS", "a Photoshop image"),
    (4, b"JXL ", "a JPEG XL image"),
    (0, b"\xff\x0a", "a JPEG XL image"),
    *((4, mark, VIDEO) for mark in (b"ftyp", b"moov", b"mdat", b"wide", b"free")),  # MP4 and MOV
    (8, b"AVI ", VIDEO),
    (0, b"\x1aE\xdf\xa3", VIDEO),  # Matroska and WebM
    (0, b"\0\0\x01\xba", VIDEO),  # MPEG
    (0, b"FLV", VIDEO),
    (0, b"0&\xb2u", VIDEO),  # Windows Media
    (0, b"OggS", VIDEO),
    (8, b"WAVE", "a sound file"),
    (0, b"ID3", "a sound file"),
    (0, b"fLaC", "a sound file"),
    (0, b"\0\x05\x16\x07", "what macOS stores beside a file"),
    (0, b"%PDF", "a PDF document"),
    (0, b"%!PS", "a PostScript document"),
    (0, b"\xd0\xcf\x11\xe0", "an old or encrypted Office document"),
    (0, b"PAR1", "a Parquet file"),
    (0, b"\x80", "a pickle"),
    (0, b"\x89HDF", "an HDF5 file"),
    (0, b"MATLAB 5.0", "a MATLAB file"),
    (0, b"\x93NUMPY", "a NumPy array"),
    (0, b"GGUF", "a GGUF file"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"7z\xbc\xaf", "a 7z archive"),
    (0, b"Rar!", "a RAR archive"),
    (257, b"ustar", "a tar archive"),
    (0, b"version https://git-lfs", "a Git LFS pointer"),
)
TEXTS = (  # how a text begins, in lower case and without white space before it
    ((b"<!doctype html", b"<html", b"<head"), "an HTML page"),
    ((b"<svg",), "an SVG drawing"),
    ((b"{", b"["), "JSON"),
)
PARTS = (  # what the name of an archive's part ends or begins with
    ("content.xml", "an OpenDocument file"),
    ("index/document.iwa", "an Apple iWork document"),
    ("xl/", "an Excel workbook"),
    ("word/", "a Word document"),
    ("/constants.pkl", "a TorchScript program"),
    ("/data.pkl", "a PyTorch file"),
    (".npy", "a NumPy archive"),
)


def kind_of_bytes(start: bytes) -> str:
    """Return the kind of a file by its first `START` bytes: "a video", "text", "an empty file" ..."""
    if not start:
        return "an empty file"
    if not start.strip(b"\0"):
        return "a file of zeros"
    kind = next((kind for place, mark, kind in MARKS if start[place:].startswith(mark)), None)
    if kind is not None:
        return kind
    if start[0] == 8 and start[2:3] == b"\x12":  # version and producer
        return "an ONNX model"
    if start.startswith(b"PK\x03\x04"):
        return "a ZIP archive"
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith(b"<?xml"):
        return "an SVG drawing" if b"<svg" in text else "an XML file"
    kind = next((kind for marks, kind in TEXTS if text.startswith(marks)), "text")
    try:
        decoded = start.decode("utf-8" if len(start) < START else "ascii")
    except UnicodeDecodeError:
        return "a file of another kind"
    return kind if all(c.isprintable() or c in "\r\n\t\f" for c in decoded) else "a file of another kind"


def kind_of_file(source: object) -> str:
    """Return the kind of a file or open stream; of a ZIP archive what its parts tell."""
    try:
        if isinstance(source, str | Path):
            if Path(source).is_dir():
                return "a folder"
            with open(source, "rb") as file:
                return _kind(file)
        return _kind(source) if hasattr(source, "seek") else "something unreadable"  # type: ignore[arg-type]
    except OSError:
        return "something unreadable"


def _kind(file: BinaryIO) -> str:
    file.seek(0)
    kind = kind_of_bytes(file.read(START))
    if kind != "a ZIP archive":
        return kind
    try:
        names = [name.lower() for name in zipfile.ZipFile(file).namelist()]
    except (zipfile.BadZipFile, NotImplementedError, ValueError):
        return "a damaged ZIP archive"
    return next((kind for part, kind in PARTS if any(name.startswith(part) or name.endswith(part) for name in names)), kind)
