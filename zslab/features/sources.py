"""Images or videos: which files are extracted or classified, and their labels and split."""

from __future__ import annotations

import csv
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from PIL import Image

from zslab.data.checks import array
from zslab.data.formats.arrays import read_matrix
from zslab.data.formats.matfile import read_mat
from zslab.data.formats.table import read_text
from zslab.data.xlsa17 import assemble, class_names_of
from zslab.errors import InputError, examples
from zslab.features import backbones, video
from zslab.features.images import SUFFIXES, open_image
from zslab.utils.files import file_sha256, printable
from zslab.utils.names import find_names, logged_names, match_names

log = logging.getLogger(__name__)

HIDDEN = (".", "@eaDir", "__MACOSX")  # how names begin that the system, a Synology disk or an archive of macOS added
PARTS = {"train", "training", "val", "valid", "validation", "test", "testing"}  # folders above those of the classes
HEADINGS = ("label", "labels", "class", "classes", "category", "target")
OTHER_FILES = "Pass the image list and the split file that belong together."


@dataclass(frozen=True)
class Images:
    """Images or videos with their labels."""

    root: Path  #: that `files` are relative to
    files: list[str]  #: N paths with forward slashes
    labels: np.ndarray  #: (N,) int64, 1-based
    classes: list[str] | None  #: C names in the order of the labels, where they are known
    source: Path  #: where the list comes from, for messages

    def __len__(self) -> int:
        return len(self.files)

    def path(self, index: int) -> Path:
        """Return the path of a file."""
        return self.root / self.files[index]

    def labeled(self, class_names: Sequence[str], fix: str) -> Images:
        """Return the files of class folders with the labels of a list of classes, in which the folders' names are looked up."""
        numbers = np.array(find_names(self.classes or [], class_names, self.root, fix=fix))
        return replace(self, labels=numbers[self.labels - 1] + 1, classes=list(class_names))


@dataclass(frozen=True)
class Split:
    """What a split file says about the images at hand."""

    attributes: np.ndarray  #: (C, A) as it is in the file
    original_attributes: np.ndarray | None
    class_names: list[str]
    locations: dict[str, np.ndarray]  #: name without "_loc" -> 0-based image numbers


def _files_below(folder: Path, suffixes: Sequence[str], ignored: Counter[str]) -> list[Path]:
    """Return the files with one of the suffixes below a folder, sorted; links are followed, but not in circles.

    `ignored` counts the other files that are not hidden, by suffix.
    """

    def refuse(error: OSError) -> None:
        raise InputError("the folder must be readable", where=error.filename, got=error.strerror, fix="Change its permissions.")

    files, visited = [], set(folder.resolve().parents)
    for place, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        real = Path(place).resolve()
        if real in visited:
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith(HIDDEN))
        for path in (Path(place, name) for name in names if not name.startswith(HIDDEN)):
            if path.suffix.lower() in suffixes:
                files.append(path)  # a link that leads nowhere is reported as a missing file
            else:
                ignored[path.suffix.lower() or "without a suffix"] += 1
    return sorted(files)


def _report_ignored(ignored: Counter[str], kind: str) -> None:
    if ignored:
        counts = [f"{n} {suffix}" for suffix, n in sorted(ignored.items(), key=lambda item: (-item[1], item[0]))]
        log.warning("Ignored files without %s suffix: %s", "an image" if kind == "image" else "a video", examples(counts))


