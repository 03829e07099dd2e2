"""DAZLE on your own images, as `prepare_data.py --write_regions` makes them a data set; it prints this command.

python zero-shot-images/image-scripts/run_own_dazle.py --dataset MYBIRDS --image_embedding feature_map_resnet101
"""

import sys
from pathlib import Path

from zslab.launch import launch
from zslab.plan import Launcher

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from config import DAZLE  # noqa: E402

FROZEN = {
    "dataset": "OWN",
    "image_embedding": "feature_map_resnet101",
    "split_file": "att_splits.mat",
    "w2v": True,
    "trainable_w2v": True,
    "normalize_F": True,
    "normalize_V": False,
    "uniform_att_1": False,
    "uniform_att_2": False,
    "loss_type": "CE",
    "is_conservative": True,
    "is_bias": True,
    "bias": 1,
    "lambda_": 0.1,
    "nepoch": 30,
    "batch_size": 50,
    "fit_batch_size": True,
    "sampling": "class_balanced",
    "lr": 1e-4,
    "weight_decay": 1e-4,
    "momentum": 0.9,
    "manualSeed": 1,
    "eval_every": 5,
}

LAUNCHER = Launcher(__doc__, __file__, "train_dazle", DAZLE, {(): FROZEN})

if __name__ == "__main__":
    sys.exit(launch(LAUNCHER))
