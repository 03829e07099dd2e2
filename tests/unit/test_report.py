"""The report is drawn from files alone: numbers against hand counts, damage refused, hostile names escaped."""

import base64
import io
import json
import re

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from zslab import cli
from zslab.errors import InputError
from zslab.report import run as run_module
from zslab.report.attention import photo_plots
from zslab.report.page import duration
from zslab.report.plots import plot as plot_module
from zslab.report.run import RESULTS, draw_plots, write_report
from zslab.results.finished import read_run
from zslab.results.record import read_records
from zslab.results.text import format_rows

from helpers.finished_run import EVIL, arrays, record, result, write_finished_run

ALL_PLOTS = [
    *("accuracy", "curve", "per_class", "confusion_zsl", "confusion_gzsl", "projection"),
    *("accuracy_validation", "losses"),
]


@pytest.fixture
def run_dir(tmp_path):
    """A complete run folder, without its drawings."""
    return write_finished_run(tmp_path)


@pytest.fixture
def undrawn(monkeypatch):
    """The figures of all plots, which are not rendered."""
    kept = []
    monkeypatch.setattr(plot_module, "to_png", lambda figure: kept.append(figure) or b"")
    return kept


def write_result(folder, value):
    (folder / "result.json").write_text(json.dumps(value))


def cells(page: str) -> list[list[str]]:
    """The texts of every table row of a page."""
    rows = re.findall(r"<tr[ >].*?</tr>", page, re.DOTALL)
    return [[re.sub(r"<.*?>", "", cell) for cell in re.findall(r"<t[hd].*?>(.*?)</t[hd]>", row, re.DOTALL)] for row in rows]


def test_images_of_unseen_classes_are_shown_with_what_they_were_taken_for(run_dir, undrawn, tmp_path):
    """Samples 2, 4 and 6 are unseen; the first is right, the second wrong, and the image of the third is lost."""
    value, folder = result(), tmp_path / "data" / "CUB"
    names = {"dataset": "CUB", "image_embedding": "res101", "class_embedding": "att"}
    value["data"]["source"], value["config"]["dataroot"] = {"kind": "xlsa17"} | names, str(tmp_path / "data")
    value["data"]["class_names"][:4] = ["Auk", "Booby", "Crow", "Dove"]
    write_result(run_dir, value)
    np.savez(run_dir / "evaluation.npz", **arrays(), model_val_gzsl_predictions=np.array([0, 1, 2, 3]))
    folder.mkdir(parents=True)
    files = np.array([[f"b/{number}.png"] for number in range(1, 7)], dtype=object)
    savemat(folder / "res101.mat", {"image_files": files, "labels": np.array([[1.0, 2, 1, 4, 1, 4]]).T})
    savemat(folder / "att_splits.mat", {"test_unseen_loc": np.array([[2.0, 4, 6]]).T})
    for root in (folder, tmp_path / "moved"):
        (root / "b").mkdir(parents=True)
        for number in (2, 4):
            Image.new("RGB", (30, 20)).save(root / "b" / f"{number}.png")
    run = read_run(run_dir)
    (plot,) = draw_plots(run, [lambda run: photo_plots(run, None)])
    shown = [(axes.get_title(loc="left"), axes.get_xlabel()) for axes in undrawn[-1].axes if axes.images]
    assert shown == [("Booby", "✓ correct"), ("Dove", "✗ Crow")] and "(2 of 3)" in plot.caption
    assert "photos" in write_report(run_dir, tmp_path / "moved").read_text(encoding="utf-8")
    (folder / "res101.mat").unlink()
    assert draw_plots(run, [lambda run: photo_plots(run, None)]) == []


@pytest.mark.slow
def test_every_plot_is_an_image_and_the_page_holds_it(run_dir):
    page = write_report(run_dir).read_text(encoding="utf-8")
    assert {path.stem for path in (run_dir / "plots").iterdir()} == set(ALL_PLOTS)
    embedded = [base64.b64decode(data) for data in re.findall(r"data:image/png;base64,([^\"]+)", page)]
    for path in (run_dir / "plots").iterdir():
        assert path.read_bytes() in embedded
        with Image.open(io.BytesIO(path.read_bytes())) as image:
            image.load()
            assert image.format == "PNG" and image.width >= 800
            assert len(image.convert("RGB").getcolors(1 << 24)) > 20, f"{path.name} is blank"
    assert page.count("<img alt=") == len(ALL_PLOTS) and 'alt=""' not in page
    first = [plot.png for plot in draw_plots(read_run(run_dir), RESULTS[-1:])]
    assert first == [(run_dir / "plots" / "projection.png").read_bytes()]  # the same folder gives the same bytes


