"""Fetch the public zero-shot learning data: ResNet-101 features, attributes and Proposed Splits.

    zslab download --list
    zslab download CUB AWA2 --dataroot zero-shot-images/data

After it `<dataroot>/CUB/` holds res101.mat, att_splits.mat, sent_splits.mat and the class lists of the archive, each
complete and of the published size. The archive of CUB, AWA1, AWA2, SUN and APY has some 0.9 GB and is fetched once for
all of them; it stays in `<dataroot>/archives/`, where one may also put it by hand and which may be deleted afterwards.
An interrupted command continues when it is given again. Files already there and whole are left alone.

What is fetched, and how it is known to be right:
- xlsa17.zip: Xian, Lampert, Schiele, Akata, "Zero-Shot Learning: A Comprehensive Evaluation of the Good, the Bad and
  the Ugly", TPAMI 2018. cvpr18xian.zip (FLO): Xian, Lorenz, Schiele, Akata, "Feature Generating Networks for Zero-Shot
  Learning", CVPR 2018. We know of no checksum from their owners, and more than one version of the first has been
  reported, so the content is checked: length, CRC of every member, keys and shapes against the published counts; and
  the reader that training uses has the last word.
- sent_splits.mat (CUB, 1024-d sentence embeddings): a pinned commit of a public repository, checked by its SHA-256.
"""

from __future__ import annotations

import logging
import math
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tyro.conf import Positional

from zslab.data.fetch import fetch
from zslab.data.formats.matfile import read_mat
from zslab.data.splits import PROPOSED_SPLIT
from zslab.data.xlsa17 import read_xlsa17
from zslab.errors import InputError, examples, readable
from zslab.utils.files import atomic_path, file_sha256
from zslab.utils.names import find_names

log = logging.getLogger(__name__)

ARCHIVES = "archives"

Shapes = Mapping[str, int | tuple[int, int]]  # key of a .mat file -> shape, or the length of a vector (row or column)


@dataclass(frozen=True)
class Source:
    """A file on a public server; `sha256` is None where no trustworthy checksum exists."""

    url: str
    sha256: str | None = None

    @property
    def name(self) -> str:
        """File name at the end of the address."""
        return self.url.rsplit("/", 1)[-1]


XLSA17 = Source("https://datasets.d2.mpi-inf.mpg.de/xian/xlsa17.zip")
CVPR18 = Source("https://datasets.d2.mpi-inf.mpg.de/xian/cvpr18xian.zip")
CUB_SENTENCES = Source(
    "https://raw.githubusercontent.com/Hanzy1996/CE-GZSL/7bf5358ac4727ea1dc2dc9dec2f453b014500bd8/data/CUB/sent_splits.mat",
    sha256="53f542c27e45f3ace55f4465ba2743a1c3400a329c61be7aa116e7ccb77c4087",
)


@dataclass(frozen=True)
class PublicSet:
    """Where a data set comes from, and its published counts.

    Attributes:
        counts: samples in trainval, test_seen and test_unseen, seen and unseen classes.
        attributes: rows of att.
        sentences: file of sentence embeddings, if there is one.
    """

    archive: Source
    counts: tuple[int, int, int, int, int]
    attributes: int
    sentences: Source | None = None

    @property
    def images(self) -> int:
        """Number of images in all parts of the split."""
        return sum(self.counts[:3])

    @property
    def classes(self) -> int:
        """Number of classes, seen and unseen."""
        return sum(self.counts[3:])

    def expected(self) -> dict[str, Shapes]:
        """Return file -> key -> shape of everything that must be there."""
        parts = dict(zip(("trainval_loc", "test_seen_loc", "test_unseen_loc"), self.counts))
        files: dict[str, Shapes] = {
            "res101.mat": {"features": (2048, self.images), "labels": self.images},
            "att_splits.mat": {"att": (self.attributes, self.classes), **parts},
        }
        if self.sentences is not None:
            files["sent_splits.mat"] = {"att": (1024, self.classes), **parts}
        return files


PUBLIC_SETS = {
    "CUB": PublicSet(XLSA17, PROPOSED_SPLIT["CUB"], 312, CUB_SENTENCES),
    "AWA2": PublicSet(XLSA17, PROPOSED_SPLIT["AWA2"], 85),
    "SUN": PublicSet(XLSA17, PROPOSED_SPLIT["SUN"], 102),
    "FLO": PublicSet(CVPR18, PROPOSED_SPLIT["FLO"], 1024),
    "AWA1": PublicSet(XLSA17, PROPOSED_SPLIT["AWA1"], 85),
    "APY": PublicSet(XLSA17, PROPOSED_SPLIT["APY"], 64),
}


