"""Trials of a search: each is a run on the validation split, in a study that processes share and that outlives them.

The study is a journal in a file. A driver holds a lock for each of its trials, so that others can tell a trial that is
running from one whose driver was killed: the latter is marked as failed and its settings are queued again. Its run, a
function of its config in a folder of its own, then continues where it was.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import filelock
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, TrialState

from zslab.config import VALIDATION_ONLY, Value, as_arguments
from zslab.errors import InputError
from zslab.plan import Launcher
from zslab.results.config import flag_text
from zslab.results.names import MEASURES
from zslab.results.record import read_records
from zslab.results.result import read_result
from zslab.search.space import Space
from zslab.sweep.driver import MOST_LOSSES, STOPPED, in_use, is_locked, output_file, stoppable
from zslab.sweep.engines import LOST, POLL_SECONDS, Engine, Job
from zslab.sweep.plan import PlannedRun, planned
from zslab.utils.files import make_folder

Objective = Literal["T1", "H"]
STATUS = "status"  # of a run that failed; a trial that failed without one lost its driver and does not count
RUN = "run"  # the run folder of a trial
REPEATS = "repeats"  # the number of the failed trial whose place a trial takes


@dataclass
class _Active:
    trial: optuna.Trial
    run: PlannedRun
    lock: filelock.BaseFileLock
    job: Job | None = None
    attempts: int = 0  # that failed
    losses: int = 0  # of workers
    metrics_size: int = 0  # bytes of metrics.jsonl that have been read
    epochs: int = 0
    best: float = 0.0
    pruned: bool = False


class Study:
    """A search in a folder.

    Args:
        folder: of study, locks and runs.
        launcher: answers with the run of given flags.
        space: the flags to vary.
        fixed: flags of every trial.
        objective: what to maximize on the validation split.
        seed: of the sampler.

    Raises:
        InputError: the folder holds another search.
    """

    def __init__(
        self, folder: Path, launcher: Launcher, space: Space, fixed: dict[str, Value], objective: Objective, seed: int = 0
    ):
        make_folder(folder / "locks")
        self.folder, self.launcher, self.space, self.fixed, self.objective = folder, launcher, space, fixed, objective
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with filelock.FileLock(folder / "locks" / "study.lock"):
            self.study = _open_study(folder / "study.journal")
            # A seed of its own for every start, or a continued search would draw the same numbers again.
            self.study.sampler = optuna.samplers.TPESampler(seed=seed + len(self.trials), constant_liar=True)
            about = {"objective": objective, "fixed": repr(sorted(fixed.items())), "space": repr(sorted(space.items()))}
            if not self.study.user_attrs:
                for key, value in about.items():
                    self.study.set_user_attr(key, value)
                self._queue_release()
        if self.study.user_attrs != about:
            differs = next(key for key in about if self.study.user_attrs.get(key) != about[key])
            raise InputError(
                f"the folder holds a search of another {differs}",
                where=folder,
                found=self.study.user_attrs.get(differs),
                expected=about[differs],
                fix="Name another folder with --study, or repeat the command as it was.",
            )

    def _queue_release(self) -> None:
        """Try the launcher's own settings first: whatever wins has to beat them."""
        config = self.plan({}).config
        self.study.enqueue_trial({flag: config[flag] for flag in self.space})

    def _queue_failed(self) -> None:
        """Try the settings of failed runs again: the disk may have space now."""
        with filelock.FileLock(self.folder / "locks" / "study.lock"):
            for trial in _counted(self.trials):
                if trial.state == TrialState.FAIL:
                    self.study.enqueue_trial(trial.params, user_attrs={REPEATS: trial.number})

    @property
    def trials(self) -> list[FrozenTrial]:
        """All trials so far."""
        return self.study.get_trials(deepcopy=False)

    @property
    def winner(self) -> FrozenTrial | None:
        """The complete trial with the highest value, the earliest of equals."""
        complete = [trial for trial in self.trials if trial.state == TrialState.COMPLETE]
        return max(complete, key=lambda trial: (trial.value or 0.0, -trial.number), default=None)

    def plan(self, flags: dict[str, Value]) -> PlannedRun:
        """Return the run of the given flags, which trains and measures on the validation split alone."""
        own: dict[str, Value] = {"select": VALIDATION_ONLY, "output": str(self.folder / "runs")}
        (run,) = self.launcher.parse(as_arguments({**self.fixed, **flags, **own}))[1]
        return planned(run)

    def execute(self, engine: Engine, n_trials: int, retries: int = 0, say: Callable[[str], None] = print) -> int:
        """Make trials until there are `n_trials`, those of other processes included; return the exit status.

        Args:
            engine: where the runs are executed.
            n_trials: how many trials the study shall have.
            retries: further attempts for a run that fails; a lost worker is no attempt.
            say: prints a line of progress.
        """
        active: list[_Active] = []
        self._queue_failed()
        with stoppable(lambda: (each.job for each in active if each.job)) as stopping:
            may_ask = True  # where there were enough trials, not before one has ended
            while True:
                while may_ask and not stopping() and len(active) < engine.slots:
                    if new := self._ask(n_trials):
                        active.append(new)
                    else:
                        may_ask = False
                if not active:
                    return STOPPED if stopping() else 0
                for each in list(active):
                    if self._advance(each, engine, retries, stopping(), say):
                        active.remove(each)
                        each.lock.release()
                        may_ask = True
                time.sleep(POLL_SECONDS)

    def _ask(self, n_trials: int) -> _Active | None:
        """Return the next trial, locked; None where there are enough."""
        with filelock.FileLock(self.folder / "locks" / "study.lock"):
            for trial in self.trials:
                if trial.state == TrialState.RUNNING and not is_locked(self._lock_file(trial.number)):
                    self.study.tell(trial.number, state=TrialState.FAIL)
                    self.study.enqueue_trial(trial.params)
            if len(_counted(self.trials)) >= n_trials:
                return None
            trial_now = self.study.ask()
            lock = filelock.FileLock(self._lock_file(trial_now.number))
            lock.acquire(timeout=0)
        run = self.plan({flag: dimension.suggest(trial_now, flag) for flag, dimension in self.space.items()})
        trial_now.set_user_attr(RUN, str(run.folder))
        return _Active(trial_now, run, lock)

    def _lock_file(self, number: int) -> Path:
        return self.folder / "locks" / f"trial-{number}.lock"

    def _advance(self, active: _Active, engine: Engine, retries: int, stopping: bool, say: Callable[[str], None]) -> bool:
        """Start a trial's run, report its progress, and return whether it has ended."""
        trial, run = active.trial, active.run
        if active.job is None and not run.finished:
            if stopping:
                return True
            if not in_use(run):  # by another trial of the same settings, or by a process that outlived its driver
                active.job = engine.submit(run.command, output_file(run))
            return False
        status = active.job.poll() if active.job else 0
        is_news = self._report(active)
        if status is None:
            if is_news and not active.pruned and not stopping and trial.should_prune():
                active.pruned = True
                assert active.job is not None
                active.job.interrupt()
            return False
        if run.finished:
            value = validation_value(run.folder, self.objective)
            self.study.tell(trial, value)
            word = f"{self.objective} {100 * value:.1f} on validation"
        elif active.pruned:
            self.study.tell(trial, state=TrialState.PRUNED)
            with suppress(OSError):
                (run.folder / "validation" / "checkpoint.pt").unlink()
            word = f"pruned after {active.epochs} epochs"
        elif stopping or status == STOPPED:
            return True  # without a lock it is queued again by the next call
        elif status == LOST and active.losses < MOST_LOSSES:
            active.losses, active.job = active.losses + 1, None
            return False
        elif status != LOST and active.attempts < retries:
            active.attempts, active.job = active.attempts + 1, None
            return False
        else:
            trial.set_user_attr(STATUS, status)
            self.study.tell(trial, state=TrialState.FAIL)
            word = f"failed with status {status}; see {output_file(run)}"
        say(f"trial {trial.number}: {word} ({', '.join(f'{flag} {flag_text(x, 3)}' for flag, x in trial.params.items())})")
        return True

    def _report(self, active: _Active) -> bool:
        """Tell Optuna the best figure so far after each evaluated epoch; return whether there are new epochs."""
        metrics = active.run.folder / "validation" / "metrics.jsonl"
        size = metrics.stat().st_size if metrics.exists() else 0
        if size == active.metrics_size:
            return False
        records = read_records(metrics)
        new, active.metrics_size, active.epochs = records[active.epochs :], size, len(records)
        for record in new:
            values = record.values(*MEASURES[self.objective].place)
            if values:
                active.best = max(active.best, *values)
                active.trial.report(active.best, record.epoch)
        return bool(new)


