"""What both training scripts do around the method: check the flags, read the data, run the experiment."""

from __future__ import annotations

from zsl import tree
from zsl.data.toy import make_toy
from zsl.data.xlsa17 import Dataset, read_xlsa17
from zsl.runs.environment import resolve_folder
from zsl.runs.folder import RunFolder

from classifier import build_heads
from config import TfvaeganConfig
from model import build_networks


def run_folder(config: TfvaeganConfig) -> RunFolder:
    """The folder of a config's run, named by what it is."""
    return tree.run_folder(config, "tfvaegan", "transductive" if config.transductive else "inductive")


def check_config(config: TfvaeganConfig) -> None:
    """Refuses flags that contradict each other.

    Raises:
        InputError: naming the flags.
    """
    tree.check_flags(config)


def load_dataset(config: TfvaeganConfig) -> Dataset:
    """Reads the config's data, rendering it first if it is the toy set, and holds the size flags, where given, to it.

    Raises:
        InputError: data is missing or wrong, or a size flag contradicts it.
    """
    dataroot = resolve_folder(config.dataroot)
    if config.dataset == "TOY":
        make_toy(dataroot)  # does nothing where it is there already
    dataset = read_xlsa17(dataroot, config.dataset, config.image_embedding, config.class_embedding)
    return tree.check_sizes(config, dataset)


def run(config: TfvaeganConfig) -> int:
    """One experiment from config to report; returns the exit status."""
    if config.transductive and config.unseen_prior == "labels":
        print("Warning: --unseen_prior labels tells the generator the class frequencies of the test set.")
    return tree.run(config, check_config, run_folder, load_dataset, build_networks, build_heads)
