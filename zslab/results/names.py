"""What measures and selection rules are called, here and nowhere else.

Files hold the keys of these dictionaries ("acc_unseen", "val"); tables, plots and pages show the titles.
"""

from typing import Final, Literal, NamedTuple, get_args

MeasureKey = Literal["T1", "acc_unseen", "acc_seen", "H", "AUSUC"]
Rule = Literal["paper", "val", "val + calibration", "last", "validation"]


class Measure(NamedTuple):
    """A measure, in [0, 1] in files and in percent for readers."""

    symbol: str  #: the heading of its column
    title: str  #: the heading of its plot
    meaning: str  #: its definition
    place: tuple[str, str]  #: group and key of an epoch's record, for `EpochRecord.values`


MEASURES: Final[dict[MeasureKey, Measure]] = {
    "T1": Measure(
        "T1",
        "T1: unseen among unseen classes",
        "accuracy on unseen classes when predicting among unseen classes",
        ("zsl", "acc"),
    ),
    "acc_unseen": Measure(
        "u",
        "u: unseen among all classes",
        "accuracy on unseen classes when predicting among all classes",
        ("gzsl", "acc_unseen"),
    ),
    "acc_seen": Measure(
        "s", "s: seen among all classes", "accuracy on seen classes when predicting among all classes", ("gzsl", "acc_seen")
    ),
    "H": Measure("H", "H: harmonic mean of u and s", "harmonic mean of u and s", ("gzsl", "H")),
    "AUSUC": Measure("AUSUC", "AUSUC", "area under the curve of seen against unseen accuracy", ("gzsl", "AUSUC")),
}
ACCURACIES: Final[tuple[MeasureKey, ...]] = get_args(MeasureKey)[:4]

RULES: Final[dict[Rule, str]] = {
    "paper": "best on test",
    "val": "selected on validation",
    "val + calibration": "selected on validation, calibrated",
    "last": "last epoch",
    "validation": "on validation classes",
}
CALIBRATED = "calibrated"
# Not chosen on the test set, the best founded first.
QUOTABLE: Final[tuple[Rule, ...]] = ("val + calibration", "val", "last", "validation")
