"""The result of a run as result.json holds it: its rows, what it was trained on, and how to repeat it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from zslab.config import VALIDATION_ONLY
from zslab.results.names import ACCURACIES, CALIBRATED, MEASURES, QUOTABLE, RULES, MeasureKey, Rule
from zslab.utils.files import converted, read_json

CALIBRATION = "calibration.json"
Number = Annotated[float, Meta(ge=-1e6, le=1e6)]  # class scores are a few units
Share = Annotated[float, Meta(ge=0, le=1)]


class Choice(msgspec.Struct, frozen=True):
    """An epoch and one of its head epochs, both counted from 0, as in metrics.jsonl."""

    epoch: int  #: of the training
    head_epoch: int = 0  #: of the classification heads
    head_epochs: int = 1  #: how many of these the epoch has; 1 for a method that trains no heads

    def __str__(self) -> str:
        """Return both counted from 1, as people read them."""
        return f"epoch {self.epoch + 1}" + (f", head epoch {self.head_epoch + 1}" if self.head_epochs > 1 else "")


class Row(msgspec.Struct, frozen=True, omit_defaults=True):
    """One row of the result: the method under one selection rule, or a baseline. Measures are in [0, 1]; None is unknown."""

    rule: Rule  #: by which the numbers were selected
    baseline: str = ""  #: name of the baseline; empty for the run's own method
    T1: float | None = None  #: see `zslab.results.names.MEASURES`, as the next four
    acc_unseen: float | None = None
    acc_seen: float | None = None
    H: float | None = None
    AUSUC: float | None = None
    T1_at: Choice | None = None  #: which epoch T1 comes from
    H_at: Choice | None = None  #: which epoch the other measures come from
    about: str = ""  #: one sentence that explains the row

    def value(self, measure: MeasureKey) -> float | None:
        """Return a measure."""
        found: float | None = getattr(self, measure)
        return found

    @property
    def is_empty(self) -> bool:
        """Whether nothing was measured."""
        return all(self.value(measure) is None for measure in MEASURES)

    @property
    def title(self) -> str:
        """What readers see: the rule, or the baseline and whether it is calibrated."""
        if not self.baseline:
            return RULES[self.rule]
        return self.baseline + (f", {CALIBRATED}" if self.rule == "val + calibration" else "")

    @property
    def chosen_at(self) -> str:
        """Which epochs the values come from; empty where none was chosen."""
        if self.T1_at == self.H_at:
            return str(self.T1_at or "")
        return "; ".join(f"{name}: {at}" for name, at in (("T1", self.T1_at), ("H", self.H_at)) if at)


class Data(msgspec.Struct, kw_only=True):
    """What a run was trained on; classes are positions in `class_names`."""

    dataset: str
    image_embedding: str
    class_embedding: str
    split_version: str
    class_names: list[str]
    seen_classes: list[int]
    unseen_classes: list[int]
    feature_dim: int
    attribute_dim: int
    counts: dict[str, int] = {}
    source: dict[str, Any] = {}
    files: str | None = None
    fingerprint: dict[str, str] = {}

    def __post_init__(self) -> None:
        for classes in (self.seen_classes, self.unseen_classes):
            if not all(0 <= index < len(self.class_names) for index in classes):
                raise ValueError(f"classes outside the {len(self.class_names)} of class_names")


class Outcome(msgspec.Struct, kw_only=True):
    """What the stages of a run measured."""

    seconds: float
    data: Data
    rows: list[Row]
    notes: list[str] = []

    def row(self, rule: Rule, baseline: str = "") -> Row | None:
        """Return the row of a rule, of the method or of a baseline."""
        return next((row for row in self.rows if (row.rule, row.baseline) == (rule, baseline)), None)

    @property
    def headline(self) -> Row | None:
        """The row to quote: the first of `val`, `last` and `validation` with the most accuracies; None without any."""
        named = [row for rule in ("val", "last", "validation") if (row := self.row(rule))]
        known = [sum(row.value(measure) is not None for measure in ACCURACIES) for row in named]
        return named[known.index(max(known))] if any(known) else None

    def strongest_baseline(self, measure: MeasureKey) -> Row | None:
        """Return the baseline with the highest value on the test set; None without baselines."""
        known = [row for row in self.rows if row.baseline and row.value(measure) is not None]
        return max(known, key=lambda row: row.value(measure) or 0.0, default=None)

    @property
    def verdict(self) -> list[str]:
        """The method, by the best founded rule, against the strongest baseline: a sentence each for T1 and H, if known."""
        sentences = []
        measures: tuple[MeasureKey, ...] = ("T1", "H")
        for measure in measures:
            own = next((row for rule in QUOTABLE if (row := self.row(rule)) and row.value(measure) is not None), None)
            best = self.strongest_baseline(measure)
            if own is not None and best is not None:
                ours, theirs = (row.value(measure) or 0.0 for row in (own, best))
                sentences.append(compared(f"{measure} ({own.title}) is", best.title, ours, theirs))
        return sentences


def compared(what: str, baseline: str, ours: float, theirs: float, how: str = "") -> str:
    """Return a sentence on a share beside that of the strongest baseline."""
    side, gap = "above" if ours > theirs else "below", 100 * abs(ours - theirs)
    return f"{what} {100 * ours:.1f}{how}, {gap:.1f} points {side} the strongest baseline, {baseline} ({100 * theirs:.1f})."


class Result(Outcome, kw_only=True):
    """The content of result.json."""

    schema: Literal[2] = 2
    method: str  #: the key of the method, "tfvaegan" or "dazle"
    variant: str  #: its name for readers, with what was left out: "TF-VAEGAN, without feedback"
    version: str
    command: str
    device: str
    machine: str
    torch: str
    seed: int
    config: dict[str, Any]  #: flag -> value
    exportable: bool = False  #: whether `zslab export` can make a model file of the run

    @property
    def validation_only(self) -> bool:
        """Whether the run trained and measured on the validation split alone, as the trials of a search do."""
        return bool(self.config.get("select") == VALIDATION_ONLY)

    @property
    def title(self) -> str:
        """The method and the data set."""
        return f"{self.variant} on {self.data.dataset}"


class Reliability(msgspec.Struct, frozen=True):
    """How often predictions of a confidence are right: the expected calibration error, and each bin that has samples.

    A bin is (mean confidence, accuracy, number of samples).
    """

    error: Share
    bins: list[tuple[Share, Share, Annotated[int, Meta(ge=1)]]]


class Calibration(msgspec.Struct, frozen=True):
    """How validation corrects class scores: (scores - offset * seen) / temperature; before and after, if measured."""

    offset: Number = 0.0
    temperature: Annotated[float, Meta(gt=0, le=1e6)] = 1.0
    before: Reliability | None = None
    after: Reliability | None = None


class ExportedCalibration(Calibration, frozen=True, kw_only=True):
    """The content of calibration.json: what `zslab export` measured on the run's validation stage, and of which method."""

    method: str


def read_calibration(run: Path) -> ExportedCalibration | None:
    """Read the calibration.json of a run folder; None where the run was not exported, or nothing was measured."""
    path = run / CALIBRATION
    return converted(read_json(path), ExportedCalibration, path, "Export the run again.") if path.exists() else None


def read_result(path: Path) -> Result:
    """Read a result.json."""
    return converted(read_json(path), Result, path, "Restore the file, or train again with --overwrite.")


def by_rule(rows: Sequence[Row]) -> dict[str, dict[Rule, Row]]:
    """Return baseline ("" for the method itself) -> rule -> row, without empty rows."""
    found: dict[str, dict[Rule, Row]] = {}
    for row in rows:
        if not row.is_empty:
            found.setdefault(row.baseline, {})[row.rule] = row
    return found
