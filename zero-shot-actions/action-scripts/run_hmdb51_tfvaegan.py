"""TF-VAEGAN on HMDB51: 51 actions, half of them unseen, 300-d word2vec of their names, 30 random splits.

    python zero-shot-actions/action-scripts/run_hmdb51_tfvaegan.py --dataroot DIR
    python zero-shot-actions/action-scripts/run_hmdb51_tfvaegan.py --dataroot DIR --splits 1-30 --workers 2
    python zero-shot-actions/action-scripts/run_hmdb51_tfvaegan.py --dataroot DIR --split 3 --seeds 1 2 3 --no_gzsl_od

Published with I3D features, in percent, mean over 30 splits, best epoch on test: T1 33.0, H 37.6. Not measured here, for
want of the features: docs/results-actions.md.
"""

import sys
from pathlib import Path

from zslab.launch import launch
from zslab.plan import Launcher

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from config import TFVAEGAN  # noqa: E402

FLAGS = {
    "dataset": "hmdb_i3d",
    "image_embedding": "i3d",
    "class_embedding": "att",
    "split": 1,
    "manual_att": False,
    "preprocessing": True,
    "gzsl": True,
    "gzsl_od": True,
    "ood_threshold": "release",
    "ood_epochs": 50,
    "ood_lr": 1e-3,
    "ood_batch_size": 64,
    "ood_hidden": 512,
    "ngh": 4096,
    "ndh": 4096,
    "nz": 300,
    "batch_size": 64,
    "critic_iter": 5,
    "feedback_loop": 2,
    "lambda1": 10,
    "nepoch": 200,
    "gammaD": 10,
    "gammaG": 10,
    "lr": 1e-4,
    "feed_lr": 1e-4,
    "dec_lr": 1e-4,
    "classifier_lr": 1e-3,
    "classifier_epochs": 25,
    "recons_weight": 0.1,
    "a1": 1,
    "a2": 1,
    "syn_num": 1200,
    "encoded_noise": True,
    "bce_att": True,
    "freeze_dec": False,
    "manualSeed": 806,
}

VARIANTS = {(): FLAGS}

LAUNCHER = Launcher(__doc__, __file__, "train_tfvaegan", TFVAEGAN, VARIANTS)

if __name__ == "__main__":
    sys.exit(launch(LAUNCHER))
