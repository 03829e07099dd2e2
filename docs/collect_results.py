"""Puts the numbers of finished runs into a page of docs/ (between its two marks) and into a .json of the same name.

    python docs/collect_results.py RUNS_FOLDER results.md
    python docs/collect_results.py RUNS_FOLDER results-dazle.md

Runs that differ in their seed only become one line: mean ± sample sd over the seeds, in per cent. The .json holds the `last`
rows; from results.json images/draw_figures.py draws images/results.png.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path

from zslab.fileio import read_json, write_json, write_text
from zslab.runs.config import NOT_PART_OF_IDENTITY

HERE = Path(__file__).resolve().parent
BEGIN, END = "<!-- tables begin -->\n", "<!-- tables end -->"
ROWS = ("paper", "val", "val + calibration", "last")
FLOORS = ("ESZSL", "ESZSL + calibration")
MEASURES = ("T1", "acc_unseen", "acc_seen", "H")
VARIANTS = ("TF-VAEGAN", "without feedback", "without transformation", "f-VAEGAN", "transductive")


def variant(result: dict) -> str:
    """Return the method's name as in the figure's legend; of DAZLE with what was left out."""
    title = result["title"].split(" on ")[0]
    if title.startswith("DAZLE"):
        return title if result["config"]["w2v"] else f"{title}, without word vectors"
    return next((name for name in VARIANTS[1:] if name in title), VARIANTS[0])


def gather(folder: Path) -> list[list[dict]]:
    """Results of all finished runs below `folder`, in groups that differ in their seed only."""
    groups: dict[str, list[dict]] = {}
    for path in sorted(folder.rglob("result.json")):
        result = read_json(path)
        if path.with_name("pointing.json").exists():
            result["pointing"] = read_json(path.with_name("pointing.json"))
        # A validation run beforehand adds the row `val` and changes no other.
        apart = (*NOT_PART_OF_IDENTITY, "manualSeed", "select")
        same = {key: value for key, value in result["config"].items() if key not in apart}
        groups.setdefault(json.dumps(same, sort_keys=True), []).append(result)
    return sorted(groups.values(), key=lambda group: (*place(group[0]), rank(variant(group[0]))))


def rank(name: str) -> tuple[int, str]:
    """Variants in the order of VARIANTS, others by name."""
    return (VARIANTS.index(name), "") if name in VARIANTS else (len(VARIANTS), name)


def place(result: dict) -> tuple[str, str, str]:
    """Return Data set, features, class descriptions."""
    return tuple(result["data"][key] for key in ("dataset", "image_embedding", "class_embedding"))


def values(group: list[dict], row: str, measure: str) -> list[float]:
    """One value a seed, in [0, 1]; seeds without it are left out."""
    found = [entry[measure] for result in group for entry in result["rows"] if entry["row"] == row]
    return [value for value in found if value is not None]


def cell(found: list[float]) -> str:
    """Per cent, with the sample standard deviation where there are several."""
    if not found:
        return "–"
    sd = f" ± {100 * statistics.stdev(found):.1f}" if len(found) > 1 else ""
    return f"{100 * statistics.fmean(found):.1f}{sd}"


def pointing(group: list[dict]) -> list[float]:
    """Share of attention peaks on the attribute's part, one value a seed, where the data tell where parts are."""
    return [result["pointing"]["overall"]["peak"] for result in group if "pointing" in result]


def line(group: list[dict], name: str, row: str) -> str:
    """Return a line of the table for one group of runs."""
    seeds = ", ".join(str(result["seed"]) for result in sorted(group, key=lambda r: r["seed"]) if values([result], row, "T1"))
    return f"| {name} | {row} | " + " | ".join(cell(values(group, row, m)) for m in MEASURES) + f" | {seeds} |"


def main(folder: Path, page_name: str) -> None:
    """Write the page and its .json."""
    groups, text, entries = gather(folder), [], []
    for here in dict.fromkeys(place(group[0]) for group in groups):
        members = [group for group in groups if place(group[0]) == here]
        data = members[0][0]["data"]
        everyone = [result for group in members[:1] for result in group]
        text += [
            f"### {here[0]}: features {here[1]} ({data['feature_dim']}-d), classes {here[2]} ({data['attribute_dim']}-d), "
            f"split {data['split_version']}, {len(data['seen_classes'])} seen and {len(data['unseen_classes'])} unseen classes",
            "",
            "| variant | row | T1 | u | s | H | seeds |",
            "|---|---|---|---|---|---|---|",
        ]
        named = dict(zip(("dataset", "features", "class_embedding"), here))
        pointed: list[str] = []
        for group in members:
            name = f"{variant(group[0])}, {group[0]['config']['nepoch']} epochs"
            text += [line(group, name, row) for row in ROWS if values(group, row, "T1")]
            if pointing(group):
                pointed.append(f"{name}: {cell(pointing(group))}")
            entries.append(named | {"variant": variant(group[0])} | {m: values(group, "last", m) for m in ("T1", "H")})
        text += [line(everyone, "closed form", row) for row in FLOORS]
        entries.append(named | {"variant": "ESZSL"} | {m: values(everyone, "ESZSL", m) for m in ("T1", "H")})
        machines = sorted({f"{result['machine']}, PyTorch {result['torch']}" for group in members for result in group})
        minutes = sorted(result["seconds"] / 60 for group in members for result in group)
        if pointed:
            where = "Attention peaks on the attribute's part (row `val` where there is one, else `last`)"
            text += ["", f"{where}: {'; '.join(pointed)}."]
        text += ["", f"{'; '.join(machines)}; {minutes[0]:.0f} to {minutes[-1]:.0f} minutes a run.", ""]
    path = HERE / page_name
    page = path.read_text(encoding="utf-8")
    before, rest = page.split(BEGIN, 1)
    write_text(path, before + BEGIN + "\n" + "\n".join(text) + "\n" + rest[rest.index(END) :])
    for entry in entries:
        entry |= {measure: [round(value, 4) for value in entry[measure]] for measure in ("T1", "H")}
    write_json(path.with_suffix(".json"), entries)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="holds run folders, at any depth")
    parser.add_argument("page", choices=("results.md", "results-dazle.md"))
    arguments = parser.parse_args()
    main(arguments.folder, arguments.page)
