"""Unseen classes that the backbone's pretraining contains, as `zslab leakage` stores them, and T1 with and without them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypedDict

import numpy as np

from zslab.features.pretraining import Match
from zslab.report.run import FinishedRun, class_recall
from zslab.report.shape import check_shape
from zslab.utils.files import read_json

FILE = "leakage.json"
GROUPS = ("all", "clean", "related", "same")


class StoredMatch(TypedDict):
    """A match as JSON holds it."""

    name: str
    pretrained: str
    same: bool


class Leakage(TypedDict):
    """The content of leakage.json: a list of pretraining classes, and the unseen classes that it contains."""

    pretraining: str
    matches: list[StoredMatch]


def read_leakage(run: FinishedRun) -> Leakage | None:
    """Return the content of leakage.json, or None where the run has none.

    Raises:
        InputError: The file is damaged.
    """
    path = run.path / FILE
    if not path.exists():
        return None
    content = read_json(path)
    check_shape(content, Leakage, path)
    return content  # type: ignore[return-value]  # checked just now


def stored(pretraining: str, matches: Iterable[Match]) -> Leakage:
    """Return what leakage.json holds."""
    listed: list[StoredMatch] = [{"name": m.name, "pretrained": m.pretrained, "same": m.same} for m in matches]
    return {"pretraining": pretraining, "matches": listed}


def class_groups(run: FinishedRun, leakage: Leakage) -> dict[str, np.ndarray]:
    """Return which unseen classes (u,) belong to each of GROUPS."""
    data, kind = run.result["data"], {match["name"]: match["same"] for match in leakage["matches"]}
    kinds = [kind.get(data["class_names"][index]) for index in data["unseen_classes"]]
    groups = zip(GROUPS[1:], (None, False, True))
    return {"all": np.ones(len(kinds), dtype=bool)} | {name: np.array([k is value for k in kinds]) for name, value in groups}


def accuracies(run: FinishedRun, leakage: Leakage) -> dict[str, dict[str, float | None]]:
    """Return selection -> group -> T1 over the classes of the group that have test samples; None without any."""
    rows = {}
    for rule in ("val", "last"):
        confusion = run.arrays.get(f"{rule}_zsl_confusion")
        if confusion is not None:
            recall = class_recall(confusion)
            tested = {name: recall[members & ~np.isnan(recall)] for name, members in class_groups(run, leakage).items()}
            rows[rule] = {name: float(values.mean()) if len(values) else None for name, values in tested.items()}
    return rows
