"""The search: trials are runs on the validation split, shared by processes, and none is lost or counted twice."""

import os
import signal
import subprocess
import sys
from dataclasses import fields
from importlib import import_module
from pathlib import Path

import pytest

from zslab.cli import main
from zslab.config import RunConfig
from zslab.errors import InputError
from zslab.plan import load_launcher, tree_modules
from zslab.results.result import read_result
from zslab.search.command import read_space
from zslab.sweep.engines import EngineFlags, LocalEngine

from helpers.fake_tree import LosingEngine, starts, wait_for, write_fake_tree
from helpers.project import PROJECT

optuna = pytest.importorskip("optuna", reason="the search needs optuna: pip install -e '.[search]'")

from optuna.distributions import IntDistribution  # noqa: E402
from optuna.pruners import ThresholdPruner  # noqa: E402

from zslab.search.study import Study  # noqa: E402


class Search:
    """`zslab search` on a launcher whose validation T1 is highest at --syn_num 30."""

    def __init__(self, root: Path):
        self.launcher, self.folder = write_fake_tree(root), root / "study"

    def words(self, *words: str, trials: int) -> list[str]:
        own = ["--objective", "T1", "--trials", str(trials), "--study", str(self.folder)]
        return ["search", str(self.launcher), *own, *words]

    def __call__(self, *words: str, trials: int = 8) -> int:
        return main(self.words(*words, trials=trials))

    @property
    def trials(self) -> list:
        storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(self.folder / "study.journal")))
        return optuna.load_study(study_name="search", storage=storage).trials

    @property
    def states(self) -> list[str]:
        return [trial.state.name for trial in self.trials]

    @property
    def finished(self) -> list[Path]:
        return list(self.folder.glob("runs/*/result.json"))


@pytest.fixture
def search(tmp_path, monkeypatch) -> Search:
    monkeypatch.chdir(tmp_path)
    return Search(tmp_path)


def test_the_winner_has_the_highest_validation_figure_and_the_release_is_tried_first(search, capsys) -> None:
    fixed = ("--set", "fate=lives", "select=only_val", "seconds=0", "--set", "nz=None", "finetuned=true")
    assert search(*fixed) == 0
    out = capsys.readouterr().out
    assert search.states == ["COMPLETE"] * 8
    first = search.trials[0]
    assert first.params == {"syn_num": 1} and first.value == pytest.approx(0.71)  # the launcher's own setting
    for trial in search.trials:
        assert trial.value == pytest.approx(1 - abs(trial.params["syn_num"] - 30) / 100)
    best = max(search.trials, key=lambda trial: (trial.value, -trial.number))
    text = (search.folder / "settings.toml").read_text()
    fixed_lines = ["seconds = 0.0", 'fate = "lives"', 'nz = "None"']  # neither select nor the launcher's switch
    assert text.splitlines()[-5:] == ["[flags]", *fixed_lines, f"syn_num = {best.params['syn_num']}"]
    assert f"Best: trial {best.number}, T1 {100 * best.value:.1f} on validation." in out
    assert "--finetuned" in out and "--settings" in out and "--select val" in out
    assert (search.folder / "report.html").read_text().count("<img") == 2
    assert search(*fixed) == 0 and len(search.trials) == 8  # nothing is left to do
    capsys.readouterr()
    assert search("--set", "seconds=0.1") == 1
    assert "fixed" in (error := capsys.readouterr().err) and error.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["local", "ray", "slurm"])
