"""Opening images of any common kind as upright RGB with 8 bits a channel, or with one error that says what is wrong.

Files are judged by their content, never by their suffix, and by their announced size before a pixel is decoded.

    image = open_image(Path("photo.jpg"))
    for path in find_images([Path("folder"), Path("one_more.png")]): ...
"""

from __future__ import annotations

import importlib
import io
import logging
import os
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, NoReturn

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import BITSPERSAMPLE, PHOTOMETRIC_INTERPRETATION, PLANAR_CONFIGURATION, TiffImageFile

from zslab.errors import REFUSALS, InputError, examples
from zslab.utils.file_kinds import kind_of_file

log = logging.getLogger(__name__)
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")  # of metadata that are damaged or too long

SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".jp2", ".avif",
    ".heic", ".heif",
)  # fmt: skip

HIDDEN = (".", "@eaDir", "__MACOSX")  # how names begin that the system, a Synology disk or an archive of macOS added

# Pillow knows many more formats; some of them start other programs (EPS) or are read by code that few ever run.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "JPEG2000", "AVIF", "HEIF")

MAX_PIXELS = 80_000_000  # such a photo needs 240 MB once it is decoded; Pillow itself warns of somewhat larger ones
MAX_JPEG_PIXELS = 50_000_000  # decoded of a JPEG; larger ones are decoded at a fraction of their sides
LARGEST_FILE = 2**30  # bytes; 110 megapixels of 16 bits a channel need 660 MB
REDUCED = 8  # the JPEG decoder gives an image of 1 / 8 of the sides without decoding the whole
MAX_SCANS = 64  # of a progressive JPEG, which is decoded once for each scan; common encoders write about 10
MAX_SCANNED = 1_500_000_000  # pixels times scans, decoded in some 3 seconds

NEW_SUBFILE_TYPE, DNG_VERSION = 254, 50706  # tags of TIFF
EXIF_ORIENTATION = 0x0112
# EXIF's numbers for how the camera was held -> what brings the image upright
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def open_image(source: Path | str | BinaryIO | Image.Image | np.ndarray, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Return an image as RGB with 8 bits a channel, decoded and turned upright.

    An animation gives its first frame. 16 bits are scaled to 8; transparent pixels are laid over white; CMYK, palettes and
    gray values become RGB. The result has no metadata, so opening it again changes nothing.

    Args:
        source: a file, its open stream, a PIL image, or an array (h, w), (h, w, 1), (h, w, 3) or (h, w, 4) of uint8 or
            uint16.
        max_pixels: largest width times height that is decoded; a larger JPEG is decoded at a fraction of its size.

    Raises:
        InputError: the image is missing, empty, no image, damaged, cut short, or too large.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source, max_pixels)
    where = source if isinstance(source, str | Path) else getattr(source, "filename", None) or getattr(source, "name", None)
    where = where or "the image"
    try:
        if isinstance(source, Image.Image):
            return _decode(source, where, max_pixels)
        with _open(source) as image:
            return _decode(image, where, max_pixels)
    except InputError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        size = re.search(r"\d+", str(error))  # Pillow names its own limit as well, which is not ours
        raise _too_large(where, f"{int(size[0]):,} pixels" if size else "more than can be decoded", max_pixels) from None
    except FileNotFoundError:
        what, found, cure = "the image is missing", "no such file", "Check the path."
    except IsADirectoryError:
        what, found, cure = "the file is not an image", "a folder", "Name a file."
    except UnidentifiedImageError:
        found, cure = kind_of_file(source), _how_to_open(source)
        what = "the file is not an image of a kind that is read"
    # A damaged file makes Pillow raise almost anything: OSError, SyntaxError, ValueError, struct.error, IndexError...
    except Exception as error:
        if isinstance(error, OSError) and error.errno in REFUSALS:
            what, found, cure = "the image cannot be read", os.strerror(error.errno), "Check the permissions of the file."
        else:
            what, found = "the image is damaged", f"{type(error).__name__}: {error}".rstrip(": ")
            cure = "It is probably cut short; copy or download it again, or leave it out."
    raise InputError(what, where=where, found=found, expected=f"a whole image ({', '.join(FORMATS)})", fix=cure) from None


@lru_cache(maxsize=1)
def known_formats() -> tuple[str, ...]:
    """Return the formats that the installed Pillow reads, with HEIF where pillow-heif is installed."""
    with suppress(ImportError):
        importlib.import_module("pillow_heif").register_heif_opener()
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _open(source: Path | str | BinaryIO) -> Image.Image:
    """Open a file by its content. JPEGs of any size are opened, since they can be decoded at a fraction of it."""
    if _first_bytes(source, 3) == b"\xff\xd8\xff":
        return JpegImageFile(source)
    # From memory, where a length that lies costs nothing: Pillow asks a file for as many bytes as the image claims to have.
    if isinstance(source, str | Path) and os.path.getsize(source) > LARGEST_FILE:
        raise OSError(f"more than {LARGEST_FILE:,} bytes")
    content = Path(source).read_bytes() if isinstance(source, str | Path) else source.read()
    image = Image.open(io.BytesIO(content), formats=known_formats())
    if isinstance(image, TiffImageFile):
        _check_tiff(image, content, source)
    return image


