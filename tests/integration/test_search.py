"""The search: trials are runs on the validation split, shared by processes, and none is lost or counted twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from zslab.errors import InputError
from zslab.results.result import read_result
from zslab.search.space import Choice, Float, Integer, read_space
from zslab.sweep.plan import Launcher

from helpers.fake_tree import LosingEngine, starts, wait_for, write_fake_tree
from helpers.project import PROJECT

optuna = pytest.importorskip("optuna", reason="the search needs optuna: pip install -e '.[search]'")

from zslab.search.study import Study  # noqa: E402, it needs optuna


@pytest.fixture
def search(tmp_path, monkeypatch):
    """`zslab search` on a launcher whose validation T1 is highest at --syn_num 30."""
    monkeypatch.chdir(tmp_path)
    launcher = write_fake_tree(tmp_path)

    def command(*words: str, trials: int = 8) -> list[str]:
        call = [sys.executable, "-m", "zslab", "search", str(launcher), "--objective", "T1", "--trials", str(trials)]
        return [*call, "--study", str(tmp_path / "study"), *words]

    def call(*words: str, trials: int = 8) -> subprocess.CompletedProcess:
        return subprocess.run(command(*words, trials=trials), env=environment(), capture_output=True, text=True, timeout=300)

    call.command, call.folder = command, tmp_path / "study"
    return call


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(PROJECT)}


def trials(folder: Path) -> list:
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(folder / "study.journal")))
    return optuna.load_study(study_name="search", storage=storage).trials


def finished(folder: Path) -> list[float]:
    """Return the validation T1 of every finished run."""
    return [read_result(path).rows[0].T1 for path in folder.glob("runs/*/result.json")]


@pytest.mark.slow
def test_the_winner_has_the_highest_validation_figure_and_the_release_is_tried_first(search) -> None:
    fixed = [
        word for flag in ("fate=lives", "select=only_val", "seconds=0", "nz=None", "finetuned=true") for word in ("--set", flag)
    ]
    done = search(*fixed)
    assert done.returncode == 0, done.stderr
    found = trials(search.folder)
    assert [trial.state.name for trial in found] == ["COMPLETE"] * 8
    assert found[0].params == {"syn_num": 1} and found[0].value == pytest.approx(0.71)  # the launcher's own setting
    for trial in found:
        assert trial.value == pytest.approx(1 - abs(trial.params["syn_num"] - 30) / 100)
    best = max(found, key=lambda trial: (trial.value, -trial.number))
    text = (search.folder / "settings.toml").read_text()
    fixed_lines = ["seconds = 0.0", 'fate = "lives"', 'nz = "None"']  # neither select nor the launcher's switch
    assert text.splitlines()[-5:] == ["[flags]", *fixed_lines, f"syn_num = {best.params['syn_num']}"]
    assert f"Best: trial {best.number}, T1 {100 * best.value:.1f} on validation." in done.stdout
    assert "--finetuned" in done.stdout and "--settings" in done.stdout and "--select val" in done.stdout
    assert "Importance" in (search.folder / "report.html").read_text()
    again = search(*fixed)  # nothing is left to do
    assert again.returncode == 0 and len(trials(search.folder)) == 8
    other = search("--set", "seconds=0.1")
    assert other.returncode == 1 and "holds a search of another fixed" in other.stderr


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["local", "ray", "slurm"])
def test_a_killed_search_goes_on_and_counts_nothing_twice(search, engine) -> None:
    if engine != "local":
        pytest.importorskip({"ray": "ray", "slurm": "submitit"}[engine], reason=f"the extra {engine} is not installed")
    words = ("--workers", "2", "--set", "seconds=0.4", "--engine", engine)
    if engine == "slurm":
        words += ("--slurm-cluster", "local")
    driver = subprocess.Popen(search.command(*words), env=environment(), stdout=subprocess.DEVNULL)
    wait_for(lambda: len(finished(search.folder)) >= 2, 240)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    done = search(*words)
    if "the Ray cluster cannot be reached or started" in done.stderr:  # on a busy machine
        done = search(*words)
    assert done.returncode == 0, done.stderr
    found = trials(search.folder)
    complete = [trial for trial in found if trial.state.name == "COMPLETE"]
    lost = [trial for trial in found if trial.state.name == "FAIL"]
    assert len(complete) == 8 and 1 <= len(lost) <= 2 and len(found) == 8 + len(lost)
    for trial in lost:  # its settings were queued again
        assert trial.params in [other.params for other in complete]
    assert max(trial.value for trial in complete) == max(finished(search.folder))
    folders = {trial.user_attrs["run"] for trial in complete}
    assert all(starts(Path(folder)) <= 2 for folder in folders)


def test_a_lost_worker_is_no_failure_of_its_trial(tmp_path) -> None:
    space, engine = {"syn_num": Integer(1, 100)}, LosingEngine()
    with Launcher(write_fake_tree(tmp_path)) as launcher:
        study = Study(tmp_path / "study", launcher, space, {}, "T1")
        assert study.execute(engine, 2, say=lambda line: None) == 0
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 2 and engine.submitted == 3


def test_a_run_that_fails_is_a_failed_trial_and_the_search_goes_on(search) -> None:
    done = search("--set", "fate=fails", trials=3)
    assert done.returncode == 1 and "No trial is complete." in done.stderr
    assert [trial.state.name for trial in trials(search.folder)] == ["FAIL"] * 3
    assert "failed with status 7" in done.stdout


@pytest.mark.slow
def test_half_a_line_of_a_killed_process_does_not_spoil_the_study(search) -> None:
    assert search(trials=2).returncode == 0
    with open(search.folder / "study.journal", "ab") as journal:
        journal.write(b'{"op_code":4,"worker_id":"a-')
    done = search(trials=4)
    assert done.returncode == 0, done.stderr
    assert [trial.state.name for trial in trials(search.folder)] == ["COMPLETE"] * 4


@pytest.mark.slow
def test_a_run_that_fails_is_tried_again_as_often_as_asked(search) -> None:
    done = search("--set", "fate=fails once", "--retries", "1", trials=2)
    assert done.returncode == 0, done.stderr
    assert [trial.state.name for trial in trials(search.folder)] == ["COMPLETE"] * 2
    assert [starts(path.parent) for path in search.folder.glob("runs/*/result.json")] == [2, 2]


@pytest.mark.slow
def test_the_next_call_tries_failed_runs_again_and_counts_none_twice(search) -> None:
    done = search("--set", "fate=fails once", trials=2)
    assert done.returncode == 1 and done.stdout.count("failed with status 7") == 2
    done = search("--set", "fate=fails once", trials=3)  # the third trial, too, fails at first
    assert done.returncode == 0 and done.stdout.count("failed with status 7") == 1, done.stdout
    assert [trial.state.name for trial in trials(search.folder)] == ["FAIL"] * 2 + ["COMPLETE"] * 2 + ["FAIL"]
    assert [trial.params for trial in trials(search.folder)[2:4]] == [trial.params for trial in trials(search.folder)[:2]]
    assert search("--set", "fate=fails once", trials=3).returncode == 0
    assert [trial.state.name for trial in trials(search.folder)][4:] == ["FAIL", "COMPLETE"]
    assert [starts(path.parent) for path in search.folder.glob("runs/*/result.json")] == [2, 2, 2]


def test_a_folder_that_cannot_be_written_is_one_line(search) -> None:
    search.folder.write_text("a file")
    done = search(trials=1)
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    assert "the folder cannot be made (got " in done.stderr


def test_a_script_without_a_space_is_refused(tmp_path) -> None:
    (tmp_path / "search_space.py").write_text("SPACES = {'train.py': {}}")
    with pytest.raises(InputError, match="there is no search space \\(got train.py, expected SPACES with 'other.py'\\)"):
        read_space(tmp_path / "search_space.py", "other.py")
    with pytest.raises(InputError, match="got no SPACES"):
        read_space(tmp_path / "none.py", "other.py")


@pytest.mark.parametrize("tree", ["zero-shot-images", "zero-shot-actions"])
def test_every_space_varies_flags_of_its_script(tree: str) -> None:
    code = (
        "import dataclasses, json, sys; sys.path.insert(0, sys.argv[1]); import config, search_space\n"
        "print(json.dumps({script: [sorted(space), sorted(f.name for f in dataclasses.fields(config.DEFAULTS[script]))]\n"
        "    for script, space in search_space.SPACES.items()}))"
    )
    said = subprocess.run(
        [sys.executable, "-c", code, str(PROJECT / tree)], env=environment(), capture_output=True, text=True, check=True
    )
    for script, (varied, known) in json.loads(said.stdout).items():
        assert varied and set(varied) <= set(known), script
        assert "feedback_loop" not in varied, "it changes how long a trial trains"


@pytest.mark.parametrize(
    "kind, values", [(Float(0.1, 0.3), (0.1, 0.3)), (Integer(2, 9, log=True), (2, 9)), (Choice(("a", 1, 2.5)), ("a", 1, 2.5))]
)
def test_a_flag_of_a_space_varies_within_its_bounds(kind, values) -> None:
    for value in values:
        assert kind.suggest(optuna.trial.FixedTrial({"flag": value}), "flag") == value
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = [kind.suggest(study.ask(), "flag") for _ in range(50)]
    inside = set(drawn) == set(values) if isinstance(kind, Choice) else all(kind.low <= each <= kind.high for each in drawn)
    assert inside and len(set(drawn)) > 2
