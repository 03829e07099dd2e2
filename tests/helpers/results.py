"""The rows of finished runs."""

from __future__ import annotations

from pathlib import Path

from zslab.results.result import Row, read_result


def read_rows(folder: Path) -> dict[str, Row]:
    """Return the rows of a run's result by rule, and those of the baselines by title."""
    rows = read_result(folder / "result.json").rows
    return {row.title if row.baseline else row.rule: row for row in rows}
