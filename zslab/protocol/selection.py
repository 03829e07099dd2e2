"""Which epoch a reported number comes from, and by which rule it was chosen.

Every result has a row for each selection rule:

* `paper`: the best epoch and the best head epoch on the TEST set, T1 and H each for itself. Published tables were made
  this way; it is optimistic.
* `val`: the best epoch and head epoch of a validation run, looked up in the test run. `--select val` makes both runs;
  without it the row is empty.
* `last`: the last epoch and the last head epoch.
* `validation`: the accuracy of the validation run on its own classes; only with `--select only_val`, or where no unseen
  class has test samples.

In a row with `+ calibration`, a constant chosen on validation is subtracted from all seen scores. The rows of the baselines
follow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypedDict

from zslab.baselines.comparison import BASELINES, BaselineResult
from zslab.results.record import EpochRecord

CALIBRATED = " + calibration"
METHOD_ROWS = ("val + calibration", "val", "last")  # those not chosen on the test set, the most trustworthy first


@dataclass(frozen=True)
class Choice:
    """An epoch and one of its head epochs, both 0-based.

    Attributes:
        epoch: of the training.
        head_epoch: of the classification heads.
        only: the epoch has a single head epoch, which is then not mentioned.
    """

    epoch: int
    head_epoch: int
    only: bool = field(default=False, compare=False)

    def __str__(self) -> str:
        return f"epoch {self.epoch + 1}" + ("" if self.only else f", head epoch {self.head_epoch + 1}")


@dataclass(frozen=True)
class Selection:
    """The choices of a validation run.

    Attributes:
        t1: the best epoch for T1.
        h: the best epoch for H, where generalized classification is measured.
        constant: what goes from `h` into the test run's evaluation (to subtract from seen scores, or a gate's threshold),
            for a method that has such a constant.
    """

    t1: Choice
    h: Choice | None
    constant: float | None


class ResultRow(TypedDict):
    """One row of the result table, accuracies in [0, 1]; None where there is no such number.

    Keys: `row` names the selection rule and `rule` explains it; `T1_at` and `H_at` tell the chosen epochs.
    """

    row: str
    T1: float | None
    acc_unseen: float | None
    acc_seen: float | None
    H: float | None
    T1_at: str | None
    H_at: str | None
    rule: str


def best(records: Sequence[EpochRecord], group: str, measure: str) -> Choice | None:
    """Return where a measure is highest over all epochs and head epochs, the earliest of equals; None if not measured."""
    scores = [
        (value, -record.epoch, -head_epoch, len(record.values(group, measure)) == 1)
        for record in records
        for head_epoch, value in enumerate(record.values(group, measure))
    ]
    if not scores:
        return None
    _, epoch, head_epoch, only = max(scores)
    return Choice(-epoch, -head_epoch, only)


def end(records: Sequence[EpochRecord], group: str, measure: str) -> Choice | None:
    """Return the last epoch that has a measure, and its last head epoch; None if there is none."""
    last = [record for record in records if record.values(group, measure)][-1:]
    if not last:
        return None
    n = len(last[0].values(group, measure))
    return Choice(last[0].epoch, n - 1, only=n == 1)


def select(records: Sequence[EpochRecord]) -> Selection:
    """Return the choices of a validation run's records."""
    t1, h = best(records, "zsl", "acc"), best(records, "gzsl", "H")
    assert t1 is not None, "a validation stage has test samples of unseen classes"
    return Selection(t1, h, value_at(records, "gzsl", "constant", h))


def value_at(records: Sequence[EpochRecord], group: str, measure: str, choice: Choice | None) -> float | None:
    """Return a measure at a chosen epoch; None if nothing was chosen or the measure was not taken there."""
    if choice is None:
        return None
    (record,) = (record for record in records if record.epoch == choice.epoch)
    values = record.values(group, measure)
    return values[choice.head_epoch] if values else None


def areas(
    records: Sequence[EpochRecord],
    selection: Selection | None,
    baselines: Sequence[BaselineResult],
    validation: Sequence[EpochRecord] = (),
) -> dict[str, float]:
    """Return the area under the seen/unseen curve for the rows that have one; arguments as in `result_rows`."""
    choices = {"last": end(records, "gzsl", "H"), "val": selection.h if selection and records else None}
    values = {name: value_at(records, "gzsl", "AUSUC", choice) for name, choice in choices.items()}
    if selection and best(records, "zsl", "acc") is None:
        values["validation"] = value_at(validation, "gzsl", "AUSUC", selection.h)
    known = {name: value for name, value in values.items() if value is not None}
    return known | {baseline.name: baseline.curve.area for baseline in baselines}


