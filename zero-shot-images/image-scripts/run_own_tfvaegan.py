"""TF-VAEGAN on your own images, as `prepare_data.py` makes them a data set; it prints this command.

    python zero-shot-images/image-scripts/run_own_tfvaegan.py --dataset MYBIRDS --image_embedding resnet101
    python zero-shot-images/image-scripts/run_own_tfvaegan.py --dataset MYBIRDS --image_embedding resnet101 --select val

The networks are narrow, to train on a CPU in minutes, and so their learning rates are ten times the paper's (docs/results.md
says why). Without test images of unseen classes, `--select val` measures on validation classes.
"""

import sys
from pathlib import Path

from zslab.launch import launch
from zslab.plan import Launcher

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from config import TFVAEGAN  # noqa: E402

FROZEN = {
    "dataset": "OWN",
    "image_embedding": "resnet101",
    "class_embedding": "att",
    "preprocessing": True,
    "gzsl": True,
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
    "recons_weight": 0.1,
    "a1": 1,
    "a2": 1,
    "syn_num": 200,
    "encoded_noise": True,
    "freeze_dec": False,
    "manualSeed": 1,
    "eval_every": 5,
}

LAUNCHER = Launcher(__doc__, __file__, "train_tfvaegan_inductive", TFVAEGAN, {(): FROZEN})

if __name__ == "__main__":
    sys.exit(launch(LAUNCHER))
