"""Execute planned runs: skip what has finished, resume what was started, try failed ones again, show how far they are.

A run is a function of its config in a folder that its config names. Its result.json appears last and complete, so the folder
alone says whether a run is left. Nothing else has to be remembered, and the same command continues a sweep after any
interruption, of the sweep's own process too.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import filelock
from tqdm import tqdm

from zslab.config import VALIDATION_ONLY
from zslab.errors import InputError
from zslab.results.names import MEASURES
from zslab.results.record import read_records
from zslab.results.result import read_result
from zslab.sweep.engines import POLL_SECONDS, Engine, Job
from zslab.utils.files import locked
from zslab.utils.signals import stop_requests

STOPPED = 130  # exit status of a run after an interrupt, which it survives: its checkpoint is saved
LOST = -1000  # status of a run whose worker, node or job vanished
MOST_LOSSES = 10  # of workers under one run, before it counts as failed
LAST_LINES = 15  # shown of a failed run's output
SHOWN_RUNS = 20  # of a plan, before a sweep starts
RECENT = 20  # epochs that tell how long one takes
SOON, SELDOM = 15.0, 300.0  # seconds before the first line about running jobs, and between later ones


@dataclass(frozen=True)
class PlannedRun:
    """A run that a sweep wants."""

    name: str  #: what sets it apart from the others, for messages
    command: tuple[str, ...]  #: that makes or continues it
    folder: Path  #: the run folder
    data: Path | None = None  #: folder of the data set; None where it is not known
    epochs: int = 0  #: of each of its stages

    @property
    def finished(self) -> bool:
        """Whether the run has left its result and, unless it makes none, its report."""
        reported = "--no_report" in self.command or (self.folder / "report.html").exists()
        return reported and (self.folder / "result.json").exists()

    @property
    def is_current(self) -> bool:
        """Whether the run has finished after its data changed for the last time, as far as times of files tell.

        A run that shall be overwritten never is.
        """
        if not self.finished or "--overwrite" in self.command:
            return False
        if self.data is None or not self.data.is_dir():
            return True
        made = (self.folder / "result.json").stat().st_mtime
        return all(file.stat().st_mtime <= made for file in self.data.iterdir() if file.is_file())

    @property
    def in_use(self) -> bool:
        """Whether another process works in the folder, as one that outlived a killed sweep does."""
        return is_locked(self.folder / ".lock")

    @property
    def output(self) -> Path:
        """Where the output goes that is not shown."""
        return self.folder.parent / "sweep-output" / f"{self.folder.name}.txt"

    @property
    def state(self) -> str:
        """Whether the run is done, started or new."""
        started = any((folder / "metrics.jsonl").exists() for folder in (self.folder, self.folder / "validation"))
        return "done" if self.is_current else "started" if started else "new"

    def progress(self) -> str:
        """Return the epoch and the time left, read from the run folder."""
        seconds, since = list[float](), 0.0
        with suppress(InputError, OSError):  # of which the run itself will say more
            for file in (self.folder / "validation" / "metrics.jsonl", self.folder / "metrics.jsonl"):
                if file.exists():
                    seconds += [record.seconds for record in read_records(file)]
                    since = time.time() - file.stat().st_mtime
        if not seconds:
            return "before the first epoch"
        # A run validates where asked for, and where unseen classes have no test samples, which only the run itself finds out.
        both = (self.folder / "validation").exists() and VALIDATION_ONLY not in self.command
        epochs = self.epochs * (1 + both)
        bar = tqdm.format_meter(len(seconds), epochs, 0, bar_format="{percentage:3.0f}%|{bar:10}|")
        if len(seconds) >= epochs:
            return f"{bar} all epochs, the report follows"
        one = sum(seconds[-RECENT:]) / len(seconds[-RECENT:])
        left = one * (epochs - len(seconds)) - min(since, one)
        return f"{bar} epoch {len(seconds) + 1}/{epochs}, {tqdm.format_interval(left)} left"

    def figures(self) -> str:
        """Return the result in a few words; nothing without one."""
        with suppress(InputError):
            if self.finished and (row := read_result(self.folder / "result.json").headline):
                named = ((MEASURES[key].symbol, row.value(key)) for key in ("T1", "H"))
                return ": " + ", ".join(f"{symbol} {100 * value:.1f}" for symbol, value in named if value is not None)
        return ""


def is_locked(path: Path) -> bool:
    """Return whether a process holds a lock file; False where the file system has no locks."""
    if not path.exists():
        return False
    try:
        with locked(path, timeout=0):
            return False
    except filelock.Timeout:
        return True


def show_plan(runs: Sequence[PlannedRun], most: int | None = None) -> None:
    """Print the runs with their state, at most so many, and where they leave their results."""
    states = [run.state for run in runs]
    folders = ", ".join(sorted({str(run.folder.parent) for run in runs}))
    print(f"{_count(len(runs))} in {folders}, {states.count('done')} of them done before")
    for run, state in zip(runs[:most], states):
        print(f"  {state:9}{run.name}  {run.folder.name}")
    if len(runs) > len(runs[:most]):
        print(f"  … and {len(runs) - len(runs[:most])} more", flush=True)


def _count(runs: int) -> str:
    return f"{runs} run{'s' * (runs != 1)}"


def execute(
    runs: Sequence[PlannedRun], engine: Engine, *, retries: int = 0, keep_going: bool = True, show_output: bool = False
) -> int:
    """Execute the runs that have not finished, and report at the end."""
    unique = list({run.folder: run for run in runs}.values())
    waiting = [run for run in unique if not run.is_current]
    done, failed = len(unique) - len(waiting), dict[PlannedRun, int]()
    show_plan(unique, SHOWN_RUNS)
    with running(engine, retries, show_output) as pool:
        while pool.active or waiting:
            if pool.stopping() or (failed and not keep_going):
                waiting = []
            while len(pool.active) < engine.slots and (ready := next((run for run in waiting if not run.in_use), None)):
                waiting.remove(ready)
                pool.start(ready)
            for each, status in pool.ended():
                done += status == 0
                failed |= {each.run: status} if status not in (0, STOPPED) else {}
                word = {0: "is done", STOPPED: "stopped"}.get(status, f"failed with status {status}")
                word += f" after {(time.monotonic() - each.started) / 60:.1f} min{each.run.figures()}"
                pool.say(f"{done + len(failed)} of {len(unique)}: {each.run.name} {word}", *pool.last_lines(each.run, status))
    for run, status in failed.items():
        print(f"failed with status {status}: {run.name} ({run.folder})", file=sys.stderr)
    print(f"{done} of {_count(len(unique))} finished.")
    if left := len(unique) - done - len(failed):
        print(f"{_count(left)} left; the same command continues.", file=sys.stderr)
    if failed:
        first = next(iter(failed.values()))
        return first if 0 < first < 256 else 1
    return STOPPED if left else 0


@dataclass(eq=False)
class Active:
    """A run under way."""

    run: PlannedRun
    outdated: bool  #: it had finished on other data, so its training script compares them and says what differs
    started: float = field(default_factory=time.monotonic)
    job: Job | None = None  #: None while another process works in the folder, and before another attempt
    cancelled: bool = False  #: it was asked to save and stop
    attempts: int = 0  #: that failed
    losses: int = 0  #: of workers


@contextmanager
def running(engine: Engine, retries: int = 0, show_output: bool = False) -> Iterator[Pool]:
    """Yield a pool; at the first Ctrl-C, and where an error ends the work, its runs save and stop."""
    pool = Pool(engine, retries, show_output)
    with stop_requests(pool.cancel) as pool.stopping:
        try:
            yield pool
        except Exception:
            pool.cancel()
            while any(each.job and not each.job.done() for each in pool.active):
                time.sleep(POLL_SECONDS)
            raise
        finally:
            for line in pool.lines:
                line.close()


class Pool:
    """Runs under way: started when their folder is free, started again where that may help, and shown.

    A terminal has a line for each of them; elsewhere a line is printed now and then.
    """

    def __init__(self, engine: Engine, retries: int = 0, show_output: bool = False):
        self.engine, self.retries, self.show_output = engine, retries, show_output
        self.active: list[Active] = []
        self.stopping: Callable[[], bool] = lambda: False
        self.lines = [] if show_output else [tqdm(bar_format="{desc}", disable=None, leave=False) for _ in range(engine.slots)]
        self._wait, self._shown = SOON, time.monotonic()

    def start(self, run: PlannedRun) -> Active:
        """Add a run, which `ended` starts and looks after."""
        self.active.append(Active(run, outdated=run.finished))
        return self.active[-1]

    def cancel(self, *some: Active) -> None:
        """Ask some runs, or all of them, to save and stop."""
        for each in some or self.active:
            each.cancelled = True
            if each.job:
                each.job.cancel()

    def ended(self) -> list[tuple[Active, int]]:
        """Return the runs that have ended, with status 0, STOPPED or that of a failure; if none has, wait a moment."""
        ended = [(each, status) for each in self.active if (status := self._advance(each)) is not None]
        for each, _ in ended:
            self.active.remove(each)
        self._show()
        if not ended:
            time.sleep(POLL_SECONDS)
        return ended

    def _advance(self, each: Active) -> int | None:
        """Start a run, or look how it ended; return None while it goes on or is tried again."""
        run = each.run
        if each.job is None:
            if each.cancelled or self.stopping():
                return STOPPED
            twins = (other for other in self.active if other.run.folder == run.folder and other.job)
            if run.in_use or any(twins):  # also by a process that outlived an earlier sweep
                return None
            if run.is_current:
                return 0
            each.job = self.engine.submit(run.command, None if self.show_output else run.output)
        if not each.job.done():
            return None
        try:
            status = each.job.result()
        except Exception:  # clusters have no common class for what was lost, killed, timed out or cancelled
            status = LOST
        each.job = None
        if run.finished and (status == 0 or not each.outdated):
            return 0
        if each.cancelled or self.stopping() or status == STOPPED:
            return STOPPED
        if status == LOST and each.losses < MOST_LOSSES:
            each.losses += 1
            self.say(f"{run.name} lost its worker and is started again")
            return None
        if status != LOST and each.attempts < self.retries:
            each.attempts += 1
            self.say(f"{run.name} failed with status {status} and is tried again", *self.last_lines(run, status))
            return None
        return status or 1

    def say(self, *lines: str) -> None:
        """Print lines above those of the running jobs."""
        if any(not line.disable for line in self.lines):
            tqdm.write("\n".join(lines))
        else:
            print(*lines, sep="\n", flush=True)

    def last_lines(self, run: PlannedRun, status: int) -> list[str]:
        """Return the end of the output of a run that failed, unless it was on the screen."""
        with suppress(OSError):
            if status not in (0, STOPPED) and not self.show_output:
                lines = run.output.read_text(encoding="utf-8", errors="replace").splitlines()
                return [f"    {line}" for line in lines[-LAST_LINES:]]
        return []

    def _show(self) -> None:
        """Show the epoch and time left of each job: every second in a terminal, else more and more seldom."""
        in_terminal = any(not line.disable for line in self.lines)
        now = time.monotonic()
        if not self.lines or now < self._shown + (1.0 if in_terminal else self._wait):
            return
        self._shown, self._wait = now, min(2 * self._wait, SELDOM)
        texts = [f"{each.run.progress()}  {each.run.name}" for each in self.active]
        if in_terminal:
            for line, text in zip(self.lines, texts + [""] * len(self.lines)):
                line.set_description_str(text[: shutil.get_terminal_size().columns - 1])
        else:
            self.say(*(f"  {text}" for text in texts))
