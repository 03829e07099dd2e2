"""Notebooks hold no output, train nothing by themselves, and run from top to bottom on toy data."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from zslab.toy.dataset import make_toy
from zslab.toy.regions import make_toy_regions

from helpers.project import PROJECT

nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")

FOLDER = PROJECT / "zero-shot-images" / "notebooks"
NOTEBOOKS = sorted(path.name for path in FOLDER.glob("*.ipynb"))
IMPORTS = {"pathlib", "importlib.util", "subprocess", "sys", "zslab", "numpy", "google.colab"}


@pytest.fixture(scope="module")
def dataroot(tmp_path_factory) -> Path:
    """Few toy birds under the names that the notebooks' launchers expect."""
    root = tmp_path_factory.mktemp("data")
    folder = make_toy(root, images_per_class=6)
    regions = make_toy_regions(folder)
    split = scipy.io.loadmat(folder / "att_splits.mat")
    (folder / "standard_split").mkdir()
    lists = {"trainval_loc": np.vstack([split["trainval_loc"], split["test_seen_loc"]]), "test_loc": split["test_unseen_loc"]}
    scipy.io.savemat(
        folder / "standard_split" / "att_splits.mat",
        {"att": split["att"], "allclasses_names": split["allclasses_names"]} | lists,
    )
    for name in ("CUB", "AWA2", "SUN", "DeepFashion"):
        (root / name).symlink_to(folder)
        (folder / f"feature_map_ResNet_101_{name}.hdf5").symlink_to(regions)
    return root


def test_there_is_one_for_each_data_set_and_one_for_colab() -> None:
    assert NOTEBOOKS == [
        "DAZLE_AWA2.ipynb",
        "DAZLE_CUB.ipynb",
        "DAZLE_CUB_standard_split.ipynb",
        "DAZLE_DeepFashion.ipynb",
        "DAZLE_SUN.ipynb",
        "colab.ipynb",
    ]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_no_output_is_stored_and_nothing_is_imported_but_this_project(name: str) -> None:
    content = json.loads((FOLDER / name).read_text(encoding="utf-8"))
    for cell in content["cells"]:
        assert not cell.get("outputs") and cell.get("execution_count") is None
        for line in "".join(cell["source"]).splitlines() if cell["cell_type"] == "code" else []:
            words = line.split()
            if words and words[0] in ("import", "from"):
                module = words[1]
                assert module in IMPORTS or module.split(".")[0] in ("zslab", "numpy"), line


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_runs_from_top_to_bottom(name: str, dataroot: Path, tmp_path: Path, monkeypatch) -> None:
    flags = ["--dataroot", dataroot, "--output", tmp_path / "runs", "--nepoch", 1, "--batch_size", 16, "--threads", 1]
    monkeypatch.setenv("ZSL_FLAGS", " ".join(map(str, flags)))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(PROJECT), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    # DAZLE's notebooks find launchers and data from where they lie; Colab's works in any folder, and writes there.
    folder = FOLDER if name != "colab.ipynb" else tmp_path
    notebook = nbformat.read(FOLDER / name, as_version=4)
    notebook.metadata.kernelspec.name = _kernel(tmp_path, monkeypatch)
    client = nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(folder)}})
    client.execute()
    printed = "".join(
        output.text for cell in notebook.cells for output in cell.get("outputs", ()) if output.output_type == "stream"
    )
    images = [output for cell in notebook.cells for output in cell.get("outputs", ()) if "image/png" in output.get("data", {})]
    assert "paper" in printed and "Report: " in printed
    if name == "colab.ipynb":
        assert len(images) == 8 and "True\n" in printed and "unseen" in printed
        assert (tmp_path / "toy_birds.zsl").stat().st_size > 10_000
    else:
        assert len(images) == (3 if "standard" in name else 4)


def _kernel(folder: Path, monkeypatch) -> str:
    """A kernel of this very Python, whatever kernels the machine has."""
    spec = folder / "jupyter" / "kernels" / "this"
    spec.mkdir(parents=True)
    (spec / "kernel.json").write_text(
        json.dumps(
            {
                "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
                "display_name": "this",
                "language": "python",
            }
        )
    )
    monkeypatch.setenv("JUPYTER_PATH", str(folder / "jupyter"))
    return "this"
