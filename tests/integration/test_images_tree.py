"""The image tree as a user meets it: launchers' flags against the published settings, runs from config to report."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from zslab.baselines.comparison import choose, run_baselines
from zslab.baselines.eszsl import Eszsl
from zslab.config import ImageConfig, config_digest, override
from zslab.data.dataset import Dataset
from zslab.datasets import source_from_json
from zslab.errors import InputError
from zslab.launch import launch
from zslab.metrics import generalized_accuracies
from zslab.plan import load_launcher, run_folder
from zslab.results.record import read_records
from zslab.results.result import Choice, read_result
from zslab.results.runs import read_runs
from zslab.results.statistics import compare
from zslab.results.table import build_variants

from helpers.commands import train
from helpers.configs import actions, dazle, read_dataset, tfvaegan
from helpers.project import PROJECT
from helpers.results import read_rows
from helpers.tiny import BASELINE_ROWS, tiny_arrays, write_tiny

SCRIPTS = PROJECT / "zero-shot-images" / "image-scripts"
TINY_FLAGS = dict(  # fmt: skip
    ngh=8, ndh=8, nepoch=2, batch_size=10, critic_iter=2, syn_num=5, classifier_epochs=3, device="cpu", dataset="TINY"
)

# The settings of the release, spec by spec: what every variant has, what frozen inductive features have, what differs.
# fmt: off
COMMON = dict(
    ngh=4096, ndh=4096, lambda1=10, critic_iter=5, batch_size=64, feedback_loop=2, gzsl=True, preprocessing=True,
    standardization=False, beta1=0.5, classifier_epochs=25, nz=None, unseen_prior="uniform", stale_feedback=False,
)
PUBLISHED = dict(
    cub=dict(
        dataset="CUB", nepoch=300, manualSeed=3483, gammaD=10, gammaG=10, lr=1e-4, feed_lr=1e-5, dec_lr=1e-4,
        recons_weight=0.01, a1=1, a2=1, syn_num=300, classifier_lr=1e-3, encoded_noise=True, freeze_dec=False,
    ),
    awa=dict(
        dataset="AWA2", nepoch=120, manualSeed=9182, gammaD=10, gammaG=10, lr=1e-5, feed_lr=1e-4, dec_lr=1e-4,
        recons_weight=0.1, a1=0.01, a2=0.01, syn_num=1800, classifier_lr=1e-3, encoded_noise=True, freeze_dec=True,
    ),
    flo=dict(
        dataset="FLO", nepoch=500, manualSeed=806, gammaD=10, gammaG=10, lr=1e-4, feed_lr=1e-5, dec_lr=1e-4,
        recons_weight=0.01, a1=0.5, a2=0.5, syn_num=1200, classifier_lr=1e-3, encoded_noise=False, freeze_dec=False,
        stale_feedback=True,
    ),
    sun=dict(
        dataset="SUN", nepoch=400, manualSeed=4115, gammaD=1, gammaG=1, lr=1e-3, feed_lr=1e-4, dec_lr=1e-4,
        recons_weight=0.01, a1=0.1, a2=0.01, syn_num=400, classifier_lr=5e-4, encoded_noise=True, freeze_dec=False,
    ),
)
FINETUNED = dict(
    cub=dict(recons_weight=0.1, feed_lr=1e-4),
    awa=dict(
        nepoch=800, gammaD=1, gammaG=1, lr=1e-4, feed_lr=1e-5, dec_lr=1e-5, recons_weight=1, a1=0.1, a2=0.1, freeze_dec=True,
    ),
    flo={},
    sun=dict(nepoch=400, gammaD=1, gammaG=1, lr=1e-4, feed_lr=1e-5, dec_lr=1e-5, recons_weight=1, encoded_noise=False),
)
INDUCTIVE_FINETUNED = FINETUNED | dict(sun=FINETUNED["sun"] | dict(stale_feedback=True))
TRANSDUCTIVE = dict(
    cub=dict(gammaD2=10, gammaG_D2=10, nepoch=500),
    awa=dict(gammaD2=10, gammaG_D2=10, nepoch=800),
    flo=dict(gammaD2=10, gammaG_D2=10, nepoch=500, encoded_noise=True, stale_feedback=False),
    sun=dict(gammaD2=1, gammaG_D2=1, nepoch=800, dec_lr=1e-4),
)
TRANSDUCTIVE_FINETUNED = dict(
    cub=dict(nepoch=300, recons_weight=0.1, feed_lr=1e-4, gammaD=10, gammaG=10, gammaD2=10, gammaG_D2=10),
    awa=FINETUNED["awa"] | dict(gammaD2=1, gammaG_D2=1),
    flo=TRANSDUCTIVE["flo"],
    sun=FINETUNED["sun"] | dict(gammaD2=1, gammaG_D2=1),
)
# fmt: on


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("words", [(), ("finetuned",), ("transductive",), ("transductive", "finetuned")])
def test_launchers_pass_the_published_settings(name: str, words: tuple[str, ...]) -> None:
    launcher = load_launcher(SCRIPTS / f"run_{name}_tfvaegan.py")
    assert launcher.script == "train_tfvaegan_inductive"
    config = launcher.config(words)
    changes = {
        (): {},
        ("finetuned",): INDUCTIVE_FINETUNED,
        ("transductive",): TRANSDUCTIVE,
        ("transductive", "finetuned"): TRANSDUCTIVE_FINETUNED,
    }[words]
    expected = COMMON | PUBLISHED[name] | changes.get(name, {}) | {"transductive": "transductive" in words}
    assert {key: getattr(config, key) for key in expected} == expected
    assert config.image_embedding == ("res101_finetuned" if "finetuned" in words else "res101")


def test_heads_take_their_settings_from_the_flags(images) -> None:
    config = tfvaegan(syn_num=15, classifier_lr=0.5, classifier_epochs=18)
    heads = images.classifier.build_heads(config)
    assert all((head.lr, head.epochs, head.batch_size) == (0.5, 18, 15) for head in heads)
    assert images.classifier.build_heads(replace(config, gzsl=False))[1] is None


@pytest.mark.parametrize("config", [tfvaegan(), actions(), dazle()], ids=lambda config: type(config).__name__)
def test_every_flag_has_a_help_and_only_places_and_procedures_leave_the_digest(config) -> None:
    text = (PROJECT / "zslab" / "config.py").read_text()
    changed = dict.fromkeys(("dataroot", "output"), Path("x")) | dict.fromkeys(("resume", "overwrite"), True)
    changed |= {"checkpoint_every": 7, "threads": 7, "report": False}
    for field in fields(config):
        assert re.search(rf"\n    {field.name}: .*  #: \S|  #: .*\n    {field.name}: ", text), field.name
        assert (field.name not in changed) == field.metadata.get("affects_result", True)
    assert config_digest(replace(config, **changed)) == config_digest(config)
    assert config_digest(replace(config, lr=0.5)) != config_digest(config)
    assert config_digest(replace(config, lr=1)) == config_digest(replace(config, lr=1.0))


def test_flags_from_files_are_converted_or_refused() -> None:
    config = override(tfvaegan(), {"nepoch": "3", "lr": 1, "gzsl": "False", "nz": None, "dataroot": "data"}, "s.toml")
    assert (config.nepoch, config.lr, config.gzsl, config.nz, config.dataroot) == (3, 1.0, False, None, Path("data"))
    for wrong in ({"learning_rate": 1}, {"nepoch": 1.5}, {"select": "test"}, {"gzsl": "perhaps"}):
        with pytest.raises(InputError, match=f"s.toml: .*{next(iter(wrong))}|s.toml: .*learning_rate"):
            override(tfvaegan(), wrong, "s.toml")


def test_networks_can_be_imported_from_the_tree(images) -> None:
    for name in ("Encoder", "Generator", "Critic", "Feedback", "SemanticDecoder", "build_networks"):
        assert hasattr(images.model, name)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"recons_weight": 0.0}, r"--recons_weight: .*--no_transform"),
        ({"ngh": 0}, r"--ngh: .*\(got 0"),
        ({"nepoch": 0}, "--nepoch: .*got 0"),
        ({"dataset": "CUB"}, "CUB: "),
        ({"batch_size": 1000}, "--batch_size: .*1000"),
        ({"device": "cuda:7"}, "--device.*cuda:7"),
    ],
)
def test_flags_that_cannot_be_are_refused(images, tiny, tmp_path, capsys, changes, words) -> None:
    assert train(tiny_config(tiny, tmp_path, **changes), images.train_tfvaegan_inductive.METHOD) == 1
    error = capsys.readouterr().err
    assert re.search(words, error), error
    assert error.startswith("error: ") and error.count("\n") == 1


def test_sizes_of_the_release_change_nothing_and_a_note_says_so(images, tiny, tmp_path, caplog) -> None:
    caplog.set_level("INFO", logger="zslab")
    tiny_config(tiny, tmp_path, attSize=312, resSize=2048, nclass_all=200, standardization=True, preprocessing=False).check()
    (note,) = caplog.messages
    assert all(f"--{flag}" in note for flag in ("attSize", "resSize", "nclass_all", "standardization", "no_preprocessing"))


@pytest.fixture(autouse=True)
def report(request, monkeypatch) -> None:
    """Runs in this process draw no report, which takes longer than they do; one test asks for it."""
    if "with_report" not in request.keywords:
        monkeypatch.setattr("zslab.report.run.write_report", lambda folder: folder / "report.html")


def tiny_config(tiny: Path, tmp_path: Path, **changes) -> ImageConfig:
    return replace(tfvaegan(), **(TINY_FLAGS | {"dataroot": tiny, "output": tmp_path / "runs"} | changes))


def run_in_process(images, tiny: Path, tmp_path: Path, **changes) -> Path:
    config = tiny_config(tiny, tmp_path, **changes)
    assert train(config, images.train_tfvaegan_inductive.METHOD) == 0
    return run_folder(config).path


@pytest.mark.with_report
def test_a_run_with_validation_leaves_everything_behind(images, tiny, tmp_path, capsys) -> None:
    folder = run_in_process(images, tiny, tmp_path, select="val")
    printed = capsys.readouterr().out
    files = "config.json metrics.jsonl result.json evaluation.npz report.html log.txt validation/metrics.jsonl"
    for name in (*files.split(), "model_last.safetensors", "model_val.safetensors"):
        assert (folder / name).stat().st_size > 0, name
    assert not (folder / "checkpoint.pt").exists()
    assert list((folder / "tensorboard").iterdir())
    result = json.loads((folder / "result.json").read_text())
    rows = read_rows(folder)
    assert list(rows) == ["paper", "val", "val + calibration", "last", *BASELINE_ROWS]
    for title in ("best on test", "selected on validation", "last epoch", "the strongest baseline"):
        assert title in printed
    assert max(rows["val"].H, rows["last"].H) <= rows["paper"].H
    assert max(rows["val"].T1, rows["last"].T1) <= rows["paper"].T1
    assert result["data"]["split_version"] == "v2" and result["data"]["counts"]["trainval"] == 36
    # The val row is what the test run measured where the validation run was best.
    records, validation = (read_records(folder / part / "metrics.jsonl") for part in (".", "validation"))
    h = np.array([record.values("gzsl", "H") for record in validation])
    epoch, head = np.unravel_index(h.argmax(), h.shape)
    assert records[epoch].values("gzsl", "H")[head] == rows["val"].H and rows["val"].H_at == Choice(epoch, head, 3)
    with np.load(folder / "evaluation.npz") as arrays:
        confusion = arrays["val_gzsl_confusion"]
        per_class = np.diag(confusion) / confusion.sum(1)
        assert per_class[:6].mean() == pytest.approx(rows["val"].acc_seen)
        assert per_class[6:].mean() == pytest.approx(rows["val"].acc_unseen)
        assert arrays["last_zsl_confusion"].sum() == 24
        curve = arrays["val_curve"]
        assert (
            pytest.approx(np.trapezoid(curve[::-1, 1], curve[::-1, 0]) if hasattr(np, "trapezoid") else rows["val"].AUSUC)
            == rows["val"].AUSUC
        )


@pytest.mark.with_report
def test_where_unseen_classes_have_no_samples_validation_measures_the_method_and_the_baselines(images, tmp_path) -> None:
    untested = np.empty((0, 1))
    write_tiny(tmp_path, test_unseen_loc=untested, unseen_classes=np.array([[7.0, 8, 9]]).T)
    run = run_in_process(images, tmp_path, tmp_path)
    result, dataset = read_result(run / "result.json"), read_dataset(tiny_config(tmp_path, tmp_path))
    assert [row.T1 is None for row in result.rows if not row.baseline] == [True] * 4 + [False]
    validation = dataset.stage("validation", seed=result.seed)
    eszsl = choose(Eszsl(center=False), validation)[0]["H"]
    fitted = (
        Eszsl(center=False).with_settings(eszsl).fit(validation.train.features, validation.train.labels, validation.attributes)
    )
    labels = validation.test_labels
    features = torch.cat([validation.test_seen.features, validation.test_unseen.features])
    predictions = fitted.predict(features, validation.classes)
    expected = generalized_accuracies(labels, predictions, validation.test_seen.classes, validation.test_unseen.classes)
    row = result.row("validation", "ESZSL")
    assert (row.H, row.acc_seen, row.acc_unseen) == pytest.approx((expected["H"], expected["acc_seen"], expected["acc_unseen"]))
    baselines = [row for row in result.rows if row.baseline]
    assert [row.baseline for row in baselines] == BASELINE_ROWS and {row.rule for row in baselines} == {"validation"}
    assert result.verdict[0].startswith("T1 (on validation classes) is ")
    page = (run / "report.html").read_text()
    assert result.verdict[0] in page and "unseen samples are assigned" not in page


def test_baselines_are_measured_once_for_the_same_data_split_and_seed(images, tiny, tmp_path, monkeypatch) -> None:
    measured = []
    monkeypatch.setattr("zslab.baselines.cache.run_baselines", lambda *a: measured.append(a) or run_baselines(*a))
    first, second = (run_in_process(images, tiny, tmp_path, nepoch=nepoch) for nepoch in (1, 2))
    rows = [[row for row in read_result(folder / "result.json").rows if row.baseline] for folder in (first, second)]
    assert len(measured) == 1 and rows[0] == rows[1] and len(rows[0]) == len(BASELINE_ROWS)
    curves = [np.load(folder / "evaluation.npz")["eszsl_curve"] for folder in (first, second)]
    assert np.array_equal(*curves)
    run_in_process(images, tiny, tmp_path, manualSeed=5)
    write_tiny(tmp_path, features=1 - tiny_arrays()["features"] / 2)
    other = run_in_process(images, tiny, tmp_path, overwrite=True)
    assert len(measured) == 3 and read_rows(other)["ESZSL"] != rows[0][0]


def test_a_run_is_a_function_of_its_config(images, tiny, tmp_path) -> None:
    first, second = (run_in_process(images, tiny, tmp_path / name) for name in ("a", "b"))
    assert first.name == second.name
    rows = [json.loads((folder / "result.json").read_text())["rows"] for folder in (first, second)]
    assert rows[0] == rows[1]
    files = [folder / "model_last.safetensors" for folder in (first, second)]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert len(load_file(files[0])) == 30  # 24 of the networks, 3 of each head
    other = run_in_process(images, tiny, tmp_path / "a", manualSeed=5)
    assert other.name != first.name


def test_validation_alone_does_not_depend_on_any_test_sample(images, tiny, tmp_path, monkeypatch) -> None:
    """The trials of a search: other features of all test samples change nothing, and no test stage is made."""
    arrays, stage = tiny_arrays(), Dataset.stage
    test = np.concatenate([arrays["test_seen_loc"], arrays["test_unseen_loc"]]).ravel() - 1
    others = arrays["features"].copy()
    others[:, test] = np.random.default_rng(9).random((len(others), len(test)))
    write_tiny(tmp_path / "others", features=others)
    stages = []
    monkeypatch.setattr(Dataset, "stage", lambda self, name, *rest: stages.append(name) or stage(self, name, *rest))
    first, second = (
        run_in_process(images, dataroot, tmp_path / name, select="only_val")
        for name, dataroot in (("a", tiny), ("b", tmp_path / "others"))
    )
    assert set(stages) == {"validation"}
    assert not list(first.glob("*.safetensors")) and not (first / "metrics.jsonl").exists()
    rows = [json.loads((folder / "result.json").read_text())["rows"] for folder in (first, second)]
    assert rows[0] == rows[1] and [row["rule"] for row in rows[0]] == ["validation"]
    records = [read_records(folder / "validation" / "metrics.jsonl") for folder in (first, second)]
    assert [record.metrics for record in records[0]] == [record.metrics for record in records[1]]


def test_partitions_draw_unseen_classes_anew_and_pair_the_variants(images, tiny, tmp_path) -> None:
    unseen = {1: [3, 6, 8], 2: [0, 1, 4], 3: [3, 5, 8]}
    validation = {1: [0, 7], 2: [2, 7], 3: [0, 7]}
    folders = {
        (number, feedback): run_in_process(images, tiny, tmp_path, partition=number, feedback_loop=feedback, manualSeed=1)
        for number in unseen
        for feedback in (1, 2)
    }
    for (number, _), folder in folders.items():
        data = json.loads((folder / "result.json").read_text())["data"]
        assert f"-partition{number}-" in folder.name and data["split_version"] == f"partition {number}"
        assert data["unseen_classes"] == unseen[number]
        assert data["seen_classes"] == [label for label in range(9) if label not in unseen[number]]
        dataset = source_from_json(data["source"], folder).open(tiny, tmp_path)
        train, hold_out, val = (set(dataset.labels[rows]) for rows in dataset.stage_locations("validation", 1))
        assert val == set(validation[number]) and train == hold_out == set(data["seen_classes"]) - val
    with_feedback, without = sorted(
        (variant for variant in build_variants(read_runs([tmp_path / "runs"])) if not variant.is_baseline),
        key=lambda variant: len(variant.name),
    )
    assert with_feedback.data == ("TINY (random partitions)", "res101", "att")
    h = {key: read_rows(folder)["last"].H for key, folder in folders.items()}
    result = compare(with_feedback.values("last", "H"), without.values("last", "H"))
    assert result.n == 3
    assert result.difference == pytest.approx(np.mean([h[number, 2] - h[number, 1] for number in unseen]))
    assert with_feedback.summary("last", "H").sd == pytest.approx(np.std([h[number, 2] for number in unseen], ddof=1))


def test_a_finished_run_is_reported_again_not_repeated(images, tiny, tmp_path, capsys) -> None:
    folder = run_in_process(images, tiny, tmp_path)
    before = (folder / "result.json").stat().st_mtime_ns
    capsys.readouterr()
    run_in_process(images, tiny, tmp_path)
    assert "best on test" in capsys.readouterr().out
    assert (folder / "result.json").stat().st_mtime_ns == before
    run_in_process(images, tiny, tmp_path, overwrite=True)
    assert (folder / "result.json").stat().st_mtime_ns > before


def test_a_finished_run_without_a_report_draws_it(images, tiny, tmp_path, monkeypatch, capsys) -> None:
    """As a kill between result and report leaves it."""
    folder = run_in_process(images, tiny, tmp_path)
    drawn = []
    monkeypatch.setattr("zslab.report.run.write_report", lambda folder: drawn.append(folder))
    run_in_process(images, tiny, tmp_path)
    assert drawn == [folder] and f"Report: {folder / 'report.html'}" in capsys.readouterr().out
    (folder / "report.html").write_text("")
    run_in_process(images, tiny, tmp_path)
    assert drawn == [folder]


def test_a_batch_is_lowered_to_the_data_of_each_stage_on_request(images, tiny, tmp_path, capsys) -> None:
    folder = run_in_process(images, tiny, tmp_path, batch_size=1000, fit_batch_size=True, select="val")
    log = (folder / "log.txt").read_text()
    assert "The test stage has 36 training samples, so a batch has 36 and not 1000." in log
    assert "The validation stage has " in log and "and not 1000" in log


@pytest.mark.parametrize(
    "changes",
    [
        {"feedback_loop": 1},
        {"transform": False},
        {"feedback_loop": 1, "transform": False, "recons_weight": 0.0},
        {"gzsl": False},
        {"encoded_noise": False},
        {"eval_every": 5},
    ],
    ids=["without feedback", "without transformation", "f-VAEGAN-D2", "ZSL only", "pure noise", "seldom evaluated"],
)
def test_ablations_run(images, tiny, tmp_path, changes) -> None:
    folder = run_in_process(images, tiny, tmp_path, **changes)
    last = read_rows(folder)["last"]
    assert (last.H is None) == (changes.get("gzsl") is False)
    assert 0 <= last.T1 <= 1
    assert ("f-VAEGAN" in json.loads((folder / "result.json").read_text())["variant"]) == (changes.get("recons_weight") == 0.0)


def test_data_without_validation_lists_runs_with_a_seeded_split(images, tmp_path) -> None:
    write_tiny(tmp_path, version="none")
    folder = run_in_process(images, tmp_path, tmp_path, select="val")
    result = json.loads((folder / "result.json").read_text())
    assert result["data"]["split_version"] == "none"
    assert any("seeded draw" in note for note in result["notes"])


def test_without_a_possible_validation_split_the_baselines_are_left_out_and_said(images, tmp_path) -> None:
    from helpers.tiny import tiny_arrays

    trainval = tiny_arrays()["trainval_loc"]
    write_tiny(tmp_path, train_loc=trainval[::2], val_loc=trainval[1::2])
    folder = run_in_process(images, tmp_path, tmp_path)
    result = json.loads((folder / "result.json").read_text())
    assert list(read_rows(folder)) == ["paper", "val", "last"]
    assert any("The baselines are left out" in note for note in result["notes"])


# ---- through the real commands -------------------------------------------------------------------------------------------


def command(*arguments: str, script: str = "run_cub_tfvaegan.py") -> list[str]:
    return [sys.executable, str(SCRIPTS / script), *arguments]


def tiny_arguments(tiny: Path, output: Path) -> list[str]:
    flags = [word for name, value in TINY_FLAGS.items() for word in (f"--{name}", str(value))]
    return [*flags, "--dataroot", str(tiny), "--output", str(output)]


ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


def test_an_encoding_without_greek_letters_ends_no_run(tiny, tmp_path) -> None:
    done = subprocess.run(
        command(*tiny_arguments(tiny, tmp_path / "runs"), "--nepoch", "1"),
        capture_output=True,
        env=ENVIRONMENT | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
    )
    assert done.returncode == 0, done.stderr
    assert b"?1 " in done.stdout and "λ1" in next((tmp_path / "runs").glob("*/log.txt")).read_text(encoding="utf-8")


def test_dry_run_prints_the_config_once_and_what_differs_and_runs_nothing(tmp_path) -> None:
    flags = [
        *["--dry-run", "--finetuned", "--transductive", "--nepoch", "5", "--seeds", "1", "2", "--output"],
        str(tmp_path / "runs"),
    ]
    done = subprocess.run(command(*flags), capture_output=True, text=True, cwd=tmp_path, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    config = dict(line.strip().split(" = ", 1) for line in done.stdout.splitlines() if " = " in line)
    assert (config["nepoch"], config["feed_lr"], config["image_embedding"]) == ("5", "0.0001", "res101_finetuned")
    assert done.stdout.count("nepoch") == 1 and "manualSeed" not in config
    assert re.findall(r"manualSeed (\d): \S+-seed(\d)-", done.stdout) == [("1", "1"), ("2", "2")]
    assert not (tmp_path / "runs").exists()


def test_the_command_of_a_run_makes_that_run(tiny, tmp_path) -> None:
    launcher = load_launcher(SCRIPTS / "run_cub_tfvaegan.py")
    words = ["--transductive", *tiny_arguments(tiny, tmp_path), "--nz", "4", "--no_gzsl", "--partitions", "2"]
    runs = launcher.parse(words)[1]
    assert [run.config.partition for run in runs] == [1, 2] and runs[0].config.nz == 4 and not runs[0].config.gzsl
    for run in runs:
        (again,) = launcher.parse(run.command[2:])[1]
        assert again.config == run.config


def test_seeds_are_run_one_by_one_and_summarized(tiny, tmp_path, capsys) -> None:
    words = [*tiny_arguments(tiny, tmp_path / "runs"), "--seeds", "1", "2", "--no_report"]
    assert launch(load_launcher(SCRIPTS / "run_cub_tfvaegan.py"), words) == 0
    (collected,) = (tmp_path / "runs").glob("*/runs.json")
    variant = next(variant for variant in build_variants(read_runs([collected])) if not variant.is_baseline)
    assert list(variant.rows) == [(("manualSeed", 1),), (("manualSeed", 2),)]
    values = [read_rows(path.parent)["last"].H for path in sorted((tmp_path / "runs").glob("*-seed[12]-*/result.json"))]
    last = variant.summary("last", "H")
    assert last.mean == pytest.approx(np.mean(values)) and last.sd == pytest.approx(np.std(values, ddof=1))
    assert "±" in capsys.readouterr().out


def test_unknown_and_abbreviated_flags_are_errors(capsys) -> None:
    for flag in ("--gamma", "--nepochs"):
        with pytest.raises(SystemExit) as ended:
            launch(load_launcher(SCRIPTS / "run_cub_tfvaegan.py"), [flag, "3"])
        error = capsys.readouterr().err
        assert ended.value.code == 2 and flag in error and "Unrecognized" in error


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_command_resumes_to_the_same_numbers(tiny, tmp_path, capsys, number) -> None:
    """Ctrl-C (to launcher and script, as a terminal sends it) saves at once; kill -9 loses the epoch in progress."""
    long = ["--nepoch", "25", "--eval_every", "5", "--no_report"]
    launcher = load_launcher(SCRIPTS / "run_cub_tfvaegan.py")
    arguments = [*tiny_arguments(tiny, tmp_path / "runs"), *long]
    process = subprocess.Popen(
        command(*arguments),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
        start_new_session=True,
    )
    deadline = time.monotonic() + 600
    while not list((tmp_path / "runs").glob("*/checkpoint.pt")):
        assert process.poll() is None and time.monotonic() < deadline, process.stderr.read()
        time.sleep(0.01)
    os.killpg(process.pid, number)
    _, errors = process.communicate(timeout=600)
    if number == signal.SIGINT:
        assert process.returncode == 130, errors
        assert "--resume" in errors
    (folder,) = (tmp_path / "runs").glob("*-seed*")
    assert not (folder / "result.json").exists()
    assert launch(launcher, arguments) == 1 and "an unfinished run" in capsys.readouterr().err
    resumed = subprocess.run(command(*arguments, "--resume"), capture_output=True, text=True, env=ENVIRONMENT)
    assert resumed.returncode == 0, resumed.stderr
    assert "Resuming in epoch" in resumed.stdout
    assert launch(launcher, [*tiny_arguments(tiny, tmp_path / "straight"), *long]) == 0
    found, expected = (
        [
            {k: v for k, v in json.loads(line).items() if k != "seconds"}
            for line in next((tmp_path / name).glob("*/metrics.jsonl")).read_text().splitlines()
        ]
        for name in ("runs", "straight")
    )
    assert found == expected
    assert len(found) == 25


def test_the_toy_set_is_rendered_where_it_is_asked_for(images, tmp_path, monkeypatch) -> None:
    rendered = []

    def render(root):
        rendered.append(root)
        return write_tiny(root, name="TOY")

    monkeypatch.setattr("zslab.toy.dataset.make_toy", render)
    dataset = read_dataset(tfvaegan(dataset="TOY", dataroot=tmp_path))
    assert rendered == [tmp_path] and len(dataset.labels) == 72


def test_missing_data_tells_what_to_download_and_where_to_put_it(images, tmp_path) -> None:
    config = tfvaegan(dataroot=tmp_path, dataset="SUN")
    with pytest.raises(InputError) as caught:
        read_dataset(config)
    message = str(caught.value)
    for word in (str(tmp_path / "SUN"), "res101.mat", "att_splits.mat", "zslab download SUN", "--dataroot"):
        assert word in message
