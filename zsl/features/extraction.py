"""Many pictures through a backbone: pooled vectors (.mat, the xlsa17 layout) and region maps (HDF5) in one pass.

Pictures come from a folder `<root>/<class name>/*`, from a text file of paths and labels, or from `image_files` of a
published feature file. Threads open and resize them ahead of the network; at most a few batches are in memory. A batch is
the same rows whatever is finished already, so an extraction that was killed and continued gives the same bits.

    images = read_image_list(Path("image_list.txt"), Path("images"))
    split = read_split(Path("att_splits.mat"), images)
    extract(images, load_backbone(spec), split=split, pooled=Path("resnet101.mat"), regions=Path("maps.hdf5"))
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from zsl.data.matfile import read_mat
from zsl.data.npyfile import read_matrix
from zsl.data.region_writer import RegionWriter
from zsl.data.xlsa17 import assemble
from zsl.errors import InputError
from zsl.features.backbones import PictureBackbone
from zsl.features.files import PartialFeatures, write_features
from zsl.features.pictures import SUFFIXES, find_pictures, open_picture
from zsl.runs.files import write_text

AHEAD = 2  # batches that are opened while the network works on one
SHOWN = 5  # files or classes that a message names, of many


@dataclass(frozen=True)
class Images:
    """Pictures with their labels, in the order of the rows.

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

    def part(self, rows: np.ndarray) -> Images:
        return replace(self, files=[self.files[row] for row in rows], labels=self.labels[rows])


@dataclass(frozen=True)
class Split:
    """What a split file says, fit for the pictures at hand.

    Attributes:
        attributes: (C, A) `att` as it is in the file.
        original_attributes: (C, A) or None.
        class_names: C names.
        locations: name without "_loc" -> 0-based rows.
    """

    attributes: np.ndarray
    original_attributes: np.ndarray | None
    class_names: list[str]
    locations: dict[str, np.ndarray]

    def part(self, rows: np.ndarray, n: int) -> Split:
        """The split of `rows` alone, out of n."""
        place = np.full(n, -1)
        place[rows] = np.arange(len(rows))
        kept = {name: place[location] for name, location in self.locations.items()}
        return replace(self, locations={name: location[location >= 0] for name, location in kept.items()})


# ---- which pictures -----------------------------------------------------------------------------------------------------


def read_image_folder(root: Path, class_names: Sequence[str] | None = None) -> Images:
    """The pictures of `<root>/<class name>/` and below, classes and files in the order of their names.

    Args:
        class_names: the classes in the order of the labels, as a split file has them; None: the folders' own order.
            Folder and class are matched without regard to case, a leading number and what separates the words.

    Raises:
        InputError: there are no pictures, or folders and classes do not match.
    """
    if not root.is_dir():
        raise InputError(
            "missing folder", where="--images", found=root, expected="<class name>/*.jpg in it", cure="Check the path.",
        )
    folders = [
        folder for folder in sorted(root.iterdir()) if folder.is_dir() and not folder.name.startswith(".")
        and any(path.suffix.lower() in SUFFIXES for path in folder.rglob("*"))
    ]
    if not folders:
        raise InputError(
            "no pictures", where=root, found="none in its folders", expected=f"<class name>/*{'|'.join(SUFFIXES)}",
            cure="Put the pictures of each class into a folder with the name of the class. "
                 "For a list of pictures, see extract_features.py --image_list.",
        )
    names = [folder.name for folder in folders]
    numbers = dict(zip(names, range(1, len(names) + 1))) if class_names is None else _match(names, class_names, root)
    files, labels = [], []
    for folder in folders:
        paths = find_pictures([folder])
        files += [path.relative_to(root).as_posix() for path in paths]
        labels += [numbers[folder.name]] * len(paths)
    return Images(root, files, np.array(labels, dtype=np.int64), list(class_names or names), root)


