"""Fetches the public zero-shot learning data: ResNet-101 features, attributes and Proposed Splits.

    python -m zsl.data.download --list
    python -m zsl.data.download CUB AWA2 --dataroot zero-shot-images/data

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

Why `requests` and not a downloader library: none at hand resumes, notices a changed file and checks the content. pooch
has hashes and progress bars but starts every download at byte 0; huggingface_hub is made for its own host; torch.hub
and fsspec do not resume. requests with urllib3's Retry does connections, redirects, proxies, certificates, timeouts and
retries; left for us is the short loop in `fetch`, which continues a `.part` file by Range, and by If-Range only while
the server's file is still the same.
"""

from __future__ import annotations

import argparse
import errno
import hashlib
import logging
import math
import os
import re
import shutil
import stat
import sys
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import h5py
import requests
import scipy.io
from requests.adapters import HTTPAdapter
from tqdm import tqdm
from urllib3.util import Retry

from zsl.data.xlsa17 import PROPOSED_SPLIT, read_xlsa17
from zsl.errors import InputError, exit_status
from zsl.runs.files import atomic_path, write_text

log = logging.getLogger(__name__)

TRIES = 5  # connections without one new byte before giving up
BACKOFF_S = 1.0  # doubles with every failed try
TIMEOUT_S = (10.0, 60.0)  # to connect; between two pieces of the answer
CHUNK = 1 << 18
MAX_UNPACKED = 8 << 30  # bytes; several times what the known archives hold, and far below what fills a disk by malice
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
        return self.trainval + self.test_seen + self.test_unseen

    def expected(self) -> dict[str, Shapes]:
        """File -> key -> shape of everything that must be there."""
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
    """Brings the files of the named data sets to `<dataroot>/<name>/`.

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
            "unknown data set", where="the command line", found=", ".join(unknown), expected=", ".join(PUBLIC_SETS),
            cure="Names are case-sensitive; zero-shot-images/data/README.md tells how to use other features.",
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
            name, len(read.labels), len(read.attributes), read.split_version, folder,
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


# --- over the network -------------------------------------------------------------------------------------------------


def fetch(url: str, target: Path, check: Callable[[Path], None]) -> None:
    """Downloads `url` to `target`, continuing an earlier try; `target` appears, or is replaced, only when complete.

    Bytes are gathered in `<target>.part`; `<target>.part.tag` remembers which version of the server's file they are of.

    Args:
        url: what to fetch.
        target: where it goes.
        check: looks at the complete file and raises InputError if it is not what was wanted; it is then thrown away.

    Raises:
        InputError: see `download`.
    """
    part, tag = _part_and_tag(target)
    best = failures = 0
    log.info("fetching %s", url)
    with _session() as session:
        while True:
            problem: object
            try:
                total = _transfer(session, url, target)
                size = part.stat().st_size if part.exists() else 0
                if size and (total is None or size == total):
                    break
                problem = f"{size} bytes"
                if total is not None and size > total:
                    part.unlink()
            except requests.RequestException as error:  # broken off; what has arrived is in the .part file
                problem, total = error, None
                size = part.stat().st_size if part.exists() else 0
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
                    raise
                raise InputError(
                    "cannot write the download", where=part, found=os.strerror(error.errno),
                    expected="a folder with room that one may write to",
                    cure="Free some space or choose another --dataroot, then repeat: it continues where it stopped.",
                ) from error
            failures = 0 if size > best else failures + 1
            best = max(best, size)
            if failures >= TRIES:
                raise InputError(
                    "download does not get on", where=url, found=f"{problem} after {TRIES} tries",
                    expected=f"{total} bytes" if total else "the whole file",
                    cure=f"Repeat the command later, it continues {part}; or {_by_hand(target)}",
                )
            time.sleep(BACKOFF_S * 2**failures)
    log.info("checking %s", target.name)
    try:
        check(part)
    except InputError:
        part.unlink()  # a file that is whole and wrong would otherwise be "continued" for ever
        tag.unlink()
        raise
    os.replace(part, target)
    tag.unlink()


def _part_and_tag(target: Path) -> tuple[Path, Path]:
    part = target.with_name(target.name + ".part")
    return part, part.with_name(part.name + ".tag")


def _session() -> requests.Session:
    """A session that retries refused connections and passing server errors, with growing pauses."""
    retry = Retry(
        total=TRIES,
        connect=2,
        backoff_factor=BACKOFF_S,
        status_forcelist=(429, 500, 502, 503, 504),
        raise_on_status=False,
        respect_retry_after_header=False,  # a server may ask for hours; we report instead
    )
    session = requests.Session()
    session.mount("http://", HTTPAdapter(max_retries=retry))
    session.mount("https://", HTTPAdapter(max_retries=retry))
    return session


def _transfer(session: requests.Session, url: str, target: Path) -> int | None:
    """One connection: adds to the .part file what the server sends; returns the full size if the server tells it."""
    part, tag = _part_and_tag(target)
    known = tag.read_text(encoding="utf-8") if part.exists() and tag.exists() else ""
    have = part.stat().st_size if known else 0  # without a known version, bytes of two versions could be glued together
    headers = {"Accept-Encoding": "identity"}  # lengths and ranges must count the bytes of the file itself
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": known}
    with _open(session, url, headers, target) as response:
        version, (start, total) = _version(response), _extent(response)
        if response.status_code == 416 and total == have:
            return total  # nothing is missing: an earlier command was stopped between the last byte and the check
        if response.status_code == 416 or (
            response.status_code == 206 and (start != have or version not in ("", known))
        ):
            log.info("%s has changed on the server: starting over", target.name)
            part.unlink(missing_ok=True)
            return total
        if response.status_code == 200:
            if have:
                log.info("%s: the server cannot continue, or its file has changed: starting over", target.name)
            have = 0
            part.unlink(missing_ok=True)  # before the tag: bytes must never lie under another version's tag
            write_text(tag, version)
        require_space(target.parent, (total or have) - have)
        with (
            open(part, "ab" if have else "wb") as file,
            tqdm(total=total, initial=have, unit="B", unit_scale=True, unit_divisor=1024, desc=target.name,
                 disable=None) as bar,
        ):
            for chunk in response.iter_content(CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
    return total


def _open(session: requests.Session, url: str, headers: dict[str, str], target: Path) -> requests.Response:
    try:
        response = session.get(url, headers=headers, stream=True, timeout=TIMEOUT_S)
    except requests.RequestException as error:
        raise InputError(
            "cannot reach the server", where=url, found=error, expected="an answer",
            cure=f"Check the network, the proxy settings and --base-url, then repeat; or {_by_hand(target)}",
        ) from error
    if response.status_code not in (200, 206, 416):
        response.close()
        raise InputError(
            "the server refuses the file", where=url, found=f"HTTP {response.status_code} {response.reason}",
            expected="HTTP 200",
            cure="A number of 500 or above passes: repeat later. Else the file has moved: look at its owner's page "
            f"(see zero-shot-images/data/README.md), name a mirror by --base-url, or {_by_hand(target)}",
        )
    return response


def _by_hand(target: Path) -> str:
    return f"fetch it with a browser, save it as {target} and repeat the command."


def _version(response: requests.Response) -> str:
    """What If-Range may compare: a strong ETag, else the date of change, else nothing."""
    etag = response.headers.get("ETag", "")
    return etag if etag.startswith('"') else response.headers.get("Last-Modified", "")


def _extent(response: requests.Response) -> tuple[int, int | None]:
    """First byte of the answer, and size of the whole file if told."""
    if response.status_code == 200:
        length = response.headers.get("Content-Length", "")
        return 0, int(length) if length.isdigit() else None
    match = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", response.headers.get("Content-Range", ""))
    if match is None:
        return -1, None
    return int(match[1] or -1), None if match[2] == "*" else int(match[2])


def require_space(folder: Path, needed: int) -> None:
    """Raises InputError unless `needed` bytes are free where `folder` is."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise InputError(
            "not enough disk space", where=folder, found=f"{free / 1e6:.0f} MB free",
            expected=f"at least {needed / 1e6:.0f} MB",
            cure="Free some space or choose another --dataroot; what has arrived is kept and continued.",
        )


