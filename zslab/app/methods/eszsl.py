"""An exported ESZSL on centered features and attributes: a bilinear score, to which a new class is a new row of attributes.

The score of class k for a feature x is (x − μ)ᵀ V (a_k − α), with μ and α the means of training; see `zslab.baselines.eszsl`.
"""

from __future__ import annotations

import msgspec
import torch
from torch import Tensor

from zslab.app.methods.base import Output, RunParts, Served
from zslab.app.model_file import Calibration, Model, Positive
from zslab.baselines.comparison import choose
from zslab.baselines.eszsl import Eszsl
from zslab.data.dataset import Dataset, fit_scaling
from zslab.data.region_dataset import RegionDataset
from zslab.errors import InputError

ESZSL_ROW = "ESZSL, centered, calibrated"  # of the result, which an exported ESZSL must reproduce


class EszslServed(Served, name="eszsl"):
    """The bilinear map with the attributes of the model's classes."""

    class Settings(msgspec.Struct):
        """The number of feature dimensions."""

        feature_dim: Positive

    @classmethod
    def of_run(cls, model: Model, dataset: Dataset, run: RunParts) -> Model:
        """Fit it again, with everything chosen on validation as the runs' baseline is: the best calibrated H."""
        test = dataset.stage("test", "minmax", run.seed)  # the seed draws the validation stage as the run did
        if not test.feature_dim or isinstance(dataset, RegionDataset):
            must = "ESZSL must have one feature vector for each sample"
            fix = "Export a run of TF-VAEGAN on the same images."
            raise InputError(must, where="--method", got="a run on region maps", fix=fix)
        settings, constant = choose(Eszsl(), dataset.stage("validation", "minmax", run.seed))
        chosen, seen = settings["calibrated H"], test.train.labels.unique()
        mean = test.attributes.double()[seen].mean(dim=0)
        # The prototype of a class is V (a − α), so those of the classes α + e_i are the columns of V.
        probes = torch.cat([test.attributes.double(), mean + torch.eye(len(mean), dtype=torch.float64)])
        (fitted,) = Eszsl().path(test.train.features, test.train.labels, probes, [chosen])
        return msgspec.structs.replace(
            model,
            method="eszsl",
            title=f"ESZSL, centered on {dataset.name}",
            settings={"feature_dim": test.feature_dim},
            calibration=Calibration(constant),
            scaling=fit_scaling(dataset.features, dataset.locations["trainval"], "minmax"),
            weights={
                "compatibility": fitted.prototypes_[len(test.attributes) :].T,
                "feature_mean": fitted.feature_mean_,
                "attribute_mean": mean.float(),
            },
            origin=model.origin | {"choice": ESZSL_ROW, "settings": dict(chosen)},
        )

    def build(self, model: Model) -> None:
        """Take V, μ and α."""
        d, a = self.settings.feature_dim, len(model.attribute_names)
        self.check_scaling(model, d)
        shapes = {"compatibility": (d, a), "feature_mean": (d,), "attribute_mean": (a,)}
        taken = self.take({name: torch.empty(shape, device="meta") for name, shape in shapes.items()})
        self.compatibility, self.feature_mean, self.attribute_mean = taken.values()
        self.feature_shape = (d,)

    def set_classes(self, model: Model) -> None:
        """Take over classes and centered attributes."""
        super().set_classes(model)
        self.attributes = self.attributes - self.attribute_mean

    def forward(self, features: Tensor, unseen_only: bool | None = None) -> Output:
        """Look at scaled features (n, D)."""
        read = (features - self.feature_mean) @ self.compatibility
        scores = read @ self.attributes.T
        return Output(scores.masked_fill(self.is_seen, -torch.inf), scores, read)
