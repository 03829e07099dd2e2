"""The text tables that a run and a sweep print at their end.

`format_rows(result)` takes the content of result.json; `format_sweep(summarize([result, ...]))` several of them.
Accuracies are fractions in the files and per cent in every table.
"""

from __future__ import annotations

import math
import statistics
import textwrap
from collections.abc import Sequence
from typing import Literal, TypedDict

from zslab.int_ranges import format_numbers
from zslab.report.run import MEASURES, Result, Row, number

DASH = "–"
Heading = Literal["T1", "acc_unseen", "acc_seen", "H", "AUSUC"]
HEADINGS: dict[Heading, str] = {"T1": "T1", "acc_unseen": "u", "acc_seen": "s", "H": "H", "AUSUC": "AUSUC"}
_WIDTH = 110


class Spread(TypedDict):
    """A measure over several runs: mean, sample standard deviation (null for one run), and the value of each run."""

    mean: float
    sd: float | None
    values: list[float]


class SummaryRow(TypedDict):
    """A selection rule or baseline over several runs; a measure is null where no run has it."""

    row: str
    rule: str | None
    T1: Spread | None
    acc_unseen: Spread | None
    acc_seen: Spread | None
    H: Spread | None
    AUSUC: Spread | None


class Summary(TypedDict):
    """Several runs that differ in their seed, their class split or both; the content of summary.json."""

    title: str
    headline: list[str]
    seeds: list[int]
    splits: list[int | None]
    over: str
    warnings: list[str]
    rows: list[SummaryRow]


def percent(value: object) -> str:
    """Return a fraction as per cent with one decimal; an en dash for null."""
    fraction = number(value)
    return DASH if math.isnan(fraction) else f"{100 * fraction:.1f}"


def area(result: Result, row_name: str) -> float | None:
    """Return the area under the seen/unseen curve of a row; curves are named like rows, in lower case or not."""
    return {name.lower(): value for name, value in result["AUSUC"].items()}.get(row_name.lower())


def chosen_at(row: Row) -> str:
    """Return which epoch a row's values come from, as text; empty when none was chosen."""
    t1, h = row.get("T1_at"), row.get("H_at")
    if t1 == h:
        return t1 or ""
    return "; ".join(f"{name}: {at}" for name, at in (("T1", t1), ("H", h)) if at)


def headline(result: Result) -> list[str]:
    """Return data set, features, class embedding, split and seed as text."""
    data, split = result["data"], result["config"].get("split")
    return [
        f"{data['dataset']}",
        f"features {data['image_embedding']} ({data['feature_dim']}-d)",
        f"classes {data['class_embedding']} ({data['attribute_dim']}-d)",
        f"split {data['split_version']}",
        *([] if split is None else [f"class split {split}"]),
        f"seed {result['seed']}",
    ]


def format_rows(result: Result) -> str:
    """Return the table of one run: all rows in per cent, then what each selection means, then the notes."""
    table = [["selection", *HEADINGS.values(), "chosen at"]]
    for row in result["rows"]:
        values = [percent(row.get(measure)) for measure in MEASURES]
        table.append([row["row"], *values, percent(area(result, row["row"])), chosen_at(row)])
    parts = [result["title"], " · ".join(headline(result)), "", *_aligned(table), ""]
    label_width = max((len(row["row"]) for row in result["rows"]), default=0)
    for row in result["rows"]:
        parts += _hanging(f"{row['row']:<{label_width}} = ", row.get("rule") or "")
    parts += [line for note in result["notes"] for line in _hanging("note: ", note)]
    return "\n".join(parts).rstrip() + "\n"


def summarize(results: Sequence[Result]) -> Summary:
    """Return means and standard deviations over runs that differ in their seed, their class split or both."""
    first = results[0]
    seeds = [result["seed"] for result in results]
    splits = [_split_number(result) for result in results]
    seed_list = ", ".join(map(str, dict.fromkeys(seeds)))
    varying = {f"seed {seed}" for seed in seeds}
    numbered = sorted({split for split in splits if split is not None})
    if len(set(splits)) == 1:
        over = f"{len(seeds)} seed{'s' * (len(seeds) > 1)} ({seed_list})"
    elif len(set(seeds)) == 1:
        over, varying = f"{len(splits)} splits ({format_numbers(numbered)})", set()
    else:
        over = f"{len(results)} runs (splits {format_numbers(numbered)}, seeds {seed_list})"
    common = [part for part in headline(first) if part not in varying and all(part in headline(r) for r in results)]
    return {
        "title": first["title"],
        "headline": common,
        "seeds": seeds,
        "splits": splits,
        "over": over,
        "warnings": _warn_of_other_data(results),
        "rows": [_summarize_row(row, results) for row in first["rows"]],
    }


