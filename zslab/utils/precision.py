"""The precision of matrix products: float32, TF32, or bfloat16 by PyTorch's autocast; all else stays float32."""

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from zslab.errors import InputError

Precision = Literal["fp32", "tf32", "bf16"]


def set_precision(precision: Precision, device: torch.device) -> None:
    """Allow or forbid TF32 for the float32 products of CUDA, for the whole process."""
    if precision == "tf32" and device.type != "cuda":
        raise InputError("tf32 must have a CUDA device", where="--precision", got=f"tf32 on {device}", fix="Pass fp32 or bf16.")
    matmul = torch.backends.cuda.matmul
    if hasattr(matmul, "fp32_precision"):  # PyTorch 2.9 and later
        matmul.fp32_precision = "tf32" if precision == "tf32" else "ieee"
    else:
        matmul.allow_tf32 = precision == "tf32"


def autocast(device: torch.device, bf16: bool) -> AbstractContextManager[object]:
    """Return a context in which matrix products on `device` are computed in bfloat16, or in their own precision without `bf16`.

    PyTorch can keep its bfloat16 copies of the weights until the context ends. But these would miss the steps of an optimizer,
    and a copy made under `no_grad` would cut off the gradients of later products, so every product makes its own.
    """
    if not torch.amp.is_autocast_available(device.type):
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16, enabled=bf16, cache_enabled=False)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return x Wᵀ + b (n, out) in the precision of x, also inside `autocast`, for x (n, in), W (out, in) and b (out,)."""
    return F.linear(x, weight, bias).to(x.dtype)
