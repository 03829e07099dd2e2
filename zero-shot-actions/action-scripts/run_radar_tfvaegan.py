"""TF-VAEGAN on RADAR, 27 human actions seen by radar (21 seen, 6 unseen, 1024-d, 864 samples): small enough for a CPU.

    python zero-shot-actions/action-scripts/run_radar_tfvaegan.py --dataroot DIR
    python zero-shot-actions/action-scripts/run_radar_tfvaegan.py --dataroot DIR --seeds 1 2 3 --select val
    python zero-shot-actions/action-scripts/run_radar_tfvaegan.py --dataroot DIR --class_embedding att --splits 1-30

Any other action set runs the same way, with its own --dataset, --image_embedding and --class_embedding; the last line
needs splits that make_splits.py has made. Width and epochs are reduced, and nobody has published numbers to compare with.
Our measurements: docs/results-actions.md.
"""

import sys
from pathlib import Path

from zslab.launch import launch
from zslab.plan import Launcher

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from config import TFVAEGAN  # noqa: E402

FLAGS = {
    "dataset": "RADAR",
    "image_embedding": "SqueezeNet_1024_T",
    "class_embedding": "w2v_300_gzsl",
    "split": None,
    "manual_att": False,
    "preprocessing": True,
    "gzsl": True,
    "gzsl_od": True,
    "ood_threshold": "release",
    "ood_epochs": 50,
    "ood_lr": 1e-3,
    "ood_batch_size": 64,
    "ood_hidden": 512,
    "ngh": 256,
    "ndh": 256,
    "batch_size": 64,
    "critic_iter": 5,
    "feedback_loop": 2,
    "lambda1": 10,
    "nepoch": 100,
    "eval_every": 10,
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
    "syn_num": 200,
    "encoded_noise": True,
    "bce_att": True,
    "freeze_dec": False,
    "manualSeed": 806,
}

VARIANTS = {(): FLAGS}

LAUNCHER = Launcher(__doc__, __file__, "train_tfvaegan", TFVAEGAN, VARIANTS)

if __name__ == "__main__":
    sys.exit(launch(LAUNCHER))