def _match(folders: Sequence[str], class_names: Sequence[str], root: Path) -> dict[str, int]:
    """Folder name -> 1-based number of the class of that name."""
    exact = {name: number for number, name in enumerate(class_names, 1)}
    plain = {plain_name(name): number for number, name in enumerate(class_names, 1)}
    numbers = {name: exact.get(name, plain.get(plain_name(name))) for name in folders}
    strangers = [name for name, number in numbers.items() if number is None]
    bare = [name for number, name in enumerate(class_names, 1) if number not in numbers.values()]
    twice = [name for name in folders if list(numbers.values()).count(numbers[name]) > 1 and name not in strangers]
    if strangers or bare or twice:
        wrong = (("folders of no class: ", strangers), ("classes without a folder: ", bare), ("folders of one class: ", twice))
        raise InputError(
            "folders that do not match the classes", where=root,
            found="; ".join(words + _some(names) for words, names in wrong if names),
            expected=f"one folder for each of the {len(class_names)} classes of the split file",
            cure="Rename or remove folders, or pass the split file that belongs to these pictures.",
        )
    return numbers


def plain_name(name: str) -> str:
    """A class name for comparing: "001.Black_footed_Albatross" -> "blackfootedalbatross"."""
    return "".join(re.findall(r"[^\W_]+", re.sub(r"^\d+\.", "", name).lower()))


def read_image_list(path: Path, root: Path, drop_leading: int = 0) -> Images:
    """The pictures that a file lists, row by row.

    Args:
        path: text with `path<TAB>label` a line, labels counted from 1, further columns ignored; or a .mat file with
            `image_files` and `labels`, as the published features have.
        root: folder that the paths are relative to.
        drop_leading: parts of each path that are left off, which are the author's folders: 5 in the published features,
            7 in SUN's. What is before a leading slash counts as one.

    Raises:
        InputError: the list is missing, damaged or empty, or names pictures that are not there.
    """
    if path.suffix == ".mat":
        content = read_mat(path, ["image_files", "labels"])
        files, labels = [str(name) for name in content["image_files"]], content["labels"].ravel()
        if len(files) != len(labels):
            raise InputError(
                "an image list that does not match its labels", where=path, found=f"{len(files)} files, {len(labels)} labels",
                expected="one label a file", cure="Download the file again.",
            )
    else:
        files, labels = _read_lines(path)
    dropped = ["/".join(name.split("/")[drop_leading:]).lstrip("/") for name in files]
    if not root.is_dir():
        raise InputError(
            "missing folder", where="--images", found=root, expected="the pictures of the list", cure="Check the path.",
        )
    # Paths out of the folder would read what the list's author chooses.
    bad = next((name for name in dropped if not name or ".." in PurePosixPath(name).parts), None)
    missing = [name for name in dropped if not (root / name).is_file()] if bad is None else []
    if bad is not None or len(missing) == len(files):
        parts = files[0].split("/")
        fitting = [n for n in range(len(parts)) if (root / "/".join(parts[n:]).lstrip("/")).is_file()]
        raise InputError(
            "an image list that does not match the pictures", where=path,
            found=f"{bad!r}" if bad is not None else f"none of its {len(files)} pictures in {root}, such as {dropped[0]}",
            expected="paths below --images",
            cure=f"Pass --drop_leading {fitting[-1]}." if fitting else "Check --images and --drop_leading.",
        )
    return Images(root, dropped, np.asarray(labels).astype(np.int64), None, path)


def _read_lines(path: Path) -> tuple[list[str], np.ndarray]:
    expected = "lines of path, tab, label counted from 1"
    try:
        lines = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        labels = np.array([int(line[1]) for line in lines], dtype=np.int64)
    except FileNotFoundError:
        found, cure = "nothing", "Check the path."
    except (OSError, UnicodeDecodeError, ValueError, IndexError) as error:
        found = f"a line without a label ({error})" if isinstance(error, IndexError) else error
        cure = "Write a tab and the number of the class after each path."
    else:
        if len(lines) and labels.min() >= 1:
            return [line[0].strip().replace("\\", "/") for line in lines], labels
        found, cure = f"label {labels.min()}" if len(lines) else "no line", "Count labels from 1."
    raise InputError("unreadable image list", where=path, found=found, expected=expected, cure=cure)


