"""Any picture that a person may hand in, as an upright RGB image of 8 bits a channel; or one error that says what is wrong.

Files are judged by their content, never by their suffix, and by their announced size before a pixel is decoded.

    image = open_picture(Path("photo.jpg"))
    for path in find_pictures([Path("folder"), Path("one_more.png")]): ...
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from zsl.errors import InputError

SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm")

# Pillow knows many more formats; some of them start other programs (EPS) or are read by code that few ever run.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM")

# What files of videos begin with, and where: MP4 and MOV, AVI, Matroska and WebM, MPEG, Flash, Windows Media, Ogg.
VIDEO_MARKS = ((4, b"ftyp"), (4, b"moov"), (4, b"mdat"), (4, b"wide"), (4, b"free"), (8, b"AVI "), (0, b"\x1aE\xdf\xa3"),
               (0, b"\x00\x00\x01\xba"), (0, b"FLV"), (0, b"0&\xb2u"), (0, b"OggS"))
STILLS = (b"heic", b"heix", b"mif1", b"avif")  # pictures in a container for videos, which are not opened here

MAX_PIXELS = 50_000_000  # a 50 megapixel photo needs 150 MB once it is decoded

EXIF_ORIENTATION = 0x0112
# EXIF's numbers for how the camera was held -> what brings the picture upright
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90,
}


def open_picture(
    source: Path | str | BinaryIO | Image.Image | np.ndarray, *, max_pixels: int = MAX_PIXELS
) -> Image.Image:
    """A picture as RGB with 8 bits a channel, decoded and turned upright.

    Of an animation the first frame; 16 bits are scaled to 8; what is transparent is laid over white; CMYK, palettes and
    greys become RGB. The result carries no metadata, so opening it again changes nothing.

    Args:
        source: a file, its open stream, a PIL image, or an array (h, w), (h, w, 1), (h, w, 3) or (h, w, 4) of uint8 or
            uint16.
        max_pixels: width times height that is still decoded.

    Raises:
        InputError: it is missing, empty, not a picture, damaged, cut short, or too large.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source, max_pixels)
    where = source if isinstance(source, str | Path) else getattr(source, "filename", None) or getattr(source, "name", None)
    where = where or "the picture"
    try:
        if isinstance(source, Image.Image):
            return _decode(source, where, max_pixels)
        with Image.open(source, formats=FORMATS) as image:
            return _decode(image, where, max_pixels)
    except InputError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        found = re.search(r"\d+", str(error))  # Pillow names its own limit as well, which is not ours
        raise _too_large(where, f"{int(found[0]):,} pixels" if found else "more than can be decoded", max_pixels) from None
    except FileNotFoundError:
        what, found, cure = "missing picture", "no such file", "Check the path."
    except IsADirectoryError:
        what, found, cure = "not a picture", "a folder", "Name a file."
    except UnidentifiedImageError:
        what, found, cure = "not a picture", kind_of_file(source), "Leave it out, or save it as JPEG or PNG."
    # A damaged file makes Pillow raise almost anything: OSError, SyntaxError, ValueError, struct.error, IndexError...
    except Exception as error:
        what, found = "damaged picture", f"{type(error).__name__}: {error}".rstrip(": ")
        cure = "It is probably cut short; copy or download it again, or leave it out."
    raise InputError(what, where=where, found=found, expected=f"a whole picture ({', '.join(FORMATS)})", cure=cure) from None


def find_pictures(paths: Iterable[Path | str]) -> list[Path]:
    """`find_files` of pictures."""
    return find_files(paths, SUFFIXES, "picture")


