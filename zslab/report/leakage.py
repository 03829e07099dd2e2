"""Unseen classes that the backbone's pretraining contains, as `zslab leakage` stores them, and T1 with and without them."""

from __future__ import annotations

import msgspec
import numpy as np

from zslab.features.pretraining import Match
from zslab.results.finished import FinishedRun, class_recall
from zslab.results.names import RULES, Rule
from zslab.results.text import percent
from zslab.utils.files import converted, read_json

FILE = "leakage.json"
GROUPS = ("all", "clean", "related", "same")


class Leakage(msgspec.Struct):
    """The content of leakage.json: a list of pretraining classes, and the unseen classes that it contains."""

    pretraining: str
    matches: list[Match]


def class_groups(run: FinishedRun, leakage: Leakage) -> dict[str, np.ndarray]:
    """Return which unseen classes (u,) belong to each of GROUPS."""
    data, same = run.result.data, {match.name: match.same for match in leakage.matches}
    kinds = [same.get(data.class_names[index]) for index in data.unseen_classes]
    groups = zip(GROUPS[1:], (None, False, True))
    return {"all": np.ones(len(kinds), dtype=bool)} | {name: np.array([k is value for k in kinds]) for name, value in groups}


def accuracies(run: FinishedRun, leakage: Leakage) -> dict[Rule, dict[str, float | None]]:
    """Return rule -> group -> T1 over the classes of the group that have test samples; None without any."""
    rows: dict[Rule, dict[str, float | None]] = {}
    rules: tuple[Rule, ...] = ("val", "last")
    for rule in rules:
        confusion = run.arrays.get(f"{rule}_zsl_confusion")
        if confusion is not None:
            recall = class_recall(confusion)
            tested = {name: recall[members & ~np.isnan(recall)] for name, members in class_groups(run, leakage).items()}
            rows[rule] = {name: float(values.mean()) if len(values) else None for name, values in tested.items()}
    return rows


def leakage_table(run: FinishedRun) -> dict[str, object] | None:
    """Return what the report shows of leakage.json; None where the run has none."""
    path = run.path / FILE
    if not path.exists():
        return None
    leakage = converted(read_json(path), Leakage, path, "Delete the file, or make it again with zslab leakage.")
    sizes = class_groups(run, leakage)
    return {
        "pretraining": leakage.pretraining,
        "head": ["selection", *(f"{name} ({sizes[name].sum()})" for name in GROUPS)],
        "rows": [
            [RULES[rule], *(percent(values[name]) for name in GROUPS)] for rule, values in accuracies(run, leakage).items()
        ],
        "matches": [(match.name, match_text(match)) for match in leakage.matches],
    }


def match_text(match: Match) -> str:
    """Return what a class matched with."""
    return f"{'same as' if match.same else 'related to'} {match.pretrained}"
