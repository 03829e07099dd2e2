"""DAZLE on the embedded toy birds: 32 seen and 8 unseen species, 48 attributes, rendered here, nothing to download.

    python zero-shot-images/image-scripts/run_toy_dazle.py
    python zero-shot-images/image-scripts/run_toy_dazle.py --select val --seeds 1 2 3
    python zero-shot-images/image-scripts/run_toy_dazle.py --lambda_ 0 --no_is_bias

Birds and region maps are made on the first call (a minute) in --dataroot. Chance is 12.5 % over the unseen species; what to
expect: docs/results-dazle.md.
"""

import sys
from pathlib import Path

from zslab.launch import launch
from zslab.plan import Launcher

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from config import DAZLE  # noqa: E402

FROZEN = {
    "dataset": "TOY",
    "image_embedding": "descriptor_regions",
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
    "nepoch": 40,
    "batch_size": 50,
    "sampling": "class_balanced",
    "lr": 1e-4,
    "weight_decay": 1e-4,
    "momentum": 0.9,
    "manualSeed": 1,
    "eval_every": 5,
    "threads": 1,  # a model this small gains nothing from a second one and suffers where others want it too
}

LAUNCHER = Launcher(__doc__, __file__, "train_dazle", DAZLE, {(): FROZEN})

if __name__ == "__main__":
    sys.exit(launch(LAUNCHER))