# ---- what belongs beside them -------------------------------------------------------------------------------------------


def read_class_names(path: Path) -> list[str] | None:
    """The class names of a split file in the order of the columns of att, where it has them."""
    content = read_mat(path, ["att"], ["allclasses_names", "all_classes"])
    names = content.get("allclasses_names", content.get("all_classes"))
    return None if names is None else [str(name) for name in names]


def read_split(path: Path, images: Images) -> Split:
    """A split file, checked against the pictures.

    Raises:
        InputError: the file cannot be used, or it was made for other pictures: their number, their labels or their
            folders' names say so.
    """
    cure = "Pass the image list and the split file that belong together."
    content = read_mat(path, ["att", "trainval_loc", "test_seen_loc", "test_unseen_loc"], ["original_att"])
    lists = np.concatenate([content[f"{name}_loc"].ravel() for name in ("trainval", "test_seen", "test_unseen")])
    if len(np.unique(lists)) != len(images) or lists.max(initial=0) != len(images):
        raise InputError(
            "pictures that do not match the split", where=images.source, found=f"{len(images)} pictures",
            expected=f"{len(np.unique(lists))}, which the lists of {path} name, up to number {int(lists.max(initial=0))}",
            cure=cure,
        )
    numbers = {plain_name(name): number for number, name in enumerate(read_class_names(path) or [], 1)}
    folders = [plain_name(PurePosixPath(name).parent.name) for name in images.files]
    wrong = [row for row, folder in enumerate(folders) if numbers.get(folder, images.labels[row]) != images.labels[row]]
    if wrong:
        row = wrong[0]
        raise InputError(
            "labels that do not match the split", where=images.source,
            found=f"label {images.labels[row]} for {images.files[row]}, and {len(wrong) - 1} more",
            expected=f"{numbers[folders[row]]}, the column of att in {path} that has the name of its folder", cure=cure,
        )
    data = assemble(
        path.parent.name, images.source.name, path.stem, np.zeros((len(images), 0), np.float32), images.labels, images.source,
        path,
    )
    original = content.get("original_att")
    return Split(content["att"].T, None if original is None else original.T, data.class_names, data.locations)


def read_attribute_names(path: Path, n: int | None = None) -> list[str]:
    """Names of the attributes from text, one a line with or without a number before it, a .csv file, or SUN's .mat file.

    Args:
        n: how many there must be; None where nothing else tells.

    Raises:
        InputError: the file cannot be read or has another number of names.
    """
    expected = "text with names, one a line, or .csv" if n is None else f"text with {n} names, one a line, or .csv"
    try:
        if path.suffix == ".mat":
            names = [str(name) for name in read_mat(path, ["attributes"])["attributes"]]
        elif path.suffix == ".csv":
            with open(path, encoding="utf-8", newline="") as file:
                rows = list(csv.DictReader(file))
            column = next((name for name in ("des", "name", "attribute", "new_des") if rows and name in rows[0]), None)
            names = [row[column if column else list(row)[-1]].strip() for row in rows]
        else:
            lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
            numbered = all(re.match(r"\d+\s+\S", line) for line in lines)
            names = [re.sub(r"^\d+\s+", "", line) if numbered else line for line in lines]
    except (OSError, UnicodeDecodeError, csv.Error, AttributeError, TypeError) as error:
        raise InputError(
            "unreadable attribute names", where=path, found=error, expected=expected, cure="Check the path.",
        ) from None
    if not names:
        raise InputError("no attribute names", where=path, found="an empty file", expected=expected, cure="Check the path.")
    if n is not None and len(names) != n:
        raise InputError(
            "another number of attributes", where=path, found=f"{len(names)} names", expected=f"{n}, the rows of att",
            cure="Pass the names of the attributes of this split file.",
        )
    return names


