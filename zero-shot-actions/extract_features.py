"""Extract features of your own videos, `<videos>/<class name>/*.mp4` and the like, into a feature file.

    pip install -e '.[video]'
    python zero-shot-actions/extract_features.py --videos DIR --dataset my_clips --backbone r2plus1d_18
    python zero-shot-actions/make_splits.py --dataset my_clips --image_embedding r2plus1d_18 --word_vectors glove.6B.300d.txt
    python zero-shot-actions/action-scripts/run_hmdb51_tfvaegan.py --dataset my_clips --image_embedding r2plus1d_18 --split 1
    zslab export runs/my_clips-... --output actions.zsl --weights default
    python zero-shot-actions/demo.py --model actions.zsl clip.mp4 folder/

Weights come from torchvision, or from a file with --weights. The command writes <dataroot>/<dataset>/<backbone>.mat, which
also describes the backbone, so that an exported model can extract features of new videos. It leaves out videos that cannot be
read and lists them beside the file. You can stop it at any time and continue with --resume.
Exit status: 0 all videos, 3 features written but some videos left out, 1 an error, 130 stopped.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zslab.data.resumable import remove_rows
from zslab.errors import InputError, examples, exit_status
from zslab.features.copies import describe_copies, find_copies
from zslab.features.extraction import write_unreadable
from zslab.features.feature_file import write_features
from zslab.features.video import VideoSpec, extract, load_backbone
from zslab.features.video_files import list_videos
from zslab.results.config import parse_config
from zslab.utils.environment import resolve_device, resolve_folder
from zslab.utils.flags import check_at_least, check_file_names

TREE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class ExtractConfig:
    """Flags of the command."""

    videos: Path = TREE / "data" / "videos"
    """folder with a folder of clips for each class"""
    dataroot: Path = TREE / "data"
    """folder of the data sets; relative to the working directory, else to the project's root"""
    dataset: str = "my_clips"
    """folder of the data set under --dataroot"""
    image_embedding: str | None = None
    """feature file to write, without .mat; default: the name of the backbone"""
    backbone: str = "r2plus1d_18"
    """a network of torchvision.models.video: r3d_18, mc3_18, r2plus1d_18, s3d, mvit_v2_s, swin3d_t ..."""
    weights: str = "default"
    """default, a name of torchvision's weights for the backbone, or a file (.pth state dict or .safetensors)"""
    random_weights: bool = False
    """with --weights none: use an untrained network, to try out the commands; its features mean little"""
    windows: int = 4
    """number of windows of a video, evenly spaced, whose features are averaged"""
    batch_size: int = 4
    """number of windows in the network at a time; only memory and speed depend on it"""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N"""
    resume: bool = False
    """continue an extraction that was stopped"""
    overwrite: bool = False
    """replace an earlier feature file and discard an unfinished extraction of the same name"""


def extract_features(config: ExtractConfig) -> int:
    """Write the feature file and return the exit status.

    Raises:
        InputError: the videos, the weights or the flags cannot be used.
    """
    check_file_names(config, "image_embedding")
    check_at_least(1, config, "batch_size")
    spec = VideoSpec(config.backbone, config.windows)
    folder = resolve_folder(config.dataroot) / config.dataset
    name = config.image_embedding or config.backbone
    output, listing, partial = folder / f"{name}.mat", folder / f"{name}-unreadable.txt", folder / f"{name}-partial.jsonl"
    if config.overwrite:
        remove_rows(partial)
    for path, allowed in ((output, config.overwrite), (partial, config.resume or config.overwrite)):
        if path.exists() and not allowed:
            raise InputError(
                "the file exists already",
                where=path,
                found="features" if path == output else "an unfinished extraction",
                expected="no file of that name",
                fix="Pass --overwrite to replace it, --resume to continue an unfinished one, or another --image_embedding.",
            )
    videos = list_videos(resolve_folder(config.videos))
    classes = videos.classes or []
    backbone = load_backbone(
        spec,
        config.weights,
        random_weights=config.random_weights,
        device=resolve_device(config.device),
        batch_size=config.batch_size,
    )
    print(
        f"{len(videos)} videos of {len(classes)} classes; {spec.name}, {backbone.weights}, "
        f"{spec.windows} windows of {spec.frames} frames at {spec.frame_rate:g} a second"
    )
    if config.random_weights:
        print("WARNING: the network is UNTRAINED. These features are good for trying out the commands and nothing else.")

    features, unreadable = extract(videos, backbone, partial=partial)
    write_unreadable(listing, videos, unreadable)
    readable = videos.subset(np.setdiff1d(np.arange(len(videos)), list(unreadable)))
    lost = [classes[label - 1] for label in np.setdiff1d(videos.labels, readable.labels)]
    if lost:
        raise InputError(
            "some classes have no readable video",
            where=videos.root,
            found=examples(lost),
            expected="at least one in each class",
            fix=f"{listing} lists the unreadable videos. Replace them or remove those folders, and pass --resume.",
        )
    copy_of = find_copies(readable)
    for note in describe_copies(readable, copy_of):
        print(f"Note: {note}")
    about = backbone.describe()
    write_features(output, features, readable.labels, readable.files, classes, copy_of=copy_of, backbone=about)
    remove_rows(partial)
    print(f"{output}: {len(readable)} videos")
    if unreadable:
        print(f"Left out {len(unreadable)} that cannot be read, listed in {listing}:", file=sys.stderr)
        print(*(f"  {videos.files[index]}: {reason}" for index, reason in unreadable.items()), sep="\n", file=sys.stderr)
    return 3 if unreadable else 0


def main() -> int:
    """Run the command and return its exit status."""
    config = parse_config(ExtractConfig(), None, __file__, __doc__)
    return exit_status(lambda: extract_features(config), "Stopped. Finished videos are kept: --resume continues.")


if __name__ == "__main__":
    sys.exit(main())
