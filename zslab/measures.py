"""Measures of anybody's class scores: T1, u, s, H, AUSUC, the offset chosen on validation, accuracies of classes, a report.

    zslab evaluate scores.npz --name "my method" --dataset CUB --output runs/my-method-seed1 --seed 1

The archive holds `scores` (n, C), a column for each class; `labels` (n,), columns from 0 on, or names; `unseen`, columns of
the classes without training samples, or a mask (C,). It may hold `class_names` (C,), and `val_scores`, `val_labels` and
`val_unseen` of a validation split, on which the offset is chosen that is then subtracted from the scores of seen classes. With
--output, the measures become a finished run, which `zslab table` and `zslab report` read beside those of other methods.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

import zslab
from zslab.data.checks import array
from zslab.data.dataset import Samples, Stage, StageData
from zslab.errors import InputError, examples
from zslab.metrics import per_class_accuracy
from zslab.protocol.evaluation import Evaluation
from zslab.results.finished import read_arrays
from zslab.results.folder import RunFolder
from zslab.results.record import EpochRecord
from zslab.results.result import Choice, Data, Result, Row
from zslab.results.text import percent
from zslab.utils import environment
from zslab.utils.files import make_folder, refuse_existing
from zslab.utils.names import find_names

ScoresLike = Any  # an array or a tensor
SCORES = "scores"  # what stands for the name of the method in a result


@dataclass(frozen=True)
class Measures:
    """The measures of class scores, all in [0, 1]; None where there is nothing to measure.

    Attributes:
        T1: accuracy on unseen classes among them.
        acc_unseen: u, accuracy on unseen classes among all.
        acc_seen: s, accuracy on seen classes among all.
        H: harmonic mean of the two.
        AUSUC: area under the curve of seen against unseen accuracy.
        offset: chosen on validation; None without validation scores.
        calibrated: "acc_seen", "acc_unseen" and "H" with the offset subtracted from all seen scores; empty without one.
        per_class: class -> {"samples", "accuracy" among all classes, "T1" among unseen ones for an unseen class}.
    """

    T1: float | None
    acc_unseen: float | None
    acc_seen: float | None
    H: float | None
    AUSUC: float | None
    offset: float | None = None
    calibrated: dict[str, float] = field(default_factory=dict)
    per_class: dict[str, dict[str, float]] = field(default_factory=dict)
    _data: StageData | None = field(default=None, repr=False, compare=False)
    _evaluation: Evaluation | None = field(default=None, repr=False, compare=False)

    def save(
        self,
        folder: Path | str,
        name: str,
        dataset: str = "scores",
        image_embedding: str = "scores",
        class_embedding: str = "att",
        seed: int = 0,
    ) -> Path:
        """Write the measures as a finished run, for `zslab table` and `zslab report`, and return its folder.

        Args:
            folder: is made.
            name: of the method, as tables show it.
            dataset, image_embedding, class_embedding: what the scores were made from; runs that agree in these share a table.
            seed: of the method; tables average over seeds.

        Raises:
            InputError: the folder holds a run.
        """
        data, evaluation, run = self._data, self._evaluation, RunFolder(Path(folder), SCORES)
        assert data is not None and evaluation is not None
        refuse_existing(run.result, flag="another folder")
        make_folder(run.path)
        run.append_metrics(EpochRecord(0, metrics=evaluation.metrics))
        run.update_arrays({f"last_{key}": value.numpy() for key, value in evaluation.snapshots[0].arrays.items()})
        about = Data(
            dataset=dataset,
            image_embedding=image_embedding,
            class_embedding=class_embedding,
            split_version="of the scores",
            class_names=list(self.per_class),
            seen_classes=data.seen_classes.tolist(),
            unseen_classes=data.unseen_classes.tolist(),
            feature_dim=0,
            attribute_dim=0,
            counts={"test_seen": len(data.test_seen), "test_unseen": len(data.test_unseen)},
        )
        device, names = torch.device("cpu"), ("dataset", "image_embedding", "class_embedding")
        result = Result(
            seconds=0.0,
            data=about,
            rows=self._rows(),
            method=SCORES,
            variant=name,
            version=zslab.__version__,
            command=environment.command_line(),
            device=str(device),
            machine=environment.machine(device),
            torch=str(torch.__version__),
            seed=seed,
            config={name: getattr(about, name) for name in names} | {"manualSeed": seed},
        )
        run.finish(result)
        return run.path

    def _rows(self) -> list[Row]:
        at = Choice(0)
        values = (self.T1, self.acc_unseen, self.acc_seen, self.H, self.AUSUC)
        rows = [Row("last", "", *values, at, at, "the scores as they are")]
        if self.calibrated:
            about = f"with {self.offset:.4g}, chosen on validation, subtracted from the scores of seen classes"
            u, s, h = (self.calibrated[key] for key in ("acc_unseen", "acc_seen", "H"))
            rows.append(Row("val + calibration", "", self.T1, u, s, h, None, at, at, about))
        return rows

    def __str__(self) -> str:
        """Return the measures and the accuracy of each class as text, in percent."""
        head = [f"T1 {percent(self.T1)}  u {percent(self.acc_unseen)}  s {percent(self.acc_seen)}  H {percent(self.H)}"]
        head[0] += f"  AUSUC {percent(self.AUSUC)}"
        if self.calibrated:
            u, s, h = (percent(self.calibrated[key]) for key in ("acc_unseen", "acc_seen", "H"))
            head.append(f"calibrated: u {u}  s {s}  H {h}  (offset {self.offset:.4g} from validation)")
        width = max(map(len, self.per_class))
        lines = [f"{'class'.ljust(width)}  samples  accuracy     T1"]
        for name, values in self.per_class.items():
            t1 = percent(values.get("T1"))
            lines.append(f"{name.ljust(width)}  {int(values['samples']):7}  {percent(values.get('accuracy')):>8}  {t1:>5}")
        return "\n".join([*head, "", *lines])


def evaluate(
    scores: ScoresLike,
    labels: ScoresLike,
    unseen: ScoresLike,
    *,
    class_names: Sequence[str] | None = None,
    validation: tuple[ScoresLike, ScoresLike, ScoresLike] | None = None,
) -> Measures:
    """Measure class scores of test samples, of any method.

    Args:
        scores: (n, C) a score for every class, as an array or a tensor.
        labels: (n,) columns of the true classes, counted from 0, or their names.
        unseen: columns of the classes that had no training samples, or a mask (C,), or their names.
        class_names: C names; "class 0", ... by default.
        validation: the same three of a validation split, where other classes are unseen; the offset that gives the highest H
            there is then subtracted from the scores of seen classes. Its columns may be other classes.

    Raises:
        InputError: shapes do not agree, or labels are no columns.

    Examples:
        >>> import numpy as np
        >>> scores = np.array([[0.9, 0.1, 0.3], [0.6, 0.2, 0.5], [0.2, 0.8, 0.1]])  # the third class is unseen
        >>> measures = evaluate(scores, labels=[0, 2, 1], unseen=[2], class_names=["cat", "dog", "fox"])
        >>> measures.T1, measures.acc_seen, measures.acc_unseen, measures.H, measures.AUSUC
        (1.0, 1.0, 0.0, 0.0, 1.0)
        >>> measures.per_class["fox"]
        {'samples': 1, 'accuracy': 0.0, 'T1': 1.0}
    """
    offset = None
    if validation is not None:
        stage, values, _ = _stage(*validation, None, "validation")
        evaluation = Evaluation()
        evaluation.measure_all(stage, values)
        offset = evaluation.metrics["gzsl"]["constant"][0]
    data, values, names = _stage(scores, labels, unseen, class_names, "test")
    evaluation, columns = Evaluation(keep={0}), data.unseen_classes
    among_unseen = columns[values[len(data.test_seen) :, columns].argmax(dim=1)]
    evaluation.measure_unseen(data, among_unseen)
    evaluation.measure_all(data, values, constant=offset)
    measured = {group: {key: each[-1] for key, each in found.items()} for group, found in evaluation.metrics.items()}
    all_classes, predictions = measured.get("gzsl", {}), values.argmax(dim=1)
    per_class: dict[str, dict[str, float]] = {}
    for k, name in enumerate(names):
        one = torch.tensor([k])
        per_class[name] = {"samples": int((data.test_labels == k).sum())}
        if per_class[name]["samples"]:
            per_class[name]["accuracy"] = per_class_accuracy(data.test_labels, predictions, one).item()
            if k in columns:
                per_class[name]["T1"] = per_class_accuracy(data.test_unseen.labels, among_unseen, one).item()
    return Measures(
        T1=measured.get("zsl", {}).get("acc"),
        acc_unseen=all_classes.get("acc_unseen"),
        acc_seen=all_classes.get("acc_seen"),
        H=all_classes.get("H"),
        AUSUC=all_classes.get("AUSUC"),
        offset=offset,
        calibrated=measured.get("calibrated", {}),
        per_class=per_class,
        _data=data,
        _evaluation=evaluation,
    )


def _stage(
    scores: ScoresLike, labels: ScoresLike, unseen: ScoresLike, class_names: Sequence[str] | None, stage: Stage
) -> tuple[StageData, torch.Tensor, list[str]]:
    """Return the samples of a stage, those of seen classes first, their scores in that order, and the names of the classes."""
    where = f"the {stage} scores"
    given = array(_plain(scores), where, "scores", (None, None))
    n, n_classes = given.shape
    names = [f"class {k}" for k in range(n_classes)] if class_names is None else [str(name) for name in class_names]
    if len(names) != n_classes:
        raise InputError(f"there must be {n_classes} class names", where=where, got=len(names), fix="Name every column.")
    targets = _columns(labels, names, where, "labels", n)
    mask = _plain(unseen)
    if mask.dtype == bool and mask.shape == (n_classes,):
        mask = np.flatnonzero(mask)
    is_unseen = np.isin(np.arange(n_classes), _columns(mask, names, where, "unseen classes", None))
    if is_unseen.all() or not is_unseen.any():
        got = examples([names[k] for k in np.flatnonzero(is_unseen)]) or "none"
        raise InputError("some classes must be unseen, and not all", where=where, got=got, fix="Correct `unseen`.")
    order = np.argsort(is_unseen[targets], kind="stable")
    n_seen = int((~is_unseen[targets]).sum())
    labels_of = torch.from_numpy(targets[order].astype(np.int64))
    seen_part, unseen_part = (Samples(torch.empty(len(part), 0), part) for part in (labels_of[:n_seen], labels_of[n_seen:]))
    seen_classes, unseen_classes = (torch.from_numpy(np.flatnonzero(mask)) for mask in (~is_unseen, is_unseen))
    nothing = Samples(torch.empty(0, 0), torch.empty(0, dtype=torch.int64))
    empty = torch.empty(n_classes, 0)
    data = StageData(stage, empty, seen_classes, unseen_classes, nothing, seen_part, unseen_part)
    return data, torch.from_numpy(given.astype(np.float64)[order]), names


def _plain(value: ScoresLike) -> np.ndarray:
    return value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)


def _columns(value: ScoresLike, names: list[str], where: str, what: str, n: int | None) -> np.ndarray:
    """Return columns for columns or names, checked."""
    plain = _plain(value)
    if plain.dtype.kind in "UO":
        unique, inverse = np.unique(plain.astype(str), return_inverse=True)
        plain = np.array(find_names(unique.tolist(), names, f"{where}, {what}"))[inverse.reshape(plain.shape)]
    fix = "Count classes from 0, as columns of the scores."
    return array(plain, where, what, (n,), low=0, high=len(names) - 1, whole=True, fix=fix).astype(np.int64)


@dataclass(frozen=True)
class EvaluateFlags:
    """What to measure, and where to keep it."""

    scores: tyro.conf.Positional[Path]  #: an .npz archive with scores, labels and unseen
    name: str = "scores"  #: of the method, as tables show it
    dataset: str = "scores"  #: data set, as the runs to compare with have it
    image_embedding: str = "scores"  #: features, likewise
    class_embedding: str = "att"  #: class vectors, likewise
    seed: int = 0  #: of the method; tables average over seeds
    output: Path | None = None  #: folder to write as a finished run, with a report


def evaluate_command(flags: EvaluateFlags) -> None:
    """Print the measures of an archive of scores, and keep them as a run if asked to."""
    stored = read_arrays(flags.scores, "Write it with numpy.savez.")
    keys = ["scores", "labels", "unseen"]
    validation = [f"val_{key}" for key in keys] if "val_scores" in stored else []
    if missing := [key for key in (*keys, *validation) if key not in stored]:
        must, fix = "the archive must hold scores, labels and unseen", "Write it with numpy.savez."
        raise InputError(must, where=flags.scores, got=f"no {examples(missing)}", fix=fix)
    names = list(map(str, stored["class_names"])) if "class_names" in stored else None
    held_out = (stored["val_scores"], stored["val_labels"], stored["val_unseen"]) if validation else None
    measures = evaluate(*(stored[key] for key in keys), class_names=names, validation=held_out)
    print(measures)
    if flags.output is not None:
        from zslab.report.run import write_report  # loads matplotlib

        about = (flags.name, flags.dataset, flags.image_embedding, flags.class_embedding, flags.seed)
        print(f"\nReport: {write_report(measures.save(flags.output, *about))}")
