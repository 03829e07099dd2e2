"""Notebooks hold no output, train nothing by themselves, and run from top to bottom on toy data."""

import json
import os
import shutil
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from zslab.results.names import RULES

from helpers.project import PROJECT

nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")

FOLDER = PROJECT / "zero-shot-images" / "notebooks"
NOTEBOOKS = sorted(path.name for path in FOLDER.glob("*.ipynb"))
IMPORTS = {*sys.stdlib_module_names, "zslab", "numpy", "google"}


@pytest.fixture(scope="module")
def dataroot(tmp_path_factory, toy: Path) -> Path:
    """Few toy birds under the names that the notebooks' launchers expect."""
    root = tmp_path_factory.mktemp("data")
    (root / "TOY").symlink_to(toy)
    (root / "CUB").mkdir()
    for path in toy.iterdir():
        (root / "CUB" / path.name).symlink_to(path)
    (root / "CUB" / "feature_map_ResNet_101_CUB.hdf5").symlink_to(toy / "descriptor_regions.hdf5")
    return root


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_no_output_is_stored_and_nothing_is_imported_but_this_project(name: str) -> None:
    content = json.loads((FOLDER / name).read_text(encoding="utf-8"))
    for cell in content["cells"]:
        assert not cell.get("outputs") and cell.get("execution_count") is None
        for line in "".join(cell["source"]).splitlines() if cell["cell_type"] == "code" else []:
            words = line.split()
            if words and words[0] in ("import", "from"):
                assert words[1].split(".")[0] in IMPORTS, line


@pytest.fixture
def find_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The names that the first cell of Colab's notebook defines, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    content = json.loads((FOLDER / "colab.ipynb").read_text(encoding="utf-8"))
    names: dict[str, Any] = {}
    exec("".join(content["cells"][1]["source"]), names)  # zslab is installed here, so nothing is cloned
    return names


def make_project(folder: Path) -> Path:
    (folder / "zslab").mkdir(parents=True)
    (folder / "zslab" / "__init__.py").touch()
    return folder


def test_colab_asks_for_the_address_where_nothing_says_it(find_project: dict[str, Any]) -> None:
    with pytest.raises(SystemExit, match="Enter the project's address in the form above"):
        find_project["find_project"]()


def test_colab_says_what_to_enter_where_the_address_is_wrong(find_project: dict[str, Any], tmp_path: Path) -> None:
    find_project["REPOSITORY"] = str(tmp_path / "nowhere")
    with pytest.raises(SystemExit, match="Enter the project's address in the form above"):
        find_project["find_project"]()


def test_colab_takes_the_clone_around_it_and_an_uploaded_zip(find_project, tmp_path: Path, monkeypatch) -> None:
    project = make_project(tmp_path / "somewhere" / "project-main")
    shutil.make_archive(str(tmp_path / "project"), "zip", project.parent)
    (tmp_path / "another.zip").write_bytes(b"no zip")
    shutil.make_archive(str(tmp_path / "photos"), "zip", project / "zslab")
    assert find_project["find_project"]() == tmp_path / "zero-shot" / "project-main"
    (project / "notebooks").mkdir()
    monkeypatch.chdir(project / "notebooks")
    assert find_project["find_project"]() == project


def test_colab_clones_the_repository_that_it_was_opened_from(find_project, tmp_path: Path, monkeypatch) -> None:
    class Sessions(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'[{"path": "fileId=https%3A%2F%2Fgithub.com%2Fsome%2Fproject%2Fblob%2Fmain%2Fcolab.ipynb"}]')

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    called: list[list[object]] = []

    def clone(command: list[object]) -> None:
        called.append(command)
        make_project(Path(str(command[-1])))

    server = HTTPServer(("127.0.0.1", 0), Sessions)
    threading.Thread(target=server.handle_request, daemon=True).start()
    monkeypatch.setenv("COLAB_JUPYTER_IP", "127.0.0.1")
    monkeypatch.setenv("KMP_TARGET_PORT", str(server.server_port))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(find_project["subprocess"], "run", clone)
    assert find_project["find_project"]() == tmp_path / "zero-shot"
    assert called == [["git", "clone", "--depth", "1", "https://github.com/some/project", tmp_path / "zero-shot"]]
    server.server_close()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "n_figures"), [("DAZLE.ipynb", 8), ("colab.ipynb", 9)])
def test_runs_from_top_to_bottom(name: str, n_figures: int, dataroot: Path, tmp_path: Path, monkeypatch) -> None:
    flags = [
        "--dataroot",
        dataroot,
        "--output",
        tmp_path / "runs",
        "--nepoch",
        1,
        "--batch_size",
        16,
        "--threads",
        1,
        "--no_baselines",
    ]
    monkeypatch.setenv("ZSL_FLAGS", " ".join(map(str, flags)))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(PROJECT), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    # DAZLE's notebook finds launchers and data from where it lies; Colab's works in any folder, and writes there.
    folder = FOLDER if name != "colab.ipynb" else tmp_path
    notebook = nbformat.read(FOLDER / name, as_version=4)
    notebook.metadata.kernelspec.name = _kernel(tmp_path, monkeypatch)
    client = nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(folder)}})
    client.execute()
    printed = "".join(
        output.text for cell in notebook.cells for output in cell.get("outputs", ()) if output.output_type == "stream"
    )
    images = [output for cell in notebook.cells for output in cell.get("outputs", ()) if "image/png" in output.get("data", {})]
    assert RULES["last"] in printed and "Report: " in printed
    assert len(images) == n_figures
    if name == "colab.ipynb":
        assert "True\n" in printed and "unseen" in printed
        assert (tmp_path / "toy_birds.zsl").stat().st_size > 10_000


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
