"""Sweeps over real processes: nothing runs twice, what is left is continued, whoever is killed."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from zslab.errors import InputError
from zslab.sweep.__main__ import main
from zslab.sweep.driver import execute, in_use, output_file
from zslab.sweep.engines import LocalEngine, Resources, run_command
from zslab.sweep.plan import Grid, PlannedRun, as_arguments, plan_runs, read_grid

from helpers.fake_tree import LosingEngine, starts, wait_for, write_fake_tree
from helpers.project import PROJECT


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    """A launcher in the working directory, and `zslab sweep` on it with an output folder."""
    monkeypatch.chdir(tmp_path)
    launcher = write_fake_tree(tmp_path)

    def call(*words: str) -> int:
        return main([str(launcher), "--set", f"output={tmp_path / 'out'}", *words])

    call.launcher, call.out = launcher, tmp_path / "out"
    return call


def test_splits_that_are_no_numbers_are_refused_in_one_line(sweep, capsys) -> None:
    assert sweep("--splits", "3-1") == 1
    assert capsys.readouterr().err.startswith(
        "error: --splits: the value is not a list of numbers (got '3-1', expected numbers"
    )


def test_a_grid_is_the_product_of_launchers_variants_and_flags(tmp_path) -> None:
    (tmp_path / "run_a.py").touch()
    (tmp_path / "sweep.toml").write_text(
        'launchers = ["run_a.py"]\nseeds = [1, 2]\nsplits = "1-2,4"\npartitions = 3\nswitches = ["finetuned"]\n'
        "[flags]\nnepoch = 3\ngzsl = false\n"
        '[grid]\nlr = [0.1, 0.2]\nsyn_num = [10, 300]\n[variants.full]\n[variants."no feedback"]\nfeedback_loop = 1\n'
    )
    calls = read_grid(tmp_path / "sweep.toml").calls()
    assert len(calls) == 8 and len({name for name, _ in calls}) == 8
    name, call = calls[-1]
    assert name == "run_a, no feedback, lr 0.2, syn_num 300"
    assert call == [
        str(tmp_path / "run_a.py"), "--finetuned", "--seeds", "1", "2", "--splits", "1,2,4", "--partitions", "3",
        "--nepoch", "3", "--no_gzsl", "--lr", "0.2", "--syn_num", "300", "--feedback_loop", "1",
    ]  # fmt: skip
    assert as_arguments({"a": None, "b": True, "c": 0.1}) == ["--b", "--c", "0.1"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seeds = [", "cannot be read as TOML"),
        ("seed = [1]", "has an unknown key \\(got seed"),
        ("seeds = 3", "value of the wrong kind"),
        ("partitions = [1, 2]", "value of the wrong kind"),
        ("[grid]\nlr = '12'", "lists"),
        ("launchers = ['none.py']", "launcher does not exist"),
        (f"launchers = ['{'x' * 300}.py']", "launcher does not exist"),
    ],
)
def test_wrong_sweep_files_are_refused(tmp_path, text, message) -> None:
    (tmp_path / "sweep.toml").write_text(text)
    with pytest.raises(InputError, match=message):
        read_grid(tmp_path / "sweep.toml")


def test_what_has_finished_is_not_repeated_and_not_even_planned_again(sweep, capsys) -> None:
    words = ("--seeds", "1", "2", "--grid", "syn_num=10,300", "--workers", "2")
    assert sweep(*words, "--dry-run") == 0
    assert capsys.readouterr().out.count("new ") == 4 and not sweep.out.exists()
    assert sweep(*words) == 0
    folders = sorted(path for path in sweep.out.iterdir() if path.name.startswith("run"))
    assert [folder.name for folder in folders] == ["run-10-1", "run-10-2", "run-300-1", "run-300-2"]
    assert "4 of 4 runs have finished" in capsys.readouterr().out
    planned = (sweep.launcher.parent / "plans.txt").read_text()
    assert sweep(*words) == 0
    assert "All 4 runs have finished." in capsys.readouterr().out
    assert planned == (sweep.launcher.parent / "plans.txt").read_text() == "planned\n" * 2
    assert [starts(folder) for folder in folders] == [1, 1, 1, 1]
    (folders[0] / "report.html").unlink()  # the run was killed before its report
    assert sweep(*words) == 0
    assert [starts(folder) for folder in folders] == [2, 1, 1, 1]
    assert "3 of 4 runs have finished before" in capsys.readouterr().out


def test_a_plan_is_made_again_when_the_tree_changes_or_the_kept_one_is_damaged(sweep) -> None:
    grid = Grid((sweep.launcher,), flags={"output": str(sweep.out)})
    for _ in range(2):
        assert [run.folder.name for run in plan_runs(grid, sweep.out / "plans")] == ["run-1-0"]
    assert (sweep.launcher.parent / "plans.txt").read_text() == "planned\n"
    with open(sweep.launcher.parents[1] / "train.py", "a") as file:
        file.write("# a new default\n")
    plan_runs(grid, sweep.out / "plans")
    assert (sweep.launcher.parent / "plans.txt").read_text() == "planned\n" * 2
    for damaged in ("", "7", "[7]", '[{"name": "x"}]'):
        for file in (sweep.out / "plans").glob("*.json"):
            file.write_text(damaged)
        assert [run.folder.name for run in plan_runs(grid, sweep.out / "plans")] == ["run-1-0"], damaged


def test_failed_runs_are_tried_again_named_and_the_others_go_on(sweep, capfd) -> None:
    assert sweep("--grid", "fate=fails once", "--retries", "1") == 0
    assert starts(sweep.out / "run-1-0") == 2
    out, err = capfd.readouterr()
    assert "failed with status 7 and is tried again" in out and "the reason" in err
    assert sweep("--grid", "fate=fails", "--seeds", "5", "6", "--retries", "1") == 7
    out, err = capfd.readouterr()
    assert [starts(sweep.out / f"run-1-{seed}") for seed in (5, 6)] == [2, 2]
    assert "failed with status 7: run_fake, fate fails, seed 5" in err


def test_a_launcher_that_refuses_its_flags_stops_the_sweep_before_any_run(sweep, capsys) -> None:
    assert sweep("--set", "unknown=1") == 1
    assert "run_fake: the launcher refuses its flags (got run_fake.py: error: unrecognized" in capsys.readouterr().err
    assert not sweep.out.exists()


def start_driver(sweep, *words: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "zslab.sweep", str(sweep.launcher), "--set", f"output={sweep.out}", *words]
    return subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(PROJECT)}, stdout=subprocess.PIPE, text=True)


def test_runs_that_shall_be_overwritten_are_repeated(sweep) -> None:
    words = ("--seeds", "1", "2")
    assert [sweep(*words), sweep(*words), sweep(*words, "--set", "overwrite=true")] == [0, 0, 0]
    assert [starts(sweep.out / f"run-1-{seed}") for seed in (1, 2)] == [2, 2]


@pytest.mark.slow
@pytest.mark.parametrize("in_background", [False, True])
def test_ctrl_c_or_a_termination_saves_all_runs_and_the_same_command_goes_on(sweep, in_background: bool) -> None:
    words = ("--seeds", "1", "2", "3", "--workers", "2", "--set", "seconds=60")
    earlier = signal.signal(signal.SIGINT, signal.SIG_IGN) if in_background else None  # as `nohup zslab sweep ... &` does
    try:
        driver = start_driver(sweep, *words)
    finally:
        if earlier:
            signal.signal(signal.SIGINT, earlier)
    running = [sweep.out / f"run-1-{seed}" for seed in (1, 2)]
    wait_for(lambda: all((folder / "metrics.jsonl").exists() for folder in running))
    driver.send_signal(signal.SIGTERM if in_background else signal.SIGINT)
    assert driver.wait(60) == 130
    assert all((folder / "saved.txt").exists() for folder in running)
    assert starts(sweep.out / "run-1-3") == 0


@pytest.mark.slow
def test_a_killed_driver_leaves_runs_that_its_successor_waits_for(sweep) -> None:
    words = ("--seeds", "1", "2", "--set", "seconds=3")
    driver = start_driver(sweep, *words)
    first = sweep.out / "run-1-1"
    wait_for(lambda: (first / "metrics.jsonl").exists())
    driver.kill()
    driver.wait(60)
    assert in_use(PlannedRun("", (), first)) and not (first / "result.json").exists()
    assert sweep(*words) == 0
    assert [starts(sweep.out / f"run-1-{seed}") for seed in (1, 2)] == [1, 1]


@pytest.mark.slow
def test_a_killed_run_is_started_again_only_as_retries_allow(sweep) -> None:
    driver = start_driver(sweep, "--set", "seconds=2", "--retries", "1")
    folder = sweep.out / "run-1-0"
    wait_for(lambda: (folder / "metrics.jsonl").exists())
    os.kill(int((folder / "starts.txt").read_text()), signal.SIGKILL)
    assert driver.wait(60) == 0 and starts(folder) == 2


def test_workers_share_cores_and_gpus(tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    engine = LocalEngine(9, Resources(gpus=0.5))
    assert engine.slots == 4
    show = "import os; print(os.environ['OMP_NUM_THREADS'], os.environ['CUDA_VISIBLE_DEVICES'])"
    jobs = [engine.submit([sys.executable, "-c", show], tmp_path / f"{i}.txt") for i in range(4)]
    for job in jobs:
        wait_for(lambda job=job: job.poll() == 0)
    assert [(tmp_path / f"{i}.txt").read_text() for i in range(4)] == ["2 4\n", "2 4\n", "2 7\n", "2 7\n"]
    with pytest.raises(InputError, match="too few GPUs for one run \\(got 3.0, expected at most 2\\)"):
        LocalEngine(1, Resources(gpus=3.0))


@pytest.mark.parametrize("words", [("none.py",), ("none.toml",)])
def test_a_launcher_that_does_not_exist_is_one_line(sweep, capsys, words) -> None:
    assert main(list(words)) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: none.") and error.count("\n") == 1


def test_a_full_disk_stops_the_sweep_with_one_message_and_loses_nothing(sweep, tmp_path, monkeypatch, capsys) -> None:
    words = ("--seeds", "1", "2", "3", "--workers", "2", "--set", "seconds=60")
    first, opened = sweep.out / "run-1-1", Path.open

    def full(path: Path, *mode: str, **options):
        if path.name == "run-1-2.txt":
            wait_for(lambda: (first / "metrics.jsonl").exists())
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return opened(path, *mode, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", full)
        assert sweep(*words) == 1
    error = capsys.readouterr().err
    assert "run-1-2.txt: the file cannot be written (got No space left" in error and error.count("\n") == 1
    assert (first / "saved.txt").exists() and not (first / "result.json").exists()
    assert sweep("--seeds", "1", "2", "3", "--workers", "2") == 0
    assert [starts(sweep.out / f"run-1-{seed}") for seed in (1, 2, 3)] == [2, 1, 1]


def test_an_engine_that_cannot_start_a_run_keeps_its_slots(tmp_path) -> None:
    (tmp_path / "sweep-output").write_text("a file where a folder is needed")
    engine, output = LocalEngine(1), tmp_path / "sweep-output" / "run.txt"
    for _ in range(2):
        with pytest.raises(InputError, match="run.txt: the file cannot be written \\(got File exists"):
            engine.submit([sys.executable, "-c", "pass"], output)
    job = engine.submit([sys.executable, "-c", "pass"], tmp_path / "run.txt")
    wait_for(lambda: job.poll() == 0)
    assert run_command([sys.executable, "-c", "pass"], str(output)) == 1
    with pytest.raises(InputError, match="the run cannot be started"):
        engine.submit([str(tmp_path / "no-python")], tmp_path / "run.txt")


class FakeRay:
    """The module ray on a machine of two cores, or without the cluster that is asked for."""

    def init(self, address, **options) -> None:
        if address:
            raise ConnectionError("Could not find any running Ray instance.\nMore advice.")

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 2.0}

    def shutdown(self) -> None:
        pass


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("ray", "--address", "auto"),
            "--engine ray: the Ray cluster cannot be reached or started (got Could not find any running Ray",
        ),
        (
            ("ray", "--cpus-per-run", "3"),
            "--cpus-per-run: the machine has too few CPUs for one run (got 3, expected at most 2)",
        ),
        (
            ("ray", "--gpus-per-run", "0.5"),
            "--gpus-per-run: the machine has too few GPUs for one run (got 0.5, expected at most 0)",
        ),
        (("slurm",), "--engine slurm: this machine belongs to no Slurm cluster (got "),
    ],
)
def test_an_engine_that_is_not_there_is_one_line(sweep, capsys, monkeypatch, words, message) -> None:
    if words[0] == "ray":
        monkeypatch.setattr("zslab.sweep.engines._import", lambda module, extra: FakeRay())
    else:
        pytest.importorskip("submitit", reason="the extra slurm is not installed")
        monkeypatch.setenv("PATH", "")
    assert sweep("--engine", *words) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {message}") and error.count("\n") == 1


def test_a_lost_worker_is_no_attempt_of_the_run(sweep, tmp_path) -> None:
    (run,) = plan_runs(Grid((sweep.launcher,), flags={"output": str(sweep.out)}), sweep.out / "plans")
    engine, said = LosingEngine(), []
    outcome = execute([run, run], engine, say=said.append)
    assert outcome.done == [run] and engine.submitted == 2 and outcome.status == 0
    assert "lost its worker" in said[0] and "started 1" in output_file(run).read_text()


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
    assert execute([refuse], LocalEngine(1), say=lambda line: None).failed == {refuse: 1}
    agree = PlannedRun("a", (sys.executable, "-c", "pass"), folder, data)
    assert execute([agree], LocalEngine(1), say=lambda line: None).done == [agree]


@pytest.mark.slow
def test_submitits_local_executor_runs_a_sweep_and_reports_an_interrupted_job(sweep, tmp_path) -> None:
    pytest.importorskip("submitit", reason="the extra slurm is not installed")
    words = ("--seeds", "1", "2", "--set", "seconds=1", "--engine", "slurm", "--slurm-cluster", "local", "--workers", "2")
    assert sweep(*words, "--slurm-folder", str(tmp_path / "slurm")) == 0
    assert [starts(sweep.out / f"run-1-{seed}") for seed in (1, 2)] == [1, 1]


@pytest.mark.slow
def test_a_ray_cluster_that_loses_a_node_finishes_the_sweep(sweep, tmp_path) -> None:
    pytest.importorskip("ray", reason="the extra ray is not installed")
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    try:
        driver = start_driver(
            sweep, "--seeds", *map(str, range(6)), "--set", "seconds=2", "--engine", "ray", "--address", cluster.address,
            "--workers", "6",
        )  # fmt: skip
        folders = [sweep.out / f"run-1-{seed}" for seed in range(6)]
        wait_for(lambda: sum(starts(folder) for folder in folders) >= 3, 120)
        cluster.remove_node(nodes[0])
        assert driver.wait(180) == 0
        assert all((folder / "result.json").exists() for folder in folders)
        # A run whose node was lost goes on alone, and the driver waits for it, or it is started once more.
        assert 6 <= sum(starts(folder) for folder in folders) <= 8
    finally:
        ray.shutdown()
        cluster.shutdown()
