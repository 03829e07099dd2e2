"""Matrix products in the precision of one operand, with sums and results in that of the other.

With float32 everywhere these are PyTorch's own products. Where weights have been rounded to bfloat16, the product is taken
in bfloat16 and the result is float32 again.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from zsl.errors import InputError

Precision = Literal["fp32", "tf32", "bf16"]


def set_precision(precision: Precision, device: torch.device) -> None:
    """Lets CUDA round the operands of float32 products to TF32, or forbids it; for the whole process.

    Raises:
        InputError: TF32 is wanted of a device that has none.
    """
    if precision == "tf32" and device.type != "cuda":
        raise InputError(
            "a precision that this device lacks", where="--precision", found=f"tf32 on {device}",
            expected="fp32 or bf16 on a CPU; TF32 is a format of CUDA devices", cure="Pass --precision fp32.",
        )
    matmul = torch.backends.cuda.matmul
    if hasattr(matmul, "fp32_precision"):  # PyTorch 2.9 and later
        matmul.fp32_precision = "tf32" if precision == "tf32" else "ieee"
    else:
        matmul.allow_tf32 = precision == "tf32"


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x Wᵀ + b, for x (n, in) and W (out, in): the product in the precision of W, sum and result in that of x."""
    if weight.dtype == x.dtype:
        return F.linear(x, weight, bias)
    product = F.linear(x.to(weight.dtype), weight).to(x.dtype)
    return product if bias is None else product + bias


def through(d_out: Tensor, weight: Tensor) -> Tensor:
    """The way back through y = x Wᵀ, in the precision of W: d_y (n, out) -> d_x = d_y W (n, in)."""
    return (d_out.to(weight.dtype) @ weight).to(d_out.dtype)


def write_product(out: Tensor, d_out: Tensor, x: Tensor, precision: torch.dtype) -> None:
    """The gradient of W in y = x Wᵀ: out (p, q) = d_yᵀ x in the given precision, for d_y (n, p) and x (n, q)."""
    if precision == out.dtype:
        torch.mm(d_out.T, x, out=out)
    else:
        out.copy_(d_out.to(precision).T @ x.to(precision))
