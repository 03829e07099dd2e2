"""The flags of all experiments: name, type and meaning of each, declared once.

Numbers stand elsewhere: a tree's `config.py` gives each flag a value, to be edited, a launcher those of a data set, and the
command line comes last. Flags keep the names of the authors' release; their help is the comment `#:` at the field. Methods
read the config itself. A field made by `flag` says what else is known of it: the smallest value that makes sense, and whether
the flag can change a number (where data and output lie cannot; with other `threads`, as on another machine, sums may be
rounded otherwise).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, get_type_hints

import msgspec

from zslab.errors import InputError, examples
from zslab.utils.flags import check_at_least

if TYPE_CHECKING:
    from _typeshed import DataclassInstance
    from typing_extensions import Self

log = logging.getLogger("zslab")

Config = TypeVar("Config", bound="DataclassInstance")
Value = str | int | float | bool | None
VALIDATION_ONLY: Final = "only_val"  # value of --select: train and measure on the validation split alone
NOTED = ("standardization", "resSize", "attSize", "nclass_all")  # flags of the release that change nothing here
REMOVED = {"engine": "there is one engine, as fast as the former default"}  # flag of an earlier version -> why it is gone


def flag(low: float | None = None, affects_result: bool = True) -> Any:
    """Return a field of a config.

    Args:
        low: the smallest value allowed; None where any makes sense.
        affects_result: whether two runs that differ in this flag alone can give different numbers.
    """
    return dataclasses.field(metadata={"low": low, "affects_result": affects_result})


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """The flags that every method has."""

    dataset: str  #: folder of the data set under --dataroot
    #: where the data sets lie; relative to the working directory, else to the project's root
    dataroot: Path = flag(affects_result=False)
    image_embedding: str  #: file of features (without .mat) or of region maps (without .hdf5)
    #: class vectors: a split file without _splits.mat, such as att or sent; for region maps att or original_att
    class_embedding: str
    partition: int | None  #: draw a random partition of the classes with this number instead of the file's split
    nepoch: int = flag(low=1)  #: epochs
    batch_size: int = flag(low=1)  #: samples a step; class-balanced batches may have fewer
    fit_batch_size: bool  #: lower --batch_size to the number of training samples where there are fewer, in either stage
    lr: float = flag(low=0)  #: learning rate: Adam's for encoder, generator and critics (TF-VAEGAN), RMSprop's (DAZLE)
    manualSeed: int  #: seed of all random numbers
    #: val: train on the validation split first and choose the reported epoch there; only_val: stop after that
    select: Literal["none", "val", "only_val"]
    eval_every: int = flag(low=1)  #: epochs between evaluations; the last epoch is always evaluated
    baselines: bool  #: measure the baselines, too; their rows stand below the method's
    report: bool = flag(affects_result=False)  #: draw report.html with its plots
    device: str  #: auto, cpu, cuda or cuda:N; CUDA_VISIBLE_DEVICES is respected
    #: of matrix products in training: float32, TF32 (CUDA only) or bfloat16; weights and optimizer stay float32
    precision: Literal["fp32", "tf32", "bf16"]
    threads: int = flag(affects_result=False)  #: CPU threads; 0 leaves the choice to PyTorch, one a core
    #: GiB that the process should stay below: larger feature matrices are read and synthesized batch by batch; 0: 4 GiB each
    memory: float
    deterministic: bool  #: refuse CUDA operations whose result is not repeatable; results on a CPU always are
    output: Path = flag(affects_result=False)  #: folder for run folders
    resume: bool = flag(affects_result=False)  #: continue an unfinished run of the same config
    overwrite: bool = flag(affects_result=False)  #: delete what an earlier run of the same config left
    checkpoint_every: int = flag(low=1, affects_result=False)  #: epochs between checkpoints; a kill loses at most these

    def __post_init__(self) -> None:
        """Make whole numbers of float flags floats, so that 10 and 10.0 are one config."""
        for field in fields(self):
            if field.type in (float, "float"):  # text under `from __future__ import annotations`
                object.__setattr__(self, field.name, float(getattr(self, field.name)))

    @property
    def validation_only(self) -> bool:
        """Whether nothing is trained on trainval, and nothing of the test split is scored."""
        return self.select == VALIDATION_ONLY

    def fitted(self, n: int, stage: str) -> Self:
        """Return the config with a batch no larger than a stage's n training samples, if `fit_batch_size` asks for it."""
        if not self.fit_batch_size or self.batch_size <= n:
            return self
        log.info("The %s stage has %d training samples, so a batch has %d and not %d.", stage, n, n, self.batch_size)
        return replace(self, batch_size=n)

    @property
    def variant(self) -> str:
        """The method's name and its ablations."""
        raise NotImplementedError

    @property
    def name_parts(self) -> tuple[str, ...]:
        """The words between data and seed in the name of the run folder."""
        return (re.sub(r"\W+", "_", self.variant.lower()),)

    def check(self) -> None:
        """Refuse flags that are out of range or contradict each other."""
        for field in fields(self):
            low = field.metadata.get("low")
            if low is not None:
                check_at_least(low, self, field.name)