def test_page_has_rows_rules_and_nothing_from_elsewhere(run_dir, undrawn):
    page = write_report(run_dir).read_text(encoding="utf-8")
    rows = {row[0]: row[1:] for row in reversed(cells(page))}
    assert rows["best on test optimistic"] == ["70.1", "40.0", "60.0", "48.0", "–"]
    assert rows["selected on validation, calibrated"] == ["–", "45.0", "50.0", "47.4", "–"]
    assert rows["ESZSL"] == ["50.0", "10.0", "70.0", "17.5", "15.0"]
    assert "on validation classes" not in rows  # an empty row
    for row in result()["rows"]:
        if not row.get("baseline") and row["rule"] != "validation":
            assert row["about"] in page
    assert page.count("Why val + calibration.") == 2  # the parameters of the baseline once
    assert page.index("10.0 points above the strongest baseline, ESZSL") < page.index("<h2")
    assert "CUB · features res101 (2048-d) · classes att (312-d) · split v2 · seed 3483" in page
    assert "epoch 3, head epoch 2" in page and "1 h 6 min" in page and "a &amp; b" in page
    assert not re.search(r"(src|href|url|@import)[=( '\"]*(https?:)?//", page)
    assert "<script" not in page and "&lt;script&gt;" in page and "--x &#39;&lt;b&gt;&#39;" in page
    for name in re.findall(r'<a href="#([^"]+)"', page):
        assert f'<h2 id="{name}"' in page
    assert page.count('<a href="#') == page.count("<h2")


def test_projection_and_confusions_say_what_they_show(run_dir, undrawn):
    plots = {plot.name: plot for plot in draw_plots(read_run(run_dir))}
    assert list(plots) == ALL_PLOTS
    assert "Features of all 3 unseen classes" in plots["projection"].caption
    # Diagonal 80, 100, 50 percent; the largest error is half of the last class.
    assert "mean of the diagonal 76.7 percent" in plots["confusion_zsl"].alt
    assert f"{EVIL} taken for class 1, 50 percent" in plots["confusion_zsl"].alt
    # Rows of gzsl: a diagonal of d + 1 among six ones; class 3 has no sample and is left out.
    assert "Accuracies of 5 classes in percent" in plots["per_class"].alt
    assert "highest class 0 at 68.8" in plots["per_class"].alt  # 11 / 16


@pytest.fixture
def figures(run_dir, undrawn):
    """The matplotlib figures of the complete run folder, by plot name."""
    names = [plot.name for plot in draw_plots(read_run(run_dir))]
    return dict(zip(names, undrawn, strict=True))


def test_curve_has_unseen_across_and_seen_upwards(figures):
    lines = {line.get_label(): line.get_xydata() for line in figures["curve"].axes[0].lines}
    np.testing.assert_allclose(lines["best on test, H 48.0"], [[40, 60]])
    np.testing.assert_allclose(lines["selected on validation, calibrated, H 47.4"], [[45, 50]])
    np.testing.assert_allclose(lines["last epoch, area 25.0"][[0, -1]], [[0, 80], [70, 0]], atol=1e-9)
    assert "ESZSL, area 15.0" in lines and "selected on validation, area 30.0" in lines
    np.testing.assert_allclose(lines["ESZSL, calibrated, H 48.0"], [[40, 60]])


def test_only_the_strongest_baseline_has_a_curve_with_a_name(run_dir, undrawn):
    value = result()
    value["rows"] += [
        {"rule": "val", "baseline": name, "H": h, "AUSUC": 0.2} for name, h in (("A", 0.6), ("B", 0.1), ("C", 0.1))
    ]
    write_result(run_dir, value)
    curve = arrays()["last_curve"]
    np.savez(run_dir / "evaluation.npz", **arrays(), a_curve=curve, b_curve=curve, c_curve=curve)
    list(draw_plots(read_run(run_dir), RESULTS[1:2]))
    labels = [text.get_text() for text in undrawn[0].legends[0].get_texts()]
    assert "A, area 20.0" in labels and "3 other baselines" in labels and len(labels) == 6


def test_accuracies_and_marks_stand_at_their_epochs(figures):
    axes = {panel.get_title("left").partition(":")[0]: panel for panel in figures["accuracy"].axes}
    best, last = (line.get_xydata() for line in axes["T1"].lines[:2])
    np.testing.assert_allclose(best, [[1, 50], [2, 60], [3, 70]])
    np.testing.assert_allclose(last, [[1, 40], [2, 50], [3, 60]])
    u_best, u_last = (line.get_ydata() for line in axes["u"].lines[:2])
    np.testing.assert_allclose([u_best[0], u_last[0]], [40, 20])  # the head epoch of the best H, and the last
    marks = [line.get_xydata()[0] for line in axes["s"].lines if line.get_marker() in {"^", "D", "o"}]
    np.testing.assert_allclose(marks, [[3, 60], [2, 55], [3, 50]])  # paper, val, last


