"""Commands of the project under faults: started in a fork, killed, limited, and compared with an uninterrupted run.

A forkserver has PyTorch loaded, so a command starts at once and most kills hit it at work. It is a process of its own all
the same, with the command's `sys.argv`, output in a file, and limits of its own.
"""

import hashlib
import json
import multiprocessing
import os
import resource
import runpy
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import SimpleNamespace
from typing import IO

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from zslab.report import style
from zslab.sweep import engines

TABLE: dict[str, list[dict[str, object]]] = defaultdict(list)  # kind of fault -> rows of its table
FOREVER = 600.0  # seconds after which a command hangs
IGNORED = {"tensorboard", "sweep-output", "log.txt", ".lock"}  # names of folders and files with times in them
PRESENT = {".html", ".png"}  # drawn from what is compared

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    ["faults.runner", *(f"zslab.{name}" for name in ("app.export", "app.own_data", "dazle.trainer", "train", "launch"))]
    + ["zslab.shared.gate", "zslab.report.runs", "zslab.tfvaegan.trainer", "scipy.optimize", "torch._inductor"]
)


@dataclass(frozen=True)
class Fault:
    """What a command meets.

    Attributes:
        file_bytes: of the largest file that it may write.
        memory: bytes of address space that it may add to what it starts with.
        stdout: "file", "closed", or "reader gone": a pipe that nobody reads.
    """

    file_bytes: int | None = None
    memory: int | None = None
    stdout: str = "file"


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int | None
    output: str

    @property
    def is_one_clear_error(self) -> bool:
        return self.status == 1 and self.output.count("error: ") == 1 and not self.is_noisy

    @property
    def is_noisy(self) -> bool:
        return "Traceback" in self.output or "Logging error" in self.output

    @property
    def failing_file(self) -> str:
        """The file that the error names."""
        return Path(self.output.partition("error: ")[2].partition(": ")[0]).name

    def __str__(self) -> str:
        return f"status {self.status}: {self.output.strip()[-400:]}"


NONE = Fault()


class _Blank(FigureCanvasAgg):
    """Writes an empty image for a figure: drawing would take most of such a short run's time."""

    def print_figure(self, filename: IO[bytes], **options: object) -> None:  # type: ignore[override]
        self.figure.clear()
        super().print_figure(filename, **options)  # type: ignore[arg-type]


class Command:
    """A running command."""

    def __init__(self, arguments: Sequence[str], output: Path, fault: Fault = NONE):
        self.output = output
        output.unlink(missing_ok=True)
        self.process: BaseProcess = FORKS.Process(target=_run, args=(list(arguments), output, fault))
        self.process.start()

    def ends_within(self, seconds: float) -> bool:
        self.process.join(seconds)
        return self.process.exitcode is not None

    def kill(self, number: int, with_children: bool = False) -> None:
        """Send a signal, to the processes that the command has started as well if that is asked for."""
        assert self.process.pid is not None
        for pid in (self.process.pid, *(_descendants(self.process.pid) if with_children else [])):
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def end(self) -> Ended:
        """Wait for the end; a command that hangs is killed, and has no status."""
        hangs = not self.ends_within(FOREVER)
        if hangs:
            self.process.kill()
            self.process.join()
        text = self.output.read_text(errors="replace") if self.output.exists() else ""
        return Ended(None if hangs else self.process.exitcode, text)


class _ForkedRun:
    """A run of a sweep, in a fork of the sweep instead of a new interpreter that would load PyTorch again."""

    def __init__(self, command: Sequence[str], stdout: IO[bytes], **_: object):
        call = list(command[1:]), Path(stdout.name), NONE
        self._process = multiprocessing.get_context("fork").Process(target=_run, args=call)
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self) -> int | None:
        self._process.join()
        return self._process.exitcode

    def terminate(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)


def _descendants(pid: int) -> list[int]:
    with suppress(OSError):  # it has ended
        children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        return [descendant for child in children for descendant in (child, *_descendants(child))]
    return []


