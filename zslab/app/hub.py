"""Share a model file: upload it to the Hugging Face Hub or put it into a folder, and find it again by name.

    zslab push birds.zsl user/birds             # uploads; `hf auth login` first
    zslab push birds.zsl ./shared/birds         # a folder

A shared model is a folder with `model.zsl` and its card as `README.md`. Uploading and downloading need the extra `hub`.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from zslab.app.card import NAME, card_path, model_card
from zslab.app.model_file import read_model
from zslab.errors import InputError, examples, exit_status, first_line
from zslab.features.weights import import_extra
from zslab.utils.files import atomic_path, write_text

MODEL, CARD = "model.zsl", "README.md"
REPOSITORY = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)  # "user/name", and no path that starts with a dot


def find_model(name: str | Path, revision: str | None = None) -> Path:
    """Return the model file of a file, a folder or a repository of the Hub, which is downloaded once.

    Args:
        name: a file, a folder with one model file or with `model.zsl`, or "user/name".
        revision: branch, tag or commit of the repository.

    Raises:
        InputError: there is no such model, or the Hub cannot be reached.
    """
    path = Path(name)
    if path.is_file():
        return path
    if path.is_dir():
        models = [path / MODEL] if (path / MODEL).is_file() else sorted(path.glob("*.zsl"))
        if len(models) == 1:
            return models[0]
        raise InputError(
            "the folder does not hold one model",
            where=path,
            found=examples([model.name for model in models]) or "no .zsl file",
            expected=f"{MODEL} or a single .zsl file",
            fix="Name the file.",
        )
    if not REPOSITORY.fullmatch(str(name)):
        raise InputError(
            "there is no such model",
            where=name,
            found="neither a file nor a folder",
            expected='a file, a folder or a repository "user/name"',
            fix="Check the path.",
        )
    hub = import_extra("huggingface_hub", "hub")
    try:
        return Path(hub.hf_hub_download(str(name), MODEL, revision=revision))
    except (OSError, ValueError) as error:  # the Hub's errors derive from these
        raise _hub_error(str(name), error, f"a repository with {MODEL}, or a folder of that name") from None


def push(model_file: Path, destination: str, *, private: bool = False) -> str:
    """Share a model file with its card, and return where it is.

    The card beside the model file is taken where there is one, so that it may be edited; otherwise it is written anew.

    Args:
        model_file: written by `zslab export`.
        destination: "user/name", or a folder: an existing one, or a path that does not look like "user/name".
        private: whether a new repository is private.

    Raises:
        InputError: the file is no model, the folder holds something else, or the Hub refuses.
    """
    model, beside = read_model(model_file), card_path(model_file)
    folder = Path(destination)
    is_folder = folder.is_dir() or not REPOSITORY.fullmatch(destination)
    card = beside.read_text(encoding="utf-8") if beside.is_file() else model_card(model)
    card = card.replace(f'"{NAME}"', f'"{destination}"')
    if is_folder:
        _check_card(folder / CARD)
        with atomic_path(folder / MODEL) as temporary:
            temporary.write_bytes(model_file.read_bytes())
        write_text(folder / CARD, card)
        return str(folder)
    hub = import_extra("huggingface_hub", "hub")
    api = hub.HfApi()
    files = [hub.CommitOperationAdd(MODEL, str(model_file)), hub.CommitOperationAdd(CARD, card.encode())]
    try:
        api.create_repo(destination, private=private, exist_ok=True)
        commit = api.create_commit(destination, files, commit_message=f"Upload {model.title}")
    except (OSError, ValueError) as error:
        raise _hub_error(destination, error, "a repository that you may write to, and `hf auth login` before") from None
    return str(commit.repo_url)


def _check_card(path: Path) -> None:
    """Refuse to overwrite a README.md that is not the card of a model."""
    if path.is_file() and "library_name:" not in path.read_text(encoding="utf-8", errors="replace")[:1000]:
        raise InputError(
            "the folder has a README.md that is not the card of a model",
            where=path,
            found="another text",
            expected="a folder of its own for the model",
            fix="Choose another folder.",
        )


def _hub_error(name: str, error: Exception, expected: str) -> InputError:
    return InputError(
        "the Hugging Face Hub does not give or take the model",
        where=name,
        found=first_line(error),
        expected=expected,
        fix="Check the name, the network and your access.",
    )


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="zslab push", description=__doc__, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, help="model file")
    parser.add_argument("destination", help='"user/name" on the Hub, or a folder')
    parser.add_argument("--private", action="store_true", help="make a new repository private")
    own = parser.parse_args(argv)
    return exit_status(lambda: print(push(own.model, own.destination, private=own.private)))
