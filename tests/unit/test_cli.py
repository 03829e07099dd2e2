"""The command `zslab` and the names that the package itself offers."""

import subprocess
import sys
from pathlib import Path

import pytest

import zslab
from zslab import cli
from zslab.toy import dataset

from helpers.project import PROJECT


def test_importing_the_package_leaves_torch_out() -> None:
    code = "import sys, zslab, zslab.cli; print('torch' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    assert shown.split() == ["False"] and zslab.Predictor.__module__ == "zslab.app.predictor"


def test_python_runs_the_package_as_the_command() -> None:
    command = [sys.executable, "-m", "zslab", "--version"]
    assert subprocess.run(command, cwd=PROJECT, capture_output=True, text=True).stdout == f"zslab {zslab.__version__}\n"


@pytest.mark.slow
def test_python_refuses_to_run_a_module_of_the_package() -> None:
    ended = subprocess.run([sys.executable, "-m", "zslab.app.export"], cwd=PROJECT, capture_output=True, text=True)
    assert ended.returncode == 1 and "zslab COMMAND" in ended.stderr
    named = [sys.executable, "-m", "zslab", "predict", "--model", "zslab.zsl", "--help"]  # no module
    assert subprocess.run(named, cwd=PROJECT, capture_output=True).returncode == 0


def test_names_that_do_not_exist_are_refused_as_python_does() -> None:
    with pytest.raises(AttributeError, match="module 'zslab' has no attribute 'Predicter'"):
        _ = zslab.Predicter


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_each_command_has_help_under_its_own_name(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main([command, "--help"])
    assert stop.value.code == 0
    assert f"usage: zslab {command} " in capsys.readouterr().out


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if line.startswith("  ") and line.split()[0] in cli.COMMANDS] == [*cli.COMMANDS]


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"zslab {zslab.__version__}\n"


@pytest.mark.parametrize("arguments", [[], ["exprot"]])
def test_unknown_commands_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 2 and "COMMAND" in capsys.readouterr().err


def test_a_command_returns_its_exit_status(monkeypatch: pytest.MonkeyPatch) -> None:
    received = []

    def toy(config: dataset.ToyConfig) -> int:
        received.append(config)
        return 3

    monkeypatch.setattr(dataset, "toy", toy)
    assert cli.main(["toy", "DIR", "--seed", "4"]) == 3
    assert received == [dataset.ToyConfig(Path("DIR"), seed=4)]