def read_attribute_vectors(path: Path, n: int) -> np.ndarray:
    """(A, v) float32 word vectors of the attributes from a .npy file.

    Raises:
        InputError: the file cannot be read or does not hold one finite row an attribute.
    """
    return read_matrix(
        path, "word vectors", expected=f"a .npy file of {n} rows, one a row of att", n_rows=n,
        cure="Pass the word vectors of the attributes of this split file, finite numbers in the same order.",
    ).astype(np.float32)


# ---- the pass -----------------------------------------------------------------------------------------------------------


def find_unreadable(images: Images, *, workers: int, max_pixels: int) -> dict[int, str]:
    """Row -> reason for the pictures that cannot be opened; every picture is decoded once."""

    def problem(row: int) -> str | None:
        try:
            open_picture(images.root / images.files[row], max_pixels=max_pixels)
        except InputError as error:
            return str(error)
        return None

    with ThreadPoolExecutor(workers) as pool:
        checked = _ordered(pool, problem, range(len(images)), 4 * workers)
        problems = tqdm(checked, total=len(images), desc="checking", unit="image", disable=None)
        return {row: reason for row, reason in enumerate(problems) if reason is not None}


def extract(
    images: Images,
    backbone: PictureBackbone,
    *,
    partial: Path,
    pooled: Path | None = None,
    regions: Path | None = None,
    split: Split | None = None,
    attribute_names: Sequence[str] | None = None,
    word_vectors: np.ndarray | None = None,
    dtype: str = "float16",
    batch_size: int = 32,
    workers: int = 2,
    max_pixels: int = 50_000_000,
) -> dict[int, str]:
    """Writes features of all pictures, or says which cannot be read and writes none under a final name.

    What is finished is kept beside the files (`partial`, and the region file's own), from where a later call goes on.

    Args:
        partial: a file of `PartialFeatures`.
        pooled: .mat file to write: features (P, N), labels, image_files, backbone, class names where known.
        regions: HDF5 file to write, which needs `split`.
        attribute_names: A names.
        word_vectors: (A, v).
        dtype: of the region maps.
        batch_size: pictures in the network at a time. Another one may change the last bits of the features.
        workers: threads that open pictures.

    Returns:
        row -> reason for the pictures that cannot be read; empty: the files are written.

    Raises:
        InputError: what is finished belongs to other pictures or settings, or the disk is full.
    """
    if regions is not None and split is None:
        raise ValueError("region maps are stored with a split")
    identity = {
        "backbone": {"spec": backbone.spec.to_json(), "digest": backbone.digest},
        "images": hashlib.sha256("\n".join(images.files).encode()).hexdigest()[:12],
    }
    writer = None
    with PartialFeatures(partial, identity) as written:
        keys = [_key(images.root / name, name) for name in images.files]
        missing = {row: "no such file" for row, (_, size, _) in enumerate(keys) if size < 0}
        if missing:
            return missing
        if regions is not None and not (regions.exists() and _all_but_removed(regions, keys, written)):
            writer = RegionWriter(regions, len(images), backbone.feature_dim, backbone.grid, dtype, identity=identity)
        try:
            unreadable = _run(images, backbone, keys, written, writer, batch_size, workers, max_pixels)
            if unreadable:
                return unreadable
            if pooled is not None:
                features = np.stack([written.done[key] for key in keys])
                classes = images.classes or (split.class_names if split else None)
                write_features(pooled, features, images.labels, images.files, classes, backbone=backbone.describe())
            if writer is not None:
                writer.finish(
                    labels=images.labels - 1, locations=split.locations, att=split.attributes,
                    original_att=split.original_attributes, w2v_att=word_vectors, class_names=split.class_names,
                    attribute_names=attribute_names, image_files=images.files, backbone=backbone.describe(),
                )
        finally:
            if writer is not None:
                writer.close()
    partial.unlink()
    return {}


