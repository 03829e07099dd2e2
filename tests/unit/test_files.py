"""Files of the user's disk: paths as they are typed, and file systems that lack a service."""

import errno
import mmap
import os
from dataclasses import dataclass
from pathlib import Path

import filelock
import h5py
import numpy as np
import pytest
import scipy.io

from zslab.data.formats.arrays import read_matrix
from zslab.data.formats.matfile import open_hdf5, read_mat
from zslab.data.region_file import RegionFile
from zslab.errors import InputError
from zslab.utils import files
from zslab.utils.files import atomic_path, kind_of_bytes, locked, user_path, with_user_paths

from helpers.region_examples import CONTENT, write_ours


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_paths_are_those_that_a_user_means(home) -> None:
    assert user_path("~/a.csv") == home / "a.csv" and user_path("a~b") == Path("a~b")
    with pytest.raises(InputError, match=r"\$HOME/a\.csv"):
        user_path("$HOME/a.csv")
    (home / "$HOME").touch()  # a file may have the name of a variable
    assert user_path(home / "$HOME") == home / "$HOME" and user_path("$UNKNOWN/a") == Path("$UNKNOWN/a")


def test_paths_in_flags_are_those_that_a_user_means(home) -> None:
    @dataclass(frozen=True)
    class Flags:
        one: Path
        many: tuple[Path, ...] = (Path("~/b"), Path("c"))
        names: tuple[str, ...] = ("~/d",)
        none: Path | None = None

    assert with_user_paths(Flags(Path("~"))) == Flags(home, (home / "b", Path("c")))


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, 524])
def test_where_there_are_no_locks_work_goes_on_and_says_so_once(tmp_path, monkeypatch, caplog, number) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, "no locks here")

    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    files._tell_of_missing_locks.cache_clear()
    for _ in range(2):
        with locked(tmp_path / ".lock"):
            pass
    assert len(caplog.records) == 1 and str(tmp_path) in caplog.text
    monkeypatch.setattr(filelock.FileLock, "acquire", lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, "broken")))
    with pytest.raises(OSError, match="broken"), locked(tmp_path / ".lock"):
        pass


def test_a_lock_that_is_held_is_waited_for_or_told(tmp_path) -> None:
    with locked(tmp_path / ".lock"), pytest.raises(filelock.Timeout), locked(tmp_path / ".lock", timeout=0):
        pass


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, 524])
@pytest.mark.parametrize("mode", ["r", "w"])
def test_hdf5_files_are_opened_without_a_lock_where_there_are_none(tmp_path, monkeypatch, number, mode) -> None:
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file["x"] = 1
    real = h5py.File

    def refuse(path: Path, mode: str, locking: bool = True) -> h5py.File:
        if locking:
            raise OSError(number, f"Unable to open file (unable to lock file, errno = {number})")
        return real(path, mode, locking=False)

    monkeypatch.setattr(h5py, "File", refuse)
    with open_hdf5(tmp_path / "a.hdf5", mode) as file:
        assert ("x" in file) == (mode == "r")


def test_a_file_that_another_program_writes_is_not_called_damaged(tmp_path, monkeypatch) -> None:
    def refuse(*_: object) -> None:
        raise BlockingIOError(errno.EAGAIN, "Unable to open file (unable to lock file, errno = 11)")

    monkeypatch.setattr(h5py, "File", refuse)
    with pytest.raises(InputError, match=r"a\.hdf5: .*elsewhere"):
        open_hdf5(tmp_path / "a.hdf5")


@pytest.mark.parametrize(
    ("number", "fatal"), [(errno.EINVAL, False), (errno.ENOTSUP, False), (errno.EIO, True), (errno.ENOSPC, True)]
)
def test_a_disk_that_cannot_sync_is_written_to_and_one_that_fails_is_not(tmp_path, monkeypatch, number, fatal) -> None:
    def refuse(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    if fatal:
        with pytest.raises(InputError, match=r"a\.txt"), atomic_path(tmp_path / "a.txt") as temporary:
            temporary.write_text("new")
        assert not list(tmp_path.iterdir())
    else:
        with atomic_path(tmp_path / "a.txt") as temporary:
            temporary.write_text("new")
        assert (tmp_path / "a.txt").read_text() == "new"


def test_files_that_cannot_be_mapped_into_memory_are_read(tmp_path, monkeypatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))

    matrix = np.arange(6.0).reshape(2, 3)
    np.save(tmp_path / "a.npy", matrix)
    scipy.io.savemat(tmp_path / "a.mat", {"att": matrix})
    monkeypatch.setattr(mmap, "mmap", refuse)
    assert np.array_equal(read_matrix(tmp_path / "a.npy", "values", "Again."), matrix)
    assert np.array_equal(read_mat(tmp_path / "a.mat", ["att"])["att"], matrix)
    pooled = RegionFile(write_ours(tmp_path / "a.hdf5")).pooled()
    assert pooled is not None and np.array_equal(pooled, CONTENT["pooled"])


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (b"", "an empty file"),
        (b"\xef\xbb\xbf\n<!DOCTYPE html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        (b"PK\x03\x04", "a ZIP archive"),
        (b"\x89HDF\r\n", "an HDF5 file"),
        (b"\xff\xd8\xff", "a file of another kind"),
    ],
)
def test_kinds_of_files(start, kind) -> None:
    assert kind_of_bytes(start) == kind