def test_confusion_of_all_classes_puts_seen_first_and_sums_to_a_hundred(figures):
    axes = figures["confusion_gzsl"].axes[0]
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
    name, *others = panels.pop("λ1, weight of the gradient penalty")
    np.testing.assert_allclose(name, [10, 1, 0.1])
    assert not others and panels == {
        "VAE (reconstruction + KL)": [[600, 599, 598]],
        "critic": [[-3] * 3, [-2] * 3],
        "Wasserstein distance (the critic's)": [[1, 1 / 2, 1 / 3], [0.5] * 3],
    }


def test_two_hundred_classes_are_summarized(run_dir, undrawn):
    value = result()
    value["data"] |= {
        "class_names": [f"{index:03}.c {index}" for index in range(200)],
        "seen_classes": list(range(150)),
        "unseen_classes": list(range(150, 200)),
    }
    write_result(run_dir, value)
    correct = np.diag(np.arange(200)) + np.eye(200, k=1, dtype=int)
    np.savez(run_dir / "evaluation.npz", last_gzsl_confusion=correct, last_zsl_confusion=correct[150:, 150:])
    plots = {plot.name: plot for plot in draw_plots(read_run(run_dir))}
    assert "unseen 99.4 (50), seen 96.3 (150)" in plots["per_class"].caption and "last epoch" in plots["per_class"].caption
    assert len(undrawn[list(plots).index("per_class")].axes[0].patches) == 16
    assert "lowest c 0 at 0.0" in plots["per_class"].alt  # without the number that every name begins with


def test_tiles_show_validation_classes_where_unseen_ones_have_no_images(run_dir, undrawn):
    value = result()
    assert read_run(run_dir).result.headline.rule == "val"
    value["rows"] = [row for row in value["rows"] if not row.get("baseline") and row["rule"] != "validation"]
    for row in value["rows"]:
        row |= {"T1": None, "acc_unseen": None, "H": None}
    value["rows"].append(
        {"rule": "validation", "T1": 0.61, "acc_unseen": 0.3, "acc_seen": 0.6, "H": 0.4, "about": "On others."}
    )
    write_result(run_dir, value)
    (run_dir / "evaluation.npz").unlink()
    page = write_report(run_dir).read_text(encoding="utf-8")
    assert "<dt>T1</dt><dd>61.0</dd>" in page and "In percent: on validation classes." in page


def test_other_methods_other_losses(run_dir):
    """A run without evaluated epochs, λ1, critic or arrays still has a report."""
    (run_dir / "evaluation.npz").unlink()
    (run_dir / "validation" / "metrics.jsonl").unlink()
    (run_dir / "metrics.jsonl").write_text('{"epoch": 0, "losses": {"self_calibration": 1.5}, "seconds": 1}\n')
    write_result(run_dir, result() | {"rows": [], "notes": []})
    page = write_report(run_dir).read_text(encoding="utf-8")
    assert [path.stem for path in (run_dir / "plots").iterdir()] == ["losses"]
    assert "self_calibration 1.5 to 1.5" in page
    (run_dir / "metrics.jsonl").write_text("")
    assert "<img" not in write_report(run_dir).read_text(encoding="utf-8")


def test_the_table_of_a_run_has_its_rows_the_strongest_baseline_and_the_verdict(run_dir):
    lines = format_rows(read_run(run_dir).result).splitlines()
    assert lines[0] == "TF-VAEGAN on CUB"
    assert lines[3].split() == ["selection", "T1", "u", "s", "H", "AUSUC", "chosen", "at"]
    table = {line[:34].strip(): line[34:].split() for line in lines[5:11]}
    assert table["best on test"] == ["70.1", "40.0", "60.0", "48.0", "–", "epoch", "3,", "head", "epoch", "2"]
    assert table["selected on validation"][:5] == ["60.0", "35.0", "55.0", "42.8", "30.0"]
    assert table["ESZSL, calibrated"] == ["50.0", "40.0", "60.0", "48.0", "–"]
    assert "H (selected on validation, calibrated) is 47.4, 0.6 points below" in lines[-1]


