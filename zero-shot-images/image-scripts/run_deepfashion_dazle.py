"""DAZLE on DeepFashion: 36 seen and 10 unseen categories of clothes, 1000 attributes with their word vectors.

    python zero-shot-images/image-scripts/run_deepfashion_dazle.py --dataroot DIR

Region maps: DIR/DeepFashion/feature_map_ResNet_101_DeepFashion.hdf5, from extract_features.py, or repacked from the
authors' ..._DeepFashion_sep_seen_samples.hdf5 (see `zslab repack --help`), which is too compressed to
draw from.

The release passes once over the data, some 210,000 training images, and measures every 200 steps. One pass is far too
long between two looks, so "epoch" means 200 steps here: 21 of them are 210,000 images counted in batches of 50.

Published with ResNet-101, in percent, best on test, u/s/H | T1: 21.5/38.1/27.5 | 39.0. Not measured here:
docs/fidelity.md, *Not settled*.
"""

import sys
from pathlib import Path

from zslab.launch import launch
from zslab.plan import Launcher

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from config import DAZLE  # noqa: E402

FROZEN = {
    "dataset": "DeepFashion",
    "image_embedding": "feature_map_ResNet_101_DeepFashion",
    "att_change": "to_unit_interval",
    "drop_absent_classes": True,
    "allow_missing_w2v": True,
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
    "nepoch": 21,
    "iterations_per_epoch": 200,
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
