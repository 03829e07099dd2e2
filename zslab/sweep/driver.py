"""Execute planned runs: skip what has finished, resume what was begun, try failed ones again, report what is missing.

A run is a function of its config in a folder that its config names. Its result.json appears last and whole, so the folder
alone says whether a run is left. Nothing else has to be remembered, and the same command continues a sweep after any
interruption, of the driver too.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import filelock

from zslab.errors import InputError
from zslab.sweep.engines import LOST, POLL_SECONDS, Engine, Job
from zslab.sweep.plan import PlannedRun
from zslab.utils.signals import stop_requests

STOPPED = 130  # exit status of a run after an interrupt, which it survives: its checkpoint is saved
MOST_LOSSES = 10  # of workers under one run, before it counts as failed
LAST_LINES = 15  # shown of a failed run whose output went to a file


@dataclass
class Outcome:
    """How the runs of a sweep ended.

    Attributes:
        done: finished in this call.
        skipped: had finished before.
        failed: run -> exit status, after all attempts.
        left: neither finished nor failed, since the sweep was stopped.
    """

    done: list[PlannedRun] = field(default_factory=list)
    skipped: list[PlannedRun] = field(default_factory=list)
    failed: dict[PlannedRun, int] = field(default_factory=dict)
    left: list[PlannedRun] = field(default_factory=list)

    @property
    def status(self) -> int:
        """The exit status of the sweep: that of the first failed run, 130 when stopped, else 0."""
        if self.failed:
            first = next(iter(self.failed.values()))
            return first if 0 < first < 256 else 1
        return STOPPED if self.left else 0


@dataclass
class _Active:
    run: PlannedRun
    job: Job
    output: Path | None
    started: float


def execute(
    runs: Sequence[PlannedRun],
    engine: Engine,
    *,
    retries: int = 0,
    keep_going: bool = True,
    show_output: bool = False,
    say: Callable[[str], None] = print,
) -> Outcome:
    """Execute the runs that have not finished.

    Args:
        runs: in the order in which they start; a run that is planned twice is executed once.
        engine: where they run.
        retries: further attempts for a run that fails. A lost worker is no attempt.
        keep_going: whether the others continue after a run has failed for good.
        show_output: let the runs write to the screen; otherwise into a file beside their folders, of which failed runs
            show the end.
        say: prints a line of progress.

    Raises:
        InputError: the engine cannot start a run, for example since the disk is full. Those that had started have been
            stopped and the same command continues.
    """
    unique = list({run.folder: run for run in runs}.values())
    outcome = Outcome(skipped=[run for run in unique if run.is_current])
    waiting = [run for run in unique if not run.is_current]
    outdated = {run for run in waiting if run.finished}  # its training script compares the data and says what differs
    if outcome.skipped:
        say(f"{len(outcome.skipped)} of {len(unique)} runs have finished before and are not repeated.")
    attempts: Counter[PlannedRun] = Counter()
    losses: Counter[PlannedRun] = Counter()
    active: list[_Active] = []
    total = len(waiting)

    with stoppable(lambda: (running.job for running in active)) as stopping:
        while active or waiting:
            if stopping() or (outcome.failed and not keep_going):
                outcome.left += waiting
                waiting = []
            while waiting and len(active) < engine.slots and (ready := _first_free(waiting)):
                waiting.remove(ready)
                if ready.is_current:  # finished meanwhile by a process that outlived an earlier driver
                    outcome.done.append(ready)
                    continue
                output = None if show_output else output_file(ready)
                active.append(_Active(ready, engine.submit(ready.command, output), output, time.monotonic()))
            ended = [(running, status) for running in active if (status := running.job.poll()) is not None]
            for running, status in ended:
                active.remove(running)
                run, minutes = running.run, (time.monotonic() - running.started) / 60
                if run.finished and (status == 0 or run not in outdated):
                    outcome.done.append(run)
                    word = "done"
                elif stopping() or status == STOPPED:
                    outcome.left.append(run)
                    word = "stopped"
                elif status == LOST and losses[run] < MOST_LOSSES:
                    losses[run] += 1
                    waiting.append(run)
                    word = "lost its worker and is started again"
                elif attempts[run] < retries:
                    attempts[run] += 1
                    waiting.append(run)
                    word = f"failed with status {status} and is tried again"
                else:
                    outcome.failed[run] = status
                    word = f"failed with status {status}"
                if not show_output or word != "done":
                    ends = len(outcome.done) + len(outcome.failed)
                    say(f"{ends} of {total}: {run.name} {word} after {minutes:.1f} min")
                if word.startswith("failed") and running.output is not None:
                    _show_end(running.output)
            if not ended and (active or waiting):
                time.sleep(POLL_SECONDS)
    return outcome


@contextlib.contextmanager
def stoppable(jobs: Callable[[], Iterable[Job]]) -> Iterator[Callable[[], bool]]:
    """Interrupt the active jobs, which save and stop, at the first Ctrl-C and where an InputError ends the work.

    Args:
        jobs: returns the active jobs.

    Yields:
        A function that tells whether the user has asked to stop.
    """

    def interrupt() -> None:
        for job in jobs():
            job.interrupt()

    with stop_requests(interrupt) as stopping:
        try:
            yield stopping
        except InputError:
            interrupt()
            while any(job.poll() is None for job in jobs()):
                time.sleep(POLL_SECONDS)
            raise


def output_file(run: PlannedRun) -> Path:
    """Return where the output of a run goes that does not show it."""
    return run.folder.parent / "sweep-output" / f"{run.folder.name}.txt"


def in_use(run: PlannedRun) -> bool:
    """Return whether another process works in the run's folder, as one that outlived a killed driver does."""
    return is_locked(run.folder / ".lock")


def is_locked(lock: Path) -> bool:
    """Return whether a process holds a lock file; the lock of a killed process is free."""
    if not lock.exists():
        return False
    try:
        with filelock.FileLock(lock, timeout=0):
            return False
    except filelock.Timeout:
        return True


def _first_free(waiting: Sequence[PlannedRun]) -> PlannedRun | None:
    return next((run for run in waiting if not in_use(run)), None)


def _show_end(output: Path) -> None:
    with contextlib.suppress(OSError):
        lines = output.read_text(encoding="utf-8", errors="replace").splitlines()
        print(*(f"    {line}" for line in lines[-LAST_LINES:]), sep="\n", file=sys.stderr, flush=True)
