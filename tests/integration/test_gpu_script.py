"""The script that is to run on a GPU runs at toy size on a CPU, and a failing or slow step does not stop it."""

import json
import subprocess
import sys
import zipfile
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "gpu.py"


@pytest.fixture
def gpu(monkeypatch):
    spec = spec_from_file_location("gpu", SCRIPT)
    module = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "gpu", module)
    spec.loader.exec_module(module)
    return module


def test_a_slow_step_is_stopped_and_a_failing_one_is_recorded(gpu) -> None:
    slow = gpu.run(gpu.Step("slow", ["-c", "import time; time.sleep(60)"], 1))
    assert slow["timed_out"] and slow["status"] != 0 and slow["seconds"] < 30
    failing = gpu.run(gpu.Step("failing", ["-c", "print('so far'); raise SystemExit(3)"], 20))
    assert (failing["status"], failing["timed_out"], failing["output"]) == (3, False, "so far\n")


def test_the_plan_names_every_step_once(gpu, tmp_path) -> None:
    names = [step.name for step in gpu.plan("cuda", False, tmp_path, tmp_path)]
    assert names == ["tests", "speed-fp32", "speed-tf32", "speed-bf16", "profile", "dazle", "splits", "cub"]


def test_nothing_starts_when_the_time_is_over(gpu, tmp_path, monkeypatch, capsys) -> None:
    output = tmp_path / "out.json"
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--device", "cpu", "--seconds", "0", "--output", str(output)])
    gpu.main()
    assert json.loads(output.read_text())["steps"] == {} and "tests: no time left" in capsys.readouterr().out


def test_epochs_with_and_without_evaluation_are_timed_apart(gpu) -> None:
    seconds = [9.0, 1.0, 4.0, 1.5, 5.0, 2.0]  # the first epoch captures graphs
    records = [{"seconds": s} | ({"zsl": {}} if i in (2, 4) else {}) for i, s in enumerate(seconds)]
    assert gpu.epoch_seconds(records) == {"training": 1.5, "training and evaluation": 4.5}
    assert gpu.epoch_seconds(records[:1]) == {"training": 9.0, "training and evaluation": None}


def test_wheels_are_installed_beside_the_packages_of_the_machine(gpu, tmp_path, monkeypatch) -> None:
    wheel, info = tmp_path / "carried-1.0-py3-none-any.whl", "carried-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr("carried.py", "NUMBER = 42\n")
        file.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: carried\nVersion: 1.0\n")
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{info}/RECORD", "")
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "of_the_user.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "own"))
    site = gpu.install(tmp_path, tmp_path / "site")
    # Through a script that starts another one, as most steps do.
    started = f"import sys; sys.path.insert(0, {str(SCRIPT.parent)!r}); from speed import environment; import subprocess; " + (
        "subprocess.run([sys.executable, '-c', 'import carried, of_the_user, zslab; print(carried.NUMBER)'], env=environment())"
    )
    for code in ("import carried, of_the_user, zslab; print(carried.NUMBER)", started):
        step = gpu.run(gpu.Step("import", ["-c", code], 60), site)
        assert (step["status"], step["output"]) == (0, "42\n")


@pytest.mark.slow
def test_it_runs_at_toy_size(tmp_path) -> None:
    output = tmp_path / "out.json"
    command = [sys.executable, SCRIPT, "--toy", "--device", "cpu", "--output", output, "--steps", "tests", "dazle"]
    assert subprocess.run(command, capture_output=True, timeout=300).returncode == 0
    report = json.loads(output.read_text())
    assert {name: step["status"] for name, step in report["steps"].items()} == {"tests": 0, "dazle": 0}
    assert report["environment"]["commit"] and report["steps"]["dazle"]["metrics"]
