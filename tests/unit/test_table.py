"""Tables over runs: grouping, means by hand, exact permutation tests, and every output style."""

from __future__ import annotations

import csv
import io
import itertools
import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from zslab.errors import InputError
from zslab.table.__main__ import main, make_table
from zslab.table.build import build_lines, build_variants, missing_cells
from zslab.table.figures import read_curve, write_figures
from zslab.table.runs import read_runs
from zslab.table.statistics import Summary, compare

METHOD, ABLATED = "TF-VAEGAN", "TF-VAEGAN, without feedback"


def write_run(
    root: Path, seed: int, h: float, method: str = METHOD, dataset: str = "CUB", select: str = "none", **flags: object
) -> Path:
    """Write a finished run with H = h, T1 = h + 0.1, and an ESZSL baseline with T1 0.3."""
    folder = root / f"{dataset}-{method}-{seed}-{select}-{'-'.join(map(str, flags.values()))}".replace(" ", "_")
    folder.mkdir(parents=True)
    scores = {"T1": h + 0.1, "acc_unseen": h, "acc_seen": h, "H": h}
    empty = dict.fromkeys(scores)
    rows = [
        {"row": "paper", **scores, "T1": h + 0.2},
        {"row": "val", **(scores if select == "val" else empty)},
        {"row": "last", **scores},
        {"row": "ESZSL", "T1": 0.3, "acc_unseen": 0.1, "acc_seen": 0.2, "H": 0.4 / 3},
        {"row": "ESZSL + calibration", "T1": 0.3, "acc_unseen": 0.2, "acc_seen": 0.2, "H": 0.2},
    ]
    data = {"dataset": dataset, "image_embedding": "resnet", "class_embedding": "att"}
    config = {"manualSeed": seed, "select": select, "threads": seed, "nepoch": 3, **data, **flags}
    result = {
        "title": f"{method} on {dataset}", "rows": rows, "AUSUC": {"last": h / 2, "ESZSL": 0.05}, "config": config,
        "data": data, "device": "cpu", "machine": "x", "torch": "2", "version": "1",
    }  # fmt: skip
    (folder / "result.json").write_text(json.dumps(result))
    records = [{"epoch": e, "zsl": {"acc": [0, h]}, "gzsl": {"acc_seen": [0, h], "H": [0, h - e / 100]}} for e in range(3)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder


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
    assert lines[ABLATED, "last"].best == frozenset()
    assert lines["ESZSL", "val"].best == frozenset()  # nothing to compare with under that rule
    assert missing_cells(variants) == [f"CUB resnet att: {ABLATED} lacks seed 3."]


def test_flags_tell_variants_of_one_name_apart_and_a_validation_run_joins_its_twin(tmp_path) -> None:
    write_run(tmp_path, 1, 0.5)
    write_run(tmp_path, 1, 0.5, select="val")
    write_run(tmp_path, 1, 0.6, syn_num=10)
    short, more = build_variants(read_runs([tmp_path]))[:2]
    assert {short.name, more.name} == {f"{METHOD}, syn_num None", f"{METHOD}, syn_num 10"}
    twin = short if short.name.endswith("None") else more
    assert set(twin.scores[("manualSeed", 1),]) == {"paper", "val", "last"} and len(twin.runs) == 2
    write_run(tmp_path / "again", 1, 0.51)
    with pytest.raises(InputError, match=r"same repetition and different results \(got seed 1, expected one run for each"):
        build_variants(read_runs([tmp_path]))


def test_a_run_named_twice_counts_once_and_folders_without_runs_are_refused(runs, tmp_path) -> None:
    assert len(read_runs([runs, *runs.iterdir()])) == 6
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no finished run"):
        read_runs([tmp_path / "empty"])
    (next(runs.iterdir()) / "result.json").write_text("{}")
    with pytest.raises(InputError, match=r"result.json: the result lacks a field .* \(got KeyError"):
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


def test_styles_hold_the_same_numbers(runs) -> None:
    loaded = read_runs([runs])
    tables = {style: make_table(loaded, style=style, rules=["last"], compare=[(METHOD, ABLATED)]) for style in
              ("md", "csv", "latex", "html")}  # fmt: skip
    assert f"| {METHOD} | last | **63.0 ± 3.6 (3)** | **53.0 ± 3.6 (3)** |" in tables["md"]
    assert (
        f"CUB resnet att, last, H: {METHOD} minus {ABLATED}: +9.0 points over 2 pairs, 95 % interval +8.0 to +10.0; "
        "fewer than 6 pairs, so no test can decide" in tables["md"]
    )
    assert r"TF-VAEGAN & last & \textbf{63.0 $\pm$ 3.6 (3)}" in tables["latex"] and tables["latex"].count("tabular") == 4
    assert "<b>63.0 ± 3.6 (3)</b>" in tables["html"]
    rows = list(csv.DictReader(io.StringIO(tables["csv"])))
    (h,) = (r for r in rows if (r["data set"], r["variant"], r["measure"]) == ("CUB", METHOD, "H"))
    assert float(h["mean"]) == pytest.approx(0.53) and h["n"] == "3"
    opened: list[str] = []

    class Tags(HTMLParser):
        def handle_starttag(self, tag: str, attrs: object) -> None:
            opened.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert opened.pop() == tag

    Tags().feed(tables["html"])
    assert not opened


def test_the_backbone_pivot_makes_features_a_column(tmp_path) -> None:
    for features in ("resnet", "mobilenet"):
        write_run(tmp_path, 1, 0.5, image_embedding=features)
        path = next(tmp_path.glob(f"*{features}*")) / "result.json"
        result = json.loads(path.read_text())
        result["data"]["image_embedding"] = features
        path.write_text(json.dumps(result))
    table = make_table(read_runs([tmp_path]), pivot="backbone", rules=["last"])
    assert table.count("| features | variant |") == 1
    assert f"| mobilenet | {METHOD} | last |" in table and f"| resnet | {METHOD} | last |" in table


def test_a_collected_file_makes_the_same_tables_and_goes_into_a_page(runs, tmp_path, capsys) -> None:
    page, collected = tmp_path / "page.md", tmp_path / "results.json"
    page.write_text("before\n<!-- tables begin -->\nold\n<!-- tables end -->\nafter\n")
    assert main([str(runs), "--save", str(collected)]) == 0
    printed = capsys.readouterr().out
    assert main([str(collected), "--into", str(page), "--save", str(tmp_path / "again.json")]) == 0
    assert collected.read_bytes() == (tmp_path / "again.json").read_bytes()
    assert sorted(page.read_text().splitlines()) == sorted(
        ["before", "<!-- tables begin -->", "", *printed.splitlines(), "", "<!-- tables end -->", "after"]
    )
    page.write_text("no marks")
    assert main([str(collected), "--into", str(page)]) == 1 and page.read_text() == "no marks"
    assert main([str(runs), "--compare", METHOD, "nothing"]) == 1
    assert "no variant has this name (got nothing, expected one of: TF-VAEGAN; " in capsys.readouterr().err


def test_curves_are_means_over_the_runs_of_a_variant(runs, tmp_path) -> None:
    variants = build_variants(read_runs([runs]))
    epochs, values = read_curve(variants[0], "H")
    assert epochs.tolist() == [1, 2, 3] and np.allclose(sorted(values[:, 2]), [0.48, 0.50, 0.55])
    written = write_figures(tmp_path / "figures", variants)
    assert {path.name for path in written} == {
        f"{kind}-{data}-resnet-att.png" for kind in ("curves", "bars") for data in ("CUB", "FLO")
    }