# --- what has arrived -------------------------------------------------------------------------------------------------


def check_sha256(path: Path, source: Source) -> None:
    """Raises InputError unless `path` has the checksum of `source`."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    if digest.hexdigest() != source.sha256:
        raise InputError(
            "wrong checksum", where=source.name, found=f"SHA-256 {digest.hexdigest()}", expected=source.sha256,
            cure="Repeat the command; if it stays so, the server (or the mirror given) holds another file.",
        )


def check_archive(path: Path) -> None:
    """Raises InputError unless `path` is an undamaged zip with harmless member names and of a sane size."""
    with _opened(path) as archive:
        _members(archive, path)
        if bad := archive.testzip():
            raise zipfile.BadZipFile(f"member {bad} is damaged")


def extract(archive: Path, name: str, folder: Path, expected: Mapping[str, Shapes]) -> None:
    """Takes one data set out of an archive.

    The data set is the one folder of that name which holds a res101.mat. The files in `expected` replace what is in
    `folder` once their content is right; the other .mat and .txt files beside them are added where `folder` lacks them.

    Args:
        archive: a zip file.
        name: name of the data set.
        folder: where the files go.
        expected: file -> key -> shape; these must be in the archive.

    Raises:
        InputError: damaged or harmful archive, data set or file not in it, content not as published, disk full.
    """
    with _opened(archive) as opened:
        members = _members(opened, archive)
        homes = {path.parent for path in members if path.name == "res101.mat"}
        matching = [home for home in homes if home.name == name]
        if len(matching) != 1:
            raise InputError(
                f"archive lacks data set {name}", where=archive,
                found=f"res101.mat in {', '.join(sorted(map(str, homes))) or 'no folder'}",
                expected=f"exactly one folder {name} with res101.mat",
                cure="Delete the archive and repeat the command, or put the right one in its place.",
            )
        found = {path.name: member for path, member in members.items() if path.parent == matching[0]}
        lacking = sorted(expected.keys() - found.keys())
        if lacking:
            raise InputError(
                "archive lacks files", where=f"{archive}, folder {matching[0]}", found=", ".join(sorted(found)),
                expected=", ".join(lacking),
                cure="Delete the archive and repeat the command, or put the right one in its place.",
            )
        extras = [
            file for file in found
            if file.endswith((".mat", ".txt")) and not file.startswith(".") and not (folder / file).exists()
        ]
        chosen = {file: found[file] for file in sorted({*expected, *extras})}
        folder.mkdir(parents=True, exist_ok=True)
        require_space(folder, sum(member.file_size for member in chosen.values()))
        for file, member in chosen.items():
            with atomic_path(folder / file) as temporary:
                with opened.open(member) as source, open(temporary, "wb") as copy:
                    shutil.copyfileobj(source, copy, CHUNK)  # zipfile compares the CRC at the member's end
                if file in expected:
                    check_mat(temporary, expected[file], f"{archive}, member {member.filename}")


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """Opens a zip file; whatever is wrong with it, there or later, becomes an InputError."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except InputError:
        raise
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError) as error:
        raise InputError(
            "damaged archive", where=path, found=error, expected="a zip file whose checksums agree",
            cure="Delete it if it is still there and repeat the command; a web page may have come in its place.",
        ) from error


