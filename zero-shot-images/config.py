"""Every number of the image experiments that one may edit: all flags with their defaults.

Flags have the names of the authors' release. A launcher in `image-scripts/` sets the values for a data set; flags typed after
it override them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from tyro.conf import Fixed

from zslab.config import DazleFlags, TfvaeganFlags
from zslab.datasets import Xlsa17Source
from zslab.tfvaegan.settings import TfvaeganSettings

TREE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class TfvaeganConfig(TfvaeganFlags):
    """All flags of TF-VAEGAN on images, with their defaults."""

    # ---- data -------------------------------------------------------------------------------------------------------
    dataset: str = "CUB"
    """folder of the data set under --dataroot"""
    dataroot: Path = TREE / "data"
    """where the data sets lie; relative to the working directory, else to the project's root"""
    image_embedding: str = "res101"
    """feature file, without .mat"""
    class_embedding: str = "att"
    """split file, without _splits.mat: att, or sent for sentence embeddings"""
    partition: int | None = None
    """draw a random partition of the classes with this number instead of the file's split"""
    preprocessing: bool = True
    """scale every feature dimension to [0, 1] by its training minimum and maximum"""
    standardization: bool = False
    """zero mean and unit variance instead; refused, since the generator ends in a sigmoid"""
    resSize: int | None = None
    """feature dimension; read from the data, and refused if it differs"""
    attSize: int | None = None
    """attribute dimension; read from the data, and refused if it differs"""
    nclass_all: int | None = None
    """number of classes; read from the data, and refused if it differs"""

    # ---- networks ---------------------------------------------------------------------------------------------------
    nz: int | None = None
    """latent dimension; the attribute dimension where not given"""
    ngh: int = 4096
    """hidden units of encoder, generator, feedback module and semantic decoder"""
    ndh: int = 4096
    """hidden units of the critics"""

    # ---- training ---------------------------------------------------------------------------------------------------
    nepoch: int = 300
    """epochs"""
    batch_size: int = 64
    """samples a step"""
    fit_batch_size: bool = False
    """lower --batch_size to the number of training samples where there are fewer, in either stage"""
    critic_iter: int = 5
    """critic steps an iteration"""
    feedback_loop: int = 2
    """passes over the data an epoch; feedback is active in the second, so 1 trains without it"""
    encoded_noise: bool = True
    """latents of the adversarial branch from the encoder instead of pure noise"""
    lr: float = 1e-4
    """learning rate of encoder, generator and critics"""
    feed_lr: float = 1e-5
    """learning rate of the feedback module"""
    dec_lr: float = 1e-4
    """learning rate of the semantic decoder"""
    beta1: float = 0.5
    """Adam's beta1, except for the encoder (0.9)"""
    gammaD: float = 10.0
    """weight of the critic's loss"""
    gammaG: float = 10.0
    """weight of the adversarial term in the generator's loss"""
    lambda1: float = 10.0
    """initial weight of the gradient penalty; adapts during training"""
    recons_weight: float = 0.01
    """weight of the semantic cycle loss; 0 leaves out the decoder altogether"""
    a1: float = 1.0
    """weight of the feedback in training"""
    a2: float = 1.0
    """weight of the feedback in synthesis"""
    freeze_dec: bool = False
    """leave the decoder alone in the generator step"""
    stale_feedback: bool = False
    """without encoded noise: feedback from the VAE branch's features, as the release has it"""

    # ---- transductive -----------------------------------------------------------------------------------------------
    transductive: Fixed[bool] = False
    """whether unlabeled unseen features are used; set by the training script"""
    gammaD2: float = 10.0
    """weight of the second critic's loss"""
    gammaG_D2: float = 10.0
    """weight of its adversarial term in the generator's loss"""
    unseen_prior: Literal["uniform", "labels"] = "uniform"
    """classes to generate for D2: uniform, or labels, the TRUE ones of the unlabeled batch, as the release leaks them"""

    # ---- classification ---------------------------------------------------------------------------------------------
    syn_num: int = 300
    """features synthesized for each unseen class; also the heads' batch size"""
    transform: bool = True
    """classify [x, Dec(x), h(x)] instead of x"""
    gzsl: bool = True
    """also classify over seen and unseen classes together"""
    classifier_lr: float = 1e-3
    """learning rate of the softmax heads"""
    classifier_epochs: int = 25
    """epochs of the softmax heads"""

    # ---- run --------------------------------------------------------------------------------------------------------
    manualSeed: int = 3483
    """seed of all random numbers"""
    select: Literal["none", "val", "only_val"] = "none"
    """val: train on the validation split first and choose the reported epoch there; only_val: stop after that"""
    eval_every: int = 1
    """epochs between evaluations; the last epoch is always evaluated"""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N; CUDA_VISIBLE_DEVICES is respected"""
    engine: Literal["fast", "eager"] = "fast"
    """how an iteration is computed: fast, or eager, the plain reference; they agree up to rounding"""
    precision: Literal["fp32", "tf32", "bf16"] = "fp32"
    """of matrix products in training: float32, TF32 (CUDA only) or bfloat16; weights and Adam stay float32"""
    cuda_graphs: bool = True
    """on CUDA, record iterations and head steps once and replay them; a step that cannot be recorded runs without"""
    threads: int = 0
    """CPU threads; 0 leaves the choice to PyTorch, one a core"""
    memory: float = 0.0
    """GiB that the process should stay below: larger feature matrices are read and synthesized batch by batch; 0: 4 GiB each"""
    deterministic: bool = False
    """refuse CUDA operations whose result is not repeatable; results on a CPU always are"""
    output: Path = TREE.parent / "runs"
    """folder for run folders"""
    resume: bool = False
    """continue an unfinished run of the same config"""
    overwrite: bool = False
    """delete what an earlier run of the same config left"""
    checkpoint_every: int = 1
    """epochs between checkpoints; a kill loses at most these"""

    @property
    def variant(self) -> str:
        """The method's name and its ablations."""
        return self.variant_of(*(["transductive"] if self.transductive else []))

    @property
    def folder_words(self) -> tuple[str, ...]:
        """The words between data and seed in the name of the run folder."""
        return "tfvaegan", "transductive" if self.transductive else "inductive"

    def source(self) -> Xlsa17Source:
        """Return where the data come from."""
        return Xlsa17Source(self.dataset, self.image_embedding, self.class_embedding, partition=self.partition)

    def settings(self) -> TfvaeganSettings:
        """Return the method's settings."""
        return replace(
            super().settings(),
            critic_unseen_weight=self.gammaD2,
            adversarial_unseen_weight=self.gammaG_D2,
            unseen_prior=self.unseen_prior,
        )


