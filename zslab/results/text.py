"""A result as text: percentages, its facts in one line, and the table that a run prints at its end."""

from collections.abc import Sequence

from zslab.results.names import MEASURES
from zslab.results.result import Result, Row

DASH = "–"


def percent(share: float | None) -> str:
    """Return a share in percent with one decimal; an en dash for None."""
    return DASH if share is None else f"{100 * share:.1f}"


def flag_text(value: object, digits: int = 4) -> str:
    """Return a flag's value as a reader wants it, a float with so many significant digits."""
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)


def facts(result: Result) -> str:
    """Return data set, features, class embedding, split and seed in one line."""
    data, split = result.data, result.config.get("split")
    parts = [
        data.dataset,
        f"features {data.image_embedding} ({data.feature_dim}-d)",
        f"classes {data.class_embedding} ({data.attribute_dim}-d)",
        f"split {data.split_version}",
        *([] if split is None else [f"class split {split}"]),
        f"seed {result.seed}",
    ]
    return " · ".join(parts)


def format_rows(result: Result) -> str:
    """Return the table of one run: the method's rows and the strongest baselines in percent, and the verdict."""
    strongest = {row.title: row for measure in ("T1", "H") if (row := result.strongest_baseline(measure))}
    own = [row for row in result.rows if not row.baseline and not row.is_empty]
    # Where no unseen class was tested, the row of the validation classes stands alone, without rows of dashes.
    rows = [row for row in own if row.T1 is not None or row.H is not None] or own
    rows += strongest.values()
    lines = _aligned("selection", [(row.title, row) for row in rows], [row.chosen_at for row in rows])
    return "\n".join([result.title, facts(result), "", *lines, "", *result.verdict]).rstrip() + "\n"


def format_results(results: Sequence[Result]) -> str:
    """Return one table of several methods on the same data, a row each, and the baseline with the highest H."""
    rows = [(result.variant, row) for result in results if (row := result.headline)]
    baselines = [row for result in results if (row := result.strongest_baseline("H"))]
    best = max(baselines, key=lambda row: row.H or 0.0, default=None)
    return "\n".join(_aligned("", [*rows, *([(f"baseline: {best.title}", best)] if best else [])]))


def _aligned(heading: str, rows: Sequence[tuple[str, Row]], remarks: Sequence[str] = ()) -> list[str]:
    """Return the lines of a table of rows, under their names, with remarks behind them."""
    table = [[heading, *(measure.symbol for measure in MEASURES.values())]]
    table += [[name, *(percent(row.value(measure)) for measure in MEASURES)] for name, row in rows]
    behind = ["chosen at" if remarks else "", *(remarks or [""] * len(rows))]
    lines = [f"{line}  {remark}".rstrip() for line, remark in zip(aligned(table), behind, strict=True)]
    lines.insert(1, "-" * max(map(len, lines)))
    return lines


def aligned(table: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table of texts, the first column to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return ["  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:]))]) for row in table]