@dataclass(frozen=True, kw_only=True)
class TfvaeganConfig(RunConfig):
    """The flags of TF-VAEGAN on images and actions."""

    preprocessing: bool  #: scale every feature dimension to [0, 1] by its training minimum and maximum; the generator needs it
    standardization: bool  #: of the release; without effect, since the generator ends in a sigmoid
    resSize: int | None  #: of the release; the feature dimension is read from the data
    attSize: int | None  #: of the release; the attribute dimension is read from the data
    nclass_all: int | None  #: of the release; the number of classes is read from the data
    nz: int | None  #: latent dimension; the attribute dimension where not given
    ngh: int = flag(low=1)  #: hidden units of encoder, generator, feedback module and semantic decoder
    ndh: int = flag(low=1)  #: hidden units of the critics
    critic_iter: int = flag(low=1)  #: critic steps an iteration
    feedback_loop: int = flag(low=1)  #: passes over the data an epoch; feedback is active in the second, so 1 trains without it
    encoded_noise: bool  #: latents of the adversarial branch from the encoder instead of pure noise
    feed_lr: float  #: learning rate of the feedback module
    dec_lr: float  #: learning rate of the semantic decoder
    beta1: float  #: Adam's beta1, except for the encoder (0.9)
    gammaD: float  #: weight of the critic's loss
    gammaG: float  #: weight of the adversarial term in the generator's loss
    lambda1: float  #: initial weight of the gradient penalty; adapts during training
    recons_weight: float  #: weight of the semantic cycle loss; 0 leaves out the decoder altogether
    #: sigmoid decoder, its loss binary cross-entropy against attributes scaled to [0, 1], instead of the weighted L1
    bce_att: bool
    a1: float  #: weight of the feedback in training
    a2: float  #: weight of the feedback in synthesis
    freeze_dec: bool  #: leave the decoder alone in the generator step
    stale_feedback: bool  #: without encoded noise: feedback from the VAE branch's features, as the release has it
    extra_loss: str | None  #: a loss term of your own for generated features, file.py:NAME; see docs/methods/tfvaegan.md
    extra_weight: float  #: weight of --extra_loss in the generator's loss
    syn_num: int = flag(low=1)  #: features synthesized for each unseen class; also the heads' batch size
    transform: bool  #: classify [x, Dec(x), h(x)] instead of x
    gzsl: bool  #: also classify over seen and unseen classes together
    classifier_lr: float  #: learning rate of the softmax heads
    classifier_epochs: int = flag(low=1)  #: epochs of the softmax heads
    #: on CUDA, record iterations and head steps once and replay them; a step that cannot be recorded runs without
    cuda_graphs: bool

    @property
    def synthesis_feedback(self) -> float | None:
        """δ in synthesis; None where feedback is not trained."""
        return self.a2 if self.feedback_loop > 1 else None

    @property
    def words(self) -> list[str]:
        """What comes after the method's name in `variant`."""
        return []

    @property
    def variant(self) -> str:
        """The method's name and its ablations."""
        words = ["TF-VAEGAN" if self.recons_weight > 0 else "f-VAEGAN-D2", *self.words]
        words += ["without feedback"] if self.recons_weight > 0 and self.feedback_loop == 1 else []
        words += ["without transformation"] if self.recons_weight > 0 and not self.transform else []
        return ", ".join(words)

    @property
    def name_parts(self) -> tuple[str, ...]:
        """The words between data and seed in the name of the run folder."""
        return ("tfvaegan",)

    def check(self) -> None:
        """Refuse flags that are out of range or contradict each other."""
        super().check()
        ignored = [f"--{name}" for name in NOTED if getattr(self, name)] + (
            [] if self.preprocessing else ["--no_preprocessing"]
        )
        if ignored:
            log.info("Note: %s changes nothing: sizes are read from the data, features scaled to [0, 1].", ", ".join(ignored))
        if self.recons_weight == 0 and (self.feedback_loop > 1 or self.transform):
            must = "the weight must be positive where feedback or transformation use the decoder"
            fix = "Add --feedback_loop 1 --no_transform, which makes it f-VAEGAN-D2, or give the weight a value."
            raise InputError(must, where="--recons_weight", got=0, fix=fix)


