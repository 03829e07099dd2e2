"""The trainer and the loop: resume bit for bit, evaluation without side effects, stopping, refusals."""

from dataclasses import replace

import pytest
import torch

from zslab.data.xlsa17 import read_xlsa17
from zslab.errors import InputError
from zslab.protocol.loop import Interrupted, fit, status_line
from zslab.results.folder import RunFolder
from zslab.results.record import EpochRecord
from zslab.tfvaegan.steps import iteration
from zslab.tfvaegan.trainer import TfvaeganTrainer

from helpers.interruptible import run, without_times
from helpers.tfvaegan_trainer import CONFIG, assert_same, build


@pytest.mark.parametrize("transductive", [False, True])
@pytest.mark.parametrize("stop_after", [1, 5, 8, 11])
def test_a_stopped_run_continues_bit_for_bit(tiny, tmp_path, transductive, stop_after) -> None:
    straight = build(tiny, transductive)
    expected = run(straight, tmp_path / "straight")
    first = build(tiny, transductive)
    with pytest.raises(Interrupted):
        run(first, tmp_path / "stopped", stop_after=stop_after)
    assert 8 * first.epoch + first.position == stop_after
    resumed = build(tiny, transductive, replace(CONFIG, manualSeed=99))  # whatever it starts from, the checkpoint replaces
    resumed.seed = straight.seed
    found = run(resumed, tmp_path / "stopped")
    assert_same(straight, resumed)
    assert without_times(found) == without_times(expected)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("epoch",), "two"),
        (("epoch",), 10**9),
        (("position",), -1),
        (("networks",), {}),
        (("optimizers",), {"critic": None}),
        (("optimizers", "critic", "state"), 3),
        (("generator",), torch.zeros(3)),
        (("sums",), []),
    ],
)
def test_a_checkpoint_with_a_wrong_value_is_refused(tiny, tmp_path, path, value) -> None:
    trainer = build(tiny)
    with pytest.raises(Interrupted):
        run(trainer, tmp_path / "run", stop_after=5)
    folder = RunFolder(tmp_path / "run", "digest")
    state = folder.load_checkpoint()
    place = state
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    folder.save_checkpoint(state)
    with pytest.raises(InputError, match=r"checkpoint\.pt"):
        run(build(tiny), tmp_path / "run")


def test_a_kill_loses_the_epoch_in_progress_at_most(tiny, tmp_path) -> None:
    straight = build(tiny)
    expected = run(straight, tmp_path / "straight")
    killed = build(tiny)

    def die(keep_going):  # as kill -9 in the second epoch's fourth iteration would leave things
        if killed.epoch == 1:
            count = iter(range(4))
            TfvaeganTrainer.train_epoch(killed, lambda: next(count, None) is not None)
            raise SystemError("killed")
        return TfvaeganTrainer.train_epoch(killed, keep_going)

    killed.train_epoch = die
    folder = RunFolder(tmp_path / "killed", "digest")
    folder.open({}, resume=True, overwrite=False)
    with pytest.raises(SystemError):
        fit(killed, folder, 3, 1, 1, lambda epoch, progress: killed.evaluate(progress=progress).metrics)
    folder.close()
    assert folder.load_checkpoint()["epoch"] == 1
    resumed = build(tiny)
    assert without_times(run(resumed, tmp_path / "killed")) == without_times(expected)
    assert_same(straight, resumed)


def test_evaluating_does_not_change_the_training(tiny) -> None:
    often, never = build(tiny), build(tiny)
    for _ in range(2):
        often.train_epoch(lambda: True)
        assert often.evaluate().metrics == often.evaluate().metrics
        never.train_epoch(lambda: True)
    assert_same(often, never)


def test_an_epoch_is_two_loops_of_every_batch_with_feedback_in_the_second(tiny, monkeypatch) -> None:
    trainer, active = build(tiny), []

    def spy(*arguments):
        active.append(arguments[-1])
        return iteration(*arguments)

    monkeypatch.setattr("zslab.tfvaegan.trainer.iteration", spy)
    losses = trainer.train_epoch(lambda: True)
    assert active == [False] * 4 + [True] * 4  # ⌈36 / 10⌉ = 4
    assert trainer.epoch == 1 and trainer.position == 0
    assert losses["vae"] == pytest.approx(losses["reconstruction"] + losses["kl"])


