"""What the configs of both trees share: the types of the flags, their checks, and what they mean to a method.

A tree's config dataclass inherits from one of the protocols below. It gives each flag a default and a help text.
"""

from __future__ import annotations

import logging
from dataclasses import Field, asdict, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, TypeVar

from zslab.data.dataset import Dataset, StageData
from zslab.data.lazy import limit_memory
from zslab.data.region_dataset import AttributeChange
from zslab.datasets import DataSource, RegionSource
from zslab.dazle.model import DazleOptions
from zslab.dazle.sampling import Sampling
from zslab.dazle.trainer import DazleSettings
from zslab.errors import InputError
from zslab.protocol.stages import Schedule
from zslab.results.config import VALIDATION_ONLY, config_digest
from zslab.results.folder import RunFolder
from zslab.tfvaegan.settings import TfvaeganSettings
from zslab.tfvaegan.trainer import Engine
from zslab.utils.environment import resolve_device, resolve_folder
from zslab.utils.precision import Precision

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
        """The method's name and its ablations."""

    @property
    def folder_words(self) -> tuple[str, ...]:
        """The words between data and seed in the name of the run folder."""

    def check(self) -> None:
        """Refuse flags that contradict each other."""

    def source(self) -> DataSource:
        """Return where the data come from."""

    def method_settings(self) -> dict[str, Any]:
        """Return the method's settings as result.json holds them."""

    def schedule(self) -> Schedule:
        """Return how long to train, when to evaluate and how to choose an epoch."""
        return Schedule(
            self.nepoch,
            self.eval_every,
            self.checkpoint_every,
            self.select != "none",
            self.select == VALIDATION_ONLY,
            seed=self.manualSeed,
            deterministic=self.deterministic,
        )


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

    def variant_of(self, *more: str) -> str:
        """Return the method's name and its ablations; `more` follows the name."""
        words = ["TF-VAEGAN" if self.recons_weight > 0 else "f-VAEGAN-D2", *more]
        words += ["without feedback"] if self.recons_weight > 0 and self.feedback_loop == 1 else []
        words += ["without transformation"] if self.recons_weight > 0 and not self.transform else []
        return ", ".join(words)

    def check(self) -> None:
        """Refuse flags that contradict each other.

        Raises:
            InputError: naming the flags.
        """
        if self.standardization or not self.preprocessing:
            raise InputError(
                "the generator cannot produce such features",
                where="--standardization / --preprocessing",
                found="standardization" if self.standardization else "no preprocessing",
                expected="features in [0, 1], because the generator ends in a sigmoid and is trained by cross-entropy",
                fix="Use --preprocessing --no_standardization, the defaults.",
            )
        if self.recons_weight == 0 and (self.feedback_loop > 1 or self.transform):
            raise InputError(
                "the decoder is used but never trained",
                where="--recons_weight",
                found=0,
                expected="a positive weight where feedback or transformation use the decoder",
                fix="Add --feedback_loop 1 --no_transform, which makes it f-VAEGAN-D2, or give the weight a value.",
            )
        check_at_least(1, self, "ngh", "ndh", "nepoch", "batch_size", "critic_iter", "feedback_loop", "syn_num")
        check_at_least(1, self, "classifier_epochs", "eval_every", "checkpoint_every")

    def settings(self) -> TfvaeganSettings:
        """Return the method's settings; what only one tree has a flag for is left at its default."""
        return TfvaeganSettings(
            batch_size=self.batch_size,
            critic_iter=self.critic_iter,
            feedback_loop=self.feedback_loop,
            encoded_noise=self.encoded_noise,
            freeze_decoder=self.freeze_dec,
            stale_feedback=self.stale_feedback,
            critic_weight=self.gammaD,
            adversarial_weight=self.gammaG,
            cycle_weight=self.recons_weight,
            penalty_weight=self.lambda1,
            feedback_train=self.a1,
            feedback_synthesis=self.a2,
            lr=self.lr,
            beta1=self.beta1,
            feedback_lr=self.feed_lr,
            decoder_lr=self.dec_lr,
            n_synthetic=self.syn_num,
            transform=self.transform,
        )

    def method_settings(self) -> dict[str, Any]:
        """Return the method's settings as result.json holds them."""
        return asdict(self.settings())


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

    def check(self) -> None:
        """Refuse flags that are out of range.

        Raises:
            InputError: naming the flag.
        """
        check_at_least(1, self, "nepoch", "batch_size", "dim_v", "eval_every", "checkpoint_every")
        check_at_least(0, self, "iterations_per_epoch", "lambda_", "bias", "lr", "weight_decay", "momentum")

    def source(self) -> RegionSource:
        """Return where the region maps come from."""
        return RegionSource(
            self.dataset,
            self.image_embedding,
            self.class_embedding,
            attribute_change=self.att_change,
            splits=str(self.split_file) if self.split_file else None,
            word_vectors=str(self.w2v_file) if self.w2v_file else None,
            drop_absent_classes=self.drop_absent_classes,
            standard_split=self.standard_split,
            allow_missing_vectors=self.allow_missing_w2v,
            partition=self.partition,
        )

    def options(self) -> DazleOptions:
        """Return the model's options."""
        return DazleOptions(
            normalize_features=self.normalize_F,
            normalize_vectors=self.normalize_V,
            trainable_vectors=self.trainable_w2v,
            uniform_regions=self.uniform_att_1,
            uniform_attributes=self.uniform_att_2,
            sigmoid_scores=self.is_sigmoid,
            relu_attributes=self.non_linear_act,
            nonlinear_classes=self.non_linear_emb,
            convolution=self.is_conv,
        )

    def settings(self) -> DazleSettings:
        """Return the training's settings."""
        return DazleSettings(
            batch_size=self.batch_size,
            sampling=self.sampling,
            iterations=self.iterations_per_epoch,
            lr=self.lr,
            weight_decay=self.weight_decay,
            momentum=self.momentum,
            loss="rank" if self.loss_type == "rank" else "cross_entropy",
            conservative=self.is_conservative,
            calibration=self.lambda_,
            margin=self.bias if self.is_bias else 0.0,
        )

    def method_settings(self) -> dict[str, Any]:
        """Return the method's settings as result.json holds them."""
        return asdict(self.settings()) | {"options": asdict(self.options())}


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