def read_class_folders(root: Path, suffixes: Sequence[str], kind: str, class_names: Sequence[str] | None = None) -> Images:
    """Return the files of `<root>/<class name>/` and below, classes and files in the order of their names.

    Folders without a file of the kind are no classes. Where all folders are called train, val, test or the like, those in them
    are the classes. What is ignored is logged once. `class_names` are the classes in the order of the labels, as a split file
    has them; None: the folders' own order.
    """
    layout, fix = f"{root}/CLASS/*{suffixes[0]}", f"Put the {kind}s of each class into a folder with the name of the class."
    if not root.is_dir():
        raise InputError(f"there must be a folder of {kind}s, {layout}", where=f"--{kind}s", got=root, fix="Check the path.")
    folders = [child for child in root.iterdir() if child.is_dir() and not child.name.startswith(HIDDEN)]
    depth = int(bool(folders) and all(folder.name.lower() in PARTS for folder in folders))
    if depth:
        parts = examples(sorted(folder.name for folder in folders))
        log.warning("%s: the folders in %s are taken for the classes.", root, parts)
        folders = [child for folder in folders for child in folder.iterdir() if child.is_dir()]
    ignored: Counter[str] = Counter()
    found = [path.relative_to(root) for path in _files_below(root, suffixes, ignored)]
    _report_ignored(ignored, kind)
    loose = [path.name for path in found if len(path.parts) <= depth + 1]
    found = sorted((path for path in found if len(path.parts) > depth + 1), key=lambda path: (path.parts[depth], path))
    folder_of = [path.parts[depth] for path in found]
    empty = {folder.name for folder in folders if not folder.name.startswith(HIDDEN)}.difference(folder_of)
    for words, some in ((f"{kind}s outside the folders of classes", loose), (f"folders without {kind}s", sorted(empty))):
        if some:
            log.warning("Ignored %s: %s", words, examples(list(map(printable, some))))
    if not found:
        must = f"folders of classes must hold {kind}s, {layout}"
        raise InputError(must, where=root, got=f"no {kind} in its folders", fix=fix)
    names, labels = np.unique(folder_of, return_inverse=True)
    classes = logged_names(names.tolist(), root)
    if len(set(classes)) < len(classes):
        twice = [name for name, count in Counter(classes).items() if count > 1]
        raise InputError("the folders of classes must have different names", where=root, got=examples(twice), fix="Rename one.")
    images = Images(root, [path.as_posix() for path in found], labels + 1, classes, root)
    if class_names is None:
        return images
    fix = "Rename or remove folders, or pass the split file that belongs to these images."
    images = images.labeled(class_names, fix)
    if bare := [name for label, name in enumerate(class_names, start=1) if label not in images.labels]:
        must = "every class of the split file must have a folder"
        raise InputError(must, where=root, got=f"none of {examples(bare)}", fix=fix)
    return images


def read_image_list(path: Path, root: Path, drop_leading: int = 0, class_names: Sequence[str] | None = None) -> Images:
    """Return the images that a file lists, line by line.

    Args:
        path: text with a path and a label a line, separated by a tab, a comma or a space; or a .mat file with `image_files`
            and `labels`, as the published features have. Labels are counted from 1, or are names of classes.
        root: folder that the paths are relative to.
        drop_leading: parts of each path to leave off, the author's folders: 5 in the published features, 7 in SUN's.
            What is before a leading slash counts as one.
        class_names: in the order of the labels, which names in the list are looked up in; None: in the order of the alphabet.
    """
    classes = None
    if path.suffix == ".mat":
        content = read_mat(path, ["image_files", "labels"])
        files, labels = [str(name) for name in content["image_files"]], content["labels"].ravel()
    else:
        files, words = _read_lines(path)
        if all(word.lstrip("-").isdigit() for word in words):
            labels = np.array(words, dtype=np.float64)
        else:
            distinct, places = np.unique(words, return_inverse=True)
            classes = list(class_names or distinct.tolist())
            labels = np.array(find_names(distinct.tolist(), classes, path))[places] + 1
    fix = "Give every image the number of its class, counted from 1."
    labels = array(labels, path, "labels", (len(files),), low=1, high=10**7, whole=True, fix=fix).astype(np.int64)
    files = [name.replace("\\", "/") for name in files]
    dropped = ["/".join(name.split("/")[drop_leading:]).lstrip("/") for name in files]
    # Paths out of the folder would read what the list's author chooses.
    bad = next((name for name in dropped if not name or ".." in PurePosixPath(name).parts), None)
    if bad is not None or not any((root / name).is_file() for name in dropped):
        parts = files[0].split("/")
        fitting = [n for n in range(len(parts)) if (root / "/".join(parts[n:]).lstrip("/")).is_file()]
        fix = f"Pass --drop_leading {fitting[-1]}." if fitting else "Check --images and --drop_leading."
        got = repr(dropped[0] if bad is None else bad)
        raise InputError(f"the list must have paths of images below {root}", where=path, got=got, fix=fix)
    return Images(root, dropped, labels, classes, path)


