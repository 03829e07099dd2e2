"""DAZLE on AWA2: 40 seen and 10 unseen animal classes, 85 attributes with their word vectors.

    python zero-shot-images/image-scripts/run_awa_dazle.py --dataroot DIR

Region maps: DIR/AWA2/feature_map_ResNet_101_AWA2.hdf5, from extract_features.py or, better repacked, the authors'
release. Batches have one image of each seen class, so they are of 40; an epoch is counted in batches of 50 all
the same.

Published with ResNet-101, in percent, best epoch on test, u/s/H | T1: 60.4/76.3/67.4 | 67.9. Not measured here:
docs/fidelity.md, *Not settled*.
"""

import sys
from pathlib import Path

from zslab.launch import launch
from zslab.plan import Launcher

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from config import DAZLE  # noqa: E402

FROZEN = {
    "dataset": "AWA2",
    "image_embedding": "feature_map_ResNet_101_AWA2",
    "att_change": "negative_to_zero",
    "trainable_w2v": True,
    "normalize_F": True,
    "normalize_V": True,
    "uniform_att_1": False,
    "uniform_att_2": False,
    "loss_type": "CE",
    "is_conservative": True,
    "is_bias": True,
    "bias": 1,
    "lambda_": 0.1,
    "nepoch": 20,
    "batch_size": 50,
    "sampling": "class_balanced",
    "lr": 1e-4,
    "weight_decay": 1e-4,
    "momentum": 0,
    "manualSeed": 214,
}

VARIANTS = {(): FROZEN}

LAUNCHER = Launcher(__doc__, __file__, "train_dazle", DAZLE, VARIANTS)

if __name__ == "__main__":
    sys.exit(launch(LAUNCHER))
