"""Model cards, and models that are shared in a folder or on a stub of the Hugging Face Hub and found by name."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest

from zslab.app.card import card_path, model_card
from zslab.app.hub import CARD, MODEL, find_model, push
from zslab.app.model_file import BackboneRecord, read_model
from zslab.app.predictor import Predictor
from zslab.cli import main
from zslab.errors import InputError
from zslab.features.backbones import BackboneSpec

huggingface_hub = pytest.importorskip("huggingface_hub")
SHA = "0123456789abcdef0123456789abcdef01234567"

ROW = "ESZSL, centered, calibrated"


class Hub(BaseHTTPRequestHandler):
    """As much of the Hub as pushing and loading one small model needs."""

    files: dict[str, bytes] = {}
    repositories: set[str] = set()

    def log_message(self, *_: object) -> None:
        """Print nothing."""

    def answer(self, content: object, status: int = 200, **headers: str) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        if self.path.endswith("/repos/create"):
            content = json.loads(body)
            self.repositories.add(f"{content.get('organization', 'somebody')}/{content['name']}")
            self.answer({"url": f"http://{self.headers['Host']}/user/birds", "name": "user/birds"})
        elif "/preupload/" in self.path:
            files = [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in json.loads(body)["files"]]
            self.answer({"files": files})
        elif "/commit/" in self.path:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            url = f"http://{self.headers['Host']}/user/birds/commit/{SHA}"
            self.answer({"success": True, "commitOid": SHA, "commitUrl": url})
        else:
            self.answer({}, 200)

    def do_GET(self) -> None:
        content = self.files.get(self.path.rpartition("/")[2])
        if content is None or not self.path.startswith("/user/birds/resolve/"):
            self.answer({"error": "not found"}, 404, X_Error_Code="RepoNotFound")
        else:
            self.answer(content, ETag=f'"{hashlib.sha256(content).hexdigest()}"', X_Repo_Commit=SHA)

    do_HEAD = do_GET


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a stub of the Hub, which huggingface_hub uses."""
    Hub.files, Hub.repositories = {}, set()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)  # what HF_ENDPOINT sets before the import
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield address
    server.shutdown()
    server.server_close()


def metadata(card: str) -> dict[str, object]:
    """The YAML block of a card, whose values are JSON."""
    _, block, _ = card.split("---\n", 2)
    return {key: json.loads(value) for key, _, value in (line.partition(": ") for line in block.splitlines())}


@pytest.mark.parametrize("method", ["tfvaegan", "dazle"])
def test_a_card_has_the_numbers_of_the_run_and_no_others(birds, method: str) -> None:
    card = card_path(birds.models[method]).read_text()
    result = json.loads((birds.runs[method] / "result.json").read_text())
    row = next(row for row in result["rows"] if row["rule"] == "last")
    (entry,) = metadata(card)["model-index"]
    (found,) = entry["results"]
    keys = {"T1": "T1", "u": "acc_unseen", "s": "acc_seen", "H": "H"}
    assert {m["name"]: m["value"] for m in found["metrics"]} == {k: row[v] for k, v in keys.items() if v in row}
    assert entry["name"] == f"{result['variant']} on BIRDS" and found["dataset"]["name"] == "BIRDS"
    table = card.split("## Results")[1].split("## Limits")[0]
    shown = set(re.findall(r"\d+\.\d(?!\d)", "\n".join(line for line in table.splitlines() if line.startswith("|"))))
    known = {f"{100 * row[key]:.1f}" for row in result["rows"] for key in keys.values() if key in row}
    assert shown == known and len(shown) > 3
    assert f"| seed | {result['seed']} |" in card and f"`{result['command']}`" in card
    assert "descriptor, a formula of zslab without weights (MIT)" in card
    assert "20 seen and 2 unseen classes" in card and birds.untested.replace("_", "") in card.replace("_", "")


