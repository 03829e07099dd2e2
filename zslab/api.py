"""The functions of the stable interface, `from zslab import ...`; docs/api.md lists all of its names."""

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from zslab.app.predictor import Predictor
from zslab.config import override
from zslab.data.dataset import Dataset
from zslab.data.xlsa17 import read_xlsa17
from zslab.experiment import train as train_run
from zslab.method import Method, load_method
from zslab.plan import load_launcher
from zslab.results.finished import FinishedRun
from zslab.results.finished import read_run as read_run_folder
from zslab.utils.files import user_path


def load_dataset(folder: Path | str, image_embedding: str = "res101", class_embedding: str = "att") -> Dataset:
    """Read and check a data set in the xlsa17 layout.

    Args:
        folder: has `<image_embedding>.mat` and `<class_embedding>_splits.mat`.
        image_embedding: the file of features.
        class_embedding: the file of class vectors and splits.

    Raises:
        InputError: a file is missing, or its content is not as it should be.

    Examples:
        >>> import tempfile
        >>> from zslab.testing import write_small_dataset
        >>> data = load_dataset(write_small_dataset(tempfile.mkdtemp()), "features")
        >>> data.features.shape, data.attributes.shape, data.counts["trainval"]
        ((72, 7), (9, 5), 36)
        >>> stage = data.stage("test")  # scaled tensors: stage.train, stage.test_seen, stage.test_unseen
        >>> stage.train.features.shape, stage.unseen_classes.tolist()
        (torch.Size([36, 7]), [6, 7, 8])
    """
    folder = user_path(Path(folder))
    return read_xlsa17(folder.parent, folder.name, image_embedding, class_embedding)


def train(method: Method | str | Path, **flags: object) -> FinishedRun:
    """Train, measure and return a run, or return it if it has finished before.

    Args:
        method: a `Method`; file.py:NAME, module:NAME or the name of an entry point; or the path of a launcher, run_*.py.
        flags: of the method, in place of its own or the launcher's values. No report is drawn unless `report` asks for it.

    Raises:
        InputError: a flag or the data cannot be used.

    Examples:
        >>> import tempfile
        >>> from zslab.testing import write_small_dataset
        >>> folder = write_small_dataset(tempfile.mkdtemp())
        >>> data = dict(dataroot=folder.parent, dataset=folder.name, image_embedding="features")
        >>> run = train("examples/ale.py:METHOD", **data, nepoch=100, lr=0.01, baselines=False, output=folder / "runs")
        >>> run.result.variant, len(run.epochs), run.result.row("last").T1 > 1 / 3  # by chance
        ('ALE', 100, True)
    """
    if str(method).endswith(".py"):
        launcher = load_launcher(Path(str(method)))
        found, config = launcher.method(), launcher.config()
    else:
        found = method if isinstance(method, Method) else load_method(str(method), "method")
        config = found.config
    folder = train_run(override(config, {"report": False, **flags}, "flags"), found)
    return read_run_folder(folder.path)


def read_run(folder: Path | str) -> FinishedRun:
    """Read a finished run: its result, the records of its epochs, and its arrays.

    Examples:
        >>> import numpy as np, tempfile
        >>> from zslab.measures import evaluate
        >>> measures = evaluate(np.eye(3), labels=[0, 1, 2], unseen=[2])
        >>> folder = measures.save(tempfile.mkdtemp(), name="perfect", dataset="THREE")
        >>> run = read_run(folder)
        >>> run.result.title, run.result.row("last").H, int(run.arrays["last_gzsl_confusion"].trace())
        ('perfect on THREE', 1.0, 3)
    """
    return read_run_folder(user_path(Path(folder)))


def scores(
    model: Predictor | str | Path, features: ArrayLike, *, unseen_only: bool = False, calibration: float | None = None
) -> np.ndarray:
    """Return class scores (n, C) of features (n, D), columns as the model's `classes_`; -inf for classes that are left out.

    Args:
        model: a predictor, or a model file that `zslab export` wrote.
        features: as the backbone gives them.
        unseen_only: choose among unseen classes only.
        calibration: is subtracted from the scores of seen classes; None: as validation chose it.

    Examples:
        >>> from zslab.estimator import TfvaeganClassifier
        >>> X, A = [[0.0, 1.0], [0.1, 0.9], [1.0, 0.0], [0.9, 0.1]], [[1, 0], [0, 1], [0.6, 0.8]]
        >>> model = TfvaeganClassifier(n_epochs=1, hidden_dim=8, class_vectors=A).fit(X, [0, 0, 1, 1]).predictor_
        >>> scores(model, X, unseen_only=True).argmax(axis=1).tolist()
        [2, 2, 2, 2]
    """
    predictor = _predictor(model)
    given = np.asarray(features, dtype=np.float32)
    return predictor.decision_function(given, unseen_only=unseen_only, calibration=calibration)


def synthesize(
    model: Predictor | str | Path, classes: list[str] | None = None, n: int = 100, seed: int = 0
) -> tuple[np.ndarray, list[str]]:
    """Return synthesized features (k * n, D), as the backbone gives them, and the class of each.

    Args:
        model: a predictor or a model file, of a method that generates features.
        classes: their names; the unseen ones by default.
        n: features of each.
        seed: of the noise.

    Examples:
        >>> from zslab.estimator import TfvaeganClassifier
        >>> X, A = [[0.0, 1.0], [0.1, 0.9], [1.0, 0.0], [0.9, 0.1]], {"cat": [1, 0], "dog": [0, 1], "fox": [0.6, 0.8]}
        >>> model = TfvaeganClassifier(n_epochs=1, hidden_dim=8, class_vectors=A).fit(X, ["cat", "cat", "dog", "dog"])
        >>> features, names = synthesize(model.predictor_, n=2)
        >>> features.shape, names
        ((2, 2), ['fox', 'fox'])
    """
    return _predictor(model).synthesize(classes, n, seed)


def _predictor(model: Predictor | str | Path) -> Predictor:
    return model if isinstance(model, Predictor) else Predictor.load(model)
