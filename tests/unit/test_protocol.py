"""The rows of a result from records made by hand: what is selected, where, by which rule."""

import pytest
import torch
from msgspec.structs import replace

from zslab.baselines.comparison import BaselineResult, Generalized
from zslab.metrics import SeenUnseenCurve
from zslab.protocol.selection import Selection, best, result_rows, select
from zslab.results.record import EpochRecord, Metrics
from zslab.results.result import Choice, Data, Outcome, Row


def record(epoch: int, t1: list[float], h: list[float] | None, **more) -> EpochRecord:
    metrics: Metrics = {"zsl": {"acc": t1}}
    if h is not None:
        seen, unseen = [x + 0.1 for x in h], [x - 0.1 for x in h]
        metrics["gzsl"] = {"acc_seen": seen, "acc_unseen": unseen, "H": h, "AUSUC": h} | more
    return EpochRecord(epoch, metrics=metrics)


def with_calibrated(records: list[EpochRecord], measures: dict | None = None) -> list[EpochRecord]:
    """Records whose evaluated epochs have calibrated measures: those given, or the plain ones."""
    return [
        replace(r, metrics=r.metrics | {"calibrated": measures or r.metrics["gzsl"]}) if "gzsl" in r.metrics else r
        for r in records
    ]


TEST = [
    record(0, [0.1, 0.2, 0.3], [0.5, 0.2, 0.1]),
    EpochRecord(1),  # an epoch without evaluation
    record(2, [0.6, 0.4, 0.2], [0.3, 0.3, 0.4]),
    record(3, [0.5, 0.1, 0.25], [0.2, 0.35, 0.15]),
]
VALIDATION = [
    record(0, [0.1, 0.1, 0.1], [0.1, 0.1, 0.1], constant=[1.0, 1.1, 1.2]),
    record(2, [0.1, 0.7, 0.7], [0.2, 0.1, 0.1], constant=[2.0, 2.1, 2.2]),
    record(3, [0.7, 0.1, 0.1], [0.1, 0.6, 0.1], constant=[3.0, 3.1, 3.2]),
]


def rows(selection: Selection | None, records: list[EpochRecord] = TEST) -> dict[str, Row]:
    return {row.rule: row for row in result_rows(records, selection)}


def test_the_best_is_the_earliest_of_equals() -> None:
    assert best(VALIDATION, "T1") == Choice(2, 1, 3)
    assert best(TEST, "H") == Choice(0, 0, 3)
    assert best([record(0, [0.1], None)], "H") is None


def test_paper_takes_the_best_on_test_for_t1_and_h_each() -> None:
    row = rows(None)["paper"]
    assert (row.T1, row.T1_at) == (0.6, Choice(2, 0, 3))
    assert (row.H, row.acc_seen, row.acc_unseen, row.AUSUC) == (0.5, 0.6, 0.4, None)
    assert row.H_at == Choice(0, 0, 3) and row.chosen_at == "T1: epoch 3, head epoch 1; H: epoch 1, head epoch 1"


def test_val_looks_up_what_validation_chose() -> None:
    selection = select(VALIDATION)
    assert selection == Selection(t1=Choice(2, 1, 3), h=Choice(3, 1, 3), constant=3.1)
    row = rows(selection, with_calibrated(TEST))["val"]
    assert (row.T1, row.T1_at) == (0.4, Choice(2, 1, 3))
    assert (row.H, row.H_at, row.AUSUC) == (0.35, Choice(3, 1, 3), 0.35)


def test_without_validation_the_row_is_empty_and_says_how_to_fill_it() -> None:
    row = rows(None)["val"]
    assert row.is_empty and "--select val" in row.about
    assert "val + calibration" not in rows(None)


def test_last_is_the_last_head_epoch_of_the_last_epoch() -> None:
    row = rows(None)["last"]
    assert (row.T1, row.H, row.AUSUC, row.T1_at) == (0.25, 0.15, 0.15, Choice(3, 2, 3))


def test_calibration_reads_the_calibrated_measures_at_the_same_place() -> None:
    calibrated = {"acc_seen": [0.0, 0.7, 0.0], "acc_unseen": [0.0, 0.8, 0.0], "H": [0.0, 0.75, 0.0]}
    row = rows(select(VALIDATION), with_calibrated(TEST, calibrated))["val + calibration"]
    assert (row.T1, row.acc_seen, row.acc_unseen, row.H, row.AUSUC) == (0.4, 0.7, 0.8, 0.75, None)
    assert "3.1" in row.about


def test_without_gzsl_there_is_no_h() -> None:
    records = [record(0, [0.1, 0.3], None), record(1, [0.2, 0.1], None)]
    for row in rows(select(records), records).values():
        assert row.H is None and row.acc_seen is None
    assert rows(select(records), records)["last"].T1 == 0.1


