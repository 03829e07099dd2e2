"""Leave-classes-out: what is on which side of every draw."""

from dataclasses import replace

import numpy as np
import pytest

from zslab.data.xlsa17 import read_xlsa17
from zslab.protocol.held_out import held_out_draws, hold_out_classes
from zslab.protocol.stages import _is_validated

from helpers.configs import tfvaegan


@pytest.fixture
def dataset(tiny):
    return read_xlsa17(tiny, "TINY", "res101", "att")


@pytest.mark.parametrize("n_out", [1, 2, 4])
def test_sides_of_a_draw(dataset, n_out: int) -> None:
    trainval = dataset.locations["trainval"]
    seen = np.unique(dataset.labels[trainval])
    for draw in range(4):
        drawn = hold_out_classes(dataset, draw, n_out)
        parts = [drawn.locations[name] for name in ("trainval", "test_seen", "test_unseen")]
        assert np.array_equal(np.sort(np.concatenate(parts)), np.sort(trainval))
        train, test_seen, out = (set(drawn.labels[part]) for part in parts)
        assert len(out) == n_out and train == test_seen == set(seen) - out
        stage = drawn.stage("test")
        assert stage.unseen_classes.tolist() == sorted(out | {6, 7, 8})
        counts = np.bincount(drawn.labels[parts[1]])
        assert set(counts[counts > 0]) == {1}  # a fifth of six samples


def test_every_class_is_left_out_once_and_draws_repeat(dataset) -> None:
    out = [set(draw.labels[draw.locations["test_unseen"]]) for draw in held_out_draws(dataset)]
    assert sorted(map(tuple, out)) == [(k,) for k in range(6)]
    again = [draw.locations["test_seen"].tolist() for draw in held_out_draws(dataset)]
    assert again == [draw.locations["test_seen"].tolist() for draw in held_out_draws(dataset)]


@pytest.mark.parametrize("n_classes, n_draws", [(2, 0), (3, 3), (6, 6)])
def test_fewer_classes_allow_fewer_draws(dataset, n_classes: int, n_draws: int) -> None:
    trainval = dataset.locations["trainval"]
    fewer = trainval[dataset.labels[trainval] < n_classes]
    assert len(held_out_draws(replace(dataset, locations=dataset.locations | {"trainval": fewer}))) == n_draws


def test_copies_stay_on_one_side_and_single_samples_train(dataset) -> None:
    features = dataset.features.copy()
    members = dataset.locations["trainval"][dataset.labels[dataset.locations["trainval"]] == 0]
    features[members] = features[members[0]]  # one photo, copied
    for draw in held_out_draws(replace(dataset, features=features)):
        sides = [np.isin(members, draw.locations[name]).sum() for name in ("trainval", "test_unseen")]
        assert sorted(sides) == [0, len(members)]


@pytest.mark.parametrize(
    "n_seen, tested, select, expected",
    [(6, False, "none", True), (6, True, "none", False), (6, True, "val", True), (2, False, "none", False)],
)
def test_a_run_validates_by_itself_where_no_unseen_class_is_tested(dataset, n_seen, tested, select, expected) -> None:
    trainval = dataset.locations["trainval"]
    locations = dataset.locations | {"trainval": trainval[dataset.labels[trainval] < n_seen]}
    if not tested:
        locations["test_unseen"] = trainval[:0]
    notes: list[str] = []
    assert _is_validated(replace(dataset, locations=locations), tfvaegan(select=select), notes) == expected
    assert len(notes) == (n_seen < 3)
