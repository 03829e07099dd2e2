"""What the flags of the trees' configs have in common: their types, their checks, and what they mean to a method.

A tree's config dataclass inherits from one of the protocols below and says what each flag weighs and what its default is.
"""

from __future__ import annotations

import logging
from dataclasses import Field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, TypeVar

from zslab.data.dataset import Dataset, StageData
from zslab.data.lazy import limit_memory
from zslab.data.region_dataset import AttributeChange, RegionDataset
from zslab.datasets import DataSource, RegionSource
from zslab.dazle.model import DazleOptions
from zslab.dazle.sampling import Sampling
from zslab.dazle.trainer import DazleSettings
from zslab.errors import InputError
from zslab.precision import Precision
from zslab.protocol import Schedule
from zslab.runs.config import config_digest
from zslab.runs.environment import resolve_device, resolve_folder
from zslab.runs.folder import RunFolder
from zslab.tfvaegan.steps import TfvaeganSettings
from zslab.tfvaegan.trainer import Engine

log = logging.getLogger("zslab")


class RunFlags(Protocol):
    """The flags and properties that every config has."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    dataset: str
    dataroot: Path
    image_embedding: str
    class_embedding: str
    partition: int | None
    nepoch: int
    batch_size: int
    fit_batch_size: bool
    manualSeed: int
    select: Literal["none", "val", "only_val"]
    eval_every: int
    device: str
    precision: Precision
    threads: int
    deterministic: bool
    output: Path
    resume: bool
    overwrite: bool
    checkpoint_every: int

    @property
    def variant(self) -> str:
        """The method's name and what is left out of it."""

    @property
    def folder_words(self) -> tuple[str, ...]:
        """What the name of the run folder says between the data and the seed."""

    def check(self) -> None:
        """Refuse flags that contradict each other."""

    def source(self) -> DataSource:
        """Return where the data come from."""

    def method_settings(self) -> dict[str, Any]:
        """Return what result.json says of the method, for those who build it again."""

    def schedule(self) -> Schedule:
        """Return how long to train, when to evaluate and how to choose an epoch."""


class TfvaeganFlags(RunFlags, Protocol):
    """The flags that both trees' TF-VAEGAN have."""

    preprocessing: bool
    standardization: bool
    resSize: int | None
    attSize: int | None
    nclass_all: int | None
    nz: int | None
    ngh: int
    ndh: int
    critic_iter: int
    feedback_loop: int
    encoded_noise: bool
    lr: float
    feed_lr: float
    dec_lr: float
    beta1: float
    gammaD: float
    gammaG: float
    lambda1: float
    recons_weight: float
    a1: float
    a2: float
    freeze_dec: bool
    stale_feedback: bool
    syn_num: int
    transform: bool
    gzsl: bool
    classifier_lr: float
    classifier_epochs: int
    engine: Engine
    cuda_graphs: bool
    memory: float


class DazleFlags(RunFlags, Protocol):
    """The flags of DAZLE."""

    class_embedding: Literal["att", "original_att"]
    split_file: Path | None
    standard_split: bool
    att_change: AttributeChange
    drop_absent_classes: bool
    w2v: bool
    w2v_file: Path | None
    allow_missing_w2v: bool
    dim_v: int
    trainable_w2v: bool
    normalize_V: bool
    normalize_F: bool
    uniform_att_1: bool
    uniform_att_2: bool
    is_sigmoid: bool
    non_linear_act: bool
    non_linear_emb: bool
    is_conv: bool
    loss_type: Literal["CE", "rank"]
    is_conservative: bool
    is_bias: bool
    bias: float
    lambda_: float
    iterations_per_epoch: int
    sampling: Sampling
    lr: float
    weight_decay: float
    momentum: float


# ---- every method ---------------------------------------------------------------------------------------------------------


def data_folders(config: RunFlags) -> tuple[Path, Path]:
    """Return the folder that holds the data sets, and one for files that make reading them faster."""
    return resolve_folder(config.dataroot), resolve_folder(config.output) / "feature-cache"


def run_folder(config: RunFlags) -> RunFolder:
    """Return the folder of a config's run, named by data, method, seed and a digest of all flags; it need not exist."""
    digest = config_digest(replace(config, device=str(resolve_device(config.device))))
    data = (config.dataset, config.image_embedding, config.class_embedding)
    partition = [] if config.partition is None else [f"partition{config.partition}"]
    name = "-".join([*data, *partition, *config.folder_words, f"seed{config.manualSeed}", digest])
    return RunFolder(resolve_folder(config.output) / name, digest)


Settings = TypeVar("Settings", TfvaeganSettings, DazleSettings)


def fit_batch_size(config: RunFlags, settings: Settings, data: StageData) -> Settings:
    """Return the settings with a batch no larger than a stage's training data, if `--fit_batch_size` asks for it."""
    n = len(data.train)
    if not config.fit_batch_size or settings.batch_size <= n:
        return settings
    log.info("The %s stage has %d training samples, so a batch has %d and not %d.", data.stage, n, n, settings.batch_size)
    return replace(settings, batch_size=n)


def check_at_least(least: int, config: object, *names: str) -> None:
    """Refuse flags that are smaller than `least`.

    Args:
        least: the smallest value allowed.
        config: has the flags as attributes.
        names: of the flags to look at.

    Raises:
        InputError: naming the flag.
    """
    for name in names:
        value = getattr(config, name)
        if not value >= least:
            raise InputError(
                "the number is too small",
                where=f"--{name}",
                found=value,
                expected=f"at least {least}",
                fix=f"Pass --{name} {least} or more.",
            )


# ---- TF-VAEGAN ------------------------------------------------------------------------------------------------------------


