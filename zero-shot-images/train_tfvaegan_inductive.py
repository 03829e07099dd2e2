"""TF-VAEGAN on images: unseen classes are known by their attributes, and in the transductive variant by unlabeled features too.

    python zero-shot-images/train_tfvaegan_inductive.py --dataset CUB --dataroot DIR [--flag value ...]

The launchers `image-scripts/run_*_tfvaegan.py` call it with the paper's settings of each data set.
"""

import sys

import torch

from zslab.config import ImageConfig
from zslab.data.dataset import StageData
from zslab.experiment import main
from zslab.method import Method
from zslab.tfvaegan.trainer import TfvaeganTrainer

from classifier import build_heads
from config import TFVAEGAN
from model import build_networks


def build_trainer(config: ImageConfig, data: StageData, device: torch.device) -> TfvaeganTrainer:
    """Return a new trainer for the data of one stage."""
    return TfvaeganTrainer(build_networks(config, data), data, config, *build_heads(config), device)


METHOD = Method("tfvaegan", TFVAEGAN, build_trainer, served="zslab.app.methods.tfvaegan:TfvaeganServed")

if __name__ == "__main__":
    sys.exit(main(METHOD, __file__, __doc__))
