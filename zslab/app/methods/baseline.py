"""An exported baseline: a new class is a new prototype, computed from its attributes.

A linear baseline scores class k by x'ᵀ M (a_k − α), up to a factor of the class, with x' the transformed feature. Mᵀx' is
what is read off the image; its products with (a_k − α), attribute by attribute, are the reasons. The perceptron has no such
sum, and gives no reasons.
"""

from dataclasses import fields, replace

import msgspec
import torch
from torch import Tensor

from zslab.app.methods.base import Output, RunParts, Served, with_samples
from zslab.app.model_file import EXPORT_AGAIN, Model, Positive
from zslab.baselines.base import Baseline
from zslab.baselines.comparison import SERVED, TEXT_SIMILARITY, choose, seeded
from zslab.data.dataset import Dataset
from zslab.data.region_dataset import RegionDataset
from zslab.errors import InputError, readable
from zslab.results.names import CALIBRATED
from zslab.results.result import Calibration

MAX_SEEN_PER_CLASS = 100


class BaselineServed(Served):
    """A fitted baseline with the attributes of the model's classes."""

    class Settings(msgspec.Struct):
        """Dimensions of the features, and the arguments of the baseline."""

        feature_dim: Positive
        arguments: dict[str, bool | int | float]

    @classmethod
    def of_run(cls, model: Model, dataset: Dataset, run: RunParts) -> Model:
        """Fit it again, with everything chosen on validation as the run's row has it: the best calibrated H."""
        baseline = seeded(SERVED[model.method], run.seed)
        if isinstance(dataset, RegionDataset):
            fix = "Export a run of TF-VAEGAN on the same images."
            must = "a baseline must have one feature vector for each sample"
            raise InputError(must, where="--method", got="a run on region maps", fix=fix)
        if model.method == TEXT_SIMILARITY and not shares_space(model):
            must, fix = "features and class vectors must be of one open_clip model", "Export another method."
            raise InputError(must, where="--method", got=f"{model.backbone and model.backbone.spec['name']}", fix=fix)
        settings, constant = choose(baseline, dataset.stage("validation", baseline.scaling, run.seed))
        model = msgspec.structs.replace(
            model,
            title=f"{model.method} on {dataset.name}",
            calibration=Calibration(constant),
            origin=model.origin | {"choice": f"{model.method}, {CALIBRATED}"},
        )
        return with_baseline(model, baseline.with_settings(settings["calibrated H"]), dataset, run.max_seen_per_class)

    def build(self, model: Model) -> None:
        """Build the baseline, and take its weights and means."""
        d, a, empty = self.settings.feature_dim, len(model.attribute_names), SERVED[model.method]
        self.check_scaling(model, d)
        with readable(self.where, f"the arguments must be those of {model.method}", EXPORT_AGAIN, (TypeError,)):
            self.baseline = replace(empty, **self.settings.arguments)
        self.baseline.weights_ = self.take(self.baseline.empty_weights(a, d), "weights.")
        means = {"feature_mean": torch.empty(d, device="meta"), "attribute_mean": torch.empty(a, device="meta").double()}
        self.baseline.feature_mean_, self.baseline.attribute_mean_ = self.take(means).values()
        self.feature_shape = (d,)

    def set_classes(self, model: Model) -> None:
        """Compute the classes' prototypes, and for a linear baseline what its matrix makes them of."""
        super().set_classes(model)
        self.prototypes, self.matrix = self.baseline.prototypes(self.attributes), self.baseline.weights_.get("matrix")
        if self.matrix is not None:
            centered = self.attributes.double() - self.baseline.attribute_mean_
            plain = centered @ self.matrix.T
            factor = self.prototypes.double().norm(dim=1) / plain.norm(dim=1).clamp_min(1e-12)
            self.attributes = (centered * factor[:, None]).float()

    def forward(self, features: Tensor, unseen_only: bool | None = None) -> Output:
        """Look at scaled features (n, D)."""
        x = self.baseline.transform(features)
        scores = x @ self.prototypes.T
        read = None if self.matrix is None else x @ self.matrix.float()
        return Output(scores.masked_fill(self.is_seen, -torch.inf), scores, read)


def shares_space(model: Model) -> bool:
    """Return whether images and class vectors of a model are of one open_clip model, so that their cosine means something."""
    return model.text is not None and model.backbone is not None and model.text.source == model.backbone.spec["name"]


def with_baseline(model: Model, baseline: Baseline, dataset: Dataset, max_seen_per_class: int = MAX_SEEN_PER_CLASS) -> Model:
    """Return a model with a baseline, which is fitted to the training samples of a data set."""
    data = dataset.stage("test", baseline.scaling)
    fitted = baseline.fit(data.train.features, data.train.labels, data.attributes)
    means = {"feature_mean": fitted.feature_mean_, "attribute_mean": fitted.attribute_mean_}
    arguments = {field.name: getattr(fitted, field.name) for field in fields(fitted) if field.init}
    return msgspec.structs.replace(
        with_samples(model, dataset, max_seen_per_class, fitted.scaling),
        settings={"feature_dim": len(fitted.feature_mean_), "arguments": arguments},
        weights=means | {f"weights.{name}": value for name, value in fitted.weights_.items()},
    )
