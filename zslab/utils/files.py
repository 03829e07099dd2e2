"""Files that are either whole or absent: every write goes to a temporary name first and is renamed when complete."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from zslab.errors import REFUSALS, InputError, refusal
from zslab.utils.names import is_printable

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

LARGEST_TEXT, LARGEST_TOML = 64 * 2**20, 2**20  # bytes of a JSON or JSON-lines file, and of a TOML file


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is flushed to disk and renamed to `path`.

    Whatever goes wrong, an earlier file at `path` stays as it was and the temporary file is removed.

    Raises:
        InputError: the disk is full, or the folder or an earlier file cannot be written to.
    """
    path = Path(path)
    temporary = temporary_path(path)
    make_folder(path.parent)
    try:
        if path.exists() and not os.access(path, os.W_OK):  # to rename would replace it all the same
            raise PermissionError(errno.EACCES, "the file is read-only")
        temporary.touch()
    except OSError as error:  # of any kind: /proc knows no file that is not there
        raise refusal(path, error) from error
    try:
        with plain_disk_errors(path):
            yield temporary
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def make_folder(path: Path) -> None:
    """Make a folder and those above it, where they are not there.

    Raises:
        InputError: the disk refuses, or a file has the name.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise refusal(path, error, "the folder cannot be made") from error


@contextmanager
def plain_disk_errors(path: Path) -> Iterator[None]:
    """Turn the refusal to write `path`, such as that of a full or read-only disk, into an InputError that says so."""
    try:
        yield
    except OSError as error:
        if error.errno is None and " requested and " in str(error):  # so NumPy says that it could write a part only
            error.errno = errno.ENOSPC
        if error.errno in REFUSALS:
            raise refusal(path, error) from error
        raise


def temporary_path(path: Path) -> Path:
    """Return this process's temporary name beside `path`; at first in a folder, remove what killed processes left there."""
    _remove_leftovers(path.parent)
    # The suffix stays last because some writers (numpy, matplotlib) choose the format by it.
    return path.with_name(f".{path.stem}.{platform.node()}-{os.getpid()}.tmp{path.suffix}")


@cache  # a folder of many files is searched once, and not for each of them
def _remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of processes of this machine that have ended."""
    if os.name == "nt" or not folder.is_dir():  # on Windows, asking for a process would end it
        return
    pattern = re.compile(rf"\..*\.{re.escape(platform.node())}-(\d+)\.tmp[^/]*", re.DOTALL)
    with suppress(OSError):  # they only take space
        for entry in list(os.scandir(folder)):
            match = pattern.fullmatch(entry.name)
            if match and not _is_running(int(match[1])):
                shutil.rmtree(entry.path) if entry.is_dir() else os.unlink(entry.path)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # another user's, or no number of a process
        return True
    return True


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def printable(name: str) -> str:
    r"""Return the name of a file with `\xff` for bytes that are no UTF-8 and for what would change a line or a terminal."""
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(c if is_printable(c) else c.encode("unicode_escape").decode() for c in text)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path`, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, value: object) -> None:
    """Write `value` as indented JSON to `path`, whole or not at all; NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def _content(path: Path, largest: int = LARGEST_TEXT) -> bytes:
    """Return the content of a file; raise ValueError where it is larger than what is read here can be."""
    with open(path, "rb") as file:
        content = file.read(largest + 1)
    if len(content) > largest:
        raise ValueError(f"more than {largest:,} bytes")
    return content


def _whole_number(digits: str) -> int:
    """Return a whole number of a JSON file; one that no float and no array can hold is refused."""
    number = int(digits)
    if abs(number) >= 2**63:
        raise ValueError(f"a whole number of {len(digits)} digits")
    return number


def read_json(path: Path) -> object:
    """Return the content of a JSON file.

    Raises:
        InputError: the file is missing, cannot be read or is not JSON.
    """
    try:
        content: object = json.loads(_content(path).decode(), parse_int=_whole_number)
        return content
    except OSError as error:
        raise InputError(
            "the file is missing" if isinstance(error, FileNotFoundError) else "the file cannot be read",
            where=path,
            found=error.strerror,
            expected="a JSON file",
            fix="Check the path; a run that has not finished has no result yet.",
        ) from None
    except (ValueError, RecursionError) as error:
        raise InputError(
            "the file is not valid JSON",
            where=path,
            found=error,
            expected="a whole JSON file",
            fix="It was changed or cut short outside this program: delete it and run again.",
        ) from None


T = TypeVar("T")


def converted(content: object, kind: type[T], where: object, fix: str = "Restore the file, or make it again.") -> T:
    """Return content of a JSON or TOML file as a msgspec struct or another type.

    Raises:
        InputError: it does not fit; msgspec's message names the place, as in "Expected `int` - at `$.epochs`".
    """
    try:
        return msgspec.convert(content, kind)
    except (msgspec.ValidationError, RecursionError) as error:
        raise InputError(f"the content must be that of a {kind.__name__}", where=where, got=error, fix=fix) from None


def refuse_existing(*paths: Path, overwrite: bool = False, flag: str = "--overwrite") -> None:
    """Refuse to replace files.

    Args:
        paths: what is to be written.
        overwrite: whether the user asked to replace them.
        flag: which asks for it.

    Raises:
        InputError: one of them exists, and `overwrite` is False.
    """
    existing = next((path for path in paths if os.path.lexists(path)), None)
    if existing is not None and not overwrite:
        raise InputError(
            "the output must not exist yet", where=existing, got="a file of that name", fix=f"Pass {flag} to replace it."
        )


def read_toml(path: Path, expected: str, fix: str) -> dict[str, Any]:
    """Return the content of a TOML file.

    Args:
        path: the file.
        expected: what the file should be, for the error.
        fix: what to do, for the error.

    Raises:
        InputError: the file cannot be read or is not TOML.
    """
    try:
        content: dict[str, Any] = tomllib.loads(_content(path, LARGEST_TOML).decode())
        return content
    except (OSError, ValueError, RecursionError) as error:
        raise InputError("the file cannot be read as TOML", where=path, found=error, expected=expected, fix=fix) from None


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the records of a run's metrics.jsonl, without what follows the last newline: a killed run leaves half a line.

    Returns:
        One record an epoch, in order. Of an epoch written twice (a resumed run) the later record counts.

    Raises:
        InputError: the file is missing or any whole line is not a JSON object with an integer "epoch".
    """
    try:
        lines = _content(path).split(b"\n")
    except (OSError, ValueError) as error:
        raise InputError(
            "the file is missing" if isinstance(error, FileNotFoundError) else "the file cannot be read",
            where=path,
            found=error,
            expected="one JSON object per epoch",
            fix="Check that this is a run folder; train again if the file was deleted.",
        ) from None
    records = {}
    for number, line in enumerate(lines[:-1], start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line, parse_int=_whole_number)
            if not isinstance(record, dict) or not isinstance(record.get("epoch"), int):
                raise ValueError("no integer 'epoch'")
        except (ValueError, RecursionError):  # ValueError covers undecodable bytes as well as JSON errors
            raise InputError(
                "the line is not a record of an epoch",
                where=f"{path}, line {number}",
                found=repr(line[:60].decode(errors="replace")),
                expected='a JSON object with an integer "epoch"',
                fix="The file was changed outside this program: restore it, or train again with --overwrite.",
            ) from None
        records[record["epoch"]] = record
    return [records[epoch] for epoch in sorted(records)]
