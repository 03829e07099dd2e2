"""The text tables printed at the end of a run and of a sweep over seeds, class splits or both.

`format_rows(result)` takes result.json as a dict; `format_sweep(summarise([result, ...]))` does several runs.
Accuracies are fractions in the files and per cent in every table.
"""

from __future__ import annotations

import math
import statistics
import textwrap

from zsl.numbers import format_numbers
from zsl.report.folder import MEASURES, number

DASH = "–"
HEADINGS = {"T1": "T1", "acc_unseen": "u", "acc_seen": "s", "H": "H", "AUSUC": "AUSUC"}
_WIDTH = 110


def percent(value: object) -> str:
    """A fraction as per cent with one decimal; an en dash for null."""
    value = number(value)
    return DASH if math.isnan(value) else f"{100 * value:.1f}"


def area(result: dict, row_name: str) -> float | None:
    """The area under the seen/unseen curve that belongs to a row; curves are named like rows, in lower case or not."""
    return {name.lower(): value for name, value in result["AUSUC"].items()}.get(row_name.lower())


def chosen_at(row: dict) -> str:
    """Where a row's values were taken, as words; empty when nothing was chosen."""
    t1, h = row.get("T1_at"), row.get("H_at")
    if t1 == h:
        return t1 or ""
    return "; ".join(f"{name}: {at}" for name, at in (("T1", t1), ("H", h)) if at)


def headline(result: dict) -> list[str]:
    """Data set, features, class embedding, split and seed, in words."""
    data, number_of_split = result["data"], result["config"].get("split")
    return [
        f"{data['dataset']}", f"features {data['image_embedding']} ({data['feature_dim']}-d)",
        f"classes {data['class_embedding']} ({data['attribute_dim']}-d)", f"split {data['split_version']}",
        *([] if number_of_split is None else [f"class split {number_of_split}"]), f"seed {result['seed']}",
    ]


def format_rows(result: dict) -> str:
    """The table of one run: every row with its numbers in per cent, then each row's rule, then the notes."""
    table = [["", *HEADINGS.values(), "chosen at"]]
    for row in result["rows"]:
        values = [percent(row.get(measure)) for measure in MEASURES]
        table.append([row["row"], *values, percent(area(result, row["row"])), chosen_at(row)])
    parts = [result["title"], " · ".join(headline(result)), "", *_aligned(table), ""]
    label_width = max((len(row["row"]) for row in result["rows"]), default=0)
    for row in result["rows"]:
        parts += _hanging(f"{row['row']:<{label_width}} = ", row.get("rule") or "")
    parts += [line for note in result["notes"] for line in _hanging("note: ", note)]
    return "\n".join(parts).rstrip() + "\n"


def summarise(results: list[dict]) -> dict:
    """Gathers runs that differ in their seed, their class split or both.

    Returns:
        {"title", "headline": [str], "seeds": [int], "splits": [int or null], "over": str, "warnings": [str], "rows": [{"row",
        "rule", "T1", "acc_unseen", "acc_seen", "H", "AUSUC"}]}; each measure is {"mean", "sd" (over n−1; null for one run),
        "values": [per run]}, or null where no run has it.
    """
    first = results[0]
    rows = []
    for row in first["rows"]:
        name = row["row"]
        same = [(other, result) for result in results for other in result["rows"] if other["row"] == name]
        rule = row.get("rule")
        if any(other.get("rule") != rule for other, _ in same):  # what was chosen differs from run to run
            rule = f"{(rule or '').partition(':')[0]}, in each run for itself"
        entry: dict = {"row": name, "rule": rule}
        for measure in HEADINGS:
            values = [other.get(measure) if measure != "AUSUC" else area(result, name) for other, result in same]
            entry[measure] = _mean_sd([number(value) for value in values if not math.isnan(number(value))])
        rows.append(entry)
    seeds, splits = [result["seed"] for result in results], [result["config"].get("split") for result in results]
    seed_list = ", ".join(map(str, dict.fromkeys(seeds)))
    dropped = {f"seed {seed}" for seed in seeds}
    if len(set(splits)) == 1:
        over = f"{len(seeds)} seed{'s' * (len(seeds) > 1)} ({seed_list})"
    elif len(set(seeds)) == 1:
        over, dropped = f"{len(splits)} splits ({format_numbers(splits)})", set()
    else:
        over = f"{len(results)} runs (splits {format_numbers(sorted(set(splits)))}, seeds {seed_list})"
    common = [part for part in headline(first) if part not in dropped and all(part in headline(r) for r in results)]
    return {"title": first["title"], "headline": common, "seeds": seeds, "splits": splits, "over": over,
            "warnings": _other_data(results), "rows": rows}


def run_names(results: list[dict]) -> list[str]:
    """What tells each run of a sweep from the others, in words."""
    splits = [result["config"].get("split") for result in results]
    several = len(set(splits)) > 1
    return [f"split {split}, seed {result['seed']}" if several else f"seed {result['seed']}"
            for split, result in zip(splits, results, strict=True)]


def _other_data(results: list[dict]) -> list[str]:
    """Warnings about runs that were not trained on the same data, by the fingerprints of those that have one.

    All have the content in common, the lists of samples only those of the same class split.
    """
    groups: dict[str, dict[str, list[str]]] = {}  # what should be the same -> digest -> runs
    for name, result in zip(run_names(results), results, strict=True):
        digests = result["data"].get("fingerprint", {})
        of_split = "the split" if (split := result["config"].get("split")) is None else f"split {split}"
        for part, what in (("content", "the features, labels or attributes"), ("split", f"the lists of samples of {of_split}")):
            if part in digests:
                groups.setdefault(what, {}).setdefault(digests[part], []).append(name)
    return [
        f"These runs were trained on different data: {what} changed in between ("
        + "; ".join(f"{digest}: {', '.join(names)}" for digest, names in found.items())
        + "). A mean over them means nothing. Train those of the wrong data again with --overwrite."
        for what, found in groups.items() if len(found) > 1
    ]


def format_sweep(summary: dict) -> str:
    """The table over runs, mean ± sample standard deviation in per cent, from `summarise`."""
    table = [["", *HEADINGS.values(), "runs"]]
    for row in summary["rows"]:
        found = [row.get(measure) for measure in HEADINGS]
        counts = {len(value["values"]) for value in found if value}
        table.append([row["row"], *map(plus_minus, found), "/".join(map(str, sorted(counts))) or "0"])
    meaning = f"mean ± sd over {summary['over']}"
    warnings = [line for warning in summary["warnings"] for line in ["", *_hanging("WARNING: ", warning)]]
    return "\n".join([summary["title"], " · ".join([*summary["headline"], meaning]), "", *_aligned(table), *warnings]) + "\n"


def plus_minus(value: dict | None) -> str:
    """A measure of `summarise` as "12.3 ± 0.4"; an en dash for null."""
    if not value:
        return DASH
    return percent(value["mean"]) + ("" if value["sd"] is None else f" ± {percent(value['sd'])}")


def _mean_sd(values: list[float]) -> dict | None:
    if not values:
        return None
    sd = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "sd": sd, "values": values}


def _aligned(table: list[list[str]]) -> list[str]:
    """Pads columns: first and last to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = []
    for cells in table:
        middle = [cell.rjust(width) for cell, width in zip(cells[1:-1], widths[1:-1], strict=True)]
        lines.append("  ".join([cells[0].ljust(widths[0]), *middle, cells[-1]]).rstrip())
    rule = "-" * max(map(len, lines))
    return [lines[0], rule, *lines[1:]]


def _hanging(label: str, text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent=label, subsequent_indent=" " * len(label)) or [label.rstrip()]
