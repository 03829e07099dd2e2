"""Search spaces: which flags a search varies, and within which bounds. The numbers are in `search_space.py` of each tree."""

from __future__ import annotations

import runpy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, cast

from zslab.errors import InputError

if TYPE_CHECKING:
    import optuna


@dataclass(frozen=True)
class Float:
    """A real number from `low` to `high`; `log` draws its logarithm evenly."""

    low: float
    high: float
    log: bool = False

    def suggest(self, trial: optuna.Trial, flag: str) -> float:
        """Let Optuna choose a value."""
        return trial.suggest_float(flag, self.low, self.high, log=self.log)


@dataclass(frozen=True)
class Integer:
    """A whole number from `low` to `high`; `log` draws its logarithm evenly."""

    low: int
    high: int
    log: bool = False

    def suggest(self, trial: optuna.Trial, flag: str) -> int:
        """Let Optuna choose a value."""
        return trial.suggest_int(flag, self.low, self.high, log=self.log)


@dataclass(frozen=True)
class Choice:
    """One of several values."""

    values: tuple[str | int | float | bool, ...]

    def suggest(self, trial: optuna.Trial, flag: str) -> str | int | float | bool:
        """Let Optuna choose a value."""
        return cast("str | int | float | bool", trial.suggest_categorical(flag, self.values))


Space: TypeAlias = Mapping[str, Float | Integer | Choice]


def read_space(path: Path, script: str) -> Space:
    """Return the search space of a training script from a tree's `search_space.py`.

    Raises:
        InputError: the file is missing, or has no space for the script.
    """
    spaces = runpy.run_path(str(path)).get("SPACES", {}) if path.is_file() else {}
    if script not in spaces:
        raise InputError(
            "there is no search space",
            where=path,
            found=", ".join(spaces) or "no SPACES",
            expected=f"SPACES with {script!r}",
            fix="Add it to the file, or name another file with --space.",
        )
    return cast(Space, spaces[script])
