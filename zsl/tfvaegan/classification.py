"""From trained networks to accuracies: synthesis, discriminative transformation, softmax heads, measures.

Narayan et al., ECCV 2020, section 3.3: every feature x, real or synthesised, is replaced by [x, Dec(x), h(x)].
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field

import torch
from torch import Tensor

from zsl.classifiers import SoftmaxHead
from zsl.data.xlsa17 import Samples, StageData
from zsl.metrics import confusion_matrix, harmonic_mean, mean_class_accuracy, seen_unseen_curve
from zsl.tfvaegan.networks import Networks, SemanticDecoder
from zsl.tfvaegan.steps import Settings, generate

CHUNK = 8192  # rows in flight at once in synthesis and transformation; bounds their temporary memory


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
    latent_dim = networks.encoder.mean.out_features
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
    return torch.cat([torch.cat([part, *decoder(part)], dim=1) for part in x.split(CHUNK)])


@dataclass
class Evaluation:
    """What one evaluation found.

    Attributes:
        record: lists over head epochs, as they go into metrics.jsonl: "zsl": {"acc"}, "gzsl": {"acc_seen",
            "acc_unseen", "H", "AUSUC"}; on a validation stage also "constant", the best one to subtract from seen
            scores; where a constant was given, "calibrated": {"acc_seen", "acc_unseen", "H"} with it subtracted.
        synthetic: the synthesised features that the heads were trained on, not transformed.
        kept: (kind, head epoch) -> tensor, for the head epochs asked for; kinds are "zsl_confusion" (u, u) and
            "gzsl_confusion" (s + u, s + u) counts, and "curve" (p, 2), the seen/unseen curve's points.
    """

    record: dict
    synthetic: Samples
    kept: dict[tuple[str, int], Tensor] = field(default_factory=dict)


def evaluate(
    networks: Networks,
    data: StageData,
    settings: Settings,
    zsl_head: SoftmaxHead,
    gzsl_head: SoftmaxHead | None,
    generator: torch.Generator,
    keep: Container[int] = (),
    constant: float | None = None,
) -> Evaluation:
    """Synthesises unseen features, trains the heads on them and measures after every head epoch.

    Args:
        gzsl_head: None leaves out generalised zero-shot classification.
        generator: of all random numbers used here.
        keep: head epochs whose confusion matrices and curves are wanted.
        constant: to subtract from all seen scores for the "calibrated" measures.
    """
    view = (lambda x: transform(networks.decoder, x)) if settings.transform else (lambda x: x)
    unseen, seen = data.unseen_classes, data.seen_classes
    synthetic = synthesise(networks, data.attributes, unseen, settings, generator)
    x_synthetic, x_unseen = view(synthetic.features), view(data.test_unseen.features)
    result = Evaluation({"zsl": {"acc": []}}, synthetic)

    for epoch in zsl_head.fit_epochs(x_synthetic, synthetic.labels, generator):
        predictions = zsl_head.predict(x_unseen)
        result.record["zsl"]["acc"].append(mean_class_accuracy(data.test_unseen.labels, predictions, unseen))
        if epoch in keep:
            result.kept["zsl_confusion", epoch] = confusion_matrix(data.test_unseen.labels, predictions, unseen)
    if gzsl_head is None:
        return result

    x_train = torch.cat([view(data.train.features), x_synthetic])
    y_train = torch.cat([data.train.labels, synthetic.labels])
    x_test = torch.cat([view(data.test_seen.features), x_unseen])
    labels, n_seen = torch.cat([data.test_seen.labels, data.test_unseen.labels]), len(data.test_seen)
    seen_columns, unseen_columns = torch.searchsorted(data.classes, seen), torch.searchsorted(data.classes, unseen)

    def accuracies(predictions: Tensor) -> dict[str, float]:
        acc_seen = mean_class_accuracy(labels[:n_seen], predictions[:n_seen], data.test_seen.classes)
        acc_unseen = mean_class_accuracy(labels[n_seen:], predictions[n_seen:], unseen)
        return {"acc_seen": acc_seen, "acc_unseen": acc_unseen, "H": harmonic_mean(acc_seen, acc_unseen)}

    def note(group: str, values: dict[str, float]) -> None:
        for name, value in values.items():
            result.record.setdefault(group, {}).setdefault(name, []).append(value)

    for epoch in gzsl_head.fit_epochs(x_train, y_train, generator):
        scores = gzsl_head.scores(x_test)
        predictions = data.classes[scores.argmax(dim=1)]
        positions = torch.searchsorted(data.classes, labels)  # the curve reads columns, so classes become columns
        curve = seen_unseen_curve(scores, positions, seen_columns, unseen_columns)
        note("gzsl", accuracies(predictions) | {"AUSUC": curve.area})
        if data.stage == "validation":
            note("gzsl", {"constant": curve.best_constant()})
        if constant is not None:
            scores[:, seen_columns] -= constant
            note("calibrated", accuracies(data.classes[scores.argmax(dim=1)]))
        if epoch in keep:
            result.kept["gzsl_confusion", epoch] = confusion_matrix(labels, predictions, data.classes)
            result.kept["curve", epoch] = curve.points
    return result
