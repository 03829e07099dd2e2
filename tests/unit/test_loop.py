"""The bar of a run: what it says, and that its time left counts evaluations."""

import io
import time

import pytest

from zslab.protocol.evaluation import Evaluation
from zslab.protocol.loop import fit
from zslab.results.folder import RunFolder


class Clock:
    """A trainer of two epochs of five iterations, which take a second each; its evaluation takes ten."""

    iterations_per_epoch, status = 5, {}

    def __init__(self) -> None:
        self.epoch = self.position = 0
        self.now = 0.0

    def train_epoch(self, keep_going) -> dict[str, float] | None:
        while self.position < 5:
            self.now += 1
            self.position += 1
            keep_going()
        self.epoch, self.position = self.epoch + 1, 0
        return {"loss": 1.0}

    def mean_losses(self) -> dict[str, float]:
        return {"loss": 1.0}

    def evaluate(self, epoch: int, progress) -> dict:
        started = self.now
        for part in range(1, 51):  # 0.02 is no exact number: the rest of the work may be a little less than nothing
            self.now = started + part / 5
            progress(part / 50)
        return Evaluation().metrics

    def state_dict(self) -> dict:
        return {}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("eval_every", [1, 2])
def test_the_bar_moves_while_a_run_evaluates_and_counts_the_time_of_evaluations(tmp_path, monkeypatch, eval_every: int) -> None:
    trainer, terminal, folder = Clock(), Terminal(), RunFolder(tmp_path, "digest")
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setattr(time, "perf_counter", lambda: trainer.now)
    monkeypatch.setattr("tqdm.std.time", lambda: trainer.now)
    fit(trainer, folder, 2, eval_every, 1, trainer.evaluate)
    shown = [" ".join(text.split("|")[-1].split()) for text in terminal.getvalue().split("\r")]
    assert "epoch 1/2, more than 00:06 left" in shown  # of iterations; an evaluation has not been seen
    if eval_every == 1:  # 4 of 10 s of this evaluation, 5 s of training, the other evaluation
        assert "epoch 1/2, evaluating, 00:21 left" in shown and "epoch 2/2, 00:12 left" in shown
    assert "epoch 2/2, evaluating, 00:06 left" in shown
    assert shown[-1].strip().startswith("epoch 2/2, evaluating, 00:00 left") and "100%" in terminal.getvalue()
