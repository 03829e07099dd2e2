"""The command `zslab`: what needs the package and no clone of the project.

    zslab download CUB AWA2 --dataroot DIR
    zslab export RUN_FOLDER --output birds.zsl
    zslab predict --model birds.zsl photo.jpg folder/

`zslab COMMAND --help` lists the flags of a command.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

import zslab

# command -> the module whose main(arguments) runs it, and what it does
COMMANDS = {
    "download": ("zslab.data.download", "fetch public data sets and check them"),
    "toy": ("zslab.toy.dataset", "render the toy data set"),
    "repack": ("zslab.data.repack", "rewrite a region file of the DAZLE release for fast reading"),
    "export": ("zslab.app.export", "turn a finished run into a model file"),
    "push": ("zslab.app.hub", "share a model file on the Hugging Face Hub or in a folder"),
    "predict": ("zslab.app.demo", "classify images or videos with a model file, or serve it as a web page"),
    "sweep": ("zslab.sweep.__main__", "execute a grid of runs here or on a cluster"),
    "search": ("zslab.search.__main__", "search settings on the validation split"),
    "table": ("zslab.table.__main__", "make the tables of a paper from finished runs"),
    "leakage": ("zslab.report.leakage_command", "list unseen classes that the backbone's pretraining contains"),
    "report": ("zslab.report.command", "draw the report of finished runs again"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    Args:
        arguments: the command's name and its own arguments; those of the process by default.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    parser = argparse.ArgumentParser("zslab", description=_description(), formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", action="version", version=f"zslab {zslab.__version__}")
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="one of the above; its own --help has its flags")
    module, _ = COMMANDS[parser.parse_args(arguments[:1]).command]
    return import_module(module).main(arguments[1:]) or 0


def _description() -> str:
    commands = "\n".join(f"  {name:10}{summary}" for name, (_, summary) in COMMANDS.items())
    return f"Zero-shot classification with TF-VAEGAN and DAZLE.\n\n{commands}"
