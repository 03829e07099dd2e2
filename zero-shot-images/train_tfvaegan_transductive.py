"""TF-VAEGAN on images, transductive: unlabeled features of the unseen classes are available in training.

    python zero-shot-images/train_tfvaegan_transductive.py --dataset CUB --dataroot DIR [--flag value ...]

A second critic judges features generated for unseen classes. The launchers `image-scripts/run_*_tfvaegan.py` call it with
`--transductive`.
"""

from __future__ import annotations

import sys

from zslab.config import fit_batch_size, read_dataset
from zslab.data.dataset import StageData
from zslab.protocol.stages import run_protocol
from zslab.results.config import parse_config
from zslab.tfvaegan.trainer import TfvaeganTrainer
from zslab.train import Experiment

from classifier import build_heads
from config import TfvaeganConfig
from model import build_networks


def train(config: TfvaeganConfig) -> int:
    """Train, measure and report one experiment, unless it has finished before; return the exit status."""
    with Experiment(config, "tfvaegan") as experiment:
        config.check()
        if config.unseen_prior == "labels":
            print("Warning: --unseen_prior labels tells the generator the class frequencies of the test set.")
        if not experiment.has_finished():
            dataset = read_dataset(config)

            def build_trainer(data: StageData) -> TfvaeganTrainer:
                networks, heads = build_networks(config, data), build_heads(config)
                settings, device = fit_batch_size(config, config.settings(), data), experiment.device
                speed = config.engine, config.precision, config.cuda_graphs
                return TfvaeganTrainer(networks, data, settings, *heads, device, config.manualSeed, *speed)

            experiment.start(dataset)
            outcome = run_protocol(dataset, build_trainer, experiment.folder, config.schedule())
            experiment.finish(outcome)
        experiment.report()
    return experiment.status


if __name__ == "__main__":
    sys.exit(train(parse_config(TfvaeganConfig(transductive=True), None, __file__, __doc__)))
