"""TF-VAEGAN on images, inductive: unseen classes are known by their attributes only.

    python zero-shot-images/train_tfvaegan_inductive.py --dataset CUB --dataroot DIR [--flag value ...]

Data set by data set, with the settings of the paper, it is called by `image-scripts/run_*_tfvaegan.py`.
"""

import sys
from pathlib import Path

from zsl.runs.config import parse_config

from config import DEFAULTS
from util import run

if __name__ == "__main__":
    sys.exit(run(parse_config(DEFAULTS[Path(__file__).name], None, __file__, __doc__)))
