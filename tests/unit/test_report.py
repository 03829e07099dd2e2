"""The report is drawn from files alone: numbers against hand counts, damage refused, hostile names escaped."""

from __future__ import annotations

import base64
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from zslab.baselines.comparison import BASELINES
from zslab.errors import InputError
from zslab.report import command, html
from zslab.report.html import duration, write_report
from zslab.report.plots import draw as plots_module
from zslab.report.plots import plot as plot_module
from zslab.report.plots.accuracy import curve_plots
from zslab.report.plots.draw import draw_plots
from zslab.report.run import chosen_epoch, read_run
from zslab.report.text import format_rows
from zslab.utils.environment import last_of_each
from zslab.utils.files import read_metrics

from helpers.finished_run import EVIL, arrays, record, result, write_finished_run

ALL_PLOTS = {
    "accuracy",
    "accuracy_validation",
    "curve",
    "per_class_val",
    "per_class_last",
    "confusion_zsl_val",
    "confusion_gzsl_val",
    "confusion_zsl_last",
    "confusion_gzsl_last",
    "projection",
    "losses",
    "wasserstein",
    "lambda1",
}


@pytest.fixture
def run_dir(tmp_path):
    """A complete run folder, without its drawings."""
    return write_finished_run(tmp_path)


def write_result(folder, value):
    (folder / "result.json").write_text(json.dumps(value))


def without_projection(folder):
    """Most tests draw without t-SNE, which takes longer than everything else."""
    np.savez(folder / "evaluation.npz", **{k: v for k, v in arrays().items() if not k.startswith("projection")})


@pytest.mark.slow
def test_every_plot_is_an_image_and_the_page_holds_it(run_dir):
    page = write_report(run_dir).read_text(encoding="utf-8")
    assert {path.stem for path in (run_dir / "plots").iterdir()} == ALL_PLOTS
    embedded = [base64.b64decode(data) for data in re.findall(r"data:image/png;base64,([^']+)", page)]
    for path in (run_dir / "plots").iterdir():
        assert path.read_bytes() in embedded
        with Image.open(io.BytesIO(path.read_bytes())) as image:
            image.load()
            assert image.format == "PNG" and image.width >= 800
            assert len(image.convert("RGB").getcolors(1 << 24)) > 20, f"{path.name} is blank"
    assert page.count("<img alt='") == len(ALL_PLOTS) and "alt=''" not in page


@pytest.mark.slow
def test_page_has_rows_rules_and_nothing_from_elsewhere(run_dir):
    without_projection(run_dir)
    page = write_report(run_dir).read_text(encoding="utf-8")
    for row in result()["rows"]:
        assert re.search(f"<th scope='row'>{re.escape(row['row'])}( <span|</th>)", page) and row["rule"] in page
    paper = re.search(r"<th scope='row'>paper <span class='tag'>optimistic</span></th>(.*?)</tr>", page).group(1)
    assert re.findall(r"<td>(.*?)</td>", paper) == ["70.1", "40.0", "60.0", "48.0", "–"]
    assert re.search(r"<th scope='row'>ESZSL</th>(<td>–</td>){4}<td>15.0</td>", page)
    assert "CUB · features res101 (2048-d) · classes att (312-d) · split v2 · seed 3483" in page
    assert "epoch 3, head epoch 2" in page and "1 h 6 min" in page and "a &amp; b" in page
    assert not re.search(r"(src|href|url|@import)[=( '\"]*(https?:)?//", page)
    assert "<script" not in page and "&lt;script&gt;" in page and "--x &#x27;&lt;b&gt;&#x27;" in page


