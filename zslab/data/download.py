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

import argparse
import logging
import lzma
import math
import os
import re
import shutil
import stat
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from zslab.data.fetch import CHUNK, fetch, require_space
from zslab.data.formats.matfile import mat_shapes
from zslab.data.splits import PROPOSED_SPLIT
from zslab.data.xlsa17 import read_xlsa17
from zslab.errors import InputError, examples, exit_status
from zslab.utils.files import file_sha256, make_folder, plain_disk_errors, temporary_path

log = logging.getLogger(__name__)

LONGEST_NAME = 200  # characters of a file or folder in an archive
MAX_UNPACKED = 8 << 30  # bytes; several times what the known archives hold
FEATURE_DIM, SENTENCE_DIM = 2048, 1024
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
    """Where a data set comes from, and its published counts: samples per part of the split, classes, attributes."""

    archive: Source
    trainval: int
    test_seen: int
    test_unseen: int
    classes: int
    attributes: int
    sentences: Source | None = None

    @property
    def images(self) -> int:
        """Number of images in all parts of the split."""
        return self.trainval + self.test_seen + self.test_unseen

    def expected(self) -> dict[str, Shapes]:
        """Return file -> key -> shape of everything that must be there."""
        parts = dict(trainval_loc=self.trainval, test_seen_loc=self.test_seen, test_unseen_loc=self.test_unseen)
        files: dict[str, Shapes] = {
            "res101.mat": {"features": (FEATURE_DIM, self.images), "labels": self.images},
            "att_splits.mat": {"att": (self.attributes, self.classes), **parts},
        }
        if self.sentences is not None:
            files["sent_splits.mat"] = {"att": (SENTENCE_DIM, self.classes), **parts}
        return files


def _published(name: str, archive: Source, attributes: int, sentences: Source | None = None) -> PublicSet:
    trainval, test_seen, test_unseen, seen, unseen = PROPOSED_SPLIT[name]
    return PublicSet(archive, trainval, test_seen, test_unseen, seen + unseen, attributes, sentences)


PUBLIC_SETS: dict[str, PublicSet] = {
    "CUB": _published("CUB", XLSA17, attributes=312, sentences=CUB_SENTENCES),
    "AWA2": _published("AWA2", XLSA17, attributes=85),
    "SUN": _published("SUN", XLSA17, attributes=102),
    "FLO": _published("FLO", CVPR18, attributes=1024),
    "AWA1": _published("AWA1", XLSA17, attributes=85),
    "APY": _published("APY", XLSA17, attributes=64),
}


def download(names: Sequence[str], dataroot: Path, base_url: str | None = None) -> None:
    """Bring the files of the named data sets to `<dataroot>/<name>/`.

    Args:
        names: keys of PUBLIC_SETS.
        dataroot: the folder that holds one folder a data set.
        base_url: a mirror; every file is taken from `<base_url>/<file name>` instead of its owner's server.

    Raises:
        InputError: unknown name, server out of reach, file not there, content not as published, disk full.
    """
    unknown = sorted(set(names) - PUBLIC_SETS.keys())
    if unknown:
        raise InputError(
            "the data set is unknown",
            where="the command line",
            found=examples(unknown),
            expected=", ".join(PUBLIC_SETS),
            fix="Names are case-sensitive; zero-shot-images/data/README.md tells how to use other features.",
        )
    for name in dict.fromkeys(names):
        public, folder = PUBLIC_SETS[name], Path(dataroot) / name
        expected = public.expected()
        wanted = {file for file in expected if not _is_whole(folder / file, expected[file])}
        from_archive = wanted - {"sent_splits.mat"}
        if from_archive:
            archive = Path(dataroot) / ARCHIVES / public.archive.name
            if not archive.exists():
                fetch(_address(public.archive, base_url), archive, check_archive)
            extract(archive, name, folder, {file: expected[file] for file in from_archive})
        if public.sentences is not None and "sent_splits.mat" in wanted:
            source = public.sentences

            def check(path: Path, source: Source = source, shapes: Shapes = expected["sent_splits.mat"]) -> None:
                check_sha256(path, source)
                check_mat(path, shapes, source.url)

            fetch(_address(source, base_url), folder / "sent_splits.mat", check)
        read = read_xlsa17(Path(dataroot), name, "res101", "att")  # a broken value passes a check of shapes
        log.info(
            "%s: %d images, %d classes, Proposed Split %s, in %s",
            name,
            len(read.labels),
            len(read.attributes),
            read.split_version,
            folder,
        )
        for note in read.notes:
            log.info("  %s", note)


