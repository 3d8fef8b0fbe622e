"""Product with a matrix: `out = x @ weight.T`, as fast as one thread can.

PyTorch gives float32 products on a CPU to MKL, which leaves half of an AVX-512 processor of AMD unused, and is slow
for very few outputs (words); oneDNN, which PyTorch also holds, is not.

Cost: `rows * in * out` multiply-adds.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from earthwords.kernels._dispatch import path

TOLERANCE = 2e-5


def reference(x: Tensor, weight: Tensor) -> Tensor:
    """PyTorch's; see `linear`."""
    return F.linear(x, weight)


def linear(x: Tensor, weight: Tensor) -> Tensor:
    """`x @ weight.T`.

    Args:
        x: `(*, in)`.
        weight: `(out, in)`, need not be contiguous.

    Returns:
        `(*, out)`. Differentiable in both arguments.
    """
    return path(PATHS, x, weight)(x, weight)


def _onednn(x: Tensor, weight: Tensor) -> Tensor:
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")
    return out


PATHS = {"onednn": _onednn, "torch": reference}