def _summarize_row(row: Row, results: Sequence[Result]) -> SummaryRow:
    """Return one row of the first run over all runs."""
    same = [(other, result) for result in results for other in result["rows"] if other["row"] == row["row"]]
    rule = row.get("rule")
    if any(other.get("rule") != rule for other, _ in same):  # what was chosen differs from run to run
        rule = f"{(rule or '').partition(':')[0]}, in each run for itself"

    def spread(measure: Heading) -> Spread | None:
        values = [number(area(result, row["row"]) if measure == "AUSUC" else other.get(measure)) for other, result in same]
        values = [value for value in values if not math.isnan(value)]
        if not values:
            return None
        sd = statistics.stdev(values) if len(values) > 1 else None
        return {"mean": statistics.fmean(values), "sd": sd, "values": values}

    return {
        "row": row["row"],
        "rule": rule,
        "T1": spread("T1"),
        "acc_unseen": spread("acc_unseen"),
        "acc_seen": spread("acc_seen"),
        "H": spread("H"),
        "AUSUC": spread("AUSUC"),
    }


def run_names(results: Sequence[Result]) -> list[str]:
    """Return what tells each run of a sweep from the others: "seed 3" or "split 2, seed 3"."""
    splits = [_split_number(result) for result in results]
    several = len(set(splits)) > 1
    return [
        f"split {split}, seed {result['seed']}" if several else f"seed {result['seed']}"
        for split, result in zip(splits, results)
    ]


def _split_number(result: Result) -> int | None:
    """Return the number of the class split, for data sets that have several."""
    split = result["config"].get("split")
    return split if isinstance(split, int) else None


def _warn_of_other_data(results: Sequence[Result]) -> list[str]:
    """Return warnings about runs that were not trained on the same data, by their fingerprints.

    All runs share features, labels and attributes; only runs of the same class split share the lists of samples.
    """
    groups: dict[str, dict[str, list[str]]] = {}  # part that should be the same -> digest -> runs
    for name, result in zip(run_names(results), results):
        digests = result["data"].get("fingerprint", {})
        split = _split_number(result)
        lists = f"the lists of samples of {'the split' if split is None else f'split {split}'}"
        for key, part in (("content", "the features, labels or attributes"), ("split", lists)):
            if key in digests:
                groups.setdefault(part, {}).setdefault(digests[key], []).append(name)
    return [
        f"These runs were trained on different data: {part} changed in between ("
        + "; ".join(f"{digest}: {', '.join(names)}" for digest, names in runs.items())
        + "). A mean over them means nothing. Train those of the wrong data again with --overwrite."
        for part, runs in groups.items()
        if len(runs) > 1
    ]


def format_sweep(summary: Summary) -> str:
    """Return the table over runs, mean ± sample standard deviation in per cent."""
    table = [["selection", *HEADINGS.values(), "runs"]]
    for row in summary["rows"]:
        spreads = [row[measure] for measure in HEADINGS]
        counts = sorted({len(spread["values"]) for spread in spreads if spread})
        table.append([row["row"], *map(plus_minus, spreads), "/".join(map(str, counts)) or "0"])
    facts = " · ".join([*summary["headline"], f"mean ± sd over {summary['over']}"])
    warnings = [line for warning in summary["warnings"] for line in ["", *_hanging("WARNING: ", warning)]]
    return "\n".join([summary["title"], facts, "", *_aligned(table), *warnings]) + "\n"


def plus_minus(spread: Spread | None) -> str:
    """Return a measure of a summary as "12.3 ± 0.4"; an en dash for null."""
    if not spread:
        return DASH
    return percent(spread["mean"]) + ("" if spread["sd"] is None else f" ± {percent(spread['sd'])}")


def _aligned(table: list[list[str]]) -> list[str]:
    """Return the table's lines: first and last column aligned to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = []
    for cells in table:
        middle = [cell.rjust(width) for cell, width in zip(cells[1:-1], widths[1:-1], strict=True)]
        lines.append("  ".join([cells[0].ljust(widths[0]), *middle, cells[-1]]).rstrip())
    rule = "-" * max(map(len, lines))
    return [lines[0], rule, *lines[1:]]


def _hanging(label: str, text: str) -> list[str]:
    """Return `text` as wrapped lines that hang below `label`."""
    return textwrap.wrap(text, _WIDTH, initial_indent=label, subsequent_indent=" " * len(label)) or [label.rstrip()]