def test_only_an_incomplete_last_line_is_forgiven(run_dir):
    path = run_dir / "metrics.jsonl"
    complete = path.read_bytes()
    path.write_bytes(complete + json.dumps(record(3)).encode()[:40])
    assert [entry.epoch for entry in read_records(path)] == [0, 1, 2]
    path.write_bytes(complete + b'{"epoch": 3, "l\xc3')
    assert len(read_records(path)) == 3
    wrong = [b"garbage", b'{"losses": {}}', b"[1]", b'{"epoch": -1}', b'{"epoch": 1, "metrics": {"zsl": {"acc": []}}}']
    wrong += [b'{"epoch": 1, "metrics": 3}', b'{"epoch": 1, "losses": {"vae": NaN}}', b"[" * 100_000]
    wrong += [b'{"epoch": 1, "metrics": {"gzsl": {"H": [0.1], "acc_seen": [0.1, 0.2]}}}']
    for line in wrong:
        path.write_bytes(complete + line + b"\n" + complete)
        with pytest.raises(InputError, match=r"metrics\.jsonl, line 4"):
            write_report(run_dir)


def test_an_epoch_written_twice_counts_once(run_dir):
    path = run_dir / "metrics.jsonl"
    path.write_text(path.read_text() + json.dumps(record(1) | {"seconds": 9.0}) + "\n")
    assert [(entry.epoch, entry.seconds) for entry in read_records(path)] == [(0, 1.0), (1, 9.0), (2, 1.0)]


@pytest.mark.parametrize(
    "change, place",
    [
        ({"rows": [{"rule": "val", "T1": "0.5"}]}, r"rows\[0\].T1"),
        ({"seed": "x"}, r"\$\.seed"),
        ({"data": result()["data"] | {"unseen_classes": [1, 3, 6]}}, r"\$\.data"),
        ({"data": result()["data"] | {"unseen_classes": [1, 3]}}, r"evaluation\.npz, last_zsl_confusion"),
    ],
)
def test_wrong_result_is_refused(run_dir, change, place):
    write_result(run_dir, result() | change)
    with pytest.raises(InputError, match=place):
        read_run(run_dir)


@pytest.mark.parametrize(
    "name, array",
    [
        ("last_curve", np.float64(1)),
        ("last_gzsl_confusion", np.full((6, 6), np.nan)),
        ("projection_real_labels", np.full(30, 6)),
        ("model_last_gzsl_predictions", np.full(3, 6)),
        ("val_curve", np.array(["a"])),
    ],
)
def test_wrong_arrays_are_refused(run_dir, name, array):
    np.savez(run_dir / "evaluation.npz", **arrays() | {name: array})
    with pytest.raises(InputError, match=r"evaluation\.npz, "):
        read_run(run_dir)


def test_missing_or_broken_files_are_refused(run_dir, capsys):
    np.save(run_dir / "single.npy", np.ones(2))
    for content in (b"PK\x03\x04 cut short", (run_dir / "single.npy").read_bytes()):
        (run_dir / "evaluation.npz").write_bytes(content)
        with pytest.raises(InputError, match="evaluation.npz"):
            read_run(run_dir)
    for name in ("evaluation.npz", "metrics.jsonl", "result.json"):
        (run_dir / name).unlink()
        if name != "evaluation.npz":
            assert cli.main(["report", str(run_dir)]) == 1
            assert name in capsys.readouterr().err


def test_command_draws_each_folder(run_dir, capsys, undrawn):
    assert cli.main(["report", str(run_dir / "nowhere"), str(run_dir)]) == 1
    out, err = capsys.readouterr()
    assert out.strip() == str(run_dir / "report.html") and "nowhere" in err


@pytest.mark.slow
def test_failure_midway_leaves_the_old_report(run_dir, monkeypatch, undrawn):
    report = write_report(run_dir)
    before = {path: path.read_bytes() for path in [report, *(run_dir / "plots").iterdir()]}
    write_result(run_dir, result() | {"variant": "another title"})

    def fail(*_):
        raise RuntimeError("no more ink")

    monkeypatch.setattr(run_module, "RESULTS", (*RESULTS, fail))
    with pytest.raises(RuntimeError):
        write_report(run_dir)
    assert {path: path.read_bytes() for path in before} == before


def test_durations():
    assert [duration(s) for s in (0.4, 61, 3600 * 3 + 12 * 60)] == ["0 s", "1 min 1 s", "3 h 12 min"]


def test_the_page_prints_the_commands_of_run_and_export(run_dir, undrawn):
    folder = run_dir / "a run"
    folder.mkdir()
    for name in ("result.json", "metrics.jsonl"):
        (run_dir / name).rename(folder / name)
    page = write_report(folder).read_text(encoding="utf-8")
    assert f"zslab export &#39;{folder}&#39; --output &#39;a run.zsl&#39;" in page
    write_result(folder, result() | {"exportable": False})
    assert "zslab export" not in write_report(folder).read_text(encoding="utf-8")
