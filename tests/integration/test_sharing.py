"""Model cards, and models that are shared in a folder or on a stub of the Hugging Face Hub and found by name."""

import json
import re
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

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

ROW = "ESZSL, centered, calibrated"


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for the Hub: repositories below it, and what the functions of huggingface_hub do to them."""

    def commit(name: str, operations: list, commit_message: str) -> SimpleNamespace:
        (tmp_path / "hub" / name).mkdir(parents=True, exist_ok=True)
        for each in operations:
            content = each.path_or_fileobj
            place = tmp_path / "hub" / name / each.path_in_repo
            place.write_bytes(content if isinstance(content, bytes) else Path(content).read_bytes())
        return SimpleNamespace(repo_url=f"hub:{name}")

    def download(name: str, file: str, revision: str | None) -> str:
        if not (path := tmp_path / "hub" / name / file).is_file():
            raise pytest.importorskip("huggingface_hub.errors").RepositoryNotFoundError("404 Client Error", response=Mock())
        return str(path)

    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: Mock(create_commit=commit))
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "hub"


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


def test_folders_that_do_not_hold_one_model_or_hold_another_readme_are_refused(birds, tmp_path: Path) -> None:
    (tmp_path / CARD).write_text("# My project")
    with pytest.raises(InputError, match=r"README\.md: "):
        push(birds.models["tfvaegan"], str(tmp_path))
    with pytest.raises(InputError, match="got no .zsl file"):
        find_model(tmp_path)
    for name in ("a.zsl", "b.zsl"):
        (tmp_path / name).write_bytes(birds.models["tfvaegan"].read_bytes())
    with pytest.raises(InputError, match="got a.zsl, b.zsl"):
        find_model(tmp_path)
    with pytest.raises(InputError, match="missing.zsl"):
        Predictor.from_pretrained(tmp_path / "missing.zsl")


def test_push_and_load_by_name(birds, stub: Path, tmp_path: Path) -> None:
    edited, repository = tmp_path / "birds.zsl", stub / "user" / "birds"
    edited.write_bytes(birds.models["tfvaegan"].read_bytes())
    card_path(edited).write_text("---\nlibrary_name: zslab\n---\n\n# Edited\n")
    assert push(edited, "user/birds") == "hub:user/birds"
    assert sorted(path.name for path in repository.iterdir()) == [CARD, MODEL]
    assert (repository / CARD).read_text().endswith("# Edited\n")
    push(birds.models["tfvaegan"], "user/birds")
    card = (repository / CARD).read_text()
    assert '"T1"' in card and 'from_pretrained("user/birds")' in card
    predictor = Predictor.from_pretrained("user/birds", device="cpu")
    assert predictor.classes_ == birds.names and predictor.where == repository / MODEL
    with pytest.raises(InputError, match="user/nothing: .*404"):
        Predictor.from_pretrained("user/nothing")