@dataclass(frozen=True, kw_only=True)
class ImageConfig(TfvaeganConfig):
    """The flags of TF-VAEGAN on images: also the transductive variant, which knows unlabeled features of unseen classes."""

    #: whether unlabeled features of unseen classes are used; train_tfvaegan_transductive.py and --transductive set it
    transductive: bool
    gammaD2: float  #: weight of the second critic's loss
    gammaG_D2: float  #: weight of its adversarial term in the generator's loss
    #: classes to generate for D2: uniform, or labels, the TRUE ones of the unlabeled batch, as the release leaks them
    unseen_prior: Literal["uniform", "labels"]

    @property
    def words(self) -> list[str]:
        """What comes after the method's name in `variant`."""
        return ["transductive"] if self.transductive else []

    @property
    def name_parts(self) -> tuple[str, ...]:
        """The words between data and seed in the name of the run folder."""
        return "tfvaegan", "transductive" if self.transductive else "inductive"

    def check(self) -> None:
        """Refuse flags that are out of range or contradict each other."""
        super().check()
        if self.transductive and self.unseen_prior == "labels":
            log.info("Warning: --unseen_prior labels tells the generator the class frequencies of the test set.")


@dataclass(frozen=True, kw_only=True)
class ActionConfig(TfvaeganConfig):
    """The flags of TF-VAEGAN on actions: also class splits by number, and the gate between seen and unseen clips."""

    split: int | None  #: number k of the class split, read from split_<k>/; without it the split file lies beside the features
    manual_att: bool  #: class vectors from <name>_manual_att.npy instead of the split file's att
    gzsl_od: bool  #: classify over all classes behind a gate that tells seen from unseen clips, instead of by one head
    #: entropy below which a clip is seen: mean of the training clips, release: about half of it, val: by validation
    ood_threshold: Literal["release", "mean", "val"]
    ood_epochs: int = flag(low=1)  #: epochs of the gate's detector
    ood_lr: float  #: learning rate of the detector
    ood_batch_size: int = flag(low=1)  #: real clips a batch of the detector, and as many synthesized ones
    ood_hidden: int = flag(low=1)  #: units of the detector's hidden layers

    @property
    def words(self) -> list[str]:
        """What comes after the method's name in `variant`."""
        return ["gate"] if self.gzsl and self.gzsl_od else []

    @property
    def name_parts(self) -> tuple[str, ...]:
        """The words between data and seed in the name of the run folder."""
        return (*([] if self.split is None else [f"split{self.split}"]), "tfvaegan")

    def check(self) -> None:
        """Refuse flags that are out of range or contradict each other."""
        super().check()
        if self.gzsl and self.gzsl_od and self.ood_threshold == "val" and self.select == "none":
            must, fix = "val must have a validation run", "Add --select val, or pass --ood_threshold release or mean."
            raise InputError(must, where="--ood_threshold", got=f"--select {self.select}", fix=fix)


@dataclass(frozen=True, kw_only=True)
class DazleOptions:
    """The flags that DAZLE's model takes; see `zslab.dazle.model`."""

    trainable_w2v: bool  #: learn the attributes' vectors
    normalize_V: bool  #: scale attributes' vectors to unit length whenever they are used, not only at the start
    normalize_F: bool  #: scale region features to unit length; not with --is_conv
    #: give all regions the same weight in attribute scores; the weights of attributes still depend on attention
    uniform_att_1: bool
    uniform_att_2: bool  #: give all attributes the same weight
    is_sigmoid: bool  #: pass the attribute scores of regions through a sigmoid
    non_linear_act: bool  #: pass the attribute scores of images through a ReLU
    non_linear_emb: bool  #: compute class scores by a perceptron over attributes instead of a sum
    #: first apply a 2 x 2 convolution to the region maps, to half as many channels, with batch normalization and ReLU
    is_conv: bool


