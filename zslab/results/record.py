"""One epoch's record: a line of metrics.jsonl."""

import json
from pathlib import Path
from typing import Annotated

import msgspec

from zslab.errors import InputError, readable

Metrics = dict[str, dict[str, Annotated[list[float], msgspec.Meta(min_length=1)]]]  # group -> measure -> a value per head epoch


class EpochRecord(msgspec.Struct, frozen=True):
    """What is recorded of one epoch."""

    epoch: Annotated[int, msgspec.Meta(ge=0)]  #: counted from 0
    losses: dict[str, float] = {}  #: means over the epoch's iterations
    seconds: float = 0.0  #: of training and evaluation
    status: dict[str, float] = {}  #: training state beside the losses, such as "lambda1"
    metrics: Metrics = {}  #: groups of measures; empty for an epoch without evaluation

    def __post_init__(self) -> None:
        for group, measures in self.metrics.items():
            if len({len(values) for values in measures.values()}) > 1:
                raise ValueError(f"the measures of {group} have different numbers of head epochs")

    def to_line(self) -> str:
        """Return the record as a line of metrics.jsonl; a value that is not finite raises ValueError."""
        return json.dumps(msgspec.to_builtins(self), allow_nan=False) + "\n"

    def values(self, group: str, measure: str) -> list[float]:
        """Return a measure's values over head epochs; none where it was not measured."""
        return self.metrics.get(group, {}).get(measure, [])

    def scalars(self) -> dict[str, float]:
        """Return "group/measure" -> number for TensorBoard; of a list over head epochs the last value."""
        flat = {f"losses/{name}": value for name, value in self.losses.items()} | self.status
        flat |= {f"{group}/{name}": values[-1] for group, measures in self.metrics.items() for name, values in measures.items()}
        return flat | {"seconds": self.seconds}


def read_records(path: Path) -> list[EpochRecord]:
    """Return the records of a metrics.jsonl, without what follows the last newline: a killed run leaves half a line."""
    with readable(path, "the run folder must have a record of each epoch", "Check the path, or train again.", (OSError,)):
        lines = path.read_bytes().split(b"\n")
    records = {}
    for number, line in enumerate(lines[:-1], start=1):
        if line.strip():
            try:
                record = msgspec.json.decode(line, type=EpochRecord)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                must, fix = "the line must be the record of an epoch", "Restore the file, or train again with --overwrite."
                raise InputError(must, where=f"{path}, line {number}", got=error, fix=fix) from None
            records[record.epoch] = record
    return [records[epoch] for epoch in sorted(records)]