def download(names: Sequence[str], dataroot: Path, base_url: str | None = None) -> None:
    """Bring the files of the named data sets to `<dataroot>/<name>/`.

    Args:
        names: keys of PUBLIC_SETS.
        dataroot: the folder that holds one folder a data set.
        base_url: a mirror; every file is taken from `<base_url>/<file name>`.
    """
    find_names(list(dict.fromkeys(names)), list(PUBLIC_SETS), "the command line", "data set", "See `zslab download --list`.")
    for name in dict.fromkeys(names):
        public, folder = PUBLIC_SETS[name], Path(dataroot) / name
        wanted = {file: shapes for file, shapes in public.expected().items() if not _is_complete(folder / file, shapes)}
        sentences = wanted.pop("sent_splits.mat", None)
        if wanted:
            archive = Path(dataroot) / ARCHIVES / public.archive.name
            if not archive.exists():
                fetch(_address(public.archive, base_url), archive, check_archive)
            extract(archive, name, folder, wanted)
        if public.sentences is not None and sentences is not None:
            source, shapes = public.sentences, sentences

            def check(path: Path, source: Source = source, shapes: Shapes = shapes) -> None:
                check_sha256(path, source)
                check_mat(path, shapes)

            fetch(_address(source, base_url), folder / "sent_splits.mat", check)
        read = read_xlsa17(Path(dataroot), name, "res101", "att")  # a broken value passes a check of shapes
        counts = f"{len(read.labels)} images, {len(read.attributes)} classes, Proposed Split {read.split_version}"
        log.info("%s: %s, in %s", name, counts, folder)
        for note in read.notes:
            log.info("  %s", note)


def _address(source: Source, base_url: str | None) -> str:
    return source.url if base_url is None else f"{base_url.rstrip('/')}/{source.name}"


def _is_complete(path: Path, shapes: Shapes) -> bool:
    if not path.exists():
        return False
    try:
        check_mat(path, shapes)
    except InputError as error:
        log.warning("%s\nIt will be replaced once a good copy has arrived.", error)
        return False
    return True


FIX_ARCHIVE = "Delete the archive and repeat the command, or put the right one in its place."


def check_sha256(path: Path, source: Source) -> None:
    """Raise InputError unless `path` has the checksum of `source`."""
    digest = file_sha256(path)
    if digest != source.sha256:
        fix = "Repeat the command; if that does not help, the server (or the mirror given) holds another file."
        raise InputError(f"the SHA-256 must be {source.sha256}", where=source.url, got=digest, fix=fix)


def check_archive(path: Path) -> None:
    """Raise InputError unless `path` is a zip file; the CRC is compared when a file is taken out of it."""
    with readable(path, "the archive must be a complete zip file", FIX_ARCHIVE), zipfile.ZipFile(path):
        pass


def extract(archive: Path, name: str, folder: Path, expected: Mapping[str, Shapes]) -> None:
    """Take one data set out of an archive.

    The data set is the one folder of that name which holds a res101.mat. The files in `expected` replace what is in
    `folder` once their content is right; the other .mat and .txt files beside them are added where `folder` lacks them.

    Args:
        expected: file -> key -> shape; these must be in the archive.
    """
    with readable(archive, "the archive must be complete", FIX_ARCHIVE), zipfile.ZipFile(archive) as opened:
        members = {PurePosixPath(member.filename): member for member in opened.infolist() if not member.is_dir()}
        folders = {path.parent for path in members if path.name == "res101.mat"}
        matching = [path for path in folders if path.name == name]
        found = {path.name: member for path, member in members.items() if [path.parent] == matching}
        if not expected.keys() <= found.keys():
            must = f"the archive must have one folder {name} with {', '.join(expected)}"
            got = examples(sorted(found) or sorted(map(str, folders)) or ["no res101.mat"])
            raise InputError(must, where=archive, got=got, fix=FIX_ARCHIVE)
        for file in sorted(found):
            is_extra = Path(file).suffix in (".mat", ".txt") and not file.startswith(".") and not (folder / file).exists()
            if file in expected or is_extra:
                with atomic_path(folder / file) as temporary:
                    with opened.open(found[file]) as source, open(temporary, "wb") as copy:
                        shutil.copyfileobj(source, copy)  # zipfile compares the CRC at the member's end
                    if file in expected:
                        check_mat(temporary, expected[file])


def check_mat(path: Path, expected: Shapes) -> None:
    """Raise InputError unless the MATLAB file has the keys and shapes of `expected`."""
    content = read_mat(path, list(expected))
    for key, want in expected.items():
        shape = content[key].shape
        if (math.prod(shape) if isinstance(want, int) else shape) != want:
            must = f"{key} must be as published, {want} {'entries' if isinstance(want, int) else 'in shape'}"
            fix = "The file is of another data set, feature size or split: compare zero-shot-images/data/README.md."
            raise InputError(must, where=path, got=shape, fix=fix)


@dataclass(frozen=True)
class DownloadConfig:
    """Flags of `zslab download`."""

    names: Positional[tuple[str, ...]] = ()
    """what to fetch: CUB, AWA2, SUN, FLO, AWA1 or APY"""
    dataroot: Path | None = None
    """folder that holds one folder a data set"""
    list: bool = False
    """only say what there is, its counts and its address"""
    base_url: str | None = None
    """mirror to take the files from: <base_url>/xlsa17.zip and so on"""


def run(config: DownloadConfig) -> None:
    """Fetch public data sets, or list them."""
    if config.list:
        for name, public in PUBLIC_SETS.items():
            print(f"{name:5}{public.images:6} images {public.classes:4} classes {public.attributes:5} attributes")
            for source in filter(None, (public.archive, public.sentences)):
                print(f"     {_address(source, config.base_url)}")
        print("Fine-tuned features need a browser: see zero-shot-images/data/README.md.")
        return
    if not config.names or config.dataroot is None:
        got, fix = "no set or no --dataroot", "Name at least one data set and --dataroot, or pass --list."
        raise InputError("there must be something to fetch, and a folder for it", where="the command line", got=got, fix=fix)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    download(config.names, config.dataroot, config.base_url)
