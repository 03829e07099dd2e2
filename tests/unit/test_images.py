"""Images of every kind, made here: what they look like once opened, how deep they are, and which are refused."""

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from zslab.errors import InputError
from zslab.features.images import SUFFIXES, find_white, open_image
from zslab.features.sources import IMAGES, VIDEOS, read_class_folders

GENERATOR = np.random.default_rng(0)
PIXELS = GENERATOR.integers(0, 256, (5, 8, 3), dtype=np.uint8)
DEEP = GENERATOR.integers(0, 4096, (4, 5, 3)).astype(">u2")  # 12 bits in 16


def png(pixels: np.ndarray, color: int, significant: bytes = b"") -> bytes:
    """A PNG file of 16 bits, written by hand since Pillow writes neither such colors nor how many bits are significant."""
    chunks = {b"IHDR": struct.pack(">IIBBBBB", *pixels.shape[1::-1], 16, color, 0, 0, 0), b"sBIT": significant}
    chunks[b"IDAT"] = zlib.compress(b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels))
    content = b"\x89PNG\r\n\x1a\n"
    for name, data in (*chunks.items(), (b"IEND", b"")):
        if data or name == b"IEND":
            content += struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    return content


def tiff(pixels: np.ndarray, *more: tuple[int, int, int, int], planes: int = 1) -> bytes:
    """A TIFF of three colors of 16 bits, side by side or in planes; `more` are entries of type, count and value."""
    height, width, _ = pixels.shape
    rows = np.moveaxis(pixels, -1, 0) if planes == 2 else pixels
    content, size = rows.astype("<u2").tobytes(), 2 * height * width
    entries = [(256, 3, 1, width), (257, 3, 1, height), (259, 3, 1, 1), (262, 3, 1, 2), (277, 3, 1, 3), (284, 3, 1, planes)]
    start = 8 + 2 + (len(entries) + 3 + len(more)) * 12 + 4
    after = start + 3 * 2 + 2 * 3 * 4
    strips = [(273, 4, 3, start + 6), (279, 4, 3, start + 18)] if planes == 2 else [(273, 4, 1, after), (279, 4, 1, 3 * size)]
    entries = sorted([*entries, *strips, (258, 3, 3, start), *more])
    packed = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    tables = struct.pack("<I3H3I3I", 0, 16, 16, 16, *(after + size * plane for plane in range(3)), *3 * [size])
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + packed + tables + content


def opened(image: Image.Image, path: Path, **options) -> np.ndarray:
    image.save(path, **options)
    result = open_image(path)
    assert result.mode == "RGB"
    return np.asarray(result)


def test_a_plain_image_is_itself_from_any_source(tmp_path) -> None:
    image = Image.fromarray(PIXELS)
    np.testing.assert_array_equal(opened(image, tmp_path / "a.png"), PIXELS)
    stream = io.BytesIO((tmp_path / "a.png").read_bytes())
    for source in (tmp_path / "a.png", str(tmp_path / "a.png"), stream, image, PIXELS):
        np.testing.assert_array_equal(np.asarray(open_image(source)), PIXELS)


def test_grey_palette_and_black_and_white_become_rgb(tmp_path) -> None:
    grey = PIXELS[..., 0]
    np.testing.assert_array_equal(opened(Image.fromarray(grey), tmp_path / "g.png"), np.stack([grey] * 3, axis=-1))
    np.testing.assert_array_equal(np.asarray(open_image(grey[..., None])), np.stack([grey] * 3, axis=-1))
    palette = Image.fromarray(PIXELS).quantize(256)  # 40 pixels, so that no color is lost
    np.testing.assert_array_equal(opened(palette, tmp_path / "p.png"), np.asarray(palette.convert("RGB")))
    bits = PIXELS[..., 0] > 127
    expected = np.where(bits, 255, 0)[..., None].repeat(3, axis=-1)
    np.testing.assert_array_equal(opened(Image.fromarray(bits), tmp_path / "b.png"), expected)


