"""TF-VAEGAN on actions in video: unseen classes are known by their attributes or by the words of their names only.

    python zero-shot-actions/train_tfvaegan.py --dataset hmdb_i3d --split 1 --dataroot DIR [--flag value ...]

The launchers `action-scripts/run_*.py` call it with the paper's settings of each data set, and over many splits.
"""

import sys

import torch

from zslab.config import ActionConfig
from zslab.data.dataset import StageData
from zslab.datasets import ActionSource
from zslab.experiment import main
from zslab.method import Method
from zslab.tfvaegan.trainer import TfvaeganTrainer

from classifier import build_heads
from config import TFVAEGAN
from model import build_networks


def build_trainer(config: ActionConfig, data: StageData, device: torch.device) -> TfvaeganTrainer:
    """Return a new trainer for the data of one stage."""
    return TfvaeganTrainer(build_networks(config, data), data, config, *build_heads(config), device)


METHOD = Method("tfvaegan", TFVAEGAN, build_trainer, ActionSource.of, served="zslab.app.methods.tfvaegan:TfvaeganServed")

if __name__ == "__main__":
    sys.exit(main(METHOD, __file__, __doc__))
