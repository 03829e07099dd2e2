"""What a model looks at, pictures or videos: how its files are found and shown, and which networks it has.

    medium = medium_of(about["spec"])
    backbone = medium.load_backbone(medium.spec.from_json(about["spec"]), weights)
    for path in medium.find([Path("folder")]): medium.show(path)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from zsl.features import backbones, pictures, video


@dataclass(frozen=True)
class Medium:
    """A kind of files.

    Attributes:
        name: of one, in words.
        find: files and folders -> files.
        show: a file -> the RGB picture that stands for it.
        spec: how features are made of it, `from_json` what a feature file or model says.
        load_backbone: (spec, weights, random_weights=, device=) -> `zsl.features.backbones.Backbone`.
    """

    name: str
    find: Callable[[Iterable[Path | str]], list[Path]]
    show: Callable[[Path], Image.Image]
    spec: type[backbones.BackboneSpec] | type[video.VideoSpec]
    load_backbone: Callable[..., backbones.Backbone]


PICTURES = Medium("picture", pictures.find_pictures, pictures.open_picture, backbones.BackboneSpec, backbones.load_backbone)
VIDEOS = Medium("video", video.find_videos, video.middle_frame, video.VideoSpec, video.load_backbone)


def medium_of(spec: object) -> Medium:
    """The medium of a spec as JSON; only videos are seen through windows."""
    return VIDEOS if isinstance(spec, dict) and "windows" in spec else PICTURES
