"""Opening images of any common kind as upright RGB with 8 bits a channel, or with one error that says what is wrong.

Files are judged by their content, never by their suffix, and by their announced size before a pixel is decoded.

Images of more than 8 bits a channel (PNG, TIFF, arrays) need the value that is white. Cameras and microscopes store 10 or 12
bits in 16, and floating-point images run from 0 to 1 or to 255. A file that tells its depth is believed. Otherwise the value is
decided once for a data set, `white = find_white(paths)`, and kept beside its features; for a single image it is guessed from
its largest value.
"""

import io
import logging
import re
import sys
import warnings
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from PIL import Image, ImageOps, TiffImagePlugin, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile

from zslab.errors import InputError, examples, first_line, readable
from zslab.utils.files import START, kind_of_bytes

log = logging.getLogger(__name__)
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")  # of metadata that are damaged or too long

SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".jp2", ".avif",
    ".heic", ".heif",
)  # fmt: skip

# Pillow knows many more formats; some of them start other programs (EPS) or are read by code that few ever run.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "JPEG2000", "AVIF", "HEIF")

MAX_PIXELS = 80_000_000  # such a photo needs 240 MB once it is decoded; Pillow itself warns of somewhat larger ones
MAX_JPEG_PIXELS = 50_000_000  # decoded of a JPEG; larger ones are decoded at a fraction of their sides

WHITES = (255, 1023, 4095, 16383, 65535)  # largest values of 8, 10, 12, 14 and 16 bits
OVERSHOOT = 0.25  # share by which a resized floating-point image may exceed black and white
MAX_SAMPLE_VALUES = (281, 341)  # TIFF tags of whole numbers and of floating-point numbers

Source = Path | str | BinaryIO | Image.Image | np.ndarray


def open_image(source: Source, *, max_pixels: int = MAX_PIXELS, white: float | None = None) -> Image.Image:
    """Return an image as RGB with 8 bits a channel, decoded and turned upright.

    An animation gives its first frame. More than 8 bits are scaled to 8; transparent pixels are laid over white. The result
    has no metadata, so opening it again changes nothing.

    Args:
        source: a file, its open stream, a PIL image, or an array (h, w), (h, w, 1), (h, w, 3) or (h, w, 4) of uint8, uint16
            or floating-point numbers.
        max_pixels: largest width times height that is decoded; a larger JPEG is decoded at a fraction of its size.
        white: the value that is white in images of more than 8 bits whose files do not tell: an int of those of whole numbers,
            a float of floating-point ones. None, or for the other ones: a guess.
    """
    where = source if isinstance(source, str | Path) else getattr(source, "filename", None) or getattr(source, "name", None)
    image, deep = _decoded(source, where or "the image", max_pixels)
    if deep is not None:
        pixels = _in_8_bits(deep, white, where or "the image")
        mode, info = "L" if pixels.ndim == 2 else "LA" if pixels.shape[2] == 2 else image.mode, image.info
        image = Image.frombytes(mode, pixels.shape[1::-1], pixels.tobytes())
        image.info = info
    with suppress(Exception):  # damaged metadata does not make a good image bad
        image = ImageOps.exif_transpose(image)  # nothing where Pillow has turned it already, as it does with TIFF
    if "A" in image.mode or "a" in image.mode or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("RGB")
    image.info = {}
    return image


def find_white(files: Iterable[Path], *, max_pixels: int = MAX_PIXELS, workers: int = 1) -> float | None:
    """Return the value that is white in those images of a data set that have more than 8 bits and do not tell it.

    It is the largest value of the fewest bits that hold all of these images, and logged. Images that cannot be read are left
    out. None without such an image.
    """

    def untold(file: Path) -> tuple[float, Path] | None:
        with suppress(InputError, OSError):
            with open(file, "rb") as stream:
                start = stream.read(25)
            if start[:2] in (b"II", b"MM") or (start[:4] == b"\x89PNG" and start[24:] == b"\x10"):  # TIFF, PNG of 16 bits
                _, deep = _decoded(file, file, max_pixels)
                if deep is not None and deep.white is None:
                    return _guess(deep.colors, file), file
        return None

    with ThreadPoolExecutor(workers) as pool:
        found = [one for one in pool.map(untold, files) if one is not None]
    if not found:
        return None
    if len(kinds := {type(white): file.name for white, file in found}) > 1:
        must = "images of more than 8 bits must be all of whole or all of floating-point numbers"
        fix = "Convert one kind to 8 bits a channel."
        raise InputError(must, where=found[0][1].parent, got=examples(kinds.values()), fix=fix)
    white, _ = max(found)
    log.warning("%d images have more than 8 bits and no stored depth: %g is taken as white in all of them.", len(found), white)
    return white


