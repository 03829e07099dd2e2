"""An exported DAZLE: class scores from regions and attributes; a new class is a new row of attributes."""

from dataclasses import fields
from typing import Annotated

import msgspec
import numpy as np
import torch
from msgspec import Meta
from torch import Tensor

from zslab.app.methods.base import Output, RunParts, Served
from zslab.app.model_file import EXPORT_AGAIN, Model, Positive
from zslab.config import DazleOptions
from zslab.data.dataset import Dataset
from zslab.data.region_dataset import RegionDataset
from zslab.dazle.model import Dazle
from zslab.errors import InputError
from zslab.results.result import Number

Side = Annotated[int, Meta(ge=2, le=100)]  # rows or columns of regions
VARIANCE = "normalization.running_var"


class DazleServed(Served):
    """The network with the attributes of the model's classes."""

    uses_regions, chunk = True, 64

    class Settings(msgspec.Struct):
        """Sizes of the network, and how training used it."""

        feature_dim: Positive
        word_dim: Positive
        grid: tuple[Side, Side]
        options: DazleOptions
        margin: Number
        half_precision_regions: bool

    @classmethod
    def of_run(cls, model: Model, dataset: Dataset, run: RunParts) -> Model:
        """See `Served.of_run`."""
        assert isinstance(dataset, RegionDataset)
        settings = {
            "feature_dim": dataset.regions.feature_dim,
            "word_dim": run.tensors["vectors"].shape[1],
            "grid": list(dataset.regions.grid),
            "options": {field.name: run.config[field.name] for field in fields(DazleOptions)},
            "margin": run.config["bias"] if run.config["is_bias"] else 0.0,
            "half_precision_regions": dataset.regions.dtype == np.float16,
        }
        return msgspec.structs.replace(model, settings=settings, weights=run.tensors)

    def build(self, model: Model) -> None:
        """Build the network and load its weights."""
        s = self.settings
        with torch.device("meta"):
            network = Dazle(None, len(model.attribute_names), s.feature_dim, s.word_dim, s.options, grid=s.grid)
        if self.weights.keys() != network.state_dict().keys() or (self.weights.get(VARIANCE, torch.zeros(1)) < 0).any():
            must = "there must be the network's tensors only, and no negative variance"
            raise InputError(must, where=f"{self.where}.{VARIANCE}", got=sorted(self.weights), fix=EXPORT_AGAIN)
        self.load(network)
        self.network = network.eval()
        self.feature_shape = (s.feature_dim, *s.grid)

    def as_stored(self, features: Tensor) -> Tensor:
        """Return regions in half precision if they were stored so for training."""
        return features.half().float() if self.settings.half_precision_regions else features

    @torch.no_grad()
    def forward(self, features: Tensor, unseen_only: bool | None = None) -> Output:
        """Look at regions (n, D, rows, columns); att_ki q_i p_i sum to the score of class k."""
        found = self.network(features.flatten(2).transpose(1, 2).contiguous(), self.attributes)
        return Output(
            unseen=found.scores.masked_fill(self.is_seen, -torch.inf),
            every=found.scores + torch.where(self.is_seen, -self.settings.margin, self.settings.margin),
            read=found.attribute_scores,
            weights=found.attribute_attention * found.attribute_scores,
            attention=found.attention.unflatten(2, self.network.grid),
        )
