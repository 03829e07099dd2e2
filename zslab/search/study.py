"""Trials of a search: each is a run on the validation split, in a study that processes share and that outlives them.

The study is Optuna's journal in a file, which works on network file systems, too. Optuna can tell trials whose process was
killed by heartbeats in databases alone, so each search holds a lock, by whose name its trials go: trials of a free lock are
marked as failed and queued again. The run, a function of its config in a folder of its own, then continues.
"""

import json
import os
import uuid
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import matplotlib
import optuna
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from optuna.distributions import BaseDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, TrialState
from optuna.visualization.matplotlib import plot_optimization_history, plot_param_importances

from zslab.config import VALIDATION_ONLY, Value, config_dict
from zslab.errors import InputError, readable
from zslab.plan import Launcher, Run, Switches
from zslab.report.page import write_page
from zslab.report.plots.plot import WIDTH, Plot, render
from zslab.report.style import STYLE
from zslab.results.names import MEASURES
from zslab.results.record import read_records
from zslab.results.result import read_result
from zslab.results.runs import DATA_FLAGS, IRRELEVANT, REPEATS
from zslab.results.text import flag_text
from zslab.sweep.engines import Engine
from zslab.sweep.plan import launcher_runs, planned
from zslab.sweep.run import STOPPED, PlannedRun, is_locked, running
from zslab.utils.files import locked, make_folder, write_text

Objective = Literal["T1", "H"]
OWNER = "owner"  # the search that makes a trial
RUN = "run"  # the run folder of a trial
SHOWN = 20  # trials in the report
REPEAT_OF = "repeats"  # the number of the failed or lost trial whose place a trial takes


@dataclass
class _Active:
    trial: optuna.Trial
    metrics_size: int = 0  # bytes of metrics.jsonl that have been read
    epochs: int = 0
    best: float = 0.0
    pruned: bool = False


