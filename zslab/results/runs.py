"""Finished runs as tables see them, read from run folders or from a file of collected results.

A collected file is a JSON list with a record for each run, one a line. It can be committed, so that the tables of docs/ can be
made again without the run folders:

    zslab table runs/ --save docs/results.json
    zslab table docs/results.json

The list may also hold quoted results, of which only means are known, such as the lines of a published table:

    {"type": "quote", "dataset": "CUB", "features": "res101", "descriptions": "att", "variant": "TF-VAEGAN, published",
     "note": "Narayan et al., ECCV 2020", "means": {"paper": {"T1": {"mean": 0.649}}}}
"""

import dataclasses
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Literal, get_args

import msgspec
from msgspec.structs import replace

from zslab.config import ActionConfig, DazleConfig, ImageConfig
from zslab.errors import InputError
from zslab.results.names import MeasureKey, Rule
from zslab.results.result import Row, read_result
from zslab.results.statistics import Repeat, Summary
from zslab.utils.files import converted, read_json, write_text

# Flags that tell runs of one variant apart, or that the table shows in columns of its own.
RepeatFlag = Literal["manualSeed", "split", "partition"]
REPEATS: Final[tuple[RepeatFlag, ...]] = get_args(RepeatFlag)
PARTITIONS = "random partitions"  # beside the data set's name: never averaged with its own split
DATA_FLAGS = ("dataset", "image_embedding", "class_embedding")
# Flags that say where files lie or how to proceed; two runs that differ only in these give the same numbers.
WITHOUT_EFFECT = frozenset(
    field.name
    for kind in (ImageConfig, ActionConfig, DazleConfig)
    for field in dataclasses.fields(kind)
    if not field.metadata.get("affects_result", True)
)
# A validation run beforehand adds selection rules and changes no other number; the rest says how a run is computed.
IRRELEVANT = (*WITHOUT_EFFECT, "select", "baselines", "device", "cuda_graphs", "deterministic", "memory")


class _OnData(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    dataset: str
    features: str
    descriptions: str
    variant: str

    @property
    def data(self) -> tuple[str, str, str]:
        """Data set, features and class descriptions."""
        return self.dataset, self.features, self.descriptions


class Quote(_OnData, frozen=True, kw_only=True, omit_defaults=True, tag="quote"):
    """A line of a table of which only means are known."""

    is_baseline: bool = False  #: whether it stands among the baselines
    note: str  #: source and conditions, for the caption
    means: dict[Rule, dict[MeasureKey, Summary]]  #: rule -> measure -> mean, sd and number of runs, as fractions


class Run(_OnData, frozen=True, kw_only=True, omit_defaults=True, tag="run"):
    """One finished run. Random partitions of the classes are a data set of their own, "CUB (random partitions)"."""

    repeat: dict[RepeatFlag, int]  #: the seed, and the class split or random partition where there are several
    rows: list[Row]  #: in which something was measured
    config: dict[str, Any] = {}
    machine: str  #: device, processor and versions, for the caption
    facts: str = ""  #: sizes of features, class descriptions and split, for the caption
    seconds: float = 0.0  #: of training and evaluation
    fingerprint: dict[str, str] = {}  #: digests of the data's content and of its split
    notes: list[str] = []  #: of the run about itself
    path: Path | None = None  #: None for a run of a collected file

    @property
    def repetition(self) -> Repeat:
        """Which repetition of its variant the run is."""
        return tuple(self.repeat.items())

    @property
    def settings(self) -> dict[str, Any]:
        """The flags that make up the variant: neither its data nor its repetition."""
        apart = {*REPEATS, *DATA_FLAGS, *IRRELEVANT}
        return {flag: value for flag, value in self.config.items() if flag not in apart}


Record = Run | Quote


def read_runs(paths: Iterable[Path]) -> list[Record]:
    """Return the finished runs below `paths`, which are run folders, folders of them, or collected files."""
    runs: dict[str, Record] = {}
    for path in paths:
        found = list(_read(path))
        if not found:
            must, fix = "the folder must hold a result.json, of a finished run", "Check the path, or wait for a run to finish."
            raise InputError(must, where=path, got="none", fix=fix)
        for run in found:  # a run that is named twice counts once
            key = str(run.path.resolve()) if isinstance(run, Run) and run.path else repr(run)
            runs.setdefault(key, run)
    return list(runs.values())


def save_runs(path: Path, runs: Sequence[Record]) -> None:
    """Write the runs as a collected file, sorted, without anything that depends on where the folders lie."""
    collected: list[Record] = [
        replace(
            run,
            path=None,
            config={flag: value for flag, value in run.config.items() if flag not in IRRELEVANT},
            rows=[replace(row, about="") for row in run.rows],
        )
        for run in sorted((run for run in runs if isinstance(run, Run)), key=_order)
    ]
    collected += sorted((run for run in runs if isinstance(run, Quote)), key=lambda quote: (quote.data, quote.variant))
    lines = (json.dumps(msgspec.to_builtins(record), ensure_ascii=False, allow_nan=False) for record in collected)
    write_text(path, "[\n" + ",\n".join(lines) + "\n]\n")


def _order(run: Run) -> tuple[object, ...]:
    return run.data, run.variant, sorted(map(str, run.settings.items())), run.repetition


def _read(path: Path) -> Iterator[Record]:
    if path.is_file():
        yield from converted(read_json(path), list[Record], path, "Collect the runs again with zslab table ... --save.")
        return
    for file in sorted([path / "result.json"] if (path / "result.json").is_file() else path.rglob("result.json")):
        if file.parent.name != "validation":  # the first stage of `--select val`
            yield from _from_result(file)


def _from_result(path: Path) -> Iterator[Run]:
    result = read_result(path)
    config, data = result.config, result.data
    if result.validation_only:  # of a search
        return
    repeat = converted({flag: config[flag] for flag in REPEATS if config.get(flag) is not None}, dict[RepeatFlag, int], path)
    is_partition = "partition" in repeat
    split = "drawn at random" if is_partition else data.split_version
    yield Run(
        dataset=f"{data.dataset} ({PARTITIONS})" if is_partition else data.dataset,
        features=data.image_embedding,
        descriptions=data.class_embedding,
        variant=result.variant,
        repeat=repeat,
        rows=[row for row in result.rows if not row.is_empty],
        config=config,
        machine=f"{result.device}, {result.machine}, torch {result.torch}, zslab {result.version}",
        facts=(
            f"{data.feature_dim}-d features, {data.attribute_dim}-d class vectors, "
            f"{'split without validation lists' if split == 'none' else f'split {split}'}, "
            f"{len(data.seen_classes)} seen and {len(data.unseen_classes)} unseen classes"
        ),
        seconds=result.seconds,
        fingerprint=data.fingerprint,
        notes=result.notes,
        path=path.parent,
    )
