"""What the training scripts do around the method: check the flags, read the data, run the experiment."""

from __future__ import annotations

from pathlib import Path

import torch

from zsl import experiment, flags
from zsl.data.region_maps import RegionDataset, RegionStageData
from zsl.data.toy import make_toy
from zsl.data.xlsa17 import Dataset, StageData, read_xlsa17
from zsl.dazle.attention import record_attention
from zsl.dazle.maps import Cached, Streamed
from zsl.dazle.trainer import DazleTrainer
from zsl.features.toy_regions import make_toy_regions
from zsl.runs.environment import resolve_folder
from zsl.runs.folder import RunFolder
from zsl.tfvaegan.trainer import TfvaeganTrainer

from classifier import build_heads
from config import DazleConfig, TfvaeganConfig
from model import build_dazle, build_networks


def run_folder(config: TfvaeganConfig | DazleConfig) -> RunFolder:
    """The folder of a config's run, named by what it is."""
    if isinstance(config, DazleConfig):
        return flags.run_folder(config, "dazle", *(["standard_split"] if config.standard_split else []))
    return flags.run_folder(config, "tfvaegan", "transductive" if config.transductive else "inductive")


# ---- TF-VAEGAN -----------------------------------------------------------------------------------------------------------


def check_config(config: TfvaeganConfig) -> None:
    """Refuses flags that contradict each other.

    Raises:
        InputError: naming the flags.
    """
    flags.check_flags(config)


def load_dataset(config: TfvaeganConfig) -> Dataset:
    """Reads the config's data, rendering it first if it is the toy set, and holds the size flags, where given, to it.

    Raises:
        InputError: data is missing or wrong, or a size flag contradicts it.
    """
    dataroot = resolve_folder(config.dataroot)
    if config.dataset == "TOY":
        make_toy(dataroot)  # does nothing where it is there already
    dataset = read_xlsa17(dataroot, config.dataset, config.image_embedding, config.class_embedding)
    return flags.check_sizes(config, dataset)


def build_trainer(config: TfvaeganConfig, data: StageData, device: torch.device) -> TfvaeganTrainer:
    """Networks and heads put together, ready to train on a stage's data."""
    return flags.tfvaegan_trainer(config, build_networks(config, data), build_heads(config), data, device)


def run(config: TfvaeganConfig) -> int:
    """One experiment from config to report; returns the exit status."""
    if config.transductive and config.unseen_prior == "labels":
        print("Warning: --unseen_prior labels tells the generator the class frequencies of the test set.")
    return experiment.run(config, check_config, run_folder, load_dataset, build_trainer, method="tfvaegan")


# ---- DAZLE ---------------------------------------------------------------------------------------------------------------


def check_dazle_config(config: DazleConfig) -> None:
    """Refuses flags that cannot be.

    Raises:
        InputError: naming the flag.
    """
    flags.check_at_least(1, config, "nepoch", "batch_size", "dim_v", "eval_every", "checkpoint_every")
    flags.check_at_least(0, config, "iterations_per_epoch", "lambda_", "bias", "lr", "weight_decay", "momentum")


def load_region_dataset(config: DazleConfig) -> RegionDataset:
    """Opens the config's region maps, rendering the toy set and describing its pictures first if it is that.

    Raises:
        InputError: data is missing or wrong.
    """
    dataroot = resolve_folder(config.dataroot)
    if config.dataset == "TOY":
        make_toy_regions(make_toy(dataroot))  # either does nothing where its work is there already
    return flags.read_region_dataset(config, dataroot)


def build_dazle_trainer(config: DazleConfig, data: RegionStageData, device: torch.device) -> DazleTrainer:
    """The model on a stage's region maps, which are held in memory or read as they are needed."""
    if config.cache == "memory":
        maps = Cached(data.regions, torch.cat([*data.rows.values()]), device)
    else:
        maps = Streamed(data.regions, device)
    return DazleTrainer(build_dazle(config, data), data, config.settings(), device, config.manualSeed, maps, config.precision)


def add_attention(config: DazleConfig, run: Path, dataset: RegionDataset, device: torch.device) -> None:
    """Leaves in the trained run's folder where the model looks, for the report."""
    model = build_dazle(config, dataset.stage("test"))
    record_attention(run, dataset, model, config.settings().margin, device)


def run_dazle(config: DazleConfig) -> int:
    """One experiment from config to report; returns the exit status."""
    return experiment.run(
        config, check_dazle_config, run_folder, load_region_dataset, build_dazle_trainer, method="dazle", after=add_attention
    )
