"""The evaluation of TF-VAEGAN: synthesize, transform, classify.

Source: Narayan et al., ECCV 2020, section 3.3.
"""

from collections.abc import Container
from functools import partial

import torch

from zslab.config import TfvaeganConfig
from zslab.data.dataset import StageData
from zslab.data.lazy import transformed
from zslab.protocol.evaluation import Evaluation, Progress, unwatched
from zslab.shared.classification import Features, classify
from zslab.shared.gate import GatedClassifier
from zslab.shared.heads import SoftmaxHead
from zslab.tfvaegan.networks import Networks
from zslab.tfvaegan.synthesis import synthesize, transform


def evaluate(
    networks: Networks,
    data: StageData,
    config: TfvaeganConfig,
    zsl_head: SoftmaxHead,
    gzsl: SoftmaxHead | GatedClassifier | None,
    generator: torch.Generator,
    keep: Container[int] = (),
    constant: float | None = None,
    progress: Progress = unwatched,
) -> Evaluation:
    """Synthesize features of unseen classes, and train and measure heads; see `zslab.shared.classification.classify`."""
    decoder = networks.decoder
    transformed_dim = data.feature_dim + data.attribute_dim + decoder.hidden.out_features

    def prepare(x: Features) -> Features:
        return transformed(x, partial(transform, decoder), transformed_dim) if config.transform else x

    unseen = data.unseen_classes
    synthetic = synthesize(networks, data.attributes, unseen, config.syn_num, config.synthesis_feedback, generator)
    return classify(synthetic, data, zsl_head, gzsl, generator, keep, constant, progress, prepare)
