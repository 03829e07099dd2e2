"""Which epoch a reported number comes from, and by which rule it was selected.

Every result has a row for each selection rule:

* `paper`: the best epoch and the best head epoch on the TEST set, T1 and H each for itself. Published tables were made
  this way; it is optimistic.
* `val`: the best epoch and head epoch of a validation run, looked up in the test run. `--select val` makes both runs;
  without it the row is empty.
* `val + calibration`: the same, with a calibration that was chosen on validation subtracted from all seen scores.
* `last`: the last epoch and the last head epoch.
* `validation`: the accuracy of the validation run on its own classes; only with `--select only_val`, or where no unseen
  class has test samples.

The rows of the baselines follow in a result.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from zslab.results.names import MEASURES, MeasureKey, Rule
from zslab.results.record import EpochRecord
from zslab.results.result import Choice, Row


@dataclass(frozen=True)
class Selection:
    """The choices of a validation run."""

    t1: Choice  #: the best epoch for T1
    h: Choice | None  #: the best epoch for H, where generalized classification is measured
    #: what goes from `h` into the test run's evaluation (to subtract from seen scores, or a gate's threshold), for a
    #: method that has such a constant
    constant: float | None


def best(records: Sequence[EpochRecord], measure: MeasureKey) -> Choice | None:
    """Return where a measure is highest over all epochs and head epochs, the earliest of equals; None if not measured."""
    place = MEASURES[measure].place
    scores = [
        (value, -record.epoch, -head_epoch, len(record.values(*place)))
        for record in records
        for head_epoch, value in enumerate(record.values(*place))
    ]
    if not scores:
        return None
    _, epoch, head_epoch, n = max(scores)
    return Choice(-epoch, -head_epoch, n)


def last_measured(records: Sequence[EpochRecord], measure: MeasureKey) -> Choice | None:
    """Return the last epoch that has a measure, and its last head epoch; None if there is none."""
    counts = [(record.epoch, n) for record in records if (n := len(record.values(*MEASURES[measure].place)))]
    return Choice(counts[-1][0], counts[-1][1] - 1, counts[-1][1]) if counts else None


def select(records: Sequence[EpochRecord]) -> Selection:
    """Return the choices of a validation run's records."""
    t1, h = best(records, "T1"), best(records, "H")
    assert t1 is not None, "a validation stage has test samples of unseen classes"
    return Selection(t1, h, measure_at(records, "gzsl", "constant", h))


def measure_at(records: Sequence[EpochRecord], group: str, key: str, choice: Choice | None) -> float | None:
    """Return a measure at a chosen epoch; None if nothing was chosen or the measure was not taken there."""
    if choice is None:
        return None
    (record,) = (record for record in records if record.epoch == choice.epoch)
    values = record.values(group, key)
    return values[choice.head_epoch] if values else None


def result_rows(
    records: Sequence[EpochRecord], selection: Selection | None, validation: Sequence[EpochRecord] = ()
) -> list[Row]:
    """Return the rows of the method, one for each selection rule.

    Args:
        records: of the test run; empty where there was none, which leaves the row `validation` alone.
        selection: what a validation run chose, if there was one.
        validation: records of the validation run, shown where the test run measured no unseen class.
    """

    def row(
        rule: Rule,
        about: str,
        t1: Choice | None,
        h: Choice | None,
        group: str = "gzsl",
        source: Sequence[EpochRecord] = records,
    ) -> Row:
        u, s, harmonic, area = (measure_at(source, group, key, h) for key in ("acc_unseen", "acc_seen", "H", "AUSUC"))
        t1_value = measure_at(source, "zsl", "acc", t1)
        return Row(rule, "", t1_value, u, s, harmonic, None if rule == "paper" else area, t1, h, about)

    last, last_of_all = (last_measured(records or validation, measure) for measure in ("T1", "acc_seen"))
    has_heads = (last or last_of_all or Choice(0)).head_epochs > 1
    epoch = "epoch and head epoch" if has_heads else "epoch"
    measured = "no unseen class has test samples" if records else "nothing was measured on the test split"
    on_validation = f"accuracy on the VALIDATION classes, best {epoch} there: {measured}"
    if selection and not records:
        return [row("validation", on_validation, selection.t1, selection.h, source=validation)]
    on_test = f"best {epoch} on the TEST set, T1 and H each for itself: as published, optimistic"
    rows = [row("paper", on_test, best(records, "T1"), best(records, "H"))]
    if selection:
        chosen = f"{epoch} selected by a validation run on train/val classes, test looked up there"
        rows.append(row("val", chosen, selection.t1, selection.h))
        if selection.constant is not None and any("calibrated" in record.metrics for record in records):
            about = f"the same, with {selection.constant:.4g}, chosen on validation, subtracted from the scores of seen classes"
            rows.append(row("val + calibration", about, selection.t1, selection.h, "calibrated"))
    else:
        rows.append(row("val", "needs a validation run: pass --select val", None, None))
    rows.append(row("last", "last epoch, last head epoch" if has_heads else "last epoch", last, last_of_all))
    if selection and best(records, "T1") is None:
        rows.append(row("validation", on_validation, selection.t1, selection.h, source=validation))
    return rows
