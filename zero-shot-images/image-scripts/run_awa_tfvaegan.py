"""TF-VAEGAN on Animals with Attributes 2: 40 seen and 10 unseen classes, 85 attributes.

    python zero-shot-images/image-scripts/run_awa_tfvaegan.py --dataroot DIR
    python zero-shot-images/image-scripts/run_awa_tfvaegan.py --dataroot DIR --finetuned --transductive --seeds 1 2 3

Published with ResNet-101 features, in percent, best epoch on test, T1 | u/s/H: 72.2 | 59.8/75.1/66.6; fine-tuned
73.4 | 55.5/83.6/66.7. Not measured here: docs/fidelity.md, *Not settled*.
"""

import sys
from pathlib import Path

from zslab.launch import launch
from zslab.plan import Launcher

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from config import TFVAEGAN  # noqa: E402

FROZEN = {
    "dataset": "AWA2",
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
    "nepoch": 120,
    "gammaD": 10,
    "gammaG": 10,
    "lr": 1e-5,
    "feed_lr": 1e-4,
    "dec_lr": 1e-4,
    "classifier_lr": 1e-3,
    "recons_weight": 0.1,
    "a1": 0.01,
    "a2": 0.01,
    "syn_num": 1800,
    "encoded_noise": True,
    "freeze_dec": True,
    "manualSeed": 9182,
}
FINETUNED = FROZEN | {
    "image_embedding": "res101_finetuned",
    "nepoch": 800,
    "gammaD": 1,
    "gammaG": 1,
    "lr": 1e-4,
    "recons_weight": 1,
    "feed_lr": 1e-5,
    "dec_lr": 1e-5,
    "a1": 0.1,
    "a2": 0.1,
}

VARIANTS = {
    (): FROZEN,
    ("finetuned",): FINETUNED,
    ("transductive",): FROZEN | {"transductive": True, "gammaD2": 10, "gammaG_D2": 10, "nepoch": 800},
    ("transductive", "finetuned"): FINETUNED | {"transductive": True, "gammaD2": 1, "gammaG_D2": 1},
}

LAUNCHER = Launcher(__doc__, __file__, "train_tfvaegan_inductive", TFVAEGAN, VARIANTS)

if __name__ == "__main__":
    sys.exit(launch(LAUNCHER))
