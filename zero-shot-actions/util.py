"""What the training script does around the method: check the flags, read the data, run the experiment."""

from __future__ import annotations

from zsl import tree
from zsl.data.actions import read_action_set
from zsl.data.xlsa17 import Dataset
from zsl.errors import InputError
from zsl.runs.environment import resolve_folder
from zsl.runs.folder import RunFolder

from classifier import build_heads
from config import TfvaeganConfig
from model import build_networks


def run_folder(config: TfvaeganConfig) -> RunFolder:
    """The folder of a config's run, named by what it is."""
    split = [] if config.split is None else [f"split{config.split}"]
    return tree.run_folder(config, *split, "tfvaegan")


def check_config(config: TfvaeganConfig) -> None:
    """Refuses flags that contradict each other.

    Raises:
        InputError: naming the flags.
    """
    tree.check_flags(config, "ood_epochs", "ood_batch_size", "ood_hidden")
    if config.gzsl and config.gzsl_od and config.ood_threshold == "val" and config.select != "val":
        raise InputError(
            "a threshold that nothing chooses", where="--ood_threshold", found="val without --select val",
            expected="a validation run to choose it in", cure="Add --select val, or pass --ood_threshold release or mean.",
        )


def load_dataset(config: TfvaeganConfig) -> Dataset:
    """Reads the config's data and holds its size flags, where given, to it.

    The features are kept beside the runs in a form that all processes of a sweep share.

    Raises:
        InputError: data is missing or wrong, or a size flag contradicts it.
    """
    dataset = read_action_set(
        resolve_folder(config.dataroot), config.dataset, config.image_embedding, config.class_embedding, config.split,
        config.manual_att, resolve_folder(config.output) / "feature-cache",
    )
    return tree.check_sizes(config, dataset)


def run(config: TfvaeganConfig) -> int:
    """One experiment from config to report; returns the exit status."""
    return tree.run(config, check_config, run_folder, load_dataset, build_networks, build_heads)
