"""DAZLE as the paper writes it, einsum by einsum, with the (b, i, f) tensor: what the fast one is held against.

b batch, r region, f feature, i attribute, v word vector, k class. Used by the tests and by the benchmark.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from zslab.config import DazleOptions


def naive_forward(
    parameters: Mapping[str, Tensor],
    options: DazleOptions,
    grid: tuple[int, int],
    F: Tensor,
    att: Tensor,
    training: bool = True,
) -> dict[str, Tensor]:
    """Everything a `zslab.dazle.model.Dazle` with these parameters gives for regions F (b, r, f) and att (k, i).

    Batch normalization takes the batch's own mean and variance where `training`, otherwise those among the parameters.
    """
    if options.is_conv:
        maps = F.transpose(1, 2).reshape(len(F), F.shape[2], *grid)
        F = functional.conv2d(maps, parameters["convolution.weight"], parameters["convolution.bias"])
        F = F.reshape(len(F), F.shape[1], -1).transpose(1, 2)
        if training:
            mean = F.mean(dim=(0, 1))
            variance = (F - mean).square().mean(dim=(0, 1))
        else:
            mean, variance = parameters["normalization.running_mean"], parameters["normalization.running_var"]
        F = (F - mean) / (variance + 1e-5).sqrt() * parameters["normalization.weight"] + parameters["normalization.bias"]
        F = torch.where(F > 0, F, torch.zeros_like(F))
    elif options.normalize_F:
        F = F / F.norm(dim=2, keepdim=True).clamp_min(1e-12)
    V = parameters["vectors"]
    if options.normalize_V:
        V = V / V.norm(dim=1, keepdim=True)
    S = torch.einsum("iv,vf,brf->bir", V, parameters["score"], F)
    if options.is_sigmoid:
        S = 1 / (1 + torch.exp(-S))
    # A W2 that is zero is never learned where nothing looks by it.
    W2 = parameters.get("attention", torch.zeros_like(parameters["score"]))
    A = torch.softmax(torch.einsum("iv,vf,brf->bir", V, W2, F), dim=2)
    p = torch.einsum("bir,bir->bi", torch.ones_like(S) / S.shape[2] if options.uniform_att_1 else A, S)
    if options.non_linear_act:
        p = torch.where(p > 0, p, torch.zeros_like(p))
    if options.uniform_att_2:
        q = torch.ones_like(p)
    else:
        attended = torch.einsum("bir,brf->bif", A, F)
        q = torch.sigmoid(torch.einsum("iv,vf,bif->bi", V, parameters["importance"], attended))
    if options.non_linear_emb:
        hidden = torch.einsum("ki,bi,bi,hi->bkh", att, q, p, parameters["embedding.0.weight"]) + parameters["embedding.0.bias"]
        scores = (hidden.clamp_min(0) @ parameters["embedding.2.weight"].T + parameters["embedding.2.bias"])[..., 0]
    else:
        scores = torch.einsum("ki,bi,bi->bk", att, q, p)
    return {"scores": scores, "attention": A, "attribute_scores": p, "attribute_attention": q, "region_scores": S}


def naive_loss(scores: Tensor, labels: Tensor, is_unseen: Tensor) -> Tensor:
    """The default loss on scores (b, k): cross-entropy without the margin of 1, 0.1 of self-calibration with it."""
    margin = torch.where(is_unseen, 1.0, -1.0)
    unseen = torch.softmax(scores + margin, dim=1)[:, is_unseen].sum(dim=1)
    return functional.cross_entropy(scores, labels) - 0.1 * torch.log(unseen.mean())


def naive_step(
    parameters: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
    options: DazleOptions,
    grid: tuple[int, int],
    F: Tensor,
    att: Tensor,
    labels: Tensor,
    is_unseen: Tensor,
) -> Tensor:
    """One training step of the plain reference on leaves `parameters` that `optimizer` holds; returns the loss."""
    loss = naive_loss(naive_forward(parameters, options, grid, F, att)["scores"], labels, is_unseen)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()
