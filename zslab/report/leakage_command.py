"""List the unseen classes that a backbone's pretraining contains, with T1 on the clean and the contaminated ones apart.

    zslab leakage runs/CUB-resnet101-att-tfvaegan-inductive-seed1-0a1b2c3d
    zslab leakage unseen.txt --pretraining kinetics400

Classes are compared by name and synonyms, so read the list: it shows what matched with what. A run keeps the list and gets
a new report with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec
import tyro

from zslab.data.formats.table import read_names
from zslab.errors import ExitStatus
from zslab.features.pretraining import find_matches, pretraining_classes
from zslab.report.leakage import FILE, GROUPS, Leakage, accuracies, class_groups, match_text
from zslab.report.run import write_report
from zslab.results.finished import read_run
from zslab.results.names import RULES
from zslab.results.text import percent
from zslab.utils.files import write_json


@dataclass(frozen=True)
class LeakageFlags:
    """What to compare with what."""

    source: tyro.conf.Positional[tuple[Path, ...]]
    """Folders of finished runs, or text files with a class a line."""
    pretraining: str = "imagenet1k"
    """imagenet1k, kinetics400, or a text file with a class a line, synonyms separated by commas."""


def leakage(flags: LeakageFlags) -> int:
    """Describe every run or list of names; return 1 when at least one was refused."""
    status = ExitStatus()
    for source in flags.source:
        with status:
            describe(source, flags.pretraining)
    return status.code


def describe(source: Path, pretraining: str) -> None:
    """Print the matches of one source; for a run also its accuracies, which go into its report."""
    run = read_run(source) if source.is_dir() else None
    names = read_names(source) if run is None else [run.result.data.class_names[k] for k in run.result.data.unseen_classes]
    matches = sorted(find_matches(names, pretraining_classes(pretraining)).values(), key=lambda match: not match.same)
    same = sum(match.same for match in matches)
    print(f"{source}: of {len(names)} classes, {pretraining} contains {same} by name and {len(matches) - same} related ones")
    for match in matches:
        print(f"  {match.name:<36} {match_text(match)}")
    if run is None:
        return
    found = Leakage(pretraining, matches)
    sizes = class_groups(run, found)
    for rule, values in accuracies(run, found).items():
        print(f"T1, {RULES[rule]}:", ", ".join(f"{name} {percent(values[name])} ({sizes[name].sum()})" for name in GROUPS))
    write_json(run.path / FILE, msgspec.to_builtins(found))
    print(f"-> {write_report(run.path)}")