@pytest.mark.slow
def test_projection_and_confusions_say_what_they_show(run_dir):
    plots = {plot.name: plot for plot in draw_plots(read_run(run_dir))}
    assert "all 3 unseen classes" in plots["projection"].caption
    # Diagonal 80, 100, 50 per cent; the largest error is half of the last class.
    assert "mean of the diagonal 76.7 per cent" in plots["confusion_zsl_val"].alt
    assert f"{EVIL} taken for class 1, 50 per cent" in plots["confusion_zsl_val"].alt
    # LazyFeatures of gzsl: a diagonal of d + 1 among six ones; class 3 has no sample and is left out.
    assert "Accuracies of 5 classes in per cent" in plots["per_class_val"].alt
    assert "highest class 0 at 68.8" in plots["per_class_val"].alt  # 11 / 16
    assert plots["confusion_gzsl_last"].secondary and not plots["confusion_gzsl_val"].secondary


@pytest.mark.slow
def test_same_folder_same_bytes(run_dir):
    (run_dir / "validation" / "metrics.jsonl").unlink()
    np.savez(run_dir / "evaluation.npz", **{k: v for k, v in arrays().items() if k.startswith("projection")})
    first, second = (draw_plots(read_run(run_dir)) for _ in range(2))
    assert [plot.png for plot in first] == [plot.png for plot in second]


@pytest.fixture
def figures(run_dir, monkeypatch):
    """The matplotlib figures of the complete run folder, by plot name."""
    kept = []
    monkeypatch.setattr(plot_module, "to_png", lambda figure: kept.append(figure) or b"")
    without_projection(run_dir)
    names = [plot.name for plot in draw_plots(read_run(run_dir))]
    return dict(zip(names, kept, strict=True))


def test_curve_has_unseen_across_and_seen_upwards(figures):
    lines = {line.get_label(): line.get_xydata() for line in figures["curve"].axes[0].lines}
    np.testing.assert_allclose(lines["paper, H 48.0"], [[40, 60]])
    np.testing.assert_allclose(lines["val + calibration, H 47.4"], [[45, 50]])
    np.testing.assert_allclose(lines["last, area 25.0"][[0, -1]], [[0, 80], [70, 0]], atol=1e-9)
    assert "ESZSL, area 15.0" in lines and "val, area 30.0" in lines
    assert not any(label.startswith("ESZSL, H") for label in lines)  # a row without values has no point


def test_every_baseline_has_a_curve_of_its_own_look(run_dir, monkeypatch):
    found = json.loads((run_dir / "result.json").read_text())
    rows = [{"row": name, "acc_unseen": 0.3, "acc_seen": 0.4, "H": 0.3429} for name in BASELINES if name != "ESZSL"]
    found["rows"] += [{"T1": None, "rule": ""} | values for values in rows]
    found["AUSUC"] |= {name.lower(): 0.15 for name in BASELINES}
    (run_dir / "result.json").write_text(json.dumps(found))
    np.savez(
        run_dir / "evaluation.npz",
        **arrays(),
        **{f"{name.lower()}_curve": arrays()["last_curve"] for name in BASELINES if name != "ESZSL"},
    )
    kept = []
    monkeypatch.setattr(plot_module, "to_png", lambda figure: kept.append(figure) or b"")
    curve_plots(read_run(run_dir))
    lines = {line.get_label(): line for line in kept[0].axes[0].lines}
    assert len({lines[f"{name}, area 15.0"].get_color() for name in BASELINES}) == len(BASELINES)
    marks = [lines[f"{name}, H 34.3"].get_marker() for name in BASELINES if name != "ESZSL"]
    assert len(set(marks)) == len(BASELINES) - 1


def test_accuracies_and_marks_stand_at_their_epochs(figures):
    axes = {panel.get_title("left"): panel for panel in figures["accuracy"].axes}
    best, last = (line.get_xydata() for line in axes["T1, unseen among unseen"].lines[:2])
    np.testing.assert_allclose(best, [[1, 50], [2, 60], [3, 70]])
    np.testing.assert_allclose(last, [[1, 40], [2, 50], [3, 60]])
    u_best, u_last = (line.get_ydata() for line in axes["u, unseen among all"].lines[:2])
    np.testing.assert_allclose([u_best[0], u_last[0]], [40, 20])  # the head epoch of the best H, and the last
    marks = [line.get_xydata()[0] for line in axes["s, seen among all"].lines if line.get_marker() in {"^", "D", "o"}]
    np.testing.assert_allclose(marks, [[3, 60], [2, 55], [3, 50]])  # paper, val, last