class _Deep(NamedTuple):
    """Samples of more than 8 bits: (h, w) or (h, w, channels), and the value of white where the file tells it."""

    values: np.ndarray
    white: float | None = None
    has_alpha: bool = False  # as the last channel, whose depth may be another: an opaque one is often 65535 beside 12 bits
    is_negative: bool = False  # 0 is white

    @property
    def colors(self) -> np.ndarray:
        return self.values[..., :-1] if self.has_alpha else self.values


def _decoded(source: Source, where: object, max_pixels: int) -> tuple[Image.Image, _Deep | None]:
    """Return the loaded image and its samples of more than 8 bits."""
    if isinstance(source, np.ndarray):
        return _from_array(source, where, max_pixels)
    if isinstance(source, str | Path) and not Path(source).is_file():
        got = "a folder" if Path(source).is_dir() else "no such file"
        raise InputError("the image must be a file", where=where, got=got, fix="Check the path.")
    formats, content = ", ".join(FORMATS), b""
    fix = "It is probably cut short or of another kind: copy it again, save it as JPEG or PNG, or leave it out."
    with readable(where, f"the file must be a complete image ({formats})", fix):
        if isinstance(source, Image.Image):
            image = source
        else:
            if isinstance(source, str | Path):
                content = Path(source).read_bytes()
            else:
                source.seek(0)
                content = source.read()
            try:
                image = _open(content)
            except Image.DecompressionBombError as error:
                raise _too_large(where, first_line(error), max_pixels) from None
            except UnidentifiedImageError:
                if content[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1") and "HEIF" not in known_formats():
                    fix = "For photos of iPhones, in the project's folder: pip install -e '.[images]'."
                must, got = f"the file must be an image of a kind that is read ({formats})", kind_of_bytes(content[:START])
                raise InputError(must, where=where, got=got, fix=fix) from None
        most, n_pixels = min(max_pixels, MAX_JPEG_PIXELS), image.width * image.height
        if isinstance(image, JpegImageFile) and n_pixels > most:
            factor = next((n for n in (2, 4) if n_pixels <= n * n * most), 8)  # what the decoder can leave out
            image.draft("RGB", (image.width // factor, image.height // factor))
        if image.width * image.height > max_pixels:
            raise _too_large(where, f"{image.width} x {image.height}", max_pixels)
        deep = _deep(image, content)
        image.load()
    return image, deep


def _open(content: bytes) -> Image.Image:
    """Open a file by its content. JPEGs of any size are opened, since they can be decoded at a fraction of it."""
    file = io.BytesIO(content)
    return JpegImageFile(file) if content[:3] == b"\xff\xd8\xff" else Image.open(file, formats=known_formats())


@cache
def known_formats() -> tuple[str, ...]:
    """Return the formats that the installed Pillow reads, with HEIF where pillow-heif is installed."""
    with suppress(ImportError):
        import pillow_heif

        pillow_heif.register_heif_opener()
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _from_array(array: np.ndarray, where: object, max_pixels: int) -> tuple[Image.Image, _Deep | None]:
    array = array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array
    mode = {2: "L", 3: {3: "RGB", 4: "RGBA"}.get(array.shape[-1])}.get(array.ndim) if array.size else None
    if mode is None or (array.dtype not in (np.uint8, np.uint16) and array.dtype.kind != "f"):
        must = "an array must be (height, width), (height, width, 3) or (height, width, 4) of uint8, uint16 or float"
        raise InputError(must, where=where, got=f"{array.dtype} {array.shape}", fix="Convert the array to uint8.")
    height, width = array.shape[:2]
    if height * width > max_pixels:
        raise _too_large(where, f"{width} x {height}", max_pixels)
    deep = _Deep(array, has_alpha=mode == "RGBA")
    return (Image.fromarray(array), None) if array.dtype == np.uint8 else (Image.new(mode, (1, 1)), deep)


def _too_large(where: object, got: str, max_pixels: int) -> InputError:
    fix = "Make it smaller; commands that extract features take --max_pixels."
    return InputError(f"the image must have at most {max_pixels:,} pixels", where=where, got=got, fix=fix)


def _deep(image: Image.Image, content: bytes) -> _Deep | None:
    """Return the samples of an image that has more than 8 bits a channel; it must not have been loaded."""
    tags = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
    bits = max(tags.get(TiffImagePlugin.BITSPERSAMPLE, (0,)))
    if bits > 8 and tags.get(TiffImagePlugin.PLANAR_CONFIGURATION) == 2:  # Pillow would take bytes of one color for another's
        raise ValueError(f"{bits} bits with a plane for each color, which is not read")
    tiles = getattr(image, "tile", None)
    raw_mode = str(tiles[0][3][0] if isinstance(tiles[0][3], tuple) else tiles[0][3]) if tiles else ""
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image)
    elif content and re.fullmatch(r"(RGB|RGBX|RGBA|CMYK);16[BLN]", raw_mode):
        # Pillow keeps the high bytes alone; told the other byte order, it keeps the low ones.
        other = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}[raw_mode[-1]]
        values = np.asarray(image).astype(np.uint16) * 256 + _read_as(content, raw_mode[:-1] + other)
    elif content and raw_mode == "LA;16B":
        values = _read_as(content, "RGBA").reshape(image.height, image.width, 2, 2).astype(np.uint16) @ [256, 1]
    elif re.search(r";16[BLN]$", raw_mode):
        values = np.asarray(image).astype(np.uint16) * 257  # Pillow has the high bytes alone
    else:
        return None
    deep = _Deep(values, None, image.mode in ("LA", "RGBA"), tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0)
    most = deep.colors.max()
    told = [max(np.atleast_1d(tags[tag])) for tag in MAX_SAMPLE_VALUES if tag in tags]  # or the largest value that occurs
    if image.format in ("PPM", "JPEG2000") and image.mode != "F":  # which Pillow brings to 16 bits
        return deep._replace(white=65535)
    if 8 < bits < 16:
        return deep._replace(white=2**bits - 1)
    if told and most <= told[0] and told[0] in WHITES[:-1]:
        return deep._replace(white=float(told[0]))
    if depth := _significant_bits(content) if image.format == "PNG" else 0:
        # PNG's standard asks writers to scale the values to all 16 bits, but not all do.
        return deep._replace(white=2**depth - 1 if most < 2**depth else 65535)
    return deep


def _read_as(content: bytes, raw_mode: str) -> np.ndarray:
    """Return the pixels of a file as Pillow unpacks them from another layout of the same number of bytes."""
    image: Any = _open(content)
    image._mode = raw_mode.split(";")[0]
    tiles = image.tile
    image.tile = [t._replace(args=(raw_mode, *t.args[1:]) if isinstance(t.args, tuple) else raw_mode) for t in tiles]
    return np.asarray(image)


def _significant_bits(content: bytes) -> int:
    """Return the largest number in a PNG's chunk sBIT if it is less than 16, else 0."""
    start = content.find(b"sBIT", 0, content.find(b"IDAT"))
    length = int.from_bytes(content[start - 4 : start], "big") if start > 4 else 0
    bits = max(content[start + 4 : start + 4 + length], default=0)
    return bits if 8 <= bits < 16 else 0


def _in_8_bits(deep: _Deep, decided: float | None, where: object) -> np.ndarray:
    """Scale 0 ... white to 0 ... 255, rounded; white is what the file tells, what was decided for the data set, or a guess."""
    values, is_float, told = deep.colors, deep.values.dtype.kind == "f", deep.white
    if told is None and isinstance(decided, float) == is_float:
        told = decided
    white = _guess(values, where) if told is None else told
    if told is None and white < WHITES[-1]:
        log.warning("%s: more than 8 bits and no stored depth; %g is taken as white.", where, white)
    margin = OVERSHOOT * white if is_float else 0
    if not (values.min() >= -margin and values.max() <= white + margin):
        raise _no_brightness(values, white, where)
    scaled = _scaled(values, white)
    if deep.has_alpha:
        alpha = deep.values[..., -1:]
        scaled = np.concatenate([scaled, _scaled(alpha, white if alpha.max() <= white else _guess(alpha, where))], axis=-1)
    return 255 - scaled if deep.is_negative else scaled


def _scaled(values: np.ndarray, white: float) -> np.ndarray:
    is_float, white = values.dtype.kind == "f", white if values.dtype.kind == "f" else int(white)
    scaled = np.clip(values / white, 0, 1) * 255 + 0.5 if is_float else (values.astype(np.int64) * 255 + white // 2) // white
    return np.asarray(scaled.astype(np.uint8))


def _guess(values: np.ndarray, where: object) -> float:
    """Return the largest value of the fewest bits that hold the pixels; 1.0 of floating-point numbers up to about 1."""
    is_float = values.dtype.kind == "f"
    for white in (1, *WHITES) if is_float else WHITES:
        if values.max() <= white * (1 + OVERSHOOT * is_float):
            return float(white) if is_float else white
    raise _no_brightness(values, WHITES[-1], where)


def _no_brightness(values: np.ndarray, white: float, where: object) -> InputError:
    got, fix = f"{values.min():g} to {values.max():g}", "Save the image with 8 bits a channel."
    return InputError(f"pixels must be from 0 to {white:g}", where=where, got=got, fix=fix)
