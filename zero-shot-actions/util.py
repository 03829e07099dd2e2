"""What the training script does around the method: check the flags, read the data, run the experiment."""

from __future__ import annotations

import torch

from zsl import experiment, flags
from zsl.data.actions import read_action_set
from zsl.data.xlsa17 import Dataset, StageData
from zsl.errors import InputError
from zsl.runs.environment import resolve_folder
from zsl.runs.folder import RunFolder
from zsl.tfvaegan.trainer import TfvaeganTrainer

from classifier import build_heads
from config import TfvaeganConfig
from model import build_networks


def run_folder(config: TfvaeganConfig) -> RunFolder:
    """The folder of a config's run, named by what it is."""
    split = [] if config.split is None else [f"split{config.split}"]
    return flags.run_folder(config, *split, "tfvaegan")


def check_config(config: TfvaeganConfig) -> None:
    """Refuses flags that contradict each other.

    Raises:
        InputError: naming the flags.
    """
    flags.check_flags(config, "ood_epochs", "ood_batch_size", "ood_hidden")
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
    return flags.check_sizes(config, dataset)


def build_trainer(config: TfvaeganConfig, data: StageData, device: torch.device) -> TfvaeganTrainer:
    """Networks and heads put together, ready to train on a stage's data."""
    return flags.tfvaegan_trainer(config, build_networks(config, data), build_heads(config), data, device)


def run(config: TfvaeganConfig) -> int:
    """One experiment from config to report; returns the exit status."""
    return experiment.run(config, check_config, run_folder, load_dataset, build_trainer, method="tfvaegan")
