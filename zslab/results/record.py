"""One epoch's record in metrics.jsonl."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

from zslab.errors import InputError

Metrics = dict[str, dict[str, list[float]]]  # group -> measure -> one value per head epoch


@dataclass(frozen=True)
class EpochRecord:
    """What is recorded of one epoch.

    Attributes:
        epoch: 0-based.
        losses: means over the epoch's iterations.
        seconds: of training and evaluation.
        status: training state beside the losses, such as "lambda1".
        metrics: groups of measures; empty for an epoch without evaluation.
    """

    epoch: int
    losses: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    status: dict[str, float] = field(default_factory=dict)
    metrics: Metrics = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the record as one line of metrics.jsonl holds it: status and groups stand beside epoch and losses."""
        return {"epoch": self.epoch, "losses": self.losses, **self.status, **self.metrics, "seconds": self.seconds}

    @classmethod
    def from_json(cls, line: dict[str, Any]) -> EpochRecord:
        """Return the record of a line of metrics.jsonl.

        Raises:
            InputError: a value is of another kind than training writes.
        """
        others = {key: value for key, value in line.items() if key not in ("epoch", "losses", "seconds")}
        record = cls(
            line["epoch"],
            line.get("losses", {}),
            line.get("seconds", 0.0),
            status={key: value for key, value in others.items() if not isinstance(value, dict)},
            metrics={key: value for key, value in others.items() if isinstance(value, dict)},
        )
        numbers = [record.seconds, *record.status.values()]
        lists = [values for measures in record.metrics.values() for values in measures.values()]
        alike = isinstance(record.losses, dict) and all(isinstance(values, list) and values for values in lists)
        if not alike or not all(map(_is_number, itertools.chain(numbers, record.losses.values(), *lists))):
            raise InputError(
                "the record of an epoch has values of another kind",
                where=f"metrics.jsonl, epoch {record.epoch}",
                found=line,
                expected="numbers, and lists of numbers over head epochs",
                fix="The file was changed outside this program: restore it, or train again with --overwrite.",
            )
        return record

    def values(self, group: str, measure: str) -> list[float]:
        """Return a measure's values over head epochs; none where it was not measured."""
        return self.metrics.get(group, {}).get(measure, [])

    def scalars(self) -> dict[str, float]:
        """Return "group/measure" -> number for TensorBoard; of a list over head epochs the last value."""
        flat = {f"losses/{name}": value for name, value in self.losses.items()} | self.status
        flat |= {f"{group}/{name}": values[-1] for group, measures in self.metrics.items() for name, values in measures.items()}
        return flat | {"seconds": self.seconds}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
