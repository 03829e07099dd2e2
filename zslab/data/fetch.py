"""Resumable download of one file over HTTP.

`requests` connects, redirects, retries and verifies certificates. Resuming is ours: pooch, fsspec and torch.hub start every
download at byte 0. Bytes gather in `<target>.part`, which a later call continues; the caller's check has the last word on
whether old and new bytes belong together.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import requests
from requests.adapters import HTTPAdapter
from tqdm import tqdm
from urllib3.exceptions import HTTPError
from urllib3.util import Retry

from zslab.errors import InputError, readable
from zslab.utils.files import make_folder, plain_disk_errors

log = logging.getLogger(__name__)

TRIES = 5  # connections in a row without a new byte before giving up
BACKOFF_S = 1.0  # doubles with every failed try
TIMEOUT_S = (10.0, 60.0)  # to connect; between two pieces of the answer
CHUNK = 1 << 18
NETWORK_ERRORS = (requests.RequestException, HTTPError, ValueError)  # ValueError: nonsense addresses and lengths


def fetch(url: str, target: Path, check: Callable[[Path], None]) -> None:
    """Download `url`, continuing an earlier try; `target` appears, or is replaced, only when it is complete and right.

    Args:
        check: raises InputError if the complete file is not the right one; it is then deleted.
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
        failures, complete = 0, False
        while not complete:
            before = _size(part)
            complete = _transfer(session, url, part)
            failures = 0 if _size(part) > before else failures + 1
            if failures == TRIES and not complete:
                raise ValueError(f"{before} bytes, and nothing new in {TRIES} tries")
    try:
        check(part)
    except InputError:
        part.unlink()  # an earlier part may be that of another version: the next call begins at the first byte
        raise
    os.replace(part, target)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _transfer(session: requests.Session, url: str, part: Path) -> bool:
    """Add to `part` what the server sends over one connection; return whether the file is complete."""
    have = _size(part)
    headers = {"Accept-Encoding": "identity"}  # lengths and ranges must count the bytes of the file itself
    if have:
        headers["Range"] = f"bytes={have}-"
    with session.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as response:
        extent = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", response.headers.get("Content-Range", ""))
        if response.status_code == 416 and extent and extent[2] == str(have):
            return True  # an earlier command was stopped between the last byte and the check
        start = int(extent[1] or -1) if response.status_code == 206 and extent else 0
        if response.status_code == 416 or start not in (0, have):
            part.unlink(missing_ok=True)  # the file has changed, or the server sends another part than asked for
            return False
        response.raise_for_status()
        length = response.headers.get("Content-Length")
        total = start + int(length) if length else None
        progress = tqdm(total=total, initial=start, unit="B", unit_scale=True, desc=part.stem, disable=None)
        with open(part, "ab" if start else "wb") as file, progress, suppress(HTTPError):  # what has arrived is kept
            while piece := response.raw.read1(CHUNK):
                file.write(piece)
                progress.update(len(piece))
    return _size(part) > 0 and total in (None, _size(part))
