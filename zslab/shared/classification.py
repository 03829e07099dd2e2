"""The classification protocol of generative methods: train softmax heads on synthesized and real features, and measure them.

Source: Xian et al., "Feature Generating Networks for Zero-Shot Learning", CVPR 2018; for the gate, the release of TF-VAEGAN
for actions.
"""

from collections.abc import Callable, Container, Iterator

import torch
from torch import Tensor

from zslab.data.dataset import Samples, StageData
from zslab.data.lazy import LazyFeatures, join
from zslab.metrics import margin_curve, roc_area
from zslab.protocol.evaluation import Evaluation, Progress, accuracies, unwatched
from zslab.shared.gate import GatedClassifier
from zslab.shared.heads import SoftmaxHead
from zslab.utils.seeds import GATE, stream

Features = Tensor | LazyFeatures


def unchanged(x: Features) -> Features:
    """Return features as they are."""
    return x


def classify(
    synthetic: Samples,
    data: StageData,
    zsl_head: SoftmaxHead,
    gzsl: SoftmaxHead | GatedClassifier | None,
    generator: torch.Generator,
    keep: Container[int] = (),
    constant: float | None = None,
    progress: Progress = unwatched,
    prepare: Callable[[Features], Features] = unchanged,
) -> Evaluation:
    """Train the heads on synthesized features of unseen classes and on real ones of seen classes; measure every head epoch.

    Args:
        synthetic: features of unseen classes.
        data: the real ones, and those to measure on.
        zsl_head: the head over unseen classes.
        gzsl: classifies over all classes: one head, or a gate whose `unseen_head` is `zsl_head`, or None to leave it out.
        generator: draws all random numbers, but those of the gate.
        keep: head epochs to take a snapshot of.
        constant: chosen on validation. With one head it is subtracted from all seen scores for the "calibrated" measures;
            for a gate with the rule "val" it is the threshold, as a share of the largest entropy.
        progress: is told the share of the work that is done, after every head epoch.
        prepare: changes all features, real and synthesized, before they are classified.

    Returns:
        An evaluation with the synthesized features, before `prepare`. A snapshot's heads are "zsl_head" and "gzsl_head". A
        gate adds and changes this:

        - The metrics have no "calibrated". Only with the rule "val" is there a "constant": the gate's best threshold, as a
          share of the largest entropy.
        - The group "gate" has "auroc" (unseen against seen), "threshold" (nats), and the shares of correctly routed test
          samples, "seen_passed" and "unseen_stopped".
        - A snapshot's arrays include "gate_entropy_seen" and "gate_entropy_unseen" (n,) of the test samples and
          "gate_threshold" (). Its heads are "zsl_head", which is the gate's unseen head, "seen_head" and "detector".
    """
    x_synthetic, x_unseen = prepare(synthetic.features), prepare(data.test_unseen.features)
    result = Evaluation(keep, synthetic=synthetic)
    gated = None
    if isinstance(gzsl, GatedClassifier):
        assert gzsl.unseen_head is zsl_head
        x_test = join(prepare(data.test_seen.features), x_unseen)
        gated = _gated_epochs(gzsl, data, prepare(data.train.features), x_synthetic, x_test, generator, result, constant)

    # A head epoch takes time in proportion to its samples.
    n_all, one_head = len(data.train) + len(synthetic), isinstance(gzsl, SoftmaxHead)
    first, second = n_all if gated else len(synthetic), n_all if one_head else 0
    total = zsl_head.epochs * (first + second)

    for epoch in zsl_head.fit_epochs(x_synthetic, synthetic.labels, generator):
        if len(data.test_unseen):
            result.measure_unseen(data, zsl_head.predict(x_unseen), epoch)
        if snapshot := result.snapshot(epoch):
            snapshot.heads["zsl_head"] = zsl_head.state_dict()
        if gated is not None:
            next(gated)
        progress((epoch + 1) * first / total)
    if not isinstance(gzsl, SoftmaxHead):
        return result

    x_train = join(prepare(data.train.features), x_synthetic)
    y_train = torch.cat([data.train.labels, synthetic.labels])
    x_test = join(prepare(data.test_seen.features), x_unseen)
    for epoch in gzsl.fit_epochs(x_train, y_train, generator):
        result.measure_all(data, gzsl.scores(x_test), epoch, constant)
        if snapshot := result.snapshot(epoch):
            snapshot.heads["gzsl_head"] = gzsl.state_dict()
        progress((zsl_head.epochs * first + (epoch + 1) * second) / total)
    return result


def _gated_epochs(
    gate: GatedClassifier,
    data: StageData,
    x_train: Tensor | LazyFeatures,
    x_synthetic: Tensor | LazyFeatures,
    x_test: Tensor | LazyFeatures,
    generator: torch.Generator,
    result: Evaluation,
    constant: float | None,
) -> Iterator[None]:
    """Train the detector, then the seen head epoch by epoch; measure after each with the current unseen head."""
    generator = stream(generator.initial_seed(), GATE, device=generator.device)  # the ZSL head's numbers do not depend on it
    detector = gate.detector.fit(x_train, data.train.labels, x_synthetic, generator)
    entropy, n_seen = detector.entropy(x_test), len(data.test_seen)
    area = roc_area(entropy[n_seen:], entropy[:n_seen])
    for epoch in gate.seen_head.fit_epochs(x_train, data.train.labels, generator):
        # A sample counts as unseen once the threshold, which is minus the curve's constant, is at most its entropy.
        curve = margin_curve(
            -entropy,
            gate.seen_head.predict(x_test),
            gate.unseen_head.predict(x_test),
            data.test_labels,
            data.seen_classes,
            data.unseen_classes,
        )
        if gate.rule != "val":
            gate.threshold_ = detector.training_threshold(gate.rule)
        elif data.stage == "validation":
            gate.threshold_ = -curve.best_constant()
            result.add("gzsl", {"constant": gate.threshold_ / detector.largest_entropy})
        else:
            assert constant is not None, "the rule val needs a validation run"
            gate.threshold_ = constant * detector.largest_entropy
        predictions, passed = gate.predict(x_test, entropy), gate.is_seen(entropy).double()
        result.add("gzsl", accuracies(data, predictions) | {"AUSUC": curve.area})
        result.add(
            "gate",
            {
                "auroc": area,
                "threshold": gate.threshold_,
                "seen_passed": passed[:n_seen].mean().item(),
                "unseen_stopped": 1 - passed[n_seen:].mean().item(),
            },
        )
        if snapshot := result.snapshot(epoch):
            snapshot.arrays |= {
                "curve": curve.points,
                "gate_entropy_seen": entropy[:n_seen],
                "gate_entropy_unseen": entropy[n_seen:],
                "gate_threshold": torch.tensor(gate.threshold_),
            }
            snapshot.add_confusion("gzsl", data.test_labels, predictions, data.classes)
            snapshot.predictions["gzsl"] = predictions
            snapshot.heads |= {"seen_head": gate.seen_head.state_dict(), "detector": detector.state_dict()}
        yield
