"""Share a model file: upload it to the Hugging Face Hub or put it into a folder, and find it again by name.

    zslab push birds.zsl user/birds             # uploads; `hf auth login` first
    zslab push birds.zsl ./shared/birds         # a folder

A shared model is a folder with `model.zsl` and its card as `README.md`. Uploading and downloading need the extra `hub`.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from zslab.app.card import NAME, card_path, model_card
from zslab.app.model_file import read_model
from zslab.errors import InputError, examples, readable
from zslab.features.networks import import_extra
from zslab.utils.files import atomic_path, write_text

MODEL, CARD = "model.zsl", "README.md"
REPOSITORY = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)  # "user/name", and no path that starts with a dot
HUB_ERRORS = (OSError, ValueError)  # the Hub's errors derive from these


@dataclass(frozen=True)
class PushConfig:
    """Flags of `zslab push`."""

    model: Positional[Path]  #: model file
    destination: Positional[str]  #: user/name on the Hub, or a folder
    private: bool = False  #: make a new repository private


def push_command(config: PushConfig) -> None:
    """Share a model as the command line asks, and print where it is."""
    print(push(config.model, config.destination, private=config.private))


def find_model(name: str | Path, revision: str | None = None) -> Path:
    """Return the model file of a file, a folder or a repository of the Hub, which is downloaded once."""
    path = Path(name).expanduser()
    if path.is_dir():
        models = [path / MODEL] if (path / MODEL).is_file() else sorted(path.glob("*.zsl"))
        if len(models) != 1:
            got = examples([model.name for model in models]) or "no .zsl file"
            raise InputError(f"the folder must hold {MODEL} or a single .zsl file", where=path, got=got, fix="Name the file.")
        return models[0]
    if path.is_file() or not REPOSITORY.fullmatch(str(name)):
        return path
    hub = import_extra("huggingface_hub", "hub")
    must = f"there must be a file, a folder or a repository of that name, which holds {MODEL}"
    with readable(name, must, "Check the name, the network and your access.", HUB_ERRORS):
        return Path(hub.hf_hub_download(str(name), MODEL, revision=revision))


def push(model_file: Path, destination: str, *, private: bool = False) -> str:
    """Share a model file with its card, and return where it is.

    The card beside the model file is taken where there is one, so that it may be edited; otherwise it is written anew.
    """
    model, beside, folder = read_model(model_file), card_path(model_file), Path(destination).expanduser()
    card = beside.read_text(encoding="utf-8") if beside.is_file() else model_card(model)
    card = card.replace(f'"{NAME}"', f'"{destination}"')
    if folder.is_dir() or not REPOSITORY.fullmatch(destination):
        readme = folder / CARD
        if readme.is_file() and "library_name:" not in readme.read_text(encoding="utf-8", errors="replace")[:1000]:
            fix = "Choose a folder of its own for the model."
            raise InputError("the README.md of the folder must be the card of a model", where=readme, got="other text", fix=fix)
        with atomic_path(folder / MODEL) as temporary:
            temporary.write_bytes(model_file.read_bytes())
        write_text(readme, card)
        return str(folder)
    hub = import_extra("huggingface_hub", "hub")
    files = [hub.CommitOperationAdd(MODEL, str(model_file)), hub.CommitOperationAdd(CARD, card.encode())]
    with readable(destination, "the Hub must take the model", "Run `hf auth login`; check name and network.", HUB_ERRORS):
        api = hub.HfApi()
        api.create_repo(destination, private=private, exist_ok=True)
        commit = api.create_commit(destination, files, commit_message=f"Upload {model.title}")
    return str(commit.repo_url)