def test_sixteen_bits_are_scaled_to_eight(tmp_path) -> None:
    values = np.array([[0, 128, 129, 257, 300, 32768, 65406, 65407, 65535]], dtype=np.uint16)
    expected = np.array([0, 0, 1, 1, 1, 128, 254, 255, 255])  # value / 257, rounded
    for name in ("g.png", "g.tif"):
        found = opened(Image.fromarray(values), tmp_path / name)
        np.testing.assert_array_equal(found, np.stack([expected] * 3, axis=-1)[None])
    np.testing.assert_array_equal(np.asarray(open_image(values)), found)
    np.testing.assert_array_equal(np.asarray(open_image(np.stack([values] * 3, axis=-1))), found)


def in_8_bits(values: np.ndarray, white: float) -> np.ndarray:
    """What values up to `white` are in 8 bits, as RGB."""
    scaled = np.floor(values.astype(np.float64) * 255 / white + 0.5).astype(np.uint8)
    return scaled if scaled.ndim == 3 else np.stack([scaled] * 3, axis=-1)


@pytest.mark.parametrize(
    ("name", "content", "white"),
    [
        ("gray that tells its bits", png(DEEP[..., 0], 0, b"\x0c"), 4095),
        ("color that tells its bits", png(DEEP, 2, b"\x0c\x0c\x0c"), 4095),
        ("scaled as the standard says", png(16 * DEEP, 2, b"\x0c\x0c\x0c"), 65535),
        ("color of 12 bits that does not tell", png(DEEP, 2), 4095),
        ("color of 10 bits", png(DEEP // 4, 2), 1023),
        ("color of 16 bits", png(16 * DEEP, 2), 65535),
        ("opaque color", png(np.concatenate([DEEP, np.full((4, 5, 1), 4095)], axis=-1), 6), 4095),
        ("color of less depth than alpha", png(np.concatenate([DEEP, np.full((4, 5, 1), 65535)], axis=-1), 6), 4095),
        ("gray with alpha", png(np.concatenate([DEEP[..., :1], np.full((4, 5, 1), 65535)], axis=-1), 4), 4095),
        ("TIFF", tiff(DEEP), 4095),
        ("TIFF that tells", tiff(DEEP // 8, (281, 3, 1, 1023)), 1023),
        ("TIFF with its largest value", tiff(DEEP // 8, (281, 3, 1, int((DEEP // 8).max()))), 1023),
        ("TIFF of 16 bits", tiff(16 * DEEP), 65535),
    ],
)
def test_the_depth_of_more_than_eight_bits(name: str, content: bytes, white: int, tmp_path, caplog) -> None:
    (tmp_path / "a").write_bytes(content)
    values = {1023: DEEP // 8 if "TIFF" in name else DEEP // 4, 4095: DEEP, 65535: 16 * DEEP}[white]
    expected = in_8_bits(values[..., 0] if "gray" in name else values, white)
    np.testing.assert_array_equal(np.asarray(open_image(tmp_path / "a")), expected)
    tells = "tells" in name or "standard" in name or white == 65535
    assert bool(caplog.records) != tells, "a guess is told"


def test_a_tiff_in_which_0_is_white(tmp_path) -> None:
    Image.fromarray(DEEP[..., 0].astype(np.uint16)).save(tmp_path / "a.tif", tiffinfo={262: 0})
    np.testing.assert_array_equal(np.asarray(open_image(tmp_path / "a.tif")), 255 - in_8_bits(DEEP[..., 0], 4095))


def test_a_packed_tiff_of_twelve_bits(tmp_path) -> None:
    image = Image.fromarray(DEEP[..., 0].astype(np.uint16)[:, :4])
    image.save(tmp_path / "a.tif")
    content = (tmp_path / "a.tif").read_bytes()
    first, second = DEEP[:, 0:4:2, 0].astype(int), DEEP[:, 1:4:2, 0].astype(int)
    packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=-1).astype(np.uint8).tobytes()
    start = struct.unpack_from("<I", content, content.index(struct.pack("<HHI", 273, 4, 1)) + 8)[0]
    content = content.replace(struct.pack("<HHIHH", 258, 3, 1, 16, 0), struct.pack("<HHIHH", 258, 3, 1, 12, 0))
    content = content.replace(struct.pack("<HHII", 279, 4, 1, 32), struct.pack("<HHII", 279, 4, 1, 24))
    (tmp_path / "a.tif").write_bytes(content[:start] + packed + content[start + 32 :])
    np.testing.assert_array_equal(np.asarray(open_image(tmp_path / "a.tif")), in_8_bits(DEEP[:, :4, 0], 4095))


@pytest.mark.parametrize(("scale", "white"), [(1.0, 1.0), (255.0, 255.0), (1.1, 1.0)])
def test_floating_point_images(scale: float, white: float, tmp_path) -> None:
    values = (scale * GENERATOR.random((4, 5))).astype(np.float32)
    values[0, 0] = scale
    Image.fromarray(values).save(tmp_path / "a.tif")
    expected = in_8_bits(np.minimum(values, white), white)
    for source in (tmp_path / "a.tif", values, values.astype(np.float64)):
        assert np.abs(np.asarray(open_image(source)).astype(int) - expected).max() <= 1


def test_whole_numbers_of_32_bits_are_as_deep_as_they_are_large(tmp_path) -> None:
    values = np.array([[0, 1, 100, 255]], dtype=np.int32)
    for factor in (1, 257):
        Image.fromarray(factor * values).save(tmp_path / "a.tif")
        np.testing.assert_array_equal(np.asarray(open_image(tmp_path / "a.tif")), np.stack([values] * 3, axis=-1))


def test_a_data_set_has_one_white(tmp_path, caplog) -> None:
    def save(name: str, array: np.ndarray) -> Path:
        Image.fromarray(array).save(tmp_path / name)
        return tmp_path / name

    dark, bright = save("dark.png", np.full((2, 2), 900, np.uint16)), save("bright.tif", np.full((2, 2), 3000, np.uint16))
    told, plain = tmp_path / "told.png", save("plain.png", PIXELS)
    told.write_bytes(png(DEEP, 2, b"\x0c\x0c\x0c"))
    (tmp_path / "damaged.tif").write_bytes(bright.read_bytes()[:40])
    assert find_white([plain, told, tmp_path / "damaged.tif", tmp_path / "none.tif"]) is None and not caplog.records
    white = find_white([plain, dark, told, bright])
    assert white == 4095 and type(white) is int
    assert "2 images have more than 8 bits" in caplog.text and "4095" in caplog.text
    assert np.asarray(open_image(dark, white=white)).max() == round(900 * 255 / 4095)
    assert np.asarray(open_image(dark)).max() == round(900 * 255 / 1023)  # on its own it is taken for 10 bits
    with pytest.raises(InputError, match="too_bright.png: pixels must be from 0 to 4095 .got 5000"):
        open_image(save("too_bright.png", np.full((2, 2), 5000, np.uint16)), white=white)
    floating = save("float.tif", np.full((2, 2), 0.5, np.float32))
    assert find_white([floating]) == 1 and isinstance(find_white([floating]), float)
    assert np.asarray(open_image(floating, white=4095)).max() == 128  # which was decided for whole numbers
    with pytest.raises(InputError, match="all of whole or all of floating-point numbers.*(float.tif|dark.png)"):
        find_white([floating, dark])


@pytest.mark.parametrize("values", [[np.nan, 0.5], [np.inf, 0.5], [-1.0, 1.0], [0.0, 1e6]])
def test_numbers_that_are_no_brightness_are_refused(values: list[float], tmp_path) -> None:
    Image.fromarray(np.array([values], np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(InputError, match="a.tif: pixels must be from 0 to"):
        open_image(tmp_path / "a.tif")


def test_what_is_transparent_is_white(tmp_path) -> None:
    alpha = np.array([[0, 255, 51], [0, 255, 51]], dtype=np.uint8)
    colors = np.broadcast_to(np.array([100, 0, 200], np.uint8), (2, 3, 3))
    expected = np.array([[255, 255, 255], [100, 0, 200], [224, 204, 244]])  # 51 / 255 = 0.2 of the color
    rgba = np.concatenate([colors, alpha[..., None]], axis=-1)
    for found in (opened(Image.fromarray(rgba), tmp_path / "a.png"), np.asarray(open_image(rgba))):
        np.testing.assert_array_equal(found, np.stack([expected] * 2))
    grey = Image.merge("LA", [Image.fromarray(colors[..., 0]), Image.fromarray(alpha)])
    np.testing.assert_array_equal(opened(grey, tmp_path / "la.png")[0], expected[:, [0, 0, 0]])
    palette = Image.fromarray(np.array([[0, 1]], np.uint8), mode="P")
    palette.putpalette([10, 20, 30, 40, 50, 60])
    found = opened(palette, tmp_path / "p.png", transparency=0)
    np.testing.assert_array_equal(found, [[[255, 255, 255], [40, 50, 60]]])


def test_cmyk_becomes_rgb(tmp_path) -> None:
    ink = np.zeros((16, 32, 4), np.uint8)
    ink[:, 16:, 0] = 255  # all cyan, no red
    expected = np.where(np.arange(32)[None, :, None] < 16, [255, 255, 255], [0, 255, 255])
    for name in ("c.jpg", "c.tif"):
        found = opened(Image.fromarray(ink, mode="CMYK"), tmp_path / name)
        assert np.abs(found.astype(int) - expected).max() <= 3


# EXIF's number -> how the stored rows and columns come upright
UPRIGHT = {1: lambda a: a, 2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud, 5: lambda a: a.transpose(1, 0, 2)}
UPRIGHT |= {6: lambda a: np.rot90(a, -1), 7: lambda a: np.rot90(a.transpose(1, 0, 2), 2), 8: np.rot90}


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_a_photo_is_turned_upright_once(orientation: int, tmp_path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(PIXELS).save(tmp_path / "a.png", exif=exif)
    Image.fromarray(PIXELS).save(tmp_path / "a.tif", tiffinfo={0x0112: orientation})
    photo = open_image(tmp_path / "a.png")
    np.testing.assert_array_equal(np.asarray(photo), UPRIGHT[orientation](PIXELS))
    np.testing.assert_array_equal(np.asarray(open_image(tmp_path / "a.tif")), UPRIGHT[orientation](PIXELS))
    np.testing.assert_array_equal(np.asarray(open_image(photo)), UPRIGHT[orientation](PIXELS))


def test_damaged_metadata_does_not_make_an_image_bad(tmp_path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.png", exif=b"Exif\0\0II*\0 not what it should be")
    np.testing.assert_array_equal(np.asarray(open_image(tmp_path / "a.png")), PIXELS)


def test_of_an_animation_the_first_frame(tmp_path) -> None:
    frames = [Image.new("RGB", (6, 4), color) for color in ("red", "blue", "lime")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    with Image.open(tmp_path / "a.gif") as image:
        assert image.n_frames == 3
    np.testing.assert_array_equal(np.asarray(open_image(tmp_path / "a.gif")), np.asarray(frames[0]))


def test_an_image_that_is_too_large_is_refused_before_a_pixel_is_decoded(tmp_path, monkeypatch) -> None:
    def decoded(*arguments):
        raise AssertionError("decoded")

    content = png(np.zeros((1, 1)), 0)
    for name, side in (("bomb.png", 20_000), ("large.png", 9_000)):
        start = content.index(b"IHDR")
        header = b"IHDR" + struct.pack(">II", side, side) + content[start + 12 : start + 17]
        crc = struct.pack(">I", zlib.crc32(header))
        (tmp_path / name).write_bytes(content[:start] + header + crc + content[start + 21 :])
    monkeypatch.setattr(ImageFile.ImageFile, "load", decoded)
    for name, size in (("bomb.png", "400000000 pixels"), ("large.png", "9000 x 9000")):
        with pytest.raises(InputError, match=rf"{name}: the image must have at most 80,000,000 pixels .*{size}"):
            open_image(tmp_path / name)
    with pytest.raises(InputError, match="9000 x 9000"), Image.open(tmp_path / "large.png") as image:
        open_image(image)
    with pytest.raises(InputError, match="at most 39 pixels .got 8 x 5"):
        open_image(PIXELS, max_pixels=39)
    assert open_image(PIXELS, max_pixels=40).size == (8, 5)


def test_what_is_no_complete_image_is_named(tmp_path) -> None:
    noise = Image.fromarray(GENERATOR.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    for name in ("cut.jpg", "cut.png"):
        noise.save(tmp_path / name)
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
    noise.save(tmp_path / "flipped.png")
    content = bytearray((tmp_path / "flipped.png").read_bytes())
    content[len(content) // 2] ^= 1  # a pixel; Pillow gives the image without complaint when it is asked a second time
    (tmp_path / "flipped.png").write_bytes(content)
    (tmp_path / "text.jpg").write_text("no image at all\n")
    (tmp_path / "empty.png").touch()
    (tmp_path / "postscript.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    (tmp_path / "photo.heic").write_bytes(bytes(4) + b"ftypheic" + bytes(range(128, 255)))
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "page.jpg").write_text("\n<!DOCTYPE html><title>Not found</title>")
    (tmp_path / "planes.tif").write_bytes(tiff(DEEP, planes=2))
    found = dict.fromkeys(("cut.jpg", "cut.png", "flipped.png"), "")
    found |= dict.fromkeys(("text.jpg", "postscript.jpg", "photo.heic"), "a file of another kind")
    found |= {"empty.png": "an empty file", "folder.png": "a folder", "page.jpg": "a web page", "none.png": "no such file"}
    found["planes.tif"] = "16 bits with a plane for each color"
    for name, got in found.items():
        with pytest.raises(InputError, match=rf"{name}: .* must be .*got .*{got}"):
            open_image(tmp_path / name)
    with pytest.raises(InputError, match="the image: the file must be an image"):
        open_image(io.BytesIO(b"no image"))


@pytest.mark.parametrize("array", [np.zeros((4, 4, 2), np.uint8), np.zeros((4, 4, 3), int), np.zeros((0, 4, 3), np.uint8)])
def test_arrays_that_are_no_images_are_refused(array: np.ndarray) -> None:
    with pytest.raises(InputError, match="an array must be"):
        open_image(array)


def touch(folder: Path, names: str) -> None:
    """Make empty files, whose names are separated by spaces."""
    for name in names.split():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_images_of_a_folder_are_found_sorted_and_once(tmp_path) -> None:
    touch(tmp_path, "b/2.JPG b/deep/1.png a.webp notes.txt b/._2.jpg odd.dat")
    found = [path.relative_to(tmp_path).as_posix() for path in IMAGES.find([tmp_path])]
    assert found == ["a.webp", "b/2.JPG", "b/deep/1.png"]
    named = IMAGES.find([tmp_path / "odd.dat", tmp_path / "b", str(tmp_path / "b" / "2.JPG")])
    assert [path.name for path in named] == ["odd.dat", "2.JPG", "1.png"]


def test_a_large_jpeg_is_decoded_at_a_fraction_of_its_size(tmp_path, monkeypatch) -> None:
    photo = Image.new("RGB", (400, 300), (200, 30, 60))
    photo.save(tmp_path / "a.jpg")
    photo.save(tmp_path / "a.png")
    assert open_image(tmp_path / "a.jpg", max_pixels=30_000).size == (200, 150)
    assert open_image(tmp_path / "a.jpg", max_pixels=29_999).size == (100, 75)
    assert open_image(tmp_path / "a.jpg").size == (400, 300)
    for name, limit in (("a.jpg", 1_000), ("a.png", 30_000)):
        with pytest.raises(InputError, match=f"{name}: the image must have at most {limit:,} pixels"):
            open_image(tmp_path / name, max_pixels=limit)
    monkeypatch.setattr("zslab.features.images.MAX_JPEG_PIXELS", 30_000)
    assert open_image(tmp_path / "a.jpg").size == (200, 150) and open_image(tmp_path / "a.png").size == (400, 300)


@pytest.mark.parametrize("modality", [IMAGES, VIDEOS])
def test_files_that_are_ignored_are_counted_once(modality, tmp_path, caplog) -> None:
    kind, suffixes, *_ = modality
    touch(tmp_path, f"a/1{suffixes[0]} a/deep/2{suffixes[1].upper()} a/x.txt b/y.TXT b/z.pdf b/README b/.hidden")
    folder = read_class_folders(tmp_path, suffixes, kind)
    assert folder.classes == ["a"] and len(folder) == 2
    words = f"Ignored files without {'an' if kind == 'image' else 'a'} {kind} suffix: 2 .txt, 1 .pdf, 1 without a suffix"
    assert caplog.messages[0] == words
    caplog.clear()
    assert len(modality.find([tmp_path / "a", tmp_path / "b"])) == 2 and caplog.messages == [words]


def test_what_is_no_file_of_a_class_is_named(tmp_path, caplog) -> None:
    touch(tmp_path, "a/1.jpg b/1.cr2 loose.jpg a/.thumbnails/1.jpg a/@eaDir/1.jpg __MACOSX/a/1.jpg")
    folder = read_class_folders(tmp_path, SUFFIXES, "image")
    assert folder.files == ["a/1.jpg"] and folder.classes == ["a"]
    assert caplog.messages == [
        "Ignored files without an image suffix: 1 .cr2",
        "Ignored images outside the folders of classes: loose.jpg",
        "Ignored folders without images: b",
    ]


@pytest.mark.skipif(not hasattr(os, "O_DIRECTORY"), reason="links need rights that Windows seldom gives")
def test_links_are_followed_but_not_in_circles(tmp_path) -> None:
    touch(tmp_path, "birds/a/1.jpg birds/b/2.jpg elsewhere/deep/3.jpg")
    a = tmp_path / "birds" / "a"
    (a / "more").symlink_to(tmp_path / "elsewhere")
    (a / "up").symlink_to(tmp_path / "birds")
    (tmp_path / "elsewhere" / "deep" / "loop").symlink_to("..")
    (a / "gone.jpg").symlink_to("nowhere")
    folder = read_class_folders(tmp_path / "birds", SUFFIXES, "image")
    assert folder.files == ["a/1.jpg", "a/gone.jpg", "a/more/deep/3.jpg", "b/2.jpg"]
    with pytest.raises(InputError, match="gone.jpg: the image must be a file"):
        open_image(folder.path(1))


def test_folders_of_parts_above_those_of_classes(tmp_path, caplog) -> None:
    touch(tmp_path, "train/a/1.jpg train/b/2.jpg Test/a/3.jpg Test/c/4.jpg")
    folder = read_class_folders(tmp_path, SUFFIXES, "image")
    assert folder.files == ["Test/a/3.jpg", "train/a/1.jpg", "train/b/2.jpg", "Test/c/4.jpg"]
    assert folder.classes == ["a", "b", "c"] and folder.labels.tolist() == [1, 1, 2, 3] and "Test, train" in caplog.text
