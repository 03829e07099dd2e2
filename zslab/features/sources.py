"""What is extracted and what is stored beside it: images with labels, their split, names and word vectors of attributes.

Images come from a folder `<root>/<class name>/*`, from a text file of paths and labels, or from `image_files` of a published
feature file.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np

from zslab.data.formats.matfile import read_mat
from zslab.data.formats.npyfile import read_matrix
from zslab.data.xlsa17 import assemble
from zslab.errors import InputError, examples
from zslab.features.images import HIDDEN, SUFFIXES, files_below, report_ignored
from zslab.utils.files import printable
from zslab.utils.names import logged_names, match_names

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Images:
    """Images with their labels.

    Attributes:
        root: folder that `files` are relative to.
        files: N paths with forward slashes.
        labels: (N,) int64, 1-based.
        classes: C class names in the order of the labels, where they are known.
        source: where the list comes from, for messages.
    """

    root: Path
    files: list[str]
    labels: np.ndarray
    classes: list[str] | None
    source: Path

    def __len__(self) -> int:
        return len(self.files)

    def path(self, index: int) -> Path:
        """Return the path of an image."""
        return self.root / self.files[index]

    def subset(self, indices: np.ndarray) -> Images:
        """Return some of the images, in the order of `indices`."""
        return replace(self, files=[self.files[index] for index in indices], labels=self.labels[indices])


@dataclass(frozen=True)
class Split:
    """What a split file says about the images at hand.

    Attributes:
        attributes: (C, A) `att` as it is in the file.
        original_attributes: (C, A) or None.
        class_names: C names.
        locations: name without "_loc" -> 0-based image numbers.
    """

    attributes: np.ndarray
    original_attributes: np.ndarray | None
    class_names: list[str]
    locations: dict[str, np.ndarray]

    def subset(self, indices: np.ndarray, n: int) -> Split:
        """Return the split of the images `indices` alone, out of n; its lists count these images."""
        position = np.full(n, -1)
        position[indices] = np.arange(len(indices))
        moved = {name: position[location] for name, location in self.locations.items()}
        return replace(self, locations={name: location[location >= 0] for name, location in moved.items()})


# ---- which images -----------------------------------------------------------------------------------------------------


def read_image_folder(root: Path, class_names: Sequence[str] | None = None) -> Images:
    """Return the images of `<root>/<class name>/`, see `read_class_folders`."""
    return read_class_folders(root, SUFFIXES, "image", class_names)


def read_class_folders(root: Path, suffixes: Sequence[str], kind: str, class_names: Sequence[str] | None = None) -> Images:
    """Return the files of `<root>/<class name>/` and below, classes and files in the order of their names.

    Folders without a file of the kind are no classes. What is ignored is logged once.

    Args:
        root: the folder.
        suffixes: suffixes of the kind, in lower case.
        kind: "image" or "video".
        class_names: the classes in the order of the labels, as a split file has them; None: the folders' own order. See
            `zslab.utils.names` for what counts as the same name.

    Raises:
        InputError: there are no files, or folders and classes do not match.
    """
    layout = f"<class name>/*{'|'.join(suffixes)}"
    if not root.is_dir():
        raise InputError("the folder is missing", where=f"--{kind}s", found=root, expected=layout, fix="Check the path.")
    ignored: Counter[str] = Counter()
    children = [child for child in sorted(root.iterdir()) if not child.name.startswith(HIDDEN)]
    of_folder = {child.name: files_below(child, suffixes, ignored) for child in children if child.is_dir()}
    report_ignored(ignored, kind)
    loose = [child.name for child in children if child.suffix.lower() in suffixes and not child.is_dir()]
    empty = [printable(name) for name, paths in of_folder.items() if not paths]
    for words, names in ((f"{kind}s outside the folders of classes", loose), (f"folders without {kind}s", empty)):
        if names:
            log.warning("Ignored %s: %s", words, examples(names))
    of_folder = {name: paths for name, paths in of_folder.items() if paths}
    if not of_folder:
        raise InputError(
            f"no folder of a class holds {'an image' if kind == 'image' else 'a video'}",
            where=root,
            found=f"no {kind} in its folders",
            expected=layout,
            fix=f"Put the {kind}s of each class into a folder with the name of the class."
            + " For a list of images, see extract_features.py --image_list." * (kind == "image"),
        )
    names = logged_names(of_folder, root)
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise InputError("the folders of classes must have different names", where=root, got=examples(twice), fix="Rename one.")
    numbers = dict(zip(names, range(1, len(names) + 1))) if class_names is None else _match_folders(names, class_names, root)
    files = [path.relative_to(root).as_posix() for paths in of_folder.values() for path in paths]
    labels = np.repeat([numbers[name] for name in names], [len(paths) for paths in of_folder.values()])
    return Images(root, files, labels.astype(np.int64), list(class_names or names), root)


def _match_folders(folders: Sequence[str], class_names: Sequence[str], root: Path) -> dict[str, int]:
    """Return folder name -> 1-based number of the class of that name."""
    places = match_names(folders, class_names, root)
    of_no_class = [name for name, place in zip(folders, places) if place is None]
    without_folder = [name for place, name in enumerate(class_names) if place not in places]
    shared = [name for name, place in zip(folders, places) if place is not None and places.count(place) > 1]
    if of_no_class or without_folder or shared:
        wrong = (
            ("folders of no class: ", of_no_class),
            ("classes without a folder: ", without_folder),
            ("folders of one class: ", shared),
        )
        raise InputError(
            "the folders do not match the classes",
            where=root,
            found="; ".join(words + examples(names) for words, names in wrong if names),
            expected=f"one folder for each of the {len(class_names)} classes of the split file",
            fix="Rename or remove folders, or pass the split file that belongs to these images.",
        )
    return {name: place + 1 for name, place in zip(folders, places) if place is not None}


def read_image_list(path: Path, root: Path, drop_leading: int = 0) -> Images:
    """Return the images that a file lists, line by line.

    Args:
        path: text with `path<TAB>label` a line, labels counted from 1, further columns ignored; or a .mat file with
            `image_files` and `labels`, as the published features have.
        root: folder that the paths are relative to.
        drop_leading: parts of each path to leave off, the author's folders: 5 in the published features, 7 in SUN's.
            What is before a leading slash counts as one.

    Raises:
        InputError: the list is missing, damaged or empty, or names images that are not there.
    """
    if path.suffix == ".mat":
        content = read_mat(path, ["image_files", "labels"])
        files, labels = [str(name).replace("\\", "/") for name in content["image_files"]], content["labels"].ravel()
        if len(files) != len(labels):
            raise InputError(
                "image_files and labels have different lengths",
                where=path,
                found=f"{len(files)} files, {len(labels)} labels",
                expected="one label for each file",
                fix="Download the file again.",
            )
    else:
        files, labels = _read_lines(path)
    dropped = ["/".join(name.split("/")[drop_leading:]).lstrip("/") for name in files]
    if not root.is_dir():
        raise InputError(
            "the folder is missing", where="--images", found=root, expected="the images of the list", fix="Check the path."
        )
    # Paths out of the folder would read what the list's author chooses.
    bad = next((name for name in dropped if not name or ".." in PurePosixPath(name).parts), None)
    missing = [name for name in dropped if not (root / name).is_file()] if bad is None else []
    if bad is not None or len(missing) == len(files):
        parts = files[0].split("/")
        fitting = [n for n in range(len(parts)) if (root / "/".join(parts[n:]).lstrip("/")).is_file()]
        raise InputError(
            "the image list does not match the images",
            where=path,
            found=f"{bad!r}" if bad is not None else f"none of its {len(files)} images in {root}, such as {dropped[0]}",
            expected="paths below --images",
            fix=f"Pass --drop_leading {fitting[-1]}." if fitting else "Check --images and --drop_leading.",
        )
    return Images(root, dropped, np.asarray(labels).astype(np.int64), None, path)


def _read_lines(path: Path) -> tuple[list[str], np.ndarray]:
    fix = "Write a tab and the number of the class after each path."
    found: object
    try:
        lines = [line.split("\t") for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
        labels = np.array([int(line[1]) for line in lines], dtype=np.int64)
    except FileNotFoundError:
        found, fix = "no such file", "Check the path."
    except IndexError:
        found = "a line without a label"
    except (OSError, UnicodeDecodeError, ValueError, OverflowError) as error:
        found = error
    else:
        if len(lines) and labels.min() >= 1:
            return [line[0].strip().replace("\\", "/") for line in lines], labels
        found, fix = f"label {labels.min()}" if len(lines) else "no line", "Count labels from 1."
    raise InputError(
        "the image list cannot be read", where=path, found=found, expected="lines of path, tab, label counted from 1", fix=fix
    )


def leave_out(images: Images, split: Split | None, unreadable: dict[int, str]) -> tuple[Images, Split | None]:
    """Return images and split without the unreadable ones; the lists then count the images that remain.

    Raises:
        InputError: a class would lose its last image, or a list its last entry.
    """
    indices = np.setdiff1d(np.arange(len(images)), list(unreadable))
    remaining = images.subset(indices)
    lost = np.setdiff1d(images.labels, remaining.labels)
    smaller = split.subset(indices, len(images)) if split else None
    empty = [f"{name}_loc" for name, location in smaller.locations.items() if not len(location)] if smaller else []
    if len(lost) or empty:
        names = split.class_names if split else images.classes
        classes = [names[label - 1] if names else f"class {label}" for label in lost]
        raise InputError(
            "a class or list has no readable image",
            where=images.source,
            found=examples(classes + empty),
            expected="at least one image of every class and in every list",
            fix="Replace the damaged images.",
        )
    return remaining, smaller


# ---- what is stored beside them -----------------------------------------------------------------------------------------


def read_class_names(path: Path) -> list[str] | None:
    """Return the class names of a split file in the order of the columns of att, where it has them."""
    content = read_mat(path, ["att"], ["allclasses_names", "all_classes"])
    names = content.get("allclasses_names", content.get("all_classes"))
    return None if names is None else logged_names(names, path)


def read_split(path: Path, images: Images) -> Split:
    """Return what a split file says, checked against the images.

    Raises:
        InputError: the file cannot be used, or it was made for other images: their number, their labels or their
            folders' names say so.
    """
    fix = "Pass the image list and the split file that belong together."
    content = read_mat(path, ["att", "trainval_loc", "test_seen_loc", "test_unseen_loc"], ["original_att"])
    lists = np.concatenate([content[f"{name}_loc"].ravel() for name in ("trainval", "test_seen", "test_unseen")])
    n_listed = len(np.unique(lists))
    if n_listed != len(images) or lists.max(initial=0) != len(images):
        raise InputError(
            "the images do not match the split",
            where=images.source,
            found=f"{len(images)} images",
            expected=f"{n_listed}, which the lists of {path} name, up to number {int(lists.max(initial=0))}",
            fix=fix,
        )
    folders = [printable(PurePosixPath(name).parent.name) for name in images.files]
    distinct = sorted(set(folders))
    labels = dict(zip(distinct, match_names(distinct, read_class_names(path) or [], images.source)))
    wrong = [index for index, name in enumerate(folders) if labels[name] not in (None, images.labels[index] - 1)]
    if wrong:
        index = wrong[0]
        raise InputError(
            "the labels do not match the split",
            where=images.source,
            found=f"label {images.labels[index]} for {images.files[index]}, and {len(wrong) - 1} more",
            expected=f"{(labels[folders[index]] or 0) + 1}, the column of att in {path} that has the name of its folder",
            fix=fix,
        )
    data = assemble(
        path.parent.name,
        images.source.name,
        path.stem,
        np.zeros((len(images), 0), np.float32),
        images.labels,
        images.source,
        path,
    )
    original = content.get("original_att")
    return Split(content["att"].T, None if original is None else original.T, data.class_names, data.locations)


def read_attribute_vectors(path: Path, n: int) -> np.ndarray:
    """Read (A, v) float32 word vectors of the attributes from a .npy file.

    Args:
        path: the file.
        n: A, the number of attributes.

    Raises:
        InputError: the file cannot be read or does not hold one finite row for each attribute.
    """
    fix = "Pass the word vectors of the attributes of this split file, finite numbers in the same order."
    return read_matrix(path, "word vectors", fix, n).astype(np.float32)
