"""What a search leaves behind: `settings.toml`, which every launcher takes, and a report of its history."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import cast

import matplotlib
import optuna
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from optuna.trial import FrozenTrial, TrialState
from optuna.visualization.matplotlib import plot_optimization_history, plot_param_importances

from zslab.config import config_dict
from zslab.report.page import write_page
from zslab.report.plots.plot import WIDTH, Plot, render
from zslab.report.style import STYLE
from zslab.results.runs import DATA_FLAGS, IRRELEVANT, REPEATS
from zslab.results.text import flag_text
from zslab.search.study import Study
from zslab.utils.files import write_text

SHOWN = 20  # trials in the table


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


def _plot(draw: Callable[[optuna.Study], Axes], study: Study, name: str, title: str, caption: str) -> Plot:
    """Return one of Optuna's own plots."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        figure = cast(Figure, draw(study.study).figure)
    figure.set_size_inches(WIDTH, 3)
    figure.set_layout_engine("constrained")
    return render(figure, name, title, caption, title)