def tfvaegan_settings(config: TfvaeganFlags) -> TfvaeganSettings:
    """Return the release's flags in the method's words; what only one tree has is left at its default."""
    return TfvaeganSettings(
        batch_size=config.batch_size,
        critic_iter=config.critic_iter,
        feedback_loop=config.feedback_loop,
        encoded_noise=config.encoded_noise,
        freeze_decoder=config.freeze_dec,
        stale_feedback=config.stale_feedback,
        critic_weight=config.gammaD,
        adversarial_weight=config.gammaG,
        cycle_weight=config.recons_weight,
        penalty_weight=config.lambda1,
        feedback_train=config.a1,
        feedback_synthesis=config.a2,
        lr=config.lr,
        beta1=config.beta1,
        feedback_lr=config.feed_lr,
        decoder_lr=config.dec_lr,
        n_synthetic=config.syn_num,
        transform=config.transform,
    )


def tfvaegan_variant(config: TfvaeganFlags, *more: str) -> str:
    """Return the method's name and what is left out of it; `more` comes right after its name."""
    words = ["TF-VAEGAN" if config.recons_weight > 0 else "f-VAEGAN-D2", *more]
    words += ["without feedback"] if config.recons_weight > 0 and config.feedback_loop == 1 else []
    words += ["without transformation"] if config.recons_weight > 0 and not config.transform else []
    return ", ".join(words)


def schedule(config: RunFlags) -> Schedule:
    """Return how long to train, when to evaluate and how to choose an epoch."""
    return Schedule(
        config.nepoch,
        config.eval_every,
        config.checkpoint_every,
        config.select != "none",
        config.select == "only_val",
        seed=config.manualSeed,
        deterministic=config.deterministic,
    )


def check_tfvaegan(config: TfvaeganFlags, *also_at_least_one: str) -> None:
    """Refuse flags that contradict each other.

    Args:
        config: of either tree.
        also_at_least_one: flags of one tree that must not be smaller than 1.

    Raises:
        InputError: naming the flags.
    """
    if config.standardization or not config.preprocessing:
        raise InputError(
            "the generator cannot produce such features",
            where="--standardization / --preprocessing",
            found="standardization" if config.standardization else "no preprocessing",
            expected="features in [0, 1], because the generator ends in a sigmoid and is trained by cross-entropy",
            fix="Use --preprocessing --no_standardization, the defaults.",
        )
    if config.recons_weight == 0 and (config.feedback_loop > 1 or config.transform):
        raise InputError(
            "the decoder is used but never trained",
            where="--recons_weight",
            found=0,
            expected="a positive weight where feedback or transformation use the decoder",
            fix="Add --feedback_loop 1 --no_transform, which makes it f-VAEGAN-D2, or give the weight a value.",
        )
    shared = ("ngh", "ndh", "nepoch", "batch_size", "critic_iter", "feedback_loop", "syn_num", "classifier_epochs")
    check_at_least(1, config, *shared, "eval_every", "checkpoint_every", *also_at_least_one)


def read_dataset(config: TfvaeganFlags) -> Dataset:
    """Read the config's data, and compare its size flags with them.

    Raises:
        InputError: data are missing or wrong, or a size flag contradicts them.
    """
    if config.memory > 0:
        limit_memory(config.memory)
    dataset = config.source().open(*data_folders(config))
    sizes = {
        "resSize": (config.resSize, dataset.features.shape[1]),
        "attSize": (config.attSize, dataset.attributes.shape[1]),
        "nclass_all": (config.nclass_all, len(dataset.attributes)),
    }
    for flag, (given, size) in sizes.items():
        if given is not None and given != size:
            raise InputError(
                "the size contradicts the data",
                where=f"--{flag}",
                found=given,
                expected=f"{size}, as in {config.dataset}",
                fix=f"Leave out --{flag}; sizes are read from the data.",
            )
    return dataset


# ---- DAZLE ----------------------------------------------------------------------------------------------------------------


def dazle_options(config: DazleFlags) -> DazleOptions:
    """Return the model's options."""
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


def dazle_settings(config: DazleFlags) -> DazleSettings:
    """Return the training's settings."""
    return DazleSettings(
        batch_size=config.batch_size,
        sampling=config.sampling,
        iterations=config.iterations_per_epoch,
        lr=config.lr,
        weight_decay=config.weight_decay,
        momentum=config.momentum,
        loss="rank" if config.loss_type == "rank" else "cross_entropy",
        conservative=config.is_conservative,
        calibration=config.lambda_,
        margin=config.bias if config.is_bias else 0.0,
    )


def dazle_source(config: DazleFlags) -> RegionSource:
    """Return where the region maps come from."""
    return RegionSource(
        config.dataset,
        config.image_embedding,
        config.class_embedding,
        attribute_change=config.att_change,
        splits=str(config.split_file) if config.split_file else None,
        word_vectors=str(config.w2v_file) if config.w2v_file else None,
        drop_absent_classes=config.drop_absent_classes,
        standard_split=config.standard_split,
        allow_missing_vectors=config.allow_missing_w2v,
        partition=config.partition,
    )


def check_dazle(config: DazleFlags) -> None:
    """Refuse flags that cannot be.

    Raises:
        InputError: naming the flag.
    """
    check_at_least(1, config, "nepoch", "batch_size", "dim_v", "eval_every", "checkpoint_every")
    check_at_least(0, config, "iterations_per_epoch", "lambda_", "bias", "lr", "weight_decay", "momentum")


def read_regions(config: DazleFlags) -> RegionDataset:
    """Open the config's region maps.

    Raises:
        InputError: data are missing or wrong.
    """
    return dazle_source(config).open(*data_folders(config))
