"""Files that are complete or absent: every write goes to a temporary name first and is renamed when complete.

Locks and syncing are used where the file system offers them: some network and FUSE file systems do not.
"""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import logging
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

import filelock
import msgspec

from zslab.errors import REFUSALS, InputError, escaped, readable, refusal

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Config = TypeVar("Config", bound="DataclassInstance")
T = TypeVar("T")

log = logging.getLogger(__name__)

# What a file system answers that lacks a service; 524 is Linux's ENOTSUPP, which reaches programs from NFS.
NO_SERVICE = frozenset({errno.EINVAL, errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, 524})

DAMAGE = (OSError, ValueError, RecursionError)  # of a text file that is missing or of another kind
START = 512  # bytes that tell the kind of a file
OTHER = "a file of another kind"
MARKS = ((b"PK\x03\x04", "a ZIP archive"), (b"\x89HDF", "an HDF5 file"), (b"version https://git-lfs", "a Git LFS pointer"))


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is flushed to disk and renamed to `path`.

    Whatever goes wrong, an earlier file at `path` stays as it was and the temporary file is removed.
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
                flush_to_disk(file)
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def flush_to_disk(file: IO[Any]) -> None:
    """Wait until an open file's content is on the disk, where the file system can tell; errors of the disk are raised."""
    file.flush()
    with optional_service():
        os.fsync(file.fileno())


@contextmanager
def optional_service(*more: int) -> Iterator[None]:
    """Ignore that the file system lacks what is done inside, such as to map a file: NO_SERVICE and `more` error numbers."""
    try:
        yield
    except OSError as error:
        if error.errno not in NO_SERVICE.union(more):
            raise


@contextmanager
def locked(path: Path, timeout: float = -1) -> Iterator[None]:
    """Hold the lock file `path`; where the file system has no locks, go on without one and log it once."""
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout)
    except OSError as error:
        if error.errno not in NO_SERVICE:
            raise
        _tell_of_missing_locks(path.parent)
    try:
        yield
    finally:
        lock.release()


@cache
def _tell_of_missing_locks(folder: Path) -> None:
    log.warning("%s: the file system has no locks. Let one process at a time write there.", folder)


def user_path(text: str | Path) -> Path:
    """Return a path that a user typed, with ~ for the home folder."""
    path = Path(os.path.expanduser(text))
    if os.path.expandvars(path) != str(path) and not path.exists():
        fix = "A shell replaces variables such as $HOME, but not in single quotes nor in files: write ~, or the folder itself."
        raise InputError("a path must be written out", where=text, got="a variable", fix=fix)
    return path


def with_user_paths(config: Config) -> Config:
    """Return a dataclass of flags whose paths, alone or in tuples, went through `user_path`."""

    def expanded(value: object) -> object:
        value = tuple(map(expanded, value)) if isinstance(value, tuple) else value
        return user_path(value) if isinstance(value, Path) else value

    names = [field.name for field in dataclasses.fields(config)]
    return dataclasses.replace(config, **{name: expanded(getattr(config, name)) for name in names})


def make_folder(path: Path) -> None:
    """Make a folder and those above it, if they do not exist."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise refusal(path, error, "the folder must be writable") from error


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
    """Return this process's temporary name beside `path`."""
    # The suffix stays last because some writers (numpy, matplotlib) choose the format by it.
    return path.with_name(f".{path.stem}.{platform.node()}-{os.getpid()}.tmp{path.suffix}")


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def printable(name: str) -> str:
    r"""Return the name of a file with `\xff` for bytes that are no UTF-8 and for what would change a line or a terminal."""
    return escaped(os.fsencode(name).decode("utf-8", "backslashreplace"))


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path`, completely or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, value: object) -> None:
    """Write `value` as indented JSON to `path`, completely or not at all; NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> object:
    """Return the content of a JSON file; one that is missing or no JSON is an InputError."""
    fix = "Check the path. An unfinished run has no result."
    with readable(path, "the file must exist and hold complete JSON", fix, DAMAGE):
        content: object = msgspec.json.decode(path.read_bytes())
    return content


def converted(content: object, kind: type[T], where: object, fix: str = "Restore the file, or make it again.") -> T:
    """Return content of a JSON or TOML file as a msgspec struct or another type."""
    try:
        return msgspec.convert(content, kind)
    except (msgspec.ValidationError, RecursionError) as error:
        raise InputError(f"the content must be that of a {kind.__name__}", where=where, got=error, fix=fix) from None


def refuse_existing(*paths: Path, overwrite: bool = False, flag: str = "--overwrite") -> None:
    """Refuse to replace files."""
    existing = next((path for path in paths if os.path.lexists(path)), None)
    if existing is not None and not overwrite:
        fix = f"Pass {flag} to replace it."
        raise InputError("the output must not exist yet", where=existing, got="a file of that name", fix=fix)


def read_toml(path: Path, expected: str, fix: str) -> dict[str, Any]:
    """Return the content of a TOML file."""
    with readable(path, f"the file must be {expected}", fix, DAMAGE):
        content: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    return content


def kind_of_bytes(start: bytes) -> str:
    """Return the kind of a file by its first `START` bytes."""
    if not start:
        return "an empty file"
    if start.removeprefix(b"\xef\xbb\xbf").lstrip().lower().startswith((b"<!doctype html", b"<html", b"<head")):
        return "a web page"
    return next((kind for mark, kind in MARKS if start.startswith(mark)), OTHER)


def kind_of_file(path: Path) -> str:
    """Return the kind of a file."""
    if path.is_dir():
        return "a folder"
    try:
        with open(path, "rb") as file:
            return kind_of_bytes(file.read(START))
    except OSError:
        return "something unreadable"
