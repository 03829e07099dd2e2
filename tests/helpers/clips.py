"""Clips that are drawn for tests, and a small view of them. Needs PyAV."""

from pathlib import Path

import av
import numpy as np

# Of a `VideoSpec`: quick, for all that does not depend on it.
SMALL = {"windows": 2, "frames": 4, "resize": (64, 86), "crop": (56, 56)}


def draw_clip(path: Path, start: int, n_frames: int = 16, down: bool = False, size: tuple[int, int] = (64, 64)) -> None:
    """A bright square that moves to the right, or down, from `start`; 15 frames a second."""
    width, height = size
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options={"movflags": "faststart"} if path.suffix == ".mp4" else {}) as container:
        stream = container.add_stream("mpeg4", rate=15)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(n_frames):
            image = np.full((height, width, 3), (30, 60, 90), np.uint8)
            y, x = (start + 2 * number, 8) if down else (8, start + 2 * number)
            image[y : y + 16, x : x + 16] = (250, 200, 40)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