def result_rows(
    records: Sequence[EpochRecord],
    selection: Selection | None,
    baselines: Sequence[BaselineResult],
    validation: Sequence[EpochRecord] = (),
) -> list[ResultRow]:
    """Return the rows of the result table.

    Args:
        records: of the test run; empty where there was none, which leaves the row `validation` alone.
        selection: what a validation run chose, if there was one.
        baselines: whose rows follow; empty where they could not be measured.
        validation: records of the validation run, shown where the test run measured no unseen class.
    """

    def row(
        name: str, rule: str, t1: Choice | None, h: Choice | None, group: str = "gzsl", source: Sequence[EpochRecord] = records
    ) -> ResultRow:
        return {
            "row": name,
            "T1": value_at(source, "zsl", "acc", t1),
            "acc_unseen": value_at(source, group, "acc_unseen", h),
            "acc_seen": value_at(source, group, "acc_seen", h),
            "H": value_at(source, group, "H", h),
            "T1_at": str(t1) if t1 else None,
            "H_at": str(h) if h else None,
            "rule": rule,
        }

    last, last_of_all = end(records or validation, "zsl", "acc"), end(records or validation, "gzsl", "acc_seen")
    has_heads = not (last or last_of_all or Choice(0, 0, only=True)).only
    epoch = "epoch and head epoch" if has_heads else "epoch"
    measured = "no unseen class has test samples" if records else "nothing was measured on the test split"
    on_validation = f"accuracy on the VALIDATION classes, best {epoch} there: {measured}"
    if selection and not records:
        return [row("validation", on_validation, selection.t1, selection.h, source=validation)]
    on_test = f"best {epoch} on the TEST set, T1 and H each for itself: as published, optimistic"
    rows = [row("paper", on_test, best(records, "zsl", "acc"), best(records, "gzsl", "H"))]
    if selection:
        chosen = f"{epoch} chosen by a validation run on train/val classes, test looked up there"
        rows.append(row("val", chosen, selection.t1, selection.h))
        if selection.constant is not None and any("calibrated" in record.metrics for record in records):
            rule = f"as val, seen scores lowered by {selection.constant:.4g}, chosen on validation"
            rows.append(row("val" + CALIBRATED, rule, selection.t1, selection.h, "calibrated"))
    else:
        rows.append(row("val", "needs a validation run: pass --select val", None, None))
    rows.append(row("last", "last epoch, last head epoch" if has_heads else "last epoch", last, last_of_all))
    if selection and best(records, "zsl", "acc") is None:
        rows.append(row("validation", on_validation, selection.t1, selection.h, source=validation))
    return rows + [row for baseline in baselines for row in _baseline_rows(baseline)]


def _baseline_rows(baseline: BaselineResult) -> list[ResultRow]:
    return [
        {
            "row": baseline.name + suffix,
            "T1": baseline.t1,
            "acc_unseen": accuracies.acc_unseen,
            "acc_seen": accuracies.acc_seen,
            "H": accuracies.h,
            "T1_at": None,
            "H_at": None,
            "rule": f"baseline, chosen on validation: {baseline.choices}",
        }
        for suffix, accuracies in (("", baseline.plain), (CALIBRATED, baseline.calibrated))
    ]


def compare_with_baselines(rows: Sequence[ResultRow]) -> list[str]:
    """Return a sentence for T1 and one for H that set the method against the strongest baseline; none without baselines.

    The method's row is the most trustworthy that has the measure: `val + calibration`, `val` or `last`, in this order. The
    strongest baseline is the one with the highest value on the test set.

    Args:
        rows: of the result table, see `result_rows`.
    """
    values = {row["row"]: row for row in rows}
    names = [name + suffix for name in BASELINES for suffix in ("", CALIBRATED) if name + suffix in values]
    measures: tuple[Literal["T1", "H"], ...] = ("T1", "H")
    sentences = []
    for measure in measures:
        own = next((name for name in METHOD_ROWS if name in values and values[name][measure] is not None), None)
        if not names or own is None:
            continue
        strongest = max(names, key=lambda name: values[name][measure] or 0.0)
        ours, theirs = 100 * (values[own][measure] or 0.0), 100 * (values[strongest][measure] or 0.0)
        side = "above" if ours > theirs else "below"
        sentences.append(
            f"{measure} of the row {own}, {ours:.1f}, is {abs(ours - theirs):.1f} points {side} the strongest baseline's, "
            f"{theirs:.1f} ({strongest})."
        )
    return sentences
