"""Fetch the public zero-shot learning data: ResNet-101 features, attributes and Proposed Splits.

    zslab download --list
    zslab download CUB AWA2 --dataroot zero-shot-images/data

An archive is fetched once for all of its data sets and stays in `<dataroot>/archives/`, where one may also put it by hand and
which may be deleted afterwards. An interrupted command continues when it is given again. Files that are there already are
left alone.

- xlsa17.zip: Xian, Lampert, Schiele, Akata, "Zero-Shot Learning: A Comprehensive Evaluation of the Good, the Bad and
  the Ugly", TPAMI 2018. cvpr18xian.zip (FLO): Xian, Lorenz, Schiele, Akata, "Feature Generating Networks for Zero-Shot
  Learning", CVPR 2018. We know of no checksum from their owners, and more than one version of the first has been
  reported, so the content is checked: length, CRC of every file, and the published counts by the reader that training uses.
- sent_splits.mat (CUB, 1024-d sentence embeddings): a pinned commit of a public repository, checked by its SHA-256.
"""

import logging
import os
import shutil
import zipfile
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import requests
from requests.adapters import HTTPAdapter
from tqdm import tqdm
from tyro.conf import Positional
from urllib3.exceptions import HTTPError
from urllib3.util import Retry

from zslab.data.splits import PROPOSED_SPLIT
from zslab.data.xlsa17 import read_xlsa17
from zslab.errors import InputError, examples, readable
from zslab.utils.files import atomic_path, file_sha256, make_folder, plain_disk_errors
from zslab.utils.names import find_names

log = logging.getLogger(__name__)

FILES = ("res101.mat", "att_splits.mat")
TRIES = 5  # connections in a row without a new byte before giving up
BACKOFF_S = 1.0  # doubles with every failed try
TIMEOUT_S = (10.0, 60.0)  # to connect; between two pieces of the answer
CHUNK = 1 << 18
NETWORK_ERRORS = (requests.RequestException, HTTPError, ValueError)  # ValueError: nonsense addresses and lengths

XIAN = "https://datasets.d2.mpi-inf.mpg.de/xian/"
ATTRIBUTES = {"CUB": 312, "AWA2": 85, "SUN": 102, "FLO": 1024, "AWA1": 85, "APY": 64}  # rows of att
SENTENCES = {  # name -> address and SHA-256 of sent_splits.mat
    "CUB": (
        "https://raw.githubusercontent.com/Hanzy1996/CE-GZSL/7bf5358ac4727ea1dc2dc9dec2f453b014500bd8/data/CUB/sent_splits.mat",
        "53f542c27e45f3ace55f4465ba2743a1c3400a329c61be7aa116e7ccb77c4087",
    )
}


@dataclass(frozen=True)
class DownloadConfig:
    """Flags of `zslab download`."""

    names: Positional[tuple[str, ...]] = ()  #: what to fetch: CUB, AWA2, SUN, FLO, AWA1 or APY
    dataroot: Path | None = None  #: folder that holds one folder a data set
    list: bool = False  #: only say what there is, its counts and its address
    base_url: str | None = None  #: mirror to take the files from: <base_url>/xlsa17.zip and so on


def run(config: DownloadConfig) -> None:
    """Fetch public data sets, or list them."""
    if config.list:
        for name, attributes in ATTRIBUTES.items():
            counts = PROPOSED_SPLIT[name]
            print(f"{name:5}{sum(counts[:3]):6} images {sum(counts[3:]):4} classes {attributes:5} attributes")
            print(*(f"     {url}\n" for url in (_archive(name), *SENTENCES.get(name, ())[:1])), sep="", end="")
        print("Fine-tuned features need a browser: see zero-shot-images/data/README.md.")
        return
    if not config.names or config.dataroot is None:
        got, fix = "no set or no --dataroot", "Name at least one data set and --dataroot, or pass --list."
        raise InputError("there must be something to fetch, and a folder for it", where="the command line", got=got, fix=fix)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    download(config.names, config.dataroot, config.base_url)


def _archive(name: str) -> str:
    """Return the address of the archive that holds a data set."""
    return f"{XIAN}{'cvpr18xian' if name == 'FLO' else 'xlsa17'}.zip"


def download(names: Sequence[str], dataroot: Path, base_url: str | None = None) -> None:
    """Bring the files of the named data sets, keys of ATTRIBUTES, to `<dataroot>/<name>/`; `base_url` is a mirror."""

    def fetch_if_missing(url: str, target: Path, sha256: str | None = None) -> None:
        if not target.exists():
            fetch(url if base_url is None else f"{base_url.rstrip('/')}/{Path(url).name}", target, sha256)

    names = list(dict.fromkeys(names))
    find_names(names, list(ATTRIBUTES), "the command line", "data set", "See `zslab download --list`.")
    for name in names:
        folder = dataroot / name
        missing = [file for file in FILES if not (folder / file).exists()]
        if missing:
            archive = dataroot / "archives" / Path(_archive(name)).name
            fetch_if_missing(_archive(name), archive)
            extract(archive, name, folder, missing)
        if name in SENTENCES:
            fetch_if_missing(SENTENCES[name][0], folder / "sent_splits.mat", SENTENCES[name][1])
        try:
            _check_counts(dataroot, name)
        except InputError:
            for file in missing:  # what has just been unpacked
                (folder / file).unlink()
            raise


