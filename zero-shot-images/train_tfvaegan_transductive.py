"""TF-VAEGAN on images, transductive: unlabelled features of the unseen classes are available in training.

    python zero-shot-images/train_tfvaegan_transductive.py --dataset CUB --dataroot DIR [--flag value ...]

A second critic judges features generated for unseen classes. Called by `image-scripts/run_*_tfvaegan.py --transductive`.
"""

import sys

from zsl.runs.config import parse_config

from config import TfvaeganConfig
from util import run

if __name__ == "__main__":
    sys.exit(run(parse_config(TfvaeganConfig(transductive=True), None, __file__, __doc__)))
