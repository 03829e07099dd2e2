"""Files whole or absent, checkpoints that can be trusted, metrics that survive a kill."""

import errno
import json
import logging
import os
import pickle
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import filelock
import numpy as np
import pytest
import torch

from zslab.config import config_digest
from zslab.errors import InputError, explained
from zslab.results.folder import RunFolder
from zslab.results.record import EpochRecord
from zslab.utils.environment import PROJECT_ROOT, dataset_folder, resolve_device, resolve_folder, shown
from zslab.utils.files import atomic_path, read_json, write_json
from zslab.utils.signals import stop_requests

from helpers.configs import tfvaegan
from helpers.damage import flip_bit


@pytest.fixture
def folder(tmp_path) -> RunFolder:
    made = RunFolder(tmp_path / "run", "digest-1")
    made.open({"nepoch": 3}, resume=False, overwrite=False)
    yield made
    made.close()


def record(epoch: int) -> EpochRecord:
    return EpochRecord(epoch, {"vae": 1.0}, 2.0, {"lambda1": 0.5}, {"zsl": {"acc": [0.1, 0.2]}})


def test_a_failed_write_leaves_the_earlier_file(tmp_path) -> None:
    path = tmp_path / "result.json"
    write_json(path, {"a": 1})
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert read_json(path) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["result.json"]
    with pytest.raises(ValueError):
        write_json(path, {"a": float("nan")})
    assert read_json(path) == {"a": 1}


