"""TF-VAEGAN on actions in video: unseen classes are known by their attributes or by the words of their names only.

    python zero-shot-actions/train_tfvaegan.py --dataset hmdb_i3d --split 1 --dataroot DIR [--flag value ...]

Data set by data set, with the settings of the paper, and over many splits, it is called by `action-scripts/run_*.py`.
"""

import sys
from pathlib import Path

from zsl.runs.config import parse_config

from config import DEFAULTS
from util import run

if __name__ == "__main__":
    sys.exit(run(parse_config(DEFAULTS[Path(__file__).name], None, __file__, __doc__)))
