"""Video files: the clips of a folder, and their frames.

Files are judged by their content, never by their suffix.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from zslab.errors import REFUSALS, InputError
from zslab.features.images import MAX_PIXELS, find_files, is_image
from zslab.features.sources import Images, read_class_folders
from zslab.features.weights import import_extra
from zslab.utils.file_kinds import kind_of_file

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

SUFFIXES = (
    ".mp4", ".m4v", ".mov", ".3gp", ".avi", ".divx", ".mkv", ".webm", ".mpg", ".mpeg", ".mpe", ".m2v", ".vob", ".mts", ".m2ts",
    ".ts", ".wmv", ".asf", ".flv", ".f4v", ".ogv",
)  # fmt: skip

# FFmpeg reads far more: playlists, which open other files, and text, which it draws. The suffix decides nothing.
FORMATS = "mov,avi,matroska,mpeg,mpegts,mpegvideo,h264,hevc,m4v,flv,asf,ogg"

NO_IMAGES = "sound without images"
CUT_SHORT = 0.9  # a video whose frames end before this share of its announced length is taken to be damaged


def list_videos(folder: Path) -> Images:
    """Return the videos of `<folder>/<class name>/` and below, classes and files in the order of their names.

    Raises:
        InputError: there is no such folder, or it does not have videos of two classes.
    """
    videos = read_class_folders(folder, SUFFIXES, "video")
    if len(videos.classes or ()) < 2:
        raise InputError(
            "there are videos of fewer than two classes",
            where=folder,
            found=f"only {videos.files[0].split('/')[0]}/",
            expected="at least two classes",
            fix="Put the clips of each class into a folder with the name of the class.",
        )
    return videos


def find_videos(paths: Iterable[Path | str]) -> list[Path]:
    """Return the video files among files and folders, see `find_files`."""
    return find_files(paths, SUFFIXES, "video")


def middle_frame(path: Path | str) -> Image.Image:
    """Return the frame in the middle of a video, RGB and upright.

    Raises:
        InputError: as `read_frames`.
    """
    frames, _ = read_frames(path, lambda n_frames, rate: np.array([n_frames // 2]), lambda frame: frame)
    (pixels,) = frames.values()
    return Image.fromarray(pixels[0].permute(1, 2, 0).numpy())


def read_frames(
    path: Path | str, choose: Callable[[int, float], np.ndarray], transform: Callable[[Tensor], Tensor]
) -> tuple[dict[int, Tensor], np.ndarray]:
    """Return frames of a video by their numbers, transformed, and these numbers.

    Args:
        path: the file.
        choose: how many frames there are, and how many a second -> the numbers of those to read, of any shape.
        transform: of uint8 (1, 3, H, W).

    Raises:
        InputError: the file is no video, is damaged or ends early.
    """
    path = _checked(path)
    try:
        announced, rate = _count_frames(path)
        indices = choose(max(announced, 1), rate)
        frames, n_frames = _decode(path, set(indices.ravel().tolist()), transform)
        if n_frames != announced:  # a container may hold packets that are not shown: look again with the true number
            indices = choose(n_frames, rate)
            frames, _ = _decode(path, set(indices.ravel().tolist()), transform)
    except _Unreadable as error:
        found, damaged = str(error), error.is_video
    except OSError as error:
        if error.errno in REFUSALS:
            reason = os.strerror(error.errno)
            raise _refused("the video cannot be read", path, reason, "Check the permissions of the file.") from None
        found, damaged = error.strerror or str(error), True
    else:
        return frames, indices
    if found == NO_IMAGES:
        raise _refused("the file is not a video", path, found, "Leave it out.")
    if damaged:
        raise _refused("the video is damaged", path, found, "Copy or download it again, or leave it out.")
    raise _refused("the file is not a video", path, kind_of_file(path), "Leave it out, or save it as MP4.")


class _Unreadable(Exception):
    """Why FFmpeg cannot read a file; `is_video` where it was once known to be a video."""

    def __init__(self, why: str, is_video: bool = True):
        super().__init__(why)
        self.is_video = is_video


def _reason(error: OSError) -> str:
    """Return why FFmpeg failed; of sizes that cannot be, it says that it "cannot allocate memory"."""
    return "a size that cannot be" if error.errno == errno.ENOMEM else error.strerror or str(error)


def _checked(source: Path | str) -> Path:
    """Return the path of a file that may be a video."""
    if not isinstance(source, Path | str):
        raise _refused("the video is not a file", "the video", type(source).__name__, "Save it as a file and name that.")
    path = Path(source)
    if not path.exists():
        raise _refused("the video is missing", path, "no such file", "Check the path.")
    if path.is_dir():
        raise _refused("the file is not a video", path, "a folder", "Name a file.")
    if is_image(path):
        raise _refused("the file is not a video", path, "an image", "Leave it out, or save it as MP4.")
    return path


def _refused(what: str, where: object, found: object, cure: str) -> InputError:
    return InputError(what, where=where, found=found, expected="a whole video (MP4, AVI, MOV, MKV, WebM, ...)", fix=cure)


def _open(path: Path) -> InputContainer:
    """Open a file with FFmpeg, by its content."""
    av = import_extra("av", "video")
    try:
        options = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
        path = path.absolute()  # of "12:30.mp4" FFmpeg would take 12 for a protocol
        container: InputContainer = av.open(str(path), options=options, metadata_errors="replace")
        return container
    except av.error.FFmpegError as error:
        raise _Unreadable(_reason(error), is_video=False) from None


def _count_frames(path: Path) -> tuple[int, float]:
    """Return how many frames a file announces, without decoding them, and frames a second."""
    av = import_extra("av", "video")
    try:
        with _open(path) as container:
            stream = _video_stream(container)
            n_frames = sum(packet.size > 0 for packet in container.demux(stream))
            return n_frames, float(stream.average_rate or stream.base_rate or 0)
    except av.error.FFmpegError as error:
        raise _Unreadable(_reason(error)) from None


def _decode(path: Path, chosen: set[int], transform: Callable[[Tensor], Tensor]) -> tuple[dict[int, Tensor], int]:
    """Decode a whole video; return the chosen frames, transformed, and the number of all frames."""
    av = import_extra("av", "video")
    frames: dict[int, Tensor] = {}
    n_frames, first, last = 0, None, None
    try:
        with _open(path) as container:
            stream = _video_stream(container)
            stream.thread_type = "AUTO"
            for frame in container.decode(stream):
                if n_frames in chosen:
                    upright = np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90)  # as a phone was held
                    frames[n_frames] = transform(torch.from_numpy(upright.copy()).permute(2, 0, 1)[None])
                n_frames += 1
                if frame.time is not None:
                    first, last = frame.time if first is None else first, frame.time
            duration = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else None
            if duration is None and container.duration and len(container.streams) == 1:
                duration = container.duration / av.time_base
            rate = stream.average_rate or stream.base_rate
            interval = 1 / float(rate) if rate else 0.0
    except av.error.FFmpegError as error:
        raise _Unreadable(_reason(error)) from None
    if not n_frames:
        raise _Unreadable("no frame can be decoded")
    if duration is not None and last is not None and (shown := last - first + interval) < CUT_SHORT * duration - interval:
        raise _Unreadable(f"cut short: {shown:.2f} of {duration:.2f} seconds")
    return frames, n_frames


def _video_stream(container: InputContainer) -> VideoStream:
    if not container.streams.video:
        raise _Unreadable(NO_IMAGES)
    stream = container.streams.video[0]
    context = stream.codec_context  # None where FFmpeg has no decoder, which decoding will say
    if context is not None and context.width * context.height > MAX_PIXELS:
        raise _Unreadable(f"frames of {context.width} x {context.height}, more than {MAX_PIXELS:,} pixels")
    return stream
