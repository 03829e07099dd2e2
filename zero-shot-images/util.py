"""What both training scripts do around the method: check the flags, read the data, run the experiment."""

from __future__ import annotations

import sys
from dataclasses import replace

import torch

from zsl.data.toy import make_toy
from zsl.data.xlsa17 import Dataset, StageData, read_xlsa17
from zsl.errors import InputError
from zsl.experiment import run_and_report
from zsl.runs.config import config_digest
from zsl.runs.environment import resolve_device, resolve_folder
from zsl.runs.folder import RunFolder
from zsl.tfvaegan.trainer import TfvaeganTrainer

from classifier import build_heads
from config import TfvaeganConfig
from model import build_networks


def run_folder(config: TfvaeganConfig) -> RunFolder:
    """The folder of a config's run, named by what it is."""
    variant = "transductive" if config.transductive else "inductive"
    digest = config_digest(replace(config, device=str(resolve_device(config.device))))
    name = (
        f"{config.dataset}-{config.image_embedding}-{config.class_embedding}-tfvaegan-{variant}"
        f"-seed{config.manualSeed}-{digest}"
    )
    return RunFolder(resolve_folder(config.output) / name, digest)


def check_config(config: TfvaeganConfig) -> None:
    """Refuses flags that contradict each other.

    Raises:
        InputError: naming the flags.
    """
    if config.standardization or not config.preprocessing:
        raise InputError(
            "features the generator cannot produce", where="--standardization / --preprocessing",
            found="standardization" if config.standardization else "no preprocessing",
            expected="features in [0, 1], for the generator ends in a sigmoid and is trained by cross-entropy",
            cure="Use --preprocessing --no_standardization, the defaults.",
        )
    if config.recons_weight == 0 and (config.feedback_loop > 1 or config.transform):
        raise InputError(
            "a decoder that is used but never trained", where="--recons_weight", found=0,
            expected="a positive weight where feedback or transformation use the decoder",
            cure="Add --feedback_loop 1 --no_transform, which makes it f-VAEGAN-D2, or give the weight a value.",
        )
    at_least_one = ("ngh", "ndh", "nepoch", "batch_size", "critic_iter", "feedback_loop", "syn_num", "classifier_epochs",
                    "eval_every", "checkpoint_every")
    for flag in at_least_one:
        if getattr(config, flag) < 1:
            raise InputError(
                "a number too small", where=f"--{flag}", found=getattr(config, flag), expected="at least 1",
                cure=f"Pass --{flag} 1 or more.",
            )


def load_dataset(config: TfvaeganConfig) -> Dataset:
    """Reads the config's data, rendering it first if it is the toy set, and holds the size flags, where given, to it.

    Raises:
        InputError: data is missing or wrong, or a size flag contradicts it.
    """
    dataroot = resolve_folder(config.dataroot)
    if config.dataset == "TOY":
        make_toy(dataroot)  # does nothing where it is there already
    dataset = read_xlsa17(dataroot, config.dataset, config.image_embedding, config.class_embedding)
    sizes = {
        "resSize": dataset.features.shape[1],
        "attSize": dataset.attributes.shape[1],
        "nclass_all": len(dataset.attributes),
    }
    for flag, size in sizes.items():
        given = getattr(config, flag)
        if given is not None and given != size:
            raise InputError(
                "a size that contradicts the data", where=f"--{flag}", found=given,
                expected=f"{size}, as {config.dataset} has it", cure=f"Leave out --{flag}; sizes are read from the data.",
            )
    return dataset


def run(config: TfvaeganConfig) -> int:
    """One experiment from config to report; returns the exit status."""

    def build_trainer(data: StageData, device: torch.device) -> TfvaeganTrainer:
        networks = build_networks(config, data)
        return TfvaeganTrainer(
            networks, data, config.settings(), *build_heads(config), device, config.manualSeed, config.engine
        )

    try:
        check_config(config)
        folder = run_folder(config)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if config.threads > 0:
        torch.set_num_threads(config.threads)
    if config.transductive and config.unseen_prior == "labels":
        print("Warning: --unseen_prior labels tells the generator the class frequencies of the test set.")
    return run_and_report(
        config, folder, lambda: load_dataset(config), build_trainer, config.schedule(),
        method="tfvaegan", title=f"{config.variant} on {config.dataset}",
    )
