"""Resumable download of one file over HTTP.

`requests` connects, redirects, retries and verifies certificates. Resuming is ours: pooch, fsspec and torch.hub start every
download at byte 0. Bytes gather in `<target>.part`, which a later call continues; the caller's check has the last word on
whether old and new bytes belong together.
"""

from __future__ import annotations

import logging
import os
import queue
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import requests
import urllib3.exceptions
from requests.adapters import HTTPAdapter
from tqdm import tqdm
from urllib3.util import Retry

from zslab.errors import InputError
from zslab.utils.files import make_folder, plain_disk_errors

log = logging.getLogger(__name__)

TRIES = 5  # connections in a row without a new byte before giving up
BACKOFF_S = 1.0  # doubles with every failed try
TIMEOUT_S = (10.0, 30.0)  # to connect; between two pieces of the answer
ANSWER_S = 180.0  # until the headers are there, with all retries
STALL_S, LEAST_BYTES = 60.0, 1 << 16  # a server that sends less in that time is given up
CHUNK = 1 << 18
LARGEST = 1 << 34  # bytes of a file
NETWORK_ERRORS = (requests.RequestException, urllib3.exceptions.HTTPError, ValueError)  # ValueError: nonsense addresses


def fetch(url: str, target: Path, check: Callable[[Path], None]) -> None:
    """Download `url`, continuing an earlier try; `target` appears, or is replaced, only when it is whole and right.

    Args:
        check: raises InputError if the complete file is not the right one; it is then deleted, and fetched once more from
            the first byte if it was continued.

    Raises:
        InputError: the server cannot be reached or does not deliver, the disk is full, or the check fails.
    """
    part = target.with_name(target.name + ".part")
    for last_attempt in (False, True):
        log.info("fetching %s", url)
        with plain_disk_errors(part):
            make_folder(part.parent)
            resumed = _download(url, part, target)
        log.info("checking %s", target.name)
        try:
            check(part)
            break
        except InputError:
            part.unlink()
            if last_attempt or not resumed:
                raise
            log.info("%s: the continued file is not right, starting over", target.name)
    os.replace(part, target)