def _run(arguments: list[str], output: Path, fault: Fault) -> None:
    """Become the command, in a child of the forkserver."""
    os.setsid()
    sys.stdout = sys.__stdout__ = None  # type: ignore[assignment,misc] # closes the null device of a sweep without stdout
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    if fault.stdout == "reader gone":
        reader, writer = os.pipe()
        os.close(reader)
        os.dup2(writer, 1)
    if fault.stdout == "closed":
        os.close(1)
    else:
        sys.stdout = sys.__stdout__ = open(1, "w", closefd=False)  # type: ignore[misc] # noqa: SIM115
    if fault.file_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (fault.file_bytes, fault.file_bytes))
    if fault.memory is not None:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + fault.memory, used + fault.memory))
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, 0), (signal.SIGHUP, 0)):
        signal.signal(number, handler)  # not those of a sweep that this is forked from
    engines.subprocess = SimpleNamespace(Popen=_ForkedRun, STDOUT=subprocess.STDOUT)  # type: ignore[assignment]
    style.FigureCanvasAgg = _Blank  # type: ignore[misc]
    sys.argv = arguments
    sys.path.insert(0, str(Path(arguments[0]).parent))
    runpy.run_path(arguments[0], run_name="__main__")


def contents(folder: Path) -> dict[str, str]:
    """Return path -> digest of what must be the same in any run, times apart, and of which figures and pages exist.

    Raises:
        Exception: a file is not whole.
    """
    files = {path.relative_to(folder): path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"}
    return {
        str(name): hashlib.sha256(_content(path)).hexdigest() for name, path in files.items() if not IGNORED & {*name.parts}
    }


def _content(path: Path) -> bytes:
    if path.name == "result.json":
        result = json.loads(path.read_bytes())
        kept: object = {key: result[key] for key in ("rows", "notes")}
        return json.dumps(kept, sort_keys=True).encode()
    if path.name == "metrics.jsonl":
        lines = path.read_text().split("\n")[:-1]  # a kill or a full disk leaves half a line behind, which readers ignore
        return json.dumps([{**json.loads(line), "seconds": 0} for line in lines]).encode()
    if path.name == "runs.json":
        return json.dumps([{**run, "seconds": 0} for run in json.loads(path.read_bytes())]).encode()
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            return b"".join(name.encode() + np.ascontiguousarray(arrays[name]).tobytes() for name in sorted(arrays))
    if path.suffix == ".mat":
        return path.read_bytes()[128:]  # the header has the date
    if path.suffix in PRESENT or path.name == "config.json":
        return b""
    return path.read_bytes()


def difference(expected: dict[str, str], folder: Path) -> str:
    """Return which files are not as expected, or the empty string."""
    found = contents(folder)
    words = [
        f"{len(names)} {word} ({', '.join(sorted(names)[:4])})"
        for word, names in (
            ("missing", expected.keys() - found.keys()),
            ("too many", found.keys() - expected.keys()),
            ("different", {name for name in expected.keys() & found.keys() if expected[name] != found[name]}),
        )
        if names
    ]
    return "; ".join(words)


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[None]:
    """Mount a file system of `size` bytes at `folder`; skip the test where that is not allowed."""
    folder.mkdir(parents=True, exist_ok=True)
    _mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder))
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def remount(folder: Path, options: str) -> None:
    """Change a mounted file system: "ro", or "rw,size=64m"."""
    _mount("-o", f"remount,{options}", str(folder))


def can_mount() -> bool:
    """Tell whether this process has mounts of its own, as `make faults` gives it where the system allows it."""
    return os.environ.get("ZSLAB_FAULT_MOUNTS") == "1"


def _mount(*arguments: str) -> None:
    if not can_mount():
        pytest.skip("needs a mount namespace (unshare -Urm), which this system does not allow")
    subprocess.run(["mount", *arguments], check=True)