def is_plain_name(name: str) -> bool:
    """Return whether a name is that of a file or folder, and leads nowhere else."""
    return bool(name.strip()) and Path(name).name == name and name != ".."


def check_file_names(config: object, *flags: str) -> None:
    """Refuse names of files to write that are empty or lead out of their folder.

    Args:
        config: has an attribute for each flag; None is not checked.
        flags: their names.

    Raises:
        InputError: a name is not that of a file.
    """
    for flag in flags:
        name = getattr(config, flag)
        if name is not None and not is_plain_name(name):
            raise InputError(
                "the name is not that of a file",
                where=f"--{flag}",
                found=repr(name),
                expected="a name without folders",
                fix="Pass a plain name; --dataroot and --dataset say where the file goes.",
            )


def check_share(config: object, *flags: str) -> None:
    """Refuse shares that are not between 0 and 1.

    Args:
        config: has an attribute for each flag.
        flags: their names.

    Raises:
        InputError: a share is out of range or NaN.
    """
    for flag in flags:
        if not 0 < getattr(config, flag) < 1:
            raise InputError(
                "the share is out of range",
                where=f"--{flag}",
                found=getattr(config, flag),
                expected="more than 0 and less than 1",
                fix="Pass a share such as 0.2.",
            )


def check_at_least(least: int, config: object, *names: str) -> None:
    """Refuse flags that are smaller than `least`.

    Args:
        least: the smallest value allowed.

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
