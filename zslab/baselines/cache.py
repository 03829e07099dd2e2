"""Baselines are measured once for the same data, split, seed and code, however many runs are compared with them."""

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

import msgspec

from zslab import metrics
from zslab.baselines.comparison import run_baselines
from zslab.data.dataset import StageData
from zslab.results.result import Row
from zslab.utils.files import converted, make_folder, read_json, write_json

log = logging.getLogger("zslab")


class Kept(msgspec.Struct):
    """What a run keeps of a baseline."""

    name: str
    rows: list[Row]
    points: list[tuple[float, float]]  #: of its curve: seen and unseen accuracy


def kept_baselines(folder: Path, data: Sequence[object], seed: int, validation: StageData, test: StageData) -> list[Kept]:
    """Return the baselines of two stages, see `run_baselines`; read from a file of the folder if it has them.

    Args:
        folder: need not exist.
        data: what tells the data, and how they are read, from others.
        seed: of the run.
        validation: the stage to choose on.
        test: the stage to measure on.
    """
    code = [path.read_bytes() for path in sorted([*Path(__file__).parent.glob("*.py"), Path(metrics.__file__)])]
    key = hashlib.sha256(repr([*data, seed, test.stage, code]).encode()).hexdigest()[:16]
    path = folder / f"{key}.json"
    if path.exists():
        log.info("The baselines were measured before (%s).", path)
        return converted(read_json(path), list[Kept], path, "Delete the file.")
    results = run_baselines(validation, test, seed)
    kept = [Kept(result.name, result.rows, result.curve.points.tolist()) for result in results]
    make_folder(folder)
    write_json(path, msgspec.to_builtins(kept))
    return kept
