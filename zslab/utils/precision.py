"""Matrix products in the precision of the weights, with sums and results in the precision of the activations.

With float32 weights these are PyTorch's own products. With bfloat16 weights the product is computed in bfloat16 and its
result converted back to float32.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from zslab.errors import InputError

Precision = Literal["fp32", "tf32", "bf16"]


def set_precision(precision: Precision, device: torch.device) -> None:
    """Allow or forbid TF32 for the float32 products of CUDA, for the whole process.

    Args:
        precision: "tf32" allows it.

    Raises:
        InputError: TF32 is requested on a device other than CUDA.
    """
    if precision == "tf32" and device.type != "cuda":
        raise InputError(
            "TF32 is a format of CUDA devices",
            where="--precision",
            found=f"tf32 on {device}",
            expected="fp32 or bf16 on a CPU",
            fix="Pass --precision fp32.",
        )
    matmul = torch.backends.cuda.matmul
    if hasattr(matmul, "fp32_precision"):  # PyTorch 2.9 and later
        matmul.fp32_precision = "tf32" if precision == "tf32" else "ieee"
    else:
        matmul.allow_tf32 = precision == "tf32"


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return x Wᵀ + b: the product in the precision of W, sum and result in that of x.

    Args:
        x: (n, in).
        weight: W (out, in).
        bias: b (out,).

    Returns:
        (n, out).
    """
    if weight.dtype == x.dtype:
        return F.linear(x, weight, bias)
    product = F.linear(x.to(weight.dtype), weight).to(x.dtype)
    return product if bias is None else product + bias


def linear_backward_input(d_out: Tensor, weight: Tensor) -> Tensor:
    """Return the gradient of x in y = x Wᵀ, computed in the precision of W.

    Args:
        d_out: d_y (n, out), the gradient of y.
        weight: W (out, in).

    Returns:
        d_x = d_y W (n, in), in the precision of d_y.
    """
    return (d_out.to(weight.dtype) @ weight).to(d_out.dtype)


def matmul_into(out: Tensor, d_out: Tensor, x: Tensor, precision: torch.dtype) -> None:
    """Write the gradient of W in y = x Wᵀ, d_W = d_yᵀ x, into existing memory.

    Args:
        out: d_W (out, in).
        d_out: d_y (n, out), the gradient of y.
        x: (n, in).
        precision: of the product.
    """
    if precision == out.dtype:
        torch.mm(d_out.T, x, out=out)
    else:
        out.copy_(d_out.to(precision).T @ x.to(precision))
