"""What a model classifies, images or videos: how files are found and shown, and which networks there are."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from zslab.features import backbones, images, video
from zslab.features.sources import find_files


class Modality(NamedTuple):
    """A kind of file that a model classifies: its name, suffixes, backbones, and the RGB image that stands for a file."""

    name: str
    suffixes: tuple[str, ...]
    show: Callable[[Path], Image.Image]
    spec: type[backbones.BackboneSpec] | type[video.VideoSpec]
    load_backbone: Callable[..., backbones.Backbone]

    def find(self, paths: Iterable[Path | str]) -> list[Path]:
        """Return the files among files and folders, see `find_files`."""
        return find_files(paths, self.suffixes, self.name)


IMAGES = Modality("image", images.SUFFIXES, images.open_image, backbones.BackboneSpec, backbones.load_backbone)
VIDEOS = Modality("video", video.SUFFIXES, video.middle_frame, video.VideoSpec, video.load_backbone)


def modality_of(spec: object) -> Modality:
    """Return the modality of a spec as JSON; only the spec of a video backbone has windows."""
    return VIDEOS if isinstance(spec, dict) and "windows" in spec else IMAGES