class Study:
    """A search in a folder, with the flags to vary (`space`), those of every trial (`fixed`), and what to maximize."""

    def __init__(
        self,
        folder: Path,
        launcher: Launcher,
        space: Mapping[str, BaseDistribution],
        fixed: Mapping[str, Value],
        objective: Objective,
        seed: int = 0,
    ):
        self.folder, self.launcher, self.space, self.fixed, self.objective = folder, launcher, dict(space), fixed, objective
        self._owner, self._locks = uuid.uuid4().hex, folder / "locks"
        make_folder(self._locks)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        about = {"objective": objective, "fixed": repr(sorted(fixed.items())), "space": repr(sorted(space.items()))}
        with locked(self._locks / "study.lock"):
            self.study = open_study(folder / "study.journal")
            # A seed of its own for every start, or a continued search would draw the same numbers again.
            self.study.sampler = optuna.samplers.TPESampler(seed=seed + len(self.trials), constant_liar=True)
            if not self.study.user_attrs:
                for key, value in about.items():
                    self.study.set_user_attr(key, value)
                # The launcher's own settings first: whatever wins has to beat them.
                config = self.run({}).config
                self.study.enqueue_trial({flag: getattr(config, flag) for flag in space})
        if different := [key for key in about if self.study.user_attrs.get(key) != about[key]]:
            key, fix = different[0], "Name another folder with --study, or repeat the command as it was."
            must = f"{key} must be that of the search in the folder, {self.study.user_attrs.get(key)}"
            raise InputError(must, where=folder, got=about[key], fix=fix)

    @property
    def trials(self) -> list[FrozenTrial]:
        """All trials so far."""
        return self.study.get_trials(deepcopy=False)

    @property
    def counted(self) -> list[FrozenTrial]:
        """The trials that are among those asked for: none that is queued, or repeated by another."""
        repeated = {trial.user_attrs.get(REPEAT_OF) for trial in self.trials}
        return [trial for trial in self.trials if trial.state != TrialState.WAITING and trial.number not in repeated]

    @property
    def winner(self) -> FrozenTrial | None:
        """The complete trial with the highest value, the earliest of equals."""
        complete = [trial for trial in self.trials if trial.state == TrialState.COMPLETE]
        return max(complete, key=lambda trial: (trial.value or 0.0, -trial.number), default=None)

    def run(self, flags: Mapping[str, Value]) -> Run:
        """Return the run of the given flags, which trains and measures on the validation split alone."""
        own = {"select": VALIDATION_ONLY, "output": str(self.folder / "runs")}
        (run,) = launcher_runs(self.launcher, {**self.fixed, **flags, **own}, "the search", Switches())
        return run

    def execute(self, engine: Engine, n_trials: int, retries: int = 0) -> int:
        """Make trials until there are `n_trials`, those of other processes included; return the exit status."""
        with locked(self._locks / self._owner), running(engine, retries) as pool:
            with locked(self._locks / "study.lock"):  # failed runs may succeed now: the disk may have space
                self._queue_again(trial for trial in self.counted if trial.state == TrialState.FAIL)
            active = {}
            may_ask = True  # where there were enough trials, not before one has ended
            while True:
                while may_ask and not pool.stopping() and len(pool.active) < engine.slots:
                    if may_ask := (trial := self._ask(n_trials)) is not None:
                        run = planned(self.run(trial.params), f"trial {trial.number}")
                        trial.set_user_attr(RUN, str(run.folder))
                        active[pool.start(run)] = _Active(trial)
                if not pool.active:
                    return STOPPED if pool.stopping() else 0
                ended = pool.ended()
                for each, one in active.items():
                    if self._report(one, each.run) and not each.cancelled and one.trial.should_prune():
                        one.pruned = True
                        pool.cancel(each)
                for each, status in ended:
                    if word := self._tell(active.pop(each), each.run, status):
                        pool.say(word)
                    may_ask = True

    def _ask(self, n_trials: int) -> optuna.Trial | None:
        """Return the next trial; None where there are enough."""
        with locked(self._locks / "study.lock"):
            running = (trial for trial in self.trials if trial.state == TrialState.RUNNING)
            self._queue_again(trial for trial in running if self._is_lost(trial))
            if len(self.counted) >= n_trials:
                return None
            trial = self.study.ask(self.space)
            trial.set_user_attr(OWNER, self._owner)
            return trial

    def _is_lost(self, trial: FrozenTrial) -> bool:
        owner = trial.user_attrs.get(OWNER, "none")
        return owner != self._owner and not is_locked(self._locks / owner)

    def _queue_again(self, trials: Iterable[FrozenTrial]) -> None:
        for trial in list(trials):
            if trial.state == TrialState.RUNNING:
                self.study.tell(trial.number, state=TrialState.FAIL)
            self.study.enqueue_trial(trial.params, user_attrs={REPEAT_OF: trial.number})

    def _report(self, one: _Active, run: PlannedRun) -> bool:
        """Tell Optuna the best figure so far after each evaluated epoch; return whether there are new epochs."""
        metrics = run.folder / "validation" / "metrics.jsonl"
        size = metrics.stat().st_size if metrics.exists() else 0
        if size == one.metrics_size:
            return False
        records = read_records(metrics)
        new, one.metrics_size, one.epochs = records[one.epochs :], size, len(records)
        for record in new:
            if values := record.values(*MEASURES[self.objective].place):
                one.best = max(one.best, *values)
                one.trial.report(one.best, record.epoch)
        return bool(new)

    def _tell(self, one: _Active, run: PlannedRun, status: int) -> str:
        """Tell Optuna how a trial ended, and return a line about it; a trial that was stopped is left to the next call."""
        if status == 0:
            row = read_result(run.folder / "result.json").row("validation")
            value = row.value(self.objective) if row else None
            if value is None:
                fix = "Search for T1 where the data set has no seen test samples."
                raise InputError(f"a trial must measure {self.objective}", where=run.folder, got="no such number", fix=fix)
            self.study.tell(one.trial, value)
            word = f"{self.objective} {100 * value:.1f} on validation"
        elif one.pruned:
            self.study.tell(one.trial, state=TrialState.PRUNED)
            with suppress(OSError):
                (run.folder / "validation" / "checkpoint.pt").unlink()
            word = f"pruned after {one.epochs} epochs"
        elif status == STOPPED:
            return ""
        else:
            self.study.tell(one.trial, state=TrialState.FAIL)
            word = f"failed with status {status}; see {run.output}"
        flags = ", ".join(f"{flag} {flag_text(value, 3)}" for flag, value in one.trial.params.items())
        return f"{run.name}: {word} ({flags})"


