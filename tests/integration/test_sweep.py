"""Sweeps over real processes: nothing runs twice, what is left is continued, whoever is killed."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from zslab.cli import main
from zslab.errors import InputError
from zslab.plan import load_launcher
from zslab.sweep import run as sweep_run
from zslab.sweep.engines import EngineFlags, LocalEngine
from zslab.sweep.plan import Grid, planned, read_grid
from zslab.sweep.run import PlannedRun, execute

from helpers.fake_tree import LosingEngine, starts, wait_for, write_fake_tree
from helpers.project import PROJECT


class Sweep:
    """`zslab sweep` on a launcher in the working directory."""

    def __init__(self, root: Path):
        self.launcher, self.out = write_fake_tree(root), root / "out"

    def words(self, *words: str) -> list[str]:
        return ["sweep", str(self.launcher), "--set", f"output={self.out}", *words]

    def __call__(self, *words: str) -> int:
        return main(self.words(*words))

    def start(self, *words: str) -> subprocess.Popen:
        environment = os.environ | {"PYTHONPATH": str(PROJECT)}
        return subprocess.Popen([sys.executable, "-m", "zslab", *self.words(*words)], env=environment)

    def folder(self, seed: int = 0, syn_num: int = 1) -> Path:
        return next(self.out.glob(f"*-n{syn_num}-seed{seed}-*"), self.out / "none")


@pytest.fixture
def sweep(tmp_path, monkeypatch) -> Sweep:
    monkeypatch.chdir(tmp_path)
    return Sweep(tmp_path)


def test_a_grid_is_the_product_of_launchers_variants_and_flags(sweep, tmp_path) -> None:
    (tmp_path / "sweep.toml").write_text(
        'launchers = ["tree/scripts/run_fake.py"]\nseeds = [1, 2]\npartitions = 3\nswitches = ["finetuned"]\n'
        "[flags]\nnepoch = 3\n[grid]\nlr = [0.1, 0.2]\nsyn_num = [10, 300]\n"
        '[variants.full]\n[variants."no feedback"]\nfit_batch_size = true\n'
    )
    runs = read_grid(tmp_path / "sweep.toml").runs()
    assert len(runs) == 2 * 3 * 2 * 2 * 2 == len({run.name for run in runs}) == len({run.folder for run in runs})
    assert runs[-1].name == "no feedback, lr 0.2, syn_num 300, partition 3, manualSeed 2"
    words = " ".join(runs[-1].command[2:])
    assert "--finetuned" in words and "--fit_batch_size" in words and "--resume" in words and runs[-1].epochs == 3
    assert "--lr 0.2" in words and "--syn_num 300" in words and "--partition 3" in words and "--manualSeed 2" in words


def test_launchers_of_both_trees_are_planned_in_one_process() -> None:
    images = str(PROJECT / "zero-shot-images" / "image-scripts" / "run_cub_tfvaegan.py")
    actions = str(PROJECT / "zero-shot-actions" / "action-scripts" / "run_hmdb51_tfvaegan.py")
    cub, hmdb = Grid((images, actions), flags={"nepoch": "2", "select": "val"}).runs()
    assert cub.folder.name.startswith("CUB-") and hmdb.folder.name.startswith("hmdb")
    assert cub.epochs == hmdb.epochs == 2  # of each stage
    splits = Grid((actions,), splits=(2, 4)).runs()
    assert [run.name.rpartition(", ")[2] for run in splits] == ["split 2", "split 4"]


def test_a_file_of_settings_comes_between_the_launchers_own_and_typed_flags(sweep, tmp_path) -> None:
    (tmp_path / "found.toml").write_text("[flags]\nsyn_num = 5\nlr = 0.5\n")
    (run,) = Grid((str(sweep.launcher),), flags={"settings": "found.toml", "lr": "0.25"}).runs()
    assert "--syn_num 5" in " ".join(run.command) and "--lr 0.25" in " ".join(run.command)


@pytest.mark.parametrize(
    ("text", "got"),
    [
        ("seeds = [", "sweep.toml"),
        ("seed = [1]", "`seed`"),
        ("partitions = [1, 2]", "`\\$.partitions`"),
        ("launchers = ['none.py']", "none.py"),
        (f"launchers = ['{'x' * 300}.py']", "xxx"),
    ],
)
def test_wrong_sweep_files_are_refused(tmp_path, text, got) -> None:
    (tmp_path / "sweep.toml").write_text(text)
    with pytest.raises(InputError, match=got):
        read_grid(tmp_path / "sweep.toml")


@pytest.mark.parametrize(
    "words",
    [
        ("--set", "unknown=1"),
        ("--set", "nepoch=many"),
        ("--switch", "transductive"),
        ("--splits", "3-1"),
        ("--workers", "0"),
        ("none.py",),
    ],
)
def test_what_cannot_be_planned_is_one_line_before_any_run(sweep, capsys, words) -> None:
    assert sweep(*words) == 1
    out, error = capsys.readouterr()
    assert error.startswith("error: ") and error.count("\n") == 1
    assert words[-1].partition("=")[0] in error or words[0].strip("-s") in error
    assert not sweep.out.exists()


def test_what_has_finished_is_not_repeated(sweep, capsys) -> None:
    words = ("--seeds", "1", "2", "--grid", "syn_num=10,300", "nepoch=4", "--workers", "2")
    assert sweep(*words, "--dry-run") == 0
    assert capsys.readouterr().out.count("  new ") == 4 and not sweep.out.exists()
    assert sweep(*words) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"4 runs in {sweep.out}, 0 of them") and "4 of 4 runs finished" in out
    folders = [sweep.folder(seed, syn_num) for syn_num in (10, 300) for seed in (1, 2)]
    for again in range(2):
        assert [starts(folder) for folder in folders] == [1 + again, 1, 1, 1]
        assert sweep(*words) == 0
        assert "All 4 runs have finished." in capsys.readouterr().out
        if not again:
            (folders[0] / "report.html").unlink()  # the run was killed before its report
            assert sweep(*words) == 0
            assert "3 of them done before" in capsys.readouterr().out


def test_runs_that_shall_be_overwritten_are_repeated(sweep) -> None:
    words = ("--seeds", "1", "2")
    assert [sweep(*words), sweep(*words), sweep(*words, "--set", "overwrite=true")] == [0, 0, 0]
    assert [starts(sweep.folder(seed)) for seed in (1, 2)] == [2, 2]


def test_failed_runs_are_tried_again_named_and_the_others_go_on(sweep, capfd) -> None:
    assert sweep("--grid", "fate=fails once", "--retries", "1") == 0
    assert starts(sweep.folder()) == 2
    out, error = capfd.readouterr()
    assert "failed with status 7 and is tried again" in out and "the reason" in out and not error
    assert sweep("--grid", "fate=fails", "--seeds", "5", "6", "--retries", "1") == 7
    assert [starts(sweep.folder(seed)) for seed in (5, 6)] == [2, 2]
    assert "failed with status 7: fate fails, manualSeed 5" in capfd.readouterr().err
    runs = Grid((str(sweep.launcher),), seeds=(7, 8), flags={"fate": "fails"}).runs()
    assert execute(runs, LocalEngine(EngineFlags()), keep_going=False) == 7
    assert "1 run left" in capfd.readouterr().err


def test_a_sweep_shows_the_epoch_and_time_left_of_its_jobs_and_a_line_for_each_that_ended(sweep, capsys, monkeypatch) -> None:
    monkeypatch.setattr(sweep_run, "SOON", 0.0)
    monkeypatch.setattr(sweep_run, "SELDOM", 0.0)
    assert sweep("--seeds", "1", "2", "--workers", "2", "--set", "seconds=2") == 0
    out = capsys.readouterr().out
    assert re.search(r"25%\|██▌       \| epoch 2/4, 0[23]:\d\d left  manualSeed 2", out)  # 60 s an epoch
    assert out.index("epoch 2/4") < out.index("1 of 2: manualSeed") < out.index("2 of 2: manualSeed")


@pytest.mark.parametrize(
    ("command", "shown"), [((), "38%|███▊      | epoch 4/8, "), (("only_val",), "75%|███████▌  | epoch 4/4, ")]
)
def test_the_epochs_of_a_run_that_validates_are_those_of_both_stages(tmp_path, command, shown) -> None:
    (tmp_path / "validation").mkdir()
    lines = [json.dumps({"epoch": epoch, "metrics": {}, "seconds": 60.0}) for epoch in range(3)]
    (tmp_path / "validation" / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    assert shown in PlannedRun("a", command, tmp_path, epochs=4).progress()


def test_a_sweep_goes_on_where_the_file_system_has_no_locks(sweep, monkeypatch) -> None:
    def refuse(*call: object) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    with monkeypatch.context() as patch:
        patch.setattr("fcntl.flock", refuse)
        assert sweep("--set", "fate=fails once", "--retries", "1") == 0
    assert starts(sweep.folder()) == 2


def test_data_newer_than_the_result_sends_the_run_to_its_training_script_again(tmp_path) -> None:
    data, folder = tmp_path / "data", tmp_path / "run"
    data.mkdir()
    (data / "res101.mat").write_text("features")
    folder.mkdir()
    for name in ("result.json", "report.html"):
        (folder / name).write_text("{}")
    refuse = PlannedRun("a", (sys.executable, "-c", "import sys; sys.exit(1)"), folder, data)
    assert refuse.is_current
    os.utime(data / "res101.mat", (time.time() + 100, time.time() + 100))
    assert refuse.finished and not refuse.is_current
    assert execute([refuse], LocalEngine(EngineFlags())) == 1
    assert execute([PlannedRun("a", (sys.executable, "-c", "pass"), folder, data)], LocalEngine(EngineFlags())) == 0


@pytest.mark.slow
@pytest.mark.parametrize("in_background", [False, True])
def test_ctrl_c_or_a_termination_saves_all_runs_and_the_same_command_goes_on(sweep, in_background: bool) -> None:
    words = ("--seeds", "1", "2", "3", "--workers", "2", "--set")
    earlier = signal.signal(signal.SIGINT, signal.SIG_IGN) if in_background else None  # as `nohup zslab sweep ... &` does
    try:
        driver = sweep.start(*words, "seconds=60")
    finally:
        if earlier:
            signal.signal(signal.SIGINT, earlier)
    wait_for(lambda: starts(sweep.folder(1)) == starts(sweep.folder(2)) == 1)
    driver.send_signal(signal.SIGTERM if in_background else signal.SIGINT)
    assert driver.wait(60) == 130
    assert all((sweep.folder(seed) / "saved.txt").exists() for seed in (1, 2))
    assert starts(sweep.folder(3)) == 0


@pytest.mark.slow
def test_a_killed_sweep_leaves_runs_that_its_successor_waits_for(sweep) -> None:
    words = ("--seeds", "1", "2", "--set", "seconds=3")
    driver = sweep.start(*words)
    wait_for(lambda: starts(sweep.folder(1)) == 1)
    driver.kill()
    driver.wait(60)
    assert PlannedRun("", (), sweep.folder(1)).in_use and not (sweep.folder(1) / "result.json").exists()
    assert sweep(*words) == 0
    assert [starts(sweep.folder(seed)) for seed in (1, 2)] == [1, 1]


def test_a_full_disk_stops_the_sweep_with_one_message_and_loses_nothing(sweep, monkeypatch, capsys) -> None:
    opened = Path.open

    def full(path: Path, *mode: str, **options):
        if path.parent.name == "sweep-output" and "-seed2-" in path.name:
            wait_for(lambda: starts(sweep.folder(1)) == 1)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return opened(path, *mode, **options)

    words = ("--seeds", "1", "2", "3", "--workers", "2", "--set", "seconds=60")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", full)
        assert sweep(*words) == 1
    error = capsys.readouterr().err
    assert "-seed2-" in error and "No space left" in error and error.count("\n") == 1
    assert (sweep.folder(1) / "saved.txt").exists() and not (sweep.folder(1) / "result.json").exists()


def test_workers_share_cores_and_gpus(tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    monkeypatch.setattr(os, "cpu_count", lambda: 9)
    engine = LocalEngine(EngineFlags(workers=4, gpus_per_run=0.5))
    assert engine.slots == LocalEngine(EngineFlags(workers=9, gpus_per_run=0.5)).slots == 4
    show = "import os; print(os.environ['OMP_NUM_THREADS'], os.environ['CUDA_VISIBLE_DEVICES'])"
    for _ in range(2):  # a slot is free again after its job
        jobs = [engine.submit([sys.executable, "-c", show], tmp_path / f"{number}.txt") for number in range(4)]
        wait_for(lambda jobs=jobs: all(job.done() and job.result() == 0 for job in jobs))
    assert [(tmp_path / f"{i}.txt").read_text() for i in range(4)] == ["2 4\n" * 2] * 2 + ["2 7\n" * 2] * 2
    with pytest.raises(InputError, match="--gpus-per-run.* 2 .*got 3.0"):
        LocalEngine(EngineFlags(gpus_per_run=3.0))


class FakeRay:
    """The module ray on a machine of two cores, or without the cluster that is asked for."""

    def init(self, address, **options) -> None:
        if address:
            raise ConnectionError("Could not find any running Ray instance.\nMore advice.")

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 2.0}


@pytest.mark.parametrize(
    ("words", "where", "got"),
    [
        (("ray", "--address", "auto"), "--engine ray", "Could not find any running Ray instance."),
        (("ray", "--cpus-per-run", "3"), "--cpus-per-run", "3"),
        (("slurm",), "--engine slurm", ""),
    ],
)
def test_an_engine_that_is_not_there_is_one_line(sweep, capsys, monkeypatch, words, where, got) -> None:
    if words[0] == "ray":
        monkeypatch.setattr("zslab.sweep.engines._import", lambda module, extra: FakeRay())
    else:
        pytest.importorskip("submitit", reason="the extra slurm is not installed")
        monkeypatch.setenv("PATH", "")
    assert sweep("--engine", *words) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {where}: ") and f"(got {got}" in error and error.count("\n") == 1


def test_a_lost_worker_is_no_attempt_of_the_run(sweep, capsys) -> None:
    (run,) = map(planned, load_launcher(sweep.launcher).runs((), load_launcher(sweep.launcher).default))
    engine = LosingEngine()
    assert execute([run, run], engine) == 0
    assert engine.submitted == 2 and "started 1" in run.output.read_text()
    out = capsys.readouterr().out
    assert "run_fake lost its worker" in out and "1 of 1 run finished" in out


@pytest.mark.slow
def test_a_killed_run_is_started_again_only_as_retries_allow(sweep) -> None:
    driver = sweep.start("--set", "seconds=2", "--retries", "1")
    wait_for(lambda: starts(sweep.folder()) == 1)
    os.kill(int((sweep.folder() / "starts.txt").read_text()), signal.SIGKILL)
    assert driver.wait(60) == 0 and starts(sweep.folder()) == 2


@pytest.mark.slow
def test_submitits_local_executor_runs_a_sweep(sweep, tmp_path) -> None:
    pytest.importorskip("submitit", reason="the extra slurm is not installed")
    words = ("--seeds", "1", "2", "--set", "seconds=1", "--engine", "slurm", "--slurm-cluster", "local", "--workers", "2")
    assert sweep(*words, "--slurm-folder", str(tmp_path / "slurm")) == 0
    assert [starts(sweep.folder(seed)) for seed in (1, 2)] == [1, 1]


@pytest.mark.slow
def test_a_ray_cluster_that_loses_a_node_finishes_the_sweep(sweep) -> None:
    pytest.importorskip("ray", reason="the extra ray is not installed")
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    try:
        words = ("--set", "seconds=2", "--engine", "ray", "--address", cluster.address, "--workers", "6")
        driver = sweep.start("--seeds", *map(str, range(6)), *words)
        wait_for(lambda: sum(starts(sweep.folder(seed)) for seed in range(6)) >= 3, 120)
        cluster.remove_node(nodes[0])
        assert driver.wait(180) == 0
        assert all((sweep.folder(seed) / "result.json").exists() for seed in range(6))
        # A run whose node was lost goes on alone, and the sweep waits for it, or it is started once more.
        assert 6 <= sum(starts(sweep.folder(seed)) for seed in range(6)) <= 8
    finally:
        ray.shutdown()
        cluster.shutdown()