def test_confusion_of_all_classes_puts_seen_first_and_sums_to_a_hundred(figures):
    axes = figures["confusion_gzsl_val"].axes[0]
    drawn = np.asarray(axes.images[0].get_array())
    order = [0, 2, 4, 1, 3, 5]
    counts = arrays()["val_gzsl_confusion"]
    for row, true in enumerate(order):
        for column, predicted in enumerate(order):
            expected = 100 * counts[true, predicted] / max(counts[true].sum(), 1)
            assert drawn[row, column] == pytest.approx(expected)
    assert [label.get_text() for label in axes.get_yticklabels()][:4] == ["class 0", "class 2", "class 4", "class 1"]


def test_losses_share_a_panel_with_their_transductive_twin(figures):
    panels = {panel.get_title("left"): [line.get_ydata().tolist() for line in panel.lines] for panel in figures["losses"].axes}
    assert panels == {"VAE (reconstruction + KL)": [[600, 599, 598]], "critic": [[-3] * 3, [-2] * 3]}
    np.testing.assert_allclose(figures["lambda1"].axes[0].lines[0].get_xydata(), [[1, 10], [2, 1], [3, 0.1]])


@pytest.mark.slow
def test_two_hundred_classes_are_summarized(run_dir):
    value = result()
    value["data"] |= {
        "class_names": [f"c{index}" for index in range(200)],
        "seen_classes": list(range(150)),
        "unseen_classes": list(range(150, 200)),
    }
    write_result(run_dir, value)
    correct = np.diag(np.arange(200)) + np.eye(200, k=1, dtype=int)
    np.savez(run_dir / "evaluation.npz", last_gzsl_confusion=correct, last_zsl_confusion=correct[150:, 150:])
    plots = {plot.name: plot for plot in draw_plots(read_run(run_dir))}
    assert "from the worst to the best" in plots["per_class_last"].caption
    assert not plots["per_class_last"].secondary  # there is no model chosen on validation to prefer


@pytest.mark.slow
def test_absent_arrays_skip_their_plots(run_dir):
    (run_dir / "evaluation.npz").unlink()
    (run_dir / "validation" / "metrics.jsonl").unlink()
    assert {plot.name for plot in draw_plots(read_run(run_dir))} == {"accuracy", "losses", "wasserstein", "lambda1"}


@pytest.mark.slow
def test_tiles_show_validation_classes_where_unseen_ones_have_no_images(run_dir):
    value = result()
    for row in value["rows"]:
        row |= {"T1": None, "acc_unseen": None, "H": None}
    value["rows"].append({"row": "validation", "T1": 0.61, "acc_unseen": 0.3, "acc_seen": 0.6, "H": 0.4, "rule": "On others."})
    assert html.headline_row(value)["row"] == "validation" and html.headline_row(result())["row"] == "val"
    write_result(run_dir, value)
    (run_dir / "evaluation.npz").unlink()
    page = write_report(run_dir).read_text(encoding="utf-8")
    assert "<dt>T1</dt><dd>61.0</dd>" in page and "Measured on validation classes" in page


def test_other_methods_other_losses(run_dir):
    """A run without evaluated epochs, λ1, critic or arrays still has a report."""
    (run_dir / "evaluation.npz").unlink()
    (run_dir / "validation" / "metrics.jsonl").unlink()
    (run_dir / "metrics.jsonl").write_text('{"epoch": 0, "losses": {"self_calibration": 1.5}, "seconds": 1}\n')
    write_result(run_dir, result() | {"rows": [], "AUSUC": {}, "notes": []})
    page = write_report(run_dir).read_text(encoding="utf-8")
    assert [path.stem for path in (run_dir / "plots").iterdir()] == ["losses"]
    assert "self_calibration 1.5 to 1.5" in page
    (run_dir / "metrics.jsonl").write_text("")
    assert "<img" not in write_report(run_dir).read_text(encoding="utf-8")