def _read_lines(path: Path) -> tuple[list[str], list[str]]:
    """Return the paths and the labels, numbers or names, of a list."""
    rows, fix = [], "Write a path, a tab and the number of the class on each line."
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        fields = line.split("\t") if "\t" in line else line.rsplit(maxsplit=1)
        if "\t" not in line and "," in line and not fields[-1].isdigit():
            fields = next(csv.reader([line]))
        if line.strip() and (len(fields) < 2 or not fields[1].strip()):
            raise InputError("a line must have a path and a label", where=f"{path}, line {number}", got=line, fix=fix)
        rows += [(fields[0].strip(" ,"), fields[1].strip())] if line.strip() else []
    if rows and rows[0][1].lower() in HEADINGS:
        del rows[0]
    if not rows:
        raise InputError("the list must name images", where=path, got="no line", fix=fix)
    return [file for file, _ in rows], [label for _, label in rows]


def leave_out(images: Images, split: Split | None, unreadable: Iterable[int]) -> tuple[Images, Split | None]:
    """Return images and split without the unreadable ones; the lists then count the images that remain.

    A class that would lose its last image, or a list that would lose its last entry, is refused.
    """
    kept = np.setdiff1d(np.arange(len(images)), list(unreadable))
    remaining = replace(images, files=[images.files[index] for index in kept], labels=images.labels[kept])
    names = split.class_names if split else images.classes
    lost = [names[label - 1] if names else f"class {label}" for label in np.setdiff1d(images.labels, remaining.labels)]
    if split is not None:
        lists = {name: np.searchsorted(kept, numbers[np.isin(numbers, kept)]) for name, numbers in split.locations.items()}
        split, lost = replace(split, locations=lists), lost + [f"{name}_loc" for name in lists if not len(lists[name])]
    if lost:
        must, fix = "every class and list must have a file that can be read", "Replace the damaged files."
        raise InputError(must, where=images.source, got=f"none of {examples(lost)}", fix=fix)
    return remaining, split


def find_copies(files: Images) -> np.ndarray:
    """Return for each file the index of the first one with the same content, (N,); only files of equal size are read."""
    sizes = [files.path(index).stat().st_size for index in range(len(files))]
    n_of_size, copy_of = Counter(sizes), np.arange(len(files))
    first: dict[tuple[int, str], int] = {}
    for index, size in enumerate(sizes):
        if n_of_size[size] > 1:
            copy_of[index] = first.setdefault((size, file_sha256(files.path(index))), index)
    return copy_of


def describe_copies(files: Images, copy_of: np.ndarray, is_seen: np.ndarray | None = None) -> list[str]:
    """Return sentences about the byte-identical copies `copy_of` (N,); `is_seen` (C,) tells which classes are seen."""
    copies = np.flatnonzero(copy_of != np.arange(len(files)))
    labels, first_labels = files.labels[copies], files.labels[copy_of[copies]]
    leak = np.zeros(len(copies), bool) if is_seen is None else is_seen[labels - 1] != is_seen[first_labels - 1]
    kinds = (
        (copies, "files are byte-identical copies of others, kept on one side of the split: {}."),
        (copies[labels != first_labels], "of these copies lie in another class than the original: {}. Remove the wrong ones."),
        (copies[leak], "of these copies lie in a seen and in an unseen class, so test images are trained on: {}."),
    )
    pairs = [(some, examples([f"{files.files[i]} = {files.files[copy_of[i]]}" for i in some]), words) for some, words in kinds]
    return [f"{len(some)} {words.format(named)}" for some, named, words in pairs if len(some)]