def test_a_full_disk_is_said_plainly_and_spoils_nothing(folder) -> None:
    """A limit on the size of files stands in for a full disk: the write fails in the middle in the same way."""
    folder.save_checkpoint({"epoch": 1})
    before = folder.checkpoint.read_bytes()
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limit[1]))
    try:
        with pytest.raises(InputError, match=r"checkpoint\.pt: .*Free some space"):
            folder.save_checkpoint({"epoch": 2, "weights": torch.rand(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, handler)
    assert folder.checkpoint.read_bytes() == before
    assert not list(folder.path.glob("*.tmp*")) and not list(folder.path.glob(".*tmp*"))


FULL = Path("/dev/full")  # every write to it fails as on a full disk
needs_full = pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")


@needs_full
def test_a_disk_that_fills_while_numpy_writes_is_named_as_full(tmp_path) -> None:
    with pytest.raises(InputError, match=r"a\.npy: .*\(got No space left"), atomic_path(tmp_path / "a.npy"):
        np.ones(100_000).tofile(FULL)  # whose error has no number


@needs_full
def test_a_disk_too_full_for_the_log_is_one_error(tmp_path) -> None:
    folder, log = RunFolder(tmp_path, "digest-1"), logging.getLogger("zslab")
    log.setLevel(logging.INFO)
    (tmp_path / "log.txt").symlink_to(FULL)
    folder.open({}, resume=False, overwrite=False)
    with pytest.raises(InputError, match=r"log\.txt: .*\(got No space left"):
        log.info("epoch 1")
    folder.close()  # and not again
    (tmp_path / "log.txt").unlink()
    folder.open({}, resume=False, overwrite=False)  # the lock is free
    folder.close()


@pytest.mark.parametrize(
    "error, words",
    [
        (OSError(30, "Read-only file system", "runs/a.json"), "runs/a.json: the file must be readable and writable (got"),
        (MemoryError(), "this process: there must be enough memory (got MemoryError"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "there must be enough memory (got DefaultCPUAll"),
        (RuntimeError("std::bad_alloc"), "this process: there must be enough memory (got std::bad_alloc"),
        (OSError(12, "Cannot allocate memory"), "there must be enough memory"),
        (InputError("it must be right", where="a", got=1, fix="Correct it."), "a: it must be right"),
        (ValueError("a bug"), ""),
        (FileNotFoundError(2, "No such file", "b"), ""),
    ],
)
def test_what_the_system_lacks_is_told_as_an_input_error(error, words: str) -> None:
    told = explained(error)
    assert words in str(told) if words else told is None


@pytest.mark.parametrize("stdout", ["closed", "reader gone"])
def test_a_command_ends_its_work_though_nobody_reads_it(tmp_path, stdout: str) -> None:
    script = (
        "import sys, pathlib; from zslab.errors import ExitStatus\n"
        "with ExitStatus() as status:\n"
        "    for line in range(9): print('x' * 5000, flush=True)\n"
        f"    pathlib.Path({str(tmp_path / 'done')!r}).touch()\n"
        "sys.exit(status.code)"
    )
    reader, writer = os.pipe()
    os.close(reader)
    closing = {"preexec_fn": lambda: os.close(1)} if stdout == "closed" else {"stdout": writer}
    environment = os.environ | {"PYTHONPATH": str(PROJECT_ROOT)}
    ended = subprocess.run([sys.executable, "-c", script], stderr=subprocess.PIPE, env=environment, **closing)
    os.close(writer)
    assert (ended.returncode, ended.stderr, (tmp_path / "done").exists()) == (0, b"", True)


def test_a_hangup_is_a_request_to_stop_unless_it_is_ignored() -> None:
    before = signal.getsignal(signal.SIGHUP)
    try:
        for handler, expected in ((signal.SIG_DFL, True), (signal.SIG_IGN, False)):
            signal.signal(signal.SIGHUP, handler)
            with stop_requests(lambda: None) as stop:
                os.kill(os.getpid(), signal.SIGHUP)
                assert stop() is expected
    finally:
        signal.signal(signal.SIGHUP, before)


def test_checkpoints_come_back_as_they_were_for_the_same_config(folder) -> None:
    assert folder.load_checkpoint() is None
    weights = torch.rand(3, dtype=torch.float64)
    folder.save_checkpoint({"epoch": 2, "weights": weights, "sums": {"vae": torch.tensor(2.0)}})
    loaded = folder.load_checkpoint()
    assert loaded["epoch"] == 2 and torch.equal(loaded["weights"], weights)
    with pytest.raises(InputError, match=r"config digest-2 \(got config digest-1"):
        RunFolder(folder.path, "digest-2").load_checkpoint()


class Malicious:
    def __init__(self, path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("damage", [0.0, 0.3, 0.95, "a flipped bit", "code in an archive", "code in a pickle"])
def test_a_damaged_checkpoint_is_refused_and_runs_nothing(folder, tmp_path, damage) -> None:
    weights, trap = torch.rand(1000), Malicious(tmp_path / "sprung")
    folder.save_checkpoint({"weights": weights})
    content = folder.checkpoint.read_bytes()
    if isinstance(damage, float):
        folder.checkpoint.write_bytes(content[: int(damage * len(content))])
    elif damage == "a flipped bit":
        flip_bit(folder.checkpoint, content.index(weights.numpy().tobytes()) + 2001)
    elif damage == "code in an archive":
        torch.save({"digest": "digest-1", "state": trap}, folder.checkpoint)
    else:
        folder.checkpoint.write_bytes(pickle.dumps(trap, protocol=2))
    with pytest.raises(InputError, match=r"checkpoint\.pt"):
        folder.load_checkpoint()
    assert not trap.path.exists()


def test_a_run_that_has_lost_what_it_wrote_before_its_checkpoint_is_not_continued(folder) -> None:
    folder.update_arrays({"a": np.ones(2)})
    (folder.path / ".b.host-1.tmp.npz").touch()  # of a killed process
    folder.save_checkpoint({"epoch": 1})
    (folder.path / ".b.host-1.tmp.npz").unlink()
    assert folder.load_checkpoint() == {"epoch": 1}
    folder.arrays.unlink()
    with pytest.raises(InputError, match=r"got no evaluation\.npz"):
        folder.load_checkpoint()


def test_metrics_survive_a_kill_in_the_middle_of_a_line(folder) -> None:
    for epoch in range(3):
        folder.append_metrics(record(epoch))
    assert folder.read_metrics() == [record(epoch) for epoch in range(3)]
    with open(folder.metrics, "a") as file:
        file.write('{"epoch": 3, "los')
    assert [r.epoch for r in folder.read_metrics()] == [0, 1, 2]
    folder.truncate_metrics(2)
    first, second = folder.metrics.read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in (first, second)] == [0, 1]
    folder.metrics.write_text(f"{first[:20]}\n{second}\n")
    with pytest.raises(InputError, match=r"metrics\.jsonl, line 1"):
        folder.read_metrics()


def test_metrics_that_lack_an_epoch_before_the_checkpoint_are_refused(folder) -> None:
    for epoch in (0, 2):
        folder.append_metrics(record(epoch))
    folder.truncate_metrics(1)
    with pytest.raises(InputError, match=r"metrics\.jsonl: .*2 epochs.*got 1 records"):
        folder.truncate_metrics(2)
    folder.metrics.unlink()
    folder.truncate_metrics(0)
    with pytest.raises(InputError, match="got 0 records"):
        folder.truncate_metrics(1)


def test_tensorboard_gets_the_values_of_the_metrics(folder) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for epoch in range(2):
        folder.append_metrics(record(epoch))
    events = EventAccumulator(str(folder.path / "tensorboard")).Reload()
    assert [(e.step, round(e.value, 6)) for e in events.Scalars("zsl/acc")] == [(0, 0.2), (1, 0.2)]
    assert set(events.Tags()["scalars"]) == set(record(0).scalars()) == {"losses/vae", "lambda1", "zsl/acc", "seconds"}


def test_arrays_are_added_and_replaced(folder) -> None:
    folder.update_arrays({"a": np.arange(3), "b": np.zeros(2)})
    folder.update_arrays({"b": np.ones(2)})
    with np.load(folder.arrays) as arrays:
        assert arrays["a"].tolist() == [0, 1, 2] and arrays["b"].tolist() == [1, 1]


def test_one_process_at_a_time_uses_a_folder_if_the_file_system_has_locks(folder, monkeypatch) -> None:
    other = RunFolder(folder.path, "digest-1")
    with pytest.raises(InputError, match="got another process"):
        other.open({}, resume=True, overwrite=False)
    folder.close()
    looking = filelock.FileLock(folder.path / ".lock")  # as a sweep does, to see whether a run is going on
    looking.acquire()
    monkeypatch.setattr(time, "sleep", lambda seconds: looking.release())
    other.open({}, resume=False, overwrite=False)
    other.close()
    monkeypatch.setattr(filelock.FileLock, "_acquire", lambda lock: (_ for _ in ()).throw(OSError(errno.ENOLCK, "No locks")))
    other.open({}, resume=False, overwrite=False)
    other.close()


def test_an_unfinished_run_needs_a_word(folder) -> None:
    folder.save_checkpoint({"epoch": 1})
    folder.append_metrics(record(0))
    folder.close()
    again = RunFolder(folder.path, "digest-1")
    with pytest.raises(InputError, match=r"1 recorded epochs.*--resume.*--overwrite"):
        again.open({}, resume=False, overwrite=False)
    again.open({}, resume=True, overwrite=False)
    assert again.load_checkpoint() == {"epoch": 1}
    again.close()
    again.open({}, resume=False, overwrite=True)
    assert again.load_checkpoint() is None and again.read_metrics() == []
    again.close()


def test_a_run_whose_removal_was_killed_counts_neither_as_finished_nor_as_started(folder, monkeypatch) -> None:
    folder.result.write_text("{}")
    folder.save_checkpoint({"epoch": 1})
    folder.close()
    monkeypatch.setattr(Path, "iterdir", lambda path: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        folder.open({}, resume=False, overwrite=True)
    assert not folder.finished and folder.load_checkpoint() is None


def test_a_run_stopped_in_its_validation_stage_is_unfinished_too(folder) -> None:
    folder.validation().path.mkdir()
    folder.validation().save_checkpoint({"epoch": 1})
    folder.close()
    with pytest.raises(InputError, match="--resume"):
        folder.open({}, resume=False, overwrite=False)
    folder.open({}, resume=True, overwrite=False)
    folder.remove_checkpoints()
    assert folder.validation().load_checkpoint() is None


def test_a_digest_is_the_identity_of_a_config() -> None:
    digest = config_digest(tfvaegan())
    assert digest == config_digest(tfvaegan(resume=True, output="elsewhere", dataroot="there"))
    assert digest != config_digest(tfvaegan(manualSeed=7)) and digest != config_digest(tfvaegan(lr=2e-4))


def test_devices_that_are_not_there_are_refused() -> None:
    assert resolve_device("cpu").type == "cpu"
    for name in ("warp", "cuda:99", "meta", "mps"):
        with pytest.raises(InputError, match=f"--device {name}: the device must be one of auto, cpu"):
            resolve_device(name)


def test_an_apple_gpu_is_used_where_there_is_one(monkeypatch) -> None:
    made = []
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch, "empty", lambda size, device: made.append(device))
    assert resolve_device("mps") == torch.device("mps") == made[0]
    with pytest.raises(InputError, match="--device warp: .*cpu, mps"):
        resolve_device("warp")


def test_the_folder_of_a_data_set(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("zslab.utils.environment.PROJECT_ROOT", tmp_path / "clone")
    assert dataset_folder("X", None) == tmp_path / "data" / "X"  # as for an installed package
    assert dataset_folder("X", Path("there")) == tmp_path / "there" / "X"
    for name in ("zero-shot-images/data", "zero-shot-actions/data/X"):
        (tmp_path / "clone" / name).mkdir(parents=True)
    assert dataset_folder("X", None) == tmp_path / "clone" / "zero-shot-actions" / "data" / "X"
    assert dataset_folder("Y", None) == tmp_path / "clone" / "zero-shot-images" / "data" / "Y"
    assert dataset_folder("Y", None, "zero-shot-actions") == tmp_path / "clone" / "zero-shot-actions" / "data" / "Y"
    assert shown(tmp_path / "clone" / "a.mat") == "clone/a.mat" and shown(tmp_path.parent) == str(tmp_path.parent)


def test_a_relative_folder_is_looked_for_here_then_in_the_project(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve_folder("zslab") == PROJECT_ROOT / "zslab"
    (tmp_path / "zslab").mkdir()
    assert resolve_folder("zslab") == tmp_path / "zslab"
    assert resolve_folder("new") == tmp_path / "new"