@dataclass(frozen=True)
class DazleConfig(DazleFlags):
    """All flags of DAZLE, with their defaults."""

    # ---- data -------------------------------------------------------------------------------------------------------
    dataset: str = "CUB"
    """folder of the data set under --dataroot"""
    dataroot: Path = TREE / "data"
    """where the data sets lie; relative to the working directory, else to the project's root"""
    image_embedding: str = "feature_map_ResNet_101_CUB"
    """file of region maps, without .hdf5"""
    class_embedding: Literal["att", "original_att"] = "att"
    """class attributes of that file or of --split_file: att, or original_att"""
    split_file: Path | None = None
    """take splits, class attributes and class names from this <...>_splits.mat instead of the region maps' file"""
    partition: int | None = None
    """draw a random partition of the classes with this number instead of the file's split"""
    standard_split: bool = False
    """the split has no test samples of seen classes: measure zero-shot accuracy alone"""
    att_change: Literal["none", "negative_to_zero", "to_unit_interval"] = "none"
    """change of class attributes before they are normalized: set negative ones to 0, or replace a by (a + 1) / 2"""
    drop_absent_classes: bool = False
    """leave out classes without samples, which are an error otherwise"""
    w2v: bool = True
    """start from the attributes' word vectors where the data has them; else, and without them, from N(0, 1)"""
    w2v_file: Path | None = None
    """word vectors from this .npy file, one row an attribute, instead of those beside the region maps"""
    allow_missing_w2v: bool = False
    """accept attributes whose word vector is a row of zeros, as some of the release's are; they are learned from there"""
    cache: Literal["none", "memory"] = "none"
    """none: read region maps as they are needed; memory: hold those of the run on the device, in half precision"""

    # ---- model ------------------------------------------------------------------------------------------------------
    dim_v: int = 300
    """dimension of the attributes' vectors where there are no word vectors"""
    trainable_w2v: bool = True
    """learn the attributes' vectors"""
    normalize_V: bool = False
    """scale attributes' vectors to unit length whenever they are used, not only at the start"""
    normalize_F: bool = True
    """scale region features to unit length; not with --is_conv"""
    uniform_att_1: bool = False
    """give all regions the same weight in attribute scores; the weights of attributes still depend on attention"""
    uniform_att_2: bool = False
    """give all attributes the same weight"""
    is_sigmoid: bool = False
    """pass the attribute scores of regions through a sigmoid"""
    non_linear_act: bool = False
    """pass the attribute scores of images through a ReLU"""
    non_linear_emb: bool = False
    """compute class scores by a perceptron over attributes instead of a sum"""
    is_conv: bool = False
    """first apply a 2 x 2 convolution to the region maps, to half as many channels, with batch normalization and ReLU"""

    # ---- loss -------------------------------------------------------------------------------------------------------
    loss_type: Literal["CE", "rank"] = "CE"
    """loss of the labeled class: cross-entropy (CE), or a hinge loss against every other class (rank)"""
    is_conservative: bool = True
    """include unseen classes in the loss of --loss_type"""
    is_bias: bool = True
    """add a margin to unseen and subtract it from seen scores: in self-calibration, rank loss, generalized predictions"""
    bias: float = 1.0
    """margin of --is_bias"""
    lambda_: float = 0.1
    """weight of the self-calibration loss"""

    # ---- training ---------------------------------------------------------------------------------------------------
    nepoch: int = 20
    """epochs"""
    iterations_per_epoch: int = 0
    """steps of an epoch; 0: as many as batches make up the data"""
    batch_size: int = 50
    """samples a step; class-balanced batches may have fewer"""
    fit_batch_size: bool = False
    """lower --batch_size to the number of training samples where there are fewer, in either stage"""
    sampling: Literal["random", "class_balanced"] = "random"
    """batches of any samples, or of equally many samples of each class"""
    lr: float = 1e-4
    """learning rate of RMSprop"""
    weight_decay: float = 1e-4
    """weight decay of RMSprop"""
    momentum: float = 0.9
    """momentum of RMSprop"""

    # ---- run --------------------------------------------------------------------------------------------------------
    manualSeed: int = 214
    """seed of all random numbers"""
    select: Literal["none", "val", "only_val"] = "none"
    """val: train on the validation split first and choose the reported epoch there; only_val: stop after that"""
    eval_every: int = 1
    """epochs between evaluations; the last epoch is always evaluated"""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N; CUDA_VISIBLE_DEVICES is respected"""
    precision: Literal["fp32", "tf32", "bf16"] = "fp32"
    """of the product with the regions in training: float32, TF32 (CUDA only) or bfloat16; weights and RMSprop stay float32"""
    threads: int = 0
    """CPU threads; 0 leaves the choice to PyTorch, one a core"""
    deterministic: bool = False
    """refuse CUDA operations whose result is not repeatable; results on a CPU always are"""
    output: Path = TREE.parent / "runs"
    """folder for run folders"""
    resume: bool = False
    """continue an unfinished run of the same config"""
    overwrite: bool = False
    """delete what an earlier run of the same config left"""
    checkpoint_every: int = 1
    """epochs between checkpoints; a kill loses at most these"""

    @property
    def variant(self) -> str:
        """The method's name and its ablations."""
        words = ["DAZLE"]
        words += ["without self-calibration"] if self.lambda_ == 0 else []
        words += ["without margin"] if not self.is_bias else []
        words += ["uniform attention over regions"] if self.uniform_att_1 else []
        words += ["uniform attention over attributes"] if self.uniform_att_2 else []
        return ", ".join(words)

    @property
    def folder_words(self) -> tuple[str, ...]:
        """The words between data and seed in the name of the run folder."""
        return ("dazle", "standard_split") if self.standard_split else ("dazle",)


# Training script -> its config without flags.
DEFAULTS = {
    "train_tfvaegan_inductive.py": TfvaeganConfig(),
    "train_tfvaegan_transductive.py": TfvaeganConfig(transductive=True),
    "train_dazle.py": DazleConfig(),
}
