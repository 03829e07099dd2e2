"""DAZLE on images: dense attribute attention over the regions of a picture.

    python zero-shot-images/train_dazle.py --dataset CUB --image_embedding FILE --dataroot DIR [--flag value ...]

Reads the region maps that `extract_features.py` writes, or those of the authors' release. Data set by data set, with the
settings of the paper, it is called by `image-scripts/run_*_dazle.py`.
"""

import sys
from pathlib import Path

from zsl.runs.config import parse_config

from config import DEFAULTS
from util import run_dazle

if __name__ == "__main__":
    sys.exit(run_dazle(parse_config(DEFAULTS[Path(__file__).name], None, __file__, __doc__)))
