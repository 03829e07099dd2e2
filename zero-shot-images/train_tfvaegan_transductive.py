"""TF-VAEGAN on images, transductive: unlabelled features of the unseen classes are available in training.

    python zero-shot-images/train_tfvaegan_transductive.py --dataset CUB --dataroot DIR [--flag value ...]

A second critic judges features generated for unseen classes. Called by `image-scripts/run_*_tfvaegan.py --transductive`.
"""

import sys
from pathlib import Path

from zsl.runs.config import parse_config

from config import DEFAULTS
from util import run

if __name__ == "__main__":
    sys.exit(run(parse_config(DEFAULTS[Path(__file__).name], None, __file__, __doc__)))
