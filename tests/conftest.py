"""What several test files need: a tiny data set in the xlsa17 layout, and a tree's modules without a trace."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.io
import torch

PROJECT = Path(__file__).resolve().parents[1]
SHARED_DATA = PROJECT.parent / "shared" / "data"

# One thread: tiny matrices gain nothing from more, and sums come out in the same order everywhere.
torch.set_num_threads(1)


def tiny_arrays(version: str = "v2") -> dict[str, np.ndarray]:
    """A learnable data set of 9 classes: 4 train, 2 val, 3 unseen; features (7, N), attributes (5, 9).

    Args:
        version: "v1" puts test_seen into train_loc and val_loc, "v2" does not, "none" leaves the two out.
    """
    rng = np.random.default_rng(0)
    attributes = rng.uniform(0.1, 1, (9, 5))
    labels = np.repeat(np.arange(9), 8)
    features = attributes[labels] @ rng.uniform(0, 1, (5, 7)) + 0.3 * rng.random((len(labels), 7))
    order = rng.permutation(len(labels))
    labels, features = labels[order], features[order]
    seen, unseen = np.flatnonzero(labels < 6), np.flatnonzero(labels >= 6)
    is_test = np.zeros(len(labels), dtype=bool)
    for label in range(6):
        is_test[np.flatnonzero(labels == label)[:2]] = True
    trainval, test_seen = seen[~is_test[seen]], seen[is_test[seen]]
    pool = seen if version == "v1" else trainval
    arrays = {
        "features": features.T.astype(np.float32), "labels": labels[:, None] + 1,
        "att": attributes.T, "allclasses_names": np.array([[f"bird {i}"] for i in range(9)], dtype=object),
        "trainval_loc": trainval[:, None] + 1, "test_seen_loc": test_seen[:, None] + 1,
        "test_unseen_loc": unseen[:, None] + 1,
        "train_loc": pool[labels[pool] < 4][:, None] + 1, "val_loc": pool[labels[pool] >= 4][:, None] + 1,
    }
    if version == "none":
        del arrays["train_loc"], arrays["val_loc"]
    return arrays


def write_tiny(root: Path, name: str = "TINY", **changes: np.ndarray | None) -> Path:
    """Writes `tiny_arrays`, with variables replaced (or left out: None), as <root>/<name>/; returns that folder."""
    version = changes.pop("version", "v2")
    arrays = tiny_arrays(version) | changes
    arrays = {key: value for key, value in arrays.items() if value is not None}
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    in_features = ("features", "labels")
    scipy.io.savemat(folder / "res101.mat", {k: v for k, v in arrays.items() if k in in_features})
    scipy.io.savemat(folder / "att_splits.mat", {k: v for k, v in arrays.items() if k not in in_features})
    return folder


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A dataroot that holds the data set TINY."""
    write_tiny(tmp_path)
    return tmp_path


@contextmanager
def tree_modules(name: str) -> Iterator[Callable[[str], object]]:
    """Puts a tree on the import path and yields `import_module`; afterwards path and modules are as before.

    Both trees own `config`, `model`, ..., so only one may be importable at a time.
    """
    folder = PROJECT / name
    before = set(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        yield importlib.import_module
    finally:
        sys.path.remove(str(folder))
        for module in set(sys.modules) - before:
            origin = getattr(sys.modules[module], "__file__", None) or ""
            if Path(origin).is_relative_to(folder):
                del sys.modules[module]


@pytest.fixture
def images() -> Iterator[SimpleNamespace]:
    """The modules of zero-shot-images."""
    with tree_modules("zero-shot-images") as load:
        yield SimpleNamespace(**{name: load(name) for name in ("config", "model", "classifier", "util")})


@pytest.fixture(scope="session")
def birds(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Toy birds prepared as one's own data, a TF-VAEGAN and a DAZLE run on them, and the model files of both.

    20 seen species of 6 pictures, one unseen with pictures, one unseen without; made once, look and do not touch.
    """
    from kept_models import train, train_dazle, write_birds, write_table

    from zsl.app.export import export
    from zsl.app.own_data import prepare
    from zsl.data.toy import SPECIES, UNSEEN_CLASSES
    from zsl.features.backbones import BackboneSpec, load_backbone

    root = tmp_path_factory.mktemp("birds")
    tested, untested = UNSEEN_CLASSES[5], UNSEEN_CLASSES[3]
    names = sorted([*[name for name in SPECIES if name not in UNSEEN_CLASSES][:20], tested, untested])
    write_birds(root / "images", [name for name in names if name != untested], 6)
    table = write_table(root / "birds.csv", names)
    made = prepare(root / "images", root / "birds.csv", root / "data" / "BIRDS", load_backbone(BackboneSpec("descriptor")),
                   unseen=[tested], regions=True)
    runs, models = {}, {}
    runs["tfvaegan"] = train("BIRDS", root / "data", root / "runs", "descriptor", nepoch=40, eval_every=40, select="val")
    runs["dazle"] = train_dazle("BIRDS", root / "data", root / "runs", made.regions, split_file=Path("att_splits.mat"),
                                nepoch=40, eval_every=40, cache="memory")
    for method, run in runs.items():
        models[method] = root / f"{method}.zsl"
        export(run, models[method])
    return SimpleNamespace(root=root, names=names, tested=tested, untested=untested, table=table, made=made, runs=runs,
                           models=models)