def _check_counts(dataroot: Path, name: str) -> None:
    """Read a data set as training does, and refuse other numbers than the published ones."""
    data = read_xlsa17(dataroot, name, "res101", "att")
    samples = [data.counts[key] for key in ("trainval", "test_seen", "test_unseen")]
    found = (*samples, len(data.attributes), data.features.shape[1], data.attributes.shape[1])
    published = (*PROPOSED_SPLIT[name][:3], sum(PROPOSED_SPLIT[name][3:]), 2048, ATTRIBUTES[name])
    if found != published:
        must = f"samples, classes and dimensions must be the published ones, {published}"
        fix = "The files are of another data set, feature size or split: compare zero-shot-images/data/README.md."
        raise InputError(must, where=dataroot / name, got=found, fix=fix)
    log.info("%s: %d images, %d classes, Proposed Split %s", name, len(data.labels), len(data.attributes), data.split_version)
    for note in data.notes:
        log.info("  %s", note)


def extract(archive: Path, name: str, folder: Path, expected: Collection[str]) -> None:
    """Take one data set out of an archive: the one folder of that name which holds a res101.mat.

    Its files in `expected`, which must be there, and its other .mat and .txt files are added where `folder` lacks them.
    """
    fix = "Delete the archive and repeat the command, or put the right one in its place."
    with readable(archive, "the archive must be complete", fix), zipfile.ZipFile(archive) as opened:
        members = {PurePosixPath(member.filename): member for member in opened.infolist() if not member.is_dir()}
        folders = [path.parent for path in members if path.name == "res101.mat" and path.parent.name == name]
        found = {path.name: member for path, member in members.items() if [path.parent] == folders}
        if not set(expected) <= found.keys():
            must = f"the archive must have one folder {name} with {', '.join(expected)}"
            raise InputError(must, where=archive, got=examples(sorted(found)) or "none", fix=fix)
        for file in sorted(found):
            if Path(file).suffix in (".mat", ".txt") and not file.startswith(".") and not (folder / file).exists():
                with atomic_path(folder / file) as temporary, opened.open(found[file]) as source, open(temporary, "wb") as copy:
                    shutil.copyfileobj(source, copy)  # zipfile compares the CRC at the member's end


def fetch(url: str, target: Path, sha256: str | None = None) -> None:
    """Download `url`; `target` appears, or is replaced, only when it has this SHA-256, or without one is a complete zip file.

    Bytes gather in `<target>.part`, which a later call continues: pooch, fsspec and torch.hub start every download at byte 0.
    """
    part = target.with_name(target.name + ".part")
    make_folder(part.parent)
    log.info("fetching %s", url)
    must = "the server must deliver the complete file"
    fix = f"Check network and address, then repeat the command, which continues; or save the file as {target} with a browser."
    retry = Retry(TRIES, connect=2, read=1, backoff_factor=BACKOFF_S, status_forcelist=(429, 500, 502, 503, 504))
    with plain_disk_errors(part), readable(url, must, fix, NETWORK_ERRORS), requests.Session() as session:
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(max_retries=retry))
        failures = 0
        while not _transfer(session, url, part, before := _size(part)):
            failures = 0 if _size(part) > before else failures + 1
            if failures == TRIES:
                raise ValueError(f"{before} bytes, and nothing new in {TRIES} tries")
    try:
        fix = "Repeat the command; if that does not help, the server (or the mirror given) holds another file."
        if sha256 is None:
            with readable(part, "the archive must be a complete zip file", fix), zipfile.ZipFile(part):
                pass
        elif (digest := file_sha256(part)) != sha256:
            raise InputError(f"the SHA-256 must be {sha256}", where=url, got=digest, fix=fix)
    except InputError:
        part.unlink()  # an earlier part may be that of another version: the next call begins at the first byte
        raise
    os.replace(part, target)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _transfer(session: requests.Session, url: str, part: Path, have: int) -> bool:
    """Add to the `have` bytes of `part` what the server sends over one connection; return whether the file is complete."""
    headers = {"Accept-Encoding": "identity"}  # lengths and ranges must count the bytes of the file itself
    headers |= {"Range": f"bytes={have}-"} if have else {}
    with session.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as response:
        if response.status_code == 416:  # nothing is left to send, or the file has become shorter
            return True
        response.raise_for_status()
        start = have if response.status_code == 206 else 0
        length = response.headers.get("Content-Length")
        total = start + int(length) if length else None
        progress = tqdm(total=total, initial=start, unit="B", unit_scale=True, desc=part.stem, disable=None)
        with open(part, "ab" if start else "wb") as file, progress, suppress(HTTPError):  # what has arrived is kept
            while piece := response.raw.read1(CHUNK):
                file.write(piece)
                progress.update(len(piece))
    return _size(part) > 0 and total in (None, _size(part))
