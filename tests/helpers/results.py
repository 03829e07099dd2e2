"""Results of runs: a minimal result.json, and the rows of finished runs."""

from pathlib import Path

from zslab.results.result import Row, read_result


def result_json(data: dict | None = None, **changes: object) -> dict:
    """A result.json with as little as is allowed; by default of three classes, the last one unseen."""
    texts = dict.fromkeys(("method", "variant", "version", "command", "device", "machine", "torch"), "x")
    names = dict.fromkeys(("dataset", "image_embedding", "class_embedding", "split_version"), "x")
    classes = {"class_names": ["a", "b", "c"], "seen_classes": [0, 1], "unseen_classes": [2]}
    sizes = {"feature_dim": 4, "attribute_dim": 2}
    whole = names | classes | sizes | (data or {})
    return texts | {"seed": 1, "seconds": 1.0, "config": {}, "rows": [], "data": whole} | changes


def read_rows(folder: Path) -> dict[str, Row]:
    """Return the rows of a run's result by rule, and those of the baselines by title."""
    rows = read_result(folder / "result.json").rows
    return {row.title if row.baseline else row.rule: row for row in rows}
