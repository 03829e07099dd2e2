"""What a tree's flags mean: a config in the words of the methods, checked, with the data and the run folder that it names.

`config` is a tree's config dataclass, and where nothing else is said either tree's `TfvaeganConfig`; flags that several
have are of the same type and meaning.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from zsl.classifiers import SoftmaxHead
from zsl.data.region_maps import RegionDataset, read_region_maps
from zsl.data.xlsa17 import Dataset, StageData
from zsl.dazle.model import DazleOptions
from zsl.errors import InputError
from zsl.gate import GatedClassifier
from zsl.protocol import Schedule
from zsl.runs.config import config_digest
from zsl.runs.environment import resolve_device, resolve_folder
from zsl.runs.folder import RunFolder
from zsl.tfvaegan.networks import Networks
from zsl.tfvaegan.trainer import TfvaeganTrainer

Config = Any  # a tree's dataclass, which zsl cannot import


def shared_settings(config: Config) -> dict[str, Any]:
    """The release's flag names in the method's words, as arguments of `Settings`; what only one tree has is missing."""
    return {
        "batch_size": config.batch_size,
        "critic_iter": config.critic_iter,
        "feedback_loop": config.feedback_loop,
        "encoded_noise": config.encoded_noise,
        "freeze_decoder": config.freeze_dec,
        "stale_feedback": config.stale_feedback,
        "critic_weight": config.gammaD,
        "adversarial_weight": config.gammaG,
        "cycle_weight": config.recons_weight,
        "penalty_weight": config.lambda1,
        "feedback_train": config.a1,
        "feedback_synthesis": config.a2,
        "lr": config.lr,
        "beta1": config.beta1,
        "feedback_lr": config.feed_lr,
        "decoder_lr": config.dec_lr,
        "n_synthetic": config.syn_num,
        "transform": config.transform,
    }


def tfvaegan_trainer(
    config: Config,
    networks: Networks,
    heads: tuple[SoftmaxHead, SoftmaxHead | GatedClassifier | None],
    data: StageData,
    device: torch.device,
) -> TfvaeganTrainer:
    """The trainer of a tree's networks and heads (over unseen classes, over all), as the config asks for it."""
    return TfvaeganTrainer(
        networks, data, config.settings(), *heads, device, config.manualSeed, config.engine, config.precision,
        config.cuda_graphs,
    )


def dazle_options(config: Config) -> DazleOptions:
    """The model's flags of a DazleConfig in words."""
    return DazleOptions(
        normalize_features=config.normalize_F,
        normalize_vectors=config.normalize_V,
        trainable_vectors=config.trainable_w2v,
        uniform_regions=config.uniform_att_1,
        uniform_attributes=config.uniform_att_2,
        sigmoid_scores=config.is_sigmoid,
        relu_attributes=config.non_linear_act,
        nonlinear_classes=config.non_linear_emb,
        convolution=config.is_conv,
    )


def dazle_margin(config: Config) -> float:
    """What a DazleConfig adds to unseen and subtracts from seen scores."""
    return config.bias if config.is_bias else 0.0


def read_region_dataset(config: Config, dataroot: Path) -> RegionDataset:
    """Opens the region maps of a DazleConfig; `--split_file` and `--w2v_file`, where relative, lie beside them.

    Raises:
        InputError: data is missing or wrong.
    """
    folder = dataroot / config.dataset

    def beside(path: Path | str | None) -> Path | None:
        return path and folder / Path(path).expanduser()

    return read_region_maps(
        folder / f"{config.image_embedding}.hdf5",
        dataset=config.dataset,
        attributes=config.class_embedding,
        attribute_change=config.att_change,
        split_file=beside(config.split_file),
        word_vector_file=beside(config.w2v_file),
        drop_absent_classes=config.drop_absent_classes,
        standard_split=config.standard_split,
        allow_missing_vectors=config.allow_missing_w2v,
    )


def schedule(config: Config) -> Schedule:
    """How long to train, when to look, and how to choose."""
    return Schedule(config.nepoch, config.eval_every, config.checkpoint_every, config.select == "val",
                    "minmax" if config.preprocessing else "none")


def variant(config: Config, *more: str) -> str:
    """What distinguishes the method, in words; `more` comes right after its name."""
    words = ["TF-VAEGAN" if config.recons_weight > 0 else "f-VAEGAN-D2", *more]
    words += ["without feedback"] if config.recons_weight > 0 and config.feedback_loop == 1 else []
    words += ["without transformation"] if config.recons_weight > 0 and not config.transform else []
    return ", ".join(words)


def run_folder(config: Config, *words: str) -> RunFolder:
    """The folder of any config's run, named by what it is: data, `words`, seed, and a digest of all flags."""
    digest = config_digest(replace(config, device=str(resolve_device(config.device))))
    name = "-".join([config.dataset, config.image_embedding, config.class_embedding, *words, f"seed{config.manualSeed}"])
    return RunFolder(resolve_folder(config.output) / f"{name}-{digest}", digest)


def check_flags(config: Config, *also_at_least_one: str) -> None:
    """Refuses flags that contradict each other.

    Args:
        also_at_least_one: flags of one tree that must not be smaller than 1.

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
    check_at_least(1, config, *at_least_one, *also_at_least_one)


def check_at_least(least: int, config: Config, *flags: str) -> None:
    """Refuses flags of any config that are smaller than `least`.

    Raises:
        InputError: naming the flag.
    """
    for flag in flags:
        if not getattr(config, flag) >= least:
            raise InputError(
                "a number too small", where=f"--{flag}", found=getattr(config, flag), expected=f"at least {least}",
                cure=f"Pass --{flag} {least} or more.",
            )


def check_sizes(config: Config, dataset: Dataset) -> Dataset:
    """Holds the config's size flags, where given, to the data; returns the data.

    Raises:
        InputError: a flag contradicts it.
    """
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
