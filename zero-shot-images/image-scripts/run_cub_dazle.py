"""DAZLE on CUB-200-2011: 150 seen and 50 unseen bird classes, 312 attributes with their word vectors.

    python zero-shot-images/image-scripts/run_cub_dazle.py --dataroot DIR
    python zero-shot-images/image-scripts/run_cub_dazle.py --dataroot DIR --select val --seeds 1 2 3
    python zero-shot-images/image-scripts/run_cub_dazle.py --dataroot DIR --lambda_ 0 --no_is_bias
    python zero-shot-images/image-scripts/run_cub_dazle.py --dataroot DIR --standard_split

Region maps: DIR/CUB/feature_map_ResNet_101_CUB.hdf5, from extract_features.py or, better repacked, the authors'
release. The standard split is read from DIR/CUB/standard_split/att_splits.mat, which is CUB/att_splits.mat of its
owners' standard_split.zip.

Published with ResNet-101, in percent, best epoch on test, u/s/H | T1: 56.7/59.8/58.2 | 65.9; standard split T1 67.8. Our
measurements, on 114 of the classes: docs/results-dazle.md.
"""

import sys
from pathlib import Path

from zslab.launch import launch
from zslab.plan import Launcher

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from config import DAZLE  # noqa: E402

FROZEN = {
    "dataset": "CUB",
    "image_embedding": "feature_map_ResNet_101_CUB",
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
    "nepoch": 20,
    "batch_size": 50,
    "sampling": "random",
    "lr": 1e-4,
    "weight_decay": 1e-4,
    "momentum": 0.9,
    "manualSeed": 214,
}
STANDARD = FROZEN | {"weight_decay": 5e-5, "standard_split": True, "split_file": "standard_split/att_splits.mat"}

VARIANTS = {(): FROZEN, ("standard_split",): STANDARD}

LAUNCHER = Launcher(__doc__, __file__, "train_dazle", DAZLE, VARIANTS)

if __name__ == "__main__":
    sys.exit(launch(LAUNCHER))
