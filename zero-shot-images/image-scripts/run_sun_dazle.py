"""DAZLE on SUN: 645 seen and 72 unseen scene classes, 102 attributes with their word vectors.

    python zero-shot-images/image-scripts/run_sun_dazle.py --dataroot DIR

Region maps: DIR/SUN/feature_map_ResNet_101_SUN.hdf5, from extract_features.py or, better repacked, the authors'
release. All attributes count alike here: there is attention over regions, none over attributes.

Published with ResNet-101, in percent, best epoch on test, u/s/H | T1: 47.8/26.4/34.0 | 59.3. Not measured here:
docs/fidelity.md, *Not settled*.
"""

import sys
from pathlib import Path

from zslab.launch import launch
from zslab.plan import Launcher

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from config import DAZLE  # noqa: E402

FROZEN = {
    "dataset": "SUN",
    "image_embedding": "feature_map_ResNet_101_SUN",
    "allow_missing_w2v": True,
    "trainable_w2v": True,
    "normalize_F": True,
    "normalize_V": False,
    "uniform_att_1": False,
    "uniform_att_2": True,
    "loss_type": "CE",
    "is_conservative": True,
    "is_bias": True,
    "bias": 1,
    "lambda_": 0.1,
    "nepoch": 100,
    "batch_size": 50,
    "sampling": "class_balanced",
    "lr": 1e-4,
    "weight_decay": 1e-4,
    "momentum": 0.9,
    "manualSeed": 214,
}

LAUNCHER = Launcher(__doc__, __file__, "train_dazle", DAZLE, {(): FROZEN})

if __name__ == "__main__":
    sys.exit(launch(LAUNCHER))
