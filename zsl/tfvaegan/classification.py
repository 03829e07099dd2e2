"""From trained networks to accuracies: synthesis, discriminative transformation, softmax heads, measures.

Narayan et al., ECCV 2020, section 3.3: every feature x, real or synthesised, is replaced by [x, Dec(x), h(x)].
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from functools import partial

import torch
from torch import Tensor

from zsl.classifiers import SoftmaxHead
from zsl.data.xlsa17 import Samples, StageData
from zsl.evaluation import Evaluation, accuracies
from zsl.gate import EntropyDetector, GatedClassifier
from zsl.metrics import confusion_matrix, margin_curve, roc_area
from zsl.rows import CHUNK, Rows, join, viewed
from zsl.tfvaegan.networks import Networks, SemanticDecoder
from zsl.tfvaegan.steps import Settings, generate

GATE_STREAM = 0x6A7E  # sets the gate's random numbers apart, so that the ZSL head is the same with a gate and without


@torch.no_grad()
def synthesise(
    networks: Networks, attributes: Tensor, classes: Tensor, settings: Settings, generator: torch.Generator
) -> Samples:
    """`n_synthetic` features for each class.

    Args:
        attributes: (C, A) of all classes.
        classes: (u,) the classes to synthesise.

    Returns:
        Samples sorted by class, features (u * n_synthetic, D).
    """
    labels = classes.repeat_interleave(settings.n_synthetic)
    latent_dim = networks.generator.hidden.in_features - attributes.shape[1]
    weight = settings.feedback_synthesis if settings.uses_feedback else None
    features = [
        generate(networks, torch.randn(len(part), latent_dim, generator=generator, device=part.device),
                 attributes[part], weight)
        for part in labels.split(CHUNK)
    ]
    return Samples(torch.cat(features), labels)


@torch.no_grad()
def transform(decoder: SemanticDecoder, x: Tensor) -> Tensor:
    """The discriminative transformation [x, Dec(x), h(x)]: (n, D) -> (n, D + A + H)."""
    return torch.cat([x, *decoder(x)], dim=1)


def evaluate(
    networks: Networks,
    data: StageData,
    settings: Settings,
    zsl_head: SoftmaxHead,
    gzsl: SoftmaxHead | GatedClassifier | None,
    generator: torch.Generator,
    keep: Container[int] = (),
    constant: float | None = None,
) -> Evaluation:
    """Synthesises unseen features, trains the heads on them and measures after every head epoch.

    Args:
        gzsl: how to classify over all classes: with one head, with a gate (its unseen_head is `zsl_head`), or not at all.
        generator: of all random numbers used here.
        keep: head epochs whose confusion matrices and curves are wanted.
        constant: chosen on validation. One head: to subtract from all seen scores for the "calibrated" measures. Gate
            with the rule "val": its threshold, as a share of the largest entropy.

    Returns:
        What `Evaluation` says, with the synthesised features, not transformed. With a gate there is no "calibrated";
        "constant" is the gate's best threshold as a share of the largest entropy, with the rule "val" only; there is a
        group "gate": {"auroc" (seen against unseen), "threshold" (nats), "seen_passed", "unseen_stopped" (share of the
        clips on the right side)}, and kept are also "gate_entropy_seen", "gate_entropy_unseen" (n,) of the test clips
        and "gate_threshold" (). What the heads have learned is kept as "zsl_head.weight", "gzsl_head.weight", ...; with a
        gate as "detector.0.weight", "seen_head.weight", ..., the ZSL head being its unseen head.
    """
    decoder = networks.decoder
    transformed_dim = data.feature_dim + data.attribute_dim + decoder.hidden.out_features

    def view(x: Tensor | Rows) -> Tensor | Rows:
        return viewed(x, partial(transform, decoder), transformed_dim) if settings.transform else x

    unseen = data.unseen_classes
    synthetic = synthesise(networks, data.attributes, unseen, settings, generator)
    x_synthetic, x_unseen = view(synthetic.features), view(data.test_unseen.features)
    result = Evaluation(synthetic=synthetic)
    gated = None
    if isinstance(gzsl, GatedClassifier):
        assert gzsl.unseen_head is zsl_head
        x_test = join(view(data.test_seen.features), x_unseen)
        gated = _gated_epochs(gzsl, data, view(data.train.features), x_synthetic, x_test, generator, result, keep, constant)

    for epoch in zsl_head.fit_epochs(x_synthetic, synthetic.labels, generator):
        result.measure_unseen(data, zsl_head.predict(x_unseen), epoch, keep)
        if epoch in keep:
            _keep_head(result, epoch, "zsl_head", zsl_head)
        if gated is not None:
            next(gated)
    if not isinstance(gzsl, SoftmaxHead):
        return result

    x_train = join(view(data.train.features), x_synthetic)
    y_train = torch.cat([data.train.labels, synthetic.labels])
    x_test = join(view(data.test_seen.features), x_unseen)
    for epoch in gzsl.fit_epochs(x_train, y_train, generator):
        result.measure_all(data, gzsl.scores(x_test), epoch, keep, constant)
        if epoch in keep:
            _keep_head(result, epoch, "gzsl_head", gzsl)
    return result


def _gated_epochs(
    gate: GatedClassifier,
    data: StageData,
    x_train: Tensor | Rows,
    x_synthetic: Tensor | Rows,
    x_test: Tensor | Rows,
    generator: torch.Generator,
    result: Evaluation,
    keep: Container[int],
    constant: float | None,
) -> Iterator[None]:
    """Trains the detector, then the seen head epoch by epoch, measuring after each with the unseen head as it is then."""
    own = torch.Generator(generator.device).manual_seed(generator.initial_seed() ^ GATE_STREAM)
    detector = gate.detector.fit(x_train, data.train.labels, x_synthetic, own)
    entropy, n_seen = detector.entropy(x_test), len(data.test_seen)
    area = roc_area(entropy[n_seen:], entropy[:n_seen])
    for epoch in gate.seen_head.fit_epochs(x_train, data.train.labels, own):
        # A clip goes over to the unseen side once the threshold, which is minus the curve's constant, reaches its entropy.
        curve = margin_curve(-entropy, gate.seen_head.predict(x_test), gate.unseen_head.predict(x_test),
                             data.test_labels, data.seen_classes, data.unseen_classes)
        if gate.rule != "val":
            gate.threshold_ = detector.training_threshold(gate.rule)
        elif data.stage == "validation":
            gate.threshold_ = -curve.best_constant()
            result.note("gzsl", {"constant": gate.threshold_ / detector.largest_entropy})
        else:
            assert constant is not None, "the rule val needs a validation run"
            gate.threshold_ = constant * detector.largest_entropy
        predictions, passed = gate.predict(x_test, entropy), gate.is_seen(entropy).double()
        result.note("gzsl", accuracies(data, predictions) | {"AUSUC": curve.area})
        result.note("gate", {
            "auroc": area, "threshold": gate.threshold_,
            "seen_passed": passed[:n_seen].mean().item(), "unseen_stopped": 1 - passed[n_seen:].mean().item(),
        })
        if epoch in keep:
            result.kept |= {
                ("gzsl_confusion", epoch): confusion_matrix(data.test_labels, predictions, data.classes),
                ("curve", epoch): curve.points,
                ("gate_entropy_seen", epoch): entropy[:n_seen],
                ("gate_entropy_unseen", epoch): entropy[n_seen:],
                ("gate_threshold", epoch): torch.tensor(gate.threshold_),
                ("gzsl_predictions", epoch): predictions,
            }
            _keep_head(result, epoch, "seen_head", gate.seen_head)
            _keep_head(result, epoch, "detector", detector)
        yield


def _keep_head(result: Evaluation, epoch: int, name: str, head: SoftmaxHead | EntropyDetector) -> None:
    result.kept |= {(f"{name}.{key}", epoch): value for key, value in head.state_dict().items()}