def _members(archive: zipfile.ZipFile, path: Path) -> dict[PurePosixPath, zipfile.ZipInfo]:
    """The files of an archive by path, after refusing names that lead out of a folder, links, and bombs."""
    harmful = [
        member.filename
        for member in archive.infolist()
        if member.filename.startswith("/")
        or ".." in PurePosixPath(member.filename).parts
        or re.search(r"[\\:]", member.filename)
        or stat.S_ISLNK(member.external_attr >> 16)
    ]
    unpacked = sum(member.file_size for member in archive.infolist())  # zipfile never unpacks beyond the size declared
    if harmful or unpacked > MAX_UNPACKED:
        raise InputError(
            "harmful archive", where=path, found=", ".join(harmful[:3]) or f"{unpacked / 1e9:.0f} GB unpacked",
            expected=f"plain relative paths, no links, at most {MAX_UNPACKED / 1e9:.0f} GB",
            cure="This is not the published archive: delete it and ask whoever runs the server.",
        )
    return {PurePosixPath(member.filename): member for member in archive.infolist() if not member.is_dir()}


def check_mat(path: Path, expected: Shapes, where: object) -> None:
    """Raises InputError, naming the place `where`, unless the MATLAB file has the keys and shapes of `expected`."""
    found = mat_shapes(path, where)
    for key, want in expected.items():
        shape = found.get(key)
        if shape is None or (math.prod(shape) if isinstance(want, int) else shape) != want:
            raise InputError(
                f"{key} is not as published", where=where,
                found="no such key" if shape is None else f"shape {shape}",
                expected=f"{want} entries" if isinstance(want, int) else f"shape {want}",
                cure="The file is of another data set, feature size or split: compare zero-shot-images/data/README.md.",
            )


def mat_shapes(path: Path, where: object) -> dict[str, tuple[int, ...]]:
    """Key -> shape of a MATLAB file (v5, or v7.3 with its axes turned back), without reading the arrays.

    Raises:
        InputError: it is no MATLAB file, or it is cut short.
    """
    try:
        if h5py.is_hdf5(path):
            with h5py.File(path) as file:
                return {key: item.shape[::-1] for key, item in file.items() if isinstance(item, h5py.Dataset)}
        return {key: tuple(shape) for key, shape, _ in scipy.io.whosmat(path, appendmat=False)}
    except Exception as error:  # broken files raise anything from OSError to zlib.error and TypeError in scipy
        raise InputError(
            "unreadable MATLAB file", where=where, found=f"{type(error).__name__}: {error}",
            expected="a MATLAB v5 or v7.3 file", cure="Delete it and repeat the command.",
        ) from error


# --- command line -----------------------------------------------------------------------------------------------------


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns 0, 1 after an error told on stderr, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(
        "python -m zsl.data.download", description=__doc__.partition("\nWhat is fetched")[0], allow_abbrev=False,
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


if __name__ == "__main__":
    sys.exit(main())