def test_a_killed_search_goes_on_and_counts_nothing_twice(search, capsys, engine) -> None:
    if engine != "local":
        pytest.importorskip({"ray": "ray", "slurm": "submitit"}[engine], reason=f"the extra {engine} is not installed")
    words = ("--workers", "2", "--set", "fate=third waits", "--engine", engine, "--slurm-cluster", "local")
    command = [sys.executable, "-m", "zslab", *search.words(*words, trials=8)]
    driver = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(PROJECT)}, stdout=subprocess.DEVNULL)
    started = search.folder / "runs"
    wait_for(lambda: len(search.finished) >= 2 and len(list(started.glob("*/starts.txt"))) > len(search.finished), 240)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    (started / "go").touch()
    if search(*words) != 0:
        assert "Ray cluster" in capsys.readouterr().err  # slow to start on a busy machine
        assert search(*words) == 0
    complete = [trial for trial in search.trials if trial.state.name == "COMPLETE"]
    lost = [trial for trial in search.trials if trial.state.name == "FAIL"]
    assert len(complete) == 8 and 1 <= len(lost) <= 2 and len(search.trials) == 8 + len(lost)
    for trial in lost:  # its settings were queued again
        assert trial.params in [other.params for other in complete]
    assert max(trial.value for trial in complete) == max(read_result(path).rows[0].T1 for path in search.finished)
    assert all(starts(Path(trial.user_attrs["run"])) <= 2 for trial in complete)


def test_a_lost_worker_is_no_failure_of_its_trial(search) -> None:
    space, engine = {"syn_num": IntDistribution(1, 100)}, LosingEngine()
    study = Study(search.folder, load_launcher(search.launcher), space, {}, "T1")
    assert study.execute(engine, 2) == 0
    assert search.states == ["COMPLETE"] * 2 and engine.submitted == 3


def test_a_hopeless_trial_is_stopped_early(search) -> None:
    launcher, space = load_launcher(search.launcher), {"syn_num": IntDistribution(1, 100)}
    study = Study(search.folder, launcher, space, {"seconds": 5, "fate": "may be pruned"}, "T1")
    study.study.pruner = ThresholdPruner(lower=0.75)  # the launcher's own syn_num has 0.71
    study.study.enqueue_trial({"syn_num": 30})
    assert study.execute(LocalEngine(EngineFlags()), 2) == 0
    pruned, complete = study.trials
    assert pruned.state.name == "PRUNED" and complete.state.name == "COMPLETE" and complete.value == 1
    assert (Path(pruned.user_attrs["run"]) / "saved.txt").exists()


def test_failed_runs_are_failed_trials_which_the_next_call_tries_again(search, capsys) -> None:
    assert search("--set", "fate=fails once", trials=2) == 1
    out, error = capsys.readouterr()
    assert out.count("failed with status 7") == 2 and "No trial is complete." in error
    assert search("--set", "fate=fails once", trials=3) == 0  # the third trial, too, fails at first
    assert capsys.readouterr().out.count("failed with status 7") == 1
    assert search.states == ["FAIL"] * 2 + ["COMPLETE"] * 2 + ["FAIL"]
    assert [trial.params for trial in search.trials[2:4]] == [trial.params for trial in search.trials[:2]]
    assert search("--set", "fate=fails once", trials=3) == 0
    assert search.states[4:] == ["FAIL", "COMPLETE"]
    assert [starts(path.parent) for path in search.finished] == [2, 2, 2]


def test_half_a_line_of_a_killed_process_does_not_spoil_the_study(search) -> None:
    assert search(trials=1) == 0
    with open(search.folder / "study.journal", "ab") as journal:
        journal.write(b'{"op_code":4,"worker_id":"a-')
    assert search(trials=2) == 0
    assert search.states == ["COMPLETE"] * 2


@pytest.mark.parametrize("tree", ["zero-shot-images", "zero-shot-actions"])
def test_every_space_varies_flags_of_its_script(tree: str) -> None:
    with tree_modules(PROJECT / tree):
        spaces = import_module("search_space").SPACES
        modules = {script: vars(import_module(script)) for script in spaces}
    for script, space in spaces.items():
        (config,) = [value for value in modules[script].values() if isinstance(value, RunConfig)]
        assert space and set(space) <= {field.name for field in fields(config)}, script
        assert "feedback_loop" not in space, "it changes how long a trial trains"


@pytest.mark.parametrize("name", ["search_space.py", "none.py"])
def test_a_script_without_a_space_is_refused(tmp_path, name: str) -> None:
    (tmp_path / "search_space.py").write_text("SPACES = {'train': {}}")
    with pytest.raises(InputError, match=f"{name}: .*'other'"):
        read_space(tmp_path / name, "other")
