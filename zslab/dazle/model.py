"""The model of DAZLE: every attribute looks for its own region of the image.

Source: Huynh and Elhamifar, "Fine-Grained Generalized Zero-Shot Learning via Dense Attribute-Based Attention", CVPR
2020, section 3, and the authors' release. B batch, r region, f feature, A attribute, v word vector, k class.

| parameter     | shape  | start                                                  | under each attribute, a region's         |
|---------------|--------|--------------------------------------------------------|------------------------------------------|
| vectors V     | (A, v) | word vectors of unit L2 norm; N(0, 1) where none given |                                          |
| score W1      | (v, f) | N(0, 1)                                                | score S = V W1 F                         |
| attention W2  | (v, f) | 0, so that attention starts uniform                    | attention: softmax over r of V W2 F      |
| importance W3 | (v, f) | 0, so that every attribute starts with weight 1/2      | part V W3 F of the attribute's weight    |

Attribute score p_i = Σ_r A_ir S_ir, its weight q_i = sigmoid(Σ_r A_ir (V W3 F)_ir), class score s_k = Σ_i att_ki q_i p_i.
All three are one product [V W1; V W2; V W3] F. The release averages the features under each attribute's attention, a
tensor (B, A, f), before it multiplies by V W3; the sum over regions comes last here, which gives the same number.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zslab.config import DazleOptions
from zslab.errors import InputError
from zslab.utils.precision import autocast, linear

SMALLEST_NORM = 1e-12  # a region of zeros stays one


# The model of the release's notebooks. Its non_linear_emb (class scores by a perceptron A → A // 2 → 1 with biases and a ReLU,
# the same for all classes) and is_conv (a 2 × 2 convolution f → f // 2 without padding, so that a 7 × 7 grid becomes 6 × 6)
# were checked against the release's model, but none of its notebooks uses them, so there are no numbers to compare with.
RELEASE = DazleOptions(
    trainable_w2v=True,
    normalize_V=False,
    normalize_F=True,
    uniform_att_1=False,
    uniform_att_2=False,
    is_sigmoid=False,
    non_linear_act=False,
    non_linear_emb=False,
    is_conv=False,
)


class Output(NamedTuple):
    """What a forward pass gives for B images."""

    scores: Tensor  #: (B, k) of the classes, without any margin
    attention: Tensor  #: (B, A, r) by W2, non-negative, sums to 1 over the regions; with `uniform_att_1` it is of q alone
    attribute_scores: Tensor  #: p (B, A), how much of each attribute the image shows
    attribute_attention: Tensor  #: q (B, A), how much each attribute matters for the image; in [0, 1]
    region_scores: Tensor  #: S (B, A, r), how much of each attribute each region shows


class Dazle(nn.Module):
    """Regions and class attributes in, class scores and attention out; the module's docstring has the formulas.

    With a convolution its scores depend on train and eval mode: batch normalization takes the mean and variance of the
    batch in the one, what it has collected from batches in the other.

    Attributes:
        grid: (rows, columns) that the r regions of `Output` lie on.
        bf16: whether training computes the product with the regions in bfloat16; all else is float32.
    """

    bf16 = False

    def __init__(
        self,
        attribute_vectors: Tensor | None,
        n_attributes: int,
        feature_dim: int,
        word_dim: int = 300,
        options: DazleOptions = RELEASE,
        generator: torch.Generator | None = None,
        grid: tuple[int, int] = (7, 7),
    ):
        """Build the model.

        Args:
            attribute_vectors: (n_attributes, v), a word vector for each attribute; None draws V from N(0, 1).
            word_dim: v where there are no vectors; theirs otherwise.
            generator: draws every initial weight; on the CPU.
            grid: of the regions that come in.
        """
        super().__init__()
        if options.is_conv and (grid[0] - 1) * (grid[1] - 1) < 2:  # attention needs two regions
            must, fix = "the grid must have at least 2 × 3 regions for a 2 × 2 convolution", "Leave out --is_conv."
            raise InputError(must, where="the region maps", got=f"{grid[0]} × {grid[1]}", fix=fix)
        self.options, self.input_grid, self.feature_dim = options, tuple(grid), feature_dim
        if attribute_vectors is None:
            vectors = torch.randn(n_attributes, word_dim, generator=generator)
        else:
            vectors = F.normalize(_check_vectors(attribute_vectors, n_attributes, options.normalize_V), dim=1)
        self.vectors = nn.Parameter(vectors, requires_grad=options.trainable_w2v)
        seen_dim = max(1, feature_dim // 2) if options.is_conv else feature_dim
        shape = (vectors.shape[1], seen_dim)
        self.score = nn.Parameter(torch.randn(shape, generator=generator))
        unattended = options.uniform_att_1 and options.uniform_att_2
        self.attention = None if unattended else nn.Parameter(torch.zeros(shape))
        self.importance = None if options.uniform_att_2 else nn.Parameter(torch.zeros(shape))
        self.convolution = self.normalization = self.embedding = None
        if options.non_linear_emb:
            hidden = max(1, n_attributes // 2)
            first, second = nn.Linear(n_attributes, hidden), nn.Linear(hidden, 1)
            _draw(first, n_attributes, generator)
            _draw(second, hidden, generator)
            self.embedding = nn.Sequential(first, nn.ReLU(), second)
        if options.is_conv:
            self.convolution = nn.Conv2d(feature_dim, seen_dim, 2)
            _draw(self.convolution, 4 * feature_dim, generator)
            self.normalization = nn.BatchNorm2d(seen_dim)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the regions."""
        rows, columns = self.input_grid
        return (rows - 1, columns - 1) if self.options.is_conv else (rows, columns)

    def forward(self, regions: Tensor, class_attributes: Tensor) -> Output:
        """Scores images for classes.

        Args:
            regions: (B, r, f), row by row of the grid.
            class_attributes: (k, A), rows of unit L2 norm.
        """
        options = self.options
        self._check_regions(regions)
        if self.convolution is not None:
            regions = self._convolve(regions)
        n, r, f = regions.shape
        v = F.normalize(self.vectors, dim=1) if options.normalize_V else self.vectors
        # Weights first: (A, v) times (v, f) is small, and then the features are read once for all three.
        weights = [v @ w for w in (self.score, self.attention, self.importance) if w is not None]
        rows = regions.reshape(n * r, f)
        with autocast(rows.device, self.bf16 and self.training):
            product = linear(rows, torch.cat(weights))
        if options.normalize_F and self.convolution is None:
            # Of the product rather than of the features, which are the larger by far.
            product = product / torch.linalg.vector_norm(rows, dim=1, keepdim=True).clamp_min(SMALLEST_NORM)
        products = iter(product.view(n, r, -1).split(len(v), dim=2))

        region_scores = next(products)
        if options.is_sigmoid:
            region_scores = region_scores.sigmoid()
        attention = torch.full_like(region_scores, 1 / r) if self.attention is None else next(products).softmax(dim=1)
        p = region_scores.mean(dim=1) if options.uniform_att_1 else (attention * region_scores).sum(dim=1)
        if options.non_linear_act:
            p = p.relu()
        q = torch.ones_like(p) if options.uniform_att_2 else (attention * next(products)).sum(dim=1).sigmoid()
        weighted = q * p
        if self.embedding is None:
            scores = weighted @ class_attributes.T
        else:
            scores = self.embedding(weighted[:, None] * class_attributes).squeeze(2)
        return Output(scores, attention.transpose(1, 2), p, q, region_scores.transpose(1, 2))

    def _check_regions(self, regions: Tensor) -> None:
        expected = self.input_grid[0] * self.input_grid[1], self.feature_dim
        if regions.shape[1:] != expected:
            rows, columns = self.input_grid
            must = f"there must be {rows} × {columns} regions of {self.feature_dim} features, as the model's"
            got, fix = f"{regions.shape[1]} of {regions.shape[2]}", "Use region maps of the backbone of training."
            raise InputError(must, where="the region maps", got=got, fix=fix)

    def _convolve(self, regions: Tensor) -> Tensor:
        """Map regions (B, r, f) on the input grid to (B, r', f // 2) on the smaller one."""
        maps = regions.unflatten(1, self.input_grid).permute(0, 3, 1, 2)
        assert self.convolution is not None and self.normalization is not None
        convolved: Tensor = self.normalization(self.convolution(maps)).relu()
        return convolved.permute(0, 2, 3, 1).flatten(1, 2)


def _draw(layer: nn.Linear | nn.Conv2d, n_inputs: int, generator: torch.Generator | None) -> None:
    """Draw a layer's parameters as PyTorch does, uniform in ±1/√n_inputs, from a given generator."""
    bound = 1 / math.sqrt(n_inputs)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.uniform_(-bound, bound, generator=generator)


def _check_vectors(vectors: Tensor, n_attributes: int, normalized: bool) -> Tensor:
    """Return the word vectors as float32. A row of zeros learns like any other, unless it is `normalized` at every use."""
    where, fix = "the attributes' word vectors", "Make them again from this data set's attribute names, or train without them."
    if vectors.ndim != 2 or len(vectors) != n_attributes:
        must = f"there must be a row for each of the {n_attributes} attributes"
        raise InputError(must, where=where, got=f"shape {tuple(vectors.shape)}", fix=fix)
    norms = torch.linalg.vector_norm(vectors.float(), dim=1)
    bad = (~norms.isfinite() | (norms == 0) & normalized).nonzero().flatten().tolist()
    if bad:
        got = f"{len(bad)} others, the first for attribute {bad[0] + 1}"
        raise InputError("every row must be finite, and not zero", where=where, got=got, fix=fix)
    return vectors.float()