def find_files(paths: Iterable[Path | str], suffixes: Sequence[str], kind: str) -> list[Path]:
    """The files of a kind among files and folders, in the order given; those of a folder and all below it, sorted.

    A file that is named outright is taken whatever its suffix; in folders the suffix decides, and hidden files are not
    looked at. A file reached twice is listed once.

    Args:
        suffixes: of the kind, lower case.
        kind: in words, for messages.

    Raises:
        InputError: a path is missing, or there is no such file anywhere.
    """
    paths = [Path(path) for path in paths]
    found: dict[Path, None] = {}
    for path in paths:
        if path.is_dir():
            found.update(dict.fromkeys(sorted(
                child for child in path.rglob("*")
                if child.suffix.lower() in suffixes and not child.name.startswith(".") and child.is_file()
            )))
        elif path.exists():
            found[path] = None
        else:
            raise InputError(
                f"missing {kind}", where=path, found="no such file or folder", expected=f"a {kind} or a folder of them",
                cure="Check the path.",
            )
    if not found:
        raise InputError(
            f"no {kind}s", where=", ".join(map(str, paths)) or f"the list of {kind}s",
            found="no file with a known suffix", expected=f"files {' '.join(suffixes)}", cure="Name another folder.",
        )
    return list(found)


def _decode(image: Image.Image, where: object, max_pixels: int) -> Image.Image:
    if image.width * image.height > max_pixels:
        raise _too_large(where, f"{image.width} x {image.height} pixels", max_pixels)
    try:
        orientation = image.getexif().get(EXIF_ORIENTATION)
    except Exception:  # damaged metadata does not make a good picture bad
        orientation = None
    image.load()
    image = _to_rgb(image, where)
    if orientation in UPRIGHT:
        image = image.transpose(UPRIGHT[orientation])
    image.info = {}
    return image


def _to_rgb(image: Image.Image, where: object) -> Image.Image:
    """A new image, mode RGB."""
    if image.mode.startswith("I") or image.mode == "F":  # grey values of more than 8 bits
        values = np.asarray(image)
        if image.mode == "F" or values.min() < 0 or values.max() > 65535:
            raise InputError(
                "pixels of an unknown range", where=where,
                found=f"mode {image.mode}, {values.min():g} to {values.max():g}", expected="8 or 16 bits a channel",
                cure="Save it with 8 bits a channel.",
            )
        image = Image.fromarray(_to_8_bits(values))
    if "A" in image.mode or "a" in image.mode or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def _to_8_bits(values: np.ndarray) -> np.ndarray:
    """0 ... 65535 to 0 ... 255, rounded: 65535 / 257 = 255."""
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _from_array(array: np.ndarray, max_pixels: int) -> Image.Image:
    where = "the picture"
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    shape_known = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))
    if not shape_known or array.dtype not in (np.uint8, np.uint16) or array.size == 0:
        raise InputError(
            "not a picture", where=where, found=f"{array.dtype} array of shape {array.shape}",
            expected="uint8 or uint16 (height, width), (height, width, 3) or (height, width, 4)",
            cure="Convert the array to uint8.",
        )
    if array.shape[0] * array.shape[1] > max_pixels:
        raise _too_large(where, f"{array.shape[1]} x {array.shape[0]} pixels", max_pixels)
    return _to_rgb(Image.fromarray(_to_8_bits(array) if array.dtype == np.uint16 else array), where)


def _too_large(where: object, found: str, max_pixels: int) -> InputError:
    return InputError(
        "too large a picture", where=where, found=found, expected=f"at most {max_pixels:,} pixels",
        cure="Make it smaller; nothing of it was decoded.",
    )


def is_picture(path: Path | str) -> bool:
    """Whether a file says that it is a picture of a known format; no pixel is decoded."""
    try:
        with Image.open(path, formats=FORMATS):
            return True
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return True
    except Exception:  # as in open_picture, almost anything
        return False


def kind_of_file(source: Path | str | BinaryIO) -> str:
    """What a file that is no picture looks like, in words: "a video", "text", "an empty file" ..."""
    try:
        if isinstance(source, str | Path):
            with open(source, "rb") as file:
                start = file.read(512)
        else:
            source.seek(0)
            start = source.read(512)
    except (OSError, io.UnsupportedOperation):
        return "something unreadable"
    if not start:
        return "an empty file"
    if any(start[place:].startswith(mark) for place, mark in VIDEO_MARKS) and start[8:12] not in STILLS:
        return "a video"
    try:
        text = start.decode("utf-8" if len(start) < 512 else "ascii")
    except UnicodeDecodeError:
        return "a file of another kind"
    return "text" if text.isprintable() or set(text) & set(os.linesep + "\t\r") else "a file of another kind"