def test_a_baseline_has_two_rows() -> None:
    baseline = BaselineResult(
        name="ESZSL",
        t1=0.3,
        plain=Generalized(acc_seen=0.2, acc_unseen=0.1),
        calibrated=Generalized(acc_seen=0.15, acc_unseen=0.15),
        curve=SeenUnseenCurve(torch.tensor([0.0]), torch.tensor([1.0, 0.0]), torch.tensor([0.0, 0.5])),
        constant=0.25,
        settings={"T1": {"gamma": 1.0, "lambda_": 2.0}},
    )
    plain, calibrated = baseline.rows
    assert [row.title for row in baseline.rows] == ["ESZSL", "ESZSL, calibrated"]
    assert (plain.T1, plain.acc_seen, plain.acc_unseen, plain.H) == (0.3, 0.2, 0.1, pytest.approx(0.4 / 3))
    assert pytest.approx(0.25) == plain.AUSUC and plain.about.endswith("T1: gamma 1, lambda 2; constant 0.25")
    assert (calibrated.T1, calibrated.acc_seen, calibrated.H, calibrated.AUSUC) == (0.3, 0.15, pytest.approx(0.15), None)


@pytest.mark.parametrize(
    ("first", "sentences"),
    [
        (
            Row("last", T1=0.688, H=0.7504),
            ["T1 (last epoch) is 68.8, 9.5 points below", "H (last epoch) is 75.0, 0.6 points above"],
        ),
        (
            Row("val + calibration", H=0.744),
            ["T1 (last epoch) is 10.0, 68.3 points below", "H (selected on validation, calibrated) is 74.4, 0.0 points below"],
        ),
        (Row("paper", T1=0.9, H=0.9), ["T1 (last epoch) is 10.0, 68.3", "H (last epoch) is 20.0, 54.4 points below"]),
    ],
)
def test_the_method_is_compared_with_the_strongest_baseline(first, sentences) -> None:
    """A row chosen on the test set never stands for the method; T1 and H each have a row and a baseline of their own."""
    last = Row("last", T1=0.1, H=0.2)
    table = [
        Row("val", "ESZSL", T1=0.7, H=0.3),
        Row("val + calibration", "ESZSL", T1=0.7, H=0.744),
        Row("val", "prototype regression", T1=0.783, H=0.1),
    ]
    data = Data(
        dataset="X",
        image_embedding="",
        class_embedding="",
        split_version="",
        class_names=[],
        seen_classes=[],
        unseen_classes=[],
        feature_dim=1,
        attribute_dim=1,
    )
    found = Outcome(seconds=1, data=data, rows=[first, *([last] if first.rule != "last" else []), *table]).verdict
    assert all(text.startswith(sentence) for text, sentence in zip(found, sentences, strict=True))
    assert found[0].endswith("the strongest baseline, prototype regression (78.3).")
    assert found[1].endswith("the strongest baseline, ESZSL, calibrated (74.4).")
    assert Outcome(seconds=1, data=data, rows=[first, last]).verdict == []


def test_choices_print_counted_from_one() -> None:
    assert str(Choice(0, 24, 25)) == "epoch 1, head epoch 25" and str(Choice(3)) == "epoch 4"


def test_a_method_without_heads_does_not_speak_of_head_epochs() -> None:
    records = [record(0, [0.3], [0.2], constant=[1.0]), record(1, [0.2], [0.4], constant=[2.0])]
    selection = select(records)
    assert selection == Selection(t1=Choice(0), h=Choice(1), constant=2.0)
    found = result_rows(records, selection)
    assert [(row.T1_at, row.H_at) for row in found] == [(Choice(0), Choice(1))] * 2 + [(Choice(1), Choice(1))]
    assert not any("head" in row.about + row.chosen_at for row in found)


@pytest.mark.parametrize("records", [VALIDATION, VALIDATION[::-1]])
def test_choices_do_not_depend_on_the_order_of_records(records) -> None:
    assert select(records) == select(VALIDATION)


def test_without_test_samples_of_unseen_classes_the_validation_run_is_shown_as_such() -> None:
    untested = [EpochRecord(r.epoch, metrics={"gzsl": {"acc_seen": [0.5] * 3}}) for r in TEST]
    chosen = select(VALIDATION)
    found = {row.rule: row for row in result_rows(untested, chosen, VALIDATION)}
    assert list(found) == ["paper", "val", "last", "validation"] and found["last"].T1 is None
    row = found["validation"]
    assert (row.T1, row.H, row.AUSUC) == (0.7, 0.6, 0.6)
    assert (row.T1_at, row.H_at) == (Choice(2, 1, 3), Choice(3, 1, 3)) and "VALIDATION classes" in row.about
    for others in (result_rows(TEST, chosen, VALIDATION), result_rows(untested, None)):
        assert "validation" not in {row.rule for row in others}
