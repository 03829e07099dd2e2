"""TF-VAEGAN on SUN scenes: 645 seen and 72 unseen classes, 102 attributes.

    python zero-shot-images/image-scripts/run_sun_tfvaegan.py --dataroot DIR
    python zero-shot-images/image-scripts/run_sun_tfvaegan.py --dataroot DIR --finetuned --transductive --seeds 1 2 3

Published with ResNet-101 features, in percent, best epoch on test, T1 | u/s/H: 66.0 | 45.6/40.7/43.0; fine-tuned T1 66.7,
H 46.3; transductive T1 70.9. Not measured here: docs/fidelity.md, *Not settled*.
"""

import sys
from pathlib import Path

from zslab.launch import launch
from zslab.plan import Launcher

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from config import TFVAEGAN  # noqa: E402

FROZEN = {
    "dataset": "SUN",
    "image_embedding": "res101",
    "class_embedding": "att",
    "preprocessing": True,
    "gzsl": True,
    "ngh": 4096,
    "ndh": 4096,
    "batch_size": 64,
    "critic_iter": 5,
    "feedback_loop": 2,
    "lambda1": 10,
    "nepoch": 400,
    "gammaD": 1,
    "gammaG": 1,
    "lr": 1e-3,
    "feed_lr": 1e-4,
    "dec_lr": 1e-4,
    "classifier_lr": 5e-4,
    "recons_weight": 0.01,
    "a1": 0.1,
    "a2": 0.01,
    "syn_num": 400,
    "encoded_noise": True,
    "freeze_dec": False,
    "manualSeed": 4115,
}
FINETUNED = FROZEN | {
    "image_embedding": "res101_finetuned",
    "lr": 1e-4,
    "recons_weight": 1,
    "feed_lr": 1e-5,
    "dec_lr": 1e-5,
    "encoded_noise": False,
    "nepoch": 400,
}
BOTH_CRITICS = {"transductive": True, "gammaD2": 1, "gammaG_D2": 1}

VARIANTS = {
    (): FROZEN,
    ("finetuned",): FINETUNED | {"stale_feedback": True},
    ("transductive",): FROZEN | BOTH_CRITICS | {"nepoch": 800, "dec_lr": 1e-4},
    ("transductive", "finetuned"): FINETUNED | BOTH_CRITICS,
}

LAUNCHER = Launcher(__doc__, __file__, "train_tfvaegan_inductive", TFVAEGAN, VARIANTS)

if __name__ == "__main__":
    sys.exit(launch(LAUNCHER))
