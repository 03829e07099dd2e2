"""Every number of the action experiments that one may edit: all flags with their defaults.

Flags have the names of the authors' release. A launcher in `action-scripts/` sets the values for a data set; flags typed after
it override them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from zslab.config import TfvaeganFlags, check_at_least
from zslab.datasets import ActionSource
from zslab.errors import InputError
from zslab.tfvaegan.settings import TfvaeganSettings

TREE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class TfvaeganConfig(TfvaeganFlags):
    """All flags of TF-VAEGAN on actions, with their defaults."""

    # ---- data -------------------------------------------------------------------------------------------------------
    dataset: str = "hmdb_i3d"
    """folder of the data set under --dataroot"""
    dataroot: Path = TREE / "data"
    """where the data sets lie; relative to the working directory, else to the project's root"""
    image_embedding: str = "i3d"
    """feature file, without .mat"""
    class_embedding: str = "att"
    """split file, without _splits.mat"""
    split: int | None = None
    """number k of the class split, read from split_<k>/; without it the split file lies beside the features"""
    partition: int | None = None
    """draw a random partition of the classes with this number instead of the file's split"""
    manual_att: bool = False
    """class vectors from <name>_manual_att.npy instead of the split file's att"""
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
    nepoch: int = 200
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
    feed_lr: float = 1e-4
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
    recons_weight: float = 0.1
    """weight of the semantic cycle loss; 0 leaves out the decoder altogether"""
    bce_att: bool = True
    """sigmoid decoder, its loss binary cross-entropy against attributes scaled to [0, 1], instead of the weighted L1"""
    a1: float = 1.0
    """weight of the feedback in training"""
    a2: float = 1.0
    """weight of the feedback in synthesis"""
    freeze_dec: bool = False
    """leave the decoder alone in the generator step"""
    stale_feedback: bool = False
    """without encoded noise: feedback from the VAE branch's features, as the release has it"""

    # ---- classification ---------------------------------------------------------------------------------------------
    syn_num: int = 1200
    """features synthesized for each unseen class; also the heads' batch size"""
    transform: bool = True
    """classify [x, Dec(x), h(x)] instead of x"""
    gzsl: bool = True
    """also classify over seen and unseen classes together"""
    classifier_lr: float = 1e-3
    """learning rate of the softmax heads"""
    classifier_epochs: int = 25
    """epochs of the softmax heads"""

    # ---- out-of-distribution gate -----------------------------------------------------------------------------------
    gzsl_od: bool = True
    """classify over all classes behind a gate that tells seen from unseen clips, instead of by one head"""
    ood_threshold: Literal["release", "mean", "val"] = "release"
    """entropy below which a clip is seen: mean of the training clips, release: about half of it, val: by validation"""
    ood_epochs: int = 50
    """epochs of the gate's detector"""
    ood_lr: float = 1e-3
    """learning rate of the detector"""
    ood_batch_size: int = 64
    """real clips a batch of the detector, and as many synthesized ones"""
    ood_hidden: int = 512
    """units of the detector's hidden layers"""

    # ---- run --------------------------------------------------------------------------------------------------------
    manualSeed: int = 806
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
        return self.variant_of(*(["gate"] if self.gzsl and self.gzsl_od else []))

    @property
    def folder_words(self) -> tuple[str, ...]:
        """The words between data and seed in the name of the run folder."""
        return (*([] if self.split is None else [f"split{self.split}"]), "tfvaegan")

    def check(self) -> None:
        """Refuse flags that contradict each other."""
        super().check()
        check_at_least(1, self, "ood_epochs", "ood_batch_size", "ood_hidden")
        if self.gzsl and self.gzsl_od and self.ood_threshold == "val" and self.select == "none":
            raise InputError(
                "'val' needs a validation run",
                where="--ood_threshold",
                found=f"--select {self.select}",
                expected="--select val",
                fix="Add --select val, or pass --ood_threshold release or mean.",
            )

    def source(self) -> ActionSource:
        """Return where the data come from."""
        return ActionSource(
            self.dataset,
            self.image_embedding,
            self.class_embedding,
            split=self.split,
            manual_att=self.manual_att,
            partition=self.partition,
        )

    def settings(self) -> TfvaeganSettings:
        """Return the method's settings."""
        return replace(super().settings(), attribute_loss="cross_entropy" if self.bce_att else "cycle")


# Training script -> its config without flags.
DEFAULTS = {"train_tfvaegan.py": TfvaeganConfig()}
