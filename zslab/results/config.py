"""A tree's config dataclass from the command line, and the identity of a run.

Every flag is a field of the dataclass, its help the docstring under the field. Flags keep the release's spelling
(`--syn_num`), switches are `--gzsl` / `--no_gzsl`; unknown and abbreviated flags are errors.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import tyro

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Config = TypeVar("Config", bound="DataclassInstance")

VALIDATION_ONLY: Final = "only_val"  # value of --select: train and measure on the validation split alone
# Flags that say where files lie or how to proceed; two runs that differ only in these give the same numbers (with other
# `threads`, as on another machine, sums may be rounded otherwise).
NOT_PART_OF_IDENTITY = ("dataroot", "output", "resume", "overwrite", "checkpoint_every", "threads")


def parse_config(default: Config, argv: Sequence[str] | None, script: str, description: str) -> Config:
    """Return `default` changed by the flags of a command line.

    Exits with status 2 and a message naming the flag where one is unknown or has an impossible value.

    Args:
        default: the config without flags.
        argv: the flags; None takes those of this process.
        script: the file name for the help.
        description: the text for the help.
    """
    return tyro.cli(
        type(default), args=argv, default=default, prog=Path(script).name, description=description, use_underscores=True
    )


def config_dict(config: DataclassInstance) -> dict[str, Any]:
    """Return the config as JSON can hold it: flag -> value."""
    return {key: str(value) if isinstance(value, Path) else value for key, value in asdict(config).items()}


def flag_text(value: object, digits: int = 4) -> str:
    """Return a flag's value as a reader wants it, a float with so many significant digits."""
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)


def is_validation_only(config: Mapping[str, object]) -> bool:
    """Return whether a run of these flags trains and measures on the validation split alone, as the trials of a search do."""
    return config.get("select") == VALIDATION_ONLY


def config_digest(config: DataclassInstance) -> str:
    """Return eight hexadecimal digits that differ between configs that could give different numbers."""
    identity = {key: value for key, value in config_dict(config).items() if key not in NOT_PART_OF_IDENTITY}
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:8]