def _address(source: Source, base_url: str | None) -> str:
    return source.url if base_url is None else f"{base_url.rstrip('/')}/{source.name}"


def _is_whole(path: Path, shapes: Shapes) -> bool:
    if not path.exists():
        return False
    try:
        check_mat(path, shapes, path)
    except InputError as error:
        log.warning("%s\nIt will be replaced once a good copy has arrived.", error)
        return False
    return True


# --- what has arrived -------------------------------------------------------------------------------------------------


def check_sha256(path: Path, source: Source) -> None:
    """Raise InputError unless `path` has the checksum of `source`."""
    digest = file_sha256(path)
    if digest != source.sha256:
        raise InputError(
            "the checksum is wrong",
            where=source.url,
            found=f"SHA-256 {digest}",
            expected=source.sha256,
            fix="Repeat the command; if that does not help, the server (or the mirror given) holds another file.",
        )


def check_archive(path: Path) -> None:
    """Raise InputError unless `path` is an undamaged zip with harmless member names and of a sane size."""
    with _opened(path) as archive:
        _members(archive, path)
        if bad := archive.testzip():
            raise zipfile.BadZipFile(f"member {bad} is damaged")


def extract(archive: Path, name: str, folder: Path, expected: Mapping[str, Shapes]) -> None:
    """Take one data set out of an archive.

    The data set is the one folder of that name which holds a res101.mat. The files in `expected` replace what is in
    `folder` once their content is right; the other .mat and .txt files beside them are added where `folder` lacks them.

    Args:
        expected: file -> key -> shape; these must be in the archive.

    Raises:
        InputError: damaged or harmful archive, data set or file not in it, content not as published, disk full.
    """
    with _opened(archive) as opened:
        members = _members_of_set(opened, archive, name, expected)
        extras = {file for file in members if re.fullmatch(r"[^.].*\.(mat|txt)", file) and not (folder / file).exists()}
        chosen = {file: members[file] for file in sorted({*expected, *extras})}
        make_folder(folder.parent)
        require_space(folder.parent, sum(member.file_size for member in chosen.values()))
        temporary = temporary_path(folder)
        try:
            with plain_disk_errors(folder):
                temporary.mkdir(exist_ok=True)
                for file, member in chosen.items():
                    with opened.open(member) as source, open(temporary / file, "wb") as copy:
                        shutil.copyfileobj(source, copy, CHUNK)  # zipfile compares the CRC at the member's end
                        os.fsync(copy.fileno())
                    if file in expected:
                        check_mat(temporary / file, expected[file], f"{archive}, member {member.filename}")
                folder.mkdir(exist_ok=True)
                for file in chosen:  # all are right: nothing is ever half unpacked
                    os.replace(temporary / file, folder / file)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _members_of_set(archive: zipfile.ZipFile, path: Path, name: str, expected: Collection[str]) -> dict[str, zipfile.ZipInfo]:
    """Return the files of one data set by name; refuse an archive that lacks the data set or a file in `expected`."""
    fix = "Delete the archive and repeat the command, or put the right one in its place."
    members = _members(archive, path)
    folders = {member.parent for member in members if member.name == "res101.mat"}
    matching = [folder for folder in folders if folder.name == name]
    if len(matching) != 1:
        raise InputError(
            f"the archive lacks data set {name}",
            where=path,
            found=f"res101.mat in {examples(sorted(map(str, folders))) or 'no folder'}",
            expected=f"exactly one folder {name} with res101.mat",
            fix=fix,
        )
    found = {member.name: info for member, info in members.items() if member.parent == matching[0]}
    lacking = sorted(set(expected) - found.keys())
    if lacking:
        raise InputError(
            "the archive lacks files",
            where=f"{path}, folder {matching[0]}",
            found=examples(sorted(found)),
            expected=", ".join(lacking),
            fix=fix,
        )
    return found


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip file; whatever is wrong with it, then or later, becomes an InputError."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except InputError:
        raise
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError, ValueError, MemoryError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the disk; damaged bz2 has no number
            raise
        raise InputError(
            "the archive is damaged",
            where=path,
            found=error,
            expected="a zip file whose checksums agree",
            fix="Delete it if it is still there and repeat the command; a web page may have come in its place.",
        ) from error


