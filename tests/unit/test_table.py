"""Tables over runs: grouping, means by hand, exact permutation tests, and every output style."""

import csv
import dataclasses
import io
import itertools
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from zslab import cli
from zslab.data.formats.table import from_formula_safe
from zslab.errors import InputError
from zslab.report.runs import read_curve, write_figures, write_runs_report
from zslab.report.table_command import END, FORMATS
from zslab.results.names import QUOTABLE, RULES
from zslab.results.render import cell_text, comparison_text, make_tables
from zslab.results.runs import Quote, Run, read_runs, save_runs
from zslab.results.statistics import Comparison, Summary, compare, half_interval
from zslab.results.table import build_lines, build_pairs, build_variants, changed_data, conditions, missing_runs

from helpers.project import PROJECT
from helpers.results import result_json

METHOD, ABLATED = "TF-VAEGAN", "TF-VAEGAN, without feedback"


def write_run(
    root: Path, seed: int, h: float, method: str = METHOD, dataset: str = "CUB", select: str = "none", **flags: object
) -> Path:
    """Write a finished run with H = h, T1 = h + 0.1, and an ESZSL baseline with T1 0.3."""
    folder = root / f"{dataset}-{method}-{seed}-{select}-{'-'.join(map(str, flags.values()))}".replace(" ", "_")
    folder.mkdir(parents=True)
    scores = {"T1": h + 0.1, "acc_unseen": h, "acc_seen": h, "H": h}
    rows = [
        {"rule": "paper", **scores, "T1": h + 0.2},
        {"rule": "val", **(scores if select == "val" else {})},
        {"rule": "last", **scores, "AUSUC": h / 2},
        {"rule": "val", "baseline": "ESZSL", "T1": 0.3, "acc_unseen": 0.1, "acc_seen": 0.2, "H": 0.4 / 3, "AUSUC": 0.05},
        {"rule": "val + calibration", "baseline": "ESZSL", "T1": 0.3, "acc_unseen": 0.2, "acc_seen": 0.2, "H": 0.2},
    ]
    data = {"dataset": dataset, "image_embedding": "resnet", "class_embedding": "att", "split_version": "v2"}
    config = {"manualSeed": seed, "select": select, "threads": seed, "nepoch": 3, **data, **flags}
    about = {"variant": method, "torch": "2", "version": "1", "device": "cpu", "seconds": 60.0 * seed}
    result = result_json(data, **about, rows=rows, config=config, notes=[f"A <note> of seed {seed}."])
    (folder / "result.json").write_text(json.dumps(result))
    metrics = ({"zsl": {"acc": [0, h]}, "gzsl": {"acc_seen": [0, h], "H": [0, h - e / 100]}} for e in range(3))
    records = [{"epoch": epoch, "metrics": measured} for epoch, measured in enumerate(metrics)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder


def main(arguments: list[str]) -> int:
    return cli.main(["table", *arguments])


def make_table(runs: list, style: str = "md", **options: object) -> str:
    return FORMATS[style](make_tables(runs, **options))


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two variants on CUB (seeds 1-3 and 1-2) and one on FLO."""
    root = tmp_path / "runs"
    for seed, h in ((1, 0.50), (2, 0.52), (3, 0.57)):
        write_run(root, seed, h)
    for seed, h in ((1, 0.40), (2, 0.44)):
        write_run(root, seed, h, ABLATED)
    write_run(root, 1, 0.6, dataset="FLO")
    return root


def test_means_standard_deviations_and_best_values_are_those_by_hand(runs) -> None:
    variants = build_variants(read_runs([runs]))
    assert [(v.data[0], v.name) for v in variants] == [
        ("CUB", METHOD), ("CUB", ABLATED), ("CUB", "ESZSL"), ("FLO", METHOD), ("FLO", "ESZSL")
    ]  # fmt: skip
    cub = [variant for variant in variants if variant.data[0] == "CUB"]
    lines = {(line.variant.name, line.rule): line for line in build_lines(cub)}
    assert list(lines) == [(METHOD, "paper"), (METHOD, "last"), (ABLATED, "paper"), (ABLATED, "last"), ("ESZSL", "val"),
                           ("ESZSL", "val + calibration")]  # fmt: skip
    h = lines[METHOD, "last"].cells["H"]
    assert (h.mean, h.sd, h.n) == (pytest.approx(0.53), pytest.approx(np.sqrt((0.03**2 + 0.01**2 + 0.04**2) / 2)), 3)
    assert lines[METHOD, "last"].cells["AUSUC"].mean == pytest.approx(0.265)
    assert lines[METHOD, "paper"].cells["T1"].mean == pytest.approx(0.73) and lines[METHOD, "paper"].cells["AUSUC"] is None
    assert lines["ESZSL", "val + calibration"].cells["H"] == Summary(pytest.approx(0.2), pytest.approx(0.0), 3)
    assert lines[METHOD, "last"].best == {"T1", "acc_unseen", "acc_seen", "H", "AUSUC"}
    assert lines[ABLATED, "last"].best == set()
    assert lines["ESZSL", "val"].best == set()  # nothing to compare with under that rule
    assert missing_runs(variants) == [f"CUB resnet att: {ABLATED} lacks seed 3."]


def test_flags_tell_variants_of_one_name_apart_and_a_validation_run_joins_its_twin(tmp_path) -> None:
    write_run(tmp_path, 1, 0.5)
    write_run(tmp_path, 1, 0.5, select="val")
    write_run(tmp_path, 1, 0.6, syn_num=10)
    short, more = build_variants(read_runs([tmp_path]))[:2]
    assert {short.name, more.name} == {f"{METHOD}, syn_num None", f"{METHOD}, syn_num 10"}
    twin = short if short.name.endswith("None") else more
    assert set(twin.rows[("manualSeed", 1),]) == {"paper", "val", "last"} and len(twin.runs) == 2
    write_run(tmp_path / "again", 1, 0.51)
    with pytest.raises(InputError, match=r"for seed 1"):
        build_variants(read_runs([tmp_path]))


def test_a_run_named_twice_counts_once_and_folders_without_runs_are_refused(runs, tmp_path) -> None:
    assert len(read_runs([runs, *runs.iterdir()])) == 6
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty"):
        read_runs([tmp_path / "empty"])
    (next(runs.iterdir()) / "result.json").write_text("{}")
    with pytest.raises(InputError, match=r"result\.json.*`data`|result\.json.*missing"):
        read_runs([runs])


@pytest.mark.parametrize("n", [6, 8])
def test_the_permutation_test_enumerates_all_signs(n) -> None:
    rng = np.random.default_rng(n)
    first, second = rng.random(n), rng.random(n) - 0.3
    differences = first - second
    means = [abs((differences * np.array(signs)).mean()) for signs in itertools.product([1, -1], repeat=n)]
    expected = np.mean(np.array(means) >= abs(differences.mean()) - 1e-12)
    keys = [(("manualSeed", i),) for i in range(n)]
    found = compare(dict(zip(keys, first)), dict(zip(keys, second)))
    assert found.p == pytest.approx(expected) and found.n == n
    assert found.difference == pytest.approx(differences.mean())
    assert found.interval[0] < differences.mean() < found.interval[1]
    few = compare(dict(zip(keys[:5], first)), dict(zip(keys[:5], second)))
    assert few.n == 5 and few.p is None and few.interval is not None
    assert compare(dict(zip(keys, first)), {(("manualSeed", 99),): 0.5}) is None


def test_intervals_over_six_pairs_cover_the_true_difference_as_often_as_they_say() -> None:
    samples = np.random.default_rng(0).normal(0.3, 1.0, (1000, 6))
    covered = np.mean([abs(values.mean() - 0.3) <= half_interval(values) for values in samples])
    assert 0.93 < covered < 0.97
    zero, pairs = ({(("manualSeed", i),): value for i, value in enumerate(v)} for v in (np.zeros(6), samples[0]))
    found = compare(pairs, zero)
    assert found.interval == pytest.approx(
        (found.difference - half_interval(samples[0]), found.difference + half_interval(samples[0]))
    )


def test_styles_hold_the_same_numbers(runs) -> None:
    loaded = read_runs([runs])
    tables = {style: make_table(loaded, style, rules=["last"], compare=[(METHOD, ABLATED)]) for style in FORMATS}
    assert f"| {METHOD} | last epoch | **63.0 ± 3.6 (3)** | **53.0 ± 3.6 (3)** |" in " ".join(tables["md"].split())
    assert f"**{METHOD} minus {ABLATED}**" in tables["md"]
    assert "CUB, resnet, att | last epoch | 2 | +9.0 (−3.7 to +21.7) | +9.0 (−3.7 to +21.7) |" in " ".join(tables["md"].split())
    assert "With fewer than 6 pairs no test can decide." in tables["md"]
    assert r"TF-VAEGAN & last epoch & \textbf{63.0 $\pm$ 3.6 (3)}" in tables["latex"] and tables["latex"].count("tabular}") == 6
    assert r"\label{tab:cub-resnet-att}" in tables["latex"] and r"\caption{CUB, resnet, att. 4-d features" in tables["latex"]
    assert "last epoch & 2 & +9.0 ($-$3.7 to +21.7) & +9.0 ($-$3.7 to +21.7)" in tables["latex"]
    assert "<b>63.0 ± 3.6 (3)</b>" in tables["html"]


def test_the_backbone_pivot_makes_features_a_column(tmp_path) -> None:
    for features in ("resnet", "mobilenet"):
        path = write_run(tmp_path, 1, 0.5, image_embedding=features) / "result.json"
        result = json.loads(path.read_text())
        result["data"]["image_embedding"] = features
        path.write_text(json.dumps(result))
    table = make_table(read_runs([tmp_path]), pivot="backbone", rules=["last"])
    table = " ".join(table.split())
    assert table.count("| features | variant |") == 1
    assert f"| mobilenet | {METHOD} | last epoch |" in table and f"| resnet | {METHOD} | last epoch |" in table


def test_significant_differences_are_bold_and_negative_ones_have_a_minus(tmp_path) -> None:
    for seed in range(6):
        write_run(tmp_path, seed, 0.5)
        write_run(tmp_path, seed, 0.6 + seed / 100, feedback_loop=1, method=ABLATED)
    table = make_table(read_runs([tmp_path]), rules=["last"], compare=[(METHOD, ABLATED)], measures=["H"], pairs_only=True)
    assert table.count("\n| ") == 3 and f"**{METHOD} minus {ABLATED}**" in table and "| variant" not in table
    assert "| 6 | **\u221212.5 (\u221214.5 to \u221210.5), p 0.031** |" in " ".join(table.split())
    latex = make_table(read_runs([tmp_path]), style="latex", compare=[(METHOD, ABLATED)], rules=["last"], measures=["H"])
    assert r"\textbf{$-$12.5 ($-$14.5 to $-$10.5), p 0.031}" in latex and "\u2212" not in latex


def test_a_comparison_reads_as_numbers() -> None:
    assert comparison_text(Comparison(6, 0.0911, (-0.0004, 0.1), 0.5)) == "+9.1 (+0.0 to +10.0), p 0.50"
    assert comparison_text(Comparison(1, -0.05, None, None)) == "\u22125.0"
    assert comparison_text(None) == "–"


def test_a_collected_file_makes_the_same_tables_and_refreshes_a_page(runs, tmp_path, capsys) -> None:
    page, collected = tmp_path / "pages" / "page.md", tmp_path / "results.json"
    assert main([str(runs), "--save", str(collected)]) == 0
    every = capsys.readouterr().out
    assert main([str(collected), "--save", str(tmp_path / "again.json")]) == 0
    assert capsys.readouterr().out == every and collected.read_bytes() == (tmp_path / "again.json").read_bytes()
    only = ["--variants", METHOD, "--rules", "last"]
    assert main([str(collected), *only]) == 0
    few = capsys.readouterr().out
    assert ABLATED in every and ABLATED not in few and "ESZSL" not in few
    page.parent.mkdir()
    first, second = "<!-- zslab table ../results.json -->", f"<!-- zslab table ../results.json {' '.join(only)} -->"
    page.write_text(f"before\n{first}\nold\n{END}\nbetween\n{second}\n{END}\nafter\n")
    for _ in range(2):  # again without a difference
        assert main(["--refresh", str(page)]) == 0
        assert page.read_text() == f"before\n{first}\n\n{every}\n{END}\nbetween\n{second}\n\n{few}\n{END}\nafter\n"


@pytest.mark.parametrize(
    "text, message",
    [
        ("no table", "got 0 of the first kind, 0 with both"),
        (f"<!-- zslab table a -->\n<!-- zslab table a -->\n{END}\n", "got 2 of the first kind, 1 with both"),
        (f"<!-- zslab table 'a -->\n{END}\n", "No closing quotation"),
        (f"<!-- zslab table a --save b -->\n{END}\n", "got a --save b"),
        (f"<!-- zslab table nowhere -->\n{END}\n", "nowhere"),
    ],
)
def test_pages_without_whole_tables_are_refused_and_left_as_they_are(tmp_path, capsys, text, message) -> None:
    page = tmp_path / "page.md"
    page.write_text(text)
    assert main(["--refresh", str(page)]) == 1 and page.read_text() == text
    assert message in capsys.readouterr().err


def test_variants_are_renamed_and_unknown_names_refused(runs, tmp_path, capsys) -> None:
    assert (
        main([str(runs), "--rename", ABLATED, "ours", "--save", str(tmp_path / "runs.json"), "--compare", "ours", METHOD]) == 0
    )
    assert "**ours minus TF-VAEGAN**" in capsys.readouterr().out
    assert {"ours", METHOD} <= {variant.name for variant in build_variants(read_runs([tmp_path / "runs.json"]))}
    for flags in (["--compare", METHOD, "nothing"], ["--rename", "nothing", "ours"], ["--variants", "nothing"]):
        assert main([str(runs), *flags]) == 1
        assert re.search(rf"{flags[0]}: .*TF-VAEGAN, .*got nothing", capsys.readouterr().err)
    assert main([str(runs), "--datasets", "FLO"]) == 0
    out = capsys.readouterr().out
    assert "**FLO, " in out and "CUB" not in out
    assert main([str(runs), "--datasets", "flowers"]) == 1
    assert re.search("--datasets: .*CUB, FLO.*got flowers", capsys.readouterr().err)
    for flags in ([], [str(runs), "--refresh", "page.md"]):
        assert main(flags) == 1


def test_names_are_no_formulas_in_csv(tmp_path) -> None:
    write_run(tmp_path, 1, 0.5, dataset="=1+1", method="@SUM(A1)")
    rows = list(csv.DictReader(io.StringIO(make_table(read_runs([tmp_path]), style="csv"))))
    (row,) = (row for row in rows if (row["selection"], row["measure"]) == ("last", "H") and "SUM" in row["variant"])
    assert (row["data set"], row["variant"]) == ("'=1+1", "'@SUM(A1)")
    assert from_formula_safe(row["data set"]) == "=1+1" and float(row["mean"]) == 0.5


def test_curves_are_means_over_the_runs_of_a_variant(runs, tmp_path) -> None:
    variants = build_variants(read_runs([runs]))
    epochs, values = read_curve(variants[0], "H")
    assert epochs.tolist() == [1, 2, 3] and np.allclose(sorted(values[:, 2]), [0.48, 0.50, 0.55])
    written = write_figures(tmp_path / "figures", variants)
    assert {path.name for path in written} == {
        f"{kind}-{data}-resnet-att.png" for kind in ("curves", "bars") for data in ("CUB", "FLO")
    }


def test_captions_say_the_conditions(runs) -> None:
    cub = [variant for variant in build_variants(read_runs([runs])) if variant.data[0] == "CUB"]
    caption = "4-d features, 2-d class vectors, split v2, 2 seen and 1 unseen classes; seeds 1 to 3; cpu, x, torch 2, zslab 1"
    assert conditions(cub) == f"{caption}; 1 to 3 minutes a run"
    assert f"{caption}; 1 to 3 minutes a run." in make_table(read_runs([runs]))
    short = [dataclasses.replace(each, runs=[replace(run, seconds=run.seconds / 60) for run in each.runs]) for each in cub]
    assert conditions(short) == f"{caption}; 1 to 3 seconds a run"


def test_measures_that_no_run_has_are_left_out(runs) -> None:
    def headings(rule: str) -> set[str]:
        return {line for line in make_table(read_runs([runs]), rules=[rule]).splitlines() if line.startswith("| variant")}

    assert all("AUSUC" not in heading and " H " in heading for heading in headings("paper"))
    assert all("AUSUC" in heading for heading in headings("last"))


def test_quotes_stand_beside_runs_and_fill_what_they_lack(runs, tmp_path) -> None:
    means = {"last": {"H": {"mean": 0.9, "sd": None, "n": 1}}, "val": {"H": {"mean": 0.4, "sd": 0.01, "n": 5}}}
    means = {rule: {"H": Summary(**found["H"])} for rule, found in means.items()}
    place = {"dataset": "CUB", "features": "resnet", "descriptions": "att", "means": means}
    published = Quote(**place, variant="Somebody's", note="a paper")
    own = Quote(**place, variant=METHOD, note="an earlier version")
    save_runs(tmp_path / "all.json", [*read_runs([runs]), published, own])
    loaded = read_runs([tmp_path / "all.json"])
    assert published in loaded and own in loaded
    assert [run.config.keys() & {"threads", "select", "nepoch"} for run in loaded if isinstance(run, Run)] == [{"nepoch"}] * 6
    table = " ".join(make_table(loaded, rules=["val", "last"]).split())
    assert (
        "| Somebody's | last epoch | – | – | – | **90.0** | – |" in table
        and "| Somebody's | selected on validation | – | – | – | **40.0 ± 1.0 (5)** | – |" in table
    )
    assert f"| {METHOD} | selected on validation | – | – | – | **40.0 ± 1.0 (5)** |" in table
    assert f"| {METHOD} | last epoch | **63.0 ± 3.6 (3)** | **53.0 ± 3.6 (3)** |" in table and "Somebody's lacks" not in table
    assert "; a paper" in table and "; an earlier version" in table
    for content in ("[3]", "{}", '[{"means": {}}]', '[{"type": "run", "dataset": "CUB"}]', '[{"type": "quote", "means": 3}]'):
        (tmp_path / "all.json").write_text(content)
        with pytest.raises(InputError, match=r"all\.json"):
            read_runs([tmp_path / "all.json"])


def data_warnings(*runs: tuple[int | None, int, str, str] | None) -> list[str]:
    """Warn of runs given as (class split, seed, digest of the content, digest of the split); None: without digests."""
    made = []
    for number, run in enumerate(runs):
        split, seed, content, lists = run or (None, number, "", "")
        repeat = {"manualSeed": seed} | ({"split": split} if split else {})
        fingerprint = {"content": content, "split": lists} if run else {}
        place = {"dataset": "CUB", "features": "resnet", "descriptions": "att", "variant": METHOD, "machine": "x"}
        made.append(Run(**place, repeat=repeat, rows=[], fingerprint=fingerprint))
    return changed_data(build_variants(made))


@pytest.mark.parametrize(
    ("runs", "words"),
    [
        ([(1, 7, "aa", "bb"), (2, 7, "aa", "cc"), (1, 8, "aa", "bb")], ""),
        ([None, (None, 1, "aa", "bb"), None], ""),
        ([(None, 1, "aa", "bb"), (None, 2, "dd", "bb"), (None, 3, "aa", "bb")], "(aa: seed 1, seed 3; dd: seed 2)"),
        ([(None, 1, "aa", "bb"), (None, 2, "aa", "dd")], "the split changed in between (bb: seed 1; dd: seed 2)"),
        (
            [(1, 7, "aa", "bb"), (2, 7, "aa", "cc"), (2, 8, "aa", "dd")],
            "split 2 changed in between (cc: seed 7, split 2; dd: seed 8, split 2)",
        ),
    ],
)
def test_runs_on_data_that_changed_are_named(runs, words) -> None:
    warnings = data_warnings(*runs)
    assert len(warnings) == bool(words) and all(words in warning and "--overwrite" in warning for warning in warnings)


@pytest.mark.slow
def test_the_report_of_several_runs_links_to_each(tmp_path) -> None:
    folders = [write_run(tmp_path / "runs", seed, h) for seed, h in ((1, 0.5), (2, 0.6))]
    for digest, folder in enumerate(folders):
        result = json.loads((folder / "result.json").read_text())
        result["data"]["fingerprint"] = {"content": f"digest{digest}", "split": "same"}
        (folder / "result.json").write_text(json.dumps(result))
    table = write_runs_report(tmp_path / "sweep", folders)
    assert table == (tmp_path / "sweep" / "table.md").read_text() and "trained on different data" in table
    page = (tmp_path / "sweep" / "report.html").read_text()
    assert f'<a href="../runs/{folders[1].name}/report.html">seed 2</a>' in page
    assert "65.0 ± 7.1 (2)" in page and "<td>70.0</td>" in page and page.count("<figure") == 2
    assert "A &lt;note&gt; of seed 2." in page and page.index("different data") < page.index("A &lt;note&gt;")
    (variant, _) = build_variants(read_runs([tmp_path / "sweep" / "runs.json"]))
    assert variant.summary("last", "H") == Summary(pytest.approx(0.55), pytest.approx(0.1 / 2**0.5), 2)


@pytest.mark.parametrize("name", ["results", "results-dazle", "results-actions"])
def test_the_pages_of_results_are_made_from_the_committed_results(name, tmp_path) -> None:
    page = tmp_path / "page.md"
    page.write_bytes((PROJECT / "docs" / f"{name}.md").read_bytes())
    for file in (PROJECT / "docs").glob("results*.json"):
        shutil.copy(file, tmp_path)
    assert main(["--refresh", str(page)]) == 0
    assert page.read_text(encoding="utf-8") == (PROJECT / "docs" / f"{name}.md").read_text(encoding="utf-8")


def test_the_table_of_the_readme_quotes_the_committed_results() -> None:
    data = {
        ("CUB, attributes", "TF-VAEGAN"): ("results", "CUB", "resnet_fc1000", "att"),
        ("CUB, sentences", "TF-VAEGAN"): ("results", "CUB", "resnet_fc1000", "sent"),
        ("FLO, sentences", "TF-VAEGAN"): ("results", "FLO", "mobilenet_v2_64px", "att"),
        ("CUB114, attributes", "TF-VAEGAN"): ("results-dazle", "CUB114", "mobilenet_v2", "att"),
        ("CUB114, attributes", "DAZLE"): ("results-dazle", "CUB114", "feature_map_mobilenet_v2_CUB114", "att"),
        ("RADAR (actions)", "TF-VAEGAN"): ("results-actions", "RADAR", "SqueezeNet_1024_T", "w2v_300_gzsl"),
    }
    readme = (PROJECT / "README.md").read_text(encoding="utf-8").replace("**", "")
    readme = readme.replace("\N{NO-BREAK SPACE}", " ").replace("\N{NON-BREAKING HYPHEN}", "-")
    lines = [line.strip("| ").split(" | ") for line in readme.splitlines()]
    rows = {(cells[0], cells[2]): cells[3:] for cells in lines if len(cells) == 8 and (cells[0], cells[2]) in data}
    assert rows.keys() == data.keys()
    for (name, method), (file, *place) in data.items():
        variants = build_variants(read_runs([PROJECT / "docs" / f"{file}.json"]))
        variants = [v for v in variants if v.data == tuple(place)]
        own = next(v for v in variants if v.name in (method, f"{method}, gate"))
        calibrated = {v.name: v.summary("val + calibration", "H") for v in variants if v.is_baseline}
        strongest = max(calibrated, key=lambda name: calibrated[name].mean)
        baseline = next(v for v in variants if v.name == strongest)
        rule = next(rule for rule in QUOTABLE if own.summary(rule, "H"))
        summaries = [own.summary(rule, m) for m in ("T1", "H")]
        summaries += [baseline.summary("val + calibration", m) for m in ("T1", "H")]
        texts = [cell_text(summary).partition(" (")[0] for summary in summaries]
        assert [*texts[:2], strongest, *texts[2:]] == rows[name, method]


def test_settings_that_differ_in_many_flags_are_numbered_and_explained(tmp_path) -> None:
    for seed in (1, 2):
        write_run(tmp_path, seed, 0.5, lr=2.718679041378583e-3, a1=0.2, a2=0.3, syn_num=238)
        write_run(tmp_path, seed, 0.4, lr=1e-4, a1=1.0, a2=1.0, syn_num=200)
    runs = read_runs([tmp_path])
    variants = {variant.name: variant for variant in build_variants(runs) if not variant.is_baseline}
    assert list(variants) == [f"{METHOD}, settings 1", f"{METHOD}, settings 2"]
    assert [variant.summary("last", "H").mean for variant in variants.values()] == pytest.approx([0.5, 0.4])
    table = make_table(runs)
    assert "; settings 1: lr 0.002719, a1 0.2, a2 0.3, syn_num 238; settings 2: lr 0.0001, a1 1, a2 1, syn_num 200" in table
    (line,) = (line for line in table.splitlines() if "settings 2" in line and "| last epoch" in line)
    assert "lr" not in line
    build_pairs(list(variants.values()), *variants, ["last"], ["H"])


def test_how_a_run_is_computed_makes_no_variant_and_rules_without_results_no_pair(tmp_path) -> None:
    for seed in (1, 2):
        write_run(tmp_path, seed, 0.5, memory=float(seed), cuda_graphs=seed == 1)
        write_run(tmp_path, seed, 0.4, ABLATED)
    variants = build_variants(read_runs([tmp_path]))
    assert [variant.name for variant in variants] == [METHOD, ABLATED, "ESZSL"]
    pairs = build_pairs(variants, METHOD, ABLATED, list(RULES), ["H"])
    assert [pair.rule for pair in pairs] == ["paper", "last"]


def test_latex_escapes_what_latex_reads_otherwise(tmp_path: Path) -> None:
    write_run(tmp_path, 1, 0.5, "[a] 50 % & more_#1 {x} ~^\\$", dataset="MY_SET")
    table = make_table(read_runs([tmp_path]), style="latex")
    escaped = r"{[}a] 50 \% \& more\_\#1 \{x\} \textasciitilde{}\textasciicircum{}\textbackslash{}\$"
    assert f"{escaped} & last epoch" in table and r"\caption{MY\_SET" in table


def test_the_seeds_of_a_partition_make_one_pair() -> None:
    first = {(("manualSeed", seed), ("partition", k)): 0.5 + 0.1 * k for seed in (1, 2, 3) for k in (1, 2)}
    second = {pair: 0.5 for pair in first} | {(("manualSeed", 1), ("partition", 2)): 0.2}
    result = compare(first, second)
    assert result.n == 2 and result.p is None  # differences 0.1, 0.1, 0.1 and 0.5, 0.2, 0.2
    assert result.difference == pytest.approx((0.1 + 0.3) / 2)
    one_partition = {pair: value for pair, value in first.items() if pair[1][1] == 2}
    assert compare(one_partition, second).n == 3


def test_random_partitions_are_data_of_their_own_and_paired_by_number(tmp_path: Path) -> None:
    write_run(tmp_path, 1, 0.9)
    for number, h, without in ((1, 0.50, 0.41), (2, 0.54, 0.46), (3, 0.58, 0.48)):
        write_run(tmp_path, 1, h, partition=number)
        write_run(tmp_path, 1, without, ABLATED, partition=number)
    runs = read_runs([tmp_path])
    variants = {(variant.data[0], variant.name): variant for variant in build_variants(runs)}
    drawn = variants["CUB (random partitions)", METHOD]
    summary, published = drawn.summary("last", "H"), variants["CUB", METHOD].summary("last", "H")
    assert (summary.mean, summary.sd, summary.n) == (pytest.approx(0.54), pytest.approx(0.04), 3)
    assert (published.mean, published.sd, published.n) == (0.9, None, 1)
    ablated = variants["CUB (random partitions)", ABLATED]
    result = compare(drawn.values("last", "H"), ablated.values("last", "H"))
    assert result.n == 3 and result.difference == pytest.approx((0.09 + 0.08 + 0.10) / 3) and result.p is None
    caption = conditions([drawn])
    assert "split drawn at random, 2 seen" in caption and "partitions 1 to 3" in caption
    assert "lacks" not in make_table(runs)
