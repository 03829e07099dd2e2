"""DAZLE on images: dense attribute attention over the regions of an image.

    python zero-shot-images/train_dazle.py --dataset CUB --image_embedding FILE --dataroot DIR [--flag value ...]

Reads the region maps that `extract_features.py` writes, or those of the authors' release. The launchers
`image-scripts/run_*_dazle.py` call it with the paper's settings of each data set.
"""

from __future__ import annotations

import sys

import torch

from zslab.config import data_folders, fit_batch_size
from zslab.data.dataset import StageData
from zslab.data.region_dataset import RegionStageData
from zslab.dazle.explain import record_attention
from zslab.dazle.region_loader import Cached
from zslab.dazle.trainer import DazleTrainer
from zslab.protocol.stages import run_protocol
from zslab.results.config import parse_config
from zslab.train import Experiment

from config import DazleConfig
from model import build_dazle


def train(config: DazleConfig) -> int:
    """Train, measure and report one experiment, unless it has finished before; return the exit status."""
    with Experiment(config, "dazle") as experiment:
        config.check()
        if not experiment.has_finished():
            dataset, device = config.source().open(*data_folders(config)), experiment.device

            def build_trainer(data: StageData) -> DazleTrainer:
                assert isinstance(data, RegionStageData)
                in_memory = config.cache == "memory"
                maps = Cached(data.regions, torch.cat([*data.rows.values()]), device) if in_memory else None
                model, settings = build_dazle(config, data), fit_batch_size(config, config.settings(), data)
                return DazleTrainer(model, data, settings, device, config.manualSeed, maps, config.precision)

            experiment.start(dataset)
            outcome = run_protocol(dataset, build_trainer, experiment.folder, config.schedule())
            if not config.schedule().validation_only:
                with experiment.optional():
                    model = build_dazle(config, dataset.stage("test"))
                    record_attention(experiment.folder.path, dataset, model, config.settings().margin, device)
            experiment.finish(outcome)
        experiment.report()
    return experiment.status


if __name__ == "__main__":
    sys.exit(train(parse_config(DazleConfig(), None, __file__, __doc__)))