def test_losses_are_averaged_over_the_iterations(tiny) -> None:
    trainer, seen = build(tiny), []

    def look() -> bool:
        seen.append(trainer.mean_losses()["generator"] * trainer.position)  # running sums
        return True

    losses = trainer.train_epoch(look)
    assert losses["generator"] == pytest.approx(seen[-1] / 8)
    assert seen[-1] > seen[0]


def test_a_loss_that_is_not_finite_stops_the_run_and_is_named(tiny, tmp_path) -> None:
    trainer = build(tiny)
    with torch.no_grad():
        trainer.state.networks.critic.output.bias.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match=r"the \w+ loss became nan in epoch 0"):
        run(trainer, tmp_path / "run")


@pytest.mark.parametrize("bce_att", [False, True])
def test_a_training_that_diverges_names_the_loss(tiny, tmp_path, bce_att) -> None:
    trainer = build(tiny, config=replace(CONFIG, lr=1e4, dec_lr=1e4, bce_att=bce_att))
    with pytest.raises(
        FloatingPointError, match=r"the reconstruction.* loss became nan in epoch \d, before iteration \d.*--lr"
    ):
        run(trainer, tmp_path / "run")


def test_an_assertion_on_the_device_is_a_training_that_diverges(tiny) -> None:
    """On CUDA the cross-entropy's refusal of NaN is reported by a later operation, in these words."""
    trainer = build(tiny)
    error = RuntimeError("CUDA error: device-side assert triggered\nCUDA kernel errors might be reported elsewhere")

    def look() -> bool:
        raise error

    with pytest.raises(FloatingPointError, match=r"the reconstruction loss became nan in epoch 0, before iteration 1; .*--lr"):
        trainer.train_epoch(look)
    error = RuntimeError("CUDA error: out of memory")
    with pytest.raises(RuntimeError, match="out of memory"):
        trainer.train_epoch(look)


def test_a_batch_larger_than_the_data_is_refused(tiny) -> None:
    with pytest.raises(InputError, match="--batch_size: .*36 training samples.*got 37"):
        build(tiny, config=replace(CONFIG, batch_size=37))
    with pytest.raises(InputError, match=r"24 unlabeled samples"):
        build(tiny, True, config=replace(CONFIG, batch_size=30))


def test_features_outside_the_generators_range_are_refused(tiny) -> None:
    data = read_xlsa17(tiny, "TINY", "res101", "att").stage("test", scaling="standard")
    trainer = build(tiny)
    with pytest.raises(InputError, match="the training features after scaling: "):
        TfvaeganTrainer(trainer.state.networks, data, CONFIG, trainer.zsl_head, None, torch.device("cpu"))


def test_training_learns(tiny) -> None:
    trainer = build(tiny, config=replace(CONFIG, lr=3e-3, dec_lr=3e-3, recons_weight=0.1))
    first = trainer.train_epoch(lambda: True)
    for _ in range(40):
        last = trainer.train_epoch(lambda: True)
    assert last["reconstruction"] < first["reconstruction"] - 0.1
    assert last["cycle_decoder"] < 0.5 * first["cycle_decoder"]


def test_the_actions_decoder_reads_attributes_scaled_to_the_unit_interval(tiny) -> None:
    trainer = build(tiny, config=replace(CONFIG, bce_att=True))
    targets, a = trainer.targets, trainer.data.attributes
    assert (targets.min(0).values == 0).all() and (targets.max(0).values == 1).all()
    assert torch.allclose(targets, (a - a.min(0).values) / (a.max(0).values - a.min(0).values))
    assert trainer.train_epoch(lambda: True)["cycle_decoder"] > 0


def test_the_status_line_holds_the_last_values_in_per_cent() -> None:
    line = status_line(
        EpochRecord(
            4,
            {"vae": 660.123, "wasserstein": 0.5, "generator": 700.0, "kl": 3.0},
            12.34,
            {"lambda1": 0.01},
            {"zsl": {"acc": [0.5, 0.25]}, "gzsl": {"acc_seen": [0, 0.4], "acc_unseen": [0, 0.2], "H": [0, 0.2667]}},
        ),
        300,
    )
    assert line == "epoch 5/300 | vae 660.1 wasserstein 0.5 generator 700 | λ1 0.01 | T1 25.0 u 20.0 s 40.0 H 26.7 | 12.3 s"