def _run(
    images: Images, backbone: PictureBackbone, keys: list, written: PartialFeatures, writer: RegionWriter | None,
    batch_size: int, workers: int, max_pixels: int,
) -> dict[int, str]:
    """Computes the batches that are not finished; row -> reason for unreadable pictures."""
    finished = np.array([key in written.done for key in keys])
    if writer is not None:
        finished &= writer.done
    starts = range(0, len(images), batch_size)
    batches = [np.arange(start, min(start + batch_size, len(images))) for start in starts]
    batches = [rows for rows in batches if not finished[rows].all()]
    unreadable: dict[int, str] = {}

    def load(row: int) -> Tensor | str:
        try:
            return backbone.prepare(open_picture(images.root / images.files[row], max_pixels=max_pixels))
        except InputError as error:
            return str(error)

    todo = sum(map(len, batches))
    with (
        ThreadPoolExecutor(workers) as pool,
        tqdm(desc=backbone.spec.name, unit="image", total=len(images), initial=len(images) - todo,
             disable=None) as progress,
    ):
        loaded = _ordered(pool, load, np.concatenate(batches).tolist() if batches else [], (1 + AHEAD) * batch_size)
        for rows in batches:
            pictures = dict(zip(rows.tolist(), islice(loaded, len(rows))))
            unreadable |= {row: picture for row, picture in pictures.items() if isinstance(picture, str)}
            good = [row for row, picture in pictures.items() if not isinstance(picture, str)]
            if good:
                vectors, maps = backbone.features(torch.stack([pictures[row] for row in good]))
                _check_finite(vectors, maps, [images.files[row] for row in good])
                if writer is not None:
                    writer.write(np.array(good), maps.numpy(), vectors.numpy())
                for row, vector in zip(good, vectors.numpy()):
                    written.add(keys[row], vector)
            progress.update(len(rows))
    return unreadable


def _ordered(pool: ThreadPoolExecutor, function: Callable, items: Sequence, ahead: int) -> Iterator:
    """function(item) in the order of the items, at most `ahead` of them begun and not yet taken."""
    waiting: deque = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def _key(path: Path, name: str) -> tuple[str, int, int]:
    try:
        return PartialFeatures.key(path, name)
    except OSError:  # opening it will say so
        return name, -1, -1


def _all_but_removed(regions: Path, keys: Sequence, written: PartialFeatures) -> bool:
    """True where a kill came between the region file's final name and the removal of the list of finished rows."""
    return not regions.with_name(f"{regions.name}.part").exists() and all(key in written.done for key in keys)


def _check_finite(vectors: Tensor, maps: Tensor, files: Sequence[str]) -> None:
    finite = torch.isfinite(vectors).all(1) & torch.isfinite(maps).flatten(1).all(1)
    if not finite.all():
        raise InputError(
            "features that are not finite", where=files[int((~finite).nonzero()[0])], found="NaN or infinity",
            expected="finite numbers", cure="Check --weights, --padding and --normalisation.",
        )


def write_unreadable(path: Path, images: Images, unreadable: dict[int, str]) -> None:
    """A line for each picture that cannot be read; no file where there is none."""
    path.unlink(missing_ok=True)
    if unreadable:
        write_text(path, "".join(f"{images.files[row]}: {reason}\n" for row, reason in sorted(unreadable.items())))


def leave_out(images: Images, split: Split | None, unreadable: dict[int, str]) -> tuple[Images, Split | None]:
    """Pictures and split without the unreadable rows; the lists then count the rows that are left.

    Raises:
        InputError: a class would lose its last picture, or a list its last row.
    """
    rows = np.setdiff1d(np.arange(len(images)), list(unreadable))
    kept = images.part(rows)
    lost = np.setdiff1d(images.labels, kept.labels)
    smaller = split.part(rows, len(images)) if split else None
    empty = [f"{name}_loc" for name, location in smaller.locations.items() if not len(location)] if smaller else []
    if len(lost) or empty:
        names = split.class_names if split else images.classes
        classes = [names[label - 1] if names else f"class {label}" for label in lost]
        raise InputError(
            "nothing readable left", where=images.source, found=_some(classes + empty),
            expected="at least one picture of every class and in every list", cure="Replace the damaged pictures.",
        )
    return kept, smaller


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