def test_table_of_a_run():
    text = format_rows(result())
    lines = text.splitlines()
    assert lines[0] == "TF-VAEGAN on CUB"
    assert lines[3].split() == ["selection", "T1", "u", "s", "H", "AUSUC", "chosen", "at"]
    table = {line[:17].strip(): line[17:].split() for line in lines[5:10]}
    assert table["paper"] == ["70.1", "40.0", "60.0", "48.0", "–", "epoch", "3,", "head", "epoch", "2"]
    assert table["val"][:5] == ["60.0", "35.0", "55.0", "42.8", "30.0"]
    assert table["ESZSL"] == ["–"] * 4 + ["15.0"]
    assert "paper             = Chosen on test." in lines
    assert lines[-1] == f"note: A note about {EVIL}."


@pytest.mark.slow
def test_the_page_of_a_run_shows_the_digests_of_its_data(run_dir):
    without_projection(run_dir)
    assert "digest of the" not in write_report(run_dir).read_text(encoding="utf-8")
    value = result()
    value["data"]["fingerprint"] = {"content": "0123456789ab", "split": "ba9876543210"}
    write_result(run_dir, value)
    page = write_report(run_dir).read_text(encoding="utf-8")
    assert "digest of the content</dt><dd>0123456789ab<" in page and "digest of the split</dt><dd>ba9876543210<" in page


def test_only_an_incomplete_last_line_is_forgiven(run_dir):
    path = run_dir / "metrics.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + json.dumps(record(3)).encode()[:40])
    assert [entry["epoch"] for entry in read_metrics(path)] == [0, 1, 2]
    path.write_bytes(whole + b'{"epoch": 3, "l\xc3')
    assert len(read_metrics(path)) == 3
    for damaged in (whole + b"garbage\n", b"garbage\n" + whole, whole + b'{"losses": {}}\n', whole + b"[1]\n" + whole):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match="metrics.jsonl, line"):
            write_report(run_dir)


def test_an_epoch_written_twice_counts_once(run_dir):
    path = run_dir / "metrics.jsonl"
    path.write_text(path.read_text() + json.dumps(record(1) | {"seconds": 9.0}) + "\n")
    assert [(entry["epoch"], entry["seconds"]) for entry in read_metrics(path)] == [(0, 1.0), (1, 9.0), (2, 1.0)]


@pytest.mark.parametrize(
    "change, message",
    [
        ({"schema": 2}, "schema of the result is unknown"),
        ({"schema": "1"}, "schema: .*got '1', expected a whole number"),
        ({"rows": [{"T1": 1}]}, r"rows\[0\]: .*got no 'row'"),
        ({"rows": {}}, "rows: .* expected a list"),
        ({"rows": [{"row": "val", "T1": "0.5"}]}, r"rows\[0\].T1: .* expected a number or null"),
        ({"rows": [{"row": "val", "T1_at": 3}]}, r"rows\[0\].T1_at: .* expected a text or null"),
        ({"rows": [{"row": "val", "rule": ["x"]}]}, r"rows\[0\].rule: "),
        ({"seed": "x"}, "seed: .*got 'x', expected a whole number"),
        ({"seconds": None}, "seconds: .* expected a number"),
        ({"notes": [1]}, r"notes\[0\]: .* expected a text"),
        ({"AUSUC": []}, "AUSUC: .* expected an object"),
        ({"data": {}}, "result.json, data: .*got no 'attribute_dim'"),
        ({"data": result()["data"] | {"fingerprint": "0123"}}, "data.fingerprint"),
        ({"data": result()["data"] | {"class_names": [1, 2]}}, r"data.class_names\[0\]"),
        ({"data": result()["data"] | {"unseen_classes": [1, 3, 6]}}, "unseen_classes"),
        ({"data": result()["data"] | {"unseen_classes": [1, 3]}}, "zsl_confusion"),
    ],
)
def test_wrong_result_is_refused(run_dir, change, message):
    write_result(run_dir, result() | change)
    with pytest.raises(InputError, match=message):
        read_run(run_dir)


