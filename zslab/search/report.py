"""What a search leaves behind: `settings.toml`, which every launcher takes, and a report of its history."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib
import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from zslab.report.page import write_page
from zslab.report.plots.plot import Plot, panels, render
from zslab.report.style import STYLE
from zslab.results.config import flag_text
from zslab.results.runs import DATA_FLAGS, IRRELEVANT, REPEATS
from zslab.search.study import Study, best_so_far
from zslab.sweep.plan import Flags
from zslab.utils.files import write_text

SHOWN = 20  # trials in the table


def write_settings(path: Path, study: Study, winner: FrozenTrial, config: Flags) -> None:
    """Write the winner's settings for `--settings`: what was varied, and of what was fixed all but data, seeds and devices.

    Args:
        config: flag -> value of a trial, as the training script resolves them; without the launcher's own switches.
    """
    elsewhere = {*IRRELEVANT, *REPEATS, *DATA_FLAGS}
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
    with matplotlib.rc_context(STYLE):
        plots = [_history(study), *_importance(study)]
    title = f"Search for the best {study.objective} on validation"
    ended = [trial for trial in study.trials if trial.state == TrialState.COMPLETE]
    ranked = sorted(ended, key=lambda trial: (-(trial.value or 0.0), trial.number))[:SHOWN]
    names = list(study.space)
    rows = (
        [trial.number, f"{100 * (trial.value or 0):.1f}", *(flag_text(trial.params.get(name)) for name in names)]
        for trial in ranked
    )
    names_of = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}
    states = ", ".join(f"{sum(trial.state == state for trial in study.trials)} {name}" for state, name in names_of.items())
    write_page(
        path,
        "search.html",
        kind="search",
        title=title,
        facts=states,
        winner=winner.number,
        head=["trial", study.objective, *names],
        rows=list(rows),
        plots=plots,
    )


def _history(study: Study) -> Plot:
    """Draw the value of each trial and the best so far."""
    figure, (axes,) = panels(1, 3)
    complete = [trial for trial in study.trials if trial.state == TrialState.COMPLETE]
    axes.plot([t.number for t in complete], [100 * (t.value or 0) for t in complete], "o", markersize=4, label="trial")
    best = 100 * np.array(best_so_far(study.trials))
    axes.plot([t.number for t in study.trials], best, drawstyle="steps-post", label="best so far")
    axes.set(xlabel="trial", ylabel=f"{study.objective}, %")
    axes.legend()
    text = "Each point is a complete trial."
    return render(figure, "history", "History", text, f"{study.objective} of {len(complete)} trials.")


def _importance(study: Study) -> list[Plot]:
    """Draw how much of the values' variance each flag explains; nothing with too few trials."""
    complete = [trial for trial in study.trials if trial.state == TrialState.COMPLETE]
    if len({trial.value for trial in complete}) < 4:
        return []
    shares = optuna.importance.get_param_importances(study.study)
    figure, (axes,) = panels(1, 3)
    names = list(shares)[::-1]
    axes.barh(names, [100 * shares[name] for name in names])
    axes.set(xlabel="share of the variance, %")
    listed = ", ".join(f"{name} {100 * share:.0f} %" for name, share in shares.items())
    return [render(figure, "importance", "Importance of the flags", "Functional ANOVA over the complete trials.", listed)]