def _members(archive: zipfile.ZipFile, path: Path) -> dict[PurePosixPath, zipfile.ZipInfo]:
    """Return the files of an archive by path; refuse names that lead out of a folder, links, and bombs."""
    harmful = [
        member.filename
        for member in archive.infolist()
        if member.filename.startswith("/")
        or ".." in PurePosixPath(member.filename).parts
        or re.search(r"[\\:]", member.filename)
        or max(map(len, member.filename.split("/"))) > LONGEST_NAME
        or stat.S_ISLNK(member.external_attr >> 16)
    ]
    unpacked = sum(member.file_size for member in archive.infolist())  # zipfile never unpacks beyond the size declared
    if harmful or unpacked > MAX_UNPACKED:
        raise InputError(
            "the archive is not safe to unpack",
            where=path,
            found=examples(harmful) or f"{unpacked / 1e9:.0f} GB unpacked",
            expected=f"plain relative paths, no links, at most {MAX_UNPACKED / 1e9:.0f} GB",
            fix="This is not the published archive: delete it and ask whoever runs the server.",
        )
    return {PurePosixPath(member.filename): member for member in archive.infolist() if not member.is_dir()}


def check_mat(path: Path, expected: Shapes, where: object) -> None:
    """Raise InputError, naming the place `where`, unless the MATLAB file has the keys and shapes of `expected`."""
    found = mat_shapes(path, where)
    for key, want in expected.items():
        shape = found.get(key)
        if shape is None or (math.prod(shape) if isinstance(want, int) else shape) != want:
            raise InputError(
                f"{key} is not as published",
                where=where,
                found="no such key" if shape is None else f"shape {shape}",
                expected=f"{want} entries" if isinstance(want, int) else f"shape {want}",
                fix="The file is of another data set, feature size or split: compare zero-shot-images/data/README.md.",
            )


# --- command line -----------------------------------------------------------------------------------------------------


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return 0, 1 after an error told on stderr, or 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(
        "zslab download",
        description=__doc__.partition("\nWhat is fetched")[0],
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="SET", help=f"what to fetch: {', '.join(PUBLIC_SETS)}")
    parser.add_argument("--dataroot", type=Path, help="folder that holds one folder a data set")
    parser.add_argument("--list", action="store_true", help="only say what there is, its counts and its address")
    parser.add_argument("--base-url", help="mirror to take the files from: <base-url>/xlsa17.zip and so on")
    args = parser.parse_args(argv)
    if args.list:
        for name, public in PUBLIC_SETS.items():
            print(f"{name:5}{public.images:6} images {public.classes:4} classes {public.attributes:5} attributes")
            for source in filter(None, (public.archive, public.sentences)):
                print(f"     {_address(source, args.base_url)}")
        print("Fine-tuned features need a browser: see zero-shot-images/data/README.md.")
        return 0
    if not args.names or args.dataroot is None:
        parser.error("name at least one data set and --dataroot, or ask for --list")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    return exit_status(
        lambda: download(args.names, args.dataroot, args.base_url), "\nStopped; the same command continues where it was."
    )