class _JournalLock(JournalFileOpenLock):
    """A lock that is free when its process is killed, and drops half a line that such a process, or a full disk, has left."""

    def __init__(self, journal: Path):
        self._journal, self._lock = journal, filelock.FileLock(f"{journal}.lock")

    def acquire(self) -> bool:
        """Wait for the lock."""
        self._lock.acquire()
        content = self._journal.read_bytes()
        if content and not content.endswith(b"\n"):
            os.truncate(self._journal, content.rfind(b"\n") + 1)
        return True

    def release(self) -> None:
        """Free the lock."""
        self._lock.release()


def _open_study(journal: Path) -> optuna.Study:
    """Open the study of a journal, or begin one."""
    try:
        study = optuna.create_study(
            study_name="search",
            storage=JournalStorage(JournalFileBackend(str(journal), _JournalLock(journal))),
            direction="maximize",
            pruner=optuna.pruners.MedianPruner(),
            load_if_exists=True,
        )
        best_so_far(study.get_trials(deepcopy=False))
    except OSError:
        raise
    except Exception as error:  # Optuna takes every line for what it wrote itself
        raise InputError(
            "the journal of the search is damaged",
            where=journal,
            found=f"{type(error).__name__}: {error}",
            expected="JSON lines as Optuna writes them",
            fix="Restore the file, or name another folder with --study; finished runs of the same settings are not repeated.",
        ) from None
    return study


def validation_value(folder: Path, objective: Objective) -> float:
    """Return the validation figure that a finished run of a trial reports, in [0, 1].

    Raises:
        InputError: it has none.
    """
    row = read_result(folder / "result.json").row("validation")
    value = row.value(objective) if row else None
    if value is None:
        raise InputError(
            f"the trial has no {objective}",
            where=folder / "result.json",
            found="other rows",
            expected="a row `validation`",
            fix="Search for T1 where the data set has no seen test samples.",
        )
    return value


def best_so_far(trials: Sequence[FrozenTrial]) -> list[float]:
    """Return the highest value up to and including each trial; NaN before the first complete one."""
    best, values = float("nan"), []
    for trial in trials:
        if trial.state == TrialState.COMPLETE and trial.value is not None:
            best = trial.value if best != best else max(best, trial.value)
        values.append(best)
    return values


def _counted(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return the trials that are among those asked for: none that is queued, lost, or repeated by another."""
    repeated = {trial.user_attrs.get(REPEATS) for trial in trials}
    return [
        trial
        for trial in trials
        if trial.state != TrialState.WAITING
        and trial.number not in repeated
        and (trial.state != TrialState.FAIL or STATUS in trial.user_attrs)
    ]