def require_space(folder: Path, needed: int) -> None:
    """Raise InputError unless `needed` bytes are free where `folder` is."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise InputError(
            "the disk has not enough space",
            where=folder,
            found=f"{free / 1e6:.0f} MB free",
            expected=f"at least {needed / 1e6:.0f} MB",
            fix="Free some space or choose another --dataroot; a repeated command continues where it stopped.",
        )


def _download(url: str, part: Path, target: Path) -> bool:
    """Fetch what `part` lacks, over as many connections as it takes; return whether any of them continued earlier bytes."""
    resumed, failures, best = False, 0, _size(part)
    problem: object = "nothing"
    with _session() as session:
        while failures < TRIES:
            resumed |= _size(part) > 0
            try:
                if _transfer(session, url, part, target):
                    return resumed
                problem = f"{_size(part)} bytes"
            except NETWORK_ERRORS as error:  # what has arrived is in the .part file
                if isinstance(error, InputError):
                    raise
                problem = error
            failures = 0 if _size(part) > best else failures + 1
            best = max(best, _size(part))
            time.sleep(BACKOFF_S * 2**failures)
    raise InputError(
        "the download makes no progress",
        where=url,
        found=f"{problem} after {TRIES} tries",
        expected="the whole file",
        fix=f"Repeat the command later, it continues {part}; or {_by_hand(target)}",
    )


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _session() -> requests.Session:
    """Return a session that retries refused connections and temporary server errors, with growing pauses."""
    retry = Retry(
        total=TRIES,
        connect=2,
        read=1,
        backoff_factor=BACKOFF_S,
        status_forcelist=(429, 500, 502, 503, 504),
        raise_on_status=False,
        respect_retry_after_header=False,  # a server may ask for hours; we report instead
    )
    session = requests.Session()
    session.mount("http://", HTTPAdapter(max_retries=retry))
    session.mount("https://", HTTPAdapter(max_retries=retry))
    return session


def _transfer(session: requests.Session, url: str, part: Path, target: Path) -> bool:
    """Add to `part` what the server sends over one connection; return whether the file is complete."""
    have = _size(part)
    headers = {"Accept-Encoding": "identity"}  # lengths and ranges must count the bytes of the file itself
    if have:
        headers["Range"] = f"bytes={have}-"
    with _answer(session, url, headers, target) as response:
        start, total = _extent(response)
        if response.status_code == 416 and total == have:
            return True  # an earlier command was stopped between the last byte and the check
        if response.status_code == 416 or start not in (0, have) or (response.status_code == 206 and not have):
            part.unlink(missing_ok=True)  # the file has changed, or the server sends another part than asked for
            return False
        if total is not None and total > LARGEST:
            raise InputError(
                "the file is too large",
                where=url,
                found=f"{total} bytes",
                expected=f"at most {LARGEST} bytes",
                fix=f"Check the address; or {_by_hand(target)}",
            )
        require_space(part.parent, (total or 0) - start)
        with (
            open(part, "ab" if start else "wb") as file,
            tqdm(total=total, initial=start, unit="B", unit_scale=True, desc=target.name, disable=None) as progress,
        ):
            for piece in _pieces(response, url, target):
                file.write(piece)
                progress.update(len(piece))
    return _size(part) > 0 and total in (None, _size(part))


def _answer(session: requests.Session, url: str, headers: dict[str, str], target: Path) -> requests.Response:
    """Return the answer to a request, or give up where the server withholds or refuses it."""
    answers: queue.SimpleQueue[requests.Response | Exception] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(session.get(url, headers=headers, stream=True, timeout=TIMEOUT_S))
        except Exception as error:
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()  # a server may send its headers byte by byte, which no timeout ends
    try:
        answer = answers.get(timeout=ANSWER_S)
    except queue.Empty:
        answer = TimeoutError(f"no answer in {ANSWER_S:.0f} s")
    if isinstance(answer, Exception):
        raise InputError(
            "the server cannot be reached",
            where=url,
            found=answer,
            expected="an answer",
            fix=f"Check the network, the proxy settings and --base-url, then repeat; or {_by_hand(target)}",
        ) from answer
    if answer.status_code not in (200, 206, 416):
        answer.close()
        raise InputError(
            "the server refuses the file",
            where=url,
            found=f"HTTP {answer.status_code} {answer.reason}",
            expected="HTTP 200",
            fix="Repeat later if the number is 500 or above. Otherwise the file has moved: look at its owner's page "
            f"(see zero-shot-images/data/README.md), name a mirror by --base-url, or {_by_hand(target)}",
        )
    return answer


def _extent(response: requests.Response) -> tuple[int, int | None]:
    """Return the first byte of the answer (-1 if it does not say), and the size of the whole file if told."""
    if response.status_code == 200:
        length = response.headers.get("Content-Length", "")
        return 0, int(length) if re.fullmatch(r"[0-9]{1,19}", length) else None
    pattern = r"bytes (?:([0-9]{1,19})-[0-9]{1,19}|\*)/([0-9]{1,19}|\*)"
    match = re.fullmatch(pattern, response.headers.get("Content-Range", ""))
    if match is None:
        return -1, None
    return int(match[1] or -1), None if match[2] == "*" else int(match[2])


def _pieces(response: requests.Response, url: str, target: Path) -> Iterator[bytes]:
    """Yield the body as it arrives; give up on a server that sends next to nothing, or more than any file has."""
    since, received, total = time.monotonic(), 0, 0
    while piece := response.raw.read1(CHUNK):
        received += len(piece)
        total += len(piece)
        yield piece
        elapsed = time.monotonic() - since
        if elapsed > STALL_S and received < LEAST_BYTES or total > LARGEST:
            raise InputError(
                "the server does not deliver the file",
                where=url,
                found=f"{received} bytes in {elapsed:.0f} s" if total <= LARGEST else f"more than {LARGEST} bytes",
                expected=f"at least {LEAST_BYTES} bytes in {STALL_S:.0f} s, and an end",
                fix=f"Repeat the command later, it continues where it stopped; or {_by_hand(target)}",
            )
        if elapsed > STALL_S:
            since, received = time.monotonic(), 0


def _by_hand(target: Path) -> str:
    return f"fetch it with a browser, save it as {target} and repeat the command."
