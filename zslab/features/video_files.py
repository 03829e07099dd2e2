"""Frames of video files, which are judged by their content, never by their suffix."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from zslab.errors import InputError, readable
from zslab.features.networks import import_extra

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

SUFFIXES = (
    ".mp4", ".m4v", ".mov", ".3gp", ".avi", ".divx", ".mkv", ".webm", ".mpg", ".mpeg", ".mpe", ".m2v", ".vob", ".mts", ".m2ts",
    ".ts", ".wmv", ".asf", ".flv", ".f4v", ".ogv",
)  # fmt: skip

# FFmpeg reads far more: playlists, which open other files, and text, which it draws. The suffix decides nothing.
FORMATS = "mov,avi,matroska,mpeg,mpegts,mpegvideo,h264,hevc,m4v,flv,asf,ogg"
STILLS = (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftypavif")  # images in a container for videos

CUT_SHORT = 0.9  # a video whose frames end before this share of its announced length is taken to be damaged


def middle_frame(path: Path | str) -> Image.Image:
    """Return the frame in the middle of a video, RGB and upright; errors as `read_frames`."""
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
    """
    must = "the file must be a complete video (MP4, AVI, MOV, MKV, WebM, ...)"
    if not isinstance(path, Path | str):
        raise InputError(must, where=path, got=type(path).__name__, fix="Save the video as a file.")
    with readable(path, must, "Copy or download it again, or leave it out.", (OSError, ValueError)):
        announced, rate = _count_frames(Path(path))
        indices = choose(max(announced, 1), rate)
        frames, n_frames = _decode(Path(path), set(indices.ravel().tolist()), transform)
        if n_frames != announced:  # a container may hold packets that are not shown: look again with the true number
            indices = choose(n_frames, rate)
            frames, _ = _decode(Path(path), set(indices.ravel().tolist()), transform)
    return frames, indices


@contextmanager
def _opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Yield a file that FFmpeg has opened by its content, and its first stream of images."""
    with open(path, "rb") as file:
        if file.read(12)[4:] in STILLS:
            raise ValueError("an image")
    av = import_extra("av", "video")
    options = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
    try:
        # Absolute, for of "12:30.mp4" FFmpeg would take 12 for a protocol.
        with av.open(str(path.absolute()), options=options, metadata_errors="replace") as container:
            if not container.streams.video:
                raise ValueError("sound without images")
            yield container, container.streams.video[0]
    except av.error.FFmpegError as error:  # of an impossible size it says that it cannot allocate memory
        raise ValueError(error.strerror or str(error)) from error


def _count_frames(path: Path) -> tuple[int, float]:
    """Return how many frames a file announces, without decoding them, and frames a second."""
    with _opened(path) as (container, stream):
        n_frames = sum(packet.size > 0 for packet in container.demux(stream))
        return n_frames, float(stream.average_rate or stream.base_rate or 0)


def _decode(path: Path, chosen: Collection[int], transform: Callable[[Tensor], Tensor]) -> tuple[dict[int, Tensor], int]:
    """Decode a complete video; return the chosen frames, transformed, and the number of all frames."""
    frames: dict[int, Tensor] = {}
    times: list[float | None] = []
    with _opened(path) as (container, stream):
        stream.thread_type = "AUTO"
        for number, frame in enumerate(container.decode(stream)):
            if number in chosen:
                upright = np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90)  # as a phone was held
                frames[number] = transform(torch.from_numpy(upright.copy()).permute(2, 0, 1)[None])
            times.append(frame.time)
        duration = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else None
        if duration is None and container.duration and len(container.streams) == 1:
            duration = container.duration / 1_000_000  # FFmpeg counts microseconds
        rate = stream.average_rate or stream.base_rate
        interval = 1 / float(rate) if rate else 0.0
    known = [time for time in times if time is not None]
    if not times:
        raise ValueError("no frame can be decoded")
    if duration is not None and known and (shown := known[-1] - known[0] + interval) < CUT_SHORT * duration - interval:
        raise ValueError(f"cut short: {shown:.2f} of {duration:.2f} seconds")
    return frames, len(times)
