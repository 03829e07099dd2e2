"""The script that is to run on a GPU runs at toy size on a CPU, and a failing or slow step does not stop it."""

from __future__ import annotations

import json
import subprocess
import sys
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
    assert names == ["tests", "speed-fp32", "speed-tf32", "speed-bf16", "cub", "dazle", "splits"]
    assert sum(step.limit for step in gpu.plan("cuda", False, tmp_path, tmp_path)) <= 600


@pytest.mark.slow
def test_it_runs_at_toy_size(tmp_path) -> None:
    output = tmp_path / "out.json"
    command = [sys.executable, SCRIPT, "--toy", "--device", "cpu", "--output", output, "--steps", "tests", "dazle"]
    assert subprocess.run(command, capture_output=True, timeout=300).returncode == 0
    report = json.loads(output.read_text())
    assert {name: step["status"] for name, step in report["steps"].items()} == {"tests": 0, "dazle": 0}
    assert report["environment"]["commit"] and report["steps"]["dazle"]["metrics"]