def read_split(path: Path, images: Images) -> Split:
    """Return what a split file says, refused if the images' number, labels or folders say that it was made for others."""
    content = read_mat(path, ["att", "trainval_loc", "test_seen_loc", "test_unseen_loc"], ["original_att"])
    lists = np.concatenate([content[f"{name}_loc"].ravel() for name in ("trainval", "test_seen", "test_unseen")])
    n_listed = len(np.unique(lists))
    if n_listed != len(images) or lists.max(initial=0) != len(images):
        must = f"there must be {n_listed} images, as the lists of {path} name, up to number {int(lists.max(initial=0))}"
        raise InputError(must, where=images.source, got=f"{len(images)} images", fix=OTHER_FILES)
    folders = [printable(PurePosixPath(name).parent.name) for name in images.files]
    distinct = sorted(set(folders))
    labels = dict(zip(distinct, match_names(distinct, class_names_of(path) or [], images.source)))
    wrong = [index for index, name in enumerate(folders) if labels[name] not in (None, images.labels[index] - 1)]
    if wrong:
        must = f"labels must be those of the classes in {path} that the folders are named after"
        got = examples([f"label {images.labels[index]} for {images.files[index]}" for index in wrong])
        raise InputError(must, where=images.source, got=got, fix=OTHER_FILES)
    features = np.zeros((len(images), 0), np.float32)
    data = assemble(path.parent.name, images.source.name, path.stem, features, images.labels, images.source, path)
    original = content.get("original_att")
    return Split(content["att"].T, None if original is None else original.T, data.class_names, data.locations)


def read_attribute_vectors(path: Path, n: int) -> np.ndarray:
    """Read (A, v) float32 word vectors from a .npy file, a row for each of n attributes."""
    fix = "Pass the word vectors of the attributes of this split file, finite numbers in the same order."
    vectors = read_matrix(path, "word vectors", fix, n).astype(np.float32)
    log.warning("%s has no names: its rows are taken in the order of the attributes.", path.name)
    return vectors


class Modality(NamedTuple):
    """A kind of file that a model classifies: its name, suffixes, backbones, and the RGB image that stands for a file."""

    name: str
    suffixes: tuple[str, ...]
    show: Callable[[Path], Image.Image]
    spec: type[backbones.BackboneSpec] | type[video.VideoSpec]
    load_backbone: Callable[..., backbones.Backbone]

    def find(self, paths: Iterable[Path | str]) -> list[Path]:
        """Return the files of this kind among files and folders, in the order given and each once.

        A file that is named itself is taken whatever its suffix. A folder gives all that are not hidden below it, sorted.
        """
        given = [Path(path) for path in paths]
        files: dict[Path, None] = {}
        ignored: Counter[str] = Counter()
        for path in given:
            if not path.exists():
                must, fix = f"the {self.name} or folder must exist", "Check the path."
                raise InputError(must, where=path, got="no such file", fix=fix)
            files.update(dict.fromkeys(_files_below(path, self.suffixes, ignored) if path.is_dir() else [path]))
        _report_ignored(ignored, self.name)
        if not files:
            where, must = ", ".join(map(str, given)) or "the list", f"there must be {self.name}s ({' '.join(self.suffixes)})"
            raise InputError(must, where=where, got="no file with a known suffix", fix="Name another folder.")
        return list(files)


IMAGES = Modality("image", SUFFIXES, open_image, backbones.BackboneSpec, backbones.load_backbone)
VIDEOS = Modality("video", video.SUFFIXES, video.middle_frame, video.VideoSpec, video.load_backbone)


def modality_of(spec: object) -> Modality:
    """Return the modality of a spec as JSON; only the spec of a video backbone has windows."""
    return VIDEOS if isinstance(spec, dict) and "windows" in spec else IMAGES
