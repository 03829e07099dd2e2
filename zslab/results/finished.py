"""A finished run as its folder holds it, for reports, export and notebooks."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from zslab.data.checks import array
from zslab.errors import readable
from zslab.results.record import EpochRecord, read_records
from zslab.results.result import Data, Result, read_result

FIX = "Restore the file, delete it to do without its plots, or train again with --overwrite."


@dataclass(frozen=True)
class FinishedRun:
    """The content of a run folder."""

    path: Path
    result: Result
    epochs: list[EpochRecord]
    validation_epochs: list[EpochRecord] = field(default_factory=list)  #: empty if there was no validation run
    arrays: dict[str, np.ndarray] = field(default_factory=dict)  #: of evaluation.npz; empty if the method writes none


def read_run(folder: Path) -> FinishedRun:
    """Read result.json, metrics.jsonl and, if they exist, validation/metrics.jsonl and evaluation.npz."""
    folder = Path(folder)
    result = read_result(folder / "result.json")
    validation, arrays = folder / "validation" / "metrics.jsonl", folder / "evaluation.npz"
    return FinishedRun(
        path=folder,
        result=result,
        epochs=[] if result.validation_only else read_records(folder / "metrics.jsonl"),
        validation_epochs=read_records(validation) if validation.exists() else [],
        arrays=_checked(read_arrays(arrays), result.data, arrays) if arrays.exists() else {},
    )


def read_arrays(path: Path, fix: str = FIX) -> dict[str, np.ndarray]:
    """Return the arrays of a .npz file by name."""
    with readable(path, "the file must be an archive of arrays, as training writes it", fix):
        content = np.load(path, allow_pickle=False)
        if not isinstance(content, np.lib.npyio.NpzFile):
            raise ValueError("a single array")
        with content:
            arrays = dict(content)
        if not all(isinstance(array, np.ndarray) for array in arrays.values()):
            raise ValueError("members that are no arrays")
        return arrays


def class_recall(confusion: np.ndarray) -> np.ndarray:
    """Return the share of each class's samples that is predicted correctly, (C,), from counts (C, C); NaN without samples."""
    total = confusion.sum(axis=1)
    return np.where(total > 0, np.diag(confusion) / np.maximum(total, 1), np.nan)


def _checked(arrays: dict[str, np.ndarray], data: Data, path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of evaluation.npz after comparing their shapes and values with the classes of the run."""
    n, unseen = len(data.class_names), len(data.unseen_classes)
    shapes: dict[str, tuple[int | None, ...]] = {
        "_gzsl_confusion": (n, n),
        "_zsl_confusion": (unseen, unseen),
        "_curve": (None, 2),
    }
    for kind in ("real", "synthetic"):
        shapes[f"projection_{kind}"] = (len(arrays.get(f"projection_{kind}_labels", ())), None)
    for name, values in arrays.items():
        if values.size:
            shape = next((shape for end, shape in shapes.items() if name.endswith(end)), None)
            low, high = (0, n - 1) if name.endswith(("_labels", "_predictions")) else (None, None)
            array(values, f"{path}, {name}", "the values", shape, low=low, high=high, whole=low == 0, fix=FIX)
    return arrays
