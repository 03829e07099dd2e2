"""What the training scripts do around the method: check the flags, read the data, run the experiment."""

from __future__ import annotations

from pathlib import Path

import torch

from zsl import tree
from zsl.data.region_maps import RegionDataset, RegionStageData
from zsl.data.toy import make_toy
from zsl.data.xlsa17 import Dataset, read_xlsa17
from zsl.dazle.attention import record_attention
from zsl.dazle.maps import Cached, Streamed
from zsl.dazle.trainer import DazleTrainer
from zsl.features.toy_regions import make_toy_regions
from zsl.runs.environment import resolve_folder
from zsl.runs.folder import RunFolder

from classifier import build_heads
from config import DazleConfig, TfvaeganConfig
from model import build_dazle, build_networks


def run_folder(config: TfvaeganConfig | DazleConfig) -> RunFolder:
    """The folder of a config's run, named by what it is."""
    if isinstance(config, DazleConfig):
        return tree.run_folder(config, "dazle", *(["standard_split"] if config.standard_split else []))
    return tree.run_folder(config, "tfvaegan", "transductive" if config.transductive else "inductive")


# ---- TF-VAEGAN -----------------------------------------------------------------------------------------------------------


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


# ---- DAZLE ---------------------------------------------------------------------------------------------------------------


def check_dazle_config(config: DazleConfig) -> None:
    """Refuses flags that cannot be.

    Raises:
        InputError: naming the flag.
    """
    tree.check_at_least(1, config, "nepoch", "batch_size", "dim_v", "eval_every", "checkpoint_every")
    tree.check_at_least(0, config, "iterations_per_epoch", "lambda_", "bias", "lr", "weight_decay", "momentum")


def load_region_dataset(config: DazleConfig) -> RegionDataset:
    """Opens the config's region maps, rendering the toy set and describing its pictures first if it is that.

    Raises:
        InputError: data is missing or wrong.
    """
    dataroot = resolve_folder(config.dataroot)
    if config.dataset == "TOY":
        make_toy_regions(make_toy(dataroot))  # either does nothing where its work is there already
    return tree.read_region_dataset(config, dataroot)


def run_dazle(config: DazleConfig) -> int:
    """One experiment from config to report; returns the exit status."""

    def build_trainer(data: RegionStageData, device: torch.device) -> DazleTrainer:
        if config.cache == "memory":
            maps = Cached(data.regions, torch.cat([*data.rows.values()]), device)
        else:
            maps = Streamed(data.regions, device)
        return DazleTrainer(build_dazle(config, data), data, config.settings(), device, config.manualSeed, maps)

    def after(run: Path, dataset: RegionDataset, device: torch.device) -> None:
        model = build_dazle(config, dataset.stage("test"))
        record_attention(run, dataset, model, config.settings().margin, device)

    return tree.start(config, check_dazle_config, run_folder, load_region_dataset, build_trainer, "dazle", after)
