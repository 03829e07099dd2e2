"""The report of a run: `plots/*.png` and one self-contained `report.html`, from the run folder alone.

`write_report(run_dir)`, or from the command line `zslab report RUN_DIR [RUN_DIR ...] [--images DIR]`.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import matplotlib
import tyro

from zslab.errors import ExitStatus
from zslab.report.attention import draw_attention, photo_plots, pointing_tables
from zslab.report.page import duration, write_page, write_plots
from zslab.report.plots.accuracy import accuracy_plots, curve_plots, training_plots, validation_plots
from zslab.report.plots.classes import confusion_plots, per_class_plots, reliability_plot
from zslab.report.plots.features import gate_plots, projection_plots
from zslab.report.plots.plot import Plot
from zslab.report.style import STYLE
from zslab.results.finished import FinishedRun, read_run
from zslab.results.names import MEASURES
from zslab.results.result import Row, read_calibration
from zslab.results.text import facts
from zslab.utils.environment import export_command

Drawer = Callable[[FinishedRun], Iterable[Plot]]
RESULTS: tuple[Drawer, ...] = (accuracy_plots, curve_plots, gate_plots, per_class_plots, confusion_plots, projection_plots)
TRAINING: tuple[Drawer, ...] = (validation_plots, training_plots)


def write_report(run_dir: Path, images: Path | None = None) -> Path:
    """Draw the plots and write the report of one run.

    Everything is drawn before anything is written, so a failure leaves the earlier report as it was.
    """
    run = read_run(run_dir)
    result = run.result
    plots, training, attention = draw_plots(run, RESULTS), draw_plots(run, TRAINING), draw_attention(run, images)
    plots += [] if attention else draw_plots(run, [partial(photo_plots, images=images)])
    calibration = read_calibration(run.path)
    reliability = reliability_plot(calibration)
    rows = [row for row in result.rows if not row.is_empty]
    strongest, baselines = defaultdict[Row, list[str]](list), defaultdict[str, list[Row]](list)
    for measure in ("T1", "H"):
        if row := result.strongest_baseline(measure):
            strongest[row].append(MEASURES[measure].symbol)
    for row in rows:
        if row.baseline:
            baselines[row.baseline].append(row)
    write_plots(run.path / "plots", [*plots, *training, *attention, *([reliability] if reliability else [])])
    return write_page(
        run.path / "report.html",
        "run.html",
        kind=f"{result.method} · run report",
        title=result.title,
        facts=facts(result),
        result=result,
        rows=rows,
        strongest=strongest,
        baselines=baselines,
        calibration=calibration,
        reliability=reliability,
        plots=plots,
        training=training,
        attention=attention,
        pointing=pointing_tables(run),
        time=duration(result.seconds),
        epochs_trained=len(run.epochs),
        export_command=export_command(run.path) if result.exportable else "",
    )


def draw_plots(run: FinishedRun, drawers: Iterable[Drawer] = RESULTS + TRAINING) -> list[Plot]:
    """Draw every plot that the run folder has data for, in the order of the report."""
    # A context, not an update: a program that imports this package keeps its own matplotlib settings.
    with matplotlib.rc_context(STYLE):
        return [plot for draw in drawers for plot in draw(run)]


@dataclass(frozen=True)
class ReportFlags:
    """Which reports to draw."""

    run_dir: tyro.conf.Positional[tuple[Path, ...]]  #: Folders of finished runs, with result.json and metrics.jsonl.
    images: Path | None = None  #: Folder of the images, if they have moved.


def report(flags: ReportFlags) -> int:
    """Draw every report that can be drawn; return 1 when at least one folder was refused."""
    status = ExitStatus()
    for run in flags.run_dir:
        with status:
            print(write_report(run, flags.images))
    return status.code