@dataclass(frozen=True, kw_only=True)
class DazleConfig(DazleOptions, RunConfig):
    """The flags of DAZLE."""

    #: take splits, class attributes and class names from this <...>_splits.mat instead of the region maps' file
    split_file: Path | None
    standard_split: bool  #: the split has no test samples of seen classes: measure zero-shot accuracy alone
    #: change of class attributes before they are normalized: set negative ones to 0, or replace a by (a + 1) / 2
    att_change: Literal["none", "negative_to_zero", "to_unit_interval"]
    drop_absent_classes: bool  #: leave out classes without samples, which are an error otherwise
    w2v: bool  #: start from the attributes' word vectors where the data has them; else, and without them, from N(0, 1)
    w2v_file: Path | None  #: word vectors from this .npy file, one row an attribute, instead of those beside the region maps
    #: accept attributes whose word vector is a row of zeros, as some of the release's are; they are learned from there
    allow_missing_w2v: bool
    #: none: read region maps as they are needed; memory: hold those of the run on the device, in half precision
    cache: Literal["none", "memory"]
    dim_v: int = flag(low=1)  #: dimension of the attributes' vectors where there are no word vectors
    #: loss of the labeled class: cross-entropy (CE), or a hinge loss against every other class (rank)
    loss_type: Literal["CE", "rank"]
    is_conservative: bool  #: include unseen classes in the loss of --loss_type
    #: add a margin to unseen and subtract it from seen scores: in self-calibration, rank loss, generalized predictions
    is_bias: bool
    bias: float = flag(low=0)  #: margin of --is_bias
    lambda_: float = flag(low=0)  #: weight of the self-calibration loss
    iterations_per_epoch: int = flag(low=0)  #: steps of an epoch; 0: as many as batches make up the data
    sampling: Literal["random", "class_balanced"]  #: batches of any samples, or of equally many samples of each class
    weight_decay: float = flag(low=0)  #: weight decay of RMSprop
    momentum: float = flag(low=0)  #: momentum of RMSprop

    @property
    def margin(self) -> float:
        """What is added to unseen and subtracted from seen scores."""
        return self.bias if self.is_bias else 0.0

    @property
    def variant(self) -> str:
        """The method's name and its ablations."""
        ablations = {
            "without self-calibration": self.lambda_ == 0,
            "without margin": not self.is_bias,
            "uniform attention over regions": self.uniform_att_1,
            "uniform attention over attributes": self.uniform_att_2,
        }
        return ", ".join(["DAZLE", *(words for words, active in ablations.items() if active)])

    @property
    def name_parts(self) -> tuple[str, ...]:
        """The words between data and seed in the name of the run folder."""
        return ("dazle", "standard_split") if self.standard_split else ("dazle",)


def parse_config(default: Config, argv: Sequence[str] | None, script: str, description: str) -> Config:
    """Return `default` changed by the flags of a command line.

    Unknown and abbreviated flags are errors; switches are `--gzsl` / `--no_gzsl`. Exits with status 2 and a message naming the
    flag where one is unknown or has an impossible value.

    Args:
        default: the config without flags.
        argv: the flags; None takes those of this process.
        script: the file name for the help.
        description: the text for the help.
    """
    import tyro  # not needed to read a config

    return tyro.cli(
        type(default), args=argv, default=default, prog=Path(script).name, description=description, use_underscores=True
    )


def override(config: Config, flags: Mapping[str, object], where: object) -> Config:
    """Return a config with other values for some flags, given as text or as values of their types."""
    names = {field.name for field in fields(config)}
    check_removed(flags, where)
    unknown = flags.keys() - names
    if unknown:
        must, fix = "every name must be that of a flag", "--help of a launcher lists them."
        raise InputError(must, where=where, got=examples(sorted(unknown)), fix=fix)
    types = get_type_hints(type(config))
    return replace(config, **{name: _converted(value, types[name], name, where) for name, value in flags.items()})


def _converted(value: object, kind: Any, name: str, where: object) -> object:
    if value in ("None", "none", None) and type(None) in getattr(kind, "__args__", ()):
        return None
    text = {"True": True, "False": False}.get(value, value) if isinstance(value, str) else value
    try:
        return msgspec.convert(text, kind, strict=False, dec_hook=lambda target, found: target(found))
    except (msgspec.ValidationError, TypeError) as error:
        raise InputError(
            f"the value of {name} must fit the flag: {error}", where=where, got=repr(value), fix="Correct it."
        ) from None


def check_removed(names: Mapping[str, object] | Sequence[str], where: object) -> None:
    """Refuse flags of earlier versions, with the reason."""
    for name in names:
        word = name.removeprefix("--").partition("=")[0].removeprefix("no_")
        if word in REMOVED:
            raise InputError(f"--{word} must be left out: {REMOVED[word]}", where=where, got=name, fix="Remove the flag.")


def as_arguments(flags: Mapping[str, Value]) -> list[str]:
    """Return flags as a command line has them; None leaves a flag at its default.

    >>> as_arguments({"nepoch": 3, "gzsl": True, "freeze_dec": False, "nz": None})
    ['--nepoch', '3', '--gzsl', '--no_freeze_dec']
    """
    arguments = []
    for name, value in flags.items():
        if isinstance(value, bool):
            arguments.append(f"--{name}" if value else f"--no_{name}")
        elif value is not None:
            arguments += [f"--{name}", str(value)]
    return arguments


def config_dict(config: DataclassInstance) -> dict[str, Any]:
    """Return a config as JSON can hold it: flag -> value."""
    return {name: str(value) if isinstance(value, Path) else value for name, value in asdict(config).items()}


def result_flags(kind: type[DataclassInstance]) -> Iterator[str]:
    """Yield the names of the flags that can change a number."""
    return (field.name for field in fields(kind) if field.metadata.get("affects_result", True))


def config_digest(config: DataclassInstance) -> str:
    """Return eight hexadecimal digits that differ between configs that could give different numbers."""
    values = config_dict(config)
    identity = {name: values[name] for name in result_flags(type(config))}
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:8]
