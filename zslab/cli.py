"""The command `zslab`, for whoever has a clone or the installed package.

    zslab learn --images my_birds --attributes my_birds.csv --output birds.zsl
    zslab prepare --images my_birds --attributes my_birds.csv --name MYBIRDS
    zslab export RUN_FOLDER --output birds.zsl
    zslab predict --model birds.zsl photo.jpg folder/

`zslab COMMAND --help` lists the flags of a command. A command is a function that takes a dataclass of flags and returns an
exit status or nothing; it is imported when it is asked for.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import is_dataclass
from importlib import import_module
from typing import get_type_hints

import zslab
from zslab.errors import ExitStatus

# command -> its place, "module:function", and what it does
COMMANDS = {
    "download": ("zslab.data.download:run", "fetch public data sets and check them"),
    "toy": ("zslab.toy.dataset:toy", "render the toy data set"),
    "extract": ("zslab.features.extract_command:extract_features", "extract features of images or videos"),
    "class-vectors": ("zslab.features.class_vectors_command:write_vectors", "make class vectors from names or sentences"),
    "attribute-words": ("zslab.features.word_vectors:write_vectors", "make the attributes' word vectors for DAZLE"),
    "splits": ("zslab.features.splits_command:make_splits", "draw splits into seen and unseen classes"),
    "deepfashion-lists": ("zslab.data.deepfashion:convert_lists", "convert DeepFashion's annotation lists"),
    "repack": ("zslab.data.region_writer:repack", "rewrite a region file of the DAZLE release for fast reading"),
    "prepare": ("zslab.app.own_data:prepare", "make a data set of your own images and a table of attributes"),
    "learn": ("zslab.learn:learn", "choose and export a model for your own images in one command"),
    "train": ("zslab.launch:train_command", "train a method of your own"),
    "export": ("zslab.app.export:export_command", "turn a finished run into a model file"),
    "push": ("zslab.app.hub:push_command", "share a model file on the Hugging Face Hub or in a folder"),
    "predict": ("zslab.app.predict:predict", "classify images or videos with a model file, or serve it as a web page"),
    "sweep": ("zslab.sweep.command:sweep", "execute a grid of runs here or on a cluster"),
    "search": ("zslab.search.command:search", "search settings on the validation split"),
    "evaluate": ("zslab.measures:evaluate_command", "measure the class scores of any method"),
    "table": ("zslab.report.table_command:table", "make the tables of a paper from finished runs"),
    "leakage": ("zslab.report.leakage:leakage", "list unseen classes that the backbone's pretraining contains"),
    "report": ("zslab.report.run:report", "draw the report of finished runs again"),
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
    command = parser.parse_args(arguments[:1]).command
    import tyro

    from zslab.utils.files import with_user_paths

    name, _, function = COMMANDS[command][0].partition(":")
    module = import_module(name)
    work = getattr(module, function)
    (config, *_) = get_type_hints(work).values()
    if not is_dataclass(config):  # its flags are those of a method
        return int(work(arguments[1:]))
    flags = tyro.cli(config, args=arguments[1:], prog=f"zslab {command}", description=module.__doc__, use_underscores=True)
    with ExitStatus("Stopped. The same command continues, with --resume where it has that flag.") as status:
        status.code = work(with_user_paths(flags)) or 0
    return status.code


def _description() -> str:
    width = max(map(len, COMMANDS)) + 2
    commands = "\n".join(f"  {name:{width}}{summary}" for name, (_, summary) in COMMANDS.items())
    return f"Zero-shot classification with TF-VAEGAN and DAZLE.\n\n{commands}"
