"""Recording and replaying, with stand-ins for CUDA graphs: the check, the fallback, and that training does not notice."""

import logging
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from zslab.shared.heads import SoftmaxHead
from zslab.tfvaegan.trainer import TfvaeganTrainer
from zslab.utils.cuda_graphs import WARM_UP, Step, capture_verified

from helpers.tfvaegan_trainer import CONFIG, assert_same, build

pytestmark = pytest.mark.slow

CALLS = []


def record_faithfully(work: Step, generator: torch.Generator) -> Step:
    """What a CUDA graph should be: warmed up, run once more for nothing, then the same work again and again."""
    for _ in range(WARM_UP):
        work()

    def replay() -> dict[str, Tensor]:
        CALLS.append("replay")
        return work()

    return replay


def record_with_old_numbers(work: Step, generator: torch.Generator) -> Step:
    """Random numbers baked in, as of a generator that was not registered."""
    work()
    state = generator.get_state()

    def replay() -> dict[str, Tensor]:
        generator.set_state(state)
        return work()

    return replay


def record_nothing(work: Step, generator: torch.Generator) -> Step:
    """A graph whose tensors have moved elsewhere: its replays change nothing of what is looked at."""
    results = work()
    return lambda: results


def record_in_vain(work: Step, generator: torch.Generator) -> Step:
    work()
    raise RuntimeError("operation not permitted when stream is capturing\nand a long explanation")


RECORDERS = {
    record_with_old_numbers: "its replay differs in",
    record_nothing: "its replay differs in",
    record_in_vain: "operation not permitted when stream is capturing.",
}


class Walk:
    """A random walk with momentum that makes its velocity when it is first needed, as an optimizer does."""

    def __init__(self):
        self.generator = torch.Generator().manual_seed(3)
        self.place, self.velocity = torch.ones(4), None

    def step(self) -> dict[str, Tensor]:
        if self.velocity is None:
            self.velocity = torch.zeros(4)
        self.velocity.mul_(0.5).add_(torch.randn(4, generator=self.generator))
        self.place.add_(self.velocity)
        return {"distance": self.place.norm()}

    def changed(self) -> dict[str, Tensor]:
        return {"place": self.place} | ({} if self.velocity is None else {"velocity": self.velocity})


@pytest.mark.parametrize("record", [record_faithfully, *RECORDERS])
def test_recording_leaves_state_and_random_numbers_as_they_were(record) -> None:
    plain, walk = Walk(), Walk()
    step = capture_verified(walk.step, walk.changed, walk.generator, "walk", record)
    for _ in range(3):
        torch.testing.assert_close(step(), plain.step(), rtol=0, atol=0)
    assert walk.place.equal(plain.place) and walk.velocity.equal(plain.velocity)
    assert (step == walk.step) == (record is not record_faithfully)


def test_what_was_replayed_and_drew_too_much_is_refused(caplog) -> None:
    walk = Walk()

    def record(work: Step, generator: torch.Generator) -> Step:
        def replay() -> dict[str, Tensor]:
            results = work()
            torch.rand(1, generator=generator)
            return results

        return replay

    assert capture_verified(walk.step, walk.changed, walk.generator, "walk", record) == walk.step
    assert "its replay draws other random numbers" in caplog.text


def recording(trainer: TfvaeganTrainer, record) -> TfvaeganTrainer:
    trainer.capture = record
    return trainer


@pytest.mark.parametrize("record", [record_faithfully, *RECORDERS])
@pytest.mark.parametrize("transductive", [False, True])
def test_a_replayed_training_is_the_ordinary_one(tiny, record, transductive, caplog) -> None:
    """Also where the recording fails or lies: then it is told once for each kind of iteration, and not used."""
    caplog.set_level(logging.WARNING, logger="zslab")
    ordinary, other = build(tiny, transductive), recording(build(tiny, transductive), record)
    CALLS.clear()
    for _ in range(2):
        expected, found = (trainer.train_epoch(lambda: True) for trainer in (ordinary, other))
        assert found == expected
    assert_same(ordinary, other)
    if record is record_faithfully:
        assert not caplog.records
        assert len(CALLS) == 2 * ordinary.iterations_per_epoch + 2  # one of each kind for the check
    else:
        assert not CALLS
        assert [r.getMessage().split(" runs")[0] for r in caplog.records] == [
            "The iteration without feedback",
            "The iteration with feedback",
        ]
        assert all(RECORDERS[record] in r.getMessage() for r in caplog.records)


def test_a_loaded_state_is_recorded_anew(tiny) -> None:
    """Loading gives the optimizers other tensors, of which an earlier recording knows nothing."""
    first = recording(build(tiny), record_faithfully)
    first.train_epoch(lambda: True)
    saved = deepcopy(first.state_dict())
    second = recording(build(tiny, config=replace(CONFIG, manualSeed=9)), record_faithfully)
    second.train_epoch(lambda: True)
    second.load_state_dict(saved)
    assert second.steps == {}
    for trainer in (first, second):
        trainer.train_epoch(lambda: True)
    assert_same(first, second)


def test_a_heads_next_step_can_be_replayed(monkeypatch) -> None:
    """The step finds its batch by a position that it moves itself, and the last, smaller batch goes the ordinary way."""
    torch.manual_seed(0)
    features, labels = torch.rand(50, 6), torch.arange(50) % 4
    plain = SoftmaxHead(epochs=3, batch_size=12).fit(features, labels, torch.Generator().manual_seed(1))

    def everywhere(step, changed, generator, name):
        return capture_verified(step, changed, generator, name, record_faithfully)

    monkeypatch.setattr("zslab.shared.heads.capture_verified", everywhere)
    monkeypatch.setattr("zslab.shared.heads.can_capture", lambda device: True)
    CALLS.clear()
    head = SoftmaxHead(epochs=3, batch_size=12).fit(features, labels, torch.Generator().manual_seed(1))
    assert len(CALLS) == 3 * 4 + 1
    assert head.weight_.equal(plain.weight_) and head.bias_.equal(plain.bias_)