def _check_tiff(image: TiffImageFile, content: bytes, where: object) -> None:
    """Refuse TIFFs of which Pillow would read a thumbnail, or pixels in a wrong order."""
    tags = image.tag_v2
    bits = max(tags.get(BITSPERSAMPLE, (1,)))
    if DNG_VERSION in tags or content[8:10] == b"CR" or tags.get(NEW_SUBFILE_TYPE) == 1:
        found = "a raw photo, whose first image is a preview"
    elif tags.get(PHOTOMETRIC_INTERPRETATION) == 6 and image.tile[0].codec_name == "raw":
        found = "a TIFF of uncompressed YCbCr"
    elif tags.get(PLANAR_CONFIGURATION) == 2 and bits > 8:
        found = f"a TIFF of {bits} bits with a plane for each color"
    else:
        return
    raise InputError(
        "this kind of image cannot be read",
        where=where if isinstance(where, str | Path) else "the image",
        found=found,
        expected=f"a whole image ({', '.join(FORMATS)})",
        fix="Save it as JPEG or PNG.",
    )


def _first_bytes(source: Path | str | BinaryIO, length: int) -> bytes:
    if isinstance(source, str | Path):
        with open(source, "rb") as file:
            return file.read(length)
    source.seek(0)
    start = source.read(length)
    source.seek(0)
    return start


