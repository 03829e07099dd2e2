"""TF-VAEGAN on your own clips, whose features `extract_features.py` has written and whose classes `make_splits.py` has split.

    python zero-shot-actions/action-scripts/run_own_tfvaegan.py --dataset my_clips --image_embedding r3d_18 --split 1
    python zero-shot-actions/action-scripts/run_own_tfvaegan.py --dataset my_clips --image_embedding r3d_18 --splits 1-5

The networks are narrow, to train on a CPU in minutes, and so their learning rates are ten times the paper's (docs/results.md
says why). Without test clips of unseen classes, `--select val` measures on validation classes.
"""

import sys
from pathlib import Path

from zslab.launch import launch
from zslab.plan import Launcher

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from config import TFVAEGAN  # noqa: E402

FLAGS = {
    "dataset": "my_clips",
    "image_embedding": "r3d_18",
    "class_embedding": "att",
    "split": 1,
    "manual_att": False,
    "preprocessing": True,
    "gzsl": True,
    "gzsl_od": True,
    "ood_threshold": "mean",
    "ood_epochs": 50,
    "ood_lr": 1e-3,
    "ood_batch_size": 32,
    "ood_hidden": 128,
    "ngh": 512,
    "ndh": 512,
    "batch_size": 32,
    "fit_batch_size": True,
    "critic_iter": 5,
    "feedback_loop": 2,
    "lambda1": 10,
    "nepoch": 30,
    "gammaD": 10,
    "gammaG": 10,
    "lr": 1e-3,
    "feed_lr": 1e-4,
    "dec_lr": 1e-3,
    "classifier_lr": 1e-3,
    "classifier_epochs": 25,
    "recons_weight": 0.1,
    "a1": 1,
    "a2": 1,
    "syn_num": 200,
    "encoded_noise": True,
    "bce_att": True,
    "freeze_dec": False,
    "manualSeed": 1,
    "eval_every": 5,
}

VARIANTS = {(): FLAGS}

LAUNCHER = Launcher(__doc__, __file__, "train_tfvaegan", TFVAEGAN, VARIANTS)

if __name__ == "__main__":
    sys.exit(launch(LAUNCHER))
