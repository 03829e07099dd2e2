"""Images of every kind, made here: what they look like once opened, and which are refused with which words."""

from __future__ import annotations

import errno
import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from zslab.errors import InputError
from zslab.features import video_files
from zslab.features.images import SUFFIXES, find_files, find_images, open_image
from zslab.features.sources import read_class_folders

GENERATOR = np.random.default_rng(0)
PIXELS = GENERATOR.integers(0, 256, (5, 8, 3), dtype=np.uint8)


def png(width: int, height: int, depth: int, color: int, rows: bytes) -> bytes:
    """A PNG file, written by hand since Pillow writes neither 16-bit color nor an image that is not there."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def planar_tiff(planes: np.ndarray) -> bytes:
    """A TIFF with one plane after the other: (3, height, width) uint16."""
    _, height, width = planes.shape
    size, start = planes[0].nbytes, 8 + 2 + 9 * 12 + 4
    after = start + 3 * 2 + 2 * 3 * 4
    entries = [  # tag, type (3: 16 bits, 4: 32 bits), count, value or where it stands
        *((256, 3, 1, width), (257, 3, 1, height), (258, 3, 3, start), (259, 3, 1, 1), (262, 3, 1, 2)),
        *((273, 4, 3, start + 6), (277, 3, 1, 3), (279, 4, 3, start + 18), (284, 3, 1, 2)),
    ]
    content = b"II*\0" + struct.pack("<IH", 8, len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    content += struct.pack("<I3H3I3I", 0, 16, 16, 16, *(after + size * plane for plane in range(3)), *3 * [size])
    return content + planes.astype("<u2").tobytes()


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


def test_the_content_decides_and_not_the_suffix(tmp_path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.jpg", format="PNG")
    np.testing.assert_array_equal(np.asarray(open_image(tmp_path / "a.jpg")), PIXELS)


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


def test_eight_bits_in_thirty_two_are_not_dimmed(tmp_path) -> None:
    values = np.array([[0, 1, 100, 255]], dtype=np.int32)
    expected = np.stack([values] * 3, axis=-1)
    np.testing.assert_array_equal(opened(Image.fromarray(values), tmp_path / "i.tif"), expected)
    np.testing.assert_array_equal(opened(Image.fromarray(257 * values), tmp_path / "j.tif"), expected)


def test_color_of_sixteen_bits_is_scaled_to_eight(tmp_path) -> None:
    values = GENERATOR.integers(0, 65536, (4, 5, 3)).astype(">u2")
    (tmp_path / "c.png").write_bytes(png(5, 4, 16, 2, b"".join(b"\0" + row.tobytes() for row in values)))
    found = np.asarray(open_image(tmp_path / "c.png"))
    assert np.abs(found - values / 257).max() < 1


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
UPRIGHT = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a.transpose(1, 0, 2), 2),
    8: np.rot90,
}


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


def test_damaged_metadata_does_not_make_a_image_bad(tmp_path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.png", exif=b"Exif\0\0II*\0 not what it should be")
    np.testing.assert_array_equal(np.asarray(open_image(tmp_path / "a.png")), PIXELS)


def test_of_an_animation_the_first_frame(tmp_path) -> None:
    frames = [Image.new("RGB", (6, 4), color) for color in ("red", "blue", "lime")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    with Image.open(tmp_path / "a.gif") as image:
        assert image.n_frames == 3
    np.testing.assert_array_equal(np.asarray(open_image(tmp_path / "a.gif")), np.asarray(frames[0]))


# ---- refused ------------------------------------------------------------------------------------------------------------


def test_a_bomb_is_refused_before_a_pixel_is_decoded(tmp_path, monkeypatch) -> None:
    def decoded(*arguments):
        raise AssertionError("decoded")

    bomb, large = tmp_path / "bomb.png", tmp_path / "large.png"
    bomb.write_bytes(png(20_000, 20_000, 8, 2, b""))
    large.write_bytes(png(9_000, 9_000, 8, 2, b""))
    monkeypatch.setattr(ImageFile.ImageFile, "load", decoded)
    with pytest.raises(InputError, match=r"bomb.png: the image is too large.*400,000,000 pixels.*80,000,000"):
        open_image(bomb)
    with pytest.raises(InputError, match="9000 x 9000 pixels"):
        open_image(large)
    with pytest.raises(InputError, match="9000 x 9000 pixels"), Image.open(large) as image:
        open_image(image)
    with pytest.raises(InputError, match="8 x 5 pixels, expected at most 39 pixels"):
        open_image(PIXELS, max_pixels=39)
    assert open_image(PIXELS, max_pixels=40).size == (8, 5)


def test_what_is_no_whole_image_is_named(tmp_path) -> None:
    noise = Image.fromarray(GENERATOR.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    for name in ("cut.jpg", "cut.png"):
        noise.save(tmp_path / name)
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    noise.save(tmp_path / "flipped.png")
    content = bytearray((tmp_path / "flipped.png").read_bytes())
    content[len(content) // 2] ^= 1  # a pixel; Pillow gives the image without complaint when it is asked a second time
    (tmp_path / "flipped.png").write_bytes(content)
    (tmp_path / "text.jpg").write_text("no image at all\n")
    (tmp_path / "empty.png").touch()
    (tmp_path / "other.png").write_bytes(bytes(range(256)))
    (tmp_path / "clip.jpg").write_bytes(bytes(4) + b"ftypisom" + bytes(99))
    (tmp_path / "photo.heic").write_bytes(bytes(4) + b"ftypheic" + bytes(range(128, 255)))
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "page.jpg").write_text("\n<!DOCTYPE html><title>Not found</title>")
    (tmp_path / "pointer.jpg").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    (tmp_path / "drawing.png").write_text('<?xml version="1.0"?>\n<svg/>')
    (tmp_path / "layers.jpg").write_bytes(b"8BPS\0\1" + bytes(99))
    noise.convert("YCbCr").save(tmp_path / "ycbcr.tif")
    noise.save(tmp_path / "photo.dng", format="TIFF", tiffinfo={50706: b"\1\4\0\0"})
    (tmp_path / "planes.tif").write_bytes(planar_tiff(np.zeros((3, 4, 5), np.uint16)))
    Image.fromarray(np.zeros((2, 2), np.float32)).save(tmp_path / "float.tif")
    words = {
        "cut.jpg": "the image is damaged",
        "cut.png": "the image is damaged",
        "flipped.png": "the image is damaged",
        "text.jpg": "not an image",
        "empty.png": "not an image .*got an empty file",
        "other.png": "not an image",
        "folder.png": "got a folder",
        "clip.jpg": "not an image",
        "photo.heic": "not an image",
        "page.jpg": "got a web page",
        "pointer.jpg": "got a Git LFS pointer",
        "drawing.png": "not an image",
        "layers.jpg": "not an image",
        "ycbcr.tif": "kind of image cannot be read .*got a TIFF of uncompressed YCbCr",
        "photo.dng": "kind of image cannot be read .*got a raw photo",
        "planes.tif": "kind of image cannot be read .*got a TIFF of 16 bits with a plane for each color",
        "none.png": "no such file",
        "float.tif": "range of the pixels is unknown",
    }
    for name, expected in words.items():
        with pytest.raises(InputError, match=expected) as error:
            open_image(tmp_path / name)
        assert name in str(error.value)
    with pytest.raises(InputError, match="not an image"):
        open_image(io.BytesIO(b"no image"))


def test_formats_that_start_other_programs_are_not_tried(tmp_path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    with pytest.raises(InputError, match="not an image"):
        open_image(tmp_path / "a.jpg")


@pytest.mark.parametrize("array", [np.zeros((4, 4, 2), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)])
def test_arrays_that_are_no_images_are_refused(array: np.ndarray) -> None:
    with pytest.raises(InputError, match="array of shape"):
        open_image(array)


# ---- folders ------------------------------------------------------------------------------------------------------------


def test_images_of_a_folder_are_found_sorted_and_once(tmp_path) -> None:
    for name in ("b/2.JPG", "b/deep/1.png", "a.webp", "notes.txt", "b/._2.jpg", "odd.dat"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = [path.relative_to(tmp_path).as_posix() for path in find_images([tmp_path])]
    assert found == ["a.webp", "b/2.JPG", "b/deep/1.png"]
    named = find_images([tmp_path / "odd.dat", tmp_path / "b", str(tmp_path / "b" / "2.JPG")])
    assert [path.name for path in named] == ["odd.dat", "2.JPG", "1.png"]


def test_nothing_found_is_an_error(tmp_path) -> None:
    with pytest.raises(InputError, match="there are no images"):
        find_images([tmp_path])
    with pytest.raises(InputError, match="the image is missing"):
        find_images([tmp_path / "nowhere"])


# ---- what phones make ---------------------------------------------------------------------------------------------------


def test_photos_of_phones_are_opened(tmp_path) -> None:
    heif = pytest.importorskip("pillow_heif", reason="the extra `images` is not installed: no pillow-heif")
    photo = Image.new("RGB", (64, 48), (200, 30, 60))
    heif.from_pillow(photo).save(tmp_path / "a.heic")
    photo.save(tmp_path / "a.jp2")
    found = [path.name for path in find_images([tmp_path])]
    assert found == ["a.heic", "a.jp2"]
    for name in found:
        opened_photo = open_image(tmp_path / name)
        assert opened_photo.size == (64, 48)
        assert np.abs(np.asarray(opened_photo, dtype=int) - (200, 30, 60)).max() <= 6


def test_a_large_jpeg_is_decoded_at_a_fraction_of_its_size(tmp_path) -> None:
    photo = Image.new("RGB", (400, 300), (200, 30, 60))
    photo.save(tmp_path / "a.jpg")
    photo.save(tmp_path / "a.png")
    assert open_image(tmp_path / "a.jpg", max_pixels=30_000).size == (200, 150)
    assert open_image(tmp_path / "a.jpg", max_pixels=29_999).size == (100, 75)
    assert open_image(tmp_path / "a.jpg").size == (400, 300)
    for name, limit in (("a.jpg", 1_000), ("a.png", 30_000)):
        with pytest.raises(InputError, match="the image is too large"):
            open_image(tmp_path / name, max_pixels=limit)


def test_jpegs_are_reduced_before_other_images_are_too_large(tmp_path, monkeypatch) -> None:
    photo = Image.new("RGB", (400, 300), (200, 30, 60))
    photo.save(tmp_path / "a.jpg")
    photo.save(tmp_path / "a.png")
    monkeypatch.setattr("zslab.features.images.MAX_JPEG_PIXELS", 30_000)
    assert open_image(tmp_path / "a.jpg").size == (200, 150) and open_image(tmp_path / "a.png").size == (400, 300)


def test_a_progressive_jpeg_of_many_scans_is_refused(tmp_path) -> None:
    Image.new("RGB", (64, 64), "red").save(tmp_path / "a.jpg", progressive=True)
    content = (tmp_path / "a.jpg").read_bytes()
    assert open_image(tmp_path / "a.jpg").size == (64, 64)
    last = content.rindex(b"\xff\xda")
    (tmp_path / "a.jpg").write_bytes(content[:last] + 99 * content[last:-2] + content[-2:])
    with pytest.raises(InputError, match=r"takes too long.*got 10\d scans"):
        open_image(tmp_path / "a.jpg")


@pytest.mark.parametrize("suffixes", [SUFFIXES, video_files.SUFFIXES])
def test_files_that_are_ignored_are_counted_once(suffixes: tuple[str, ...], tmp_path, caplog) -> None:
    kind = "image" if suffixes == SUFFIXES else "video"
    for name in (
        "a/1" + suffixes[0],
        "a/deep/2" + suffixes[1].upper(),
        "a/x.txt",
        "b/y.TXT",
        "b/z.pdf",
        "b/README",
        "b/.hidden",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    folder = read_class_folders(tmp_path, suffixes, kind)
    assert folder.classes == ["a"] and len(folder) == 2
    record = caplog.records[0]
    words = f"Ignored files without {'an' if kind == 'image' else 'a'} {kind} suffix: 2 .txt, 1 .pdf, 1 without a suffix"
    assert record.getMessage() == words
    caplog.clear()
    assert len(find_files([tmp_path / "a", tmp_path / "b"], suffixes, kind)) == 2
    assert [record.getMessage() for record in caplog.records] == [words]


def test_what_is_no_file_of_a_class_is_named(tmp_path, caplog) -> None:
    for name in ("a/1.jpg", "b/1.cr2", "loose.jpg", "a/.thumbnails/1.jpg", "a/@eaDir/1.jpg", "__MACOSX/a/1.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    folder = read_class_folders(tmp_path, SUFFIXES, "image")
    assert folder.files == ["a/1.jpg"] and folder.classes == ["a"]
    assert [record.getMessage() for record in caplog.records] == [
        "Ignored files without an image suffix: 1 .cr2",
        "Ignored images outside the folders of classes: loose.jpg",
        "Ignored folders without images: b",
    ]


@pytest.mark.skipif(not hasattr(os, "O_DIRECTORY"), reason="links need rights that Windows seldom gives")
def test_links_are_followed_but_not_in_circles(tmp_path) -> None:
    for name in ("birds/a/1.jpg", "birds/b/2.jpg", "elsewhere/deep/3.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    a = tmp_path / "birds" / "a"
    (a / "more").symlink_to(tmp_path / "elsewhere")
    (a / "up").symlink_to(tmp_path / "birds")
    (tmp_path / "elsewhere" / "deep" / "loop").symlink_to("..")
    (a / "gone.jpg").symlink_to("nowhere")
    folder = read_class_folders(tmp_path / "birds", SUFFIXES, "image")
    assert folder.files == ["a/1.jpg", "a/gone.jpg", "a/more/deep/3.jpg", "b/2.jpg"]
    with pytest.raises(InputError, match="gone.jpg: the image is missing"):
        open_image(folder.path(1))


def test_a_folder_without_permission_is_an_error(tmp_path, monkeypatch) -> None:
    (tmp_path / "a" / "closed").mkdir(parents=True)
    scan = os.scandir

    def refuse(path):
        if str(path).endswith("closed"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)  # root may read everything
    with pytest.raises(InputError, match=r"closed: the folder cannot be read \(got Permission denied"):
        find_images([tmp_path])
