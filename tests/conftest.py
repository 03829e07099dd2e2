"""What several test files need: a tiny data set in the xlsa17 layout, and a tree's modules without a trace."""

import json
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from helpers.project import tree_modules
from helpers.shared import made_once
from helpers.tiny import write_tiny

# One thread: tiny matrices gain nothing from more, and sums come out in the same order everywhere.
torch.set_num_threads(1)
signal.signal(signal.SIGINT, signal.default_int_handler)  # it is ignored where the tests run in the background


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A dataroot that holds the data set TINY."""
    write_tiny(tmp_path)
    return tmp_path


@pytest.fixture
def images() -> Iterator[SimpleNamespace]:
    """The modules of zero-shot-images."""
    with tree_modules("zero-shot-images") as load:
        yield SimpleNamespace(
            **{name: load(name) for name in ("config", "model", "classifier", "train_tfvaegan_inductive", "train_dazle")}
        )


@pytest.fixture
def tiny_clip(tmp_path: Path) -> SimpleNamespace:
    """A model of open_clip without training: its name, `place`, with the weights as a file, and the model."""
    open_clip = pytest.importorskip("open_clip", reason="the extra text is not installed")
    vision = {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16}
    text = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1}
    (tmp_path / "tiny-clip.json").write_text(json.dumps({"embed_dim": 8, "vision_cfg": vision, "text_cfg": text}))
    open_clip.add_model_config(tmp_path / "tiny-clip.json")
    model = open_clip.create_model("tiny-clip", device="cpu").eval()
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    return SimpleNamespace(place=f"open_clip:tiny-clip,{tmp_path / 'weights.pt'}", model=model, open_clip=open_clip)


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy data set with 6 images of each species, and its region maps; made once, look and do not touch."""

    def make(root: Path) -> Path:
        from zslab.toy.dataset import make_toy
        from zslab.toy.regions import make_toy_regions

        folder = make_toy(root, images_per_class=6)
        make_toy_regions(folder)
        return folder

    return made_once(tmp_path_factory, "toy", make)


@pytest.fixture(scope="session")
def birds(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Toy birds prepared as one's own data, a TF-VAEGAN and a DAZLE run on them, and the model files of both.

    20 seen species of 6 images, one unseen with images, one unseen without; made once, look and do not touch.
    """
    return made_once(tmp_path_factory, "birds", _make_birds)


def _make_birds(root: Path) -> SimpleNamespace:
    from zslab.app.export import ExportConfig, export
    from zslab.app.own_data import PrepareConfig, make_data_set
    from zslab.toy.species import SPECIES, UNSEEN_CLASSES

    from helpers.exported_models import train, train_dazle, write_birds, write_table

    tested, untested = UNSEEN_CLASSES[5], UNSEEN_CLASSES[3]
    names = sorted([*[name for name in SPECIES if name not in UNSEEN_CLASSES][:20], tested, untested])
    write_birds(root / "images", [name for name in names if name != untested], 6)
    table = write_table(root / "birds.csv", names)
    own = PrepareConfig(root / "images", root / "birds.csv", "BIRDS", root / "data", (tested,), write_regions=True)
    made = make_data_set(replace(own, backbone="descriptor"))
    runs, models = {}, {}
    runs["tfvaegan"] = train("BIRDS", root / "data", root / "runs", "descriptor", nepoch=40, eval_every=40, select="val")
    runs["dazle"] = train_dazle(
        "BIRDS",
        root / "data",
        root / "runs",
        made.regions,
        split_file=Path("att_splits.mat"),
        nepoch=40,
        eval_every=40,
        cache="memory",
    )
    for method, run in runs.items():
        models[method] = root / f"{method}.zsl"
        export(ExportConfig(run, models[method], method=method))
    return SimpleNamespace(
        root=root, names=names, tested=tested, untested=untested, table=table, made=made, runs=runs, models=models
    )