def open_study(journal: Path) -> optuna.Study:
    """Open the study of a journal, or start one."""
    lock = JournalFileOpenLock(str(journal))
    lock.acquire()
    try:  # a killed process or a full disk may have left half a line
        content = journal.read_bytes() if journal.exists() else b""
        if content and not content.endswith(b"\n"):
            os.truncate(journal, content.rfind(b"\n") + 1)
    finally:
        lock.release()
    fix = "Restore the file, or name another folder with --study; finished runs of the same settings are not repeated."
    with readable(journal, "the journal of the search must be lines that Optuna wrote", fix):
        study = optuna.create_study(
            study_name="search",
            storage=JournalStorage(JournalFileBackend(str(journal), lock)),
            direction="maximize",
            pruner=optuna.pruners.MedianPruner(),
            load_if_exists=True,
        )
        study.get_trials(deepcopy=False)
    return study


def write_settings(path: Path, study: Study, winner: FrozenTrial) -> None:
    """Write the winner's settings for `--settings`: what was varied, and of what was fixed all but data, seeds and devices."""
    elsewhere, config = {*IRRELEVANT, *REPEATS, *DATA_FLAGS}, config_dict(study.run({}).config)
    fixed = {flag: value for flag, value in config.items() if flag in study.fixed and flag not in elsewhere}
    fixed = {flag: "None" if value is None else value for flag, value in fixed.items()}  # TOML has no null
    complete = sum(trial.state == TrialState.COMPLETE for trial in study.trials)
    lines = [
        f"# Trial {winner.number}, the best of {complete} complete trials: {study.objective} {100 * (winner.value or 0):.1f}",
        "# on the validation split. Nothing of the test split was looked at.",
        "[flags]",
        *(f"{flag} = {json.dumps(value)}" for flag, value in {**fixed, **winner.params}.items()),
    ]
    write_text(path, "\n".join(lines) + "\n")


def write_report(path: Path, study: Study, winner: FrozenTrial) -> None:
    """Write the search's history as a self-contained page."""
    ended = [trial for trial in study.trials if trial.state == TrialState.COMPLETE]
    with matplotlib.rc_context(STYLE):
        plots = [_plot(plot_optimization_history, study, "history", "History", "The value of each complete trial.")]
        if len({trial.value for trial in ended}) > 3:  # fewer say nothing
            text = "The share of each flag in the variance of the values, by functional ANOVA."
            plots.append(_plot(plot_param_importances, study, "importance", "Importance of the flags", text))
    title = f"Search for the best {study.objective} on validation"
    ranked = sorted(ended, key=lambda trial: (-(trial.value or 0.0), trial.number))[:SHOWN]
    names = list(study.space)
    rows = (
        [trial.number, f"{100 * (trial.value or 0):.1f}", *(flag_text(trial.params.get(name)) for name in names)]
        for trial in ranked
    )
    names_of = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}
    states = ", ".join(f"{sum(trial.state == state for trial in study.trials)} {name}" for state, name in names_of.items())
    content = {"winner": winner.number, "head": ["trial", study.objective, *names], "rows": list(rows), "plots": plots}
    write_page(path, "search.html", kind="search", title=title, facts=states, **content)


def _plot(draw: Callable[[optuna.Study], Axes], study: Study, name: str, title: str, caption: str) -> Plot:
    """Return one of Optuna's own plots."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        figure = cast(Figure, draw(study.study).figure)
    figure.set_size_inches(WIDTH, 3)
    figure.set_layout_engine("constrained")
    return render(figure, name, title, caption, title)
