"""The rows of a result from records made by hand: what is chosen, where, by which rule."""

from __future__ import annotations

import pytest

from zsl.eszsl import EszslResult
from zsl.metrics import SeenUnseenCurve
from zsl.protocol import Choice, Selection, best, result_rows, select


def record(epoch: int, t1: list[float], h: list[float] | None, **more) -> dict:
    made = {"epoch": epoch, "losses": {}, "zsl": {"acc": t1}}
    if h is not None:
        seen, unseen = [x + 0.1 for x in h], [x - 0.1 for x in h]
        made["gzsl"] = {"acc_seen": seen, "acc_unseen": unseen, "H": h, "AUSUC": h} | more
    return made


TEST = [
    record(0, [0.1, 0.2, 0.3], [0.5, 0.2, 0.1]),
    {"epoch": 1, "losses": {}},  # an epoch without evaluation
    record(2, [0.6, 0.4, 0.2], [0.3, 0.3, 0.4]),
    record(3, [0.5, 0.1, 0.25], [0.2, 0.35, 0.15]),
]
VALIDATION = [
    record(0, [0.1, 0.1, 0.1], [0.1, 0.1, 0.1], constant=[1.0, 1.1, 1.2]),
    record(2, [0.1, 0.7, 0.7], [0.2, 0.1, 0.1], constant=[2.0, 2.1, 2.2]),
    record(3, [0.7, 0.1, 0.1], [0.1, 0.6, 0.1], constant=[3.0, 3.1, 3.2]),
]


def rows(selection: Selection | None, records: list[dict] = TEST, floor: EszslResult | None = None) -> dict[str, dict]:
    return {row["row"]: row for row in result_rows(records, selection, floor)}


def test_the_best_is_the_earliest_of_equals() -> None:
    assert best(VALIDATION, "zsl", "acc") == Choice(2, 1)
    assert best(TEST, "gzsl", "H") == Choice(0, 0)
    assert best([record(0, [0.1], None)], "gzsl", "H") is None


def test_paper_takes_the_best_on_test_for_t1_and_h_each() -> None:
    row = rows(None)["paper"]
    assert (row["T1"], row["T1_at"]) == (0.6, "epoch 3, head epoch 1")
    assert (row["H"], row["acc_seen"], row["acc_unseen"]) == (0.5, 0.6, 0.4)
    assert row["H_at"] == "epoch 1, head epoch 1"


def test_val_looks_up_what_validation_chose() -> None:
    selection = select(VALIDATION)
    assert selection == Selection(t1=Choice(2, 1), h=Choice(3, 1), constant=3.1)
    row = rows(selection, [r | {"calibrated": r["gzsl"]} if "gzsl" in r else r for r in TEST])["val"]
    assert (row["T1"], row["T1_at"]) == (0.4, "epoch 3, head epoch 2")
    assert (row["H"], row["H_at"]) == (0.35, "epoch 4, head epoch 2")


def test_without_validation_the_row_is_empty_and_says_how_to_fill_it() -> None:
    row = rows(None)["val"]
    assert row["T1"] is None and row["H"] is None and "--select val" in row["rule"]
    assert "val + calibration" not in rows(None)


def test_last_is_the_last_head_epoch_of_the_last_epoch() -> None:
    row = rows(None)["last"]
    assert (row["T1"], row["H"], row["T1_at"]) == (0.25, 0.15, "epoch 4, head epoch 3")


def test_calibration_reads_the_calibrated_measures_at_the_same_place() -> None:
    calibrated = {"acc_seen": [0.0, 0.7, 0.0], "acc_unseen": [0.0, 0.8, 0.0], "H": [0.0, 0.75, 0.0]}
    records = [r | {"calibrated": calibrated} if "gzsl" in r else r for r in TEST]
    row = rows(select(VALIDATION), records)["val + calibration"]
    assert (row["T1"], row["acc_seen"], row["acc_unseen"], row["H"]) == (0.4, 0.7, 0.8, 0.75)
    assert "3.1" in row["rule"]


def test_without_gzsl_there_is_no_h() -> None:
    records = [record(0, [0.1, 0.3], None), record(1, [0.2, 0.1], None)]
    for row in rows(select(records), records).values():
        assert row["H"] is None and row["acc_seen"] is None
    assert rows(select(records), records)["last"]["T1"] == 0.1


def test_the_floor_stands_below() -> None:
    plain = {"T1": 0.3, "acc_seen": 0.2, "acc_unseen": 0.1, "H": 0.13}
    floor = EszslResult(plain, plain | {"H": 0.2}, SeenUnseenCurve(*[None] * 3), "γ 1, λ 2")
    found = rows(None, floor=floor)
    assert found["ESZSL"]["H"] == 0.13 and found["ESZSL + calibration"]["H"] == 0.2
    assert "γ 1, λ 2" in found["ESZSL"]["rule"]
    assert list(found) == ["paper", "val", "last", "ESZSL", "ESZSL + calibration"]


def test_choices_print_counted_from_one() -> None:
    assert str(Choice(0, 24)) == "epoch 1, head epoch 25"


def test_a_method_without_heads_does_not_speak_of_head_epochs() -> None:
    records = [record(0, [0.3], [0.2], constant=[1.0]), record(1, [0.2], [0.4], constant=[2.0])]
    selection = select(records)
    assert selection == Selection(t1=Choice(0, 0), h=Choice(1, 0), constant=2.0)
    found = result_rows(records, selection, None)
    assert [(row["T1_at"], row["H_at"]) for row in found] == [("epoch 1", "epoch 2")] * 2 + [("epoch 2", "epoch 2")]
    assert not any("head" in row["rule"] for row in found)


@pytest.mark.parametrize("records", [VALIDATION, VALIDATION[::-1]])
def test_choices_do_not_depend_on_the_order_of_records(records) -> None:
    assert select(records) == select(VALIDATION)