def _reduce(image: Image.Image, where: object, max_pixels: int) -> None:
    """Make a large JPEG decode at 1/2, 1/4 or 1/8 of its sides, and refuse one that takes long to decode."""
    if not isinstance(image, JpegImageFile):
        return
    progressive = "progressive" in image.info or "progression" in image.info
    if progressive and image.fp is not None:
        position = image.fp.tell()
        image.fp.seek(0)
        n_scans = image.fp.read().count(b"\xff\xda")
        image.fp.seek(position)
        if n_scans > min(MAX_SCANS, MAX_SCANNED // (image.width * image.height)):
            raise InputError(
                "the image takes too long to decode",
                where=where,
                found=f"{n_scans} scans of a progressive JPEG of {image.width} x {image.height} pixels",
                expected=f"at most {MAX_SCANS} scans and {MAX_SCANNED:,} pixels in all scans",
                fix="Save the image again.",
            )
    decoded = min(max_pixels, MAX_JPEG_PIXELS)
    if not progressive and decoded < image.width * image.height <= REDUCED**2 * decoded:
        factor = next(n for n in (2, 4, 8) if image.width * image.height <= n * n * decoded)
        image.draft("RGB", (image.width // factor, image.height // factor))


def find_images(paths: Iterable[Path | str]) -> list[Path]:
    """Return the image files among files and folders, see `find_files`."""
    return find_files(paths, SUFFIXES, "image")


def find_files(paths: Iterable[Path | str], suffixes: Sequence[str], kind: str) -> list[Path]:
    """Return the files of a kind among files and folders, in the order given; a folder gives all files below it, sorted.

    A file that is named itself is taken whatever its suffix; in folders the suffix decides, and hidden files are skipped. A
    file that is reached twice is listed once.

    Args:
        paths: files and folders.
        suffixes: suffixes of the kind, in lower case.
        kind: its name for messages, "image" or "video".

    Raises:
        InputError: a path is missing, or there is no such file anywhere.
    """
    given = [Path(path) for path in paths]
    files: dict[Path, None] = {}
    ignored: Counter[str] = Counter()
    for path in given:
        if not path.exists():
            raise InputError(
                f"the {kind} is missing",
                where=path,
                found="no such file or folder",
                expected=f"{'an' if kind == 'image' else 'a'} {kind} or a folder of them",
                fix="Check the path.",
            )
        files.update(dict.fromkeys(files_below(path, suffixes, ignored) if path.is_dir() else [path]))
    report_ignored(ignored, kind)
    if not files:
        raise InputError(
            f"there are no {kind}s",
            where=", ".join(map(str, given)) or f"the list of {kind}s",
            found="no file with a known suffix",
            expected=f"files {' '.join(suffixes)}",
            fix="Name another folder.",
        )
    return list(files)


def files_below(folder: Path, suffixes: Sequence[str], ignored: Counter[str]) -> list[Path]:
    """Return the files with one of the suffixes in a folder and all folders below it, sorted; hidden ones are skipped.

    Links to folders are followed, but not to a folder that they lie in. A folder that is reached twice counts once.

    Args:
        folder: the folder.
        suffixes: in lower case.
        ignored: counts the other files, by suffix.

    Raises:
        InputError: a folder cannot be read.
    """

    def refuse(error: OSError) -> NoReturn:
        raise InputError(
            "the folder cannot be read",
            where=error.filename,
            found=error.strerror,
            expected="permission to list it",
            fix="Change its permissions, or move it elsewhere.",
        )

    files, visited = [], set()
    for place, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        real = os.path.realpath(place)
        is_above = place != str(folder) and os.path.realpath(os.path.dirname(place)).startswith(os.path.join(real, ""))
        if real in visited or is_above:
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith(HIDDEN))
        for path in (Path(place, name) for name in names if not name.startswith(HIDDEN)):
            if path.suffix.lower() not in suffixes:
                ignored[path.suffix.lower() or "without a suffix"] += 1
            elif path.is_file() or path.is_symlink():  # a link that leads nowhere is reported as a missing file
                files.append(path)
    return sorted(files)


def report_ignored(ignored: Counter[str], kind: str) -> None:
    """Log how many files were ignored because their suffix is none of an image, or of a video."""
    if ignored:
        counts = [f"{n} {suffix}" for suffix, n in sorted(ignored.items(), key=lambda item: (-item[1], item[0]))]
        log.warning("Ignored files without %s suffix: %s", "an image" if kind == "image" else "a video", examples(counts))


def _decode(image: Image.Image, where: object, max_pixels: int) -> Image.Image:
    _reduce(image, where, max_pixels)
    if image.width * image.height > max_pixels:
        raise _too_large(where, f"{image.width} x {image.height} pixels", max_pixels)
    image.load()
    try:
        orientation = image.getexif().get(EXIF_ORIENTATION)  # none once Pillow has turned the image, as it does with TIFF
    except Exception:  # damaged metadata does not make a good image bad
        orientation = None
    image = _to_rgb(image, where)
    if orientation in UPRIGHT:
        image = image.transpose(UPRIGHT[orientation])
    image.info = {}
    return image


def _to_rgb(image: Image.Image, where: object) -> Image.Image:
    """Return a new image of mode RGB."""
    if image.mode.startswith("I") or image.mode == "F":  # grey values of more than 8 bits
        values = np.asarray(image)
        if image.mode == "F" or values.min() < 0 or values.max() > 65535:
            raise InputError(
                "the range of the pixels is unknown",
                where=where,
                found=f"mode {image.mode}, {values.min():g} to {values.max():g}",
                expected="8 or 16 bits a channel",
                fix="Save it with 8 bits a channel.",
            )
        in_8_bits = image.mode == "I" and values.max() <= 255  # 32 bits a pixel that hold 8
        image = Image.fromarray(values.astype(np.uint8) if in_8_bits else _to_8_bits(values))
    if "A" in image.mode or "a" in image.mode or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def _to_8_bits(values: np.ndarray) -> np.ndarray:
    """Scale 0 ... 65535 to 0 ... 255, rounded: 65535 / 257 = 255."""
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _from_array(array: np.ndarray, max_pixels: int) -> Image.Image:
    where = "the image"
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    shape_known = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))
    if not shape_known or array.dtype not in (np.uint8, np.uint16) or array.size == 0:
        raise InputError(
            "the array is not an image",
            where=where,
            found=f"{array.dtype} array of shape {array.shape}",
            expected="uint8 or uint16 (height, width), (height, width, 3) or (height, width, 4)",
            fix="Convert the array to uint8.",
        )
    if array.shape[0] * array.shape[1] > max_pixels:
        raise _too_large(where, f"{array.shape[1]} x {array.shape[0]} pixels", max_pixels)
    return _to_rgb(Image.fromarray(_to_8_bits(array) if array.dtype == np.uint16 else array), where)


def _too_large(where: object, found: str, max_pixels: int) -> InputError:
    return InputError(
        "the image is too large",
        where=where,
        found=found,
        expected=f"at most {max_pixels:,} pixels",
        fix="Make it smaller; commands that extract features take --max_pixels.",
    )


def _how_to_open(source: object) -> str:
    if isinstance(source, str | Path) and Path(source).suffix.lower() in (".heic", ".heif") and "HEIF" not in known_formats():
        return "For photos of iPhones, in the project's folder: pip install -e '.[images]'."
    return "Leave it out, or save it as JPEG or PNG."


def is_image(path: Path | str) -> bool:
    """Return whether a file claims to be an image of a known format; no pixel is decoded."""
    try:
        with Image.open(path, formats=known_formats()):
            return True
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return True
    except Exception:  # as in open_image, almost anything
        return False
