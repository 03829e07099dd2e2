"""An exported DAZLE: class scores from regions and attributes; a new class is a new row of attributes."""

from __future__ import annotations

import copy
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from zslab.app.json_reader import JsonReader, contradiction
from zslab.app.methods.base import LARGEST_SCORE, take_tensors
from zslab.app.model_file import Model
from zslab.config import DazleOptions
from zslab.dazle.explain import contributions
from zslab.dazle.model import Dazle, Output

GRID = (2, 100)  # rows or columns of regions
VARIANCE = "normalization.running_var"


@dataclass(frozen=True)
class DazlePass:
    """What the network says of n samples; see `zslab.app.methods.base.ForwardPass`."""

    method: DazleMethod
    output: Output

    def scores(self, unseen_only: bool, calibration: float) -> Tensor:
        """Return (n, C) scores, with the margin of training between seen and unseen if all classes are in question."""
        scores, is_seen, margin = self.output.scores, self.method.is_seen, self.method.margin
        if unseen_only:
            return scores.masked_fill(is_seen, -torch.inf)
        # One sum and then the other, as in training, so that ties are broken alike.
        return scores + torch.where(is_seen, -margin, margin) - calibration * is_seen

    def contributions(self, classes: Tensor) -> tuple[Tensor, Tensor]:
        """Return att_ki q_i p_i, which sum to the class's score, and p: (n, A) each."""
        return contributions(self.output, self.method.attributes[classes]), self.output.attribute_scores

    def attention(self) -> Tensor:
        """Return attention maps (n, A, rows, columns)."""
        maps = self.output.attention
        return maps.reshape(*maps.shape[:2], *self.method.network.grid)


class DazleMethod:
    """The network with the attributes of the model's classes; see `zslab.app.methods.base.Method`.

    Raises:
        InputError: settings or weights are not DAZLE's.
    """

    uses_regions, generalized, chunk = True, True, 64

    def __init__(self, model: Model, where: str, device: torch.device):
        settings = JsonReader(model.settings, f"{where}, settings.")
        d, v = settings.integer("feature_dim"), settings.integer("word_dim")
        grid = settings.items("grid")
        rows, columns = (n if type(n) is int and GRID[0] <= n <= GRID[1] else 0 for n in (*grid, 0, 0)[:2])
        if len(grid) != 2 or not rows * columns:
            raise settings.refused("grid", f"[rows, columns] from {GRID[0]} to {GRID[1]}")
        options, known = settings.member("options"), {option.name for option in fields(DazleOptions)}
        flags = {name: value for name, value in options.items() if isinstance(value, bool)}
        if set(options) != known or len(flags) < len(options):
            raise settings.refused("options", f"true or false for {', '.join(sorted(known))}")
        self.margin = settings.number("margin", 0, LARGEST_SCORE)
        self.half = settings.flag("half_precision_regions")
        with torch.device("meta"):  # wrong sizes must not cost memory
            network = Dazle(None, len(model.attribute_names), d, v, DazleOptions(**flags), grid=(rows, columns))
        shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
        strangers = sorted(model.weights.keys() - shapes.keys())
        if strangers:
            raise contradiction(f"{where}, weights.{strangers[0]}", "a tensor", "no such tensor")
        state = take_tensors("", shapes, model.weights, where)
        if VARIANCE in state and not (state[VARIANCE] >= 0).all():
            raise contradiction(f"{where}, weights.{VARIANCE}", state[VARIANCE].min().item(), "no negative variance")
        network.to_empty(device=device).requires_grad_(False)
        network.load_state_dict(state)
        self.network, self.weights, self.device = network.eval(), dict(model.weights), device
        self.feature_shape: tuple[int, ...] = (d, rows, columns)
        self.set_classes(model)

    def check_classes(self, model: Model) -> None:
        """Accept all classes."""

    def set_classes(self, model: Model) -> None:
        """Take over classes and attributes."""
        self.attributes = model.attributes.to(self.device)
        self.is_seen = torch.from_numpy(model.seen).to(self.device)

    def copy(self) -> DazleMethod:
        """Return a method with classes of its own."""
        return copy.copy(self)

    def as_stored(self, features: Tensor) -> Tensor:
        """Return regions in half precision if they were stored so for training."""
        return features.half().float() if self.half else features

    @torch.no_grad()
    def forward(self, features: Tensor) -> DazlePass:
        """Look at regions (n, D, rows, columns)."""
        regions = features.flatten(2).transpose(1, 2).contiguous()
        output: Output = self.network(regions, self.attributes)
        return DazlePass(self, output)
