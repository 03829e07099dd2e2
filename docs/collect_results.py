"""Turns finished runs into docs/results.json and the tables of docs/results.md.

    python docs/collect_results.py RUNS_FOLDER

Runs that differ in their seed only become one entry. Printed are Markdown tables, mean ± sample sd over the seeds, and
under each its command, machine and time; results.json holds the `last` rows, from which images/draw_figures.py draws
images/results.png.
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path

from zsl.runs.files import read_json, write_json

ROWS = ("paper", "val", "val + calibration", "last")
MEASURES = ("T1", "acc_unseen", "acc_seen", "H")
NOT_COMPARED = ("manualSeed", "dataroot", "output", "resume", "overwrite", "checkpoint_every")


def variant(result: dict) -> str:
    """The method's name as in the figure's legend."""
    words = result["title"].split(" on ")[0]
    for short in ("f-VAEGAN", "without feedback", "without transformation", "transductive"):
        if short in words:
            return short
    return "TF-VAEGAN"


def gather(folder: Path) -> list[list[dict]]:
    """Results of all finished runs below `folder`, in groups that differ in their seed only."""
    groups: dict[str, list[dict]] = {}
    for path in sorted(folder.rglob("result.json")):
        result = read_json(path)
        same = {key: value for key, value in result["config"].items() if key not in NOT_COMPARED}
        groups.setdefault(json.dumps(same, sort_keys=True), []).append(result)
    order = ("TF-VAEGAN", "without feedback", "without transformation", "f-VAEGAN", "transductive")
    return sorted(groups.values(), key=lambda g: (g[0]["data"]["dataset"], g[0]["data"]["image_embedding"],
                                                  g[0]["data"]["class_embedding"], order.index(variant(g[0]))))


def cell(values: list[float | None]) -> str:
    """Per cent, with the sample standard deviation where there are several."""
    found = [100 * value for value in values if value is not None]
    if not found:
        return "–"
    return f"{statistics.fmean(found):.1f}" + (f" ± {statistics.stdev(found):.1f}" if len(found) > 1 else "")


def values(group: list[dict], row: str, measure: str) -> list[float]:
    return [entry[measure] for result in group for entry in result["rows"] if entry["row"] == row]


def main(folder: Path) -> None:
    groups = gather(folder)
    entries, place = [], None
    for group in groups:
        data, config = group[0]["data"], group[0]["config"]
        here = (data["dataset"], data["image_embedding"], data["class_embedding"])
        common = dict(zip(("dataset", "features", "class_embedding"), here))
        if here != place:
            print(f"\n### {here[0]}, features {here[1]} ({data['feature_dim']}-d), classes {here[2]} "
                  f"({data['attribute_dim']}-d), split {data['split_version']}\n")
            print("| variant | epochs | seeds | row | T1 | u | s | H |\n|---|---|---|---|---|---|---|---|")
            for row in ("ESZSL", "ESZSL + calibration"):
                if values(group[:1], row, "T1"):
                    print(f"| {row} | – | {group[0]['seed']} | | "
                          + " | ".join(cell(values(group[:1], row, m)) for m in MEASURES) + " |")
            entries.append(common | {"variant": "ESZSL"}
                           | {m: values(group[:1], "ESZSL", m) for m in ("T1", "H")})
            place = here
        entries.append(common | {"variant": variant(group[0])} | {m: values(group, "last", m) for m in ("T1", "H")})
        seeds = ", ".join(str(result["seed"]) for result in group)
        for row in ROWS:
            if any(value is not None for value in values(group, row, "T1")):
                print(f"| {variant(group[0])} | {config['nepoch']} | {seeds} | {row} | "
                      + " | ".join(cell(values(group, row, m)) for m in MEASURES) + " |")
    print("\n### Commands\n")
    for group in groups:
        seconds = statistics.fmean(result["seconds"] for result in group)
        print(f"- {variant(group[0])}, {group[0]['data']['class_embedding']}: `{group[0]['command']}` "
              f"({group[0]['machine']}; PyTorch {group[0]['torch']}; {seconds / 60:.0f} min a seed)")
    write_json(Path(__file__).with_name("results.json"), entries)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
