"""Methods from outside and from the trees: the checks of `zslab.testing`, whole runs, sweeps, tables, and what export says."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from zslab import cli
from zslab.config import RunConfig, config_digest
from zslab.errors import InputError
from zslab.launch import method_launcher
from zslab.method import RUN, Method, load_method
from zslab.plan import load_launcher
from zslab.results.finished import read_run
from zslab.results.runs import read_runs
from zslab.sweep.plan import Grid
from zslab.testing import check_method

from helpers.configs import actions, dazle, tfvaegan
from helpers.dazle_trainer import write_regions
from helpers.project import PROJECT, tree_modules
from helpers.tiny import write_tiny

EXAMPLES = PROJECT / "examples"
SMALL = {
    "ale": {"batch_size": 10},
    "clswgan": {"batch_size": 10, "ngh": 8, "ndh": 8, "critic_iter": 2, "syn_num": 5, "classifier_epochs": 3},
}
NETWORKS = SMALL["clswgan"] | {"fit_batch_size": True}


def example(name: str) -> Method:
    return load_method(f"{EXAMPLES / name}.py:METHOD")


@dataclass(frozen=True, kw_only=True)
class OwnConfig(RunConfig):
    variant = "own"
    margin: float  # a type here, and text in modules with postponed annotations


def test_10_and_10_0_are_one_config_whatever_the_module_does_with_annotations() -> None:
    configs = [OwnConfig(**RUN, margin=value) for value in (10, 10.0)]
    assert [type(config.margin) for config in configs] == [float, float]
    assert config_digest(configs[0]) == config_digest(configs[1])


@pytest.mark.parametrize("name", SMALL)
def test_the_examples_pass_the_checks(name: str) -> None:
    method = example(name)
    check_method(replace(method, config=replace(method.config, **SMALL[name])))


@pytest.mark.parametrize("transductive", [False, True])
def test_tfvaegan_passes_the_checks(images: SimpleNamespace, transductive: bool) -> None:
    config = tfvaegan(**NETWORKS, lr=1e-3, transductive=transductive)
    check_method(replace(images.train_tfvaegan_inductive.METHOD, config=config), uses_unlabeled=transductive)


def test_tfvaegan_with_a_gate_passes_the_checks(tmp_path: Path) -> None:
    write_tiny(tmp_path)
    with tree_modules("zero-shot-actions") as load:
        method = load("train_tfvaegan").METHOD
        flags = dict(dataset="TINY", image_embedding="res101", class_embedding="att", dataroot=tmp_path, output=tmp_path)
        check_method(method, actions(**NETWORKS, **flags, ood_epochs=2, ood_hidden=8))


def test_dazle_passes_the_checks(images: SimpleNamespace, tmp_path: Path) -> None:
    write_regions(tmp_path)
    flags = dict(dataset="TINY", image_embedding="regions", dataroot=tmp_path, output=tmp_path, batch_size=10)
    check_method(images.train_dazle.METHOD, dazle(**flags, lr=1e-3))


class Broken:
    """The trainer of ALE with one fault."""

    def __init__(self, fault: str, *arguments: object):
        self.trainer = example("ale").build_trainer(*arguments)
        self.fault, self.fresh = fault, True
        if fault == "reads test labels":
            with torch.no_grad():
                self.trainer.networks.bias += self.trainer.data.test_unseen.labels.float().mean()

    def __getattr__(self, name: str) -> object:
        return getattr(self.trainer, name)

    def train_epoch(self, keep_going):
        if self.fault == "unseeded":
            with torch.no_grad():
                self.trainer.networks.bias += torch.rand(())
        return self.trainer.train_epoch(keep_going)

    def load_state_dict(self, state: dict) -> None:
        if self.fault == "forgets its random numbers":
            state = state | {"generator": self.trainer.generator.get_state(), "missing": state["generator"]}
        self.trainer.load_state_dict(state)

    def evaluate(self, *arguments, **named):
        if self.fault == "evaluation trains":
            self.trainer.iterate()
        evaluation = self.trainer.evaluate(*arguments, **named)
        if self.fault == "no snapshots":
            evaluation.snapshots.clear()
        return evaluation


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("unseeded", "random numbers changes the weights .*bias"),
        ("forgets its random numbers", "stopping after"),
        ("evaluation trains", "evaluating changes the weights|other measures"),
        ("no snapshots", "snapshots are of other head epochs"),
        ("reads test labels", "leaving out test samples"),
    ],
)
def test_the_checks_find_faults(fault: str, message: str) -> None:
    method = example("ale")
    broken = replace(method, config=replace(method.config, **SMALL["ale"]), build_trainer=lambda *given: Broken(fault, *given))
    with pytest.raises(AssertionError, match=message):
        check_method(broken)


@pytest.fixture
def run_flags(tmp_path: Path) -> list[str]:
    write_tiny(tmp_path)
    words = "--dataset TINY --image_embedding res101 --nepoch 2 --no_report --device cpu"
    return [*words.split(), "--dataroot", str(tmp_path), "--output", str(tmp_path / "runs")]


@pytest.fixture(autouse=True)
def no_traces() -> Iterator[None]:
    """Modules of the examples are forgotten."""
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(EXAMPLES)):
            del sys.modules[name]


@pytest.mark.parametrize("name", SMALL)
def test_a_method_from_outside_trains_and_is_tabled_and_export_says_what_is_missing(name, run_flags, tmp_path, capsys) -> None:
    own = [word for flag, value in SMALL[name].items() for word in (f"--{flag}", str(value))]
    assert cli.main(["train", "--method", f"{EXAMPLES / name}.py:METHOD", *run_flags, *own, "--select", "val"]) == 0
    assert "zslab export" not in capsys.readouterr().out
    (record,) = read_runs([tmp_path / "runs"])
    variant = {"ale": "ALE", "clswgan": "f-CLSWGAN"}[name]
    assert record.variant == variant and {"val", "last", "paper"} <= {row.rule for row in record.rows if not row.baseline}
    run = read_run(record.path)
    assert run.result.method == name and run.result.config["batch_size"] == 10
    heads = {"ale": 1, "clswgan": 3}[name]
    assert run.result.row("last").H_at.head_epochs == heads and 0 < run.result.row("last").T1 <= 1
    assert cli.main(["table", str(tmp_path / "runs"), "--rules", "last"]) == 0
    assert f"| {variant}" in capsys.readouterr().out
    output = ["--output", str(tmp_path / "x.zsl")]
    assert cli.main(["export", str(record.path), *output, "--method", f"{EXAMPLES / name}.py:METHOD"]) == 1
    assert f"got {name}, without it" in capsys.readouterr().err


def test_launchers_of_the_examples_can_be_swept(tmp_path: Path) -> None:
    launcher = EXAMPLES / "run_ale.py"
    runs = Grid(launchers=(str(launcher),), seeds=(1, 2), grid={"margin": [0.1, 0.2]}).runs()
    assert len(runs) == 4 and len({run.folder for run in runs}) == 4
    method = load_launcher(launcher).method()
    assert method.name == "ale" and issubclass(type(method.config), RunConfig)


def test_the_command_of_a_methods_run_names_the_method() -> None:
    name = f"{EXAMPLES / 'ale.py'}:METHOD"
    _, runs = method_launcher(name).parse(["--seeds", "3", "4", "--margin", "0.5"])
    assert [run.config.manualSeed for run in runs] == [3, 4]
    assert runs[1].command[1:] == ["-m", "zslab", "train", "--method", name, "--manualSeed", "4", "--margin", "0.5"]


def test_a_package_offers_a_method_by_an_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "offered.py").write_text((EXAMPLES / "ale.py").read_text())
    info = tmp_path / "offered-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: offered\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[zslab.methods]\nale = offered:METHOD\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert load_method("ale").build_trainer.__module__ == "offered"
    with pytest.raises(InputError, match="got elsewhere.*ale"):
        load_method("elsewhere")
    with pytest.raises(InputError, match="AleConfig, a type"):
        load_method(f"{EXAMPLES / 'ale.py'}:AleConfig")
