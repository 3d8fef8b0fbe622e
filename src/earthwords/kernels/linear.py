"""Product with a matrix: `out = x @ weight.T + bias`, as fast as one thread can.

PyTorch gives float32 products on a CPU to MKL, which leaves half of an AVX-512 processor of AMD unused, and is slow
for very few outputs (words); oneDNN, which PyTorch also holds, is not.

Cost: `rows * in * out` multiply-adds.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from earthwords.kernels._dispatch import path

TOLERANCE = 2e-5


def reference(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """PyTorch's; see `linear`."""
    return F.linear(x, weight, bias)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`x @ weight.T + bias`.

    Args:
        x: `(*, in)`.
        weight: `(out, in)`, need not be contiguous.
        bias: `(out,)`.

    Returns:
        `(*, out)`. Differentiable in all arguments.
    """
    tensors = (x, weight) if bias is None else (x, weight, bias)
    return path(PATHS, *tensors)(x, weight, bias)


def _onednn(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return out


PATHS = {"onednn": _onednn, "torch": reference}


class Linear(nn.Linear):
    """`torch.nn.Linear` by way of `linear`."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


def quicken(module: nn.Module) -> None:
    """Make every `torch.nn.Linear` in a module a `Linear`, in place; names and weights stay."""
    for part in module.modules():
        if type(part) is nn.Linear:
            part.__class__ = Linear