def test_missing_or_broken_files_are_refused(run_dir, capsys):
    (run_dir / "evaluation.npz").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(InputError, match="evaluation.npz"):
        read_run(run_dir)
    for name in ("evaluation.npz", "metrics.jsonl", "result.json"):
        (run_dir / name).unlink()
        if name != "evaluation.npz":
            assert command.main([str(run_dir)]) == 1
            assert name in capsys.readouterr().err


@pytest.mark.slow
def test_command_draws_each_folder(run_dir, capsys):
    (run_dir / "evaluation.npz").unlink()
    assert command.main([str(run_dir / "nowhere"), str(run_dir)]) == 1
    out, err = capsys.readouterr()
    assert out.strip() == str(run_dir / "report.html") and "nowhere" in err


@pytest.mark.slow
def test_failure_midway_leaves_the_old_report(run_dir, monkeypatch):
    (run_dir / "evaluation.npz").unlink()
    report = write_report(run_dir)
    before = {path: path.read_bytes() for path in [report, *(run_dir / "plots").iterdir()]}
    value = result()
    value["title"] = "another title"
    write_result(run_dir, value)

    def fail(*_):
        raise RuntimeError("no more ink")

    monkeypatch.setattr(plots_module, "DRAWERS", [*plots_module.DRAWERS, fail])
    with pytest.raises(RuntimeError):
        write_report(run_dir)
    monkeypatch.undo()
    monkeypatch.setattr(html, "write_text", fail)  # all plots written, then the page fails
    with pytest.raises(RuntimeError):
        write_report(run_dir)
    assert report.read_bytes() == before[report]
    left = {path for path in run_dir.rglob("*") if path.suffix in (".png", ".html")}
    assert left == set(before), "no temporary file stays"


def test_small_readers():
    row = {"T1_at": "epoch 3, head epoch 7", "H_at": "head epoch 7"}
    assert chosen_epoch(row, "T1") == 3 and chosen_epoch(row, "H") is None and chosen_epoch({}, "T1") is None
    assert [duration(s) for s in (0.4, 61, 3600 * 3 + 12 * 60)] == ["0 s", "1 min 1 s", "3 h 12 min"]


@pytest.mark.slow
def test_leakage_goes_into_the_report(run_dir, tmp_path, capsys):
    from zslab import cli
    from zslab.report.run import read_run

    data = read_run(run_dir).result["data"]
    unseen = [data["class_names"][index] for index in data["unseen_classes"]]
    (tmp_path / "list.txt").write_text(f"{unseen[0]}, another name\n")
    assert cli.main(["leakage", str(run_dir), "--pretraining", str(tmp_path / "list.txt")]) == 0
    page, content = (run_dir / "report.html").read_text(), json.loads((run_dir / "leakage.json").read_text())
    assert content["matches"] == [{"name": unseen[0], "pretrained": unseen[0], "same": True}]
    assert "T1, selection last" in capsys.readouterr().out
    assert "same (1)" in page and f"clean ({len(unseen) - 1})" in page and f"same as {unseen[0]}" in page
    (run_dir / "leakage.json").write_text('{"pretraining": 1}')
    with pytest.raises(InputError, match="leakage.json"):
        write_report(run_dir)


def test_each_flag_of_the_command_is_printed_once_with_its_last_value():
    given = [
        "--nepoch",
        "300",
        "--seeds",
        "1",
        "2",
        "--transform",
        "--resume",
        "--nepoch=5",
        "--no_transform",
        "--lambda_",
        "-1",
    ]
    assert last_of_each(given) == ["--seeds", "1", "2", "--resume", "--nepoch=5", "--no_transform", "--lambda_", "-1"]


def test_the_page_prints_the_commands_of_run_and_export(run_dir):
    (run_dir / "evaluation.npz").unlink()
    folder = run_dir / "a run"
    folder.mkdir()
    for name in ("result.json", "metrics.jsonl"):
        (run_dir / name).rename(folder / name)
    page = write_report(folder).read_text(encoding="utf-8")
    assert f"zslab export &#x27;{folder}&#x27; --output &#x27;a run.zsl&#x27;" in page
