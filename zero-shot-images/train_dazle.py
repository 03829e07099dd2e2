"""DAZLE on images: dense attribute attention over the regions of an image.

    python zero-shot-images/train_dazle.py --dataset CUB --image_embedding FILE --dataroot DIR [--flag value ...]

Reads the region maps that `extract_features.py` writes, or those of the authors' release. The launchers
`image-scripts/run_*_dazle.py` call it with the paper's settings of each data set.
"""

import sys
from pathlib import Path

import torch

from zslab.config import DazleConfig
from zslab.data.region_dataset import RegionDataset, RegionStageData
from zslab.datasets import RegionSource
from zslab.dazle.explain import record_attention
from zslab.dazle.region_loader import Cached
from zslab.dazle.trainer import DazleTrainer
from zslab.experiment import main
from zslab.method import Method

from config import DAZLE
from model import build_dazle


def build_trainer(config: DazleConfig, data: RegionStageData, device: torch.device) -> DazleTrainer:
    """Return a new trainer for the data of one stage."""
    in_memory = config.cache == "memory"
    maps = Cached(data.regions, torch.cat([*data.rows.values()]), device) if in_memory else None
    return DazleTrainer(build_dazle(config, data), data, config, device, maps)


def record(config: DazleConfig, dataset: RegionDataset, run: Path, device: torch.device) -> None:
    """Leave attention maps of some test images in the run folder."""
    record_attention(run, dataset, build_dazle(config, dataset.stage("test")), config.margin, device)


METHOD = Method("dazle", DAZLE, build_trainer, RegionSource.of, record, "zslab.app.methods.dazle:DazleServed")

if __name__ == "__main__":
    sys.exit(main(METHOD, __file__, __doc__))
