"""Finished runs as the tables see them, read from run folders or from a file of collected results.

A collected file is a JSON list with a record for each run, one a line. It can be committed, so that the tables of docs/ can be
made again without the run folders:

    zslab table runs/ --save docs/results.json
    zslab table docs/results.json

The list may also hold quoted results, of which only means are known, such as the lines of a published table:

    {"dataset": "CUB", "features": "res101", "descriptions": "att", "method": "TF-VAEGAN, published", "is_baseline": false,
     "note": "Narayan et al., ECCV 2020", "means": {"paper": {"T1": {"mean": 0.649, "sd": null, "n": 1}}}}
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from zslab.errors import InputError
from zslab.results.config import WITHOUT_EFFECT, is_validation_only
from zslab.utils.files import read_json, write_text

MEASURES = {"T1": "T1", "acc_unseen": "u", "acc_seen": "s", "H": "H", "AUSUC": "AUSUC"}
RULES = ("paper", "val", "val + calibration", "last", "validation")
SUFFIX = " + calibration"
# Flags that tell runs of one variant apart, or that the table shows in columns of its own.
REPEATS = ("manualSeed", "split", "partition")
PARTITIONS = "random partitions"  # beside the data set's name: never averaged with its own split
DATA_FLAGS = ("dataset", "image_embedding", "class_embedding")
# A validation run beforehand adds selection rules and changes no other number; the rest says how a run is computed.
IRRELEVANT = (*WITHOUT_EFFECT, "select", "device", "cuda_graphs", "deterministic", "memory")

Repeat = tuple[tuple[str, int], ...]  # (("manualSeed", 1), ("split", 3)): which repetition of its variant a run is
Scores = dict[str, dict[str, float]]  # selection rule -> measure -> value in [0, 1]


@dataclass(frozen=True)
class Run:
    """One finished run.

    Attributes:
        dataset, features, descriptions: names of data set, feature file and class descriptions. Random partitions of the
            classes are a data set of their own, "CUB (random partitions)".
        method: the method's name with what was left out, as the run's title has it.
        repeat: the seed, and the class split or random partition where there are several.
        scores: selection rule -> measure -> value in [0, 1]. Measures that the run lacks are absent.
        baselines: baseline -> the same for each baseline that the run computed.
        config: flag -> value.
        machine: device, processor and versions, for the caption.
        facts: sizes of features, class descriptions and split, for the caption.
        seconds: of training and evaluation.
        fingerprint: digests of the data's content and of its split.
        notes: what the run noted about itself.
        path: the run folder; None for a run of a collected file.
    """

    dataset: str
    features: str
    descriptions: str
    method: str
    repeat: Repeat
    scores: Scores
    baselines: dict[str, Scores]
    config: dict[str, object]
    machine: str
    facts: str = ""
    seconds: float = 0.0
    fingerprint: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    path: Path | None = field(default=None, compare=False)

    @property
    def data(self) -> tuple[str, str, str]:
        """Data set, features and class descriptions."""
        return self.dataset, self.features, self.descriptions

    @property
    def settings(self) -> dict[str, object]:
        """The flags that make up the variant: neither its data nor its repetition."""
        apart = {*REPEATS, *DATA_FLAGS, *IRRELEVANT}
        return {flag: value for flag, value in self.config.items() if flag not in apart}


@dataclass(frozen=True)
class Quote:
    """A line of a table of which only means are known.

    Attributes:
        dataset, features, descriptions, method: as in `Run`.
        is_baseline: whether it stands among the baselines.
        note: source and conditions, for the caption.
        means: selection rule -> measure -> "mean", "sd" (null for one run) and "n", as fractions.
    """

    dataset: str
    features: str
    descriptions: str
    method: str
    is_baseline: bool
    note: str
    means: dict[str, dict[str, dict[str, float | None]]]

    @property
    def data(self) -> tuple[str, str, str]:
        """Data set, features and class descriptions."""
        return self.dataset, self.features, self.descriptions


def read_runs(paths: Iterable[Path]) -> list[Run | Quote]:
    """Return the finished runs below `paths`, which are run folders, folders of them, or collected files.

    Raises:
        InputError: a path does not exist, holds no finished run, or holds a damaged one.
    """
    runs: dict[str, Run | Quote] = {}
    for path in paths:
        found = list(_read(path))
        if not found:
            raise InputError(
                "the folder holds no finished run",
                where=path,
                found="no result.json",
                expected="run folders, a folder of them, or a collected .json file",
                fix="Check the path, or wait until a run has finished.",
            )
        for run in found:  # a run that is named twice counts once
            key = str(run.path.resolve()) if isinstance(run, Run) and run.path else repr(run)
            runs.setdefault(key, run)
    return list(runs.values())


def save_runs(path: Path, runs: Sequence[Run | Quote]) -> None:
    """Write the runs as a collected file, sorted, without anything that depends on where the folders lie."""
    own = [run for run in runs if isinstance(run, Run)]
    ordered = sorted(own, key=lambda run: (run.data, run.method, sorted(map(str, run.settings.items())), run.repeat))
    configs = [{flag: value for flag, value in run.config.items() if flag not in IRRELEVANT} for run in ordered]
    records = [asdict(run) | {"repeat": dict(run.repeat), "config": config} for run, config in zip(ordered, configs)]
    quotes = sorted((run for run in runs if isinstance(run, Quote)), key=lambda quote: (quote.data, quote.method))
    everything = [{key: value for key, value in record.items() if key != "path"} for record in [*records, *map(asdict, quotes)]]
    lines = ",\n".join(json.dumps(record, ensure_ascii=False, allow_nan=False) for record in everything)
    write_text(path, f"[\n{lines}\n]\n")


def _read(path: Path) -> Iterator[Run | Quote]:
    if path.is_file():
        yield from _collected(path)
        return
    for file in sorted([path / "result.json"] if (path / "result.json").is_file() else path.rglob("result.json")):
        if file.parent.name == "validation":  # the first stage of `--select val`
            continue
        result = read_json(file)
        if isinstance(result, dict) and is_validation_only(dict(result.get("config") or {})):  # of a search
            continue
        yield _from_result(result, file.parent)


def _collected(path: Path) -> list[Run | Quote]:
    try:
        records: Any = read_json(path)
        return [
            Quote(**record) if "means" in record else Run(**record | {"repeat": tuple(record["repeat"].items())})
            for record in records
        ]
    except (TypeError, KeyError, AttributeError):
        raise InputError(
            "the file is not a list of collected runs",
            where=path,
            found="other content",
            expected="what `zslab table … --save` writes",
            fix="Collect the runs again with --save.",
        ) from None


def _from_result(result: object, folder: Path) -> Run:
    try:
        assert isinstance(result, Mapping)
        config, data = dict(result["config"]), result["data"]
        scores, baselines = _scores(result)
        machine = f"{result['device']}, {result['machine']}, torch {result['torch']}, zslab {result['version']}"
        repeat = tuple((flag, int(config[flag])) for flag in REPEATS if config.get(flag) is not None)
        dataset, features, descriptions = (str(data[flag]) for flag in DATA_FLAGS)
        split = str(data["split_version"])
        if config.get("partition") is not None:
            dataset, split = f"{dataset} ({PARTITIONS})", "drawn at random"
        method = str(result["title"]).rsplit(" on ", 1)[0]
        facts = (
            f"{data['feature_dim']}-d features, {data['attribute_dim']}-d class vectors, "
            f"{'split without validation lists' if split == 'none' else f'split {split}'}, "
            f"{len(data['seen_classes'])} seen and {len(data['unseen_classes'])} unseen classes"
        )
        seconds, notes = float(result["seconds"]), list(map(str, result["notes"]))
        fingerprint = {str(part): str(digest) for part, digest in data.get("fingerprint", {}).items()}
    except (KeyError, TypeError, ValueError, AssertionError) as error:
        raise InputError(
            "the result lacks a field or has one of the wrong kind",
            where=folder / "result.json",
            found=repr(error),
            expected="a file that a training script wrote",
            fix="Repeat that run with --overwrite, or leave its folder out.",
        ) from None
    run = (repeat, scores, baselines, config, machine, facts, seconds, fingerprint, notes, folder)
    return Run(dataset, features, descriptions, method, *run)


def _scores(result: Mapping[str, Any]) -> tuple[Scores, dict[str, Scores]]:
    """Return the scores of the run and those of its baselines, whose settings were chosen on validation."""
    scores: Scores = {}
    baselines: dict[str, Scores] = {}
    for row in result["rows"]:
        name, area = row["row"], result["AUSUC"].get(row["row"])
        values = {measure: row.get(measure) for measure in MEASURES} | ({} if area is None else {"AUSUC": area})
        measured = {measure: float(value) for measure, value in values.items() if value is not None}
        if not measured:
            continue
        if name in RULES:
            scores[name] = measured
        else:
            rule = "val + calibration" if name.endswith(SUFFIX) else "val"
            baselines.setdefault(name.removesuffix(SUFFIX), {})[rule] = measured
    return scores, baselines
