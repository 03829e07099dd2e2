"""How the flags of a finished run, which result.json holds as a table, are read and shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

from zslab.config import VALIDATION_ONLY, ActionConfig, DazleConfig, ImageConfig
from zslab.config import parse_config as parse_config

# Flags that say where files lie or how to proceed; two runs that differ only in these give the same numbers.
WITHOUT_EFFECT = frozenset(
    field.name
    for kind in (ImageConfig, ActionConfig, DazleConfig)
    for field in fields(kind)
    if not field.metadata.get("affects_result", True)
)


def flag_text(value: object, digits: int = 4) -> str:
    """Return a flag's value as a reader wants it, a float with so many significant digits."""
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)


def is_validation_only(config: Mapping[str, object]) -> bool:
    """Return whether a run of these flags trains and measures on the validation split alone, as the trials of a search do."""
    return config.get("select") == VALIDATION_ONLY