def test_a_card_names_backbone_and_license_and_keeps_its_table(birds) -> None:
    model = read_model(birds.models["tfvaegan"])
    about = BackboneRecord(BackboneSpec("resnet101").to_json(), "IMAGENET1K_V1", "")
    card = model_card(msgspec.structs.replace(model, backbone=about, title="A | title\n# of <b>two</b> lines"))
    assert "resnet101, weights IMAGENET1K_V1, not in the file; license: torchvision's code is under BSD-3-Clause" in card
    assert "\n# A \\| title # of \\<b\\>two\\</b\\> lines\n" in card
    assert 'Predictor.from_pretrained("user/name")' in card
    alone = model_card(msgspec.structs.replace(model, backbone=None, rows=[], origin={}, config={}))
    assert "unknown; the model takes features only" in alone and "model-index" not in metadata(alone)


def test_the_card_of_an_exported_baseline_has_the_baselines_row(birds) -> None:
    model = read_model(birds.models["tfvaegan"])
    card = model_card(msgspec.structs.replace(model, method="ESZSL, centered", origin=model.origin | {"choice": ROW}))
    row = next(row for row in model.rows if row["row"] == ROW)
    (found,) = metadata(card)["model-index"][0]["results"]
    assert found["metrics"][-1] == {"type": "accuracy", "name": "H", "value": row["H"]}
    assert f"the model of the row `{ROW}`" in card


def test_metadata_is_yaml(birds) -> None:
    yaml = pytest.importorskip("yaml")
    card = card_path(birds.models["dazle"]).read_text()
    assert yaml.safe_load(card.split("---\n", 2)[1]) == metadata(card)
    assert huggingface_hub.ModelCard(card).data.library_name == "zslab"


def test_a_folder_is_a_place_to_share(birds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["push", str(birds.models["tfvaegan"]), "./user/birds"]) == 0
    assert capsys.readouterr().out == "user/birds\n"
    assert sorted(path.name for path in (tmp_path / "user" / "birds").iterdir()) == [CARD, MODEL]
    assert 'from_pretrained("./user/birds")' in Path("user/birds", CARD).read_text()
    predictor = Predictor.from_pretrained("user/birds", device="cpu")
    assert predictor.classes_ == birds.names
    assert Predictor.from_pretrained(tmp_path / "user" / "birds" / MODEL).classes_ == birds.names
    assert push(birds.models["dazle"], "user/birds") == "user/birds"  # the folder exists, so it is not the Hub's
    assert Predictor.from_pretrained("user/birds").model.method == "dazle"


def test_a_folder_with_another_readme_is_left_alone(birds, tmp_path: Path) -> None:
    (tmp_path / CARD).write_text("# My project")
    with pytest.raises(InputError, match=r"README\.md: "):
        push(birds.models["tfvaegan"], str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == [CARD]


def test_folders_that_do_not_hold_one_model_are_refused(birds, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="got no .zsl file"):
        find_model(tmp_path)
    for name in ("a.zsl", "b.zsl"):
        (tmp_path / name).write_bytes(birds.models["tfvaegan"].read_bytes())
    with pytest.raises(InputError, match="got a.zsl, b.zsl"):
        find_model(tmp_path)
    with pytest.raises(InputError, match="missing.zsl"):
        Predictor.from_pretrained(tmp_path / "missing.zsl")


def test_push_and_load_by_name(birds, stub: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    edited = tmp_path / "birds.zsl"
    edited.write_bytes(birds.models["tfvaegan"].read_bytes())
    card_path(edited).write_text("---\nlibrary_name: zslab\n---\n\n# Edited\n")
    assert push(edited, "user/birds") == f"{stub}/user/birds"
    assert Hub.repositories == {"user/birds"} and Hub.files.keys() == {MODEL, CARD}
    assert Hub.files[CARD].endswith(b"# Edited\n")
    push(birds.models["tfvaegan"], "user/birds")
    assert b'"T1"' in Hub.files[CARD] and b'from_pretrained("user/birds")' in Hub.files[CARD]
    predictor = Predictor.from_pretrained("user/birds", device="cpu")
    assert predictor.classes_ == birds.names and str(tmp_path / "cache") in str(predictor.where)


def test_a_repository_that_does_not_exist_is_one_clear_error(stub: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="user/nothing: .*404"):
        Predictor.from_pretrained("user/nothing")
