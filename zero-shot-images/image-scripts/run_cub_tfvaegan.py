"""TF-VAEGAN on CUB-200-2011: 150 seen and 50 unseen bird classes, 312 attributes (or 1024-d sentences).

    python zero-shot-images/image-scripts/run_cub_tfvaegan.py --dataroot DIR
    python zero-shot-images/image-scripts/run_cub_tfvaegan.py --dataroot DIR --finetuned --transductive --seeds 1 2 3
    python zero-shot-images/image-scripts/run_cub_tfvaegan.py --dataroot DIR --class_embedding sent --nepoch 5 --ngh 256 \
--ndh 256 --device cpu

Published with ResNet-101 features, in percent, best epoch on test, T1 | u/s/H: 64.9 | 52.8/64.7/58.1; fine-tuned
74.3 | 63.8/79.3/70.7; transductive T1 74.7. Our measurements, on other features: docs/results.md.
"""

import sys
from pathlib import Path

from zslab.launch import launch
from zslab.plan import Launcher

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from config import TFVAEGAN  # noqa: E402

FROZEN = {
    "dataset": "CUB",
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
    "nepoch": 300,
    "gammaD": 10,
    "gammaG": 10,
    "lr": 1e-4,
    "feed_lr": 1e-5,
    "dec_lr": 1e-4,
    "classifier_lr": 1e-3,
    "recons_weight": 0.01,
    "a1": 1,
    "a2": 1,
    "syn_num": 300,
    "encoded_noise": True,
    "freeze_dec": False,
    "manualSeed": 3483,
}
FINETUNED = FROZEN | {"image_embedding": "res101_finetuned", "recons_weight": 0.1, "feed_lr": 1e-4}
BOTH_CRITICS = {"transductive": True, "gammaD2": 10, "gammaG_D2": 10}

VARIANTS = {
    (): FROZEN,
    ("finetuned",): FINETUNED,
    ("transductive",): FROZEN | BOTH_CRITICS | {"nepoch": 500},
    ("transductive", "finetuned"): FINETUNED | BOTH_CRITICS | {"nepoch": 300},
}

LAUNCHER = Launcher(__doc__, __file__, "train_tfvaegan_inductive", TFVAEGAN, VARIANTS)

if __name__ == "__main__":
    sys.exit(launch(LAUNCHER))
