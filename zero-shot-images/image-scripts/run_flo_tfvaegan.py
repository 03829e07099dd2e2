"""TF-VAEGAN on Oxford Flowers 102: 82 seen and 20 unseen classes, 1024-d sentence embeddings.

    python zero-shot-images/image-scripts/run_flo_tfvaegan.py --dataroot DIR
    python zero-shot-images/image-scripts/run_flo_tfvaegan.py --dataroot DIR --finetuned --transductive --seeds 1 2 3

Published with ResNet-101 features, in percent, best epoch on test, T1 | u/s/H: 70.8 | 62.5/84.1/71.7; fine-tuned
74.7 | -/92.5/79.4. Our measurements, on other features: docs/results.md.
"""

import sys
from pathlib import Path

from zslab.launch import launch
from zslab.plan import Launcher

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from config import TFVAEGAN  # noqa: E402

FROZEN = {
    "dataset": "FLO",
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
    "nepoch": 500,
    "gammaD": 10,
    "gammaG": 10,
    "lr": 1e-4,
    "feed_lr": 1e-5,
    "dec_lr": 1e-4,
    "classifier_lr": 1e-3,
    "recons_weight": 0.01,
    "a1": 0.5,
    "a2": 0.5,
    "syn_num": 1200,
    "encoded_noise": False,
    "stale_feedback": True,
    "freeze_dec": False,
    "manualSeed": 806,
}
TRANSDUCTIVE = FROZEN | {"transductive": True, "gammaD2": 10, "gammaG_D2": 10, "encoded_noise": True, "stale_feedback": False}
FINETUNED = {"image_embedding": "res101_finetuned"}

VARIANTS = {
    (): FROZEN,
    ("finetuned",): FROZEN | FINETUNED,
    ("transductive",): TRANSDUCTIVE,
    ("transductive", "finetuned"): TRANSDUCTIVE | FINETUNED,
}

LAUNCHER = Launcher(__doc__, __file__, "train_tfvaegan_inductive", TFVAEGAN, VARIANTS)

if __name__ == "__main__":
    sys.exit(launch(LAUNCHER))
