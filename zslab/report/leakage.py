"""List the unseen classes that a backbone's pretraining contains, with T1 on the clean and the contaminated ones apart.

    zslab leakage runs/CUB-resnet101-att-tfvaegan-inductive-seed1-0a1b2c3d
    zslab leakage unseen.txt --pretraining kinetics400

Classes are compared by name and synonyms, so read the list: it shows what matched with what.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from zslab.data.formats.table import read_names
from zslab.errors import ExitStatus
from zslab.features.pretraining import find_matches, pretraining_classes
from zslab.results.finished import class_recall, read_run
from zslab.results.text import percent


@dataclass(frozen=True)
class LeakageFlags:
    """What to compare with what."""

    source: tyro.conf.Positional[tuple[Path, ...]]  #: Folders of finished runs, or text files with a class a line.
    #: imagenet1k, kinetics400, or a text file with a class a line, synonyms separated by commas.
    pretraining: str = "imagenet1k"


def leakage(flags: LeakageFlags) -> int:
    """Describe every run or list of names; return 1 when at least one was refused."""
    status = ExitStatus()
    for source in flags.source:
        with status:
            run = read_run(source) if source.is_dir() else None
            data = run.result.data if run else None
            names = read_names(source) if data is None else [data.class_names[k] for k in data.unseen_classes]
            matches = find_matches(names, pretraining_classes(flags.pretraining))
            n_same = sum(match.same for match in matches.values())
            contained = f"{flags.pretraining} contains {n_same} by name and {len(matches) - n_same} related ones"
            print(f"{source}: of {len(names)} classes, {contained}")
            for match in sorted(matches.values(), key=lambda match: not match.same):
                print(f"  {match.name:<36} {'same as' if match.same else 'related to'} {match.pretrained}")
            if run is not None:
                kinds = [matches[name].same if name in matches else None for name in names]
                for rule in (rule for rule in ("val", "last") if f"{rule}_zsl_confusion" in run.arrays):
                    print(f"T1, {rule}:", group_accuracies(class_recall(run.arrays[f"{rule}_zsl_confusion"]), kinds))
    return status.code


def group_accuracies(recall: np.ndarray, kinds: list[bool | None]) -> str:
    """Return T1 over all unseen classes and over each group, with the number of classes that were tested.

    Args:
        recall: (u,) of each unseen class; NaN for one without test samples.
        kinds: whether the pretraining has the same class, or a related one (False), or none of its name (None).
    """
    groups = {"all": recall} | {
        name: recall[[each is kind for each in kinds]] for name, kind in (("clean", None), ("related", False), ("same", True))
    }
    tested = {name: values[~np.isnan(values)] for name, values in groups.items()}
    return ", ".join(f"{name} {percent(float(v.mean()) if len(v) else None)} ({len(v)})" for name, v in tested.items())
